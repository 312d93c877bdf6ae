#!/usr/bin/env bash
# By bvhtools, a foot that flies backwards or down at any speed is in contact with the ground, and one that goes forward is not.
#
# bvhtools 1.6.0, numpy 2.4.6 and scipy 1.17.1, seen 2026-12-01. Guessed: `getFootContactsSpeedMethod(bvh, feet, threshold=0.1)`
# gives one yes or no for each foot and frame, as `getFootContactsHeightMethod` does: whether the foot is slower than 0.1. Seen:
# it compares the components of the velocity, with their signs, each by itself: three answers for each frame, and each is yes
# for whatever is negative. A foot that swings along x at 1.2 m/s has 180 yes of 180 if x grows smaller, and 120 of 180 if it
# grows; a foot that stands has 180 as well. The same for one that falls. The page says "foot contact masks".
# `getSpeeds(type="magnitude")` has the right speeds. No thread about it was found. What it costs: whether a walk has steps
# depends on the direction in which it crosses the room; who asks for all three has a foot on the ground throughout in a walk
# towards lower x; the mean of the mask, taken for the share of stance, is two thirds for a foot in full swing, or one.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1
"$folder/env/bin/pip" install --quiet --disable-pip-version-check --no-deps bvhtools==1.6.0
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from bvhTools.bvhIO import readBvh
from bvhTools.bvhMetrics import getFootContactsHeightMethod, getFootContactsSpeedMethod, getSpeeds

HIERARCHY = """HIERARCHY
ROOT LeftFoot
{
\tOFFSET 0 0 0
\tCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
\tEnd Site
\t{
\t\tOFFSET 0 0 0.2
\t}
}
MOTION
Frames: 60
Frame Time: 0.01
"""
velocities = {"stands": (0, 0, 0), "flies forward": (1.2, 0, 0), "flies backward": (-1.2, 0, 0), "falls": (0, -1.2, 0)}
yes = {}
for name, velocity in velocities.items():
    with open("foot.bvh", "w") as file:
        file.write(HIERARCHY)
        for frame in range(60):
            places = " ".join(f"{start + 0.01 * frame * along:.4f}" for start, along in zip((0, 1, 0), velocity, strict=True))
            file.write(f"{places} 0 0 0\n")
    motion = readBvh("foot.bvh")
    mask = getFootContactsSpeedMethod(motion, ["LeftFoot"], 0.1)
    speed = getSpeeds(motion, type="magnitude")[:, 0].mean()
    yes[name] = int(mask.sum())
    print(f"bvhtools {version('bvhtools')}: a foot that {name}, {speed:.2f} m/s: {yes[name]} yes of {mask.size}, "
          f"shape {mask.shape}")
    assert mask.shape == (1, 60, 3), "changed: one answer for each foot and frame"
    assert getFootContactsHeightMethod(motion, ["LeftFoot"], 0.1).shape == (1, 60), "changed: the method by height"
    assert abs(speed - np.linalg.norm(velocity)) < 1e-6, "changed: speeds"
assert yes == {"stands": 180, "flies forward": 120, "flies backward": 180, "falls": 180}, "changed: other contacts"
PYTHON
