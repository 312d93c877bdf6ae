"""What recordings that lack a modality are worth: UTD-MHAD with a third of the training recordings without each.

The held-out person is whole, so that all ways are scored by the same recordings.

python3 start.py run python benchmarks/incomplete.py --data DIR [--jobs 2] [--seeds 28,29] [--folds 1,3,5,7]
"""

import argparse
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from measure import machine

from mmssl.data.protocols import split
from mmssl.data.recordings import Recordings
from mmssl.data.sources import open_dataset
from mmssl.study.presets import preset
from mmssl.training.prepared import Prepared
from mmssl.training.trial import run_trial

WAYS = {"left out altogether": None, "left_out": "left_out", "two_views": "two_views", "nothing lacks": "left_out"}
SCORES = ("val.accuracy", "val.imu.accuracy", "val.skeleton.accuracy")


def with_gaps(recordings: Recordings, whole: str) -> Recordings:
    """Of all people but one, a third of the recordings without the first modality and another without the second."""
    part = np.random.default_rng(0).permutation(len(recordings)) % 3
    arrays = {
        name: [
            own if row.subject == whole or part[i] != lacks else None
            for i, (row, own) in enumerate(zip(recordings.rows, recordings.arrays(name), strict=True))
        ]
        for lacks, name in enumerate(recordings.kinds)
    }
    return Recordings(recordings.description, recordings.rows, **arrays)


def trained(data: Path, way: str, fold: str, seed: int) -> tuple[str, list[float]]:
    torch.set_num_threads(1)
    recordings, _ = open_dataset("utd_mhad", data)
    if way != "nothing lacks":
        recordings = with_gaps(recordings, fold)
    if way == "left out altogether":
        recordings = recordings.having(tuple(recordings.kinds))
    knobs = {
        "seed": seed,
        "data.validation_subjects": [fold],
        "pretrain.incomplete": WAYS[way] or "left_out",
        "pretrain.precision": "bfloat16",
    }
    recipe = preset("utd_mhad", "vicreg").with_knobs(knobs)
    prepared = Prepared.of(recordings, recipe.data.steps, recipe.data.modalities)
    outcome = run_trial(recipe, prepared, split(recordings, recipe.data))
    return way, [outcome.metrics[name] for name in SCORES]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--data", type=Path, required=True)
    words.add_argument("--jobs", type=int, default=2)
    words.add_argument("--seeds", default="28,29")
    words.add_argument("--folds", default="1,3,5,7")
    given = words.parse_args()
    print(machine(1))
    todo = [
        (given.data, way, fold, int(seed))
        for seed in given.seeds.split(",")
        for fold in given.folds.split(",")
        for way in WAYS
    ]
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        for way, scores in pool.map(trained, *zip(*todo, strict=True)):
            found[way].append(scores)
            print(way, *(f"{score:.4f}" for score in scores), flush=True)
    print(f"| recordings that lack a modality | {' | '.join(SCORES)} | n |")
    print("|---|" + "---|" * (len(SCORES) + 1))
    for way, scores in found.items():
        means = [statistics.fmean(one) for one in zip(*scores, strict=True)]
        print(f"| {way} | {' | '.join(f'{mean:.4f}' for mean in means)} | {len(scores)} |")


if __name__ == "__main__":
    main()
