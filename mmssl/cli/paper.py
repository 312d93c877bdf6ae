"""The command that makes the paper's tables and figures."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmssl.cli.options import (
    STORAGE,
    DataOption,
    DatasetOption,
    RecipeOption,
    SetOption,
    SkipOption,
    StorageOption,
    SystemsOption,
)
from mmssl.cli.recordings import having_all, name_of, open_recordings, recordings_of
from mmssl.cli.running import Running, end, runs_trials
from mmssl.cli.spaces import plan_study, space_with
from mmssl.cli.studies import at_storage, run_new, run_study
from mmssl.cli.terminal import epoch_progress, few, print_json, say, show_result, waiting
from mmssl.errors import UserError

if TYPE_CHECKING:
    from mmssl.data.recordings import Recordings
    from mmssl.search.rerun import Differences
    from mmssl.study.space import Space


@runs_trials
def reproduce(
    experiment: Annotated[
        str,
        typer.Argument(
            help="table2, ablation, few_labels, hidden_classes, retrieval, features or health; "
            "or a trial by its id's beginning.",
            metavar="EXPERIMENT|TRIAL",
        ),
    ],
    dataset: DatasetOption = "synthetic",
    data: DataOption = None,
    skip_bad: SkipOption = False,
    study: Annotated[
        str | None, typer.Option(help="An existing study to make it from, finished first if need be.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the new study. Default: from the experiment's space and data set.")
    ] = None,
    storage: StorageOption = STORAGE,
    folds: Annotated[
        str | None,
        typer.Option(
            help="leave_one_subject_out, or test: train on all training subjects and score the test subjects. "
            "Default: test where their recordings are here.",
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Separated by commas. Default: the space's.")] = None,
    settings: SetOption = None,
    systems: SystemsOption = None,
    recipe: RecipeOption = None,
    hide: Annotated[
        list[str] | None,
        typer.Option(
            help="hidden_classes: classes to hide together, separated by commas; repeatable. "
            "Default: the groups of the paper's Tables 3 and 4, in both readings.",
        ),
    ] = None,
    figures: Annotated[
        str, typer.Option(help="Kinds of pictures, of png, svg and pdf, separated by commas; none for no pictures.")
    ] = "png",
    tolerance: Annotated[
        float, typer.Option(help="Of a trial's scores, where machine or versions are not those of then.", min=0)
    ] = 0.02,
    *,
    running: Running,
) -> None:
    """Make a table or figure of the paper on a data set; run again, it goes on where it stopped. Or run a trial again
    in this process, and say whether it comes to the same.

    Example: mmssl-tune reproduce table2 --dataset utd_mhad --data ~/UTD-MHAD
    """
    if re.fullmatch("[0-9a-f]{6,}", experiment):
        end(_again(experiment, storage, study, data, tolerance, as_json=running.as_json))
        return
    from mmssl import experiments
    from mmssl.study import space as spaces
    from mmssl.study.folder import Study, find, plain_name
    from mmssl.yaml_file import parse_value

    chosen = experiments.find(experiment)
    pictures = _pictures(figures)
    running.check()
    if hide and chosen.name != "hidden_classes":
        raise UserError(f"--hide: {chosen.name} hides no classes; hidden_classes does")
    if study is not None:
        given = [
            option
            for option, value in (
                ("--name", name), ("--folds", folds), ("--seeds", seeds), ("--set", settings), ("--system", systems),
                ("--recipe", recipe), ("--hide", hide),
            )
            if value is not None
        ]  # fmt: skip
        if given:
            raise UserError(f"--study {study}: was planned already; leave out {', '.join(given)}, or leave out --study")
        found, planned = find(storage, study), True
        plan = found.plan()
        if chosen.chooses and plan.space.side == "test":
            raise UserError(
                f"--study {study}: scored the test subjects, by which points may not be compared; "
                "name one that holds training subjects out"
            )
        recordings = recordings_of(plan, data)
    else:
        recordings, skipped = open_recordings(dataset, data, skip_bad, quiet=running.as_json)
        changes: dict[str, Any] = {}
        if seeds is not None:
            changes["seeds"] = [parse_value(word.strip()) for word in seeds.split(",")]
        if chosen.name == "hidden_classes":
            changes["grid"] = {"pretrain.hidden_classes": [[], *_hidden(hide, recordings.description.classes)]}
        space = space_with(spaces.load(chosen.space), settings, systems, recipe, **changes)
        recordings = having_all(recordings, space.systems, quiet=running.as_json)
        space = spaces.changed(space, folds=_folds(folds, chosen.chooses, space, name_of(dataset), recordings))
        name = name or plain_name(f"{chosen.space}-{name_of(dataset)}")
        plan = plan_study(name, space, recordings, dataset, data, skipped)
        found = Study(storage, plan.name)
        planned = found.exists()
        if planned:
            theirs = found.plan()
            if not theirs.alike(plan):
                raise UserError(
                    f"study {found.name} exists with other settings: make the experiment from it with "
                    f"--study {found.name}{at_storage(found)}, or give this one another --name"
                )
            plan = theirs
    status = 0
    if not planned:
        status = run_new(found, plan, recordings, running, summarise=False)
    elif len(found.records(plan)) < plan.total:
        with found.locked():
            plan = found.plan()
            status = run_study(found, plan, recordings, running, summarise=False)
    if status == 130:
        how = f"`mmssl-tune reproduce {experiment} --study {found.name}{at_storage(found)}`"
        say(f"stopped; {how} goes on", stderr=True)
        end(status)
    with waiting(f"computing {chosen.name}"):
        result = experiments.analyse(chosen, found, plan, recordings, pictures)
        tables, texts = experiments.save(found, result), experiments.save_for_paper(found, result)
    if running.as_json:
        print_json(
            {
                "study": found.name,
                "caption": result.caption,
                "notes": result.notes,
                "rows": next(iter(result.tables.values())).to_pylist(),
                "tables": tables,
                "texts": texts,
                "figures": result.figures,
            }
        )
    else:
        show_result(result)
        for place in (*tables, *texts, *result.figures):
            say(f"written: {place}")
    end(status or any(record.status == "FAILED" for record in found.records(plan).values()))


def _again(word: str, storage: str, name: str | None, data: Path | None, tolerance: float, *, as_json: bool) -> int:
    """Run a trial again, and show what it comes to; gives 1 where it is something else than then."""
    from mmssl.search.rerun import differences, find_trial, original, rerun
    from mmssl.study.folder import find

    study = find(storage, name)
    plan = study.plan()
    trial = find_trial(plan, word)
    record = original(study, plan, trial)
    recordings = recordings_of(plan, data)
    changed = differences(study, plan, trial, record)
    how = "to the bit" if changed.exact else f"scores within {tolerance:g}"
    if not as_json:
        for line in _changes(changed):
            say(f"note: {line}")
        say(f"compared {how}, with as many threads as then ({record.facts['threads']})")
    with epoch_progress(plan.recipe(trial), f"trial {trial.trial_id}") as on_epoch:
        found = rerun(plan, trial, record, recordings, changed, on_epoch)
    same = found.same(tolerance)
    differing = [name for name, value in found.then.items() if found.now.get(name) != value]
    if as_json:
        print_json(
            {
                "study": study.name,
                "trial": trial.trial_id,
                "same": same,
                "tolerance": 0 if changed.exact else tolerance,
                "then": found.then,
                "now": found.now,
                "changed": {name: list(values) for name, values in changed.decisive.items()},
                "also_changed": {name: list(values) for name, values in changed.others.items()},
                "gpu": changed.gpu,
                "other_predictions": found.guesses,
            }
        )
        return not same
    for name in differing:
        say(f"  {name:<32}{found.then[name]} then, {found.now.get(name)} now")
    say(
        f"trial {trial.trial_id} of study {study.name}: {'the same' if same else 'NOT the same'} ({how}); "
        f"{len(found.then) - len(differing)} of {len(found.then)} values equal, {found.guesses} predictions differ"
    )
    return not same


def _changes(changed: "Differences") -> list[str]:
    """What is not as it was when a trial ran, a line for each thing that decides the last bits."""
    lines: list[str] = []
    unknown = [name for name, (then, _) in changed.decisive.items() if then is None and name != "pretrained_together"]
    if unknown:
        lines.append(f"not recorded then: {', '.join(unknown)}")
    for name, (then, now) in changed.decisive.items():
        if name == "pretraining_id":
            lines.append("the package's code, or torch, is not that of then (pretraining_id)")
        elif name == "pretrained_together":
            lines.append(f"it was pre-trained as one model with {then - 1} others, and now is alone")
        elif name not in unknown:
            lines.append(f"{name} was {then}, and is {now}")
    if changed.gpu:
        lines.append("it is trained on a GPU, where the same run need not give the same bits twice")
    packages = [name.removeprefix("package ") for name in changed.others if name.startswith("package ")]
    for name, (then, now) in changed.others.items():
        if not name.startswith("package ") and then is not None:
            lines.append(f"{name} was {then}, and is {now}; by itself it changes no number")
    if packages:
        lines.append(f"other packages differ, of those that compute nothing: {few(packages)}")
    return lines


def _folds(given: str | None, chooses: bool, space: "Space", dataset: str, recordings: "Recordings") -> Any:
    """The side to score: by default the protocol's own test side where there are recordings of it, as in the paper."""
    from mmssl.data.protocols import split

    if chooses:
        if given == "test":
            raise UserError("--folds test: this experiment compares points, by which the test subjects may not be used")
        return given or space.folds
    first = next(iter(space.bases(dataset).values()))
    return given or ("test" if len(split(recordings, first.data).test) else "leave_one_subject_out")


def _hidden(groups: list[str] | None, classes: Sequence[str]) -> list[list[str]]:
    if groups:
        return [[word.strip() for word in group.split(",")] for group in groups]
    from mmssl.experiments.published import hidden_groups

    return [list(group.classes) for group in hidden_groups(classes)]


def _pictures(words: str) -> tuple[str, ...]:
    from mmssl.errors import nearest

    kinds = [word.strip() for word in words.split(",")]
    if kinds == ["none"]:
        return ()
    for kind in kinds:
        if kind not in ("png", "svg", "pdf"):
            raise UserError(f"--figures {kind}: {nearest(kind, ['png', 'svg', 'pdf', 'none'])}")
    return tuple(dict.fromkeys(kinds))
