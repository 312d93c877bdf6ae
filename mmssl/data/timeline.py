"""A file's lines put in order of time and at even moments."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmssl.data.sheet import Values

Lines = npt.NDArray[np.int64]
Gaps = tuple[tuple[float, float], ...]
"""When each begins and ends."""

_FEW = 0.01
"""Share of the lines up to which a fault counts as an accident."""
_GAP = 3.0
"""A step longer than this many usual steps is a gap, or lies between two bursts."""
_STALL = 1.0
"""Seconds between two packets; a shorter wait is no gap."""
_MOST_FILLED = 10
"""Even moments for each line; more mean broken stamps."""


class Timeline(NamedTuple):
    """Which lines stay, when they were taken, and at which even moments values are wanted."""

    lines: Lines
    stamps: Values
    """Of the lines that stay, rising."""
    step: float
    even: Values | None
    """Moments to interpolate at; None where the lines are even as they are."""
    dropped: int = 0
    """Lines whose stamp another line has."""
    spread: bool = False
    """The stamps repeat or come in bursts: the lines are taken as even from the first to the last, or to a gap."""
    gaps: Gaps = ()
    """Those that are interpolated over, in seconds from the first line."""

    def at_even(self, values: Values) -> Values:
        """The values at even moments, by linear interpolation.

        Args:
            values: of all lines, (lines, columns).
        """
        kept = values if np.array_equal(self.lines, np.arange(len(values))) else values[self.lines]
        if self.even is None:
            return kept
        return np.stack([np.interp(self.even, self.stamps, column) for column in kept.T], axis=1)

    @property
    def start(self) -> float:
        return float(self.stamps[0])

    @property
    def step_kept(self) -> float:
        """The step between lines as they are laid out, so that the last line keeps its stamp."""
        count = len(self.stamps if self.even is None else self.even)
        return float(self.stamps[-1] - self.stamps[0]) / (count - 1)


def laid_out(seconds: Values, same: npt.NDArray[np.bool_] | None = None) -> Timeline:
    """Lay lines out by their stamps.

    Equal stamps: lines that are the same to the last digit are one; of the others, up to one in a hundred is left out.
    Where more repeat, or the usual step is half or less of what lines over span make and large steps are many, stamps
    are rounded or those of packets: the lines are even between first and last, and on each side of a gap. Else, where a
    line is off by more than half a step, values are wanted at even moments, one a step.

    Args:
        same: whether each line's values are those of the line before it.

    Raises:
        LineError: a stamp is missing, all are the same, they begin anew, or one jumps.
    """
    missing = np.flatnonzero(~np.isfinite(seconds))
    if len(missing):
        raise LineError(int(missing[0]), "the time is empty or not finite")
    if seconds.min() == seconds.max():
        raise ValueError("all time stamps are the same")
    lines = _sorted(seconds)
    copies = np.concatenate([[False], np.diff(seconds) == 0]) & (same if same is not None else False)
    lines = lines[~copies[lines]]
    stamps = seconds[lines]
    steps = np.diff(stamps)
    repeats = int((steps == 0).sum())
    usual = float(np.percentile(steps[steps > 0], 50, method="lower"))
    mean = float(stamps[-1] - stamps[0]) / (len(stamps) - 1)
    bursts = usual <= mean / 2 and (steps > _GAP * usual).sum() >= max(3, _FEW * len(steps))
    dropped = len(seconds) - len(lines)
    if repeats > max(_FEW * len(steps), 1) or bursts:
        return _spread(lines, stamps, float(np.median(steps[steps > (_GAP * usual if bursts else 0)])), dropped)
    keep = np.concatenate([[True], steps > 0])
    lines, stamps = lines[keep], stamps[keep]
    return _resampled(lines, stamps, usual, dropped + repeats)


def _spread(lines: Lines, stamps: Values, packet: float, dropped: int) -> Timeline:
    """Lines that are even between gaps, whatever the stamps of each.

    Args:
        packet: the usual time from one stamp, or from one burst, to the next.
    """
    waits = np.diff(stamps)
    ends = np.flatnonzero(waits > max(_GAP * packet, _STALL)) + 1
    while len(ends):
        parts = np.split(stamps, ends)
        step = _slope(parts)
        placed = np.concatenate([part.mean() + step * _centred(part) for part in parts])
        # Where lines were held back and came at once, few are missing.
        are = np.diff(placed)[ends - 1] > waits[ends - 1] / 2
        if are.all():
            return _resampled(lines, placed + (stamps[0] - placed[0]), step, dropped)._replace(spread=True)
        ends = ends[are]
    even = np.linspace(stamps[0], stamps[-1], len(stamps))
    return Timeline(lines, even, _slope([stamps]), None, dropped, spread=True)


def _resampled(lines: Lines, stamps: Values, usual: float, dropped: int) -> Timeline:
    steps = np.diff(stamps)
    # Stamps in whole milliseconds step by 16 and 17 at 60 Hz: their mean is the step, without gaps.
    step = float(steps[steps <= 1.5 * usual].mean())
    even = np.linspace(stamps[0], stamps[-1], len(stamps))
    if np.abs(stamps - even).max() <= step / 2:
        return Timeline(lines, stamps, float(stamps[-1] - stamps[0]) / len(steps), None, dropped)
    count = (stamps[-1] - stamps[0]) / step
    if count > _MOST_FILLED * len(stamps):
        gap = int(np.argmax(steps))
        raise LineError(int(lines[gap + 1]), f"the time jumps by {steps[gap]:g} s, where a step is {step:g} s")
    even = np.linspace(stamps[0], stamps[-1], round(count) + 1)
    since = stamps - stamps[0]
    gaps = tuple((float(since[i]), float(since[i + 1])) for i in np.flatnonzero(steps > _GAP * step))
    return Timeline(lines, stamps, step, even, dropped, gaps=gaps)


def unmeasured(moments: Values, measured: npt.NDArray[np.bool_], step: float) -> Gaps:
    """The gaps between lines that were measured, and before the first and behind the last of them.

    Args:
        moments: of all lines, in seconds from the first, rising.
        measured: whether a line had any value, before those without were filled.
    """
    seen = np.concatenate([moments[:1], moments[measured], moments[-1:]])
    return tuple((float(seen[i]), float(seen[i + 1])) for i in np.flatnonzero(np.diff(seen) > _GAP * step))


class LineError(ValueError):
    """A fault in one line, counted from 0."""

    def __init__(self, line: int, fault: str) -> None:
        super().__init__(fault)
        self.line = line


def _sorted(seconds: Values) -> Lines:
    """The lines in the order of their stamps.

    Raises:
        LineError: they go back farther than lines that overtake each other do: the clock was set, or began anew.
    """
    latest = np.maximum.accumulate(seconds)
    back = latest - seconds
    if not back.any():
        return np.arange(len(seconds))
    most = 10 * float(seconds.max() - seconds.min()) / (len(seconds) - 1)
    first = int(np.argmax(back > most))
    if back[first] > most:
        raise LineError(
            first,
            f"the time goes back by {back[first]:g} s: a clock that was set, or two recordings in one file; divide it "
            "there, or mend the stamps",
        )
    return np.argsort(seconds, kind="stable")


def _slope(parts: Sequence[Values]) -> float:
    """The step by least squares over all stamps, the same in each part: of rounded ones the last may be off by a whole
    step."""
    at = [_centred(part) for part in parts]
    products = sum(float(own @ (part - part.mean())) for own, part in zip(at, parts, strict=True))
    return products / sum(float(own @ own) for own in at)


def _centred(stamps: Values) -> Values:
    """The places of lines, 0 in the middle."""
    return np.arange(len(stamps), dtype=np.float64) - (len(stamps) - 1) / 2
