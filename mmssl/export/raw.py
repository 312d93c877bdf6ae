"""A recording as it was taken, at the steps that encoders take: what `prepare` does, as a part of a network that goes
into a file with them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mmssl.data.description import Signal, Skeleton


class RawRecording(nn.Module):
    """One recording, (lines, columns) -> (1, steps, ...): resampled; skeletons also centred and scaled.

    In float64, as `mmssl.training.transforms` does it. No branch depends on the number of lines, which a file leaves
    open.
    """

    def __init__(self, modality: Skeleton | Signal, steps: int) -> None:
        super().__init__()
        self.modality, self.steps = modality, steps

    def forward(self, recording: Tensor) -> Tensor:
        lines, own = recording.double(), self.modality
        if isinstance(own, Skeleton):
            even = _interpolated(_placed(lines.unflatten(1, own.shape), own), self.steps)
        else:
            for group in own.quaternions:
                lines = _with(lines, group, _continuous(lines[:, group]))
            even = torch.where(
                _count(lines) > self.steps, _averaged(lines, self.steps), _interpolated(lines, self.steps)
            )
            for group in own.quaternions:
                length = even[:, group].square().sum(dim=1, keepdim=True).sqrt()
                even = _with(even, group, even[:, group] / length.clamp(min=1e-6))
        return even.float().unsqueeze(0)


def _count(lines: Tensor) -> Tensor:
    """How many there are, as a number that the exported graph computes."""
    return torch.ones_like(lines.flatten(1)[:, 0]).sum()


def _placed(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """With the first frame's root at the origin, and the distance of its two scale joints as the unit."""
    origin, first, second = (
        joints[0, np.atleast_1d(at).tolist()].mean(dim=0) for at in (skeleton.root, *skeleton.scale)
    )
    return (joints - origin) / (first - second).square().sum().sqrt()


def _interpolated(lines: Tensor, steps: int) -> Tensor:
    """At so many even moments from the first line to the last."""
    last = _count(lines) - 1
    position = torch.linspace(0, 1, steps, dtype=torch.float64) * last
    before = position.floor()
    after = torch.minimum(before + 1, last)
    weight = (position - before).reshape(-1, *(1,) * (lines.dim() - 1))
    earlier = lines[before.long()]
    return earlier + weight * (lines[after.long()] - earlier)


def _averaged(lines: Tensor, steps: int) -> Tensor:
    integral = torch.cat([torch.zeros_like(lines[:1]), lines.cumsum(dim=0)])
    return _interpolated(integral, steps + 1).diff(dim=0) * (steps / _count(lines))


def _continuous(quaternion: Tensor) -> Tensor:
    """Of unit length, each on the side of the one before it, its largest part positive in the mean."""
    own = quaternion / quaternion.square().sum(dim=1, keepdim=True).sqrt()
    before = own[(torch.ones_like(own[:, 0]).cumsum(dim=0) - 2).clamp(min=0).long()]
    turned = ((own * before).sum(dim=1) < 0).double().cumsum(dim=0)
    own = own * (1 - 2 * turned.remainder(2)).unsqueeze(1)
    mean = own.mean(dim=0)
    largest = mean.gather(0, mean.abs().argmax(dim=0, keepdim=True))
    return own * torch.where(largest >= 0, 1.0, -1.0)


def _with(lines: Tensor, columns: Sequence[int], values: Tensor) -> Tensor:
    """The lines with some columns replaced."""
    place = {column: i for i, column in enumerate(columns)}
    return torch.stack([values[:, place[i]] if i in place else lines[:, i] for i in range(lines.shape[1])], dim=1)
