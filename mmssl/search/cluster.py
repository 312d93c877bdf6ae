"""The Ray that trials run on, and what of it one trial may use."""

import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass

# Tune's own result files would repeat ours, at a price per trial and report.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# glibc gives large activations back to the system and maps them anew in each step: a third of a step's time.
os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(10**11))
# Tune runs each trial in a new thread, and glibc gives each thread a heap of its own: they would grow without end.
os.environ.setdefault("MALLOC_ARENA_MAX", "1")
# Under `uv run`, Ray would start every worker through uv again.
os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
# Nothing about a lab's work leaves its machines unasked.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from mmssl.errors import UserError

RESTARTS = 2
"""How often a trial whose worker died is started again; it goes on from its last snapshot."""


@dataclass(frozen=True)
class Resources:
    """What one trial may use, and how many run at once."""

    cpus_per_trial: float = 1.0
    gpus_per_trial: float | None = None
    """None: a quarter of a GPU where there are GPUs, else none."""
    max_concurrent: int | None = None
    """None: as many as fit."""


def start() -> None:
    """Start a Ray of this process alone."""
    # Ray hands the interpreter's path to a shell as it is: one with a space in it has to be quoted, and costs a second.
    python = shlex.quote(sys.executable)
    ray.init(
        address="local",
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        runtime_env=None if python == sys.executable else {"py_executable": python},
    )


def fit(resources: Resources, there: Mapping[str, float]) -> tuple[float, float, int]:
    """CPUs and GPUs per trial, and how many trials run at once."""
    cpus, gpus = resources.cpus_per_trial, resources.gpus_per_trial
    if gpus is None:
        gpus = 0.25 if there.get("GPU") else 0.0
    for what, asked in (("CPU", cpus), ("GPU", gpus)):
        if asked > there.get(what, 0):
            raise UserError(
                f"--{what.lower()}s-per-trial {asked:g}: there are {there.get(what, 0):g} {what}s; ask for no more"
            )
    fits = [there["CPU"] // cpus] if cpus else []
    if gpus:
        # A fraction must fit into one device: three trials of 0.3 on each.
        fits.append(there["GPU"] * (1 // gpus) if gpus <= 1 else there["GPU"] // gpus)
    return cpus, gpus, max(1, min([int(fit) for fit in fits] + [resources.max_concurrent or sys.maxsize]))
