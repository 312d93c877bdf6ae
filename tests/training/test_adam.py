"""Our Adam is torch's, without torch's compiler."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from mmssl.training.adam import adam

LOADED = """
import sys
import torch
from mmssl.training.adam import adam

part = torch.nn.Linear(3, 2)
optimizer = adam([part], 0.1)
for _ in range(2):
    optimizer.zero_grad()
    part(torch.ones(4, 3)).sum().backward()
    optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""


def trained(
    make: Callable[[list[nn.Module]], torch.optim.Adam],
) -> tuple[list[torch.Tensor], dict[str, Any]]:
    torch.manual_seed(0)
    parts: list[nn.Module] = [nn.Linear(5, 4), nn.Linear(4, 2)]
    optimizer = make(parts)
    for step in range(7):
        optimizer.zero_grad()
        parts[1](torch.tanh(parts[0](torch.randn(6, 5)))).square().mean().backward()
        optimizer.step()
        if step == 3:  # As a training that is taken up again.
            kept = optimizer.state_dict()
            optimizer = make(parts)
            optimizer.load_state_dict(kept)
    return [weight.detach() for part in parts for weight in part.parameters()], optimizer.state_dict()


@pytest.mark.parametrize("rates", [None, [1.0, 0.1]])
def test_it_is_torchs_to_the_bit(rates: list[float] | None) -> None:
    def torchs(parts: list[nn.Module]) -> torch.optim.Adam:
        groups = [
            {"params": list(part.parameters()), "lr": 0.01 * rate}
            for part, rate in zip(parts, rates or [1.0, 1.0], strict=True)
        ]
        return torch.optim.Adam(groups, lr=0.01, fused=True)

    ours, state = trained(lambda parts: adam(parts, 0.01, rates))
    theirs, expected = trained(torchs)
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)
    assert state["param_groups"] == expected["param_groups"]
    for name, values in expected["state"].items():
        assert all(torch.equal(state["state"][name][key], value) for key, value in values.items())


def test_it_records_no_gradients() -> None:
    part = nn.Linear(3, 1)
    optimizer = adam([part], 0.1)
    part(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    assert torch.is_grad_enabled()
    assert all(weight.grad_fn is None and weight.requires_grad for weight in part.parameters())


def test_it_loads_no_compiler() -> None:
    said = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
