"""Streams cut into windows of equal length, or into their annotated intervals."""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from datetime import UTC, datetime
from io import StringIO
from typing import Literal, NamedTuple

from mmssl.data.clock import since_1970
from mmssl.data.csv_file import delimiter_of
from mmssl.data.description import Row, Window
from mmssl.data.recordings import Array, Recordings
from mmssl.data.timeline import Gaps
from mmssl.errors import UserError

_OWN_HALF = 0.5
"""Share of a window that an interval has to cover for the window to have its label."""
_BESIDE = 1.0
"""Seconds that an annotation made by hand may reach beyond its stream."""
_LATE = 0.1
"""Seconds that files begin apart, below which that shifts no label that matters."""


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
    late: float = 0.0
    """Seconds from the beginning of its first file to that of its last, where it begins."""
    gaps: Mapping[str, Gaps] = {}
    """By modality, in seconds from its beginning, what was interpolated over because nothing was measured there."""


class _Placed(NamedTuple):
    """A stream's intervals in seconds from its beginning, cut to it, each with its number."""

    inside: list[tuple[int, Interval]]
    outside: list[Interval]
    """Those that have no moment in common with it."""
    reading: Literal["stamps", "beginning"]
    """Whether they are on the stream's clock, or count from its beginning."""


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
    latest: dict[str, Interval] = {}
    """By label, the interval that reaches farthest so far."""
    for after in found:
        for before in latest.values():
            if after.start < before.end - 1e-9 and after.label != before.label:
                raise ValueError(
                    f"{before.label} from {before.start:.12g} to {before.end:.12g} and {after.label} from "
                    f"{after.start:.12g} overlap: a moment has one label"
                )
        latest[after.label] = max(after, latest.get(after.label, after), key=lambda one: one.end)
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
    What is left of a stream behind its last whole window is left out, and so are a stream shorter than a window, and
    windows of which a modality measured half or less.

    Args:
        intervals: by the stream's id; streams that are not in it have none.
        timings: by the stream's id.

    Raises:
        UserError: a rate is missing, intervals lie outside of their stream, or nothing is left.
    """
    rows: list[Row] = []
    arrays: dict[str, list[Array | None]] = {name: [] for name in streams.kinds}
    short: list[str] = []
    made_up: list[str] = []
    placed: dict[str, _Placed] = {}
    for i, row in enumerate(streams.rows):
        own = {name: array for name in arrays if (array := streams.arrays(name)[i]) is not None}
        timing = timings.get(row.recording_id, Timing(0.0, {}))
        rates = {name: timing.rates.get(name) or _rate(streams, name) for name in own}
        lasts = min(len(array) / rates[name] for name, array in own.items())
        given = intervals.get(row.recording_id)
        if given is not None:
            placed[row.recording_id] = _on_its_clock(row, given, timing, lasts)
        seen = placed[row.recording_id].inside if given is not None else None
        before = len(rows)
        for piece in _pieces(row, window, seen, lasts):
            if _is_made_up(piece, timing.gaps.values()):
                made_up.append(piece.recording_id)
                continue
            rows.append(piece)
            for name in arrays:
                arrays[name].append(_part(own[name], rates[name], piece) if name in own else None)
        if len(rows) == before:
            short.append(row.recording_id)
    called = f"windows of {window}" if window else "intervals"
    if not rows:
        outside = " outside of the gaps where nothing was measured" * bool(made_up)
        raise UserError(f"{streams.description.name}: no recording is long enough{outside} for {called}")
    description = streams.description.model_copy(
        update={"window": window, "classes": tuple(sorted({row.label for row in rows} - {""}))}
        if any(intervals.values()) and not streams.description.classes
        else {"window": window}
    )
    notes = [f"{len(streams) - len(short)} recordings cut into {len(rows)} {called}"]
    if short:
        notes.append(f"{len(short)} recordings give none and are left out, the first is {short[0]}")
    if made_up:
        what = ("window" if window else "interval") + "s" * (len(made_up) > 1)
        notes.append(
            "left out, as half or more of it lies in a gap, where nothing was measured: "
            f"{len(made_up)} {what}, the first {made_up[0]}"
        )
    notes += _how_placed(placed, timings)
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


def _on_its_clock(row: Row, intervals: Sequence[Interval], timing: Timing, lasts: float) -> _Placed:
    """Place a stream's intervals.

    On a clock of its own both readings are seconds: those that only fit from the beginning count from there.

    Raises:
        UserError: all of them lie outside of it, they seem to be in another unit, or count from a beginning and its
            files have several.
    """
    start = timing.start
    epoch, stamped = since_1970(start) is not None, any(since_1970(one.end) for one in intervals)
    from_beginning = not stamped and (epoch or (not _fit(intervals, start, lasts) and _fit(intervals, 0.0, lasts)))
    if intervals and from_beginning and timing.late > _BESIDE:
        raise UserError(
            f"{row.recording_id}: its intervals count seconds from its beginning, and its files begin "
            f"{timing.late:.3g} s apart: which beginning is not known; give start and end as stamps of its files"
        )
    zero = 0.0 if from_beginning else start
    found = [
        (number, Interval(max(0.0, one.start - zero), min(lasts, one.end - zero), one.label))
        for number, one in enumerate(intervals, start=1)
    ]
    inside = [(number, one) for number, one in found if one.end > one.start]
    outside = [intervals[number - 1] for number, one in found if not one.end > one.start]
    if intervals and not inside:
        raise UserError(
            f"{row.recording_id}: its intervals lie from {intervals[0].start:.12g} to {intervals[-1].end:.12g} s, and "
            f"it spans {zero:.12g} to {zero + lasts:.12g}: they are of another clock, or of another recording"
        )
    longest = max((intervals[number - 1] for number, _ in inside), key=lambda one: one.end - one.start, default=None)
    if longest and outside and not stamped and longest.end - longest.start > lasts:
        raise UserError(
            f"{row.recording_id}: {longest.label} from {longest.start:.12g} to {longest.end:.12g} s is longer than it, "
            f"which lasts {lasts:.6g} s, and {len(outside)} of its {len(intervals)} intervals lie outside: give start "
            "and end in seconds"
        )
    return _Placed(inside, outside, "beginning" if from_beginning else "stamps")


def _fit(intervals: Sequence[Interval], zero: float, lasts: float) -> bool:
    """Whether all lie in a stream that begins at `zero`."""
    return all(one.start >= zero - _BESIDE and one.end <= zero + lasts + _BESIDE for one in intervals)


def _how_placed(placed: Mapping[str, _Placed], timings: Mapping[str, Timing]) -> list[str]:
    """Notes on how intervals were read, where that is in doubt."""
    starts = {name: timings[name].start for name in placed if name in timings}
    own = {name: start for name, start in starts.items() if start > _BESIDE and not since_1970(start)}
    stamps = [name for name in own if placed[name].reading == "stamps"]
    from_beginning = [name for name in own if placed[name].reading == "beginning"]
    notes: list[str] = []
    if from_beginning:
        first = from_beginning[0]
        notes.append(
            f"intervals of {_recordings(from_beginning)}, as {first}, count from its beginning: on its clock, which "
            f"begins at {own[first]:.6g} s, some would lie outside of it"
        )
    if stamps:
        notes.append(
            f"intervals of {_recordings(stamps)}, as {stamps[0]}, are taken for stamps of its clock, which begins "
            f"at {own[stamps[0]]:.6g} s"
        )
    late = [name for name in starts if placed[name].reading == "beginning" and _LATE < timings[name].late <= _BESIDE]
    if late:
        most = max(timings[name].late for name in late)
        notes.append(
            f"seconds of intervals of {_recordings(late)}, as {late[0]}, count from when the last of its files begins, "
            f"up to {most:.3g} s after the first"
        )
    outside = [(name, one) for name, own in placed.items() for one in own.outside]
    if outside:
        name, one = outside[0]
        total = sum(len(own.inside) + len(own.outside) for own in placed.values())
        notes.append(
            f"{len(outside)} of {total} intervals lie outside of their recordings and are left out, the first from "
            f"{one.start:.12g} to {one.end:.12g} s of {name}"
        )
    return notes


def _recordings(some: Sized) -> str:
    return f"{len(some)} recording{'s' * (len(some) != 1)}"


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


def _is_made_up(piece: Row, gaps: Iterable[Gaps]) -> bool:
    """Whether at least half of what a modality has there was interpolated over a gap."""
    start, end = piece.start or 0.0, piece.end or 0.0
    lost = (sum(max(0.0, min(end, until) - max(start, since)) for since, until in own) for own in gaps)
    return max(lost, default=0.0) >= (1 - _OWN_HALF) * (end - start)


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
