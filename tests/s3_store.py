"""An object store for tests: moto's, in a process of its own on loopback."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow.fs as fs
import pytest

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "correct-horse-battery-staple"}


class Store:
    """A server whose objects live as long as its process."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.endpoint = f"127.0.0.1:{port}"
        self._process = process

    def uri(self, bucket: str, prefix: str = "") -> str:
        return f"s3://{bucket}{prefix and '/' + prefix}?endpoint_override={self.endpoint}&scheme=http"

    def make(self, bucket: str) -> str:
        """An empty bucket; gives its URI."""
        made = fs.S3FileSystem(endpoint_override=self.endpoint, scheme="http", allow_bucket_creation=True)
        made.create_dir(bucket)
        return self.uri(bucket)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class Gate:
    """A port before a store's, that can be shut and opened again."""

    def __init__(self, store: Store) -> None:
        self._behind = store
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._open: list[socket.socket] = []
        self.open()

    def uri(self, bucket: str) -> str:
        return f"s3://{bucket}?endpoint_override=127.0.0.1:{self.port}&scheme=http"

    def open(self) -> None:
        listening = socket.create_server(("127.0.0.1", self.port))
        self._open = [listening]
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def shut(self) -> None:
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self, listening: socket.socket) -> None:
        host, _, port = self._behind.endpoint.partition(":")
        with suppress(OSError):
            while True:
                pair = listening.accept()[0], socket.create_connection((host, int(port)))
                self._open += pair
                for one, other in (pair, pair[::-1]):
                    threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while content := one.recv(1 << 16):
            other.sendall(content)
        other.shutdown(socket.SHUT_WR)


@contextmanager
def running_store(ssl: tuple[Path, Path] | None = None, **environment: str) -> Iterator[Store]:
    pytest.importorskip("moto.server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    if ssl:
        command += ["-c", str(ssl[0]), "-k", str(ssl[1])]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **environment}
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                pytest.fail("moto's server does not answer")
            yield Store(port, process)
        finally:
            process.kill()
