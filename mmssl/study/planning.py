"""Making plans: from a space with changes and recordings, and larger ones of existing studies."""

import shlex
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from mmssl.errors import UserError, few, nearest

STORAGE = "studies"
"""The folder of studies by default."""

if TYPE_CHECKING:
    from mmssl.data.check import Finding
    from mmssl.data.recordings import Recordings
    from mmssl.study.folder import Study
    from mmssl.study.plan import Plan
    from mmssl.study.space import Space


def space_with(
    space: "Space",
    settings: Sequence[str] | Mapping[str, Any] | None,
    systems: list[str] | None,
    recipe: str | None = None,
    values: Sequence[str] | Mapping[str, Any] | None = None,
    seeds: str | Sequence[int] | None = None,
    budget: int | None = None,
    folds: str | Sequence[Sequence[str]] | None = None,
    **changes: Any,
) -> "Space":
    """The space with what a launch changes of it.

    Args:
        settings: knobs as `KNOB=VALUE` words, or by name.
        values: what is searched of a knob instead of what the space has of it: `KNOB=[VALUE,...]` words, or by name.
        seeds: instead of the space's, or their words, separated by commas.
        budget: of a sampler, instead of the space's.
        folds: instead of the space's, or their words.
    """
    from mmssl.study.presets import defined_by
    from mmssl.study.space import SET_BY_STUDY, changed
    from mmssl.yaml_file import parse_value

    names = systems or space.systems
    if values or budget is not None or names != space.systems:
        changes["description"] = ""  # What it says of the values, of the training or of the systems holds no more.
    changes |= {} if seeds is None else {"seeds": _seeds(seeds)}
    changes |= {} if budget is None else {"budget": budget}
    changes |= {} if folds is None else {"folds": parse_value(folds) if isinstance(folds, str) else folds}
    if values:
        found = settings_of(values, {}, "--values")
        lists = {knob: list(some) if isinstance(some, list | tuple) else [some] for knob, some in found.items()}
        rest = {
            part: {knob: value for knob, value in getattr(space, part).items() if knob not in lists}
            for part in ("fixed", "ranges")
        }
        space = changed(space, **rest, **{"grid": {**space.grid, **lists}, **changes})
    taken = {
        **dict.fromkeys(space.grid, "the space searches it; take it out of its grid"),
        **{knob: f"variant {name} of the space sets it" for name, one in space.variants.items() for knob in one},
        **SET_BY_STUDY,
        **{
            knob: f"system {name} sets it; choose another with --system"
            for name in names
            if len(names) == 1
            for knob in defined_by(name)
        },
    }
    fixed = {**space.fixed, **settings_of(settings, taken)}
    return changed(space, fixed=fixed, systems=names, recipe=recipe or space.recipe, **changes)


def _seeds(given: str | Sequence[int]) -> list[Any]:
    """As a space file would have them."""
    from mmssl.yaml_file import parse_value

    return [parse_value(word.strip()) for word in given.split(",")] if isinstance(given, str) else list(given)


def plan_study(
    name: str,
    space: "Space",
    recordings: "Recordings",
    dataset: str,
    data: Path | None,
    skipped: list[str],
    pretrain_on: Sequence[str] = (),
) -> "Plan":
    """The plan of a space on recordings; mistakes are found here, before anything is written.

    Args:
        pretrain_on: data sets and files that are among the recordings, as `with_all` gives them.
    """
    from mmssl.data.protocols import class_indices, leave_one_subject_out, split, train_and_test
    from mmssl.data.recordings import UNLABELLED
    from mmssl.data.sources import default_folder, recordings_file
    from mmssl.recipe import USUAL
    from mmssl.study.plan import Dataset, make_plan
    from mmssl.study.refusals import refuse
    from mmssl.study.space import at_point

    if (recordings.labels == UNLABELLED).all():
        raise UserError(
            f"{dataset}: no recording has a label, so nothing can be scored: give labelled recordings as the data set, "
            "and these with --pretrain-on"
        )
    kinds = recordings.kinds
    bases = space.bases(name_of(dataset), kinds)
    points = space.points(bases)
    first = next(iter(bases.values()))
    for point in points:
        hidden = class_indices(recordings.description, at_point(bases, point).pretrain.hidden_classes)
        if len(set(hidden)) == len(recordings.description.classes):
            raise UserError("pretrain.hidden_classes: hides every class, so pre-training would see nothing; leave one")
    train, test = train_and_test(recordings, first.data)
    if space.folds == "leave_one_subject_out":
        folds = leave_one_subject_out(recordings, first.data)
    elif space.folds == "test":
        folds = [()]
        if not len(split(recordings, first.data).test):
            raise UserError(
                f"no recordings of the test subjects {', '.join(test) or '(there are none)'} are here to score: "
                "hold training subjects out instead, with folds leave_one_subject_out"
            )
    else:
        folds = list(space.folds)
    streams = set(recordings.column("source")) - {""}
    file = recordings_file(dataset)
    folder = None if file or dataset == "synthetic" else data or default_folder(name_of(dataset))
    plan = make_plan(
        name,
        space,
        bases,
        Dataset(
            source=str(file.absolute()) if file else dataset,
            folder=str(folder.absolute()) if folder else None,
            name=recordings.description.name,
            fingerprint=recordings.fingerprint,
            recordings=len(recordings),
            train_subjects=train,
            test_subjects=test,
            windows=bool(streams),
            streams=len(streams),
            skipped=tuple(skipped),
            pretrain_on=tuple(pretrain_on),
            unlabelled=int((recordings.labels == UNLABELLED).sum()),
            classes=len(recordings.description.classes),
            modalities=USUAL if kinds.items() <= USUAL.items() else kinds,
            having=_having_each(recordings, space.systems),
        ),
        folds,
        points,
    )
    _check_subsets(plan)
    refuse(plan, recordings)
    return plan


def starting_from(plan: "Plan", study: "Study | None") -> "Plan":
    """The plan of a race that starts with another study's scores of the same points, on any recordings.

    Raises:
        UserError: it is no race, or the other study has no score of any of its points.
    """
    from mmssl.study.plan import EarlierScore, EarlierStudy
    from mmssl.study.words import fold_name

    if study is None:
        return plan
    if plan.space.sampler != "race":
        raise UserError(
            f"--warm-start {study.name}: only a race starts from another study's scores, and the sampler here is "
            f"{plan.space.sampler}: take a space with sampler: race"
        )
    earlier, metric = study.plan(), plan.space.scored
    points = [plan.space.compared(trials[0].point) for trials in plan.candidates.values()]
    columns = ["trial_id", "status", metric]
    rows: list[dict[str, Any]] = study.table("trials.parquet", columns).to_pylist() if metric in earlier.scores else []
    gathered: dict[tuple[int, int, str], list[float]] = {}
    for row in rows:
        if row["status"] != "COMPLETE" or row[metric] is None or not earlier.has_trial(row["trial_id"]):
            continue
        trial = earlier.trial(row["trial_id"])
        if (point := earlier.space.compared(trial.point)) in points:
            gathered.setdefault((points.index(point), trial.seed, fold_name(trial.held_out)), []).append(row[metric])
    if not gathered:
        raise UserError(
            f"--warm-start {study.name}: none of its complete trials has {metric} of a point that is searched here: "
            f"give a study of the same values of {', '.join(plan.space.names)}"
        )
    scores = tuple(
        EarlierScore(point=points[point], place=f"{seed} {fold}", value=fmean(values))
        for (point, seed, fold), values in sorted(gathered.items())
    )
    return plan.model_copy(update={"earlier": (EarlierStudy(name=study.name, scores=scores),)})


def _check_subsets(plan: "Plan") -> None:
    """Raise UserError where no system has the modalities of a subset, and others."""
    there = list(plan.dataset.modalities)
    for subset in plan.subsets:
        names = subset.split("+")
        if absent := [name for name in names if name not in there]:
            raise UserError(
                f"finetune.subsets: {subset}: the recordings have no {absent[0]}; {nearest(absent[0], there)}"
            )
        if not any(set(names) < set(base.data.modalities) for base in plan.bases.values()):
            raise UserError(f"finetune.subsets: {subset}: no system has these and others; take it out")


def settings_of(
    settings: Sequence[str] | Mapping[str, Any] | None, taken: Mapping[str, str], option: str = "--set"
) -> dict[str, Any]:
    """`knob=value` words as knobs, values as in a space file; `taken` says why some knobs cannot be set."""
    from mmssl.yaml_file import parse_value

    if isinstance(settings, Mapping):
        for knob in settings:
            if knob in taken:
                raise UserError(f"{knob}: {taken[knob]}")
        return dict(settings)
    knobs: dict[str, Any] = {}
    for word in settings or []:
        knob, equals, value = word.partition("=")
        if not equals:
            example = "[5,25]" if option == "--values" else "50"
            raise UserError(f"{option} {word}: write KNOB=VALUE, as in {option} pretrain.epochs={example}")
        if knob in taken:
            raise UserError(f"{option} {word}: {taken[knob]}")
        if knob in knobs:
            raise UserError(f"{option} {word}: {knob} is given twice")
        knobs[knob] = parse_value(value)
    return knobs


def having(
    recordings: "Recordings",
    modalities: Iterable[str],
    say: Callable[[str], None] = lambda line: None,
) -> "Recordings":
    """The recordings with all of the modalities that there are; `say` gets a line on those that lack one.

    Modalities that no recording has are not looked for: the caller reports them.

    Raises:
        UserError: each modality is there, but never all of them in one recording.
    """
    wanted = _present(recordings, modalities)
    kept, without = recordings.having(wanted), recordings.lacking(wanted)
    if without:
        names = " or no ".join(wanted)
        say(f"{len(without)} of {len(recordings)} recordings have no {names} and are left out: {few(without)}")
    return kept


def having_some(
    recordings: "Recordings", modalities: Iterable[str], say: Callable[[str], None] = lambda line: None
) -> "Recordings":
    """The recordings that have one of the modalities at least; `say` gets lines on those that lack some.

    Modalities that no recording has are not looked for: the caller reports them.
    """
    wanted = _present(recordings, modalities)
    if not wanted:
        return recordings
    kept, total = recordings.having_any(wanted), len(recordings)
    if total > len(kept):
        here = set(kept.column("recording_id"))
        absent = [one for one in recordings.column("recording_id") if one not in here]
        say(f"{len(absent)} of {total} recordings have no {' and no '.join(wanted)} and are left out: {few(absent)}")
    lacking = {one: ids for one in wanted if (ids := kept.lacking([one]))}
    if lacking:
        which = " and ".join(f"{len(ids)} have no {one} ({few(ids)})" for one, ids in lacking.items())
        say(
            f"of {len(kept)} recordings {which}: each is used for what it has; a head of all modalities trains on, and "
            f"is scored by, the {len(kept) - len(kept.lacking(wanted))} that have all"
        )
    return kept


def usable(
    recordings: "Recordings", systems: Iterable[str], say: Callable[[str], None] = lambda line: None
) -> "Recordings":
    """The recordings that have a modality of one of the systems."""
    return having_some(recordings, _taken(recordings, systems), say)


def _taken(recordings: "Recordings", systems: Iterable[str]) -> list[str]:
    """The modalities that the systems take."""
    from mmssl.study.presets import system_named

    return _present(recordings, (one for s in systems for one in system_named(s, recordings.kinds).modalities))


def _present(recordings: "Recordings", modalities: Iterable[str]) -> list[str]:
    """Those of the modalities that the recordings have, in their order."""
    wanted = set(modalities)
    return [one for one in recordings.kinds if one in wanted]


def _having_each(recordings: "Recordings", systems: Iterable[str]) -> dict[str, int]:
    """Numbers of recordings with each modality that the systems take, and with all; empty where all have all."""
    from mmssl.study.plan import ALL

    wanted, total = _taken(recordings, systems), len(recordings)
    if not recordings.lacking(wanted):
        return {}
    return {**{one: int(recordings.has[one].sum()) for one in wanted}, ALL: total - len(recordings.lacking(wanted))}


def recordings_of(plan: "Plan", data: Path | None) -> "Recordings":
    """The recordings that a study was planned for, from `data` or from where they were then."""
    from mmssl.data.sources import open_dataset, recordings_file

    folder = data or (Path(plan.dataset.folder) if plan.dataset.folder else None)
    recordings, _ = open_dataset(plan.dataset.source, folder, skip_bad=bool(plan.dataset.skipped))
    recordings, _ = with_all(recordings, plan.dataset.pretrain_on)
    if plan.dataset.having:
        recordings = usable(recordings, plan.space.systems)
    else:  # Older versions left out who lacks a modality.
        recordings = having(recordings, _taken(recordings, plan.space.systems))
    if recordings.fingerprint != plan.dataset.fingerprint:
        remedy = "put the old file back" if recordings_file(plan.dataset.source) else "give the old ones with --data"
        raise UserError(
            f"study {plan.name} was planned for other recordings than those in {folder or plan.dataset.source}: "
            f"fingerprint {plan.dataset.fingerprint[:12]} then, {recordings.fingerprint[:12]} now; {remedy}"
        )
    return recordings


def with_all(
    recordings: "Recordings", pretrain_on: Sequence[str], say: Callable[[str], None] = lambda line: None
) -> "tuple[Recordings, list[str]]":
    """The recordings, with others that only pre-train, and the words by which those are found again from anywhere.

    Args:
        pretrain_on: data sets and recordings files, as `--pretrain-on` takes them.

    Raises:
        UserError: one cannot be read, is given twice, or is of other joints or channels.
    """
    from mmssl.data.more import with_more
    from mmssl.data.sources import open_dataset, recordings_file

    words: list[str] = []
    for word in pretrain_on:
        file = recordings_file(word)
        words.append(str(file.absolute()) if file else word)
        if words.count(words[-1]) > 1:
            raise UserError(f"--pretrain-on {word}: given twice")
        more, _ = open_dataset(word)
        recordings = with_more(recordings, more, file.stem if file else word, say)
    return recordings, words


def extend_plan(
    study: "Study",
    seeds: str | Sequence[int] | None = None,
    values: Sequence[str] | Mapping[str, Any] | None = None,
    folds: str | Sequence[Sequence[str]] | None = None,
    budget: int | None = None,
    data: Path | None = None,
) -> "tuple[Plan, Recordings]":
    """Plan more for a study, whose lock the caller holds. Nothing that was planned changes.

    Args:
        seeds: further ones, or their words, separated by commas.
        values: further values of searched knobs, or KNOB=[VALUE,...] words.
        folds: further groups of subjects to hold out, or the words for them.
        budget: how many points a sampler may choose in all.
        data: where the recordings are, if not where they were.

    Returns:
        The larger plan, which is the study's now, and its recordings.

    Raises:
        UserError: nothing is to be added, or it cannot be.
    """
    from mmssl.study.plan import extended
    from mmssl.study.refusals import refuse

    if not (seeds or values or folds or budget):
        raise UserError("say what to add, with --seeds, --values, --folds or --budget")
    plan = study.plan()
    space, groups = _larger(plan, seeds, values, folds, budget)
    recordings = recordings_of(plan, data)
    grown = extended(plan, space, groups)
    refuse(grown, recordings, before=plan)
    study.replan(grown)
    return grown, recordings


def _larger(
    plan: "Plan",
    seeds: str | Sequence[int] | None,
    values: Sequence[str] | Mapping[str, Any] | None,
    folds: str | Sequence[Sequence[str]] | None,
    budget: int | None,
) -> "tuple[Space, list[tuple[str, ...]]]":
    """The space of a study with what is added to it, and its folds."""
    from mmssl.study.space import changed
    from mmssl.yaml_file import parse_value

    space = plan.space
    more: dict[str, Any] = {}
    if seeds:
        more["seeds"] = [*space.seeds, *_seeds(seeds)]
    if budget:
        if space.budget is None:
            raise UserError("--budget: this study runs a grid, which has its points; add to it with --values")
        if budget <= space.budget:
            raise UserError(f"--budget {budget}: the study has a budget of {space.budget}; give more")
        more |= {"budget": budget, "description": ""}
    if values:
        if space.sampler != "grid":
            raise UserError(
                f"--values: sampler {space.sampler} learns on one space, which stays as it is; see --budget"
            )
        grid = {knob: list(present) for knob, present in space.grid.items()}
        for knob, added in settings_of(values, {}, "--values").items():
            if knob not in grid:
                raise UserError(f"--values {knob}: not searched by this study; it searches {', '.join(grid)}")
            grid[knob] += added if isinstance(added, list) else [added]
        more |= {"grid": grid, "description": ""}  # It may name the values.
    groups = list(plan.folds)
    if folds:
        if space.scored_split == "test":
            raise UserError("--folds: this study holds nobody out, it scores the test subjects")
        added_folds = changed(space, folds=parse_value(folds) if isinstance(folds, str) else folds).folds
        if isinstance(added_folds, str):
            raise UserError(f"--folds {folds}: give groups of training subjects, as [[1,3],[5,7]]")
        more["folds"] = [list(group) for group in (*groups, *added_folds)]
        groups = [*groups, *added_folds]
    return changed(space, **more), groups


def plan_warnings(plan: "Plan", recordings: "Recordings") -> "list[Finding]":
    """Warnings on a plan: what changes nothing, classes that a fold does not train on, cameras that share a signal."""
    from mmssl.data.check import Finding
    from mmssl.data.protocols import absent_tests, unseen_classes
    from mmssl.study.refusals import without_effect
    from mmssl.study.words import fold_name

    notes = without_effect(plan, recordings)
    if absent := absent_tests(recordings, next(iter(plan.bases.values())).data):
        verb = "has" if len(absent) == 1 else "have"
        notes.append(
            f"test subject{'s' * (len(absent) > 1)} {few(absent)} {verb} no recordings, and all others train: "
            "of a name that is misspelt, its owner too"
        )
    for held_out, parts in plan.splits(recordings).items():
        rows, what = (parts.validation, "validates") if plan.space.scored_split == "val" else (parts.test, "tests")
        classes = unseen_classes(recordings, rows, parts.train)
        if classes:
            notes.append(
                f"fold {fold_name(held_out)} {what} on classes that no training recording shows: {few(classes)}"
            )
    signals = {
        one for one in recordings.description.signals if any(one in b.data.modalities for b in plan.bases.values())
    }
    if any(recordings.column("view")) and signals:
        notes.append(
            f"several cameras share one signal of {' and '.join(sorted(signals))}, which objectives and retrieval take "
            "for that of different recordings"
        )
    return [Finding("warning", note) for note in notes]


@contextmanager
def created(study: "Study", plan: "Plan") -> "Generator[Plan]":
    """Make a study and hold its lock; a UserError before a trial has ended removes it again."""
    study.create(plan)
    with study.locked():
        try:
            yield study.plan()
        except UserError:
            study.withdraw(plan)
            raise


def name_of(dataset: str) -> str:
    """The name of a data set, or of a recordings file."""
    from mmssl.data.sources import dataset_name

    return dataset_name(dataset)


def at_storage(study: "Study") -> str:
    """The option --storage of other commands, where the study is not in the default folder."""
    return "" if study.root == str(Path(STORAGE).absolute()) else f" --storage {shlex.quote(study.root)}"
