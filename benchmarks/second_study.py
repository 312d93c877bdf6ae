"""What a study costs that changes only fine-tuning, where another beside it has pre-trained the same encoders.

python3 start.py run python benchmarks/second_study.py

Both are launched as a user would. The first pre-trains for a twentieth of the epochs of the paper's recipe, and is
counted with all of them; what reading the kept encoders, fine-tuning and scoring take does not depend on their number.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import yaml
from made_up import recordings
from measure import machine

from mmssl.study.presets import preset

SHARE = 20


def launched(folder: Path, name: str, grid: dict[str, list[float]], epochs: int) -> pd.DataFrame:
    """The trials of a study of one or more fine-tunings, over the same four folds."""
    space = folder / f"{name}.yaml"
    space.write_text(
        yaml.safe_dump(
            {
                "recipe": "paper",
                "fixed": {"pretrain.epochs": epochs},
                "grid": grid,
                "folds": "leave_one_subject_out",
            }
        )
    )
    subprocess.run(
        [
            *(sys.executable, "-m", "mmssl.cli", "launch", str(space), "--name", name),
            *("--dataset", str(folder / "made_up.parquet"), "--storage", str(folder)),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "MMSSL_PRETRAINED_GB": "1"},
    )
    return pd.read_parquet(folder / name / "trials.parquet")


def main() -> None:
    epochs = preset("utd_mhad", recipe="paper").pretrain.epochs // SHARE
    with TemporaryDirectory() as place:
        folder = Path(place)
        recordings().save(folder / "made_up.parquet")
        first = launched(folder, "first", {"finetune.lr": [1e-3]}, epochs)
        second = launched(folder, "second", {"finetune.lr": [3e-3]}, epochs)
    if not bool(second["pretraining_reused"].all()):
        sys.exit(json.dumps(second["pretraining_id"].tolist()))
    short = first["seconds.total"].sum()
    whole = short + (SHARE - 1) * first["seconds.pretrain"].sum()
    again = second["seconds.total"].sum()
    print(machine(1))
    print(f"{len(second)} trials: {again:.1f} s of trials, the first study's {whole:.0f} s ({short:.0f} s measured)")
    print(f"second study over first: {again / whole:.4f}")


if __name__ == "__main__":
    main()
