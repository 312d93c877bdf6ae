"""Parquet files that know whether they are as they were written."""

import io
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmssl import Recordings, UserError
from mmssl.parquet import check, write_table
from mmssl.study.folder import Study
from mmssl.study.plan import Plan
from mmssl.study.record import Record
from mmssl.study.tables import Tables

TABLE = pa.table({"name": ["a", None, "c"], "number": [1, 2, None], "score": [0.5, 1.0, 0.25]})


def written(path: Path, table: pa.Table = TABLE) -> Path:
    with path.open("w+b") as file:
        write_table(table, file)
    return path


def test_other_programs_read_it_as_any_parquet_file(tmp_path: Path) -> None:
    path = written(tmp_path / "table.parquet")
    assert pq.read_table(path).equals(TABLE)
    assert duckdb.read_parquet(str(path)).fetchall() == [tuple(row.values()) for row in TABLE.to_pylist()]
    assert pl.read_parquet(path).to_dicts() == TABLE.to_pylist()
    assert list(pd.read_parquet(path)["score"]) == [0.5, 1.0, 0.25]


def test_no_flipped_bit_is_read(tmp_path: Path) -> None:
    content, silent = written(tmp_path / "table.parquet").read_bytes(), 0
    draws = np.random.default_rng(0)
    for place, bit in enumerate(draws.integers(8, size=len(content)).tolist()):
        flipped = io.BytesIO(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        with suppress(pa.ArrowException, OSError):
            check(flipped)
            silent += not pq.ParquetFile(flipped).read().equals(TABLE)
    assert silent == 0


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content[:40], lambda content: b""])
def test_what_is_cut_off_is_left_to_pyarrow(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    path = written(tmp_path / "table.parquet")
    path.write_bytes(change(path.read_bytes()))
    with path.open("rb") as file:
        check(file)
    with pytest.raises((pa.ArrowException, OSError)):
        pq.ParquetFile(path)


def test_a_file_of_another_program_has_no_digest_and_is_read(tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    table = pq.read_table(tmp_path / "tiny.parquet")
    pq.write_table(table.set_column(table.column_names.index("trial"), "trial", pa.array(["7"] * 36)), tmp_path / "new")
    assert {row.trial for row in Recordings.load(tmp_path / "new").rows} == {"7"}


def test_recordings_that_have_changed_are_refused(tmp_path: Path, tiny: Recordings) -> None:
    path = tmp_path / "tiny.parquet"
    tiny.save(path)
    assert Recordings.load(path).fingerprint == tiny.fingerprint
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    with pytest.raises(UserError, match=r"tiny.parquet: .*its content is not what was written"):
        Recordings.load(path)


def test_duckdb_finds_no_number_that_it_says_is_not_there(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0], [2.0])
    study = Study(tmp_path, "study")
    study.create(plan)
    losses = [0.5, math.nan, 0.25, math.inf, -math.inf]
    record = Record(
        trial_id=plan.trials[0].trial_id,
        status="DIVERGED",
        facts={"train.loss": math.nan, "val.accuracy": 0.5},
        epochs=[{"phase": "pretrain", "epoch": i + 1, "train.loss": loss} for i, loss in enumerate(losses)],
        predictions=[{"split": "val", "recording_id": str(i), "confidence": v} for i, v in enumerate([math.nan, 0.5])],
    )
    wanted = {
        "trials": ("train.loss", [None, None, None]),
        "epochs": ("train.loss", [0.5, None, 0.25, None, None]),
        "predictions": ("confidence", [None, 0.5]),
    }
    study.keep(record)
    for state in (record, study.record(record.trial_id)):  # While it runs, and taken up again from its record.
        tables = Tables(study, plan)
        tables.put(state)
        tables.write()
        for name, (column, values) in wanted.items():
            table = duckdb.read_parquet(str(study.folder / f"{name}.parquet"))
            assert table.project(f'"{column}"').fetchall() == [(value,) for value in values]
            assert len(table.filter(f'isnan("{column}") or "{column}" is null').fetchall()) == values.count(None)
    study.put_table("tables/any.parquet", pa.table({"p": [math.nan, 0.5], "n": [1, 2]}))
    assert study.table("tables/any.parquet").to_pylist() == [{"p": None, "n": 1}, {"p": 0.5, "n": 2}]
