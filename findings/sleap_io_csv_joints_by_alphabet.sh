#!/usr/bin/env bash
# Written to CSV by sleap-io and read back, a skeleton's joints are in the order of the alphabet: the ankle is in the wrist's
# place.
#
# sleap-io 0.9.5, seen 2026-11-30. Guessed: `load_csv` after `save_csv`, both by default, gives the array that was saved. Seen:
# the joints wrist, elbow, ankle come back as ankle, elbow, wrist, and `Labels.numpy()`, which has joints by place, gives the
# ankle where the wrist was; the writer sorts them already. The format "instances" keeps the order in the file and its reader
# sorts; so does that of "frames", which also takes the person's own score for a fourth joint, `inst0`, always NaN. "points"
# keeps the order, and so does an SLP file. `save_metadata=True`, off by default, keeps it too, as long as its .json file
# travels along: "full round-trip reconstruction", says the page, and nothing of the order without it. What it costs: number of
# joints and of NaN are right; a network, or a list of bones by place, that was made from the SLP file reads a person whose
# wrist and ankle are exchanged. Choose joints by their names.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check --no-deps sleap-io==0.9.5 attrs==26.1.0 h5py==3.16.0 \
    imageio==2.38.1 lazy-loader==0.6 numpy==2.4.6 packaging==26.4 pandas==3.1.1 pillow==13.0.0 python-dateutil==4.0.0 \
    shapely==2.2.0 simplejson==4.3.0 six==1.17.0 tqdm==4.70.1
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
import sleap_io

JOINTS = ["wrist", "elbow", "ankle"]
skeleton = sleap_io.Skeleton(list(JOINTS))
video = sleap_io.Video(filename="walk.mp4", open_backend=False)
frames = []
for index in range(5):
    places = np.array([[100.0, 100.0], [200.0, 200.0], [300.0, 300.0]]) + index
    person = sleap_io.PredictedInstance.from_numpy(places, point_scores=np.full(3, 0.9), score=0.8, skeleton=skeleton)
    frames.append(sleap_io.LabeledFrame(video=video, frame_idx=index, instances=[person]))
labels = sleap_io.Labels(frames)
before = labels.numpy()[0, 0, :, 0].tolist()

after, names = {}, {}
for form in ("sleap", "instances", "frames", "points"):
    sleap_io.save_csv(labels, f"{form}.csv", format=form)
    read = sleap_io.load_csv(f"{form}.csv", format=form)
    after[form], names[form] = read.numpy()[0, 0, :, 0].tolist(), list(read.skeletons[0].node_names)
sleap_io.save_csv(labels, "with.csv", save_metadata=True)
after["sleap with .json"] = sleap_io.load_csv("with.csv").numpy()[0, 0, :, 0].tolist()
sleap_io.save_slp(labels, "walk.slp")
after["slp"] = sleap_io.load_slp("walk.slp", open_videos=False).numpy()[0, 0, :, 0].tolist()

print(f"sleap-io {version('sleap-io')}: x of {JOINTS} {before}; read back {after}; joints {names}")
assert after["sleap"] == before[::-1] == after["instances"], "changed: the order of the joints is kept"
assert names["frames"] == ["ankle", "elbow", "inst0", "wrist"], "changed: the reader of frames finds other joints"
assert after["points"] == after["slp"] == after["sleap with .json"] == before, "changed: other formats sort as well"
PYTHON
