"""Apps of phones and watches: Sensor Logger, phyphox, SensorLog."""

import re
from pathlib import Path

import numpy as np

from mmssl.data.formats.channels import Channel, channels, sheet_of, split_header
from mmssl.data.formats.start import Start, start_of
from mmssl.data.formats.table import Table, cells, header_of
from mmssl.data.sheet import Sheet

_OF_FILE = (
    ("linear_acc", "m/s^2", r"(?<!total)accelerometer(?!uncalibrated)"),
    ("acc", "m/s^2", r"totalacceleration"),
    ("acc", "", r"accelerometeruncalibrated"),
    ("grav", "m/s^2", r"gravity"),
    ("gyro", "rad/s", r"gyroscope"),
    ("mag", "uT", r"magnetometer"),
)
"""The quantity of x, y and z in Sensor Logger's files, by the files' names; "" for a unit that depends on the phone."""


def is_sensor_logger(start: Start) -> bool:
    return bool(start.lines) and {"time", "seconds_elapsed"} <= set(cells(start.lines[0], ","))


def sensor_logger(path: Path) -> Sheet:
    """Raises ValueError: what is wrong with the file."""
    header = cells(start_of(path).lines[0], ",")
    table = Table(path, tuple(header), 1)
    clock, elapsed = header.index("time"), header.index("seconds_elapsed")
    stem = re.sub(r"[^a-z]", "", path.stem.lower())
    kind, unit = next(((kind, unit) for kind, unit, pattern in _OF_FILE if re.search(pattern, stem)), ("", ""))
    notes: tuple[str, ...] = ()
    if {"x", "y", "z"} <= set(header):
        found = [Channel(header.index(axis), f"{kind}_{axis}" if kind else axis, unit) for axis in "xyz"]
        if not kind:
            notes = ("its name does not say which sensor it is of, as Accelerometer.csv does: channels x, y, z",)
        elif kind == "linear_acc":
            notes = ("Accelerometer.csv of Sensor Logger is without gravity",)
    else:
        # Orientation has qw to qz; a watch's wrist motion has accelerationX without gravity.
        columns = [(i, _wrist(name), "rad/s" if "otation" in name else "") for i, name in enumerate(header)]
        found, notes = channels(columns, (clock, elapsed))
    values = table.numbers([clock, elapsed, *(one.column for one in found)])
    epoch = bool(np.nanmin(values[:, 0]) > 1e17)  # nanoseconds
    seconds = values[:, 0] * 1e-9 if epoch else values[:, 1]
    return sheet_of(found, values[:, 2:], seconds, epoch=epoch, notes=notes)


def _wrist(name: str) -> str:
    if re.fullmatch(r"q[wxyz]", name):
        return f"quat_{name[1]}"
    return f"user {name}" if name.startswith("acceleration") else name


def is_phyphox(start: Start) -> bool:
    """Its headers are all in quotes, whatever the delimiter, and begin with Time (s)."""
    return bool(start.lines) and start.lines[0].startswith('"Time (s)"')


def phyphox(path: Path) -> Sheet:
    """Raises ValueError: what is wrong with the file."""
    header, delimiter = header_of(start_of(path).lines[0])
    found, notes = channels(split_header(header), (0,))
    values = Table(path, tuple(header), 1, delimiter).numbers([0, *(one.column for one in found)])
    return sheet_of(found, values[:, 1:], values[:, 0], notes=notes)


def is_sensorlog(start: Start) -> bool:
    return bool(start.lines) and start.lines[0].lstrip().startswith("loggingTime")


def sensorlog(path: Path) -> Sheet:
    """Raises ValueError: what is wrong with the file.

    Its loggingTime is when the line was written, to the millisecond; the sensors' own clock counts from the phone's
    start. Both together are the sensors' moments since 1970.
    """
    header, delimiter = header_of(start_of(path).lines[0])
    split = split_header(header)
    clocks = [i for i, name, _ in split if "Timestamp" in name or name in ("loggingTime", "loggingSample")]
    found, notes = channels(split, clocks)
    sensor = re.match(r"[a-z]+", header[found[0].column])
    clock = next((i for i, name, _ in split if sensor and name == f"{sensor[0]}Timestamp_sinceReboot"), None)
    table = Table(path, tuple(header), 1, delimiter)
    seconds = table.moments(0)
    values = table.numbers([*([clock] if clock is not None else []), *(one.column for one in found)])
    if clock is not None:
        since_start, values = values[:, 0], values[:, 1:]
        seconds = since_start + (seconds[0] - since_start[0])
    return sheet_of(found, values, seconds, epoch=True, notes=notes)
