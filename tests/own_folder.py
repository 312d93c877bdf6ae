"""A made-up folder of CSV files as a lab might have it: five people at work in a kitchen.

13 joints in pixels at 25 frames a second, 9 channels of sensors on wrist and ankle at about 64 Hz with uneven stamps,
names for subjects, six classes; some recordings lack a modality, one file is broken, one label has a space behind it.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

SUBJECTS = ("anna", "ben", "chris", "dora", "emil")
CLASSES = ("chop", "knead", "pour", "reach", "stir", "wipe")
JOINTS = (
    "nose", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip",
    "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
CHANNELS = tuple(f"{sensor}_{axis}" for sensor in ("wrist_acc", "wrist_gyro", "ankle_acc") for axis in "xyz")
BROKEN = "imu/ben_stir_2.csv"
WITHOUT_SKELETON = ("anna_pour_1", "chris_wipe_3", "emil_chop_2")
WITHOUT_IMU = ("dora_reach_1", "dora_reach_2")

_BODY = np.array(
    [[0, -0.62], [0.2, -0.45], [-0.2, -0.45], [0.28, -0.2], [-0.28, -0.2], [0.25, 0.02], [-0.25, 0.02], [0.12, 0],
     [-0.12, 0], [0.13, 0.42], [-0.13, 0.42], [0.13, 0.85], [-0.13, 0.85]]
)  # fmt: skip
# Cycles a second, and how far the right wrist goes sideways and up, in metres; its phase between the two.
_MOTIONS = {
    "chop": (2.2, 0.02, 0.16, 0.0),
    "knead": (1.0, 0.12, 0.12, 0.0),
    "pour": (0.25, 0.1, 0.25, 0.8),
    "reach": (0.35, 0.45, 0.35, 0.0),
    "stir": (1.3, 0.12, 0.1, np.pi / 2),
    "wipe": (0.8, 0.35, 0.03, 0.0),
}


def make(folder: Path, *, seed: int = 0, trials: int = 3) -> None:
    """Write the folder without its description."""
    draws = np.random.default_rng(seed)
    lines = ["recording_id,label,subject,trial,skeleton,imu"]
    for part in ("skeleton", "imu"):
        (folder / part).mkdir(parents=True)
    for subject in SUBJECTS:
        speed, size, at = draws.uniform(0.75, 1.3), draws.uniform(170, 230), draws.uniform(300, 900, 2)
        for label in CLASSES:
            for trial in range(1, trials + 1):
                name = f"{subject}_{label}_{trial}"
                _record(folder, name, label, speed, size, at, draws)
                skeleton, imu = f"skeleton/{name}.csv", f"imu/{name}.csv"
                if name in WITHOUT_SKELETON:
                    (folder / skeleton).unlink()
                    skeleton = ""
                if name in WITHOUT_IMU:
                    (folder / imu).unlink()
                    imu = ""
                spelt = f"{label} " if name == "chris_stir_1" else label
                lines.append(f"{name},{spelt},{subject},{trial},{skeleton},{imu}")
    (folder / "recordings.csv").write_text("\n".join(lines) + "\n")
    content = (folder / BROKEN).read_text().splitlines()
    content[40] = content[40].replace(",", ",ERR", 1)
    (folder / BROKEN).write_text("\n".join(content) + "\n")


def make_new(folder: Path, *, seed: int = 1) -> None:
    """Write a folder of another person's recordings, without labels; the last has no skeleton."""
    draws = np.random.default_rng(seed)
    lines = ["recording_id,subject,skeleton,imu"]
    for part in ("skeleton", "imu"):
        (folder / part).mkdir(parents=True)
    for i, label in enumerate(("stir", "chop", "wipe", "reach"), 1):
        _record(folder, f"clip_{i}", label, 1.0, 200.0, np.array([500.0, 500.0]), draws)
        lines.append(f"clip_{i},fay,{'' if i == 4 else f'skeleton/clip_{i}.csv'},imu/clip_{i}.csv")
    (folder / "skeleton" / "clip_4.csv").unlink()
    (folder / "recordings.csv").write_text("\n".join(lines) + "\n")


def _record(
    folder: Path, name: str, label: str, speed: float, size: float, at: Values, draws: np.random.Generator
) -> None:
    seconds = draws.uniform(2.0, 4.0)
    cycles, side, up, lag = _MOTIONS[label]
    rate, phase = cycles * speed * draws.uniform(0.75, 1.3), draws.uniform(0, 2 * np.pi)
    strength = draws.uniform(0.5, 1.3)

    def wrist(t: Values) -> Values:
        angle = 2 * np.pi * rate * t + phase
        return strength * np.stack([side * np.sin(angle + lag), -up * np.sin(angle)], axis=1)

    frames = np.arange(0, seconds, 1 / 25)
    joints = np.repeat(_BODY[None], len(frames), axis=0)
    moved = wrist(frames)
    joints[:, 6] += moved
    joints[:, 4] += moved / 2
    joints[:, [0, 1, 2]] += 0.1 * moved[:, None]
    pixels = size * (joints + draws.normal(0, 0.03, joints.shape)) + at
    header = ",".join(f"{joint}_{axis}" for joint in JOINTS for axis in "xy")
    _write(folder / "skeleton" / f"{name}.csv", f"time,{header}", frames, pixels.reshape(len(frames), -1))

    samples = np.arange(0, seconds, 1 / 64)
    step = 1e-3
    acceleration = (wrist(samples + step) - 2 * wrist(samples) + wrist(samples - step)) / step**2
    tilt = 1.5 * wrist(samples).sum(axis=1)
    gravity = 9.81 * np.stack([np.sin(tilt), np.cos(tilt), 0.1 * tilt], axis=1)
    turning = np.stack([0.2 * tilt, 0 * tilt, np.gradient(tilt, samples)], axis=1)
    ankle = np.array([0.2, 9.8, 0.3]) + 0.1 * gravity * (label == "reach")
    wrist_acc = gravity + np.pad(acceleration, ((0, 0), (0, 1)))
    values = np.concatenate([wrist_acc, turning, np.broadcast_to(ankle, gravity.shape)], axis=1)
    values = values + draws.normal(0, 1, values.shape) * np.repeat([1.5, 0.4, 0.15], 3)
    milliseconds = 1000 * samples + draws.uniform(0, 6, len(samples))
    _write(folder / "imu" / f"{name}.csv", "time_ms," + ",".join(CHANNELS), milliseconds, values)


def _write(path: Path, header: str, moments: Values, values: Values) -> None:
    lines = [",".join(f"{value:.4f}" for value in (moment, *row)) for moment, row in zip(moments, values, strict=True)]
    path.write_text("\n".join([header, *lines]) + "\n")
