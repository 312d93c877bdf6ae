"""Optuna behind Ray Tune: hands out each planned trial once, and keeps Optuna's study in step with the records."""

import json
import logging
from collections import deque
from collections.abc import Iterable
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

from mmssl.recipe import Value
from mmssl.search.plan import Plan, PlannedTrial
from mmssl.search.store import Record


class OptunaStudy:
    """The study as Optuna sees it: one Optuna trial per planned trial, named by its id, entered when it begins.

    Args:
        path: SQLite file, made where absent.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        optuna.logging.enable_propagation()
        optuna.logging.disable_default_handler()
        optuna.logging.set_verbosity(logging.WARNING)
        self._study = optuna.create_study(
            storage=f"sqlite:///{path}",
            study_name=plan.name,
            # Every value comes from the plan: the sampler is never asked.
            sampler=optuna.samplers.RandomSampler(seed=0),
            direction="maximize",
            load_if_exists=True,
        )
        self._metric = plan.space.metric
        self._distributions = {knob: _distribution(values) for knob, values in plan.space.grid.items()}
        # An Optuna trial that a killed driver left running is taken up again rather than entered twice.
        self._numbers: dict[str, int] = {}
        self._open: set[str] = set()
        for trial in self._study.get_trials(deepcopy=False):
            trial_id = trial.user_attrs["trial_id"]
            self._numbers[trial_id] = trial.number
            if not trial.state.is_finished():
                self._open.add(trial_id)

    def begin(self, trial: PlannedTrial) -> None:
        if trial.trial_id in self._numbers:
            return
        facts = {"trial_id": trial.trial_id, "point_id": trial.point_id, "seed": trial.seed, "fold": trial.fold}
        values = {knob: _scalar(value) for knob, value in trial.point.items()}
        self._study.enqueue_trial(values, user_attrs=facts)
        self._numbers[trial.trial_id] = self._study.ask(self._distributions).number
        self._open.add(trial.trial_id)

    def end(self, trial: PlannedTrial, record: Record) -> None:
        """Tell Optuna how a trial ended; a second telling is ignored, as the record is the truth."""
        self.begin(trial)
        if trial.trial_id not in self._open:
            return
        number = self._numbers[trial.trial_id]
        if record.status == "COMPLETE":
            self._study.tell(number, record.facts[self._metric])
        else:
            storage, trial_key = self._study._storage, self._study.trials[number]._trial_id  # pyright: ignore[reportPrivateUsage]
            storage.set_trial_user_attr(trial_key, "status", record.status)
            storage.set_trial_user_attr(trial_key, "cause", record.cause)
            self._study.tell(number, state=TrialState.PRUNED if record.status == "PRUNED" else TrialState.FAIL)
        self._open.discard(trial.trial_id)


class PlanSearcher(Searcher):
    """Gives Ray Tune the planned trials that have not ended, in the plan's order, then says that there are no more."""

    def __init__(self, plan: Plan, study: OptunaStudy, ended: Iterable[str]) -> None:
        super().__init__()
        done = set(ended)
        self._plan, self._optuna = plan, study
        self._queue = deque(trial for trial in plan.trials if trial.trial_id not in done)
        self.planned: dict[str, PlannedTrial] = {}
        """The planned trial behind each of Tune's."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # pyright: ignore[reportIncompatibleMethodOverride]
        if not self._queue:
            return Searcher.FINISHED
        trial = self._queue.popleft()
        self.planned[trial_id] = trial
        self._optuna.begin(trial)
        # The recipe travels as text: Tune would take a nested one apart.
        return {"trial_id": trial.trial_id, "recipe": self._plan.recipe(trial).model_dump_json(by_alias=True)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: whoever writes the record tells Optuna."""

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


def _distribution(values: list[Any]) -> BaseDistribution:
    """Numbers as a range, so that Optuna's plots have an axis; anything else as categories."""
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        return IntDistribution(min(values), max(values))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return FloatDistribution(min(values), max(values))
    return CategoricalDistribution([_scalar(value) for value in values])
