"""Time stamps of a file's lines, read as seconds."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from mmssl.data.columns import seconds_named
from mmssl.data.sheet import Values

pc: Any = pyarrow.compute
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_DAY = 86_400.0
_DIGITS = re.compile(r"hh:?mm:?ss", re.IGNORECASE)
# From 2000 to 2100; spreadsheets count days from 1900, MATLAB from the year 0.
_EPOCH = (946_684_800.0, 4_102_444_800.0)
_DAYS_BEFORE_1970 = {"days of a spreadsheet": 25_569.0, "days of MATLAB": 719_529.0}
_FASTEST, _SLOWEST = 1 / 25_000, 20.0
"""Steps that a clock may have, in seconds."""
_MOMENT = (
    r"^\s*(?:(?P<a>\d{1,4})(?P<sep>[-/.])(?P<b>\d{1,2})[-/.](?P<c>\d{1,4}))?[T _,]*"
    r"(?:(?P<h>\d{1,2}):(?P<m>\d{2})(?::(?P<s>\d{2})(?:[.,:](?P<f>\d{1,9}))?)?\s*(?P<p>[AaPp]\.?[Mm]\.?)?)?"
    r"\s*(?P<z>Z|z|UTC|GMT|[+-]\d{2}:?\d{2})?\s*$"
)


class Clock(NamedTuple):
    """Seconds of each line, NaN where its stamp is empty."""

    seconds: Values | None
    epoch: bool = False
    """Whether they count from 1970."""
    notes: tuple[str, ...] = ()


class _Read(NamedTuple):
    name: str
    seconds: Values
    kind: str
    """epoch, day (since midnight), date (midnights alone) or own."""
    notes: tuple[str, ...] = ()


def clock_of(columns: Sequence[tuple[str, str, pa.ChunkedArray]]) -> Clock:
    """The clock among columns with a clock's name, given with name, unit and cells.

    Raises:
        ValueError: none can be read as a clock.
    """
    read: list[_Read] = []
    faults: list[str] = []
    for name, unit, cells in columns:
        try:
            is_text = pa.types.is_string(cells.type)
            read.append(_of_text(name, cells) if is_text else _of_numbers(name, unit, np.asarray(cells.to_numpy())))
        except ValueError as error:
            faults.append(str(error))
    date = next((one for one in read if one.kind == "date"), None)
    day = next((one for one in read if one.kind == "day"), None)
    if date and day:
        same = np.nanmin(date.seconds) == np.nanmax(date.seconds)  # that of the first line, past midnight too
        seconds = date.seconds + (day.seconds if same else day.seconds % _DAY)
        both = _Read(f"{date.name} and {day.name}", seconds, "epoch", (*date.notes, *day.notes))
        read = [both, *(one for one in read if one not in (date, day))]
    usable = [one for one in read if one.kind != "date"]
    if not usable:
        if faults:
            raise ValueError(faults[0])
        return Clock(None, notes=(f"{read[0].name} holds dates without a time: no clock",) if read else ())
    moments = [len(np.unique(one.seconds)) for one in usable]
    # The finest; of several, one that can be compared with other files.
    fine = [one for one, count in zip(usable, moments, strict=True) if count >= 0.98 * max(moments)]
    best = next((one for one in fine if one.kind == "epoch"), fine[0])
    others = [one.name for one in read if one is not best]
    unread = (f"{', '.join(others)} not read: {best.name} is the clock",) if others else ()
    return Clock(best.seconds, best.kind == "epoch", (*best.notes, *unread))


def since_1970(stamp: float) -> tuple[str, float] | None:
    """Name and seconds of a stamp's unit, by the size of the stamp; None where it does not count from 1970."""
    return next(((w, size) for w, size in _UNITS.items() if _EPOCH[0] <= stamp * size <= _EPOCH[1]), None)


def _of_numbers(name: str, unit: str, values: Values) -> _Read:
    held = values[np.isfinite(values)]
    if not len(held):
        raise ValueError(f"{name} is empty throughout")
    named = seconds_named(name, unit)
    steps = _steps(held)
    middle = float(np.median(held))
    if (unit_of := since_1970(middle)) and _plausible(steps, unit_of[1]):
        word, size = unit_of
        note = f"{name} counts {word} since 1970, whatever its name says" if named not in (None, size) else ""
        return _Read(name, values * size, "epoch", (note,) if note else ())
    if (day := _of_digits(values, certain=_DIGITS.search(f"{name} {unit}") is not None)) is not None:
        return _Read(name, _over_midnight(day), "day", (f"{name} is a time of day, as 235959.99",))
    for word, before in _DAYS_BEFORE_1970.items():
        if named is None and _EPOCH[0] <= (middle - before) * _DAY <= _EPOCH[1] and _plausible(steps, _DAY):
            return _Read(name, (values - before) * _DAY, "epoch", (f"{name} counts {word}",))
    if not any(steps):
        return _Read(name, values * (named or 1.0), "own")
    if named and _plausible(steps, named, slowest=5.0):
        return _Read(name, values * named, "own")
    if named is None and _plausible(steps, 1.0, slowest=2.5):
        slow = not _plausible(steps, 1.0, slowest=0.5)
        doubt = f"{name} steps by {max(steps):.4g}: taken for seconds; if it counts milliseconds, call it {name}_ms"
        return _Read(name, values, "own", (doubt,) if slow else ())
    found = next(((word, size) for word, size in _UNITS.items() if _plausible(steps, size, slowest=1.0)), None)
    if found is None:
        raise ValueError(f"{name} steps by {max(steps):.4g}: no unit of time makes lines of a recording of that")
    notes = (f"{name} steps by {max(steps):.4g}: taken for {found[0]}",)
    return _Read(name, values * found[1], "own", notes)


def _of_digits(values: Values, *, certain: bool) -> Values | None:
    """Seconds since midnight of numbers that are hours, minutes and seconds, as 235959.99; None for other numbers.

    Args:
        certain: whether the column's name says so; otherwise the end of a minute must: 59.99 is followed by 100.00.

    Raises:
        ValueError: the name says so, and the numbers are no times of day.
    """
    held = values[np.isfinite(values)]
    hours, minutes, seconds = held // 10_000, held // 100 % 100, held % 100
    are = bool(((held >= 0) & (hours < 24) & (minutes < 60) & (seconds < 60)).all())
    if certain and not are:
        raise ValueError("a time of day as 235959.99 has no more than 23 hours, 59 minutes and 59 seconds")
    if not are:
        return None
    result = np.full(len(values), np.nan)
    result[np.isfinite(values)] = hours * 3600 + minutes * 60 + seconds
    if certain:
        return result
    raw, between = np.diff(held), np.diff(_over_midnight(result[np.isfinite(result)]))
    jumps = len(raw) > 1 and 0 < np.median(raw) < 1 and np.abs(raw).max() > 30
    return result if jumps and np.abs(between).max() < 30 else None


def _steps(held: Values) -> list[float]:
    """The mean step and the median step, which differ where one stamp is far off."""
    if len(held) < 2:
        return []
    between = np.abs(np.diff(held))
    between = between[between > 0]
    span = float(held.max() - held.min()) / (len(held) - 1)
    return [span, float(np.percentile(between, 50, method="lower"))] if len(between) else []


def _plausible(steps: Sequence[float], size: float, slowest: float = _SLOWEST) -> bool:
    return not steps or any(_FASTEST * 0.999 <= step * size <= slowest for step in steps)


def _of_text(name: str, cells: pa.ChunkedArray) -> _Read:
    """The seconds of dates and times of day, with or without a zone."""
    parts: Any = pc.extract_regex(cells, _MOMENT).combine_chunks()
    raw: dict[str, Any] = {key: parts.field(key) for key in ("a", "sep", "b", "c", "h", "m", "s", "f", "p", "z")}
    has_date, has_time = (_filled(raw[key]) for key in "ah")
    given = np.asarray(pc.is_valid(cells).combine_chunks().to_numpy(zero_copy_only=False), dtype=bool)
    bad = np.flatnonzero(given & ~has_date & ~has_time)
    if len(bad):
        raise ValueError(f"{name} is neither a number nor a date or a time of day: {cells[int(bad[0])].as_py()[:40]!r}")
    number = {key: _numbers(raw[key]) for key in "abchms"}
    hours, notes = number["h"], list[str]()
    if _filled(raw["p"]).any():
        half = pc.utf8_lower(pc.utf8_slice_codeunits(raw["p"], 0, 1))
        hours = hours % 12 + 12 * np.asarray(pc.equal(half, "p").to_numpy(zero_copy_only=False) == True)  # noqa: E712
    fraction = _numbers(raw["f"]) / 10.0 ** _numbers(pc.utf8_length(pc.fill_null(raw["f"], "")))
    seconds = hours * 3600 + number["m"] * 60 + number["s"] + fraction
    seconds[~given] = np.nan
    if not has_date.any():
        return _Read(name, _over_midnight(seconds), "day")
    if (has_date != given).any():
        raise ValueError(f"{name}: some lines have a date and some have none")
    days, note = _days(name, number, raw["sep"])
    notes += [note] if note else []
    seconds = seconds + days * _DAY
    if not has_time.any():
        return _Read(name, seconds, "date", tuple(notes))
    if _filled(raw["z"]).any():
        seconds -= _zones(raw["z"])
    return _Read(name, seconds, "epoch", tuple(notes))


def _filled(texts: Any) -> npt.NDArray[np.bool_]:
    return np.asarray(pc.greater(pc.utf8_length(pc.fill_null(texts, "")), 0).to_numpy(zero_copy_only=False), dtype=bool)


def _numbers(texts: Any) -> Values:
    """The texts as numbers, 0 for an empty one."""
    if not pa.types.is_string(texts.type):
        return np.asarray(texts.to_numpy(zero_copy_only=False), dtype=np.float64)
    empty = pc.equal(pc.fill_null(texts, ""), "")
    filled = pc.if_else(empty, "0", texts)
    return np.asarray(pc.cast(filled, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _days(name: str, number: dict[str, Values], separators: Any) -> tuple[Values, str]:
    """Days since 1970, and a note on the order of day and month."""
    a, b, c = (number[key].astype(np.int64) for key in "abc")
    note = ""
    if (a > 31).any():
        year, month, day = a, b, c
    else:
        year = np.where(c < 100, c + 2000, c)
        slash = separators[0].as_py() == "/"
        if (a > 12).any() or (not slash and not (b > 12).any()):
            day, month = a, b
        else:
            month, day = a, b
            if not (b > 12).any():
                note = f"{name}: {a[0]}/{b[0]} is taken for month/day"
    if ((month < 1) | (month > 12) | (day < 1) | (day > 31)).any():
        raise ValueError(f"{name}: there is no such date")
    months = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (month - 1)
    return (months.astype("datetime64[D]") + (day - 1)).astype(np.float64), note


def _zones(texts: Any) -> Values:
    """The zones' offsets from UTC, in seconds."""
    filled = pc.fill_null(texts, "Z")
    signs = [text.as_py() for text in pc.unique(filled)]
    east = {
        text: 0.0
        if text.upper() in ("Z", "", "UTC", "GMT")
        else (-1.0 if text[0] == "-" else 1.0) * (int(text[1:3]) * 3600 + int(text[-2:]) * 60)
        for text in signs
    }
    at = pc.index_in(filled, pa.array(signs))
    return np.array([east[text] for text in signs])[np.asarray(at.to_numpy(zero_copy_only=False))]


def _over_midnight(seconds: Values) -> Values:
    """Times of day without the jump at midnight, as seconds since the first midnight."""
    back = np.concatenate([[0.0], np.diff(seconds)]) < -_DAY / 2
    return seconds + _DAY * np.cumsum(back)
