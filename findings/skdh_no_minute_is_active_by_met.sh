#!/usr/bin/env bash
# By scikit-digital-health's cut points in MET ("white_met") nobody is ever active: a runner's two hours are sedentary.
#
# scikit-digital-health 0.17.18, seen 2026-11-30. Guessed: two hours of running are moderate or vigorous by any of its cut
# points for adults, as by "migueles_wrist_adult", which finds 120 minutes. Seen: 0 minutes by "white_met", one of those that
# `get_available_cutpoints` lists. Its formula (-10.58 + 1.1176 x + ...) is given x in g, as its page has it ("acceleration
# values in g"), so that rest is -0.15 MET, running -0.11, and 16 g above rest in every second of a minute 0.27, where "light"
# begins at 1.5; with x in thousandths of g, for which the formula must be, the run is 6.0 MET. What it costs: a study of
# activity by MET reports 0 minutes of moderate and vigorous activity for each person and day, with no warning; as a feature,
# the MET of all activity lies within 0.05 of that of rest.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check scikit-digital-health==0.17.18 numpy==2.4.6 scipy==1.17.1 \
    pandas==3.1.1
cd "$folder"
MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from skdh.activity import ActivityLevelClassification
from skdh.activity.metrics import metric_enmo, metric_enmo_met
from skdh.preprocessing import GetDayWindowIndices

RATE, HOUR = 20, 3600
time = 1772409600 + np.arange(24 * HOUR * RATE) / RATE  # One day from midnight.
hour = np.arange(len(time)) / RATE / HOUR
runs = (hour > 10) & (hour < 12)
acceleration = np.tile([0.0, 0.0, 1.0], (len(time), 1))
acceleration[runs, 2] += 1.2 * np.sin(2 * np.pi * 2.5 * time[runs])
days = GetDayWindowIndices(bases=[0], periods=[24]).predict(time=time, fs=RATE)["day_ends"]
minutes = {}
for name in ("migueles_wrist_adult", "white_met"):
    found = ActivityLevelClassification(cutpoints=name, day_window=(0, 24)).predict(
        time=time, accel=acceleration, fs=RATE, day_ends=days
    )
    (key,) = (key for key in found if key.startswith("wake MVPA") and "epoch" in key)
    minutes[name] = float(found[key][0])

minute = np.ones((60 * RATE, 3)) / np.sqrt(3)
met = {f"{g} g": round(float(metric_enmo_met(g * minute, fs=RATE)[0]), 2) for g in (1, 2, 4, 8, 17)}
met["running"] = round(float(metric_enmo_met(acceleration[runs][: 60 * RATE], fs=RATE)[0]), 2)
x = 1000 * metric_enmo(acceleration[runs][: 60 * RATE], wlen=RATE).max()
met["running, by thousandths"] = round(float((-10.58 + 1.1176 * x + 2.9418 * x**0.5 - 0.00059277 * x**2) / 71.255), 2)
print(f"scikit-digital-health {version('scikit-digital-health')}: active minutes of 120 {minutes}; MET {met}")
assert abs(minutes["migueles_wrist_adult"] - 120) < 2, "changed: other cut points miss the run"
assert minutes["white_met"] == 0, "changed: the run is found"
assert met.pop("running, by thousandths") > 3 and met["running"] < 0, "changed: the formula gets thousandths of g"
assert max(met.values()) < 1.5, "changed: some acceleration is more than sedentary"
PYTHON
