#!/usr/bin/env bash
# Kinetics Toolkit writes a recording of 600 frames at 120 Hz as one of 72 000 Hz.
#
# kineticstoolkit 0.17.0 and trc-data-reader 0.4.1, seen 2026-11-30. Guessed: the header of a TRC file that `write_trc_file`
# wrote says DataRate 120, for whoever reads it. Seen: it says 72000, the rate times the number of frames (so do CameraRate and
# OrigDataRate), and each recording has another. The column of times is right, but to a millisecond only: the first two frames
# are 0.008 s apart, which is 125 Hz. What it costs: a reader gives the rate of the header; speeds that are made with it are
# 600 times too high, a filter at 6 Hz does nothing, and two recordings of one camera seem to be of different rates. Its page
# says that the function may move some day, and nothing of the rate.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check kineticstoolkit==0.17.0 trc-data-reader==0.4.1 numpy==2.4.6
cd "$folder"
MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import kineticstoolkit as ktk
import numpy as np
from trc import TRCData

RATE, SPEED = 120, 1.2  # Hz and m/s
print(f"kineticstoolkit {version('kineticstoolkit')}, trc-data-reader {version('trc-data-reader')}")
for frames in (60, 600):
    time = np.arange(frames) / RATE
    hip = np.stack([SPEED * time, np.ones(frames), np.zeros(frames), np.ones(frames)], axis=1)
    walk = ktk.TimeSeries(time=time, data={"HIP": hip})
    assert abs(walk.get_sample_rate() - RATE) < 1e-6, "the recording itself has another rate"
    ktk.kinematics.write_trc_file(walk, "walk.trc")
    read = TRCData()
    read.load("walk.trc")
    rates = {key: read[key] for key in ("DataRate", "CameraRate", "OrigDataRate")}
    speed = np.diff([place[0] for place in read["HIP"]]).mean() * read["DataRate"]
    print(f"{frames} frames at {RATE} Hz: {rates}, first times {read['Time'][:3]}, speed by them {speed:.1f} m/s, true {SPEED}")
    assert all(abs(rate - RATE * frames) < 1 for rate in rates.values()), "changed: the file has another rate"
    assert read["Time"][:3] == [0, 0.008, 0.017], "changed: the times are written otherwise"
    assert abs(speed / SPEED - frames) < 0.1, "changed: the speed is not wrong by the number of frames"
PYTHON
