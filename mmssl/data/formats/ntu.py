"""NTU RGB+D's .skeleton files: Kinect 2, 25 joints, several bodies, no header."""

from collections.abc import Hashable
from pathlib import Path

import numpy as np

from mmssl.data.formats.markers import sheet_of
from mmssl.data.formats.people import most_moving
from mmssl.data.formats.start import Start
from mmssl.data.sheet import Sheet, Values

JOINTS = (
    "spine_base", "spine_mid", "neck", "head",
    "left_shoulder", "left_elbow", "left_wrist", "left_hand",
    "right_shoulder", "right_elbow", "right_wrist", "right_hand",
    "left_hip", "left_knee", "left_ankle", "left_foot",
    "right_hip", "right_knee", "right_ankle", "right_foot",
    "spine_shoulder", "left_hand_tip", "left_thumb", "right_hand_tip", "right_thumb",
)  # fmt: skip
_OF_BODY, _OF_JOINT = 10, 12
"""Numbers in a line; of a joint x, y, z are the first, and whether it was tracked (0: not, 1: inferred, 2) the last."""


def is_ntu(start: Start) -> bool:
    return start.suffix == ".skeleton"


def read(path: Path) -> Sheet:
    """Raises ValueError: what is wrong with the file."""
    lines = [line.split() for line in path.read_text("utf-8-sig", errors="replace").splitlines()]
    at = 0

    def next_line(length: int, what: str) -> list[str]:
        nonlocal at
        if at >= len(lines):
            raise ValueError(f"it ends after {len(lines)} lines, where {what} is expected")
        line, at = lines[at], at + 1
        if len(line) != length:
            raise ValueError(f"line {at}: {len(line)} numbers, where {what} is expected")
        return line

    frames: list[dict[Hashable, Values]] = []
    try:
        for _ in range(int(next_line(1, "the number of frames")[0])):
            bodies: dict[Hashable, Values] = {}
            for _ in range(int(next_line(1, "the number of bodies")[0])):
                body = next_line(_OF_BODY, "a body with 10 numbers")[0]
                count = int(next_line(1, "the number of joints")[0])
                if count != len(JOINTS):
                    raise ValueError(f"line {at}: {count} joints, where {len(JOINTS)} are expected")
                joints = np.array([next_line(_OF_JOINT, "a joint with 12 numbers") for _ in JOINTS], dtype=np.float64)
                bodies[body] = np.where(joints[:, -1:] == 0, np.nan, joints[:, :3])
            frames.append(bodies)
    except ValueError as error:
        fault = str(error)
        raise ValueError(fault if fault.startswith(("line", "it ends")) else f"line {at}: no number") from error
    if any(line for line in lines[at:]):
        raise ValueError(f"line {at + 1}: more lines than its {len(frames)} frames have")
    places, notes = most_moving(frames)
    return sheet_of(JOINTS, places, unit="m", notes=notes)
