#!/usr/bin/env bash
# After pyomeca's time_normalize, the recording that one gave it lasts 99 seconds, whatever it lasted before.
#
# pyomeca 2026.0.2 and xarray 2026.9.0, seen 2026-11-30. Guessed: `time_normalize(norm_time=True)` returns a copy that runs
# from 0 to 100 (its page: "Normalize the time dimension from 0 to 100"), and leaves the recording as it is, as every other
# method does. Seen: it writes 0 to 99 into the recording's own time and keeps that. What it costs: all that comes after and
# reads the time of the recording is wrong by as much: a walk of two seconds is 99 long, its speed, by `differentiate("time")`,
# 0.02 m/s in place of 1.2, and the part `sel(time=slice(0, 1))` three frames long in place of 101. No error, no warning; two
# recordings of different length agree afterwards. `recording.copy().meca.time_normalize(norm_time=True)` leaves it alone.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pyomeca==2026.0.2 ezc3d==1.7.2 xarray==2026.9.0 \
    numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
cd "$folder"
MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from pyomeca import Markers

RATE, SPEED = 100, 1.2
time = np.arange(2 * RATE) / RATE
places = np.zeros((4, 1, len(time)))
places[0], places[3] = SPEED * time, 1
walk = Markers(places, channels=["HIP"], time=time)


def measured() -> tuple[float, float, int]:
    """How long the recording lasts, how fast the hip is, and how many frames its first second has."""
    fast = walk.sel(axis="x", channel="HIP").differentiate("time").mean()
    return round(float(walk.time[-1] - walk.time[0]), 2), round(float(fast), 4), walk.sel(time=slice(0, 1)).time.size


before = measured()
walk.copy().meca.time_normalize(norm_time=True)
assert measured() == before, "changed: what is done to a copy changes the recording"
cycle = walk.meca.time_normalize(norm_time=True)
after = measured()
print(f"pyomeca {version('pyomeca')}: duration, speed and frames of the first second {before} before, {after} after")
assert (float(cycle.time[0]), float(cycle.time[-1])) == (0, 99), "changed: the returned recording has another time"
assert before == (1.99, SPEED, 101), "changed: another recording"
assert after[0] == 99 and after[1] < SPEED / 40 and after[2] == 3, "changed: the recording keeps its time"
PYTHON
