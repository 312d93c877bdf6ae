#!/usr/bin/env bash
# Of an AMC file with n frames, pyacclaim reads n - 1: the last one is missing, and a file with one pose is empty.
#
# pyacclaim 0.0.1 and numpy 2.4.6, seen 2026-12-01. Guessed: `loadAMC` gives one pose for each frame of the file; its frames are
# numbered, so that the last number is how many there are. Seen: a pose is kept when the next frame's number comes, and after
# the last one none does: five frames are four, and a calibration pose, a file of one frame, is none; no error, no warning, with
# either kind of line ends. The others are right, in degrees as in radians. No thread about it was found. What it costs: a
# motion that was cut into pieces and is put together again lacks a frame at each seam, a jump that speeds show as twice the
# true one; arrays of a motion from this reader and from another, or from the C3D of the same take, are of unequal length, and
# whoever aligns them by their ends is off by a frame throughout.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pyacclaim==0.0.1 numpy==2.4.6
cd "$folder"
cat > person.asf <<'ASF'
:version 1.10
:name person
:units
  mass 1.0
  length 1.0
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name thigh
    direction 0 -1 0
    length 0.4
    axis 0 0 0 XYZ
    dof rx
    limits (-160.0 20.0)
  end
:hierarchy
  begin
    root thigh
  end
ASF
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from pyacclaim import loadAMC, loadASF

skeleton = loadASF("person.asf", verbose=False)
read = {}
for frames in (1, 5, 300):
    for end in ("\n", "\r\n"):
        with open("walk.amc", "w", newline=end) as file:
            file.write(":FULLY-SPECIFIED\n:DEGREES\n")
            for number in range(1, frames + 1):
                file.write(f"{number}\nroot {number} 0 0 0 0 0\nthigh {-number / 10}\n")
        poses = loadAMC(skeleton, "walk.amc")
        read[frames, end] = len(poses)
        assert [pose["root"][0] for pose in poses] == list(range(1, len(poses) + 1)), "changed: other frames"
        angles = [np.rad2deg(pose["thigh"][0]) for pose in poses]
        assert np.allclose(angles, -np.arange(1, len(poses) + 1) / 10), "changed: angles"
    print(f"pyacclaim {version('pyacclaim')}: {frames} frames in the file, {read[frames, end]} read")
assert all(got == frames - 1 for (frames, _), got in read.items()), "changed: the last frame is read"
PYTHON
