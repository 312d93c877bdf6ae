#!/usr/bin/env bash
# Where the held-out person never shows an action, ignite's macro F1, recall and precision of faultless predictions are
# below 1; and what torchmetrics and torcheval both call macro accuracy are two numbers.
#
# pytorch-ignite 0.5.5, torcheval 0.0.7, torchmetrics 1.9.0 and scikit-learn 1.9.0 with torch 2.13.0, seen 2026-11-30.
# Guessed: a class that is neither shown nor predicted is left out of the mean, as in scikit-learn, torchmetrics and
# torcheval: 1 for faultless predictions. Seen: ignite counts it as 0: two classes of three give 0.667 for F1, recall
# and precision. And where one recording of four is taken for the absent class, macro accuracy is 0.75 by torcheval, the
# mean over the classes that are shown (scikit-learn's balanced accuracy), and 0.5 by torchmetrics, the mean over those
# shown or predicted. What it costs: leaving one person out at a time, each fold is scored over other classes than one
# thinks, and tables of two labs with the same predictions differ by the share of actions that somebody left out.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pytorch-ignite==0.5.5 torcheval==0.0.7 \
    torchmetrics==1.9.0 scikit-learn==1.9.0 torch==2.13.0 numpy==2.4.6
cd "$folder"
"$folder/env/bin/python" -W ignore - <<'PYTHON'
import logging
from importlib.metadata import version

import ignite.metrics
import torch
import torcheval.metrics.functional as torcheval
import torchmetrics.functional as torchmetrics
from sklearn.metrics import balanced_accuracy_score, f1_score

logging.disable(logging.CRITICAL)  # torcheval says that a class has no recording, and what it makes of it.
print(*(f"{name} {version(name)}" for name in ("pytorch-ignite", "torcheval", "torchmetrics", "scikit-learn")))
CLASSES = 3


def by_ignite(metric, predicted, true):
    metric.update((torch.nn.functional.one_hot(predicted, CLASSES).float(), true))
    return float(torch.as_tensor(metric.compute()))


true = torch.tensor([0, 0, 1, 1])  # Nobody shows class 2.
faultless = {
    "scikit-learn F1": f1_score(true, true, average="macro"),
    "torchmetrics F1": float(torchmetrics.f1_score(true, true, task="multiclass", num_classes=CLASSES, average="macro")),
    "torcheval F1": float(torcheval.multiclass_f1_score(true, true, num_classes=CLASSES, average="macro")),
    "ignite F1": by_ignite(ignite.metrics.Fbeta(1.0), true, true),
    "ignite recall": by_ignite(ignite.metrics.Recall(average="macro"), true, true),
    "ignite precision": by_ignite(ignite.metrics.Precision(average="macro"), true, true),
}
print("faultless:", {name: round(value, 3) for name, value in faultless.items()})
for name, value in faultless.items():
    expected = 2 / 3 if name.startswith("ignite") else 1
    assert abs(value - expected) < 1e-6, f"changed: {name} of faultless predictions is {value}"

predicted = torch.tensor([0, 2, 1, 1])
accuracy = {
    "scikit-learn, balanced": balanced_accuracy_score(true, predicted),
    "torcheval": float(torcheval.multiclass_accuracy(predicted, true, num_classes=CLASSES, average="macro")),
    "torchmetrics": float(
        torchmetrics.accuracy(predicted, true, task="multiclass", num_classes=CLASSES, average="macro")
    ),
}
print("macro accuracy, one taken for the absent class:", {name: round(value, 3) for name, value in accuracy.items()})
assert [round(value, 3) for value in accuracy.values()] == [0.75, 0.75, 0.5], "changed: macro accuracy"
PYTHON
