"""Keys that are pressed while something is shown, one at a time, without Enter."""

import os
import select
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

_SECONDS_TO_LOOK = 0.2


@contextmanager
def keys(pressed: Callable[[str], None]) -> Generator[bool]:
    """Hear of keys in a thread, until the end, when the terminal is as it was; Ctrl-C stays what it is.

    Yields:
        Whether there are any: standard input is a terminal, and this program the one that it listens to.
    """
    descriptor = _listened_to()
    if descriptor is None:
        yield False
        return
    import termios
    import tty

    ended = threading.Event()

    def listen() -> None:
        while not ended.is_set():
            if select.select([descriptor], [], [], _SECONDS_TO_LOOK)[0]:
                read = os.read(descriptor, 32)
                if not read:
                    return
                for key in read.decode("ascii", "ignore") if not read.startswith(b"\x1b") else "":
                    pressed(key)

    thread = threading.Thread(target=listen, name="keys", daemon=True)
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor, termios.TCSANOW)
    try:
        thread.start()
        yield True
    finally:
        ended.set()
        thread.join(1)
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)


def _listened_to() -> int | None:
    """The terminal that is standard input, if this program is the one in front: others are stopped for reading."""
    try:
        descriptor = sys.stdin.fileno()
    except (OSError, ValueError, AttributeError):  # There is no standard input.
        return None
    if os.name == "nt" or not os.isatty(descriptor):
        return None
    with suppress(OSError):  # A terminal that controls nobody stops nobody.
        if os.tcgetpgrp(descriptor) != os.getpgrp():
            return None
    return descriptor
