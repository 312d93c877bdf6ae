"""Contrastive objectives: an embedding has to find its other view among those of other recordings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mmssl.objectives.terms import batch_of, cosines, same_shape, unit

if TYPE_CHECKING:
    from torch import Tensor, nn

_LARGEST_SCALE = 100.0
"""Of the similarities: as in CLIP, which found training to be unstable above."""


def simclr(a: Tensor, b: Tensor, *, temperature: float) -> dict[str, Tensor]:
    """NT-Xent (Chen et al., ICML 2020, equation 1) for the embeddings of two views, each (batch, D).

    Each of the 2 * batch embeddings has to find its other view among all the others, of either view.

    Returns:
        "loss", and the mean cosine similarity of the "positive" and of the "negative" pairs: scalars.

    Raises:
        ValueError: the shapes differ, or the batch has fewer than two embeddings.
    """
    return _contrast(a, b, temperature, within=1, temperature_within=temperature)


def cmc(a: Tensor, b: Tensor, *, temperature: float) -> dict[str, Tensor]:
    """Symmetric InfoNCE across two modalities' embeddings, each (batch, D): contrastive multiview coding.

    Each of the 2 * batch embeddings has to find its recording among all embeddings of the other modality. Tian et al.
    (ECCV 2020) draw the others from a memory bank; they come from the batch here, as in Brinzea et al. (IJCNN 2022).

    Returns:
        "loss", and the mean cosine similarity of the "positive" and of the "negative" pairs: scalars.

    Raises:
        ValueError: the shapes differ, or the batch has fewer than two embeddings.
    """
    return _contrast(a, b, temperature, within=0)


def clip(a: Tensor, b: Tensor, *, learned: nn.ParameterDict) -> dict[str, Tensor]:
    """CLIP (Radford et al., ICML 2021) for the embeddings of two views, each (batch, D): `cmc` whose temperature is
    learned, as the logarithm of its inverse, and kept above 1 / 100.

    Args:
        learned: `scale`, that logarithm.

    Returns:
        "loss", and the mean cosine similarity of the "positive" and of the "negative" pairs: scalars.

    Raises:
        ValueError: the shapes differ, or the batch has fewer than two embeddings.
    """
    import torch
    from torch.nn import functional

    cosine, positive, negative = _across(a, b)
    logits = cosine * learned["scale"].exp().clamp(max=_LARGEST_SCALE)
    own = torch.arange(len(a), device=a.device)
    loss = (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2
    return {"loss": loss, "positive": positive, "negative": negative}


def siglip(a: Tensor, b: Tensor, *, learned: nn.ParameterDict) -> dict[str, Tensor]:
    """SigLIP (Zhai et al., ICCV 2023, Algorithm 1) for the embeddings of two views, each (batch, D).

    Whether two are of one recording is decided for every pair by itself, by logistic regression on their cosine
    similarity with a learned scale and bias. The sum over all pairs is divided by the batch size.

    Args:
        learned: `scale`, the logarithm of the similarities' factor, and `bias`.

    Returns:
        "loss", and the mean cosine similarity of the "positive" and of the "negative" pairs: scalars.

    Raises:
        ValueError: the shapes differ, or the batch has fewer than two embeddings.
    """
    import torch
    from torch.nn import functional

    cosine, positive, negative = _across(a, b)
    logits = cosine * learned["scale"].exp() + learned["bias"]
    sign = 2 * torch.eye(len(a), dtype=cosine.dtype, device=a.device) - 1
    return {
        "loss": -functional.logsigmoid(sign * logits).sum() / len(a),
        "positive": positive,
        "negative": negative,
    }


def clip_scale(_width: int) -> nn.ParameterDict:
    """What `clip` learns, from CLIP's initial value: a temperature of 0.07."""
    return _scalars(scale=-math.log(0.07))


def siglip_scale(_width: int) -> nn.ParameterDict:
    """What `siglip` learns, from SigLIP's initial values: factor 10, and bias -10 because most pairs are negative."""
    return _scalars(scale=math.log(10), bias=-10.0)


def _scalars(**values: float) -> nn.ParameterDict:
    import torch
    from torch import nn

    return nn.ParameterDict({name: nn.Parameter(torch.tensor(value)) for name, value in values.items()})


def _across(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines of a's with b's embeddings, (batch, batch); the means of those of one recording and of two."""
    import torch

    same_shape(a, b)
    n = len(a)
    with torch.autocast(a.device.type, enabled=False):
        cosine = unit(batch_of(a)) @ unit(batch_of(b)).T
    own = cosine.diagonal()
    return cosine, own.mean(), (cosine.sum() - own.sum()) / (n * (n - 1))


def cmc_cmkm(
    a: Tensor,
    b: Tensor,
    guide_a: Tensor,
    guide_b: Tensor,
    *,
    temperature: float,
    positives: int,
    negatives_weight: float,
) -> dict[str, Tensor]:
    """CMC with cross-modal knowledge mining (CMC-CMKM; Brinzea et al., IJCNN 2022), for embeddings, each (batch, D).

    Frozen encoders, one a modality, say which recordings are alike. With A_i, B_i the `positives` recordings other than
    i that are nearest to i by cosine in guide_a, guide_b, and with the similarities across(a_i, b_j) = exp(cosine /
    temperature) and inside(a_i, a_j) = exp(cosine), the loss of a_i is

        -log(P / (P + C + negatives_weight * W)), where
        P = across(a_i, b_i) + sum of across(a_i, b_j) over j in B_i + sum of inside(a_i, a_j) over j in A_i,
        C = sum of across(a_i, b_j) over the remaining j,
        W = sum of inside(a_i, a_j) over the remaining j other than i;

    that of b_i is its mirror image, and the mean is over all 2 * batch. So b's guide chooses what a_i is drawn to in b;
    each guide takes false negatives out of its own modality. With no positives and no weight this is `cmc`.

    The definition is that of the authors' published code, where too the temperature divides similarities across
    modalities only. It leaves open what a batch with too few recordings for `positives` does: here at most batch - 2
    are mined, so that every embedding keeps a negative.

    Args:
        guide_a: features of the same recordings from a's frozen encoder, (batch, any width).
        guide_b: those from b's.
        positives: recordings mined per anchor and modality (1 in the authors' settings).
        negatives_weight: weight of the negatives within a modality (1 in the authors' settings).

    Returns:
        "loss", and the mean cosine similarity of the "positive" and of the "negative" pairs, the latter weighted as in
        the loss: scalars.

    Raises:
        ValueError: the shapes differ, a guide is of another number of recordings, or the batch has fewer than two.
    """
    import torch

    same_shape(a, b)
    for guide in (guide_a, guide_b):
        if len(guide) != len(a):
            raise ValueError(f"a guide has features of {len(guide)} recordings for {len(a)} embeddings")
    mined = torch.cat([_nearest(batch_of(guide), positives) for guide in (guide_a, guide_b)], dim=1)
    return _contrast(a, b, temperature, within=negatives_weight, mined=mined)


def _contrast(
    a: Tensor,
    b: Tensor,
    temperature: float,
    *,
    within: float,
    temperature_within: float = 1.0,
    mined: Tensor | None = None,
) -> dict[str, Tensor]:
    """Every embedding of both branches against all others: minus the log of the positives' share.

    Args:
        temperature: of the similarities across branches.
        within: weight of the negatives of the anchor's own branch; those of the other branch weigh 1.
        temperature_within: of the similarities in the anchor's own branch.
        mined: (batch, 2 * batch), which of a's and b's embeddings are further positives of each recording.
    """
    import torch

    same_shape(a, b)
    n = len(a)
    cosine = cosines(torch.cat([batch_of(a), batch_of(b)]))
    itself = torch.eye(2 * n, dtype=torch.bool, device=a.device)
    positive = itself.roll(n, dims=0)
    if mined is not None:
        positive |= mined.repeat(2, 1)
    weight = torch.ones_like(cosine)
    weight[:n, :n] = weight[n:, n:] = within
    weight = weight.masked_fill(positive, 1).masked_fill(itself, 0)
    temperatures = torch.full_like(cosine, temperature)
    temperatures[:n, :n] = temperatures[n:, n:] = temperature_within
    logits = cosine / temperatures + weight.log()
    loss = logits.logsumexp(dim=1) - logits.masked_fill(~positive, -math.inf).logsumexp(dim=1)
    negative = weight.masked_fill(positive, 0)
    return {
        "loss": loss.mean(),
        "positive": (cosine * positive).sum() / positive.sum(),
        "negative": (cosine * negative).sum() / negative.sum(),
    }


def _nearest(z: Tensor, count: int) -> Tensor:
    """Which others are the nearest of each by cosine: (batch, batch) of bool; at most batch - 2 of them."""
    import torch

    others = cosines(z).fill_diagonal_(-math.inf)
    nearest = others.topk(min(count, len(z) - 2), dim=1).indices
    return torch.zeros_like(others, dtype=torch.bool).scatter_(1, nearest, True)
