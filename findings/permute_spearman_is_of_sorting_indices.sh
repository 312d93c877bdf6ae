#!/usr/bin/env bash
# By permute, exactly opposite rankings have a Spearman correlation of -0.36, and such as nearly agree one of 0.30, not 0.93.
#
# permute 0.2 and scipy 1.17.1, seen 2026-11-30. Guessed: `spearman_corr` gives Spearman's correlation, as scipy's `spearmanr`
# does, with a p-value by permutation. Seen: in place of ranks it takes the indices that would sort the values, which say where
# the n-th smallest value is and not how great a value is. For 30 models in any order whose accuracies with one person and with
# another are exactly opposite, it gives another number for each order, from -0.7 to 0.7, where scipy has -1; for those that
# nearly agree 0.30 in place of 0.93, with a p-value of 0.07. Ties get no shared rank. Only if both lists sort the same way, as
# in a quick check of a list with itself or with its cube, it is 1 as it ought to be. Upstream it is issue 191, closed in 2021;
# the release has it still. What it costs: agreement between people, folds or metrics that is there, and is reported as chance.
# `corr` of scipy's `rankdata` gives the right number and its p-value.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check cryptorandom==0.4 numpy==2.4.6 permute==0.2 scipy==1.17.1
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from permute.core import corr, spearman_corr
from scipy.stats import rankdata, spearmanr

draws = np.random.default_rng(0)
first = draws.uniform(0.6, 0.9, 30)
seconds = {"cube": first**3, "opposite": 1.5 - first, "nearly the same": first + draws.normal(0, 0.03, 30)}
results = {}
for name, second in seconds.items():
    value, chance, _ = spearman_corr(first, second, reps=1000, seed=1)
    by_ranks, right_chance, _ = corr(rankdata(first), rankdata(second), reps=1000, seed=1)
    right = spearmanr(first, second).statistic
    results[name] = value, chance, right
    print(f"permute {version('permute')}, {name}: {value:.2f} (p {chance:.3f}), by scipy {right:.2f}, "
          f"corr of ranks {by_ranks:.2f} (p {right_chance:.3f})")
    assert np.isclose(by_ranks, right), "changed: corr of the ranks is another number"
value, chance, right = results["cube"]
assert np.isclose(value, 1) and np.isclose(right, 1), "the example itself is wrong"
assert results["opposite"][0] > -0.6 and np.isclose(results["opposite"][2], -1), "changed: opposite is -1"
value, chance, right = results["nearly the same"]
assert value < 0.6 and right > 0.8, "changed: it is Spearman's correlation"
PYTHON
