#!/usr/bin/env bash
# An IMU of 50 Hz that drops out for eight seconds gets times from pyxdf that are wrong by up to four seconds; a sensor of
# 500 Hz gets right ones.
#
# pyxdf 1.17.5, seen 2026-11-30. Guessed: by default `load_xdf` takes away the jitter on both sides of a gap and keeps the gap,
# as `jitter_break_threshold_seconds` is 1. Seen: a gap counts only if it is longer than 500 samples as well, which are 1 s of
# an EEG at 500 Hz, but 10 s of an IMU at 50 Hz. A shorter one is spread over all samples by one straight line: in a recording
# of ten minutes whose IMU is away for 8 s, the samples beside the gap are off by 4 s, and half of all by 1.5 s or more. It
# warns where it finds a gap, and here not at all. What it costs: IMU and skeleton, or IMU and labels, of one file no longer
# belong together. `dejitter_timestamps=False`, or a threshold of, say, 10 samples, gives the right times.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pyxdf==1.17.5 numpy==2.4.6
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import logging
import struct
from importlib.metadata import version

import numpy as np
import pyxdf

warned: list[str] = []
handler = logging.Handler(logging.WARNING)
handler.emit = lambda record: warned.append(record.getMessage())
logging.getLogger().addHandler(handler)


def chunk(tag: int, content: bytes) -> bytes:
    return struct.pack("<BIH", 4, len(content) + 2, tag) + content


def write(path: str, times: np.ndarray, rate: int) -> None:
    """One stream, one channel, a time with every sample, and two clocks that agree."""
    about = f"<name>IMU</name><type>Acc</type><channel_count>1</channel_count><nominal_srate>{rate}</nominal_srate>"
    about += "<channel_format>float32</channel_format>"
    samples = b"".join(struct.pack("<Bdf", 8, time, 9.81) for time in times)
    with open(path, "wb") as file:
        file.write(b"XDF:" + chunk(1, b"<info><version>1.0</version></info>"))
        file.write(chunk(2, struct.pack("<I", 1) + f"<info>{about}</info>".encode()))
        file.write(chunk(3, struct.pack("<IBI", 1, 4, len(times)) + samples))
        for time in np.arange(0, 600, 5.0):
            file.write(chunk(4, struct.pack("<Idd", 1, time, 0.0)))
        file.write(chunk(6, struct.pack("<I", 1) + b"<info/>"))


def off(rate: int, **options) -> np.ndarray:
    """By how much the times are wrong."""
    times = np.arange(600 * rate) / rate
    times = times[(times < 300) | (times >= 308)]
    write("one.xdf", times, rate)
    [stream], _ = pyxdf.load_xdf("one.xdf", **options)
    return np.abs(stream["time_stamps"] - times)


slow, silent, fast = off(50), list(warned), off(500)
as_sent, tighter = off(50, dejitter_timestamps=False), off(50, jitter_break_threshold_samples=10)
print(f"pyxdf {version('pyxdf')}, off by at most: {slow.max():.2f} s at 50 Hz, {fast.max():.2f} s at 500 Hz")
print(f"50 Hz: median {np.median(slow):.2f} s, warned {silent}; as sent {as_sent.max():.2f}, 10 samples {tighter.max():.2f}")
assert slow.max() > 3.5 and np.median(slow) > 0.5, "changed: a gap of 8 s at 50 Hz keeps its place"
assert max(fast.max(), as_sent.max(), tighter.max()) < 0.001, "changed: the other times are wrong too"
assert not silent, "changed: it warns"
PYTHON
