"""Columns of a text file by their positions, for formats that know the header."""

import csv
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from mmssl.data.columns import is_clock, named
from mmssl.data.csv_file import Layout, sheet_of
from mmssl.data.sheet import Sheet, Values

_SAMPLE = 20


class Table(NamedTuple):
    """A text file's cells below its header, under the columns' names."""

    path: Path
    names: tuple[str, ...]
    skip: int
    """Lines above the first line of data."""
    delimiter: str = ","

    def numbers(self, wanted: Sequence[int]) -> Values:
        """The wanted columns, (lines, wanted); NaN where a cell is empty.

        Raises:
            ValueError: a cell is no number, or a line has too many cells or too few.
        """
        # By position: a name may stand twice, or be that of a clock.
        called = {i: f"{self.names[i]} (column {i + 1})" for i in wanted}
        return sheet_of(self.path, self._layout(called), [called[i] for i in wanted]).values

    def moments(self, column: int) -> Values:
        """A column of dates with times as seconds since 1970; those without a zone count as UTC.

        Raises:
            ValueError: a cell is no date with a time.
        """
        sheet = sheet_of(self.path, self._layout({column: f"{self.names[column]} time"}), ())
        if sheet.seconds is None or not sheet.epoch:
            raise ValueError(f"{self.names[column]} holds no dates with times")
        return sheet.seconds

    def clock(self) -> Sheet:
        """The clock in the columns that have a clock's name, as a sheet without values."""
        split = {i: named(name) for i, name in enumerate(self.names)}
        clocks = {i: name for i, (name, _) in split.items() if is_clock(name)}
        return sheet_of(self.path, self._layout(clocks, {i: split[i][1] for i in clocks}), ())

    def _layout(self, called: Mapping[int, str], units: Mapping[int, str] = {}) -> Layout:
        with self.path.open(encoding="utf-8", errors="replace", newline="") as file:
            lines = [cells(line, self.delimiter) for line in islice(file, self.skip, self.skip + _SAMPLE)]
        if not lines or not any(lines[0]):
            raise ValueError("no lines below the header")
        width = len(lines[0])
        if max(called, default=0) >= width:
            raise ValueError(f"line {self.skip + 1}: {width} cells, and the header has {len(self.names)}")
        held = [line for line in lines if len(line) == width]
        decimal = "," if self.delimiter != "," and any("," in c and "." not in c for one in held for c in one) else "."
        text = frozenset(i for i in called if any(set(line[i]) - set("+-.,0123456789eE") for line in held))
        names, own = (tuple(of.get(i, "") for i in range(width)) for of in (called, units))
        return Layout(names, own, self.delimiter, decimal, self.skip, text)


def header_of(line: str) -> tuple[list[str], str]:
    """The names in a file's header, and its most frequent delimiter."""
    delimiter = max(",;\t", key=line.count)
    return cells(line, delimiter), delimiter


def cells(line: str, delimiter: str) -> list[str]:
    """The cells of a line, without spaces around them; none for an empty line.

    Raises:
        ValueError: it is no line of a table.
    """
    try:
        return [cell.strip() for cell in next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [])]
    except csv.Error as error:
        raise ValueError(f"not readable as a table ({error})") from error
