"""What the driver spends on one report of a trial that runs: Ray, Tune and the recorder together.

python3 start.py run python benchmarks/reports.py

The same small study with a report after each epoch, and with none but each trial's last: the difference of the driver's
own CPU time (its threads counted, workers not), over the number of reports.
"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from made_up import recordings
from measure import machine

EPOCHS, POINTS = 150, 4

# It wants what is refused: probes by which nothing is given up.
DRIVER = """
import resource, sys
from mmssl.cli import main
from mmssl.study import refusals
refusals.refuse = lambda plan, recordings: None
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
spent = resource.getrusage(resource.RUSAGE_SELF)
print(spent.ru_utime + spent.ru_stime)
"""


def spent(folder: Path, every: int) -> float:
    """Seconds of CPU of a study's driver whose trials report after so many epochs each."""
    fixed = {
        "pretrain.epochs": EPOCHS,
        "pretrain.batch_size": 16,
        "finetune.epochs": 1,
        "data.steps": 16,
        "encoder.imu.layers": 1,
        "encoder.imu.feedforward": 8,
        "encoder.projector.hidden": 8,
        "encoder.projector.width": 8,
    }
    space = {
        "fixed": fixed,
        # From the fifth point on the rule would act.
        "grid": {"objective.mu": [float(mu + 1) for mu in range(POINTS)]},
        "folds": [["7"]],
        "prune": {"probe": "median", "every": every},
    }
    (folder / f"{every}.yaml").write_text(yaml.safe_dump(space))
    words = ["launch", folder / f"{every}.yaml", "--dataset", folder / "few.parquet", "--storage", folder]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, *map(str, words), "--name", f"every{every}"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "MMSSL_PRETRAINED_GB": "0"},
    )
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    print(machine(1))
    with TemporaryDirectory() as place:
        folder = Path(place)
        recordings(108).save(folder / "few.parquet")
        few, many = spent(folder, 10 * EPOCHS), spent(folder, 1)
    reports = POINTS * EPOCHS
    each = 1000 * (many - few) / reports
    print(f"{reports} reports: {each:.2f} ms each (driver {few:.1f} s without, {many:.1f} s with)")


if __name__ == "__main__":
    main()
