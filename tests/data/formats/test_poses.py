"""OpenPose, AlphaPose, MediaPipe and tables with confidences, each as its own program writes it."""

import json
from pathlib import Path

import numpy as np
import pytest

from mmssl.data.formats import read
from mmssl.data.formats.joints import BLAZE33
from mmssl.data.sheet import Sheet


def sheet_of(path: Path, confidence: float = 0.3) -> Sheet:
    sheet = read(path, confidence)
    assert sheet is not None and sheet.values.shape[1] == len(sheet.names)
    return sheet


def walk(frames: int, joints: int, axes: int = 2, at: float = 500, seed: int = 0) -> np.ndarray:
    """A body of 200 pixels that drifts by some pixels a frame."""
    rng = np.random.default_rng(seed)
    body = rng.uniform(-100, 100, (1, joints, axes))
    return (at + body + rng.normal(1, 1, (frames, 1, axes)).cumsum(axis=0)).round(3)


def sure(points: np.ndarray, confidence: float = 0.9) -> np.ndarray:
    return np.concatenate([points, np.full((*points.shape[:-1], 1), confidence)], axis=-1)


def openpose(folder: Path, frames: list[list[np.ndarray]]) -> Path:
    """As --write_json of OpenPose 1.7 writes (doc/02_output.md, version 1.3): NAME_000000000000_keypoints.json for
    each frame, people without order, 0,0,0 for what was not seen."""
    folder.mkdir()
    for i, people in enumerate(frames):
        document = {
            "version": 1.3,
            "people": [
                {
                    "person_id": [-1],
                    "pose_keypoints_2d": body.flatten().tolist(),
                    "face_keypoints_2d": [],
                    "hand_left_keypoints_2d": [],
                    "hand_right_keypoints_2d": [],
                    "pose_keypoints_3d": [],
                }
                for body in people
            ],
        }
        (folder / f"walk_{i:012d}_keypoints.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize("joints", [25, 18])
def test_openpose(tmp_path: Path, joints: int):
    points = walk(12, joints)
    bodies = sure(points)
    bodies[3, 4] = 0  # Not seen.
    bodies[5, 6, 2] = 0.1  # Hardly.
    bodies[5, 7, 2] = 0.3
    sheet = sheet_of(openpose(tmp_path / "walk", [[body] for body in bodies]))
    points[3, 4] = points[5, 6] = np.nan
    np.testing.assert_array_equal(sheet.values, points.reshape(12, -1))
    assert sheet.names[:8:2] == ("nose_x", "neck_x", "right_shoulder_x", "right_elbow_x")
    assert sheet.names[2 * (9 if joints == 25 else 8)] == "right_hip_x"
    assert sheet.notes == ("joints with a confidence below 0.3 are missing values",)
    points[5, 6] = bodies[5, 6, :2]
    low = sheet_of(tmp_path / "walk", 0.05)
    np.testing.assert_array_equal(low.values, points.reshape(12, -1))


def test_openpose_people_are_followed_whatever_their_order(tmp_path: Path):
    """Frames list people in any order; who moves most of those who are there long is read."""
    moves, stands = sure(walk(40, 25, at=300)), sure(np.tile(walk(1, 25, at=900, seed=1), (40, 1, 1)))
    stands[:, :, 1] += np.linspace(0, 5, 40)[:, None]
    frames = [[moves[i], stands[i]] if i % 3 else [stands[i], moves[i]] for i in range(40)]
    frames[7] = [stands[7]]
    frames[8] = []
    frames[20].append(sure(walk(1, 25, at=2000, seed=3))[0])
    sheet = sheet_of(openpose(tmp_path / "walk", frames))
    expected = moves[..., :2].copy()
    expected[[7, 8]] = np.nan
    np.testing.assert_array_equal(sheet.values, expected.reshape(40, -1))
    assert sheet.notes == (
        "several people were seen: the one who moves most is read",
        "frames in which nobody was seen, or not the one who is read, are missing values",
    )


def test_one_person_may_come_back_elsewhere(tmp_path: Path):
    points = walk(30, 25)
    points[20:] += 3000
    frames: list[list[np.ndarray]] = [[body] for body in sure(points)]
    frames[15:20] = [[]] * 5
    values = sheet_of(openpose(tmp_path / "walk", frames)).values
    points[15:20] = np.nan
    np.testing.assert_array_equal(values, points.reshape(30, -1))


def test_openpose_in_three_dimensions(tmp_path: Path):
    folder = tmp_path / "walk"
    points = walk(4, 25, 3)
    openpose(folder, [[body] for body in sure(points[..., :2])])
    for i, file in enumerate(sorted(folder.iterdir())):
        document = json.loads(file.read_text())
        document["people"][0]["pose_keypoints_3d"] = sure(points[i : i + 1]).flatten().tolist()
        file.write_text(json.dumps(document))
    np.testing.assert_array_equal(sheet_of(folder).values, points.reshape(4, -1))


def test_a_missing_openpose_frame_is_no_frame_less(tmp_path: Path):
    folder = openpose(tmp_path / "walk", [[body] for body in sure(walk(6, 25))])
    (folder / "walk_000000000002_keypoints.json").unlink()
    values = sheet_of(folder).values
    assert values.shape[0] == 6 and np.isnan(values).all(axis=1).nonzero()[0].tolist() == [2]


def alphapose(path: Path, frames: list[list[np.ndarray]], *, idx: bool = False, name: str = "{}.jpg") -> Path:
    """As AlphaPose 0.5 writes alphapose-results.json (doc/output.md; alphapose/utils/pPose_nms.py, write_json):
    pictures without anybody are left out, idx is there with tracking."""
    entries = [
        {"image_id": name.format(i), "category_id": 1, "keypoints": body.flatten().tolist(), "score": 2.5}
        | ({"box": [1, 2, 3, 4], "idx": [person + 1]} if idx else {})
        for i, people in enumerate(frames)
        for person, body in enumerate(people)
    ]
    path.write_text(json.dumps(entries))
    return path


@pytest.mark.parametrize(("joints", "read_"), [(17, 17), (26, 26), (136, 26)])
def test_alphapose(tmp_path: Path, joints: int, read_: int):
    points = walk(12, joints)
    frames = [[body] for body in sure(points)]
    frames[9] = []
    frames[2][0][5, 2] = 0.05
    sheet = sheet_of(alphapose(tmp_path / "alphapose-results.json", frames))
    points[9] = points[2, 5] = np.nan
    np.testing.assert_array_equal(sheet.values, points[:, :read_].reshape(12, -1))
    assert sheet.names[0] == "nose_x" and sheet.names[2 * 11] == "left_hip_x"


def test_alphapose_pictures_are_in_the_order_of_their_numbers(tmp_path: Path):
    points = walk(12, 17)
    path = alphapose(tmp_path / "a.json", [[body] for body in sure(points)])
    entries = sorted(json.loads(path.read_text()), key=lambda entry: entry["image_id"])  # 0, 1, 10, 11, 2, ...
    path.write_text(json.dumps(entries))
    np.testing.assert_array_equal(sheet_of(path).values, points.reshape(12, -1))
    alphapose(path, [[]] * 4 + [[body] for body in sure(points)], name="{:06d}.png")
    assert "the first picture is number 4: those before it count as not recorded" in sheet_of(path).notes


def test_every_fifth_picture_is_no_gap(tmp_path: Path):
    points = walk(6, 17)
    path = alphapose(tmp_path / "a.json", [[body] for body in sure(points)])
    entries = json.loads(path.read_text())
    path.write_text(json.dumps([entry | {"image_id": f"frame_{5 * i}.jpg"} for i, entry in enumerate(entries)]))
    np.testing.assert_array_equal(sheet_of(path).values, points.reshape(6, -1))


def test_alphapose_tracks_are_its_own(tmp_path: Path):
    """Two who pass through each other."""
    one, other = walk(20, 17, at=500), walk(20, 17, at=500, seed=1) + np.linspace(-200, 200, 20)[:, None, None]
    frames = [list(pair) for pair in zip(sure(one), sure(other), strict=True)]
    values = sheet_of(alphapose(tmp_path / "a.json", frames, idx=True)).values
    np.testing.assert_array_equal(values, other.reshape(20, -1))


def test_alphapose_tracks_of_merged_boxes(tmp_path: Path):
    """Two boxes of one person are one body, whose idx lists both; of two people it says nothing."""
    one, other = walk(20, 17, at=500), walk(20, 17, at=900, seed=1)
    path = alphapose(tmp_path / "a.json", [list(pair) for pair in zip(sure(one), sure(other), strict=True)], idx=True)
    alike, mixed = (json.loads(path.read_text()) for _ in range(2))
    alike[7]["idx"], mixed[7]["idx"] = [2, 2], [2, 1]
    plain = sheet_of(path).values
    for entries in (alike, mixed):
        path.write_text(json.dumps(entries))
        np.testing.assert_array_equal(sheet_of(path).values, plain)


def blaze(points: np.ndarray, visibility: float = 0.9) -> list[list[dict[str, float]]]:
    return [
        [{**dict(zip("xyz", map(float, p), strict=True)), "visibility": visibility} for p in frame] for frame in points
    ]


@pytest.mark.parametrize("shape", ["list", "dict", "people", "proto", "web", "frames", "lines", "keyed", "numbers"])
def test_mediapipe(tmp_path: Path, shape: str):
    """What programs write of MediaPipe 0.10's results: lists of landmarks with x, y, z and visibility; the message's
    own JSON (google.protobuf.json_format.MessageToDict); the Tasks API's list of people; camelCase on the web."""
    points = walk(8, 33, 3, at=0.5)
    frames = blaze(points)
    frames[2][4]["visibility"] = 0.2
    frames[5] = []
    document: object = {
        "list": frames,
        "dict": [{"frame": i, "timestamp_ms": 40 * i, "landmarks": frame} for i, frame in enumerate(frames)],
        "people": [{"pose_landmarks": [frame] if frame else []} for frame in frames],
        "proto": [{"pose_landmarks": {"landmark": frame} if frame else None} for frame in frames],
        "web": [{"poseLandmarks": frame} for frame in frames],
        "frames": {"fps": 30, "frames": [{"pose_landmarks": frame} for frame in frames]},
        "keyed": {str(i): frame for i, frame in enumerate(frames)},
        "numbers": {"landmarks": [[list(point.values()) for point in frame] for frame in frames]},
        "lines": None,
    }[shape]
    path = tmp_path / ("a.jsonl" if shape == "lines" else "a.json")
    lines = "\n".join(json.dumps({"pose_landmarks": frame}) for frame in frames)
    path.write_text(lines if shape == "lines" else json.dumps(document))
    sheet = sheet_of(path)
    points[2, 4] = points[5] = np.nan
    np.testing.assert_array_equal(sheet.values, points.reshape(8, -1))
    assert sheet.names[:3] == ("nose_x", "nose_y", "nose_z") and sheet.names[3 * 23] == "left_hip_x"
    assert "fractions of a picture" in sheet.notes[0]
    assert (sheet.seconds is not None) == (shape == "dict")
    if sheet.seconds is not None:
        np.testing.assert_allclose(sheet.seconds, 0.04 * np.arange(8))


def test_mediapipe_metres_before_fractions_of_a_picture(tmp_path: Path):
    world, picture = walk(4, 33, 3, at=0), walk(4, 33, 3, at=0.5, seed=1)
    document = [
        {"pose_landmarks": p, "pose_world_landmarks": w} for p, w in zip(blaze(picture), blaze(world), strict=True)
    ]
    (tmp_path / "a.json").write_text(json.dumps(document))
    sheet = sheet_of(tmp_path / "a.json")
    np.testing.assert_array_equal(sheet.values, world.reshape(4, -1))
    assert set(sheet.units) == {"m"} and "metres from the middle of the hips" in sheet.notes[0]


@pytest.mark.parametrize("names", ["{joint}_{axis}", "landmark_{joint}_{axis}", "{axis}{number}", "{axis}_{index}"])
def test_a_table_of_joints_with_their_visibility(tmp_path: Path, names: str):
    points = walk(6, 33, 3, at=0.5)
    bodies = sure(points)
    bodies[1, 2, 3] = 0.1
    short = "{axis}" in names.replace("_{axis}", "")
    header = [
        names.format(joint=joint, axis=axis, number=i + 1, index=i)
        for i, joint in enumerate(BLAZE33)
        for axis in ("x", "y", "z", "v" if short else "visibility")
    ]
    text = ",".join(["frame", "Time (s)", *header]) + "\n"
    text += "".join(f"{i},{i / 25}," + ",".join(map(str, frame.flatten())) + "\n" for i, frame in enumerate(bodies))
    (tmp_path / "a.csv").write_text(text)
    sheet = sheet_of(tmp_path / "a.csv")
    points[1, 2] = np.nan
    np.testing.assert_array_equal(sheet.values, points.reshape(6, -1))
    assert sheet.seconds is not None and not sheet.epoch and sheet.notes[0] == "columns that are not read: frame"
    np.testing.assert_allclose(sheet.seconds, np.arange(6) / 25)
    assert sheet.names[-1].endswith("right_foot_index_z")


def test_a_table_of_deeplabcut(tmp_path: Path):
    """Three lines of names, as DeepLabCut 2 and 3 write with save_as_csv (docs, standardDeepLabCut_UserGuide.md)."""
    points = walk(6, 3)
    bodies = sure(points)
    bodies[1, 2, 2] = 0.1
    joints = [joint for joint in ("nose", "left_hip", "tail base") for _ in range(3)]
    text = ",".join(["scorer", *["DLC_resnet50"] * 9]) + "\n" + ",".join(["bodyparts", *joints]) + "\n"
    text += ",".join(["coords", *["x", "y", "likelihood"] * 3]) + "\n"
    text += "".join(f"{i}," + ",".join(map(str, frame.flatten())) + "\n" for i, frame in enumerate(bodies))
    (tmp_path / "a.csv").write_text(text)
    sheet = sheet_of(tmp_path / "a.csv")
    points[1, 2] = np.nan
    np.testing.assert_array_equal(sheet.values, points.reshape(6, -1))
    assert sheet.names == ("nose_x", "nose_y", "left_hip_x", "left_hip_y", "tail base_x", "tail base_y")


def deeplabcut(path: Path, animals: dict[str, tuple[list[str], np.ndarray]]) -> Path:
    """Four lines of names, as DeepLabCut writes of several animals; what is of none of them is called single."""
    columns = [
        (who, joint, what)
        for who, (joints, _) in animals.items()
        for joint in joints
        for what in ("x", "y", "likelihood")
    ]
    above = (["DLC_dlcrnet"] * len(columns), *(list(row) for row in zip(*columns, strict=True)))
    rows = [[name, *own] for name, own in zip(("scorer", "individuals", "bodyparts", "coords"), above, strict=True)]
    values = np.concatenate([sure(points).reshape(len(points), -1) for _, points in animals.values()], axis=1)
    rows += [[str(i), *("" if np.isnan(x) else str(x) for x in row)] for i, row in enumerate(values)]
    path.write_text("".join(",".join(row) + "\n" for row in rows))
    return path


def test_a_table_of_deeplabcut_with_several_animals(tmp_path: Path):
    """One of them is read, not all as one body."""
    joints = ["snout", "left_hip", "tail"]
    stands, moves, cage = np.tile(walk(1, 3, at=900, seed=1), (20, 1, 1)), walk(20, 3), np.tile(walk(1, 2), (20, 1, 1))
    moves[4] = np.nan  # Not seen: empty cells.
    animals = {"mouse1": (joints, stands), "mouse2": (joints, moves), "single": (["corner1", "corner2"], cage)}
    sheet = sheet_of(deeplabcut(tmp_path / "a.csv", animals))
    np.testing.assert_array_equal(sheet.values, moves.reshape(20, -1))
    assert sheet.names == ("snout_x", "snout_y", "left_hip_x", "left_hip_y", "tail_x", "tail_y")
    assert any("several people were seen" in note for note in sheet.notes)


def test_mediapipe_people_are_followed_without_visibility(tmp_path: Path):
    moves, stands = walk(20, 33, 3, at=0), walk(20, 33, 3, at=900, seed=1)
    stands = np.tile(stands[:1], (20, 1, 1))
    document = [
        {"pose_landmarks": [[dict(zip("xyz", map(float, p), strict=True)) for p in body] for body in frame]}
        for frame in ([moves[i], stands[i]] if i % 3 else [stands[i], moves[i]] for i in range(20))
    ]
    (tmp_path / "a.json").write_text(json.dumps(document))
    np.testing.assert_array_equal(sheet_of(tmp_path / "a.json").values, moves.reshape(20, -1))


def test_what_openpose_has_not_seen_moves_nobody_to_another(tmp_path: Path):
    """0,0 is no place: by it the one who lacks joints would be nearer to the other."""
    moves, stands = sure(walk(40, 25, at=300)), sure(np.tile(walk(1, 25, at=500, seed=1), (40, 1, 1)))
    moves[20:, 5:] = 0
    stands[:20, 5:] = 0
    frames = [[moves[i], stands[i]] if i % 3 else [stands[i], moves[i]] for i in range(40)]
    expected = np.where(moves[..., 2:] > 0, moves[..., :2], np.nan)
    np.testing.assert_array_equal(sheet_of(openpose(tmp_path / "walk", frames)).values, expected.reshape(40, -1))


def test_hands_without_a_body_are_nobody(tmp_path: Path):
    """OpenPose lists them as a person without keypoints of the pose."""
    points = walk(4, 25)
    frames: list[list[np.ndarray]] = [[np.zeros((0, 3)), body] for body in sure(points)]
    np.testing.assert_array_equal(sheet_of(openpose(tmp_path / "walk", frames)).values, points.reshape(4, -1))


def test_faults_of_poses(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_text('[{"image_id": "1.jpg", "keypoints": [1, 2, 3]')
    with pytest.raises(ValueError, match="no readable JSON"):
        read(path)
    path.write_text(json.dumps([{"image_id": "1.jpg", "category_id": 1, "keypoints": [1.0] * 48}]))
    with pytest.raises(ValueError, match="bodies of 16 joints; can be read: 17, 26, 133, 136"):
        read(path)
    path.write_text(json.dumps([{"image_id": "nose.jpg", "keypoints": [1.0] * 51}]))
    with pytest.raises(ValueError, match="has no number"):
        read(path)
    path.write_text(json.dumps([blaze(walk(1, 32, 3))[0]]))
    with pytest.raises(ValueError, match="32 landmarks, where MediaPipe's pose has 33"):
        read(path)
    path.write_text(json.dumps({"version": 1}))
    with pytest.raises(ValueError, match="is an unknown kind of JSON"):
        read(path)
    openpose(tmp_path / "nobody", [[], []])
    with pytest.raises(ValueError, match="nobody was seen in any frame"):
        read(tmp_path / "nobody")
    openpose(tmp_path / "unsure", [[sure(walk(1, 25), 0.1)[0]]] * 2)
    with pytest.raises(ValueError, match=r"nobody was seen in any frame with a confidence of 0.3"):
        read(tmp_path / "unsure")
