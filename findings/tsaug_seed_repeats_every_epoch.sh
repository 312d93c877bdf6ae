#!/usr/bin/env bash
# A tsaug augmenter with a seed makes the same change at every call: in training, the same views in every epoch.
#
# tsaug 0.2.1, seen 2026-11-29. Guessed: a seed starts a generator from which each call draws anew, as in torchvision or
# numpy, so that a run can be made again and its epochs still differ. Seen: each call begins from the seed. AddNoise,
# Drift, TimeWarp, Crop, Dropout and pipelines of them give equal arrays twice, and with `@ 0.5` the same recordings of a
# batch stay unchanged every time. Without a seed the calls differ, but numpy's global seed does not govern them.
# What it costs: whoever seeds for reproducibility trains on one fixed copy of the data. Contrastive pre-training then
# sees the same pair of views for ever, and an ablation reports that augmentation does not help. A new augmenter for each
# batch, with a seed drawn from one's own generator, gives both.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tsaug==0.2.1 numpy==1.26.4 scipy==1.17.1
"$folder/env/bin/python" - <<'PYTHON'
import numpy as np
import tsaug

signals = np.random.default_rng(0).normal(size=(4, 50, 3))
makers = {
    "AddNoise": lambda seed: tsaug.AddNoise(scale=0.1, seed=seed),
    "Drift": lambda seed: tsaug.Drift(seed=seed),
    "TimeWarp": lambda seed: tsaug.TimeWarp(seed=seed),
    "Crop": lambda seed: tsaug.Crop(20, seed=seed),
    "Dropout": lambda seed: tsaug.Dropout(p=0.2, size=5, seed=seed),
}
same = {}
for seed in (1, None):
    for name, make in makers.items():
        augmenter = make(seed)
        same[name, seed] = np.array_equal(augmenter.augment(signals), augmenter.augment(signals))
print("tsaug 0.2.1, two calls equal:", {f"{name}, seed {seed}": equal for (name, seed), equal in same.items()})
assert all(equal == (seed == 1) for (_, seed), equal in same.items()), "changed: calls of a seeded augmenter differ"

half = tsaug.AddNoise(scale=0.1, seed=1) @ 0.5
changed = [(half.augment(signals) != signals).any(axis=(1, 2)).tolist() for _ in range(3)]
print("changed of four, in three calls:", changed)
assert changed[0] == changed[1] == changed[2] and not all(changed[0]), "changed: other recordings at each call"

drawn = []
for _ in range(2):
    np.random.seed(0)
    drawn.append(makers["AddNoise"](None).augment(signals))
assert not np.array_equal(*drawn), "changed: numpy's global seed governs an augmenter without a seed"
PYTHON
