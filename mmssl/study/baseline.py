"""What a study's scores stand beside: chance, and encoders that were never trained."""

import json
import shlex
import statistics
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from mmssl.errors import UserError
from mmssl.recipe import Recipe
from mmssl.study.folder import Study, names
from mmssl.study.plan import Key, Plan, PlannedTrial
from mmssl.study.presets import defined_by, parsed, preset
from mmssl.study.results import TRAINED_ALONE, Choice, points_in, stand_beside
from mmssl.study.scores import Estimate, apart, mean
from mmssl.study.space import LABEL_DRAW, SET_BY_STUDY


@dataclass(frozen=True)
class Baseline:
    """Untrained encoders with the same head, data and folds."""

    system: str
    study: str
    mean: float
    std: float | None
    n: int
    paired: bool
    """Whether it has seeds and folds of the study; mean, spread and gain are then over those alone."""
    gain: Estimate
    """How far the best point is above; without a mean where there is no best."""
    partly: int | None = None
    """How many of the best point's trials the gain is over, where it is over a part of them."""


def untrained_name(plan: Plan, trial: PlannedTrial) -> str:
    """What untrained encoders are called: their system, or one that pre-trains otherwise."""
    system = plan.system(trial)
    return system if parsed(system)[0] == "untrained" else f"{system} untrained"


def chance(study: Study, plan: Plan, metric: str) -> float | None:
    """The accuracy of guessing; None of other metrics, and where nothing says how many classes there are."""
    if not metric.endswith("accuracy"):
        return None
    classes = plan.dataset.classes or _classes_of(study)  # Older plans do not say.
    return 1 / classes if classes else None


def _classes_of(study: Study) -> int:
    found = study.table("predictions.parquet", ["label", "predicted"])
    return len({*found["label"].unique().to_pylist(), *found["predicted"].unique().to_pylist()} - {None})


def baselines(study: Study, plan: Plan, choice: Choice | None, metric: str | None = None) -> list[Baseline]:
    """Untrained encoders scored in this study; where there are none, in that beside it, with the same people who train
    and the same folds, which has most of the best point's seeds.

    Args:
        metric: by which the choice was made; the study's own by default.
    """
    metric = metric or plan.space.scored
    recipes = [plan.recipe(plan.candidates[choice.best.point_id][0])] if choice else list(plan.bases.values())
    keys = {plan.key_of(trial) for trial in plan.trials}
    best = choice.best.scores if choice else {}
    own = _baselines_in(study, plan, recipes, keys, best, metric)
    if own:
        return own
    try:
        others = [name for name in names(study.root) if name != study.name]
    except UserError:
        return []
    found: list[Baseline] = []
    for name in reversed(others):
        other = Study(study.root, name)
        try:
            theirs = other.plan()
            same = (
                theirs.dataset.fingerprint == plan.dataset.fingerprint
                and set(theirs.dataset.train_subjects) == set(plan.dataset.train_subjects)
                and theirs.space.scored_split == plan.space.scored_split
            )
            if same and set(theirs.folds) == set(plan.folds) and metric in theirs.scores:
                beside = _baselines_in(other, theirs, recipes, keys, best, metric)
                found = max(found, beside, key=lambda ones: [(one.paired, one.n) for one in ones[:1]])
        except UserError:
            continue
        if found and found[0].paired and found[0].n == len(keys):
            break
    return found


def _baselines_in(
    study: Study,
    plan: Plan,
    recipes: Sequence[Recipe],
    keys: Set[Key],
    best: Mapping[Key, float],
    metric: str,
) -> list[Baseline]:
    """Untrained encoders that one study scored.

    Args:
        keys: of the trials with which they are to pair, whether or not there is a best point yet.
        best: its scores.
    """
    baselines: list[Baseline] = []
    if "pretrain.epochs" not in plan.space.names and all(base.pretrain.epochs for base in plan.bases.values()):
        return baselines  # All are trained: the recipe of each point need not be made to know it.
    for point in points_in(study, plan, metric):
        trial = plan.candidates[point.point_id][0]
        recipe = plan.recipe(trial)
        if not any(stand_beside(recipe, other) for other in recipes) or not point.complete or point.mean is None:
            continue
        pairs = point.scores.keys() & keys
        theirs = {key: point.scores[key] for key in pairs} or point.scores
        std = statistics.stdev(theirs.values()) if len(theirs) > 1 else None
        gain, count = apart(best, theirs, point.recordings if point.bounded else {})
        partly = count if best.keys() & theirs.keys() and count < len(best) else None
        name, n = untrained_name(plan, trial), len(theirs)
        baselines.append(Baseline(name, study.name, mean(theirs) or 0.0, std, n, bool(pairs), gain, partly))
    return baselines


def baseline_command(plan: Plan, choice: Choice | None, storage: str) -> str:
    """How to score untrained encoders with the best point's networks and heads, on the study's folds, seeds and draws
    of labels, with which they pair.

    Args:
        storage: the option by which a command finds the study's storage.
    """
    trials = plan.candidates[choice.best.point_id] if choice else plan.trials
    recipe = plan.recipe(trials[0]) if trials else next(iter(plan.bases.values()))
    name = plan.recipe_name(trials[0]) if trials else plan.space.recipe
    kinds, modalities = plan.dataset.modalities, recipe.data.modalities
    system = "untrained" if len(modalities) == len(kinds) > 1 else f"untrained_{'+'.join(modalities)}"
    start = preset(plan.dataset.name, system, name, kinds).knobs()
    space = plan.space
    draws = space.grid.get(LABEL_DRAW, ()) if recipe.finetune.labels < 1 else ()
    used = ("data.", "encoder.", "finetune.", *(["augment."] if recipe.finetune.views else []))
    settings = "".join(
        f" --set {shlex.quote(f'{knob}={set_word(value)}')}"
        for knob, value in recipe.knobs().items()
        if knob.startswith(used)
        and value != start[knob]
        and knob not in (*defined_by(system), *SET_BY_STUDY, *TRAINED_ALONE, "finetune.encoders")
        and not (draws and knob == LABEL_DRAW)
    )
    if draws:
        settings += f" --values {shlex.quote(f'{LABEL_DRAW}={[*draws]}'.replace(' ', ''))}"
    if space.folds != "leave_one_subject_out":
        folds = space.folds if isinstance(space.folds, str) else json.dumps(space.folds, separators=(",", ":"))
        settings += f" --folds {shlex.quote(folds)}"
    seeds = f" --seeds {','.join(map(str, space.seeds))}"
    return f"mmssl-tune launch table2 --system {system} --recipe {name} {data_words(plan)}{seeds}{settings}{storage}"


def data_words(plan: Plan) -> str:
    """The options by which a command finds the study's recordings, all of them: a study of others is no baseline."""
    found = plan.dataset
    folder = f" --data {shlex.quote(found.folder)}" if found.folder else ""
    more = "".join(f" --pretrain-on {shlex.quote(word)}" for word in found.pretrain_on)
    return f"--dataset {shlex.quote(found.source)}{folder}{' --skip-bad' if found.skipped else ''}{more}"


def set_word(value: Any) -> str:
    """A knob's value as `--set` takes it."""
    return str(value).replace("'", "") if isinstance(value, list) else str(value)
