"""People whose axes are not those of the others, and accelerations without gravity among others with it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

_PEOPLE = 3
"""With fewer there is no majority."""


class Turned(NamedTuple):
    """Whose axes point elsewhere than those of most people."""

    people: tuple[str, ...]
    usual: str
    """Axis along which the others' direction lies."""
    theirs: str


def turned(directions: Mapping[str, Sequence[Values]], axes: Sequence[str]) -> Turned | None:
    """Of people whose recordings agree among themselves, those that point along another axis than two of three do.

    Args:
        directions: of each person's recordings, a vector that should point alike: gravity, or from hip to neck.
    """
    own: dict[str, str] = {}
    for person, vectors in directions.items():
        units = [vector / size for vector in vectors if (size := float(np.linalg.norm(vector))) > 0]
        mean = np.mean(units, axis=0) if units else np.zeros(len(axes))
        largest = int(np.argmax(np.abs(mean)))
        if abs(mean[largest]) > 0.8:
            own[person] = f"{'-' if mean[largest] < 0 else ''}{axes[largest]}"
    if len(own) < _PEOPLE:
        return None
    by_axis: dict[str, list[str]] = defaultdict(list)
    for person, axis in own.items():
        by_axis[axis].append(person)
    usual = max(by_axis, key=lambda axis: len(by_axis[axis]))
    others = tuple(person for person, axis in own.items() if axis != usual)
    if not others or len(by_axis[usual]) < 2 / 3 * len(directions):
        return None
    return Turned(others, usual, " ".join(dict.fromkeys(own[person] for person in others)))


def without_gravity(signals: Mapping[str, Values]) -> Iterator[str]:
    """Recordings whose acceleration is mostly small where that of most is mostly gravity, though they move as much.

    Args:
        signals: of each recording, the triad of an acceleration, (samples, 3).
    """
    if len(signals) < _PEOPLE:
        return
    size = {name: float(np.median(np.linalg.norm(values, axis=1))) for name, values in signals.items()}
    moves = {name: float(np.linalg.norm(values.std(axis=0))) for name, values in signals.items()}
    gravity, movement = float(np.median([*size.values()])), float(np.median([*moves.values()]))
    if gravity > 0 and np.mean([abs(one / gravity - 1) < 0.3 for one in size.values()]) > 0.5:
        yield from (name for name in signals if size[name] < 0.5 * gravity and moves[name] > 0.2 * movement)
