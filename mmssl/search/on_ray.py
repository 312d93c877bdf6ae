"""Run a study's trials on Ray: it schedules them, this process alone writes the study."""

import logging
import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import ray
from ray import tune
from ray.air._internal import usage
from ray.tune.error import TuneError
from ray.tune.experimental.output import TuneTerminalReporter

from mmssl.private_folder import own_folder, remove
from mmssl.process import uninterrupted
from mmssl.search.callback import RecordingCallback, Scheduler
from mmssl.search.failures import HeadWatch, head_and_here
from mmssl.search.nodes import agreement, check, nodes
from mmssl.search.recorder import Recorder
from mmssl.search.resources import NotStartedError, growth, hold, kill, needed, start
from mmssl.search.searcher import PlanSearcher
from mmssl.search.share import Resources, Share, fit
from mmssl.search.together import groups, needs
from mmssl.search.trainable import trial as run_one
from mmssl.search.work import Abandon, Work


def run_on_ray(work: Work, resources: Resources, log: Path, abandon: Abandon) -> None:
    """Run what has not ended, as many trials at once as fit.

    Args:
        log: of the study; gets Ray's output.
        abandon: called when Ray is gone, perhaps in another thread.
    """
    on_ray = _OnRay(work, abandon)
    current: Resources | None = resources
    with _output_to(log):
        while current is not None and len(work.records) < work.plan.total:
            current = on_ray.go_on(current)


class _OutOfMemoryError(Exception):
    """Workers were killed, by Ray or by the kernel, because the machine had no memory left."""

    def __init__(self, at_once: int) -> None:
        super().__init__()
        self.at_once = at_once


@dataclass
class _OnRay:
    """A study run by one Ray after another: each begins with less at once, where memory ran out."""

    work: Work
    abandon: Abandon
    alone: int = 0
    """How often memory ran out with a single trial at a time, and none had ended since."""

    def go_on(self, resources: Resources) -> Resources | None:
        """Run what has not ended; gives what to go on with, or None where the run was interrupted."""
        work, plan, records = self.work, self.work.plan, self.work.records
        queue, recorder, pruning = work.begin()
        searcher = PlanSearcher(
            plan,
            queue,
            pruning.probes,
            groups(plan, work.recordings, records, resources.together),
            needs(plan, pruning.probes),
        )
        callback = RecordingCallback(recorder, searcher, alone=resources.address is None)
        before = len(records)
        try:
            with own_folder() as folder, _connected(resources.address, folder, self.abandon):
                share = _tune(work, resources, searcher, callback, folder)
        except _OutOfMemoryError as exhausted:
            self.alone = 0 if len(records) > before else self.alone
            return self._with_fewer(resources, exhausted, recorder)
        except (KeyboardInterrupt, SystemExit):
            # Before Tune listens for signals, or a second one while Tune finishes what it has begun.
            return None
        if queue.error:
            raise queue.error
        if len(records) + recorder.out_of_memory < plan.total:
            return None
        return self._with_more_of_a_gpu(resources, share, recorder)

    def _with_more_of_a_gpu(self, resources: Resources, share: Share, recorder: Recorder) -> Resources:
        """For the trials that lacked its memory twice the share; those that had one alone have failed."""
        if 0 < share.gpus < 1 and recorder.out_of_memory:
            more = min(1.0, 2 * share.gpus)
            self.work.say(
                f"a GPU's memory ran out: {recorder.out_of_memory} trials once more, with {more:g} of a GPU each, "
                f"not {share.gpus:g}"
            )
            return replace(resources, gpus_per_trial=more)
        recorder.fail_out_of_memory()
        return resources

    def _with_fewer(self, resources: Resources, exhausted: _OutOfMemoryError, recorder: Recorder) -> Resources:
        """One trial less at once; a trial that alone is too much has failed.

        Raises:
            MemoryError: two in a row were.
        """
        if exhausted.at_once > 1:
            self.work.say(f"memory ran out: from now on {exhausted.at_once - 1} at once, not {exhausted.at_once}")
            return replace(resources, max_concurrent=exhausted.at_once - 1)
        self.alone += 1
        if self.alone > 1:
            raise MemoryError(
                "memory runs out with a single trial at a time: give the machine more, or train with a smaller "
                "pretrain.batch_size; what has ended is kept"
            ) from exhausted
        recorder.fail_running("memory ran out with a single trial at a time")
        return resources


def _tune(work: Work, resources: Resources, searcher: PlanSearcher, callback: RecordingCallback, folder: Path) -> Share:
    study, plan = work.study, work.plan
    if resources.address:
        check(study)
    share = fit(resources, plan.total, [node.resources for node in nodes()], growth() if resources.address else ())
    if share.waits:
        work.say(f"no node has {share.each} yet: waiting for the cluster to grow")
    else:
        work.say(str(share))
    trainable = tune.with_parameters(
        run_one,
        terms=agreement(study),
        setting=work.setting(
            at_once=min(share.at_once, plan.total),
            threads=max(1, int(share.cpus)),
            device="cuda" if share.gpus else "cpu",
            elsewhere=resources.address is not None,
        ),
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": share.cpus, "gpu": share.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=Scheduler(callback.recorder, searcher),
            num_samples=-1,
            max_concurrent_trials=share.at_once,
            # A fresh process imports torch for seconds; a reused one starts a trial at once.
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=datetime.now(UTC).strftime("%Y%m%dT%H%M%S"),
            # What Tune keeps for a restore; workers do not write there, so that it need not be shared.
            storage_path=str(folder / "tune"),
            # It is the recorder that has a trial run again whose worker died: Tune would count lost nodes too.
            callbacks=[callback],
            verbose=0,
        ),
    )
    # At its end Tune looks for the result files that it is set not to write, and complains of each.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
    # Tune begins with a box, and ends with a way on where it was interrupted; both name its folder, which is gone then.
    TuneTerminalReporter.experiment_started = _nothing
    logging.getLogger("ray.tune.tune").setLevel(logging.ERROR)
    # To count callbacks for whom nobody asks, Ray would load MLflow and wandb wherever they are installed: seconds.
    usage.tag_callbacks = lambda callbacks: False
    try:
        tuner.fit()
    except (RuntimeError, TuneError) as error:
        # What the recorder raises Tune raises as a text of its own.
        raised = _behind(error)
        if isinstance(raised, OSError):
            raise raised from None
        # Of a kill of Ray's own Tune makes an error of its own that ends it, where other deaths are a trial's.
        if not isinstance(raised, MemoryError) and "low on memory" not in str(error):
            raise
        raise _OutOfMemoryError(share.at_once) from error
    return share


def _nothing(*_: object, **__: object) -> None:
    pass


def _behind(error: BaseException | None) -> OSError | MemoryError | None:
    """The storage's failure, or the lack of memory, during whose handling an error was raised."""
    while error is not None and not isinstance(error, OSError | MemoryError):
        error = error.__cause__ or error.__context__
    return error


@contextmanager
def _connected(address: str | None, folder: Path, abandon: Abandon) -> Generator[None]:
    """The Ray at an address, or one of this process alone; watched also while it is left, which without it has no end.

    Args:
        folder: for what Ray keeps while it runs.
        abandon: as of `run_on_ray`.
    """
    leaving = threading.Lock()

    def lost(reason: str) -> None:
        hold()
        with leaving:  # The first to see it ends the process, while the other waits.
            abandon(reason, clear)

    def clear() -> None:
        remove(folder)
        kill()  # When the raylet is dead, this process may end at any time.

    try:
        try:
            start(address, folder)
        except NotStartedError as error:
            lost(str(error))
            raise
        with HeadWatch(*head_and_here(), lost, address, needed()) as watch:
            try:
                yield
            except BaseException:
                if reason := watch.gone():  # Rather than what Ray makes of it.
                    lost(reason)
                raise
            finally:
                watch.leave()
                with uninterrupted():
                    ray.shutdown()
    finally:
        with uninterrupted():
            ray.shutdown()  # Of what start has begun, where it did not come to its end.


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
