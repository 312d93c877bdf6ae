"""A study in Trackio: a project of runs, one for each trial, those of a point in a group."""

import contextvars
import importlib
import os
from collections.abc import Sequence
from typing import Any

import trackio

from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.trackers.forwarding import Epoch, TuneTrial, numbers, scores


class Trackio:
    """Logs to where Trackio's variables say: $TRACKIO_DIR, or a space or server."""

    def __init__(self, study: Study, plan: Plan) -> None:
        for name in ("trackio", "trackio.run", "trackio.utils"):
            # They print to standard output, which is for answers to scripts and the live picture.
            vars(importlib.import_module(name))["print"] = lambda *words, **how: None
        self._plan = plan
        self._project = os.environ.get("TRACKIO_PROJECT") or plan.name
        self._runs: dict[str, Any] = {}

    def has(self, trial_id: str, status: str) -> bool:
        """Always True: what a space holds is not to be seen before it has started."""
        return True

    def begin(self, planned: PlannedTrial) -> int:
        trial = TuneTrial(self._plan, planned)
        # In a context of its own: Trackio ends the run that its own has when another begins.
        run = self._runs[planned.trial_id] = contextvars.copy_context().run(
            trackio.init,
            self._project,
            str(trial),
            group=planned.point_id[:8],
            config=trial.config,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return run._next_step  # pyright: ignore[reportPrivateUsage] - there is no public name for it

    def epochs(self, planned: PlannedTrial, before: int, epochs: Sequence[Epoch]) -> None:
        for step, epoch in enumerate(epochs, before):
            self._runs[planned.trial_id].log({**numbers(epoch), f"{epoch['phase']}/epoch": epoch["epoch"]}, step=step)

    def end(self, planned: PlannedTrial, record: Record) -> None:
        run = self._runs.pop(planned.trial_id)
        # At the last epoch's step: a trial that is tried again takes a step more for an epoch that is there.
        step = run._next_step - 1  # pyright: ignore[reportPrivateUsage]
        run.log({**scores(record.facts), "status": record.status, "cause": record.cause}, step=step)
        run.finish()

    def stop(self) -> None:
        for run in self._runs.values():
            run.finish()
        self._runs.clear()
