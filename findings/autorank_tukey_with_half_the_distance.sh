#!/usr/bin/env bash
# Of three models that are equal, and a fourth that is worse, autorank calls some of the three different in 2 of 5 studies.
#
# autorank 1.3.0, statsmodels 0.15.0 and scipy 1.17.1, seen 2026-12-01. Guessed: where it reports Tukey's HSD as the post-hoc
# test, at alpha 0.05, the pairs it calls different are those of Tukey's test, so that equal models are told apart in 5 of 100
# studies. Seen: in 38 of 100. Each model has an interval, half as long on either side as the difference that is significant; by
# the report two models differ if "their confidence intervals are not overlapping", which would be right, but the groups of the
# report, and of the diagram, are those whose means are within half an interval, not a whole one: every difference from half of
# the significant one on is called significant. And `alpha` does not reach this step: the intervals of 0.001 are those of 0.05.
# Rank sums (Friedman, Nemenyi) are not hit. No open or closed thread about it was found. What it costs: half of all
# comparisons of three or more models with scores that look normal, which is when autorank takes this path, report differences
# that are noise, with the name of a test that guards against it. `scipy.stats.tukey_hsd` gives the p-values.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check autorank==1.3.0 baycomp==1.0.3 numpy==2.4.6 pandas==3.1.1 \
  scipy==1.17.1 statsmodels==0.15.0 matplotlib==3.11.2
cd "$folder"
MPLBACKEND=agg MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W ignore - <<'PYTHON'
import contextlib
import io
import re
from importlib.metadata import version

import numpy as np
import pandas as pd
from autorank import autorank, create_report
from scipy import stats


def different(scores: pd.DataFrame, **arguments) -> tuple[set[str], pd.DataFrame]:
    """The pairs of models that the report calls significantly different, and the table with the intervals."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        result = autorank(scores, force_mode="parametric", **arguments)
        assert result.posthoc == "tukeyhsd", "changed: another post-hoc test"
        create_report(result)
    pairs = {first + second for first in "abcd" for second in "abcd" if first < second}
    if groups := re.search("following groups: (.*)[.] All other", said.getvalue()):
        for group in groups[1].split(";"):
            names = re.findall(r"\b[abcd]\b", group)
            pairs -= {first + second for first in names for second in names}
    return pairs, result.rankdf


random = np.random.default_rng(0)
autorank_says, tukey_says = 0, 0
for _ in range(60):
    scores = pd.DataFrame(0.02 * random.normal(size=(20, 4)) + [0.75, 0.82, 0.82, 0.82], columns=list("abcd"))
    autorank_says += bool(different(scores)[0] & {"bc", "bd", "cd"})
    tukey_says += bool((stats.tukey_hsd(*scores.to_numpy().T).pvalue[1:, 1:] < 0.05).any())
print(f"autorank {version('autorank')}: differences between three equal models in {autorank_says} of 60 studies; Tukey's "
      f"test itself: in {tukey_says}")
strict, loose = (different(scores, alpha=alpha)[1] for alpha in (0.001, 0.05))
print(f"half of an interval: {strict.eval('ci_upper - ci_lower').iloc[0] / 2:.5f} with alpha 0.001, "
      f"{loose.eval('ci_upper - ci_lower').iloc[0] / 2:.5f} with 0.05")
assert 15 < autorank_says < 32, "changed: another share of reported differences"
assert tukey_says < 8, "changed: Tukey's test itself"
bounds = ["ci_lower", "ci_upper"]
assert np.allclose(strict[bounds].astype(float), loose[bounds].astype(float)), "changed: alpha counts"
PYTHON
