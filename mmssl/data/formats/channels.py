"""Channels in the columns of devices' exports, under this project's names and units."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mmssl.data.sheet import Sheet, Values

_KINDS = (
    ("linear_acc", r"(linear|user) acc"),
    ("freeacc", r"free acc"),
    ("acc", r"\bacc"),
    ("grav", r"\bgrav"),
    ("gyro", r"\bgyr|\brotation rate|\bangular velocity"),
    ("mag", r"\bmag"),
    ("quat", r"\bquat"),
    ("euler", r"\beuler"),
    ("dq", r"\bdq\b"),
    ("dv", r"\bdv\b"),
)
"""linear_acc: acceleration without gravity in the sensor's axes; freeacc: the same in the Earth's."""
_AXES = {**{axis: axis for axis in "wxyz"}, "q0": "w", "q1": "x", "q2": "y", "q3": "z", "1": "x", "2": "y", "3": "z"}
_NO_CHANNEL = r"\b(abs|absolute|accuracy|timestamp|time|heading|uncertainty|count|clip|status|range|battery)\b"
_SIGNALS = r"\b(emg|ecg|exg|ppg|bvp|eda|skin conductance)\b"
_UNITS = {
    "G": "g", "m/(s^2)": "m/s^2", "m/s²": "m/s^2", "m/s2": "m/s^2", "d/s": "deg/s", "dps": "deg/s",
    "µT": "uT", "μT": "uT", "R": "", "no_units": "", "number": "",
}  # fmt: skip
_IN_BRACKETS = re.compile(r"\s*[(\[](?P<unit>[^)\]]*(\([^)]*\))?[^)\]]*)[)\]]\s*$")


class Channel(NamedTuple):
    """A column of a file that holds a channel."""

    column: int
    name: str
    unit: str


def unit_of(text: str) -> str:
    return _UNITS.get(text.strip(), text.strip())


def apart(column: str) -> tuple[str, str]:
    """A column's name without the unit in brackets at its end, and the unit."""
    match = _IN_BRACKETS.search(column)
    if not match or match["unit"].isdigit():  # dv[1] is a name
        return column.strip(), ""
    return column[: match.start()].strip(), unit_of(match["unit"])


def split_header(header: Sequence[str]) -> list[tuple[int, str, str]]:
    """The position, name and unit of each column."""
    return [(i, *apart(name)) for i, name in enumerate(header)]


def name_of(column: str) -> str | None:
    """acc_x for Accel_LN_X_CAL, accelerometerAccelerationX and the like; None for what is no signal of movement."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column)
    words = re.sub(r"[^a-z0-9]+", " ", words.lower()).strip()
    words = re.sub(r" (cal|raw|uncal)$", "", words)
    if re.search(_NO_CHANNEL, words):
        return None
    axis = _AXES.get(words.rsplit(" ", 1)[-1])
    if axis:
        return next((f"{kind}_{axis}" for kind, pattern in _KINDS if re.search(pattern, words)), None)
    if words in ("roll", "pitch", "yaw") or re.search(_SIGNALS, words):
        return words.replace(" ", "_")
    return None


def channels(
    columns: Iterable[tuple[int, str, str]], clocks: Sequence[int] = ()
) -> tuple[list[Channel], tuple[str, ...]]:
    """The channels among columns (position, name, unit), and notes on columns that are none.

    Of two columns for one quantity the first counts. Angles, which jump, are left out where there is a quaternion.

    Raises:
        ValueError: there are no channels.
    """
    found: dict[str, Channel] = {}
    others: list[str] = []
    for column, text, unit in columns:
        name = name_of(text)
        if name and name not in found:
            found[name] = Channel(column, name, unit)
        elif text and column not in clocks:
            others.append(text)
    if "quat_w" in found:
        for name in [one for one in found if re.fullmatch(r"euler_.|roll|pitch|yaw", one)]:
            others.append(name)
            del found[name]
    if not found:
        raise ValueError(f"none of its columns is a known signal: {', '.join(others)[:200]}")
    return list(found.values()), (f"columns that are not read: {', '.join(sorted(others))[:300]}",) if others else ()


def sheet_of(
    found: Sequence[Channel],
    values: Values,
    seconds: Values | None,
    *,
    epoch: bool = False,
    rate: float | None = None,
    notes: tuple[str, ...] = (),
) -> Sheet:
    """Channels with their values, (lines, channels), as a sheet."""
    names, units = tuple(one.name for one in found), tuple(one.unit for one in found)
    return Sheet(names, values, seconds, epoch, rate, units, notes)
