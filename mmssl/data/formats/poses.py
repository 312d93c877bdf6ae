"""Poses that a network found in a video: OpenPose, AlphaPose, MediaPipe, and tables of joints with their confidence."""

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from mmssl.data.formats.markers import sheet_of
from mmssl.data.formats.people import followed, most_moving
from mmssl.data.formats.start import Start
from mmssl.data.formats.table import Table, cells
from mmssl.data.sheet import Sheet, Values

_T = TypeVar("_T")
_SIDES = ("shoulder", "elbow", "wrist")
_LEGS = ("hip", "knee", "ankle")


def _pairs(*joints: str) -> tuple[str, ...]:
    return tuple(f"{side}_{joint}" for joint in joints for side in ("left", "right"))


def _limbs(side: str, joints: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{side}_{joint}" for joint in joints)


COCO17 = ("nose", *_pairs("eye", "ear", *_SIDES, *_LEGS))
HALPE26 = (*COCO17, "head", "neck", "hip", *_pairs("big_toe", "small_toe", "heel"))
COCO18 = (
    "nose", "neck", *_limbs("right", _SIDES), *_limbs("left", _SIDES), *_limbs("right", _LEGS), *_limbs("left", _LEGS),
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip
BODY25 = (
    "nose", "neck", *_limbs("right", _SIDES), *_limbs("left", _SIDES), "mid_hip", *_limbs("right", _LEGS),
    *_limbs("left", _LEGS), "right_eye", "left_eye", "right_ear", "left_ear",
    *_limbs("left", ("big_toe", "small_toe", "heel")), *_limbs("right", ("big_toe", "small_toe", "heel")),
)  # fmt: skip
BLAZE33 = (
    "nose", *_limbs("left", ("eye_inner", "eye", "eye_outer")), *_limbs("right", ("eye_inner", "eye", "eye_outer")),
    "left_ear", "right_ear", "mouth_left", "mouth_right", *_pairs(*_SIDES, "pinky", "index", "thumb", *_LEGS),
    *_pairs("heel", "foot_index"),
)  # fmt: skip

_OPENPOSE = {25: BODY25, 18: COCO18}
_ALPHAPOSE = {17: COCO17, 26: HALPE26, 133: COCO17, 136: HALPE26}
"""By how many points the network has; of the whole body's with hands and face the first are the body's."""
_OF_FRAME = (
    "pose_world_landmarks", "poseWorldLandmarks", "world_landmarks", "worldLandmarks",
    "pose_landmarks", "poseLandmarks", "landmarks", "landmark", "keypoints3D", "keypoints",
)  # fmt: skip
"""What MediaPipe's landmarks are called, by its interfaces for Python and the web; those in metres first."""
_CONFIDENCE = ("visibility", "score", "confidence", "presence")
_COLUMN = re.compile(
    r"(?P<joint>.+?)[_. ](?P<what>x|y|z|visibility|vis|confidence|conf|score|likelihood)", re.IGNORECASE
)
_NUMBERED = re.compile(r"(?:(?:landmark|lm|kp|pose)?_?)(?P<what>x|y|z|v)_?(?P<number>\d{1,2})", re.IGNORECASE)


class Unsure(NamedTuple):
    """Poses with how sure the network was."""

    joints: tuple[str, ...]
    frames: Sequence[Mapping[Hashable, Values]]
    """By person, (joints, coordinates + 1): the last is the confidence, NaN where it is not said."""
    notes: tuple[str, ...] = ()
    unit: str = ""
    seconds: Values | None = None


def sheet(unsure: Unsure, confidence: float) -> Sheet:
    """One person's joints; those of which the network was less sure than `confidence` are missing.

    Raises:
        ValueError: nobody is left.
    """
    below, count = 0, 0
    frames: list[dict[Hashable, Values]] = []
    for frame in unsure.frames:
        own: dict[Hashable, Values] = {}
        for person, joints in frame.items():
            # Exactly 0 is "not seen" whatever the threshold: the place beside it is none.
            hidden = (joints[:, -1] < confidence) | (joints[:, -1] == 0)
            own[person] = np.where(hidden[:, None], np.nan, joints[:, :-1])
            below, count = below + int(hidden.sum()), count + len(hidden)
        frames.append(own)
    try:
        places, notes = most_moving(frames)
    except ValueError as error:
        raise ValueError(f"{error} with a confidence of {confidence:g} or more") from error
    if below:
        notes = (f"joints with a confidence below {confidence:g} are missing values", *notes)
    notes = (*unsure.notes, *notes)
    return sheet_of(unsure.joints, places, unit=unsure.unit, seconds=unsure.seconds, notes=notes)


# OpenPose: a folder with a file for each frame.


def is_openpose(start: Start) -> bool:
    return start.path.is_dir() and next(start.path.glob("*_keypoints.json"), None) is not None


def openpose(folder: Path) -> Unsure:
    """Raises ValueError: what is wrong in it."""
    files = {_number(file.name.removesuffix("_keypoints.json")): file for file in folder.glob("*_keypoints.json")}
    found: dict[int, list[Values]] = {}
    lengths: Counter[int] = Counter()
    for number, file in files.items():
        document = _document(file)
        if not isinstance(document, dict) or not isinstance(document.get("people"), list):
            raise ValueError(f"{file.name}: no list of people in it")
        bodies = [
            (name, person[name])
            for person in document["people"]
            if (name := "pose_keypoints_3d" if person.get("pose_keypoints_3d") else "pose_keypoints_2d") in person
        ]
        found[number] = [_numbers(values, 4 if name.endswith("3d") else 3, file.name) for name, values in bodies]
        lengths.update(len(body) for body in found[number])
    joints = _joints(_OPENPOSE, lengths)
    return Unsure(joints, followed(_in_order(found)))


# AlphaPose: one file with an entry for each person in each picture.


def is_alphapose(start: Start) -> bool:
    return b'"image_id"' in start.head and b'"keypoints"' in start.head


def alphapose(path: Path) -> Unsure:
    """Raises ValueError: what is wrong in it."""
    entries = _document(path)
    if not isinstance(entries, list) or not all(isinstance(one, dict) and "keypoints" in one for one in entries):
        raise ValueError("no list of people with their keypoints")
    found: dict[int, list[Values]] = {}
    names: dict[int, list[Hashable]] = {}
    lengths: Counter[int] = Counter()
    for entry in entries:
        number = _number(str(entry.get("image_id", "")))
        body = _numbers(entry["keypoints"], 3, f"image {entry.get('image_id')}")
        found.setdefault(number, []).append(body)
        names.setdefault(number, []).append(str(entry.get("idx", "")))
        lengths[len(body)] += 1
    joints = _joints(_ALPHAPOSE, lengths)
    frames = _in_order({number: [body[: len(joints)] for body in bodies] for number, bodies in found.items()})
    notes = (
        (f"the first picture is number {min(found)}: those before it count as not recorded",) if min(found) > 1 else ()
    )
    if all("" not in one and len(set(one)) == len(one) for one in names.values()):
        named = _in_order(names)
        return Unsure(joints, [dict(zip(n, f, strict=True)) for n, f in zip(named, frames, strict=True)], notes)
    return Unsure(joints, followed(frames), notes)


# MediaPipe: no file format of its own; what its results look like when they are written as they are.


def is_mediapipe(start: Start) -> bool:
    return start.suffix in (".json", ".jsonl") and b'"x"' in start.head and b'"y"' in start.head


def mediapipe(path: Path) -> Unsure:
    """Raises ValueError: what is wrong in it."""
    document = _document(path)
    if isinstance(document, dict) and isinstance(document.get("frames"), list):
        document = document["frames"]
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
        notes += ("no visibility is said in it: all joints count as seen",)
    return Unsure(BLAZE33, followed(frames), notes, unit="m" if world else "")


def _people(frame: Any) -> list[Any]:
    """A frame holds a person's landmarks, or a list of people, or nothing."""
    if isinstance(frame, dict) and "landmark" in frame:
        frame = cast(dict[str, Any], frame)["landmark"]
    if not frame:
        return []
    first = frame[0]
    return [person for person in frame if person] if isinstance(first, list) else [frame]


def _landmarks(person: Sequence[Any], at: int) -> Values:
    if len(person) != len(BLAZE33) or not all(isinstance(one, dict) for one in person):
        raise ValueError(f"frame {at}: {len(person)} landmarks, where MediaPipe's pose has {len(BLAZE33)}")
    points = cast(Sequence[Mapping[str, Any]], person)
    sure = next((name for name in _CONFIDENCE if name in points[0]), "")
    try:
        return np.array([[*(float(p[a]) for a in "xyz"), float(p[sure]) if sure else math.nan] for p in points])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"frame {at}: a landmark without x, y, z{' and ' + sure if sure else ''}") from error


# Tables: a line for each frame, a column for each joint's axes and its confidence.


def is_table(start: Start) -> bool:
    return bool(start.lines) and len(_columns(cells(start.lines[0], ","))) > 2


def table(path: Path) -> Unsure:
    """Raises ValueError: what is wrong in it."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = [name.strip() for name in next(csv.reader(file))]
    columns = _columns(header)
    axes = [axis for axis in "xyz" if all(axis in one for one in columns.values())]
    wanted = [one[what] for one in columns.values() for what in (*axes, "sure")]
    values = Table(path, tuple(header), 1).numbers(wanted).reshape(-1, len(columns), len(axes) + 1)
    # A line without the confidence of a joint is one that the network did not see it in.
    values[..., -1] = np.where(np.isfinite(values).all(axis=2), values[..., -1], 0)
    used = {header[i] for i in wanted}
    others = [name for name in header if name not in used]
    notes = (f"columns that are not read: {', '.join(sorted(others))[:300]}",) if others else ()
    return Unsure(tuple(columns), [{0: frame} for frame in values], notes)


def _columns(header: Sequence[str]) -> dict[str, dict[str, int]]:
    """Of each joint that has x, y and a confidence, where these stand."""
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


# What they share.


def _document(path: Path) -> Any:
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name}: no readable JSON ({str(error)[:200]})") from error


def _number(name: str) -> int:
    """The last number in a name, by which pictures are in order."""
    numbers = re.findall(r"\d+", name)
    if not numbers:
        raise ValueError(f"{name!r} has no number, so that the order of the pictures is not known")
    return int(numbers[-1])


def _numbers(values: Any, width: int, where: str) -> Values:
    """(joints, coordinates and confidence) of a flat list."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: keypoints that are no numbers") from error
    if array.ndim != 1 or len(array) % width or not np.isfinite(array).all():
        raise ValueError(f"{where}: {array.size} keypoint values, which are no {width} for each joint")
    return array.reshape(-1, width)


def _joints(known: Mapping[int, tuple[str, ...]], lengths: Mapping[int, int]) -> tuple[str, ...]:
    if not lengths:
        raise ValueError("nobody was seen in any frame")
    if len(lengths) > 1:
        raise ValueError(f"bodies of {' and '.join(map(str, sorted(lengths)))} joints in one recording")
    (length,) = lengths
    if length not in known:
        raise ValueError(f"bodies of {length} joints; known are those of {', '.join(map(str, sorted(known)))}")
    return known[length]


def _in_order(found: Mapping[int, list[_T]]) -> list[list[_T]]:
    """By the pictures' numbers; one that is not there, as where nobody was seen, is a frame without anybody."""
    numbers = sorted(found)
    step = math.gcd(*(b - a for a, b in pairwise(numbers))) or 1
    frames = range(numbers[0], numbers[-1] + 1, step)
    if len(frames) > 10 * len(numbers):
        raise ValueError(f"{len(numbers)} pictures, numbered from {numbers[0]} to {numbers[-1]}: most are missing")
    return [found.get(number, []) for number in frames]
