"""A trained pair of encoders with its head: from raw recordings to features and classes, and to files and back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from mmssl.data.recordings import Description, Recordings
from mmssl.encoders import Head, build_encoders
from mmssl.errors import UserError
from mmssl.recipe import Modality, Recipe
from mmssl.transforms import Standardisation, prepare_imu, prepare_skeleton

FORMAT = "mmssl.model/1"
WEIGHTS, FACTS = "model.safetensors", "model.json"

Inputs = dict[Modality, npt.NDArray[np.float32]]


def prepare(recordings: Recordings, recipe: Recipe) -> Inputs:
    """Each modality's recordings at equal length, before standardisation: (recordings, steps, ...).

    Raises:
        UserError: the recordings lack a modality that the recipe takes.
    """
    description, steps = recordings.description, recipe.data.steps
    inputs: Inputs = {}
    for modality in recipe.data.modalities:
        if modality == "imu" and recordings.imu:
            inputs[modality] = prepare_imu(recordings.imu, steps)
        elif modality == "skeleton" and recordings.skeleton:
            first, second = (description.joints.index(joint) for joint in description.scale_joints)
            root = description.joints.index(description.root_joint)
            inputs[modality] = prepare_skeleton(recordings.skeleton, steps, root, (first, second))
        else:
            raise UserError(
                f"{description.name}: the recordings have no {modality}, which data.modalities names: give some that "
                f"have, or train with data.modalities=[{','.join(recordings.modalities)}]"
            )
    return inputs


@dataclass
class Model:
    """Frozen encoders and the head trained on their features.

    Attributes:
        recipe: the run that made it, seed and fold included.
        description: the data it was trained on; recordings given to it must agree with its joints, axes and channels.
        standardisation: IMU statistics of the training recordings.
    """

    recipe: Recipe
    description: Description
    standardisation: Standardisation
    encoders: nn.ModuleDict
    head: Head

    def __post_init__(self) -> None:
        self.encoders.eval()
        self.head.eval()

    @classmethod
    def fresh(cls, recipe: Recipe, description: Description, standardisation: Standardisation) -> "Model":
        """Initialised from torch's global generator, which the caller seeds."""
        encoders = build_encoders(
            recipe, len(description.joints), len(description.coordinates), len(description.imu_channels)
        )
        head = Head(_widths(encoders), recipe.finetune.hidden, len(description.classes))
        return cls(recipe, description, standardisation, encoders, head)

    @property
    def widths(self) -> dict[str, int]:
        """Width of each modality's features."""
        return _widths(self.encoders)

    def tensors(self, inputs: Inputs) -> dict[Modality, Tensor]:
        """Prepared inputs, standardised, on the encoders' device."""
        device = next(self.encoders.parameters()).device
        return {
            modality: torch.from_numpy(self.standardisation.apply(array) if modality == "imu" else array).to(device)
            for modality, array in inputs.items()
        }

    @torch.no_grad()
    def encode(self, tensors: Mapping[Modality, Tensor], batch_size: int = 1024) -> dict[str, Tensor]:
        """Features of each modality, (recordings, width of its encoder), by frozen encoders in evaluation mode."""
        self.encoders.eval()
        return {
            modality: torch.cat([self.encoders[modality](part) for part in tensor.split(batch_size)])
            for modality, tensor in tensors.items()
        }

    def features(self, recordings: Recordings) -> dict[str, npt.NDArray[np.float32]]:
        """Features of raw recordings by modality, (recordings, width).

        Raises:
            UserError: the recordings' joints, axes or IMU channels are not those the encoders were trained on.
        """
        theirs, ours = recordings.description, self.description
        for what in ("joints", "coordinates", "imu_channels"):
            if getattr(theirs, what) != getattr(ours, what):
                raise UserError(
                    f"{theirs.name}: {what} are {', '.join(getattr(theirs, what))}; these encoders take "
                    f"{', '.join(getattr(ours, what))} (trained on {ours.name})"
                )
        # Root and unit of length are part of the encoders, whatever the new recordings would use.
        recordings = Recordings(
            theirs.model_copy(update={"root_joint": ours.root_joint, "scale_joints": ours.scale_joints}),
            recordings.rows,
            recordings.skeleton,
            recordings.imu,
        )
        encoded = self.encode(self.tensors(prepare(recordings, self.recipe)))
        return {modality: tensor.cpu().numpy() for modality, tensor in encoded.items()}

    @torch.no_grad()
    def probabilities(self, features: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Class probabilities, (recordings, classes), from what `features` returns."""
        device = next(self.head.parameters()).device
        self.head.eval()
        logits = self.head({name: torch.from_numpy(array).to(device) for name, array in features.items()})
        return torch.softmax(logits.float(), dim=1).cpu().numpy()

    def predict(self, recordings: Recordings) -> list[str]:
        """The likeliest class name of each recording."""
        best = self.probabilities(self.features(recordings)).argmax(axis=1)
        return [self.description.classes[i] for i in best]

    def files(self, **facts: object) -> dict[str, bytes]:
        """The model as file contents by file name: weights as safetensors, and the JSON that rebuilds it.

        Args:
            facts: further JSON values to keep beside it, such as metrics.
        """
        weights = {f"encoders.{name}": tensor for name, tensor in self.encoders.state_dict().items()}
        weights |= {f"head.{name}": tensor for name, tensor in self.head.state_dict().items()}
        document = {
            "format": FORMAT,
            "recipe": self.recipe.model_dump(mode="json", by_alias=True),
            "description": self.description.model_dump(mode="json"),
            "imu_mean": self.standardisation.mean.tolist(),
            "imu_std": self.standardisation.std.tolist(),
            **facts,
        }
        return {
            WEIGHTS: tensors_to_bytes({name: tensor.contiguous().cpu() for name, tensor in weights.items()}),
            FACTS: json.dumps(document, indent=1).encode(),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], where: str) -> "Model":
        """Rebuild what `files` gave; every weight must be there and fit.

        Args:
            files: contents of `WEIGHTS` and `FACTS`.
            where: the place they came from, for messages.

        Raises:
            UserError: the contents are damaged or of another format.
        """
        try:
            document = dict(json.loads(files[FACTS]))
            if document.get("format") != FORMAT:
                raise UserError(f"{where}: {FACTS} has format {document.get('format')!r}, expected {FORMAT!r}")
            model = cls.fresh(
                Recipe.model_validate(document["recipe"]),
                Description.model_validate(document["description"]),
                Standardisation(np.array(document["imu_mean"], np.float32), np.array(document["imu_std"], np.float32)),
            )
            weights = tensors_from_bytes(files[WEIGHTS])
            for part, module in (("encoders.", model.encoders), ("head.", model.head)):
                module.load_state_dict({k.removeprefix(part): v for k, v in weights.items() if k.startswith(part)})
        except (SafetensorError, ValidationError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"{where}: not a whole model: {error}") from error
        return model


def _widths(encoders: nn.ModuleDict) -> dict[str, int]:
    return {name: cast(int, encoder.width) for name, encoder in encoders.items()}
