"""A process: its identity, what of the machine it may use, and how it ends on request."""

import hashlib
import os
import platform
import signal
import subprocess
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

END_REQUESTED = threading.Event()
"""Set when SIGTERM or SIGHUP has come."""


def interrupt_when_ended() -> None:
    """Take SIGTERM, by which `kill`, batch systems and Ray end it, and SIGHUP of a lost terminal for Ctrl-C."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # As under nohup.
                signal.signal(number, _interrupt)


@contextmanager
def interrupted_when_ended() -> Generator[None]:
    """`interrupt_when_ended`, and afterwards as before: the process may be somebody's notebook."""
    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in numbers}
    interrupt_when_ended()
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # As of one that Python did not set.
                signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    END_REQUESTED.set()
    present = signal.getsignal(signal.SIGINT)
    if not callable(present):  # A shell has the jobs of its background ignore Ctrl-C.
        raise KeyboardInterrupt
    present(signal.SIGINT, frame)


@contextmanager
def uninterrupted() -> Generator[None]:
    """Come to the end of what leaves the study whole: Ctrl-C is often pressed twice."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def cpus(groups: Path = Path("/proc/self/cgroup"), mounts: Path = Path("/sys/fs/cgroup")) -> int:
    """How many CPUs this process may use: those it is bound to, as far as its control groups give it time on them."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [share for line in _text(groups).splitlines() for share in _shares(line, mounts)]
    return max(1, int(min([bound, *shares])))


def _shares(line: str, mounts: Path) -> Iterator[float]:
    """The CPUs that a control group and those around it give; `line` is of /proc/self/cgroup."""
    _, controllers, path = line.split(":", 2)
    if controllers and "cpu" not in controllers.split(","):
        return
    # In a container the path may be the host's, of which no more than its end is seen, at the mount's top.
    for mount in (mounts, mounts / controllers, mounts / "cpu"):
        group = mount / path.strip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(mounts):
                break
            quota, _, period = _text(folder / "cpu.max").partition(" ")
            quota, period = quota or _text(folder / "cpu.cfs_quota_us"), period or _text(folder / "cpu.cfs_period_us")
            if quota.isdigit() and period.isdigit():  # Not "max", and not -1.
                yield int(quota) / int(period)


def identity() -> dict[str, Any]:
    """What distinguishes this process from every other: also from one on a machine or in a container of the same name,
    and from one that has its number after its end."""
    return {**_place(), "host": platform.node(), "pid": os.getpid(), "born": _born(os.getpid())}


def lives(noted: dict[str, Any]) -> bool | None:
    """Whether the process whose `identity` was noted still runs; None where nobody can say here.

    That is so on another machine or in another container, and of what a version noted that knew host and process only.
    """
    if noted.get("host") != platform.node() or not noted.get("born"):
        return None
    here = _place()
    # An image's machines may share the id, and one's containers the name; both, only what was started anew since.
    if here["machine"] and noted.get("machine") == here["machine"] and noted.get("boot") != here["boot"]:
        return False
    if any(noted.get(what) != value for what, value in here.items()):
        return None
    return _born(noted["pid"]) == noted["born"]


def _place() -> dict[str, str]:
    """Where numbers of processes mean what they mean here; empty words for what this system does not say."""
    machine = _text(Path("/etc/machine-id"))
    return {
        # Hashed: the id itself is not to be handed on.
        "machine": machine and hashlib.sha256(machine.encode()).hexdigest()[:16],
        "boot": _text(Path("/proc/sys/kernel/random/boot_id")),
        "pid_namespace": _link(Path("/proc/self/ns/pid")),
    }


def _born(pid: int) -> str:
    """When a process began, in the system's own words; empty where there is none, or only what is left of it."""
    stat = _text(Path(f"/proc/{pid}/stat"))
    if stat:
        # Its second field is the program's name in brackets, with whatever characters that has.
        fields = stat.rpartition(")")[2].split()
        return "" if fields[0] in ("Z", "X") else fields[19]
    if Path("/proc/self/stat").exists():
        return ""
    try:
        done = subprocess.run(["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text("utf-8", errors="replace").strip()
    return ""


def _link(path: Path) -> str:
    with suppress(OSError):
        return str(path.readlink())
    return ""
