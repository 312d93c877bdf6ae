"""Run a trial once more, in this process, and compare: docs/reproducing.md."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from mmssl.data.recordings import Recordings
from mmssl.environment import machine, packages, programs
from mmssl.errors import UserError, nearest
from mmssl.search.one_trial import threads
from mmssl.study.columns import is_score
from mmssl.study.folder import Record, Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.training.kept import pretraining_name
from mmssl.training.prepared import Prepared
from mmssl.training.snapshot import Epoch
from mmssl.training.trial import run_trial

# The packages that numbers of a trial depend on; no other is known to change one.
_COMPUTES = re.compile(r"torch|numpy|scipy|scikit-learn|triton|mkl.*|intel-openmp|nvidia-.*|cuda-.*")
_MINOR = ("version.mmssl", "version.ray", "version.optuna", "git.commit", "git.clean", "hardware.cores")
"""Columns that are compared too, but cannot change a number by themselves: `pretraining_id` knows the code."""


@dataclass(frozen=True)
class Differences:
    """What is another now than when a trial ran: then and now by name, None where it was not recorded."""

    decisive: dict[str, tuple[Any, Any]]
    """What can change the last bits, as the machine; with it only scores can be compared."""
    others: dict[str, tuple[Any, Any]]
    gpu: bool = False
    """Whether it is trained on a GPU, which adds up in an order of its own: not twice the same bits for certain."""

    @property
    def exact(self) -> bool:
        """Whether the trial must come to the same bits."""
        return not self.decisive and not self.gpu


@dataclass(frozen=True)
class Rerun:
    """A trial as it was and as it is now."""

    trial: PlannedTrial
    then: dict[str, Any]
    now: dict[str, Any]
    """Status, cause, and every number that training and scoring gave."""
    differences: Differences
    guesses: int
    """Recordings that are now taken for another class than then."""

    def same(self, tolerance: float) -> bool:
        """Whether it came to the same: to the bit where nothing has changed, else scores within a tolerance."""
        if self.differences.exact:
            return self.then == self.now and not self.guesses
        if self.then["status"] != self.now["status"]:
            return False
        scores = [name for name, value in self.then.items() if is_score(name) and value is not None]
        return all(abs(self.then[name] - self.now.get(name, -1)) <= tolerance for name in scores)


def find_trial(plan: Plan, word: str) -> PlannedTrial:
    """The trial whose id begins so.

    Raises:
        UserError: none does, or several do.
    """
    found = [trial for trial in plan.trials if trial.trial_id.startswith(word)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"trial {word}: {len(found)} trials of study {plan.name} begin so; give more of it")
    raise UserError(f"trial {word}: {nearest(word, [trial.trial_id for trial in plan.trials])}")


def original(study: Study, plan: Plan, trial: PlannedTrial) -> Record:
    """What is kept of a trial that can be run again.

    Raises:
        UserError: it has not ended, or ended without a result of its own to compare with; or it was on a GPU, and
            there is none.
    """
    record = study.record(trial.trial_id) if trial.trial_id in study.ended(plan) else None
    if record is None or record.status not in ("COMPLETE", "DIVERGED", "COLLAPSED"):
        raise UserError(
            f"trial {trial.trial_id} of study {study.name} is {record.status if record else 'not run yet'}: "
            "there is nothing to compare with"
        )
    if _device(record) == "cuda" and not torch.cuda.is_available():
        raise UserError(f"trial {trial.trial_id} ran on {record.facts['device']}: run it again where there is a GPU")
    return record


def differences(study: Study, plan: Plan, trial: PlannedTrial, record: Record) -> Differences:
    """What of programs and machine is not as it was when a trial ran."""
    device = _device(record)
    here = {
        **machine(device),
        **programs(),
        "pretraining_id": pretraining_name(plan.recipe(trial), plan.dataset.fingerprint),
        "pretrained_together": None,
        "trained_elsewhere": None,
    }
    # The same machine may be given more memory, and knows it to the byte.
    del here["hardware.memory"]
    then, now = study.packages(record.facts.get("packages")), packages()
    if then is not None:
        del here["packages"]
        for name in sorted({*then, *now}):
            here[f"package {name}"] = now.get(name)
    was = {**record.facts, **{f"package {name}": installed for name, installed in (then or {}).items()}}
    changed = {name: (was.get(name), value) for name, value in here.items() if was.get(name) != value}
    minor = {name for name in changed if name in _MINOR or not _computes(name)}
    return Differences(
        {name: both for name, both in changed.items() if name not in minor},
        {name: both for name, both in changed.items() if name in minor},
        gpu=device == "cuda",
    )


def rerun(
    plan: Plan,
    trial: PlannedTrial,
    record: Record,
    recordings: Recordings,
    changed: Differences,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Rerun:
    """Train and score a trial that has ended as it was then, with as many threads, and on a GPU if it was on one."""
    recipe = plan.recipe(trial)
    with threads(record.facts["threads"]):
        outcome = run_trial(
            recipe,
            Prepared.of(recordings, recipe.data.steps, recipe.data.modalities),
            plan.splits(recordings)[trial.held_out],
            scored_split=plan.space.scored_split,
            on_epoch=on_epoch,
            device=_device(record),
        )
    # A record keeps no number that is not finite.
    numbers = {name: value if math.isfinite(value) else None for name, value in outcome.metrics.items()}
    now = {"status": outcome.status, "cause": outcome.cause, **numbers}
    # What is a score of the record must come again, whether or not it came.
    names = [*outcome.metrics, *(name for name, value in record.facts.items() if is_score(name) and value is not None)]
    then = {
        "status": record.status,
        "cause": record.cause,
        **{name: record.facts.get(name) for name in dict.fromkeys(names)},
    }
    return Rerun(trial, then, now, changed, _other_guesses(record, outcome.predictions))


def _device(record: Record) -> str:
    return "cpu" if record.facts["device"] == "cpu" else "cuda"


def _computes(name: str) -> bool:
    """Whether numbers may depend on a column or a package."""
    return not name.startswith("package ") or _COMPUTES.fullmatch(name.removeprefix("package ")) is not None


def _other_guesses(record: Record, predictions: list[dict[str, Any]]) -> int:
    before = {row["recording_id"]: row["predicted"] for row in record.predictions}
    return sum(before.get(row["recording_id"]) != row["predicted"] for row in predictions)
