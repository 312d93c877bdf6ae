"""People that a camera saw: their tracks, and the choice of one."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mmssl.data.sheet import Values

_LONGEST = 0.5
"""Share of the frames of the longest-seen person; who has fewer is a bystander or a false detection."""
_GONE = 60
"""Frames after which a person who reappears counts as a new one."""


def most_moving(frames: Sequence[Mapping[Hashable, Values]]) -> tuple[Values, tuple[str, ...]]:
    """The person who moves most among those seen long enough, with notes.

    Args:
        frames: by person, (joints, coordinates) with NaN for what was not seen.

    Returns:
        (frames, joints, coordinates), NaN where the person was not seen.

    Raises:
        ValueError: nobody was seen.
    """
    seen: dict[Hashable, int] = {}
    for frame in frames:
        for person, joints in frame.items():
            seen[person] = seen.get(person, 0) + bool(np.isfinite(joints).any())
    seen = {person: count for person, count in seen.items() if count}
    if not seen:
        raise ValueError("nobody was seen in any frame")
    long = [person for person, count in seen.items() if count >= _LONGEST * max(seen.values())]
    arrays = {person: _of(person, frames) for person in long}
    taken = max(long, key=lambda person: _movement(arrays[person]))
    array = arrays[taken]
    notes: list[str] = []
    if len(seen) > 1:
        notes.append("several people were seen: the one who moves most is read")
    if seen[taken] < len(frames):
        notes.append("frames in which nobody was seen, or not the one who is read, are missing values")
    return array, tuple(notes)


def _of(person: Hashable, frames: Sequence[Mapping[Hashable, Values]]) -> Values:
    shape = next(frame[person].shape for frame in frames if person in frame)
    nobody = np.full(shape, np.nan)
    return np.stack([frame.get(person, nobody) for frame in frames])


def _movement(array: Values) -> float:
    """The mean over joints of how far they spread over the recording."""
    finite = np.isfinite(array)
    count = finite.sum(axis=0)
    filled = np.where(finite, array, 0)
    mean = filled.sum(axis=0) / np.maximum(count, 1)
    variance = (np.where(finite, array - mean, 0) ** 2).sum(axis=0) / np.maximum(count, 1)
    return float(np.sqrt(variance)[count > 1].sum() / max(1, int((count > 1).sum())))


def followed(frames: Sequence[Sequence[Values]]) -> list[dict[Hashable, Values]]:
    """Tracks of people without ids: each detection continues the nearest track.

    No track jumps by more than the body's own size, unless there is never more than one person.

    Args:
        frames: of each detection (joints, coordinates and confidence): 0 for what was not seen, NaN where the file has
            no confidence.
    """
    if all(len(frame) < 2 for frame in frames):
        return [dict(enumerate(frame)) for frame in frames]
    last: dict[int, tuple[int, Values]] = {}
    named: list[dict[Hashable, Values]] = []
    people = 0
    for at, frame in enumerate(frames):
        last = {person: (when, joints) for person, (when, joints) in last.items() if at - when <= _GONE}
        pairs = sorted(
            (distance, i, person)
            for i, joints in enumerate(frame)
            for person, (_, before) in last.items()
            if (distance := _distance(joints, before)) < 1
        )
        own: dict[int, int] = {}
        for _, i, person in pairs:
            if i not in own and person not in own.values():
                own[i] = person
        for i in range(len(frame)):
            if i not in own:
                own[i], people = people, people + 1
        last.update({own[i]: (at, joints) for i, joints in enumerate(frame)})
        named.append({own[i]: joints for i, joints in enumerate(frame)})
    return named


def _distance(one: Values, other: Values) -> float:
    """Between two bodies, by the joints that both show, in sizes of the body; without end where there are none."""
    both = _shown(one) & _shown(other)
    if not both.any():
        return np.inf
    here, there = one[both, :-1], other[both, :-1]
    size = float(np.linalg.norm(np.ptp(here, axis=0)))
    apart = float(np.linalg.norm(here - there, axis=1).mean())
    return apart / size if size > 0 else (0.0 if apart == 0 else np.inf)


def _shown(body: Values) -> npt.NDArray[np.bool_]:
    return np.isfinite(body[:, :-1]).all(axis=1) & (body[:, -1] != 0)
