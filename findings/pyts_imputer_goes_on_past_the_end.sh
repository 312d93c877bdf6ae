#!/usr/bin/env bash
# A wrist that is hidden for the last second leaves the room by pyts' InterpolationImputer: 1.7 m by line, 1.5 km by cubic.
#
# pyts 0.14.1 and pandas 3.1.1, seen 2026-11-30. Guessed: "impute missing values using interpolation" fills what lies between
# two seen frames; before the first and after the last one the value is held, as by pandas' `interpolate`, or stays NaN. Seen:
# the line, or curve, through the frames at the edge goes on for as long as the gap is. A wrist that swings by half a metre with
# 2 mm of noise, seen for 2 s and hidden for 1 s at 100 Hz, ends 1.8 m away from where it is with "linear", the default, whose
# slope is that of the last two frames, and with it of their noise, 16 m with "quadratic" and 1.5 km with "cubic"; so does a
# hidden beginning. The example of the page has one such value, 2 after 8, 6 and 4, and the text does not mention it. What it
# costs: no NaN is left; a distance that grows with the gap gets into means, scalings and every distance between recordings, so
# that those with a hidden end are far from all others. "previous", "next" and "nearest" hold the last value.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pyts==0.14.1 numpy==2.4.6 scipy==1.17.1 \
    scikit-learn==1.9.1 pandas==3.1.1
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import pandas as pd
from pyts.preprocessing import InterpolationImputer

RATE, SEEN = 100, 200
time = np.arange(300) / RATE
wrist = 0.5 * np.sin(np.pi * time) + 0.002 * np.random.default_rng(0).normal(size=len(time))
middle, end, beginning = wrist.copy(), wrist.copy(), wrist.copy()
middle[140:160], end[SEEN:], beginning[:100] = np.nan, np.nan, np.nan


def off(filled):
    return round(float(np.abs(np.ravel(filled) - wrist).max()), 2)


print(f"pyts {version('pyts')}, greatest error in m:")
errors = {}
for strategy in ("linear", "quadratic", "cubic", "previous"):
    fill = InterpolationImputer(strategy=strategy).transform
    errors[strategy] = [off(fill(recording[None])) for recording in (middle, end, beginning)]
    print(f"  {strategy}: hidden in the middle, at the end, at the beginning {errors[strategy]}")
held = off(pd.Series(end).interpolate())
print(f"  pandas, at the end {held}")
assert max(errors[strategy][0] for strategy in ("linear", "quadratic", "cubic")) < 0.1, "changed: wrong between seen frames"
assert errors["linear"][1] > 1 and errors["quadratic"][1] > 5 and errors["cubic"][1] > 500, "changed: the end is held"
assert errors["cubic"][2] > 10, "changed: the beginning is held"
assert errors["previous"][1] < 0.6 and held < 0.6, "changed: these no longer hold the last value"
PYTHON
