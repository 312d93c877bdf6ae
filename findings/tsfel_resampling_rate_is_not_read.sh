#!/usr/bin/env bash
# tsfel's dataset_features_extractor does not read `resampling_rate`, the name that its page gives, and brings all data to 30
# Hz.
#
# tsfel 0.2.0, seen 2026-11-30. Guessed: recordings of 100 Hz, with `resampling_rate=100`, stay as they are, and windows of 100
# samples last one second; by default too, as the page says "default: 100". Seen: with it and without it the data are brought
# to 30 Hz, by interpolation and without a filter: a minute gives 17 windows of 3.3 s in place of 59, and a tremor of 20 Hz is
# reported as 9.9 Hz, its mirror at 15 Hz. The name that the code reads is `resample_rate`; a wrong name is no error. What it
# costs: all that is faster than 15 Hz turns up, in every feature, as something slower, and the windows are not those of the
# labels.
set -euo pipefail
folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check tsfel==0.2.0 numpy==2.4.6 pandas==3.1.1 scipy==1.17.1 \
    scikit-learn==1.9.1
cd "$folder"
cat > extract.py <<'PYTHON'
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import tsfel

RATE, TREMOR = 100, 20
time = np.arange(60 * RATE) / RATE
Path("data/walk").mkdir(parents=True)
recording = pd.DataFrame({"time": (time * 1e9).astype("int64"), "x": np.sin(2 * np.pi * TREMOR * time)})
recording.to_csv("data/walk/Accelerometer.txt", header=False, index=False)
features = {name: value for name, value in tsfel.get_features_by_domain("spectral")["spectral"].items()
            if name == "Fundamental frequency"}
found = {}
for keyword in ("resampling_rate", "resample_rate", None):
    folder = f"features of {keyword}".replace(" ", "_")
    tsfel.dataset_features_extractor(
        "data", {"spectral": features}, verbose=0, window_size=RATE, output_directory=folder, n_jobs=None,
        **({keyword: RATE} if keyword else {}),
    )
    (table,) = (pd.read_csv(path, index_col=0) for path in Path().glob(f"{folder}*/**/Features.csv"))
    found[keyword] = len(table), float(table.iloc[:, 0].median())
documented = tsfel.dataset_features_extractor.__doc__
print(f"tsfel {version('tsfel')}: windows and frequency of {TREMOR} Hz by the keyword used: {found}")
assert "resampling_rate" in documented and "resample_rate" not in documented, "changed: the page names another keyword"
assert found["resampling_rate"] == found[None] == (17, 9.9), "changed: the keyword is read, or 30 Hz is no longer the default"
assert found["resample_rate"] == (59, TREMOR), "changed: the other keyword is not read"
PYTHON
"$folder/env/bin/python" -W ignore extract.py
