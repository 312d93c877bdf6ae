"""Run what a plan still lacks, on Ray or in this process; this process alone writes the study."""

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from mmssl.data.recordings import Recordings
from mmssl.errors import UserError
from mmssl.process import interrupted_when_ended, uninterrupted
from mmssl.search.recorder import Watch
from mmssl.search.share import Resources
from mmssl.search.work import Abandon, Work, reopen
from mmssl.study.folder import LOG, Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.pretrained import most_pretrained
from mmssl.study.record import Record
from mmssl.study.status import begin, end
from mmssl.study.tables import Tables
from mmssl.study.words import TERMINAL
from mmssl.trackers.forwarding import Forwarder
from mmssl.trackers.notify import Notifier, notifying
from mmssl.trackers.registry import forwarders, load

_SECONDS_TO_NOTIFY = 5.0
"""How long a process that is about to end waits for a webhook."""


def run(
    study: Study,
    plan: Plan,
    recordings: Recordings,
    resources: Resources,
    watch: Watch,
    *,
    on_existing: Callable[[Collection[Record]], None] = lambda records: None,
    retry: bool = False,
    programs: Sequence[str] = (),
    notify: str | None = None,
    say: Callable[[str], None] = lambda line: None,
    abandon: Callable[[str], None] = lambda reason: None,
) -> dict[str, Record]:
    """Run every planned trial that has not ended, and write the study's tables.

    Where memory runs out, fewer trials run at once from then on; where that of a GPU does, the trials that ran out are
    run again at the end, each with twice the share. A trial that alone is too much is recorded as FAILED.

    Args:
        recordings: those the plan was made for.
        watch: called in this process whenever a trial's record changes.
        on_existing: called at the start, with what is kept of the trials that have ended before.
        retry: run trials that FAILED or whose record is damaged once more; those that diverged or collapsed would do so
            again.
        programs: trackers that it reports to as it runs; see `mmssl.trackers.registry`.
        notify: address of a webhook that gets its end, its first failure, and when it stands still.
        say: called with what the user should read while it runs.
        abandon: called with the reason, perhaps in another thread, when Ray is gone and this process should end at
            once, as it may be caught in Ray; the study is whole, and what has ended is kept.

    Returns:
        The record of every trial that has ended, by trial id; fewer than planned where the run was interrupted.

    Raises:
        UserError: other recordings than the plan's, another driver at work, a damaged record, or more requested per
            trial than there is.
        MemoryError: there is not enough for any trial.
    """
    if recordings.fingerprint != plan.dataset.fingerprint:
        raise UserError(
            f"study {study.name} was planned for other recordings: fingerprint {plan.dataset.fingerprint[:12]}, "
            f"these have {recordings.fingerprint[:12]}; give it its own data, or launch a new study"
        )
    most_pretrained()  # Refused here, not by every trial.
    with study.locked(), _driven(study), study.scratch() as scratch:
        damaged = dict[str, str]()
        records = study.records(plan, damaged if retry else None)
        for name, why in damaged.items():
            aside = study.set_aside(name)
            say(f"{study.files.place(name)}: damaged ({why}); kept as {aside}, and its trial is run again")
        if retry:
            for trial_id in [record.trial_id for record in records.values() if record.status == "FAILED"]:
                study.forget(trial_id)
                del records[trial_id]
        reopen(study, plan, records)  # Before anybody counts it as ended.
        tables = Tables(study, plan)
        for trial_id, record in records.items():
            tables.put(record)
            records[trial_id] = record.brief()  # Of thousands, the rest would fill the memory.
        on_existing(records.values())
        trackers = forwarders(programs, study, plan, say)

        with notifying(notify, study, plan, say) as notifier:

            def leave(reason: str, clear: Callable[[], None]) -> None:
                notify_end = partial(notifier.close, reason, _SECONDS_TO_NOTIFY) if notifier else _nothing
                for settle in (tables.settle, lambda: end(study), notify_end, clear):
                    with suppress(Exception):  # None of them is worth what the others do.
                        settle()
                abandon(reason)

            log = scratch / LOG

            def note(line: str) -> None:
                _log(log, line)
                say(line)

            _log(log, f"{plan.total - len(records)} of {plan.total} trials to run")
            listeners = [*trackers, *([notifier] if notifier else [])]
            work = Work(study, plan, recordings, records, tables, _logged(_all_of(watch, listeners), log), note)
            try:
                # Before trackers start: one whose thread imports Ray too would find half of it.
                run_all = _here() if resources.local else _on_ray(log, leave)
                if resources.local:
                    load(programs)
                ended = [(plan.trial(trial_id), record.status) for trial_id, record in records.items()]
                for tracker in trackers:
                    tracker.start(ended)
                run_all(work, resources)
            finally:
                with suppress(KeyboardInterrupt):  # A second one waits for none of them.
                    for tracker in trackers:
                        tracker.close()
                with uninterrupted():
                    tables.settle()
    return records


def _here() -> Callable[[Work, Resources], None]:
    from mmssl.search.local import run_here  # Loads torch.

    return run_here


def _on_ray(log: Path, leave: Abandon) -> Callable[[Work, Resources], None]:
    from mmssl.search.on_ray import run_on_ray  # Loads Ray, and not torch, which only its workers need.

    return lambda work, resources: run_on_ray(work, resources, log, leave)


def _nothing() -> None:
    pass


def _all_of(watch: Watch, listeners: Sequence[Forwarder | Notifier]) -> Watch:
    """Report to the watcher and to the listeners."""

    def report(planned: PlannedTrial, record: Record) -> None:
        watch(planned, record)
        for one in listeners:
            one.changed(planned, record)

    return report if listeners else watch


def _logged(watch: Watch, log: Path) -> Watch:
    """Also write a line into the study's log when a trial has ended."""

    def both(planned: PlannedTrial, record: Record) -> None:
        watch(planned, record)
        if record.status in TERMINAL:
            point = " ".join(f"{knob}={value}" for knob, value in planned.point.items())
            ended = f"{record.status} {record.cause}".rstrip()
            _log(log, f"{point} seed={planned.seed} fold={planned.fold}: {ended}")

    return both


def _log(log: Path, line: str) -> None:
    with log.open("a", encoding="utf-8") as lines:
        lines.write(f"{datetime.now(UTC):%F %T} {line}\n")


@contextmanager
def _driven(study: Study) -> Generator[None]:
    """Say in the study that this process runs it, and let what ends the process end it as Ctrl-C does."""
    with interrupted_when_ended():
        begin(study)
        try:
            yield
        finally:
            end(study)
