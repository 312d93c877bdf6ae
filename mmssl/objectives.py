"""The pre-training objectives: embeddings of two views become named loss terms; all about one is its entry below.

Numbered equations and Algorithm 1 are those of Yang et al. 2023; theirs is VICReg, the others are what they compare it
with. All terms are computed in float32 or wider, also under autocast.

Functions import torch themselves: recipes, tables and the command line read the entries without it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field

from mmssl.knobs import Positive, Section, Weight, Whole

if TYPE_CHECKING:
    from torch import Tensor


def invariance(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of two batches of embeddings, each (batch, D).

    Equation 13 sums over the dimensions: D times this. The official VICReg code takes the mean, as here.

    Raises:
        ValueError: the shapes differ.
    """
    _same_shape(a, b)
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
    import torch

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

    _same_shape(a, b)
    with torch.autocast(a.device.type, enabled=False):
        x, y = (functional.batch_norm(_batch(z), None, None, training=True, eps=1e-5) for z in (a, b))
        correlation = x.T @ y / len(a)
    diagonal = correlation.diagonal()
    on_diagonal = (1 - diagonal).square().sum()
    off_diagonal = (correlation - diagonal.diag()).square().sum()
    return {"loss": on_diagonal + beta * off_diagonal, "on_diagonal": on_diagonal, "off_diagonal": off_diagonal}


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
        guide_a: features of the same recordings from a's frozen encoder, (batch, any width); likewise guide_b.
        positives: recordings mined per anchor and modality (1 in the authors' settings).
        negatives_weight: weight of the negatives within a modality (1 in the authors' settings).

    Returns:
        "loss", and the mean cosine similarity of the "positive" and of the "negative" pairs, the latter weighted as in
        the loss: scalars.

    Raises:
        ValueError: the shapes differ, a guide is of another number of recordings, or the batch has fewer than two.
    """
    import torch

    _same_shape(a, b)
    for guide in (guide_a, guide_b):
        if len(guide) != len(a):
            raise ValueError(f"a guide has features of {len(guide)} recordings for {len(a)} embeddings")
    mined = torch.cat([_nearest(_batch(guide), positives) for guide in (guide_a, guide_b)], dim=1)
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

    _same_shape(a, b)
    n = len(a)
    cosine = _cosines(torch.cat([_batch(a), _batch(b)]))
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


def over_pairs(
    objective: Callable[..., dict[str, Tensor]], views: Sequence[Tensor], guides: Sequence[Tensor] = ()
) -> dict[str, Tensor]:
    """The mean over all pairs of views of an objective of two, each of its terms likewise.

    Args:
        objective: of the embeddings of two views, and of their guides where there are any.
        views: each (batch, D).
        guides: one a view, or none.
    """
    pairs = combinations(range(len(views)), 2)
    first, *others = [objective(views[i], views[j], *((guides[i], guides[j]) if guides else ())) for i, j in pairs]
    if not others:
        return first
    return {name: sum((terms[name] for terms in others), term) / (1 + len(others)) for name, term in first.items()}


def _nearest(z: Tensor, count: int) -> Tensor:
    """Which others are the nearest of each by cosine: (batch, batch) of bool; at most batch - 2 of them."""
    import torch

    others = _cosines(z).fill_diagonal_(-math.inf)
    chosen = others.topk(min(count, len(z) - 2), dim=1).indices
    return torch.zeros_like(others, dtype=torch.bool).scatter_(1, chosen, True)


def _cosines(z: Tensor) -> Tensor:
    """(batch, batch); an embedding of zero has cosine 0 with all."""
    import torch
    from torch.nn import functional

    with torch.autocast(z.device.type, enabled=False):
        unit = functional.normalize(z, dim=1)
        return unit @ unit.T


def _same_shape(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"the two views' embeddings differ in shape: {tuple(a.shape)} and {tuple(b.shape)}")


def _precise(z: Tensor) -> Tensor:
    import torch

    return z.to(torch.promote_types(z.dtype, torch.float32))


def _batch(z: Tensor) -> Tensor:
    if len(z) < 2:
        raise ValueError(f"a batch needs at least 2 embeddings, not {len(z)}")
    return _precise(z)


class Loss(NamedTuple):
    """An objective."""

    function: Callable[..., dict[str, Tensor]]
    """Of the embeddings of two views, each (batch, D), and of the features of their guides where it is `guided`. Its
    keyword arguments are knobs of `Objective`."""
    terms: Mapping[str, str]
    """What it gives beside "loss", each a column of the tables; with the meaning."""
    source: str
    """The paper to cite."""
    modalities: tuple[int, ...] = (1, 2)
    """How many it may be given: 1, two views of one; 2, two or more, each the view of every other."""
    guided: bool = False
    """Whether frozen encoders of each modality, pre-trained by SimCLR, say which recordings are alike."""
    holds_scale: bool = False
    """Whether it keeps the standard deviation of embeddings near 1 itself."""

    def takes(self, count: int) -> bool:
        """Whether it may be given so many modalities."""
        return min(count, 2) in self.modalities

    @property
    def taken(self) -> str:
        """How many modalities it may be given, in words."""
        return " or ".join("2 or more" if count == 2 else str(count) for count in self.modalities)

    @property
    def knobs(self) -> tuple[str, ...]:
        """Those of `Objective` that it reads, as recipes name them."""
        return tuple(name.rstrip("_") for name in _keywords(self.function))

    def with_knobs(self, knobs: Objective) -> Callable[..., dict[str, Tensor]]:
        """Its function with the knobs' values."""
        return partial(self.function, **{name: getattr(knobs, name) for name in _keywords(self.function)})


@cache
def _keywords(function: Callable[..., object]) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    return tuple(one.name for one in parameters if one.kind is one.KEYWORD_ONLY)


_PAIRS = {
    "positive": "mean cosine similarity of the positive pairs",
    "negative": "mean cosine similarity of the negative pairs",
}

OBJECTIVES = {
    "vicreg": Loss(
        vicreg,
        {
            "invariance": "mean squared difference of the two branches' embeddings, not weighted",
            "variance": "what dimensions' standard deviations lack to 1, summed over the branches, not weighted",
            "covariance": "squared covariances of different dimensions, summed over the branches, not weighted",
        },
        "Bardes, A., Ponce, J., LeCun, Y.: VICReg: Variance-invariance-covariance regularization for self-supervised "
        "learning. ICLR 2022",
        holds_scale=True,
    ),
    "barlow_twins": Loss(
        barlow_twins,
        {
            "on_diagonal": "squared distances of the correlations on the diagonal from 1, summed",
            "off_diagonal": "squares of the other correlations, summed, not weighted",
        },
        "Zbontar, J., Jing, L., Misra, I., LeCun, Y., Deny, S.: Barlow Twins: Self-supervised learning via redundancy "
        "reduction. ICML 2021",
    ),
    "simclr": Loss(
        simclr,
        _PAIRS,
        "Chen, T., Kornblith, S., Norouzi, M., Hinton, G.: A simple framework for contrastive learning of visual "
        "representations. ICML 2020",
        modalities=(1,),
    ),
    "cmc": Loss(
        cmc, _PAIRS, "Tian, Y., Krishnan, D., Isola, P.: Contrastive multiview coding. ECCV 2020", modalities=(2,)
    ),
    "cmc_cmkm": Loss(
        cmc_cmkm,
        _PAIRS,
        "Brinzea, R., Khaertdinov, B., Asteriadis, S.: Contrastive learning with cross-modal knowledge mining for "
        "multimodal human activity recognition. IJCNN 2022",
        modalities=(2,),
        guided=True,
    ),
}
"""By name, in the order of the tables' columns. Each is a method too: `systems` has it with its modalities."""

if TYPE_CHECKING:
    Name = str
else:
    Name = Literal[tuple(OBJECTIVES)]


class Objective(Section):
    """What pre-training minimises; VICReg's is lambda * invariance + mu * variance + nu * covariance (equation 16)."""

    name: Name = "vicreg"
    """Which loss; it sets two views of one modality against each other, two modalities, or does either."""
    lambda_: Annotated[Weight, Field(alias="lambda")] = 25.0
    """Weight of the invariance, a mean over batch and dimensions (the paper's equation 13: D times that)."""
    mu: Weight = 25.0
    """Weight of the variance, summed over both branches (the official VICReg halves it: mu there is twice this)."""
    nu: Weight = 1.0
    """Weight of the covariance."""
    beta: Weight = 0.005
    """Weight of the correlations off the diagonal (the paper's equation 5)."""
    temperature: Positive = 0.1
    """Divides the cosine similarities."""
    positives: Whole = 1
    """Further positives mined for each recording in each modality."""
    negatives_weight: Weight = 1.0
    """Weight of the negatives within a modality."""

    @property
    def loss(self) -> Loss:
        return OBJECTIVES[self.name]
