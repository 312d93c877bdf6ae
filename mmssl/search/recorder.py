"""Turns what trials report into records, and keeps the weights of the points that lead."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mmssl.environment import programs
from mmssl.search.pruning import Pruning
from mmssl.search.queue import TrialQueue
from mmssl.search.sampler import PointSampler
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.study.results import Point, ranked
from mmssl.study.tables import Tables
from mmssl.study.words import FOR_GOOD
from mmssl.training.kept import pretraining_name, trial_name

LEADING = 3
"""Points whose weights are kept, of those that are complete."""

Watch = Callable[[PlannedTrial, Record], None]


class Recorder:
    """Turns what trials report into records: kept first, then put into the tables and shown to the watcher."""

    def __init__(
        self,
        study: Study,
        plan: Plan,
        tables: Tables,
        queue: TrialQueue,
        records: dict[str, Record],
        watch: Watch,
        pruning: Pruning,
        sampler: PointSampler | None,
    ) -> None:
        self._study, self._plan, self._tables, self._queue = study, plan, tables, queue
        self._models = Models(study, plan, records) if plan.space.keep_models == "best" else None
        self._records, self._watch = records, watch
        self._pruning, self._sampler = pruning, sampler
        self._open: dict[str, Record] = {}
        self._out_of_memory: dict[str, tuple[Record, dict[str, Any]]] = {}
        self._facts = programs()
        for point_id in list(pruning.pruned):
            self._withdraw(point_id)

    def begin(self, planned: PlannedTrial) -> None:
        """A trial begins, for the first time or again."""
        self._show(planned, self._begin(planned))

    def report(self, planned: PlannedTrial, result: dict[str, Any]) -> None:
        """A trial has come further, or to its end.

        Args:
            result: as `one_trial.run` reports it, with "done" where it was stopped as its point is pruned.
        """
        record = self._open.get(planned.trial_id)
        if record is None:  # Tune repeats the last report of a function trainable when it returns.
            return
        record.epochs += result["epochs"]
        end = result.get("end")
        if end is not None and end.pop("out_of_memory", False):
            self._out_of_memory[planned.trial_id] = self._open.pop(planned.trial_id), end
            self._show_waiting(planned)
        elif end is not None:
            self._end(planned, record, **end)
        elif result.get("done"):
            cause = self._pruning.pruned[planned.point_id]
            self._end(planned, record, status="PRUNED", cause=cause, finished=datetime.now(UTC))
        else:
            self._show(planned, record)

    def prunes(self, planned: PlannedTrial, epochs: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a trial that has come so far is to be stopped."""
        for epoch in epochs:
            self._pruning.probed(planned, epoch)
        self._withdraw(planned.point_id)
        return planned.point_id in self._pruning.pruned

    def has_ended(self, planned: PlannedTrial) -> bool:
        """Whether a trial has reported its end."""
        return planned.trial_id in self._records or planned.trial_id in self._out_of_memory

    def put_back(self, planned: PlannedTrial) -> None:
        """A trial was cut off, and is run again before all others."""
        self._open.pop(planned.trial_id, None)
        self._show_waiting(planned)
        self._queue.put_back(planned)

    def fail(self, planned: PlannedTrial, cause: str, traceback: str) -> None:
        """A trial was cut off more often than it may be, or before it could begin."""
        record = self._open.get(planned.trial_id) or self._begin(planned)
        self._end(planned, record, status="FAILED", cause=cause, traceback=traceback, finished=datetime.now(UTC))

    def leave(self, trials: Sequence[PlannedTrial], cause: str) -> None:
        """Record trials that are not to be run."""
        for planned in trials:
            record = self._begin(planned)
            self._end(planned, record, status="PRUNED", cause=cause, finished=record.started)

    @property
    def out_of_memory(self) -> int:
        """How many trials ran out of a GPU's memory, and have not been recorded for it."""
        return len(self._out_of_memory)

    def fail_out_of_memory(self) -> None:
        """Record the trials that ran out of the memory of a GPU that they had for themselves as FAILED."""
        for trial_id, (record, end) in list(self._out_of_memory.items()):
            del self._out_of_memory[trial_id]
            self._open[trial_id] = record
            end["cause"] += " (with a GPU of its own)"
            self._end(self._plan.trial(trial_id), record, **end)

    def fail_running(self, cause: str) -> None:
        """Record the trials that have begun and not ended as FAILED."""
        for trial_id, record in list(self._open.items()):
            self._end(self._plan.trial(trial_id), record, status="FAILED", cause=cause, finished=datetime.now(UTC))

    def _withdraw(self, point_id: str) -> None:
        """Record the trials of a point that is pruned and have not begun; those that run are stopped."""
        cause = self._pruning.pruned.get(point_id)
        if cause:
            self.leave(self._queue.withdraw(point_id), cause)

    def _begin(self, planned: PlannedTrial) -> Record:
        record = Record(trial_id=planned.trial_id, status="RUNNING", started=datetime.now(UTC), facts=dict(self._facts))
        self._open[planned.trial_id] = record
        return record

    def _end(
        self, planned: PlannedTrial, record: Record, *, facts: dict[str, Any] | None = None, **ending: Any
    ) -> None:
        del self._open[planned.trial_id]
        ended = Record.model_validate({**record.model_dump(), **ending, "facts": {**record.facts, **(facts or {})}})
        self._study.keep(ended)
        if ended.status != "FAILED":  # What is tried again goes on from there.
            recipe = self._plan.recipe(planned)
            for name_of in (trial_name, pretraining_name):
                self._study.drop_snapshot(name_of(recipe, self._plan.dataset.fingerprint))
        self._records[planned.trial_id] = ended.brief()
        self._pruning.ended(planned, ended)
        if self._models:
            self._models.ended(planned, ended)
        if self._sampler:
            self._sampler.learn(planned.point_id, self._records)
        self._show(planned, ended)
        self._withdraw(planned.point_id)

    def _show_waiting(self, planned: PlannedTrial) -> None:
        self._show(planned, Record(trial_id=planned.trial_id, status="PLANNED"))

    def _show(self, planned: PlannedTrial, record: Record) -> None:
        self._tables.put(record)
        self._tables.write_if_due()
        self._watch(planned, record)


class Models:
    """Keeps the weights of the points that lead in the order in which one is chosen, and of those that may still become
    complete; removes the others'.

    Args:
        records: of the trials that have ended before.
    """

    def __init__(self, study: Study, plan: Plan, records: Mapping[str, Record]) -> None:
        self._study, self._plan, self._metric = study, plan, plan.space.scored
        self._places = {point_id: place for place, point_id in enumerate(plan.candidates)}
        self._points: dict[str, Point] = {}
        self._leading: list[Point] = []
        for trial in plan.trials:
            if trial.trial_id in records:
                self.ended(trial, records[trial.trial_id])

    def ended(self, planned: PlannedTrial, record: Record) -> None:
        plan, point_id = self._plan, self._plan.candidate(planned.point_id)
        place = self._places.setdefault(point_id, len(self._places))
        point = self._points.setdefault(point_id, Point(point_id, {}, place=place))
        point.planned = len(plan.candidates[point_id])
        point.statuses[record.status] = point.statuses.get(record.status, 0) + 1
        score = record.facts.get(self._metric) if record.status == "COMPLETE" else None
        if score is not None:
            point.scores[plan.key_of(planned)] = score
        if plan.space.draws_labels and plan.space.sampled:
            return  # A point that is complete may be given further draws, and its mean changes.
        if any(point.statuses.get(status) for status in FOR_GOOD):
            self._drop(point_id)
        elif point.complete:
            self._leading = ranked([*self._leading, point])
            while len(self._leading) > LEADING:
                self._drop(self._leading.pop().point_id)

    def _drop(self, point_id: str) -> None:
        for trial in self._plan.candidates[point_id]:
            self._study.drop_model(trial.trial_id)
