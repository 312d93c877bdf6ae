"""A study as an `optuna.Study` in memory, made from its tables, for Optuna's dashboard and plots."""

import json
import math
import statistics
import warnings
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import optuna
import pyarrow as pa
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, TrialState

from mmssl.recipe import Value
from mmssl.study.columns import PROBE
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.space import Range
from mmssl.trackers.forwarding import place_of, scores

RANK = "train.rankme"
"""Mean over the modalities of `train.MODALITY.effective_rank`."""
TABLES = ("trials.parquet", "epochs.parquet")
_FIRST, _EVERY = 20, 10
"""Of a curve: all of so many epochs, then one in so many. Ten thousand long curves no page can draw."""
_STATES = {"COMPLETE": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED}


def optuna_study(study: Study, plan: Plan) -> optuna.Study:
    """The study in Optuna's memory: one of its trials for each that is planned, in the plan's order.

    Raises:
        UserError: a table is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made = optuna.create_study(study_name=plan.name, direction="maximize")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna's version is locked.
        made.set_metric_names([plan.space.scored])
    for name, value in _about(plan).items():
        made.set_user_attr(name, value)
    running = study.in_use()
    begun = study.files.exists(TABLES[0])
    rows = {row["trial_id"]: row for row in study.table(TABLES[0]).to_pylist()} if begun else {}
    curves = _curves(plan, study.table(TABLES[1])) if begun and study.files.exists(TABLES[1]) else {}
    distributions: dict[str, BaseDistribution] = {
        **{knob: _distribution(values) for knob, values in plan.space.searched.items()},
        **{knob: distribution_of(interval) for knob, interval in plan.space.ranges.items()},
    }
    made.add_trials(
        [
            _trial(
                plan, planned, rows.get(planned.trial_id, {}), running, distributions, curves.get(planned.trial_id, {})
            )
            for planned in plan.trials
        ]
    )
    return made


def _trial(
    plan: Plan,
    planned: PlannedTrial,
    row: Mapping[str, Any],
    running: bool,
    distributions: dict[str, BaseDistribution],
    curve: dict[int, float],
) -> FrozenTrial:
    status = row.get("status") or "PLANNED"
    if status == "PLANNED" or (status == "RUNNING" and not running):  # It is still to be run, perhaps again.
        state = TrialState.WAITING
    else:
        state = TrialState.RUNNING if status == "RUNNING" else _STATES.get(status, TrialState.FAIL)
    ended = state.is_finished()
    facts = place_of(plan, planned)
    if ended:
        facts |= {"status": status, **scores(row)}
        facts |= {name: row[name] for name in ("cause", "host", "device") if row[name]}
    return FrozenTrial(
        number=-1,  # Given by the storage, like the id.
        trial_id=-1,
        state=state,
        value=row[plan.space.scored] if state == TrialState.COMPLETE else None,
        datetime_start=None if state == TrialState.WAITING else _local(row["started"]),
        datetime_complete=_local(row["finished"]) if ended else None,
        params={knob: _scalar(value) for knob, value in planned.point.items()},
        distributions=distributions,
        user_attrs=facts,
        system_attrs={},
        intermediate_values=curve,
    )


def measured(plan: Plan) -> str:
    """The column of a study's intermediate values: the probe's score in one that probes, else the embeddings' rank.

    Both can be compared between points; the loss cannot, as lambda and mu scale it.
    """
    return PROBE if plan.space.probe_every else RANK


def _curves(plan: Plan, epochs: pa.Table) -> dict[str, dict[int, float]]:
    """Intermediate values by trial and epoch of pre-training; long curves are thinned."""
    ranks = [f"train.{modality}.effective_rank" for modality in plan.dataset.modalities]
    columns = [PROBE] if measured(plan) == PROBE else ranks
    epoch = epochs["epoch"].to_numpy()
    shown = epochs["phase"].to_numpy() == "pretrain"
    if columns == ranks:
        shown = shown & ((epoch <= _FIRST) | (epoch % _EVERY == 0))
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for row in epochs.filter(pa.array(shown)).select(["trial_id", "epoch", *columns]).to_pylist():
        values = [row[name] for name in columns if row[name] is not None and math.isfinite(row[name])]
        if values:
            found[row["trial_id"]][row["epoch"]] = statistics.fmean(values)
    return found


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
    """Which trial and which subjects a metric is of, in words."""
    who = "the held-out training subjects" if metric.startswith("val.") else "the TEST subjects: choose nothing by it"
    return f"that of one trial (a point with one seed and fold), on {who}"


def _local(moment: datetime | None) -> datetime:
    """A time as Optuna keeps it: without a zone, in the machine's own; now where there is none."""
    return (moment or datetime.now(UTC)).astimezone().replace(tzinfo=None)


def _scalar(value: Value) -> str | int | float | bool | None:
    return json.dumps(value) if isinstance(value, list) else value


def distribution_of(interval: Range) -> BaseDistribution:
    """An interval as Optuna's distribution."""
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
