"""Tables made from names of files, several files a recording, and files without a header."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmssl.data.csv_folder import read
from mmssl.data.file_names import table_of
from mmssl.errors import UserError

PATTERN = "{subject}_{label}_{trial}_{modality}.csv"
WORDS = st.text("abcxyz019-. ", min_size=1, max_size=5).filter(lambda word: word.strip(" .") == word)


def made(folder: Path, *places: str) -> Path:
    for place in places:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text("a,b\n1,2\n")
    return folder


@given(st.sets(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=5), st.booleans())
def test_a_table_is_made_of_the_names(
    tmp_path_factory: pytest.TempPathFactory, recordings: set[tuple[str, str, str]], folders: bool
) -> None:
    pattern = "{modality}/{subject}/{label}_{trial}.csv" if folders else PATTERN
    folder = tmp_path_factory.mktemp("any")
    places = {
        (one, modality): pattern.format(subject=one[0], label=one[1], trial=one[2], modality=modality)
        for one in recordings
        for modality in ("imu", "skeleton")
    }
    made(folder, *places.values(), "notes.txt")
    table = table_of(folder, [pattern])
    lines = [line.split(",") for line in table.text.splitlines()]
    assert lines[0] == ["recording_id", "label", "subject", "trial", "imu", "skeleton"]
    assert sorted(line[1:] for line in lines[1:]) == sorted(
        [label, subject, trial, places[one, "imu"], places[one, "skeleton"]]
        for one in recordings
        for subject, label, trial in [one]
    )
    assert len({line[0] for line in lines[1:]}) == len(recordings)
    assert "1 files are not called as the pattern says, the first is notes.txt" in table.notes[-1]


def test_names_that_can_be_read_in_several_ways_are_faults_and_a_star_decides(tmp_path: Path) -> None:
    made(tmp_path, "anna_sit_down_1_imu.csv", "anna_walk_1_imu.csv")
    table = table_of(tmp_path, [PATTERN])
    assert [place for place, _ in table.faults] == ["anna_sit_down_1_imu.csv"]
    assert "can be read in several ways" in table.faults[0][1]
    starred = table_of(tmp_path, ["{subject}_{label*}_{trial}_{modality}.csv"])
    assert starred.faults == []
    assert ",sit_down,anna,1,anna_sit_down_1_imu.csv" in starred.text


def test_patterns_of_one_modality_each(tmp_path: Path) -> None:
    made(tmp_path, "acc/anna-1.csv", "acc/ben-1.csv", "body/anna-1.csv")
    table = table_of(tmp_path, ["imu=acc/{subject}-{trial}.csv", "skeleton=body/{subject}-{trial}.csv"])
    assert table.text.splitlines() == [
        "recording_id,subject,trial,imu,skeleton",
        "anna_1,anna,1,acc/anna-1.csv,body/anna-1.csv",
        "ben_1,ben,1,acc/ben-1.csv,",
    ]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{person}_{modality}.csv", r"\{person\} is no field; valid names"),
        ("{subject}_{subject}_{modality}.csv", "is there twice"),
        ("{modality}.csv", "no field tells the recordings apart"),
        ("{subject}.csv", "or name it in front, as wrist="),
        ("{subject*}_{label*}_{modality}.csv", "one star is enough"),
        ("{subject}-{modality}.txt", "no file is called as --pattern"),
    ],
)
def test_a_pattern_that_cannot_be_is_refused(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        table_of(made(tmp_path, "anna_imu.csv"), [pattern])


def test_several_files_of_a_recording_are_one_signal_at_the_rate_of_the_fastest(tmp_path: Path) -> None:
    """A wrist at 100 Hz from 0.2 s on and an ankle at 50 Hz, whose channels are sines of the time."""

    def write(name: str, start: float, rate: int, seconds: float, pace: float) -> None:
        moments = 1.7e9 + start + np.arange(round(seconds * rate)) / rate
        rows = [f"{m:.4f},{','.join(f'{np.sin(pace * (m - 1.7e9) + k):.6f}' for k in range(3))}" for m in moments]
        (tmp_path / name).write_text("\n".join(["timestamp,acc_x,acc_y,acc_z", *rows]) + "\n")

    for label in ("sit", "walk"):
        write(f"anna_{label}_imu_wrist.csv", 0.2, 100, 3, 2.0)
        write(f"anna_{label}_imu_ankle.csv", 0.0, 50, 3, 3.0)
    found = read(tmp_path, patterns=["{subject}_{label}_{modality*}.csv"])
    description = found.recordings.description
    assert description.imu_channels == tuple(f"{p}_acc_{a}" for p in ("ankle", "wrist") for a in "xyz")
    assert [len(sensor) for sensor in description.imu_sensors] == [1, 1]
    signal = found.recordings.arrays("imu")[0]
    assert signal is not None
    moments = 0.2 + np.arange(len(signal)) / 100
    assert 276 <= len(signal) <= 280
    for at, pace in ((0, 3.0), (3, 2.0)):
        for k in range(3):
            np.testing.assert_allclose(signal[:, at + k], np.sin(pace * moments + k), atol=2e-3)


def test_files_to_be_merged_need_a_clock_and_a_common_span(tmp_path: Path) -> None:
    table = "recording_id,label,subject,imu_wrist,imu_ankle\nr1,sit,anna,w.csv,a.csv\n"
    (tmp_path / "recordings.csv").write_text(table)
    (tmp_path / "w.csv").write_text("x,y,z\n" + "1,2,3\n2,3,4\n" * 5)
    (tmp_path / "a.csv").write_text("x,y,z\n" + "1,2,3\n2,3,5\n" * 5)
    assert read(tmp_path).recordings.description.imu_channels == tuple(
        f"{p}_{a}" for p in ("ankle", "wrist") for a in "xyz"
    )
    (tmp_path / "a.csv").write_text("x,y,z\n1,2,3\n")
    with pytest.raises(UserError, match=r"a.csv \+ w.csv: files of 1 and 10 lines without time stamps"):
        read(tmp_path)
    for name, start in (("w", 0), ("a", 50)):
        rows = "".join(f"{start + i / 10},{i},2,3\n" for i in range(20))
        (tmp_path / f"{name}.csv").write_text("time,x,y,z\n" + rows)
    with pytest.raises(UserError, match=r"from 50 s to 51.9 s and from 0 s to 1.9 s have nothing in common"):
        read(tmp_path)


def test_files_without_a_header_are_named_by_hand(tmp_path: Path) -> None:
    (tmp_path / "recordings.csv").write_text("recording_id,label,subject,imu\nr1,sit,anna,i.csv\n")
    (tmp_path / "i.csv").write_text("".join(f"{i / 50} {i} {2 * i % 5} 7\n" for i in range(20)))
    with pytest.raises(UserError, match="name them with --columns"):
        read(tmp_path)
    for name in ("", "imu"):
        found = read(tmp_path, columns={name: ["time", "acc_x", "acc_y", ""]}).recordings
        assert (found.description.imu_channels, found.description.imu_hz) == (("acc_x", "acc_y"), 50)
        np.testing.assert_array_equal(found.arrays("imu")[0][:, 0], range(20))
    rows = (tmp_path / "i.csv").read_text()
    (tmp_path / "i.csv").write_text("time acc_y acc_x gyro_x\n" + rows)
    said = "the file names its columns itself, and by that they are read, not by --columns"
    for names, count in ((["time", "acc_x", "acc_y", ""], 1), (["time", "acc_y", "acc_x", "gyro_x"], 0)):
        imported = read(tmp_path, columns={"imu": names})
        assert imported.recordings.description.imu_channels == ("acc_y", "acc_x", "gyro_x")
        assert sum(said in note for note in imported.notes) == count
    (tmp_path / "i.csv").write_text(rows)
    with pytest.raises(UserError, match="4 columns, and --columns names 2"):
        read(tmp_path, columns={"imu": ["a", "b"]})
    with pytest.raises(UserError, match=r"--columns imo=...: .* did you mean imu"):
        read(tmp_path, columns={"imo": ["a", "b"]})
