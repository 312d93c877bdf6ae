import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmact_folder import (
    ACTIONS,
    SCENES,
    SENSORS,
    SESSIONS,
    SUBJECTS,
    Key,
    poses,
    put,
    rows,
    write_clip,
    write_trainable,
)

from mmssl.data.description import Row
from mmssl.data.mmact import describe, read
from mmssl.data.protocols import leave_one_subject_out, split, train_and_test
from mmssl.data.recordings import Recordings
from mmssl.data.sources import open_dataset
from mmssl.errors import UserError
from mmssl.recipe import Data, Recipe, knob_names
from mmssl.study.presets import preset
from mmssl.training.encoders import build_encoders
from mmssl.training.preparation import Standardisation, prepare_signal, prepare_skeleton
from mmssl.training.transforms import augment_signal, augment_skeleton
from mmssl.training.trial import train

# Seconds of each sensor's samples: other starts, ends and rates; all four cover 0.03 to 1.99.
SECONDS = {
    "acc_phone": np.arange(0, 201) / 100,
    "acc_watch": np.arange(3, 203) / 100,
    "gyro": np.arange(0, 100) / 50 + 0.01,
    "orientation": np.array([0.004, 0.3, 0.31, 0.8, 1.25, 1.6, 1.998]),
}


def slopes(key: Key) -> np.ndarray:
    """Offsets and slopes of the 12 channels: straight lines, which interpolation must not change."""
    subject, scene, session, action = key
    return np.random.default_rng([subject, scene, session, *action.encode()]).uniform(-100, 100, (2, 12))


def lines(sensor: str, key: Key) -> list[str]:
    offset, slope = slopes(key)[:, 3 * SENSORS.index(sensor) :][:, :3]
    values = offset + SECONDS[sensor][:, None] * slope
    if sensor == "orientation":
        values = (values + 180) % 360 - 180
    return rows(SECONDS[sensor], values)


def body(key: Key, frames: int) -> np.ndarray:
    """(frames, 51), everything seen."""
    keypoints = np.random.default_rng([*key[:3], *key[3].encode(), 1]).uniform(1, 1000, (frames, 17, 3))
    keypoints[..., 2] = 0.5 + keypoints[..., 2] / 2500
    return keypoints.reshape(frames, 51)


def write(folder: Path, *keys: Key, camera: int = 1, **layout: Any) -> Path:
    for key in keys:
        signals = {sensor: lines(sensor, key) for sensor in SENSORS}
        write_clip(folder, key, signals, {camera: poses(body(key, 12))}, **layout)
    return folder


KEYS: tuple[Key, ...] = (
    (1, 1, 1, "walking"),
    (1, 3, 2, "using_phone"),
    (2, 3, 1, "talking_on_phone"),
    (10, 2, 5, "fall"),
    (17, 4, 1, "using_phone"),
)


def assert_is_what_was_written(recordings: Recordings, keys: tuple[Key, ...] = KEYS) -> None:
    assert [(r.subject, r.scene, r.session, r.label) for r in recordings.rows] == [
        (str(subject), str(scene), str(session), action) for subject, scene, session, action in keys
    ]
    seconds = 0.03 + np.arange(197) / 100
    for skeleton, imu, key in zip(recordings.skeleton, recordings.imu, keys, strict=True):
        offset, slope = slopes(key)
        assert imu.shape == (197, 12)
        straight = offset + seconds[:, None] * slope
        straight[:, 9:] -= 360 * np.round(straight[0, 9:] / 360)
        np.testing.assert_allclose(imu, straight, rtol=0, atol=1e-4)
        assert skeleton.shape == (12, 17, 2)
        np.testing.assert_allclose(skeleton, body(key, 12).reshape(12, 17, 3)[..., :2], rtol=1e-6)


@pytest.mark.parametrize(
    "sensors", ["", "sensor", "sensors", "Sensor_trimmed", "a/b c", "sensor/acc_phone_clip/subject1"]
)
@pytest.mark.parametrize("header", [False, True])
def test_sensors_in_any_folder_with_or_without_header(tmp_path: Path, sensors: str, header: bool) -> None:
    recordings, skipped = read(write(tmp_path, *KEYS, sensors=sensors, header=header))
    assert skipped == []
    assert_is_what_was_written(recordings)


def test_names_of_folders_and_actions_are_lenient(tmp_path: Path) -> None:
    write(tmp_path, *KEYS, suffix="", pose="", name=lambda action: f" {action.title()}  ")
    put(tmp_path / "__MACOSX/acc_phone/subject1/scene1/session1/._walking.csv", "Mac OS X")
    put(tmp_path / "acc_phone/notes.csv", "none")
    recordings, skipped = read(tmp_path)
    assert skipped == []
    assert_is_what_was_written(recordings)


def test_a_camera_is_chosen(tmp_path: Path) -> None:
    write(tmp_path, KEYS[0], camera=1)
    write(tmp_path, KEYS[0], camera=4)
    put(tmp_path / "pose/cross_view/trainval/subject1/cam4/scene1/session1/walking.json", poses(body(KEYS[1], 5)))
    assert [len(skeleton) for skeleton in read(tmp_path)[0].skeleton] == [12]
    assert [len(skeleton) for skeleton in read(tmp_path, camera=4)[0].skeleton] == [5]
    with pytest.raises(UserError, match=r"no pose files of camera 2: .*/cam2/.*there are cameras 1, 4"):
        read(tmp_path, camera=2)


def view(folder: Path, key: Key, camera: int) -> Path:
    subject, scene, session, action = key
    return folder / f"pose/cross_view/trainval/subject{subject}/cam{camera}/scene{scene}/session{session}/{action}.json"


def test_every_camera_gives_a_recording_of_its_own(tmp_path: Path) -> None:
    keys = KEYS[:2]
    for camera in (1, 2, 4):
        write(tmp_path, *keys, camera=camera)
        for key in keys:
            put(view(tmp_path, key, camera), poses(body(key, 10 + camera)))
    put(view(tmp_path, keys[0], 5), "no such camera")
    recordings, skipped = open_dataset("mmact:camera=all", tmp_path)
    assert skipped == []
    assert [(row.recording_id, row.view) for row in recordings.rows] == [
        (f"{clip}_cam{camera}", str(camera))
        for clip in ("subject1_scene1_session1_walking", "subject1_scene3_session2_using_phone")
        for camera in (1, 2, 4)
    ]
    for camera in (1, 2, 4):
        of_camera = recordings.where(lambda row, camera=camera: row.view == str(camera))
        one, _ = read(tmp_path, camera=camera)
        assert [row.view for row in one.rows] == ["", ""]
        assert [len(skeleton) for skeleton in one.skeleton] == [10 + camera] * 2
        for mine, theirs in zip(of_camera.skeleton + of_camera.imu, one.skeleton + one.imu, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_fault_of_one_camera_leaves_the_others(tmp_path: Path) -> None:
    for camera in (1, 2, 3):
        write(tmp_path, *KEYS[:3], camera=camera)
    view(tmp_path, KEYS[0], 2).unlink()
    put(view(tmp_path, KEYS[1], 3), "")
    put(tmp_path / "gyro_clip/subject2/scene3/session1/talking_on_phone.csv", "")
    recordings, skipped = read(tmp_path, camera="all", skip_bad=True)
    assert [(row.label, row.view) for row in recordings.rows] == [
        *(("walking", "1"), ("walking", "3"), ("using_phone", "1"), ("using_phone", "2"))
    ]
    # Sensors are read once a clip, and camera 4 is nowhere.
    expected = (
        "subject1_scene1_session1_walking: no camera 2 pose file, though acc_phone_clip/",
        "pose/cross_view/trainval/subject1/cam3/scene3/session2/using_phone.json: Invalid JSON: EOF",
        "gyro_clip/subject2/scene3/session1/talking_on_phone.csv: empty",
    )
    for fault, start in zip(skipped, expected, strict=True):
        assert fault.startswith(start)
    shutil.rmtree(tmp_path / "pose")
    with pytest.raises(UserError, match=r"no pose files of camera 1 or 2 or 3 or 4: .*unpack"):
        read(tmp_path, camera="all")


def test_the_word_for_the_data_set_says_camera_and_classes(tmp_path: Path) -> None:
    write(tmp_path, *KEYS, camera=2)
    recordings, _ = open_dataset("mmact:classes=36,camera=2", tmp_path)
    assert recordings.description.name == "mmact_36"
    assert recordings.fingerprint == read(tmp_path, classes=36, camera=2)[0].fingerprint
    with pytest.raises(UserError, match="no pose files of camera 1"):
        open_dataset("mmact", tmp_path)


def test_classes_at_the_desk(tmp_path: Path) -> None:
    write(tmp_path, *KEYS)
    labels = {classes: [row.label for row in read(tmp_path, classes=classes)[0].rows] for classes in (35, 36, 37)}
    assert labels[35] == ["walking", "using_phone", "talking_on_phone", "fall", "using_phone"]
    assert labels[36] == ["walking", "using_phone_at_desk", "talking_on_phone", "fall", "using_phone"]
    assert labels[37] == ["walking", "using_phone_at_desk", "talking_on_phone_at_desk", "fall", "using_phone"]
    for classes in (35, 36, 37):
        description = describe(classes)
        assert (len(description.classes), description.name) == (classes, f"mmact_{classes}")
        # A class keeps its index.
        assert description.classes[:35] == describe().classes
    with pytest.raises(UserError, match="35 or 36 or 37 classes, not 34"):
        read(tmp_path, classes=34)


def sensor_files(folder: Path, **content: list[str]) -> None:
    for sensor, samples in content.items():
        put(folder / f"{sensor}_clip/subject1/scene1/session1/walking.csv", samples)


def test_sensors_are_aligned_on_their_stamps(tmp_path: Path) -> None:
    write(tmp_path, KEYS[0])
    sensor_files(
        tmp_path,
        acc_phone=["20180920_10:00:00,0,1,2", "20180920_10:00:01,100,1,4"],
        acc_watch=["20180920_10:00:00.5,10,0,0", "20180920_10:00:02.000,40,0,0"],
        gyro=["20180920_09:59:59,-1,5,5", "20180920_10:00:01.500000,4,5,5"],
        orientation=["20180920_10:00:00.25,350,-170,-80", "20180920_10:00:01.25,10,170,80"],
    )
    [imu] = read(tmp_path)[0].imu
    # From 0.5 s, where the watch starts, to 1 s, where the phone ends.
    assert imu.shape == (51, 12)
    for row, expected in (
        (0, [50, 1, 3, 10, 0, 0, 2, 5, 5, -5, -175, -40]),
        (25, [75, 1, 3.5, 15, 0, 0, 2.5, 5, 5, 0, -180, 0]),
        (50, [100, 1, 4, 20, 0, 0, 3, 5, 5, 5, -185, 40]),
    ):
        np.testing.assert_allclose(imu[row], expected, rtol=1e-6)


def test_the_order_of_the_rows_and_repeated_stamps_do_not_matter(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write(tmp_path, KEYS[0])
    for sensor in SENSORS:
        samples = lines(sensor, KEYS[0])
        repeated = [f"{sample.split(',')[0]},7,-7,7" for sample in samples[::2]]
        sensor_files(tmp_path, **{sensor: [samples[i] for i in rng.permutation(len(samples))] + repeated})
    recordings, _ = read(tmp_path)
    assert_is_what_was_written(recordings, KEYS[:1])


def test_angles_do_not_depend_on_where_they_wrap(tmp_path: Path) -> None:
    write(tmp_path, KEYS[0])
    seconds = np.arange(0, 210) / 100
    # Two turns and back, nowhere faster than 40 degrees a sample.
    path = 150 + 720 * np.sin(np.pi * seconds / 2)[:, None] * np.array([1, -1, 0.5])
    for low in (-180, 0, -360):
        wrapped = (path - low) % 360 + low
        sensor_files(tmp_path, orientation=rows(seconds, wrapped))
        [imu] = read(tmp_path)[0].imu
        expected = path[3:200]
        expected = expected - 360 * np.round(expected[0] / 360)
        np.testing.assert_allclose(imu[:, 9:], expected, atol=1e-3)
        assert (np.abs(imu[0, 9:]) <= 180).all()


def one_clip(folder: Path, frames: Any) -> Path:
    write(folder, KEYS[0])
    put(folder / "pose/cross_view/trainval/subject1/cam1/scene1/session1/walking.json", frames)
    return folder


def test_one_person_is_taken_throughout(tmp_path: Path) -> None:
    faint, clear = body(KEYS[0], 10), body(KEYS[1], 10)
    faint[:, 2::3] *= 0.6
    # In the first frame the other is clearer.
    faint[0, 2::3] = 1
    for people in ((faint, clear), (clear, faint)):
        [skeleton] = read(one_clip(tmp_path, poses(*people)))[0].skeleton
        np.testing.assert_allclose(skeleton, clear.reshape(10, 17, 3)[..., :2], rtol=1e-6)

    # Equal: person1.
    faint[:, 2::3] = clear[:, 2::3]
    [skeleton] = read(one_clip(tmp_path, poses(faint, clear)))[0].skeleton
    np.testing.assert_allclose(skeleton, faint.reshape(10, 17, 3)[..., :2], rtol=1e-6)


def test_person1_may_be_empty(tmp_path: Path) -> None:
    person = body(KEYS[0], 4)
    frames = {str(i): {"person1": [], "person2": keypoints.tolist()} for i, keypoints in enumerate(person)}
    [skeleton] = read(one_clip(tmp_path, frames))[0].skeleton
    np.testing.assert_allclose(skeleton, person.reshape(4, 17, 3)[..., :2], rtol=1e-6)


def test_frames_come_in_numeric_order_and_gaps_are_filled(tmp_path: Path) -> None:
    person = body(KEYS[0], 3)
    person[:, 0] = 10, 30, 90
    frames = {
        name: {"person1": keypoints.tolist(), "person2": []} for name, keypoints in zip("829", person, strict=True)
    }
    frames["10"] = frames.pop("9")
    [skeleton] = read(one_clip(tmp_path, frames))[0].skeleton
    # Frames 2, 8 and 10 show it at 30, 10 and 90.
    np.testing.assert_allclose(
        skeleton[:, 0, 0], [30, 30 - 20 / 6, 30 - 40 / 6, 20, 30 - 80 / 6, 30 - 100 / 6, 10, 50, 90]
    )


def test_joints_not_seen_are_filled_over_time(tmp_path: Path) -> None:
    joints = describe().joints
    nose, left_hip, left_ear = (joints.index(joint) for joint in ("nose", "left_hip", "left_ear"))
    person = body(KEYS[0], 6).reshape(6, 17, 3)
    person[[0, 2, 3, 5], nose] = 0
    person[1, nose], person[4, nose] = (100, 10, 0.9), (400, 70, 0.1)
    person[0, left_hip] = 0
    person[:, left_ear, 2] = 0
    frames = poses(person.reshape(6, 51))
    frames["7"] = {"person1": [], "person2": []}
    [skeleton] = read(one_clip(tmp_path, frames))[0].skeleton
    np.testing.assert_allclose(skeleton[:, nose, 0], [100, 100, 200, 300, 400, 400, 400])
    np.testing.assert_allclose(skeleton[:, nose, 1], [10, 10, 30, 50, 70, 70, 70])
    np.testing.assert_allclose(skeleton[0, left_hip], person[1, left_hip, :2], rtol=1e-6)
    np.testing.assert_array_equal(skeleton[:, left_ear], skeleton[:, left_hip])


def without(joint: str) -> dict[str, Any]:
    person = body(KEYS[0], 3)
    person[:, 3 * describe().joints.index(joint) + 2] = 0
    return poses(person)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "Invalid JSON: EOF"),
        (b'{"1": {"person1": [1, 2', "Invalid JSON: EOF"),
        ({}, "no frames"),
        ({"1": {}}, "nobody is in any frame"),
        ({"1": {"person1": [], "person2": []}}, "left_hip, left_shoulder never seen"),
        (without("left_hip"), "left_hip never seen"),
        (without("left_shoulder"), "left_shoulder never seen"),
        ({"1": {"person1": [1.0] * 50, "person2": []}}, "frame 1: person1 has 50 numbers, expected 51 or none"),
        ({"1": {"person1": [float("nan")] * 51}}, "51 numbers are not finite"),
        ({"1": {"person1": [1e300] * 51}}, "34 values that are not finite"),
        ({"1": {"person1": [5.0] * 51}}, "joints left_shoulder and left_hip coincide in the first frame"),
        ({"one": {"person1": []}}, "one"),
        ({"-1": {"person1": []}}, "greater than or equal to 0"),
        ({"9" * 30: {"person1": []}}, "less than 2147483648"),
        ({"1": {"person1": []}, "1000000": {"person1": []}}, "frames 1 to 1000000 are too many"),
        ({"1": {"person1": None}}, "1: person1: Input should be a valid array"),
        ({"1": {"person1": ["left"] * 51}}, "1: person1: 0: Input should be a valid number"),
        ([1, 2], "Input should be an object"),
    ],
)
def test_faults_of_a_pose_file(tmp_path: Path, content: Any, fault: str) -> None:
    write(tmp_path, *KEYS[1:])
    if isinstance(content, list):
        content = json.dumps(content)
    recordings, [found] = read(one_clip(tmp_path, content), skip_bad=True)
    assert len(recordings) == len(KEYS) - 1
    assert found.startswith("pose/cross_view/trainval/subject1/cam1/scene1/session1/walking.json: ")
    assert fault in found
    assert "\n" not in found


GOOD = "20180920_00:00:01.5,1,2,3\n"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "empty"),
        ("\n \n", "empty"),
        ("time,x,y,z\n", "no samples"),
        ("time,x,z,y\n" + GOOD, "header is 'time,x,z,y', expected time,x,y,z or none"),
        ("time,azimuth,pitch,roll\n" + GOOD, "header is 'time,azimuth,pitch,roll', expected time,x,y,z or none"),
        (GOOD + "20180920_00:00:02.5,1,2\n", "Row #2: Expected 4 columns, got 3"),
        (GOOD + "20180920_00:00:02.5,1,2,3,4\n", "Row #2: Expected 4 columns, got 5"),
        (GOOD + "20180920_00:00:02.5,1,,3\n", "Row #2: CSV conversion error to double: invalid value ''"),
        (GOOD + "20180920_00:00:02.5,1,2,three\n", "invalid value 'three'"),
        (GOOD + "20180920_00:00:02.5,1,nan,inf\n", "row 2 has values that are not finite (1 such rows)"),
        (GOOD + "20180920_00:00:02.5,1,1e300,2\n" + GOOD, "values that are not finite"),
        (GOOD + "2018-09-20 00:00:02,1,2,3\n", "row 2: '2018-09-20 00:00:02' is no time like 20180920_15:04:05.678"),
        (GOOD + "20180231_00:00:02.5,1,2,3\n", "row 2: '20180231_00:00:02.5' is no time"),
        (GOOD + "20180920_00:00:02.5+09:00,1,2,3\n", "is no time"),
        (b"\xff\xfe\x00\x01", "Row #1: Expected 4 columns, got 1"),
        (GOOD.encode() + b"\xff,1,2,3\n", "invalid UTF8 data"),
        (GOOD + "20180921_00:00:02.5,1,2,3\n", ""),
    ],
)
def test_faults_of_a_sensor_file(tmp_path: Path, content: str | bytes, fault: str) -> None:
    write(tmp_path, *KEYS)
    put(tmp_path / "gyro_clip/subject1/scene1/session1/walking.csv", content)
    recordings, skipped = read(tmp_path, skip_bad=True)
    if not fault:
        assert skipped == []
        return
    [found] = skipped
    assert len(recordings) == len(KEYS) - 1
    assert fault in found
    assert "\n" not in found
    key = "subject1_scene1_session1_walking: " if "1e300" in str(content) else ""
    assert found.startswith(key or "gyro_clip/subject1/scene1/session1/walking.csv: ")


@pytest.mark.parametrize(
    "content",
    [
        "20180920_00:00:01,1,2,3\n20180920_00:00:02,-4.5,5e-1,6\n",
        "20180920_00:00:01.0,1,2,3\r\n20180920_00:00:02.000000,-4.5,0.5,6\r\n",
        "\ufeff20180920_00:00:01,1,2,3\n20180920_00:00:02,-4.5,0.5,6",
        "\ufefftime,x,y,z\n20180920_00:00:01,1,2,3\n20180920_00:00:02,-4.5,0.5,6",
        "Time, X, Y, Z\r\n 20180920_00:00:01 , 1, 2, 3 \r\n\r\n20180920_00:00:02,-4.5,0.5,6\r\n",
    ],
)
def test_a_sensor_file_may_be_written_in_many_ways(tmp_path: Path, content: str) -> None:
    write(tmp_path, KEYS[0])
    sensor_files(tmp_path, **{sensor: ["20180920_00:00:00,0,0,0", "20180920_00:00:09,0,0,0"] for sensor in SENSORS})
    put(tmp_path / "gyro_clip/subject1/scene1/session1/walking.csv", content)
    [imu] = read(tmp_path)[0].imu
    np.testing.assert_allclose(imu[[0, 50, 100], 6:9], [[1, 2, 3], [-1.75, 1.25, 4.5], [-4.5, 0.5, 6]], rtol=1e-6)


def test_sensors_must_share_a_plausible_time(tmp_path: Path) -> None:
    write(tmp_path, *KEYS)
    sensor_files(tmp_path, gyro=["20180920_00:00:05,1,2,3", "20180920_00:00:07,1,2,3"])
    with pytest.raises(UserError) as error:
        read(tmp_path)
    assert str(error.value).endswith(
        "  subject1_scene1_session1_walking: the sensors have no time in common: "
        "gyro starts 3.002 s after orientation ends"
    )
    sensor_files(tmp_path, **{sensor: ["20180920_00:00:00,1,2,3", "20190920_00:00:00,1,2,3"] for sensor in SENSORS})
    _, [fault] = read(tmp_path, skip_bad=True)
    assert "31536000 s in common, too long for a clip" in fault


def test_every_fault_is_reported_in_one_message(tmp_path: Path) -> None:
    write(tmp_path, *KEYS, *((3, 1, session, "walking") for session in (1, 2, 3, 4)))
    sensors, pose = (
        tmp_path / "acc_watch_clip/subject3/scene1",
        tmp_path / "pose/cross_view/trainval/subject3/cam1/scene1",
    )
    (sensors / "session1/walking.csv").unlink()
    put(tmp_path / "gyro_clip/subject3/scene1/session1/walking.csv", "")
    (pose / "session2/walking.json").unlink()
    shutil.copy(sensors / "session3/walking.csv", sensors / "session3/Walking .csv")
    shutil.copy(sensors / "session3/walking.csv", sensors / "session3/walkin.csv")
    for place in ("subject21/scene1/session1", "subject1/scene5/session1", "subject1/scene1/session0"):
        put(tmp_path / f"acc_watch_clip/{place}/walking.csv", GOOD)

    with pytest.raises(UserError) as error:
        read(tmp_path)
    limits = "the data set has no such recording: subjects 1 to 20, scenes 1 to 4, sessions 1 to 5"
    expected = [
        f"acc_watch_clip/subject1/scene1/session0/walking.csv: {limits}",
        f"acc_watch_clip/subject1/scene5/session1/walking.csv: {limits}",
        f"acc_watch_clip/subject21/scene1/session1/walking.csv: {limits}",
        "acc_watch_clip/subject3/scene1/session3/walkin.csv: no action 'walkin'; did you mean walking",
        "subject3_scene1_session1_walking: no acc_watch file, though acc_phone_clip/subject3/scene1/session1/",
        "gyro_clip/subject3/scene1/session1/walking.csv: empty",
        "subject3_scene1_session2_walking: no camera 1 pose file, though acc_phone_clip/subject3/scene1/session2/",
        "subject3_scene1_session3_walking: 2 acc_watch files: acc_watch_clip/subject3/scene1/session3/Walking .csv, "
        "acc_watch_clip/subject3/scene1/session3/walking.csv",
    ]
    first, *found = str(error.value).splitlines()
    assert first.startswith(f"{tmp_path}: {len(expected)} faults in the files; mend them, or leave")
    for fault in expected:
        [_] = [line for line in found if line.strip().startswith(fault)]
    recordings, skipped = read(tmp_path, skip_bad=True)
    assert skipped == [line.strip() for line in found]
    assert [row.recording_id for row in recordings.rows] == [
        "subject{}_scene{}_session{}_{}".format(*key) for key in sorted([*KEYS, (3, 1, 4, "walking")])
    ]


def test_nothing_to_read_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder; MMAct is given on request only"):
        read(tmp_path / "absent")
    with pytest.raises(UserError, match=r"no acc_phone files: .*acc_phone_clip/subject1/.*unpack"):
        read(tmp_path)
    write(tmp_path, KEYS[0])
    put(tmp_path / "gyro_clip/subject1/scene1/session1/walking.csv", "")
    with pytest.raises(UserError, match="no recording is whole"):
        read(tmp_path, skip_bad=True)
    shutil.rmtree(tmp_path / "pose")
    with pytest.raises(UserError, match=r"no pose files of camera 1: .*unpack"):
        read(tmp_path)


def test_the_description_fits_the_data() -> None:
    description = describe()
    assert len(set(description.classes)) == 35
    # COCO's order: the left of each pair comes first.
    pairs = [(a, b) for a, b in zip(description.joints[1::2], description.joints[2::2], strict=True)]
    assert [a.removeprefix("left_") for a, _ in pairs] == [
        *("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    ]
    assert all(b == a.replace("left", "right") for a, b in pairs)
    assert description.joints[0] == "nose"
    units = dict(zip(description.imu_channels, description.imu_units, strict=True))
    assert list(units.items())[::3] == [
        ("acc_phone_x", "m/s^2"),
        ("acc_watch_x", "m/s^2"),
        ("gyro_x", "rad/s"),
        ("orientation_azimuth", "deg"),
    ]


CLIPS = [
    (subject, scene, session) for subject in (*range(1, 17), 20) for scene, session in ((1, 1), (2, 1), (3, 5), (4, 2))
]
"""Subject, scene and session, some of each on every side of every protocol."""


def many(folder: Path, cameras: tuple[str, ...]) -> tuple[Recordings, list[tuple[int, int, int, str]]]:
    """Recordings of `CLIPS` by every camera, with arrays that are all the same; and what each is of."""
    one, _ = read(write(folder, KEYS[0]))
    of = [(*clip, camera) for clip in CLIPS for camera in cameras]
    table = [
        Row(recording_id=str(i), label="walking", subject=subject, scene=scene, session=session, view=camera)
        for i, (subject, scene, session, camera) in enumerate(of)
    ]
    description = describe(across_views=cameras != ("",))
    return Recordings(description, table, one.skeleton * len(of), one.imu * len(of)), of


TESTS: dict[str, Callable[[tuple[int, int, int, str]], bool]] = {
    "cross_subject": lambda of: of[0] > 16,
    "cross_scene": lambda of: of[1] == 2,
    "cross_session": lambda of: of[2] == 5,
    "cross_view": lambda of: of[3] == "4",
}


@pytest.mark.parametrize("cameras", [("",), ("1", "2", "3", "4")])
def test_each_protocol_has_its_own_sides(tmp_path: Path, cameras: tuple[str, ...]) -> None:
    recordings, of = many(tmp_path, cameras)
    protocols = [name for name in TESTS if name != "cross_view" or cameras != ("",)]
    assert list(recordings.description.protocols) == protocols
    for protocol in protocols:
        tests = TESTS[protocol]
        data = Data(protocol=protocol, modalities=("skeleton",))
        parts = split(recordings, data.model_copy(update={"validation_subjects": ("3",)}))
        assert parts.test.tolist() == [i for i, what in enumerate(of) if tests(what)]
        assert parts.validation.tolist() == [i for i, what in enumerate(of) if not tests(what) and what[0] == 3]
        assert parts.train.tolist() == [i for i, what in enumerate(of) if not tests(what) and what[0] != 3]
        assert len(leave_one_subject_out(recordings, data)) == (16 if protocol == "cross_subject" else 17)


@pytest.mark.parametrize("protocol", ["cross_subject", "cross_scene", "cross_session"])
def test_all_views_of_a_clip_stand_on_one_side(tmp_path: Path, protocol: str) -> None:
    recordings, of = many(tmp_path, ("1", "2", "3", "4"))
    data = Data(protocol=protocol)
    for held_out in leave_one_subject_out(recordings, data):
        parts = split(recordings, data.model_copy(update={"validation_subjects": held_out}))
        clips = [{of[i][:3] for i in side} for side in (parts.train, parts.validation, parts.test)]
        assert sum(map(len, clips)) == len(set.union(*clips)) == len(CLIPS)


def test_signals_are_not_tested_across_views(tmp_path: Path) -> None:
    recordings, _ = many(tmp_path, ("1", "4"))
    for modalities in (("imu",), ("imu", "skeleton")):
        data = Data(protocol="cross_view", modalities=modalities)
        for function in (train_and_test, split, leave_one_subject_out):
            with pytest.raises(
                UserError, match="the same for every camera; take skeletons alone, as system vicreg_skeleton"
            ):
                function(recordings, data)
    with pytest.raises(UserError, match="mmact_35 has no 'cross_view'; did you mean"):
        train_and_test(read(tmp_path)[0], Data(protocol="cross_view", modalities=("skeleton",)))


def test_recordings_are_prepared_augmented_and_encoded(tmp_path: Path) -> None:
    recordings, _ = read(write(tmp_path, *KEYS))
    description = recordings.description
    root = description.joints.index(description.root_joint)
    one, other = (description.joints.index(joint) for joint in description.scale_joints)
    skeleton = prepare_skeleton(recordings.skeleton, 20, root, (one, other))
    np.testing.assert_array_equal(skeleton[:, 0, root], 0)
    np.testing.assert_allclose(np.linalg.norm(skeleton[:, 0, one] - skeleton[:, 0, other], axis=-1), 1, rtol=1e-6)
    imu = prepare_signal(recordings.imu, 20)
    imu = Standardisation.fit(imu).apply(imu)

    knobs = {
        f"augment.{m}.{kind}.probability": 1 for m in ("skeleton", "imu") for kind in ("rotate", "scale", "jitter")
    }
    recipe = Recipe().with_knobs({"data.steps": 20, **knobs})
    index = {channel: i for i, channel in enumerate(description.imu_channels)}
    triads = [[(index[x], index[y], index[z]) for x, y, z in sensor] for sensor in description.imu_sensors]
    generator = torch.Generator().manual_seed(0)
    batch = {
        "skeleton": augment_skeleton(torch.from_numpy(skeleton), recipe.augment.skeleton, generator),
        "imu": augment_signal(torch.from_numpy(imu), recipe.augment.imu, generator, triads),
    }
    encoders = build_encoders(recipe, {"skeleton": (17, 2), "imu": (len(index),)})
    for modality, encoder in encoders.items():
        features = encoder(batch[modality])
        assert features.shape == (len(KEYS), encoder.width)
        assert torch.isfinite(features).all()
        assert len(features.unique(dim=0)) == len(KEYS)


@pytest.fixture(scope="module")
def trainable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trainable(tmp_path_factory.mktemp("mmact"))


@pytest.mark.parametrize(
    ("word", "system", "knobs", "validated"),
    [
        ("mmact", "vicreg", {"data.train_subjects": [1, 2, 3]}, 3 * 4),
        ("mmact:classes=37", "cmc", {"data.protocol": "cross_scene"}, 3 * 2),
        ("mmact:camera=all,classes=36", "simclr_skeleton", {"data.protocol": "cross_view"}, 3 * 4 * 3),
    ],
)
def test_a_recipe_is_trained_on_a_small_folder(
    trainable: Path, word: str, system: str, knobs: dict[str, Any], validated: int
) -> None:
    recordings, skipped = open_dataset(word, trainable)
    assert skipped == []
    clips = len(SUBJECTS) * len(SCENES) * len(SESSIONS) * len(ACTIONS)
    assert len(recordings) == clips * (4 if "all" in word else 1)
    short = {
        **{name: 0.5 for name in knob_names() if name.startswith("augment.") and name.endswith(".probability")},
        **{"data.steps": 16, "pretrain.epochs": 1, "finetune.epochs": 1},
        **{"pretrain.batch_size": 16, "finetune.batch_size": 16, "data.validation_subjects": [3]},
    }
    recipe = preset("mmact", system).with_knobs(short | knobs)
    outcome = train(recipe, recordings)
    assert outcome.status == "COMPLETE", outcome.cause
    assert outcome.model is not None
    assert outcome.model.description.coordinates == ("x", "y")
    assert {row["subject"] for row in outcome.predictions} == {"3"}
    assert len(outcome.predictions) == validated
    scores = {name: value for name, value in outcome.metrics.items() if name.startswith("val.")}
    assert {"val.accuracy", "val.f1"} <= set(scores)
    assert np.isfinite([*scores.values()]).all()
    assert np.isfinite([value for name, value in outcome.metrics.items() if name.startswith("train.")]).all()
