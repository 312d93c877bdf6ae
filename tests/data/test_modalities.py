"""Modalities have names and kinds; those of before, and what was made of them, stay what they were."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError

from mmssl import Description, Recordings, Row, Signal, Skeleton, UserError
from mmssl.data.description import check_name
from mmssl.data.synthetic import generate
from mmssl.data.utd_mhad import DESCRIPTION

BODY = Skeleton(joints=("hip", "neck", "hand"), root_joint="hip", scale_joints=("hip", "neck"), coordinates=("x", "y"))
WRIST = Signal(
    channels=("acc_x", "acc_y", "acc_z"), sensors=((("acc_x", "acc_y", "acc_z"),),), units=("g",) * 3, hz=50.0
)
ANKLE = Signal(channels=("acc_x", "acc_y"))


def described(**modalities: Signal | Skeleton) -> Description:
    return Description(name="lab", classes=("sit", "stand"), modalities=modalities)


def rows(count: int = 3) -> list[Row]:
    return [Row(recording_id=f"r{i}", label=("sit", "stand")[i % 2], subject=f"s{i}") for i in range(count)]


def arrays(shape: tuple[int, ...], seed: int = 0, count: int = 3) -> list[np.ndarray]:
    draws = np.random.default_rng(seed)
    return [draws.normal(size=(5 + i, *shape)) for i in range(count)]


def three() -> Recordings:
    return Recordings(
        described(wrist=WRIST, body=BODY, ankle=ANKLE),
        rows(),
        wrist=arrays((3,)),
        ankle=[None, *arrays((2,), 1)[1:]],
        body=arrays((3, 2), 2),
    )


def test_the_fingerprints_and_files_of_before_are_those_of_today(tmp_path: Path) -> None:
    made = generate()
    assert made.fingerprint == "2ae5e22fcbbfff80b1110c7410e508b80238f960ae16900aab2b39aa0b89ac62"
    made.save(tmp_path / "made.parquet")
    schema = pq.read_schema(tmp_path / "made.parquet")
    assert schema.metadata[b"format"] == b"mmssl.recordings/1"
    assert {"frames", "skeleton", "samples", "imu"} <= set(schema.names)
    document = json.loads(schema.metadata[b"description"])
    assert list(document) == [
        *("name", "classes", "joints", "root_joint", "scale_joints", "bones", "coordinates", "imu_channels"),
        *("imu_sensors", "skeleton_unit", "imu_units", "skeleton_hz", "imu_hz", "protocols"),
    ]
    assert Recordings.load(tmp_path / "made.parquet").fingerprint == made.fingerprint


@pytest.mark.parametrize(
    "description", [DESCRIPTION, generate(subjects=1, trials=1).description], ids=lambda one: one.name
)
def test_a_description_of_the_older_form_is_the_same(description: Description) -> None:
    document = description.model_dump(mode="json")
    assert "modalities" not in document
    assert Description.model_validate(document) == Description.model_validate_json(json.dumps(document)) == description
    assert description.joints == description.skeletons["skeleton"].joints, "as scripts of before ask"
    assert description.imu_hz == description.signals["imu"].hz
    faster = description.model_copy(update={"imu_hz": 400.0})
    assert (faster.signals["imu"].hz, faster.skeletons) == (400.0, description.skeletons)


def test_names_are_kept_with_their_kinds(tmp_path: Path) -> None:
    recordings = three()
    assert list(recordings.description.modalities) == ["ankle", "body", "wrist"]
    assert recordings.kinds == {"ankle": "signal", "body": "skeleton", "wrist": "signal"}
    assert recordings.modalities == ("body", "wrist")
    assert recordings.lacking(["ankle", "wrist"]) == ("r0",)
    assert [row.recording_id for row in recordings.having(["ankle"]).rows] == ["r1", "r2"]
    recordings.save(tmp_path / "lab.parquet")
    table = pq.read_table(tmp_path / "lab.parquet")
    assert table.schema.metadata[b"format"] == b"mmssl.recordings/2"
    assert table["wrist.length"].to_pylist() == [5, 6, 7]
    assert table["ankle.length"].to_pylist() == [None, 6, 7]
    assert table["body"][1].as_py()[(2 * 3 + 1) * 2 + 1] == np.float32(arrays((3, 2), 2)[1][2, 1, 1])
    loaded = Recordings.load(tmp_path / "lab.parquet")
    assert (loaded.description, loaded.rows) == (recordings.description, recordings.rows)
    assert loaded.fingerprint == recordings.fingerprint
    for name in recordings.kinds:
        for mine, theirs in zip(loaded.arrays(name), recordings.arrays(name), strict=True):
            assert (mine is None) == (theirs is None)
            assert mine is None or np.array_equal(mine, theirs)


def test_the_same_numbers_under_another_name_are_other_recordings() -> None:
    both = described(left=ANKLE, right=ANKLE)
    numbers = arrays((2,))
    one = Recordings(both, rows(), left=[numbers[0], None, numbers[2]], right=[None, numbers[1], None])
    other = Recordings(both, rows(), left=[None, numbers[1], None], right=[numbers[0], None, numbers[2]])
    assert one.fingerprint != other.fingerprint


def test_what_is_not_described_is_refused() -> None:
    with pytest.raises(UserError, match="lab: elbow is given, and the description has ankle, body, wrist alone"):
        Recordings(three().description, rows(), wrist=arrays((3,)), elbow=arrays((3,)))
    with pytest.raises(UserError, match=r"r1: wrist has shape \(6, 2\), expected \(any, 3\)"):
        Recordings(described(wrist=WRIST), rows(2), wrist=[arrays((3,))[0], arrays((2,))[1]])


@pytest.mark.parametrize(
    "name",
    ["", "Wrist", "1st", "left wrist", "a+b", "a.b", "a/b", "_a", "é", *Row.model_fields, "type", "frames", "keys"],
)
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(f"modality {name!r}")):
        described(**{name: WRIST})


def test_no_name_is_that_of_a_part_of_a_network() -> None:
    for name in dir(torch.nn.ModuleDict()):
        with pytest.raises(ValueError, match="modality"):
            check_name(name)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            {"modalities": {"imu": {"kind": "signal", "channels": ["a"]}}, "imu_channels": ["b"]},
            "imu is described under",
        ),
        ({"modalities": ["wrist"], "imu_channels": ["b"]}, "a mapping is expected"),
        ({"modalities": {"wrist": {"channels": ["a"]}}}, "modalities.wrist\n.*kind"),
        ({"modalities": {"wrist": {"kind": "video"}}}, "modalities.wrist\n.*'skeleton', 'signal'"),
        ({"modalities": {"wrist": {"kind": "signal"}}}, "channels is empty"),
        ({"modalities": {}}, "no modality is described"),
    ],
)
def test_descriptions_that_cannot_be(document: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Description.model_validate({"name": "lab", "classes": ["sit"], **document})


def test_a_flat_description_stands_beside_named_modalities() -> None:
    description = Description.model_validate(
        {"name": "lab", "classes": ["sit"], "imu_channels": ["a"], "imu_hz": 50,
         "modalities": {"wrist": {"kind": "signal", "channels": ["b"]}}}
    )  # fmt: skip
    assert description.signals == {"imu": Signal(channels=("a",), hz=50), "wrist": Signal(channels=("b",))}
    assert Description.model_validate(description.model_dump(mode="json")) == description
