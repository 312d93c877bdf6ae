"""Threads and trials at once: how many pre-training steps all CPUs make, shared out among more or fewer trials.

python3 start.py run python benchmarks/packing.py
"""

import multiprocessing
import statistics
import time
from multiprocessing.synchronize import Barrier

import torch
from made_up import TRAINING, prepared
from measure import machine, restarted

from mmssl.process import cpus
from mmssl.recipe import Recipe
from mmssl.training.model import Model
from mmssl.training.preparation import Standardisation
from mmssl.training.prepared import Prepared
from mmssl.training.pretraining import Pretraining, pretrain

EPOCHS, ROUNDS = 4, 5


def train(recipe: Recipe, data: Prepared, threads: int, together: Barrier) -> None:
    """One trial's pre-training, again and again, each time begun with the others and after the last one's end."""
    torch.set_num_threads(threads)
    model = Model.fresh(recipe, data.description, {"imu": Standardisation.fit(data.inputs["imu"])})
    tensors = data.selected(model, torch.arange(TRAINING).numpy())
    for _ in range(1 + ROUNDS):
        together.wait()
        pretrain(Pretraining(model, tensors, seed=0))
        together.wait()


def rates(at_once: int, threads: int) -> list[float]:
    """Epochs a second of all trials together, round by round; the first does not count."""
    recipe, data, _ = prepared({"pretrain.epochs": EPOCHS})
    spawning = multiprocessing.get_context("spawn")
    together = spawning.Barrier(at_once + 1)
    workers = [spawning.Process(target=train, args=(recipe, data, threads, together)) for _ in range(at_once)]
    for worker in workers:
        worker.start()
    found: list[float] = []
    for _ in range(1 + ROUNDS):
        together.wait()
        started = time.perf_counter()
        together.wait()
        found.append(at_once * EPOCHS / (time.perf_counter() - started))
    for worker in workers:
        worker.join()
    return found[1:]


def main() -> None:
    there = cpus()
    print(machine(there))
    shared_out = [(there // threads, threads) for threads in (1, 2, 4, 8, 16, 32, 64) if there % threads == 0]
    seen = {(at_once, threads): statistics.median(rates(at_once, threads)) for at_once, threads in shared_out}
    for (at_once, threads), rate in seen.items():
        share = rate / seen[shared_out[0]]
        print(f"{at_once} trials at once, {threads} threads each: {rate:.2f} epochs a second, {share:.2f} of the first")


if __name__ == "__main__":
    restarted()
    main()
