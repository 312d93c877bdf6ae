"""Exported encoders as one file for programs without this package: an ONNX graph, or a program of torch.export."""

import copy
import json
import logging
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from mmssl.data.description import Skeleton
from mmssl.data.recordings import Recordings
from mmssl.errors import UserError
from mmssl.evaluation import scores
from mmssl.export.raw import RawRecording
from mmssl.training.model import Model
from mmssl.training.preparation import Inputs, longest, prepare

Form = Literal["onnx", "torch"]
Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")
SUFFIXES: dict[Form, str] = {"onnx": ".onnx", "torch": ".pt2"}
"""Suffixes of the files, by form."""
SCORES = ".scores.json"
# As for an export that another process loads: sums may be taken in another order.
TOLERANCE = 1e-4
_Program = Callable[[Inputs], list[np.ndarray]]


def file_name(form: Form, precision: Precision = "float32", *, raw: bool = False) -> str:
    """The name of a file that `convert` writes into an exported folder."""
    return f"model{'.raw' * raw}{f'.{precision}' * (precision != 'float32')}{SUFFIXES[form]}"


DERIVED = tuple(
    name
    for form in SUFFIXES
    for raw in (False, True)
    for name in (*(file_name(form, one, raw=raw) for one in PRECISIONS), f"model{'.raw' * raw}{SCORES}")
)
"""Names of all files that `convert` writes into an export."""


class _Classifier(nn.Module):
    """Inputs of each modality -> its features, then the class probabilities, in float32 whatever the networks are of.

    Args:
        raw: an input is one recording as it was taken, (lines, columns); else (batch, steps, ...).
        half: the networks calculate in float16; what is done to the inputs before does not: their units may exceed it.
    """

    def __init__(self, model: Model, modalities: Sequence[str], *, raw: bool, half: bool) -> None:
        super().__init__()
        own = model.description.modalities
        steps = model.recipe.data.steps
        self.raw = nn.ModuleDict({name: RawRecording(own[name], steps) for name in modalities if raw})
        self.kind = torch.float16 if half else torch.float32
        self.encoders = nn.ModuleDict({name: copy.deepcopy(model.encoders[name]).to(self.kind) for name in modalities})
        self.head = copy.deepcopy(model.head(modalities)).to(self.kind)
        self.standardised = [name for name in modalities if name in model.standardisations]
        for name in self.standardised:
            statistics = model.standardisations[name]
            self.register_buffer(f"mean_{name}", torch.from_numpy(statistics.mean))
            self.register_buffer(f"std_{name}", torch.from_numpy(statistics.std))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        features: dict[str, Tensor] = {}
        for (name, encoder), values in zip(self.encoders.items(), inputs, strict=True):
            if name in self.raw:
                values = self.raw[name](values)
            if name in self.standardised:
                values = (values - self.get_buffer(f"mean_{name}")) / self.get_buffer(f"std_{name}")
            features[name] = encoder(values.to(self.kind))
        probabilities = torch.softmax(self.head(features).float(), dim=1)
        return (*(one.float() for one in features.values()), probabilities)


def convert(
    model: Model,
    form: Form,
    modalities: Sequence[str],
    file: Path,
    *,
    raw: bool = False,
    precision: Precision = "float32",
) -> float:
    """Write encoders and head for some modalities, and try the file.

    Its inputs, by modality, are what `mmssl.training.model.prepare` gives, of any number of recordings: at equal
    length, skeletons centred and scaled; the signals' standardisation is in the file. Or, `raw`, all of that is in the
    file too, and an input is one recording as it was taken. Its outputs are `features.MODALITY` and `probabilities`. It
    holds `modalities`, `steps` and `classes` as JSON, of raw recordings also their `columns` and `longest`: in ONNX's
    metadata, or as extra files of torch.export.

    Args:
        precision: in which the networks calculate; int8, of ONNX alone, has their weights in eight bits.

    Returns:
        The largest difference between what the file gives and what the model gives, for made-up recordings.

    Raises:
        UserError: the packages for ONNX are not installed, the model has no head for these modalities, or the file
            gives something else than the model and is not kept.
    """
    if form == "torch" and precision == "int8":
        raise UserError("int8 is a form of ONNX: convert --to onnx --precision int8")
    classifier = _Classifier(model, modalities, raw=raw, half=precision == "float16").eval().requires_grad_(False)
    inputs, notes = _made_up(model, modalities, raw, 0), _notes(model, modalities, raw)
    number = torch.export.Dim("number", min=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Raised by the exporter's own parts.
        # Modalities of a raw recording have lines of their own number.
        sizes = tuple({0: torch.export.Dim.DYNAMIC if raw else number} for _ in inputs)
        program = torch.export.export(classifier, inputs, dynamic_shapes=(sizes,))
        if form == "torch":
            torch.export.save(program, file, extra_files=notes)
        else:
            _write_onnx(program, modalities, file, notes)
            if precision == "int8":
                _quantise(file)
    exact = _Classifier(model, modalities, raw=raw, half=False).eval()
    run, differences = _program(form, file, modalities), list[float]()
    for draw in range(1, 4):
        tried = _made_up(model, modalities, raw, draw)
        given = run({name: values.numpy() for name, values in zip(modalities, tried, strict=True)})
        with torch.no_grad():
            expected = [output.numpy() for output in exact(*tried)]
        # Large features are rounded in larger steps.
        apart = [float(np.abs(a - b).max() / max(1.0, np.abs(b).max())) for a, b in zip(given, expected, strict=True)]
        # Of coarser networks the probabilities alone: their features have a scale of their own.
        differences += apart if precision == "float32" else apart[-1:]
    difference = float(np.max(differences))
    if not difference <= (TOLERANCE if precision == "float32" else 1.0):
        file.unlink()
        raise UserError(f"{file}: gave features that differ from the encoders' by {difference:.2g}; it is not kept")
    return difference


def compared(
    model: Model, form: Form, modalities: Sequence[str], files: Sequence[Path], recordings: Recordings, *, raw: bool
) -> dict[str, dict[str, float]]:
    """Scores of the encoders, as `encoders`, and of each file on recordings: accuracy, F1, size in bytes, the largest
    difference of a probability from the encoders', and the share of recordings that get another class. Files classify
    one recording at a time.

    Raises:
        UserError: a file gives no probabilities, as numbers grow too large for float16.
    """
    exact = model.probabilities(model.features(recordings, modalities))
    given = {"encoders": (exact, len(model.weights("encoders", "heads")))}
    for file in files:
        found = _probabilities(model, modalities, _program(form, file, modalities), recordings, raw)
        if not np.isfinite(found).all():
            raise UserError(f"{file}: gives no probabilities for some of these recordings; convert with float32")
        given[file.name] = found, file.stat().st_size
    return {
        name: {
            **scores(recordings.labels, found.argmax(axis=1)),
            "bytes": size,
            "difference": float(np.abs(found - exact).max()),
            "changed": float((found.argmax(axis=1) != exact.argmax(axis=1)).mean()),
        }
        for name, (found, size) in given.items()
    }


def _program(form: Form, file: Path, modalities: Sequence[str]) -> _Program:
    """A written file as a function, run by the library that other programs would use."""
    if form == "torch":
        module = torch.export.load(file).module()
        return lambda inputs: [output.numpy() for output in module(*(torch.tensor(inputs[n]) for n in modalities))]
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda inputs: cast(list[np.ndarray], session.run(None, inputs))


def _probabilities(
    model: Model, modalities: Sequence[str], run: _Program, recordings: Recordings, raw: bool
) -> np.ndarray:
    if not raw:
        # One at a time, as programs classify them: int8 rounds by the largest number of all that is given at once.
        inputs = prepare(model.fitted(recordings, modalities), model.recipe.data.steps, modalities)
        each = ({name: array[i : i + 1] for name, array in inputs.items()} for i in range(len(recordings)))
        return np.concatenate([run(one)[-1] for one in each])
    ones = zip(*(recordings.arrays(name) for name in modalities), strict=True)
    flat = ([array.reshape(len(array), -1) for array in one if array is not None] for one in ones)
    return np.concatenate([run(dict(zip(modalities, one, strict=True)))[-1] for one in flat])


def _made_up(model: Model, modalities: Sequence[str], raw: bool, draw: int) -> tuple[Tensor, ...]:
    draws = torch.Generator().manual_seed(draw)
    steps, own = model.recipe.data.steps, model.description.modalities
    if not raw:
        return tuple(torch.randn(2 + draw, steps, *own[name].shape, generator=draws) for name in modalities)
    # More lines than steps, and fewer, down to one.
    lines = (3 * steps, steps + 1, 1, max(1, steps // 3))[draw]
    return tuple(
        torch.randn(lines + 2 * i, len(_columns(model, name)), generator=draws) for i, name in enumerate(modalities)
    )


def _columns(model: Model, modality: str) -> list[str]:
    """The columns of a raw recording, by their names in a CSV file."""
    own = model.description.modalities[modality]
    if isinstance(own, Skeleton):
        return [f"{joint}_{axis}" for joint in own.joints for axis in own.coordinates]
    return list(own.channels)


def _notes(model: Model, modalities: Sequence[str], raw: bool) -> dict[str, str]:
    """The file's metadata, each as JSON: modalities, steps, classes; of raw recordings also columns and longest."""
    steps, own = model.recipe.data.steps, model.description.modalities
    about: dict[str, Any] = {"modalities": modalities, "steps": steps, "classes": model.description.classes}
    if raw:
        about["columns"] = {name: _columns(model, name) for name in modalities}
        about["longest"] = {name: longest(own[name].hz, steps) for name in modalities}
    return {name: json.dumps(value) for name, value in about.items()}


def _write_onnx(
    program: torch.export.ExportedProgram, modalities: Sequence[str], file: Path, notes: Mapping[str, str]
) -> None:
    try:
        import onnxruntime  # noqa: F401  # pyright: ignore[reportUnusedImport]
        import onnxscript  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise UserError(f"ONNX needs further packages ({error.name}): pip install 'mmssl-tune[onnx]'") from error
    # It warns of operators of packages that are neither installed nor used.
    with _errors_only("torch.onnx._internal.exporter._registration"):
        written = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=list(modalities),
            output_names=[*(f"features.{name}" for name in modalities), "probabilities"],
        )
    made = cast(torch.onnx.ONNXProgram, written)
    made.model.metadata_props.update(notes)
    made.save(file)


def _quantise(file: Path) -> None:
    """Weights of an ONNX file to eight bits, in place; the inputs of each product are rounded as they come, so that no
    recordings are needed for it."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _errors_only(None):  # It advises to have the shapes computed first, which the exporter has done.
        quantize_dynamic(file, file, weight_type=QuantType.QUInt8)


@contextmanager
def _errors_only(logger: str | None) -> Generator[None]:
    """Without warnings of a logger, by its name; None is the root."""
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
