"""Prepare recordings: resample them to equal length."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from mmssl.data.description import Signal, Skeleton
from mmssl.data.quaternions import continuous
from mmssl.data.recordings import Array, Recordings
from mmssl.errors import UserError

Inputs = dict[str, Array]
_AT_ONCE = 1024
"""Recordings prepared at a time, which limits the memory for their arrays of double precision."""


def prepare(recordings: Recordings, steps: int, modalities: Sequence[str]) -> Inputs:
    """Each modality's recordings at equal length, before standardisation: (recordings, steps, ...).

    Raises:
        UserError: the recordings lack a modality.
    """
    inputs: Inputs = {}
    for modality in modalities:
        inputs[modality] = prepare_some(recordings, steps, modality)
        if without := recordings.lacking([modality]):
            raise UserError(
                f"{recordings.description.name}: {len(without)} of {len(recordings)} recordings have no {modality}, "
                f"the first is {without[0]}; Recordings.having() leaves them out"
            )
    return inputs


def prepare_some(recordings: Recordings, steps: int, modality: str) -> Array:
    """One modality's recordings at equal length; all NaN where a recording lacks it, so that its use is noticed.

    Raises:
        UserError: all recordings lack it.
    """
    blocks = [*prepared_blocks(recordings, steps, modality)]
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def prepared_blocks(recordings: Recordings, steps: int, modality: str) -> Iterator[Array]:
    """`prepare_some` in blocks of a thousand recordings, in their order."""
    has = recordings.has.get(modality, np.zeros(0, dtype=bool))
    if not has.any():
        raise UserError(
            f"{recordings.description.name}: the recordings have no {modality}: give some that have, "
            f"or do with {' and '.join(recordings.modalities)} alone"
        )
    own, arrays = recordings.description.modalities[modality], recordings.arrays(modality)
    _refuse_squeezed(recordings, modality, own.hz, steps)
    for first in range(0, len(has), _AT_ONCE):
        there = has[first : first + _AT_ONCE]
        present = [cast(Array, arrays[first + i]) for i, has_it in enumerate(there) if has_it]
        block = np.full((len(there), steps, *own.shape), np.nan, dtype=np.float32)
        if present:
            block[there] = _prepared(present, own, steps)
        yield block


def _prepared(arrays: Sequence[Array], own: Skeleton | Signal, steps: int) -> Array:
    if isinstance(own, Skeleton):
        return prepare_skeleton(arrays, steps, own.root, own.scale)
    if not own.quaternions:
        return prepare_signal(arrays, steps)
    # Each orientation has two quaternions: take the one near that before. Averages are not of unit length.
    even = [continuous(one.astype(np.float64), own.quaternions)[0].astype(np.float32) for one in arrays]
    prepared = prepare_signal(even, steps)
    for group in own.quaternions:
        prepared[..., group] /= np.linalg.norm(prepared[..., group], axis=-1, keepdims=True).clip(min=1e-6)
    return prepared


_LONGEST_STEP = 1.0
"""Seconds: most movements are over by then, so a longer step shows nothing of them."""
_MOST_LINES = 1000
"""Lines a step, where the rate is unknown."""


def longest(hz: float | None, steps: int) -> float:
    """The most lines of a recording at which so many steps still show the movement."""
    return (_LONGEST_STEP * hz if hz else _MOST_LINES) * steps


def _refuse_squeezed(recordings: Recordings, modality: str, hz: float | None, steps: int) -> None:
    """Refuse streams that were not cut into windows.

    Raises:
        UserError: a recording is so long that its steps show no movement.
    """
    lengths = recordings.lengths(modality)
    long = np.flatnonzero(lengths > longest(hz, steps))
    if len(long):
        name, lines = recordings.rows[int(long[0])].recording_id, int(lengths[long[0]])
        lasts = f"lasts {lines / hz:.4g} s" if hz else f"has {lines} lines of {modality}"
        raise UserError(
            f"{name} and {len(long) - 1} more of {len(recordings)} recordings are too long for {steps} steps: the "
            f"first {lasts}; import them cut into windows, as data import FOLDER --window 3s --stride 1.5s"
        )


def prepare_skeleton(
    skeleton: Sequence[Array],
    steps: int,
    root: int | Sequence[int],
    scale: tuple[int | Sequence[int], int | Sequence[int]],
) -> Array:
    """Centre, scale and resample skeletons.

    The root joint of the first frame becomes the origin; the distance of the two scale joints in that frame becomes the
    unit of length. Each joint may be the mean of several. Time is interpolated linearly; a single frame is repeated.

    Args:
        skeleton: one array a recording, (frames, joints, coordinates), in any unit.
        steps: time steps of the result.
        root: index of the root joint, or of several.
        scale: indices of two joints that do not coincide in any first frame, or of several each.

    Returns:
        (recordings, steps, joints, coordinates).
    """
    prepared: list[NDArray[np.float64]] = []
    for recording in skeleton:
        joints = recording.astype(np.float64)
        origin, first, second = (joints[0, np.atleast_1d(at)].mean(axis=0) for at in (root, *scale))
        prepared.append(_interpolate((joints - origin) / np.linalg.norm(first - second), steps))
    return np.stack(prepared, dtype=np.float32)


def prepare_signal(signal: Sequence[Array], steps: int) -> Array:
    """Resample signals; the units stay.

    Recordings with more samples than steps, the usual case, are averaged over `steps` windows of equal length.
    Interpolating between the two nearest samples would ignore all others, and turn fast movement into slow movement
    (aliasing). Recordings with fewer samples are interpolated linearly; a single sample is repeated.

    Args:
        signal: one array a recording, (samples, channels).
        steps: time steps of the result.

    Returns:
        (recordings, steps, channels).
    """
    return np.stack([_average(recording.astype(np.float64), steps) for recording in signal], dtype=np.float32)


def _interpolate(x: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    position = np.linspace(0, len(x) - 1, steps)
    before = position.astype(np.intp)
    after = np.minimum(before + 1, len(x) - 1)
    weight = (position - before).reshape(-1, *(1,) * (x.ndim - 1))
    return x[before] + weight * (x[after] - x[before])


def _average(x: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    if len(x) <= steps:
        return _interpolate(x, steps)
    integral = np.concatenate([np.zeros_like(x[:1]), x.cumsum(axis=0)])
    return np.diff(_interpolate(integral, steps + 1), axis=0) * (steps / len(x))


@dataclass(frozen=True, eq=False)
class Standardisation:
    """Per-channel mean and standard deviation of the training recordings, each (channels,)."""

    mean: Array
    std: Array

    @classmethod
    def fit(cls, signal: Array) -> "Standardisation":
        """Over recordings and time of (recordings, steps, channels); a constant channel has std 1."""
        return cls.fit_parts([signal])

    @classmethod
    def fit_parts(cls, parts: Iterable[Array]) -> "Standardisation":
        """`fit` over parts of the recordings, of which one at a time needs to be in memory."""
        axes = (0, 1)
        each = [
            (
                len(part),
                part.mean(axis=axes, dtype=np.float64),
                part.var(axis=axes, dtype=np.float64),
                part.min(axis=axes),
                part.max(axis=axes),
            )
            for part in parts
        ]
        counts, means, variances, lowest, highest = (np.array(one) for one in zip(*each, strict=True))
        weights = (counts / counts.sum())[:, None]
        mean = (weights * means).sum(axis=0)
        std = np.sqrt((weights * (variances + (means - mean) ** 2)).sum(axis=0))
        constant = lowest.min(axis=0) == highest.max(axis=0)
        return cls(mean.astype(np.float32), np.where(constant, 1, std).astype(np.float32))

    def apply(self, signal: Array) -> Array:
        """Standardise (recordings, steps, channels): mean 0 and standard deviation 1 in each channel, where fitted."""
        return (signal - self.mean) / self.std
