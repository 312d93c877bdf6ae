"""A study in MLflow: an experiment with a run for each trial, by Ray's callback."""

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import LoggedModelStatus, Metric, Param, RunTag
from ray.air.integrations.mlflow import MLflowLoggerCallback
from sqlalchemy import URL

from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.trackers.forwarding import Epoch, TuneTrial, numbers, scores

_STUDY, _TRIAL, _EPOCHS = "mmssl.study", "mmssl.trial_id", "mmssl.epochs"
_STATUS, _CAUSE = "mmssl.status", "mmssl.cause"
_ADDRESS = "MLFLOW_TRACKING_URI"
_STATUSES = {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}
_AT_ONCE = 40
"""Epochs in one request, which takes 1000 numbers at most."""


class MLflow(MLflowLoggerCallback):
    """Ray's callback for the server, the experiment, and the runs' begin and end.

    It does not log: Ray's logging drops every number of a batch of epochs, turns a trial's id into a number (7731e94 is
    infinite), and makes two requests for each.
    """

    def __init__(self, study: Study, plan: Plan) -> None:
        uri, given = _uri(study), os.environ.get(_ADDRESS)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or plan.name
        super().__init__(uri, experiment_name=name, tags={_STUDY: plan.name}, log_params_on_trial_end=True)
        self.setup()
        if not given:  # MLflow puts its address there, and the next study of this process would take it for the user's.
            os.environ.pop(_ADDRESS, None)
        self._plan = plan
        self._client = mlflow.MlflowClient(uri)
        self._trials: dict[str, TuneTrial] = {}
        self._found = {run.data.tags[_TRIAL]: run for run in self._runs() if _TRIAL in run.data.tags}

    def has(self, trial_id: str, status: str) -> bool:
        run = self._found.get(trial_id)
        return run is not None and run.info.status != "RUNNING" and run.data.tags.get(_STATUS) == status

    def begin(self, planned: PlannedTrial) -> int:
        trial = self._trials[planned.trial_id] = TuneTrial(self._plan, planned)
        earlier = self._found.get(planned.trial_id)
        if earlier:
            self._trial_runs[trial] = earlier.info.run_id
            self._client.update_run(earlier.info.run_id, status="RUNNING")
            for tag in earlier.data.tags.keys() & {_STATUS, _CAUSE}:  # Of a trial that is tried again.
                self._client.delete_tag(earlier.info.run_id, tag)
            return int(earlier.data.tags.get(_EPOCHS, 0))
        self.log_trial_start(trial)  # pyright: ignore[reportArgumentType]
        self._client.log_batch(
            self._trial_runs[trial],
            params=[Param(name, str(value)[:6000]) for name, value in trial.config.items()],
            tags=[RunTag(_TRIAL, planned.trial_id)],
        )
        return 0

    def epochs(self, planned: PlannedTrial, before: int, epochs: Sequence[Epoch]) -> None:
        run = self._trial_runs[self._trials[planned.trial_id]]
        for start in range(0, len(epochs), _AT_ONCE):
            part = epochs[start : start + _AT_ONCE]
            metrics = [one for epoch in part for one in _metrics(numbers(epoch), int(epoch["epoch"]))]
            # Their number is kept with them, so that a resumed study does not log them twice.
            tags = [RunTag(_EPOCHS, str(before + start + len(part)))]
            self._client.log_batch(run, metrics=metrics, tags=tags)

    def end(self, planned: PlannedTrial, record: Record) -> None:
        run = self._trial_runs.pop(self._trials.pop(planned.trial_id))
        tags = {_STATUS: record.status, _CAUSE: record.cause[:5000]}
        tags |= {name: str(record.facts[name]) for name in ("host", "device") if record.facts.get(name)}
        self._client.log_batch(
            run,
            metrics=list(_metrics(scores(record.facts), 0)),
            tags=[RunTag(name, value) for name, value in tags.items() if value],
        )
        self.mlflow_util.end_run(_STATUSES.get(record.status, "FAILED"), run)

    def stop(self) -> None:
        """Nothing: an interrupted run goes on when the study is resumed."""

    def _runs(self) -> Iterator[Any]:
        token = None
        while True:
            page = self._client.search_runs(
                [self.mlflow_util.experiment_id or ""], f"tags.`{_STUDY}` = '{self._plan.name}'", page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return


def register(
    study: Study,
    plan: Plan,
    folder: Path,
    trial: PlannedTrial | None,
    point: PlannedTrial,
    metrics: Mapping[str, float],
) -> str | None:
    """Make exported encoders a LoggedModel of the study's experiment, if it has one; the files stay where they are.

    Args:
        trial: whose weights they are; None where they were trained anew.
        point: any trial of the point.

    Returns:
        Its id; None where MLflow has no run of the study.
    """
    client = mlflow.MlflowClient(_uri(study))
    experiment = client.get_experiment_by_name(os.environ.get("MLFLOW_EXPERIMENT_NAME") or plan.name)
    of_study = f"tags.`{_STUDY}` = '{plan.name}'"
    if experiment is None or not client.search_runs([experiment.experiment_id], of_study, max_results=1):
        return None
    of_trial = f"{of_study} and tags.`{_TRIAL}` = '{trial.trial_id if trial else ''}'"
    runs = client.search_runs([experiment.experiment_id], of_trial, max_results=1)
    run = runs[0].info.run_id if runs else None
    config = {name: str(value)[:500] for name, value in TuneTrial(plan, trial or point).config.items()}
    made = client.create_logged_model(
        experiment.experiment_id,
        name=re.sub(r"[/:.%\"']", "-", plan.name),
        source_run_id=run,
        params=config if trial else {name: config[name] for name in config if name not in _OF_A_TRIAL},
        tags={_STUDY: plan.name, "mmssl.folder": str(folder), "mmssl.point": point.point_id},
        model_type="mmssl",
    )
    if run:
        now = int(1000 * time.time())
        own = [Metric(f"export/{name}", value, now, 0, model_id=made.model_id) for name, value in metrics.items()]
        client.log_batch(run, metrics=own)
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    return made.model_id


def _uri(study: Study) -> str:
    """The address in $MLFLOW_TRACKING_URI, or of the database beside the studies."""
    for variable, value in (("TIMEOUT", "10"), ("MAX_RETRIES", "2")):  # By default a server that is gone takes minutes.
        os.environ.setdefault(f"MLFLOW_HTTP_REQUEST_{variable}", value)
    beside = URL.create("sqlite", database=f"{study.root}/mlflow.db")
    return os.environ.get(_ADDRESS) or beside.render_as_string(hide_password=False)


_OF_A_TRIAL = ("trial_id", "seed", "fold", "data.validation_subjects")


def _metrics(values: Mapping[str, float], step: int) -> Iterator[Metric]:
    now = int(1000 * time.time())
    for name, value in values.items():
        yield Metric(name, value, now, step)
