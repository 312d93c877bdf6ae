#!/usr/bin/env bash
# The feature RMS of scikit-digital-health is 0 for an accelerometer at rest: it is the standard deviation.
#
# scikit-digital-health 0.17.18, seen 2026-11-30. Guessed: `RMS` is, as its page says, "the root mean square value of the
# signal": 9.81 for gravity alone, and for walking the root of gravity's square plus the movement's. Seen: the mean is taken
# away first, and what is left is divided by one less than the number of samples: 0 for gravity, 0.707 for a sine of 1 m/s2 on
# top of it (9.84 is right), the same as `StdDev` in every case. What it costs: an axis that points down and one that lies
# level have the same RMS, so that it tells nothing of posture; a bank of features has one column twice; thresholds of a paper
# that has them by RMS are never met.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check scikit-digital-health==0.17.18 numpy==2.4.6 scipy==1.17.1
cd "$folder"
MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from skdh.features import RMS, StdDev

GRAVITY = 9.81
step = np.sin(2 * np.pi * 2 * np.arange(0, 10, 0.01))
print(f"scikit-digital-health {version('scikit-digital-health')}; its page: {RMS.__doc__.strip()}")
for name, signal in {"rest, axis down": GRAVITY + 0 * step, "rest, axis level": 0 * step, "walking": GRAVITY + step}.items():
    got, deviation, true = float(RMS().compute(signal)), float(StdDev().compute(signal)), np.sqrt(np.mean(signal**2))
    print(f"{name}: RMS {got:.3f}, standard deviation {deviation:.3f}, root of the mean square {true:.3f}")
    assert "root mean square" in RMS.__doc__, "changed: the page says something else"
    assert abs(got - np.std(signal, ddof=1)) < 1e-9 and abs(got - deviation) < 1e-9, "changed: RMS is no standard deviation"
    assert name == "rest, axis level" or abs(got - true) > 9, "changed: RMS is the root of the mean square"
PYTHON
