#!/usr/bin/env bash
# Two orientations 20 degrees apart are 10 apart by spatialmath's UnitQuaternion, and 20 by its SO3 and SE3, by the same method.
#
# spatialmath-python 1.1.18, seen 2026-11-30. Guessed: `angdist`, "angular distance metric between unit quaternions", "angle in
# radians", is the angle of the rotation from one to the other, as that of SO3 is. Seen: half of it, by its default, number 3,
# and by 1 and 2; only 4 is the angle. The page gives a range of [0, pi/2] for the default, and does not say that this is half
# an angle; `SO3.angdist` has another default. `base.qangle` gives the whole angle. And `interp` of UnitQuaternion goes the
# long way round by default (`shortest=False`, which is on its page), where that of SO3 takes the short one: half-way from a
# heading of 170 to one of -170 is 0 by the first and 180 by the second. What it costs: the error of an orientation filter, in
# degrees, is half of what other papers, and the matrices of the same package, give: 10 for 20. `metric=4` is right.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check spatialmath-python==1.1.18 numpy==2.4.6 scipy==1.17.1
cd "$folder"
MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from spatialmath import SE3, SO3, UnitQuaternion
from spatialmath.base import qangle

print(f"spatialmath-python {version('spatialmath-python')}")
for degrees in (5, 20, 90, 170):
    matrix, pose = SO3.Rx(degrees, unit="deg"), SE3.Rx(degrees, unit="deg")
    quaternion = UnitQuaternion.Rx(degrees, unit="deg")
    apart = {
        "SO3": matrix.angdist(SO3()),
        "SE3": pose.angdist(SE3()),
        "qangle": qangle(quaternion.vec, UnitQuaternion().vec),
        "UnitQuaternion": quaternion.angdist(UnitQuaternion()),
    } | {f"by {metric}": quaternion.angdist(UnitQuaternion(), metric=metric) for metric in (1, 2, 3, 4)}
    apart = {name: round(float(np.degrees(angle)), 3) for name, angle in apart.items()}
    print(f"{degrees} degrees: {apart}")
    assert apart["SO3"] == apart["SE3"] == apart["qangle"] == apart["by 4"] == degrees, "changed: these give another angle"
    assert apart["UnitQuaternion"] == apart["by 1"] == apart["by 2"] == degrees / 2, "changed: no longer half"

first, last = (UnitQuaternion.Rz(degrees, unit="deg") for degrees in (170, -170))
middle = float(first.interp(last, 0.5).rpy(unit="deg")[2])
by_matrix = float(SO3(first.R).interp(SO3(last.R), 0.5).rpy(unit="deg")[2])
print(f"half-way from 170 to -170: {middle:.1f} by UnitQuaternion, {by_matrix:.1f} by SO3")
assert abs(middle) < 1e-6 and abs(abs(by_matrix) - 180) < 1e-6, "changed: both take the same way"
PYTHON
