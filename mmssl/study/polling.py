"""A study followed from outside of the process that runs it: what its tables have that is new."""

from collections import Counter
from collections.abc import Collection
from typing import Any

import pyarrow as pa

from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.study.words import TERMINAL, Status

_TRIALS, _EPOCHS = "trials.parquet", "epochs.parquet"
_COLUMNS = ("trial_id", "status", "cause", "started", "finished")

Change = tuple[PlannedTrial, Record]


class TablePoller:
    """Reads a study's tables again whenever they have been written anew.

    Args:
        plan: gets the points that a sampler adds meanwhile.
    """

    def __init__(self, study: Study, plan: Plan) -> None:
        self._study, self._plan = study, plan
        self._seen: dict[str, Status] = {}
        self._trials = {trial.trial_id: trial for trial in plan.trials}
        self._written: dict[str, float] = {}
        self._given = Counter[str]()
        """Epochs of trials that run."""

    def changes(self, *, all_the_same: bool = False) -> list[Change] | None:
        """Trials whose status is another than when they were looked at last, and those that run.

        Args:
            all_the_same: read the tables even if they have not been written since: a store may know the second alone.

        Returns:
            In the order in which they ended, those that have not ended last; None where nothing has been written.
            Records have the study's metric, and of trials that run the epochs that are new, and the last of each phase.

        Raises:
            UserError: a table cannot be read.
        """
        written = self._study.files.modified([_TRIALS, _EPOCHS])
        if written == self._written and not all_the_same:
            return None
        metric = self._plan.space.scored
        rows: list[dict[str, Any]] = self._study.table(_TRIALS, [*_COLUMNS, metric]).to_pylist()
        if any(row["trial_id"] not in self._trials for row in rows):
            for choice in self._study.choices():
                self._trials |= {trial.trial_id: trial for trial in self._plan.add(choice.point, choice.trials)}
        fresh = [
            row
            for row in rows
            if row["trial_id"] in self._trials
            and (row["status"] == "RUNNING" or row["status"] != self._seen.get(row["trial_id"], "PLANNED"))
        ]
        epochs = self._epochs({row["trial_id"] for row in fresh if row["status"] == "RUNNING"})
        self._written = written
        self._seen |= {row["trial_id"]: row["status"] for row in fresh}
        fresh.sort(key=_when)
        return [(self._trials[row["trial_id"]], _record(row, metric, epochs)) for row in fresh]

    def _epochs(self, running: Collection[str]) -> dict[str, list[dict[str, Any]]]:
        """The rows of these trials that are new, and the last of each phase, in their order."""
        if not running:
            return {}
        table = self._study.table(_EPOCHS, self._plan.schemas["epochs"].names, running)
        keys = list(zip(table["trial_id"].to_pylist(), table["phase"].to_pylist(), strict=True))
        last = {key: row for row, key in enumerate(keys)}
        given, self._given = self._given, Counter(trial for trial, _ in keys)
        seen = Counter[str]()
        wanted = set(last.values())
        for row, (trial, _) in enumerate(keys):
            seen[trial] += 1
            if seen[trial] > given[trial]:
                wanted.add(row)
        found: dict[str, list[dict[str, Any]]] = {}
        for row in table.take(pa.array(sorted(wanted), pa.int64())).to_pylist():
            found.setdefault(row["trial_id"], []).append(
                {name: value for name, value in row.items() if value is not None}
            )
        return found


def _when(row: dict[str, Any]) -> tuple[bool, float]:
    moment = row["finished"] or row["started"]
    return row["status"] not in TERMINAL, moment.timestamp() if moment else 0.0


def _record(row: dict[str, Any], metric: str, epochs: dict[str, list[dict[str, Any]]]) -> Record:
    facts = {} if row[metric] is None else {metric: row[metric]}
    return Record(
        **{name: row[name] for name in _COLUMNS if row[name] is not None},
        facts=facts,
        epochs=epochs.get(row["trial_id"], []),
    )
