"""Files from strangers: whatever they hold, nothing in them is run, and the answer is one message."""

import io
import json
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small import put_document

from mmssl import Recipe, Recordings, UserError, load_encoders
from mmssl.data.mmact import read as read_mmact
from mmssl.data.utd_mhad import read as read_utd_mhad
from mmssl.study.folder import Study
from mmssl.study.space import load as load_space
from mmssl.training.model import WEIGHTS, Model
from mmssl.training.preparation import Standardisation


class Trap:
    """Unpickled, it leaves a file."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.sprung),)


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    path = tmp_path / "sprung"
    # The trap does spring where somebody unpickles it: else these tests could not fail.
    pickle.loads(pickle.dumps(Trap(path)))  # noqa: S301
    path.rmdir()
    return path


def export_in(folder: Path, tiny: Recordings) -> Path:
    recipe = Recipe().with_knobs({"data.steps": 16, "encoder.imu.layers": 1})
    model = Model.fresh(
        recipe, tiny.description, {"imu": Standardisation(np.zeros(4, np.float32), np.ones(4, np.float32))}
    )
    folder.mkdir()
    for name, content in model.files().items():
        (folder / name).write_bytes(content)
    load_encoders(folder)
    return folder


@pytest.mark.parametrize("make", ["pickle", "torch", "zip of numpy objects"])
def test_weights_that_are_a_pickle(tmp_path: Path, tiny: Recordings, sprung: Path, make: str) -> None:
    folder = export_in(tmp_path / "export", tiny)
    if make == "pickle":
        (folder / WEIGHTS).write_bytes(pickle.dumps(Trap(sprung)))
    elif make == "torch":
        torch.save({"encoders": Trap(sprung)}, folder / WEIGHTS)
    else:
        content = io.BytesIO()
        np.savez(content, encoders=np.array([Trap(sprung)], dtype=object))
        (folder / WEIGHTS).write_bytes(content.getvalue())
    put_document(folder)
    with pytest.raises(UserError, match="not a whole model"):
        load_encoders(folder)
    assert not sprung.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": {"py/object": "os.system", "py/reduce": ["touch sprung"]}},
        {"recipe": {"data": {"__class__": "os"}}},
        {"recipe": {"data": {"steps": "__import__('os').mkdir('sprung')"}}},
        {"recipe": {"data": {"steps": 10**12}}},
        {"description": {"name": "!!python/object/apply:os.mkdir [sprung]"}},
        {"standardisation": {"imu": {"mean": ["__import__('os')"], "std": [1] * 4}}},
        {"standardisation": "__import__('os')"},
    ],
    ids=str,
)
def test_a_recipe_that_is_more_than_one(
    tmp_path: Path, tiny: Recordings, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    folder = export_in(tmp_path / "export", tiny)
    monkeypatch.chdir(tmp_path)
    put_document(folder, change)
    with pytest.raises(UserError, match="not a whole model"):
        load_encoders(folder)
    assert {path.name for path in tmp_path.iterdir()} == {"export"}


def test_recordings_whose_schema_asks_to_be_unpickled(tmp_path: Path, tiny: Recordings, sprung: Path) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    with pq.ParquetFile(tmp_path / "tiny.parquet") as file:
        table = file.read()
    # As an extension type of Python's, which pyarrow unpickled before 14.0.1 (CVE-2023-47248).
    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Trap(sprung)),
    }
    field = table.schema.field("label").with_metadata(metadata)
    schema = table.schema.set(table.schema.get_field_index("label"), field)
    pq.write_table(pa.Table.from_arrays(table.columns, schema=schema), tmp_path / "hostile.parquet")
    with suppress(UserError):  # Refused or read as plain text: either will do.
        Recordings.load(tmp_path / "hostile.parquet")
    assert not sprung.exists()


def test_recordings_that_are_a_pickle(tmp_path: Path, sprung: Path) -> None:
    (tmp_path / "hostile.parquet").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(UserError, match="not a readable Parquet file"):
        Recordings.load(tmp_path / "hostile.parquet")
    assert not sprung.exists()


def test_data_sets_that_are_pickles(tmp_path: Path, sprung: Path) -> None:
    for name in ("Inertial/a1_s1_t1_inertial.mat", "Skeleton/a1_s1_t1_skeleton.mat"):
        (tmp_path / "utd" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "utd" / name).write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(UserError):
        read_utd_mhad(tmp_path / "utd")
    for part in ("acc_phone", "acc_watch", "gyro", "orientation"):
        path = tmp_path / "mmact" / f"{part}_clip/subject1/scene1/session1/walking.csv"
        path.parent.mkdir(parents=True)
        path.write_bytes(pickle.dumps(Trap(sprung)))
    path = tmp_path / "mmact/pose/subject1/cam1/scene1/session1/walking.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(UserError):
        read_mmact(tmp_path / "mmact")
    assert not sprung.exists()


@pytest.mark.parametrize(
    "text",
    [
        "grid: {objective.mu: !!python/object/apply:os.mkdir [sprung]}",
        "grid: {objective.mu: [1]}\nwhere: __import__('os').mkdir('sprung')",
        "grid: {objective.mu: [1]}\nwhere: mu.__class__ == 1",
        "grid: {objective.mu: [\"__import__('os').mkdir('sprung')\"]}",
        "a: &a [1]\nb: &b [*a, *a]\ngrid: *b",
    ],
)
def test_a_space_that_is_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostile.yaml").write_text(text)
    with pytest.raises(UserError):
        load_space("hostile.yaml")
    assert {path.name for path in tmp_path.iterdir()} == {"hostile.yaml"}


@pytest.mark.parametrize("name", ["../up", "/etc", "a/b", "", ".", "..", "a\x00b", "a\nb", "-rf", "~", "x" * 101])
def test_a_study_name_that_is_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="study name"):
        Study(tmp_path, name)


def test_a_plan_that_is_more_than_one(tmp_path: Path) -> None:
    study = Study(tmp_path, "hostile")
    study.folder.mkdir()
    (study.folder / "plan.json").write_text(
        json.dumps({"format": "mmssl.plan/2", "name": "../../up", "py/object": "os.system"})
    )
    with pytest.raises(UserError, match="damaged, or written by another version"):
        study.plan()
