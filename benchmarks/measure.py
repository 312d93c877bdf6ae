"""What benchmarks have in common: they name the machine, and time alternatives in turn, so that noise falls on all."""

import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import version

import torch

from mmssl.environment import processor
from mmssl.process import cpus
from mmssl.training.trial import operations


def restarted() -> None:
    """Start this script again with what `mmssl.search` tells the allocator, as trials have it: glibc reads it once."""
    import_module("mmssl.search")  # Sets the environment.

    if "MMSSL_BENCHMARK" not in os.environ:
        os.environ["MMSSL_BENCHMARK"] = "restarted"
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - this program itself


def machine(threads: int) -> str:
    """The line that every figure comes with."""
    versions = " ".join(f"{name} {version(name)}" for name in ("torch", "ray", "optuna"))
    return f"{cpus()} x {processor()}, {threads} threads, Python {platform.python_version()}, {versions}"


def in_turn(alternatives: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each alternative, run one after the other `repeats` times after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for round_ in range(repeats + 1):
        for name, run in alternatives.items():
            started = time.perf_counter()
            run()
            if round_:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def ratio(above: list[float], below: list[float]) -> str:
    """Median of the rounds' ratios, and their range: both sides of a ratio have met the same noise."""
    each = sorted(a / b for a, b in zip(above, below, strict=True))
    return f"{statistics.median(each):.3f} ({each[0]:.3f} to {each[-1]:.3f}, {len(each)} rounds)"


def flops_of(run: Callable[[], object]) -> int:
    """`operations` of something that trains: products by oneDNN are not counted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.backends.mkldnn.flags(enabled=False):
            return operations(run)
