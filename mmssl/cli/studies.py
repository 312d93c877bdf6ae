"""Commands that run studies."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmssl.cli.last_words import LastWords
from mmssl.cli.options import (
    SEARCHED,
    STORAGE,
    DataOption,
    DatasetOption,
    PretrainOnOption,
    RecipeOption,
    SetOption,
    SkipOption,
    SpaceArgument,
    StorageOption,
    StudyArgument,
    SystemsOption,
    ValuesOption,
    studies_there,
)
from mmssl.cli.recordings import open_recordings
from mmssl.cli.report import PAGE
from mmssl.cli.running import RunOptions, end, runs_trials
from mmssl.cli.tables import show_conclusion, show_points
from mmssl.cli.terminal import (
    beside,
    console_beside,
    console_on,
    in_a_line,
    plain,
    print_json,
    roughly,
    say,
    split_line,
    waiting,
)
from mmssl.process import END_REQUESTED
from mmssl.study.planning import (
    at_storage,
    created,
    extend_plan,
    name_of,
    plan_study,
    plan_warnings,
    recordings_of,
    space_with,
    starting_from,
    usable,
    with_all,
)
from mmssl.study.words import FOR_GOOD, NO_RESULT, value_of

if TYPE_CHECKING:
    from rich.console import Console

    from mmssl.cli.screen import LiveScreen
    from mmssl.data.recordings import Recordings
    from mmssl.study.folder import Study
    from mmssl.study.overview import RunningTrial
    from mmssl.study.plan import Plan
    from mmssl.study.record import Record


_MOST_CAUSES = 3
"""Causes of failures that are printed at a study's end."""


@runs_trials
def launch(
    space: SpaceArgument,
    dataset: DatasetOption = "synthetic",
    data: DataOption = None,
    skip_bad: SkipOption = False,
    pretrain_on: PretrainOnOption = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the study. Default: of space and data.", metavar="NAME")
    ] = None,
    storage: StorageOption = STORAGE,
    values: ValuesOption = None,
    settings: SetOption = None,
    systems: SystemsOption = None,
    recipe: RecipeOption = None,
    seeds: Annotated[
        str | None, typer.Option(help="Instead of the space's, as 28,29.", metavar="SEEDS", rich_help_panel=SEARCHED)
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(
            help="Instead of the space's: groups of training subjects that are held out in turn, as [[1,3],[5,7]].",
            metavar="FOLDS",
            rich_help_panel=SEARCHED,
        ),
    ] = None,
    budget: Annotated[
        int | None, typer.Option(help="Points of a sampler in all.", min=1, metavar="N", rich_help_panel=SEARCHED)
    ] = None,
    warm_start: Annotated[
        str | None,
        typer.Option(
            help="Of a race: a study, on any data, from whose scores it starts.",
            metavar="STUDY",
            rich_help_panel=SEARCHED,
            autocompletion=studies_there,
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and start nothing.")] = False,
    *,
    running: RunOptions,
) -> None:
    """Plan a study and run it to its end.

    Example: mmssl-tune launch vicreg_grid --dataset utd_mhad --data ~/UTD-MHAD

    Example: mmssl-tune launch vicreg_grid --values objective.mu=[5,25] --dry-run
    """
    from mmssl.study import space as spaces
    from mmssl.study.folder import Study
    from mmssl.study.lookup import find, free_name

    running.check()
    searched = space_with(spaces.load(space), settings, systems, recipe, values, seeds, budget, folds)
    recordings, skipped = open_recordings(dataset, data, skip_bad, quiet=running.as_json)
    recordings, more = with_all(recordings, pretrain_on or (), beside(running.as_json))
    recordings = usable(recordings, searched.systems, beside(running.as_json))
    plan = plan_study(
        name or free_name(storage, f"{searched.name}-{name_of(dataset)}"),
        searched,
        recordings,
        dataset,
        data,
        skipped,
        more,
    )
    plan = starting_from(plan, find(storage, warm_start) if warm_start else None)
    if dry_run:
        _say_plan(plan, recordings, storage, as_json=running.as_json)
        return
    end(run_new(Study(storage, plan.name), plan, recordings, running))


def _say_plan(plan: "Plan", recordings: "Recordings", storage: str, *, as_json: bool) -> None:
    """What would run, and how long such trials took before."""
    from mmssl.study.forecast import forecast

    taken = forecast(storage, plan)
    if as_json:
        points = {trial.point_id: plan.space.compared(trial.point) for trial in plan.trials}
        print_json(
            {
                "study": plan.name,
                "trials": plan.total,
                "points": [{"point_id": point_id, **point} for point_id, point in points.items()],
                "systems": plan.space.systems,
                "seeds": plan.space.seeds,
                "folds": [list(group) for group in plan.folds],
                "forecast": asdict(taken) if taken else None,
            }
        )
        return
    _say_size(plan, recordings)
    say(f"systems: {', '.join(plan.space.systems)}")
    for knob, found in plan.space.searched.items():
        say(f"{knob}: {', '.join(map(value_of, found))}")
    for knob, one in plan.space.ranges.items():
        say(f"{knob}: {one.low:g} to {one.high:g}")
    for condition in plan.space.where:
        say(f"only where {condition}")
    for knob, value in plan.space.fixed.items():
        say(f"{knob}: {value_of(value)} (fixed)")
    for lengths, systems in _lengths(plan).items():
        say(f"epochs: {lengths}{f' ({systems})' if systems != ', '.join(plan.space.systems) else ''}")
    if taken:
        at_once = round(taken.at_once or 1)
        as_then = f"{roughly(taken.total / at_once)} with {at_once} at once as there, " if at_once > 1 else ""
        say(
            f"trials like these took {taken.seconds:.0f} s each ({taken.trials} of study {taken.study}): "
            f"for all {as_then}{roughly(taken.total)} one after the other"
        )
    else:
        say("how long a trial takes is not known: no study here has trials like these")
    say("nothing was started; without --dry-run it is")


def _lengths(plan: "Plan") -> dict[str, str]:
    """How long each system trains, where no knob that is searched says it."""
    found: dict[str, dict[str, None]] = {}
    for base, system in {plan.base(trial): plan.system(trial) for trial in plan.trials}.items():
        recipe = plan.bases[base]
        parts = {"pretrain": "of pre-training", "finetune": "of fine-tuning"}
        if recipe.pretrain.epochs == 0:
            del parts["pretrain"]
        if recipe.finetune.logistic:
            del parts["finetune"]
        words = [
            f"{getattr(recipe, part).epochs} {what}"
            for part, what in parts.items()
            if f"{part}.epochs" not in plan.space.names
        ]
        found.setdefault(" and ".join(words), {})[system] = None
    return {words: ", ".join(systems) for words, systems in found.items() if words}


def _say_size(plan: "Plan", recordings: "Recordings") -> None:
    """How large a plan is, who trains, and what is odd."""
    from mmssl.data.check import examine

    say(f"study {plan.name}: {plan.size()} on {plan.dataset.name} ({plan.dataset.count})")
    held_out = ["+".join(group) for group in plan.folds if group]
    train, test = plan.dataset.train_subjects, plan.dataset.test_subjects
    say(split_line(train, held_out, test, plan.space.scored_split, folds=True))
    for earlier in plan.earlier:
        say(f"starts from {len(earlier.scores)} scores of study {earlier.name}")
    for finding in [*plan_warnings(plan, recordings), *examine(recordings)]:
        if finding.severity != "note":
            say(f"note: {in_a_line(finding)}")


@runs_trials
def resume(
    study: StudyArgument = None,
    data: DataOption = None,
    storage: StorageOption = STORAGE,
    *,
    running: RunOptions,
) -> None:
    """Run what a study still lacks, and print its status.

    Example: mmssl-tune resume vicreg_grid-synthetic-1

    Example: mmssl-tune resume grid --storage /shared/studies --address auto
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
    """Run a study's FAILED trials once more, and what it still lacks.

    Also those whose record is damaged. Those that DIVERGED would do so again.

    Example: mmssl-tune retry vicreg_grid-synthetic-1

    Example: mmssl-tune retry vicreg_grid-synthetic-1 --local
    """
    _go_on(study, data, storage, running, retry=True)


@runs_trials
def extend(
    study: StudyArgument = None,
    seeds: Annotated[
        str | None, typer.Option(help="Further seeds, as 29,30.", metavar="SEEDS", rich_help_panel=SEARCHED)
    ] = None,
    values: ValuesOption = None,
    folds: Annotated[
        str | None,
        typer.Option(
            help="Training subjects to hold out whom no fold has yet, as [[1,3],[5]].",
            metavar="GROUPS",
            rich_help_panel=SEARCHED,
        ),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            help="Points of a sampler in all, more than before.", min=1, metavar="N", rich_help_panel=SEARCHED
        ),
    ] = None,
    data: DataOption = None,
    storage: StorageOption = STORAGE,
    *,
    running: RunOptions,
) -> None:
    """Add seeds, values, folds or points to a study, and run them.

    Nothing that has ended is run again.

    Example: mmssl-tune extend vicreg_grid-synthetic-1 --seeds 29,30 --values objective.mu=[75,100]

    Example: mmssl-tune extend vicreg_tpe-synthetic-1 --budget 40
    """
    from mmssl.study.lookup import find

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
    from mmssl.study.lookup import find

    found = find(storage, name)
    with found.locked():
        plan = found.plan()
        records = found.records(plan, {} if retry else None)
        ended = {one: record for one, record in records.items() if not retry or record.status != "FAILED"}
        if not running.as_json:
            for line in _progress(plan, found, records, ended, retry=retry):
                say(line)
        # A race may have more to run though all its trials have a record; trackers then get it again.
        if len(ended) == plan.total and plan.space.sampler != "race" and not (running.programs or running.notify):
            _settle(found, plan, records)
            end(_outcome(found, plan, records, running, console_on()))
            return
        with waiting(f"reading {plan.dataset.source}"):
            recordings = recordings_of(plan, data)
        end(run_study(found, plan, recordings, running, retry=retry))


def _progress(
    plan: "Plan", study: "Study", records: "Mapping[str, Record]", ended: "Mapping[str, Record]", *, retry: bool
) -> Iterator[str]:
    """How many trials have ended how, what is to be run, and what is not run again.

    Args:
        ended: of the records, those whose trials are not run again.
    """
    statuses = Counter(record.status for record in records.values())
    counts = [f"{count} {status}" for status, count in sorted(statuses.items())]
    counts.append(f"{plan.total - len(records)} missing")
    words = "nothing to run"
    if left := plan.total - len(ended):
        from mmssl.search.stopping import continuing

        words = "; ".join(filter(None, [f"{left} to run", continuing(study, plan, ended)]))
    elif statuses["FAILED"]:
        words += f"; those that FAILED once more: mmssl-tune retry {study.name}{at_storage(study)}"
    yield f"study {study.name}: {', '.join(counts)}; {words}"
    if retry and (kept := [one for one in FOR_GOOD if statuses[one] and one != "PRUNED"]):
        yield f"{' and '.join(kept)} trials are results and are not run again"


def _settle(study: "Study", plan: "Plan", records: "Mapping[str, Record]") -> None:
    """Leave a study as one that has just ended: whole tables, and nobody who runs it."""
    from mmssl.study import status
    from mmssl.study.tables import Tables

    tables = Tables(study, plan)
    for record in records.values():
        tables.put(record)
    tables.settle()
    status.end(study)


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
    if not running.as_json:
        _say_size(plan, recordings)
    with console_beside(1) as out, console_beside(2) as err:  # Ray's own output goes to the log meanwhile.
        return _run_shown(study, plan, recordings, running, out, err, retry=retry, summarise=summarise)


def _run_shown(
    study: "Study",
    plan: "Plan",
    recordings: "Recordings",
    running: RunOptions,
    out: "Console",
    err: "Console",
    *,
    retry: bool,
    summarise: bool,
) -> int:
    from mmssl.cli.screen import LiveScreen, takes_pictures

    kept = f"what has ended is kept: {resuming(study)}" + (
        f" --address {running.cluster}, once it is there again" if running.cluster else ""
    )
    gone = "the study's process has ended: it was killed, or a part of Ray was, without which it ends"
    unheard = LastWords(plain(f"{gone.partition(',')[0] if running.local else gone}; {kept}"))

    def stops(trials: "Sequence[RunningTrial]") -> str:
        from mmssl.search.stopping import stopping

        return stopping(study, plan, trials, again=not running.local)

    state = "starting" if running.local else "starting Ray"
    shown = LiveScreen(err, plan, state, datetime.now(UTC), stops, untrained_score(study, plan))

    def abandon(reason: str) -> None:
        _end_at_once(f"{'stopped' if END_REQUESTED.is_set() else reason}; {kept}", shown, err, unheard.unsay)

    if not takes_pictures(err):
        say(f"{state}; a line follows for each trial that ends", console=err)
    records: Mapping[str, Record] | None = None
    with unheard, shown:
        try:
            from mmssl.search.launch import run as run_plan

            records = run_plan(
                study,
                plan,
                recordings,
                running.resources(),
                shown.put,
                on_existing=shown.add_ended,
                retry=retry,
                programs=running.programs,
                notify=running.notify,
                say=shown.note,
                abandon=abandon,
            )
        except KeyboardInterrupt:
            pass  # Before there was anything to stop, as while Ray was starting.
        finally:
            shown.live_map.settle()
    if records is None:
        say(f"stopped; {kept}", console=err)
        return 130
    return _outcome(study, plan, records, running, out, summarise=summarise)


def _outcome(
    study: "Study",
    plan: "Plan",
    records: "Mapping[str, Record]",
    running: RunOptions,
    out: "Console",
    *,
    summarise: bool = True,
) -> int:
    """Print what came out; gives the exit status that follows."""
    from mmssl.study.results import points_in, ranked

    statuses = Counter(record.status for record in records.values())
    left = plan.total - len(records)
    if summarise and running.as_json:
        counts = dict(sorted(statuses.items())) | ({"PLANNED": left} if left else {})
        summary = ranked(points_in(study, plan))
        print_json({"study": study.name, "folder": study.place, "trials": counts, "points": [p.row() for p in summary]})
    elif summarise:
        ended = ((record.status, record.cause) for record in records.values())
        show_outcome(study, plan, statuses, ended, left, out)
    return exit_status(statuses, left)


def untrained_score(study: "Study", plan: "Plan") -> float | None:
    """What untrained encoders score by the study's metric, where they were scored."""
    from mmssl.study.verdict import beside

    untrained = beside(study, plan, plan.space.scored)[1]
    return untrained.mean if untrained else None


def exit_status(statuses: Mapping[str, int], left: int) -> int:
    """Of a command that saw a study end: 130 where trials are left to run, 1 where one FAILED or none has a score.

    Args:
        statuses: how many trials have which.
    """
    return 130 if left else int(bool(statuses.get("FAILED")) or not statuses.get("COMPLETE"))


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
    from mmssl.study.results import points_in, ranked
    from mmssl.study.verdict import conclude

    summary = ranked(points_in(study, plan))
    shown = f"the 5 highest of {len(summary)} points" if len(summary) > 5 else "points"
    show_points(f"study {study.name}: {shown} by {plan.space.scored}", summary[:5], out)
    lines = _failures(plan, ended)
    for line in lines[:_MOST_CAUSES]:
        say(line)
    if len(lines) > _MOST_CAUSES:
        say(f"and others: {_logs(study)}")
    show_conclusion(conclude(study, plan), next_step=not left)
    if left:
        say(f"stopped with {left} of {plan.total} trials to go: {resuming(study)}")
    else:
        page = f"to make its page {study.files.place(PAGE)}: mmssl-tune report {study.name}{at_storage(study)}"
        say(f"kept in {study.place}; {page}")


def show_first_failure(study: "Study", plan: "Plan") -> None:
    """Print why most trials without a result have none, and where the rest is written."""
    table = study.table("trials.parquet", ["status", "cause"])
    for line in _failures(plan, zip(*(table[name].to_pylist() for name in table.column_names), strict=True))[:1]:
        say(f"{line}; more: {_logs(study)}")


def _failures(plan: "Plan", ended: Iterable[tuple[str, str | None]]) -> list[str]:
    """Why trials have no result, the most frequent cause first, with what helps."""
    from mmssl.study.overview import alike

    failures = alike((status, cause or "") for status, cause in ended if status in NO_RESULT and status != "PRUNED")
    return [
        f"{count} of {plan.total} trials {status}: {cause or 'no cause was recorded'}"
        + (f"; try a lower {'finetune' if cause.startswith('fine-tuning') else 'pretrain'}.lr" * (status == "DIVERGED"))
        for count, status, cause in failures
    ]


def _logs(study: "Study") -> str:
    return f"mmssl-tune logs {study.name}{at_storage(study)}"


def resuming(study: "Study") -> str:
    return f"mmssl-tune resume {study.name}{at_storage(study)}"


def _end_at_once(line: str, shown: "LiveScreen", console: "Console", then: Callable[[], None] = lambda: None) -> None:
    """End the process, perhaps from a thread that is not its first, which may be caught in Ray for ever.

    Args:
        then: called when the line is out, before the process ends.
    """
    shown.live_map.settle()
    shown.stop()
    with suppress(OSError):  # The terminal may be gone too.
        say(f"mmssl-tune: {line}", console=console)
        console.file.flush()
    then()
    os._exit(130 if END_REQUESTED.is_set() else 1)
