import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mmssl.training.health import embedding_health


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


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
