#!/usr/bin/env bash
# By the package gait-profile-score, a walk with one stiff knee has a score of 3.9 degrees, where it ought to be 5.9.
#
# gait-profile-score 1.0.2 and numpy 2.4.6, seen 2026-12-01. Guessed: "the gait profile score as stated in Baker et al. 2009",
# says its page: the root of the mean square of the scores of 15 variables, those of the hip, knee, ankle and foot of both sides
# and of the pelvis once, as each variable's own score is a root mean square. Seen: the plain mean of 18, those of the pelvis
# counted twice. A variable's own score is right. For somebody whose left knee is off by 20 degrees, and all else by 3, the
# score is 3.9 in place of 5.9, and that of the left side 4.9 in place of 7.2. Only if all variables are off by as much are both
# the same. The reference group's scores are made in the same way. No thread about it was found. What it costs: the more a
# deviation is in one joint, which is what a stiff knee or a drop foot is, the lower the score is; a score can rise and the
# right one fall between two visits, by where the deviation went; and numbers are not those that papers have, though they have
# their name.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 pandas==3.1.1 scipy==1.17.1 matplotlib==3.11.2
"$folder/env/bin/pip" install --quiet --disable-pip-version-check --no-deps gait-profile-score==1.0.2
cd "$folder"
MPLBACKEND=agg MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from gpscalculator import calculateGPS, exampleInputData

names = exampleInputData().kinematicVariables()
cycle = 10 * np.sin(np.linspace(0, 2 * np.pi, 51))
reference = {name: cycle for name in names}


def scores(off: dict[str, float], others: float) -> tuple[dict[str, float], float, float]:
    """What the package says; the root mean square of the 15 variables, and of the nine of the left side."""
    said = calculateGPS(reference, {name: cycle + off.get(name, others) for name in names}).gps
    fifteen = [name for name in names if not (name.startswith("Pelvic") and name.endswith("Right"))]
    left = [name for name in names if name.endswith("Left")]
    return said, *(float(np.sqrt(np.mean([said[name] ** 2 for name in some]))) for some in (fifteen, left))


for off, others in (({"Knee Flexion Left": 20}, 3), ({}, 5)):
    said, overall, left = scores(off, others)
    print(f"gait-profile-score {version('gait-profile-score')}: {off or 'no variable alone'}, all others off by {others}: "
          f"overall {said['GPS']:.2f}, ought to be {overall:.2f}; left side {said['GPS Left']:.2f}, ought to be {left:.2f}")
    assert all(abs(said[name] - off.get(name, others)) < 1e-9 for name in names), "changed: a variable's own score"
    assert abs(said["GPS"] - np.mean([said[name] for name in names])) < 1e-9, "changed: it is no plain mean of all 18"
    assert abs(overall - said["GPS"] - (1.977 if off else 0)) < 0.01, "changed: the score is the root mean square"
stiff, both_knees = (scores({name: degrees for name in some}, 3)[:2]
                     for some, degrees in ((["Knee Flexion Left"], 20), (["Knee Flexion Left", "Knee Flexion Right"], 12)))
for said, ought in (stiff, both_knees):
    print(f"left knee off by {said['Knee Flexion Left']:.0f}, right by {said['Knee Flexion Right']:.0f}: {said['GPS']:.2f}, "
          f"ought to be {ought:.2f}")
assert stiff[0]["GPS"] < both_knees[0]["GPS"] and stiff[1] > both_knees[1], "changed: the order of the two"
PYTHON
