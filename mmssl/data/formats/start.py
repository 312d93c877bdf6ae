"""The beginning of a file, by which its format is recognised."""

from pathlib import Path
from typing import NamedTuple

_BYTES = 2**16


class Start(NamedTuple):
    """A file's name and beginning."""

    path: Path
    head: bytes
    """The first 64 KB; empty for a folder."""
    lines: tuple[str, ...]
    """`head` as lines of text, without a last line that is cut off; none where it is no text."""

    @property
    def suffix(self) -> str:
        return self.path.suffix.lower()


def start_of(path: Path) -> Start:
    """Raises OSError: it cannot be opened."""
    if path.is_dir():
        return Start(path, b"", ())
    with path.open("rb") as file:
        head = file.read(_BYTES)
    if b"\0" in head:
        return Start(path, head, ())
    whole = head if len(head) < _BYTES else head[: head.rfind(b"\n") + 1]
    return Start(path, head, tuple(whole.decode("utf-8-sig", errors="replace").splitlines()))
