"""Values that stand for none: joints written as -1, -1, -1 or 0, 0, and channels at 9999."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

_FAR = (999.0, 9999.0, 99999.0, 999999.0)
CODES = (-1.0, 0.0, *_FAR, *(-far for far in _FAR))


def unseen_joints(values: Values, joints: Sequence[str], root: str) -> tuple[Values, dict[str, tuple[float, int]]]:
    """The values with NaN for joints at a code in all their coordinates, and code and lines of each such joint.

    Zero is also where a skeleton is centred: it is no code for the root, for a joint that is there throughout, or in
    the first line alone.

    Args:
        values: (lines, joints * coordinates).
    """
    places = values.reshape(len(values), len(joints), -1)
    found: dict[str, tuple[float, int]] = {}
    unseen = np.zeros(places.shape[:2], dtype=bool)
    for code in CODES:
        at = (places == code).all(axis=2)
        if code == 0:
            at[:, [joint == root for joint in joints]] = False
            at[:, at.all(axis=0) | ~at[1:].any(axis=0)] = False
        for joint in np.flatnonzero(at.any(axis=0)).tolist():
            found.setdefault(joints[joint], (code, int(at[:, joint].sum())))
        unseen |= at
    if not found:
        return values, {}
    result = places.copy()
    result[unseen] = np.nan
    return result.reshape(values.shape), found


def missing_samples(values: Values, channels: Sequence[str]) -> tuple[Values, dict[str, tuple[float, int]]]:
    """The values with NaN where a channel is at a code far beyond all its others, or a whole line is -1; and code and
    lines of each such channel.

    Args:
        values: (lines, channels).
    """
    missing = np.zeros(values.shape, dtype=bool)
    found: dict[str, tuple[float, int]] = {}
    finite = np.where(np.isfinite(values), np.abs(values), 0.0)
    if values.shape[1] >= 3:
        missing |= (values == -1).all(axis=1)[:, None]
        found = {name: (-1.0, int(missing[:, 0].sum())) for name in channels if missing.any()}
    for j in np.flatnonzero(finite.max(axis=0) >= _FAR[0]).tolist():
        top = float(finite[:, j].max())
        at = finite[:, j] == top
        if top in _FAR and not at.all() and finite[~at, j].max() < top / 2:
            missing[:, j] |= at
            found[channels[j]] = (float(values[at, j][0]), int(at.sum()))
    if not found:
        return values, {}
    return np.where(missing, np.nan, values), found
