"""Which recordings show the same moments: to find one of them by another is no feat."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from mmssl.data.description import Row

OwnMoments = Callable[[int], npt.NDArray[np.bool_]]
"""Of the number of a row, which rows show its moments, its own among them, (rows,)."""


def own_moments(rows: Sequence[Row]) -> OwnMoments | None:
    """Of a window those of its interval and those that overlap with it, other cameras' too; of a camera's recording the
    other views.

    Returns:
        None where each row shows moments of its own.
    """
    if not any(row.source or row.view for row in rows):
        return None
    _, alike = np.unique(np.array([row.unit for row in rows]), return_inverse=True)
    streams = np.array([row.stream for row in rows])
    starts, ends = (np.array([at or 0.0 for at in of]) for of in zip(*((r.start, r.end) for r in rows), strict=True))

    def shown(i: int) -> npt.NDArray[np.bool_]:
        overlap = (streams == streams[i]) & (starts < ends[i]) & (ends > starts[i])
        return (alike == alike[i]) | overlap

    return shown
