#!/usr/bin/env bash
# By default, bvhtoolbox makes each joint's rotation about y about z: a thigh that swings out sideways turns about its own axis.
#
# bvhtoolbox 0.1.3, transforms3d 0.4.2 and scipy 1.17.1, seen 2026-11-30. Guessed: `get_rotation_matrices(tree, joint)` gives
# the rotation of the joint by its channels in the order of the file, which the tree knows. Seen: `axes` is "rzxz" unless one
# gives it, whatever the file has, here and in `get_quaternions` and `get_affines`: the angles about z, x and y are taken for
# ones about z, x and again z; no joint of a BVH file has such channels. 60 degrees about y are 60 about z, 83 degrees off; 30,
# 20 and 10 about z, x and y are 14 off, and a joint without y is right. The page says that `axes` is "usually the joint's
# channel order", as if the default were one. With axes="rzxy" for channels Z, X, Y the matrices are the right ones. What it
# costs: no error, and valid rotations that move smoothly with the recording, but about another axis: features, a comparison
# with an IMU on the same limb, and all positions computed from them are wrong, by more the more a joint turns about y.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check bvhtoolbox==0.1.3 transforms3d==0.4.2 numpy==2.4.6 \
    scipy==1.17.1
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from bvhtoolbox import BvhTree, get_affines, get_quaternions, get_rotation_matrices
from scipy.spatial.transform import Rotation

FRAMES = [(0, 0, 60), (30, 0, 0), (30, 20, 10)]  # Degrees about z, x and y, in this order.
text = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Thigh
  {
    OFFSET 0 -40 0
    CHANNELS 3 Zrotation Xrotation Yrotation
    End Site
    {
      OFFSET 0 -40 0
    }
  }
}
MOTION
"""
text += f"Frames: {len(FRAMES)}\nFrame Time: 0.01\n"
text += "".join(f"0 90 0 0 0 0 {z} {x} {y}\n" for z, x, y in FRAMES)
tree = BvhTree(text)
true = Rotation.from_euler("ZXY", FRAMES, degrees=True)


def off(matrices):
    return np.degrees((Rotation.from_matrix(matrices).inv() * true).magnitude()).round(1).tolist()


default = off(get_rotation_matrices(tree, "Thigh"))
first = get_rotation_matrices(tree, "Thigh")[0]
about = np.degrees(Rotation.from_matrix(first).as_rotvec()).round(1).tolist()
quaternions = off(Rotation.from_quat(get_quaternions(tree, "Thigh"), scalar_first=True).as_matrix())
affines = off(get_affines(tree, "Thigh")[:, :3, :3])
given = off(get_rotation_matrices(tree, "Thigh", axes="rzxy"))
print(f"bvhtoolbox {version('bvhtoolbox')}: about z, x, y {FRAMES}: the first turns about x, y, z by {about}")
print(f"off by {default} (quaternions {quaternions}, affines {affines}); with the order given {given}")
assert default == quaternions == affines, "changed: one of the three has another default"
assert default[0] > 80 and default[1] == 0 and default[2] > 10, "changed: the default is another one"
assert np.allclose(first, Rotation.from_euler("z", 60, degrees=True).as_matrix()), "changed: y is not made about z"
assert max(given) == 0, "changed: the order of the file is wrong as well"
PYTHON
