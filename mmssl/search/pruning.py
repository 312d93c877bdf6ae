"""Prunes points before all their trials are run, by validation scores alone."""

import itertools
import statistics
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, MedianPruner, SuccessiveHalvingPruner, WilcoxonPruner
from optuna.trial import TrialState

from mmssl.study.columns import PROBE
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record


class Pruning:
    """The points of a study that are pruned, and the rules of `Prune` that decide it.

    Points are compared on the same folds and seeds only: probes on the first fold and seed, where each point runs one
    trial; finished trials with the best point's on the same fold and seed.

    Args:
        records: of the trials that have ended before, by trial id.
    """

    def __init__(self, plan: Plan, records: Mapping[str, Record]) -> None:
        self._plan, rules = plan, plan.space.prune
        self.pruned: dict[str, str] = {}
        """By point, the reason."""
        self._threshold = rules.folds if rules else None
        self._rule = rules.probe if rules else None
        self._folds = _PointPruner(_fold_rule(self._threshold)) if self._threshold else None
        self._probes = _PointPruner(_probe_rule(self._rule, rules.every)) if rules and self._rule else None
        places = itertools.product(plan.space.seeds, plan.folds)
        self._places = {place: number for number, place in enumerate(places)}
        for record in sorted(records.values(), key=lambda record: (record.finished is None, record.finished)):
            trial = plan.trial(record.trial_id)
            for epoch in record.epochs:
                self.probed(trial, epoch)
            self.ended(trial, record)
            if record.status == "PRUNED":
                self.pruned[trial.point_id] = record.cause
            else:
                self.pruned.pop(trial.point_id, None)

    def probes(self, trial: PlannedTrial) -> bool:
        """Whether a trial is the one of its point that is probed while it pre-trains."""
        return self._probes is not None and self._places[trial.seed, trial.held_out] == 0

    def probed(self, trial: PlannedTrial, epoch: Mapping[str, Any]) -> None:
        """Judge a point by an epoch of one of its trials, if it was probed."""
        if self._probes is None or PROBE not in epoch or not self.probes(trial):
            return
        if self._probes.should_prune(trial.point_id, int(epoch["epoch"]), epoch[PROBE]):
            than = "the median of the complete points" if self._rule == "median" else "the best third that came as far"
            self.pruned.setdefault(
                trial.point_id, f"pruned at epoch {epoch['epoch']}: probe {epoch[PROBE]:.4f} is below {than}"
            )

    def ended(self, trial: PlannedTrial, record: Record) -> None:
        """Judge a point by one of its trials that has ended."""
        score = record.facts.get(self._plan.space.scored) if record.status == "COMPLETE" else None
        if self._probes is not None and self.probes(trial):
            self._probes.finish(trial.point_id, score)
        if self._folds is None or score is None:
            return
        place = self._places[trial.seed, trial.held_out]
        if self._folds.should_prune(trial.point_id, place, score):
            self.pruned.setdefault(
                trial.point_id,
                f"pruned after {self._folds.count(trial.point_id)} trials: worse than the best point on the same "
                f"folds and seeds (Wilcoxon, p < {self._threshold:g})",
            )
        if self._folds.count(trial.point_id) == len(self._places):
            self._folds.finish(trial.point_id, self._folds.mean(trial.point_id))


class _PointPruner:
    """One of Optuna's pruners, which judges points: each is a trial of a study in memory."""

    def __init__(self, pruner: BasePruner) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            storage=optuna.storages.InMemoryStorage(), pruner=pruner, direction="maximize"
        )
        self._trials: dict[str, optuna.Trial] = {}
        self._values: dict[str, dict[int, float]] = {}
        self._finished: set[str] = set()

    def should_prune(self, point_id: str, step: int, value: float) -> bool:
        """Whether a point should be pruned at this step; a step that is reported again is not judged again."""
        values = self._values.setdefault(point_id, {})
        if step in values or point_id in self._finished:
            return False
        values[step] = value
        if point_id not in self._trials:
            self._trials[point_id] = self._study.ask()
        trial = self._trials[point_id]
        trial.report(value, step)
        return trial.should_prune()

    def finish(self, point_id: str, value: float | None) -> None:
        if point_id in self._finished or point_id not in self._trials:
            return
        self._finished.add(point_id)
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
        self._study.tell(self._trials[point_id], value, state=state)

    def count(self, point_id: str) -> int:
        return len(self._values.get(point_id, {}))

    def mean(self, point_id: str) -> float:
        return statistics.fmean(self._values[point_id].values())


def _fold_rule(threshold: float) -> BasePruner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # Its results are tested; Optuna's version is locked.
        return WilcoxonPruner(p_threshold=threshold)


def _probe_rule(name: str, every: int) -> BasePruner:
    if name == "median":
        return MedianPruner(n_startup_trials=4, n_warmup_steps=0)
    return SuccessiveHalvingPruner(min_resource=every, reduction_factor=3)
