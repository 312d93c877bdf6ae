"""The trials that a study still has to run."""

from collections import deque
from collections.abc import Callable, Iterable

from mmssl.errors import UserError
from mmssl.study.plan import Plan, PlannedTrial


class TrialQueue:
    """The planned trials that have not begun, in the plan's order, then those of points that are chosen as it empties.

    Args:
        ended: ids of the trials that have ended.
        choose: plans a further point and gives its trials; called while the plan has open points.
    """

    def __init__(self, plan: Plan, ended: Iterable[str], choose: Callable[[], list[PlannedTrial]] = list) -> None:
        done = set(ended)
        self._plan, self._choose = plan, choose
        self.waiting = deque(trial for trial in plan.trials if trial.trial_id not in done)
        self.error: Exception | None = None
        """Why no further point could be chosen: Tune would make a long story of it."""

    def fill(self) -> bool:
        """Choose points until a trial waits; whether one does."""
        while not self.waiting:
            if not self._plan.open_points or self.error:
                return False
            try:
                self.waiting.extend(self._choose())
            except (UserError, OSError) as error:
                self.error = error
        return True

    def withdraw(self, point_id: str) -> list[PlannedTrial]:
        """Take out a point's trials."""
        withdrawn = [trial for trial in self.waiting if trial.point_id == point_id]
        self.waiting = deque(trial for trial in self.waiting if trial.point_id != point_id)
        return withdrawn

    def put_back(self, trial: PlannedTrial) -> None:
        """Have a trial that has begun and not ended run again, before all others."""
        self.waiting.appendleft(trial)
