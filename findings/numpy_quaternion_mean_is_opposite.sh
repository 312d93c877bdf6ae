#!/usr/bin/env bash
# The mean of four headings about 180 degrees is 2 by numpy-quaternion, and a person who turns steadily stops there for a frame.
#
# numpy-quaternion 2024.0.13 and scipy 1.17.1, seen 2026-11-30. Guessed: q and -q are one orientation, for the mean as for
# `as_rotation_matrix`, so that the signs, which differ between devices and files, do not matter. Seen: where the scalar part is
# kept positive, as scipy's `as_quat(canonical=True)` and many sensors have it, headings of 175.5, 180, 184.5 and 189 have the
# mean 2.25 by `mean_rotor_in_chordal_metric`, of q and -q it is NaN, and a steady turn of 45 degrees/s at 10 Hz has between 0
# and 72 by `angular_velocity`; a heading of 180 seen from 175.5 is 355.5 degrees away by `as_rotation_vector`. With the signs
# of a smooth curve all of these are right. The page of `squad` says what signs do; those of these three do not. What it
# costs: where people turn past the direction of the sensor's back, a mean that points the opposite way and a rate of turning
# that nobody had, in some recordings of a day and not in others. `unflip_rotors` first, or scipy's `Rotation.mean`.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check numpy-quaternion==2024.0.13 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import quaternion
from scipy.spatial.transform import Rotation

RATE, SPEED = 10, 45
time = np.arange(0, 8 + 0.5 / RATE, 1 / RATE)
rotations = Rotation.from_euler("z", SPEED * time[:, None], degrees=True)
near = slice(39, 43)  # 175.5, 180, 184.5 and 189 degrees.


def heading(one):
    return float(np.degrees(2 * np.arctan2(one.z, one.w)) % 360)


found = {}
for canonical in (False, True):
    turns = quaternion.from_float_array(rotations.as_quat(canonical=canonical, scalar_first=True))
    if not canonical:
        turns = quaternion.unflip_rotors(turns)
    speeds = np.degrees(quaternion.angular_velocity(turns, time))[:, 2]
    between = quaternion.as_rotation_vector(turns[41] * turns[39].conjugate())
    found[canonical] = {
        "mean": round(heading(quaternion.mean_rotor_in_chordal_metric(turns[near])), 3),
        "speeds": [round(float(speeds.min()), 1), round(float(speeds.max()), 1)],
        "from 175.5 to 184.5": round(float(np.degrees(between[2])), 3),
    }
    assert np.allclose(quaternion.as_rotation_matrix(turns), rotations.as_matrix()), "changed: not the same orientations"
both = quaternion.from_float_array(np.array([[0.8, 0.6, 0, 0], [-0.8, -0.6, 0, 0]]))
mean = quaternion.as_float_array(quaternion.mean_rotor_in_chordal_metric(both))
right = float(rotations[near].mean().as_euler("zyx", degrees=True)[0] % 360)
print(f"numpy-quaternion {version('numpy-quaternion')}: signs of a smooth curve {found[False]}; scalar positive {found[True]}")
print(f"mean of q and -q {mean.tolist()}; mean of the four by scipy {right:.2f}")
assert found[False]["mean"] == 182.25 and abs(right - 182.25) < 1e-6, "changed: the mean with smooth signs"
assert found[False]["speeds"] == [SPEED, SPEED], "changed: the speed with smooth signs"
assert found[True]["mean"] == 2.25 and np.isnan(mean).all(), "changed: the mean takes q and -q for one"
assert found[True]["speeds"][0] < 10 and found[True]["speeds"][1] > 60, "changed: signs no longer matter for the speed"
assert found[True]["from 175.5 to 184.5"] == -351, "changed: the rotation vector is the short one"
PYTHON
