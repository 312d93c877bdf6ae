"""Signs of collapse in embeddings."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from mmssl.objectives import Objective
from mmssl.objectives.terms import covariance


def embedding_health(z: Tensor) -> dict[str, float]:
    """Signs of collapse in embeddings (batch, D); all NaN if an embedding is not finite or there are fewer than two.

    Returns:
        "std": standard deviation, mean over the dimensions; 0 when all embeddings are the same.
        "effective_rank": exp(-sum p log p) with p = s / sum(s), s the singular values of z: RankMe (Garrido et al.,
            ICML 2023), without its small constant for the logarithm of zero. As there, z is not centred. It is 1 when
            all embeddings lie on one line through zero, as when all are the same; at most it is min(batch, D).
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


def unit_scale(knobs: Objective, embeddings: Tensor) -> Tensor:
    """Embeddings scaled so that a healthy dimension has standard deviation 1 or so, unless the objective does it."""
    if knobs.loss.holds_scale:
        return embeddings
    return functional.normalize(embeddings, dim=1) * math.sqrt(embeddings.shape[1])
