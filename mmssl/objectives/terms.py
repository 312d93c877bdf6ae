"""What objectives are made of: terms of one batch of embeddings or of two, in float32 or wider, also under autocast."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def invariance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of two batches of embeddings, each (batch, D).

    Equation 13 sums over the dimensions: D times this. The official VICReg code takes the mean, as here.

    Raises:
        ValueError: the shapes differ.
    """
    same_shape(a, b)
    return (precise(a) - precise(b)).square().mean()


def variance(z: Tensor, gamma: float = 1.0, eps: float = 1e-4) -> Tensor:
    """How far the dimensions' standard deviations fall short of gamma, mean over D (equations 11 and 12).

    Args:
        z: (batch, D).
        gamma: the standard deviation that is enough.
        eps: added to the variance: the root has no finite slope at zero.

    Raises:
        ValueError: the batch has fewer than two embeddings.
    """
    deviation = (batch_of(z).var(dim=0) + eps).sqrt()
    return (gamma - deviation).relu().mean()


def covariance(z: Tensor) -> Tensor:
    """Squared covariances of different dimensions, summed and divided by D (equations 14 and 15).

    Args:
        z: (batch, D).

    Raises:
        ValueError: the batch has fewer than two embeddings.
    """
    import torch

    z = batch_of(z)
    centred = z - z.mean(dim=0)
    with torch.autocast(z.device.type, enabled=False):
        matrix = centred.T @ centred / (len(z) - 1)
    return (matrix - matrix.diagonal().diag()).square().sum() / z.shape[1]


def cosines(z: Tensor) -> Tensor:
    """(batch, batch); an embedding of zero has cosine 0 with all."""
    import torch

    with torch.autocast(z.device.type, enabled=False):
        x = unit(z)
        return x @ x.T


def unit(z: Tensor) -> Tensor:
    """Each embedding at length 1; one of zero stays."""
    from torch.nn import functional

    return functional.normalize(z, dim=1)


def same_shape(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"the two views' embeddings differ in shape: {tuple(a.shape)} and {tuple(b.shape)}")


def precise(z: Tensor) -> Tensor:
    import torch

    return z.to(torch.promote_types(z.dtype, torch.float32))


def batch_of(z: Tensor) -> Tensor:
    if len(z) < 2:
        raise ValueError(f"a batch needs at least 2 embeddings, not {len(z)}")
    return precise(z)
