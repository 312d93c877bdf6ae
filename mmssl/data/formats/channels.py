"""What columns of devices' exports hold: channels under this project's names, with their units."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

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
    """A column that is a channel."""

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
    """Those of the columns (position, name, unit) that are channels, and notes on those that are not.

    Of two columns for one quantity the first counts. Angles are left out where a quaternion says the same: they jump.

    Raises:
        ValueError: there are none.
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
