"""Trained encoders with their heads: raw recordings to features and classes; saved to files and loaded."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from mmssl.data.columns import in_other_units
from mmssl.data.description import Description, Signal, Skeleton
from mmssl.data.recordings import Recordings
from mmssl.errors import UserError, few
from mmssl.recipe import Recipe, head_inputs
from mmssl.sealed import DamagedError, opened, sealed
from mmssl.training.encoders import Head, Projector, build_encoders
from mmssl.training.preparation import Inputs, Standardisation, prepare
from mmssl.training.selection import Recorded, standardised

FORMAT = "mmssl.model/3"
_OLDER = "mmssl.model/2"
"""With the statistics of a single IMU."""
WEIGHTS, FACTS = "model.safetensors", "model.json"
_DIGEST = "weights_sha256"
AT_ONCE = 1024
"""Batch size without training."""


@dataclass
class Model:
    """Frozen encoders, the projectors of their pre-training, and heads trained on their features.

    Attributes:
        recipe: of its training, seed and fold included.
        description: of its training data; new recordings must have the same joints, axes and channels.
        standardisations: statistics of the recordings of its pre-training, by signal.
        encoders, projectors: by modality.
        heads: one for each of `head_inputs`, by its modalities joined with "+".
    """

    recipe: Recipe
    description: Description
    standardisations: Mapping[str, Standardisation]
    encoders: nn.ModuleDict
    projectors: nn.ModuleDict
    heads: nn.ModuleDict

    def __post_init__(self) -> None:
        for part in self.parts.values():
            part.eval()

    @classmethod
    def fresh(
        cls, recipe: Recipe, description: Description, standardisations: Mapping[str, Standardisation]
    ) -> "Model":
        """A new model, initialised from torch's global generator, which the caller seeds; the heads come last, so that
        they do not change the encoders' weights."""
        encoders = build_encoders(recipe, {name: one.shape for name, one in description.modalities.items()})
        widths = _widths(encoders)
        projectors = {name: Projector(width, recipe.encoder.projector) for name, width in widths.items()}
        heads = {
            "+".join(inputs): Head({name: widths[name] for name in inputs}, recipe.finetune, len(description.classes))
            for inputs in head_inputs(recipe)
        }
        return cls(recipe, description, standardisations, encoders, nn.ModuleDict(projectors), nn.ModuleDict(heads))

    @property
    def parts(self) -> dict[str, nn.ModuleDict]:
        return {"encoders": self.encoders, "projectors": self.projectors, "heads": self.heads}

    @property
    def widths(self) -> dict[str, int]:
        """The width of each modality's features."""
        return _widths(self.encoders)

    def head(self, modalities: Sequence[str]) -> Head:
        """The head that classifies from these modalities.

        Raises:
            UserError: there is no such head.
        """
        name = "+".join(sorted(modalities))
        if name not in self.heads:
            raise UserError(
                f"these encoders cannot classify from {', '.join(modalities)}: choose {' or '.join(self.heads)}"
            )
        return cast(Head, self.heads[name])

    def to(self, device: torch.device | str) -> "Model":
        for part in self.parts.values():
            part.to(device)
        return self

    @property
    def device(self) -> torch.device:
        return next(self.encoders.parameters()).device

    def tensors(self, inputs: Inputs) -> dict[str, Tensor]:
        """Prepared inputs, standardised, on the encoders' device."""
        device = self.device
        return {name: standardised(array, self.standardisations.get(name), device) for name, array in inputs.items()}

    @torch.no_grad()
    def encode(self, tensors: Mapping[str, Recorded], batch_size: int = AT_ONCE) -> dict[str, Tensor]:
        """Features of each modality, (recordings, width of its encoder), by frozen encoders in evaluation mode."""
        self.encoders.eval()
        return {
            modality: torch.cat([self.encoders[modality](part) for part in tensor.split(batch_size)])
            for modality, tensor in tensors.items()
        }

    @torch.no_grad()
    def embed(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Embeddings by modality, (recordings, width of the projector), from the features that `encode` returns."""
        self.projectors.eval()
        return {name: self.projectors[name](tensor) for name, tensor in features.items()}

    def features(
        self, recordings: Recordings, modalities: Sequence[str] | None = None
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Features of raw recordings by modality, (recordings, width).

        Args:
            modalities: only these; the recordings may lack the others.

        Raises:
            UserError: the recordings have other joints, axes, channels, units or windows than the training data.
        """
        wanted = self.recipe.data.modalities if modalities is None else modalities
        self.head(wanted)
        inputs = prepare(self.fitted(recordings, wanted), self.recipe.data.steps, wanted)
        encoded = self.encode(self.tensors(inputs))
        return {modality: tensor.cpu().numpy() for modality, tensor in encoded.items()}

    def fitted(self, recordings: Recordings, modalities: Sequence[str]) -> Recordings:
        """The recordings with the encoders' root joint and unit of length, which replace their own.

        Raises:
            UserError: as `features`.
        """
        self._check_windows(recordings)
        theirs = recordings.description
        ours = {name: self._fitting(theirs, name) for name in modalities}
        return recordings.described(theirs.model_copy(update={"modalities": {**theirs.modalities, **ours}}))

    def _check_windows(self, recordings: Recordings) -> None:
        """Check the length of the windows.

        Raises:
            UserError: the encoders were trained on windows of another length.
        """
        ours, theirs = self.description.window, recordings.description.window
        if ours and (theirs is None or theirs.seconds != ours.seconds):
            given = f"windows of {theirs.seconds:g} s" if theirs else "no such windows"
            raise UserError(
                f"{recordings.description.name}: these encoders were trained on windows of {ours.seconds:g} s, and "
                f"these are {given}: import them --like the encoders"
            )

    def _fitting(self, description: Description, name: str) -> Skeleton | Signal:
        """A modality's description as the encoders have it, at the recordings' rate.

        Raises:
            UserError: the recordings differ from it in joints, axes, channels or units.
        """
        ours, theirs = self.description.modalities[name], description.modalities.get(name)
        if theirs is None:
            raise UserError(
                f"{description.name}: has no {name}, which these encoders take; it has "
                f"{', '.join(description.modalities)}"
            )
        for what in ours.layout:
            those = getattr(theirs, what, ())
            if those != getattr(ours, what):
                raise UserError(
                    f"{description.name}: {what} of {name} are {', '.join(those) or 'none'}; these encoders take "
                    f"{', '.join(getattr(ours, what))} (trained on {self.description.name})"
                )
        # Nothing else would show it: features are numbers all the same.
        units = (
            (ours.channels, ours.units, theirs.units) if isinstance(ours, Signal) and isinstance(theirs, Signal) else ()
        )
        if units and (apart := in_other_units(*units)):
            raise UserError(
                f"{description.name}: {name} has {few(apart)}, as these encoders take it (trained on "
                f"{self.description.name}): convert the recordings to their units"
            )
        return ours.model_copy(update={"hz": theirs.hz})

    @torch.no_grad()
    def probabilities(self, features: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Class probabilities, (recordings, classes), from what `features` returns, by the head for its modalities."""
        head = self.head(list(features)).eval()
        device = next(head.parameters()).device
        logits = head({name: torch.from_numpy(array).to(device) for name, array in features.items()})
        return torch.softmax(logits.float(), dim=1).cpu().numpy()

    def predict(self, recordings: Recordings, modalities: Sequence[str] | None = None) -> list[str]:
        """The most probable class of each recording, from all modalities or from some."""
        best = self.probabilities(self.features(recordings, modalities)).argmax(axis=1)
        return [self.description.classes[i] for i in best]

    def weights(self, *parts: str) -> bytes:
        """The weights of some parts, of all by default, as the content of a safetensors file."""
        return tensors_to_bytes(
            {
                f"{part}.{name}": tensor.contiguous().cpu()
                for part in parts or self.parts
                for name, tensor in self.parts[part].state_dict().items()
            }
        )

    def load_weights(self, content: bytes, *parts: str) -> None:
        """Load the weights of some parts, of all by default, from what `weights` returned.

        Raises:
            SafetensorError: the content is damaged.
            RuntimeError: a weight is missing, or of another size.
        """
        tensors = tensors_from_bytes(content)
        for part in parts or self.parts:
            own = {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
            self.parts[part].load_state_dict(own)

    def files(self, **facts: object) -> dict[str, bytes]:
        """The model's files by name: weights as safetensors, everything else as JSON.

        Args:
            facts: further JSON values to store, such as metrics.
        """
        weights = self.weights()
        document = {
            "format": FORMAT,
            "recipe": self.recipe.model_dump(mode="json", by_alias=True),
            "description": self.description.model_dump(mode="json"),
            "standardisation": {
                name: {"mean": own.mean.tolist(), "std": own.std.tolist()}
                for name, own in self.standardisations.items()
            },
            _DIGEST: hashlib.sha256(weights).hexdigest(),
            **facts,
        }
        return {WEIGHTS: weights, FACTS: sealed(json.dumps(document, indent=1).encode())}

    @classmethod
    def from_pretrained(cls, place: str | Path, **hub: Any) -> "Model":
        """Load an export from a folder, or from the Hugging Face Hub, which needs the extra `hub`.

        Args:
            place: a folder; or, as a string where there is no such folder, a repository OWNER/NAME.
            hub: arguments of `huggingface_hub.snapshot_download`: revision, token, cache_dir, local_files_only ...

        Raises:
            UserError: there is no export, or it is damaged.
        """
        folder = Path(place)
        if isinstance(place, str) and not folder.exists() and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", place):
            folder = _downloaded(place, hub)
        missing = [name for name in (WEIGHTS, FACTS) if not (folder / name).is_file()]
        if missing:
            raise UserError(f"{place}: is no export ({' and '.join(missing)} missing)")
        try:
            return cls.from_files({name: (folder / name).read_bytes() for name in (WEIGHTS, FACTS)}, str(place))
        except UserError as error:
            raise UserError(f"{error}; export again, or bring it back from a copy") from error

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], where: str) -> "Model":
        """Rebuild a model from what `files` returned; all weights are checked before the model is built.

        Args:
            files: contents of `WEIGHTS` and `FACTS`.
            where: the place they came from, for messages.

        Raises:
            UserError: the contents are damaged or of another format.
        """
        try:
            document = _document(files[FACTS])
            if document.get("format") not in (FORMAT, _OLDER):
                raise UserError(f"{where}: {FACTS} has format {document.get('format')!r}, expected {FORMAT!r}")
            digest = document.get(_DIGEST)  # Older versions wrote none.
            if digest is not None and digest != hashlib.sha256(files[WEIGHTS]).hexdigest():
                raise ValueError(f"{WEIGHTS} is not the file that {FACTS} was written with")
            recipe = Recipe.model_validate(document["recipe"])
            description = Description.model_validate(document["description"])
            standardisations = _standardisations(document, recipe, description)
            _compare(recipe, description, tensors_from_bytes(files[WEIGHTS]))
            with torch.random.fork_rng(devices=[]):  # Initial weights are replaced; the caller's draws stay the same.
                model = cls.fresh(recipe, description, standardisations)
            model.load_weights(files[WEIGHTS])
        except (SafetensorError, KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise UserError(f"{where}: not a whole model: {error}") from error
        return model


def _downloaded(repository: str, hub: Mapping[str, Any]) -> Path:
    """The files of a model repository of the Hugging Face Hub, in the Hub's own cache; no code of it is run."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(
            f"{repository}: not a folder; to load it from the Hugging Face Hub: pip install 'mmssl-tune[hub]'"
        ) from error
    try:
        return Path(snapshot_download(repository, allow_patterns=[WEIGHTS, FACTS], **hub))
    except (OSError, ValueError) as error:  # The library's own errors derive from these.
        first = str(error).strip().splitlines()[0]
        raise UserError(f"{repository}: not a folder, nor loadable from the Hugging Face Hub ({first})") from error


def _document(content: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(opened(content)))
    except DamagedError as error:
        raise ValueError(f"{FACTS}: {error}") from error


def _standardisations(
    document: Mapping[str, Any], recipe: Recipe, description: Description
) -> dict[str, Standardisation]:
    """The statistics of each signal that the recipe takes, from a model's document."""
    given = document.get("standardisation")
    if given is None:  # The older format, with one signal.
        given = {"imu": {"mean": document["imu_mean"], "std": document["imu_std"]}}
    return {
        name: Standardisation(
            _numbers(given[name], name, "mean", len(signal.channels), above=-np.inf),
            _numbers(given[name], name, "std", len(signal.channels), above=0),
        )
        for name, signal in description.signals.items()
        if name in recipe.data.modalities
    }


def _numbers(
    document: Mapping[str, Any], signal: str, name: str, channels: int, *, above: float
) -> npt.NDArray[np.float32]:
    """One of a signal's statistics, from a model's document.

    Raises:
        ValueError: it is not one valid number for each channel.
    """
    given = document[name]
    if not isinstance(given, list) or not all(isinstance(number, int | float) for number in given):
        given = [[]]
    with np.errstate(over="ignore"):  # Numbers too large for float32 become infinite, and are refused.
        numbers = np.array(given, np.float32)
    if numbers.shape != (channels,) or not (np.isfinite(numbers) & (numbers > above)).all():
        kind = "finite" if above < 0 else "positive"
        raise ValueError(f"{name} of {signal}: expected {channels} {kind} numbers, one for each channel")
    return numbers


def _compare(recipe: Recipe, description: Description, tensors: Mapping[str, Tensor]) -> None:
    """Check that a model of this recipe can have these weights, without building it.

    Raises:
        ValueError: a weight is missing, unexpected, or of another shape or type.
    """
    if set(description.signals) & set(recipe.data.modalities) and recipe.encoder.imu.layers > len(tensors):
        raise ValueError(f"{recipe.encoder.imu.layers} layers by the recipe, {len(tensors)} weights in {WEIGHTS}")
    with torch.device("meta"):  # Has shapes, and no memory.
        model = Model.fresh(recipe, description, {})
    wanted = {f"{part}.{k}": v for part, module in model.parts.items() for k, v in module.state_dict().items()}
    for name in (name for name in (*wanted, *tensors) if name not in wanted or name not in tensors):
        raise ValueError(f"{name} is {'missing' if name in wanted else 'not part of this model'}")
    for name, tensor in tensors.items():
        found, expected = ((tuple(one.shape), one.dtype) for one in (tensor, wanted[name]))
        if found != expected:
            raise ValueError(f"{name} has shape and type {found}, by the recipe {expected}")


def _widths(encoders: nn.ModuleDict) -> dict[str, int]:
    return {name: cast(int, encoder.width) for name, encoder in encoders.items()}
