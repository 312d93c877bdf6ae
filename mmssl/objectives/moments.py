"""Objectives over first and second moments of the embeddings: VICReg, Barlow Twins, W-MSE."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

from mmssl.objectives.terms import batch_of, covariance, invariance, same_shape, unit, variance


def vicreg(a: Tensor, b: Tensor, *, lambda_: float, mu: float, nu: float) -> dict[str, Tensor]:
    """The whole objective (equation 16, Algorithm 1) for the embeddings of two views, each (batch, D).

    Variance and covariance are summed over the views. The official VICReg code halves the sum of the variances, so mu
    here is half of mu there.

    Returns:
        "loss" and its parts before weighting, "invariance", "variance" and "covariance": scalars.

    Raises:
        ValueError: the shapes differ, or the batch has fewer than two embeddings.
    """
    terms = {
        "invariance": invariance(a, b),
        "variance": variance(a) + variance(b),
        "covariance": covariance(a) + covariance(b),
    }
    return {"loss": lambda_ * terms["invariance"] + mu * terms["variance"] + nu * terms["covariance"], **terms}


def barlow_twins(a: Tensor, b: Tensor, *, beta: float) -> dict[str, Tensor]:
    """Barlow Twins (equations 5 and 6; Zbontar et al., ICML 2021) for the embeddings of two views, each (batch, D).

    The cross-correlation of a's with b's dimensions should be the identity. Embeddings are standardised over the batch
    by batch normalisation, as in the official code: with its 1e-5 beside the variance, a constant dimension correlates
    with nothing. As there, both terms are sums, so they grow with D and with D squared.

    Returns:
        "loss" = on_diagonal + beta * off_diagonal; "on_diagonal", squared distances of the D correlations from 1;
        "off_diagonal", squares of the D (D - 1) others: scalars.

    Raises:
        ValueError: the shapes differ, or the batch has fewer than two embeddings.
    """
    import torch
    from torch.nn import functional

    same_shape(a, b)
    with torch.autocast(a.device.type, enabled=False):
        x, y = (functional.batch_norm(batch_of(z), None, None, training=True, eps=1e-5) for z in (a, b))
        correlation = x.T @ y / len(a)
    diagonal = correlation.diagonal()
    on_diagonal = (1 - diagonal).square().sum()
    off_diagonal = (correlation - diagonal.diag()).square().sum()
    return {"loss": on_diagonal + beta * off_diagonal, "on_diagonal": on_diagonal, "off_diagonal": off_diagonal}


def vicreg_within_across(
    views: Sequence[Tensor], *, lambda_: float, within: float, mu: float, nu: float
) -> dict[str, Tensor]:
    """VICReg across modalities and between two augmented views of each at once.

    loss = lambda * invariance + within * invariance_within + mu * variance + nu * covariance

    Args:
        views: each (batch, D): one of every modality in turn, then another of every modality in the same order.

    Returns:
        "loss" and its parts before weighting: "invariance", the mean over all pairs of views of different modalities;
        "invariance_within", the mean over the modalities; "variance" and "covariance", twice the mean over the views,
        as `vicreg` sums them over two: scalars.

    Raises:
        ValueError: the shapes differ, or the batch has fewer than two embeddings.
    """
    modalities = len(views) // 2
    pairs = [(i, j) for i, j in combinations(range(len(views)), 2) if (j - i) % modalities]
    terms = {
        "invariance": _mean([invariance(views[i], views[j]) for i, j in pairs]),
        "invariance_within": _mean([invariance(views[i], views[i + modalities]) for i in range(modalities)]),
        "variance": 2 * _mean([variance(view) for view in views]),
        "covariance": 2 * _mean([covariance(view) for view in views]),
    }
    loss = lambda_ * terms["invariance"] + within * terms["invariance_within"]
    return {"loss": loss + mu * terms["variance"] + nu * terms["covariance"], **terms}


def wmse(a: Tensor, b: Tensor, *, shrinkage: float) -> dict[str, Tensor]:
    """W-MSE (Ermolov et al., ICML 2021) for the embeddings of two views, each (batch, D).

    Each view's embeddings are whitened over the batch by the Cholesky factor of their covariance and brought to length
    1; the loss is the mean squared distance of the two. A batch of no more than D embeddings has no inverse covariance:
    it is drawn to the identity by `shrinkage`, as in the authors' code.

    Returns:
        "loss", and the mean cosine similarity of the "positive" and of the "negative" pairs of whitened embeddings:
        scalars; loss = 2 - 2 * positive.

    Raises:
        ValueError: the shapes differ, or the batch has fewer than two embeddings.
    """
    import torch

    same_shape(a, b)
    with torch.autocast(a.device.type, enabled=False):
        x, y = (unit(_whitened(batch_of(z), shrinkage)) for z in (a, b))
        cosine = x @ y.T
    positive = cosine.diagonal().mean()
    negative = (cosine.sum() - cosine.diagonal().sum()) / (len(a) * (len(a) - 1))
    return {"loss": 2 - 2 * positive, "positive": positive, "negative": negative}


def _whitened(z: Tensor, shrinkage: float) -> Tensor:
    import torch

    centred = z - z.mean(dim=0)
    matrix = (1 - shrinkage) * (centred.T @ centred) / (len(z) - 1)
    matrix = matrix + shrinkage * torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    factor, failed = torch.linalg.cholesky_ex(matrix)
    factor = factor.masked_fill(failed != 0, torch.nan)  # No inverse: the loss says so, and the trial ends.
    return torch.linalg.solve_triangular(factor, centred.T, upper=False).T


def _mean(terms: Sequence[Tensor]) -> Tensor:
    return sum(terms[1:], terms[0]) / len(terms)
