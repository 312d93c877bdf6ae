"""Channels that are no signals by what they hold: labels, numbers of people, counters, clocks."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from mmssl.data.recordings import Array, Recordings

LONG = 8
"""Samples; fewer are constant or rising by chance."""
_MOST = 0.9
"""Of the recordings that rise, and of the samples that do."""


class Held(NamedTuple):
    """A recording's signal, and whose and what it is."""

    label: str
    subject: str
    array: Array


class Suspect(NamedTuple):
    """A channel that is none, and why."""

    channel: str
    why: str
    modality: str = ""
    """Whose it is."""

    @property
    def words(self) -> str:
        return f"{self.modality}: channel {self.channel} {self.why}"


def suspects_in(recordings: Recordings, modalities: Collection[str] | None = None) -> list[Suspect]:
    """Those of the signals that the description does not say are meant.

    Args:
        modalities: of these alone.
    """
    description, found = recordings.description, list[Suspect]()
    recordings = recordings.to_check()
    for name, signal in description.signals.items():
        if modalities is None or name in modalities:
            held = [
                Held(row.label, row.subject, array)
                for row, array in zip(recordings.rows, recordings.arrays(name), strict=True)
                if array is not None
            ]
            found += [one._replace(modality=name) for one in suspects(signal.channels, held)]
    return [one for one in found if one.channel not in description.meant_channels]


def suspects(channels: Sequence[str], recordings: Sequence[Held]) -> list[Suspect]:
    """Channels that are constant in every recording and differ between them, that number the classes, or
    that only rise in nine of ten recordings; recordings of fewer than eight samples do not count."""
    long = [one for one in recordings if len(one.array) >= LONG]
    if not long:
        return []
    found: list[Suspect] = []
    for j, channel in enumerate(channels):
        columns = [one.array[:, j] for one in long]
        why = _constant(long, columns) or _class_numbers(long, columns) or _rising(columns)
        if why:
            found.append(Suspect(channel, why))
    return found


def _constant(long: Sequence[Held], columns: Sequence[Array]) -> str:
    if len(long) < 2 or any((column != column[0]).any() for column in columns):
        return ""
    values = [float(column[0]) for column in columns]
    if len(set(values)) == 1:
        return ""
    meaning = "a number of the recording?"
    labelled = [(one.label, value) for one, value in zip(long, values, strict=True) if one.label]
    if _decides([label for label, _ in labelled], [value for _, value in labelled]):
        meaning = "the label?"
    elif _decides([one.subject for one in long], values):
        meaning = "a number of the person?"
    return f"is constant within every recording and differs between them: {meaning}"


def _class_numbers(long: Sequence[Held], columns: Sequence[Array]) -> str:
    """Whole numbers, one of which most of each recording holds, another in each class."""
    columns = [column for one, column in zip(long, columns, strict=True) if one.label]
    labels = [one.label for one in long if one.label]
    classes = set(labels)
    if len(classes) < 2 or len(labels) < 2 * len(classes):
        return ""
    if any((column != np.round(column)).any() for column in columns):
        return ""
    if len({float(value) for column in columns for value in np.unique(column)}) > len(classes) + 2:
        return ""
    usual = [_usual(column) for column in columns]
    if min(share for _, share in usual) < 0.5:
        return ""
    values = [value for value, _ in usual]
    if len(set(values)) == len(classes) and _decides(labels, values):
        return "holds one whole number for each class: the label?"
    return ""


def _usual(column: Array) -> tuple[float, float]:
    values, counts = np.unique(column, return_counts=True)
    most = int(np.argmax(counts))
    return float(values[most]), float(counts[most]) / len(column)


def _decides(names: Sequence[str], values: Sequence[float]) -> bool:
    """Whether recordings of one name have one value, and there are several of both."""
    held: dict[str, set[float]] = defaultdict(set)
    for name, value in zip(names, values, strict=True):
        held[name].add(value)
    return len(held) > 1 and all(len(own) == 1 for own in held.values()) and len(set(values)) > 1


def _rising(columns: Sequence[Array]) -> str:
    """Up in nearly every step, but for steps back over most of its range: a counter that begins anew."""
    rises = [_rises(column) for column in columns]
    if sum(map(len, columns)) < 50 or sum(rises) < _MOST * len(columns):
        return ""
    steps = np.concatenate([np.diff(column.astype(np.float64)) for column in columns])
    usual = float(np.median(steps))
    even = float(np.mean(np.abs(steps - usual) < 0.2 * usual)) > _MOST
    counts = bool(even and all((column == np.round(column)).all() for column in columns))
    return f"only rises: {'a counter?' if counts else 'a clock?' if even else 'a clock, or a sum over time?'}"


def _rises(column: Array) -> bool:
    steps = np.diff(column.astype(np.float64))
    span = float(column.max() - column.min())
    down = steps < 0
    first = np.flatnonzero(down & ~np.concatenate([[False], down[:-1]]))
    # Interpolation divides a step back into two: those that follow each other are one.
    back = np.add.reduceat(np.where(down, steps, 0.0), first) if len(first) else np.empty(0)
    anew = bool((-back > span / 2).all()) and len(back) <= len(steps) / 4 and down.sum() <= 2 * len(back)
    return span > 0 and anew and float(np.mean(~down & (steps > 0))) + float(np.mean(down)) >= _MOST
