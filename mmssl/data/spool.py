"""Arrays on their way into a file, more of them than memory holds."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

import numpy as np

from mmssl.data.stored import IN_MEMORY, Array


class Place(NamedTuple):
    """An array in the file of a `Spool`."""

    first: int
    """The number of its first value."""
    shape: tuple[int, ...]


class Spool:
    """Keeps arrays in memory, and those beyond `IN_MEMORY` bytes in a file without a name.

    What is mapped stays when the spool is closed, and the file with it until the last of them is gone.

    Args:
        folder: where the file lies; None keeps all in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._in_memory = self._values = 0

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def put(self, array: Array) -> Array | Place:
        """Keep an array, for `mapped`."""
        if self._folder is None or self._in_memory + array.nbytes <= IN_MEMORY:
            self._in_memory += array.nbytes
            return array
        self._file = self._file or TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed below
        self._file.write(np.ascontiguousarray(array).data)
        self._values += array.size
        return Place(self._values - array.size, array.shape)

    def mapped(self, kept: Sequence[Array | Place | None]) -> list[Array | None]:
        """The arrays. Those in the file are mapped: the system may take their memory back."""
        if not self._file:
            return [one for one in kept if not isinstance(one, Place)]
        self._file.flush()
        # Copy on write: callers may change their arrays.
        whole = np.asarray(np.memmap(self._file, dtype=np.float32, mode="c"))
        return [
            whole[one.first : one.first + int(np.prod(one.shape))].reshape(one.shape) if isinstance(one, Place) else one
            for one in kept
        ]
