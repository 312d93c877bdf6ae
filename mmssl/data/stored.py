"""Recordings that stay in their file: rows and arrays are read when somebody looks at them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from mmssl.errors import UserError

Array = npt.NDArray[np.float32]
T = TypeVar("T")
IN_MEMORY = 1 << 29
"""Bytes of arrays: of more, a file's stay in it."""
GROUP = 1 << 23
"""Bytes of arrays that are written, and later read, at once: a row group of a recordings file."""
LOOKED_AT = 10_000
"""Recordings: so many are checked for what is odd, where all would not fit into memory."""
_MOST_AT_ONCE = 1 << 28
"""A file with larger row groups, as older versions wrote them, is read whole."""
_ROWS_AT_ONCE = 10_000


class StoredRows(Sequence[T]):
    """The rows of a table, made when they are looked at: a million of them would fill a gigabyte.

    Args:
        table: whose values have been checked; columns of empty text alone are left to the rows' defaults.
        make: a row from its values by column.
    """

    def __init__(self, table: pa.Table, make: Callable[..., T]) -> None:
        given = [name for name in table.column_names if not _is_empty(table[name].unique())]
        self._table, self._make = table.select(given).combine_chunks(), make

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return self.selected(np.arange(len(self))[index])
        [values] = self._table.slice(range(len(self))[index], 1).to_pylist()
        return self._make(**values)

    def __iter__(self) -> Iterator[T]:
        for part in self._table.to_batches(_ROWS_AT_ONCE):
            for values in part.to_pylist():
                yield self._make(**values)

    def selected(self, indices: npt.NDArray[np.int64]) -> "StoredRows[T]":
        return StoredRows(self._table.take(pa.array(indices)), self._make)

    def column(self, name: str) -> npt.NDArray[np.object_] | None:
        """One value a row, equal ones one object; None where there is no such column."""
        if name not in self._table.column_names:
            return None
        codes = self._table[name].combine_chunks().dictionary_encode()
        values = np.array([*codes.dictionary.to_pylist(), None], dtype=object)
        return values[codes.indices.fill_null(len(values) - 1).to_numpy(zero_copy_only=False)]


def _is_empty(values: pa.Array) -> bool:
    return len(values) == 1 and values[0].as_py() == ""


class StoredArrays(Sequence[Array | None]):
    """One modality of a recordings file, read a row group at a time: cheap in the file's order, dear in any other.

    Args:
        file: stays open as long as the arrays are in use, so that another file of its name does no harm.
        name: of the modality, and of its column.
        rest: the shape of one frame or sample.
        lengths: frames or samples of each recording, 0 where it lacks the modality.
        indices: which of the file's recordings, in rising order; all by default.
    """

    def __init__(
        self,
        file: pq.ParquetFile,
        name: str,
        rest: tuple[int, ...],
        lengths: npt.NDArray[np.int64],
        indices: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self._file, self.name, self._rest, self._lengths = file, name, rest, lengths
        self._indices = np.arange(len(lengths)) if indices is None else indices
        counts = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        self._starts = np.cumsum([0, *counts])
        self._held: tuple[int, npt.NDArray[np.int64], Array] | None = None

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Frames or samples of each, 0 where it lacks the modality, (recordings,)."""
        return self._lengths[self._indices]

    @property
    def nbytes(self) -> int:
        """Of all arrays together."""
        return int(self.lengths.sum()) * int(np.prod(self._rest)) * 4

    def selected(self, indices: npt.NDArray[np.int64]) -> "StoredArrays":
        return StoredArrays(self._file, self.name, self._rest, self._lengths, self._indices[indices])

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> Array | None: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Array | None]: ...
    def __getitem__(self, index: int | slice) -> Array | Sequence[Array | None] | None:
        if isinstance(index, slice):
            return self.selected(np.arange(len(self))[index])
        row = int(self._indices[index])
        length = int(self._lengths[row])
        if not length:
            return None
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        if self._held is None or self._held[0] != group:
            self._held = None  # Two groups at once would need twice the memory.
            self._held = (group, *self._read(group))
        _, ends, values = self._held
        end = int(ends[row - self._starts[group]])
        # A copy: some recordings of each group would keep all groups in memory.
        return values[end - length * int(np.prod(self._rest)) : end].reshape(length, *self._rest).copy()

    def _read(self, group: int) -> tuple[npt.NDArray[np.int64], Array]:
        """Where each recording's numbers end, and the numbers of all.

        Raises:
            UserError: they do not fit their lengths, or the file cannot be read any more.
        """
        try:
            table = self._file.read_row_group(group, columns=[self.name])
            column = table[self.name].cast(pa.large_list(pa.float32())).combine_chunks()
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self.name} of the recordings file: it cannot be read any more ({error})") from error
        offsets, size = np.asarray(column.offsets), int(np.prod(self._rest))
        first = int(self._starts[group])
        wrong = np.flatnonzero(np.diff(offsets) != size * self._lengths[first : first + len(column)])
        if len(wrong):
            at = int(wrong[0])
            raise UserError(
                f"{self.name} of recording {first + at + 1} in the file holds {offsets[at + 1] - offsets[at]} numbers, "
                f"expected {self._lengths[first + at]} x {' x '.join(map(str, self._rest))}"
            )
        return offsets[1:], np.asarray(column.values, dtype=np.float32)


def stays(file: pq.ParquetFile, modalities: Sequence[str]) -> bool:
    """Whether a file's arrays are too large to be read at once, and lie in parts that are not."""
    whole, largest = 0, 0
    for i in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(i)
        columns = [group.column(j) for j in range(group.num_columns)]
        own = [one.total_uncompressed_size for one in columns if one.path_in_schema.split(".")[0] in modalities]
        whole, largest = whole + sum(own), max(largest, *own, 0)
    return whole > IN_MEMORY and largest <= _MOST_AT_ONCE


def sizes(path: Path, table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """A column of lengths, 0 where a recording has none.

    Raises:
        UserError: one that is given is below 1.
    """
    given = table[name].drop_null().to_numpy()
    if (given < 1).any():
        raise UserError(f"{path}: {name} is {given.min()} in a recording; leave it empty where there is nothing")
    return table[name].fill_null(0).to_numpy().astype(np.int64)
