#!/usr/bin/env bash
# pyEDFlib fills the last data record with zeros, and a sensor's odd rate makes that record 13.5 s long.
#
# pyEDFlib 0.1.42, seen 2026-11-29. Guessed: what is read back has as many samples as were written, or up to one
# second more. Seen: 10.0 s at 148.148 Hz (the rate of a common wireless EMG and IMU sensor) come back as 13.5 s: 1482
# samples written, 2002 read, the last 520 within one digital step of 0, without a warning. At 100 Hz 250 samples come
# back as 300. What it costs: the reader cannot tell these zeros from a signal at rest: every recording ends in up to
# 13.5 s of stillness in which no gravity acts.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pyEDFlib==0.1.42 numpy==2.4.6
cd "$folder"
"$folder/env/bin/python" -W error - <<'PYTHON'
import numpy as np
import pyedflib

found = {}
for rate, samples in ((148.148, 1482), (100, 250)):
    file = f"{rate}.edf"
    writer = pyedflib.EdfWriter(file, 1, pyedflib.FILETYPE_EDFPLUS)
    writer.setSignalHeader(0, {
        "label": "acc", "dimension": "g", "sample_frequency": rate, "physical_min": -16, "physical_max": 16,
        "digital_min": -32768, "digital_max": 32767, "transducer": "", "prefilter": "",
    })
    writer.writeSamples([np.full(samples, 1.0)])
    writer.close()
    with pyedflib.EdfReader(file) as reader:
        read = reader.readSignal(0)
        found[rate] = len(read), int((np.abs(read) < 1e-3).sum())
        print(f"pyEDFlib {pyedflib.__version__}: {samples} samples at {rate} Hz; read {len(read)} at "
              f"{reader.getSampleFrequency(0):.6f} Hz, {found[rate][1]} of them about 0")
assert found == {148.148: (2002, 520), 100: (300, 50)}, "changed: other lengths"
PYTHON
