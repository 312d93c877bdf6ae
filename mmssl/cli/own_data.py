"""Commands that take in recordings of one's own: read them, and say what is odd about them."""

import math
import re
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mmssl.cli.options import (
    DataOption,
    ForceOption,
    JsonOption,
    PretrainOnOption,
    RecipeOption,
    SetOption,
    SkipOption,
    SystemsOption,
    path_of,
    refuse_existing,
)
from mmssl.cli.recordings import by_what_they_have, open_recordings
from mmssl.cli.running import end
from mmssl.cli.terminal import in_a_line, print_json, say, waiting
from mmssl.errors import UserError
from mmssl.study.planning import name_of, plan_study, plan_warnings, space_with, usable, with_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmssl.data.alignment import Offset
    from mmssl.data.check import Finding
    from mmssl.data.description import Window
    from mmssl.data.recordings import Recordings
    from mmssl.study.plan import Plan
    from mmssl.study.space import Space
    from mmssl.training.model import Model


Unseen = Literal["masked", "neighbours", "left_out"]


def data_import(
    folder: Annotated[
        Path,
        typer.Argument(help="A folder with recordings.csv and the files it names.", metavar="FOLDER", parser=path_of),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The recordings file to write (.parquet). Default: FOLDER.parquet, here.",
            metavar="FILE",
            parser=path_of,
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(
            help="Joints, channels and classes as in a recordings file or an export, for recordings to come after it.",
            metavar="FILE|EXPORT",
            parser=path_of,
        ),
    ] = None,
    skip_bad: SkipOption = False,
    fill_gaps: Annotated[
        bool, typer.Option("--fill-gaps", help="Interpolate over empty values, as of joints that were not seen.")
    ] = False,
    offset: Annotated[
        list[str] | None,
        typer.Option(
            help="Seconds to add to the time stamps of a modality, as wrist=+0.8s; wrist=start lets it begin with the "
            "others, wrist=start+0.3s so much later.",
            metavar="NAME=SECONDS",
        ),
    ] = None,
    pattern: Annotated[
        list[str] | None,
        typer.Option(
            help="How the files are called, in place of recordings.csv; repeatable, for each modality behind its name.",
            metavar="[NAME=]PATTERN",
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            help="Names of the columns in files that begin with numbers; repeatable, as --pattern is.",
            metavar="[NAME=]COLUMNS",
        ),
    ] = None,
    unseen: Annotated[
        Unseen | None,
        typer.Option(
            help="What becomes of a joint that a recording never shows: it stands at the root (masked), amid the "
            "joints that bones join it to (neighbours), or is left out of all recordings (left_out). Default: it is a "
            "fault.",
            metavar="HOW",
        ),
    ] = None,
    confidence: Annotated[
        float,
        typer.Option(
            help="Joints of which a network that found poses was less sure are missing values.",
            metavar="P",
            min=0,
            max=1,
        ),
    ] = 0.3,
    window: Annotated[
        str | None,
        typer.Option(
            help="Cut long recordings into windows, as 3s or 500ms. Default: as those that they are --like, or by the "
            "table's column intervals.",
            metavar="TIME",
        ),
    ] = None,
    stride: Annotated[
        str | None,
        typer.Option(help="From one window's beginning to the next one's. Default: a window's length.", metavar="TIME"),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Make one recordings file of a folder of CSV files, or list all that is wrong in them.

    Example: mmssl-tune data import kitchen --out kitchen.parquet

    Example: mmssl-tune data import kitchen --pattern '{subject}_{label}_{trial}_{modality}.csv'

    Example: mmssl-tune data import gym --columns wrist=time,acc_x,acc_y,acc_z --window 3s
    """
    from mmssl.data.csv_folder import read
    from mmssl.data.recordings import Recordings
    from mmssl.recipe import head_inputs

    out = out or Path(f"{folder.resolve().name}.parquet")
    if out.suffix.lower() != ".parquet":
        raise UserError(f"--out {out}: give a file that ends in .parquet")
    if not out.absolute().parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}")
    refuse_existing(out, "--out", force=force)
    model = _encoders(like) if like and like.is_dir() else None
    with waiting(f"reading {folder}") as change:
        found = read(
            folder,
            like=model.description if model else Recordings.load(like).description if like else None,
            skip_bad=skip_bad,
            fill_gaps=fill_gaps,
            offsets=_offsets(offset or []),
            patterns=pattern or [],
            columns=_columns(columns or []),
            confidence=confidence,
            window=_window(window, stride),
            unseen=unseen,
            spool_in=out.absolute().parent,
            progress=lambda done, total: change(f"reading {folder}: {done} of {total} recordings"),
        )
        change(f"writing {out}")
        found.recordings.save(out)
    for note in found.notes:
        say(note)
    if found.left_out:
        say("left out:")
        for fault in found.left_out:
            say(f"  {fault}")
    recordings, file = found.recordings, shlex.quote(str(out))
    count = f"{len(recordings)} recordings of {_counted(len(recordings.subjects), 'subject')}"
    labels = {row.label for row in recordings.rows} - {""}
    alone = f" --system vicreg_{next(iter(recordings.kinds))}" if len(recordings.kinds) == 1 else ""
    step = f"mmssl-tune data check {file}{alone}" if labels else f"mmssl-tune predict EXPORT {file}"
    if model:
        step = f"mmssl-tune predict {shlex.quote(str(like))} {file}"
        step += by_what_they_have(head_inputs(model.recipe), recordings)
    classes = f" in {_counted(len(labels), 'class', 'classes')}" if labels else ", without labels"
    say(f"{out}: {count}{classes}; next: {step}")
    if not labels and not model:
        say(f"or pre-train on them too: mmssl-tune launch SPACE --dataset LABELLED.parquet --pretrain-on {file}")


def _window(window: str | None, stride: str | None) -> "Window | None":
    from mmssl.data.description import Window

    if window is None:
        if stride is not None:
            raise UserError(f"--stride {stride}: is from one window to the next; say how long they are, with --window")
        return None
    seconds = _duration("--window", window)
    return Window(seconds=seconds, stride=seconds if stride is None else _duration("--stride", stride))


def _duration(option: str, word: str) -> float:
    """Seconds."""
    number, unit = word.removesuffix("ms").removesuffix("s"), 1e-3 if word.endswith("ms") else 1.0
    try:
        seconds = float(number) * unit
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UserError(f"{option} {word}: give a time above 0, as 3s or 500ms")
    return seconds


def data_check(
    given: Annotated[str, typer.Argument(help="A recordings file (.parquet), or a data set.", metavar="FILE|NAME")],
    data: DataOption = None,
    space: Annotated[str, typer.Option(help="The space to be launched on them.")] = "vicreg_grid",
    settings: SetOption = None,
    systems: SystemsOption = None,
    recipe: RecipeOption = None,
    pretrain_on: PretrainOnOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong or odd about recordings, and what a study would make of it.

    Ends with 2 where `launch` would refuse them.

    Example: mmssl-tune data check kitchen.parquet

    Example: mmssl-tune data check kitchen.parquet --space vicreg_diagonal --system vicreg_wrist
    """
    from mmssl.study import space as spaces

    searched = space_with(spaces.load(space), settings, systems, recipe)
    findings, plan = _examined(given, data, searched, pretrain_on or [])
    errors, warnings = ([one.severity for one in findings].count(kind) for kind in ("error", "warning"))
    if as_json:
        print_json(
            {
                "errors": errors,
                "warnings": warnings,
                "recordings": plan.dataset.recordings if plan else None,
                "folds": len(plan.folds) if plan else None,
                "trials": plan.total if plan else None,
                "findings": [asdict(finding) for finding in findings],
            }
        )
    else:
        for finding in findings:
            say(f"{finding.severity:<8} {in_a_line(finding)}")
        if plan:
            say(f"launch {searched.name} would use {plan.dataset.recordings} recordings: {plan.size()}")
        left = f"; {_counted(warnings, 'warning')} to read first" if warnings else ""
        say(f"{errors} to be mended: launch refuses" if errors else f"no errors{left}")
    end(2 if errors else 0)


def _examined(
    given: str, data: Path | None, space: "Space", pretrain_on: list[str]
) -> "tuple[list[Finding], Plan | None]":
    """What is odd, the worst first, and what would be planned, if anything can be."""
    from mmssl.data.check import Finding, examine

    try:
        recordings, bad = open_recordings(given, data, skip_bad=True, quiet=True)
    except UserError as error:
        return [Finding("error", str(error))], None
    found = [Finding("error", fault, "launch refuses, and goes on without it with --skip-bad") for fault in bad]
    try:
        bases = space.bases(name_of(given), recordings.kinds)
    except UserError as error:
        return [Finding("error", str(error)), *found, *examine(recordings)], None
    found += examine(recordings, next(iter(bases.values())).data.steps)
    plan = None
    try:
        every, more = with_all(recordings, pretrain_on, lambda line: found.append(Finding("note", line)))
        if more:
            what = f"--pretrain-on: {len(every) - len(recordings)} further recordings fit"
            found.append(Finding("note", what, "they only pre-train; data check FILE says what is odd about them"))
        used = usable(every, space.systems)
        plan = plan_study("check", space, used, given, data, bad, more)
        found += [*plan_warnings(plan, used), *_plan_notes(plan, used)]
    except UserError as error:
        found.append(Finding("error", str(error)))
    return sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.severity)), plan


def _plan_notes(plan: "Plan", recordings: "Recordings") -> "Iterator[Finding]":
    from mmssl.data.check import Finding

    if not plan.dataset.test_subjects:
        yield Finding(
            "note",
            "there are no test subjects",
            "nobody is kept to score the exported encoders on, once; keep one or more with "
            "--set data.test_subjects=[NAME]",
        )
    training, fewest = (
        next(iter(plan.bases.values())).pretrain,
        min(len(s.pretrain) for s in plan.splits(recordings).values()),
    )
    if training.epochs and fewest <= training.batch_size:
        half = max(8, 2 ** int(math.log2(max(2, fewest / 4))))
        yield Finding(
            "note",
            f"a training split has {fewest} recordings, and pretrain.batch_size is {training.batch_size}",
            f"an epoch is one step, {training.epochs} in all; --set pretrain.batch_size={half} makes "
            f"{math.ceil(fewest / half) * training.epochs}",
        )


def _offsets(given: list[str]) -> "dict[str, Offset]":
    """The shift of each modality's stamps."""
    from mmssl.data.alignment import Offset

    found: dict[str, Offset] = {}
    for word in given:
        match = re.fullmatch(r"(\w+)=(start)?([-+]?(?:\d+\.?\d*|\.\d+))?\s*(s|ms)?", word.strip())
        if not match or not (match[2] or match[3]):
            raise UserError(
                f"--offset {word}: write a modality and seconds, as wrist=+0.8s, wrist=start or wrist=start-0.3s"
            )
        found[match[1]] = Offset(float(match[3] or 0) * (1e-3 if match[4] == "ms" else 1.0), bool(match[2]))
    return found


def _columns(given: list[str]) -> dict[str, list[str]]:
    """Names of the columns of each modality's files; of "" for all."""
    split = [word.rpartition("=") for word in given]
    return {name.strip(): [column.strip() for column in names.split(",")] for name, _, names in split}


def _encoders(folder: Path) -> "Model":
    from mmssl.export.encoders import load_encoders

    return load_encoders(folder)


def _counted(count: int, noun: str, nouns: str = "") -> str:
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"
