"""MediaPipe's landmarks, and tables of joints with their confidence."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from mmssl.data.clock import Clock, clock_of
from mmssl.data.columns import is_clock, named
from mmssl.data.csv_file import Layout, check_one
from mmssl.data.formats.estimated import EstimatedPoses, document_of
from mmssl.data.formats.joints import BLAZE33
from mmssl.data.formats.people import followed
from mmssl.data.formats.start import Start, start_of
from mmssl.data.formats.table import Table, cells, header_of
from mmssl.data.sheet import Values

_OF_FRAME = (
    "pose_world_landmarks", "poseWorldLandmarks", "world_landmarks", "worldLandmarks",
    "pose_landmarks", "poseLandmarks", "landmarks", "landmark", "keypoints3D", "keypoints",
)  # fmt: skip
"""Names of MediaPipe's landmarks in its interfaces for Python and the web; those in metres first."""
_FRAMES = ("frames", "landmarks", "pose_landmarks", "poses", "results", "data")
_CONFIDENCE = ("visibility", "score", "confidence", "presence")
_COLUMN = re.compile(
    r"(?P<joint>.+?)[_. ](?P<what>x|y|z|visibility|vis|confidence|conf|score|likelihood)", re.IGNORECASE
)
_NUMBERED = re.compile(r"(?:(?:landmark|lm|kp|pose)?_?)(?P<what>x|y|z|v)_?(?P<number>\d{1,2})", re.IGNORECASE)

# MediaPipe has no file format of its own: these are its results, written as JSON.


def is_mediapipe(start: Start) -> bool:
    return start.suffix in (".json", ".jsonl") and (
        b"andmark" in start.head or (b'"x"' in start.head and b'"y"' in start.head)
    )


def mediapipe(path: Path) -> EstimatedPoses:
    """Raises ValueError: what is wrong in it."""
    document = document_of(path)
    if isinstance(document, dict):
        by_name = cast(dict[str, Any], document)
        if by_name and all(name.isdigit() for name in by_name):
            document = [by_name[name] for name in sorted(by_name, key=int)]
        else:
            document = next((by_name[name] for name in _FRAMES if isinstance(by_name.get(name), list)), None)
    if not isinstance(document, list):
        raise ValueError("no list of frames with MediaPipe's landmarks")
    world = False
    frames: list[list[Values]] = []
    for at, frame in enumerate(document):
        kind = ""
        if isinstance(frame, dict):
            kind = next((name for name in _OF_FRAME if name in frame), "")
            if not kind:
                raise ValueError(f"frame {at}: none of {', '.join(_OF_FRAME)} in it")
            frame = frame[kind]
        frames.append([_landmarks(person, at) for person in _people(frame)])
        world |= "orld" in kind or kind == "keypoints3D"
    notes = (
        ("MediaPipe's world landmarks are read: metres from the middle of the hips, so that walking does not show",)
        if world
        else ("MediaPipe's x and y are taken as they are; fractions of a picture are stretched unless it is square",)
    )
    if frames and not any(np.isfinite(body[:, -1]).any() for frame in frames for body in frame):
        notes += ("it has no visibility: all joints count as seen",)
    return EstimatedPoses(BLAZE33, followed(frames), notes, unit="m" if world else "", clock=_clock(document))


def _clock(frames: Sequence[Any]) -> Clock:
    """The clock of frames that each have a number under a name as timestamp_ms."""
    first = cast(Mapping[str, Any], frames[0]) if frames and isinstance(frames[0], Mapping) else {}
    for name in filter(is_clock, first):
        moments = [frame.get(name) if isinstance(frame, Mapping) else None for frame in frames]
        if all(isinstance(one, int | float) for one in moments):
            return clock_of([(name, "", pa.chunked_array([pa.array(moments, pa.float64())]))])
    return Clock(None)


def _people(frame: Any) -> list[Any]:
    """The people of a frame, which holds one person's landmarks, a list of people, or nothing."""
    if isinstance(frame, dict) and "landmark" in frame:
        frame = cast(dict[str, Any], frame)["landmark"]
    if not frame:
        return []
    first = frame[0]
    several = isinstance(first, list) and (not first or not isinstance(first[0], int | float))
    return [person for person in frame if person] if several else [frame]


def _landmarks(person: Sequence[Any], at: int) -> Values:
    """A person's landmarks, (33, 4): x, y, z and visibility, from mappings or from lists of these numbers."""
    if len(person) != len(BLAZE33):
        raise ValueError(f"frame {at}: {len(person)} landmarks, where MediaPipe's pose has {len(BLAZE33)}")
    try:
        if isinstance(person[0], Mapping):
            points = cast(Sequence[Mapping[str, Any]], person)
            sure = next((name for name in _CONFIDENCE if name in points[0]), "")
            person = [[*(float(p[axis]) for axis in "xyz"), float(p[sure]) if sure else math.nan] for p in points]
        array = np.array(person, dtype=np.float64)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"frame {at}: a landmark without x, y, z and visibility as the others have") from error
    if array.ndim != 2 or array.shape[1] not in (3, 4):
        raise ValueError(f"frame {at}: landmarks with x, y, z and visibility are expected")
    return array if array.shape[1] == 4 else np.column_stack([array, np.full(len(array), np.nan)])


# Tables: a line for each frame, a column for each joint's axes and its confidence.


def is_table(start: Start) -> bool:
    header, individuals, *_ = _header(start)
    return any(len(columns) > 2 for columns in _of_each(header, individuals).values())


def _header(start: Start) -> tuple[list[str], list[str], str, int]:
    """Names, whom each is of where there are several, delimiter, and the number of header lines.

    DeepLabCut has scorer, bodyparts and coords, and of several animals individuals above the bodyparts.
    """
    if not start.lines:
        return [], [], ",", 0
    first, delimiter = header_of(start.lines[0])
    rows = [first, *(cells(line, delimiter) for line in start.lines[1:4])]
    words = [row[0].lower() if row else "" for row in rows]
    above = 4 if words[1:2] == ["individuals"] else 3
    if (words[0], *words[above - 2 : above]) != ("scorer", "bodyparts", "coords"):
        return first, [], delimiter, 1
    names = [f"{joint}_{what}" for joint, what in zip(*rows[above - 2 : above], strict=False)]
    return names, rows[1] if above == 4 else [], delimiter, above


def table(path: Path) -> EstimatedPoses:
    """Raises ValueError: what is wrong in it."""
    header, individuals, delimiter, above = _header(start_of(path))
    check_one(path, Layout(tuple(header), ("",) * len(header), delimiter, ".", above, frozenset()))
    bodies = _of_each(header, individuals)
    joints = max(bodies.values(), key=len)
    # DeepLabCut calls points that are of no animal, as a cage's corners, an individual too.
    bodies = {who: columns for who, columns in bodies.items() if columns.keys() == joints.keys()}
    axes = [axis for axis in "xyz" if all(axis in one for columns in bodies.values() for one in columns.values())]
    wanted = [columns[joint][what] for columns in bodies.values() for joint in joints for what in (*axes, "sure")]
    whole = Table(path, tuple(header), above, delimiter)
    values = whole.numbers(wanted).reshape(-1, len(bodies), len(joints), len(axes) + 1)
    # Where a line has no confidence for a joint, the network did not see the joint.
    values[..., -1] = np.where(np.isfinite(values).all(axis=3), values[..., -1], 0)
    others = {header[i] for i in range(len(header)) if i not in wanted and not is_clock(named(header[i])[0])}
    notes = (f"columns that are not read: {', '.join(sorted(others))[:300]}",) if others else ()
    stamps = whole.clock()
    clock = Clock(stamps.seconds, stamps.epoch)
    return EstimatedPoses(
        tuple(joints), [dict(zip(bodies, frame, strict=True)) for frame in values], notes, clock=clock
    )


def _of_each(header: Sequence[str], individuals: Sequence[str]) -> dict[str, dict[str, dict[str, int]]]:
    """The columns of each joint of each individual; of one, who has no name, where there are no `individuals`."""
    named_so = individuals or [""] * len(header)
    return {
        who: found
        for who in dict.fromkeys(named_so)
        if (found := _columns([name if own == who else "" for name, own in zip(header, named_so, strict=False)]))
    }


def _columns(header: Sequence[str]) -> dict[str, dict[str, int]]:
    """Positions of the columns of each joint that has x, y and a confidence."""
    found: dict[str, dict[str, int]] = {}
    for i, name in enumerate(header):
        match = _COLUMN.fullmatch(name) or _NUMBERED.fullmatch(name)
        if not match:
            continue
        what = match["what"].lower()
        joint = match["joint"] if "joint" in match.groupdict() else match["number"]
        found.setdefault(joint, {})[what if what in ("x", "y", "z") else "sure"] = i
    found = {joint: one for joint, one in found.items() if {"x", "y", "sure"} <= set(one)}
    numbers = sorted(int(joint) for joint in found if joint.isdigit())
    if numbers and (len(found) != len(BLAZE33) or numbers[-1] - numbers[0] != len(BLAZE33) - 1 or numbers[0] > 1):
        return {}
    if numbers:
        return {BLAZE33[int(joint) - numbers[0]]: one for joint, one in found.items()}
    return found
