"""One file of a recording, read: what its columns are called, what they hold, and when each line was taken."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


class Sheet(NamedTuple):
    """Lines of numbers under names, whatever the format of the file they come from."""

    names: tuple[str, ...]
    """One for each column of `values`; joints are JOINT_x, JOINT_y and perhaps JOINT_z."""
    values: Values
    """(lines, columns); NaN where a value is missing."""
    seconds: Values | None = None
    """When each line was taken, (lines,), as the file has it: not sorted, not evened; None where it does not say."""
    epoch: bool = False
    """Whether `seconds` count from 1970 (UTC), so that files can be put on one clock; else from a start of the file's
    own, or of the day."""
    rate: float | None = None
    """Lines a second, where the format declares it."""
    units: tuple[str, ...] = ()
    """One for each column where the file says them, "" where it is silent about one."""
    notes: tuple[str, ...] = ()
    """What was decided while reading that a user should know, such as which of two people was taken."""
