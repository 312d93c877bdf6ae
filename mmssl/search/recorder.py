"""Turns what Tune reports into records, and keeps the weights of the points that lead."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler

from mmssl.environment import programs
from mmssl.search.failures import OutOfMemoryKills, is_lost, node_of
from mmssl.search.nodes import refusal
from mmssl.search.pruning import Pruning
from mmssl.search.resources import MOVES, RESTARTS
from mmssl.search.sampler import PointSampler
from mmssl.search.searcher import PlanSearcher
from mmssl.study.folder import Record, Study, Tables
from mmssl.study.plan import FOR_GOOD, Plan, PlannedTrial
from mmssl.study.results import Point, ranked
from mmssl.training.trial import pretraining_name, trial_name

LEADING = 3
"""Points whose weights are kept, of those that are complete."""

Watch = Callable[[PlannedTrial, Record], None]


class Recorder(tune.Callback):
    """Turns what Tune reports into records: durable first, then told to the tables and the watcher."""

    def __init__(
        self,
        study: Study,
        plan: Plan,
        tables: Tables,
        searcher: PlanSearcher,
        records: dict[str, Record],
        watch: Watch,
        pruning: Pruning,
        sampler: PointSampler | None,
        *,
        alone: bool = False,
    ) -> None:
        self._study, self._plan, self._tables, self._searcher = study, plan, tables, searcher
        self._models = Models(study, plan, records) if plan.space.keep_models == "best" else None
        self._records, self._watch = records, watch
        self._pruning, self._sampler = pruning, sampler
        self._open: dict[str, Record] = {}
        self._nodes: dict[str, str] = {}
        self._kills = OutOfMemoryKills()
        self._deaths: dict[str, list[tuple[str, str]]] = {}
        self._starved: dict[str, tuple[Record, dict[str, Any]]] = {}
        self._facts, self._alone = programs(), alone
        for point_id in list(pruning.given_up):
            self._give_up(point_id)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, for a restore that a study never needs.

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        planned = self._searcher.planned[trial.trial_id]
        record = self._begin(planned)
        self._nodes[planned.trial_id] = node = node_of(trial.temporary_state.ray_actor)
        self._kills.watch(node)
        self._show(planned, record)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        planned = self._searcher.planned[trial.trial_id]
        record = self._open.get(planned.trial_id)
        if record is None:  # Tune repeats the last report of a function trainable when it returns.
            return
        record.epochs += result["epochs"]
        end = result.get("end")
        if end is not None and end.pop("starved", False):
            self._starved[planned.trial_id] = self._open.pop(planned.trial_id), end
            self._show_waiting(planned)
        elif end is not None:
            self._end(planned, record, **end)
        elif result.get("done"):
            cause = self._pruning.given_up[planned.point_id]
            self._end(planned, record, status="PRUNED", cause=cause, finished=datetime.now(UTC))
        else:
            self._show(planned, record)

    def gives_up(self, tune_id: str, epochs: Sequence[Mapping[str, Any]]) -> bool:
        """Whether a trial that has come so far is to be stopped."""
        planned = self._searcher.planned[tune_id]
        for epoch in epochs:
            self._pruning.probed(planned, epoch)
        self._give_up(planned.point_id)
        return planned.point_id in self._pruning.given_up

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The worker died, or never came up: what a trial raises is reported, not raised.

        Raises:
            MemoryError: the kernel killed it, as memory ran out; the trial is not recorded for it.
            OSError: it has other code than this process, and there is no other machine to run the trial.
        """
        planned = self._searcher.planned[trial.trial_id]
        if planned.trial_id in self._records or planned.trial_id in self._starved:
            return
        record = self._open.setdefault(planned.trial_id, Record(trial_id=planned.trial_id, status="RUNNING"))
        deaths = self._deaths.setdefault(planned.trial_id, [])
        told = Path(trial.error_file).read_text("utf-8") if trial.error_file else ""
        node = self._nodes.pop(planned.trial_id, "")
        if self._kills.happened(node):
            raise MemoryError
        if self._alone and (reason := refusal(told)):
            raise OSError(
                f"the package has changed since the study was started: {reason.partition('; install')[0]}; "
                "what has ended is kept: `mmssl-tune resume` runs the rest with the code that is there now"
            )
        deaths.append((node, told.strip()))
        if len(deaths) <= RESTARTS or (len(deaths) <= MOVES and self._survived(deaths) <= RESTARTS):
            del self._open[planned.trial_id]
            self._show_waiting(planned)
            self._searcher.put_back(planned)
            return
        said = [told for _, told in deaths]
        cause, traceback = _cause(said), "\n\n".join(said)
        self._end(planned, record, status="FAILED", cause=cause, traceback=traceback, finished=datetime.now(UTC))

    def _survived(self, deaths: Sequence[tuple[str, str]]) -> int:
        """How many of a trial's deaths its node has survived: the others were not the trial's doing."""
        lost = {node: is_lost(node) for node, _ in deaths}
        return sum(not lost[node] for node, _ in deaths)

    @property
    def starved(self) -> int:
        """How many trials ran out of a GPU's memory, and have not been recorded for it."""
        return len(self._starved)

    def fail_starved(self) -> None:
        """Record the trials that ran out of the memory of a GPU that they had for themselves as FAILED."""
        for trial_id, (record, end) in list(self._starved.items()):
            del self._starved[trial_id]
            self._open[trial_id] = record
            end["cause"] += " (with a GPU of its own)"
            self._end(self._plan.trial(trial_id), record, **end)

    def fail_running(self, cause: str) -> None:
        """Record the trials that have begun and not ended as FAILED."""
        for trial_id, record in list(self._open.items()):
            self._end(self._plan.trial(trial_id), record, status="FAILED", cause=cause, finished=datetime.now(UTC))

    def _give_up(self, point_id: str) -> None:
        """Record the trials of a point that is given up and have not begun; those that run are stopped by Tune."""
        cause = self._pruning.given_up.get(point_id)
        for planned in self._searcher.withdraw(point_id) if cause else []:
            record = self._begin(planned)
            self._end(planned, record, status="PRUNED", cause=cause, finished=record.started)

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
            self._sampler.tell(planned.point_id, self._records)
        self._show(planned, ended)
        self._give_up(planned.point_id)

    def _show_waiting(self, planned: PlannedTrial) -> None:
        self._show(planned, Record(trial_id=planned.trial_id, status="PLANNED"))

    def _show(self, planned: PlannedTrial, record: Record) -> None:
        self._tables.put(record)
        self._tables.write_if_due()
        self._watch(planned, record)


class Scheduler(FIFOScheduler):
    """Stops the trials of points that are given up."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        # Tune has flattened the result; a trial that has come to its end is not stopped any more.
        ended = any(name.partition("/")[0] == "end" for name in result)
        stop = not ended and self._recorder.gives_up(trial.trial_id, result.get("epochs", []))
        return FIFOScheduler.STOP if stop else FIFOScheduler.CONTINUE

    def __getstate__(self) -> dict[str, Any]:
        return {}  # As the recorder's.


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
            point.scores[plan.key(planned.point_id, planned.seed, planned.fold)] = score
        if plan.space.draws_labels and plan.space.sampler != "grid":
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


def _cause(told: Sequence[str]) -> str:
    """Why a trial's workers died, as far as Ray told of each; its texts have headings that say when."""
    lines = [line for line in told[-1].splitlines() if not line.startswith("Failure # ")]
    # Of a process that was killed Ray cannot tell by whom: the kernel does it when memory runs out.
    killed = any("OOM killer" in text for text in told)
    perhaps = "; perhaps it was killed because memory ran out" if killed else ""
    return f"the worker died{f': {lines[0]}' if lines else ''} (it was started {len(told)} times{perhaps})"
