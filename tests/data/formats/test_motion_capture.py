"""C3D, TRC, MVNX and NTU's skeletons, each written as its own programs write it."""

import struct
from pathlib import Path

import numpy as np
import pytest

from mmssl.data.formats import mvnx, ntu, read
from mmssl.data.sheet import Sheet

GAP = 2


def sheet_of(path: Path) -> Sheet:
    sheet = read(path)
    assert sheet is not None
    assert sheet.values.shape[1] == len(sheet.names)
    assert len(sheet.units) in (0, len(sheet.names))
    return sheet


def places(frames: int, joints: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(frames, joints, 3)).cumsum(axis=0).round(4)


def c3d(
    path: Path, labels: list[str], points: np.ndarray, hidden: list[tuple[int, int]], **computed: list[str]
) -> Path:
    """Written by ezc3d 1.7.2, with an analogue channel at ten times the points' rate, in millimetres at 120 Hz."""
    ezc3d = pytest.importorskip("ezc3d")
    file = ezc3d.c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [120.0]
    file["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    file["parameters"]["POINT"]["LABELS"]["value"] = labels
    for group, names in computed.items():
        file.add_parameter("POINT", group, names)
    file["parameters"]["ANALOG"]["RATE"]["value"] = [1200.0]
    file["parameters"]["ANALOG"]["LABELS"]["value"] = ["emg"]
    data = np.ones((4, points.shape[1], len(points)))
    data[:3] = np.moveaxis(points, (0, 1, 2), (2, 1, 0))
    residuals = np.zeros((1, points.shape[1], len(points)))
    for frame, marker in hidden:
        residuals[0, marker, frame] = -1
    file["data"]["points"] = data
    file["data"]["meta_points"]["residuals"] = residuals
    file["data"]["analogs"] = np.full((1, 1, 10 * len(points)), 7.0)
    file.write(str(path))
    return path


def test_c3d(tmp_path: Path):
    points = places(6, 3)
    points[GAP, 1] = 0  # Where a marker is hidden, Vicon writes zeros and a residual of -1.
    sheet = sheet_of(c3d(tmp_path / "walk.c3d", ["anna:LASI", "anna:RASI", "anna:*12"], points, [(GAP, 1)]))
    assert sheet.names == ("LASI_x", "LASI_y", "LASI_z", "RASI_x", "RASI_y", "RASI_z")
    expected = points[:, :2].reshape(6, 6)
    expected[GAP, 3:] = np.nan
    np.testing.assert_allclose(sheet.values, expected, atol=1e-6)
    assert (sheet.rate, sheet.seconds, sheet.units) == (120.0, None, ("mm",) * 6)
    assert sheet.notes == ("1 trajectories without a name are not read",)


def test_a_c3d_marker_that_stays_where_it_was_hidden_is_missing_too(tmp_path: Path):
    """Other programs hold the last place, so that only the residual tells."""
    points = places(6, 1) + 100
    points[GAP] = points[GAP - 1]
    sheet = sheet_of(c3d(tmp_path / "walk.c3d", ["LASI"], points, [(GAP, 0)]))
    assert np.isnan(sheet.values).all(axis=1).nonzero()[0].tolist() == [GAP]


def test_angles_and_forces_among_the_points_of_a_c3d_file_are_no_joints(tmp_path: Path):
    points = places(5, 3)
    labels = ["LASI", "LKneeAngles", "LAnkleForce"]
    path = c3d(tmp_path / "a.c3d", labels, points, [], ANGLES=labels[1:2], FORCES=labels[2:])
    sheet = sheet_of(path)
    assert sheet.names == ("LASI_x", "LASI_y", "LASI_z")
    np.testing.assert_allclose(sheet.values, points[:, 0], atol=1e-6)
    assert "not read" in sheet.notes[0]


def test_of_two_subjects_of_a_c3d_file_the_one_who_moves_is_read(tmp_path: Path):
    points = places(30, 2)
    points[:, 0] = points[0, 0]
    sheet = sheet_of(c3d(tmp_path / "two.c3d", ["anna:LASI", "ben:LASI"], points, []))
    np.testing.assert_allclose(sheet.values, points[:, 1], atol=1e-6)
    assert sheet.notes == ("several people were seen: the one who moves most is read",)


def test_a_c3d_file_that_is_none(tmp_path: Path):
    pytest.importorskip("ezc3d")
    (tmp_path / "a.c3d").write_bytes(b"\x02\x50" + b"\0" * 600)
    with pytest.raises(ValueError, match=r"C3D|points"):
        read(tmp_path / "a.c3d")


def test_a_c3d_file_that_is_shorter_than_it_says(tmp_path: Path):
    pytest.importorskip("ezc3d")
    header, about = bytearray(512), bytearray(512)
    header[:2], header[2:10], header[16:18] = b"\x02\x50", struct.pack("<4H", 2, 0, 1, 1000), struct.pack("<H", 3)
    about[:4] = bytes([1, 0x50, 1, 84])
    (tmp_path / "a.c3d").write_bytes(bytes(header + about))
    # Two points in 1000 frames, of four numbers of two bytes each, behind two blocks of 512.
    with pytest.raises(ValueError, match=f"cut off: it has 1024 bytes, and {2 * 512 + 1000 * 2 * 4 * 2} by its header"):
        read(tmp_path / "a.c3d")


def test_without_ezc3d_a_c3d_file_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def absent(_: str) -> object:
        raise ModuleNotFoundError

    monkeypatch.setattr("mmssl.data.formats.c3d.import_module", absent)
    (tmp_path / "a.c3d").write_bytes(b"\x02\x50")
    with pytest.raises(ValueError, match=r"pip install .mmssl-tune"):
        read(tmp_path / "a.c3d")


TRC = (
    "PathFileType\t4\t(X/Y/Z)\twalk.trc\n"
    "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames\n"
    "100.00\t100.00\t{frames}\t{markers}\tmm\t100.00\t1\t{frames}\n"
)


def trc(path: Path, labels: list[str], points: np.ndarray, *, blank: bool = True, end: str = "\t") -> Path:
    """As Cortex and OpenSim 4 (TRCFileAdapter) write it: a name over each first of three columns, below a blank line;
    markers not seen are empty. `trc-data-reader` 0.4.1 shows the form without the blank line."""
    text = TRC.format(frames=len(points), markers=len(labels))
    text += "Frame#\tTime\t" + "".join(f"{label}\t\t\t" for label in labels) + "\n"
    text += "\t\t" + "".join(f"X{i}\tY{i}\tZ{i}\t" for i in range(1, len(labels) + 1)) + "\n" + "\n" * blank
    for i, frame in enumerate(points):
        cells = ["" if np.isnan(value) else f"{value:.4f}" for value in frame.flatten()]
        text += "\t".join([str(i + 1), f"{i / 100:.3f}", *cells]).rstrip("\t" * (end == "")) + end + "\n"
    path.write_text(text)
    return path


def test_a_trc_file_of_opensim(tmp_path: Path):
    """The first lines of opensim-core's Applications/IK/test/constraintTest.trc: spaces around numbers and in the
    first line, a blank line below the axes."""
    text = (
        "PathFileType  4\t(X/Y/Z) C:\\Inversekin\\duathlon\\TRY3\\Run\\Files_W_HJCs\n"
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames\n"
        "  200.0\t  200.0\t   2\t     2\tmm\t  200.0\t      1\t   2\n"
        "Frame#\tTime\tR.Shoulder\t\t\tL.HJC\n\t\tX1\tY1\tZ1\tX2\tY2\tZ2\n\n"
        "1\t0.00000\t90.174\t1884.322\t-1717.028\t183.195\t1841.400\t-1857.356\n"
        "2\t0.00500\t91.297\t1878.064\t-1715.637\t182.311\t1837.028\t-1857.639\n"
    )
    (tmp_path / "a.txt").write_text(text)
    sheet = sheet_of(tmp_path / "a.txt")
    assert sheet.names[::3] == ("R.Shoulder_x", "L.HJC_x") and sheet.rate == 200
    assert sheet.values.tolist() == [
        [90.174, 1884.322, -1717.028, 183.195, 1841.4, -1857.356],
        [91.297, 1878.064, -1715.637, 182.311, 1837.028, -1857.639],
    ]
    assert sheet.seconds is not None and sheet.seconds.tolist() == [0, 0.005]


@pytest.mark.parametrize("blank", [True, False])
@pytest.mark.parametrize("end", ["\t", ""])
def test_trc(tmp_path: Path, blank: bool, end: str):
    points = places(5, 3)
    points[1, 0] = points[3, 2] = np.nan
    sheet = sheet_of(trc(tmp_path / "walk.trc", ["LASI", "RASI", "C7"], points, blank=blank, end=end))
    assert sheet.names[:4] == ("LASI_x", "LASI_y", "LASI_z", "RASI_x")
    np.testing.assert_array_equal(sheet.values, points.reshape(5, 9))
    assert (sheet.rate, sheet.units) == (100.0, ("mm",) * 9)
    np.testing.assert_allclose(sheet.seconds, np.arange(5) / 100)


def test_faults_of_a_trc_file(tmp_path: Path):
    path = trc(tmp_path / "a.trc", ["LASI", "RASI"], places(3, 2))
    text = path.read_text()
    path.write_text(text.replace("Y2", "Y3"))
    with pytest.raises(ValueError, match="line 5: X1, Y1, Z1 and so on to Z2"):
        read(path)
    path.write_text(text.replace("\t2\tmm", "\t3\tmm"))
    with pytest.raises(ValueError, match="2 markers, and NumMarkers says 3"):
        read(path)
    path.write_text(text + "4\tnoon\n")
    with pytest.raises(ValueError, match="line 10: no number"):
        read(path)
    path.write_text(text.replace("RASI", "LASI"))
    with pytest.raises(ValueError, match="two markers are called LASI"):
        read(path)


def mvn(path: Path, points: np.ndarray, *, segments: bool = True) -> Path:
    """As a file of MVN 2019.0.0 in MVNX 4 (github.com/andres-fr/blender-mvnx-io, test_mocap.mvnx): a comment with a
    document type, names with their points, frames of the calibration, ms since 1970 and time since the first frame."""
    names = mvnx.SEGMENTS[: points.shape[1]]
    point = '<points><point label="pHipOrigin"><pos_b>0.5 0.5 0.5</pos_b></point></points>'
    labels = "".join(f'<segment label="{name}" id="{i}">{point}</segment>' for i, name in enumerate(names, 1))
    numbers = " ".join(["1.000000"] * 3 * len(names))
    frames = "".join(
        f'<frame time="0" tc="00:00:00:00" ms="0" type="{kind}"><position>{numbers}</position></frame>'
        for kind in ("identity", "tpose", "tpose-isb")
    )
    for i, frame in enumerate(points):
        position = " ".join(f"{value:.6f}" for value in frame.flatten())
        frames += (
            f'<frame time="{i * 25 // 6}" index="{i}" tc="04:17:11:50" ms="{1600000000000 + i * 25 // 6}" '
            'type="normal">'
            f"<orientation>1 0 0 0</orientation><position>{position}</position><velocity>9 9 9</velocity></frame>\n"
        )
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<!-- Uncomment this part to use the DTD.\n'
        '<!DOCTYPE mvnx SYSTEM "http://www.xsens.com/mvn/mvnx/schema.dtd">\n-->\n'
        '<mvnx xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns="http://www.xsens.com/mvn/mvnx" version="4">'
        '<mvn version="2019.0.0" build="1"/><comment></comment><subject label="anna" frameRate="240" segmentCount="23" '
        'recDate="Tue Nov 13 05:17:11.827 2018"><segments>' + labels * segments + "</segments><sensors/><joints/>"
        f'<frames segmentCount="{len(names)}">{frames}</frames></subject><securityCode code="x"/></mvnx>'
    )
    return path


def test_mvnx(tmp_path: Path):
    points = places(50, 23)
    sheet = sheet_of(mvn(tmp_path / "a.mvnx", points))
    assert sheet.names[0] == "Pelvis_x" and sheet.names[-1] == "LeftToe_z"
    np.testing.assert_array_equal(sheet.values, points.reshape(50, -1))
    assert sheet.epoch and sheet.rate == 240 and sheet.seconds is not None
    np.testing.assert_allclose(sheet.seconds - 1.6e9, np.arange(50) / 240, atol=1e-3)
    assert sheet.notes == ("3 poses of the calibration are left out",) and set(sheet.units) == {"m"}


def test_an_mvnx_file_without_names_has_the_order_of_the_manual(tmp_path: Path):
    points = places(3, 23)
    np.testing.assert_array_equal(
        sheet_of(mvn(tmp_path / "a.mvnx", points, segments=False)).values[:, :3], points[:, 0]
    )


def test_an_mvnx_file_that_names_a_document_type_is_not_read(tmp_path: Path):
    """Entities that grow into gigabytes, or stand for another file, begin there."""
    path = mvn(tmp_path / "a.mvnx", places(3, 2))
    text = path.read_text().replace("-->", '--><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>')
    path.write_text(text.replace("<comment>", "<comment>&b;"))
    with pytest.raises(ValueError, match="document type"):
        read(path)


def test_an_mvnx_file_that_is_cut_off_or_has_no_positions(tmp_path: Path):
    path = mvn(tmp_path / "a.mvnx", places(3, 2))
    text = path.read_text()
    path.write_text(text[:-100])
    with pytest.raises(ValueError, match="no readable MVNX"):
        read(path)
    path.write_text(text.replace("position>", "acceleration>"))
    with pytest.raises(ValueError, match="export with positions"):
        read(path)


def skeleton(path: Path, frames: list[dict[str, np.ndarray]], state: int = 2) -> Path:
    """As read_skeleton_file.m of github.com/shahroudy/NTURGB-D reads it: the number of frames; of each the number of
    bodies; of each an id with nine numbers, 25, and 25 lines of x y z, four of pictures, four of a quaternion, the
    state."""
    lines = [str(len(frames))]
    for frame in frames:
        lines.append(str(len(frame)))
        for body, joints in frame.items():
            lines += [f"{body} 0 1 1 0 0 0 -0.1 0.2 2", "25"]
            lines += [
                " ".join([*(f"{v:.4f}" for v in joint), *["277.4"] * 4, *["0.1"] * 4, str(state)]) for joint in joints
            ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_an_ntu_skeleton_is_of_whoever_moves_most(tmp_path: Path):
    moves, stands = places(20, 25), np.tile(places(1, 25, 1), (20, 1, 1))
    frames = [{"72057594037931101": stands[i], "72057594037931102": moves[i]} for i in range(20)]
    frames[5] = {"72057594037931101": stands[5]}
    frames[6] = {}
    sheet = sheet_of(skeleton(tmp_path / "S001C001P001R001A001.skeleton", frames))
    expected = moves.copy()
    expected[[5, 6]] = np.nan
    np.testing.assert_array_equal(sheet.values, expected.reshape(20, -1))
    assert sheet.names[:3] == ("spine_base_x", "spine_base_y", "spine_base_z")
    assert sheet.names[3 * ntu.JOINTS.index("left_hip")] == "left_hip_x"
    assert len(sheet.notes) == 2 and "moves most" in sheet.notes[0]


def test_a_glimpse_of_another_ntu_body_does_not_count(tmp_path: Path):
    body = places(20, 25)
    frames: list[dict[str, np.ndarray]] = [{"1": one} for one in body]
    for i, other in enumerate(100 * places(5, 25, 1)):
        frames[i]["2"] = other
    np.testing.assert_array_equal(sheet_of(skeleton(tmp_path / "a.skeleton", frames)).values, body.reshape(20, -1))


def test_faults_of_an_ntu_skeleton(tmp_path: Path):
    path = skeleton(tmp_path / "a.skeleton", [{"1": one} for one in places(3, 25)])
    text = path.read_text()
    path.write_text("\n".join(text.splitlines()[:40]))
    with pytest.raises(ValueError, match="it ends after 40 lines"):
        read(path)
    path.write_text(text.replace("\n25\n", "\n20\n"))
    with pytest.raises(ValueError, match="line 4: 20 joints, where 25"):
        read(path)
    path.write_text("3\n" + text.split("\n", 1)[1].replace("277.4", "x", 1))
    with pytest.raises(ValueError, match="no number"):
        read(path)
    skeleton(path, [{}, {}])
    with pytest.raises(ValueError, match="nobody was seen"):
        read(path)
    skeleton(path, [{"1": one} for one in places(3, 25)], state=0)
    with pytest.raises(ValueError, match="nobody was seen"):
        read(path)
