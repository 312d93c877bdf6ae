"""Dropout masks drawn a machine word at a time: torch draws value by value on a CPU, for a tenth of a step's time."""

import torch
from torch import Generator, Tensor

_VALUES_A_WORD = 4
_LEVELS = 2**16  # Of each value's 16 bits.


def mask(x: Tensor, p: float, generator: Generator | None = None) -> Tensor:
    """A dropout mask to multiply x with: 0 for a share p of the values, 1 / (1 - p) for the others.

    Args:
        p: from 0 to below 1; rounded to a multiple of 1/65,536.
        generator: on x's device; torch's global one by default.
    """
    dropped = min(round(p * _LEVELS), _LEVELS - 1)
    words = torch.empty(-(-x.numel() // _VALUES_A_WORD), dtype=torch.int64, device=x.device)
    levels = words.random_(-(2**63), None, generator=generator).view(torch.int16)[: x.numel()].view(x.shape)
    kept = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    return torch.ge(levels, dropped - _LEVELS // 2, out=kept).mul_(_LEVELS / (_LEVELS - dropped))
