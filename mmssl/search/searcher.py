"""Hands Ray Tune each planned trial once."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ray.tune.search import Searcher

from mmssl.errors import UserError
from mmssl.study.plan import Group, Plan, PlannedTrial


class PlanSearcher(Searcher):
    """Gives Ray Tune the planned trials that have not ended, in the plan's order, then says that there are no more.

    A trial that needs a pre-training that another is just doing would only wait for it: those that need not wait come
    first.

    Args:
        ended: ids of the trials that have.
        choose: plans a further point and gives its trials; called while the plan has open points.
        probed: whether a trial is to be probed while it pre-trains.
        groups: of trials that pre-train together; the lead of each runs before all others, and does it.
        needs: the pre-trainings that a trial shares with others.
    """

    def __init__(
        self,
        plan: Plan,
        ended: Iterable[str],
        choose: Callable[[], list[PlannedTrial]] = list,
        probed: Callable[[PlannedTrial], bool] = lambda trial: False,
        groups: Iterable[Group] = (),
        needs: Callable[[PlannedTrial], Sequence[str]] = lambda trial: (),
    ) -> None:
        super().__init__()
        done = set(ended)
        self._plan, self._choose, self._probed = plan, choose, probed
        self._groups = {group.lead.trial_id: group for group in groups}
        waiting = [trial for trial in plan.trials if trial.trial_id not in done]
        self._queue = deque(sorted(waiting, key=lambda trial: trial.trial_id not in self._groups))
        self._needs = needs
        self._running: dict[str, list[str]] = {}
        """Tune's trials that run, each with the pre-trainings that it may still be doing."""
        self._trained: set[str] = set()
        """Pre-trainings that a trial here was seen to have behind it."""
        self.planned: dict[str, PlannedTrial] = {}
        """The planned trial behind each of Tune's."""
        self.error: Exception | None = None
        """Why no further point could be chosen: Tune would make a long story of it."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        while not self._queue:
            if not self._plan.open_points or self.error:
                return None if self._running else Searcher.FINISHED  # One that runs may be put back.
            try:
                self._queue.extend(self._choose())
            except (UserError, OSError) as error:
                self.error = error
        trial = self._next()
        if trial is None:
            return None
        self._queue.remove(trial)
        self.planned[trial_id] = trial
        self._running[trial_id] = [name for name in self._needed(trial) if name not in self._trained]
        return {
            "trial_id": trial.trial_id,
            # The recipe travels as text: Tune would take a nested one apart.
            "recipe": self._plan.recipe(trial).model_dump_json(by_alias=True),
            "probed": self._probed(trial),
            "companions": [
                self._plan.recipe(other).model_dump_json(by_alias=True)
                for other in (self._groups[trial.trial_id].companions if trial.trial_id in self._groups else ())
            ],
        }

    def _next(self) -> PlannedTrial | None:
        """The first that waits for nobody, else the first that waits for one that runs: it goes on as soon as it may.

        None where all wait for the lead of a group, which they must not forestall.
        """
        queued = {trial.trial_id for trial in self._queue} if self._groups else set[str]()
        active = queued | {self.planned[one].trial_id for one in self._running}
        led = {name for lead, group in self._groups.items() if lead in active for name in self._needed(group.lead)}
        led -= self._trained
        busy = {name for names in self._running.values() for name in names}
        waiting: PlannedTrial | None = None
        for trial in self._queue:
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
        return [name for one in (trial, *(group.companions if group else ())) for name in self._needs(one)]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Take in how far a trial is: what it has behind it, nobody waits for any more."""
        if trial_id in self._running and any(one["phase"] == "finetune" for one in result.get("epochs", ())):
            self._trained.update(self._running[trial_id])
            self._running[trial_id] = []

    def withdraw(self, point_id: str) -> list[PlannedTrial]:
        """Take a point's trials that have not begun out of the queue."""
        withdrawn = [trial for trial in self._queue if trial.point_id == point_id]
        self._queue = deque(trial for trial in self._queue if trial.point_id != point_id)
        return withdrawn

    def put_back(self, trial: PlannedTrial) -> None:
        """Have a trial that has begun and not ended run again, before all others."""
        self._queue.appendleft(trial)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """No more than that: the recorder writes what came out."""
        self._running.pop(trial_id, None)

    def __deepcopy__(self, memo: object) -> "PlanSearcher":
        return self  # Tune copies what it is given; there is one queue.

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, for a restore that a study never needs.

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the plan and the records say where the study stands."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study goes on from its plan, not from Tune's snapshot")
