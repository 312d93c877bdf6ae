"""Encoders as one file give what the encoders give, run by what other programs run them with."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from mmssl import Recordings
from mmssl.errors import UserError
from mmssl.export.conversion import convert
from mmssl.recipe import USUAL, Recipe
from mmssl.training.model import Model, prepare
from mmssl.training.trial import train


@pytest.fixture(scope="module")
def model(tiny: Recordings) -> Model:
    recipe = Recipe().with_knobs(
        {"data.steps": 16, "pretrain.epochs": 1, "finetune.epochs": 1, "data.validation_subjects": ["chris"]}
    )
    trained = train(recipe, tiny).model
    assert trained is not None
    return trained


@pytest.mark.parametrize("modalities", [["imu"], ["skeleton"], ["imu", "skeleton"]], ids=str)
@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_a_file_gives_features_and_probabilities_of_any_number_of_recordings(
    model: Model, tiny: Recordings, tmp_path: Path, form: str, modalities: list[str]
) -> None:
    file = tmp_path / f"model.{form}"
    assert convert(model, form, modalities, file) <= 1e-4
    for recordings in (tiny, tiny.where(lambda row: row.recording_id == tiny.rows[0].recording_id)):
        prepared = prepare(recordings, model.recipe.data.steps, modalities)
        if form == "onnx":
            session = onnxruntime.InferenceSession(file)
            names = [output.name for output in session.get_outputs()]
            assert names == [*(f"features.{name}" for name in modalities), "probabilities"]
            notes = session.get_modelmeta().custom_metadata_map
            given = session.run(None, {str(name): values for name, values in prepared.items()})
        else:
            notes = {"modalities": "", "steps": "", "classes": ""}
            program = torch.export.load(file, extra_files=notes).module()
            given = [one.numpy() for one in program(*(torch.from_numpy(prepared[name]) for name in modalities))]
        assert json.loads(notes["classes"]) == ["slow", "middle", "fast"]
        assert (json.loads(notes["modalities"]), json.loads(notes["steps"])) == (modalities, 16)
        features = model.features(recordings, modalities)
        for ours, theirs in zip([*features.values(), model.probabilities(features)], given, strict=True):
            np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-4)


def test_without_the_packages_it_says_what_to_install(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"pip install 'mmssl-tune\[onnx\]'"):
        convert(model, "onnx", tuple(USUAL), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_file_that_gives_something_else_is_not_kept(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmssl.export import conversion

    monkeypatch.setattr(conversion, "_run_torch", lambda file, inputs: [torch.ones(5, 3).numpy()] * 3)
    monkeypatch.setattr(conversion._Classifier, "forward", lambda self, *inputs: (torch.zeros(5, 3),) * 3)
    with pytest.raises(UserError, match="differ from the encoders' by 1; it is not kept"):
        convert(model, "torch", tuple(USUAL), tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())
