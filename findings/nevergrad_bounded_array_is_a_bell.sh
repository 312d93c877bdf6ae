#!/usr/bin/env bash
# Nevergrad's random search over an array with bounds hardly looks near them: 1 sample in 140 is in the lowest tenth.
#
# nevergrad 1.0.12, seen 2026-11-30. Guessed: `RandomSearch` over `ng.p.Array(shape=(4,), lower=0, upper=1)` is uniform, as
# over `ng.p.Scalar(lower=0, upper=1)`: its page says that it samples "uniformly between bounds", and that of `set_bounds`
# that this is so by default if both bounds are given. Seen: bounds that are given to the constructor make a bell around the
# middle, a sixth of the range wide: 0.7 % of the samples are in the lowest tenth and 23 % in each tenth beside the middle.
# The same array with `.set_bounds(0, 1)` is uniform, and so is a Scalar, but not one that has an `init` as well. With
# `set_integer_casting`, such an array of 1 to 4 gives 1 and 4 in 2 % of the cases each, and a Scalar in 17 %, as the two end
# values have half of the room of the others (its page advises against small ranges, and does not say this). What it costs: a
# baseline "random search" that never tries the end of a range: where the best weight of a loss is in the outer tenth, other
# methods seem better than they are, or the weight seems not to matter. Take Scalars, or `set_bounds`, and TransitionChoice
# for a few whole numbers.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check nevergrad==1.0.12 numpy==2.4.6 pandas==3.1.1 \
    scikit-learn==1.9.1 scipy==1.17.1
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import nevergrad as ng
import numpy as np

SAMPLES = 4000
spaces = {
    "Array(lower, upper)": ng.p.Array(shape=(2,), lower=0, upper=1),
    "Array.set_bounds": ng.p.Array(init=np.full(2, 0.5)).set_bounds(0, 1),
    "Scalar(lower, upper)": ng.p.Scalar(lower=0, upper=1),
    "Scalar(init, lower, upper)": ng.p.Scalar(init=0.5, lower=0, upper=1),
    "whole Array": ng.p.Array(shape=(2,), lower=1, upper=4).set_integer_casting(),
    "whole Scalar": ng.p.Scalar(lower=1, upper=4).set_integer_casting(),
}
samples = {}
for name, space in spaces.items():
    space.random_state.seed(0)
    search = ng.optimizers.RandomSearch(space, budget=SAMPLES)
    samples[name] = np.ravel([search.ask().value for _ in range(SAMPLES)])
print(f"nevergrad {version('nevergrad')}, shares of {SAMPLES} samples:")
for name in list(spaces)[:4]:
    print(f"  {name}: by tenths {(np.histogram(samples[name], 10, (0, 1))[0] / len(samples[name])).round(3).tolist()}")
for name in list(spaces)[4:]:
    print(f"  {name}: of 1 to 4 {(np.bincount(samples[name].astype(int))[1:] / len(samples[name])).round(3).tolist()}")

outer = {name: float(np.mean(np.abs(samples[name] - 0.5) > 0.25)) for name in list(spaces)[:4]}
lowest = {name: float(np.mean(samples[name] < 0.1)) for name in list(spaces)[:4]}
print(f"in the outer half {outer}, in the lowest tenth {lowest}")
assert outer["Array(lower, upper)"] < 0.2 and lowest["Array(lower, upper)"] < 0.02, "changed: such an array is uniform"
assert min(outer["Array.set_bounds"], outer["Scalar(lower, upper)"]) > 0.45, "changed: these are not uniform either"
assert outer["Scalar(init, lower, upper)"] < 0.35, "changed: a Scalar with a first value is uniform"
assert np.mean(samples["whole Array"] == 4) < 0.04, "changed: the last whole number is no longer rare"
assert 0.14 < np.mean(samples["whole Scalar"] == 4) < 0.2, "changed: the end values have the room of the others"
PYTHON
