#!/usr/bin/env bash
# By Pose2Sim's filter "butterworth_on_speed", a hip that was hidden for 0.8 s of a walk is 0.4 m behind ever after.
#
# pose2sim 0.10.49, pandas 3.1.1 and scipy 1.17.1, seen 2026-12-01. Guessed: what is NaN before the filter is NaN after it, and
# each seen stretch stays where it is, as by all its other filters for gaps ("butterworth", "kalman", "loess", "gcv_spline" and
# so on, which are tried here). Seen: frames without a speed get half of the recording's very first step, which is meant for the
# first frame only; then all is summed up from the first place on. So the gap is filled, the marker creeps on, or back, by what
# the first two frames and their noise happened to have, and all that comes later is off by as much as was really walked in the
# gap, and more with each gap. Gaps are there where a marker is away for longer than one lets Pose2Sim interpolate, and chooses
# to fill long gaps with NaN. The page says "Deals with nans" of the plain filter and nothing of this one. What it costs: each
# marker is shifted by its own gaps, so that bones change their length in mid-recording, by decimetres, and no NaN tells where.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 matplotlib==3.11.2 \
  statsmodels==0.15.0 filterpy==2.0.0 anytree==2.13.0 c3d==0.6.0 rtoml==0.14.0 opencv-python-headless==5.0.0.93 tqdm
"$folder/env/bin/pip" install --quiet --disable-pip-version-check --no-deps pose2sim==0.10.49
cd "$folder"
MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W ignore - <<'PYTHON'
import logging
from importlib.metadata import version

import numpy as np
import pandas as pd

logging.disable()
from Pose2Sim.filtering import filter1d  # noqa: E402

# Stands for a second, speeds up over another, walks at 1.2 m/s; hidden for 50 frames at 60 Hz.
second = np.arange(0, 6, 1 / 60)
speed = 1.2 * np.clip(second - 1, 0, 1)
hip = 3 + np.cumsum(speed) / 60 + 0.02 * np.sin(2 * np.pi * second)
seen = pd.Series(hip + 0.0005 * np.random.default_rng(0).standard_normal(len(hip)))
seen[180:230] = np.nan
for kind in ("butterworth", "kalman", "one_euro", "acc_minimizing", "gcv_spline", "loess", "butterworth_on_speed"):
    filtered = filter1d(seen.copy(), {"filtering": {}}, kind, 60)
    off = np.abs(filtered - hip)
    print(f"pose2sim {version('pose2sim')}, {kind}: {filtered.isna().sum()} NaN of 50; off by up to {off[:180].max():.3f} m "
          f"before the gap and {off[230:].min():.3f} to {off[230:].max():.3f} m after")
    if kind == "butterworth_on_speed":
        assert filtered.isna().sum() == 0 and off[:180].max() < 0.02, "changed: the gap stays, or it is off before the gap"
        assert 0.8 < off[230:].min() and off[230:].max() < 1.1, "changed: no shift after the gap, or another one"
    else:
        assert filtered.isna().sum() == 50 and off.max() < 0.05, "changed: another filter fills the gap or shifts"
PYTHON
