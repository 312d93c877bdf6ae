#!/usr/bin/env bash
# biomechzoo filters the second recording of a batch with the rate of the first: a cutoff of 6 Hz is one of 24 at four times the
# rate.
#
# biomechzoo 0.8.25, numpy 2.2.6 and scipy 1.17.1, seen 2026-12-01. Guessed: `filter_data(data, channels, filt)` takes the rate
# from the recording, that of the video for its channels and that of the analog ones for theirs, and leaves `filt` as it was.
# Seen: it writes the rate of the first channel into the caller's `filt`, and from then on does not look again: of an
# oscillation of 20 Hz a filter at 6 Hz leaves 0.2 % in a recording of 100 Hz, and 82 % in one of 400 Hz that is filtered after
# it with the same settings (0.06 % with settings of its own). So within one call without settings, if analog channels come
# after those of the video: a signal of 10 Hz in an analog channel of 1000 Hz is kept whole by a filter at 10 Hz, which leaves
# half of it if it comes first. `filtfilt=False`, which is on the page of `filter_line`, does nothing: it filters in both
# directions. No thread about it was found. What it costs: one dictionary for a whole study, as in the page's own manner of use,
# filters each recording as the first one's rate would have it, and the order of the files decides; no error as long as the
# cutoff is below half of that rate.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
# The package itself asks for Python 3.11 and for a server of web pages, which the filters do not need.
"$folder/env/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 scipy==1.17.1 pandas==2.3.3 matplotlib==3.10.9 \
  ezc3d==1.7.2 statsmodels==0.14.6 PyWavelets==1.9.0 EMD-signal==1.10.0 requests==2.34.2
"$folder/env/bin/pip" install --quiet --disable-pip-version-check --no-deps --ignore-requires-python biomechzoo==0.8.25 \
  kielmat==0.0.5 EntropyHub==2.0 pyCompare==1.5.4
cd "$folder"
MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from biomechzoo.biomech_ops.filter_data import filter_data
from biomechzoo.biomech_ops.filter_line import filter_line


def recording(rate: int) -> dict:
    """Ten seconds of a knee angle at the rate of the video, and of an accelerometer at 1000 Hz."""
    video, analog = np.arange(0, 10, 1 / rate), np.arange(0, 10, 0.001)
    return {
        "zoosystem": {"Video": {"Channels": ["knee"], "Freq": rate}, "Analog": {"Channels": ["acc"], "Freq": 1000}},
        "knee": {"line": np.sin(2 * np.pi * video) + np.sin(2 * np.pi * 20 * video), "event": {}},
        "acc": {"line": np.sin(2 * np.pi * 10 * analog), "event": {}},
    }


def left(data: dict, channel: str, hertz: int) -> float:
    """How large the oscillation of so many hertz is, of 1 before."""
    line = data[channel]["line"]
    return float(np.abs(np.fft.rfft(line))[10 * hertz] / len(line) * 2)


settings = {"ftype": "butter", "order": 4, "cutoff": 6, "btype": "lowpass", "filtfilt": True}
alone = {rate: left(filter_data(recording(rate), "knee", dict(settings)), "knee", 20) for rate in (100, 200, 400)}
shared = {rate: left(filter_data(recording(rate), "knee", settings), "knee", 20) for rate in (100, 200, 400)}
print(f"biomechzoo {version('biomechzoo')}: left of 20 Hz after 6 Hz: with settings of their own {alone},")
print(f"with shared ones {shared}")
print(f"the settings afterwards: {settings}")
orders = ["knee", "acc"], ["acc", "knee"]
after_video, before_video = (left(filter_data(recording(100), channels), "acc", 10) for channels in orders)
print(f"left of 10 Hz at 1000 Hz after 10 Hz: {after_video:.3f} as the second channel, {before_video:.3f} as the first")
line = recording(100)["knee"]["line"]
both, one = (filter_line(line, {**settings, "fs": 100, "filtfilt": way}) for way in (True, False))
print(f"filtfilt False is as True: {np.array_equal(both, one)}")
assert max(alone.values()) < 0.02, "changed: a filter with its own settings"
assert settings["fs"] == 100 and shared[200] > 0.01 and 0.75 < shared[400] < 0.9, "changed: each recording has its own rate"
assert after_video > 0.99 and before_video < 0.6, "changed: each channel has its own rate"
assert np.array_equal(both, one), "changed: filtfilt is read"
PYTHON
