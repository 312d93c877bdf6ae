"""What is shown on a terminal: lines, tables, progress."""

import json
import os
import re
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from rich.cells import cell_len

from mmssl.errors import few

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from mmssl.data.check import Finding
    from mmssl.recipe import Recipe


def in_a_line(finding: "Finding") -> str:
    where = f" ({few(finding.where)})" if finding.where else ""
    return finding.what + where + (f": {finding.then}" if finding.then else "")


def split_line(
    train: Sequence[str], validation: Sequence[str], test: Sequence[str], split: str = "val", *, folds: bool = False
) -> str:
    """The subjects of each split, in words; `split` is the one that is scored."""
    if split == "test":
        return f"subjects: train {', '.join(train)}; test, SCORED: {', '.join(test)}; nothing may be chosen by it"
    held_out = (
        f"held out in turn: {', '.join(validation)}" if folds else f"validation: {', '.join(validation) or 'none'}"
    )
    return f"subjects: train {', '.join(train)}; {held_out}; test, not looked at: {', '.join(test) or 'none'}"


def console_on(*, stderr: bool = False) -> "Console":
    return _console(sys.stderr if stderr else sys.stdout, stderr=stderr)


@contextmanager
def console_beside(descriptor: int) -> Generator["Console"]:
    """A console that keeps reaching the terminal when standard output and error go elsewhere."""
    stream = os.fdopen(os.dup(descriptor), "w", errors="replace")
    try:
        yield _console(stream, file=stream)
    finally:
        with suppress(OSError):  # Nobody reads it any more.
            stream.close()


def _console(stream: TextIO, **where: Any) -> "Console":
    from rich.console import Console

    shown = stream.isatty()
    return Console(highlight=False, soft_wrap=not shown, width=None if shown else _FILE_WIDTH, **where)


# Where nobody's terminal ends: a table that goes to a file or a pipe keeps its words whole.
_FILE_WIDTH = 1000


def say(line: str, *, stderr: bool = False, console: "Console | None" = None) -> None:
    """Print a line, with names as they came from files, archives and other machines: nothing in it moves the cursor.

    On a terminal it is broken between words; a command is continued before its options, as a shell takes it.
    """
    console = console or console_on(stderr=stderr)
    console.print(coloured("\n".join(_broken(plain(line), console.width))), soft_wrap=True)


BAD, ODD, GOOD = "bold red", "magenta", "cyan"
"""Colours of the terminal's own theme, distinct without red against green; words say the same."""
_COLOURED = {
    r"\b(FAILED|DIVERGED|COLLAPSED)\b": BAD,
    r"\bPRUNED\b": ODD,
    r"^best( so far)?:": f"bold {GOOD}",
    r"^note:": "yellow",
    r"^next:": "bold",
}


def coloured(words: str) -> "Text":
    """A line or a cell, with colours where they carry meaning."""
    from rich.text import Text

    text = Text(words)
    for pattern, style in _COLOURED.items():
        text.highlight_regex(pattern, style)
    return text


def _broken(line: str, width: int) -> list[str]:
    if cell_len(line) <= width:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    lines = [indent]
    for piece in re.findall(r"`[^`]+`[.,;:)]*|mmssl-tune .*|\S+(?: %\S*)?", line):
        if lines[-1].strip() and cell_len(f"{lines[-1]} {piece}") > width:
            lines.append(indent)
        lines[-1] += (" " if lines[-1].strip() else "") + piece
    return [part for one in lines for part in _continued(one, indent, width)]


def _continued(line: str, indent: str, width: int) -> list[str]:
    """A command that does not fit, on lines that a shell takes for one."""
    if cell_len(line) <= width or not line.lstrip().startswith("mmssl-tune "):
        return [line]
    first, *others = re.findall(r"(?:'[^']*'|\"[^\"]*\"|\S)+", line)
    lines = [indent + first]
    for number, word in enumerate(others):
        after = others[number + 1 : number + 2] if word.startswith("--") else []
        option = " ".join([word, *(one for one in after if not one.startswith("--"))])
        if word.startswith("--") and cell_len(f"{lines[-1]} {option} \\") > width:
            lines[-1] += " \\"
            lines.append(f"{indent}  {word}")
        else:
            lines[-1] += f" {word}"
    return lines


def from_here(path: Path) -> Path:
    """A path as short as a command takes it: what lies in this folder, from here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def ago(moment: datetime | None) -> str:
    """How long it is since, in the largest unit that fits."""
    if moment is None:
        return ""
    seconds = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds:.0f} s"


def roughly(seconds: float | None) -> str:
    """How long something may take, no more exact than the estimate is."""
    if seconds is None:
        return "-"
    minutes = round(seconds / 60)
    if minutes < 1:
        return "<1 min"
    if minutes < 100:
        return f"~{minutes} min"
    hours = round(minutes / 60)
    return f"~{hours} h" if hours < 48 else f"~{round(hours / 24)} days"


def beside(quiet: bool = False) -> Callable[[str], None]:
    """Says lines on standard error, beside a command's answer; none where it is to be quiet."""
    return lambda line: None if quiet else say(line, stderr=True)


def complain(error: BaseException) -> None:
    """Say on standard error why the command ends."""
    lines = plain(f"mmssl-tune: {error}", keep="\n").split("\n")
    if sys.stderr.isatty():
        width = console_on(stderr=True).width
        lines = [part for line in lines for part in _broken(line, width)]
    sys.stderr.write("\n".join(lines) + "\n")


def pass_on(text: str) -> None:
    """Print the output of another process as it comes."""
    sys.stdout.write(plain(text, keep="\n\t"))
    sys.stdout.flush()


@contextmanager
def waiting(words: str) -> Generator[Callable[[str], None]]:
    """A sign on the terminal that something takes its time; what this gives puts other words there."""
    from rich.markup import escape

    def shown(words: str) -> str:
        return escape(plain(words))

    with console_on(stderr=True).status(shown(words)) as sign:
        yield lambda words: sign.update(shown(words))


def print_json(document: Any) -> None:
    print(json.dumps(document, indent=1, default=str))


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


@contextmanager
def epoch_progress(recipe: "Recipe", what: str) -> Generator[Any]:
    """Progress over the epochs of one training run, on a terminal only, from the first epoch to the last: before and
    after, lines may be printed, which on standard output would run into it."""
    from rich.progress import Progress

    console = console_on(stderr=True)
    bar = Progress(console=console, disable=not console.is_terminal, transient=True)
    guides = 2 * recipe.guide.epochs if recipe.objective.loss.guided else 0
    task = bar.add_task(what, total=guides + recipe.pretrain.epochs + recipe.finetune.rounds)

    def on_epoch(epoch: object) -> None:
        bar.start()
        bar.advance(task)
        if bar.finished:
            bar.stop()

    try:
        yield on_epoch
    finally:
        bar.stop()
