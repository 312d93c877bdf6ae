"""The three tables of a study while it runs."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmssl.study.columns import KEYS
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.study.words import TERMINAL


@dataclass(frozen=True)
class _Rows:
    """Rows of one table, and of which of the plan's trials each is."""

    table: pa.Table
    trials: npt.NDArray[np.int64]

    @classmethod
    def joined(cls, parts: "Sequence[_Rows]") -> "_Rows":
        table = pa.concat_tables([part.table for part in parts]).combine_chunks()
        return cls(table, np.concatenate([part.trials for part in parts]))

    def where(self, kept: npt.NDArray[np.bool_]) -> "_Rows":
        return self if kept.all() else _Rows(self.table.filter(pa.array(kept)), self.trials[kept])

    def ordered(self) -> pa.Table:
        """As the plan has its trials; one's own rows stay in their order."""
        return self.table.take(pa.array(np.argsort(self.trials, kind="stable")))


class _Kept(Protocol):
    def put_table(self, name: str, table: pa.Table) -> str: ...

    def put_scratch(self) -> None: ...


class Tables:
    """The three tables of a study while it runs.

    Rows are turned into columns many at a time: for one trial alone that takes longer than all else about it.
    """

    def __init__(self, study: _Kept, plan: Plan) -> None:
        self._study, self._plan = study, plan
        self._places: dict[str, int] = {}
        self._open: dict[str, Record] = {}
        self._fresh: dict[str, Record] = {}
        """Of trials that have ended since tables were written last."""
        self._ended = [_Rows(schema.empty_table(), np.array([], np.int64)) for schema in plan.schemas.values()]
        """Of each table, the rows of trials that ended before that."""
        self._planned: list[_Rows] = []
        """A row for each trial of the plan, in its state before it begins."""
        self._running: Sequence[_Rows] | None = None
        """Of each table, the rows of trials that had begun and not ended when tables were written last."""
        # The trials of a point stand together, and making a recipe costs more than all else about a row.
        self._knobs = lru_cache(maxsize=64)(lambda point_id: plan.recipe(plan.trials_of(point_id)[0]).knobs())
        self._next_write = 0.0
        self._lock = threading.RLock()
        """Where Ray holds the thread that runs the study, another settles them."""
        self._settled = False

    def put(self, record: Record) -> None:
        """Take in the newest state of a trial.

        Raises:
            ValueError: it has a fact without a column.
        """
        unknown = set(record.facts) - set(self._plan.schemas["trials"].names)
        if unknown:
            raise ValueError(f"no column for {', '.join(sorted(unknown))}")
        with self._lock:
            if record.status in TERMINAL:
                self._fresh[record.trial_id] = record
                self._open.pop(record.trial_id, None)
            else:
                self._open[record.trial_id] = record

    def write(self) -> None:
        """Write the tables that have changed, and the files that go with them."""
        with self._lock:
            if not self._settled:
                self._write()

    def _write(self) -> None:
        started = time.monotonic()
        unseen = self._plan.trials[len(self._places) :]
        before, self._running = None if unseen or self._fresh else self._running, None
        self._places |= {trial.trial_id: place for place, trial in enumerate(unseen, len(self._places))}
        self._planned += self._rows([Record(trial_id=trial.trial_id, status="PLANNED") for trial in unseen])[:1]
        self._take_in()
        running = self._rows(list(self._open.values()))
        waiting = np.ones(len(self._places), dtype=bool)
        for rows in (self._ended[0], running[0]):
            waiting[rows.trials] = False
        for i, (name, ended, own) in enumerate(zip(self._plan.schemas, self._ended, running, strict=True)):
            if before is not None and own.table.equals(before[i].table):
                continue  # A trial that goes on has new epochs alone.
            others = [] if i else [part.where(waiting[part.trials]) for part in self._planned]
            self._study.put_table(f"{name}.parquet", _Rows.joined([ended, own, *others]).ordered())
        self._running = running
        self._study.put_scratch()
        # Writing again costs as much as there are rows: spend at most a twentieth of the time on it.
        now = time.monotonic()
        self._next_write = now + max(2.0, 20 * (now - started))

    def _take_in(self) -> None:
        """Turn what has ended since into columns; a trial that had ended before has ended again."""
        again = np.zeros(len(self._places), dtype=bool)
        again[[self._places[trial_id] for trial_id in self._fresh]] = True
        fresh = self._rows(list(self._fresh.values()))
        before = [part.where(~again[part.trials]) for part in self._ended]
        self._ended = [_Rows.joined(parts) for parts in zip(before, fresh, strict=True)]
        self._fresh.clear()

    def settle(self) -> None:
        """Write for the last time: trials that were cut off are planned again, not running."""
        with self._lock:
            self._open.clear()
            self._running = None  # Whatever became of the files meanwhile, all are written once more.
            self.write()
            self._settled = True

    def write_if_due(self) -> None:
        if time.monotonic() >= self._next_write:
            self.write()

    def _rows(self, records: Sequence[Record]) -> tuple[_Rows, _Rows, _Rows]:
        """Of some trials, for each of the tables."""
        planned = [self._planned_columns(self._plan.trial(record.trial_id)) for record in records]
        outcome = {"status", "cause", "traceback", "started", "finished"}
        rows = [
            [{**own, **record.facts, **record.model_dump(include=outcome)}]
            for own, record in zip(planned, records, strict=True)
        ]
        keys = [{name: own[name] for name in KEYS} for own in planned]
        trials, epochs, predictions = self._plan.schemas.values()

        def table(schema: pa.Schema, of: Sequence[Sequence[Mapping[str, Any]]]) -> _Rows:
            whole = [{**key, **row} for key, own in zip(keys, of, strict=True) for row in own]
            places = np.array([self._places[record.trial_id] for record in records], dtype=np.int64)
            return _Rows(pa.Table.from_pylist(whole, schema=schema), np.repeat(places, [len(own) for own in of]))

        return (
            table(trials, rows),
            table(epochs, [record.epochs for record in records]),
            table(predictions, [record.predictions for record in records]),
        )

    def _planned_columns(self, trial: PlannedTrial) -> dict[str, Any]:
        plan, dataset = self._plan, self._plan.dataset
        own = {"seed": trial.seed, "data.validation_subjects": list(trial.held_out)}
        return {
            **trial.model_dump(include={"trial_id", "point_id", "seed"}),
            "fold": trial.fold,
            "recipe": plan.recipe_name(trial),
            "system": plan.system(trial),
            "variant": plan.variant(trial),
            **{f"param.{name}": value for name, value in (self._knobs(trial.point_id) | own).items()},
            "subjects.train": [subject for subject in dataset.train_subjects if subject not in trial.held_out],
            "subjects.validation": list(trial.held_out),
            "data.name": dataset.name,
            "data.fingerprint": dataset.fingerprint,
        }
