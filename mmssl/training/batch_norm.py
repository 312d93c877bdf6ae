"""Batch-norm statistics, computed anew after training."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@torch.no_grad()
def renew(networks: Sequence[nn.Module], run: Callable[[Tensor], object], parts: Iterable[Tensor]) -> None:
    """Replace the running averages by the statistics of given recordings under the final weights ("precise" batch norm;
    Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3).

    Each batch norm takes the mean of the parts' means and of their variances. Nothing is drawn: dropout stays off.

    Args:
        networks: the networks with the batch norms; left in evaluation mode.
        run: runs the networks on the recordings with given indices.
        parts: indices of the recordings, in parts of two at least, as equal as can be.
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
