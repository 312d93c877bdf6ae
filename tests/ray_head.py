"""A cluster of Ray's own on this machine, for tests that need one that outlives a driver."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]


class Head:
    """A head node with a job server on loopback and a token of its own, and nodes that join it.

    Args:
        folder: short, since Ray's sockets lie in it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
            "RAY_USAGE_STATS_ENABLED": "0",
            "XDG_STATE_HOME": str(folder / "state"),
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }
        gcs, jobs = free_port(), free_port()
        self.address, self.jobs = f"127.0.0.1:{gcs}", f"http://127.0.0.1:{jobs}"
        self._started: list[subprocess.Popen[bytes]] = []
        self._start(
            [], {}, "--head", "--port", gcs, "--dashboard-host", "127.0.0.1", "--dashboard-port", jobs,
            "--ray-client-server-port", free_port(), "--temp-dir", folder / "ray",
        )  # fmt: skip
        self._wait_for(lambda: answers(gcs) and answers(jobs))

    def join(self, *before: str, **environment: str) -> None:
        """Add a node of one CPU, started by the words `before`, in an environment with these changes."""
        there = self._count()
        self._start(before, environment, "--address", self.address)
        self._wait_for(lambda: self._count() > there)

    def command(self, *words: object) -> "subprocess.CompletedProcess[str]":
        """Run `mmssl-tune` from another shell."""
        return subprocess.run(
            [sys.executable, "-m", "mmssl.cli", *map(str, words)],
            capture_output=True,
            text=True,
            env=self.environment,
            cwd=self.folder,
            timeout=200,
        )

    def end(self) -> None:
        family = [
            one
            for process in self._started
            for one in (psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True))
        ]
        for process in self._started:
            process.terminate()
        _, alive = psutil.wait_procs(family, timeout=5)
        for one in alive:
            one.kill()
        for process in self._started:
            process.wait()

    def _start(self, before: Sequence[str], environment: dict[str, str], *words: object) -> None:
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1"]
        ray += ["--dashboard-agent-listen-port", str(free_port())]  # Another cluster here may have the usual one.
        with (self.folder / "ray.log").open("ab") as log:
            self._started.append(
                subprocess.Popen(
                    [*before, *ray, *map(str, words)],
                    stdout=log,
                    stderr=log,
                    env={**self.environment, **environment},
                    cwd=self.folder,
                )
            )

    def _count(self) -> int:
        code = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False); print(len(ray.nodes()))"
        found = subprocess.run(
            [sys.executable, "-c", code, self.address], capture_output=True, text=True, check=True, env=self.environment
        )
        return int(found.stdout)

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + 90
        while not condition():
            ended = [process for process in self._started if process.poll() is not None]
            assert not ended and time.monotonic() < until, (self.folder / "ray.log").read_text()
            time.sleep(0.2)


@contextmanager
def running_head() -> Iterator[Head]:
    folder = Path(tempfile.mkdtemp(prefix="mmssl-", dir="/tmp"))
    head = Head(folder)
    try:
        yield head
    finally:
        head.end()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
