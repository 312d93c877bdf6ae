"""A million recordings: what reading, preparing and sharing them takes, and what they cost in a training step.

python3 start.py run python benchmarks/large.py [RECORDINGS] [FOLDER]

Makes the recordings up, of UTD-MHAD's shapes (50 steps of 20 joints and 6 channels when prepared): 13 GB a million as a
file, and as much again prepared. Both stay in FOLDER, the current one by default.
"""

import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from made_up import prepared as small_ones
from measure import machine, ratio, restarted

from mmssl.data.description import Row
from mmssl.data.recordings import Recordings
from mmssl.data.utd_mhad import DESCRIPTION
from mmssl.study.presets import preset
from mmssl.training.adam import adam
from mmssl.training.model import Model
from mmssl.training.prepared import CACHE_VARIABLE, Prepared
from mmssl.training.pretraining import Pretraining, precision

RECIPE = preset("utd_mhad", "vicreg", "default")
PART, LABELLED, STEPS, ROUNDS = 5_000, 2_000, 8, 5


def parts(count: int) -> Iterator[Recordings]:
    draws = np.random.default_rng(0)
    classes = DESCRIPTION.classes
    for first in range(0, count, PART):
        rows = [
            Row(recording_id=f"r{i}", label=classes[i % len(classes)], subject="1357"[i % 4])
            if i < LABELLED
            else Row(recording_id=f"r{i}")
            for i in range(first, min(first + PART, count))
        ]
        arrays = {
            name: [draws.standard_normal((50 + i % 5, *one.shape), dtype=np.float32) for i in range(len(rows))]
            for name, one in DESCRIPTION.modalities.items()
        }
        yield Recordings(DESCRIPTION, rows, **arrays)


def prepared(file: Path) -> Prepared:
    return Prepared.of(Recordings.load(file), RECIPE.data.steps, RECIPE.data.modalities)


def read(file: Path) -> None:
    started = time.perf_counter()
    recordings = Recordings.load(file)
    loaded = time.perf_counter()
    named = recordings.fingerprint[:12]
    known = time.perf_counter()
    Prepared.of(recordings, RECIPE.data.steps, RECIPE.data.modalities, print)
    done = time.perf_counter()
    print(
        f"read and checked {loaded - started:.0f} s, fingerprint {named} {known - loaded:.0f} s, "
        f"prepared {done - known:.0f} s; most memory {status('VmHWM'):.2f} GB"
    )


def status(entry: str) -> float:
    """GB of memory that /proc/self/status counts."""
    return (
        next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if entry in line) / 1e6
    )


def share(pid: int) -> float:
    """GB of a process's memory, each page divided by the number of processes that have it mapped."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1e6


def work(content: Prepared, ready: "multiprocessing.Barrier") -> None:  # type: ignore[valid-type]
    """A trial's part in memory: every recording once, in an order of its own."""
    torch.set_num_threads(1)
    training = pretraining(content)
    batches = training.batches()
    for batch in batches:
        for one in training.tensors.values():
            one[batch].sum()
    ready.wait()
    ready.wait()


def pretraining(content: Prepared) -> Pretraining:
    rows = np.arange(len(content.labels))
    standardisations = {name: content.standardisation(name, rows) for name in content.description.signals}
    model = Model.fresh(RECIPE, content.description, standardisations)
    return Pretraining(model, content.padded(model, rows), seed=os.getpid())


def in_memory(content: Prepared, workers: int) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(workers + 1)
    processes = [context.Process(target=work, args=(content, ready)) for _ in range(workers)]
    for one in processes:
        one.start()
    ready.wait()
    data = sum(array.nbytes for array in content.inputs.values()) / 1e9
    each = [share(one.pid or 0) * 1.024 for one in processes]
    print(
        f"{workers} workers that have read all: {sum(each):.2f} GB together, {sum(each) / data:.3f} of the data's "
        f"{data:.2f} GB"
    )
    ready.wait()
    for one in processes:
        one.join()


def around_steps(large: Prepared) -> None:
    """What indexing and augmentation add to steps on ready batches, of few recordings and of all."""
    torch.set_num_threads(1)
    _, small, split = small_ones()
    few = replace(
        small,
        inputs={name: array[split.train] for name, array in small.inputs.items()},
        labels=small.labels[split.train],
        has={name: own[split.train] for name, own in small.has.items()},
    )
    trainings = {"few": pretraining(few), "all": pretraining(large)}
    ready = trainings["few"]
    model = ready.model
    optimizer = adam([model.encoders, model.projectors], RECIPE.pretrain.lr)
    views = {name: one.views(one.batches()[0]) for name, one in trainings.items()}
    size = {name: len(own[0]) for name, own in views.items()}
    bare, around = list[float](), {name: list[float]() for name in trainings}
    for round_ in range(ROUNDS + 1):
        started = time.perf_counter()
        for _ in range(STEPS):
            with precision(RECIPE, ready.device):
                named = zip(ready.branches, views["all"], strict=True)
                embedded = [model.projectors[name](model.encoders[name](view)) for name, view in named]
            loss = ready.loss(embedded, torch.arange(size["all"]) % ready.recordings)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        step = (time.perf_counter() - started) / STEPS
        for name, one in trainings.items():
            chosen = [torch.randint(one.recordings, (size["all"],)) for _ in range(STEPS)]
            started = time.perf_counter()
            for batch in chosen:
                one.views(batch)
            if round_:
                around[name].append(step + (time.perf_counter() - started) / STEPS)
        if round_:
            bare.append(step)
    for name, seconds in around.items():
        print(f"step over bare step, {trainings[name].recordings} recordings: {ratio(seconds, bare)}")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else ".").absolute()
    os.environ[CACHE_VARIABLE] = str(folder)
    print(machine(1))
    file = folder / f"made_up_{count}.parquet"
    if not file.is_file():
        started = time.perf_counter()
        Recordings.save_parts(file, parts(count))
        print(f"written in {time.perf_counter() - started:.0f} s, {file.stat().st_size / 1e9:.1f} GB")
    reading = multiprocessing.get_context("spawn").Process(target=read, args=(file,))
    reading.start()
    reading.join()
    content = prepared(file)
    in_memory(content, 2)
    around_steps(content)


if __name__ == "__main__":
    restarted()
    main()
