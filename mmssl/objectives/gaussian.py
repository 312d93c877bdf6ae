"""Objectives that draw embeddings to a standard normal distribution, judged along random directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmssl.objectives.terms import batch_of, invariance, same_shape

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

KNOTS, UP_TO = 17, 3.0
"""Where the characteristic functions are compared: as in LeJEPA."""
_EPS = 1e-4
"""Added to variances: the root has no finite slope at zero."""


def lejepa(a: Tensor, b: Tensor, *, draws: Generator, weight: float, directions: int) -> dict[str, Tensor]:
    """LeJEPA (Balestriero and LeCun 2025, arXiv 2511.08544) for the embeddings of two views, each (batch, D).

    loss = invariance + weight * (sigreg of a + sigreg of b). The paper multiplies its statistic by the batch size; not
    here, so that a weight means the same at every batch size.

    Args:
        draws: of the directions, anew at each call.
        directions: how many.

    Returns:
        "loss" and its parts before weighting, "invariance" and "sigreg": scalars.

    Raises:
        ValueError: the shapes differ, or the batch has fewer than two embeddings.
    """
    same_shape(a, b)
    along = random_directions(a.shape[1], directions, draws, a)
    terms = {"invariance": invariance(a, b), "sigreg": sigreg(a, along) + sigreg(b, along)}
    return {"loss": terms["invariance"] + weight * terms["sigreg"], **terms}


def levljepa(
    a: Tensor,
    b: Tensor,
    *,
    draws: Generator,
    learned: nn.ModuleDict,
    weight: float,
    weight_second: float,
    directions: int,
) -> dict[str, Tensor]:
    """LeVLJEPA (Kuhn et al. 2026, arXiv 2607.00784) for the embeddings of two modalities, each (batch, D).

    Each modality's embedding predicts the other's, through which no gradient flows; so the predictors take up what one
    modality cannot know of the other.

    loss = prediction + weight * sigreg of a + weight_second * sigreg of b

    Args:
        learned: two predictors, `from_a` and `from_b`.

    Returns:
        "loss", "prediction", the mean squared error of both predictions summed and divided by two, and "sigreg" of both
        summed, not weighted: scalars.

    Raises:
        ValueError: the shapes differ, or the batch has fewer than two embeddings.
    """
    same_shape(a, b)
    a, b = batch_of(a), batch_of(b)
    along = random_directions(a.shape[1], directions, draws, a)
    prediction = (invariance(learned["from_a"](a), b.detach()) + invariance(learned["from_b"](b), a.detach())) / 2
    first, second = sigreg(a, along), sigreg(b, along)
    return {
        "loss": prediction + weight * first + weight_second * second,
        "prediction": prediction,
        "sigreg": first + second,
    }


def predictors(width: int) -> nn.ModuleDict:
    """Two: what `levljepa` learns for a pair of modalities, whose embeddings have this width."""
    from torch import nn

    def one() -> nn.Module:
        return nn.Sequential(
            nn.Linear(width, 2 * width), nn.BatchNorm1d(2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    return nn.ModuleDict({"from_a": one(), "from_b": one()})


def visreg(a: Tensor, b: Tensor, *, draws: Generator, weight: float, directions: int) -> dict[str, Tensor]:
    """VISReg (Wu, Balestriero and Levine 2026, arXiv 2606.02572) for the embeddings of two views, each (batch, D).

    loss = invariance + weight * (centre + scale + shape), each of the three summed over the views:

        centre: mean over D of the squared means;
        scale: mean over D of the squared differences of the standard deviations from 1;
        shape: sliced Wasserstein distance, squared, of the standardised embeddings from the standard normal: along each
            direction the sorted projections against the normal's quantiles.

    The gradient passes through the standardisation, so that the shape has no say about the scale.

    Args:
        draws: of the directions, anew at each call.
        directions: how many.

    Returns:
        "loss" and its parts before weighting, "invariance", "centre", "scale" and "shape": scalars.

    Raises:
        ValueError: the shapes differ, or the batch has fewer than two embeddings.
    """
    import torch

    same_shape(a, b)
    z = torch.stack([batch_of(a), batch_of(b)])
    mean, deviation = z.mean(dim=1, keepdim=True), (z.var(dim=1, keepdim=True) + _EPS).sqrt()
    terms = {
        "invariance": invariance(a, b),
        "centre": 2 * mean.square().mean(),
        "scale": 2 * (1 - deviation).square().mean(),
        "shape": 2 * _from_normal((z - mean) / deviation, random_directions(z.shape[2], directions, draws, z)),
    }
    return {"loss": terms["invariance"] + weight * (terms["centre"] + terms["scale"] + terms["shape"]), **terms}


def sigreg(z: Tensor, along: Tensor) -> Tensor:
    """How far embeddings are from the standard normal: the Epps-Pulley distance along each direction, and their mean.

    Along one it is the integral over t, from -UP_TO to UP_TO, of |mean of exp(i t x) - exp(-t**2 / 2)|**2, weighted by
    exp(-t**2 / 2), by the trapezoidal rule at KNOTS points of its one half.

    Args:
        z: (batch, D).
        along: (D, directions), of length 1.

    Raises:
        ValueError: the batch has fewer than two embeddings.
    """
    import torch

    with torch.autocast(z.device.type, enabled=False):
        x = batch_of(z) @ along.to(batch_of(z).dtype)
    t = torch.linspace(0, UP_TO, KNOTS, dtype=x.dtype, device=x.device)
    angles = x.unsqueeze(-1) * t
    normal = (-t.square() / 2).exp()
    distance = (angles.cos().mean(dim=0) - normal).square() + angles.sin().mean(dim=0).square()
    return 2 * torch.trapezoid(distance * normal, t).mean()


def _from_normal(z: Tensor, along: Tensor) -> Tensor:
    """Squared Wasserstein distance of (views, batch, D) from the standard normal, mean over views and directions."""
    import torch

    with torch.autocast(z.device.type, enabled=False):
        x = (z @ along.to(z.dtype)).transpose(1, 2).sort(dim=2).values
    count = z.shape[1]
    shares = (torch.arange(count, dtype=z.dtype, device=z.device) + 0.5) / count
    return (x - torch.special.ndtri(shares)).square().mean()


def random_directions(width: int, count: int, draws: Generator, like: Tensor) -> Tensor:
    """Random ones, (width, count), each of length 1."""
    import torch
    from torch.nn import functional

    return functional.normalize(torch.randn(width, count, generator=draws, device=like.device), dim=0)
