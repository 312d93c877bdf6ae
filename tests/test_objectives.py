import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from scipy.special import log_softmax
from scipy.stats import norm
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from mmssl.objectives.contrast import clip, clip_scale, cmc, cmc_cmkm, siglip, siglip_scale, simclr
from mmssl.objectives.gaussian import lejepa, levljepa, predictors, sigreg, visreg
from mmssl.objectives.moments import barlow_twins, vicreg, vicreg_within_across, wmse
from mmssl.objectives.terms import covariance, invariance, variance


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def guided(a: Tensor, b: Tensor, *, positives: int = 1, negatives_weight: float = 0.7) -> dict[str, Tensor]:
    """CMC-CMKM at temperature 0.5, with guides of its own widths that do not agree with each other."""
    guides = (normal(len(a), 7, seed=10), normal(len(a), 5, seed=11))
    return cmc_cmkm(a, b, *guides, temperature=0.5, positives=positives, negatives_weight=negatives_weight)


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def learned(make, like: Tensor):
    """What an objective learns, the same at each call, for embeddings of this type: of half precision, float32."""
    with torch.random.fork_rng():
        torch.manual_seed(6)
        return make(like.shape[1]).to(torch.promote_types(like.dtype, torch.float32))


def predicted(a: Tensor, b: Tensor) -> dict[str, Tensor]:
    both = learned(predictors, a)
    return levljepa(a, b, draws=draws(), learned=both, weight=3, weight_second=0.5, directions=16)


OBJECTIVES: dict[str, Callable[[Tensor, Tensor], dict[str, Tensor]]] = {
    "vicreg": lambda a, b: vicreg(a, b, lambda_=25, mu=25, nu=1),
    "barlow_twins": lambda a, b: barlow_twins(a, b, beta=0.1),
    "simclr": lambda a, b: simclr(a, b, temperature=0.5),
    "cmc": lambda a, b: cmc(a, b, temperature=0.5),
    "cmc_cmkm": guided,
    "clip": lambda a, b: clip(a, b, learned=learned(clip_scale, a)),
    "siglip": lambda a, b: siglip(a, b, learned=learned(siglip_scale, a)),
    "wmse": lambda a, b: wmse(a, b, shrinkage=0.1),
    "lejepa": lambda a, b: lejepa(a, b, draws=draws(), weight=3, directions=16),
    "levljepa": predicted,
    "visreg": lambda a, b: visreg(a, b, draws=draws(), weight=3, directions=16),
    "vicreg_within_across": lambda a, b: vicreg_within_across([a, b, b + 1, a], lambda_=25, within=5, mu=25, nu=1),
}
every_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


def algorithm_1(a: np.ndarray, b: np.ndarray, lambda_: float, mu: float, nu: float) -> dict[str, float]:
    """The paper's Algorithm 1 with its sums written out; the invariance is the mean over the dimensions."""
    n, d = a.shape
    inv = sum((a[i, j] - b[i, j]) ** 2 for i in range(n) for j in range(d)) / (n * d)
    var = cov = 0.0
    for z in (a, b):
        mean = [sum(z[i, j] for i in range(n)) / n for j in range(d)]
        for j in range(d):
            spread = sum((z[i, j] - mean[j]) ** 2 for i in range(n)) / (n - 1)
            var += max(0.0, 1 - math.sqrt(spread + 1e-4)) / d
            for k in range(d):
                if k != j:
                    together = sum((z[i, j] - mean[j]) * (z[i, k] - mean[k]) for i in range(n)) / (n - 1)
                    cov += together**2 / d
    return {"loss": lambda_ * inv + mu * var + nu * cov, "invariance": inv, "variance": var, "covariance": cov}


@pytest.mark.parametrize(("batch", "width"), [(2, 5), (3, 1), (8, 4), (5, 12)])
@pytest.mark.parametrize("spread", [0.3, 1.0, 5.0])
def test_vicreg_is_algorithm_1(batch: int, width: int, spread: float) -> None:
    a, b = spread * normal(batch, width), spread * normal(batch, width, seed=1) + 2
    terms = vicreg(a, b, lambda_=7.0, mu=3.0, nu=0.5)
    expected = algorithm_1(a.numpy(), b.numpy(), 7.0, 3.0, 0.5)
    assert list(terms) == ["loss", "invariance", "variance", "covariance"]
    for name, value in terms.items():
        assert value.shape == ()
        assert value.item() == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name


def test_the_official_code_halves_the_variance() -> None:
    a, b = 0.7 * normal(16, 6), 0.7 * normal(16, 6, seed=1)
    x, y = a.numpy(), b.numpy()
    hinges = [np.maximum(0, 1 - np.sqrt(z.var(axis=0, ddof=1) + 1e-4)).mean() / 2 for z in (x, y)]
    off = [np.square(np.cov(z.T)).sum() - np.square(np.diag(np.cov(z.T))).sum() for z in (x, y)]
    official = 25 * np.square(x - y).mean() + 25 * sum(hinges) + sum(off) / 6
    assert vicreg(a, b, lambda_=25, mu=12.5, nu=1)["loss"].item() == pytest.approx(official)
    assert vicreg(a, b, lambda_=25, mu=25, nu=1)["loss"].item() == pytest.approx(official + 25 * sum(hinges))


def test_gamma_is_the_deviation_that_is_enough() -> None:
    z = normal(50, 3)
    z = 2 * (z - z.mean(dim=0)) / z.std(dim=0)
    assert variance(z, gamma=2.0, eps=0).item() == pytest.approx(0, abs=1e-12)
    assert variance(z, gamma=5.0, eps=0).item() == pytest.approx(3)


EMBEDDINGS = st.tuples(st.integers(2, 6), st.integers(1, 5)).flatmap(
    lambda shape: st.tuples(*[arrays(np.float64, shape, elements=st.floats(-100, 100, width=32))] * 2)
)


@settings(max_examples=200, deadline=None)
@given(EMBEDDINGS, st.randoms(use_true_random=False))
def test_properties_of_the_terms(pair: tuple[np.ndarray, np.ndarray], random) -> None:
    a, b = map(torch.from_numpy, pair)
    terms = vicreg(a, b, lambda_=25, mu=25, nu=1)
    assert all(term.item() >= 0 for term in terms.values())
    assert (invariance(a, b).item() == 0) == torch.equal(a, b)
    assert (variance(a).item() == 0) == bool((a.var(dim=0) + 1e-4 >= 1).all())

    mirrored = vicreg(b, a, lambda_=25, mu=25, nu=1)
    order = random.sample(range(len(a)), len(a))
    reordered = vicreg(a[order], b[order], lambda_=25, mu=25, nu=1)
    turned = vicreg(a.flip(1), b.flip(1), lambda_=25, mu=25, nu=1)
    for name, term in terms.items():
        for other in (mirrored, reordered, turned):
            assert other[name].item() == pytest.approx(term.item(), rel=1e-9, abs=1e-9)


def test_decorrelated_dimensions_have_no_covariance_and_equal_ones_have() -> None:
    signs = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])  # Columns of a Hadamard matrix.
    assert covariance(signs + 3).item() == 0
    repeated = signs[:, :1].repeat(1, 3)
    # Every covariance is 4/3: six of them off the diagonal, over three dimensions.
    assert covariance(repeated).item() == pytest.approx(6 * (4 / 3) ** 2 / 3)
    assert covariance(normal(7, 1)).item() == 0


def test_collapsed_embeddings() -> None:
    terms = vicreg(torch.ones(4, 3), torch.ones(4, 3), lambda_=1, mu=1, nu=1)
    assert terms["invariance"].item() == terms["covariance"].item() == 0
    assert terms["variance"].item() == pytest.approx(2 * (1 - 0.01), rel=1e-6)
    z = torch.ones(4, 3, requires_grad=True)
    vicreg(z, z, lambda_=1, mu=1, nu=1)["loss"].backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@every_objective
def test_gradients(objective: Callable[[Tensor, Tensor], dict[str, Tensor]]) -> None:
    if objective is predicted:
        pytest.skip("its targets have no gradient on purpose: see the test of its own")
    a, b = ((0.5 * normal(5, 3, seed=seed)).requires_grad_() for seed in (0, 1))
    for term in objective(a, b):
        assert torch.autograd.gradcheck(lambda a, b, term=term: objective(a, b)[term], (a, b), atol=1e-6), term


@every_objective
@pytest.mark.parametrize("size", [0, 1])
def test_a_batch_of_one_is_refused(objective: Callable[[Tensor, Tensor], dict[str, Tensor]], size: int) -> None:
    z = torch.zeros(size, 4)
    for term in (variance, covariance, lambda z: objective(z, z)):
        with pytest.raises(ValueError, match=f"at least 2 embeddings, not {size}"):
            term(z)


@every_objective
def test_views_of_different_shape_are_refused(objective: Callable[[Tensor, Tensor], dict[str, Tensor]]) -> None:
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(4, 1\)"):
        objective(torch.zeros(4, 3), torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(2, 3\)"):
        objective(torch.zeros(4, 3), torch.zeros(2, 3))


@every_objective
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_embeddings_are_judged_in_float32_under_autocast(
    objective: Callable[[Tensor, Tensor], dict[str, Tensor]], dtype: torch.dtype
) -> None:
    a, b = (10 * normal(64, 32, seed=seed).to(dtype) for seed in (0, 1))
    expected = objective(a.double(), b.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = objective(a, b)
    for name, term in terms.items():
        assert term.dtype == torch.float32
        assert term.item() == pytest.approx(expected[name].item(), rel=1e-5, abs=1e-7), name


@every_objective
@pytest.mark.parametrize("zeros", [slice(None), slice(1)], ids=["all", "one"])
def test_embeddings_of_zero_have_finite_terms_and_slopes(
    objective: Callable[[Tensor, Tensor], dict[str, Tensor]], zeros: slice
) -> None:
    z = normal(4, 3).float()
    z[zeros] = 0
    z.requires_grad_()
    terms = objective(z, z)
    assert all(term.isfinite() for term in terms.values())
    terms["loss"].backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


@every_objective
def test_a_loss_with_a_nan_embedding_is_nan(objective: Callable[[Tensor, Tensor], dict[str, Tensor]]) -> None:
    a, b = normal(4, 3), normal(4, 3, seed=1)
    a[2, 1] = math.nan
    assert objective(a, b)["loss"].isnan()


def correlations(a: np.ndarray, b: np.ndarray) -> list[list[float]]:
    n, d = a.shape
    means = [[sum(z[i, j] for i in range(n)) / n for j in range(d)] for z in (a, b)]
    lengths = [
        [math.sqrt(sum((z[i, j] - mean[j]) ** 2 for i in range(n)) / n + 1e-5) for j in range(d)]
        for z, mean in zip((a, b), means, strict=True)
    ]
    return [
        [
            sum((a[i, j] - means[0][j]) * (b[i, k] - means[1][k]) for i in range(n)) / n / lengths[0][j] / lengths[1][k]
            for k in range(d)
        ]
        for j in range(d)
    ]


@pytest.mark.parametrize(("batch", "width"), [(2, 5), (3, 1), (8, 4), (5, 12)])
@pytest.mark.parametrize("spread", [0.01, 1.0, 5.0])
def test_barlow_twins_by_loops(batch: int, width: int, spread: float) -> None:
    a, b = spread * normal(batch, width), spread * normal(batch, width, seed=1) + 2
    terms = barlow_twins(a, b, beta=0.3)
    c = correlations(a.numpy(), b.numpy())
    on = sum((1 - c[j][j]) ** 2 for j in range(width))
    off = sum(c[j][k] ** 2 for j in range(width) for k in range(width) if j != k)
    assert list(terms) == ["loss", "on_diagonal", "off_diagonal"]
    for name, expected in {"loss": on + 0.3 * off, "on_diagonal": on, "off_diagonal": off}.items():
        assert terms[name].shape == ()
        assert terms[name].item() == pytest.approx(expected, rel=1e-9, abs=1e-12), name


def test_barlow_twins_takes_pearson_correlations_whatever_the_units() -> None:
    a, b = normal(20, 3), normal(20, 3, seed=1)
    c = np.corrcoef(a.numpy(), b.numpy(), rowvar=False)[:3, 3:]
    expected = np.square(1 - np.diag(c)).sum() + 0.3 * (np.square(c).sum() - np.square(np.diag(c)).sum())
    units = torch.tensor([1e3, 1e4, 1e5])
    for x, y in ((1e3 * a, 1e3 * b), (units * a + 7, units.flip(0) * b - 7)):
        assert barlow_twins(x, y, beta=0.3)["loss"].item() == pytest.approx(expected, rel=1e-9)


def test_barlow_twins_is_zero_for_equal_and_decorrelated_dimensions_only() -> None:
    signs = 100 * torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]).double()
    ideal = barlow_twins(signs, 3 * signs + 1, beta=1.0)
    assert ideal["loss"].item() == pytest.approx(0, abs=1e-15)
    opposed = barlow_twins(signs, signs * torch.tensor([1, 1, -1]), beta=1.0)
    assert opposed["on_diagonal"].item() == pytest.approx(4)
    assert opposed["off_diagonal"].item() == pytest.approx(0, abs=1e-15)
    repeated = barlow_twins(signs[:, [0, 0, 1]], signs[:, [0, 0, 1]], beta=1.0)
    assert repeated["on_diagonal"].item() == pytest.approx(0, abs=1e-15)
    assert repeated["off_diagonal"].item() == pytest.approx(2)


def test_barlow_twins_finds_no_correlation_in_a_constant() -> None:
    # The mean of three of these is not 0.1 in float32: what rounding leaves must not count as a perfect correlation.
    constant = torch.full((3, 4), 0.1)
    terms = barlow_twins(constant, constant, beta=1.0)
    assert terms["on_diagonal"].item() == pytest.approx(4)
    assert terms["off_diagonal"].item() == pytest.approx(0, abs=1e-6)


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.dot(x, y) / math.sqrt(np.dot(x, x) * np.dot(y, y)))


def nt_xent(a: np.ndarray, b: np.ndarray, temperature: float) -> dict[str, float]:
    """Chen et al.'s Algorithm 1 with its sums written out; views 2k and 2k + 1 are those of recording k."""
    z = [row for pair in zip(a, b, strict=True) for row in pair]
    losses, positive, negative = [], [], []
    for i, anchor in enumerate(z):
        other = i + 1 if i % 2 == 0 else i - 1
        positive.append(cosine(anchor, z[other]))
        negative += [cosine(anchor, z[k]) for k in range(len(z)) if k not in (i, other)]
        total = sum(math.exp(cosine(anchor, z[k]) / temperature) for k in range(len(z)) if k != i)
        losses.append(-math.log(math.exp(positive[-1] / temperature) / total))
    return {"loss": float(np.mean(losses)), "positive": float(np.mean(positive)), "negative": float(np.mean(negative))}


def across(a: np.ndarray, b: np.ndarray, temperature: float) -> dict[str, float]:
    """Symmetric InfoNCE as two classifications by the rows and by the columns of one matrix."""
    similarity = cosine_similarity(a, b)
    guesses = [np.diag(log_softmax(similarity / temperature, axis=axis)).mean() for axis in (0, 1)]
    others = similarity[~np.eye(len(a), dtype=bool)]
    return {"loss": -sum(guesses) / 2, "positive": np.diag(similarity).mean(), "negative": others.mean()}


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize(("batch", "width"), [(2, 5), (3, 2), (8, 4)])
@pytest.mark.parametrize(("objective", "definition"), [(simclr, nt_xent), (cmc, across)], ids=["simclr", "cmc"])
def test_simclr_and_cmc_by_their_definitions(objective, definition, batch: int, width: int, temperature: float) -> None:
    a, b = 3 * normal(batch, width), normal(batch, width, seed=1) + 0.5
    terms = objective(a, b, temperature=temperature)
    expected = definition(a.numpy(), b.numpy(), temperature)
    assert list(terms) == ["loss", "positive", "negative"]
    for name, term in terms.items():
        assert term.shape == ()
        assert term.item() == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name


def knowledge_mining(
    a: np.ndarray,
    b: np.ndarray,
    guides: tuple[np.ndarray, np.ndarray],
    temperature: float,
    positives: int,
    negatives_weight: float,
) -> dict[str, float]:
    n = len(a)
    mined_a, mined_b = (
        NearestNeighbors(n_neighbors=positives, metric="cosine").fit(guide).kneighbors(return_distance=False)
        for guide in guides
    )
    losses, positive, negative, weights = [], [], [], []
    for own, other, mined_own, mined_other in ((a, b, mined_a, mined_b), (b, a, mined_b, mined_a)):
        for i in range(n):
            numerator = denominator = 0.0
            for j in range(n):
                similarity = cosine(own[i], other[j])
                if j == i or j in mined_other[i]:
                    positive.append(similarity)
                    numerator += math.exp(similarity / temperature)
                else:
                    negative.append(similarity)
                    weights.append(1.0)
                    denominator += math.exp(similarity / temperature)
                if j == i:
                    continue
                similarity = cosine(own[i], own[j])
                if j in mined_own[i]:
                    positive.append(similarity)
                    numerator += math.exp(similarity)
                else:
                    negative.append(similarity)
                    weights.append(negatives_weight)
                    denominator += negatives_weight * math.exp(similarity)
            losses.append(-math.log(numerator / (numerator + denominator)))
    return {
        "loss": float(np.mean(losses)),
        "positive": float(np.mean(positive)),
        "negative": float(np.average(negative, weights=weights)),
    }


@pytest.mark.parametrize("negatives_weight", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize(("batch", "positives"), [(3, 1), (8, 1), (8, 3), (9, 7)])
def test_cmc_cmkm_by_loops(batch: int, positives: int, negatives_weight: float) -> None:
    a, b = 3 * normal(batch, 4), normal(batch, 4, seed=1) + 0.5
    guides = normal(batch, 7, seed=2), normal(batch, 3, seed=3) + 0.5
    terms = cmc_cmkm(a, b, *guides, temperature=0.2, positives=positives, negatives_weight=negatives_weight)
    expected = knowledge_mining(
        a.numpy(), b.numpy(), (guides[0].numpy(), guides[1].numpy()), 0.2, positives, negatives_weight
    )
    assert list(terms) == ["loss", "positive", "negative"]
    for name, term in terms.items():
        assert term.shape == ()
        assert term.item() == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.integers(2, 6), st.integers(1, 5)).flatmap(
        lambda shape: st.tuples(*[arrays(np.float64, shape, elements=st.integers(-9, 9))] * 2)
    ),
    st.sampled_from([0.1, 0.5, 2.0]),
    st.randoms(use_true_random=False),
)
def test_properties_of_the_contrastive_objectives(
    pair: tuple[np.ndarray, np.ndarray], temperature: float, random
) -> None:
    a, b = map(torch.from_numpy, pair)
    n = len(a)
    order = random.sample(range(n), n)
    sizes = torch.tensor([[random.choice([0.01, 3.0, 100.0])] for _ in range(n)]).double()
    guides = normal(n, 7, seed=2), normal(n, 3, seed=3)

    def mining(a: Tensor, b: Tensor, guides: tuple[Tensor, Tensor], positives: int = 1, weight: float = 1.0):
        return cmc_cmkm(a, b, *guides, temperature=temperature, positives=positives, negatives_weight=weight)

    def same(terms: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
        return all(
            others[name].item() == pytest.approx(term.item(), rel=1e-9, abs=1e-9) for name, term in terms.items()
        )

    for objective, negatives in ((simclr, 2 * n - 2), (cmc, n - 1)):
        terms = objective(a, b, temperature=temperature)
        assert same(terms, objective(b, a, temperature=temperature))
        assert same(terms, objective(a[order], b[order], temperature=temperature))
        assert same(terms, objective(sizes * a, b / sizes, temperature=temperature))
        lowest, highest = (math.log1p(negatives * math.exp(sign * 2 / temperature)) for sign in (-1, 1))
        assert lowest - 1e-9 <= terms["loss"].item() <= highest + 1e-9
        assert all(abs(terms[name].item()) <= 1 + 1e-9 for name in ("positive", "negative"))

    mined = mining(a, b, guides)
    assert same(mined, mining(b, a, guides[::-1]))
    assert same(mined, mining(a[order], b[order], (guides[0][order], guides[1][order])))
    assert same(mined, mining(sizes * a, b / sizes, (guides[0] / sizes, sizes * guides[1])))
    # Without mining it lies between the other two; a mined positive moves from the negatives to the positives.
    unscaled = cmc_cmkm(a, b, *guides, temperature=1.0, positives=0, negatives_weight=1.0)
    assert same(simclr(a, b, temperature=1.0), unscaled)
    assert same(cmc(a, b, temperature=temperature), mining(a, b, guides, positives=0, weight=0.0))
    losses = [mining(a, b, guides, positives=0, weight=weight)["loss"].item() for weight in (0.0, 0.5, 1.0)]
    assert losses == sorted(losses)
    losses = [mining(a, b, guides, positives=count)["loss"].item() for count in (2, 1, 0)]
    assert losses == pytest.approx(sorted(losses))


def test_the_lowest_contrastive_loss_is_that_of_opposite_recordings() -> None:
    z = torch.tensor([[1.0, 2.0], [-1.0, -2.0]]).double()
    assert simclr(z, z, temperature=0.5)["loss"].item() == pytest.approx(math.log1p(2 * math.exp(-4)))
    assert cmc(z, z, temperature=0.5)["loss"].item() == pytest.approx(math.log1p(math.exp(-4)))


def test_contrastive_losses_of_collapsed_embeddings_are_those_of_guessing() -> None:
    for z in (torch.ones(4, 3), torch.zeros(4, 3)):
        assert simclr(z, z, temperature=0.1)["loss"].item() == pytest.approx(math.log(7))
        assert cmc(z, z, temperature=0.1)["loss"].item() == pytest.approx(math.log(4))
        # Two of four across the modalities are positives and one of three within: the pair, and one mined in each.
        across, inside = math.exp(z[0, 0] / 0.5), math.exp(z[0, 0])
        expected = math.log((4 * across + 3 * inside) / (2 * across + inside))
        assert guided(z, z, negatives_weight=1.0)["loss"].item() == pytest.approx(expected)


def test_low_temperatures_do_not_overflow() -> None:
    a, b = normal(6, 4).float(), normal(6, 4, seed=1).float()
    for objective in (simclr, cmc):
        assert objective(a, b, temperature=1e-3)["loss"].item() == pytest.approx(
            objective(a.double(), b.double(), temperature=1e-3)["loss"].item(), rel=1e-4
        )


@pytest.mark.parametrize(("batch", "mined"), [(2, 0), (3, 1), (5, 3)])
def test_a_short_batch_mines_fewer_and_keeps_a_negative(batch: int, mined: int) -> None:
    a, b = normal(batch, 4), normal(batch, 4, seed=1)
    terms, fewer = guided(a, b, positives=100), guided(a, b, positives=mined)
    assert {name: term.item() for name, term in terms.items()} == {name: term.item() for name, term in fewer.items()}
    assert terms["loss"].item() > 0


def test_a_guide_of_other_recordings_is_refused() -> None:
    z = normal(4, 3)
    for guides in ((normal(3, 5), z), (z, normal(3, 5))):
        with pytest.raises(ValueError, match="3 recordings for 4 embeddings"):
            cmc_cmkm(z, z, *guides, temperature=0.5, positives=1, negatives_weight=1.0)


@pytest.mark.parametrize("directions", [1, 7])
@pytest.mark.parametrize("batch", [2, 9])
def test_sigreg_by_loops(batch: int, directions: int) -> None:
    z = 1.7 * normal(batch, 5) + 0.4
    along = torch.nn.functional.normalize(normal(5, directions, seed=1), dim=0)
    t = [3 * k / 16 for k in range(17)]
    expected = 0.0
    for m in range(directions):
        x = [sum(z[i, j].item() * along[j, m].item() for j in range(5)) for i in range(batch)]
        distances = [
            (
                (sum(math.cos(s * one) for one in x) / batch - math.exp(-s * s / 2)) ** 2
                + (sum(math.sin(s * one) for one in x) / batch) ** 2
            )
            * math.exp(-s * s / 2)
            for s in t
        ]
        half = sum((distances[k] + distances[k + 1]) / 2 * (t[k + 1] - t[k]) for k in range(16))
        expected += 2 * half / directions
    assert sigreg(z, along).item() == pytest.approx(expected, rel=1e-9)


def test_sigreg_is_the_epps_pulley_integral_and_does_not_grow_with_the_batch() -> None:
    x = normal(40, 1)

    def integrand(t: float) -> float:
        difference = np.exp(1j * t * x.numpy()).mean() - np.exp(-t * t / 2)
        return abs(difference) ** 2 * np.exp(-t * t / 2)

    along = torch.ones(1, 1).double()
    assert sigreg(x, along).item() == pytest.approx(quad(integrand, -3, 3)[0], rel=5e-3)
    assert sigreg(x.repeat(5, 1), along).item() == pytest.approx(sigreg(x, along).item())
    # Of normal embeddings it is nearly nothing, of collapsed, stretched or shifted ones it is not.
    many, along = normal(20_000, 3, seed=1), torch.eye(3).double()
    assert sigreg(many, along).item() < 1e-4
    for other in (0 * many, 3 * many, many + 1, many.sign()):
        assert sigreg(other, along).item() > 0.05


@pytest.mark.parametrize(("batch", "width"), [(2, 5), (3, 1), (9, 4)])
def test_visreg_by_loops(batch: int, width: int) -> None:
    a, b = 0.3 * normal(batch, width), 2 * normal(batch, width, seed=1) + 2
    terms = visreg(a, b, draws=draws(), weight=0.7, directions=6)
    along = torch.randn(width, 6, generator=draws()).numpy()
    centre = scale = shape = 0.0
    for z in (a.numpy(), b.numpy()):
        mean, deviation = z.mean(axis=0), np.sqrt(z.var(axis=0, ddof=1) + 1e-4)
        centre += np.square(mean).mean()
        scale += np.square(1 - deviation).mean()
        for m in range(6):
            x = sorted((z - mean) / deviation @ (along[:, m] / np.linalg.norm(along[:, m])))
            shape += sum((one - norm.ppf((i + 0.5) / batch)) ** 2 for i, one in enumerate(x)) / batch / 6
    expected = {"invariance": np.square((a - b).numpy()).mean(), "centre": centre, "scale": scale, "shape": shape}
    expected = {"loss": expected["invariance"] + 0.7 * (centre + scale + shape), **expected}
    assert list(terms) == list(expected)
    for name, term in terms.items():
        assert term.shape == ()
        assert term.item() == pytest.approx(expected[name], rel=1e-6), name


def test_the_shape_of_visreg_has_no_say_about_centre_and_scale() -> None:
    a, b = normal(500, 4), normal(500, 4, seed=1)
    terms = [visreg(x, x, draws=draws(), weight=1, directions=8) for x in (a, 1000 * a + 7, a.exp())]
    # The deviations, near 1, feel the 1e-4 in the root.
    assert terms[1]["shape"].item() == pytest.approx(terms[0]["shape"].item(), rel=1e-2)
    assert terms[2]["shape"].item() > 3 * terms[0]["shape"].item()
    assert visreg(a, b, draws=draws(), weight=0, directions=8)["loss"].item() == invariance(a, b).item()


def test_lejepa_and_levljepa_are_their_parts() -> None:
    a, b = normal(9, 4), normal(9, 4, seed=1) + 0.3
    along = torch.nn.functional.normalize(torch.randn(4, 16, generator=draws()), dim=0).double()
    first, second = sigreg(a, along).item(), sigreg(b, along).item()
    terms = lejepa(a, b, draws=draws(), weight=3, directions=16)
    assert terms["invariance"].item() == invariance(a, b).item()
    assert terms["loss"].item() == pytest.approx(invariance(a, b).item() + 3 * (first + second), rel=1e-6)
    assert OBJECTIVES["lejepa"](b, a)["loss"].item() == pytest.approx(terms["loss"].item())

    both = learned(predictors, a)
    x, y = a.clone().requires_grad_(), b.clone().requires_grad_()
    terms = levljepa(x, y, draws=draws(), learned=both, weight=3, weight_second=0.5, directions=16)
    prediction = (both["from_a"](a) - b).square().mean() / 2 + (both["from_b"](b) - a).square().mean() / 2
    assert terms["prediction"].item() == pytest.approx(prediction.item())
    assert terms["loss"].item() == pytest.approx(prediction.item() + 3 * first + 0.5 * second, rel=1e-6)
    # A target is not drawn to its prediction.
    [gradient] = torch.autograd.grad(terms["prediction"], x)
    alone = a.clone().requires_grad_()
    [expected] = torch.autograd.grad((both["from_a"](alone) - b).square().mean() / 2, alone)
    assert torch.allclose(gradient, expected)


def test_wmse_by_another_whitening() -> None:
    a, b = normal(30, 4) @ normal(4, 4, seed=2), normal(30, 4, seed=1)
    terms = wmse(a, b, shrinkage=1e-9)
    units = []
    for z in (a.numpy(), b.numpy()):
        factor = np.linalg.cholesky(np.cov(z.T))
        white = np.linalg.solve(factor, (z - z.mean(axis=0)).T).T
        assert np.cov(white.T) == pytest.approx(np.eye(4), abs=1e-9)
        units.append(white / np.linalg.norm(white, axis=1, keepdims=True))
    distances = np.square(units[0] - units[1]).sum(axis=1)
    assert terms["loss"].item() == pytest.approx(distances.mean(), rel=1e-6)
    similar = units[0] @ units[1].T
    assert terms["positive"].item() == pytest.approx(np.diag(similar).mean(), rel=1e-6)
    assert terms["negative"].item() == pytest.approx(similar[~np.eye(30, dtype=bool)].mean(), rel=1e-6)
    # No more embeddings than dimensions: the covariance has no inverse, and the shrunk one has.
    assert wmse(a[:3], b[:3], shrinkage=0.01)["loss"].isfinite()


def test_clip_and_siglip_by_their_definitions() -> None:
    a, b = 3 * normal(8, 4), normal(8, 4, seed=1) + 0.5
    for temperature, expected in ((0.3, 0.3), (1e-4, 0.01)):  # CLIP allows no lower one than 0.01.
        own = learned(clip_scale, a)
        with torch.no_grad():
            own["scale"].fill_(-math.log(temperature))
        wanted = across(a.numpy(), b.numpy(), expected)
        for name, term in clip(a, b, learned=own).items():
            assert term.item() == pytest.approx(wanted[name], rel=1e-6), name
    assert 1 / learned(clip_scale, a)["scale"].exp().item() == pytest.approx(0.07)

    own = learned(siglip_scale, a)
    assert [own["scale"].exp().item(), own["bias"].item()] == pytest.approx([10, -10])
    loss = 0.0
    for i in range(8):
        for j in range(8):
            logit = 10 * cosine(a[i].numpy(), b[j].numpy()) - 10
            loss += math.log1p(math.exp(-logit if i == j else logit)) / 8
    assert siglip(a, b, learned=own)["loss"].item() == pytest.approx(loss, rel=1e-6)


def test_vicreg_within_and_across_by_its_pairs() -> None:
    views = [normal(7, 3, seed=seed) for seed in range(6)]  # Three modalities, twice.
    terms = vicreg_within_across(views, lambda_=7.0, within=3.0, mu=2.0, nu=0.5)
    across_pairs = [(i, j) for i in range(6) for j in range(i) if i % 3 != j % 3]
    assert len(across_pairs) == 12
    expected = {
        "invariance": np.mean([invariance(views[i], views[j]).item() for i, j in across_pairs]),
        "invariance_within": np.mean([invariance(views[i], views[i + 3]).item() for i in range(3)]),
        "variance": 2 * np.mean([variance(view).item() for view in views]),
        "covariance": 2 * np.mean([covariance(view).item() for view in views]),
    }
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value)
    weights = (7, 3, 2, 0.5)
    total = sum(weight * value for weight, value in zip(weights, expected.values(), strict=True))
    assert terms["loss"].item() == pytest.approx(total)
    # Of two equal views of each modality it is VICReg.
    pair = vicreg_within_across([*views[:2], *views[:2]], lambda_=7, within=3, mu=2, nu=0.5)
    assert pair["loss"].item() == pytest.approx(vicreg(*views[:2], lambda_=7, mu=2, nu=0.5)["loss"].item())


@every_objective
def test_the_order_of_recordings_does_not_matter(objective: Callable[[Tensor, Tensor], dict[str, Tensor]]) -> None:
    if objective is guided:
        pytest.skip("its guides would have to be ordered too: see the contrastive properties")
    a, b = normal(9, 4), normal(9, 4, seed=1)
    order = torch.randperm(9, generator=draws())
    reordered = objective(a[order], b[order])
    for name, term in objective(a, b).items():
        assert reordered[name].item() == pytest.approx(term.item(), rel=1e-9, abs=1e-9), name
