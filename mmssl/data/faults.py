"""What readers of data sets share: float32 arrays that are checked, and one message for all faults of a folder."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmssl.data.description import Description
from mmssl.data.recordings import Array, array_faults
from mmssl.errors import UserError


def single(values: npt.NDArray[np.number]) -> Array:
    """Numbers as float32; those too large for it become infinite, which `array_faults` reports."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def checked(description: Description, modality: str, values: npt.NDArray[np.number]) -> Array:
    """A recording's array of a modality, as float32.

    Raises:
        ValueError: it is no recording of that modality.
    """
    array = single(values)
    if faults := array_faults(description, modality, array):
        raise ValueError("; ".join(faults))
    return array


def refuse(folder: Path, faults: Sequence[str], *, whole: bool, skip_bad: bool, count: int | None = None) -> None:
    """Refuse a folder with faults, unless they are to be left out and leave something.

    Args:
        whole: whether some recording has no fault.
        count: of the faults, where a line stands for several.

    Raises:
        UserError: one message with every fault.
    """
    if faults and not (skip_bad and whole):
        advice = "mend them, or leave their recordings out with --skip-bad" if whole else "no recording is whole"
        raise UserError(listed(folder, faults, advice, count))


def listed(folder: Path, faults: Sequence[str], advice: str, count: int | None = None) -> str:
    """The message of `refuse`, with other advice."""
    number = len(faults) if count is None else count
    return "\n  ".join([f"{folder}: {number} fault{'s' * (number > 1)} in the files; {advice}:", *faults])


def by_cause(faults: Sequence[tuple[str, str]]) -> list[str]:
    """A line for each cause: faults that differ in numbers or in what a cell holds are one, and the first is quoted."""
    causes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for place, fault in faults:
        causes[re.sub(r"'[^']*'|\d+(\.\d+)?(e[-+]?\d+)?", "#", fault)].append((place, fault))
    return [
        f"{alike[0][0]}{f' and {len(alike) - 1} more' if len(alike) > 1 else ''}: {alike[0][1]}"
        for alike in causes.values()
    ]
