"""The pre-training objective: embeddings of two views become named loss terms; and the embeddings' health.

Equations and Algorithm 1 are those of Yang et al. 2023; the objective is VICReg (Bardes, Ponce, LeCun, ICLR 2022). All
terms are computed in float32 or wider, also under autocast.
"""

import math

import torch
from torch import Tensor


def invariance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of two batches of embeddings, each (batch, D).

    Equation 13 sums over the dimensions: D times this. The official VICReg code takes the mean, as here.

    Raises:
        ValueError: the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"the two views' embeddings differ in shape: {tuple(a.shape)} and {tuple(b.shape)}")
    return (_precise(a) - _precise(b)).square().mean()


def variance(z: Tensor, gamma: float = 1.0, eps: float = 1e-4) -> Tensor:
    """How far the dimensions' standard deviations fall short of gamma, mean over D (equations 11 and 12).

    Args:
        z: (batch, D).
        gamma: the standard deviation that is enough.
        eps: added to the variance: the root has no finite slope at zero.

    Raises:
        ValueError: the batch has fewer than two embeddings.
    """
    deviation = (_batch(z).var(dim=0) + eps).sqrt()
    return (gamma - deviation).relu().mean()


def covariance(z: Tensor) -> Tensor:
    """Squared covariances of different dimensions, summed and divided by D (equations 14 and 15).

    Args:
        z: (batch, D).

    Raises:
        ValueError: the batch has fewer than two embeddings.
    """
    z = _batch(z)
    centred = z - z.mean(dim=0)
    with torch.autocast(z.device.type, enabled=False):
        matrix = centred.T @ centred / (len(z) - 1)
    return (matrix - matrix.diagonal().diag()).square().sum() / z.shape[1]


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


def embedding_health(z: Tensor) -> dict[str, float]:
    """Signs of collapse in embeddings (batch, D); every value is nan if one is not finite or there are fewer than two.

    Returns:
        "std": standard deviation, mean over the dimensions; 0 when all embeddings are the same.
        "effective_rank": exp(-sum p log p) with p = s / sum(s), s the singular values of z: RankMe (Garrido et al.,
            ICML 2023), without its small constant for the logarithm of zero. As there, z is not centred: it is 1 when
            all embeddings lie on one line through zero, so also when all are the same, and min(batch, D) at most.
        "covariance": the covariance term of the objective.
    """
    z = z.detach().cpu().double()
    if len(z) < 2 or not z.isfinite().all():
        return dict.fromkeys(("std", "effective_rank", "covariance"), math.nan)
    singular = torch.linalg.svdvals(z)
    shares = singular / singular.sum().clamp_min(torch.finfo(z.dtype).tiny)
    return {
        "std": z.std(dim=0).mean().item(),
        "effective_rank": torch.special.entr(shares).sum().exp().item(),
        "covariance": covariance(z).item(),
    }


def _precise(z: Tensor) -> Tensor:
    return z.to(torch.promote_types(z.dtype, torch.float32))


def _batch(z: Tensor) -> Tensor:
    if len(z) < 2:
        raise ValueError(f"variance and covariance need a batch of at least 2 embeddings, not {len(z)}")
    return _precise(z)
