"""The skeleton encoder's features of each joint, a few recordings at a time.

Between a joint's 3 coordinates and its 32 features come 64 channels, the network's largest activations. A CPU takes
longer to write and read them than to compute them. So they stay in its cache, and the backward pass recomputes them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_CACHED = 2**21
"""Bytes of activations to compute at a time: about what a core's own cache holds."""


def features(x: Tensor, weight: Tensor, bias: Tensor, kernel: Tensor) -> Tensor:
    """A linear map, ReLU and a convolution over time.

    Args:
        x: (batch, steps, joints, coordinates).
        weight, bias: of the linear map, (channels, coordinates) and (channels,).
        kernel: (width, channels, 3, 1), without a bias; time is padded.

    Returns:
        (batch, steps, joints, width), in bfloat16 under autocast.
    """
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    return _Features.apply(x, weight, bias, kernel, dtype)  # pyright: ignore[reportReturnType]


class _Features(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, kernel: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(x, weight, bias, kernel)
        ctx.dtype = dtype
        weight, bias, kernel = (tensor.to(dtype) for tensor in (weight, bias, kernel))
        out = torch.empty(*x.shape[:-1], len(kernel), dtype=dtype)
        size = _at_once(x, weight)
        with torch.autocast(x.device.type, enabled=False):
            for part, rows in zip(out.split(size), x.split(size), strict=True):
                hidden = functional.linear(rows.to(dtype), weight, bias).relu_()
                part.copy_(functional.conv2d(hidden.permute(0, 3, 1, 2), kernel, padding=(1, 0)).permute(0, 2, 3, 1))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        [gradient] = gradients
        x, *weights = ctx.saved_tensors
        # Gradients are summed over parts in the weights' own precision.
        of_weight, of_bias, of_kernel = (torch.zeros_like(tensor) for tensor in weights)
        weight, bias, kernel = (tensor.to(ctx.dtype) for tensor in weights)
        of_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        size = _at_once(x, weight)
        for begin, (rows, part) in enumerate(zip(x.split(size), gradient.split(size), strict=True)):
            rows = rows.to(ctx.dtype)
            hidden = functional.linear(rows, weight, bias).relu_()
            back, of_part, _ = torch.ops.aten.convolution_backward(
                part.permute(0, 3, 1, 2), hidden.permute(0, 3, 1, 2), kernel,
                None, [1, 1], [1, 0], [1, 1], False, [0, 0], 1, [True, True, False],
            )  # fmt: skip
            back = torch.ops.aten.threshold_backward(back.permute(0, 2, 3, 1), hidden, 0).flatten(0, 2)
            of_kernel += of_part
            of_weight += (rows.flatten(0, 2).t() @ back).t()  # Several times faster than its transpose.
            of_bias += back.sum(dim=0)
            if of_x is not None:
                of_x[begin * size : begin * size + size] = (back @ weight).view(rows.shape)
        return of_x, of_weight, of_bias, of_kernel, None


def _at_once(x: Tensor, weight: Tensor) -> int:
    """Recordings whose activations the cache holds; one at least."""
    of_one = x[0].numel() // x.shape[-1] * len(weight) * weight.element_size() if len(x) else _CACHED
    return max(1, _CACHED // max(1, of_one))
