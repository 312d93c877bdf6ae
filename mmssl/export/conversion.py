"""Exported encoders as one file for programs without this package: an ONNX graph, or a program of torch.export."""

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from mmssl.errors import UserError
from mmssl.training.model import Model

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
"""Of the files, by form."""
# As for an export that another process loads: sums may be taken in another order.
TOLERANCE = 1e-4


class _Classifier(nn.Module):
    """(batch, steps, ...) of each modality -> its features, then the class probabilities."""

    def __init__(self, model: Model, modalities: Sequence[str]) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict({name: model.encoders[name] for name in modalities})
        self.head = model.head(modalities)
        self.standardised = [name for name in modalities if name in model.standardisations]
        for name in self.standardised:
            own = model.standardisations[name]
            self.register_buffer(f"mean_{name}", torch.from_numpy(own.mean))
            self.register_buffer(f"std_{name}", torch.from_numpy(own.std))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        features: dict[str, Tensor] = {}
        for (name, encoder), values in zip(self.encoders.items(), inputs, strict=True):
            if name in self.standardised:
                values = (values - self.get_buffer(f"mean_{name}")) / self.get_buffer(f"std_{name}")
            features[name] = encoder(values)
        return (*features.values(), torch.softmax(self.head(features), dim=1))


def convert(model: Model, form: str, modalities: Sequence[str], file: Path) -> float:
    """Write encoders and head for some modalities, for any number of recordings at once, and try the file.

    Its inputs, by modality, are what `mmssl.training.model.prepare` gives: recordings at equal length, skeletons
    centred and scaled; the signals' standardisation is in the file. Its outputs are `features.MODALITY` and
    `probabilities`. It holds `modalities`, `steps` and `classes` as JSON: in ONNX's metadata, or as extra files of
    torch.export.

    Returns:
        The largest difference between what the file gives and what the model gives, for made-up recordings.

    Raises:
        UserError: the packages for ONNX are not installed, the model has no head for these modalities, or the file
            gives something else than the model and is not kept.
    """
    classifier = _Classifier(model, modalities).eval().requires_grad_(requires_grad=False)
    inputs = _made_up(model, modalities, 2)
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of the exporter's own parts.
        program = torch.export.export(classifier, inputs, dynamic_shapes=(tuple({0: batch} for _ in inputs),))
        if form == "torch":
            torch.export.save(program, file, extra_files=_notes(model, modalities))
        else:
            _write_onnx(program, modalities, file, _notes(model, modalities))
    tried = _made_up(model, modalities, 5)
    expected = [output.numpy() for output in classifier(*tried)]
    given = _run_torch(file, tried) if form == "torch" else _run_onnx(file, modalities, tried)
    difference = max(float(np.abs(a - b).max()) for a, b in zip(given, expected, strict=True))
    if not difference <= TOLERANCE:
        file.unlink()
        raise UserError(f"{file}: gave features that differ from the encoders' by {difference:.2g}; it is not kept")
    return difference


def _made_up(model: Model, modalities: Sequence[str], count: int) -> tuple[Tensor, ...]:
    steps = model.recipe.data.steps
    shapes = {name: one.shape for name, one in model.description.modalities.items()}
    draws = torch.Generator().manual_seed(0)
    return tuple(torch.randn(count, steps, *shapes[name], generator=draws) for name in modalities)


def _notes(model: Model, modalities: Sequence[str]) -> dict[str, str]:
    """What a reader of the file must know, each as JSON: what goes in, and what the probabilities are of."""
    about = {"modalities": modalities, "steps": model.recipe.data.steps, "classes": model.description.classes}
    return {name: json.dumps(value) for name, value in about.items()}


def _write_onnx(
    program: torch.export.ExportedProgram, modalities: Sequence[str], file: Path, notes: Mapping[str, str]
) -> None:
    try:
        import onnxruntime  # noqa: F401  # pyright: ignore[reportUnusedImport]
        import onnxscript  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise UserError(f"ONNX needs further packages ({error.name}): pip install 'mmssl-tune[onnx]'") from error
    # It tells of operators of packages that are not installed, and not used.
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        written = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=list(modalities),
            output_names=[*(f"features.{name}" for name in modalities), "probabilities"],
        )
    finally:
        log.setLevel(before)
    made = cast(torch.onnx.ONNXProgram, written)
    made.model.metadata_props.update(notes)
    made.save(file)


def _run_torch(file: Path, inputs: Sequence[Tensor]) -> list[np.ndarray]:
    return [output.numpy() for output in torch.export.load(file).module()(*inputs)]


def _run_onnx(file: Path, modalities: Sequence[str], inputs: Sequence[Tensor]) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    given = {name: values.numpy() for name, values in zip(modalities, inputs, strict=True)}
    return cast(list[np.ndarray], session.run(None, given))
