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
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import small

ROOT = Path(__file__).resolve().parents[1]


class Head:
    """A head node with a job server on loopback and a token of its own, and nodes that join it.

    Args:
        folder: short, since Ray's sockets lie in it.
        cpus: of the head.
    """

    def __init__(self, folder: Path, cpus: int = 1) -> None:
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
            # Started below `uv run`, a head would run its jobs through uv again.
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            "XDG_STATE_HOME": str(folder / "state"),
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }
        gcs, jobs = free_port(), free_port()
        self.address, self.jobs = f"127.0.0.1:{gcs}", f"http://127.0.0.1:{jobs}"
        self._started: list[subprocess.Popen[bytes]] = []
        self._words = [
            "--head", "--port", gcs, "--dashboard-host", "127.0.0.1", "--dashboard-port", jobs,
            "--ray-client-server-port", free_port(), "--temp-dir", folder / "ray", "--num-cpus", cpus,
        ]  # fmt: skip
        self._ports = gcs, jobs
        self.start()

    def start(self) -> None:
        """Start the head; again, at the same address, once all of it was killed."""
        self._start([], {}, *self._words)
        self._wait_for(lambda: all(map(answers, self._ports)))

    def join(self, *before: str, **environment: str) -> None:
        """Add a node of one CPU, started by the words `before`, in an environment with these changes."""
        there = self._nodes()
        self._start(before, environment, "--address", self.address, "--num-cpus", 1)
        self._wait_for(lambda: self._nodes() - there != set())

    def processes(self, node: int) -> list[psutil.Process]:
        """All of a node, the one that started it first; the head is node 0."""
        top = psutil.Process(self._started[node].pid)
        return [top, *top.children(recursive=True)]

    def lose(self, node: int) -> None:
        """Kill a node's raylet; what else there is of the node ends by itself."""
        family = self.processes(node)
        for one in family:
            if one.name() == "raylet":
                one.kill()
        psutil.wait_procs(family, timeout=60)
        self._started.pop(node).wait()

    def lose_all(self) -> None:
        """Kill every process of every node."""
        for one in [one for node in range(len(self._started)) for one in self.processes(node)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        while self._started:
            self._started.pop().wait()

    def command(self, *words: object) -> "subprocess.CompletedProcess[str]":
        """Run `mmssl-tune` from another shell."""
        return subprocess.run(
            small.tune(*words),
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
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
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

    def _nodes(self) -> set[str]:
        code = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False); "
        code += "print(*(node['NodeID'] for node in ray.nodes() if node['Alive']))"
        found = subprocess.run(
            [sys.executable, "-c", code, self.address], capture_output=True, text=True, check=True, env=self.environment
        )
        return set(found.stdout.split())

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + 90
        while not condition():
            ended = [process for process in self._started if process.poll() is not None]
            assert not ended and time.monotonic() < until, (self.folder / "ray.log").read_text()
            time.sleep(0.2)


@contextmanager
def running_head(cpus: int = 1) -> Iterator[Head]:
    folder = Path(tempfile.mkdtemp(prefix="mmssl-", dir="/tmp"))
    head = Head(folder, cpus)
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
