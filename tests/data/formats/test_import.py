"""Recordings whose files are of these formats, imported by `data import` and compared with what was written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_exports import EPOCH, LINES, shimmer, written
from test_motion_capture import c3d, mvn, places, skeleton, trc
from test_poses import alphapose, openpose, sure, walk

from mmssl import Recordings
from mmssl.cli.own_data import data_import
from mmssl.data.csv_folder import read
from mmssl.errors import UserError

FRAMES = 60
Write = Callable[[Path, np.ndarray], Path]


def lab(tmp_path: Path, **files: list[Path]) -> Path:
    """A table of recordings, each with a file of each modality."""
    names = list(files)
    lines = [
        ",".join([f"r{i}", ("sit", "walk")[i % 2], f"p{i}", *(one.relative_to(tmp_path).as_posix() for one in own)])
        for i, own in enumerate(zip(*files.values(), strict=True))
    ]
    (tmp_path / "recordings.csv").write_text(
        "\n".join([",".join(["recording_id", "label", "subject", *names]), *lines])
    )
    return tmp_path


SKELETONS: dict[str, tuple[int, int, str, float | None, Write]] = {
    "C3D": (2, 3, "c3d", 120, lambda path, points: c3d(path, ["anna:pelvis", "anna:neck"], points, [])),
    "TRC": (2, 3, "trc", 100, lambda path, points: trc(path, ["pelvis", "neck"], points)),
    "MVNX": (23, 3, "mvnx", 240, mvn),
    "NTU RGB+D": (25, 3, "skeleton", None, lambda path, points: skeleton(path, [{"1": one} for one in points])),
    "OpenPose": (25, 2, "", None, lambda path, points: openpose(path, [[one] for one in sure(points)])),
    "AlphaPose": (17, 2, "json", None, lambda path, points: alphapose(path, [[one] for one in sure(points)])),
}


@pytest.mark.parametrize("name", SKELETONS)
def test_skeletons(tmp_path: Path, name: str):
    joints, axes, ending, rate, write = SKELETONS[name]
    points = [places(FRAMES, joints, seed) if axes == 3 else walk(FRAMES, joints, seed=seed) for seed in (0, 1)]
    files = [write(tmp_path / f"r{i}{'.' * bool(ending)}{ending}", one) for i, one in enumerate(points)]
    found = read(lab(tmp_path, skeleton=files))
    assert found.left_out == []
    for array, one in zip(found.recordings.arrays("skeleton"), points, strict=True):
        np.testing.assert_allclose(array, one, rtol=1e-6, atol=1e-5)
    description = found.recordings.description
    assert len(description.joints) == joints and len(description.coordinates) == axes
    assert description.skeleton_hz == (None if rate is None else pytest.approx(rate, rel=0.005))


def test_a_joint_that_was_hidden_is_a_gap(tmp_path: Path):
    points = np.linspace(0, 1, 10)[:, None, None] * np.ones((10, 2, 3)) + [[[0], [1]]] * np.ones((2, 3))
    hidden = points.copy()
    hidden[4, 0] = hidden[3, 0]  # what some programs write where a marker is hidden
    folder = lab(tmp_path, skeleton=[c3d(tmp_path / "a.c3d", ["pelvis", "neck"], hidden, [(4, 0)])])
    with pytest.raises(UserError, match="pelvis_x is empty or not finite"):
        read(folder)
    found = read(folder, fill_gaps=True)
    np.testing.assert_allclose(found.recordings.arrays("skeleton")[0], points, atol=1e-6)


def test_skeleton_and_sensor_of_different_programs_on_one_clock(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """MVN's clock and Shimmer's count since 1970: they are cut to the span that they share."""
    points = places(FRAMES, 23)
    columns = {
        f"{kind}_{axis}_CAL": unit for kind, unit in (("Accel_LN", "m/(s^2)"), ("Gyro", "deg/s")) for axis in "XYZ"
    }
    values = np.random.default_rng(0).normal(size=(LINES, 6)).round(6)
    body = mvn(tmp_path / "a.mvnx", points)
    body.write_text(body.read_text().replace('ms="1600000000', f'ms="{EPOCH}'))
    wrist = shimmer(tmp_path / "a.csv", ";", columns, values)
    folder = lab(tmp_path, skeleton=[body], imu=[wrist])
    data_import(folder, out=tmp_path / "lab.parquet")
    said = capsys.readouterr().out
    recordings = Recordings.load(tmp_path / "lab.parquet")
    description = recordings.description
    assert description.imu_channels == ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
    assert description.imu_sensors == ((("acc_x", "acc_y", "acc_z"), ("gyro_x", "gyro_y", "gyro_z")),)
    assert description.imu_hz == pytest.approx(100) and description.skeleton_hz == pytest.approx(240, rel=0.005)
    (skeleton,), (imu,) = recordings.arrays("skeleton"), recordings.arrays("imu")
    assert skeleton is not None and imu is not None
    # Frames span 59/240 s, samples 0.39 s: the samples of the common span are left.
    assert len(skeleton) == FRAMES and len(imu) in (25, 26)
    np.testing.assert_allclose(skeleton, points, atol=1e-5)
    np.testing.assert_allclose(imu, values[: len(imu)], rtol=1e-6)
    assert "poses of the calibration are left out" in said


def test_phones_and_poses(tmp_path: Path):
    points, values = walk(30, 25), np.random.default_rng(0).normal(size=(LINES, 3)).round(6)
    lines = [[EPOCH * 10**9 + 10**7 * i, i / 100, *v] for i, v in enumerate(values)]
    (tmp_path / "phone").mkdir()
    phone = written(tmp_path / "phone" / "Accelerometer.csv", "time,seconds_elapsed,z,y,x\n", lines)
    bodies = sure(points)
    bodies[3, 2, 2] = 0.2
    folder = lab(tmp_path, skeleton=[openpose(tmp_path / "walk", [[one] for one in bodies])], imu=[phone])
    with pytest.raises(UserError, match="right_shoulder_x is empty or not finite"):
        read(folder)
    found = read(folder, confidence=0.1)
    np.testing.assert_allclose(found.recordings.arrays("skeleton")[0], points, rtol=1e-6)
    np.testing.assert_allclose(found.recordings.arrays("imu")[0], values[:, ::-1], rtol=1e-6)
    assert found.recordings.description.imu_channels == ("linear_acc_x", "linear_acc_y", "linear_acc_z")
    assert len(found.recordings.description.imu_sensors) == 1
    assert any("without gravity" in note for note in found.notes)


def test_a_phones_sensors_make_one_signal_at_the_faster_rate(tmp_path: Path):
    files: dict[str, list[Path]] = {}
    for column, name, hz in (("imu_acc", "TotalAcceleration", 100), ("imu_gyro", "Gyroscope", 50)):
        seconds = np.arange(LINES * hz // 100) / hz
        lines = [[round((EPOCH + s) * 1e3) * 10**6, s, 3 * s, 2 * s, s] for s in seconds]
        files[column] = [written(tmp_path / f"{name}.csv", "time,seconds_elapsed,z,y,x\n", lines)]
    recordings = read(lab(tmp_path, **files)).recordings
    assert recordings.description.imu_hz == pytest.approx(100)
    assert len(recordings.description.imu_sensors) == 1 and len(recordings.description.imu_sensors[0]) == 2
    (imu,) = recordings.arrays("imu")
    assert imu is not None
    seconds = np.arange(len(imu)) / 100  # Lines rise by time, so that interpolation leaves them what they are.
    np.testing.assert_allclose(imu, np.outer(seconds, [1, 2, 3, 1, 2, 3]), atol=1e-5)


def test_a_refused_file_is_named_with_the_way_on(tmp_path: Path):
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(
        UserError, match=r"(?s)a\.mat: is a MATLAB file: writetable.*folder: is a folder without OpenPose"
    ):
        read(lab(tmp_path, imu=[tmp_path / "a.mat", tmp_path / "folder"]))
