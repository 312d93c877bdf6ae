"""What can go away under a study that runs: a node with its trials, the memory they need, the head with all of them."""

import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Self

import ray
from ray._private.state import state
from ray.exceptions import GetTimeoutError, RayError

from mmssl.search.nodes import begun_on

HEAD_TIMEOUT_S = 30.0
"""Seconds without an answer after which a head is taken for lost; after 60 Ray would end the process without a word."""

_TO_COUNT = 30.0
"""A process has to start there, and to import torch."""
_TIMEOUT = 5.0
_BETWEEN = 1.0


def node_of(actor: Any) -> str:
    """The id of the node that an actor runs on; empty where Ray does not know the actor."""
    entry: dict[str, Any] = state.actor_table(actor._actor_id.hex())
    return entry["Address"]["NodeID"] if entry else ""


def is_lost(node_id: str) -> bool:
    """Whether a node has gone away; Ray itself takes a quarter of a minute to see that one was switched off."""
    if not node_id:
        return False
    there = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    return node_id not in there or not _answers(_address(there[node_id]))


class OutOfMemoryKills:
    """What the kernels of the nodes have killed because memory ran out; Ray sees only that a process has ended."""

    def __init__(self) -> None:
        self._counts: dict[str, Any] = {}

    def watch(self, node_id: str) -> None:
        """Count from now on; another's node is queried the first time only, without waiting."""
        if node_id == _here():
            self._counts[node_id] = kernel_kills()
        elif node_id and node_id not in self._counts:
            self._counts[node_id] = begun_on(node_id, kernel_kills)

    def happened(self, node_id: str) -> bool:
        """Whether there was one on a node since it was watched; False where its kernel has no such count."""
        if node_id not in self._counts or is_lost(node_id):
            return False
        before, now = (
            (self._counts[node_id], kernel_kills())
            if node_id == _here()
            else (_answer(self._counts[node_id]), _answer(begun_on(node_id, kernel_kills)))
        )
        return before is not None and now is not None and now > before


def kernel_kills(counters: Path = Path("/proc/vmstat")) -> int | None:
    """How many processes the kernel of this machine has killed because memory ran out; None where it does not say."""
    try:
        lines = counters.read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def _here() -> str:
    return ray.get_runtime_context().get_node_id()


def _answer(reference: Any) -> int | None:
    try:
        count: int | None = ray.get(reference, timeout=_TO_COUNT)
    except (RayError, GetTimeoutError):
        return None
    return count


class HeadWatch:
    """Asks a Ray's head, and the node that this process is on, for signs of life, from `with` on.

    Args:
        head: where it listens.
        here: where this node's raylet does.
        lost: called with the reason, in a thread of its own, when one has not answered for so many seconds or is gone
            for certain; this process' own threads may be caught in Ray for longer.
        cluster: its address, whose head may come back; None for a Ray of this process alone.
        needed: numbers of the processes here without which Ray ends this process at once, and without a message.
    """

    def __init__(
        self,
        head: tuple[str, int],
        here: tuple[str, int],
        lost: Callable[[str], None],
        cluster: str | None,
        needed: Collection[int] = (),
        patience: float = HEAD_TIMEOUT_S,
    ) -> None:
        self._head, self._here = head, here
        self._lost, self._cluster, self._needed, self._patience = lost, cluster, needed, patience
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._ended, self._end = os.pipe()  # It is the end of this that can be waited for beside those of processes.
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._end)
        self._thread.join()
        os.close(self._ended)

    def leave(self) -> None:
        """From now on Ray is to end: only one that does not is lost."""
        self._leaving.set()

    def gone(self) -> str:
        """Why Ray is gone for certain; nothing where it is not."""
        return self._gone(_answers(self._head), _answers(self._here))

    def _gone(self, head: bool | None, here: bool | None) -> str:
        if self._leaving.is_set():
            return ""
        if here is False:  # Without it Ray ends this process in a quarter of a minute, without a word.
            return "Ray's raylet on this machine has ended: it, or an agent of it, was killed"
        return "Ray's gcs_server has ended: it was killed" if head is False and not self._cluster else ""

    def _watch(self) -> None:
        seen = time.monotonic()
        with _open_processes(self._needed) as processes:
            while self._ended not in (ready := wait([self._ended, *processes], _BETWEEN)):
                processes = [process for process in processes if process not in ready]
                # To ask takes longer than Ray then leaves this process.
                head, here = (None, False) if ready else (_answers(self._head), _answers(self._here))
                reason = self._gone(head, here)
                if head and here:
                    seen = time.monotonic()
                elif time.monotonic() - seen >= self._patience:
                    where = f"the cluster at {self._cluster}" if self._cluster else "Ray"
                    reason = reason or f"{where} has not answered for {self._patience:g} s"
                if reason and not wait([self._ended], 0):
                    self._lost(reason)
                    return


@contextmanager
def _open_processes(numbers: Collection[int]) -> Generator[list[int]]:
    """Descriptors that can be read when a process has ended; none where the system has no such."""
    opened = list[int]()
    try:
        if hasattr(os, "pidfd_open"):
            for number in numbers:
                with suppress(OSError):
                    opened.append(os.pidfd_open(number))
        yield opened
    finally:
        for descriptor in opened:
            os.close(descriptor)


def head_and_here() -> tuple[tuple[str, int], tuple[str, int]]:
    """Where the head of the Ray that this process is connected to listens, and the raylet of this node."""
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    own = next(node for node in ray.nodes() if node["NodeID"] == context.get_node_id())
    return (host.strip("[]"), int(port)), _address(own)


def _address(node: dict[str, Any]) -> tuple[str, int]:
    return node["NodeManagerAddress"], node["NodeManagerPort"]


def _answers(address: tuple[str, int]) -> bool | None:
    """Whether something listens there; None where it may be the network that fails."""
    try:
        socket.create_connection(address, timeout=_TIMEOUT).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return None
    return True
