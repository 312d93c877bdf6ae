"""One file of a recording in any format: its columns first, its values when they are wanted."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmssl.data import formats
from mmssl.data.csv_file import Layout, check_one, layout_of, line_of, sheet_of
from mmssl.data.sheet import Sheet


class Opened(NamedTuple):
    """A file whose columns have been read."""

    path: Path
    names: tuple[str, ...]
    """Without clocks of its own that are read as such."""
    units: tuple[str, ...]
    layout: Layout | None = None
    """None for a format of its own."""
    confidence: float = formats.CONFIDENCE
    """Joints of which a network was less sure are missing."""
    parts: "tuple[tuple[str, Opened], ...]" = ()
    """Files that make one signal together, and what stands before their names: wrist before acc_x."""

    def read(self, columns: Sequence[str]) -> Sheet:
        """Raises ValueError: what is wrong with the file."""
        if self.layout:
            check_one(self.path, self.layout, columns)
            return sheet_of(self.path, self.layout, columns)
        sheet = formats.read(self.path, self.confidence)
        if sheet is None:
            raise ValueError("has changed while it was read")
        at = [sheet.names.index(name) for name in columns]
        units = tuple(sheet.units[i] for i in at) if sheet.units else ()
        return sheet._replace(names=tuple(columns), values=sheet.values[:, at], units=units)

    def parted(self, columns: Sequence[str]) -> "list[tuple[Opened, list[str]]]":
        """Of the parts, the columns that are among those, by their own names and in the order of `joined`."""
        return [(part, [name for name in part.names if before(prefix, name) in columns]) for prefix, part in self.parts]

    def line(self, row: int) -> int:
        """The line, from 1, of a row of values, from 0."""
        return line_of(self.path, self.layout, row) if self.layout else row + 1


def opened(path: Path, columns: Sequence[str] = (), confidence: float = formats.CONFIDENCE) -> Opened:
    """Read what a file's columns are called.

    Args:
        columns: the names, for a table that begins with numbers.
        confidence: joints of which a network was less sure are missing.

    Raises:
        ValueError: the file cannot be read.
    """
    sheet = formats.read(path, confidence)
    if sheet:
        return Opened(path, sheet.names, sheet.units, confidence=confidence)
    layout = layout_of(path, columns)
    clocks = set(layout.clocks)
    kept = [(name, unit) for name, unit in zip(layout.names, layout.units, strict=True) if name not in clocks]
    return Opened(path, tuple(name for name, _ in kept), tuple(unit for _, unit in kept), layout)


def together(parts: "Sequence[tuple[str, Opened]]") -> Opened:
    """Files whose columns make one signal.

    Raises:
        ValueError: two columns have one name.
    """
    names = tuple(before(prefix, name) for prefix, part in parts for name in part.names)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"column {twice[0]} stands in two of the files that make one signal")
    units = tuple(unit for _, part in parts for unit in (part.units or ("",) * len(part.names)))
    return Opened(parts[0][1].path, names, units, parts=tuple(parts))


def before(prefix: str, name: str) -> str:
    """The name of a column among those of several files; one that begins so already stays."""
    return name if re.match(rf"{re.escape(prefix)}($|[^a-z0-9])", name, re.IGNORECASE) else f"{prefix}_{name}"
