"""Wearables that record: ActiGraph, Shimmer, MetaBase, Axivity, Empatica E4."""

import re
from datetime import datetime
from pathlib import Path

import numpy as np

from mmssl.data.formats.channels import Channel, channels, sheet_of, split_header, unit_of
from mmssl.data.formats.start import Start, start_of
from mmssl.data.formats.table import Table, cells
from mmssl.data.sheet import Sheet, Values

# Shimmer: Consensys' CSV, with sep= in the first line, names in the second, units in the third.

_SHIMMER = re.compile(
    r"(?P<device>.+?)_(?P<what>(?:Timestamp|Accel|Gyro|Mag|Quat|ECG|EMG|EXG|PPG|GSR|Battery|Pressure|Temperature|Int|Ext|"
    r"System|Event|Packet).*?)_(?P<how>CAL|RAW)"
)


def is_shimmer(start: Start) -> bool:
    return len(start.lines) > 3 and start.lines[0].strip('"').startswith("sep=") and "Timestamp" in start.lines[1]


def shimmer(path: Path) -> Sheet:
    """Raises ValueError: what is wrong with the file."""
    lines = start_of(path).lines
    delimiter = lines[0].strip('"')[4:5] or "\t"
    header, units = cells(lines[1], delimiter), cells(lines[2], delimiter)
    if len(units) < len(header):
        raise ValueError(f"line 3: {len(units)} units for {len(header)} columns")
    parts = {i: match for i, name in enumerate(header) if (match := _SHIMMER.fullmatch(name))}
    devices = list(dict.fromkeys(match["device"] for match in parts.values()))
    if len(devices) > 1:
        raise ValueError(f"{len(devices)} devices in one file ({', '.join(devices)[:100]}): export each by itself")
    calibrated = {match["what"] for match in parts.values() if match["how"] == "CAL"}
    clocks = [i for i, match in parts.items() if "Timestamp" in match["what"]]
    columns = [
        (i, match["what"] if match["how"] == "CAL" or match["what"] not in calibrated else "", unit_of(units[i]))
        for i, match in parts.items()
    ]
    found, notes = channels(columns, clocks)
    table = Table(path, tuple(header), 3, delimiter)
    values = table.numbers([one.column for one in found])
    seconds, epoch = _shimmer_clock(table, {header[i]: i for i in clocks}, units)
    return sheet_of(found, values, seconds, epoch=epoch, notes=notes)


def _shimmer_clock(table: Table, clocks: dict[str, int], units: list[str]) -> tuple[Values | None, bool]:
    """Seconds, and whether they count from 1970: of the clock since 1970 rather than the device's own."""
    for name, at in sorted(clocks.items(), key=lambda one: "Unix" not in one[0]):
        if "Formatted" in name or re.search(r"yyyy", units[at], re.IGNORECASE):
            return table.moments(at), True
        if units[at] == "ms":
            return table.numbers([at])[:, 0] * 1e-3, "Unix" in name
    return None, False


# MetaBase: a file for each sensor, whose kind its unit says.

_META = {"g": "acc", "deg/s": "gyro", "T": "mag", "uT": "mag"}


def is_metabase(start: Start) -> bool:
    return bool(start.lines) and bool(re.match(r'"?epoch? \(ms\)', start.lines[0]))


def metabase(path: Path) -> Sheet:
    """Raises ValueError: what is wrong with the file."""
    header = cells(start_of(path).lines[0], ",")
    split = split_header(header)
    stem = re.sub(r"[^a-z]", "", path.stem.lower())
    named = "linear_acc" if "linear" in stem else "grav" if "gravity" in stem else ""
    if any(words == "w" for _, words, _ in split):
        named = "quat"
    found: list[Channel] = []
    for i, words, unit in split:
        axis = re.fullmatch(r"([wxyz])(-axis)?", words)
        if axis and (kind := named or _META.get(unit)):
            found.append(Channel(i, f"{kind}_{axis[1]}", unit))
    if not found:
        raise ValueError(f"no x-axis, y-axis, z-axis of a known unit in its header: {', '.join(header)[:200]}")
    values = Table(path, tuple(header), 1).numbers([0, *(one.column for one in found)])
    return sheet_of(found, values[:, 1:], values[:, 0] * 1e-3, epoch=True)


# Axivity: what OmGui exports of AX3 and AX6, with a header or without.

_AX_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?(,\s*-?\d+(\.\d+)?){3}((,\s*-?\d+(\.\d+)?){3})?")
_AX_HEADER = re.compile(r"Time,\s*Accel-X \(g\)")
_AX_NAMES = ("Time", "Accel-X (g)", "Accel-Y (g)", "Accel-Z (g)", "Gyro-X (d/s)", "Gyro-Y (d/s)", "Gyro-Z (d/s)")


def is_axivity(start: Start) -> bool:
    """Without a header by its lines, whose accelerations are those of something that mostly rests, in g."""
    if start.lines and _AX_HEADER.match(start.lines[0]):
        return True
    if not start.lines or not all(_AX_LINE.fullmatch(line) for line in start.lines[:200]):
        return False
    sizes = [float(np.linalg.norm([float(cell) for cell in line.split(",")[1:4]])) for line in start.lines[:200]]
    return 0.5 < float(np.median(sizes)) < 2


def axivity(path: Path) -> Sheet:
    """Raises ValueError: what is wrong with the file."""
    first = start_of(path).lines[0]
    titled = bool(_AX_HEADER.match(first))
    header = cells(first, ",") if titled else list(_AX_NAMES[: len(first.split(","))])
    found, notes = channels(split_header(header), (0,))
    table = Table(path, tuple(header), int(titled))
    values = table.numbers([one.column for one in found])
    seconds = table.moments(0)
    if not titled:
        notes += ("no header: taken for Axivity's, acceleration in g" + ", turning in deg/s" * (len(header) > 4),)
    return sheet_of(found, values, seconds, epoch=True, notes=notes)


# ActiGraph: what ActiLife and CentrePoint export of raw data.

_ACTI = re.compile(r"-+ *Data (?:File|Table File) Created By ActiGraph .*date format (?P<date>\S+) at (?P<rate>\d+) Hz")
_ACTI_NAMES = ("Accelerometer X", "Accelerometer Y", "Accelerometer Z")
_ACTI_UNITS = {"acc": "g", "gyro": "deg/s", "mag": "uT"}
_DATES = {"M": "%m", "d": "%d", "y": "%Y"}


def is_actigraph(start: Start) -> bool:
    return bool(start.lines) and _ACTI.match(start.lines[0]) is not None


def actigraph(path: Path) -> Sheet:
    """Raises ValueError: what is wrong with the file."""
    lines = start_of(path).lines
    about = _ACTI.match(lines[0])
    rule = next((i for i, line in enumerate(lines[1:20], 1) if line.startswith("-----")), None)
    if about is None or rule is None or rule + 1 >= len(lines):
        raise ValueError("no line of dashes below ActiGraph's preamble")
    header = cells(lines[rule + 1], ",")
    titled = any("Accelerometer" in name for name in header)
    header = header if titled else list(_ACTI_NAMES)
    # The first line has the date's order, which is that of the computer which exported it.
    order = re.sub(r"M+|d+|y+", lambda match: _DATES[match[0][0]], about["date"])
    start = dict(re.findall(r"^Start (Time|Date) (\S+)$", "\n".join(lines[:rule]), re.MULTILINE))
    try:
        began = datetime.strptime(f"{start['Date']} {start['Time']}+0000", f"{order} %H:%M:%S%z").timestamp()
    except (KeyError, ValueError, re.error) as error:  # re.error: a date with two years
        raise ValueError(f"no Start Time and Start Date as {about['date']} in its first lines") from error
    found, notes = channels(
        [(i, name, "") for i, name in enumerate(header)], [i for i, n in enumerate(header) if n == "Timestamp"]
    )
    values = Table(path, tuple(header), rule + 1 + titled).numbers([one.column for one in found])
    rate = float(about["rate"])
    found = [one._replace(unit=_ACTI_UNITS.get(one.name[:-2], "")) for one in found]
    seconds = began + np.arange(len(values)) / rate
    return sheet_of(found, values, seconds, epoch=True, rate=rate, notes=notes)


# Empatica E4: a file for each sensor; when it began, then its rate, then the numbers.

_E4 = {"acc": "g", "bvp": "", "eda": "uS", "temp": "degC", "hr": "1/min"}
_E4_STEP = 64
"""Acceleration is in 1/64 g."""


def is_empatica(start: Start) -> bool:
    if len(start.lines) < 3:
        return False
    try:
        began, rates = ({float(cell) for cell in cells(line, ",")} for line in start.lines[:2])
    except ValueError:
        return bool(re.fullmatch(r"1\d{9}\.\d+,\s*IBI", start.lines[0]))
    (moment, *others), rate = began, max(rates)
    return not others and len(rates) == 1 and 1e9 < moment < 4e9 and 0.1 <= rate <= 512 and "." in start.lines[0]


def empatica(path: Path) -> Sheet:
    """Raises ValueError: what is wrong with the file."""
    start = start_of(path)
    first = cells(start.lines[0], ",")
    words = re.split(r"[^a-z0-9]+", path.stem.lower())
    if "IBI" in first:
        raise ValueError("IBI.csv of an Empatica E4 holds single beats, which are no even signal: leave it out")
    kind = "acc" if len(first) == 3 else next((name for name in _E4 if name in words), None)
    if kind is None or len(first) not in (1, 3):
        raise ValueError("a file of an Empatica E4 must be called as its sensor is: ACC, BVP, EDA, TEMP or HR")
    names = tuple(f"acc_{axis}" for axis in "xyz") if kind == "acc" else (kind,)
    values = Table(path, names, 2).numbers(range(len(names)))
    began, rate = float(first[0]), float(cells(start.lines[1], ",")[0])
    seconds = began + np.arange(len(values)) / rate
    return Sheet(names, values / (_E4_STEP if kind == "acc" else 1), seconds, True, rate, (_E4[kind],) * len(names))
