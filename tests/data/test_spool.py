"""What is read beyond what memory should hold lies in a file, and is the same."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from own_folder import make

from mmssl.data import spool as module
from mmssl.data.csv_folder import read
from mmssl.data.description import Window
from mmssl.data.recordings import Recordings
from mmssl.data.spool import Spool


@pytest.fixture
def nothing_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IN_MEMORY", 0)


def wrists(folder: Path, count: int, lines: int = 4_000) -> Path:
    """A folder of recordings of a wrist, each of 96 kB as float32 for 4,000 lines."""
    folder.mkdir()
    draws = np.random.default_rng(0)
    for i in range(count):
        values = np.column_stack([np.arange(lines) / 100, draws.standard_normal((lines, 6))])
        names = "time,acc_x,acc_y,acc_z,gyr_x,gyr_y,gyr_z"
        np.savetxt(folder / f"{i}.csv", values, "%.4f", ",", header=names, comments="")
    table = "".join(f"r{i},sit,s{i % 4},{i}.csv\n" for i in range(count))
    (folder / "recordings.csv").write_text(f"recording_id,label,subject,wrist\n{table}")
    return folder


def same(first: Recordings, other: Recordings) -> bool:
    return first.fingerprint == other.fingerprint


def test_arrays_come_back_as_they_were_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [np.arange(start, start + 24, dtype=np.float32) for start in (0, 100, 200)]
    monkeypatch.setattr(module, "IN_MEMORY", whole[0].nbytes)
    given = [whole[0], None, whole[1].reshape(2, 3, 4), whole[2].reshape(6, 4)[:, [1, 2]]]
    with Spool(tmp_path) as spool:
        found = spool.mapped([None if one is None else spool.put(one) for one in given])
        later = spool.put(whole[1])
        changed, unchanged = (spool.mapped([later])[0] for _ in range(2))
    assert found[0] is whole[0]
    for one, other in zip(given, found, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(other, one)
    assert [*tmp_path.iterdir()] == []
    assert changed is not None
    changed += 1
    np.testing.assert_array_equal(changed, whole[1] + 1)
    np.testing.assert_array_equal(unchanged, whole[1])


@pytest.mark.usefixtures("nothing_in_memory")
def test_a_folder_gives_the_same_whether_or_not_memory_holds_it(tmp_path: Path) -> None:
    make(tmp_path / "kitchen")
    for window in (None, Window(seconds=1.0, stride=0.5)):
        held = read(tmp_path / "kitchen", skip_bad=True, window=window)
        mapped = read(tmp_path / "kitchen", skip_bad=True, window=window, spool_in=tmp_path)
        assert same(held.recordings, mapped.recordings)
        assert (held.notes, held.left_out) == (mapped.notes, mapped.left_out)
        mapped.recordings.save(tmp_path / "kitchen.parquet")
        assert same(Recordings.load(tmp_path / "kitchen.parquet"), held.recordings)


@pytest.mark.usefixtures("nothing_in_memory")
def test_joints_are_left_out_of_recordings_in_the_file_too(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "recordings.csv").write_text("recording_id,label,subject,skeleton\na,sit,1,a.csv\nb,sit,2,b.csv\n")
    (folder / "a.csv").write_text("hip_x,hip_y,neck_x,neck_y,hand_x,hand_y\n0,0,0,1,5,6\n0,0,0.5,1,7,8\n")
    (folder / "b.csv").write_text("hip_x,hip_y,neck_x,neck_y,hand_x,hand_y\n0,1,0,2,,\n")
    found = read(folder, unseen="left_out", spool_in=tmp_path).recordings
    first, second = (np.asarray(array).tolist() for array in found.arrays("skeleton"))
    assert (first, second) == ([[[0, 0], [0, 1]], [[0, 0], [0.5, 1]]], [[[0, 1], [0, 2]]])


@pytest.mark.usefixtures("nothing_in_memory")
def test_memory_does_not_grow_with_the_files(tmp_path: Path) -> None:
    """96 kB more a file as float32 and 192 as float64, were they kept."""
    most: list[int] = []
    for count in (1, 5, 25):  # The first loads modules.
        folder = wrists(tmp_path / f"{count}", count)
        tracemalloc.start()
        read(folder, spool_in=tmp_path, window=Window(seconds=10.0, stride=5.0)).recordings.save(
            tmp_path / "out.parquet"
        )
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert most[2] - most[1] < 20 * 96_000 / 4


def test_a_signal_of_several_cameras_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmssl.data.csv_reader import CsvReader

    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "recordings.csv").write_text(
        "recording_id,label,subject,view,skeleton,imu\n"
        "a1,sit,1,1,a1.csv,a.csv\nb1,sit,2,1,b1.csv,b.csv\na2,sit,1,2,a2.csv,a.csv\nb2,sit,2,2,b2.csv,b.csv\n"
    )
    for name in ("a1", "a2", "b1", "b2"):
        (folder / f"{name}.csv").write_text("hip_x,hip_y,neck_x,neck_y\n0,0,0,1\n0,0,0.5,1\n")
    for i, name in enumerate("ab"):
        (folder / f"{name}.csv").write_text(f"acc_x,acc_y,acc_z\n{i},2,3\n4,5,6\n")
    places: list[str] = []
    original = CsvReader.track

    def track(reader: CsvReader, modality: str, place: str, file: "object") -> object:
        places.append(place)
        return original(reader, modality, place, file)  # type: ignore[arg-type]

    monkeypatch.setattr(CsvReader, "track", track)
    found = read(folder).recordings
    assert [np.asarray(array)[0, 0] for array in found.arrays("imu")] == [0, 1, 0, 1]
    assert sorted(places) == ["a.csv", "a1.csv", "a2.csv", "b.csv", "b1.csv", "b2.csv"]
