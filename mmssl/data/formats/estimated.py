"""Poses that a network estimated from a video, with a confidence for each joint."""

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmssl.data.clock import Clock
from mmssl.data.formats.markers import sheet_of
from mmssl.data.formats.people import most_moving
from mmssl.data.sheet import Sheet, Values


class EstimatedPoses(NamedTuple):
    """Poses of one recording, by frame and person."""

    joints: tuple[str, ...]
    frames: Sequence[Mapping[Hashable, Values]]
    """By person, (joints, coordinates + 1): the last is the confidence, NaN where the file has none."""
    notes: tuple[str, ...] = ()
    unit: str = ""
    clock: Clock = Clock(None)


def sheet(poses: EstimatedPoses, confidence: float) -> Sheet:
    """One person's joints; those with less than `confidence` are missing.

    Raises:
        ValueError: nobody is left.
    """
    below = False
    frames: list[dict[Hashable, Values]] = []
    for frame in poses.frames:
        own: dict[Hashable, Values] = {}
        for person, joints in frame.items():
            # Exactly 0 means "not seen" whatever the threshold: its coordinates are no position.
            hidden = (joints[:, -1] < confidence) | (joints[:, -1] == 0)
            own[person] = np.where(hidden[:, None], np.nan, joints[:, :-1])
            below |= bool(hidden.any())
        frames.append(own)
    try:
        places, notes = most_moving(frames)
    except ValueError as error:
        raise ValueError(f"{error} with a confidence of {confidence:g} or more") from error
    if below:
        notes = (f"joints with a confidence below {confidence:g} are missing values", *notes)
    clock = poses.clock
    return sheet_of(
        poses.joints, places, unit=poses.unit, seconds=clock.seconds, epoch=clock.epoch,
        notes=(*poses.notes, *notes, *clock.notes),
    )  # fmt: skip


def document_of(path: Path) -> Any:
    """The content of a JSON or JSON Lines file.

    Raises:
        ValueError: it is not valid JSON.
    """
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name}: no readable JSON ({str(error)[:200]})") from error
