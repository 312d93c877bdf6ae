#!/usr/bin/env bash
# Whoever turns beyond 90 degrees comes back by scikit-kinematics' quat2seq: a heading of 120 degrees is 60, one of 180 is 0.
#
# scikit-kinematics 0.10.4 and scipy 1.17.1, seen 2026-11-30. Guessed: `quat2seq` gives back the angles that the package's own
# `seq2quat` was given, and scipy's, for every orientation: nautical ones, its default, with a heading from -180 to 180. Seen:
# heading and roll are found by arcsin, which knows no angle beyond 90: of a person who turns once around at a steady pace half
# of the headings are wrong, by up to 180 degrees, and the turn swings to and fro between -90 and 90. As matrices, by
# `rotmat.sequence`, the same orientations have the right ones. Its Euler angles are wrong for nearly every orientation: (40,
# 20, 10) comes back as (140, 20, 10), and here `rotmat.sequence` gives (40, 20, 10), but two zeros for half of all
# orientations. The pages of both say nothing of it (that of `sequence`: "it is assumed that psi < pi"). What it costs: the
# number of turns, the speed of turning and the direction of walking, from orientations that are right; nothing shows as long
# as people walk straight along x.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check scikit-kinematics==0.10.4 numpy==2.4.6 scipy==1.17.1 \
    pandas==3.1.1
cd "$folder"
MPLCONFIGDIR="$folder" PYGAME_HIDE_SUPPORT_PROMPT=1 "$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from scipy.spatial.transform import Rotation
from skinematics import quat, rotmat

headings = np.arange(-175, 180, 5.0)  # Once around, level.
turn = Rotation.from_euler("ZYX", np.stack([headings, 0 * headings, 0 * headings], axis=1), degrees=True)
by_quaternion = quat.quat2seq(np.roll(turn.as_quat(), 1, axis=1))[:, 0]
by_matrix = np.degrees(rotmat.sequence(turn.as_matrix(), to="nautical")[:, 0])
off = np.abs(by_quaternion - headings)
wrong = (off > 1).mean()
print(f"scikit-kinematics {version('scikit-kinematics')}: heading 120 is {by_quaternion[headings == 120][0]:.0f} by quat2seq, "
      f"{by_matrix[headings == 120][0]:.0f} by sequence; {wrong:.0%} wrong by up to {off.max():.0f} degrees")
back = Rotation.from_quat(np.roll(rotmat.seq2quat(np.stack([by_quaternion, 0 * off, 0 * off], axis=1)), -1, axis=1))
assert np.allclose((back * turn.inv()).magnitude(), np.radians(off), atol=1e-6), "changed: seq2quat folds as well"
assert np.allclose(by_matrix, headings), "changed: sequence is wrong as well"
assert np.allclose(by_quaternion, np.degrees(np.arcsin(np.sin(np.radians(headings))))), "changed: no folding at 90 degrees"

given = np.array([[40.0, 20.0, 10.0]])
euler = quat.quat2seq(rotmat.seq2quat(given, "Euler"), "Euler")
orientations = Rotation.random(1000, random_state=0)
got = quat.quat2seq(np.roll(orientations.as_quat(), 1, axis=1), "Euler")
other = ((Rotation.from_euler("ZXZ", got, degrees=True) * orientations.inv()).magnitude() > np.radians(1)).mean()
none = np.mean([(rotmat.sequence(matrix, to="Euler")[:2] == 0).all() for matrix in orientations.as_matrix()])
print(f"Euler angles {given[0]} come back as {np.round(euler[0])}; of 1000 orientations quat2seq gives others in {other:.0%}, "
      f"and sequence two zeros in {none:.0%}")
assert np.allclose(rotmat.seq2quat(given, "Euler"), np.roll(Rotation.from_euler("ZXZ", given, degrees=True).as_quat(), 1))
assert np.allclose(euler, [140, 20, 10]) and other > 0.9, "changed: quat2seq gives the Euler angles"
assert 0.4 < none < 0.6, "changed: sequence gives Euler angles of all orientations"
PYTHON
