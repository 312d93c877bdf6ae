#!/usr/bin/env bash
# KielMAT's Butterworth low-pass at 5 Hz, for a signal of 100 Hz, cuts at 0.1 Hz: of a walk, gravity is left.
#
# kielmat 0.0.5 and scipy 1.17.1, seen 2026-11-30. Guessed: `lowpass_filter(signal, method="butter", order=4, cutoff_freq_hz=5,
# sampling_rate_hz=100)` keeps what is slower than 5 Hz. Seen: the cutoff is divided by half of the rate, and scipy has the rate
# as well and so takes the quotient for Hz: 5 Hz are 0.1, and at 200 Hz they are 0.05. An oscillation of 1 Hz and 2 m/s2, a step
# rate, keeps one hundredth, or less, of its size; the mean is right, so that a look at the level of the signal finds nothing
# wrong. The docstring says only "apply a low-pass filter"; the defaults, 5 Hz of 200, are hit likewise. No open or closed
# thread about it was found. What it costs: features of movement that are those of posture: every action without a change of
# posture looks like standing, and peaks and step counts are gone. The package's own activity measure calls the filter so.
# `scipy.signal.butter(4, 5, fs=100)` with filtfilt, as here, is what one means.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check matplotlib==3.11.2 numpy==2.4.6 pandas==3.1.1 \
    pywavelets==1.9.0 scipy==1.17.1
"$folder/env/bin/pip" install --quiet --disable-pip-version-check --no-deps kielmat==0.0.5
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from kielmat.utils.preprocessing import lowpass_filter
from scipy.signal import butter, filtfilt

CUTOFF = 5
for rate in (100, 200):
    time = np.arange(0, 120, 1 / rate)
    middle = slice(len(time) // 4, -len(time) // 4)

    def kept(hertz: float, by_hand: bool = False) -> tuple[float, float]:
        """The mean, and the part of the amplitude that is left, of gravity with an oscillation of 2 m/s2."""
        signal = 9.81 + 2 * np.sin(2 * np.pi * hertz * time)
        if by_hand:
            filtered = filtfilt(*butter(4, CUTOFF, fs=rate), signal)
        else:
            filtered = lowpass_filter(signal, method="butter", order=4, cutoff_freq_hz=CUTOFF, sampling_rate_hz=rate)
        return float(filtered[middle].mean()), float(np.ptp(filtered[middle]) / 4)

    step, slow, right = kept(1), kept(2 * CUTOFF / rate), kept(1, by_hand=True)
    print(f"kielmat {version('kielmat')}, {rate} Hz, cutoff {CUTOFF} Hz: of 1 Hz is left {step[1]:.4f} about {step[0]:.2f}, "
          f"of {2 * CUTOFF / rate} Hz {slow[1]:.3f}; by hand, of 1 Hz {right[1]:.4f}")
    assert right[1] > 0.99, "the example itself is wrong"
    assert step[1] < 0.05, "changed: an oscillation far below the cutoff is kept"
    assert 0.4 < slow[1] < 0.6, "changed: the cutoff is elsewhere"
    assert abs(step[0] - 9.81) < 0.05, "changed: the mean is off as well"
PYTHON
