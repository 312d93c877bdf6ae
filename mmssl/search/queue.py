"""The trials that a study still has to run."""

from collections import deque
from collections.abc import Callable, Iterable

from mmssl.errors import UserError
from mmssl.study.plan import PlannedTrial


class TrialQueue:
    """The planned trials that have not begun, in the plan's order, then those that are chosen as it empties.

    Args:
        trials: that have not ended.
        choose: gives further trials, none where there are no more for now; called when none waits.
    """

    def __init__(self, trials: Iterable[PlannedTrial], choose: Callable[[], list[PlannedTrial]] = list) -> None:
        self._choose = choose
        self.waiting = deque(trials)
        self.error: Exception | None = None
        """Why nothing further could be chosen: Tune would make a long story of it."""

    def fill(self) -> bool:
        """Choose more where no trial waits; whether one does."""
        if not self.waiting and not self.error:
            try:
                self.waiting.extend(self._choose())
            except (UserError, OSError) as error:
                self.error = error
        return bool(self.waiting)

    def withdraw(self, point_id: str) -> list[PlannedTrial]:
        """Take out a point's trials."""
        withdrawn = [trial for trial in self.waiting if trial.point_id == point_id]
        self.waiting = deque(trial for trial in self.waiting if trial.point_id != point_id)
        return withdrawn

    def put_back(self, trial: PlannedTrial) -> None:
        """Have a trial that has begun and not ended run again, before all others."""
        self.waiting.appendleft(trial)
