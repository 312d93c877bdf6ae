"""Lines of cells below the header of a text file."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import compute as _compute
from pyarrow import csv as arrow_csv

from mmssl.data.sheet import Values

compute: Any = _compute
_NULLS = ["", "nan", "NaN", "NAN", "NA", "null", "NULL", "None", "N/A", " "]
_BLOCK = 2**23


class Table(NamedTuple):
    """Where the cells are, and what the columns are called."""

    path: Path
    names: tuple[str, ...]
    skip: int
    """Lines above the first line of data."""
    delimiter: str = ","

    def numbers(self, wanted: Sequence[int]) -> Values:
        """(lines, wanted); NaN where a cell is empty.

        Raises:
            ValueError: a cell is no number, or a line has too many cells or too few.
        """
        table = self._read({str(i): pa.float64() for i in wanted})
        return np.stack([table[str(i)].to_numpy() for i in wanted], axis=1).astype(np.float64)

    def moments(self, column: int) -> Values:
        """Dates with times as seconds since 1970; without a zone as if in UTC.

        Raises:
            ValueError: a cell is none.
        """
        text = self._read({str(column): pa.string()})[str(column)]
        text = compute.replace_substring(compute.utf8_trim_whitespace(text), "/", "-")
        text = compute.replace_substring_regex(text, r"\s+([+-]\d\d:?\d\d)$", r"\1")
        for zone in ("UTC", None):
            try:
                moments = text.cast(pa.timestamp("us", tz=zone))
            except pa.ArrowInvalid:
                continue
            return moments.cast(pa.int64()).to_numpy().astype(np.float64) * 1e-6
        raise ValueError(f"{self.names[column]}: no dates with times as 2024-05-01 12:00:00.000: {text[0]}")

    def _read(self, types: dict[str, pa.DataType]) -> pa.Table:
        with self.path.open("rb") as file:
            for _ in range(self.skip):
                file.readline()
            first = file.readline()
        if not first.strip():
            raise ValueError("no lines below the header")
        width = len(cells(first.decode("utf-8", errors="replace"), self.delimiter))
        decimal = "," if self.delimiter != "," and b"," in first and b"." not in first else "."
        with self.path.open("rb") as file:
            for _ in range(self.skip):
                file.readline()
            try:
                table = arrow_csv.read_csv(
                    file,
                    # Without threads, so that errors name the line. A last delimiter makes a cell without a name.
                    arrow_csv.ReadOptions(
                        column_names=[str(i) for i in range(width)], use_threads=False, block_size=_BLOCK
                    ),
                    arrow_csv.ParseOptions(delimiter=self.delimiter),
                    arrow_csv.ConvertOptions(
                        column_types=types,
                        include_columns=list(types),
                        null_values=_NULLS,
                        decimal_point=decimal,
                    ),
                )
            except (pa.ArrowException, KeyError) as error:
                raise ValueError(self._plainly(str(error), width)) from error
        return table

    def _plainly(self, said: str, width: int) -> str:
        """Arrow's complaint in our words."""
        if match := re.search(r"CSV column #(\d+): Row #(\d+): .*invalid value '(.*)'", said, re.DOTALL):
            column, row, value = match.groups()
            return f"line {int(row) + self.skip}: {self.names[int(column)]} is no number: {value[:40]!r}"
        if match := re.search(r"Row #(\d+): Expected \d+ columns, got (\d+)", said):
            return f"line {int(match[1]) + self.skip}: {match[2]} cells, and the first line has {width}"
        if "include_columns" in said:
            return f"line {self.skip + 1}: {width} cells, and the header has {len(self.names)}"
        return f"not readable as a table ({said.splitlines()[0][:200]})"


def cells(line: str, delimiter: str) -> list[str]:
    """Of a line of a file, without spaces around them; none for a line without any."""
    try:
        return [cell.strip() for cell in next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [])]
    except csv.Error as error:
        raise ValueError(f"not readable as a table ({error})") from error
