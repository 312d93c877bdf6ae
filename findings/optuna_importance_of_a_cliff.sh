#!/usr/bin/env bash
# Optuna's importance, by its default since 5.0, is 0.01 for a knob that costs 40 points of accuracy and 0.99 for one
# that costs 0.1.
#
# optuna 5.0.0, seen 2026-11-29. Guessed: the knob whose low half collapses matters more than one that hardly changes
# the score. Seen: over a grid of 25 points where lambda below 5 scores 0.5, above 0.9, and mu = 25 adds 0.001, the
# default (PED-ANOVA) says mu 0.99, lambda 0.01; fANOVA says lambda 1.00, mu 0.00. PED-ANOVA looks at the best tenth
# of the points only: what all of these share has no importance. What it costs: a plot "importance of knobs" that says
# a loss's weight does not matter, in a paper about that weight.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check optuna==5.0.0 scikit-learn==1.7.2 scipy==1.17.1 numpy==2.4.6
"$folder/env/bin/python" -W ignore - <<'PYTHON'
import itertools

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)
values = [1.0, 2.0, 5.0, 10.0, 25.0]
study = optuna.create_study(direction="maximize")
kinds = {knob: optuna.distributions.FloatDistribution(1, 25, log=True) for knob in ("lambda", "mu")}
for one, other in itertools.product(values, values):
    score = 0.5 + 0.4 * (one >= 5) + 0.001 * (other == 25)
    study.add_trial(optuna.create_trial(params={"lambda": one, "mu": other}, distributions=kinds, value=score))
forest = optuna.importance.FanovaImportanceEvaluator(seed=0)
default = {knob: round(float(share), 2) for knob, share in optuna.importance.get_param_importances(study).items()}
fanova = optuna.importance.get_param_importances(study, evaluator=forest)
fanova = {knob: round(float(share), 2) for knob, share in fanova.items()}
print(f"optuna {optuna.__version__}: by default {default}, by fANOVA {fanova}")
assert default["mu"] > 0.9 and default["lambda"] < 0.1, "changed: the default says something else"
assert fanova["lambda"] > 0.9 and fanova["mu"] < 0.1, "changed: fANOVA says something else"
PYTHON
