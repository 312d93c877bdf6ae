"""A terminal for tests: a program in a pty of any size, and what stands on its screen."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyte
import pytest


class Terminal:
    """A program and its screen, as an emulator of a VT100 has it."""

    def __init__(self, words: Sequence[str], columns: int, rows: int, environment: Mapping[str, str]) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self._ours, theirs = pty.openpty()
        self._tell_size(columns, rows)
        self.process = subprocess.Popen(
            words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True, env=dict(environment)
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                told = os.read(self._ours, 1 << 16)
            except OSError:  # As Linux says that nobody has the other end any more.
                return
            with self._lock:
                self._stream.feed(told)

    def _tell_size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    @property
    def mode(self) -> list[object]:
        """How the terminal treats what is typed."""
        return termios.tcgetattr(self._ours)

    def resize(self, columns: int, rows: int) -> None:
        with self._lock:
            self._screen.resize(rows, columns)
        self._tell_size(columns, rows)

    @property
    def lines(self) -> list[str]:
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def cursor_hidden(self) -> bool:
        with self._lock:
            return self._screen.cursor.hidden

    def until(self, holds: "str | Callable[[str], object]", seconds: float = 300) -> str:
        """What stands on the screen once some words do, or once a condition holds."""
        met = holds if callable(holds) else lambda text: holds in text
        deadline = time.monotonic() + seconds
        while not met(self.text):
            if time.monotonic() > deadline:
                pytest.fail(f"not there after {seconds} s: {holds}\n{self.text}")
            time.sleep(0.2)  # An emulator in Python takes its time too.
        return self.text

    def end(self, signal_number: int | None = None, seconds: float = 300) -> int:
        """The exit status, once all that was said stands on the screen."""
        if signal_number is not None:
            self.process.send_signal(signal_number)
        status = self.process.wait(seconds)
        self._reader.join(10)
        return status

    def hang_up(self) -> None:
        """Take the terminal away from the program."""
        os.close(self._ours)
        self._ours = -1

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        if self._ours >= 0:
            self.hang_up()


@contextmanager
def terminal(words: Sequence[str], columns: int, rows: int, **environment: str) -> Iterator[Terminal]:
    """A program in a terminal of that size, outside of any continuous integration."""
    own = {name: value for name, value in os.environ.items() if name not in ("CI", "COLUMNS", "LINES", "NO_COLOR")}
    there = {**own, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment}
    opened = Terminal(words, columns, rows, there)
    try:
        yield opened
    finally:
        opened.close()
