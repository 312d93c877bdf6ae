#!/usr/bin/env bash
# Given six trials per person and day, pingouin's reliability "of one rating" is that of the mean of six: 0.71 in place of
# 0.33.
#
# pingouin 0.7.0, seen 2026-11-30. Guessed: `intraclass_corr` uses each value, or raises an error where a person has several
# from one day, as it does where one is missing ("complete, balanced data", says its page). Seen: it averages them without a
# word before it begins, and calls what it finds ICC(1,1), ICC(A,1) and ICC(C,1), in its page "reliability of one rating by a
# single rater". Where the noise of a trial is 1.5 times the spread between people, so that single trials have an ICC of 0.31,
# six trials on each of two days give 0.71, to the last digit what their means give, and one trial a day gives 0.33. The page
# says nowhere that it averages them. What it costs: the more trials one recorded, the better the measure seems; a gait test
# that takes one trial is reported as moderate, or as good with ten trials, where it is poor (below 0.5, in the page's own
# words).
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pingouin==0.7.0 numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
cd "$folder"
MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import pandas as pd
import pingouin

PEOPLE, DAYS, TRIALS, NOISE = 200, 2, 6, 1.5
draws = np.random.default_rng(1)
usual = draws.normal(size=PEOPLE)
trials = pd.DataFrame(
    [(person, day, trial, usual[person] + NOISE * draws.normal())
     for person in range(PEOPLE) for day in range(DAYS) for trial in range(TRIALS)],
    columns=["person", "day", "trial", "speed"],
)


def single(data: pd.DataFrame) -> dict[str, float]:
    """The reliability of one rating, in its three kinds."""
    table = pingouin.intraclass_corr(data, targets="person", raters="day", ratings="speed").set_index("Type")["ICC"]
    return {kind: round(float(table[kind]), 2) for kind in ("ICC(1,1)", "ICC(A,1)", "ICC(C,1)")}


all_trials, one_trial = single(trials), single(trials[trials["trial"] == 0])
means = single(trials.groupby(["person", "day"], as_index=False)["speed"].mean())
true, of_means = 1 / (1 + NOISE**2), 1 / (1 + NOISE**2 / TRIALS)
print(f"pingouin {version('pingouin')}: all trials {all_trials}, one trial {one_trial}, means of the trials {means}")
print(f"true: {true:.2f} of one trial, {of_means:.2f} of the mean of {TRIALS}")
assert all_trials == means, "changed: several values from one day are not averaged"
assert all(abs(value - of_means) < 0.06 for value in all_trials.values()), "changed: another reliability"
assert all(abs(value - true) < 0.12 for value in one_trial.values()), "changed: one trial per day is wrong as well"
PYTHON
