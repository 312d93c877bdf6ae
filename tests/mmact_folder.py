"""MMAct's layout on disk, for tests: the files of one clip, and a whole small folder that can be trained on."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

SENSORS = ("acc_phone", "acc_watch", "gyro", "orientation")
MIDNIGHT = datetime(2018, 9, 20)
Key = tuple[int, int, int, str]
"""Subject, scene, session, action."""
Frames = dict[str, dict[str, list[float]]]

SUBJECTS, SCENES, SESSIONS = (1, 2, 3, 17, 20), (2, 3), (1, 5)
ACTIONS = ("walking", "using_phone", "waving_hand")
"""Of the small folder, whose protocols all have recordings on both sides. Scene 3 has the desk."""

# Nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles, left before right; pixels from between the hips.
_BODY = np.array(
    [(0, -180)]
    + [
        (side * x, y)
        for x, y in ((8, -190), (16, -185), (40, -130), (55, -70), (60, -10), (25, 0), (28, 90), (30, 180))
        for side in (1, -1)
    ]
)
_ARMS = slice(7, 11)


def stamp(seconds: float) -> str:
    """As `str` writes a datetime: without a fraction where it is zero."""
    moment = MIDNIGHT + timedelta(microseconds=round(seconds * 1e6))
    return moment.strftime("%Y%m%d_%H:%M:%S") + (moment.strftime(".%f") if moment.microsecond else "")


def rows(seconds: np.ndarray, values: np.ndarray) -> list[str]:
    """A sensor's file, line by line, from (samples,) and (samples, 3)."""
    samples = zip(seconds, values.tolist(), strict=True)
    return [",".join([stamp(moment), *map(repr, numbers)]) for moment, numbers in samples]


def poses(*people: np.ndarray, start: int = 1) -> Frames:
    """A pose file of one or two people, (frames, 51) each, its frames in an order that is not theirs."""
    frames = [
        (str(start + i), {"person1": one.tolist(), "person2": other.tolist() if other is not None else []})
        for i, (one, other) in enumerate(zip(people[0], people[1] if len(people) > 1 else [None] * 99, strict=False))
    ]
    return dict(frames[::-1])


def put(path: Path, content: Any) -> None:
    """Bytes and text as they are, a list as lines, anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list):
        content = "\n".join(content) + "\n"
    path.write_bytes(
        content
        if isinstance(content, bytes)
        else (content if isinstance(content, str) else json.dumps(content)).encode()
    )


def write_clip(
    folder: Path,
    key: Key,
    signals: Mapping[str, Sequence[str]],
    frames: Mapping[int, Frames],
    *,
    sensors: str = "",
    suffix: str = "_clip",
    pose: str = "pose/cross_view/trainval",
    header: bool = False,
    name: Callable[[str], str] = str,
) -> None:
    """The files of one clip: lines by sensor, and poses by camera."""
    subject, scene, session, action = key
    clip = f"scene{scene}/session{session}/{name(action)}"
    for sensor, lines in signals.items():
        axes = "azimuth,pitch,roll" if sensor == "orientation" else "x,y,z"
        first = [f"time,{axes}"] if header else []
        put(folder / sensors / f"{sensor}{suffix}/subject{subject}/{clip}.csv", [*first, *lines])
    for camera, seen in frames.items():
        put(folder / pose / f"subject{subject}/cam{camera}/{clip}.json", seen)


def write_trainable(folder: Path, cameras: Sequence[int] = (1, 2, 3, 4)) -> Path:
    """A folder of 60 clips of a second: each action has its own tempo, in the sensors and in the arms."""
    for key in (
        (subject, scene, session, action)
        for subject in SUBJECTS
        for scene in SCENES
        for session in SESSIONS
        for action in ACTIONS
    ):
        *numbers, action = key
        draws = np.random.default_rng([*numbers, *action.encode()])
        tempo, phase = 1 + ACTIONS.index(action), draws.uniform(0, 0.2)

        def angle(seconds: np.ndarray, tempo: int = tempo, phase: float = phase) -> np.ndarray:
            return 2 * np.pi * (tempo * seconds + phase)

        signals: dict[str, list[str]] = {}
        for sensor in SENSORS:
            rate, size = {"gyro": (50, 2), "orientation": (15, 170)}.get(sensor, (100, 10))
            seconds = np.arange(rate + 1) / rate
            if sensor == "orientation":
                seconds[1:-1] += draws.uniform(-0.02, 0.02, rate - 1)
            values = size * np.sin(angle(seconds)[:, None] + np.arange(3)) + draws.normal(0, 0.1, (len(seconds), 3))
            signals[sensor] = rows(seconds, values)

        frames: dict[int, Frames] = {}
        swing = np.sin(angle(np.arange(20) / 20))[:, None, None]
        for camera in cameras:
            joints = np.tile(_BODY + draws.normal(0, 2, _BODY.shape) + [900, 500], (20, 1, 1))
            joints[:, _ARMS] += 40 * swing
            # Seen from the side, a body is narrower.
            joints[..., 0] *= np.cos(0.2 * camera)
            confidence = draws.choice([0, 0.5, 0.9], (20, 17, 1), p=[0.05, 0.1, 0.85])
            frames[camera] = poses(np.concatenate([joints, confidence], axis=2).reshape(20, 51))
        write_clip(folder, key, signals, frames)
    return folder
