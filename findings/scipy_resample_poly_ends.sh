#!/usr/bin/env bash
# scipy.signal.resample_poly takes a recording to be 0 before its beginning and after its end.
#
# scipy 1.17.1, seen 2026-11-29. Guessed: ends are continued, as filtfilt and decimate do, or off by little. Seen: a
# constant 9.81 of 50 samples, brought to twice the rate, ends in 4.90 and has 11.12 next to its first; 13 of 100
# samples are off by more than 1 %. padtype="line" keeps all to 0.05 %. What it costs: every window of an
# accelerometer that is resampled after it was cut gets a jerk of up to 13 % of gravity at its ends (half of gravity
# in its last sample).
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import numpy as np
import scipy
from scipy import signal

gravity = np.full(50, 9.81)
default, line = signal.resample_poly(gravity, 2, 1), signal.resample_poly(gravity, 2, 1, padtype="line")
off = np.abs(default / 9.81 - 1)
many = int((off > 0.01).sum())
print(f"scipy {scipy.__version__}: first {default[:3].round(2)}, last {default[-2:].round(2)}; {many} of 100 samples off by "
      f"more than 1 %; with padtype='line' at most {np.abs(line / 9.81 - 1).max():.2%}")
assert many == 13 and abs(default[-1] - 4.90) < 0.01 and abs(default[1] - 11.12) < 0.01, "changed: the ends are others"
assert np.abs(line / 9.81 - 1).max() < 0.002, "changed: padtype='line' no longer keeps a constant"
PYTHON
