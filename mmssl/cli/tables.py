"""Tables on a terminal of any width: no word or number is broken, and scores are in per cent."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from mmssl.cli.terminal import coloured, console_on, plain, say
from mmssl.study.words import percent, short_names, value_of, without_result

if TYPE_CHECKING:
    from rich.console import Console

    from mmssl.data.sources import Lengths, Survey
    from mmssl.experiments import Result
    from mmssl.study.results import Point
    from mmssl.study.verdict import Conclusion

_NUMBER = re.compile(
    r"[<~]?[-+]?\d[\d.,]*(e[-+]?\d+)?([/:]\d[\d.,:]*)?( ?(%|s|min|h|d|MB))?( (±|\+-) [\d.]+| \[[-+\d., ]+\])?"
)
"""A count, a share of one, a time, or a score with its spread or interval."""
_NARROWEST_WORDS = 12
_EDGES, _GAP = 1, 2
"""Cells of a table's width beside its columns, and beside each of them."""


@dataclass
class _Column:
    head: str
    cells: list[str]

    @cached_property
    def numbers(self) -> bool:
        filled = [cell for cell in self.cells if cell]
        return bool(filled) and all(cell == "-" or _NUMBER.fullmatch(cell) for cell in filled)

    @cached_property
    def most(self) -> int:
        """How wide it is with each cell on one line."""
        return max(cell_len(words) for words in (self.head, *self.cells))

    def least(self, width: int) -> int:
        """How narrow it may be on a terminal so wide."""
        words = [word for text in (self.head, *([] if self.numbers else self.cells)) for word in text.split()]
        numbers = self.cells if self.numbers else []
        least = max((cell_len(word) for word in (*words, *numbers)), default=0)
        # A path or an id that fills the line is broken after all.
        return min(least, self.most, max(_NARROWEST_WORDS, width // 2))


def show_table(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    console: "Console | None" = None,
) -> None:
    """Print a table. Columns that find no room are printed below, beside the first ones again."""
    console = console or console_on()
    if title:
        say(title, console=console)
    columns = [_Column(plain(head), [plain(row[i]) for row in rows]) for i, head in enumerate(header)]
    for block in _blocks(columns, console.width):
        widths = _widths(block, console.width)
        if widths == [column.most for column in block] and _total(widths) <= console.width:
            console.print(_whole(block, widths), soft_wrap=True)
        else:
            console.print(_folded(block, widths))


def _blocks(columns: list[_Column], width: int) -> list[list[_Column]]:
    """Columns that stand beside each other; those that tell the rows apart are in each, as far as there is room."""
    names = 1
    while (
        names < len(columns) - 1
        and len(set(rows := list(zip(*(one.cells for one in columns[:names]), strict=True)))) < len(rows)
        and _needed(columns[: names + 1], width) <= 2 * width // 3
    ):
        names += 1
    while True:
        blocks = [columns[:names]]
        for column in columns[names:]:
            if _needed([*blocks[-1], column], width) > width and len(blocks[-1]) > names:
                blocks.append(columns[:names])
            blocks[-1] = [*blocks[-1], column]
        if names == 1 or all(_needed(block, width) <= width for block in blocks):
            return blocks
        names -= 1


def _needed(columns: list[_Column], width: int) -> int:
    return _EDGES + sum(one.least(width) + _GAP for one in columns)


def _widths(columns: list[_Column], width: int) -> list[int]:
    widths = [column.most for column in columns]
    while _total(widths) > width:
        room = [0 if one.numbers else now - one.least(width) for one, now in zip(columns, widths, strict=True)]
        room = room if any(room) else [now - one.least(width) for one, now in zip(columns, widths, strict=True)]
        if not any(room):
            break
        widths[room.index(max(room))] -= 1
    return [max(1, size) for size in widths]


def _total(widths: list[int]) -> int:
    return _EDGES + sum(widths) + _GAP * len(widths)


def _folded(columns: list[_Column], widths: list[int]) -> Table:
    """A table some of whose cells take several lines."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column, size in zip(columns, widths, strict=True):
        justify = "right" if column.numbers else "left"
        table.add_column(Text(column.head), justify=justify, width=size, overflow="fold")
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*map(coloured, row))
    return table


def _whole(columns: list[_Column], widths: list[int]) -> Text:
    """What `_folded` looks like where each cell has one line; of thousands of rows in a fifth of the time."""

    def padded(column: _Column, cell: str, size: int) -> str:
        space = " " * (size - cell_len(cell))
        return space + cell if column.numbers else cell + space

    texts = [
        [padded(column, cell, size) for cell in (column.head, *column.cells)]
        for column, size in zip(columns, widths, strict=True)
    ]
    head, *rows = (f" {'  '.join(row)}  " for row in zip(*texts, strict=True))
    empty = " " * _total(widths)
    rule = f" {'─' * (len(empty) - 2)} "
    return Text("\n").join([Text(empty), Text(head, "table.header"), Text(rule), coloured("\n".join([*rows, empty]))])


def show_result(result: "Result") -> None:
    """An experiment's table with its caption and notes."""
    say(result.caption)
    show_table("", result.heads, result.cells)
    for note in result.notes:
        say(f"note: {note}")


def show_conclusion(conclusion: "Conclusion", *, next_step: bool = True, console: "Console | None" = None) -> None:
    """A study's outcome in a sentence, and what to do next."""
    say(conclusion.words, console=console)
    for note in conclusion.notes:
        say(f"note: {note}", console=console)
    if conclusion.baseline_command:
        say("what pre-training adds is not known: untrained encoders were not scored. To score them:", console=console)
        say(f"  {conclusion.baseline_command}", console=console)
    if next_step:
        say(f"next: {conclusion.next_command}", console=console)


def show_points(title: str, rows: "list[Point]", console: "Console | None" = None, *, cost: str | None = None) -> None:
    knobs = list(rows[0].values) if rows else []
    scores = all(point.bounded for point in rows)
    failed = ["no result"] if any(point.failures for point in rows) else []

    def number(value: float | None) -> str:
        return percent(value) if scores else "-" if value is None else f"{value:.4g}"

    show_table(
        f"{title}, in %" if scores else title,
        [
            "point",
            *short_names(knobs),
            "mean",
            "std",
            *([cost] if cost else []),
            "n",
            *(["no result"] if failed else []),
        ],
        [
            [
                point.point_id[:8],
                *(value_of(point.values[knob]) for knob in knobs),
                number(point.mean),
                number(point.std),
                *([f"{point.cost:,.0f}" if point.cost is not None else "-"] if cost else []),
                f"{len(point.scores)}/{point.planned}",
                *([without_result(point.statuses)] if failed else []),
            ]
            for point in rows
        ],
        console,
    )
    if any(0 < len(point.scores) < point.planned for point in rows):
        say(
            "a mean of fewer trials than planned is over other folds or seeds: compare it with no other",
            console=console,
        )


def show_survey(found: "Survey") -> None:
    of = f" of {found.expected}" if found.expected else ""
    without = f", {found.unlabelled} without a label" if found.unlabelled else ""
    say(f"{found.name}: {found.recordings}{of} recordings{without}, fingerprint {found.fingerprint[:16]}")
    few = {name: f"{n} recordings of " for name, n in found.having.items() if 0 < n < found.recordings}
    say("; ".join(f"{name}: {few.get(name, '')}{_lengths(lengths)}" for name, lengths in found.lengths.items()))
    if few:
        say(f"{found.having_all} recordings have all modalities")
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


def measured(name: str, value: float) -> str:
    """A line of a score or another number by its column."""
    measure = name.removesuffix(".mean").removesuffix(".std")
    shown = f"{percent(value)} %" if measure.endswith((".accuracy", ".f1")) else f"{value:.4g}"
    return beside_name(name, shown)


def beside_name(name: str, shown: str) -> str:
    """A line of a number by its column, which may be longer than the place for it."""
    return f"  {name:<31} {shown}"
