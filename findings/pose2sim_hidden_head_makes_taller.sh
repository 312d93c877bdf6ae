#!/usr/bin/env bash
# The longer the head is hidden, the taller a person is by Pose2Sim: 1.74 m with no frame hidden, 2.07 m with half of them.
#
# pose2sim 0.10.49, numpy 2.4.6 and pandas 3.1.1, seen 2026-12-01. Guessed: `compute_height` leaves out the frames in which a
# marker of its sum is NaN, and takes the mean of the middle half of the others ("remove the 50% most extreme values"), so that
# up to a quarter of wild frames on each side does not matter. Seen: the frames are sorted with NaN among them, which comes
# last, as if it were the greatest; the upper quarter that is cut off are the hidden frames, and the tallest seen ones stay.
# Where the head of a person of 1.74 m jumps by 0.8 m in one frame of ten, height is 1.74 with all frames seen, 1.93 if it is
# hidden in 30 % of them, 2.07 in 50 and 2.28 in 60; without wild frames it is the noise that is cut off on one side only, up to
# a centimetre. `trimmed_mean`, of the same module, alone does so as well. Frames where a hip, knee, ankle or shoulder is hidden
# are left out before; a head and a heel are not. What it costs: by this height the marker augmentation scales its body, and
# Sports2D its metres for a pixel: all lengths and speeds of a video are then wrong by the same 10 or 20 %, with no warning.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 matplotlib==3.11.2 \
  anytree==2.13.0 c3d==0.6.0 rtoml==0.14.0 opencv-python-headless==5.0.0.93
"$folder/env/bin/pip" install --quiet --disable-pip-version-check --no-deps pose2sim==0.10.49
cd "$folder"
MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W error - <<'PYTHON'
import logging
from importlib.metadata import version

import numpy as np
import pandas as pd

logging.disable()
from Pose2Sim.common import compute_height  # noqa: E402

# Metres, y up; with heel under the ankle the sum is about 1.74.
PLACES = {
    "RHeel": (-0.05, 0, 0.1), "LHeel": (-0.05, 0, -0.1), "RAnkle": (0, 0.08, 0.1), "LAnkle": (0, 0.08, -0.1),
    "RKnee": (0, 0.48, 0.1), "LKnee": (0, 0.48, -0.1), "RHip": (0, 0.92, 0.1), "LHip": (0, 0.92, -0.1), "Hip": (0, 0.92, 0),
    "Neck": (0, 1.45, 0), "RShoulder": (0, 1.43, 0.18), "LShoulder": (0, 1.43, -0.18), "Head": (0, 1.72, 0),
}


def person(wild: int, hidden: int) -> pd.DataFrame:
    """200 frames of somebody who stands: the head jumps up in the first, and is NaN in the last ones."""
    random = np.random.default_rng(0)
    markers = {name: np.array(place) + 0.005 * random.standard_normal((200, 3)) for name, place in PLACES.items()}
    markers["Head"][:wild, 1] += 0.8
    markers["Head"][200 - hidden :] = np.nan
    return pd.DataFrame(np.hstack(list(markers.values())), columns=np.repeat(list(markers), 3))


heights = {}
for wild in (0, 20):
    for hidden in (0, 60, 100, 120):
        heights[wild, hidden] = compute_height(person(wild, hidden))
        height = heights[wild, hidden]
        print(f"pose2sim {version('pose2sim')}: wild in {wild} of 200 frames, hidden in {hidden}: {height:.3f} m")
seen = compute_height(person(20, 60).dropna())
print(f"the frames that are left of those with 60 hidden, alone: {seen:.3f} m")
usual = heights[0, 0]
assert all(abs(heights[0, hidden] - usual) < 0.01 for hidden in (60, 100, 120)), "changed: height without wild frames"
assert abs(heights[20, 0] - usual) < 0.01 and abs(seen - usual) < 0.01, "changed: wild frames matter when all are seen"
assert np.allclose([heights[20, hidden] for hidden in (60, 100, 120)], (1.93, 2.07, 2.28), atol=0.01), "changed: other heights"
PYTHON
