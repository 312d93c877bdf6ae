"""Hands Ray Tune each planned trial once."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ray.tune.search import Searcher

from mmssl.search.queue import TrialQueue
from mmssl.search.setting import config_of
from mmssl.study.plan import Plan, PlannedTrial, StackedTrials


class PlanSearcher(Searcher):
    """Gives Ray Tune the planned trials that have not ended, in the plan's order, then says that there are no more.

    A trial that needs a pre-training that another is just doing would only wait for it: those that need not wait come
    first.

    Args:
        probed: whether a trial is to be probed while it pre-trains.
        groups: of trials that pre-train together; the lead of each runs before all others, and does it.
        needs: the pre-trainings that a trial shares with others.
    """

    def __init__(
        self,
        plan: Plan,
        queue: TrialQueue,
        probed: Callable[[PlannedTrial], bool] = lambda trial: False,
        groups: Iterable[StackedTrials] = (),
        needs: Callable[[PlannedTrial], Sequence[str]] = lambda trial: (),
    ) -> None:
        super().__init__()
        self._plan, self.queue, self._probed = plan, queue, probed
        self._groups = {group.lead.trial_id: group for group in groups}
        queue.waiting = deque(sorted(queue.waiting, key=lambda trial: trial.trial_id not in self._groups))
        self._needs = needs
        self._running: dict[str, list[str]] = {}
        """Tune's trials that run, each with the pre-trainings that it may still be doing."""
        self._trained: set[str] = set()
        """Pre-trainings that a trial here was seen to have behind it."""
        self.planned: dict[str, PlannedTrial] = {}
        """The planned trial behind each of Tune's."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not self.queue.fill():
            return None if self._running else Searcher.FINISHED  # One that runs may be put back.
        trial = self._next()
        if trial is None:
            return None
        self.queue.waiting.remove(trial)
        self.planned[trial_id] = trial
        self._running[trial_id] = [name for name in self._needed(trial) if name not in self._trained]
        group = self._groups.get(trial.trial_id)
        return config_of(self._plan, trial, self._probed(trial), group.others if group else ())

    def _next(self) -> PlannedTrial | None:
        """The first that waits for nobody, else the first that waits for one that runs: it goes on as soon as it may.

        None where all wait for the lead of a group, which they must not forestall.
        """
        queued = {trial.trial_id for trial in self.queue.waiting} if self._groups else set[str]()
        active = queued | {self.planned[one].trial_id for one in self._running}
        led = {name for lead, group in self._groups.items() if lead in active for name in self._needed(group.lead)}
        led -= self._trained
        busy = {name for names in self._running.values() for name in names}
        waiting: PlannedTrial | None = None
        for trial in self.queue.waiting:
            if trial.trial_id in self._groups:
                return trial
            if led.isdisjoint(needed := self._needs(trial)):
                if busy.isdisjoint(needed):
                    return trial
                waiting = waiting or trial
        return waiting

    def _needed(self, trial: PlannedTrial) -> list[str]:
        """The pre-trainings of a trial, and of those that it leads."""
        group = self._groups.get(trial.trial_id)
        return [name for one in (trial, *(group.others if group else ())) for name in self._needs(one)]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Take in how far a trial is: what it has behind it, nobody waits for any more."""
        if trial_id in self._running and any(one["phase"] == "finetune" for one in result.get("epochs", ())):
            self._trained.update(self._running[trial_id])
            self._running[trial_id] = []

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """No more than that: whoever writes the record knows how it ended."""
        self._running.pop(trial_id, None)

    def __deepcopy__(self, memo: object) -> "PlanSearcher":
        return self  # Tune copies what it is given; there is one queue.

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, for a restore that a study never needs.

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the plan and the records say where the study stands."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study goes on from its plan, not from Tune's snapshot")
