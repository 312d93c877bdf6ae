"""What benchmarks have in common: they name the machine, and time alternatives in turn, so that noise falls on all."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import torch


def machine(threads: int) -> str:
    """The line that every figure comes with."""
    facts = Path("/proc/cpuinfo").read_text("utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in facts if line.startswith("model name")]
    versions = " ".join(f"{name} {version(name)}" for name in ("torch", "ray", "optuna"))
    return (
        f"{os.cpu_count()} x {names[0] if names else platform.processor()}, {threads} threads, "
        f"Python {platform.python_version()}, {versions}"
    )


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
    """Floating-point operations of the matrix multiplies and convolutions in `run`, as torch counts them."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # Fused attention is not counted.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def matmul_rate(dtype: torch.dtype, size: int = 2048, repeats: int = 5) -> float:
    """Operations a second of this machine's own matrix multiply: the best of some, with the present threads."""
    a, b = (torch.randn(size, size).to(dtype) for _ in "ab")
    seconds = in_turn({"matmul": lambda: a @ b}, repeats)["matmul"]
    return 2 * size**3 / min(seconds)
