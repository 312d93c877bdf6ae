#!/usr/bin/env bash
# Of the filters in the package ahrs, AQUA gives the inverse of the rotation that the others give for the same signals.
#
# AHRS 0.4.0, vqf 2.1.2 and scipy 1.17.1, seen 2026-11-30. Guessed: the filters of one package have one convention, so that
# a quaternion in `Q` takes what the sensor measured to the world, and gravity comes out on z. Seen: for a sensor that lies
# still, tilted by 30 degrees about x, Madgwick, Mahony, Complementary and EKF give (0.966, 0.259, 0, 0), as VQF does, and
# gravity is on z; AQUA gives (0.966, -0.259, 0, 0), which takes it to y: there the sensor seems to accelerate by 9.81 m/s2.
# What it costs: who tries another filter of the package, one line, and takes gravity out as before gets accelerations that
# are wrong by up to twice gravity, in every recording whose sensor is not level, and no error.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check AHRS==0.4.0 vqf==2.1.2 numpy==2.4.6 scipy==1.17.1
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import ahrs
import numpy as np
import vqf
from scipy.spatial.transform import Rotation

RATE, GRAVITY = 100, 9.81
tilt = Rotation.from_euler("x", 30, degrees=True)
measured = tilt.inv().apply([0, 0, GRAVITY])  # At rest an accelerometer shows what holds it up.
acc, gyr = np.tile(measured, (30 * RATE, 1)), np.zeros((30 * RATE, 3))
last = {
    name: getattr(ahrs.filters, name)(gyr=gyr, acc=acc, frequency=RATE).Q[-1]
    for name in ("Madgwick", "Mahony", "Complementary", "EKF", "AQUA")
}
last["VQF"] = vqf.VQF(1 / RATE).updateBatch(gyr, acc)["quat6D"][-1]
print(f"AHRS {version('AHRS')}, vqf {version('vqf')}")
for name, quaternion in last.items():
    world = Rotation.from_quat(np.roll(quaternion, -1)).apply(measured)
    left = np.linalg.norm(world - [0, 0, GRAVITY])
    print(f"{name}: {np.round(quaternion, 3) + 0.0}, without gravity {left:.2f} m/s2")
    if name == "AQUA":
        assert abs(left - 2 * GRAVITY * np.sin(np.radians(30))) < 0.05, "changed: AQUA is not the inverse"
    else:
        assert left < 0.05, f"changed: {name} does not take gravity to z"
PYTHON
