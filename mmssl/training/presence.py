"""Which recordings have which modalities, and the features of those that do."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmssl.training.model import Model
from mmssl.training.prepared import Prepared
from mmssl.training.selection import Recorded, Selection

OneOf = TypeVar("OneOf", Tensor, Recorded)

Has = Mapping[str, Tensor]
"""By modality, which recordings have it: (recordings,) of bool."""


def presence(prepared: Prepared, rows: npt.NDArray[np.int64], modalities: Sequence[str]) -> Has:
    return {name: torch.from_numpy(prepared.has[name][rows]) for name in modalities}


def only(tensor: OneOf, has: Tensor) -> OneOf:
    """Only the recordings that have it."""
    if has.all():
        return tensor
    return tensor.where(has) if isinstance(tensor, Selection) else tensor[has.to(tensor.device)]


def only_features(features: Tensor, has: Tensor) -> Tensor:
    """The same for features, (versions, recordings, width)."""
    return features if has.all() else features[:, has.to(features.device)]


def with_all(has: Has, reading: Sequence[str]) -> Tensor:
    """Which recordings have all modalities that a head reads."""
    return torch.stack([has[name] for name in reading]).all(dim=0)


def encoded(model: Model, tensors: Mapping[str, Recorded], has: Has) -> dict[str, Tensor]:
    """Features, (recordings, width) by modality; NaN where a recording lacks it."""
    found: dict[str, Tensor] = {}
    for name, features in model.encode({one: only(tensor, has[one]) for one, tensor in tensors.items()}).items():
        if len(features) == len(has[name]):
            found[name] = features
        else:
            found[name] = features.new_full((len(has[name]), features.shape[1]), math.nan)
            found[name][has[name].to(features.device)] = features
    return found
