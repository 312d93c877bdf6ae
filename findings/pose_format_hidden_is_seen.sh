#!/usr/bin/env bash
# When pose-format changes the frame rate, a wrist that was hidden gets a place in every frame, and a seen one's confidence.
#
# pose_format 0.15.0 and scipy 1.17.1, seen 2026-11-30. Guessed: new frames amid frames without the wrist have none either: it
# stays masked, with a confidence of 0. Seen: `interpolate(new_fps=50)` leaves out the frames without it, lays one curve
# through the others, and does the same with the confidence: of 50 masked frames of a wrist that goes round in a circle half a
# metre wide none is left, all have a confidence of 0.9, and the places are wrong by up to half a metre, be the curve cubic or
# linear. Only what is hidden at the beginning or the end stays masked. What it costs: a share of seen frames, and any
# threshold on the confidence, take invented places for seen ones, in recordings whose rate was changed and in no others.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pose_format==0.15.0 scipy==1.17.1 numpy==2.4.6
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from pose_format.numpy import NumPyPoseBody

RATE, FRAMES = 25, 100
frames = np.arange(FRAMES)


def circle(seconds: np.ndarray) -> np.ndarray:
    return 0.25 * np.stack([np.cos(np.pi * seconds), np.sin(np.pi * seconds)], axis=1)


def changed(hidden: np.ndarray, kind: str) -> tuple[int, int, float, float]:
    """Masked frames before and after; the least confidence and the largest error while it is hidden."""
    places = circle(frames / RATE) + 0.005 * np.random.default_rng(0).normal(size=(FRAMES, 2))
    places[hidden] = 0
    confidence = np.where(hidden, 0, 0.9)[:, None, None]  # One person, one joint.
    before = NumPyPoseBody(fps=RATE, data=places[:, None, None], confidence=confidence)
    after = before.interpolate(new_fps=2 * RATE, kind=kind)
    seconds = np.linspace(0, (FRAMES - 1) / RATE, len(after.data))  # It keeps the first and the last frame's time.
    inside = (seconds >= frames[hidden][0] / RATE) & (seconds <= frames[hidden][-1] / RATE)
    wrong = np.linalg.norm(after.data[:, 0, 0].filled(np.nan) - circle(seconds), axis=1)
    masked = [int(np.ma.getmaskarray(body.data)[:, 0, 0, 0].sum()) for body in (before, after)]
    return *masked, float(after.confidence[inside].min()), float(wrong[inside].max())


print(f"pose_format {version('pose_format')}")
for kind in ("cubic", "linear"):
    before, after, confidence, wrong = changed((frames >= 25) & (frames < 75), kind)
    print(f"{kind}: {before} frames masked, then {after}; confidence at least {confidence:.2f}; wrong by up to {wrong:.2f} m")
    assert before == 50 and after == 0 and confidence > 0.89, "changed: what was hidden is not taken as seen"
    assert wrong > 0.3, "changed: the invented places are right"
before, after, confidence, _ = changed(frames >= 75, "cubic")
print(f"hidden at the end: {before} frames masked, then {after}")
assert before == 25 and after > 45 and confidence == 0, "changed: what is hidden at the end is taken as seen"
PYTHON
