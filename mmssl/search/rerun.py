"""Run a trial once more, in this process, and compare."""

import platform
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from mmssl.data.recordings import Recordings
from mmssl.errors import UserError, nearest
from mmssl.prepared import Prepared
from mmssl.progress import Epoch
from mmssl.search.plan import Plan, PlannedTrial
from mmssl.search.store import SCORES, Record, Study
from mmssl.training import pretraining_name, run_trial


@dataclass(frozen=True)
class Rerun:
    """A trial as it was and as it is now."""

    trial: PlannedTrial
    then: dict[str, Any]
    now: dict[str, Any]
    """Status, cause, and every number that training and scoring gave."""
    changed: dict[str, tuple[Any, Any]]
    """What can change the last bits and is another than then, as the machine; with it only scores can be compared."""
    guesses: int
    """Recordings that are now taken for another class than then."""

    def same(self, tolerance: float) -> bool:
        """Whether it came to the same: to the bit where nothing has changed, else scores within a tolerance."""
        if not self.changed:
            return self.then == self.now and not self.guesses
        if self.then["status"] != self.now["status"]:
            return False
        scores = [name for name in SCORES if name in self.then]
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


def rerun(
    study: Study,
    plan: Plan,
    trial: PlannedTrial,
    recordings: Recordings,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Rerun:
    """Train and score a trial that has ended as it was then, with as many threads, and on a GPU if it was on one.

    Raises:
        UserError: it has not ended, or ended without a result of its own to compare with; or it was on a GPU, and
            there is none.
    """
    record = study.records(plan).get(trial.trial_id)
    if record is None or record.status not in ("COMPLETE", "DIVERGED", "COLLAPSED"):
        raise UserError(
            f"trial {trial.trial_id} of study {study.name} is {record.status if record else 'not run yet'}: "
            "there is nothing to compare with"
        )
    record = study.record(trial.trial_id)
    device = "cpu" if record.facts["device"] == "cpu" else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError(f"trial {trial.trial_id} ran on {record.facts['device']}: run it again where there is a GPU")
    recipe = plan.recipe(trial)
    with _threads(record.facts["threads"]):
        outcome = run_trial(
            recipe,
            Prepared.of(recordings, recipe.data.steps, recipe.data.modalities),
            plan.splits(recordings)[trial.held_out],
            side=plan.space.side,
            on_epoch=on_epoch,
            device=device,
        )
    now = {"status": outcome.status, "cause": outcome.cause, **outcome.metrics}
    here = {
        "pretraining_id": pretraining_name(recipe, recordings.fingerprint),
        "host": platform.node(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "version.python": platform.python_version(),
        "version.torch": torch.__version__,
        "pretrained_together": None,
    }
    changed = {name: (record.facts.get(name), value) for name, value in here.items() if record.facts.get(name) != value}
    then = {
        "status": record.status,
        "cause": record.cause,
        **{name: record.facts.get(name) for name in outcome.metrics},
    }
    return Rerun(trial, then, now, changed, _other_guesses(record, outcome.predictions))


def _other_guesses(record: Record, predictions: list[dict[str, Any]]) -> int:
    before = {row["recording_id"]: row["predicted"] for row in record.predictions}
    return sum(before.get(row["recording_id"]) != row["predicted"] for row in predictions)


@contextmanager
def _threads(count: int) -> Generator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
