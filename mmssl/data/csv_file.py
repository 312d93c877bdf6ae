"""One file of comma-separated numbers below a header: what its columns are called, and what they hold."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv as arrow_csv

Values = npt.NDArray[np.float64]

_SECONDS = {"time": 1.0, "time_s": 1.0, "time_ms": 1e-3, "time_us": 1e-6, "time_ns": 1e-9}
_STAMPS = frozenset(("timestamp", "time_stamp", "timestamps", "t", "ts", "date", "datetime", "seconds", "epoch"))
_NO_DATA = frozenset(("", "index", "frame", "frame_number", "frame_id", "sample", "row"))
_NULLS = ["", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "null", "NULL", "None"]
# A quarter of an hour of 50 channels at 200 Hz takes 100 MB.
_LARGEST_FILE = 2**28
_LONGEST_LINE = 2**20


class Header(NamedTuple):
    """What the first line of a recording's file says."""

    names: tuple[str, ...]
    delimiter: str
    time: str | None

    @property
    def data(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name != self.time and name.lower() not in _NO_DATA)


def header_of(path: Path) -> Header:
    """Raises ValueError: the first line is no header."""
    with path.open("rb") as file:
        start = file.readline(_LONGEST_LINE + 1)
    if not start.strip():
        raise ValueError("empty")
    if len(start) > _LONGEST_LINE:
        raise ValueError(f"line 1 is longer than {_LONGEST_LINE} bytes: no CSV file")
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("UTF-16; save it as CSV in UTF-8")
    try:
        line = start.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError("line 1 is no text in UTF-8") from error
    if not line.replace("\t", "").isprintable():
        raise ValueError("line 1 is no text")
    delimiter = delimiter_of(line)
    try:
        names = tuple(name.strip() for name in next(csv.reader([line], delimiter=delimiter)))
    except csv.Error as error:
        raise ValueError(f"line 1: {error}") from error
    twice = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    if twice:
        raise ValueError(f"column {', '.join(twice[:3])} stands more than once in the header")
    if all(_is_number(name) for name in names):
        raise ValueError("line 1 holds numbers: a header with the columns' names is expected")
    for name in names:
        if name.lower() in _STAMPS:
            raise ValueError(
                f"column {name}: if it holds times, call it time (seconds), time_ms, time_us or time_ns; else rename it"
            )
    times = [name for name in names if name.lower() in _SECONDS]
    if len(times) > 1:
        raise ValueError(f"columns {' and '.join(times)}: one time is enough")
    return Header(names, delimiter, times[0] if times else None)


def numbers(path: Path, header: Header, columns: Sequence[str]) -> tuple[Values | None, Values]:
    """Seconds (lines,) if there are any, and values (lines, columns); NaN where a cell is empty.

    Raises:
        ValueError: what is wrong with the file.
    """
    content = _content(path)
    # By position: two columns may be without a name.
    index = {name: str(i) for i, name in enumerate(header.names)}
    wanted = [index[name] for name in columns] + ([index[header.time]] if header.time else [])
    decimal = "," if header.delimiter == ";" and b"," in content.partition(b"\n")[2] else "."
    if b"\n" not in content:
        raise ValueError("no lines below the header")
    try:
        table = arrow_csv.read_csv(
            BytesIO(content),
            # Without threads, so that errors name the row.
            arrow_csv.ReadOptions(
                column_names=[str(i) for i in range(len(header.names))],
                skip_rows=1,
                use_threads=False,
                block_size=2 * _LONGEST_LINE,
            ),
            arrow_csv.ParseOptions(delimiter=header.delimiter),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(wanted, pa.float64()),
                include_columns=wanted,
                null_values=_NULLS,
                decimal_point=decimal,
            ),
        )
    except pa.ArrowException as error:
        raise ValueError(_plainly(str(error), header)) from error
    if not table.num_rows:
        raise ValueError("no lines below the header")
    values = np.stack([column.to_numpy() for column in table.columns], axis=1)
    if header.time is None:
        return None, values
    return values[:, -1] * _SECONDS[header.time.lower()], values[:, :-1]


def text_of(path: Path) -> str:
    """Raises ValueError: the file is no text of a size that can be."""
    return _content(path).decode("utf-8-sig")


def delimiter_of(first_line: str) -> str:
    return next((mark for mark in ",;\t" if mark in first_line), ",")


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    if size > _LARGEST_FILE:
        raise ValueError(f"{size} bytes are too many for one file")
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("UTF-16; save it as CSV in UTF-8")
    return content


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _plainly(said: str, header: Header) -> str:
    """Arrow's complaint in our words."""
    if match := re.search(r"CSV column #(\d+): Row #(\d+): .*invalid value '(.*)'", said, re.DOTALL):
        column, row, value = match.groups()
        return f"line {row}: {header.names[int(column)] or 'a column without name'} is no number: {value[:40]!r}"
    if match := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", said):
        return f"line {match[1]}: {match[3]} cells, and the header has {match[2]}"
    if "straddling" in said:
        return f"a line is longer than {2 * _LONGEST_LINE} bytes: no CSV file"
    return f"not a readable CSV file ({said.splitlines()[0][:200]})"
