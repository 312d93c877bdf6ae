"""Prepared recordings that lie in a file train to the same bits as those in memory."""

import errno
import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from small import space

from mmssl import Recipe, Recordings, UserError, launch
from mmssl.data.protocols import split
from mmssl.study.folder import Study
from mmssl.training import finetuning
from mmssl.training import prepared as module
from mmssl.training.model import Model
from mmssl.training.preparation import Standardisation
from mmssl.training.prepared import CACHE_VARIABLE, Prepared
from mmssl.training.selection import Selection
from mmssl.training.trial import Outcome, run_trial

SMALL: dict[str, Any] = {
    "data.steps": 16, "encoder.imu.layers": 1, "encoder.imu.feedforward": 16, "encoder.projector.hidden": 16,
    "encoder.projector.width": 8, "pretrain.epochs": 2, "pretrain.batch_size": 16, "finetune.epochs": 2,
    "finetune.hidden": 8, "data.validation_subjects": ["chris"],
}  # fmt: skip
MODALITIES = ("imu", "skeleton")


@pytest.fixture
def gaps(tiny: Recordings) -> Recordings:
    skeleton = [None if i % 5 == 0 else one for i, one in enumerate(tiny.arrays("skeleton"))]
    imu = [None if i % 5 == 1 else one for i, one in enumerate(tiny.arrays("imu"))]
    return Recordings(tiny.description, tiny.rows, skeleton, imu)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def in_files(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything counts as too large for memory, and is worked on in several parts."""
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    monkeypatch.setattr(finetuning, "_AT_ONCE", 7)
    return cache


def test_a_file_keeps_what_memory_would(gaps: Recordings, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Prepared.of(gaps, 16, MODALITIES)
    assert not cache.exists()
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    said: list[str] = []
    kept = Prepared.of(gaps, 16, MODALITIES, said.append)
    for name in MODALITIES:
        assert isinstance(kept.inputs[name], np.memmap)
        np.testing.assert_array_equal(kept.inputs[name], here.inputs[name])
        assert np.isnan(kept.inputs[name][~gaps.has[name]]).all()
    assert len(said) == 2
    assert all(str(cache) in line for line in said)

    def again(*_: Any) -> None:
        raise AssertionError("prepared twice")

    monkeypatch.setattr(module, "prepared_blocks", again)
    np.testing.assert_array_equal(Prepared.of(gaps, 16, MODALITIES).inputs["imu"], kept.inputs["imu"])
    for other, steps in ((gaps, 17), (gaps.having(["imu"]), 16)):
        with pytest.raises(AssertionError, match="prepared twice"):
            Prepared.of(other, steps, MODALITIES)
    assert len([*cache.glob("*.npy")]) == 2


def test_a_file_whose_bit_has_changed_is_made_again(gaps: Recordings, in_files: Path) -> None:
    expected = Prepared.of(gaps, 16, ["imu"]).inputs["imu"].copy()
    [path] = in_files.glob("*.npy")
    content = path.read_bytes()
    for damaged in (content[:-5] + bytes([content[-5] ^ 1]) + content[-4:], content[:-100], b""):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(Prepared.of(gaps, 16, ["imu"]).inputs["imu"], expected)
        assert path.read_bytes() == content


def test_what_nobody_has_used_for_a_month_makes_room(tiny: Recordings, in_files: Path) -> None:
    Prepared.of(tiny, 16, ["imu"])
    [first] = in_files.glob("*.npy")
    Prepared.of(tiny, 17, ["imu"])
    assert len([*in_files.glob("*.npy")]) == 2
    month = 31 * 86_400
    os.utime(first, (first.stat().st_atime - month, first.stat().st_mtime - month))
    Prepared.of(tiny, 18, ["imu"])
    assert first not in in_files.iterdir()
    assert len([*in_files.iterdir()]) == 4, "with its seal"
    os.utime(last := max(in_files.glob("*.npy")), (0, 0))
    Prepared.of(tiny, 17, ["imu"])
    Prepared.of(tiny, 18, ["imu"])
    assert last.stat().st_mtime > 0, "used again, it is kept"


def test_other_processes_are_sent_the_name_and_other_machines_the_numbers(gaps: Recordings, in_files: Path) -> None:
    kept = Prepared.of(gaps, 16, MODALITIES)
    numbers = sum(array.nbytes for array in kept.inputs.values())
    content = pickle.dumps(kept)
    assert len(content) < numbers
    sent = pickle.loads(content)  # noqa: S301 - what was just written
    assert isinstance(sent.inputs["imu"], np.memmap)
    for path in in_files.iterdir():
        path.unlink()
    # What is mapped stays.
    elsewhere = pickle.loads(pickle.dumps(kept.in_memory()))  # noqa: S301 - likewise
    for name in MODALITIES:
        np.testing.assert_array_equal(sent.inputs[name], elsewhere.inputs[name])
    assert elsewhere.rows == kept.rows


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"finetune.encoders": "trained"},
        {"pretrain.epochs": 0},
        {"pretrain.incomplete": "two_views"},
        {"pretrain.precision": "bfloat16"},
        {"finetune.batch_norm": "renewed"},
        {"objective.name": "cmc_cmkm", "guide.epochs": 1},
        {"data.modalities": ["imu"]},
    ],
)
def test_trials_are_the_same_to_the_bit(
    gaps: Recordings, cache: Path, monkeypatch: pytest.MonkeyPatch, knobs: dict[str, Any]
) -> None:
    recipe = Recipe().with_knobs({**SMALL, **knobs})

    def outcome() -> Outcome:
        prepared = Prepared.of(gaps, recipe.data.steps, recipe.data.modalities)
        return run_trial(recipe, prepared, split(gaps, recipe.data), probe_every=1)

    here = outcome()
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    kept = outcome()
    assert (kept.status, kept.metrics, kept.predictions) == (here.status, here.metrics, here.predictions)
    assert here.status == "COMPLETE"
    assert kept.model is not None
    assert here.model is not None
    assert kept.model.weights() == here.model.weights()


def test_augmented_features_are_drawn_part_by_part(gaps: Recordings, in_files: Path) -> None:
    recipe = Recipe().with_knobs({**SMALL, "finetune.views": 2})
    prepared = Prepared.of(gaps, 16, MODALITIES)
    first, again = (run_trial(recipe, prepared, split(gaps, recipe.data)) for _ in range(2))
    assert first.status == "COMPLETE"
    assert first.metrics == again.metrics


def test_a_selection_gives_what_the_tensor_would(tiny: Recordings, in_files: Path) -> None:
    recipe = Recipe().with_knobs(SMALL)
    prepared = Prepared.of(tiny, 16, MODALITIES)
    rows = np.arange(len(tiny))[::-2].copy()
    fitted = {"imu": prepared.standardisation("imu", rows)}
    model = Model.fresh(recipe, prepared.description, fitted)
    expected = model.tensors({name: prepared.inputs[name][rows] for name in MODALITIES})
    for name, one in prepared.selected(model, rows).items():
        assert isinstance(one, Selection)
        tensor = expected[name]
        assert one.shape == tensor.shape
        some = torch.tensor([4, 0, 4, 11])
        assert torch.equal(one[some], tensor[some])
        mask = torch.arange(len(rows)) % 3 == 1
        assert torch.equal(one.where(mask).all(), tensor[mask])
        assert torch.equal(torch.cat([*one.split(5)]), tensor)


def test_statistics_of_parts_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(0)
    signal = draws.normal(3, 2, size=(50, 6, 4)).astype(np.float32)
    signal[..., 1] = 7
    signal[:30, :, 2], signal[30:, :, 2] = 1, 2
    whole = Standardisation.fit(signal)
    parts = Standardisation.fit_parts([signal[:30], signal[30:31], signal[31:]])
    expected = signal.astype(np.float64).reshape(-1, 4)
    for one in (whole, parts):
        np.testing.assert_allclose(one.mean, expected.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(one.std, np.where([0, 1, 0, 0], 1, expected.std(axis=0)), rtol=1e-6)


def test_no_room_is_said_before_anything_is_written(
    tiny: Recordings, in_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(UserError, match=rf"0\.0 GB are free; set {CACHE_VARIABLE} to a folder with room"):
        Prepared.of(tiny, 16, MODALITIES)
    assert not [*in_files.iterdir()]


def test_a_disk_that_fills_meanwhile_keeps_no_half_file(
    tiny: Recordings, in_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match=r"cannot be kept \(No space left on device\)"):
        Prepared.of(tiny, 16, MODALITIES)
    assert not [*in_files.iterdir()]


def studied(tiny: Recordings, storage: Path, **how: Any) -> list[dict[str, Any]]:
    entries = yaml.safe_load(space(2, {"finetune.views": 1}, name="pair", folds=[["anna"], ["ben"]]))
    launch(entries, tiny, storage=storage, **how)
    [name] = [path.name for path in storage.iterdir() if (path / "trials.parquet").is_file()]
    columns = ["point_id", "status", "val.accuracy", "train.loss"]
    return Study(str(storage), name).table("trials.parquet", columns).to_pylist()


@pytest.mark.ray
def test_workers_of_ray_read_the_file(
    tiny: Recordings, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = studied(tiny, tmp_path / "here", local=True)
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    assert studied(tiny, tmp_path / "workers") == here
    assert len([*cache.glob("*.npy")]) == 2
