"""Values that stand for none: joints written as -1, -1, -1 or 0, 0, channels at 9999; joints that nobody ever saw."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from mmssl.data.description import Place, Skeleton, joints_of

Values = npt.NDArray[np.float64]

_FAR = (999.0, 9999.0, 99999.0, 999999.0)
CODES = (-1.0, 0.0, *_FAR, *(-far for far in _FAR))


def unseen_joints(values: Values, joints: Sequence[str], root: Place) -> tuple[Values, dict[str, tuple[float, int]]]:
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
            at[:, [joint in joints_of(root) for joint in joints]] = False
            at[:, at.all(axis=0) | ~at[1:].any(axis=0)] = False
        for joint in np.flatnonzero(at.any(axis=0)).tolist():
            found.setdefault(joints[joint], (code, int(at[:, joint].sum())))
        unseen |= at
    if not found:
        return values, {}
    result = places.copy()
    result[unseen] = np.nan
    return result.reshape(values.shape), found


Unseen = Literal["masked", "neighbours", "left_out"]
"""What becomes of a joint that a recording never shows: it stands at the root, or amid the joints that bones join it
to, or no recording has it."""


def never_seen(values: Values, joints: Sequence[str]) -> list[str]:
    """The joints without a number in all lines.

    Args:
        values: (lines, joints * coordinates).
    """
    places = np.isnan(values.reshape(len(values), len(joints), -1))
    return [joint for i, joint in enumerate(joints) if places[:, i].all()]


def put_in(values: Values, skeleton: Skeleton, unseen: Sequence[str], how: Unseen) -> Values:
    """The values with places for joints that were never seen; one to be left out stands at the root until then.

    Args:
        values: (lines, joints * coordinates).

    Raises:
        ValueError: origin or unit of length are of such joints, or no bone joins one to a joint that was seen.
    """
    places = values.reshape(len(values), len(skeleton.joints), -1).copy()
    if how != "neighbours":
        if needed := [joint for joint in skeleton.places if joint in unseen]:
            raise ValueError(
                f"{', '.join(needed)} never seen: no origin or no unit of length; name other joints with root_joint "
                "and scale_joints"
            )
        at = [skeleton.joints.index(joint) for joint in unseen]
        places[:, at] = places[:, skeleton.root].mean(axis=1, keepdims=True)
        return places.reshape(values.shape)
    left = set(unseen)
    while left:
        beside = {joint: [other for bone in skeleton.bones if joint in bone for other in bone if other not in left]
                  for joint in sorted(left)}  # fmt: skip
        found = {joint: others for joint, others in beside.items() if others}
        if not found:
            raise ValueError(f"{', '.join(sorted(left))} never seen, and no bone joins them to a joint that is")
        for joint, others in found.items():
            near = [skeleton.joints.index(other) for other in others]
            places[:, skeleton.joints.index(joint)] = places[:, near].mean(axis=1)
        left -= set(found)
    return places.reshape(values.shape)


def missing_samples(values: Values, channels: Sequence[str]) -> tuple[Values, dict[str, tuple[float, int]]]:
    """The values with NaN where a channel is at a code far beyond all its others, or a whole line is -1; and code and
    lines of each such channel.

    Args:
        values: (lines, channels).
    """
    missing: dict[int, npt.NDArray[np.bool_]] = {}
    found: dict[str, tuple[float, int]] = {}
    whole = values.shape[1] >= 3
    lines = np.asarray((values == -1).all(axis=1), dtype=bool) if whole else np.zeros(len(values), dtype=bool)
    if lines.any():
        missing.update((j, lines) for j in range(len(channels)))
        found = dict.fromkeys(channels, (-1.0, int(lines.sum())))
    for j, name in enumerate(channels):
        # Column by column, as ten hours of a signal are large.
        size = np.abs(np.nan_to_num(values[:, j], nan=0.0, posinf=0.0, neginf=0.0))
        top = float(size.max())
        at = size == top
        if top in _FAR and not at.all() and size[~at].max() < top / 2:
            missing[j] = missing[j] | at if j in missing else at
            found[name] = (float(values[at, j][0]), int(at.sum()))
    if not found:
        return values, {}
    result = values.copy()
    for j, at in missing.items():
        result[at, j] = np.nan
    return result, found
