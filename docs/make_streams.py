"""Make the folder `shift` of docs/own-data.md: made-up recordings of a watch, minutes long, with what was done when.

python docs/make_streams.py shift
"""

import sys
from pathlib import Path

import numpy as np

PEOPLE = ("anna", "ben", "chris", "dora")
MOVEMENTS = {"rest": (0.02, 0.3), "walk": (0.45, 1.9), "stir": (0.3, 1.1), "wipe": (0.6, 0.8)}
"""How strong (in g) and how fast (a second) each is."""
HZ, SECONDS, EPOCH = 50, 120, 1_790_000_000


def main(folder: Path) -> None:
    """Write a table, a signal with stamps in milliseconds for each person, and the intervals beside it."""
    draws = np.random.default_rng(0)
    for inside in ("wrist", "intervals"):
        (folder / inside).mkdir(parents=True, exist_ok=True)
    table = ["recording_id,subject,wrist,intervals"]
    for number, person in enumerate(PEOPLE):
        start = EPOCH + 3600 * number
        moments = np.arange(SECONDS * HZ) / HZ
        signal = np.column_stack([np.zeros_like(moments), np.zeros_like(moments), np.ones_like(moments)])
        signal = np.concatenate([signal, np.zeros_like(signal)], axis=1) + draws.normal(0, 0.03, (len(moments), 6))
        intervals, at = ["start,end,label"], 3.0
        while at < SECONDS - 15:
            label = str(draws.choice([*MOVEMENTS]))
            lasts = float(draws.uniform(6, 12))
            inside = (moments >= at) & (moments < at + lasts)
            strength, pace = MOVEMENTS[label]
            phase = 2 * np.pi * pace * draws.uniform(0.9, 1.1) * moments[inside, None] + draws.uniform(0, 6, 6)
            signal[inside] += strength * np.array([1, 0.5, 0.7, 40, 25, 60]) * np.sin(phase)
            intervals.append(f"{start + at:.3f},{start + at + lasts:.3f},{label}")
            at += lasts + float(draws.uniform(1, 4))
        stamps = np.round(1000 * (start + moments)).astype(np.int64)
        lines = [
            f"{stamp},{','.join(f'{value:.4f}' for value in line)}" for stamp, line in zip(stamps, signal, strict=True)
        ]
        header = "timestamp,acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z"
        (folder / "wrist" / f"{person}.csv").write_text("\n".join([header, *lines]) + "\n")
        (folder / "intervals" / f"{person}.csv").write_text("\n".join(intervals) + "\n")
        table.append(f"{person}-shift,{person},wrist/{person}.csv,intervals/{person}.csv")
    (folder / "recordings.csv").write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
