#!/usr/bin/env bash
# In a gap, where a marker was hidden, the package c3d gives the marker's place of the frame before; ezc3d gives NaN.
#
# c3d 0.6.0 and ezc3d 1.7.2, seen 2026-11-29. Guessed: NaN, or the zeros that the file has there. Seen: frames 100,
# 101, (hidden), 103 read as 100, 101, 101, 103 by c3d, with a residual of -1 in the fourth column, and as 100, 101,
# NaN, 103 by ezc3d. What it costs: who takes the first three columns gets a marker that stands still while it is
# hidden and jumps after: speeds of 0 and then twice the true one, that no check for NaN or zeros finds. Two labs read
# one file differently.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check c3d==0.6.0 ezc3d==1.7.2 numpy==2.4.6
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import warnings
from importlib.metadata import version

import c3d
import ezc3d
import numpy as np

warnings.simplefilter("ignore")  # That there is no analog data.
writer = c3d.Writer(point_rate=100, analog_rate=0)
for frame in range(6):
    points = np.zeros((1, 5))
    points[0, :3] = 100 + frame
    points[0, 3] = -1 if frame == 2 else 0  # The residual: -1 says that the marker was not seen.
    writer.add_frames([(points, np.zeros((0, 0)))])
with open("gap.c3d", "wb") as file:
    writer.write(file)
with open("gap.c3d", "rb") as file:
    held = [float(points[0, 0]) for _, points, _ in c3d.Reader(file).read_frames()]
other = ezc3d.c3d("gap.c3d")["data"]["points"][0, 0].tolist()
print(f"c3d {version('c3d')}: {held}; ezc3d {version('ezc3d')}: {other}")
assert held == [100, 101, 101, 103, 104, 105], "changed: c3d gives another value in the gap"
assert np.isnan(other[2]) and other[3:] == [103, 104, 105], "changed: ezc3d gives another value in the gap"
PYTHON
