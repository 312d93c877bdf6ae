"""Commands that run studies."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmssl.cli.last_words import LastWords
from mmssl.cli.options import (
    STORAGE,
    DataOption,
    DatasetOption,
    PretrainOnOption,
    RecipeOption,
    SetOption,
    SkipOption,
    StorageOption,
    StudyArgument,
    SystemsOption,
    spaces_there,
)
from mmssl.cli.recordings import open_recordings
from mmssl.cli.running import RunOptions, end, runs_trials
from mmssl.cli.terminal import (
    beside,
    console_beside,
    in_a_line,
    plain,
    print_json,
    say,
    show_points,
    sides_line,
)
from mmssl.process import ASKED_TO_END
from mmssl.study.planning import (
    at_storage,
    created,
    extend_plan,
    having_all,
    name_of,
    plan_study,
    plan_warnings,
    recordings_of,
    space_with,
    with_all,
)

if TYPE_CHECKING:
    from rich.console import Console

    from mmssl.cli.screen import LiveScreen
    from mmssl.data.recordings import Recordings
    from mmssl.study.folder import Study
    from mmssl.study.plan import Plan


@runs_trials
def launch(
    space: Annotated[
        str, typer.Option(autocompletion=spaces_there, help="Name or file of the space; see `mmssl-tune spaces`.")
    ],
    dataset: DatasetOption = "synthetic",
    data: DataOption = None,
    skip_bad: SkipOption = False,
    pretrain_on: PretrainOnOption = None,
    name: Annotated[str | None, typer.Option(help="Name of the study. Default: from space and data set.")] = None,
    storage: StorageOption = STORAGE,
    settings: SetOption = None,
    systems: SystemsOption = None,
    recipe: RecipeOption = None,
    *,
    running: RunOptions,
) -> None:
    """Plan a study and run it to its end.

    Example: mmssl-tune launch --space vicreg_grid --dataset utd_mhad --data ~/UTD-MHAD
    """
    from mmssl.study import space as spaces
    from mmssl.study.folder import Study, free_name

    running.check()
    searched = space_with(spaces.load(space), settings, systems, recipe)
    recordings, skipped = open_recordings(dataset, data, skip_bad, quiet=running.as_json)
    recordings, more = with_all(recordings, pretrain_on or (), beside(running.as_json))
    recordings = having_all(recordings, searched.systems, beside(running.as_json))
    plan = plan_study(
        name or free_name(storage, f"{searched.name}-{name_of(dataset)}"),
        searched,
        recordings,
        dataset,
        data,
        skipped,
        more,
    )
    end(run_new(Study(storage, plan.name), plan, recordings, running))


@runs_trials
def resume(
    study: StudyArgument = None,
    data: DataOption = None,
    storage: StorageOption = STORAGE,
    *,
    running: RunOptions,
) -> None:
    """Say where a study stands, and run what it still lacks.

    Example: mmssl-tune resume vicreg_grid-synthetic-1
    """
    _go_on(study, data, storage, running, retry=False)


@runs_trials
def retry(
    study: StudyArgument = None,
    data: DataOption = None,
    storage: StorageOption = STORAGE,
    *,
    running: RunOptions,
) -> None:
    """Run a study's trials that FAILED once more, or whose record is damaged, and what it still lacks.

    Those that diverged would do so again.

    Example: mmssl-tune retry vicreg_grid-synthetic-1
    """
    _go_on(study, data, storage, running, retry=True)


@runs_trials
def extend(
    study: StudyArgument = None,
    seeds: Annotated[str | None, typer.Option(help="Further seeds, separated by commas.")] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--values", help="Further values of a searched knob; repeatable.", metavar="KNOB=[VALUE,...]"),
    ] = None,
    folds: Annotated[
        str | None, typer.Option(help="Further groups of training subjects to hold out, as [[1,3],[5,7]].")
    ] = None,
    budget: Annotated[
        int | None, typer.Option(help="How many points a sampler may choose in all, more than before.", min=1)
    ] = None,
    data: DataOption = None,
    storage: StorageOption = STORAGE,
    *,
    running: RunOptions,
) -> None:
    """Add seeds, values, folds or points to a study, and run what they add; nothing that has ended is run again.

    Example: mmssl-tune extend vicreg_grid-synthetic-1 --seeds 29,30 --values objective.mu=[75,100]
    """
    from mmssl.study.folder import find

    found = find(storage, study)
    with found.locked():
        plan, recordings = extend_plan(found, seeds, values, folds, budget, data)
        end(run_study(found, plan, recordings, running))


def _go_on(
    name: str | None,
    data: Path | None,
    storage: str,
    running: RunOptions,
    *,
    retry: bool,
) -> None:
    from mmssl.study.folder import find

    found = find(storage, name)
    with found.locked():
        plan = found.plan()
        if not running.as_json:
            say(_standing(plan, found, retry=retry))
        recordings = recordings_of(plan, data)
        end(run_study(found, plan, recordings, running, retry=retry))


def _standing(plan: "Plan", study: "Study", *, retry: bool) -> str:
    """How many trials have ended how, and what is to be run."""
    statuses = [record.status for record in study.records(plan, {} if retry else None).values()]
    counts = [f"{statuses.count(status)} {status}" for status in dict.fromkeys(sorted(statuses))]
    missing = plan.total - len(statuses)
    counts.append(f"{missing} missing")
    failed = statuses.count("FAILED") if retry else 0
    return f"study {study.name}: {', '.join(counts)}; {missing + failed} to run"


def run_new(
    study: "Study", plan: "Plan", recordings: "Recordings", running: RunOptions, *, summarise: bool = True
) -> int:
    """`run_study` of a study that is made first; nothing stays of one that is refused before a trial has ended."""
    with created(study, plan) as kept:
        return run_study(study, kept, recordings, running, summarise=summarise)


def run_study(
    study: "Study",
    plan: "Plan",
    recordings: "Recordings",
    running: RunOptions,
    *,
    retry: bool = False,
    summarise: bool = True,
) -> int:
    """Print the plan, run it with progress, print what came out; gives the exit status that follows.

    Args:
        plan: the study's, read under the lock that this process holds; another process could have planned more since.
    """
    from mmssl.cli.screen import LiveScreen
    from mmssl.data.check import examine
    from mmssl.study.results import points, ranked

    if not running.as_json:
        say(f"study {study.name}: {plan.size()} on {plan.dataset.name} ({plan.dataset.count})")
        held_out = ["+".join(group) for group in plan.folds if group]
        say(sides_line(plan.dataset.train_subjects, held_out, plan.dataset.test_subjects, plan.space.side, folds=True))
        for finding in [*plan_warnings(plan, recordings), *examine(recordings)]:
            if finding.severity != "note":
                say(f"note: {in_a_line(finding)}")
    out, err = console_beside(1), console_beside(2)  # Ray's own output goes to the log meanwhile.
    kept = f"what has ended is kept: {resuming(study)}" + (
        f" --address {running.cluster}, once it is there again" if running.cluster else ""
    )
    gone = "the study's process has ended: it was killed, or a part of Ray was, without which it ends"
    unheard = LastWords(plain(f"{gone.partition(',')[0] if running.local else gone}; {kept}"))
    shown = LiveScreen(err, plan, "starting" if running.local else "starting Ray", datetime.now(UTC))

    def abandon(reason: str) -> None:
        _end_at_once(f"{'stopped' if ASKED_TO_END.is_set() else reason}; {kept}", shown, err, unheard.unsay)

    with unheard, shown:
        from mmssl.search.launch import run as run_plan

        try:
            records = run_plan(
                study,
                plan,
                recordings,
                running.resources(),
                shown.put,
                known=shown.known,
                retry=retry,
                programs=running.programs,
                say=shown.note,
                abandon=abandon,
            )
        finally:
            shown.board.settle()
    statuses = Counter(record.status for record in records.values())
    left = plan.total - len(records)
    if summarise and running.as_json:
        counts = dict(sorted(statuses.items())) | ({"PLANNED": left} if left else {})
        summary = ranked(points(plan, study.table("trials.parquet")))
        print_json({"study": study.name, "folder": study.place, "trials": counts, "points": [p.row() for p in summary]})
    elif summarise:
        ended = ((record.status, record.cause) for record in records.values())
        show_outcome(study, plan, statuses, ended, left, out)
    return exit_status(statuses["FAILED"], left)


def exit_status(failed: int, left: int) -> int:
    """Of a command that saw a study end with trials that failed, or that are left to run."""
    return 130 if left else 1 if failed else 0


def show_outcome(
    study: "Study",
    plan: "Plan",
    statuses: Mapping[str, int],
    ended: Iterable[tuple[str, str]],
    left: int,
    out: "Console",
) -> None:
    """Print what came out of a study that does not run any more.

    Args:
        statuses: how many trials have which.
        ended: of trials that have ended status and cause.
        left: how many have not ended.
    """
    from mmssl.study.plan import NO_RESULT, without_result
    from mmssl.study.results import points, ranked

    summary = ranked(points(plan, study.table("trials.parquet")))
    show_points(f"{study.name}: the first of {len(summary)} points by {plan.space.scored}", summary[:5], out)
    if words := without_result(statuses):
        causes = (f"; {cause}" for status, cause in ended if status in NO_RESULT and status != "PRUNED" and cause)
        say(f"of {plan.total} trials without a result: {words}{next(causes, '')}")
    if left:
        say(f"stopped with {left} of {plan.total} trials to go: {resuming(study)}")
    elif plan.space.side == "val":
        say(f"kept in {study.place}; next: mmssl-tune best {study.name}{at_storage(study)} --export")


def resuming(study: "Study") -> str:
    return f"mmssl-tune resume {study.name}{at_storage(study)}"


def _end_at_once(line: str, shown: "LiveScreen", console: "Console", said: Callable[[], None] = lambda: None) -> None:
    """End the process, perhaps from a thread that is not its first, which may be caught in Ray for ever.

    Args:
        said: called once the line is out: Ray may end the process before.
    """
    shown.board.settle()
    shown.stop()
    with suppress(OSError):  # The terminal may be gone too.
        say(f"mmssl-tune: {line}", console=console)
        console.file.flush()
    said()
    os._exit(130 if ASKED_TO_END.is_set() else 1)
