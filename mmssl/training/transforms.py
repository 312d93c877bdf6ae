"""Random augmentations of batches."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmssl.recipe import Crop, SignalAugment, SkeletonAugment

Array = NDArray[np.float32]


def crop_together(views: Sequence[Tensor], knobs: Crop, generator: torch.Generator) -> list[Tensor]:
    """Crop all modalities of a recording to the same span of time, with the knobs' probability.

    Args:
        views: (batch, steps, ...) each, of the same recordings; not modified.
        generator: the only source of randomness.

    Returns:
        Tensors of the same shapes.
    """
    if knobs.probability == 0:
        return list(views)
    first = views[0]
    changed = _uniform(first, (len(first), 1), generator) < knobs.probability
    whole = torch.arange(first.shape[1], dtype=first.dtype, device=first.device)
    position = torch.where(changed, _window(first, knobs.strength, generator), whole)
    return [_at(view, position) for view in views]


def augment_skeleton(x: Tensor, knobs: SkeletonAugment, generator: torch.Generator) -> Tensor:
    """Crop in time, rotate about the origin, shear, scale and jitter, in this order.

    Each is applied to a recording with its own `probability`, independently; the recipe defines `strength`. Scaling
    draws one factor for each recording and coordinate axis. Rotation turns a 2-D skeleton by one angle, a 3-D skeleton
    by three Euler angles. The origin is the root joint of the first frame before cropping.

    Args:
        x: (batch, steps, joints, coordinates), prepared; not modified.
        generator: the only source of randomness; on x's device, or on the CPU to get the same draws on any device.

    Returns:
        A tensor like x.
    """
    return _change_some(
        x,
        (
            (knobs.crop.probability, lambda x: _crop(x, knobs.crop.strength, generator)),
            (
                knobs.rotate.probability,
                lambda x: _turn(x, _rotations(x, x.shape[-1], knobs.rotate.strength, generator)),
            ),
            (knobs.shear.probability, lambda x: _turn(x, _shears(x, knobs.shear.strength, generator))),
            (knobs.scale.probability, lambda x: _scale(x, knobs.scale.strength, generator)),
            (knobs.jitter.probability, lambda x: _jitter(x, knobs.jitter.strength, generator)),
        ),
        generator,
    )


def augment_signal(
    x: Tensor,
    knobs: SignalAugment,
    generator: torch.Generator,
    sensors: Sequence[Sequence[Sequence[int]]],
    standardisation: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Permute time segments, rotate sensors, scale, shuffle channels and jitter, in this order.

    Each is applied to a recording with its own `probability`, independently; the recipe defines `strength`. Permutation
    cuts at random steps and never leaves every segment in its place. Scaling draws one factor for each recording and
    channel. At least two channels are shuffled, and each of them gets the signal of another.

    Args:
        x: (batch, steps, channels); not modified.
        generator: the only source of randomness; on x's device, or on the CPU to get the same draws on any device.
        sensors: for each rigid sensor, the channel indices of its x, y, z triads, which rotate together, and of its
            quaternions w, x, y, z, which rotate its axes into the world's. Without sensors nothing is rotated.
        standardisation: mean and std, each (channels,), if x is standardised: rotation is in raw units.

    Returns:
        A tensor like x.
    """
    return _change_some(
        x,
        (
            (knobs.permute.probability, lambda x: _permute(x, knobs.permute.strength, generator)),
            (
                knobs.rotate.probability,
                lambda x: _rotate_sensors(x, knobs.rotate.strength, generator, sensors, standardisation),
            ),
            (knobs.scale.probability, lambda x: _scale(x, knobs.scale.strength, generator)),
            (knobs.shuffle.probability, lambda x: _shuffle(x, knobs.shuffle.strength, generator)),
            (knobs.jitter.probability, lambda x: _jitter(x, knobs.jitter.strength, generator)),
        ),
        generator,
    )


def _change_some(
    x: Tensor, changes: Iterable[tuple[float, Callable[[Tensor], Tensor]]], generator: torch.Generator
) -> Tensor:
    for probability, change in changes:
        if probability > 0:
            changed = _uniform(x, (len(x), *(1,) * (x.dim() - 1)), generator) < probability
            x = torch.where(changed, change(x), x)
    return x


def _uniform(
    like: Tensor, shape: tuple[int, ...], generator: torch.Generator, low: float = 0.0, high: float = 1.0
) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device).to(like)


def _crop(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    return _at(x, _window(x, strength, generator))


def _window(like: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """The position in time, in steps, that each step of the crop is taken from, (batch, steps)."""
    steps = like.shape[1]
    cut = _uniform(like, (len(like), 1), generator, high=strength)
    start = cut * _uniform(like, (len(like), 1), generator)
    return (steps - 1) * (start + (1 - cut) * torch.linspace(0, 1, steps, dtype=like.dtype, device=like.device))


def _at(x: Tensor, position: Tensor) -> Tensor:
    before = position.long()
    after = (before + 1).clamp(max=x.shape[1] - 1)
    shape = (*position.shape, *(1,) * (x.dim() - 2))
    return torch.lerp(
        x.take_along_dim(before.view(shape), dim=1),
        x.take_along_dim(after.view(shape), dim=1),
        (position - before).view(shape),
    )


def _rotations(like: Tensor, coordinates: int, strength: float, generator: torch.Generator) -> Tensor:
    """One matrix a recording, (batch, coordinates, coordinates): rotations in all coordinate planes, multiplied."""
    planes = list(combinations(range(coordinates), 2))
    angles = math.radians(strength) * _uniform(like, (len(planes), len(like)), generator, -1, 1)
    unturned = torch.eye(coordinates, dtype=like.dtype, device=like.device).expand(len(like), -1, -1)
    rotations = unturned
    for (i, j), angle in zip(planes, angles, strict=True):
        turn = unturned.clone()
        turn[:, i, i] = turn[:, j, j] = angle.cos()
        turn[:, j, i] = angle.sin()
        turn[:, i, j] = -angle.sin()
        rotations = rotations @ turn
    return rotations


def _shears(like: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """One matrix a recording, (batch, coordinates, coordinates), with ones on the diagonal."""
    coordinates = like.shape[-1]
    shears = _uniform(like, (len(like), coordinates, coordinates), generator, -strength, strength)
    shears.diagonal(dim1=1, dim2=2).fill_(1)
    return shears


def _turn(x: Tensor, matrices: Tensor) -> Tensor:
    return torch.einsum("bij,b...j->b...i", matrices, x)


def _scale(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    shape = (len(x), *(1,) * (x.dim() - 2), x.shape[-1])
    return x * _uniform(x, shape, generator, 1 - strength, 1 + strength)


def _jitter(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    return x + strength * torch.randn(x.shape, generator=generator, device=generator.device).to(x)


def _permute(x: Tensor, strength: int, generator: torch.Generator) -> Tensor:
    batch, steps, _ = x.shape
    segments = 2 + (_uniform(x, (batch, 1), generator) * (strength - 1)).long()
    rank = _uniform(x, (batch, steps - 1), generator).argsort(dim=1).argsort(dim=1)
    segment = torch.nn.functional.pad((rank < segments - 1).cumsum(dim=1), (1, 0))
    key = _uniform(x, (batch, strength), generator).take_along_dim(segment, dim=1)
    # If every segment stays in its place by chance, the order is reversed.
    key = torch.where((key.diff(dim=1) >= 0).all(dim=1, keepdim=True), -key, key)
    return x.take_along_dim(key.argsort(dim=1, stable=True)[..., None], dim=1)


def _rotate_sensors(
    x: Tensor,
    strength: float,
    generator: torch.Generator,
    sensors: Sequence[Sequence[Sequence[int]]],
    standardisation: tuple[Tensor, Tensor] | None,
) -> Tensor:
    mean, std = standardisation or (x.new_zeros(x.shape[-1]), x.new_ones(x.shape[-1]))
    rotated = x.clone()
    for groups in sensors:
        rotations = _rotations(x, 3, strength, generator)
        for group in map(list, groups):
            raw = x[..., group] * std[group] + mean[group]
            # A quaternion rotates the sensor's axes into the world's, so the augmentation is undone first.
            matrices = rotations if len(group) == 3 else _turned_back(rotations)
            rotated[..., group] = (_turn(raw, matrices) - mean[group]) / std[group]
    return rotated


def _turned_back(rotations: Tensor) -> Tensor:
    """Matrices that multiply a quaternion q by the inverse of a rotation, (batch, 3, 3) -> (batch, 4, 4), w first."""
    w, x, y, z = _quaternions(rotations).unbind(dim=1)
    rows = [(w, x, y, z), (-x, w, -z, y), (-y, z, w, -x), (-z, -y, x, w)]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _quaternions(rotations: Tensor) -> Tensor:
    """Quaternions of rotation matrices, (batch, 3, 3) -> (batch, 4), w first."""
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(dim=1) for row in rotations.unbind(dim=1))
    # Each row is a multiple of the quaternion; the longest is the most exact.
    products = [
        (1 + a + e + i, h - f, c - g, d - b),
        (h - f, 1 + a - e - i, b + d, c + g),
        (c - g, b + d, 1 - a + e - i, f + h),
        (d - b, c + g, f + h, 1 - a - e + i),
    ]
    rows = torch.stack([torch.stack(row, dim=1) for row in products], dim=1)
    longest = rows.diagonal(dim1=1, dim2=2).argmax(dim=1)
    return torch.nn.functional.normalize(rows[torch.arange(len(rows), device=rows.device), longest], dim=1)


def _shuffle(x: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    channels = x.shape[-1]
    count = max(2, round(strength * channels)) if strength > 0 else 0
    order = _uniform(x, (len(x), channels), generator).argsort(dim=1)
    # The first `count` channels of a random order pass their signals on in a circle.
    giver = torch.cat([order[:, :count].roll(1, dims=1), order[:, count:]], dim=1)
    return x.take_along_dim(torch.empty_like(order).scatter_(1, order, giver)[:, None], dim=2)
