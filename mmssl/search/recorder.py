"""Turns what Tune reports into records, and keeps the weights of the points that lead."""

import platform
import subprocess
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray
from ray import tune

from mmssl.search.cluster import RESTARTS
from mmssl.search.plan import Plan, PlannedTrial
from mmssl.search.searcher import OptunaStudy, PlanSearcher
from mmssl.search.store import Record, Study, Tables

LEADING = 3
"""Points whose weights are kept, of those that are complete."""

Watch = Callable[[PlannedTrial, Record], None]


class Recorder(tune.Callback):
    """Turns what Tune reports into records: durable first, then told to Optuna, tables and the watcher."""

    def __init__(
        self,
        study: Study,
        plan: Plan,
        tables: Tables,
        searcher: PlanSearcher,
        optuna_study: OptunaStudy,
        records: dict[str, Record],
        watch: Watch,
    ) -> None:
        self._study, self._plan, self._tables, self._searcher = study, plan, tables, searcher
        self._models = Models(study, plan, records) if plan.space.keep_models == "best" else None
        self._optuna, self._records, self._watch = optuna_study, records, watch
        self._open: dict[str, Record] = {}
        self._facts = _environment()

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, for a restore that a study never needs.

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        planned = self._searcher.planned[trial.trial_id]
        record = Record(trial_id=planned.trial_id, status="RUNNING", started=datetime.now(UTC), facts=dict(self._facts))
        self._open[planned.trial_id] = record
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
        if end is None:
            self._show(planned, record)
            return
        self._end(planned, record, **end)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The worker died, or never came up: what a trial raises is reported, not raised."""
        planned = self._searcher.planned[trial.trial_id]
        if planned.trial_id not in self._records:
            record = self._open.setdefault(planned.trial_id, Record(trial_id=planned.trial_id, status="RUNNING"))
            told = str(trial.get_error() or "").strip()
            # Tune's text has a heading for each time, which says no more than when.
            lines = [line for line in told.splitlines() if not line.startswith("Failure # ")]
            cause = f"the worker died{f': {lines[0]}' if lines else ''} (it was started {1 + RESTARTS} times)"
            self._end(planned, record, status="FAILED", cause=cause, traceback=told, finished=datetime.now(UTC))

    def fail_running(self, cause: str) -> None:
        """Record the trials that have begun and not ended as FAILED."""
        planned = {trial.trial_id: trial for trial in self._plan.trials}
        for trial_id in list(self._open):
            self._end(planned[trial_id], self._open[trial_id], status="FAILED", cause=cause, finished=datetime.now(UTC))

    def _end(
        self, planned: PlannedTrial, record: Record, *, facts: dict[str, Any] | None = None, **ending: Any
    ) -> None:
        del self._open[planned.trial_id]
        ended = Record.model_validate({**record.model_dump(), **ending, "facts": {**record.facts, **(facts or {})}})
        self._study.keep(ended)
        if ended.status != "FAILED":  # What is tried again goes on from there.
            for name in (planned.trial_id, ended.facts.get("pretraining_id")):
                self._study.progress_path(str(name)).unlink(missing_ok=True)
        self._records[planned.trial_id] = ended
        if self._models:
            self._models.ended(planned, ended)
        self._optuna.end(planned, ended)
        self._show(planned, ended)

    def _show(self, planned: PlannedTrial, record: Record) -> None:
        self._tables.put(record)
        self._tables.write_if_due()
        self._watch(planned, record)


class Models:
    """Keeps the weights of the leading points and of those that are not complete; removes the others'.

    Args:
        records: of the trials that have ended before.
    """

    def __init__(self, study: Study, plan: Plan, records: Mapping[str, Record]) -> None:
        self._study, self._metric = study, plan.space.scored
        self._trials: dict[str, list[str]] = {}
        for trial in plan.trials:
            self._trials.setdefault(trial.point_id, []).append(trial.trial_id)
        self._scores: dict[str, dict[str, float | None]] = {point_id: {} for point_id in self._trials}
        self._leading: list[tuple[float, str]] = []
        for trial in plan.trials:
            if trial.trial_id in records:
                self.ended(trial, records[trial.trial_id])

    def ended(self, planned: PlannedTrial, record: Record) -> None:
        point_id = planned.point_id
        scores = self._scores[point_id]
        scores[planned.trial_id] = record.facts.get(self._metric) if record.status == "COMPLETE" else None
        if len(scores) < len(self._trials[point_id]):
            return
        values = [score for score in scores.values() if score is not None]
        if len(values) < len(scores):
            self._drop(point_id)  # A point with a failure is never the best; tried again, its trials write anew.
            return
        self._leading = sorted({*self._leading, (sum(values) / len(values), point_id)}, reverse=True)
        while len(self._leading) > LEADING:
            self._drop(self._leading.pop()[1])

    def _drop(self, point_id: str) -> None:
        for trial_id in self._trials[point_id]:
            self._study.drop_model(trial_id)


def _environment() -> dict[str, Any]:
    """The columns of a trial's row that say with what it was made."""
    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, timeout=10)  # noqa: S607
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # Installed into somebody's project, the package lies in a repository that is not its own.
    own = git("rev-parse", "--show-toplevel") == str(here.parents[1])
    changes = git("status", "--porcelain") if own else None
    return {
        "version.mmssl": version("mmssl-tune"),
        "version.python": platform.python_version(),
        "version.ray": ray.__version__,
        "version.optuna": version("optuna"),
        "git.commit": git("rev-parse", "HEAD") if own else None,
        "git.clean": None if changes is None else not changes,
    }
