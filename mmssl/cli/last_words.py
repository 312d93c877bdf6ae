"""A message for a process that ended without one: a small program beside it prints it.

Ray's C++ parts end a driver at once when its raylet dies, and nobody inside hears of SIGKILL or of a lack of memory.
"""

import subprocess
import sys
from contextlib import suppress
from typing import Self


class LastWords:
    """From `with` to its end, or to `unsay`, a line that standard error gets should this process be gone."""

    def __init__(self, line: str) -> None:
        self._line = line
        self._speaker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with suppress(OSError):
            self._speaker = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, self._line],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # It is to outlive what ends this process' group.
            )
        return self

    def __exit__(self, *error: object) -> None:
        self.unsay()

    def unsay(self) -> None:
        """There will be others, or none are needed."""
        if self._speaker:
            with suppress(OSError):  # It may have been killed.
                self._speaker.communicate(b".")
            self._speaker = None


if __name__ == "__main__" and not sys.stdin.buffer.read():
    sys.stderr.write(f"mmssl-tune: {sys.argv[1]}\n")
