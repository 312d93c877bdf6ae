"""Recordings at equal length, as training takes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from mmssl.data.recordings import Description, Recordings, Row
from mmssl.training.model import Inputs, Model, prepare_present


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
    """By modality, (recordings, steps, ...); NaN throughout where a recording lacks it, so that no such number passes
    unnoticed."""
    has: Mapping[str, npt.NDArray[np.bool_]]
    """By modality whether each recording has it, (recordings,)."""

    @classmethod
    def of(cls, recordings: Recordings, steps: int, modalities: Sequence[str]) -> "Prepared":
        present = {name: prepare_present(recordings, steps, name) for name in modalities}
        has = {name: recordings.has[name] for name in modalities}
        inputs = {name: _in_place(array, has[name]) for name, array in present.items()}
        return cls(recordings.description, recordings.fingerprint, recordings.rows, recordings.labels, inputs, has)

    def units(self, rows: npt.NDArray[np.int64]) -> int:
        """How many independent recordings some are: windows of one annotated interval count once."""
        return len({self.rows[i].unit for i in rows})

    def chosen(self, model: Model, rows: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        """Some recordings as the model's encoders take them.

        Raises:
            ValueError: one lacks a modality.
        """
        for name in model.recipe.data.modalities:
            if not self.has[name][rows].all():
                raise ValueError(f"a recording without {name} is given to encoders of it")
        return self.padded(model, rows)

    def padded(self, model: Model, rows: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        """Likewise, NaN throughout where one lacks a modality: for whoever looks at `has`."""
        return model.tensors({name: self.inputs[name][rows] for name in model.recipe.data.modalities})


def _in_place(present: npt.NDArray[np.float32], has: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Each where its recording stands among all."""
    if has.all():
        return present
    every = np.full((len(has), *present.shape[1:]), np.nan, dtype=np.float32)
    every[has] = present
    return every
