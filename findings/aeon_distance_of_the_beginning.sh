#!/usr/bin/env bash
# aeon's Euclidean distance of recordings of unequal length is that of their beginnings: one to its own prefix has 0.
#
# aeon 1.6.0, seen 2026-11-30. Guessed: an error, or padding, as recordings of unequal length have no such distance. Seen:
# the longer one is cut off without a word: ten ones, and ten ones followed by five hundreds, are 0 apart (so by
# `squared` and `manhattan`), and `KNeighborsTimeSeriesClassifier(distance="euclidean")`, which takes recordings of unequal
# length, gives a long recording the class of any that begins alike. What it costs: in data of people moving, whose
# recordings last one to five seconds and begin at rest, the nearest neighbour, a usual baseline, is found by the rest
# position: below half of the classes are wrong, and none where the movements are stretched to one length.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check aeon==1.6.0 numpy==2.3.5
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from aeon.classification.distance_based import KNeighborsTimeSeriesClassifier
from aeon.distances import euclidean_distance, manhattan_distance, squared_distance

short, long = np.ones((1, 10)), np.concatenate([np.ones((1, 10)), np.full((1, 5), 100.0)], axis=1)
apart = {measure.__name__: measure(short, long) for measure in (euclidean_distance, squared_distance, manhattan_distance)}
print(f"aeon {version('aeon')}: {apart}")
assert set(apart.values()) == {0.0}, "changed: the part that only one recording has counts"

draws = np.random.default_rng(0)


def recording(frequency: int, frames: int) -> np.ndarray:
    """At rest for 20 frames, then a movement."""
    time = np.linspace(0, 1, frames - 20)
    moved = np.concatenate([np.zeros(20), np.sin(2 * np.pi * frequency * time)])
    return (moved + 0.05 * draws.normal(size=frames))[None]


labels = np.array([1, 3] * 20)
quick = [recording(label, 25) for label in labels]
slow = [recording(label, 80) for label in labels]


def right(train, test) -> float:
    model = KNeighborsTimeSeriesClassifier(n_neighbors=1, distance="euclidean").fit(train, labels)
    return float((model.predict(test) == labels).mean())


def stretched(recordings) -> np.ndarray:
    grid = np.linspace(0, 1, 60)
    moving = [one[0, 20:] for one in recordings]
    return np.stack([np.interp(grid, np.linspace(0, 1, len(one)), one)[None] for one in moving])


as_they_are, of_one_length = right(quick, slow), right(stretched(quick), stretched(slow))
print(f"right: {as_they_are:.0%} as they are, {of_one_length:.0%} stretched to one length")
assert as_they_are < 0.75 and of_one_length == 1, "changed: recordings of unequal length are told apart"
PYTHON
