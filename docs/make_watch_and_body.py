"""Write a made-up folder: five people do four exercises before a depth camera, with a watch on.

Usage: python docs/make_watch_and_body.py FOLDER
"""

import math
import random
import sys
from pathlib import Path

PEOPLE = ("anna", "ben", "chris", "dora", "emil")
EXERCISES = {"squat": (0.7, 0.3, 0.0), "curl": (0.9, 0.0, 0.3), "jack": (1.4, 0.1, 0.6), "rest": (0.2, 0.01, 0.02)}
"""Movements a second, how far the hips go down, and the wrist up, in metres."""
JOINTS = {
    "pelvis": (0.0, 1.0, 0.0), "neck": (0.0, 1.5, 0.0), "head": (0.0, 1.7, 0.0), "left_hand": (-0.3, 0.9, 0.0),
    "right_hand": (0.3, 0.9, 0.0), "left_knee": (-0.1, 0.5, 0.05), "right_knee": (0.1, 0.5, 0.05),
}  # fmt: skip
FRAMES, SAMPLES, LATE = 30, 50, 0.4
"""A second, of camera and watch; seconds from when the watch is started until the camera is."""
WITHOUT_WATCH = ("emil_squat_2", "emil_rest_3")
BODY_HID_KNEE = "ben_curl_1"


def main(folder: Path) -> None:
    draws = random.Random(0)  # noqa: S311
    for part in ("body", "watch"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    began = 1_700_000_000.0
    for person in PEOPLE:
        pace = draws.uniform(0.85, 1.2)
        for exercise, (rate, down, up) in EXERCISES.items():
            for trial in (1, 2, 3):
                name, seconds = f"{person}_{exercise}_{trial}", draws.uniform(3, 4)
                began += 60
                write_body(folder / "body" / f"{name}.csv", began + LATE, seconds, rate * pace, down, up, draws)
                if name not in WITHOUT_WATCH:
                    watch = folder / "watch" / f"{name}.csv"
                    write_watch(watch, began, seconds + 2 * LATE, rate * pace, down, up, draws)


def moved(seconds: float, rate: float, down: float, up: float) -> tuple[float, float]:
    """How far the hips are down, and the right hand is up, so long after the watch began."""
    phase = 0.5 - 0.5 * math.cos(2 * math.pi * rate * seconds)
    return down * phase, up * phase


def write_body(
    path: Path, began: float, seconds: float, rate: float, down: float, up: float, draws: random.Random
) -> None:
    lines = [",".join(["time", *(f"{joint}_{axis}" for joint in JOINTS for axis in "xyz")])]
    for frame in range(int(seconds * FRAMES)):
        at = LATE + frame / FRAMES
        low, high = moved(at, rate, down, up)
        cells = [f"{began - LATE + at:.3f}"]
        for joint, (x, y, z) in JOINTS.items():
            y -= low * (0.5 if "knee" in joint else 1)
            y += high * (joint == "right_hand")
            hidden = joint == "left_knee" and path.stem == BODY_HID_KNEE
            cells += ["" if hidden else f"{value + draws.gauss(0, 0.01):.4f}" for value in (x, y, z)]
        lines.append(",".join(cells))
    path.write_text("\n".join(lines) + "\n")


def write_watch(
    path: Path, began: float, seconds: float, rate: float, down: float, up: float, draws: random.Random
) -> None:
    lines = ["timestamp,acc_x,acc_y,acc_z"]
    for sample in range(int(seconds * SAMPLES)):
        at, step = sample / SAMPLES, 0.01
        heights = [up_ - low for low, up_ in (moved(at + shift, rate, down, up) for shift in (-step, 0, step))]
        felt = 9.81 + (heights[0] - 2 * heights[1] + heights[2]) / step**2
        cells = [draws.gauss(0, 0.3), felt + draws.gauss(0, 0.3), draws.gauss(0, 0.3)]
        lines.append(",".join([str(round((began + at) * 1000)), *(f"{value:.4f}" for value in cells)]))
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
