"""The table of a folder of CSV files: a line for each recording, and the files it names."""

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from mmssl.data.csv_file import delimiter_of, text_of
from mmssl.data.description import Row, check_name
from mmssl.data.faults import by_cause
from mmssl.data.recordings import NO_SUBJECT
from mmssl.errors import UserError, nearest
from mmssl.recipe import USUAL, explain

TABLE = "recordings.csv"
_INTERVALS = "intervals"
"""The table's column of files with annotated intervals."""
_FILE = re.compile(r".*\.(csv|tsv|txt|json|skeleton|c3d|trc|mvnx|parquet)(\.gz)?", re.IGNORECASE)


class TableLine(NamedTuple):
    """A line of the table; `number` counts from 1, the header's."""

    number: int
    row: Row
    files: Mapping[str, str]
    """By column that names files; once files of one signal are joined, by modality."""
    intervals: str = ""
    """The file with annotated intervals."""


def table_in(
    path: Path, described: set[str], faults: list[tuple[str, str]], notes: list[str], made: str | None
) -> list[TableLine]:
    """The lines that can be read.

    Args:
        described: modalities whose columns are recognised by their names.
        made: the table's text where there is no such file.

    Raises:
        UserError: there is no table, or its columns are not those expected.
    """
    optional = [name for name in Row.model_fields if name not in ("recording_id", "subject", "label")]
    shape = (
        f"recording_id,label,subject and a column of files for each modality, under its name, as "
        f"{','.join(USUAL)} (and, if you like, {', '.join(optional)})"
    )
    if made is None and not path.is_file():
        raise UserError(
            f"{path}: there is no such table; make one with a line for each recording and the header {shape}; or name "
            "the parts of the files' names, as --pattern '{subject}_{label}_{trial}_{modality}.csv'"
        )
    try:
        text = text_of(path) if made is None else made
        reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter_of(text.partition("\n")[0]), strict=True)
        header = [name.strip().lower() for name in next(reader, [])]
        numbered = [(reader.line_num, [cell.strip() for cell in cells], cells) for cells in reader]
        modalities = _modalities(path.parent, header, [cells for _, cells, _ in numbered], described)
        twice = [name for name, count in Counter(filter(None, header)).items() if count > 1]
        missing = [name for name in ("recording_id", *(["subject"] if "label" in header else [])) if name not in header]
        if twice:
            raise UserError(f"{path}: columns {', '.join(twice)} stand more than once")
        if missing or not modalities:
            what = ", ".join(missing) or "that names files"
            raise UserError(f"{path}: no column {what} in its header {','.join(header)[:200]!r}; expected {shape}")
        labelled = "label" in header
        readable = {*Row.model_fields, *modalities, *USUAL, _INTERVALS}
        close = [name for name in header if name not in readable and nearest(name, sorted(readable)).startswith("did")]
        if not labelled and "label" in "".join(nearest(name, ["label"]) for name in close):
            raise UserError(f"{path}: column {close[0]!r}: {nearest(close[0], ['label'])}")
        lines: list[TableLine] = []
        first: dict[str, int] = {}
        spaced: list[int] = []
        for number, cells, written in numbered:
            place = f"{path.name} line {number}"
            if not any(cells):
                continue
            if len(cells) != len(header):
                faults.append((place, f"{len(cells)} cells, and the header has {len(header)}"))
                continue
            by_name = dict(zip(header, cells, strict=True))
            if cells != written:
                spaced.append(number)
            files = {one: by_name[one].replace("\\", "/") for one in modalities if by_name.get(one)}
            if not by_name["recording_id"] or not files:
                empty = " and ".join(modalities) if by_name["recording_id"] else "recording_id"
                faults.append((place, f"{empty}: empty"))
                continue
            try:
                row = Row.model_validate({k: v for k, v in by_name.items() if k in Row.model_fields and v})
            except ValidationError as error:
                faults.append((place, "; ".join(explain(error))))
                continue
            if row.label and not row.subject:
                faults.append((place, NO_SUBJECT))
                continue
            if row.recording_id in first:
                faults.append((place, f"recording_id {row.recording_id} stands in line {first[row.recording_id]} too"))
                continue
            first[row.recording_id] = number
            lines.append(TableLine(number, row, files, by_name.get(_INTERVALS, "").replace("\\", "/")))
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV table ({error})") from error
    if close:
        notes.append(
            f"{path.name}: columns that are not read: {', '.join(close)} ({nearest(close[0], sorted(readable))})"
        )
    if spaced:
        notes.append(f"{path.name}: spaces around names are not read, as in line {spaced[0]}")
    if not labelled and _INTERVALS not in header:
        notes.append(f"{path.name} has no column label: these recordings are to be classified, or to pre-train on")
    elif labelled and (blank := sum(not line.row.label for line in lines)):
        count = f"{path.name}: {blank} of {len(lines)} recordings have no label"
        notes.append(f"{count}: these are to be classified, or to pre-train on")
    if not lines:
        raise UserError("\n  ".join([f"{path}: no recording is named in it", *by_cause(faults)]))
    return lines


def _modalities(folder: Path, header: Sequence[str], lines: Sequence[Sequence[str]], described: set[str]) -> list[str]:
    """The columns whose cells name files.

    Raises:
        UserError: no modality can be called as one of them is.
    """
    found: list[str] = []
    for i, name in enumerate(header):
        cells = [line[i] for line in lines if len(line) == len(header) and line[i]]
        if (
            name
            and name not in (*Row.model_fields, _INTERVALS)
            and (name in {*described, *USUAL} or _are_files(folder, cells))
        ):
            found.append(name)
    try:
        for name in found:
            check_name(name)
    except ValueError as error:
        raise UserError(f"{folder / TABLE}: {error}") from error
    return sorted(found)


def _are_files(folder: Path, cells: Sequence[str]) -> bool:
    if cells and all(_FILE.fullmatch(cell) for cell in cells):
        return True
    try:
        return any((folder / cell.replace("\\", "/")).exists() for cell in cells)
    except (OSError, ValueError):
        return False


def paths_in(folder: Path, lines: Sequence[TableLine], faults: list[tuple[str, str]]) -> dict[str, Path | None]:
    """The file of each place that the table names; None, with a fault, where there is none to be read."""
    inside = folder.resolve()
    found: dict[str, Path | None] = {}
    for line in lines:
        for modality, place in (*line.files.items(), *([(_INTERVALS, line.intervals)] if line.intervals else [])):
            if place in found:
                continue
            path, fault = folder / place, ""
            try:
                if not path.resolve().is_relative_to(inside):
                    fault = "leads out of the folder; put the file inside"
                elif not path.exists():  # OpenPose writes a folder for a recording
                    fault = "there is no such file"
            except (OSError, ValueError, RuntimeError) as error:
                fault = f"no name of a file ({error})"
            if fault:
                faults.append((f"{TABLE} line {line.number}", f"{modality} {place[:200]!r}: {fault}"))
            found[place] = None if fault else path
    return found
