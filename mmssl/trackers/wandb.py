"""A study in Weights & Biases: a group of runs, one for each trial, by Ray's callback."""

import os
from collections.abc import Sequence
from typing import Any

import wandb
from ray.air.integrations.wandb import WandbLoggerCallback

from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.trackers.forwarding import TRACKER_TIMEOUT_S, Epoch, TuneTrial, numbers, scores


class Wandb(WandbLoggerCallback):
    """Ray's callback for the key, the project and the runs' settings; the runs are all of this process.

    Ray starts two processes for each trial, which import Ray and wandb: with four trials of a second the driver waited
    eleven seconds for the first. They also drop batches of epochs.
    """

    def __init__(self, study: Study, plan: Plan) -> None:
        local = study.files.local
        super().__init__(
            project=os.environ.get("WANDB_PROJECT") or "mmssl-tune",
            group=os.environ.get("WANDB_RUN_GROUP") or plan.name,
            dir=os.environ.get("WANDB_DIR") or (str(local) if local else None),
            resume="allow",
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                save_code=False,
                disable_git=True,
                disable_job_creation=True,
                finish_timeout=TRACKER_TIMEOUT_S,
                init_timeout=TRACKER_TIMEOUT_S,
                x_disable_stats=True,
                x_disable_meta=True,  # The command line and the machine are nobody's business.
            ),
        )
        self.setup()
        self._plan = plan
        self._runs: dict[str, Any] = {}

    def has(self, trial_id: str, status: str) -> bool:
        """Always: offline there is no server to ask."""
        return True

    def begin(self, planned: PlannedTrial) -> int:
        self.log_trial_start(TuneTrial(self._plan, planned))  # pyright: ignore[reportArgumentType]
        return int(self._runs[planned.trial_id].step)  # Online, the step of an interrupted run goes on.

    def epochs(self, planned: PlannedTrial, before: int, epochs: Sequence[Epoch]) -> None:
        for step, epoch in enumerate(epochs, before):
            self._runs[planned.trial_id].log({**numbers(epoch), f"{epoch['phase']}/epoch": epoch["epoch"]}, step=step)

    def end(self, planned: PlannedTrial, record: Record) -> None:
        run = self._runs.pop(planned.trial_id)
        run.summary.update({**scores(record.facts), "status": record.status, "cause": record.cause})
        run.finish(exit_code=0 if record.status in ("COMPLETE", "PRUNED") else 1)

    def stop(self) -> None:
        for run in self._runs.values():
            run.finish(exit_code=1)
        self._runs.clear()

    def _start_logging_actor(self, trial: Any, exclude_results: list[str], **init: Any) -> None:
        run = self._runs[trial.trial_id] = wandb.init(**init)
        for phase in (*(f"guide.{modality}" for modality in self._plan.dataset.modalities), "pretrain", "finetune"):
            run.define_metric(f"{phase}/*", step_metric=f"{phase}/epoch")

    def __del__(self) -> None:
        """Nothing: the parent waits here for processes that were never started."""
