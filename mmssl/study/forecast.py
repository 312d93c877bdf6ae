"""What a study that is planned would take, by what the storage's other studies took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from mmssl.errors import UserError
from mmssl.recipe import Recipe
from mmssl.study.folder import Study
from mmssl.study.lookup import names
from mmssl.study.plan import Plan


@dataclass(frozen=True)
class Forecast:
    """How long trials like those of a plan took."""

    study: str
    """Whose trials they were."""
    trials: int
    seconds: float
    """One trial's, in the mean."""
    total: float
    """All trials', one after the other."""
    at_once: float | None
    """How many of them ran at the same time, in the mean; None where no times are kept."""


def forecast(root: str, plan: Plan) -> Forecast | None:
    """By the newest study under `root` whose trials trained as long on as many recordings; None where there is none."""
    wanted = _sizes(plan)
    try:
        others = [Study(root, name) for name in reversed(names(root))]
    except UserError:
        return None
    for study in others:
        try:
            theirs = study.plan()
            alike = theirs.dataset.fingerprint == plan.dataset.fingerprint
            if not alike or not wanted & _sizes(theirs):
                continue
            rows = _whole(study.table("trials.parquet", _COLUMNS).to_pylist())
            taken = [
                row
                for row in rows
                if row["seconds.total"] is not None
                and theirs.has_trial(row["trial_id"])
                and _size(theirs.recipe(theirs.trial(row["trial_id"]))) in wanted
            ]
        except UserError:
            continue
        if taken:
            seconds = sum(row["seconds.total"] for row in taken) / len(taken)
            return Forecast(study.name, len(taken), seconds, seconds * plan.most, _at_once(taken))
    return None


_COLUMNS = ["trial_id", "seconds.total", "started", "finished", "pretraining_id", "pretraining_reused"]


def _whole(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The trials but those whose encoders another study had pre-trained, which took time that is not among theirs."""
    here = {row["pretraining_id"] for row in rows if row["pretraining_reused"] is False}
    return [row for row in rows if not row["pretraining_reused"] or row["pretraining_id"] in here]


def _at_once(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Trials at the same time, in the mean over the time in which any ran."""
    times = sorted((row["started"], row["finished"]) for row in rows if row["started"] and row["finished"])
    together = apart = timedelta()
    until = None
    for started, finished in times:
        together += finished - started
        apart += max(timedelta(), finished - (started if until is None else max(started, until)))
        until = finished if until is None else max(until, finished)
    return together / apart if apart else None


def _sizes(plan: Plan) -> set[tuple[object, ...]]:
    """Of a study's trials."""
    searched = any(name.startswith(_OF_SIZE) for name in plan.space.names)
    points = [trials[0] for trials in plan.candidates.values()] if searched else []
    return {_size(recipe) for recipe in (map(plan.recipe, points) if searched else plan.bases.values())}


_OF_SIZE = ("data.", "encoder.", "pretrain.epochs", "finetune.epochs")
"""How the knobs begin that `_size` is of."""


def _size(recipe: Recipe) -> tuple[object, ...]:
    """What most of a trial's time depends on."""
    return recipe.data.modalities, recipe.data.steps, recipe.encoder, recipe.pretrain.epochs, recipe.finetune.epochs
