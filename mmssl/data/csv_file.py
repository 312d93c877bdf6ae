"""A text file of numbers in columns, as any program writes it: its layout and its values."""

import csv
import mmap
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from mmssl.data.clock import clock_of
from mmssl.data.columns import is_clock, is_unit, named, no_signal
from mmssl.data.sheet import Sheet

_NULLS = ["", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "null", "NULL", "None", "-nan", "-"]
# A day of 20 channels at 200 Hz takes 3 GB; the numbers themselves half of it.
_LARGEST_FILE = 2**33
_LONGEST_LINE = 2**20
_LINES_EACH = 8
"""Lines at least of each, where a column says whose they are."""
_SAMPLE = 40
"""Lines from which the layout is inferred."""
_MARKS = ("#", "//", "%")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?")
_MOMENT = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*|\d{1,2}:\d{2}.*")


class Layout(NamedTuple):
    """The places of names and numbers in a file."""

    names: tuple[str, ...]
    """The columns' names, without units in brackets."""
    units: tuple[str, ...]
    """The unit of each column, "" where the file has none."""
    delimiter: str
    decimal: str
    above: int
    """Lines above the numbers."""
    text: frozenset[int]
    """Columns that hold words, dates or times of day."""
    notes: tuple[str, ...] = ()

    @property
    def clocks(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if is_clock(name))


def layout_of(path: Path, columns: Sequence[str] = ()) -> Layout:
    """The layout of a file, from its beginning.

    Args:
        columns: the names, for a file that begins with numbers.

    Raises:
        ValueError: there are no names, or not one for each column.
    """
    lines = _beginning(path)
    if not any(line.strip() for line in lines):
        raise ValueError("empty")
    delimiter = _delimiter([line for line in lines if line.strip() and not _is_comment(line)] or lines)
    cells = [[] if not line.strip() or _is_comment(line) else _split(line, delimiter) for line in lines]
    full = [row for row in cells if row]
    # Of two counts that are as frequent the larger: a line that was cut off is the fault.
    width = max(Counter(map(len, full)).items(), key=lambda item: (item[1], item[0]))[0] if full else 0
    body = [row for row in full[max(1, len(full) // 2) :] if len(row) == width] or full[:1]
    numeric = [j for j in range(width) if _share(body, j, delimiter) >= 0.5]
    first = next((i for i, row in enumerate(cells) if _is_data(row, width, numeric, delimiter)), None)
    if first is None:  # words throughout: the first line has the names, and `sheet_of` reports what is no number
        first = next(i for i, row in enumerate(cells) if row) + 1 if full else len(cells)
    header, units, notes = _header(lines[:first], cells[:first], width, delimiter)
    if header and columns and [*columns] != header:
        notes.append("the file names its columns itself, and by that they are read, not by --columns")
    if not header and columns:
        header, units = list(columns), [""] * len(columns)
        if len(columns) != width:
            raise ValueError(f"{width} columns, and --columns names {len(columns)}")
    if not header:
        raise ValueError(_no_header(cells, first, width))
    if len(header) == width - 1:
        if any(row[-1] for row in cells[first:] if len(row) == width):
            raise ValueError(_no_header(cells, first, width))
        header, units = [*header, ""], [*units, ""]
    split = [named(name) for name in header]
    names = _without_units(header, [name for name, _ in split])
    twice = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    if twice:
        raise ValueError(f"column {', '.join(twice[:3])} stands more than once in the header")
    decimal = "," if delimiter != "," and any(_DECIMAL_COMMA.fullmatch(c) for row in body for c in row) else "."
    own = [unit or (split[i][1] if names[i] != header[i] else "") for i, unit in enumerate(units)]
    text = frozenset(
        j for j in range(width) if any(c and c not in _NULLS and not _is_number(c, delimiter) for c in _column(body, j))
    )
    return Layout(tuple(names), tuple(own), delimiter, decimal, first, text, tuple(notes))


def sheet_of(path: Path, layout: Layout, columns: Sequence[str]) -> Sheet:
    """The columns, NaN where a cell is empty, and the time stamps of the lines.

    Raises:
        ValueError: what is wrong with the file.
    """
    index = {name: i for i, name in enumerate(layout.names) if name}
    clocks = layout.clocks
    wanted = [index[name] for name in (*columns, *clocks)]
    types = {
        i: pa.string() if i in layout.text and layout.names[i] in clocks else pa.float64()
        for i in dict.fromkeys(wanted)
    }
    table = _table(path, layout, types)
    if not table.num_rows:
        raise ValueError("no lines below the header")
    values = np.empty((table.num_rows, len(columns)))
    for j, name in enumerate(columns):
        values[:, j] = table[str(index[name])].to_numpy()
    units = tuple(layout.units[index[name]] for name in columns)
    if not clocks:
        return Sheet(tuple(columns), values, units=units, notes=layout.notes)
    clock = clock_of([(name, layout.units[index[name]], table[str(index[name])]) for name in clocks])
    notes = (*layout.notes, *clock.notes)
    return Sheet(tuple(columns), values, clock.seconds, clock.epoch, units=units, notes=notes)


def check_one(path: Path, layout: Layout, columns: Sequence[str] = ()) -> None:
    """Check that no column says that the lines are of several people, or of several devices in turn.

    Args:
        columns: those that are read as signals.

    Raises:
        ValueError: they are, so that they would be read as one who is here and there.
    """
    others = {i: name for i, name in enumerate(layout.names) if name not in columns}
    kinds = {i: kind for i, name in others.items() if (kind := no_signal(name)) in ("person", "id")}
    if not kinds:
        return
    table = _table(path, layout, dict.fromkeys(kinds, pa.string()))
    for i, kind in kinds.items():
        cells = table[str(i)].drop_null().combine_chunks().dictionary_encode()
        values, turns = cells.dictionary.to_pylist(), np.count_nonzero(np.diff(cells.indices.to_numpy()))
        # Pictures have names too, another in each line, and repetitions follow each other.
        if 1 < len(values) <= len(cells) / _LINES_EACH and (kind == "person" or turns > len(cells) / 4):
            raise ValueError(
                f"lines of {' and of '.join(values[:3])} by its column {layout.names[i]}, and a recording is of one: "
                "write a file for each"
            )


def text_of(path: Path) -> str:
    """A file's text; raises ValueError where it is too large, or UTF-16."""
    _check_size(path)
    content = path.read_bytes()
    _check_encoding(content)
    return content.decode("utf-8-sig")


def delimiter_of(first_line: str) -> str:
    return next((mark for mark in ",;\t" if mark in first_line), ",")


def line_of(path: Path, layout: Layout, row: int) -> int:
    """The line of a file, from 1, that holds a row of numbers, from 0."""
    with path.open("rb") as file:
        numbered = ((n, line) for n, line in enumerate(file, 1) if n > layout.above)
        held = (n for n, line in numbered if line.strip() and not _is_comment(line[:8].decode("latin-1")))
        return next((n for i, n in enumerate(held) if i == row), row + 1)


def _beginning(path: Path) -> list[str]:
    """The first lines, from which the layout is inferred."""
    _check_size(path)
    with path.open("rb") as file:
        content = file.read(_LONGEST_LINE + 1)
    _check_encoding(content)
    whole = content.removeprefix(b"\xef\xbb\xbf").splitlines()
    if len(content) > _LONGEST_LINE:
        whole = whole[:-1]
        if not whole:
            raise ValueError(f"line 1 is longer than {_LONGEST_LINE} bytes: no CSV file")
    # Enough for a preamble and for the usual lines below it.
    whole = whole[: 20 * _SAMPLE]
    lines = [_decoded(line) for line in whole]
    if whole and not lines[0].replace("\t", "").isprintable():
        raise ValueError("line 1 is no text")
    return lines


def _decoded(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        # What spreadsheets of Western Europe write: the degree sign and the raised two are in it.
        return line.decode("cp1252", errors="replace")


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith(_MARKS)


def _split(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        return line.split()
    if '"' not in line and len(line) < 10_000:
        return [cell.strip() for cell in line.split(delimiter)]
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])]
    except csv.Error as error:
        raise ValueError(f"line 1: {error}") from error


def _delimiter(lines: Sequence[str]) -> str:
    """The delimiter with which most cells of the last lines are numbers, as many in each line."""
    tail = lines[max(1, len(lines) // 2, len(lines) - _SAMPLE) :] or lines
    best, most = delimiter_of(lines[0]), 0.0
    for mark in (",", ";", "\t", "|", " "):
        rows = [_split(line, mark) for line in tail if len(line) < 10_000]
        width, often = Counter(map(len, rows)).most_common(1)[0] if rows else (1, 0)
        cells = [cell for row in rows if len(row) == width for cell in row]
        if width > 1:
            held = sum(not cell or _is_number(cell, mark) or bool(_MOMENT.fullmatch(cell)) for cell in cells)
            score = often / len(rows) * held / len(cells)
            if score > most + 1e-9 and score >= 0.5:
                best, most = mark, score
    return best


def _is_number(cell: str, delimiter: str) -> bool:
    return (
        _NUMBER.fullmatch(cell) is not None
        or cell.lower() in ("nan", "inf", "-inf", "+inf", "infinity")
        or (delimiter != "," and _DECIMAL_COMMA.fullmatch(cell) is not None)
    )


def _column(rows: Sequence[Sequence[str]], j: int) -> Iterator[str]:
    return (row[j] for row in rows if j < len(row))


def _share(rows: Sequence[Sequence[str]], j: int, delimiter: str) -> float:
    """The share of numbers among a column's cells that are not empty."""
    held = [cell for cell in _column(rows, j) if cell and cell not in _NULLS]
    return sum(_is_number(cell, delimiter) for cell in held) / len(held) if held else 0.0


def _is_data(row: Sequence[str], width: int, numeric: Sequence[int], delimiter: str) -> bool:
    if len(row) != width or not numeric:
        return False
    held = [row[j] for j in numeric if row[j]]
    good = sum(_is_number(cell, delimiter) or cell in _NULLS for cell in held)
    return not held or good >= 0.5 * len(held)


def _header(
    lines: Sequence[str], cells: Sequence[list[str]], width: int, delimiter: str
) -> tuple[list[str], list[str], list[str]]:
    """Names, units and notes from the lines above the numbers; all empty where there are no names."""
    fits = (width, width - 1)
    at = len(cells)
    while at and (not cells[at - 1] or len(cells[at - 1]) in fits):
        at -= 1
    rows = [row for row in cells[at:] if row and any(row)]
    units = [""] * width
    notes: list[str] = []
    while len(rows) > 1 and all(is_unit(cell) for cell in rows[-1] if cell):
        units = [cell.strip("()[] ") for cell in rows.pop()]
        units = [*units, *[""] * (width - len(units))]
    if not rows:
        marked = [line.lstrip().lstrip("#/%").strip() for line in lines if _is_comment(line)]
        own = [_split(line, delimiter) for line in marked[-1:]]
        rows = [row for row in own if len(row) == width and not any(_is_number(cell, delimiter) for cell in row)]
    if not rows:
        return [], [], []
    header = rows[-1]
    above = [row for row in rows[:-1] if len(row) == len(header)]
    if above and len(set(filter(None, header))) == len([*filter(None, header)]):
        repeated = set(filter(None, above[-1]))
        if len(repeated) == 1 and above[-1].count(next(iter(repeated))) > 1:
            raise ValueError(f"column {next(iter(repeated))} stands more than once in the header")
        notes.append("a line above the names is not read")
    elif above:
        header = _joined([*above, header])
    return header, units[: len(header)], notes


def _joined(rows: Sequence[Sequence[str]]) -> list[str]:
    """Names joined from several header lines; an empty cell has the name to its left, as merged cells have."""
    filled: list[list[str]] = []
    for row in rows[:-1]:
        last, own = "", list[str]()
        for cell in row:
            last = cell or last
            own.append(last)
        # A line with the same word for every column, such as the file's author, distinguishes none.
        if len(set(own[1:])) > 1:
            filled.append(own)
    return ["_".join(filter(None, (*words, name))) for *words, name in zip(*filled, rows[-1], strict=True)]


def _without_units(header: Sequence[str], names: Sequence[str]) -> list[str]:
    """Names without units, which stay only where they distinguish two columns."""
    count = Counter(names)
    return [name if count[name] == 1 else whole for whole, name in zip(header, names, strict=True)]


def _no_header(cells: Sequence[Sequence[str]], first: int, width: int) -> str:
    number, above = next(((i + 1, row) for i, row in enumerate(cells[:first]) if row), (0, []))
    if len(above) > 1:
        return f"line {first + 1}: {width} cells, and the header has {len(above)}"
    if number:
        return (
            f"line {first + 1} holds numbers, and no line above it names its {width} columns: name them with --columns"
        )
    return f"line {first + 1} holds numbers: a header with the columns' names is expected; name them with --columns"


def _table(path: Path, layout: Layout, types: dict[int, pa.DataType]) -> pa.Table:
    """The columns under their positions as names: two may have no name of their own."""
    content, above = _content(path, layout)
    if content is None:
        raise ValueError("no lines below the header")

    def read(threads: bool) -> pa.Table:
        return arrow_csv.read_csv(
            pa.memory_map(str(path)) if isinstance(content, Path) else BytesIO(content),
            arrow_csv.ReadOptions(
                column_names=[str(i) for i in range(len(layout.names))],
                skip_rows=above,
                use_threads=threads,
                block_size=2 * _LONGEST_LINE,
                encoding="utf8",
            ),
            arrow_csv.ParseOptions(delimiter=layout.delimiter),
            arrow_csv.ConvertOptions(
                column_types={str(i): kind for i, kind in types.items()},
                include_columns=[str(i) for i in types],
                null_values=_NULLS,
                decimal_point=layout.decimal,
                strings_can_be_null=True,
            ),
        )

    try:
        return read(threads=True)
    except pa.ArrowException:
        try:
            return read(threads=False)  # so that the error names the row
        except pa.ArrowException as error:
            raise ValueError(_plainly(str(error), path, layout, above)) from error


def _content(path: Path, layout: Layout) -> tuple[Path | bytes | None, int]:
    """The content to parse, or the file's path where that can be parsed unchanged, and the number of lines to skip;
    None where no numbers follow."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = 0
        for _ in range(layout.above):
            ends = [at for at in (content.find(b"\n", start), content.find(b"\r", start)) if at >= 0]
            if not ends:
                return None, 0
            start = min(ends) + (2 if content[min(ends) : min(ends) + 2] == b"\r\n" else 1)
        if start >= len(content):
            return None, 0
        marked = any(content.find(b"\n" + mark.encode(), start - 1 if start else 0) >= 0 for mark in _MARKS)
        if layout.delimiter != " " and not marked:
            return path, layout.above
        lines = (line.strip() for line in content[start:].splitlines())
        kept = [line for line in lines if not line.startswith(tuple(mark.encode() for mark in _MARKS))]
    if layout.delimiter == " ":
        kept = [b" ".join(line.split()) for line in kept]
    return b"\n".join(kept), 0


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size > _LARGEST_FILE:
        raise ValueError(f"{size / 2**30:.1f} GiB are too many for one file; cut it into several")


def _check_encoding(content: bytes) -> None:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("UTF-16; save it as CSV in UTF-8")


def _plainly(message: str, path: Path, layout: Layout, skipped: int) -> str:
    """Arrow's message with the file's line and column name."""
    if match := re.search(r"CSV column #(\d+): Row #(\d+): .*invalid value '(.*)'", message, re.DOTALL):
        column, row, value = match.groups()
        name = layout.names[int(column)] or "a column without name"
        return f"line {line_of(path, layout, int(row) - skipped - 1)}: {name} is no number: {value[:40]!r}"
    if match := re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+)", message):
        line = line_of(path, layout, int(match[1]) - skipped - 1)
        return f"line {line}: {match[3]} cells, and the header has {match[2]}"
    if "straddling" in message:
        return f"a line is longer than {2 * _LONGEST_LINE} bytes: no CSV file"
    return f"not a readable CSV file ({message.splitlines()[0][:200]})"
