import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from mmssl.objectives import covariance, embedding_health, invariance, variance, vicreg


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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


def test_gradients() -> None:
    a, b = (0.5 * normal(5, 3, seed=seed) for seed in (0, 1))
    a.requires_grad_()
    b.requires_grad_()
    for term in ("loss", "invariance", "variance", "covariance"):
        assert torch.autograd.gradcheck(
            lambda a, b, term=term: vicreg(a, b, lambda_=25, mu=25, nu=1)[term], (a, b), atol=1e-6
        )


@pytest.mark.parametrize("size", [0, 1])
def test_a_batch_of_one_is_refused(size: int) -> None:
    z = torch.zeros(size, 4)
    for term in (variance, covariance, lambda z: vicreg(z, z, lambda_=1, mu=1, nu=1)):
        with pytest.raises(ValueError, match=f"at least 2 embeddings, not {size}"):
            term(z)


def test_views_of_different_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(4, 1\)"):
        vicreg(torch.zeros(4, 3), torch.zeros(4, 1), lambda_=1, mu=1, nu=1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_embeddings_are_judged_in_float32_under_autocast(dtype: torch.dtype) -> None:
    a, b = (10 * normal(64, 32, seed=seed).to(dtype) for seed in (0, 1))
    expected = vicreg(a.double(), b.double(), lambda_=25, mu=25, nu=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = vicreg(a, b, lambda_=25, mu=25, nu=1)
    for name, term in terms.items():
        assert term.dtype == torch.float32
        assert term.item() == pytest.approx(expected[name].item(), rel=1e-5), name


def test_embedding_health_by_hand() -> None:
    z = normal(30, 4).float() @ torch.diag(torch.tensor([3.0, 1, 0.1, 0.01]))
    health = embedding_health(z)
    x = z.double().numpy()
    p = np.sqrt(np.linalg.eigvalsh(x.T @ x))
    p = p / p.sum()
    assert health["effective_rank"] == pytest.approx(math.exp(-sum(v * math.log(v) for v in p)), rel=1e-6)
    assert health["std"] == pytest.approx(np.mean([np.std(x[:, j], ddof=1) for j in range(4)]))
    together = np.cov(x.T)
    assert health["covariance"] == pytest.approx((np.square(together).sum() - np.square(np.diag(together)).sum()) / 4)
    assert all(type(value) is float for value in health.values())


def test_effective_rank_counts_the_directions_in_use() -> None:
    orthogonal = torch.linalg.qr(normal(40, 8)).Q
    assert embedding_health(orthogonal)["effective_rank"] == pytest.approx(8)
    assert embedding_health(orthogonal[:, :3] @ normal(3, 3) @ torch.eye(3, 8).double())["effective_rank"] <= 3
    assert embedding_health(normal(40, 1) @ normal(1, 8))["effective_rank"] == pytest.approx(1)
    for collapsed in (torch.full((40, 8), 3.3), torch.zeros(40, 8)):
        health = embedding_health(collapsed)
        assert health["effective_rank"] == pytest.approx(1)
        assert health["std"] == health["covariance"] == 0


@pytest.mark.parametrize(
    "z",
    [torch.tensor([[1.0, math.nan], [2, 3]]), torch.full((3, 2), math.inf), torch.zeros(1, 4), torch.zeros(0, 4)],
    ids=["nan", "inf", "one", "none"],
)
def test_embedding_health_without_an_answer_is_nan(z: Tensor) -> None:
    health = embedding_health(z)
    assert set(health) == {"std", "effective_rank", "covariance"}
    assert all(math.isnan(value) for value in health.values())


def test_embedding_health_at_the_ends_of_float32() -> None:
    for scale in (3e38, 1e-38):
        health = embedding_health((scale * torch.eye(4)).requires_grad_())
        assert health["effective_rank"] == pytest.approx(4)
        assert all(math.isfinite(value) for value in health.values())
