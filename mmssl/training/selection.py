"""Recordings that are read batch by batch."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmssl.data.recordings import Array
from mmssl.training.preparation import Standardisation


class Selection:
    """Some recordings of one modality, read and standardised batch by batch.

    It replaces a tensor of (recordings, steps, ...) that would be too large.
    """

    def __init__(
        self,
        array: Array,
        rows: npt.NDArray[np.int64],
        standardisation: Standardisation | None,
        device: torch.device,
    ) -> None:
        self._array, self._rows, self._standardisation, self.device = array, rows, standardisation, device

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), *self._array.shape[1:]))

    @property
    def nbytes(self) -> int:
        return len(self) * self._array[:1].nbytes

    def __getitem__(self, some: Tensor) -> Tensor:
        """The recordings at some indices, (indices,), or under a mask, (recordings,) of bool."""
        return self._read(self._rows[some.cpu().numpy()])

    def where(self, mask: Tensor) -> "Selection":
        """The recordings under a mask, (recordings,) of bool, still unread."""
        return Selection(self._array, self._rows[mask.cpu().numpy()], self._standardisation, self.device)

    def split(self, size: int) -> Iterator[Tensor]:
        """All of them in order, so many at a time."""
        for first in range(0, len(self), size):
            yield self._read(self._rows[first : first + size])

    def all(self) -> Tensor:
        return self._read(self._rows)

    def _read(self, rows: npt.NDArray[np.int64]) -> Tensor:
        return standardised(np.asarray(self._array[rows]), self._standardisation, self.device)


Recorded = Tensor | Selection
"""Some recordings of one modality: (recordings, steps, ...)."""


def standardised(array: Array, standardisation: Standardisation | None, device: torch.device) -> Tensor:
    """Prepared recordings of one modality, standardised for an encoder; skeletons have no standardisation."""
    return torch.from_numpy(standardisation.apply(array) if standardisation else array).to(device)


def in_memory(recordings: Mapping[str, Recorded]) -> dict[str, Tensor]:
    """Read all of them, by modality."""
    return {name: one.all() if isinstance(one, Selection) else one for name, one in recordings.items()}
