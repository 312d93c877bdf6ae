"""Products of bfloat16 where the processor has no instructions for them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from mmssl.data.recordings import Recordings
from mmssl.training import bfloat16
from mmssl.training.trial import train
from tests.training.test_trial import of_system

CPU = torch.device("cpu")
NAMES = ("convolution", "mm", "addmm", "bmm")


class Seen(TorchDispatchMode):
    """The types that products are taken in."""

    def __init__(self) -> None:
        super().__init__()
        self.types = set[torch.dtype]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._schema.name.startswith(tuple(f"aten::{name}" for name in NAMES)):
            self.types |= {one.dtype for one in args if isinstance(one, torch.Tensor)}
        return func(*args, **(kwargs or {}))


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfloat16, "has_instructions", lambda device: False)


@pytest.mark.usefixtures("lacking")
def test_a_product_is_the_exact_one_of_the_rounded_numbers_rounded_once() -> None:
    draws = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(*size, generator=draws).bfloat16() for size in ((7, 40), (40, 5)))
    exact = torch.from_numpy(x.double().numpy() @ weight.double().numpy()).bfloat16()
    with bfloat16.products(CPU):
        found = x @ weight
    assert found.dtype == torch.bfloat16
    assert found.ne(exact).float().mean() < 0.1, "additions in float32 seldom change a rounding"
    assert torch.allclose(found.double(), exact.double(), rtol=2**-7, atol=1e-2)


@pytest.mark.usefixtures("lacking")
def test_gradients_of_a_convolution_are_those_of_float32_rounded() -> None:
    draws = torch.Generator().manual_seed(1)
    x, kernel, out = (torch.randn(*size, generator=draws) for size in ((2, 3, 9, 4), (6, 3, 3, 1), (2, 6, 9, 4)))

    def gradients(dtype: torch.dtype) -> list[np.ndarray]:
        leaves = [one.bfloat16().to(dtype).requires_grad_() for one in (x, kernel)]
        functional.conv2d(*leaves, padding=(1, 0)).backward(out.bfloat16().to(dtype))
        return [leaf.grad.double().numpy() for leaf in leaves if leaf.grad is not None]

    with bfloat16.products(CPU):
        found = gradients(torch.bfloat16)
    for one, exact in zip(found, gradients(torch.float64), strict=True):
        np.testing.assert_allclose(one, exact, rtol=2**-7, atol=2**-6)


@pytest.mark.usefixtures("lacking")
def test_pre_training_takes_no_product_of_bfloat16_there(tiny: Recordings) -> None:
    recipe = of_system("vicreg", pretrain__epochs=1, pretrain__precision="bfloat16")
    with Seen() as seen:
        rough = train(recipe, tiny)
    assert torch.bfloat16 not in seen.types
    with Seen() as seen:
        exact = train(recipe.with_knobs({"pretrain.precision": "float32"}), tiny)
    assert rough.metrics["train.loss"] == pytest.approx(exact.metrics["train.loss"], rel=0.01)
    assert rough.metrics["train.loss"] != exact.metrics["train.loss"], "it is rounded all the same"


@pytest.mark.usefixtures("lacking")
def test_losses_are_those_that_the_processors_own_products_give(
    tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ones, before rounding has led the weights elsewhere."""
    recipe = of_system("vicreg", pretrain__epochs=1, pretrain__batch_size=64, pretrain__precision="bfloat16")
    there = train(recipe, tiny).metrics["train.loss"]
    monkeypatch.setattr(bfloat16, "has_instructions", lambda device: True)
    assert train(recipe, tiny).metrics["train.loss"] == pytest.approx(there, rel=5e-3)


def test_a_gpu_is_left_to_itself() -> None:
    with bfloat16.products(torch.device("cuda")), Seen() as seen:
        _ = torch.ones(2, 2).bfloat16() @ torch.ones(2, 2).bfloat16()
    assert seen.types == {torch.bfloat16}
