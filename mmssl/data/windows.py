"""Streams cut into windows of equal length, or into their annotated intervals."""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from io import StringIO
from itertools import pairwise
from typing import NamedTuple

from mmssl.data.clock import since_1970
from mmssl.data.csv_file import delimiter_of
from mmssl.data.description import Row, Window
from mmssl.data.recordings import Array, Recordings
from mmssl.errors import UserError

_OWN_HALF = 0.5
"""Share of a window that an interval has to cover for the window to have its label."""


class Interval(NamedTuple):
    """An annotated part of a stream."""

    start: float
    """In seconds; from 1970 where the annotation has stamps."""
    end: float
    label: str


class Timing(NamedTuple):
    """Start and rates of one stream."""

    start: float
    """When it begins on the clock of its files; 0 where there is none."""
    rates: Mapping[str, float]
    """Lines a second, by modality, where its files have stamps; else the description's hold."""


class CutStreams(NamedTuple):
    """Windows as recordings, and notes."""

    recordings: Recordings
    notes: list[str]


def intervals_in(text: str) -> list[Interval]:
    """Read a table with the columns start, end and label.

    Stamps are seconds, or milli-, micro- or nanoseconds since 1970 (by their size), or dates with times, in UTC where
    they name no zone. Delimiters are those of other tables; with another than a comma, decimals may have commas.

    Raises:
        ValueError: a fault, with its line.
    """
    delimiter = delimiter_of(text.partition("\n")[0])
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter)
    header = [name.strip().lower() for name in next(reader, [])]
    missing = [name for name in Interval._fields if name not in header]
    if missing:
        raise ValueError(f"no column {', '.join(missing)} in its header; expected start,end,label")
    found: list[Interval] = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise ValueError(f"line {reader.line_num}: {len(cells)} cells, and the header has {len(header)}")
        own = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        if delimiter != ",":
            own |= {name: own[name].replace(",", ".") for name in ("start", "end")}
        try:
            one = Interval(_seconds(own["start"]), _seconds(own["end"]), own["label"])
        except ValueError as error:
            raise ValueError(f"line {reader.line_num}: {error}") from error
        if not one.end > one.start:
            raise ValueError(f"line {reader.line_num}: it ends at {own['end']}, and begins at {own['start']}")
        if one.label:  # Without a label it is as if it were not there.
            found.append(one)
    found.sort()
    for before, after in pairwise(found):
        if after.start < before.end - 1e-9 and after.label != before.label:
            raise ValueError(
                f"{before.label} from {before.start:.12g} to {before.end:.12g} and {after.label} from "
                f"{after.start:.12g} overlap: a moment has one label"
            )
    return found


def _seconds(word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        try:
            moment = datetime.fromisoformat(word)
        except ValueError as error:
            raise ValueError(f"{word[:40]!r} is neither a number nor a date with a time") from error
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not math.isfinite(number):
        raise ValueError(f"{word[:40]!r} is no moment")
    unit = since_1970(number)
    return number * unit[1] if unit else number


def cut(
    streams: Recordings,
    window: Window | None,
    intervals: Mapping[str, Sequence[Interval]],
    timings: Mapping[str, Timing],
) -> CutStreams:
    """Cut streams into windows of equal length, or without a window into their intervals.

    A window has the label of the interval that covers at least half of it; of a stream without intervals, the stream's.
    What is left of a stream behind its last whole window is left out, and so is a stream shorter than a window.

    Args:
        intervals: by the stream's id; streams that are not in it have none.
        timings: by the stream's id.

    Raises:
        UserError: a rate is missing, intervals lie outside of their stream, or nothing is left.
    """
    rows: list[Row] = []
    arrays: dict[str, list[Array | None]] = {name: [] for name in streams.kinds}
    short: list[str] = []
    for i, row in enumerate(streams.rows):
        own = {name: array for name in arrays if (array := streams.arrays(name)[i]) is not None}
        timing = timings.get(row.recording_id, Timing(0.0, {}))
        rates = {name: timing.rates.get(name) or _rate(streams, name) for name in own}
        lasts = min(len(array) / rates[name] for name, array in own.items())
        seen = _on_its_clock(row, intervals.get(row.recording_id), timing.start, lasts)
        pieces = [*_pieces(row, window, seen, lasts)]
        if not pieces:
            short.append(row.recording_id)
        for piece in pieces:
            rows.append(piece)
            for name in arrays:
                arrays[name].append(_part(own[name], rates[name], piece) if name in own else None)
    called = f"windows of {window}" if window else "intervals"
    if not rows:
        raise UserError(f"{streams.description.name}: no recording is long enough for {called}")
    description = streams.description.model_copy(
        update={"window": window, "classes": tuple(sorted({row.label for row in rows} - {""}))}
        if any(intervals.values()) and not streams.description.classes
        else {"window": window}
    )
    notes = [f"{len(streams) - len(short)} recordings cut into {len(rows)} {called}"]
    if short:
        notes.append(f"{len(short)} recordings give none and are left out, the first is {short[0]}")
    if any(intervals.values()) and window:
        blank = sum(not row.label for row in rows)
        notes.append(f"{blank} windows lie by less than half in one interval: they have no label and only pre-train")
    return CutStreams(Recordings(description, rows, **arrays), notes)


def _rate(streams: Recordings, name: str) -> float:
    rate = streams.description.modalities[name].hz
    if not rate:
        raise UserError(
            f"{streams.description.name}: how many lines of {name} a second has is not known: give its files time "
            f"stamps, or write hz for {name} into description.yaml"
        )
    return rate


def _on_its_clock(
    row: Row, intervals: Sequence[Interval] | None, start: float, lasts: float
) -> list[tuple[int, Interval]] | None:
    """The intervals in seconds from the stream's beginning, cut to it, each with its number."""
    if intervals is None:
        return None
    # Seconds that are no stamps count from the beginning of a stream that has some.
    zero = 0.0 if since_1970(start) and not any(since_1970(one.end) for one in intervals) else start
    found = [
        (number, Interval(max(0.0, one.start - zero), min(lasts, one.end - zero), one.label))
        for number, one in enumerate(intervals, start=1)
    ]
    inside = [(number, one) for number, one in found if one.end > one.start]
    if intervals and not inside:
        raise UserError(
            f"{row.recording_id}: its intervals lie from {intervals[0].start:.12g} to {intervals[-1].end:.12g} s, and "
            f"it spans {zero:.12g} to {zero + lasts:.12g}: they are of another clock, or of another recording"
        )
    return inside


def _pieces(
    row: Row, window: Window | None, intervals: list[tuple[int, Interval]] | None, lasts: float
) -> Iterator[Row]:
    if window is None:
        for number, one in intervals or []:
            yield _piece(row, one.start, one.end, one.label, number)
        return
    count = math.floor((lasts - window.seconds) / window.stride + 1e-6) + 1
    for k in range(max(0, count)):
        start = k * window.stride
        end = start + window.seconds
        number, label = (0, row.label) if intervals is None else _label(intervals, start, end)
        yield _piece(row, start, end, label, number)


def _label(intervals: Sequence[tuple[int, Interval]], start: float, end: float) -> tuple[int, str]:
    covered = [(min(end, one.end) - max(start, one.start), number, one.label) for number, one in intervals]
    most, number, label = max(covered, default=(0.0, 0, ""))
    return (number, label) if most >= _OWN_HALF * (end - start) - 1e-9 else (0, "")


def _piece(row: Row, start: float, end: float, label: str, number: int) -> Row:
    return row.model_copy(
        update={
            "recording_id": f"{row.recording_id}/{start:.3f}",
            "label": label,
            "source": row.recording_id,
            "start": round(start, 6),
            "end": round(end, 6),
            "interval": str(number) if number else "",
        }
    )


def _part(array: Array, rate: float, piece: Row) -> Array:
    start, end = piece.start or 0.0, piece.end or 0.0
    count = max(1, round(round((end - start) * rate, 6)))
    first = max(0, min(round(round(start * rate, 6)), len(array) - count))
    return array[first : first + count]
