"""The pre-training objectives: embeddings of two views become named loss terms; all about one is its entry below.

Numbered equations and Algorithm 1 are those of Yang et al. 2023; theirs is VICReg, the others are what they compare it
with. All terms are computed in float32 or wider, also under autocast.

Functions import torch themselves: recipes, tables and the command line read the entries without it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field

from mmssl.knobs import Count, Positive, Section, Weight, Whole
from mmssl.objectives.contrast import clip, clip_scale, cmc, cmc_cmkm, siglip, siglip_scale, simclr
from mmssl.objectives.gaussian import lejepa, levljepa, predictors, visreg
from mmssl.objectives.moments import barlow_twins, vicreg, vicreg_within_across, wmse

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn


def over_pairs(
    objective: Callable[..., dict[str, Tensor]],
    views: Sequence[Tensor],
    guides: Sequence[Tensor] = (),
    learned: Sequence[nn.Module] = (),
) -> dict[str, Tensor]:
    """The means over all pairs of views of an objective of two, and of each of its terms.

    Args:
        objective: of the embeddings of two views, and of their guides where there are any.
        views: each (batch, D).
        guides: one a view, or none.
        learned: what the objective learns for each pair, in the pairs' order, or nothing.
    """
    pairs = list(combinations(range(len(views)), 2))
    own = [{"learned": module} for module in learned] or [dict[str, object]()] * len(pairs)
    first, *others = [
        objective(views[i], views[j], *((guides[i], guides[j]) if guides else ()), **more)
        for (i, j), more in zip(pairs, own, strict=True)
    ]
    if not others:
        return first
    return {name: sum((terms[name] for terms in others), term) / (1 + len(others)) for name, term in first.items()}


class Loss(NamedTuple):
    """An objective."""

    function: Callable[..., dict[str, Tensor]]
    """Of the embeddings of two views, each (batch, D), and of the features of their guides where it is `guided`; of a
    list of all views where it is `doubled`. Its keyword arguments are knobs of `Objective`, but for `draws`, the
    generator of what it draws, and `learned`, the module that `learns` makes."""
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
    doubled: bool = False
    """Whether it takes two augmented views of each of several modalities."""
    learns: Callable[[int], nn.Module] | None = None
    """Of the embeddings' width: what it trains beside the encoders, one for each pair of views."""

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

    def with_knobs(self, knobs: Objective, draws: Generator) -> Callable[..., dict[str, Tensor]]:
        """Its function with the knobs' values.

        Args:
            draws: of what it draws itself, if it does.
        """
        given = {name: getattr(knobs, name) for name in _keywords(self.function)}
        if _DRAWS in inspect.signature(self.function).parameters:
            given[_DRAWS] = draws
        return partial(self.function, **given)


_DRAWS, _LEARNED = "draws", "learned"


@cache
def _keywords(function: Callable[..., object]) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    return tuple(one.name for one in parameters if one.kind is one.KEYWORD_ONLY and one.name not in (_DRAWS, _LEARNED))


_PAIRS = {
    "positive": "mean cosine similarity of the positive pairs",
    "negative": "mean cosine similarity of the negative pairs",
}
_INVARIANCE = "mean squared difference of the two branches' embeddings, not weighted"
_VARIANCE = "what dimensions' standard deviations lack to 1, summed over the branches, not weighted"
_COVARIANCE = "squared covariances of different dimensions, summed over the branches, not weighted"
_SIGREG = "distance of the embeddings from the standard normal, summed over the branches, not weighted"
_VICREG = (
    "Bardes, A., Ponce, J., LeCun, Y.: VICReg: Variance-invariance-covariance regularization for self-supervised "
    "learning. ICLR 2022"
)

OBJECTIVES = {
    "vicreg": Loss(
        vicreg,
        {
            "invariance": _INVARIANCE,
            "variance": _VARIANCE,
            "covariance": _COVARIANCE,
        },
        _VICREG,
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
    "clip": Loss(
        clip,
        _PAIRS,
        "Radford, A., Kim, J. W., Hallacy, C., et al.: Learning transferable visual models from natural language "
        "supervision. ICML 2021",
        learns=clip_scale,
    ),
    "siglip": Loss(
        siglip,
        _PAIRS,
        "Zhai, X., Mustafa, B., Kolesnikov, A., Beyer, L.: Sigmoid loss for language image pre-training. ICCV 2023",
        learns=siglip_scale,
    ),
    "wmse": Loss(
        wmse,
        _PAIRS,
        "Ermolov, A., Siarohin, A., Sangineto, E., Sebe, N.: Whitening for self-supervised representation learning. "
        "ICML 2021",
    ),
    "lejepa": Loss(
        lejepa,
        {"invariance": _INVARIANCE, "sigreg": _SIGREG},
        "Balestriero, R., LeCun, Y.: LeJEPA: Provable and scalable self-supervised learning without the heuristics. "
        "arXiv 2511.08544, 2025",
        holds_scale=True,
    ),
    "levljepa": Loss(
        levljepa,
        {
            "prediction": "mean squared error of each branch's embeddings predicted from the other's",
            "sigreg": _SIGREG,
        },
        "Kuhn, L., Serra, G., Balestriero, R., Buettner, F.: LeVLJEPA: End-to-end vision-language pretraining without "
        "negatives. arXiv 2607.00784, 2026",
        modalities=(2,),
        holds_scale=True,
        learns=predictors,
    ),
    "visreg": Loss(
        visreg,
        {
            "invariance": _INVARIANCE,
            "centre": "squared means of the dimensions, summed over the branches, not weighted",
            "scale": "squared differences of the dimensions' standard deviations from 1, summed over the branches, not "
            "weighted",
            "shape": "squared sliced Wasserstein distance of the standardised embeddings from the standard normal, "
            "summed over the branches, not weighted",
        },
        "Wu, H., Balestriero, R., Levine, M.: VISReg: Variance-invariance-sketching regularization for JEPA training. "
        "arXiv 2606.02572, 2026",
        holds_scale=True,
    ),
    "vicreg_within_across": Loss(
        vicreg_within_across,
        {
            "invariance": _INVARIANCE,
            "invariance_within": "the same of two augmented views of one modality",
            "variance": _VARIANCE,
            "covariance": _COVARIANCE,
        },
        _VICREG,
        modalities=(2,),
        holds_scale=True,
        doubled=True,
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
    weight: Weight = 1.0
    """Weight of what draws embeddings to a standard normal distribution; of levljepa, that of the first modality."""
    weight_second: Weight = 1.0
    """Of levljepa: weight of what does so to the second of two modalities, in the order of their names."""
    directions: Count = 256
    """Random directions along which the distribution is judged, anew in every step."""
    shrinkage: Annotated[Positive, Field(lt=1)] = 0.01
    """Share of the identity in the covariance that whitens the embeddings."""
    within: Weight = 25.0
    """Weight of the invariance between two augmented views of one modality."""

    @property
    def loss(self) -> Loss:
        return OBJECTIVES[self.name]
