#!/usr/bin/env bash
# By mlxtend, 95 of 100 right are no better than 80 of 100, with a p-value of 0.999, and 80 are other than 95 with 0.0005.
#
# mlxtend 0.25.0 and scipy 1.17.1, seen 2026-11-30. Guessed: `proportion_difference` gives the two-sided p-value of its z: its
# page promises "the z-score and the p-value" and names no alternative, and McNemar's and Cochran's tests of the package do not
# mind the order of the two. Seen: the p-value of the alternative that the first is smaller: 0.9995 for (0.95, 0.8), 0.0005 for
# (0.8, 0.95), 0.5 for equal ones, where 0.001, 0.001 and 1 are right. What it costs: who gives their own model first, and the
# baseline second, finds that nothing is significant, ever; who gives the baseline first has half of the p-value. Take z, which
# is right, and `2 * scipy.stats.norm.sf(abs(z))`; where both models saw the same recordings, McNemar's test.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check mlxtend==0.25.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1 \
    scikit-learn==1.9.1
cd "$folder"
MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from mlxtend.evaluate import cochrans_q, mcnemar, proportion_difference
from scipy.stats import norm

print(f"mlxtend {version('mlxtend')}")
found = {}
for shares in ((0.95, 0.8), (0.8, 0.95), (0.9, 0.9)):
    z, p = proportion_difference(*shares, 100, 100)
    two_sided = 2 * norm.sf(abs(z))
    found[shares] = float(p)
    print(f"{shares} of 100: z {z:.2f}, p {p:.4f}, two-sided {two_sided:.4f}")
    assert np.isclose(p, norm.cdf(z)), "changed: the p-value of another alternative"
assert found[0.95, 0.8] > 0.99 and found[0.8, 0.95] < 0.001 and found[0.9, 0.9] == 0.5, "changed: the order does not matter"

truth = np.ones(100, dtype=int)
good, poor = truth.copy(), truth.copy()
good[:5], poor[:20] = 0, 0
tests = {
    "McNemar": [float(mcnemar(np.array(table))[1]) for table in ([[80, 15], [0, 5]], [[80, 0], [15, 5]])],
    "Cochran": [float(cochrans_q(truth, *models)[1]) for models in ((good, poor), (poor, good))],
}
print(f"others, in both orders: {tests}")
assert all(np.isclose(*pair) for pair in tests.values()), "changed: the order matters for the other tests"
PYTHON
