"""Xsens' and Movella's sensors: DOT's CSV and the text files of MTw and MTi."""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmssl.data.formats.channels import Channel, channels, sheet_of
from mmssl.data.formats.start import Start, start_of
from mmssl.data.formats.table import Table, cells
from mmssl.data.sheet import Sheet, Values

_PREAMBLE = 30
"""Lines at most above the header."""
_UNITS = {
    "acc": "m/s^2",
    "freeacc": "m/s^2",
    "gyro": "rad/s",
    "euler": "deg",
    "roll": "deg",
    "pitch": "deg",
    "yaw": "deg",
}
_COUNTER = 2**16
_CLOCK = re.compile(r"PacketCounter|SampleTimeFine|(UTC_)?(Year|Month|Day|Hour|Minute|Second|Nano|Valid)")


def _header(start: Start, delimiter: str) -> int | None:
    """The line with the columns' names."""
    for i, line in enumerate(start.lines[:_PREAMBLE]):
        names = cells(line, delimiter)
        if names and names[0] == "PacketCounter" and len(names) > 2:
            return i
    return None


def is_dot(start: Start) -> bool:
    at = _header(start, ",")
    return at is not None and not start.lines[0].startswith("//") and "SampleTimeFine" in start.lines[at]


def dot(path: Path) -> Sheet:
    """Raises ValueError: what is wrong with the file."""
    start = start_of(path)
    at = _header(start, ",") or 0
    header = cells(start.lines[at], ",")
    clock = header.index("SampleTimeFine")
    found, notes = channels([(i, name, "") for i, name in enumerate(header)], (0, clock))
    values = Table(path, tuple(header), at + 1).numbers([clock, *(one.column for one in found)])
    rate = next((match for line in start.lines[:at] if (match := re.match(r"OutputRate:\s*,\s*([\d.]+)", line))), None)
    # Microseconds in 32 bits, which begin again after 71 minutes.
    seconds = onwards(values[:, 0], 2**32) * 1e-6
    found = _with_units(found, _UNITS | {"gyro": "deg/s"})
    return sheet_of(found, values[:, 1:], seconds, rate=float(rate[1]) if rate else None, notes=notes)


def is_mtw(start: Start) -> bool:
    at = next((i for i, line in enumerate(start.lines) if not line.startswith("//")), None)
    return bool(at) and bool(re.search(r"\b(PacketCounter|Acc_X|Mat\[1\]\[1\]|Quat_q0)", start.lines[at or 0]))


def mtw(path: Path) -> Sheet:
    """Raises ValueError: what is wrong with the file."""
    start = start_of(path)
    at = next(i for i, line in enumerate(start.lines) if not line.startswith("//"))
    delimiter = next((mark for mark in "\t;," if mark in start.lines[at]), "\t")
    header = cells(start.lines[at], delimiter)
    clocks = [i for i, name in enumerate(header) if _CLOCK.match(name)]
    found, notes = channels([(i, name, "") for i, name in enumerate(header)], clocks)
    table = Table(path, tuple(header), at + 1, delimiter)
    values = table.numbers([one.column for one in found])
    match = re.search(r"(?:Update|Sampl(?:e|ing)) Rate:\s*([\d.]+)", "\n".join(start.lines[:at]), re.IGNORECASE)
    rate = float(match[1]) if match else None
    counter = table.numbers([header.index("PacketCounter")])[:, 0] if "PacketCounter" in header else None
    fine = table.numbers([header.index("SampleTimeFine")])[:, 0] if "SampleTimeFine" in header else None
    seconds = None
    if counter is not None and np.isfinite(counter).all():
        counter = onwards(counter, _COUNTER)
        lost = int(counter[-1] + 1 - len(counter))
        if rate:
            seconds = counter / rate
        if lost:
            notes += ("packets were lost on the way, by the counter",)
    if seconds is None and fine is not None and np.isfinite(fine).all():
        seconds = onwards(fine, 2**32) * 1e-4  # ticks of a tenth of a millisecond
    return sheet_of(_with_units(found, _UNITS), values, seconds, rate=rate, notes=notes)


def _with_units(found: list[Channel], units: Mapping[str, str]) -> list[Channel]:
    return [one._replace(unit=units.get(one.name.rpartition("_")[0] or one.name, "")) for one in found]


def onwards(counts: Values, size: int) -> Values:
    """Counts from 0 on without wrap-around after `size`: a step back by more than half of that is one forward."""
    steps = np.diff(counts)
    return np.concatenate([[0.0], np.cumsum(np.where(steps < -size / 2, steps + size, steps))])
