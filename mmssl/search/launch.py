"""Run what a plan still lacks: Ray schedules, this process alone writes the study."""

import logging
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Tune's own result files would repeat ours, at a price per trial and report.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# glibc gives large activations back to the system and maps them anew in each step: a third of a step's time.
os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(10**11))
# Tune runs each trial in a new thread, and glibc gives each thread a heap of its own: they would grow without end.
os.environ.setdefault("MALLOC_ARENA_MAX", "1")
# Under `uv run`, Ray would start every worker through uv again.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
# Nothing about a lab's work leaves its machines unasked.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray import tune

from mmssl.data.protocols import split
from mmssl.data.recordings import Recordings
from mmssl.errors import UserError
from mmssl.recipe import MODALITIES, Modality
from mmssl.search.plan import Plan, PlannedTrial
from mmssl.search.searcher import OptunaStudy, PlanSearcher
from mmssl.search.store import Record, Study, Tables
from mmssl.search.trainable import trial as run_one
from mmssl.training import Prepared

RESTARTS = 2
"""How often a trial whose worker died is started again; it goes on from its last snapshot."""

LEADING = 3
"""Points whose weights are kept, of those that are complete."""

Watch = Callable[[PlannedTrial, Record], None]


@dataclass(frozen=True)
class Resources:
    """What one trial may use, and how many run at once."""

    cpus_per_trial: float = 1.0
    gpus_per_trial: float | None = None
    """None: a quarter of a GPU where there are GPUs, else none."""
    max_concurrent: int | None = None
    """None: as many as fit."""


class _OutOfMemoryError(Exception):
    """Ray has killed workers because the machine had no memory left."""

    def __init__(self, at_once: int) -> None:
        super().__init__()
        self.at_once = at_once


def run(
    study: Study,
    plan: Plan,
    recordings: Recordings,
    resources: Resources,
    watch: Watch,
    *,
    retry: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Record]:
    """Run every planned trial that has not ended, and write the study's tables.

    Where memory runs out, fewer trials run at once from then on; a trial that alone is too much is recorded as FAILED.

    Args:
        recordings: those the plan was made for.
        watch: called in this process whenever a trial's record changes.
        retry: run trials that FAILED once more; those that diverged or collapsed would do so again.
        say: told what the user should know while it runs.

    Returns:
        The record of every trial that has ended, by trial id; fewer than planned where the run was interrupted.

    Raises:
        UserError: other recordings than the plan's, another driver at work, or more asked per trial than there is.
        MemoryError: there is not enough for any trial.
    """
    if recordings.fingerprint != plan.dataset.fingerprint:
        raise UserError(
            f"study {study.name} was planned for other recordings: fingerprint {plan.dataset.fingerprint[:12]}, "
            f"these have {recordings.fingerprint[:12]}; give it its own data, or launch a new study"
        )
    with study.locked(), _output_to(study.log_path):
        records = study.records(plan)
        if retry:
            for trial_id in [record.trial_id for record in records.values() if record.status == "FAILED"]:
                study.forget(trial_id)
                del records[trial_id]
        tables = Tables(study, plan)
        for record in records.values():
            tables.put(record)
        try:
            if len(records) == len(plan.trials):
                OptunaStudy(study.optuna_path, plan, records)
            alone = 0
            while len(records) < len(plan.trials):
                optuna_study = OptunaStudy(study.optuna_path, plan, records)
                searcher = PlanSearcher(plan, optuna_study, records)
                recorder = _Recorder(study, plan, tables, searcher, optuna_study, records, watch)
                before = len(records)
                try:
                    _tune(study, plan, recordings, resources, searcher, recorder)
                    break
                except _OutOfMemoryError as exhausted:
                    if exhausted.at_once > 1:
                        resources = replace(resources, max_concurrent=exhausted.at_once - 1)
                        say(f"memory ran out: from now on {exhausted.at_once - 1} at once, not {exhausted.at_once}")
                        continue
                    alone = 1 if len(records) > before else alone + 1
                    if alone > 1:
                        raise MemoryError(
                            "memory runs out with a single trial at a time: give the machine more, or train with a "
                            "smaller pretrain.batch_size; what has ended is kept"
                        ) from exhausted
                    recorder.fail_running("memory ran out with a single trial at a time")
                finally:
                    ray.shutdown()
        finally:
            tables.settle()
    return records


def _tune(
    study: Study,
    plan: Plan,
    recordings: Recordings,
    resources: Resources,
    searcher: PlanSearcher,
    recorder: "_Recorder",
) -> None:
    recipes = [plan.recipe(planned) for planned in plan.trials]
    modalities: list[Modality] = [
        name for name in MODALITIES if any(name in recipe.data.modalities for recipe in recipes)
    ]
    splits = {recipe.data.validation_subjects: split(recordings, recipe.data) for recipe in recipes}
    # Ray hands the interpreter's path to a shell as it is: one with a space in it has to be quoted, and costs a second.
    python = shlex.quote(sys.executable)
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        runtime_env=None if python == sys.executable else {"py_executable": python},
    )
    cpus, gpus, at_once = _fit(resources, ray.cluster_resources())
    trainable = tune.with_parameters(
        run_one,
        root=str(study.folder.parent),
        study=study.name,
        prepared={
            steps: Prepared.of(recordings, steps, modalities) for steps in {recipe.data.steps for recipe in recipes}
        },
        splits=splits,
        side=plan.space.side,
        shared=plan.shared_pretrainings(),
        keep_models=plan.space.keep_models != "none",
        threads=max(1, int(cpus)),
        device="cuda" if gpus else "cpu",
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": cpus, "gpu": gpus}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            max_concurrent_trials=at_once,
            # A fresh process imports torch for seconds; a reused one starts a trial at once.
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=datetime.now(UTC).strftime("%Y%m%dT%H%M%S"),
            storage_path=str(study.ray_folder),
            callbacks=[recorder],
            # Of workers that die; what a trial raises is reported, and would be raised again.
            failure_config=tune.FailureConfig(max_failures=RESTARTS),
            verbose=0,
        ),
    )
    # At its end Tune looks for the result files it was told not to write, and complains of each.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    try:
        tuner.fit()
    except RuntimeError as error:
        # Of an out-of-memory kill Tune makes an error of its own that ends it, where other deaths are a trial's.
        if "low on memory" not in str(error):
            raise
        raise _OutOfMemoryError(at_once) from error


def _fit(resources: Resources, there: Mapping[str, float]) -> tuple[float, float, int]:
    """CPUs and GPUs per trial, and how many trials run at once."""
    cpus, gpus = resources.cpus_per_trial, resources.gpus_per_trial
    if gpus is None:
        gpus = 0.25 if there.get("GPU") else 0.0
    for what, asked in (("CPU", cpus), ("GPU", gpus)):
        if asked > there.get(what, 0):
            raise UserError(
                f"--{what.lower()}s-per-trial {asked:g}: there are {there.get(what, 0):g} {what}s; ask for no more"
            )
    fits = [there["CPU"] // cpus] if cpus else []
    if gpus:
        # A fraction must fit into one device: three trials of 0.3 on each.
        fits.append(there["GPU"] * (1 // gpus) if gpus <= 1 else there["GPU"] // gpus)
    return cpus, gpus, max(1, min([int(fit) for fit in fits] + [resources.max_concurrent or sys.maxsize]))


class _Recorder(tune.Callback):
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
        self._models = _Models(study, plan, records) if plan.space.keep_models == "best" else None
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


class _Models:
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


@contextmanager
def _output_to(path: Path) -> Generator[None]:
    """Send standard output and error to a file, descriptors and all: Ray's C++ parts write past Python's streams.

    Whoever wants to reach the terminal meanwhile keeps a duplicate of its descriptor.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, copy in zip((1, 2), saved, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
