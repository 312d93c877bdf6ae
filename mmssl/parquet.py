"""Parquet files that are refused where a bit of them has changed since they were written.

Parquet's own checksums, of pages, leave out the pages' headers, the statistics and the schema: a flipped bit there can
be read without a word.
"""

import hashlib
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

# Between the columns, which the footer finds by their place in the file, and the footer, which is found from the file's
# end: no reader looks there, and a table that is written again by another program does not keep it.
_MARK = b"mmssl.sha256"
_SEAL = len(_MARK) + hashlib.sha256().digest_size
_TAIL = 8
"""Bytes after the footer: its length, and "PAR1"."""
_CHUNK = 1 << 20


def write_table(table: pa.Table, file: BinaryIO) -> None:
    """Write a table, as `writing` does its parts.

    Args:
        file: empty, open for reading and writing.
    """
    with writing(file, table.schema) as write:
        write(table)


@contextmanager
def writing(file: BinaryIO, schema: pa.Schema) -> Generator[Callable[[pa.Table], None]]:
    """Write a table's parts, a row group each, with the digest of all that is written; numbers that are not finite
    become null.

    Statistics leave NaN out, and DuckDB believes them when it looks for NaN. A table is the same whether it was made
    while its study ran or later from the records, which are JSON and have no such numbers either.

    Args:
        file: empty, open for reading and writing.
    """
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield lambda table: writer.write_table(_finite(table))
    footer_at, footer = _footer(file)
    digest = _digest(file, footer_at, footer)
    file.seek(footer_at)
    file.write(_MARK + digest + footer)


def _finite(table: pa.Table) -> pa.Table:
    import pyarrow.compute as pc  # Takes longer to load than tables to read.

    for i, column in enumerate(table.schema):
        if pa.types.is_floating(column.type):
            finite = pc.call_function("is_finite", [table[i]])
            if pc.call_function("all", [finite]).as_py() is False:
                table = table.set_column(i, column, pc.call_function("if_else", [finite, table[i], None]))
    return table


def check(file: BinaryIO) -> None:
    """Compare a file with the digest that `write_table` left in it, if it has one.

    Raises:
        pa.ArrowInvalid: it is another.
    """
    footer_at, footer = _footer(file)
    columns = max(0, footer_at - _SEAL)
    file.seek(columns)
    seal = file.read(_SEAL)
    if seal.startswith(_MARK) and seal != _MARK + _digest(file, columns, footer):
        raise pa.ArrowInvalid("its content is not what was written")


def _footer(file: BinaryIO) -> tuple[int, bytes]:
    """Where it begins, and all from there to the file's end; of a file of another kind, its end."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - _TAIL))
    tail = file.read()
    if not tail.endswith(b"PAR1"):
        return end, b""
    footer_at = max(0, end - _TAIL - int.from_bytes(tail[:4], "little"))
    file.seek(footer_at)
    return footer_at, file.read()


def _digest(file: BinaryIO, columns: int, footer: bytes) -> bytes:
    """Of the file's first so many bytes and of its footer."""
    digest = hashlib.sha256()
    file.seek(0)
    for at in range(0, columns, _CHUNK):
        digest.update(file.read(min(_CHUNK, columns - at)))
    digest.update(footer)
    return digest.digest()
