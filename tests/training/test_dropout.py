"""Masks keep the share that they say, value by value and apart from each other, and the mean."""

import numpy as np
import pytest
import torch
from scipy import stats

from mmssl.training.dropout import mask

VALUES = 400_003  # Not a whole number of machine words.


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_share_is_kept_and_scaled_to_the_mean(p: float, dtype: torch.dtype) -> None:
    drawn = mask(torch.zeros(VALUES, dtype=dtype), p, torch.Generator().manual_seed(1))
    assert drawn.dtype == dtype
    kept = drawn != 0
    assert stats.binomtest(int(kept.sum()), VALUES, 1 - p).pvalue > 1e-4
    assert drawn[kept].unique().numel() == 1
    assert float(drawn[kept][0]) == pytest.approx(1 / (1 - p), rel=torch.finfo(dtype).eps + 2e-4)


def test_values_are_kept_apart_from_each_other() -> None:
    """Those of one machine word too: each pair of neighbours, and each of the four, is kept as often as any."""
    kept = (mask(torch.zeros(VALUES - 3), 0.3, torch.Generator().manual_seed(2)) != 0).numpy().reshape(-1, 4)
    together = np.bincount(kept @ [1, 2, 4, 8], minlength=16)
    ones = np.array([number.bit_count() for number in range(16)])
    assert stats.chisquare(together, len(kept) * 0.7**ones * 0.3 ** (4 - ones)).pvalue > 1e-4
    across = np.bincount(2 * kept[:-1, 3] + kept[1:, 0], minlength=4)
    assert stats.chisquare(across, across.sum() * np.array([0.09, 0.21, 0.21, 0.49])).pvalue > 1e-4


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0, 4)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert mask(torch.zeros(shape), 0.5).shape == shape


@pytest.mark.parametrize(("p", "mean"), [(0.0, 1.0), (1e-9, 1.0), (1 - 1e-9, 1.0)])
def test_the_ends_are_finite(p: float, mean: float) -> None:
    drawn = mask(torch.zeros(2**22), p, torch.Generator().manual_seed(3))
    assert torch.isfinite(drawn).all()
    assert float(drawn.double().mean()) == pytest.approx(mean, abs=0.6)
    assert p > 0.5 or (drawn == 1).all()


def test_the_same_seed_draws_the_same() -> None:
    one, same, other = (mask(torch.zeros(1000), 0.5, torch.Generator().manual_seed(seed)) for seed in (4, 4, 5))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
