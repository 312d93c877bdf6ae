"""Networks of one architecture as one network with stacked weights: each kernel runs once for all of them."""

import copy
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmssl.training.dropout import mask

_stacked: ContextVar[Sequence[torch.Generator] | None] = ContextVar("_stacked", default=None)
"""In a stack's forward pass: the generator of each network's dropout."""


def stacked() -> bool:
    """Whether this is the forward pass of a stack, where torch lacks some operations."""
    return _stacked.get() is not None


class Stack(nn.Module):
    """Networks of one architecture as one; the first dimension of every weight is the network.

    Args:
        networks: their weights are copied; they are left in training mode.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        for network in networks:
            network.train()
        weights, buffers = torch.func.stack_module_state(list(networks))
        for name, weight in weights.items():
            self.register_parameter(_flat(name), nn.Parameter(weight.detach()))
        for name, buffer in buffers.items():
            self.register_buffer(_flat(name), buffer)
        self._names = list(weights), list(buffers)
        self._network = [copy.deepcopy(networks[0]).to("meta")]  # In a list, so that its weights are not registered.

    def forward(self, x: Tensor, dropout: Sequence[torch.Generator]) -> Tensor:
        """(networks, batch, ...) -> (networks, batch, width).

        Args:
            dropout: the generator of each network's dropout.
        """
        own = dict(self.named_parameters()), dict(self.named_buffers())
        weights, buffers = (
            {name: mine[_flat(name)] for name in names} for names, mine in zip(self._names, own, strict=True)
        )
        network = self._network[0]

        def one(weights: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
            return torch.func.functional_call(network, (weights, buffers), (x,))

        within = _stacked.set(dropout)
        try:
            return torch.vmap(one)(weights, buffers, x)
        finally:
            _stacked.reset(within)

    @torch.no_grad()
    def unstack(self, networks: Sequence[nn.Module]) -> None:
        """Copy the weights back into each network."""
        state = self.state_dict()
        for i, network in enumerate(networks):
            for name, tensor in network.state_dict().items():
                tensor.copy_(state[_flat(name)][i])


def masked(x: Tensor, p: float) -> Tensor:
    """Dropout in a stack's forward pass."""
    return x * cast(Tensor, _Mask.apply(x, p))


class _Mask(torch.autograd.Function):
    """Dropout masks: each network's is drawn as if it were alone, on a CPU to the bit."""

    @staticmethod
    def forward(x: Tensor, p: float) -> Tensor:
        raise AssertionError("only stacks draw masks of their own")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None]:
        return None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[Tensor, int]:
        x, p = args
        generators = cast(Sequence[torch.Generator], _stacked.get())
        masks = [mask(x.select(in_dims[0], i), p, generator) for i, generator in enumerate(generators)]
        return torch.stack(masks, dim=in_dims[0]), in_dims[0]


def _flat(name: str) -> str:
    return name.replace(".", "/")
