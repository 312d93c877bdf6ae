"""The study as Optuna sees it, kept in step with the records: what its dashboard and plots read."""

import json
import logging
import math
import sqlite3
import statistics
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL, event, text
from sqlalchemy.exc import SQLAlchemyError

from mmssl.recipe import MODALITIES, Value
from mmssl.study.columns import PROBE, SCORES
from mmssl.study.folder import Record
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.space import Range

RANK = "train.rankme"
"""Mean over the modalities of `train.MODALITY.effective_rank`."""
_FIRST, _EVERY = 20, 10
"""Of a curve: all of so many epochs, then one in so many. Ten thousand long curves no page can draw."""
_AT_ONCE = 10_000
"""Values written at once."""


class OptunaStudy:
    """The study as Optuna sees it: one Optuna trial per planned trial that has begun, named by its id.

    It is made anew from the records whenever the study is taken up, so that whatever a killed driver left there, or a
    record that was removed to run its trial again, cannot make the two disagree.

    Args:
        path: SQLite file, made where absent.
        records: of the trials that have ended, by trial id, with their epochs.
    """

    def __init__(self, path: Path, plan: Plan, records: Mapping[str, Record]) -> None:
        optuna.logging.enable_propagation()
        optuna.logging.disable_default_handler()
        optuna.logging.set_verbosity(logging.WARNING)
        self._plan, self._metric = plan, plan.space.scored
        self._distributions = {
            **{knob: _distribution(values) for knob, values in plan.space.searched.items()},
            **{knob: distribution_of(interval) for knob, interval in plan.space.ranges.items()},
        }
        self._open: dict[str, int] = {}
        """Optuna's own id of each trial that has begun and not ended."""
        self._storage = storage = storage_in(path)
        if plan.name in optuna.get_all_study_names(storage):
            optuna.delete_study(study_name=plan.name, storage=storage)
        study = optuna.create_study(storage=storage, study_name=plan.name, direction="maximize")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna's version is locked.
            study.set_metric_names([self._metric])
        for name, value in _about(plan).items():
            study.set_user_attr(name, value)
        self._study_id = storage.get_study_id_from_name(plan.name)
        values: list[dict[str, Any]] = []
        attributes: list[dict[str, Any]] = []
        for planned in plan.trials:
            if planned.trial_id in records:
                record = records[planned.trial_id]
                number = storage.create_new_trial(self._study_id, self._ended(planned, record))
                values += _values_of(number, curve(plan, record.epochs))
                attributes += _attributes_of(number, _facts(plan, planned) | _outcome(record))
            if len(values) > _AT_ONCE:
                self._write(values, attributes)
                values, attributes = [], []
        self._write(values, attributes)

    def begin(self, planned: PlannedTrial) -> None:
        if planned.trial_id in self._open:  # It is run again because its worker died.
            return
        trial = self._trial(planned, TrialState.RUNNING, datetime.now(UTC), _facts(self._plan, planned))
        self._open[planned.trial_id] = self._storage.create_new_trial(self._study_id, trial)

    def told(self, planned: PlannedTrial, epochs: Sequence[Mapping[str, Any]]) -> None:
        """Show how far a trial that has begun has come.

        Args:
            epochs: those since the last time; one that is told again replaces what was told of it.
        """
        self._write(_values_of(self._open[planned.trial_id], curve(self._plan, epochs)), [])

    def end(self, planned: PlannedTrial, record: Record) -> None:
        """Tell Optuna how a trial that has begun ended; its epochs have been told."""
        number = self._open.pop(planned.trial_id)
        self._write([], _attributes_of(number, _outcome(record)))
        state = _STATES.get(record.status, TrialState.FAIL)
        complete = state == TrialState.COMPLETE
        self._storage.set_trial_state_values(number, state, [record.facts[self._metric]] if complete else None)

    def settle(self) -> None:
        """Trials that were cut off wait to be run again, and do not run."""
        for number in self._open.values():
            self._storage.set_trial_state_values(number, TrialState.WAITING)
        self._open.clear()
        self._storage.engine.dispose()  # Its connections: the file may be moved or copied now.

    def _write(self, values: list[dict[str, Any]], attributes: list[dict[str, Any]]) -> None:
        """Optuna's own methods make a transaction of each value and attribute, of some milliseconds."""
        if values or attributes:
            with self._storage.engine.begin() as connection:
                for statement, rows in ((_INSERT_VALUE, values), (_INSERT_ATTRIBUTE, attributes)):
                    if rows:
                        connection.execute(statement, rows)

    def _ended(self, planned: PlannedTrial, record: Record) -> FrozenTrial:
        state = _STATES.get(record.status, TrialState.FAIL)
        trial = self._trial(planned, state, record.started, {})
        trial.value = record.facts[self._metric] if state == TrialState.COMPLETE else None
        trial.datetime_complete = _local(record.finished)
        return trial

    def _trial(
        self, planned: PlannedTrial, state: TrialState, started: datetime | None, attributes: dict[str, Any]
    ) -> FrozenTrial:
        return FrozenTrial(
            number=-1,  # Given by the storage, like the id.
            trial_id=-1,
            state=state,
            value=None,
            datetime_start=_local(started),
            datetime_complete=None,
            params=_values(planned),
            distributions=self._distributions,
            user_attrs=attributes,
            system_attrs={},
            intermediate_values={},
        )


def storage_in(path: Path) -> optuna.storages.RDBStorage:
    """Optuna's storage in a SQLite file, made where absent.

    Raises:
        OSError: then or later, the file cannot be made, read or written.
    """
    url = URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
    try:
        storage = optuna.storages.RDBStorage(url)
    except (SQLAlchemyError, StorageInternalError) as error:
        while error.__cause__ is not None and not isinstance(error, sqlite3.Error):
            error = error.__cause__
        raise OSError(f"{path}: {error}") from None

    def plainly(failure: Any) -> None:
        if isinstance(failure.original_exception, sqlite3.OperationalError):
            raise OSError(f"{path}: {failure.original_exception}") from None

    def hasten(connection: Any, _: Any) -> None:
        # All of it can be made anew from the records: what a power cut takes is not worth a wait for the disk.
        connection.execute("pragma synchronous = off")

    event.listen(storage.engine, "connect", hasten)
    event.listen(storage.engine, "handle_error", plainly)
    storage.engine.dispose()  # Of the connections that were made before.
    return storage


_STATES = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED}
_INSERT_VALUE = text(
    "insert or replace into trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type) "
    "values (:n, :s, :v, 'FINITE')"
)
_INSERT_ATTRIBUTE = text("insert or replace into trial_user_attributes (trial_id, key, value_json) values (:n, :k, :v)")


def _values_of(number: int, values: Mapping[int, float]) -> list[dict[str, Any]]:
    return [{"n": number, "s": step, "v": value} for step, value in values.items()]


def _attributes_of(number: int, attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"n": number, "k": key, "v": json.dumps(value)} for key, value in attributes.items()]


def measured(plan: Plan) -> str:
    """What the intermediate values of a study are: the probe's score in one that probes, else the embeddings' rank.

    Both can be compared between points, as the loss cannot: its scale is what lambda and mu are.
    """
    return PROBE if plan.space.probe_every else RANK


def curve(plan: Plan, epochs: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """Intermediate values by epoch of pre-training; of long ones a part."""
    found: dict[int, float] = {}
    probed = measured(plan) == PROBE
    for epoch in epochs:
        number = int(epoch["epoch"])
        if epoch["phase"] != "pretrain" or not (probed or number <= _FIRST or number % _EVERY == 0):
            continue
        value = epoch.get(PROBE) if probed else mean_rank(epoch, "train")
        if value is not None and math.isfinite(value):
            found[number] = float(value)
    return found


def mean_rank(values: Mapping[str, Any], side: str) -> float | None:
    """Mean over the modalities of the effective rank of the embeddings, where there is one."""
    ranks = [values.get(f"{side}.{modality}.effective_rank") for modality in MODALITIES]
    known = [rank for rank in ranks if rank is not None]
    return statistics.fmean(known) if known else None


def _about(plan: Plan) -> dict[str, Any]:
    """What a reader of the study should know, as its attributes."""
    data, space = plan.dataset, plan.space
    return {
        "data set": data.name,
        "fingerprint": data.fingerprint,
        "protocol": ", ".join(sorted({base.data.protocol for base in plan.bases.values()})),
        "train subjects": ", ".join(data.train_subjects),
        "test subjects": ", ".join(data.test_subjects),
        "metric": f"{space.scored}: {explained(space.scored)}",
        "intermediate values": f"{measured(plan)} by epoch of pre-training",
        "sampler": space.sampler,
        "planned": plan.size(),
    }


def explained(metric: str) -> str:
    """What a metric is of, in words."""
    side = "the held-out training subjects" if metric.startswith("val.") else "the TEST subjects: choose nothing by it"
    return f"that of one trial (a point with one seed and fold), on {side}"


def _facts(plan: Plan, planned: PlannedTrial) -> dict[str, Any]:
    return {
        **planned.model_dump(include={"trial_id", "point_id", "seed"}),
        "fold": planned.fold,
        "system": plan.system(planned),
    }


def _outcome(record: Record) -> dict[str, Any]:
    facts = record.facts
    found: dict[str, Any] = {
        "status": record.status,
        "cause": record.cause or None,
        **{name: facts.get(name) for name in SCORES},
        "rankme": mean_rank(facts, "embedding"),
        "seconds": facts.get("seconds.total"),
        **{name: facts.get(name) for name in ("host", "device")},
    }
    # What is not finite is no JSON for a browser.
    return {
        name: v for name, v in found.items() if v is not None and not (isinstance(v, float) and not math.isfinite(v))
    }


def _values(planned: PlannedTrial) -> dict[str, Any]:
    return {knob: _scalar(value) for knob, value in planned.point.items()}


def _local(moment: datetime | None) -> datetime:
    """Optuna keeps times without a zone, the machine's own."""
    return (moment or datetime.now(UTC)).astimezone().replace(tzinfo=None)


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
