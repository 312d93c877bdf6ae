#!/usr/bin/env bash
# Where a marker was hidden, trc-data-reader gives its place to the next marker of the list, in a file that it wrote itself.
#
# trc-data-reader 0.4.1 and c3d 0.6.0, seen 2026-11-30. Guessed: a hidden marker is NaN, or missing, and all others stay what
# they are. Seen: `save` leaves the three cells of a hidden marker empty, as the format has it, and `load` takes any number of
# tabs for one: the empty cells are gone, and each later marker of that frame is one place too early, the last one NaN. With
# hip, knee and ankle, and the knee hidden for one frame, the knee reads 500, 501, 102, 503 (102 is the ankle's) and the ankle
# is NaN. Before it was saved, the same recording, brought in from C3D by the same class, is right. What it costs: no error and
# no warning: a knee that jumps to the ankle and back in every gap, and a NaN in the marker that was seen; who fills gaps fills
# the wrong one.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check trc-data-reader==0.4.1 c3d==0.6.0 numpy==2.4.6
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import c3d
import numpy as np
from trc import TRCData

HEIGHTS, HIDDEN = {"HIP": 1000, "KNEE": 500, "ANKLE": 100}, 2
writer = c3d.Writer(point_rate=100, analog_rate=0)
writer.set_point_labels(list(HEIGHTS))
for frame in range(5):
    points = np.zeros((len(HEIGHTS), 5))
    points[:, :3] = np.array(list(HEIGHTS.values()))[:, None] + frame
    points[1, 3] = -1 if frame == HIDDEN else 0  # The residual: -1 says that the marker was not seen.
    writer.add_frames([(points, np.zeros((0, 0)))])
with open("walk.c3d", "wb") as file:
    writer.write(file)

imported = TRCData()
imported.import_from("walk.c3d")
before = [[marker[0] for marker in imported[frame][1]] for frame in imported["Frame#"]]
imported.save("walk.trc")
loaded = TRCData()
loaded.load("walk.trc")
after = [[loaded[marker][frame][0] for marker in HEIGHTS] for frame in range(5)]

print(f"trc-data-reader {version('trc-data-reader')}: frame {HIDDEN} before {before[HIDDEN]}, after {after[HIDDEN]}")
assert loaded["Markers"] == list(HEIGHTS), "changed: other markers"
assert np.array_equal(before[HIDDEN], [1002, np.nan, 102], equal_nan=True), "changed: the import from C3D differs"
assert np.array_equal(after[HIDDEN], [1002, 102, np.nan], equal_nan=True), "changed: the hidden marker keeps its place"
others = [frame for frame in range(5) if frame != HIDDEN]
assert all(before[frame] == after[frame] for frame in others), "changed: frames without a gap differ as well"
PYTHON
