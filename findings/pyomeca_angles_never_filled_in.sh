#!/usr/bin/env bash
# For the sequence yxz, pyomeca's Euler angles are whatever numbers the memory held before.
#
# pyomeca 2026.0.2, xarray 2026.9.0 and scipy 1.17.1, seen 2026-11-30. Guessed: `Angles.from_rototrans` takes "all permutations
# of xyz", as its page says, and gives back the angles that `Rototrans.from_euler_angles` was given. Seen: five of the six do;
# for yxz nothing is computed and nothing said: the array of angles is made and never filled in, so that it holds what was
# there: often zeros, or numbers like 6.9e-310, or an array that was dropped just before, such as the angles in another
# sequence, and these look right. (So with yxy and the other sequences that begin and end alike, but for zyz and zxz; these the
# page does not promise.) What it costs: yxz is the sequence of the shoulder blade, and of a head that turns, nods and leans;
# its angles are 0 in one run and those of another joint in the next.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pyomeca==2026.0.2 ezc3d==1.7.2 xarray==2026.9.0 \
    numpy==2.4.6 scipy==1.17.1 pandas==3.1.1
cd "$folder"
MPLCONFIGDIR="$folder" "$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version
from itertools import permutations

import numpy as np
from pyomeca import Angles, Rototrans
from scipy.spatial.transform import Rotation

FRAMES = 200
time = np.linspace(0, 2, FRAMES)
print(f"pyomeca {version('pyomeca')}")
for number, sequence in enumerate("".join(order) for order in permutations("xyz")):
    true = np.stack([0.7 * np.sin(3 * time + number), 0.4 * np.cos(2 * time + number), 0.2 * np.sin(5 * time + number)])
    rotations = np.tile(np.eye(4)[..., None], FRAMES)
    rotations[:3, :3] = np.moveaxis(Rotation.from_euler(sequence.upper(), true.T).as_matrix(), 0, -1)
    got = [np.array(Angles.from_rototrans(Rototrans(rotations), sequence))[:, 0] for _ in range(3)]
    off = [float(np.nan_to_num(np.abs(angles - true), nan=np.inf).max()) for angles in got]
    assert np.allclose(Rototrans.from_euler_angles(Angles(true[:, None]), sequence), rotations), "changed: another order"
    print(f"{sequence}: off by up to {max(off):.3g} rad; first frame {got[0][:, 0]}, true {np.round(true[:, 0], 3)}")
    if sequence == "yxz":
        assert min(off) > 0.1, "changed: the angles of yxz are right"
    else:
        assert max(off) < 1e-9, f"changed: {sequence} is wrong as well"
PYTHON
