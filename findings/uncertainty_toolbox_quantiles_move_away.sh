#!/usr/bin/env bash
# Uncertainty Toolbox corrects the quantiles of a model that predicts too low by making them lower still.
#
# uncertainty-toolbox 0.1.1, seen 2026-11-30. Guessed: `get_quantile_recalibrator`, fitted on predictions with a steady error,
# gives quantiles that hold on the same data: about 10, 50 and 90 % of the values lie below the three. Seen: where predictions
# are too low by one standard deviation, 0, 2 and 23 % do, against 1, 15 and 60 % before the correction and 10, 50 and 90 % by
# the right one; the median moves from one deviation below the true one to two. The proportions that it learns from
# (`get_proportion_under_quantile` among them: "the proportion of data that are below the predicted quantile") are taken from
# the prediction minus the truth, so that they count what lies above the mirrored quantile: 85 % below the predicted median
# where 15 % are. Without a steady error the two are the same, so that most tests do not see it. What it costs: a shift between
# people or devices, the very thing that one recalibrates for, is doubled, and a plot of proportions by quantiles shows the
# wrong direction.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check uncertainty-toolbox==0.1.1 \
    numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
cd "$folder"
MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from scipy import stats
from uncertainty_toolbox.metrics_calibration import get_proportion_under_quantile, get_quantile
from uncertainty_toolbox.recalibration import get_quantile_recalibrator

draws = np.random.default_rng(0)
predicted, deviation = draws.normal(size=5000), np.ones(5000)
LEVELS = (0.1, 0.5, 0.9)


def below(truth, quantile) -> list[float]:
    """The share of values below each quantile, counted here."""
    return [round(float(np.mean(truth < quantile(level))), 2) for level in LEVELS]


print(f"uncertainty-toolbox {version('uncertainty-toolbox')}")
for error in (0, 1, -1):
    truth = predicted + error + draws.normal(size=5000)
    corrected = get_quantile_recalibrator(predicted, deviation, truth)
    shares = {
        "before": below(truth, lambda level: get_quantile(predicted, deviation, level)),
        "corrected": below(truth, lambda level: corrected(predicted, deviation, level)),
        "right": below(truth, lambda level: predicted + error + stats.norm.ppf(level)),
    }
    said = get_proportion_under_quantile(predicted, deviation, truth, 0.5)
    print(f"truth - prediction {error}: {shares}; said to be below the median: {said:.2f}")
    assert np.allclose(shares["right"], LEVELS, atol=0.03), "the count itself is wrong"
    if error == 0:
        assert np.allclose(shares["corrected"], LEVELS, atol=0.03), "changed: wrong without a steady error as well"
    else:
        wrong = {name: np.abs(np.subtract(share, LEVELS)).max() for name, share in shares.items()}
        assert wrong["corrected"] > wrong["before"] + 0.1, "changed: the correction makes the quantiles better"
        assert abs(said - (1 - shares["before"][1])) < 0.01, "changed: the proportion is the one that its name says"
PYTHON
