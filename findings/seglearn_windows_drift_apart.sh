#!/usr/bin/env bash
# Windows of one second that overlap by 90 % start every 0.09 s in seglearn at 100 Hz, and every 0.08 s at 50 Hz, not every
# 0.1 s.
#
# seglearn 1.2.5, seen 2026-11-30. Guessed: of windows of 100 samples with an overlap of 0.9, each starts 10 samples after the
# one before. Seen: 9 samples. The step is the width times (1 - overlap), cut down to a whole number, and in floating point
# 100 * (1 - 0.9) is 9.999999999999998; a width of 50 gives 4 for 5, and an overlap of 0.8 gives 19 for 20; 0.5 and 0.7 are
# right. What it costs: the time of window k, taken as k steps of 0.1 s, is 10 % off at 100 Hz, six seconds after a minute; and
# where the IMU has 100 Hz and the skeleton 50, and each is cut into windows of one second with the same overlap, window 100 of
# one is a second later than window 100 of the other, which a fusion takes for the same moment. `step=10` is right.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check seglearn==1.2.5 \
    numpy==2.4.6 pandas==3.0.6 scipy==1.17.1 scikit-learn==1.9.1
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
from fractions import Fraction
from importlib.metadata import version

import numpy as np
from seglearn.transform import Segment


def starts(rate: int, seconds: int = 20, **options) -> np.ndarray:
    """The first time in each window of one second, where every sample holds its own time."""
    times = np.arange(seconds * rate) / rate
    windows, _, _ = Segment(width=rate, **options).fit_transform([times[:, None]], [0])
    return windows[:, 0, 0]


print(f"seglearn {version('seglearn')}")
steps = {}
for rate in (100, 50):
    for overlap in ("0.5", "0.7", "0.8", "0.9"):
        exact = int(rate * (1 - Fraction(overlap)))
        steps[rate, overlap] = (round(float(starts(rate, overlap=float(overlap))[1]) * rate), exact)
print("samples from window to window, and by exact numbers:", steps)
wrong = {key for key, (step, exact) in steps.items() if step != exact}
assert wrong == {(100, "0.8"), (100, "0.9"), (50, "0.8"), (50, "0.9")}, "changed: the wrong steps are others"
imu, skeleton = starts(100, overlap=0.9), starts(50, overlap=0.9)
print(f"window 100: the IMU's at {imu[100]:.2f} s, the skeleton's at {skeleton[100]:.2f} s; {len(imu)} and {len(skeleton)}")
assert np.isclose(imu[100], 9) and np.isclose(skeleton[100], 8), "changed: the windows do not drift apart"
assert np.isclose(starts(100, step=10)[100], 10) and np.isclose(starts(50, step=5)[100], 10), "changed: `step` is wrong too"
PYTHON
