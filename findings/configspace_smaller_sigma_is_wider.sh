#!/usr/bin/env bash
# For a knob on a log scale, ConfigSpace's normal prior with sigma 1 is one value, and the wider, the smaller sigma is.
#
# ConfigSpace 1.2.2, seen 2026-11-30. Guessed: for a learning rate from 1e-4 to 0.1 with `log=True`, whose page says that values
# are "sampled on a log-scale", mu 0.01 and sigma 1 are a bell about 0.01 with a deviation of 1 in the logarithm, or of 1 in the
# rate itself; whichever, a smaller sigma is a narrower bell. Seen: mu is a value, and the bell's width in the logarithm is that
# of sigma's own logarithm: |ln 0.1| = 2.3 for 0.1, 4.6 for 0.01, and 0 for 1: 90 % of the samples are between 0.009998 and
# 0.010002. 10 and 0.1 give the same. The pages of `Normal` and NormalFloatHyperparameter call sigma the standard deviation
# only. Without `log` it is one. What it costs: with sigma 1 the search never varies the knob, with 0.01, meant to stay near
# 0.01, it is nearly uniform, and the prior that a paper names is not the one that was used; there is no error or warning. Look
# at a few hundred samples first, or make the logarithm the parameter.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check ConfigSpace==1.2.2 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from ConfigSpace import ConfigurationSpace, Float, Normal


def samples(log, sigma, number=3000):
    space = ConfigurationSpace(seed=0)
    space.add(Float("rate", (1e-4, 0.1), log=log, distribution=Normal(0.01, sigma)))
    return np.array([configuration["rate"] for configuration in space.sample_configuration(number)])


print(f"ConfigSpace {version('ConfigSpace')}: rate from 1e-4 to 0.1, mu 0.01")
widths = {}
for sigma in (1.0, 2.0, 10.0, 0.5, 0.1, 0.01):
    found = samples(True, sigma)
    widths[sigma] = float(np.std(np.log10(found)))
    low, middle, high = np.quantile(found, [0.05, 0.5, 0.95])
    print(f"  log, sigma {sigma}: 5, 50 and 95 % {low:.6f}, {middle:.6f}, {high:.6f}; deviation of log10 {widths[sigma]:.5f}")
plain = {sigma: float(np.std(samples(False, sigma))) for sigma in (0.001, 0.002)}
print(f"  not log, deviations by sigma {plain}")
uniform = 3 / np.sqrt(12)  # The deviation of log10 of what is uniform over the three decades.
assert widths[1.0] < 0.001, "changed: sigma 1 is more than one value"
assert widths[0.01] > widths[0.1] > widths[0.5] > widths[1.0], "changed: a smaller sigma is narrower"
assert abs(widths[10.0] - widths[0.1]) < 0.05 and widths[0.01] > 0.9 * uniform, "changed: not |ln sigma|"
assert all(np.isclose(width, sigma, rtol=0.05) for sigma, width in plain.items()), "changed: not the deviation without log"
PYTHON
