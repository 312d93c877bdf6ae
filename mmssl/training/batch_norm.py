"""Batch norms' statistics, taken anew when training is over."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@torch.no_grad()
def renew(networks: Sequence[nn.Module], run: Callable[[Tensor], object], parts: Iterable[Tensor]) -> None:
    """Replace running averages by the statistics of given recordings, under the weights as they are ("precise" batch
    norm; Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3).

    Each batch norm takes the mean over the parts of their means and variances. Nothing is drawn: dropout stays off.

    Args:
        networks: whose batch norms they are; left in evaluation mode.
        run: runs them once on some recordings.
        parts: the indices of these, each of two at least, in parts as equal as can be.
    """
    for network in networks:
        network.eval()
    norms = [module for network in networks for module in network.modules() if isinstance(module, _NORMS)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
    for number, part in enumerate(parts, start=1):
        for norm in norms:
            norm.momentum = 1 / number
        run(part)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
