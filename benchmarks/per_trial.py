"""What a trial costs beyond its training: start-up, reports, checkpoints, tables.

python3 start.py run python benchmarks/per_trial.py

A study of 40 trials of almost no training; each of the slots in which trials run is taken all the time from the first
trial's beginning to the last one's end, so that what is left of it after training is what the search costs.
"""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import yaml
from measure import machine

from mmssl.process import cpus

SPACE = {
    "fixed": {"pretrain.epochs": 1, "finetune.epochs": 1, "encoder.projector.hidden": 16, "finetune.hidden": 8},
    "grid": {"objective.mu": [float(mu) for mu in range(1, 11)]},
    "folds": "leave_one_subject_out",
}


def main() -> None:
    with TemporaryDirectory() as folder:
        space = Path(folder) / "small.yaml"
        space.write_text(yaml.safe_dump(SPACE))
        words = [sys.executable, "-m", "mmssl.cli", "launch", str(space), "--storage", folder, "--name", "s"]
        subprocess.run(words, check=True, capture_output=True)
        rows = pd.read_parquet(Path(folder) / "s" / "trials.parquet").sort_values("started")
    at_once = cpus()
    first, last = rows["started"].iloc[0], rows["finished"].max()
    slots = at_once * (last - first).total_seconds()
    phases = {phase: rows[f"seconds.{phase}"].mean() for phase in ("pretrain", "finetune", "score")}
    training = sum(phases.values()) * len(rows)
    apart = sorted((b - a).total_seconds() for a, b in pairwise(sorted(rows["finished"])))
    print(machine(1))
    print(f"{len(rows)} trials, {at_once} at once: {(slots - training) / len(rows):.3f} s a trial beyond its training")
    print("of training itself " + ", ".join(f"{name} {seconds:.3f} s" for name, seconds in phases.items()))
    print(f"an end every {apart[len(apart) // 2]:.3f} s (median)")


if __name__ == "__main__":
    main()
