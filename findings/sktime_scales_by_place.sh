#!/usr/bin/env bash
# In an sktime pipeline, StandardScaler scales test recording number i with the mean and deviation of training recording
# number i.
#
# sktime 1.2.0 and scikit-learn 1.9.1, seen 2026-11-30. Guessed: `StandardScaler() * classifier` learns one mean and deviation
# per channel from all training recordings. Seen: sktime wraps the scaler, fits one copy for each training recording, and
# gives the test recordings these copies in turn. Where there are more or fewer test recordings, it raises an error that says
# so, as does the page of the wrapper, which the user never names; where there are as many, as in BasicMotions, its own data of
# people wearing an IMU, it says nothing. What it costs: the prediction for a recording depends on its place in the test data:
# 90 % are right in the file's order, which is by class in both halves, so that the place gives the class away; about half in
# another order; all with one scaler for all.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check sktime==1.2.0 scikit-learn==1.9.1 numpy==2.4.6 pandas==3.0.6
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
from importlib.metadata import version

import numpy as np
from sklearn.preprocessing import StandardScaler
from sktime.classification.feature_based import SummaryClassifier
from sktime.datasets import load_basic_motions
from sktime.transformations.adapt import TabularToSeriesAdaptor

train, train_labels = load_basic_motions(split="train", return_type="numpy3d")
test, labels = load_basic_motions(split="test", return_type="numpy3d")
order = np.random.default_rng(0).permutation(len(test))


def predicted(model, train, test) -> np.ndarray:
    return model.fit(train, train_labels).predict(test)


def scaled(recordings) -> np.ndarray:
    """Every channel less its mean, by its deviation, of all training recordings together."""
    return (recordings - train.mean(axis=(0, 2), keepdims=True)) / train.std(axis=(0, 2), keepdims=True)


as_filed = predicted(StandardScaler() * SummaryClassifier(random_state=0), train, test)
mixed = predicted(StandardScaler() * SummaryClassifier(random_state=0), train, test[order])
one_scaler = predicted(SummaryClassifier(random_state=0), scaled(train), scaled(test))
print(f"sktime {version('sktime')}, {len(train)} training and {len(test)} test recordings")
print(f"right: {np.mean(as_filed == labels):.0%} as filed, {np.mean(mixed == labels[order]):.0%} in another order, ", end="")
print(f"{np.mean(one_scaler == labels):.0%} with one scaler; {np.sum(mixed != as_filed[order])} are now another class")
assert np.sum(mixed != as_filed[order]) > 5, "changed: the order of the test recordings does not matter"
assert np.mean(one_scaler == labels) > 0.95, "changed: with one scaler, not all are right"

wrapped = TabularToSeriesAdaptor(StandardScaler()).fit(train)  # What sktime makes of the scaler.
by_place = (test - train.mean(axis=2, keepdims=True)) / train.std(axis=2, keepdims=True)
assert np.allclose(wrapped.transform(test), by_place), "changed: not the scale of the training recording at the same place"
PYTHON
