"""bfloat16 products on CPUs without instructions for them."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

_ATEN = torch.ops.aten
_PRODUCTS = frozenset(
    {
        _ATEN.convolution.default,
        _ATEN.convolution_backward.default,
        _ATEN.mm.default,
        _ATEN.addmm.default,
        _ATEN.bmm.default,
        _ATEN.baddbmm.default,
    }
)


def has_instructions(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16 products: CPUs do from AVX-512 on."""
    return device.type != "cpu" or (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


@contextmanager
def products(device: torch.device) -> Generator[None]:
    """On a CPU without instructions, compute bfloat16 products in float32 and round them to bfloat16.

    The instructions do the same, but for the order of additions. There torch multiplies one number at a time, and a
    training step takes about ten times as long as in float32 (2.13, AVX2).
    """
    if has_instructions(device):
        yield
        return
    with _InFloat32():
        yield


class _InFloat32(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func not in _PRODUCTS or all(one.dtype != torch.bfloat16 for one in args if isinstance(one, torch.Tensor)):
            return func(*args, **kwargs)
        args, kwargs = tree_map_only(torch.Tensor, lambda one: one.float(), (args, kwargs))
        return tree_map_only(torch.Tensor, lambda one: one.bfloat16(), func(*args, **kwargs))
