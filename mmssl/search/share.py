"""What of the machines one trial may use, and how many run at once."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmssl.errors import UserError

MOST_CPUS = 4
"""That a trial gets by default: its products are too small for many threads."""

UNKNOWN_GROWTH = 200
"""Trials that wait for nodes at once where nobody knows how many nodes may come."""


@dataclass(frozen=True)
class Resources:
    """Where trials run, and what of it one trial may use."""

    cpus_per_trial: float | None = None
    """None: see `fit`."""
    gpus_per_trial: float | None = None
    """None: a quarter of a GPU where there are GPUs, else none."""
    max_concurrent: int | None = None
    """None: as many as fit."""
    address: str | None = None
    """None: a Ray of this process alone; else `auto` or HOST:PORT of the cluster that this machine is a node of."""
    together: int = 1
    """Trials that pre-train as one model, where they are alike."""
    local: bool = False
    """One trial after the other, in this process, without Ray."""


@dataclass(frozen=True)
class Growth:
    """Nodes that an autoscaler may add."""

    most: int
    resources: Mapping[str, float]
    """Of one node; empty where nobody knows before it is there."""


@dataclass(frozen=True)
class Share:
    """What one trial gets, and how many run at once."""

    cpus: float
    gpus: float
    at_once: int
    waits: bool
    """Whether no node that is there has room, so that the first trial waits for one to come."""

    def __str__(self) -> str:
        return f"{self.at_once} trial{'' if self.at_once == 1 else 's'} at once, {self.each} each"

    @property
    def each(self) -> str:
        """What one trial gets, in words."""
        return " and ".join(
            f"{amount:g} {what}{'' if amount == 1 else 's'}"
            for amount, what in ((self.cpus, "CPU"), (self.gpus, "GPU"))
            if amount
        )


def fit(
    resources: Resources, trials: int, nodes: Sequence[Mapping[str, float]], growth: Sequence[Growth] = ()
) -> Share:
    """What one trial gets; a trial runs on one node.

    By default a trial gets one CPU: two trials with a thread each take less time than one after the other
    with two threads (`benchmarks/packing.py`). Where a study has so few trials that CPUs would have nothing to do, and
    there are no GPUs, each gets as many as there are for it, at most `MOST_CPUS`.

    Args:
        trials: of the whole study: whether it is resumed must not change the threads, and with them the last bits.
        nodes: the resources of each node that is there.
        growth: nodes that may come.

    Raises:
        UserError: there is no node with what a trial asks for, and none can come.
    """
    kinds = [*nodes, *(group.resources for group in growth)]
    cpus, gpus = resources.cpus_per_trial, resources.gpus_per_trial
    if gpus is None:
        gpus = 0.25 if any(node.get("GPU") for node in kinds) else 0.0
    if cpus is None:
        free = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1 and not gpus and not growth]
        cpus = float(max(1, min([sum(free) // max(1, trials), MOST_CPUS, *free])))
    there = sum(_room(node, cpus, gpus) for node in nodes)
    # A node of unknown size may be large enough.
    to_come = sum(group.most * (_room(group.resources, cpus, gpus) if group.resources else 1) for group in growth)
    if not there and not to_come:
        largest = ", ".join(f"{max((node.get(what, 0) for node in kinds), default=0):g} {what}s" for what in _KINDS)
        request = f"--cpus-per-trial {cpus:g}" + (f" --gpus-per-trial {gpus:g}" if gpus else "")
        where = "here" if len(kinds) == 1 else "on any one node"
        raise UserError(f"{request}: there are no more than {largest} {where}; ask for no more")
    if any(not group.resources for group in growth):
        to_come = max(to_come, UNKNOWN_GROWTH)
    return Share(cpus, gpus, min(there + to_come, resources.max_concurrent or sys.maxsize), waits=not there)


_KINDS = ("CPU", "GPU")


def _room(node: Mapping[str, float], cpus: float, gpus: float) -> int:
    """How many trials of this size run on a node at once."""
    fits = [_times(node.get("CPU", 0), cpus)]
    if gpus:
        # A fraction must fit into one device: three trials of 0.3 on each.
        devices = int(node.get("GPU", 0))
        fits.append(devices * _times(1, gpus) if gpus <= 1 else _times(devices, gpus))
    return min(fits)


def _times(whole: float, part: float) -> int:
    # Ray counts in ten-thousandths, in which 0.1 goes ten times into 1.
    return round(whole * 10_000) // max(1, round(part * 10_000))
