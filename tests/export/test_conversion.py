"""Encoders as one file give what the encoders give, run by what other programs run them with."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import own_folder
import pytest
import torch

from mmssl import Description, Recordings, Row, Signal, Skeleton
from mmssl.data.csv_folder import read
from mmssl.errors import UserError
from mmssl.export.conversion import PRECISIONS, compared, convert, file_name
from mmssl.export.raw import RawRecording
from mmssl.recipe import USUAL, Recipe
from mmssl.training.model import Model
from mmssl.training.preparation import Standardisation, prepare
from mmssl.training.trial import train


@pytest.fixture(scope="module")
def model(tiny: Recordings) -> Model:
    recipe = Recipe().with_knobs(
        {
            "data.steps": 16,
            "pretrain.epochs": 1,
            "finetune.epochs": 1,
            "data.validation_subjects": ["chris"],
            "encoder.imu.layers": 1,
        }
    )
    trained = train(recipe, tiny).model
    assert trained is not None
    return trained


@pytest.mark.parametrize(
    ("form", "modalities"),
    [(form, one) for form, alone in (("onnx", "imu"), ("torch", "skeleton")) for one in ([alone], ["imu", "skeleton"])],
    ids=str,
)
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


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_heads_of_logistic_regression_are_in_the_file(tiny: Recordings, tmp_path: Path, form: str) -> None:
    knobs = {"data.steps": 16, "pretrain.epochs": 0, "encoder.imu.layers": 1, "finetune.head": "logistic"}
    trained = train(Recipe().with_knobs(knobs), tiny).model
    assert trained is not None
    assert convert(trained, form, tuple(USUAL), tmp_path / f"model.{form}") <= 1e-4


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

    for given, said in ((1.0, "1"), (np.nan, "nan")):
        wrong = [np.full((5, 3), given)] * 3
        monkeypatch.setattr(conversion, "_program", lambda *_, wrong=wrong: lambda inputs: wrong)
        monkeypatch.setattr(conversion._Classifier, "forward", lambda self, *inputs: (torch.zeros(5, 3),) * 3)
        with pytest.raises(UserError, match=f"differ from the encoders' by {said}; it is not kept"):
            convert(model, "torch", tuple(USUAL), tmp_path / "model.pt2")
        assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CSV files of clips; the first three have all modalities."""
    folder = tmp_path_factory.mktemp("kitchen") / "clips"
    own_folder.make_new(folder)
    return folder


@pytest.fixture(scope="module")
def cook(kitchen: Path) -> tuple[Model, Recordings]:
    """Encoders that take those clips, with weights as drawn, and the clips as they are imported."""
    clips = read(kitchen).recordings
    described = clips.description.model_copy(update={"classes": own_folder.CLASSES})
    recipe = Recipe().with_knobs({"data.steps": 40, "encoder.imu.layers": 1, "encoder.imu.feedforward": 16})
    torch.manual_seed(0)
    wrist = np.concatenate([one for one in clips.arrays("imu") if one is not None])
    statistics = {"imu": Standardisation(wrist.mean(axis=0), wrist.std(axis=0))}
    return Model.fresh(recipe, described, statistics), clips


SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "classify_onnx.py"
ALONE = """
import runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {"numpy", "onnxruntime"} | sys.stdlib_module_names:
            raise ImportError(f"{name}: not there")
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def classified(command: list[str], *words: str | Path) -> dict[str, float]:
    done = subprocess.run([*command, SCRIPT, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: float(value) for name, value in (line.split(",") for line in done.stdout.splitlines())}


def test_twenty_lines_give_the_classes_of_a_csv_as_the_encoders_do(
    cook: tuple[Model, Recordings], kitchen: Path, tmp_path: Path
) -> None:
    model, clips = cook
    modalities = ["imu", "skeleton"]
    file = tmp_path / "model.raw.onnx"
    assert convert(model, "onnx", modalities, file, raw=True) <= 1e-4
    by = clips.having(modalities)
    for row, expected in zip(by.rows[:2], model.probabilities(model.features(by, modalities)), strict=False):
        csvs = [kitchen / name / f"{row.recording_id}.csv" for name in modalities]
        given = classified([sys.executable, "-c", ALONE], file, *csvs)
        assert list(given.values()) == sorted(given.values(), reverse=True)
        assert [given[name] for name in own_folder.CLASSES] == pytest.approx(expected.tolist(), abs=1e-5)
    broken = tmp_path / "broken.csv"
    broken.write_text(csvs[0].read_text().replace("wrist_acc_x", "wrist_x"))
    done = subprocess.run([sys.executable, SCRIPT, file, broken, *csvs[1:]], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "'wrist_acc_x'" in done.stderr


def test_the_script_runs_where_only_numpy_and_onnxruntime_are_installed(
    cook: tuple[Model, Recordings], kitchen: Path, tmp_path: Path
) -> None:
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        pytest.skip("no uv here: start.py has one")
    model, clips = cook
    convert(model, "onnx", ["imu"], tmp_path / "model.raw.onnx", raw=True)
    made = [uv, "run", "--isolated", "--no-project", "--python", sys.executable]
    command = [*made, "--with", "numpy", "--with", "onnxruntime", "python"]
    if subprocess.run([*command, "-c", "import onnxruntime"], capture_output=True).returncode:
        pytest.skip("the packages cannot be had here")
    given = classified(command, tmp_path / "model.raw.onnx", kitchen / "imu" / "clip_4.csv")
    expected = model.probabilities(model.features(clips, ["imu"]))[3]
    assert [given[name] for name in own_folder.CLASSES] == pytest.approx(expected.tolist(), abs=1e-5)


@pytest.mark.parametrize("lines", [1, 2, 15, 16, 17, 200])
def test_a_raw_recording_is_prepared_in_the_file_as_in_training(lines: int) -> None:
    draws = np.random.default_rng(lines)
    axes = draws.normal(size=(lines, 9)).astype(np.float32)
    axes[:, 3:7] /= np.linalg.norm(axes[:, 3:7], axis=1, keepdims=True)  # Quaternions whose signs are any.
    channels = ("ax", "ay", "az", "quat_w", "quat_x", "quat_y", "quat_z", "b", "c")
    sensor = (("ax", "ay", "az"), ("quat_w", "quat_x", "quat_y", "quat_z"))
    body = draws.normal(size=(lines, 4, 3)).astype(np.float32)
    modalities = {
        "watch": Signal(channels=channels, sensors=(sensor,)),
        "body": Skeleton(
            joints=("left", "right", "neck", "head"), coordinates=("x", "y", "z"),
            root_joint=("left", "right"), scale_joints=("neck", ("left", "right")),
        ),
    }  # fmt: skip
    row = Row(recording_id="one", label="a", subject="s", trial="1")
    description = Description(name="made", classes=("a", "b"), modalities=modalities)
    recordings = Recordings(description, [row], watch=[axes], body=[body])
    for name, array in (("watch", axes), ("body", body)):
        prepared = prepare(recordings, 16, [name])[name]
        given = RawRecording(description.modalities[name], 16)(torch.from_numpy(array.reshape(lines, -1)))
        np.testing.assert_allclose(given.numpy(), prepared, rtol=1e-5, atol=1e-6)


def test_coarser_files_are_smaller_and_scored_beside_the_encoders(
    model: Model, tiny: Recordings, tmp_path: Path
) -> None:
    chris = tiny.where(lambda row: row.subject == "chris")
    files = [tmp_path / file_name("onnx", one) for one in PRECISIONS]
    apart = [convert(model, "onnx", ["imu"], f, precision=p) for f, p in zip(files, PRECISIONS, strict=True)]
    assert apart[0] <= 1e-4
    assert 0 < apart[2] < 0.1
    assert apart[1] < 0.01
    found = compared(model, "onnx", ["imu"], files, chris, raw=False)
    ours = model.probabilities(model.features(chris, ["imu"]))
    by_encoders = ours.argmax(axis=1)
    assert found["encoders"]["accuracy"] == (by_encoders == chris.labels).mean()
    prepared = prepare(chris, model.recipe.data.steps, ["imu"])
    for file in files:
        session = onnxruntime.InferenceSession(file)
        # One by one, as programs classify them: int8 rounds what is given at once alike, and then gives others.
        each = [{"imu": prepared["imu"][i : i + 1]} for i in range(len(chris))]
        theirs = np.concatenate([session.run(["probabilities"], one)[0] for one in each])
        classes = theirs.argmax(axis=1)
        right = np.bincount(chris.labels[classes == chris.labels], minlength=3)
        f1 = 2 * right / (np.bincount(classes, minlength=3) + np.bincount(chris.labels, minlength=3))
        assert found[file.name] == {
            "accuracy": pytest.approx((classes == chris.labels).mean()),
            "f1": pytest.approx(f1.mean()),
            "bytes": file.stat().st_size,
            "difference": pytest.approx(float(abs(theirs - ours).max()), rel=1e-3, abs=1e-7),
            "changed": pytest.approx((classes != by_encoders).mean()),
        }
    whole, half, eighth = (found[file.name]["bytes"] for file in files)
    assert half < 0.6 * whole
    assert eighth < 0.4 * whole
    with pytest.raises(UserError, match="int8 is a form of ONNX"):
        convert(model, "torch", ["imu"], tmp_path / "model.int8.pt2", precision="int8")
