"""Optuna behind Ray Tune: hands out each planned trial once, and keeps Optuna's study in step with the records."""

import json
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState
from ray.tune.search import Searcher
from sqlalchemy import URL

from mmssl.errors import UserError
from mmssl.recipe import Value
from mmssl.search.plan import Group, Plan, PlannedTrial
from mmssl.search.space import Range
from mmssl.search.store import Record


class OptunaStudy:
    """The study as Optuna sees it: one Optuna trial per planned trial that has begun, named by its id.

    It is made anew from the records whenever the study is taken up, so that whatever a killed driver left there, or a
    record that was removed to run its trial again, cannot make the two disagree.

    Args:
        path: SQLite file, made where absent.
        records: of the trials that have ended, by trial id.
    """

    def __init__(self, path: Path, plan: Plan, records: Mapping[str, Record]) -> None:
        optuna.logging.enable_propagation()
        optuna.logging.disable_default_handler()
        optuna.logging.set_verbosity(logging.WARNING)
        self._metric = plan.space.scored
        self._distributions = {
            **{knob: _distribution(values) for knob, values in plan.space.searched.items()},
            **{knob: distribution_of(interval) for knob, interval in plan.space.ranges.items()},
        }
        self._open: dict[str, optuna.Trial] = {}
        url = URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
        storage = optuna.storages.RDBStorage(url)
        if plan.name in optuna.get_all_study_names(storage):
            optuna.delete_study(study_name=plan.name, storage=storage)
        self._study = optuna.create_study(
            storage=storage,
            study_name=plan.name,
            # Every value comes from the plan: the sampler is never asked.
            sampler=optuna.samplers.RandomSampler(seed=0),
            direction="maximize",
        )
        self._study.add_trials(
            [self._ended(planned, records[planned.trial_id]) for planned in plan.trials if planned.trial_id in records]
        )

    def begin(self, planned: PlannedTrial) -> None:
        if planned.trial_id in self._open:  # It is run again because its worker died.
            return
        self._study.enqueue_trial(_values(planned), user_attrs=_facts(planned))
        self._open[planned.trial_id] = self._study.ask(self._distributions)

    def end(self, planned: PlannedTrial, record: Record) -> None:
        """Tell Optuna how a trial that has begun ended."""
        trial = self._open.pop(planned.trial_id)
        if record.status == "COMPLETE":
            self._study.tell(trial, record.facts[self._metric])
        else:
            for name, value in _ending(record).items():
                trial.set_user_attr(name, value)
            self._study.tell(trial, state=_STATES.get(record.status, TrialState.FAIL))

    def _ended(self, planned: PlannedTrial, record: Record) -> optuna.trial.FrozenTrial:
        state = _STATES.get(record.status, TrialState.FAIL)
        complete = state == TrialState.COMPLETE
        return optuna.trial.FrozenTrial(
            number=-1,  # Given by the storage, like the id.
            trial_id=-1,
            state=state,
            value=record.facts[self._metric] if complete else None,
            datetime_start=_local(record.started),
            datetime_complete=_local(record.finished),
            params=_values(planned),
            distributions=self._distributions,
            user_attrs=_facts(planned) | ({} if complete else _ending(record)),
            system_attrs={},
            intermediate_values={},
        )


_STATES = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED}


def _facts(planned: PlannedTrial) -> dict[str, Any]:
    return {"trial_id": planned.trial_id, "point_id": planned.point_id, "seed": planned.seed, "fold": planned.fold}


def _ending(record: Record) -> dict[str, str]:
    return {"status": record.status, "cause": record.cause}


def _values(planned: PlannedTrial) -> dict[str, Any]:
    return {knob: _scalar(value) for knob, value in planned.point.items()}


def _local(moment: datetime | None) -> datetime:
    """Optuna keeps times without a zone, the machine's own."""
    return (moment or datetime.now(UTC)).astimezone().replace(tzinfo=None)


class PlanSearcher(Searcher):
    """Gives Ray Tune the planned trials that have not ended, in the plan's order, then says that there are no more.

    Args:
        ended: ids of the trials that have.
        choose: plans a further point and gives its trials; called while the plan has open points.
        probed: whether a trial is to be probed while it pre-trains.
        groups: of trials that pre-train together; the lead of each runs before all others, and does it.
    """

    def __init__(
        self,
        plan: Plan,
        study: OptunaStudy,
        ended: Iterable[str],
        choose: Callable[[], list[PlannedTrial]] = list,
        probed: Callable[[PlannedTrial], bool] = lambda trial: False,
        groups: Iterable[Group] = (),
    ) -> None:
        super().__init__()
        done = set(ended)
        self._plan, self._optuna, self._choose, self._probed = plan, study, choose, probed
        self._groups = {group.lead.trial_id: group for group in groups}
        waiting = [trial for trial in plan.trials if trial.trial_id not in done]
        self._queue = deque(sorted(waiting, key=lambda trial: trial.trial_id not in self._groups))
        self._running: set[str] = set()
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
        held = self._held()
        trial = next((trial for trial in self._queue if trial.trial_id not in held), None)
        if trial is None:
            return None
        self._queue.remove(trial)
        self.planned[trial_id] = trial
        self._running.add(trial_id)
        self._optuna.begin(trial)
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

    def _held(self) -> set[str]:
        """Trials that would train what the lead of their group is about to train for them."""
        if not self._groups:
            return set()
        active = {trial.trial_id for trial in self._queue} | {self.planned[one].trial_id for one in self._running}
        return {one for lead, group in self._groups.items() if lead in active for one in group.waiting}

    def withdraw(self, point_id: str) -> list[PlannedTrial]:
        """Take a point's trials that have not begun out of the queue."""
        withdrawn = [trial for trial in self._queue if trial.point_id == point_id]
        self._queue = deque(trial for trial in self._queue if trial.point_id != point_id)
        return withdrawn

    def put_back(self, trial: PlannedTrial) -> None:
        """Have a trial that has begun and not ended run again, before all others."""
        self._queue.appendleft(trial)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """No more than that: whoever writes the record tells Optuna."""
        self._running.discard(trial_id)

    def __deepcopy__(self, memo: object) -> "PlanSearcher":
        return self  # Tune copies what it is given; there is one queue.

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, for a restore that a study never needs.

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the plan and the records say where the study stands."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a study goes on from its plan, not from Tune's snapshot")


def _scalar(value: Value) -> str | int | float | bool | None:
    return json.dumps(value) if isinstance(value, list) else value


def distribution_of(interval: Range) -> BaseDistribution:
    """An interval as Optuna draws from it."""
    low, high = interval.low, interval.high
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=interval.log, step=int(interval.step or 1))
    return FloatDistribution(float(low), float(high), log=interval.log, step=interval.step)


def _distribution(values: list[Any]) -> BaseDistribution:
    """Numbers as a range, so that Optuna's plots have an axis; anything else as categories."""
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return IntDistribution(min(values), max(values))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return FloatDistribution(min(values), max(values))
    return CategoricalDistribution([_scalar(value) for value in values])
