#!/usr/bin/env bash
# After biomechzoo took tilt and gravity away from an accelerometer, the raw channels of the recording are other ones: in g.
#
# biomechzoo 0.8.25, numpy 2.2.6 and scipy 1.17.1, seen 2026-12-01. Guessed: `tilt_algorithm_data` adds three channels, tilt
# corrected and without gravity, to those that it read, and leaves these as they are. Seen: what
# it does on the way to the result it does in the arrays of the recording: raw channels in m/s2 are in g after the call, and
# those of a sensor that is upside down have the vertical and the sideways axis turned round. The page says that the result is
# added, and that means above 5 m/s2 are "corrected"; that this is done to the raw channels it does not say. The corrected
# channels are right, in g, but not for m/s2 upside down, where -9.81 is not above 5: the turned signal is taken for g, and
# gravity is left in it: means of 3.9, 4.3 and -8.3 in place of 0. No thread about it was found. What it costs: whatever is made
# from the raw channels after the call (magnitudes, impacts, thresholds in m/s2) is smaller by a factor of 9.81, and sideways
# movement of the other sign, than what was made before it; saved, the file has other raw data under the old names, with no unit
# to tell.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
# The package itself asks for Python 3.11 and for a server of web pages, which this does not need.
"$folder/env/bin/pip" install --quiet --disable-pip-version-check numpy==2.2.6 scipy==1.17.1 pandas==2.3.3 matplotlib==3.10.9 \
  ezc3d==1.7.2 statsmodels==0.14.6 PyWavelets==1.9.0 EMD-signal==1.10.0 requests==2.34.2
"$folder/env/bin/pip" install --quiet --disable-pip-version-check --no-deps --ignore-requires-python biomechzoo==0.8.25 \
  kielmat==0.0.5 EntropyHub==2.0 pyCompare==1.5.4
cd "$folder"
MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from biomechzoo.imu.tilt_algorithm import tilt_algorithm_data

NAMES = "vertical", "sideways", "forward"
found = {}
for gravity in (9.81, -9.81, 1.0, -1.0):
    unit, random = abs(gravity), np.random.default_rng(0)
    means = gravity, 0.05 * unit, 0.095 * unit
    data = {name: {"line": mean + 0.1 * unit * random.standard_normal(1000), "event": {}} for name, mean in zip(NAMES, means)}
    data["zoosystem"] = {"Video": {"Channels": list(NAMES), "Freq": 100}, "Analog": {"Channels": [], "Freq": 1000}}
    data = tilt_algorithm_data(data, *NAMES)
    raw, corrected = ([float(data[name + end]["line"].mean().round(2)) for name in NAMES] for end in ("", "_tilt_corr"))
    found[gravity] = raw, corrected
    print(f"biomechzoo {version('biomechzoo')}: raw means {np.round(means, 2).tolist()} before, {raw} after the call; "
          f"corrected {corrected}")
for gravity in (9.81, 1.0, -1.0):
    assert np.abs(found[gravity][1]).max() < 0.05, "changed: upright, or upside down in g"
assert np.allclose(found[-9.81][1], (3.91, 4.33, -8.33), atol=0.02), "changed: upside down in m/s2"
assert abs(found[9.81][0][0] - 1) < 0.05, "changed: raw channels in m/s2 stay"
assert abs(found[-1.0][0][0] - 1) < 0.05 and abs(found[-1.0][0][1] + 0.05) < 0.02, "changed: raw channels upside down stay"
PYTHON
