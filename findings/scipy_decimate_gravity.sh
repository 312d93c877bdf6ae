#!/usr/bin/env bash
# scipy.signal.decimate makes a constant signal 1.1 % smaller: gravity of 9.81 m/s2 becomes 9.70.
#
# scipy 1.17.1, seen 2026-11-29. Guessed: a low-pass filter leaves a constant as it is, but perhaps at the ends. Seen:
# its default filter, Chebyshev of order 8 with 0.05 dB of ripple, has -0.05 dB at frequency 0, as every even order
# has, and it goes over the signal twice: 10 ** (-0.1 / 20) = 0.98855 of it is left, in every sample. An odd order
# (n=7) keeps the constant. What it costs: an accelerometer brought from 100 to 50 Hz by it differs by 1.1 % from one
# that was recorded at 50 Hz, which a network tells apart as a device, and tilt and energy are wrong by as much.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
"$folder/env/bin/python" - <<'PYTHON'
import numpy as np
import scipy
from scipy import signal

gravity = np.full(1000, 9.81)
default, odd = signal.decimate(gravity, 2), signal.decimate(gravity, 2, n=7)
print(f"scipy {scipy.__version__}: 9.81 becomes {default.min():.4f} to {default.max():.4f}; "
      f"with n=7 {odd.min():.4f} to {odd.max():.4f}")
assert np.allclose(default, 9.81 * 10 ** (-0.1 / 20), atol=1e-3), "changed: the default keeps another share"
assert np.allclose(odd, 9.81, atol=1e-3), "changed: an odd order no longer keeps a constant"
PYTHON
