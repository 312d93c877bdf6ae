from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from own_folder import BROKEN, CHANNELS, JOINTS, WITHOUT_IMU, WITHOUT_SKELETON, make, make_new

from mmssl import Description, Protocol, Recordings, Row
from mmssl.data.csv_folder import read
from mmssl.data.description import Window
from mmssl.data.not_signals import suspects_in
from mmssl.errors import UserError

SKELETON = "pelvis_x,pelvis_y,neck_x,neck_y\n0,0,0,1\n0,0,0.5,1\n"
SECONDS = np.arange(1000) / 50
IMU = "acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z,heart\n1,2,3,4,5,6,7\n8,9,10,11,12,13,14\n"


def folder(tmp_path: Path, **files: str | bytes) -> Path:
    """A folder of one recording, but for the files given by their names without ending."""
    made = tmp_path / "lab"
    made.mkdir()
    content: dict[str, str | bytes] = {
        "recordings": "recording_id,label,subject,skeleton,imu\nr1,sit,anna,s.csv,i.csv\n",
        "s": SKELETON,
        "i": IMU,
        **files,
    }
    for name, text in content.items():
        (made / f"{name}.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return made


def test_headers_say_what_the_numbers_mean(tmp_path: Path) -> None:
    found = read(folder(tmp_path))
    assert (found.recordings.rows, found.left_out) == ((Row(recording_id="r1", label="sit", subject="anna"),), [])
    assert found.recordings.description == Description(
        name="lab",
        classes=("sit",),
        joints=("pelvis", "neck"),
        root_joint="pelvis",
        scale_joints=("pelvis", "neck"),
        coordinates=("x", "y"),
        imu_channels=("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z", "heart"),
        imu_sensors=((("acc_x", "acc_y", "acc_z"), ("gyro_x", "gyro_y", "gyro_z")),),
    )
    np.testing.assert_array_equal(found.recordings.arrays("skeleton")[0], [[[0, 0], [0, 1]], [[0, 0], [0.5, 1]]])
    np.testing.assert_array_equal(found.recordings.arrays("imu")[0], [range(1, 8), range(8, 15)])
    assert any("origin pelvis, unit of length pelvis to neck" in note for note in found.notes)


def test_a_joint_that_a_recording_never_shows_needs_a_decision(tmp_path: Path) -> None:
    made = folder(
        tmp_path,
        recordings="recording_id,label,subject,skeleton\nr1,sit,anna,s.csv\nr2,sit,ben,t.csv\n",
        s=SKELETON.replace("neck_y", "neck_y,hand_x,hand_y").replace(",1\n", ",1,,\n"),
        t=SKELETON.replace("neck_y", "neck_y,hand_x,hand_y").replace(",1\n", ",1,3,4\n"),
    )
    (made / "i.csv").unlink()
    with pytest.raises(UserError, match=r"s.csv: hand never seen: say what to do with such joints, with --unseen"):
        read(made)
    with pytest.raises(UserError, match="--unseen neighbours: which joints are neighbours is not known"):
        read(made, unseen="neighbours")
    (made / "description.yaml").write_text("bones: [[pelvis, neck], [neck, hand]]\n")
    for how, hand in (("masked", [0, 0]), ("neighbours", [0, 1])):
        found = read(made, unseen=how)
        first, second = found.recordings.arrays("skeleton")
        assert first is not None and second is not None
        assert (first[0].tolist(), second[0].tolist()) == ([[0, 0], [0, 1], hand], [[0, 0], [0, 1], [3, 4]])
        assert any(note.startswith("s.csv, hand: joints that are never seen stand") for note in found.notes)
    less = read(made, unseen="left_out").recordings
    body = less.description.skeletons["skeleton"]
    assert (body.joints, body.bones) == (("pelvis", "neck"), (("pelvis", "neck"),))
    assert [array is not None and array.tolist() for array in less.arrays("skeleton")] == [
        [[[0, 0], [0, 1]], [[0, 0], [0.5, 1]]]
    ] * 2
    with pytest.raises(UserError, match="the joints are those of --like; choose masked or neighbours"):
        read(made, unseen="left_out", like=less.description)


def test_origin_and_unit_of_length_may_be_middles(tmp_path: Path) -> None:
    hips = SKELETON.replace("pelvis_x,pelvis_y", "l_x,l_y,r_x,r_y").replace("\n0,0", "\n-1,0,1,0")
    made = folder(tmp_path, s=hips)
    (made / "description.yaml").write_text("root_joint: [l, r]\nscale_joints: [[l, r], [neck]]\n")
    found = read(made).recordings
    body = found.description.skeletons["skeleton"]
    assert (body.root_joint, body.scale_joints, body.length) == (("l", "r"), (("l", "r"), "neck"), "l and r to neck")
    assert body.trunk(np.array([[-1.0, 0], [1, 0], [0.5, 3]])).tolist() == [0.5, 3]
    found.save(tmp_path / "lab.parquet")
    loaded = Recordings.load(tmp_path / "lab.parquet")
    assert (loaded.description, loaded.fingerprint) == (found.description, found.fingerprint)
    assert not loaded.description.is_usual, "older versions would not know what they read"
    (made / "description.yaml").write_text("root_joint: [l, hip]\nscale_joints: [l, neck]\n")
    with pytest.raises(UserError, match="joint 'hip' is not among joints: l, r, neck"):
        read(made)


@given(
    content=st.lists(
        st.tuples(
            st.none()
            | arrays(
                np.float32, st.tuples(st.integers(1, 4), st.just(3), st.just(3)), elements=st.floats(0.5, 9, width=32)
            ),
            arrays(np.float32, st.tuples(st.integers(1, 6), st.just(4)), elements=st.floats(2, 900, width=32)),
            st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1, max_size=6).filter(
                lambda s: s == s.strip()
            ),
        ),
        min_size=1,
        max_size=4,
    ),
    order=st.permutations(range(9)),
    delimiter=st.sampled_from([",", ";", "\t"]),
)
def test_csv_files_give_the_arrays_that_were_written(
    tmp_path_factory: Any, content: list[tuple[Any, Any, str]], order: list[int], delimiter: str
) -> None:
    """Whatever the order of the columns, the delimiter, and the names that people have."""
    import csv

    made = tmp_path_factory.mktemp("any")
    columns = [f"{joint}_{axis}" for joint in ("hips", "neck", "left hand") for axis in "xyz"]
    table: list[list[str]] = [["subject", "imu", "skeleton", "recording_id", "label"]]
    for i, (skeleton, imu, subject) in enumerate(content):
        if skeleton is not None:
            skeleton[0, :2] = [[0, 0, 0], [0, 1, 0]]
            flat = skeleton.reshape(len(skeleton), -1)
            lines = [[columns[j] for j in order], *([repr(float(line[j])) for j in order] for line in flat)]
            _write(made / f"s{i}.csv", lines, delimiter)
        _write(made / f"i {i}.csv", [list("abcd"), *([repr(float(v)) for v in line] for line in imu)], delimiter)
        table.append([subject, f"i {i}.csv", "" if skeleton is None else f"s{i}.csv", f"r{i}", "walk"])
    with (made / "recordings.csv").open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows(table)
    given_joints = "joints: [hips, neck, left hand]\ncoordinates: [x, y, z]\n"
    (made / "description.yaml").write_text(given_joints + "root_joint: hips\nscale_joints: [hips, neck]\n")
    found = read(made).recordings
    direct = Recordings(found.description, found.rows, [one for one, *_ in content], [one for _, one, _ in content])
    assert found.fingerprint == direct.fingerprint
    assert [row.subject for row in found.rows] == [subject for *_, subject in content]


def _write(path: Path, lines: list[list[str]], delimiter: str) -> None:
    path.write_text("\n".join(delimiter.join(line) for line in lines) + "\n")


def test_decimal_commas_of_a_spreadsheet(tmp_path: Path) -> None:
    made = folder(
        tmp_path,
        i=IMU.replace(",", ";").replace("1;2;3", "1,5;2;3"),
        recordings="recording_id;label;subject;skeleton;imu\r\nr1;sit;anna;s.csv;i.csv\r\n",
    )
    assert read(made).recordings.arrays("imu")[0][0, 0] == 1.5


def test_a_lab_folder(tmp_path: Path) -> None:
    make(tmp_path / "kitchen")
    with pytest.raises(UserError) as error:
        read(tmp_path / "kitchen")
    assert "1 fault in the files; mend them" in str(error.value)
    assert f"{BROKEN}: line 41: wrist_acc_x is no number: 'ERR" in str(error.value)
    recordings, notes, left_out = read(tmp_path / "kitchen", skip_bad=True)
    assert (len(recordings), len(left_out)) == (89, 1)
    assert recordings.lacking(["skeleton"]) == WITHOUT_SKELETON
    assert recordings.lacking(["imu"]) == WITHOUT_IMU
    assert recordings.description.joints == JOINTS
    assert recordings.description.imu_channels == CHANNELS
    assert [len(triads) for triads in recordings.description.imu_sensors] == [2, 1]
    assert "stir " not in recordings.description.classes
    assert any("spaces around names are not read, as in line 50" in note for note in notes)
    assert recordings.description.skeleton_hz == 25
    assert 62 < (recordings.description.imu_hz or 0) < 66


def test_recordings_to_come_are_read_like_earlier_ones(tmp_path: Path) -> None:
    make(tmp_path / "kitchen")
    make_new(tmp_path / "new")
    earlier = read(tmp_path / "kitchen", skip_bad=True).recordings.description
    file = tmp_path / "new" / "imu" / "clip_1.csv"
    lines = [line.split(",") for line in file.read_text().splitlines()]
    file.write_text("\n".join(",".join([*reversed(line[1:]), line[0]]) for line in lines) + "\n")
    found = read(tmp_path / "new", like=earlier).recordings
    assert found.description == earlier.model_copy(update={"classes": ()})
    assert found.lacking(["skeleton"]) == ("clip_4",)
    np.testing.assert_allclose(found.arrays("imu")[0][0], np.float32(lines[1][1:]))


@pytest.mark.parametrize(
    ("stamps", "moments"),
    [
        ([0.0, 0.1, 0.2, 0.3], None),
        ([0.0, 0.11, 0.19, 0.3], None),  # Under half a step off: nothing is gained.
        ([0.0, 0.1, 0.2, 0.6], [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        ([0.2, 0.0, 0.1, 0.1, 0.6, 0.3], [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
    ],
)
def test_uneven_stamps_are_put_at_even_moments(
    tmp_path: Path, stamps: list[float], moments: list[float] | None
) -> None:
    lines = "\n".join(f"{1000 * stamp},{10 * stamp}" for stamp in stamps)
    made = folder(tmp_path, recordings="recording_id,label,subject,imu\nr1,sit,anna,i.csv\n", i=f"time_ms,a\n{lines}\n")
    found = read(made)
    # What was written is linear in time: so must be what is read.
    np.testing.assert_allclose(
        found.recordings.arrays("imu")[0][:, 0], 10 * np.array(stamps if moments is None else moments), rtol=1e-6
    )
    assert any("uneven" in note for note in found.notes) == (moments is not None)
    assert found.recordings.description.imu_hz == pytest.approx(10, rel=0.15)
    assert found.recordings.description.joints == ()


@pytest.mark.parametrize("written", ["no lines", "empty lines", "empty lines without stamps", "lines of -1"])
def test_windows_amid_a_gap_are_left_out(tmp_path: Path, written: str) -> None:
    header, lines = "time,acc_x,acc_y,acc_z", [f"{at:.3f},{np.sin(at):.6f},{np.cos(at):.6f},9.8" for at in SECONDS]
    for i in range(300, 500):  # From 6 to 10 s.
        lines[i] = {"no lines": "", "lines of -1": f"{SECONDS[i]:.3f},-1,-1,-1"}.get(written, f"{SECONDS[i]:.3f},,,")
    if written == "empty lines without stamps":
        header, *lines = (line.partition(",")[2] for line in (header, *lines))
    made = folder(
        tmp_path,
        recordings="recording_id,label,subject,imu\nr,walk,anna,r.csv\n",
        r="\n".join([header, *filter(None, lines)]) + "\n",
    )
    (made / "description.yaml").write_text("imu_hz: 50\n")
    found = read(made, window=Window(seconds=2, stride=1), fill_gaps=written != "no lines")
    assert [row.start for row in found.recordings.rows] == [*range(5), *range(10, 19)]
    assert any("5 windows, the first r/5.000" in note for note in found.notes)
    for row, imu in zip(found.recordings.rows, found.recordings.arrays("imu"), strict=True):
        assert imu is not None and row.start is not None
        moments = row.start + np.arange(100) / 50
        np.testing.assert_allclose(imu[:, 0], np.sin(moments), atol=1e-5)


def test_classes_that_are_known_hold_for_intervals_too(tmp_path: Path) -> None:
    lines = [f"{at:.3f},{np.sin(at):.6f},{np.cos(at):.6f},9.8" for at in SECONDS]
    made = folder(
        tmp_path,
        recordings="recording_id,subject,imu,intervals\nr,anna,i.csv,seen.csv\n",
        i="\n".join(["time,acc_x,acc_y,acc_z", *lines]) + "\n",
        seen="start,end,label\n0,10,walk\n10,20,sit\n",
    )
    earlier = read(made, window=Window(seconds=2, stride=2)).recordings.description
    assert earlier.classes == ("sit", "walk")
    (made / "seen.csv").write_text("start,end,label\n0,10,walk\n")
    later = read(made, like=earlier).recordings
    assert later.description.classes == earlier.classes
    assert [row.label for row in later.rows] == ["walk"] * 5 + [""] * 5
    assert read(made, window=earlier.window).recordings.description.classes == ("walk",)
    (made / "seen.csv").write_text("start,end,label\n0,10,walk\n10,20,Sit\n")
    with pytest.raises(UserError, match=r"seen.csv: no class is called Sit; did you mean sit"):
        read(made, like=earlier)
    assert {row.label for row in read(made, like=earlier, skip_bad=True).recordings.rows} == {"walk", ""}
    (made / "description.yaml").write_text("classes: [walk, run, Sit]\n")
    assert read(made, window=earlier.window).recordings.description.classes == ("walk", "run", "Sit")


@pytest.mark.parametrize(
    ("column", "values", "refused"),
    [
        ("person_id", ["1", "2"] * 24, "1 and of 2"),
        ("pid", ["ben"] * 40 + ["anna"] * 8, "ben and of anna"),
        ("sensor", ["wrist", "ankle"] * 24, "wrist and of ankle"),
        ("person_id", ["7"] * 48, ""),
        ("rep", [*"1" * 12, *"2" * 12] * 2, ""),
        ("name", [f"{i // 2}.jpg" for i in range(48)], ""),
    ],
)
@pytest.mark.parametrize("sure", ["", ",0.9"], ids=["plain", "with confidence"])
def test_lines_of_several_people_or_devices_are_no_recording(
    tmp_path: Path, column: str, values: list[str], refused: str, sure: str
) -> None:
    """Read as one body, it would be here and there in turn."""
    joints = ("pelvis", "neck", "head")
    header = ",".join(f"{joint}_x,{joint}_y{',' * bool(sure)}{f'{joint}_confidence' * bool(sure)}" for joint in joints)
    lines = [f"{value},{','.join(f'{i},{j}{sure}' for j in range(3))}" for i, value in enumerate(values)]
    made = folder(
        tmp_path,
        recordings="recording_id,label,subject,skeleton\nr1,sit,anna,s.csv\n",
        s="\n".join([f"{column},{header}", *lines]) + "\n",
    )
    if refused:
        with pytest.raises(UserError, match=f"s.csv: lines of {refused} by its column {column}, and a recording is of"):
            read(made)
    else:
        assert read(made).recordings.lengths("skeleton").tolist() == [48]


def test_gaps_are_faults_unless_they_are_to_be_filled(tmp_path: Path) -> None:
    gaps = "pelvis_x,pelvis_y,neck_x,neck_y\n,0,0,1\n1,0,nan,1\n2,0,0.5,1\n3,0,,1\n"
    made = folder(tmp_path, s=gaps)
    with pytest.raises(UserError, match=r"s.csv: line 2: pelvis_x is empty or not finite \(3 such values in 3 of 4"):
        read(made)
    found = read(made, fill_gaps=True)
    np.testing.assert_array_equal(found.recordings.arrays("skeleton")[0][:, 0, 0], [1, 1, 2, 3])
    np.testing.assert_array_equal(found.recordings.arrays("skeleton")[0][:, 1, 0], [0, 0.25, 0.5, 0.5])
    (made / "s.csv").write_text("pelvis_x,pelvis_y,neck_x,neck_y\n0,0,,1\n1,0,,1\n")
    with pytest.raises(UserError, match="column neck_x is empty throughout"):
        read(made, fill_gaps=True)


def test_gaps_are_filled_by_time_where_each_line_has_its_own(tmp_path: Path) -> None:
    """Two sensors write lines in turn, the second 5 ms after the first, which is not half of a step of 20 ms."""
    names = [f"{sensor}_{axis}" for sensor in ("acc", "gyr") for axis in "xyz"]
    lines: list[str] = []
    for i in range(100):
        for k in range(2):
            seconds = 0.02 * i + 0.005 * k
            cells = [f"{abs(seconds - 1) * j:.6f}" if j // 4 == k else "" for j in range(1, 7)]
            lines.append(f"{seconds:.3f},{','.join(cells)}")
    made = tmp_path / "lab"
    made.mkdir()
    (made / "recordings.csv").write_text("recording_id,label,subject,wrist\nr,sit,anna,w.csv\n")
    (made / "w.csv").write_text("\n".join([f"time,{','.join(names)}", *lines]) + "\n")
    [array] = read(made, fill_gaps=True).recordings.arrays("wrist")
    assert array is not None
    # But for the ends, where the nearest value stays, and for the turn, each channel is a line: all say the same time.
    inner = array[5:-5][array[5:-5, 0] > 0.05]
    np.testing.assert_allclose(inner[:, 5] / 6, inner[:, 0], atol=1e-6)
    np.testing.assert_allclose(inner[:, 4], inner[:, 1] * 2.5, atol=1e-5)


def test_joints_without_a_known_root_need_a_description(tmp_path: Path) -> None:
    made = folder(tmp_path, s="k1_x,k1_y,k2_x,k2_y\n0,0,0,1\n")
    with pytest.raises(UserError, match=r"write into .*description.yaml, with two of k1, k2:\n  root_joint: NAME"):
        read(made)
    (made / "description.yaml").write_text("root_joint: k1\nscale_joints: [k1, k2]\nprotocols: {p: {test: [ben]}}\n")
    described = read(made).recordings.description
    assert (described.root_joint, described.protocols) == ("k1", {"p": Protocol(test=("ben",))})
    for text, message in (
        ("rot_joint: k1\n", "rot_joint: no such entry; did you mean root_joint"),
        ("root_joint: k3\nscale_joints: [k1, k2]\n", "joint 'k3' is not among joints: k1, k2"),
        ("- k1\n", "a description is a mapping"),
        ("root_joint: [\n", "line 2"),
    ):
        (made / "description.yaml").write_text(text)
        with pytest.raises(UserError, match=message):
            read(made)


def test_joints_that_were_not_seen_are_named_with_their_share(tmp_path: Path) -> None:
    lines = "".join(f"{i},0,0,1,{'-1,-1' if i % 2 else '3,4'}\n" for i in range(1, 11))
    made = folder(tmp_path, s=f"pelvis_x,pelvis_y,neck_x,neck_y,hand_x,hand_y\n{lines}")
    with pytest.raises(
        UserError, match=r"s.csv: hand \(50%\) of 10 lines at -1, as joints that were not seen are written"
    ):
        read(made)
    found = read(made, fill_gaps=True)
    np.testing.assert_array_equal(found.recordings.arrays("skeleton")[0][:, 2], [[3, 4]] * 10)
    assert "s.csv, hand (50%): taken for empty, as joints that were not seen are written as -1" in found.notes


LABELS_INSIDE = [
    ("activity_id", lambda i, line: i % 2, True),
    ("code", lambda i, line: i % 2, False),
    ("step", lambda i, line: line % 16, False),
    ("ticks", lambda i, line: 7 * line, False),
]


@pytest.mark.parametrize(("name", "value", "by_name"), LABELS_INSIDE)
def test_a_label_or_a_counter_in_a_signal_is_no_channel(tmp_path: Path, name: str, value, by_name: bool) -> None:
    draws = np.random.default_rng(0)
    made = folder(tmp_path, recordings="recording_id,label,subject,imu\n")
    for i in range(6):
        walks = draws.normal(size=(60, 3)).cumsum(axis=0)
        rows = [f"{','.join(f'{v:.4f}' for v in walk)},{value(i, line)}" for line, walk in enumerate(walks)]
        (made / f"i{i}.csv").write_text("\n".join([f"acc_x,acc_y,acc_z,{name}", *rows]) + "\n")
        with (made / "recordings.csv").open("a") as table:
            table.write(f"r{i},{'ab'[i % 2]},anna,i{i}.csv\n")
    if by_name:
        found = read(made)
        assert found.recordings.description.imu_channels == ("acc_x", "acc_y", "acc_z")
        assert any(f"not read, as no signals by their names: {name} (label)" in note for note in found.notes)
    else:
        with pytest.raises(UserError, match=rf"would be learnt:\n  imu: channel {name} (is constant|only rises)"):
            read(made)
    (made / "description.yaml").write_text(f"imu_channels: [acc_x, acc_y, acc_z, {name}]\n")
    meant = read(made).recordings
    assert meant.description.meant_channels == (name,)
    without = meant.description.model_copy(update={"meant_channels": ()})
    leaking = Recordings(without, meant.rows, imu=meant.imu)
    assert [one.channel for one in suspects_in(leaking)] == [name]
    assert suspects_in(meant) == []


def test_a_file_in_another_unit_than_the_others_is_named(tmp_path: Path) -> None:
    lines = "".join(f"r{i},sit,anna,i{i}.csv\n" for i in range(4))
    made = folder(tmp_path, recordings="recording_id,label,subject,imu\n" + lines)
    for i, unit in enumerate(("m/s^2", "m/s²", "g", "m/s2")):
        (made / f"i{i}.csv").write_text(f"acc_x [{unit}],acc_y [{unit}],acc_z [{unit}]\n1,2,3\n4,5,{i}\n")
    with pytest.raises(UserError) as error:
        read(made)
    assert str(error.value).splitlines()[1:] == [
        "  i2.csv: acc_x and 2 more in g, which other files have in m/s^2: give all the same unit"
    ]
    kept = read(made, skip_bad=True).recordings
    assert [row.recording_id for row in kept.rows] == ["r0", "r1", "r3"]
    assert kept.description.signals["imu"].units == ("m/s^2",) * 3


@pytest.mark.parametrize(
    ("header", "units"),
    [
        ("acc_x [g],acc_y [g],gyr_x (deg/s)", ("g", "g", "deg/s")),
        ("acc_x,acc_y,gyr_x\ng,g,µT", ("g", "g", "µT")),
        ("acc_x [g],acc_y,gyr_x (deg/s)", ()),
        ("acc_x,acc_y,gyr_x", ()),
    ],
    ids=["in brackets", "in a line", "not of all", "none"],
)
def test_units_are_kept_where_each_channel_says_its_own(tmp_path: Path, header: str, units: tuple[str, ...]) -> None:
    made = folder(tmp_path, recordings="recording_id,label,subject,imu\nr1,sit,anna,i.csv\n")
    (made / "i.csv").write_text(f"{header}\n1,2,3\n4,5,6\n")
    read(made).recordings.save(tmp_path / "lab.parquet")
    signal = Recordings.load(tmp_path / "lab.parquet").description.signals["imu"]
    assert (signal.channels, signal.units) == (("acc_x", "acc_y", "gyr_x"), units)
    (made / "description.yaml").write_text("modalities: {imu: {units: [m/s^2, m/s^2, rad/s]}}\n")
    assert read(made).recordings.description.signals["imu"].units == ("m/s^2", "m/s^2", "rad/s"), "what is said counts"


def test_a_unit_other_than_that_of_what_they_are_like_is_refused(tmp_path: Path) -> None:
    """Encoders that were trained in g would take gravity in m/s^2 for ten times as much, and be sure of it."""

    def clips(name: str, unit: str) -> Path:
        (tmp_path / name).mkdir()
        made = folder(tmp_path / name, recordings="recording_id,label,subject,imu\nr1,sit,anna,i.csv\n")
        (made / "i.csv").write_text(f"acc_x [{unit}],acc_y [{unit}],acc_z [{unit}]\n1,2,3\n4,5,6\n")
        return made

    described = read(clips("earlier", "g")).recordings.description
    imu = described.modalities["imu"].model_copy(update={"units": ("g",) * 3})
    earlier = described.model_copy(update={"modalities": {"imu": imu}})
    with pytest.raises(UserError) as error:
        read(clips("new", "m/s^2"), like=earlier)
    assert str(error.value).splitlines()[1:] == [
        "  i.csv: acc_x and 2 more in m/s^2, which --like has in g: give all the same unit"
    ]
    assert len(read(clips("same", "g"), like=earlier).recordings) == 1


def test_quaternions_are_interpolated_on_one_side_and_keep_their_length(tmp_path: Path) -> None:
    moments = np.delete(np.arange(60) / 50, slice(20, 22))
    angle = 3 * np.sin(6 * moments)
    signs = np.where(np.arange(len(moments)) % 7 < 3, -1, 1)
    rows = [f"{m},{s * np.cos(a / 2)},0,{s * np.sin(a / 2)},0" for m, a, s in zip(moments, angle, signs, strict=True)]
    made = folder(tmp_path, recordings="recording_id,label,subject,imu\nr1,sit,anna,i.csv\n")
    (made / "i.csv").write_text("\n".join(["time,quat_w,quat_x,quat_y,quat_z", *rows]) + "\n")
    signal = read(made).recordings.arrays("imu")[0]
    assert signal is not None
    angle = 3 * np.sin(6 * np.arange(60) / 50)
    expected = np.stack([np.cos(angle / 2), 0 * angle, np.sin(angle / 2), 0 * angle], axis=1)
    np.testing.assert_allclose(signal, expected * np.sign(signal[0, 0]), atol=2e-2)
    np.testing.assert_allclose(np.linalg.norm(signal, axis=1), 1, atol=1e-6)


HEADER = "recording_id,label,subject,skeleton,imu\n"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "no column recording_id in its header"),
        ("recording_id,label,subject\nr1,sit,anna\n", "no column that names files"),
        ("recording_id,lable,subject,imu\nr1,sit,anna,i.csv\n", "column 'lable': did you mean label"),
        ("recording_id,recording_id,subject,imu\n", "columns recording_id stand more than once"),
        (HEADER, "no recording is named in it"),
        (HEADER + "r1,sit,anna,s.csv,i.csv\nr1,sit,ben,s.csv,i.csv\n", "line 3: recording_id r1 stands in line 2 too"),
        (HEADER + "r1,sit,,s.csv,i.csv\n", "line 2: subject is empty, and it has a label"),
        (HEADER + "r1,sit,anna,,\n", "line 2: imu and skeleton: empty"),
        (HEADER + "r1,sit,anna\n", "line 2: 3 cells, and the header has 5"),
        (HEADER + "r1,sit,anna,s.csv,none.csv\n", "line 2: imu 'none.csv': there is no such file"),
        (HEADER + "r1,sit,anna,s.csv,.\n", ".: is a folder without OpenPose's"),
        (HEADER + "r1,sit,anna,s.csv,../secret.csv\n", "line 2: imu '../secret.csv': leads out of the folder"),
        (HEADER + "r1,sit,anna,s.csv,/etc/hostname\n", "line 2: imu '/etc/hostname': leads out of the folder"),
        (HEADER + "r1,sit,anna,s.csv,link.csv\n", "line 2: imu 'link.csv': leads out of the folder"),
        (HEADER + f"r1,sit,anna,s.csv,{'x' * 5000}\n", "line 2: imu 'xxx"),
        (HEADER + 'r1,sit,"anna,s.csv,i.csv\n', "not a CSV table"),
        (b"\xff\xfer\x00e\x00c\x00", "UTF-16; save it as CSV in UTF-8"),
        (b"\x80\x81\n", "not a CSV table"),
        (HEADER + "r1,sit," + "a" * 200_000 + ",s.csv,i.csv\n", "not a CSV table"),
    ],
    ids=str,
)
def test_a_table_that_cannot_be_is_refused(tmp_path: Path, table: str | bytes, message: str) -> None:
    (tmp_path / "secret.csv").write_text(IMU)
    made = folder(tmp_path, recordings=table)
    (made / "link.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(UserError) as error:
        read(made)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("imu", "message"),
    [
        (b"", "i.csv: empty"),
        ("a,b", "no lines below the header"),
        ("a,b\n", "no lines below the header"),
        ("1,2\n3,4\n", "line 1 holds numbers"),
        ("a,a\n1,2\n", "column a stands more than once"),
        ("timestamp,a\nnoon,2\n", "timestamp is neither a number nor a date or a time of day: 'noon'"),
        ("a,b\n1,2\n3,x\n", "line 3: b is no number: 'x'"),
        ("note,a,b\nhello,1,2\nyes,3,x\n", "line 2: note is no number"),
        ("frame,a,b\nhello,1,2\nyes,3,x\n", "line 3: b is no number: 'x'"),
        ("a,b\n1,2\n3\n", "line 3: 1 cells, and the header has 2"),
        ("a,b\n1,inf\n", "line 2: b is empty or not finite"),
        ("a,b\n1,1e300\n", "not finite"),
        ("time,a\n1,2\n1,2\n", "all time stamps are the same"),
        ("time,a\n1,2\n,2\n", "line 3: the time is empty"),
        ("time,a\n0,1\n1,2\n1e12,2\n", "line 4: the time jumps by 1e+12 s, where a step is"),
        (bytes(range(256)) * 40, "is a binary file"),
        (b"a,b\n1,\xff\xfe\n", "line 2: b is no number"),
        ("a," + "b" * 3_000_000 + "\n1,2\n", "line 1 is longer than"),
        ("a," + "b" * 200_000 + "\n1,2\n", "line 1: field larger than"),
        ("a,b\n1," + "2" * 5_000_000 + "\n", "a line is longer than"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, imu: str | bytes, message: str) -> None:
    with pytest.raises(UserError) as error:
        read(folder(tmp_path, i=imu))
    assert "i.csv: " in str(error.value)
    assert message in str(error.value)


def test_faults_that_differ_in_numbers_are_one_line(tmp_path: Path) -> None:
    files = {f"i{i}": f"a\n1\n{'2' * i}x\n" for i in range(1, 6)}
    lines = "".join(f"r{i},sit,anna,i{i}.csv\n" for i in range(1, 6))
    made = folder(tmp_path, recordings="recording_id,label,subject,imu\n" + lines, **files)
    with pytest.raises(UserError) as error:
        read(made)
    assert str(error.value).splitlines()[1:] == ["  i1.csv and 4 more: line 3: a is no number: '2x'"]


def test_faults_of_headers_come_before_what_follows_from_them(tmp_path: Path) -> None:
    made = folder(tmp_path, s="pelvis_x,pelvis_x\n1,2\n", i="left,left,left\nx,y,z\n1,2,3\n")
    with pytest.raises(UserError) as error:
        read(made)
    assert str(error.value).splitlines()[1:] == [
        "  i.csv: column left stands more than once in the header",
        "  s.csv: column pelvis_x stands more than once in the header",
    ]
    (made / "s.csv").write_text("k1_x,k1_y,k2_x,k2_y\n0,0,0,1\n")
    with pytest.raises(UserError, match=r"column left stands more than once(.|\n)*which is the body's middle"):
        read(made)


def test_a_label_that_earlier_recordings_do_not_have_is_the_one_that_is_blamed(tmp_path: Path) -> None:
    made = folder(tmp_path)
    earlier = read(made).recordings.description.model_copy(update={"classes": ("sit", "walk")})
    table = "recording_id,label,subject,skeleton,imu\nr1,sit,anna,s.csv,i.csv\nr2,wlak,anna,s.csv,i.csv\n"
    (made / "recordings.csv").write_text(table)
    with pytest.raises(UserError) as error:
        read(made, like=earlier)
    assert str(error.value).splitlines()[1:] == ["  recordings.csv line 3: no class is called wlak; did you mean walk?"]
    assert len(read(made, like=earlier, skip_bad=True).recordings) == 1


def test_every_fault_of_every_file_is_reported_and_alike_ones_together(tmp_path: Path) -> None:
    lines = "".join(f"r{i},sit,anna,s.csv,i{i}.csv\n" for i in range(6))
    broken = {f"i{i}": "a\n1\n" for i in range(1, 4)}
    made = folder(tmp_path, recordings=HEADER + lines + "r9,sit,anna,s.csv,gone.csv\n", i0=IMU, i4="", i5=IMU, **broken)
    (made / "description.yaml").write_text("imu_channels: [acc_x, acc_y]\n")
    with pytest.raises(UserError) as error:
        read(made)
    said = str(error.value).splitlines()
    assert said[0].endswith("5 faults in the files; mend them, or leave their recordings out with --skip-bad:")
    assert said[1:] == [
        "  recordings.csv line 8: imu 'gone.csv': there is no such file",
        "  i4.csv: empty",
        "  i1.csv and 2 more: no column acc_x and 1 more",
    ]
    recordings, notes, left_out = read(made, skip_bad=True)
    assert [row.recording_id for row in recordings.rows] == ["r0", "r5"]
    assert len(left_out) == 3
    assert any("columns that are not read: acc_z, gyro_x" in note for note in notes)
