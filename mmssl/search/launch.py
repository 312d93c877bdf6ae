"""Run what a plan still lacks: Ray schedules, this process alone writes the study."""

import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import ray
from ray import tune
from ray.air._internal import usage
from ray.tune.error import TuneError

from mmssl.data.recordings import Recordings
from mmssl.errors import UserError
from mmssl.private_folder import own_folder
from mmssl.process import interrupt_when_ended
from mmssl.recipe import MODALITIES, Modality
from mmssl.search.failures import HeadWatch, head_and_here
from mmssl.search.nodes import agreement, check, nodes
from mmssl.search.pruning import Pruning
from mmssl.search.recorder import Recorder, Scheduler, Watch
from mmssl.search.resources import NotStartedError, Resources, Share, fit, growth, kill, start
from mmssl.search.sampler import PointSampler
from mmssl.search.searcher import PlanSearcher
from mmssl.search.together import groups, needs
from mmssl.search.trainable import trial as run_one
from mmssl.study.folder import LOG, Record, Study, Tables, most_pretrained
from mmssl.study.plan import TERMINAL, Plan, PlannedTrial
from mmssl.study.status import begin, end
from mmssl.trackers.forwarding import Relay
from mmssl.trackers.registry import relays
from mmssl.training.prepared import Prepared


class _OutOfMemoryError(Exception):
    """Workers were killed, by Ray or by the kernel, because the machine had no memory left."""

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
    known: Callable[[Collection[Record]], None] = lambda records: None,
    retry: bool = False,
    programs: Sequence[str] = (),
    say: Callable[[str], None] = lambda line: None,
    abandon: Callable[[str], None] = lambda reason: None,
) -> dict[str, Record]:
    """Run every planned trial that has not ended, and write the study's tables.

    Where memory runs out, fewer trials run at once from then on; where that of a GPU does, the trials that ran out are
    run again at the end, each with twice the share. A trial that alone is too much is recorded as FAILED.

    Args:
        recordings: those the plan was made for.
        watch: called in this process whenever a trial's record changes.
        known: called once, with what is kept of the trials that have ended before.
        retry: run trials that FAILED or whose record is damaged once more; those that diverged or collapsed would do so
            again.
        programs: those that are told of it as it runs; see `mmssl.trackers.registry`.
        say: told what the user should know while it runs.
        abandon: called with the reason, perhaps in another thread, when Ray is gone and this process should end at
            once, as it may be caught in Ray; the study is whole, and what has ended is kept.

    Returns:
        The record of every trial that has ended, by trial id; fewer than planned where the run was interrupted.

    Raises:
        UserError: other recordings than the plan's, another driver at work, a damaged record, or more asked per trial
            than there is.
        MemoryError: there is not enough for any trial.
    """
    if recordings.fingerprint != plan.dataset.fingerprint:
        raise UserError(
            f"study {study.name} was planned for other recordings: fingerprint {plan.dataset.fingerprint[:12]}, "
            f"these have {recordings.fingerprint[:12]}; give it its own data, or launch a new study"
        )
    most_pretrained()  # Refused here, not by every trial.
    with study.locked(), _driven(study), study.scratch() as scratch, _output_to(scratch / LOG):
        damaged = dict[str, str]()
        records = study.records(plan, damaged if retry else None)
        for name, why in damaged.items():
            aside = study.set_aside(name)
            say(f"{study.files.place(name)}: damaged ({why}); kept as {aside}, and its trial is run again")
        if retry:
            for trial_id in [record.trial_id for record in records.values() if record.status == "FAILED"]:
                study.forget(trial_id)
                del records[trial_id]
        tables = Tables(study, plan)
        for trial_id, record in records.items():
            tables.put(record)
            records[trial_id] = record.brief()  # Of thousands, the rest would fill the memory.
        known(records.values())
        followed = relays(programs, study, plan, say)

        def leave(reason: str) -> None:
            for settle in (tables.settle, lambda: end(study)):
                with suppress(Exception):  # None of them is worth what the others do.
                    settle()
            abandon(reason)

        work = _Work(study, plan, recordings, records, tables, _all_of(watch, followed), say, leave)
        try:
            for relay in followed:
                relay.start([plan.trial(trial_id) for trial_id in records])
            asked: Resources | None = resources
            while asked is not None and len(records) < plan.total:
                asked = work.go_on(asked)
        finally:
            with suppress(KeyboardInterrupt):  # A second one waits for none of them.
                for relay in followed:
                    relay.close()
            with _uninterrupted():
                tables.settle()
    return records


@dataclass
class _Work:
    """What is left of a study, run by one Ray after another: each begins with less at once, where memory ran out."""

    study: Study
    plan: Plan
    recordings: Recordings
    records: dict[str, Record]
    tables: Tables
    watch: Watch
    say: Callable[[str], None]
    abandon: Callable[[str], None]
    alone: int = 0
    """How often memory ran out with a single trial at a time, and none had ended since."""

    def go_on(self, resources: Resources) -> Resources | None:
        """Run what has not ended; gives what to go on with, or None where the run was interrupted."""
        plan, records = self.plan, self.records
        sampler = PointSampler(plan, self.study.choices(), records) if plan.space.sampler != "grid" else None
        pruning = Pruning(plan, records)
        searcher = PlanSearcher(
            plan,
            records,
            _chooser(self.study, plan, sampler),
            pruning.probes,
            groups(plan, self.recordings, records, resources.together),
            needs(plan, pruning.probes),
        )
        recorder = Recorder(
            self.study,
            plan,
            self.tables,
            searcher,
            records,
            _logged(self.watch),
            pruning,
            sampler,
            alone=resources.address is None,
        )
        before = len(records)
        try:
            with own_folder() as folder, _connected(resources.address, folder, self.abandon):
                share = _tune(self.study, plan, self.recordings, resources, searcher, recorder, self.say, folder)
        except _OutOfMemoryError as exhausted:
            self.alone = 0 if len(records) > before else self.alone
            return self._with_fewer(resources, exhausted, recorder)
        except (KeyboardInterrupt, SystemExit):
            # Before Tune listens for signals, or a second one while Tune finishes what it has begun.
            return None
        if searcher.error:
            raise searcher.error
        if len(records) + recorder.starved < plan.total:
            return None
        return self._with_more_of_a_gpu(resources, share, recorder)

    def _with_more_of_a_gpu(self, resources: Resources, share: Share, recorder: Recorder) -> Resources:
        """For the trials that lacked its memory twice the share; those that had one alone have failed."""
        if 0 < share.gpus < 1 and recorder.starved:
            more = min(1.0, 2 * share.gpus)
            self.say(
                f"a GPU's memory ran out: {recorder.starved} trials once more, with {more:g} of a GPU each, "
                f"not {share.gpus:g}"
            )
            return replace(resources, gpus_per_trial=more)
        recorder.fail_starved()
        return resources

    def _with_fewer(self, resources: Resources, exhausted: _OutOfMemoryError, recorder: Recorder) -> Resources:
        """One trial less at once; a trial that alone is too much has failed.

        Raises:
            MemoryError: two in a row were.
        """
        if exhausted.at_once > 1:
            self.say(f"memory ran out: from now on {exhausted.at_once - 1} at once, not {exhausted.at_once}")
            return replace(resources, max_concurrent=exhausted.at_once - 1)
        self.alone += 1
        if self.alone > 1:
            raise MemoryError(
                "memory runs out with a single trial at a time: give the machine more, or train with a smaller "
                "pretrain.batch_size; what has ended is kept"
            ) from exhausted
        recorder.fail_running("memory ran out with a single trial at a time")
        return resources


def _tune(
    study: Study,
    plan: Plan,
    recordings: Recordings,
    resources: Resources,
    searcher: PlanSearcher,
    recorder: Recorder,
    say: Callable[[str], None],
    folder: Path,
) -> Share:
    bases = list(plan.bases.values())
    modalities: list[Modality] = [name for name in MODALITIES if any(name in base.data.modalities for base in bases)]
    steps = set(plan.space.grid.get("data.steps", [base.data.steps for base in bases]))
    if resources.address:
        check(study)
    share = fit(resources, plan.total, [node.resources for node in nodes()], growth() if resources.address else ())
    if share.waits:
        say(f"no node has {share.each} yet: waiting for the cluster to grow")
    else:
        say(str(share))
    trainable = tune.with_parameters(
        run_one,
        root=study.root,
        study=study.name,
        terms=agreement(study),
        prepared={length: Prepared.of(recordings, length, modalities) for length in steps},
        splits=plan.splits(recordings),
        side=plan.space.side,
        keep_models=plan.space.keep_models != "none",
        probe_every=plan.space.probe_every,
        at_once=min(share.at_once, plan.total),
        threads=max(1, int(share.cpus)),
        device="cuda" if share.gpus else "cpu",
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": share.cpus, "gpu": share.gpus}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=Scheduler(recorder),
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
            callbacks=[recorder],
            verbose=0,
        ),
    )
    # At its end Tune looks for the result files it was told not to write, and complains of each.
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
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


def _all_of(watch: Watch, followed: Sequence[Relay]) -> Watch:
    """Tell the watcher, and the programs that follow."""

    def told(planned: PlannedTrial, record: Record) -> None:
        watch(planned, record)
        for relay in followed:
            relay.changed(planned, record)

    return told if followed else watch


def _behind(error: BaseException | None) -> OSError | MemoryError | None:
    """The storage's failure, or the lack of memory, during whose handling an error was raised."""
    while error is not None and not isinstance(error, OSError | MemoryError):
        error = error.__cause__ or error.__context__
    return error


def _logged(watch: Watch) -> Watch:
    """Also write a line into the study's log, where standard error goes, when a trial has ended."""

    def both(planned: PlannedTrial, record: Record) -> None:
        watch(planned, record)
        if record.status in TERMINAL:
            point = " ".join(f"{knob}={value}" for knob, value in planned.point.items())
            ended = f"{record.status} {record.cause}".rstrip()
            sys.stderr.write(f"{datetime.now(UTC):%F %T} {point} seed={planned.seed} fold={planned.fold}: {ended}\n")
            sys.stderr.flush()

    return both


@contextmanager
def _driven(study: Study) -> Generator[None]:
    """Say in the study that this process runs it."""
    interrupt_when_ended()
    begin(study)
    try:
        yield
    finally:
        end(study)


@contextmanager
def _connected(address: str | None, folder: Path, abandon: Callable[[str], None]) -> Generator[None]:
    """The Ray at an address, or one of this process alone; watched also while it is left, which without it has no end.

    Args:
        folder: for what Ray keeps while it runs.
        abandon: called with the reason where it is gone.
    """
    leaving = threading.Lock()

    def lost(reason: str) -> None:
        with leaving:  # The first to see it ends the process, while the other waits.
            kill()
            shutil.rmtree(folder, ignore_errors=True)
            abandon(reason)

    try:
        try:
            start(address, folder)
        except NotStartedError as error:
            lost(str(error))
            raise
        with HeadWatch(*head_and_here(), lost, address) as watch:
            try:
                yield
            except BaseException:
                if reason := watch.gone():  # Rather than what Ray makes of it.
                    lost(reason)
                raise
            finally:
                watch.leave()
                with _uninterrupted():
                    ray.shutdown()
    finally:
        with _uninterrupted():
            ray.shutdown()  # Of what start has begun, where it did not come to its end.


@contextmanager
def _uninterrupted() -> Generator[None]:
    """Come to the end of what leaves the study whole: Ctrl-C is often pressed twice."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _chooser(study: Study, plan: Plan, sampler: PointSampler | None) -> Callable[[], list[PlannedTrial]]:
    """Chooses a point and plans its trials; it is kept before any of them runs."""

    def choose() -> list[PlannedTrial]:
        if sampler is None:
            return []
        choice = sampler.ask()
        trials = plan.trials_at(choice.point)
        study.keep_choice(choice.model_copy(update={"trials": tuple(trials)}))
        return plan.add(choice.point, trials)

    return choose


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
