"""Files of one recording brought together: on one clock, cut to what they all span, or merged into one signal."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from mmssl.data.timeline import Gaps

Values = npt.NDArray[np.float64]
_Name = TypeVar("_Name", bound=str)


class Track(NamedTuple):
    """Lines that are even in time."""

    values: Values
    step: float | None = None
    """Seconds from line to line; None where nothing gives it."""
    start: float | None = None
    """When the first line was taken; None without stamps."""
    epoch: bool = False
    """Whether `start` counts from 1970; else from a zero of the file's own, or from midnight."""
    gaps: Gaps = ()
    """What was interpolated over because nothing was measured there, in seconds from the first line."""

    @property
    def end(self) -> float:
        return (self.start or 0.0) + (self.step or 0.0) * (len(self.values) - 1)


class Cut(NamedTuple):
    """What it took to bring files of one recording to one span."""

    clock: str
    """`epoch`, `own` where stamps count from a zero that all files are taken to share; "" where there is no clock that
    two of them share: these are taken to begin and end together."""
    begins: float
    """From the first file's beginning to the last one's, in seconds."""
    lost: float
    """Seconds that the file has lost which lost most."""
    several: bool = True
    """Whether there is more than one file."""


class Apart(ValueError):
    """Files of one recording on one clock that have no moment in common."""


class Offset(NamedTuple):
    """How the stamps of a file are shifted."""

    seconds: float
    from_start: bool = False
    """Whether the file begins so much later than the others, whatever its stamps say."""

    @property
    def needs_rates(self) -> bool:
        """Without any seconds it begins and ends with the others."""
        return bool(self.seconds) or not self.from_start


def moved(track: Track, offset: Offset, others: Sequence[Track]) -> Track:
    """With its stamps shifted."""
    if not offset.from_start:
        return track._replace(start=(track.start or 0.0) + offset.seconds)
    if not offset.seconds:
        return track._replace(start=None)
    begin = min((one.start or 0.0 for one in others), default=0.0)
    return track._replace(start=begin + offset.seconds, epoch=any(one.epoch for one in others))


def cut(tracks: Mapping[_Name, Track], *, forced: bool = False) -> tuple[dict[_Name, Track], Cut]:
    """The tracks that share a clock, cut to the moments that all of them have.

    Stamps since 1970 are one clock; so are those that count from zeros of their own, which are taken for one zero. A
    track without stamps, or alone on its clock, stays whole. Ends that differ by no more than the longer step stay: no
    line of the other is missing there.

    Args:
        forced: their clocks are one, because the offset between them was given.

    Raises:
        Apart: they have no two lines in common.
    """
    timed = {name: track for name, track in tracks.items() if track.start is not None and track.step}
    epoch = [name for name, track in timed.items() if track.epoch]
    own = [name for name in timed if name not in epoch]
    group = [*timed] if forced else epoch if len(epoch) > 1 else own if len(own) > 1 else []
    if len(group) < 2:
        return dict(tracks), Cut("", 0.0, 0.0, len(tracks) > 1)
    starts = [timed[name].start or 0.0 for name in group]
    first, last = max(starts), min(timed[name].end for name in group)
    coarse = max(timed[name].step or 0.0 for name in group)
    if last - first < coarse:
        spans = " and ".join(f"{name} {_span(timed[name])}" for name in group)
        raise Apart(
            f"{spans}: nothing in common on one clock; where the clocks differ, shift one as with --offset "
            f"{group[-1]}={starts[0] - starts[-1]:+.6g}s, or let it begin with the other: --offset {group[-1]}=start"
        )
    result, lost = dict(tracks), 0.0
    for name in group:
        track = timed[name]
        result[name] = _between(track, first, last, coarse)
        lost = max(lost, (len(track.values) - len(result[name].values)) * (track.step or 0.0))
    return result, Cut("epoch" if epoch == group else "own", first - min(starts), lost)


def _between(track: Track, first: float, last: float, slack: float) -> Track:
    start, step = track.start or 0.0, track.step or 1.0
    skipped = 0 if first - start <= slack + 1e-9 else int(np.ceil((first - start) / step - 1e-6))
    whole = track.end - last <= slack + 1e-9
    stop = len(track.values) if whole else int(np.floor((last - start) / step + 1e-6)) + 1
    if not skipped and whole:
        return track
    gaps = _later(track.gaps, -skipped * step)
    return track._replace(values=track.values[skipped:stop], start=start + skipped * step, gaps=gaps)


def _later(gaps: Gaps, seconds: float) -> Gaps:
    return tuple((begin + seconds, end + seconds) for begin, end in gaps)


def merged(tracks: Sequence[Track]) -> Track:
    """The columns of all side by side, at the moments of the fastest.

    Raises:
        ValueError: they have no stamps, and not as many lines each.
        Apart: they have no two lines in common.
    """
    if any(track.start is None or not track.step for track in tracks):
        counts = {len(track.values) for track in tracks}
        if len(counts) > 1:
            raise ValueError(
                f"files of {' and '.join(map(str, sorted(counts)))} lines without time stamps: to merge them takes "
                "stamps, or as many lines in each"
            )
        return tracks[0]._replace(
            values=np.concatenate([track.values for track in tracks], axis=1),
            gaps=tuple(gap for track in tracks for gap in track.gaps),
        )
    if len({track.epoch for track in tracks}) > 1:
        raise ValueError("some files count time since 1970 and some from a zero of their own: no common clock")
    fastest = min(tracks, key=lambda track: track.step or 0.0)
    step = fastest.step or 1.0
    first = max(track.start or 0.0 for track in tracks)
    last = min(track.end for track in tracks)
    if last - first < max(track.step or 0.0 for track in tracks):
        raise Apart(f"files {' and '.join(map(_span, tracks))} have nothing in common on one clock")
    begin = (fastest.start or 0.0) + step * np.ceil((first - (fastest.start or 0.0)) / step - 1e-6)
    moments = begin + step * np.arange(int(np.floor((last - begin) / step + 1e-6)) + 1)
    gaps = tuple(gap for track in tracks for gap in _later(track.gaps, (track.start or 0.0) - float(begin)))
    values = np.concatenate([_at(track, moments) for track in tracks], axis=1)
    return Track(values, step, float(begin), fastest.epoch, gaps)


def _at(track: Track, moments: Values) -> Values:
    own = (track.start or 0.0) + (track.step or 0.0) * np.arange(len(track.values))
    if len(own) >= len(moments) and np.allclose((moments[0] - own[0]) % (track.step or 1.0), 0, atol=1e-9):
        at = round((moments[0] - own[0]) / (track.step or 1.0))
        if len(own) >= at + len(moments) and np.allclose(own[at : at + len(moments)], moments):
            return track.values[at : at + len(moments)]
    return np.stack([np.interp(moments, own, column) for column in track.values.T], axis=1)


def in_words(cuts: Mapping[str, Cut]) -> list[str]:
    """What was done to all recordings."""
    shared = {name: one for name, one in cuts.items() if one.clock}
    notes: list[str] = []
    if any(one.clock == "own" for one in shared.values()):
        notes.append("files of a recording count time from zeros of their own, which are taken for one moment")
    late = {name: one.begins for name, one in shared.items() if one.lost}
    if late:
        lost = [shared[name].lost for name in late]
        most = max(late, key=lambda name: shared[name].lost)
        first = next(iter(late))
        notes.append(
            f"{len(late)} of {len(cuts)} recordings cut to the span that their files share, the first {first}: "
            f"a median of {np.median(lost):.3g} s is cut off, at most {max(lost):.3g} s (of {most}); the files begin a "
            f"median of {np.median([*late.values()]):.3g} s apart"
        )
    apart = [name for name, one in cuts.items() if one.several and not one.clock]
    if apart:
        notes.append(
            f"{len(apart)} of {len(cuts)} recordings have no clock that their files share, as {apart[0]}: these are "
            "taken to begin and end together"
        )
    return notes


def _span(track: Track) -> str:
    return f"from {_moment(track.start or 0.0)} to {_moment(track.end)}"


def _moment(seconds: float) -> str:
    if seconds < 1e8:
        return f"{seconds:.6g} s"
    return datetime.fromtimestamp(seconds, UTC).isoformat(" ", "milliseconds").removesuffix("+00:00")
