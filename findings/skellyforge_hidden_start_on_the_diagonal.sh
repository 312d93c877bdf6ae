#!/usr/bin/env bash
# A marker that is hidden when the recording begins is put by skellyforge where x, y and z are equal: 0.6 m off, or more.
#
# skellyforge 2024.12.1009, numpy 1.26.4 and pandas 2.1.4, seen 2026-12-01. Guessed: `interpolate_skeleton_data`, FreeMoCap's
# step before its filter, fills the frames before a marker's first seen one with that place, or with the marker's mean place,
# or leaves NaN. Seen: with one number, the mean of all x, y and z of that marker together, in all three axes: a head that
# stays about (0.1, 0.2, 1.5) m is at (0.6, 0.6, 0.6) in each frame until it is seen; the place depends on the room's origin and
# on the axes' order. Gaps between seen frames and at the end are filled from the marker's own axis. That frames at the ends get
# a mean is known upstream (FreeMoCap's pull request 437, of 2023), of which axes is not said. What it costs: no NaN is left and
# no warning given; a person who walks in from outside of the view has, for as long, bones of another length, a head at the
# height of the hip and a jump of a metre, which the filter that follows turns into a movement.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check numpy==1.26.4 pandas==2.1.4 rich==13.7.0
"$folder/env/bin/pip" install --quiet --disable-pip-version-check --no-deps skellyforge==2024.12.1009
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from skellyforge.freemocap_utils.postprocessing_widgets.postprocessing_functions.interpolate_data import (
    interpolate_skeleton_data,
)

second = np.arange(0, 4, 0.01)
head = np.stack((0.1 + 0 * second, 0.2 + 0.02 * np.sin(second), 1.5 + 0.03 * np.sin(2 * np.pi * second)), axis=1)
seen = head.copy()
seen[:100] = seen[200:210] = seen[-20:] = np.nan
filled = interpolate_skeleton_data(seen[:, None])[:, 0]
off = np.linalg.norm(filled - head, axis=1)
print(f"skellyforge {version('skellyforge')}: NaN left: {np.isnan(filled).sum()}; the first second at {filled[0].round(3)}, "
      f"its mean place is {np.nanmean(seen, axis=0).round(3)}; off by up to {off[:100].max():.2f} m at the beginning, "
      f"{off[200:210].max():.3f} m in a gap, {off[-20:].max():.3f} m at the end")
assert not np.isnan(filled).any(), "changed: frames before the first seen one stay NaN"
assert np.ptp(filled[:100]) < 1e-9, "changed: the axes of the hidden beginning differ"
assert abs(filled[0, 0] - np.mean(filled[100:])) < 1e-3, "changed: it is no mean over all axes"
assert off[:100].min() > 1 and off[100:].max() < 0.05, "changed: the hidden beginning is near, or another part is far"
PYTHON
