"""An object store for tests: moto's, in a process of its own on loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def running_store(**environment: str) -> Iterator[Store]:
    pytest.importorskip("moto.server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
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
