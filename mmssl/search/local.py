"""Run a study's trials in this process, one after the other, without Ray: for debuggers, notebooks and tests."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any, Self

import torch

from mmssl.process import END_REQUESTED, cpus
from mmssl.search import one_trial
from mmssl.search.one_trial import threads
from mmssl.search.recorder import Recorder
from mmssl.search.setting import Setting, config_of
from mmssl.search.share import Resources, fit
from mmssl.search.work import Work
from mmssl.study.plan import PlannedTrial


def run_here(work: Work, resources: Resources) -> None:
    """Run what has not ended in the plan's order, until the end or Ctrl-C.

    A trial computes with as many threads as it would on a Ray of this machine alone, and so comes to the same bits.

    Raises:
        UserError: more is requested per trial than there is, or a sampler finds no further point.
        OSError: the study cannot be written any more.
    """
    there = {"CPU": cpus(), "GPU": torch.cuda.device_count()}
    share = replace(fit(resources, work.plan.total, [there]), at_once=1)
    work.say(str(share))
    setting = work.setting(at_once=1, threads=max(1, int(share.cpus)), device="cuda" if share.gpus else "cpu")
    queue, recorder, pruning = work.begin()
    try:
        with _Interrupts() as interrupts, threads(setting.threads):
            while queue.fill():
                planned = queue.waiting.popleft()
                with interrupts.after():
                    recorder.begin(planned)
                config = config_of(work.plan, planned, pruning.probes(planned))
                _run(config, setting, partial(_take, recorder, planned, interrupts))
    except (KeyboardInterrupt, SystemExit):
        return
    if queue.error:
        raise queue.error


def _run(config: dict[str, Any], setting: Setting, take: Callable[[dict[str, Any]], bool]) -> None:
    """Run a trial until it ends, or `take` says of a report that it is to train no further."""
    failure: Exception | None = None

    def report(result: dict[str, Any]) -> None:
        nonlocal failure
        try:
            stopped = take(result)
        except Exception as error:  # The study's failure, and no outcome of the trial.
            failure = error
            raise _Stopped from error
        if stopped:
            raise _Stopped

    try:
        one_trial.run(config, setting, report)
    except _Stopped:
        if failure:
            raise failure from None


def _take(recorder: Recorder, planned: PlannedTrial, interrupts: "_Interrupts", result: dict[str, Any]) -> bool:
    """Record a report; whether the trial is to be stopped."""
    with interrupts.after():
        stopped = "end" not in result and recorder.prunes(planned, result["epochs"])
        recorder.report(planned, {**result, "done": stopped})
        recorder.fail_out_of_memory()  # It had the GPU for itself.
    return stopped


class _Stopped(BaseException):
    """Ends a trial that is to train no further, past those who take an error for its outcome."""


class _Interrupts:
    """Ctrl-C ends the trial that trains at once, but not what is being recorded: that comes to its end first."""

    def __init__(self) -> None:
        self._before: Any = None
        self._wait = self._came = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._come)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    @contextmanager
    def after(self) -> Generator[None]:
        """Put what comes meanwhile off until the end of this."""
        self._wait = True
        try:
            yield
        finally:
            self._wait = False
        if self._came:
            raise KeyboardInterrupt

    def _come(self, number: int, frame: FrameType | None) -> None:
        if self._before is signal.SIG_IGN and not END_REQUESTED.is_set():  # A shell's job in the background.
            return
        self._came = True
        if not self._wait:
            raise KeyboardInterrupt
