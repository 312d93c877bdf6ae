"""With what a trial is made, as columns of its row: programs, machine, and the settings that decide the last bits."""

import hashlib
import json
import os
import platform
import site
import subprocess
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any


def programs() -> dict[str, Any]:
    """The versions of what runs a study, and the checkout they come from."""
    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        return _output("git", "-C", str(here), *words)

    # Installed into somebody's project, the package lies in a repository that is not its own.
    own = git("rev-parse", "--show-toplevel") == str(here.parent)
    changes = git("status", "--porcelain") if own else None
    return {
        "version.mmssl": version("mmssl-tune"),
        "version.python": platform.python_version(),
        "version.ray": version("ray"),
        "version.optuna": version("optuna"),
        "git.commit": git("rev-parse", "HEAD") if own else None,
        "git.clean": None if changes is None else not changes,
    }


def machine(device: str) -> dict[str, Any]:
    """This machine, what computes on it, and what torch promises of the order in which it does.

    Args:
        device: cpu or cuda.
    """
    import torch  # The driver, which asks for `programs` alone, need not load it.

    gpu = device == "cuda"
    cudnn = torch.backends.cudnn
    return {
        "host": platform.node(),
        "device": torch.cuda.get_device_name() if gpu else "cpu",
        "version.torch": str(torch.__version__),  # Else of a class of its own, for which whoever gets it loads torch.
        "version.cuda": torch.version.cuda if gpu else None,
        "version.cudnn": str(cudnn.version()) if gpu else None,
        "packages": digest_of(packages()),
        "hardware.cpu": processor(),
        "hardware.cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "hardware.cores": os.cpu_count(),
        "hardware.memory": _memory(),
        "hardware.gpu_driver": _driver() if gpu else None,
        "determinism.algorithms": torch.are_deterministic_algorithms_enabled(),
        "determinism.cudnn": cudnn.deterministic,
        "determinism.cudnn_benchmark": cudnn.benchmark,
        "determinism.cublas_workspace": os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    }


def computing(device: str) -> str:
    """What decides the last bits of what is trained here, beside code and packages: machine, device, threads."""
    import torch

    large = ("packages", "hardware.cores", "hardware.memory")
    facts = {name: value for name, value in machine(device).items() if name not in large}
    return json.dumps({**facts, "threads": torch.get_num_threads()}, sort_keys=True)


@cache
def packages() -> dict[str, str]:
    """Every installed distribution with its version, by name."""
    # Not sys.path: Ray puts packages of its own on that of its workers.
    places = [*site.getsitepackages(), *([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])]
    return dict(sorted((one.name.lower().replace("_", "-"), one.version) for one in distributions(path=places)))


def digest_of(installed: dict[str, str]) -> str:
    """A short digest of a list of distributions."""
    return hashlib.sha256(json.dumps(installed, sort_keys=True).encode()).hexdigest()[:16]


@cache
def processor() -> str:
    """The CPU's name as the system gives it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text("utf-8").splitlines() if facts.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


@cache
def _driver() -> str | None:
    output = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return output.splitlines()[0] if output else None


def _output(*words: str) -> str | None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
