"""What training costs around its arithmetic: indexing, augmentation and logging; fine-tuning and scoring; preparation.

MMSSL_UTD_MHAD=FOLDER python3 start.py run python benchmarks/around_training.py

Reading is timed where there are recordings of UTD-MHAD.
"""

import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from made_up import prepared, recordings
from measure import in_turn, machine, ratio, restarted

from mmssl.data.protocols import Split
from mmssl.data.utd_mhad import read
from mmssl.objectives import over_pairs
from mmssl.recipe import Recipe
from mmssl.training.model import Model
from mmssl.training.preparation import Standardisation
from mmssl.training.prepared import Prepared
from mmssl.training.pretraining import Pretraining, adam, pretrain
from mmssl.training.selection import in_memory
from mmssl.training.trial import run_trial

EPOCHS, ROUNDS = 4, 5


def against_bare_steps(system: str) -> str:
    """Pre-training over the same number of bare steps of the same networks, each on a batch that is ready."""
    recipe, data, split = prepared({"pretrain.epochs": EPOCHS}, system)
    as_they_are = {
        name: Standardisation(*(np.full(one.shape, value, np.float32) for value in (0, 1)))
        for name, one in data.description.signals.items()
    }
    model = Model.fresh(recipe, data.description, as_they_are)
    tensors = in_memory(data.selected(model, split.train))
    seconds = in_turn(
        {
            "pretrain": lambda: pretrain(Pretraining(model, tensors, seed=0)),
            "bare": lambda: bare(model, tensors),
        },
        ROUNDS,
    )
    return ratio(seconds["pretrain"], seconds["bare"])


def bare(model: Model, tensors: dict[str, torch.Tensor]) -> None:
    recipe = model.recipe
    names = recipe.data.modalities if len(recipe.data.modalities) == 2 else recipe.data.modalities * 2
    count = len(tensors[names[0]])
    batches = -(-count // recipe.pretrain.batch_size)
    objective = recipe.objective.loss.with_knobs(recipe.objective, torch.Generator())
    parts = model.encoders, model.projectors
    optimizer = adam(parts, 1e-3)
    for part in parts:
        part.train()
    ready = [[tensors[name].tensor_split(batches)[i] for name in names] for i in range(batches)]
    for _ in range(EPOCHS):
        for views in ready:
            embedded = [
                model.projectors[name](model.encoders[name](view)) for name, view in zip(names, views, strict=True)
            ]
            optimizer.zero_grad()
            over_pairs(objective, embedded, [], [])["loss"].backward()
            optimizer.step()


def after_pretraining(recipe: Recipe, data: Prepared, split: Split) -> str:
    """Fine-tuning and scoring over pre-training, from a trial with a twentieth of its epochs."""
    few = recipe.with_knobs({"pretrain.epochs": recipe.pretrain.epochs // 20})
    shares: list[float] = []
    for _ in range(3):
        seconds = run_trial(few, data, split).seconds
        shares.append((seconds["finetune"] + seconds["score"]) / (20 * seconds["pretrain"]))
    return f"{statistics.median(shares):.3f} ({min(shares):.3f} to {max(shares):.3f})"


def main() -> None:
    torch.set_num_threads(1)
    print(machine(1))
    for system in ("vicreg", "vicreg_imu", "vicreg_skeleton"):
        print(f"{system}: pre-training over bare steps {against_bare_steps(system)}")
    recipe, data, split = prepared()
    print(f"vicreg: fine-tuning and scoring over pre-training {after_pretraining(recipe, data, split)}")
    made = recordings()
    started = time.perf_counter()
    Prepared.of(made, recipe.data.steps, recipe.data.modalities)
    print(f"preparation of {len(made)} recordings {time.perf_counter() - started:.3f} s")
    if folder := os.environ.get("MMSSL_UTD_MHAD"):
        reading = in_turn({"reading": lambda: read(Path(folder))}, ROUNDS)["reading"]
        print(f"reading UTD-MHAD, its files known to the system, {statistics.median(reading):.3f} s")


if __name__ == "__main__":
    restarted()
    main()
