#!/usr/bin/env bash
# rliable's confidence intervals with one and the same random_state are other ones at every call.
#
# rliable 1.2.0, arch 7.2.0 and numpy 2.4.6, seen 2026-12-01. Guessed: `get_interval_estimates(..., random_state=...)` gives the
# same interval twice; "if specified, ensures reproducibility", says its page, and those of the two bootstrap classes, which
# have an example. Seen: for one matrix of scores, and for pairs of them, the resampling is drawn from numpy's global generator;
# the state is taken and not used. `numpy.random.seed` before each call is what makes them equal, and does so without
# random_state. What it costs: the bounds in a paper or a log do not come back when its script is run again, and with few
# repetitions whether two methods' intervals overlap changes from run to run; and since the global generator is drawn from,
# whatever else in the program uses it gets other numbers after an interval was computed than before.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check rliable==1.2.0 arch==7.2.0 numpy==2.4.6 pandas==2.3.3 \
  scipy==1.17.1
cd "$folder"
MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from rliable.library import get_interval_estimates
from rliable.metrics import aggregate_iqm, probability_of_improvement

random = np.random.default_rng(0)
ours, theirs = random.normal(0.85, 0.05, (3, 10)), random.normal(0.83, 0.05, (3, 10))


def intervals(**arguments) -> np.ndarray:
    one = get_interval_estimates({"ours": ours}, lambda x: np.array([aggregate_iqm(x)]), reps=100, **arguments)[1]["ours"]
    two = get_interval_estimates(
        {"ours, theirs": (ours, theirs)}, lambda x, y: np.array([probability_of_improvement(x, y)]), reps=100, **arguments
    )[1]["ours, theirs"]
    return np.hstack((one, two))


stated = [intervals(random_state=np.random.RandomState(1)) for _ in range(3)]
seeded = []
for _ in range(2):
    np.random.seed(1)
    seeded.append(intervals())
for bounds in stated:
    print(f"rliable {version('rliable')}, random_state 1: interquartile mean from {bounds[0, 0]:.4f} to {bounds[1, 0]:.4f}, "
          f"probability of improvement from {bounds[0, 1]:.4f} to {bounds[1, 1]:.4f}")
assert not any((stated[0] == again).all() for again in stated[1:]), "changed: the same state gives the same bounds"
assert (seeded[0] == seeded[1]).all(), "changed: numpy's global seed does not govern the bounds"
PYTHON
