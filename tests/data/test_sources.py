from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmssl.data import sources, utd_mhad
from mmssl.data.description import Protocol
from mmssl.data.recordings import Recordings
from mmssl.data.sources import dataset_name, default_folder, open_dataset, recordings_file, survey
from mmssl.data.synthetic import generate
from mmssl.errors import UserError


@pytest.fixture(scope="module")
def small() -> Recordings:
    return generate(subjects=4, trials=2)


@pytest.fixture(autouse=True)
def no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMSSL_DATA", raising=False)


@pytest.fixture
def read_from(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, bool]]:
    """Where the readers of files were sent to."""
    calls: list[tuple[Path, bool]] = []

    def reader(name: str) -> Callable[..., tuple[str, list[str]]]:
        def read(folder: Path, *, skip_bad: bool) -> tuple[str, list[str]]:
            calls.append((folder, skip_bad))
            return name, ["problem"]

        return read

    for name in ("utd_mhad", "mmact"):
        monkeypatch.setitem(sources.READERS, name, sources.READERS[name]._replace(read=reader(name)))
    return calls


def test_the_synthetic_set_by_name() -> None:
    recordings, skipped = open_dataset("synthetic")
    assert skipped == []
    assert (recordings.description.name, len(recordings)) == ("synthetic", 192)


@pytest.mark.parametrize("name", ["mine.parquet", "mine.PARQUET", "mine", "synthetic.parquet"])
def test_a_recordings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Recordings, name: str) -> None:
    small.save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for given in (str(tmp_path / name), name, f"./{name}"):
        recordings, skipped = open_dataset(given)
        assert (recordings.fingerprint, skipped) == (small.fingerprint, [])
        assert dataset_name(given) == Path(name).stem


def test_a_file_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Recordings) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    small.save(tmp_path / "mine.parquet")
    assert recordings_file("~/mine.parquet") == tmp_path / "mine.parquet"
    assert open_dataset("~/mine.parquet")[0].fingerprint == small.fingerprint
    with pytest.raises(UserError, match="there is no such recordings file"):
        open_dataset("~nobody-of-this-name/mine.parquet")


def test_a_name_is_a_data_set_even_beside_a_file_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "synthetic").touch()
    assert recordings_file("synthetic") is None
    assert recordings_file("./synthetic") == Path("synthetic")


@pytest.mark.parametrize("given", ["absent.parquet", "folder/absent", "./synthetic"])
def test_what_looks_like_a_file_must_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no such recordings file"):
        open_dataset(given)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("utd_mahd", "no data set 'utd_mahd'; did you mean utd_mhad.*or name a recordings file"),
        ("zebra", "no data set 'zebra'; valid names: synthetic, utd_mhad, mmact"),
        ("", "no data set ''"),
    ],
)
def test_other_names_are_refused(name: str, message: str) -> None:
    for function in (open_dataset, dataset_name):
        with pytest.raises(UserError, match=message):
            function(name)


def test_a_folder_that_would_not_be_read_is_refused(small: Recordings, tmp_path: Path) -> None:
    small.save(tmp_path / "mine.parquet")
    with pytest.raises(UserError, match="synthetic reads no folder; say whose folder it is: --dataset utd_mhad or"):
        open_dataset("synthetic", tmp_path)
    with pytest.raises(UserError, match="holds the recordings itself; leave --data out"):
        open_dataset(str(tmp_path / "mine.parquet"), tmp_path)


@pytest.mark.parametrize("given", ["kitchen", "kitchen/", "kitchen/a.csv", "my.npz", "kitchen.parquet", "./kitchen"])
def test_what_has_yet_to_be_imported_is_named_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kitchen.parquet").mkdir()
    (tmp_path / "kitchen").mkdir()
    (tmp_path / "kitchen" / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "my.npz").touch()
    folder = {"kitchen.parquet": "kitchen.parquet", "my.npz": "."}.get(given, "kitchen")
    with pytest.raises(UserError) as error:
        open_dataset(given, like=Path("my encoders"))
    assert str(error.value).endswith(f"first: mmssl-tune data import {folder} --like 'my encoders'")
    with pytest.raises(UserError, match=f"first: mmssl-tune data import {folder}$"):
        open_dataset(given)


def test_names_are_those_of_the_data_sets() -> None:
    assert [dataset_name(name) for name in sources.READERS] == ["synthetic", "utd_mhad", "mmact"]
    assert generate(subjects=1, trials=1).description.name == "synthetic"
    assert utd_mhad.DESCRIPTION.name == "utd_mhad"


def test_the_folder_given_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_from: list[tuple[Path, bool]]
) -> None:
    monkeypatch.setenv("MMSSL_DATA", str(tmp_path / "elsewhere"))
    for name in ("utd_mhad", "mmact"):
        assert open_dataset(name, tmp_path, skip_bad=True) == (name, ["problem"])
        open_dataset(name)
    assert read_from == [(tmp_path, True), (tmp_path / "elsewhere", False)] * 2


@pytest.mark.parametrize(
    ("word", "options"),
    [
        ("mmact", {}),
        ("mmact:classes=36", {"classes": 36}),
        ("mmact:camera=2", {"camera": 2}),
        ("mmact:camera=4,classes=37", {"camera": 4, "classes": 37}),
        ("mmact:camera=all", {"camera": "all"}),
    ],
)
def test_options_stand_after_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, options: dict[str, int | str]
) -> None:
    calls: list[tuple[Path, dict[str, int | str]]] = []

    def read(folder: Path, **more: int | str) -> tuple[str, list[str]]:
        calls.append((folder, more))
        return "read", []

    monkeypatch.setitem(sources.READERS, "mmact", sources.READERS["mmact"]._replace(read=read))
    monkeypatch.setenv("MMSSL_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mmact").mkdir()
    (tmp_path / word).touch()
    open_dataset(word)
    open_dataset(word, tmp_path / "mine", skip_bad=True)
    assert calls == [
        (tmp_path / "mmact", {"skip_bad": False, **options}),
        (tmp_path / "mine", {"skip_bad": True, **options}),
    ]
    # Not the file of that name.
    assert (recordings_file(word), dataset_name(word), default_folder(word)) == (None, "mmact", tmp_path / "mmact")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("mmact:clases=36", "mmact:clases=36: 'clases=36' is no option of mmact; valid options: classes=35|36|37, cam"),
        ("mmact:classes=34", "'classes=34' is no option of mmact; valid options: classes=35|36|37, camera=1|2|3|4|all"),
        ("mmact:classes=36,camera=5", "'camera=5' is no option of mmact"),
        ("mmact:classes", "'classes' is no option of mmact"),
        ("mmact:classes=36,", "'' is no option of mmact"),
        ("mmact:", "'' is no option of mmact"),
        ("mmact:camera=1,camera=1", "camera is listed twice"),
        ("mmact:mine.parquet", "'mine.parquet' is no option of mmact"),
        ("utd_mhad:x=1", "utd_mhad:x=1: 'x=1' is no option of utd_mhad; it has none: write utd_mhad"),
        ("synthetic:", "'' is no option of synthetic; it has none: write synthetic"),
        ("mmcat:classes=36", "no data set 'mmcat'; did you mean mmact"),
    ],
)
def test_wrong_options_are_refused_with_the_valid_ones(tmp_path: Path, word: str, message: str) -> None:
    for function in (dataset_name, lambda word: open_dataset(word, tmp_path)):
        with pytest.raises(UserError) as error:
            function(word)
        assert message in str(error.value)


def test_the_default_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder("utd_mhad").parts[-2:] == ("mmssl-tune", "utd_mhad")
    assert default_folder("utd_mhad").is_relative_to(tmp_path)

    monkeypatch.setenv("MMSSL_DATA", str(tmp_path / "data"))
    assert default_folder("utd_mhad") == tmp_path / "data"
    (tmp_path / "data" / "utd_mhad").mkdir(parents=True)
    assert default_folder("utd_mhad") == tmp_path / "data" / "utd_mhad"
    monkeypatch.setenv("MMSSL_DATA", "~/data")
    assert default_folder("utd_mhad") == tmp_path / "data" / "utd_mhad"


def test_no_recordings_where_they_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSSL_DATA", str(tmp_path / "data"))
    with pytest.raises(UserError, match=r"data: no such folder; get them with `mmssl-tune data download utd_mhad`"):
        open_dataset("utd_mhad")


def test_a_survey_counts_and_measures(small: Recordings) -> None:
    found = survey(small, ["a.mat: torn"])
    assert (found.name, found.fingerprint, found.recordings) == ("synthetic", small.fingerprint, 96)
    assert found.subjects == ("1", "2", "3", "4")
    assert found.classes == small.description.classes
    assert found.counts == ((2,) * 12,) * 4
    assert (found.missing, found.absent_subjects, found.problems) == ((), (), ("a.mat: torn",))
    assert (found.expected, found.whole) == (None, None)
    frames = sorted(len(skeleton) for skeleton in small.skeleton)
    shown, measured = found.lengths["skeleton"], found.lengths["imu"]
    assert (shown.shortest, shown.longest, shown.lines) == (frames[0], frames[-1], "frames")
    assert shown.median == np.median(frames)
    assert (measured.median, measured.lines) == (np.median([len(imu) for imu in small.imu]), "samples")


def test_a_survey_names_what_most_others_have(small: Recordings) -> None:
    gone = {"squat_s3_t2", "bow_s1_t1", "wave_left_s2_t1", "wave_left_s3_t1"}
    found = survey(small.where(lambda row: row.recording_id not in gone))
    # Half of them have wave_left in trial 1: that is not most.
    assert [(m.label, m.subject, m.trial) for m in found.missing] == [("squat", "3", "2"), ("bow", "1", "1")]
    squat = found.classes.index("squat")
    assert [found.counts[i][squat] for i in range(4)] == [2, 2, 1, 2]


def test_a_survey_names_absent_subjects(small: Recordings) -> None:
    half = small.where(lambda row: row.subject in "13")
    found = survey(half)
    assert (found.subjects, found.absent_subjects) == (("1", "3"), ("2", "4"))
    # Scenes are no subjects.
    by_scene = {"cross_scene": Protocol(by="scene", train=("1",), test=("2",))}
    described = half.description.model_copy(update={"protocols": by_scene})
    assert survey(Recordings(described, half.rows, half.skeleton, half.imu)).absent_subjects == ()


def utd_mhad_recordings(lacking: set[tuple[str, str, str]]) -> Recordings:
    """All of UTD-MHAD's rows with the shortest arrays that will do."""
    from mmssl.data.description import Row

    description = utd_mhad.DESCRIPTION
    rows = [
        Row(recording_id=f"{label}{subject}{trial}", label=label, subject=subject, trial=trial)
        for label in description.classes
        for subject in "12345678"
        for trial in "1234"
        if (label, subject, trial) not in lacking
    ]
    skeleton = np.arange(60).reshape(1, 20, 3)
    return Recordings(description, rows, [skeleton] * len(rows), [np.zeros((1, 6))] * len(rows))


def test_the_whole_of_utd_mhad_is_known() -> None:
    never = set(sources.READERS["utd_mhad"].never_recorded)
    assert sources.READERS["utd_mhad"].recordings == 27 * 8 * 4 - len(never)
    found = survey(utd_mhad_recordings(never))
    assert (found.recordings, found.expected, found.whole, found.missing) == (861, 861, True, ())
    found = survey(utd_mhad_recordings({*never, ("wave", "2", "3")}))
    assert (found.recordings, found.whole) == (860, False)
    assert [(m.label, m.subject, m.trial) for m in found.missing] == [("wave", "2", "3")]


def test_half_of_utd_mhad(utd_mhad: Path) -> None:
    recordings, skipped = open_dataset("utd_mhad", utd_mhad)
    if len(recordings.subjects) == 8:
        whole = survey(recordings, skipped)
        assert (whole.recordings, whole.whole, whole.missing, whole.problems) == (861, True, (), ())
    found = survey(recordings.where(lambda row: row.subject in ("1", "3", "5", "7")), skipped)
    assert (found.recordings, found.expected, found.whole) == (431, 861, False)
    assert (found.absent_subjects, found.missing, found.problems) == (("2", "4", "6", "8"), (), ())
    assert [sum(counts) for counts in found.counts] == [107, 108, 108, 108]
