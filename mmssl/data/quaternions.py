"""Orientations as quaternions, of which two stand for each: made continuous, and of unit length."""

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mmssl.data.recordings import QUATERNION_OFF

Values = npt.NDArray[np.float64]

_PART = re.compile(r"(?:(.*[_. ])?(?:quat|quaternion|q|orientation|rotation)[_. ]?q?)([wxyz0-3])", re.IGNORECASE)


def quaternions_in(columns: Sequence[str], described: Sequence[Sequence[str]] = ()) -> list[list[int]]:
    """The four columns of each, by names such as quat_w to quat_z, q0 to q3 or wrist_orientation_w, or as described."""
    found: dict[tuple[str, bool], dict[str, int]] = defaultdict(dict)
    for i, name in enumerate(columns):
        if match := _PART.fullmatch(name):
            axis = match[2].lower()
            found[name[: match.start(2)].lower(), axis.isdigit()][axis] = i
    named = [[*parts.values()] for parts in found.values() if len(parts) == 4]
    those = [[columns.index(name) for name in names] for names in described if set(names) <= set(columns)]
    return [*named, *(one for one in those if not any(set(one) & set(other) for other in named))]


def continuous(values: Values, groups: Sequence[Sequence[int]]) -> tuple[Values, list[int]]:
    """The values with each quaternion of unit length and on the side of the one before it, its largest part positive in
    the mean; and which groups were none, as their length is not one.

    Args:
        values: (lines, columns), without NaN.
    """
    result, none = values.copy() if groups else values, list[int]()
    for number, group in enumerate(groups):
        own = values[:, group]
        length = np.linalg.norm(own, axis=1)
        if np.median(np.abs(length - 1)) > QUATERNION_OFF or not length.all():
            none.append(number)
            continue
        own = own / length[:, None]
        turns = np.where((own[1:] * own[:-1]).sum(axis=1) < 0, -1.0, 1.0)
        own[1:] *= np.cumprod(turns)[:, None]
        mean = own.mean(axis=0)
        result[:, group] = own * (1.0 if mean[np.argmax(np.abs(mean))] >= 0 else -1.0)
    return result, none
