"""OpenPose and AlphaPose: lists of numbers, x, y and confidence of each joint."""

import math
import re
from collections import Counter
from collections.abc import Hashable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mmssl.data.formats.estimated import EstimatedPoses, document_of
from mmssl.data.formats.joints import BODY25, COCO17, COCO18, HALPE26
from mmssl.data.formats.people import followed
from mmssl.data.formats.start import Start
from mmssl.data.sheet import Values

_T = TypeVar("_T")
_OPENPOSE = {25: BODY25, 18: COCO18}
_ALPHAPOSE = {17: COCO17, 26: HALPE26, 133: COCO17, 136: HALPE26}
"""Joints by a network's number of points; with hands and face, the first points are the body's."""


# OpenPose: a folder with a file for each frame.


def is_openpose(start: Start) -> bool:
    return start.path.is_dir() and next(start.path.glob("*_keypoints.json"), None) is not None


def openpose(folder: Path) -> EstimatedPoses:
    """Raises ValueError: what is wrong in it."""
    files = {_number(file.name.removesuffix("_keypoints.json")): file for file in folder.glob("*_keypoints.json")}
    people: dict[int, list[dict[str, Any]]] = {}
    for number, file in files.items():
        document = document_of(file)
        if not isinstance(document, dict) or not isinstance(document.get("people"), list):
            raise ValueError(f"{file.name}: no list of people in it")
        people[number] = document["people"]
    key = next((key for one in people.values() for p in one if p.get(key := "pose_keypoints_3d")), "pose_keypoints_2d")
    found = {
        number: [
            _numbers(body, 4 if key.endswith("3d") else 3, files[number].name) for p in one if (body := p.get(key))
        ]
        for number, one in people.items()
    }
    lengths = Counter(len(body) for bodies in found.values() for body in bodies)
    joints = _joints(_OPENPOSE, lengths)
    return EstimatedPoses(joints, followed(_in_order(found)))


# AlphaPose: one file with an entry for each person in each picture.


def is_alphapose(start: Start) -> bool:
    return b'"image_id"' in start.head and b'"keypoints"' in start.head


def alphapose(path: Path) -> EstimatedPoses:
    """Raises ValueError: what is wrong in it."""
    entries = document_of(path)
    if not isinstance(entries, list) or not all(isinstance(one, dict) and "keypoints" in one for one in entries):
        raise ValueError("no list of people with their keypoints")
    found: dict[int, list[Values]] = {}
    names: dict[int, list[Hashable]] = {}
    lengths: Counter[int] = Counter()
    for entry in entries:
        number = _number(str(entry.get("image_id", "")))
        body = _numbers(entry["keypoints"], 3, f"image {entry.get('image_id')}")
        found.setdefault(number, []).append(body)
        names.setdefault(number, []).append(_track(entry.get("idx")))
        lengths[len(body)] += 1
    joints = _joints(_ALPHAPOSE, lengths)
    frames = _in_order({number: [body[: len(joints)] for body in bodies] for number, bodies in found.items()})
    notes = (
        (f"the first picture is number {min(found)}: those before it count as not recorded",) if min(found) > 1 else ()
    )
    if all("" not in one and len(set(one)) == len(one) for one in names.values()):
        named = _in_order(names)
        return EstimatedPoses(joints, [dict(zip(n, f, strict=True)) for n, f in zip(named, frames, strict=True)], notes)
    return EstimatedPoses(joints, followed(frames), notes)


def _track(idx: Any) -> str:
    """A body's track: a number, or a list with one for each box whose poses were merged; "" where they differ."""
    numbers = set(np.ravel(np.array([] if idx is None else idx, dtype=object)).tolist())
    return str(numbers.pop()) if len(numbers) == 1 else ""


# What they share.


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


def _joints(models: Mapping[int, tuple[str, ...]], lengths: Mapping[int, int]) -> tuple[str, ...]:
    if not lengths:
        raise ValueError("nobody was seen in any frame")
    if len(lengths) > 1:
        raise ValueError(f"bodies of {' and '.join(map(str, sorted(lengths)))} joints in one recording")
    (length,) = lengths
    if length not in models:
        raise ValueError(f"bodies of {length} joints; can be read: {', '.join(map(str, sorted(models)))}")
    return models[length]


def _in_order(found: Mapping[int, list[_T]]) -> list[list[_T]]:
    """The frames in the order of the pictures' numbers; a missing number is a frame without anybody."""
    numbers = sorted(found)
    step = math.gcd(*(b - a for a, b in pairwise(numbers))) or 1
    frames = range(numbers[0], numbers[-1] + 1, step)
    if len(frames) > 10 * len(numbers):
        raise ValueError(f"{len(numbers)} pictures, numbered from {numbers[0]} to {numbers[-1]}: most are missing")
    return [found.get(number, []) for number in frames]
