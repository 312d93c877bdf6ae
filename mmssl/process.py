"""A process as others know it, wherever they run."""

import hashlib
import os
import platform
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any


def identity() -> dict[str, Any]:
    """What tells this process from every other: also from one on a machine or in a container of the same name, and
    from one that has its number after its end."""
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
