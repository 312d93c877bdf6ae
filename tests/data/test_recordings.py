import hashlib
import struct
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from mmssl.data.description import Description, Protocol, Row
from mmssl.data.recordings import FORMAT, Recordings
from mmssl.data.sources import survey
from mmssl.errors import UserError
from mmssl.recipe import USUAL
from mmssl.study.presets import preset
from mmssl.training.preparation import prepare
from mmssl.training.trial import train


def describe(**changes: Any) -> Description:
    values: dict[str, Any] = {
        "name": "small",
        "classes": ("sit", "stand"),
        "joints": ("hip", "neck", "hand"),
        "root_joint": "hip",
        "scale_joints": ("hip", "neck"),
        "coordinates": ("x", "y"),
        "imu_channels": ("ax", "ay", "az", "battery"),
        "imu_sensors": ((("ax", "ay", "az"),),),
        "protocols": {"cross_subject": Protocol(train=("anna",), test=("7",))},
    }
    return Description(**(values | changes))


def row(recording_id: str = "r1", label: str = "sit", subject: str = "anna", **rest: Any) -> Row:
    return Row(recording_id=recording_id, label=label, subject=subject, **rest)


def skeleton(frames: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(frames, 3, 2))


def imu(samples: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(samples, 4))


def small(rows: Sequence[Row] | None = None) -> Recordings:
    rows = rows or [row("r1", trial="1"), row("r2", "stand", "10"), row("r3", "stand", "9", session="a", scene="hall")]
    return Recordings(
        describe(), rows, [skeleton(3 + i, i) for i in range(len(rows))], [imu(5 + i, i) for i in range(len(rows))]
    )


def test_arrays_come_in_float32_with_their_table() -> None:
    recordings = small()
    assert len(recordings) == 3
    assert [a.shape for a in recordings.skeleton] == [(3, 3, 2), (4, 3, 2), (5, 3, 2)]
    assert [a.shape for a in recordings.imu] == [(5, 4), (6, 4), (7, 4)]
    assert {a.dtype for a in (*recordings.skeleton, *recordings.imu)} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(recordings.skeleton[1], skeleton(4, 1).astype(np.float32))
    assert recordings.labels.tolist() == [0, 1, 1]


def test_subjects_are_in_numeric_order_then_by_name() -> None:
    rows = [row(f"r{i}", subject=subject) for i, subject in enumerate(["bert", "10", "9", "anna", "²", "10"])]
    assert small(rows).subjects == ("9", "10", "anna", "bert", "²")


def test_where_keeps_rows_and_arrays_together() -> None:
    recordings = small()
    kept = recordings.where(lambda row: row.label == "stand")
    assert [r.recording_id for r in kept.rows] == ["r2", "r3"]
    np.testing.assert_array_equal(kept.skeleton[0], recordings.skeleton[1])
    np.testing.assert_array_equal(kept.imu[1], recordings.imu[2])


def test_every_fault_is_in_one_message() -> None:
    bad_imu = imu()
    bad_imu[1, 2], bad_imu[0, 0] = np.nan, np.inf
    same_place = skeleton()
    same_place[0, 1] = same_place[0, 0]
    cases: list[tuple[Row, np.ndarray, np.ndarray, str]] = [
        (row("same"), skeleton(), imu(), ""),
        (row("same"), skeleton(), imu(), "same: recording_id stands 2 times"),
        (row("odd", "jump"), skeleton(), imu(), "odd: label 'jump' is not among the classes"),
        (row("who", subject=""), skeleton(), imu(), "who: subject is empty"),
        (row("blank", subject=" "), skeleton(), imu(), "blank: subject is empty"),
        (row("spaces", label="", subject=" "), skeleton(), imu(), "spaces: subject is a blank"),
        (row(" "), skeleton(), imu(), "recording_id is empty"),
        (row("half", subject="\ud800"), skeleton(), imu(), "'half' of '\\ud800': half a surrogate pair"),
        (row("deep"), np.zeros((3, 3, 3)), imu(), "deep: skeleton has shape (3, 3, 3), expected (any, 3, 2)"),
        (row("flat"), skeleton(), np.zeros(4), "flat: imu has shape (4,), expected (any, 4)"),
        (row("short"), skeleton(0), imu(0), "short: skeleton has no frames"),
        (row("none"), skeleton(), imu(0), "none: imu has no samples"),
        (row("holes"), skeleton(), bad_imu, "holes: imu has 2 values that are not finite"),
        (row("large"), skeleton() * 1e300, imu(), "large: skeleton has 18 values that are not finite"),
        (
            row("point"),
            same_place,
            imu(),
            "point: skeleton: joints hip and neck coincide in the first frame: no unit of length",
        ),
    ]
    description = describe(classes=("sit", "stand\ud800"))
    with pytest.raises(UserError) as error:
        Recordings(description, [c[0] for c in cases], [c[1] for c in cases], [c[2] for c in cases])
    message = str(error.value)
    for fault in (*(c[3] for c in cases), "the description holds half a surrogate pair, which is no text"):
        assert fault in message
    # "short" has two faults, one a modality.
    assert message.startswith("small: 16 faults")
    assert len(message.splitlines()) == 17


@pytest.mark.parametrize(
    ("rows", "skeletons", "imus", "message"),
    [
        ([], [], [], "there is no recording"),
        ([row()], [], [imu()], "1 rows and 0 skeleton arrays: give one each"),
        ([row()], [skeleton()], [imu(), imu()], "1 rows and 2 imu arrays: give one each"),
        ([row()], None, None, "small: no modality is given: recordings need one at least, of imu, skeleton"),
        ([], None, [], "there is no recording"),
        ([row()], None, [imu(0)], "r1: imu has no samples"),
        ([row()], [skeleton(0)], None, "r1: skeleton has no frames"),
        ([row()], [[["left", "right"]]], [imu()], "r1: skeleton is no array of numbers"),
        ([row()], [skeleton()], [[[1, 2], [1]]], "r1: imu is no array of numbers"),
        ([row()], [skeleton()], [imu() * 1j], "r1: imu is no array of numbers: it is of type complex128"),
        ([row()], [skeleton()], [imu().astype(str)], "r1: imu is no array of numbers: it is of type str"),
        ([row()], [skeleton().astype(int).astype("M8[s]")], [imu()], "r1: skeleton is no array of numbers: .*datetime"),
    ],
)
def test_what_is_no_recording_is_refused(rows: Any, skeletons: Any, imus: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Recordings(describe(), rows, skeletons, imus)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints": ("hip", "neck", "hip")}, "joints names hip more than once"),
        ({"root_joint": "pelvis"}, "joint 'pelvis' is not among joints: hip, neck, hand"),
        ({"bones": (("hip", "foot"),)}, "joint 'foot' is not among joints"),
        ({"scale_joints": ("hip", "hip")}, "two different joints"),
        ({"coordinates": ("x",)}, "2 or 3 axes, not 1"),
        ({"imu_sensors": ((("ax", "ay", "gz"),),)}, "'gz' is not among channels"),
        ({"imu_sensors": ((("ax", "ay", "az"), ("ax", "ay", "az")),)}, "uses a channel twice"),
        ({"imu_units": ("g",)}, "units has 1 entries for 4 channels"),
        ({"protocols": {"p": Protocol(train=("1", "2"), test=("2",))}}, "protocol p: subjects 2 both train and test"),
        (
            {"protocols": {"p": Protocol(by="scene", train=("hall",), test=("hall",))}},
            "protocol p: scenes hall both train and test",
        ),
        ({"protocols": {"p": {"by": "label", "train": ("sit",)}}}, "'subject', 'scene', 'session' or 'view'"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_description_must_fit_together(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        describe(**changes)


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    recordings = small()
    file = tmp_path / "deep" / "label=x" / "small.parquet"
    recordings.save(file)
    loaded = Recordings.load(str(file))
    assert loaded.description == recordings.description
    assert loaded.rows == recordings.rows
    assert loaded.fingerprint == recordings.fingerprint
    for name in ("skeleton", "imu"):
        for mine, theirs in zip(getattr(loaded, name), getattr(recordings, name), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert [path.name for path in file.parent.iterdir()] == ["small.parquet"]


@given(
    st.lists(
        st.tuples(
            arrays(
                np.float32, st.tuples(st.integers(1, 4), st.just(3), st.just(3)), elements=st.floats(-9, 9, width=32)
            ),
            arrays(np.float32, st.tuples(st.integers(1, 6), st.just(4)), elements=st.floats(-9, 9, width=32)),
            st.text(st.characters(codec="utf-8"), min_size=1, max_size=4).filter(str.strip),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_numbers_and_names_survive_a_file(tmp_path_factory: Any, content: list[tuple[Any, Any, str]]) -> None:
    for joints, _, _ in content:
        joints[0, :2] = [[0, 0, 0], [0, 1, 0]]
    recordings = Recordings(
        describe(coordinates=("x", "y", "z")),
        [row(f"{i}", subject=subject) for i, (*_, subject) in enumerate(content)],
        [joints for joints, *_ in content],
        [signal for _, signal, _ in content],
    )
    file = tmp_path_factory.mktemp("any") / "any.parquet"
    recordings.save(file)
    loaded = Recordings.load(file)
    assert loaded.rows == recordings.rows
    for mine, theirs in zip(loaded.skeleton + loaded.imu, recordings.skeleton + recordings.imu, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_file_is_as_documented_for_other_programs(tmp_path: Path) -> None:
    recordings = small()
    recordings.save(tmp_path / "small.parquet")
    table = pq.read_table(tmp_path / "small.parquet")
    columns = ["recording_id", "label", "subject", "trial", "session", "scene", "frames", "skeleton", "samples", "imu"]
    assert table.column_names == columns
    assert table["subject"].to_pylist() == ["anna", "10", "9"]
    assert table["frames"].to_pylist() == [3, 4, 5]
    assert table["samples"].to_pylist() == [5, 6, 7]
    # Row-major: frame 1, joint 2, coordinate 0 of the second recording.
    assert table["skeleton"][1].as_py()[(1 * 3 + 2) * 2 + 0] == recordings.skeleton[1][1, 2, 0]
    assert table["imu"][1].as_py()[2 * 4 + 3] == recordings.imu[1][2, 3]
    assert Description.model_validate_json(table.schema.metadata[b"description"]) == recordings.description


def test_a_protocol_says_by_what_where_it_is_not_by_subject() -> None:
    by_subject, by_scene = Protocol(train=("1",)), Protocol(by="scene", train=("1",))
    assert by_subject.by == "subject"
    assert by_subject.model_dump_json() == '{"train":["1"],"test":[]}'
    assert by_scene.model_dump_json() == '{"by":"scene","train":["1"],"test":[]}'
    for protocol in (by_subject, by_scene):
        assert Protocol.model_validate_json(protocol.model_dump_json()) == protocol
    described = describe(protocols={"p": by_scene})
    assert Description.model_validate_json(described.model_dump_json()) == described


def test_the_fingerprint_is_the_same_for_the_same_data() -> None:
    assert small().fingerprint == small().fingerprint
    assert small().where(lambda _: True).fingerprint == small().fingerprint
    in_fortran_order = Recordings(
        describe(), small().rows, [np.asfortranarray(a, ">f8") for a in small().skeleton], list(small().imu)
    )
    assert in_fortran_order.fingerprint == small().fingerprint


def test_the_fingerprint_is_a_hash_over_description_rows_shapes_and_numbers() -> None:
    recordings = Recordings(describe(), [row()], [np.arange(6).reshape(1, 3, 2)], [np.arange(4)[None]])
    hashed = (
        describe().model_dump_json().encode()
        + b'{"recording_id":"r1","label":"sit","subject":"anna","trial":"","session":"","scene":""}'
        + b"(1, 3, 2)"
        + struct.pack("<6f", 0, 1, 2, 3, 4, 5)
        + b"(1, 4)"
        + struct.pack("<4f", 0, 1, 2, 3)
    )
    assert recordings.fingerprint == hashlib.sha256(hashed).hexdigest()


@pytest.mark.parametrize("lacking", ["skeleton", "imu"])
def test_a_modality_may_be_missing_throughout(tmp_path: Path, lacking: str) -> None:
    [kept] = {"skeleton", "imu"} - {lacking}
    whole = small()
    part = Recordings(describe(), whole.rows, **{kept: getattr(whole, kept)})
    assert (whole.modalities, part.modalities) == (("imu", "skeleton"), (kept,))
    assert getattr(part, lacking) is None

    chosen = part.where(lambda row: row.label == "stand")
    assert (len(chosen), chosen.modalities, getattr(chosen, lacking)) == (2, (kept,), None)
    np.testing.assert_array_equal(getattr(chosen, kept)[1], getattr(whole, kept)[2])

    part.save(tmp_path / "part.parquet")
    table = pq.read_table(tmp_path / "part.parquet")
    count = {"skeleton": "frames", "imu": "samples"}[lacking]
    assert table[lacking].to_pylist() == table[count].to_pylist() == [None] * 3
    loaded = Recordings.load(tmp_path / "part.parquet")
    assert (loaded.rows, loaded.modalities, loaded.fingerprint) == (part.rows, (kept,), part.fingerprint)
    for mine, theirs in zip(getattr(loaded, kept), getattr(whole, kept), strict=True):
        np.testing.assert_array_equal(mine, theirs)

    found = survey(part)
    assert found.lengths == {lacking: None, kept: survey(whole).lengths[kept]}


def test_the_fingerprint_of_one_modality_is_over_what_there_is() -> None:
    signals = Recordings(describe(), [row()], imu=[np.arange(4)[None]])
    hashed = (
        describe().model_dump_json().encode()
        + b'{"recording_id":"r1","label":"sit","subject":"anna","trial":"","session":"","scene":""}'
        + b"(1, 4)"
        + struct.pack("<4f", 0, 1, 2, 3)
    )
    assert signals.fingerprint == hashlib.sha256(hashed).hexdigest()


def test_recipes_for_a_modality_that_is_not_there_are_refused() -> None:
    whole = small()
    signals, skeletons = (
        Recordings(describe(), whole.rows, imu=whole.imu),
        Recordings(describe(), whole.rows, whole.skeleton),
    )
    np.testing.assert_array_equal(prepare(signals, 16, ["imu"])["imu"], prepare(whole, 16, tuple(USUAL))["imu"])
    with pytest.raises(UserError, match=r"small: the recordings have no skeleton: .* imu alone"):
        prepare(signals, 16, tuple(USUAL))
    for modalities in (tuple(USUAL), ("imu",)):
        with pytest.raises(UserError, match=r"small: the recordings have no imu: .* skeleton alone"):
            prepare(skeletons, 16, modalities)


def test_signals_alone_train_as_they_do_beside_skeletons(tiny: Recordings) -> None:
    signals = Recordings(tiny.description, tiny.rows, imu=tiny.imu)
    recipe = preset("synthetic", "vicreg_imu").with_knobs(
        {"pretrain.epochs": 1, "finetune.epochs": 1, "data.validation_subjects": ["ben"]}
    )
    alone, beside = train(recipe, signals), train(recipe, tiny)
    assert alone.metrics == beside.metrics
    assert "val.accuracy" in alone.metrics
    assert alone.model is not None
    np.testing.assert_array_equal(alone.model.features(signals)["imu"], alone.model.features(tiny)["imu"])


def test_only_data_sets_with_views_have_a_column_for_them(tmp_path: Path) -> None:
    seen = small([row("r1", view="2"), row("r2", view=3), row("r3")])
    assert [r.view for r in seen.rows] == ["2", "3", ""]
    assert seen.rows[0].model_dump_json().endswith('"scene":"","view":"2"}')
    seen.save(tmp_path / "seen.parquet")
    assert pq.read_table(tmp_path / "seen.parquet")["view"].to_pylist() == ["2", "3", ""]
    loaded = Recordings.load(tmp_path / "seen.parquet")
    assert (loaded.rows, loaded.fingerprint) == (seen.rows, seen.fingerprint)
    unseen = small([row("r1"), row("r2"), row("r3")])
    assert unseen.fingerprint != seen.fingerprint
    unseen.save(tmp_path / "unseen.parquet")
    assert "view" not in pq.read_table(tmp_path / "unseen.parquet").column_names


def test_the_fingerprint_tells_any_change() -> None:
    base = small()
    nudged = [a.copy() for a in base.imu]
    nudged[2][6, 3] = np.nextafter(nudged[2][6, 3], np.float32(np.inf))
    changed = [
        Recordings(describe(name="other"), base.rows, base.skeleton, base.imu),
        Recordings(describe(imu_hz=50.0), base.rows, base.skeleton, base.imu),
        Recordings(describe(), base.rows, base.skeleton, nudged),
        Recordings(
            describe(), [*base.rows[:2], base.rows[2].model_copy(update={"scene": "x"})], base.skeleton, base.imu
        ),
        Recordings(describe(), base.rows[::-1], base.skeleton[::-1], base.imu[::-1]),
        Recordings(describe(), base.rows, [base.skeleton[0], *base.skeleton[1:][::-1]], base.imu),
        base.where(lambda r: r.recording_id != "r2"),
    ]
    assert len({r.fingerprint for r in [base, *changed]}) == len(changed) + 1


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "small.parquet"
    with pytest.raises(UserError, match=r"small\.parquet: there is no such recordings file"):
        Recordings.load(file)
    with pytest.raises(UserError, match="there is no such recordings file"):
        Recordings.load(tmp_path)
    small().save(file)
    content = file.read_bytes()
    for size in (0, 3, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:size])
        with pytest.raises(UserError, match=r"small\.parquet: not a readable Parquet file"):
            Recordings.load(file)


def altered(tmp_path: Path, change: Any) -> Path:
    file = tmp_path / "small.parquet"
    small().save(file)
    pq.write_table(change(pq.read_table(file)), file)
    return file


def replaced(name: str, values: list[Any], type_: Any = None) -> Any:
    return lambda table: table.set_column(table.column_names.index(name), name, pa.array(values, type_))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.replace_schema_metadata(None), "not a recordings file"),
        (lambda table: table.replace_schema_metadata({"format": "mmssl.recordings/3"}), "not a recordings file"),
        (lambda table: table.replace_schema_metadata({"format": FORMAT}), "Description"),
        (
            lambda table: table.replace_schema_metadata({"format": FORMAT, "description": '{"name": "x"}'}),
            "no modality is described",
        ),
        (lambda table: table.drop_columns(["imu", "label"]), "columns missing: imu, label"),
        (
            lambda table: table.append_column("subject", table["subject"]),
            r"small\.parquet: columns that stand more than once: subject; keep one of each",
        ),
        (
            lambda table: table.set_column(2, "subject", pa.array([b"\xed\xa0\x80", b"x", b"y"]).view(pa.string())),
            r"small\.parquet: holds text that is not in UTF-8",
        ),
        (lambda table: table.slice(0, 0), "there is no recording"),
        (replaced("frames", [3, 4, 9]), "r3: skeleton holds 30 numbers, expected frames 9 x 3 x 2"),
        (replaced("frames", [3, 4, -5]), "r3: skeleton holds 30 numbers, expected frames -5 x 3 x 2"),
        (replaced("samples", [5, None, 7]), "r2: imu holds 24 numbers, expected samples None x 4"),
        (replaced("subject", ["a", "b", None]), "subject"),
        (replaced("label", ["sit", "stand", "jump"]), "r3: label 'jump'"),
        (replaced("imu", ["a", "b", "c"]), "small.parquet: "),
        (replaced("imu", [None] * 3), "r1: imu holds 0 numbers, expected samples 5 x 4"),
        (replaced("samples", [None] * 3), "r1: imu holds 20 numbers, expected samples None x 4"),
        (
            replaced("imu", [[0.0] * 20, [0.0] * 24, [None] * 28], pa.list_(pa.float64())),
            "28 values that are not finite",
        ),
        (replaced("imu", [[0.0] * 20, [0.0] * 24, None], pa.list_(pa.float64())), "r3: imu holds 0 numbers"),
    ],
)
def test_a_file_that_does_not_fit_together_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Recordings.load(altered(tmp_path, change))


def test_columns_of_near_types_and_more_columns_are_read(tmp_path: Path) -> None:
    doubles = [a.ravel().astype(np.float64) for a in small().imu]
    file = altered(
        tmp_path,
        lambda table: replaced("imu", doubles, pa.list_(pa.float64()))(
            replaced("subject", [1, 2, 3])(table)
        ).append_column("remark", [["", "", ""]]),
    )
    loaded = Recordings.load(file)
    assert loaded.subjects == ("1", "2", "3")
    np.testing.assert_array_equal(loaded.imu[2], small().imu[2])


def with_gaps() -> Recordings:
    """The three recordings: r1 whole, r2 without IMU, r3 without skeleton."""
    whole = small()
    return Recordings(
        describe(), whole.rows, [whole.skeleton[0], whole.skeleton[1], None], [whole.imu[0], None, whole.imu[2]]
    )


def test_single_recordings_may_lack_a_modality(tmp_path: Path) -> None:
    gaps, whole = with_gaps(), small()
    assert gaps.modalities == ()
    assert gaps.lacking(["imu"]) == ("r2",)
    assert gaps.lacking(["imu", "skeleton"]) == ("r2", "r3")
    assert [row.recording_id for row in gaps.having(["imu"]).rows] == ["r1", "r3"]
    assert gaps.having(["imu"]).modalities == ("imu",)
    pair = gaps.having(tuple(USUAL))
    assert pair.fingerprint == whole.where(lambda row: row.recording_id == "r1").fingerprint
    assert whole.having(tuple(USUAL)) is whole

    gaps.save(tmp_path / "gaps.parquet")
    table = pq.read_table(tmp_path / "gaps.parquet")
    assert (table["frames"].to_pylist(), table["samples"].to_pylist()) == ([3, 4, None], [5, None, 7])
    assert [column.is_valid().to_pylist() for column in (table["skeleton"], table["imu"])] == [
        [True, True, False], [True, False, True]
    ]  # fmt: skip
    loaded = Recordings.load(tmp_path / "gaps.parquet")
    assert (loaded.fingerprint, loaded.lacking(["skeleton"])) == (gaps.fingerprint, ("r3",))
    assert gaps.fingerprint != whole.fingerprint
    assert {name: one.longest for name, one in survey(gaps).lengths.items() if one} == {"skeleton": 4, "imu": 7}


def test_none_for_all_is_none(tmp_path: Path) -> None:
    signals = Recordings(describe(), small().rows, [None] * 3, small().imu)
    assert signals.skeleton is None
    assert signals.fingerprint == Recordings(describe(), small().rows, imu=small().imu).fingerprint
    with pytest.raises(UserError, match="small: no recording has imu and skeleton"):
        signals.having(tuple(USUAL))
    with pytest.raises(UserError, match="r2: has none of imu, skeleton"):
        Recordings(describe(), small().rows, [small().skeleton[0], None, None], [None, None, small().imu[2]])


def test_recordings_that_lack_a_modality_are_not_prepared_for_it() -> None:
    with pytest.raises(UserError, match=r"1 of 3 recordings have no imu, the first is r2; .*having\(\) leaves"):
        prepare(with_gaps(), 16, ["imu"])
    np.testing.assert_array_equal(
        prepare(with_gaps().having(["imu"]), 16, ["imu"])["imu"], prepare(small(), 16, ["imu"])["imu"][[0, 2]]
    )


def test_a_description_of_one_modality_names_nothing_of_the_other() -> None:
    signals = Description(name="s", classes=("sit", "stand"), imu_channels=("a", "b", "c", "d"))
    recordings = Recordings(signals, small().rows, imu=small().imu)
    np.testing.assert_array_equal(prepare(recordings, 16, ["imu"])["imu"], prepare(small(), 16, ["imu"])["imu"])
    with pytest.raises(UserError, match="s: skeleton is given, and the description has imu alone"):
        Recordings(signals, small().rows, small().skeleton, small().imu)
    with pytest.raises(ValidationError, match="no modality is described"):
        Description(name="s", classes=("sit",))
    with pytest.raises(ValidationError, match="coordinates is empty"):
        Description(name="s", classes=("sit",), joints=("a", "b"), root_joint="a", scale_joints=("a", "b"))
    skeletons = describe(imu_channels=(), imu_sensors=(), imu_units=())
    with pytest.raises(UserError, match="small: imu is given, and the description has skeleton alone"):
        Recordings(skeletons, small().rows, small().skeleton, small().imu)


def test_two_that_write_one_file_at_once_leave_one_of_them_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, write = threading.Barrier(2), pq.ParquetWriter.write_table
    met = list[int]()

    def together(self: pq.ParquetWriter, table: pa.Table) -> None:
        write(self, table)
        met.append(both.wait(10))

    monkeypatch.setattr(pq.ParquetWriter, "write_table", together)
    with ThreadPoolExecutor(2) as pool:
        for saving in [pool.submit(small().save, tmp_path / "one.parquet") for _ in range(2)]:
            saving.result()
    assert sorted(met) == [0, 1]
    assert Recordings.load(tmp_path / "one.parquet").fingerprint == small().fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["one.parquet"]
