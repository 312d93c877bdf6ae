"""Recordings that stay in their file are what the same file gives when it is read whole."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmssl.data import recordings as module
from mmssl.data import stored
from mmssl.data.check import examine
from mmssl.data.description import Row
from mmssl.data.protocols import leave_one_subject_out, split
from mmssl.data.recordings import Recordings
from mmssl.data.sources import survey
from mmssl.data.stored import StoredArrays, StoredRows
from mmssl.errors import UserError
from mmssl.recipe import Data


@pytest.fixture(scope="module")
def gaps(tiny: Recordings) -> Recordings:
    """Every third recording is without a label, a modality, or both modalities' other one."""
    skeleton = [None if i % 3 == 0 else one for i, one in enumerate(tiny.arrays("skeleton"))]
    imu = [None if i % 3 == 1 else one for i, one in enumerate(tiny.arrays("imu"))]
    rows = [row.model_copy(update={"label": ""}) if i % 3 == 2 else row for i, row in enumerate(tiny.rows)]
    return Recordings(tiny.description, rows, skeleton, imu)


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written in many row groups, and stay on disk."""
    monkeypatch.setattr(module, "GROUP", 5_000)
    monkeypatch.setattr(stored, "IN_MEMORY", 0)


@pytest.fixture
def both(gaps: Recordings, in_parts: None, tmp_path: Path) -> tuple[Recordings, Recordings]:
    gaps.save(tmp_path / "gaps.parquet")
    kept = Recordings.load(tmp_path / "gaps.parquet")
    assert isinstance(kept.rows, StoredRows)
    assert isinstance(kept.arrays("imu"), StoredArrays)
    assert pq.ParquetFile(tmp_path / "gaps.parquet").num_row_groups > 5
    return gaps, kept


def same(first: Recordings, other: Recordings) -> None:
    assert [*first.rows] == [*other.rows]
    assert first.description == other.description
    for name in first.description.modalities:
        for one, two in zip(first.arrays(name), other.arrays(name), strict=True):
            assert (one is None) == (two is None)
            if one is not None:
                np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(first.has[name], other.has[name])
        np.testing.assert_array_equal(first.lengths(name), other.lengths(name))
    np.testing.assert_array_equal(first.labels, other.labels)
    assert first.subjects == other.subjects
    assert first.fingerprint == other.fingerprint


def test_a_file_that_stays_on_disk_holds_what_it_holds_in_memory(both: tuple[Recordings, Recordings]) -> None:
    whole, kept = both
    same(whole, kept)
    assert survey(kept) == survey(whole)
    assert kept.lacking(["imu"]) == whole.lacking(["imu"])
    assert kept.modalities == whole.modalities == ()


@pytest.mark.parametrize(
    "part",
    [
        lambda one: one.having(["skeleton", "imu"]),
        lambda one: one.having_any(["imu"]),
        lambda one: one.labelled(),
        lambda one: one.where(lambda row: row.subject == "ben"),
        lambda one: one.selected(np.array([30, 2, 17])),
        lambda one: one.having(["imu"]).labelled().where(lambda row: row.trial != "2"),
    ],
)
def test_parts_of_them_are_the_same_parts(both: tuple[Recordings, Recordings], part: Any) -> None:
    whole, kept = both
    same(part(whole), part(kept))


def test_they_are_split_alike(both: tuple[Recordings, Recordings]) -> None:
    whole, kept = both
    data = Data(validation_subjects=("ben",))
    assert leave_one_subject_out(whole, Data()) == leave_one_subject_out(kept, Data())
    for name, rows in vars(split(whole, data)).items():
        np.testing.assert_array_equal(rows, getattr(split(kept, data), name))


def test_rows_are_taken_by_place_and_slice(both: tuple[Recordings, Recordings]) -> None:
    whole, kept = both
    assert kept.rows[-1] == whole.rows[-1]
    assert [*kept.rows[3:9:2]] == [*whole.rows[3:9:2]]
    assert [*pickle.loads(pickle.dumps(kept.rows))] == [*whole.rows]  # noqa: S301 - what was just written
    with pytest.raises(IndexError):
        kept.rows[len(kept)]
    imu = kept.arrays("imu")
    assert imu[-1] is not None
    np.testing.assert_array_equal(imu[-1], whole.arrays("imu")[-1])
    np.testing.assert_array_equal(imu[2:6][1], whole.arrays("imu")[3])
    with pytest.raises(IndexError):
        imu[len(kept)]


def test_what_is_kept_may_be_saved_again(both: tuple[Recordings, Recordings], tmp_path: Path) -> None:
    whole, kept = both
    kept.save(tmp_path / "again.parquet")
    same(whole, Recordings.load(tmp_path / "again.parquet"))
    first, again = ((tmp_path / name).read_bytes() for name in ("gaps.parquet", "again.parquet"))
    assert first == again


def test_another_file_in_its_place_changes_nothing(
    both: tuple[Recordings, Recordings], tiny: Recordings, tmp_path: Path
) -> None:
    whole, kept = both
    tiny.save(tmp_path / "gaps.parquet")
    same(whole, kept)


def test_a_file_of_one_large_part_is_read_whole(
    gaps: Recordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaps.save(tmp_path / "gaps.parquet")
    monkeypatch.setattr(stored, "IN_MEMORY", 0)
    monkeypatch.setattr(stored, "_MOST_AT_ONCE", 1000)
    assert isinstance(Recordings.load(tmp_path / "gaps.parquet").rows, tuple)


def parts(recordings: Recordings) -> Iterator[Recordings]:
    for first in range(0, len(recordings), 10):
        yield recordings.selected(np.arange(first, min(first + 10, len(recordings))))


def test_parts_are_written_as_one_file(gaps: Recordings, tmp_path: Path) -> None:
    Recordings.save_parts(tmp_path / "parts.parquet", parts(gaps))
    same(gaps, Recordings.load(tmp_path / "parts.parquet"))
    assert pq.ParquetFile(tmp_path / "parts.parquet").num_row_groups == -(-len(gaps) // 10)


def test_parts_that_do_not_fit_together_leave_no_file(gaps: Recordings, tmp_path: Path) -> None:
    path = tmp_path / "parts.parquet"
    named = gaps.rows[3].recording_id
    with pytest.raises(UserError, match=f"recording_id {named} stands in several parts"):
        Recordings.save_parts(path, [gaps, gaps.selected(np.array([3]))])
    other = gaps.described(gaps.description.model_copy(update={"name": "other"}))
    with pytest.raises(UserError, match="descriptions differ"):
        Recordings.save_parts(path, [gaps, other])
    with pytest.raises(UserError, match="no part"):
        Recordings.save_parts(path, [])
    assert not [*tmp_path.iterdir()]


def rewritten(path: Path, column: str, values: list[Any]) -> None:
    """As another program would write it: without a seal, in parts."""
    table = pq.read_table(path)
    at = table.schema.get_field_index(column)
    table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    pq.write_table(table, path, row_group_size=7)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([5] * 36, "skeleton of recording 1 in the file holds 0 numbers, expected 5 x 5 x 2"),
        ([0, *[20] * 35], "frames is 0 in a recording"),
    ],
)
def test_lengths_that_are_not_the_numbers_are_refused(
    both: tuple[Recordings, Recordings], tmp_path: Path, values: list[int], words: str
) -> None:
    rewritten(tmp_path / "gaps.parquet", "frames", values)
    with pytest.raises(UserError, match=words):
        Recordings.load(tmp_path / "gaps.parquet")


def test_faults_are_found_in_every_part(both: tuple[Recordings, Recordings], tmp_path: Path) -> None:
    whole, _ = both
    path = tmp_path / "gaps.parquet"
    last = [None if one is None else one.copy().ravel() for one in whole.arrays("imu")]
    assert last[-1] is not None
    last[-1][3] = np.nan
    rewritten(path, "imu", last)
    with pytest.raises(UserError, match=rf"{whole.rows[-1].recording_id}: imu has 1 values that are not finite"):
        Recordings.load(path)


def test_rows_of_another_form_are_refused(both: tuple[Recordings, Recordings], tmp_path: Path) -> None:
    rewritten(tmp_path / "gaps.parquet", "label", ["unheard of", *[""] * 35])
    with pytest.raises(UserError, match="'unheard of' is not among the classes"):
        Recordings.load(tmp_path / "gaps.parquet")


def test_a_row_made_of_a_table_is_a_row(both: tuple[Recordings, Recordings]) -> None:
    _, kept = both
    row = kept.rows[0]
    assert isinstance(row, Row)
    assert row.model_dump_json() == Row.model_validate(row.model_dump()).model_dump_json()


def test_what_is_odd_is_looked_for_in_some_of_many(
    both: tuple[Recordings, Recordings], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, kept = both
    same(whole, kept.to_check())
    for most in (5, 24, 30):
        monkeypatch.setattr(module, "LOOKED_AT", most)
        some = kept.to_check()
        assert len(some) == most
        assert (some.labels != -1).sum() == min(most, 24), "those with a label come first"
        assert [*some.rows] == [row for row in whole.rows if row in [*some.rows]], "in their order"
        [note] = [one for one in examine(kept) if "looked at" in one.what]
        assert note.what == f"{most} of 36 recordings were looked at, {min(most, 24)} with a label"
    assert whole.to_check() is whole


def test_a_recording_keeps_no_others_in_memory(both: tuple[Recordings, Recordings]) -> None:
    _, kept = both
    few = kept.to_check().selected(np.array([0, 10, 20, 30]))
    for array in (one for one in few.arrays("imu") if one is not None):
        whole = array if array.base is None else array.base
        assert whole.nbytes == array.nbytes
