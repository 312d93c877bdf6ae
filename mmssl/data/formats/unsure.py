"""Poses that a network found in a video, with how sure it was of each joint."""

import json
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmssl.data.clock import Clock
from mmssl.data.formats.markers import sheet_of
from mmssl.data.formats.people import most_moving
from mmssl.data.sheet import Sheet, Values


class Unsure(NamedTuple):
    """Poses with how sure the network was."""

    joints: tuple[str, ...]
    frames: Sequence[Mapping[Hashable, Values]]
    """By person, (joints, coordinates + 1): the last is the confidence, NaN where it is not said."""
    notes: tuple[str, ...] = ()
    unit: str = ""
    clock: Clock = Clock(None)


def sheet(unsure: Unsure, confidence: float) -> Sheet:
    """One person's joints; those of which the network was less sure than `confidence` are missing.

    Raises:
        ValueError: nobody is left.
    """
    below = False
    frames: list[dict[Hashable, Values]] = []
    for frame in unsure.frames:
        own: dict[Hashable, Values] = {}
        for person, joints in frame.items():
            # Exactly 0 is "not seen" whatever the threshold: the place beside it is none.
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
    notes = (*unsure.notes, *notes)
    seconds, epoch, said = unsure.clock
    return sheet_of(unsure.joints, places, unit=unsure.unit, seconds=seconds, epoch=epoch, notes=(*notes, *said))


def document_of(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: it is none.
    """
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name}: no readable JSON ({str(error)[:200]})") from error
