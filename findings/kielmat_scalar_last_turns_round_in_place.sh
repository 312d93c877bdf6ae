#!/usr/bin/env bash
# With the scalar last, KielMAT's quaternions are right once: the call moves the scalar of the caller's own array to the front.
#
# kielmat 0.0.5 and scipy 1.17.1, seen 2026-11-30. Guessed: `quatmultiply`, `quatconj` and `quatinv` with `scalar_first=False`
# return a new array and leave theirs as it was, and `quat2rotm`, which has the same argument, reads it. Seen: all three put the
# scalar first in the array that they were given, and only the result has it last again; so the first call is right and the
# next one that uses the array, by whatever package, reads w as x. `quat2rotm` never reads its argument and takes the first
# number for the scalar. Shape, norm and type stay what they were, and no page says so; float32 or a list is copied and safe. No
# thread about it was found. What it costs: of a leg with a hip at 40 degrees and a knee at 60, the knee that is computed first
# is right and the hip after it, from the same thigh, is 180; a notebook cell that is run twice gives two answers. Give copies,
# or turn to scalar first at once.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1
"$folder/env/bin/pip" install --quiet --disable-pip-version-check --no-deps kielmat==0.0.5
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from kielmat.utils.quaternion import quat2rotm, quatconj, quatinv, quatmultiply
from scipy.spatial.transform import Rotation

pelvis = np.tile([0.0, 0.0, 0.0, 1.0], (50, 1))
thigh = Rotation.from_euler("y", np.full((50, 1), -40), degrees=True).as_quat()  # Scalar last, as in scipy.
shank = Rotation.from_euler("y", np.full((50, 1), 20), degrees=True).as_quat()


def joint(upper: np.ndarray, lower: np.ndarray) -> float:
    """The angle from one segment to the next, in degrees."""
    relative = quatmultiply(quatconj(upper, scalar_first=False), lower, scalar_first=False)
    return float(np.degrees(Rotation.from_quat(relative).magnitude()).mean())


copied = joint(thigh.copy(), shank.copy()), joint(pelvis.copy(), thigh.copy())
before = thigh.copy()
knee, hip = joint(thigh, shank), joint(pelvis, thigh)
print(f"kielmat {version('kielmat')}: knee {knee:.0f}, then hip {hip:.0f} degrees; of copies {copied[0]:.0f}, {copied[1]:.0f}")
single = {}
for name, function in (("quatconj", quatconj), ("quatinv", quatinv)):
    given = before.copy()
    function(given, scalar_first=False)
    single[name] = given
matrix = quat2rotm(before.copy(), scalar_first=False)
right = Rotation.from_quat(before).as_matrix()
off = np.abs(matrix - right).max()
print(f"a thigh {before[0].round(3)} after quatconj {single['quatconj'][0].round(3)}; quat2rotm is off by {off:.2f}")
assert np.allclose(copied, (60, 40)) and np.isclose(knee, 60), "the example itself is wrong"
assert abs(hip - 40) > 5, "changed: the second angle is right"
assert all(np.allclose(given, np.roll(before, 1, axis=1)) for given in single.values()), "changed: the array is kept"
assert off > 0.5, "changed: quat2rotm reads scalar_first"
assert np.allclose(quat2rotm(np.roll(before, 1, axis=1)), right), "changed: scalar first is wrong as well"
PYTHON
