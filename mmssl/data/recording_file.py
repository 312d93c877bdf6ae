"""One file of a recording in any format: its columns first, its values when they are wanted."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmssl.data import formats
from mmssl.data.csv_file import Layout, layout_of, line_of, sheet_of
from mmssl.data.sheet import Sheet


class Opened(NamedTuple):
    """A file whose columns are known."""

    path: Path
    names: tuple[str, ...]
    """Without clocks of its own that are read as such."""
    units: tuple[str, ...]
    layout: Layout | None = None
    """None for a format of its own."""
    confidence: float = formats.CONFIDENCE
    """Joints of which a network was less sure are missing."""

    def read(self, columns: Sequence[str]) -> Sheet:
        """Raises ValueError: what is wrong with the file."""
        if self.layout:
            return sheet_of(self.path, self.layout, columns)
        sheet = formats.read(self.path, self.confidence)
        if sheet is None:
            raise ValueError("has changed while it was read")
        at = [sheet.names.index(name) for name in columns]
        units = tuple(sheet.units[i] for i in at) if sheet.units else ()
        return sheet._replace(names=tuple(columns), values=sheet.values[:, at], units=units)

    def line(self, row: int) -> int:
        """The line, from 1, of a row of values, from 0."""
        return line_of(self.path, self.layout, row) if self.layout else row + 1


def opened(path: Path, columns: Sequence[str] = (), confidence: float = formats.CONFIDENCE) -> Opened:
    """Read what a file's columns are called.

    Args:
        columns: the names, for a table that begins with numbers.
        confidence: joints of which a network was less sure are missing.

    Raises:
        ValueError: they cannot be told.
    """
    sheet = formats.read(path, confidence)
    if sheet:
        return Opened(path, sheet.names, sheet.units, confidence=confidence)
    layout = layout_of(path, columns)
    clocks = set(layout.clocks)
    kept = [(name, unit) for name, unit in zip(layout.names, layout.units, strict=True) if name not in clocks]
    return Opened(path, tuple(name for name, _ in kept), tuple(unit for _, unit in kept), layout)
