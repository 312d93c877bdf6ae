"""The features of joints a few recordings at a time are those of all at once, and so are their gradients."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mmssl.training import points


def at_once(x: Tensor, weight: Tensor, bias: Tensor, kernel: Tensor) -> Tensor:
    """The convolution written out as a sum over three times, each joint on its own."""
    hidden = (torch.einsum("btjc,kc->btjk", x, weight) + bias).clamp(min=0)
    padded = functional.pad(hidden, (0, 0, 0, 0, 1, 1))
    steps = x.shape[1]
    return sum(
        (torch.einsum("btjk,wk->btjw", padded[:, k : k + steps], kernel[:, :, k, 0]) for k in range(3)),
        start=torch.zeros(()),
    )


def drawn(batch: int, dtype: torch.dtype, steps: int = 7, joints: int = 4) -> list[Tensor]:
    draws = torch.Generator().manual_seed(batch)
    shapes = (batch, steps, joints, 3), (6, 3), (6,), (5, 6, 3, 1)
    return [torch.randn(shape, generator=draws, dtype=dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_they_are_the_sums_written_out(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings_of_two = 2 * 7 * 4 * 6 * 8
    monkeypatch.setattr(points, "_CACHED", recordings_of_two)
    ours, theirs = (drawn(batch, torch.float64) for _ in range(2))
    mine, written_out = points.features(*ours), at_once(*theirs)
    torch.testing.assert_close(mine, written_out)
    weights = torch.randn_like(mine)
    (mine * weights).sum().backward()
    (written_out * weights).sum().backward()
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own.grad, other.grad)


def test_gradients_are_those_of_small_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(points, "_CACHED", 1)
    assert torch.autograd.gradcheck(points.features, drawn(3, torch.float64, steps=3, joints=2))


def test_in_bfloat16_sums_over_parts_are_as_good_as_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = drawn(64, torch.float32)
    at_once(*exact).square().sum().backward()

    def off(cached: int) -> float:
        monkeypatch.setattr(points, "_CACHED", cached)
        own = drawn(64, torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            given = points.features(*own)
        assert given.dtype == torch.bfloat16
        given.float().square().sum().backward()
        pairs = [(mine.grad, theirs.grad) for mine, theirs in zip(own[1:], exact[1:], strict=True)]
        return max(float((a - b).norm() / b.norm()) for a, b in pairs if a is not None and b is not None)

    whole, parts = off(2**30), off(1)
    assert parts < 0.01
    assert parts < 2 * whole


def test_a_batch_without_recordings_has_features_of_none() -> None:
    x, *weights = drawn(2, torch.float32)
    assert points.features(x[:0], *weights).shape == (0, 7, 4, 5)
