#!/usr/bin/env bash
# tslearn's piecewise averages of a recording of 119 frames in 60 pieces are its first 60 frames; the second half counts
# nowhere.
#
# tslearn 0.10.0, seen 2026-11-30. Guessed: pieces that together cover the recording, some longer by a frame, or an error where
# the length is no multiple of their number. Seen: each piece has the whole part of length / pieces in frames, and what is left
# over is dropped: nothing for 120 frames in 60 pieces, one frame in 61, and 59 of 119 in 60. Two movements that begin alike
# and differ by 1 in every frame of the second half are 0 apart by `distance_paa` (and by SAX and 1d-SAX, which are built on
# it), and `inverse_transform` gives the first half and then zeros. The page says nothing of lengths; its example has 6 frames
# in 3 pieces. What it costs: in recordings of people, whose lengths are any number, the end of each is left out, another share
# for each length, of up to a half, so that the clustering or classification sees the beginning of the long ones and all of the
# short.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tslearn==0.10.0 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from tslearn.piecewise import OneD_SymbolicAggregateApproximation as Slopes
from tslearn.piecewise import PiecewiseAggregateApproximation as Averages
from tslearn.piecewise import SymbolicAggregateApproximation as Symbols

PIECES = 60
makers = {
    "PAA": lambda: Averages(n_segments=PIECES),
    "SAX": lambda: Symbols(n_segments=PIECES, alphabet_size_avg=8),
    "1d-SAX": lambda: Slopes(n_segments=PIECES, alphabet_size_avg=8, alphabet_size_slope=4),
}
print(f"tslearn {version('tslearn')}")
for frames in (120, 119):
    rests = np.zeros(frames)
    lifts = np.where(np.arange(frames) < PIECES, 0.0, 1.0)  # An arm that stays down, and one that is lifted half-way through.
    apart = {}
    for name, maker in makers.items():
        pieces = maker().fit_transform(np.stack([rests, lifts])[..., None])
        apart[name] = float(np.abs(np.subtract(pieces[0], pieces[1], dtype=float)).mean())
    ramp = Averages(n_segments=PIECES).fit_transform(np.arange(frames, dtype=float)[None, :, None]).ravel()
    print(f"{frames} frames: apart {apart}; averages of a ramp from 0 to {frames - 1} end in {ramp[-1]}")
    if frames == 120:
        assert min(apart.values()) > 0 and ramp[-1] == 118.5, "changed: a multiple is cut as well"
    else:
        assert set(apart.values()) == {0.0} and ramp[-1] == PIECES - 1, "changed: the second half counts"
PYTHON
