"""By how much two modalities without a common clock seem shifted: movement that one sees and the other feels."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmssl.data.recordings import Array, Recordings

Values = npt.NDArray[np.float64]

_FARTHEST = 2.0
"""Seconds that are tried in both directions."""
_ENOUGH, _MOST = 5, 64
"""Recordings: fewer show no shift that all have, and of more a part is looked at, evenly over all."""
_CLEAR, _BETTER, _AGREE = 0.25, 0.1, 0.3
"""Clear is a mean correlation of 0.25 and 0.1 more than unshifted, where three of ten recordings by themselves are best
within two steps of it, which by chance one of ten is."""
_NEAR = {
    "wrist": ("wrist", "hand"), "hand": ("hand", "wrist"), "ankle": ("ankle", "foot"), "foot": ("foot", "ankle"),
    "thigh": ("knee", "hip"), "shank": ("ankle", "knee"), "waist": ("pelvis", "hip"), "pelvis": ("pelvis", "hip"),
    "hip": ("hip", "pelvis"), "chest": ("chest", "spine"), "head": ("head",), "arm": ("elbow", "wrist"),
}  # fmt: skip


class Shift(NamedTuple):
    """How much later the signal should begin than the skeleton."""

    seconds: float
    joint: str
    correlation: float
    unshifted: float
    agree: int
    recordings: int


def shift_of(recordings: Recordings, body: str, felt: str) -> Shift | None:
    """The shift of a signal against a skeleton, by their names, where it is clear."""
    seen_by, felt_by = recordings.description.skeletons[body], recordings.description.signals[felt]
    frames, samples = seen_by.hz, felt_by.hz
    if not frames or not samples:
        return None
    rate = min(frames, samples)
    most = round(_FARTHEST * rate)
    joints = _joints(seen_by.joints, (felt, *felt_by.channels))
    pairs = [
        (skeleton[:, joints], signal)
        for skeleton, signal in zip(recordings.arrays(body), recordings.arrays(felt), strict=True)
        if skeleton is not None and signal is not None and len(skeleton) / frames * rate > 16
    ]
    if len(pairs) < _ENOUGH:
        return None
    pairs = [pairs[int(at)] for at in np.linspace(0, len(pairs) - 1, min(len(pairs), _MOST))]
    curves = np.stack([_curves(skeleton, frames, signal, samples, rate, most) for skeleton, signal in pairs])
    seen = np.isfinite(curves)
    curves = np.where(seen, curves, 0.0)
    with np.errstate(invalid="ignore"):
        mean = np.where(seen.mean(axis=0) >= 0.5, curves.sum(axis=0) / np.maximum(seen.sum(axis=0), 1), -1.0)
    joint, at = np.unravel_index(int(np.argmax(mean)), mean.shape)
    own = np.argmax(np.where(seen[:, joint], curves[:, joint], -2.0), axis=1)
    agree = int((np.abs(own - at) <= 2).sum())
    best, still, steps = float(mean[joint, at]), float(mean[joint, most]), int(at) - most
    clear = best >= _CLEAR and best - still >= _BETTER and agree >= _AGREE * len(pairs) and abs(steps) >= 2
    if not clear:
        return None
    return Shift(steps / rate, seen_by.joints[joints[int(joint) % len(joints)]], best, still, agree, len(pairs))


def _joints(names: Sequence[str], channels: Sequence[str]) -> list[int]:
    """Those nearest to the sensor by its name, all where it does not say."""
    text = " ".join(channels).lower()
    for place, near in _NEAR.items():
        if place in text:
            found = [i for i, name in enumerate(names) if any(word in name.lower() for word in near)]
            named = [side for side in ("left", "right") if side in text]
            sided = [i for i in found if not named or any(re.search(side, names[i], re.IGNORECASE) for side in named)]
            if found:
                return sided or found
    return [*range(len(names))]


def _curves(skeleton: Array, frames: float, signal: Array, samples: float, rate: float, most: int) -> Values:
    """Correlation of each joint's speed, and of its acceleration, with the signal's energy at each shift, (2 * joints,
    2 * most + 1); NaN where less than half of the shorter one is common.

    Index most + k: the signal begins k steps after the skeleton.
    """
    velocity = np.gradient(_smooth(skeleton.astype(np.float64), 3), axis=0)
    moves = [np.linalg.norm(one, axis=2).T for one in (velocity, np.gradient(velocity, axis=0))]
    speed = np.stack([_even(one, frames, rate) for one in np.concatenate(moves)])
    # How far the signal is from where it mostly is, each channel by its own size.
    away = signal.astype(np.float64) - np.median(signal, axis=0)
    scale = away.std(axis=0)
    energy = _even(np.sqrt(np.mean((away / np.where(scale > 0, scale, 1.0)) ** 2, axis=1)), samples, rate)
    result = np.full((len(speed), 2 * most + 1), np.nan)
    least = max(8, min(speed.shape[1], len(energy)) // 2)
    for shift in range(-most, most + 1):
        first, last = max(0, shift), min(speed.shape[1], len(energy) + shift)
        if last - first >= least:
            result[:, shift + most] = _correlation(speed[:, first:last], energy[first - shift : last - shift])
    return result


def _even(values: Values, own: float, rate: float) -> Values:
    """Smoothed over a fifth of a second, at another rate."""
    smooth = _smooth(values, 2 * round(0.1 * own) + 1)
    moments = np.arange(int((len(values) - 1) / own * rate) + 1) / rate
    return np.interp(moments, np.arange(len(values)) / own, smooth)


def _smooth(values: Values, width: int) -> Values:
    """Means over an odd number of lines; the ends are held."""
    half = width // 2
    padded = np.pad(values, [(half, half), *[(0, 0)] * (values.ndim - 1)], mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, width, axis=0).mean(axis=-1)


def _correlation(rows: Values, other: Values) -> Values:
    rows = rows - rows.mean(axis=1, keepdims=True)
    other = other - other.mean()
    size = np.sqrt((rows**2).sum(axis=1) * (other**2).sum())
    return np.where(size > 0, rows @ other / np.where(size > 0, size, 1.0), 0.0)
