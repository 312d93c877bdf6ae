#!/usr/bin/env bash
# A MATLAB mask of valid frames, read by scipy or pymatreader, picks frames 0 and 1 over and over.
#
# scipy 1.17.1, pymatreader 1.3.2, mat73 0.65 and hdf5storage 0.2.2, seen 2026-11-30. Guessed: a `logical` array of the file is
# an array of bool, as the file says that it is one. Seen: uint8, by `scipy.io.loadmat`, with `simplify_cells=True` as well, and
# by pymatreader for old files and for those of version 7.3; in numpy these are places, not a mask: `acceleration[valid]` has as
# many rows as before, each of them row 0 or row 1, and `~valid` is 254 and 255. mat73 and hdf5storage give bool, and so does
# `loadmat(mat_dtype=True)`, whose page speaks of "the dtype with which they are saved" and not of masks (upstream it is so on
# purpose: issue 4422); pymatreader has no such option. What it costs: no error: the recording keeps its length, and all of its
# frames are its first two, with a deviation of about 0 where people start at rest. `valid.astype(bool)`, or `mat_dtype=True`.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pymatreader==1.3.2 mat73==0.65 hdf5storage==0.2.2 \
    scipy==1.17.1 numpy==2.4.6
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import hdf5storage
import mat73
import numpy as np
import pymatreader
import scipy.io

frames = 100
valid = np.ones((1, frames), dtype=bool)
valid[0, 40:60] = False
acceleration = np.stack([np.arange(frames, dtype=float)] * 3, axis=1)
scipy.io.savemat("five.mat", {"valid": valid, "acceleration": acceleration})
hdf5storage.savemat("seven.mat", {"valid": valid, "acceleration": acceleration}, format="7.3", truncate_existing=True)

read = {
    "scipy": scipy.io.loadmat("five.mat"),
    "scipy, simplify_cells": scipy.io.loadmat("five.mat", simplify_cells=True),
    "scipy, mat_dtype": scipy.io.loadmat("five.mat", mat_dtype=True),
    "pymatreader": pymatreader.read_mat("five.mat"),
    "pymatreader, 7.3": pymatreader.read_mat("seven.mat"),
    "mat73, 7.3": mat73.loadmat("seven.mat"),
    "hdf5storage, 7.3": hdf5storage.loadmat("seven.mat"),
}
print(", ".join(f"{name} {version(name)}" for name in ("scipy", "pymatreader", "mat73", "hdf5storage")))
picked = {}
for name, content in read.items():
    mask = np.ravel(content["valid"])
    rows = content["acceleration"][mask][:, 0]
    picked[name] = (str(mask.dtype), len(rows), float(rows.max()))
    print(f"  {name}: {mask.dtype}, {len(rows)} frames of which the last is {rows.max():.0f}")
    assert np.array_equal(mask, valid[0]), "changed: other values"
for name in ("scipy", "scipy, simplify_cells", "pymatreader", "pymatreader, 7.3"):
    assert picked[name] == ("uint8", frames, 1), f"changed: {name} gives a mask"
for name in ("scipy, mat_dtype", "mat73, 7.3", "hdf5storage, 7.3"):
    assert picked[name] == ("bool", 80, frames - 1), f"changed: {name} gives no mask"
PYTHON
