"""What is shown on a terminal: lines, tables, progress."""

import json
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from mmssl.errors import few

if TYPE_CHECKING:
    from rich.console import Console
    from rich.status import Status

    from mmssl.data.check import Finding
    from mmssl.data.sources import Lengths, Survey
    from mmssl.experiments import Result
    from mmssl.recipe import Recipe
    from mmssl.study.results import Point


def show_survey(found: "Survey") -> None:
    of = f" of {found.expected}" if found.expected else ""
    without = f", {found.unlabelled} without a label" if found.unlabelled else ""
    say(f"{found.name}: {found.recordings}{of} recordings{without}, fingerprint {found.fingerprint[:16]}")
    say("; ".join(f"{name}: {_lengths(lengths)}" for name, lengths in found.lengths.items()))
    show_table(
        "recordings of each class by subject",
        ["class", *found.subjects],
        [[name, *(str(counts[i]) for counts in found.counts)] for i, name in enumerate(found.classes)],
    )
    if found.absent_subjects:
        say(f"no recordings of subjects {', '.join(found.absent_subjects)}, whom a protocol names")
    for missing in found.missing:
        say(f"missing: {missing.label}, subject {missing.subject}, trial {missing.trial}")
    for problem in found.problems:
        say(f"faulty: {problem}")
    if found.whole and not found.problems:
        say("whole")


def _lengths(lengths: "Lengths | None") -> str:
    if lengths is None:
        return "none"
    return f"{lengths.shortest} to {lengths.longest} {lengths.lines}, median {lengths.median:g}"


def in_a_line(finding: "Finding") -> str:
    where = f" ({few(finding.where)})" if finding.where else ""
    return finding.what + where + (f": {finding.then}" if finding.then else "")


def sides_line(
    train: Sequence[str], validation: Sequence[str], test: Sequence[str], side: str = "val", *, folds: bool = False
) -> str:
    """Who is on each side, in words; `side` is the one that is scored."""
    if side == "test":
        return f"subjects: train {', '.join(train)}; test, SCORED: {', '.join(test)}; nothing may be chosen by it"
    held_out = (
        f"held out in turn: {', '.join(validation)}" if folds else f"validation: {', '.join(validation) or 'none'}"
    )
    return f"subjects: train {', '.join(train)}; {held_out}; test, not looked at: {', '.join(test) or 'none'}"


def console_on(*, stderr: bool = False) -> "Console":
    return _console(sys.stderr if stderr else sys.stdout, stderr=stderr)


def console_beside(descriptor: int) -> "Console":
    """A console that keeps reaching the terminal when standard output and error go elsewhere."""
    stream = os.fdopen(os.dup(descriptor), "w", errors="replace")
    return _console(stream, file=stream)


def _console(stream: TextIO, **where: Any) -> "Console":
    from rich.console import Console

    shown = stream.isatty()
    return Console(highlight=False, soft_wrap=not shown, width=None if shown else _FILE_WIDTH, **where)


# Where nobody's terminal ends: a table that goes to a file or a pipe keeps its words whole.
_FILE_WIDTH = 1000


def say(line: str, *, stderr: bool = False, console: "Console | None" = None) -> None:
    """Print a line, with names as they came from files, archives and other machines: nothing in it moves the cursor."""
    (console or console_on(stderr=stderr)).print(plain(line), markup=False)


def beside(quiet: bool = False) -> Callable[[str], None]:
    """Says lines on standard error, beside a command's answer; none where it is to be quiet."""
    return lambda line: None if quiet else say(line, stderr=True)


def complain(error: BaseException) -> None:
    """Say on standard error why the command ends."""
    sys.stderr.write(plain(f"mmssl-tune: {error}", keep="\n") + "\n")


def pass_on(said: str) -> None:
    """Print what another process has said, as it comes."""
    sys.stdout.write(plain(said, keep="\n\t"))
    sys.stdout.flush()


def waiting(words: str) -> "Status":
    """A sign on the terminal that something takes its time."""
    from rich.markup import escape

    return console_on(stderr=True).status(escape(plain(words)))


def print_json(document: Any) -> None:
    print(json.dumps(document, indent=1, default=str))


def show_table(title: str, header: list[str], rows: list[list[str]], console: "Console | None" = None) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    def cell(words: str) -> str:
        return escape(plain(words))

    table = Table(title=cell(title) or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in header:
        table.add_column(cell(column), overflow="fold")
    for row in rows:
        table.add_row(*map(cell, row))
    (console or console_on()).print(table)


def show_result(result: "Result") -> None:
    """An experiment's table with its caption and notes."""
    say(result.caption)
    show_table("", result.heads, result.cells)
    for note in result.notes:
        say(f"note: {note}")


def plain(words: str, keep: str = "") -> str:
    """Text from elsewhere without what would move the cursor or change colours.

    Args:
        keep: such characters that stay.
    """
    return "".join(char if char.isprintable() or char in keep else " " for char in words)


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_cell(words: str) -> str:
    """A word for a CSV file, with a quote before what a spreadsheet would take for a formula (as OWASP has it)."""
    return f"'{words}" if words.startswith(_FORMULA) and not _is_number(words) else words


def _is_number(words: str) -> bool:
    try:
        float(words)
    except ValueError:
        return False
    return True


def short_names(knobs: Sequence[str]) -> list[str]:
    """Knobs by their last parts, where those tell them apart."""
    last = [knob.rpartition(".")[2] for knob in knobs]
    return [short if last.count(short) == 1 else knob for knob, short in zip(knobs, last, strict=True)]


def show_points(title: str, rows: "list[Point]", console: "Console | None" = None, *, cost: str | None = None) -> None:
    from mmssl.study.plan import value_of, without_result

    knobs = list(rows[0].values) if rows else []
    show_table(
        title,
        ["point", *short_names(knobs), "mean", "std", *([cost] if cost else []), "n", "no result"],
        [
            [
                point.point_id[:8],
                *(value_of(point.values[knob]) for knob in knobs),
                "-" if point.mean is None else f"{point.mean:.4f}",
                "-" if point.std is None else f"{point.std:.4f}",
                *([f"{point.cost:,.0f}" if point.cost is not None else "-"] if cost else []),
                f"{len(point.scores)}/{point.planned}",
                without_result(point.statuses) or "none",
            ]
            for point in rows
        ],
        console,
    )


@contextmanager
def epoch_progress(recipe: "Recipe", what: str) -> Generator[Any]:
    """Progress over the epochs of one training run, on a terminal only."""
    from rich.progress import Progress

    console = console_on(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        guides = 2 * recipe.guide.epochs if recipe.objective.loss.guided else 0
        task = bar.add_task(what, total=guides + recipe.pretrain.epochs + recipe.finetune.epochs)
        yield lambda epoch: bar.advance(task)
