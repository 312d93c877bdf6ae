"""Is everything there that a study needs? Tried on the Ray that would run it, before it runs for days."""

import math
import os
import resource
import shutil
import statistics
import sys
import time
import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import ray
import torch
from ray.exceptions import GetTimeoutError, RayError

from mmssl.data.protocols import Split, split
from mmssl.data.recordings import Recordings
from mmssl.data.rows import having, shown_rows
from mmssl.errors import UserError
from mmssl.private_folder import own_folder
from mmssl.process import cpus
from mmssl.recipe import Recipe
from mmssl.search.nodes import Node, faults, last_line, nodes, on_each
from mmssl.search.recorder import LEADING
from mmssl.search.resources import NotStartedError, growth, start
from mmssl.search.share import Resources, Share, fit
from mmssl.study.folder import Study
from mmssl.study.plan import Plan
from mmssl.study.pretrained import most_pretrained
from mmssl.training.bfloat16 import has_instructions
from mmssl.training.model import Model
from mmssl.training.prepared import Prepared
from mmssl.training.together import alike, rates
from mmssl.training.trial import run_trial

_CONTEXT = 500_000_000
"""Bytes that a process takes of a GPU beside its tensors."""
GB = 1e9
_EPOCHS = 3
"""Of one batch each, in the trial that is tried; the first warms up and is not counted."""
_SECONDS_TO_TRY = 60
_BYTES_PER_EPOCH = 400
"""A row of curves, as JSON in the record and again in the table: about 100 kB for 300 epochs."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check."""

    check: str
    verdict: Literal["ok", "warning", "fault"]
    message: str
    """What was found and, unless it is well, what to do."""


@dataclass(frozen=True)
class Tried:
    """One batch of pre-training and one of fine-tuning, measured."""

    pretrain: float | None
    """Seconds a step; None where there is no pre-training."""
    finetune: float
    """Seconds an epoch over so many recordings."""
    memory: int
    """Most bytes that the worker had at once, of the GPU's where it trains on one."""
    total: int
    """Bytes that there are of it."""
    device: str
    together: Mapping[int, float] = field(default_factory=dict[int, float])
    """Epochs a second of so many trials that train as one model, on a GPU; a CPU is faster with each alone."""
    bfloat16: bool = True
    """Whether the device has instructions for its products."""


def examine(root: str, plan: Plan, recordings: Recordings, resources: Resources) -> Generator[CheckResult]:
    """Check what a study needs, one thing after another; what depends on a fault is left out.

    Args:
        root: where the study would lie.
        plan: what it would run; nothing of it is written.
    """
    with own_folder() as folder:
        yield from _examined(root, plan, recordings, resources, folder)


def _examined(
    root: str, plan: Plan, recordings: Recordings, resources: Resources, folder: Path
) -> Generator[CheckResult]:
    try:
        start(resources.address, folder)
    except (UserError, NotStartedError) as error:
        yield CheckResult("Ray", "fault", str(error))
        return
    try:
        there, to_come = nodes(), growth() if resources.address else []
        cpus, gpus = (sum(node.resources.get(what, 0) for node in there) for what in ("CPU", "GPU"))
        more = "; more may come" if to_come else ""
        yield CheckResult("Ray", "ok", f"{_counted(len(there), 'node')}, {cpus:g} CPUs, {gpus:g} GPUs{more}")
        yield from _storage(root, there)
        yield from _gpus(there)
        try:
            share = fit(resources, plan.total, [node.resources for node in there], to_come)
        except UserError as error:
            yield CheckResult("resources", "fault", str(error))
            return
        yield _resources(share)
        yield from _study(root, plan, recordings, share, there)
    finally:
        ray.shutdown()


def _storage(root: str, there: Sequence[Node]) -> Generator[CheckResult]:
    probe = Study(root, f"doctor-{uuid.uuid4().hex[:12]}")
    try:
        found = faults(probe, there)
    except OSError as error:
        yield CheckResult("storage", "fault", f"{root}: cannot be written ({error.strerror or error}); see --storage")
        return
    except UserError as error:
        yield CheckResult("storage", "fault", str(error))
        return
    finally:
        probe.drop()
    for fault in found:
        yield CheckResult("nodes", "fault", fault)
    if not found:
        yield CheckResult("nodes", "ok", "the same Python, mmssl, torch and ray on all, and the same storage in reach")


def _gpus(there: Sequence[Node]) -> Generator[CheckResult]:
    having = [node for node in there if node.resources.get("GPU")]
    for node, answer in on_each(_gpus_seen, having, num_gpus=0.01):
        if isinstance(answer, Exception):
            yield CheckResult("GPUs", "fault", f"{node.name}: {last_line(answer)}")
        elif not answer:
            yield CheckResult(
                "GPUs",
                "fault",
                f"{node.name}: Ray counts {node.resources['GPU']:g} GPUs, torch sees none; install a build of torch "
                "for its driver, or start Ray there with --num-gpus 0",
            )
        else:
            yield CheckResult("GPUs", "ok", f"{node.name}: {answer}")


def _resources(share: Share) -> CheckResult:
    if share.waits:
        return CheckResult(
            "resources", "warning", f"no node has {share.each} yet; trials wait until the cluster has grown"
        )
    return CheckResult("resources", "ok", str(share))


def _study(
    root: str, plan: Plan, recordings: Recordings, share: Share, there: Sequence[Node]
) -> Generator[CheckResult]:
    planned, model = _largest(plan, recordings)
    recipe = plan.recipe(planned)
    prepared = Prepared.of(recordings, recipe.data.steps, recipe.data.modalities)
    size = sum(values.nbytes for values in prepared.inputs.values())
    room = min(node.resources.get("object_store_memory", math.inf) for node in there)
    yield CheckResult(
        "data",
        "ok" if size < 0.8 * room else "fault",
        f"{len(recordings)} recordings, {size / GB:.2f} GB in memory for every node"
        + ("" if size < 0.8 * room else f", and the smallest object store holds {room / GB:.2f}; see `ray start -h`"),
    )
    if "://" not in root:
        yield _disk(root, _need(plan, _weights(model), share.at_once))
    if share.waits:
        return
    tried = _try(recipe, prepared, recordings, share)
    if isinstance(tried, str):
        yield CheckResult("training", "fault", tried)
        return
    yield _training(tried, share, there)
    if not tried.bfloat16 and recipe.pretrain.precision == "bfloat16":
        yield CheckResult(
            "precision",
            "warning",
            "the processor has no instructions for bfloat16, which saves no time: --set pretrain.precision=float32",
        )
    if tried.together:
        yield _together(tried.together)
    hours = _seconds(plan, recordings, tried) / share.at_once / 3600
    yield CheckResult(
        "time",
        "ok",
        f"{plan.size()}: about {hours:.1f} h at {share.at_once} at once" if hours >= 0.1 else f"{plan.size()}: minutes",
    )


def _training(tried: Tried, share: Share, there: Sequence[Node]) -> CheckResult:
    step = f"{tried.pretrain:.3f} s a step of pre-training" if tried.pretrain is not None else "no pre-training"
    together = int(1 / share.gpus + 1e-6) if 0 < share.gpus < 1 else 1 if share.gpus else share.at_once / len(there)
    together = max(1, math.ceil(min(together, share.at_once)))
    where = "GPU" if share.gpus else "machine"
    found = f"the largest point on {tried.device}: {step}, at most {tried.memory / GB:.1f} GB of the {where}'s memory"
    each = tried.memory + (_CONTEXT if share.gpus else 0)
    room = int(0.9 * tried.total / each)
    fitting = f"--gpus-per-trial {math.ceil(100 / room) / 100:g}" if share.gpus and room else ""
    if together > room:
        over = f"{together} such trials at once want more than its {tried.total / GB:.0f} GB"
        mend = f"give each more with {fitting or 'a larger GPU'}" if share.gpus else "run fewer with --max-concurrent"
        return CheckResult("training", "warning", f"{found}; {over}: {mend}, or make batches smaller")
    more = f"; {room} would fit, with {fitting}" if fitting and room >= 2 * together else ""
    return CheckResult("training", "ok", found + more)


def _together(rates: Mapping[int, float]) -> CheckResult:
    best = max(rates, key=lambda count: rates[count])
    gain = rates[best] / rates[1]
    if gain < 1.1:
        return CheckResult("together", "ok", "no number of trials trains faster as one model than one by one")
    return CheckResult(
        "together", "ok", f"{best} trials as one model train {gain:.1f} times as fast as one by one: --together {best}"
    )


def _disk(root: str, need: float) -> CheckResult:
    free = shutil.disk_usage(next(path for path in [Path(root), *Path(root).parents] if path.exists())).free
    enough = need < 0.9 * free
    advice = "" if enough else "; free some, set keep_models: none, or choose another place with --storage"
    return CheckResult(
        "disk", "ok" if enough else "fault", f"{need / GB:.2f} GB needed of {free / GB:.1f} GB free{advice}"
    )


def _need(plan: Plan, weights: int, at_once: int) -> float:
    """Bytes that a study takes on disk at most.

    Args:
        weights: bytes of one model.
    """
    points = plan.total / len(plan.space.seeds) / len(plan.folds)
    # The leading points, and one that is not complete yet.
    kept = {"all": 1.0, "best": min(1.0, (LEADING + 1) / points), "none": 0.0}[plan.space.keep_models]
    recipes = [plan.recipe(trial) for trial in plan.trials]
    epochs = statistics.fmean(one.pretrain.epochs + one.finetune.rounds for one in recipes)
    rows = epochs * plan.total * _BYTES_PER_EPOCH
    # Weights with both of Adam's moments; an old snapshot stays until the new one is whole.
    snapshots = 2 * 3 * weights * min(at_once, plan.total)
    encoders = min(plan.total * weights, most_pretrained())
    return kept * plan.total * weights + encoders + rows + snapshots


def _weights(model: Model) -> int:
    """Bytes of a model's weights."""
    return sum(one.numel() * one.element_size() for part in model.parts.values() for one in part.state_dict().values())


def _largest(plan: Plan, recordings: Recordings) -> tuple[Any, Model]:
    """The planned trial that costs most a step, by weights and inputs, and its model before training."""
    if not plan.trials:  # A sampler chooses them; none costs more than that at its ranges' high ends.
        highest = {name: interval.high for name, interval in plan.space.ranges.items()}
        plan.add({name: values[-1] for name, values in plan.space.searched.items()} | highest)
    models: dict[str, Model] = {}
    costs: dict[tuple[int, bool, bool], tuple[Any, Model]] = {}
    for trial in {trial.point_id: trial for trial in plan.trials}.values():
        recipe = plan.recipe(trial)
        like = recipe.encoder.model_dump_json() + str(recipe.data.modalities) + str(recipe.finetune.hidden)
        if like not in models:
            models[like] = Model.fresh(recipe, recordings.description, {})
        weights = sum(one.numel() for part in models[like].parts.values() for one in part.parameters())
        # Untrained encoders of the same size show neither how long pre-training takes nor how much memory.
        trains = recipe.pretrain.epochs > 0, recipe.finetune.encoders == "trained"
        costs[weights * recipe.data.steps * recipe.pretrain.batch_size, *trains] = (trial, models[like])
    return costs[max(costs)]


def _try(recipe: Recipe, prepared: Prepared, recordings: Recordings, share: Share) -> Tried | str:
    """A worker's measurements; or why there are none."""
    few = recipe.with_knobs(
        {
            knob: min(value, _EPOCHS)
            for knob, value in recipe.knobs().items()
            if knob.endswith(".epochs") and isinstance(value, int)
        }
    )
    parts = split(recordings, recipe.data)
    size = max(recipe.pretrain.batch_size, 2)
    whole = having(prepared, parts.train, recipe.data.modalities)
    one_batch = replace(
        parts,
        pretrain=shown_rows(recipe, prepared, parts)[:size],
        train=whole[:size],
        validation=whole[:2],
        test=whole[:2],
    )
    task: Any = ray.remote(_measure)
    reference = task.options(num_cpus=share.cpus, num_gpus=share.gpus, max_retries=0).remote(
        few.model_dump_json(by_alias=True),
        prepared,
        one_batch,
        max(1, int(share.cpus)),
        "cuda" if share.gpus else "cpu",
    )
    try:
        return ray.get(reference, timeout=_SECONDS_TO_TRY)
    except GetTimeoutError:
        ray.cancel(reference, force=True)
        return f"{_EPOCHS} steps take more than {_SECONDS_TO_TRY} s: give trials more CPUs or a GPU, or smaller batches"
    except RayError as error:
        return f"one batch of the largest point does not train: {last_line(error)}"


def _seconds(plan: Plan, recordings: Recordings, tried: Tried) -> float:
    """How long all trials take one after the other, at the largest point's pace."""
    pretraining: dict[str, float] = {}
    """By what trials share, which is trained once."""
    finetuning = 0.0
    for trial in plan.trials:
        recipe = plan.recipe(trial)
        parts = split(recordings, recipe.data)
        batches = math.ceil(len(shown_rows(recipe, recordings, parts)) / recipe.pretrain.batch_size)
        pretraining[recipe.pretraining_id()] = recipe.pretrain.epochs * batches * (tried.pretrain or 0)
        # A recording takes encoders that train with the head as long as in pre-training.
        alike = recipe.finetune.encoders == "trained" and tried.pretrain is not None
        each = (tried.pretrain or 0) / recipe.pretrain.batch_size if alike else tried.finetune
        finetuning += recipe.finetune.rounds * each * recipe.finetune.labels * len(parts.train)
    # A sampler's trials are not known yet, and a race leaves some out.
    return (sum(pretraining.values()) + finetuning) * plan.most / len(plan.trials)


def _gpus_seen(node_id: str) -> str:
    if not torch.cuda.is_available():
        return ""
    free, total = torch.cuda.mem_get_info()
    return f"{torch.cuda.get_device_name()}, {free / GB:.0f} of {total / GB:.0f} GB free"


def _measure(recipe: str, prepared: Prepared, parts: Split, threads: int, device: str) -> Tried:
    torch.set_num_threads(threads)
    moments: dict[str, list[float]] = {}

    def on_epoch(epoch: dict[str, Any]) -> None:
        moments.setdefault(str(epoch["phase"]), []).append(time.perf_counter())

    tried = Recipe.model_validate_json(recipe)
    run_trial(tried, prepared, parts, on_epoch=on_epoch, device=device)
    gpu = device == "cuda"
    memory = torch.cuda.max_memory_allocated() if gpu else 0
    # Linux counts in kB, macOS in bytes.
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Tried(
        pretrain=_pace(moments.get("pretrain", [])),
        finetune=(_pace(moments.get("finetune", [])) or 0) / len(parts.train),
        memory=memory if gpu else resident,
        total=torch.cuda.mem_get_info()[1] if gpu else os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        device=torch.cuda.get_device_name() if gpu else f"{threads} of {cpus()} CPUs",
        together=rates(tried, prepared, parts, torch.device(device)) if gpu and alike(tried) else {},
        bfloat16=has_instructions(torch.device(device)),
    )


def _pace(moments: Sequence[float]) -> float | None:
    """Seconds from one to the next."""
    return (moments[-1] - moments[0]) / (len(moments) - 1) if len(moments) > 1 else None


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
