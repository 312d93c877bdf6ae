"""Print the classes of one recording and their probabilities, the likeliest first, with numpy and onnxruntime alone.

    python classify_onnx.py model.raw.onnx wrist.csv [CSV of the next modality ...]

The model is what `mmssl-tune convert EXPORT --to onnx --raw` writes. A CSV has names in its first line, commas between
cells, lines at even moments and no empty cell in the columns that the model takes.
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

model, *files = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
notes = session.get_modelmeta().custom_metadata_map
columns, longest, classes = (json.loads(notes[name]) for name in ("columns", "longest", "classes"))
inputs = {}
for (modality, names), file in zip(columns.items(), files, strict=True):
    with Path(file).open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines))
    try:
        inputs[modality] = np.array([[float(row[name]) for name in names] for row in rows], np.float32)
    except (KeyError, TypeError, ValueError) as error:
        sys.exit(f"{file}: a column is missing, or a cell is no number: {error}")
    if not 0 < len(rows) <= longest[modality] or not np.isfinite(inputs[modality]).all():
        sys.exit(f"{file}: wanted are 1 to {longest[modality]:g} lines of finite numbers")
[probabilities] = np.asarray(session.run(["probabilities"], inputs)[0])
for i in np.argsort(-probabilities):
    print(f"{classes[i]},{probabilities[i]:.6f}")
