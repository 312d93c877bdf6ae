import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from mmssl.data.utd_mhad import DESCRIPTION, read
from mmssl.errors import UserError

FRAMES, SAMPLES = 7, 18


def values(action: int, subject: int, trial: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([action, subject, trial])
    return rng.normal(size=(20, 3, FRAMES)), rng.normal(size=(SAMPLES, 6))


def write(
    folder: Path,
    *keys: tuple[int, int, int],
    skeletons: str = "Skeleton",
    signals: str = "Inertial",
    upper: bool = False,
) -> Path:
    for key in keys:
        joints, signal = values(*key)
        for below, modality, content in (
            (skeletons, "skeleton", {"d_skel": joints}),
            (signals, "inertial", {"d_iner": signal}),
        ):
            name = "a{}_s{}_t{}_{}.mat".format(*key, modality)
            place = folder / below / (name.upper() if upper else name)
            place.parent.mkdir(parents=True, exist_ok=True)
            savemat(place, content, appendmat=False)
    return folder


def pack(folder: Path, *, names: tuple[str, str] = ("Skeleton.zip", "Inertial.zip"), inside: str = "") -> Path:
    """The folder's two folders as zip files, and nothing else."""
    for name, modality in zip(names, ("Skeleton", "Inertial"), strict=True):
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted((folder / modality).iterdir()):
                archive.write(path, inside + path.name)
        shutil.rmtree(folder / modality)
    return folder


KEYS = ((1, 1, 1), (2, 8, 4), (10, 2, 1), (27, 3, 2))


def assert_is_what_was_written(folder: Path, keys: tuple[tuple[int, int, int], ...] = KEYS) -> None:
    recordings, skipped = read(folder)
    assert skipped == []
    assert [row.recording_id for row in recordings.rows] == ["a{}_s{}_t{}".format(*key) for key in keys]
    for row, skeleton, imu, key in zip(recordings.rows, recordings.skeleton, recordings.imu, keys, strict=True):
        joints, signal = values(*key)
        assert (row.subject, row.trial) == (str(key[1]), str(key[2]))
        assert row.label == DESCRIPTION.classes[key[0] - 1]
        assert skeleton.shape == (FRAMES, 20, 3)
        for frame in range(FRAMES):
            np.testing.assert_array_equal(skeleton[frame], joints[:, :, frame].astype(np.float32))
        np.testing.assert_array_equal(imu, signal.astype(np.float32))


def test_official_folders(tmp_path: Path) -> None:
    assert_is_what_was_written(write(tmp_path, *KEYS))


@pytest.mark.parametrize(
    ("skeletons", "signals"),
    [("", ""), ("skeleton/SKELETON", "Inertial/Inertial"), ("a/b/c/d", "a"), ("Skeleton", "")],
)
def test_folders_of_any_depth(tmp_path: Path, skeletons: str, signals: str) -> None:
    assert_is_what_was_written(write(tmp_path, *KEYS, skeletons=skeletons, signals=signals))


def test_names_in_any_letter_case(tmp_path: Path) -> None:
    assert_is_what_was_written(write(tmp_path, *KEYS, upper=True))


@pytest.mark.parametrize("names", [("Skeleton.zip", "Inertial.zip"), ("SKELETON.ZIP", "inertial.zip")])
@pytest.mark.parametrize("inside", ["", "Skeleton/", "x/Y/z/"])
def test_zip_files_stay_packed(tmp_path: Path, names: tuple[str, str], inside: str) -> None:
    pack(write(tmp_path, *KEYS), names=names, inside=inside)
    assert_is_what_was_written(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names)


def test_a_zip_file_may_stand_beside_unpacked_files(tmp_path: Path) -> None:
    pack(write(tmp_path, *KEYS))
    with zipfile.ZipFile(tmp_path / "Skeleton.zip") as archive:
        archive.extractall(tmp_path / "Skeleton")
    assert_is_what_was_written(tmp_path)


def test_zip_entry_names_are_no_paths(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    pack(write(folder, *KEYS), inside="../../outside/")
    assert_is_what_was_written(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_entry_too_large_for_a_recording_is_not_unpacked(tmp_path: Path) -> None:
    pack(write(tmp_path, *KEYS))
    with zipfile.ZipFile(tmp_path / "Skeleton.zip", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a5_s5_t1_skeleton.mat", bytes(2**24 + 1))
    with zipfile.ZipFile(tmp_path / "Inertial.zip", "a") as archive:
        archive.writestr("a5_s5_t1_inertial.mat", b"")
    _, skipped = read(tmp_path, skip_bad=True)
    assert "a5_s5_t1_skeleton.mat: " in skipped[0]
    assert "16777217 bytes are too many for a recording" in skipped[0]


def test_files_of_the_system_and_of_other_modalities_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, *KEYS)
    for name in (
        "__MACOSX/Skeleton/._a1_s1_t1_skeleton.mat",
        "._a1_s1_t1_inertial.mat",
        ".DS_Store",
        "a1_s1_t1_depth.mat",
        "Skeleton/Skeleton_joint_order.txt",
        "notes.mat",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"Mac OS X")
    assert_is_what_was_written(tmp_path)


def test_every_fault_is_reported_by_file_in_one_message(tmp_path: Path) -> None:
    write(tmp_path, *KEYS, *((3, 1, t) for t in (1, 2, 3, 4)), *((4, 1, t) for t in (1, 2, 3, 4)), (5, 1, 1), (5, 1, 2))
    skeletons, signals = tmp_path / "Skeleton", tmp_path / "Inertial"

    (signals / "a3_s1_t1_inertial.mat").unlink()
    (skeletons / "a3_s1_t2_skeleton.mat").unlink()
    whole = (skeletons / "a3_s1_t3_skeleton.mat").read_bytes()
    (skeletons / "a3_s1_t3_skeleton.mat").write_bytes(whole[: len(whole) // 2])
    (signals / "a3_s1_t4_inertial.mat").write_text("not found")
    savemat(skeletons / "a4_s1_t1_skeleton.mat", {"skel": values(4, 1, 1)[0]})
    joints, signal = values(4, 1, 2)
    joints[3, 1, 4], signal[5, 2] = np.nan, np.inf
    savemat(skeletons / "a4_s1_t2_skeleton.mat", {"d_skel": joints})
    savemat(signals / "a4_s1_t2_inertial.mat", {"d_iner": signal})
    savemat(signals / "a4_s1_t3_inertial.mat", {"d_iner": np.zeros((0, 6))})
    savemat(skeletons / "a4_s1_t4_skeleton.mat", {"d_skel": np.zeros((25, 3, 9))})
    (tmp_path / "copy").mkdir()
    shutil.copy(signals / "a5_s1_t1_inertial.mat", tmp_path / "copy")
    savemat(signals / "a5_s1_t2_inertial.mat", {"d_iner": np.array([{"a": 1}], dtype=object)})
    for name in ("a28_s1_t1_skeleton.mat", "a1_s9_t1_inertial.mat", "a1_s1_t0_inertial.mat"):
        shutil.copy(signals / "a5_s1_t1_inertial.mat", tmp_path / name)

    with pytest.raises(UserError) as error:
        read(tmp_path)
    limits = "the data set has no such recording: actions 1 to 27, subjects 1 to 8, trials 1 to 4"
    expected = [
        f"a1_s1_t0_inertial.mat: {limits}",
        f"a1_s9_t1_inertial.mat: {limits}",
        f"a28_s1_t1_skeleton.mat: {limits}",
        f"a3_s1_t1_inertial.mat: missing, though {Path('Skeleton', 'a3_s1_t1_skeleton.mat')} is there",
        f"a3_s1_t2_skeleton.mat: missing, though {Path('Inertial', 'a3_s1_t2_inertial.mat')} is there",
        "a3_s1_t3_skeleton.mat: not a readable .mat file",
        "a3_s1_t4_inertial.mat: not a readable .mat file",
        "a4_s1_t1_skeleton.mat: holds no variable d_skel",
        "a4_s1_t2_skeleton.mat: skeleton has 1 values that are not finite",
        "a4_s1_t2_inertial.mat: imu has 1 values that are not finite",
        "a4_s1_t3_inertial.mat: imu has no samples",
        "a4_s1_t4_skeleton.mat: skeleton has shape (9, 25, 3), expected (any, 20, 3)",
        "a5_s1_t1_inertial.mat: in 2 places: "
        f"{Path('Inertial', 'a5_s1_t1_inertial.mat')}, {Path('copy', 'a5_s1_t1_inertial.mat')}",
        "a5_s1_t2_inertial.mat: d_iner is no array of numbers",
    ]
    first, *lines = str(error.value).splitlines()
    assert first == (
        f"{tmp_path}: {len(expected)} faults in the files; mend them, or leave their recordings out with --skip-bad:"
    )
    for line, fault in zip(lines, expected, strict=True):
        assert fault in line

    recordings, skipped = read(tmp_path, skip_bad=True)
    assert [line.strip() for line in lines] == skipped
    assert [row.recording_id for row in recordings.rows] == ["a{}_s{}_t{}".format(*key) for key in KEYS]


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (np.zeros((20, 3)), r"skeleton has shape \(3, 20\)"),
        (np.zeros((20, 3, 0)), "skeleton has no frames"),
        (np.zeros((20, 3, 5)), "joints head and hip_center coincide"),
        (np.full((20, 3, 5), 1e300), "300 values that are not finite"),
        (np.ones((20, 3, 5)) * 1j, "d_skel is no array of numbers"),
        (np.array(["text"]), "d_skel is no array of numbers"),
        ({"a": 1.0}, "d_skel is no array of numbers"),
    ],
)
def test_odd_skeletons(tmp_path: Path, joints: Any, message: str) -> None:
    write(tmp_path, (1, 1, 1))
    savemat(tmp_path / "Skeleton" / "a1_s1_t1_skeleton.mat", {"d_skel": joints})
    with pytest.raises(UserError, match=message):
        read(tmp_path)
    with pytest.raises(UserError, match="no recording is whole"):
        read(tmp_path, skip_bad=True)


def test_a_file_cut_anywhere_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path, (1, 1, 1), (1, 1, 2))
    file = tmp_path / "Skeleton" / "a1_s1_t2_skeleton.mat"
    savemat(file, {"d_skel": values(1, 1, 2)[0]}, do_compression=True)
    whole = file.read_bytes()
    for size in range(0, len(whole), 97):
        file.write_bytes(whole[:size])
        recordings, skipped = read(tmp_path, skip_bad=True)
        assert len(recordings) == 1
        assert len(skipped) == 1
        assert "a1_s1_t2_skeleton.mat: " in skipped[0]


def test_damaged_bytes_never_break_the_reader(tmp_path: Path) -> None:
    write(tmp_path, (1, 1, 1), (1, 1, 2))
    file = tmp_path / "Skeleton" / "a1_s1_t2_skeleton.mat"
    savemat(file, {"d_skel": values(1, 1, 2)[0]}, do_compression=True)
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        # Past the header, where text and version stand.
        place = int(rng.integers(128, len(whole)))
        file.write_bytes(whole[:place] + bytes([whole[place] ^ int(rng.integers(1, 256))]) + whole[place + 1 :])
        recordings, skipped = read(tmp_path, skip_bad=True)
        assert len(recordings) + len(skipped) == 2


def test_a_damaged_entry_is_a_fault_and_a_damaged_zip_file_is_refused(tmp_path: Path) -> None:
    pack(write(tmp_path, *KEYS))
    archive = tmp_path / "Inertial.zip"
    content = bytearray(archive.read_bytes())
    content[200] ^= 255
    archive.write_bytes(content)
    recordings, skipped = read(tmp_path, skip_bad=True)
    assert len(recordings) == 3
    assert [line.split(" (")[0] for line in skipped] == [
        "Inertial.zip: a10_s2_t1_inertial.mat: not a readable .mat file"
    ]

    archive.write_bytes(content[:-100])
    with pytest.raises(UserError, match=r"Inertial\.zip: not a whole zip file .*mmssl-tune data download utd_mhad"):
        read(tmp_path, skip_bad=True)


def test_nothing_to_read_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such folder; get them with `mmssl-tune data download utd_mhad`"):
        read(tmp_path / "absent")
    with pytest.raises(UserError, match=r"no skeleton files: .*a1_s1_t1_skeleton\.mat .*Skeleton\.zip .*download"):
        read(tmp_path)
    write(tmp_path, *KEYS)
    shutil.rmtree(tmp_path / "Inertial")
    with pytest.raises(UserError, match=r"no inertial files: .*a1_s1_t1_inertial\.mat .*Inertial\.zip .*download"):
        read(tmp_path)


def test_the_description_is_the_papers() -> None:
    assert len(DESCRIPTION.classes) == 27
    assert [DESCRIPTION.classes[i - 1] for i in (1, 8, 14, 22, 27)] == [
        "swipe_left",
        "draw_x",
        "baseball_swing",
        "jog",
        "squat",
    ]
    # A tree over all joints.
    assert len(DESCRIPTION.bones) == len(DESCRIPTION.joints) - 1
    reached = {DESCRIPTION.root_joint}
    for _ in DESCRIPTION.joints:
        reached |= {joint for bone in DESCRIPTION.bones if set(bone) & reached for joint in bone}
    assert reached == set(DESCRIPTION.joints)
    protocol = DESCRIPTION.protocols["cross_subject"]
    assert (protocol.train, protocol.test) == (("1", "3", "5", "7"), ("2", "4", "6", "8"))


def test_the_real_recordings(utd_mhad: Path) -> None:
    everybody, skipped = read(utd_mhad)
    assert skipped == []
    assert len(everybody) == (431 if len(everybody.subjects) == 4 else 861)
    recordings = everybody.where(lambda row: row.subject in DESCRIPTION.protocols["cross_subject"].train)
    assert len(recordings) == 431
    assert recordings.subjects == ("1", "3", "5", "7")
    counts = np.bincount(recordings.labels, minlength=27)
    assert counts.tolist() == [16] * 7 + [15] + [16] * 19

    [place] = [i for i, row in enumerate(recordings.rows) if row.recording_id == "a27_s5_t2"]
    assert recordings.rows[place].label == "squat"
    joints = loadmat(utd_mhad / "Skeleton" / "a27_s5_t2_skeleton.mat")["d_skel"]
    assert recordings.skeleton[place][11, 3, 1] == np.float32(joints[3, 1, 11])


def test_the_joints_are_where_their_names_say(utd_mhad: Path) -> None:
    recordings, _ = read(utd_mhad)
    index = {name: i for i, name in enumerate(DESCRIPTION.joints)}
    standing = recordings.where(lambda row: row.label not in ("sit2stand", "stand2sit"))
    first = np.stack([skeleton[0] for skeleton in standing.skeleton])
    for upper, lower in (("head", "shoulder_center"), ("hip_center", "left_knee"), ("right_knee", "right_ankle")):
        assert (first[:, index[upper], 1] > first[:, index[lower], 1]).all()

    def path(joint: str, label: str) -> float:
        moved = recordings.where(lambda row: row.label == label).skeleton
        relative = [skeleton[:, index[joint]] - skeleton[:, index["hip_center"]] for skeleton in moved]
        return float(np.mean([np.linalg.norm(np.diff(r, axis=0), axis=1).sum() for r in relative]))

    # These are done with the right hand, which wears the sensor.
    for label in ("wave", "draw_circle_cw", "throw"):
        assert path("right_wrist", label) > 5 * path("left_wrist", label)


def test_the_length_unit_is_steady(utd_mhad: Path) -> None:
    recordings, _ = read(utd_mhad)
    one, other = (DESCRIPTION.joints.index(joint) for joint in DESCRIPTION.scale_joints)
    for subject in recordings.subjects:
        own = recordings.where(lambda row, subject=subject: row.subject == subject)
        lengths = [np.linalg.norm(skeleton[0, one] - skeleton[0, other]) for skeleton in own.skeleton]
        assert np.std(lengths) < 0.03 * np.mean(lengths)
        assert 0.5 < np.mean(lengths) < 0.7


def test_units_and_rates_are_those_described(utd_mhad: Path) -> None:
    recordings, _ = read(utd_mhad)
    # The sensor starts nearly at rest: 1 g.
    at_rest = [np.linalg.norm(signal[:5, :3], axis=1).mean() for signal in recordings.imu]
    assert np.median(at_rest) == pytest.approx(1, abs=0.05)
    assert max(np.abs(signal[:, :3]).max() for signal in recordings.imu) <= 8.001
    ratio = np.median([len(i) / len(s) for i, s in zip(recordings.imu, recordings.skeleton, strict=True)])
    assert DESCRIPTION.imu_hz is not None
    assert DESCRIPTION.skeleton_hz == pytest.approx(DESCRIPTION.imu_hz / ratio, rel=0.06)
