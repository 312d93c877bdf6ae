"""Recordings at equal length, as training takes them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mmssl.data.recordings import Description, Recordings, Row
from mmssl.training.model import Inputs, Model, prepare


@dataclass(frozen=True)
class Prepared:
    """Recordings at equal length: made once per study, read by every trial."""

    description: Description
    fingerprint: str
    """Of the recordings."""
    rows: tuple[Row, ...]
    labels: npt.NDArray[np.int64]
    """Class index of each recording, (recordings,)."""
    inputs: Inputs
    """By modality, (recordings, steps, ...)."""

    @classmethod
    def of(cls, recordings: Recordings, steps: int, modalities: Sequence[str]) -> "Prepared":
        inputs = prepare(recordings, steps, modalities)
        return cls(recordings.description, recordings.fingerprint, recordings.rows, recordings.labels, inputs)

    def units(self, rows: npt.NDArray[np.int64]) -> int:
        """How many independent recordings some are: windows of one annotated interval count once."""
        return len({self.rows[i].unit for i in rows})

    def chosen(self, model: Model, rows: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        """Some recordings as the model's encoders take them."""
        return model.tensors({name: self.inputs[name][rows] for name in model.recipe.data.modalities})
