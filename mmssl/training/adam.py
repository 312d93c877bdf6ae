"""Adam without torch's compiler, which torch's own methods load at the first call: 3 s of CPU in each process."""

from collections.abc import Iterable, Sequence
from inspect import unwrap

import torch
from torch import nn
from torch.optim import Optimizer


class Adam(torch.optim.Adam):
    """torch's Adam, to the bit. The decorators that it unwraps ask the compiler, and serve compiled programs only."""

    add_param_group = unwrap(Optimizer.add_param_group)
    zero_grad = unwrap(Optimizer.zero_grad)
    state_dict = unwrap(Optimizer.state_dict)
    load_state_dict = unwrap(Optimizer.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.Adam.step))


def adam(modules: Iterable[nn.Module], lr: float, rates: Sequence[float] | None = None) -> Adam:
    """Adam over all weights of some modules.

    Args:
        rates: each module's learning rate as a multiple of `lr`; 1 by default.
    """
    parts = [list(module.parameters()) for module in modules]
    groups = [
        {"params": weights, "lr": lr * rate}
        for weights, rate in zip(parts, rates or [1.0] * len(parts), strict=True)
        if weights
    ]
    return Adam(groups, lr=lr, fused=True)
