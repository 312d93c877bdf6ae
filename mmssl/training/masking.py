"""Masked reconstruction: parts of the encoders' inputs are masked; small decoders reconstruct them from the features.

Spans of time and whole channels are masked as in LIMU-BERT (Xu et al., SenSys 2021) and "An improved masking strategy
for self-supervised masked reconstruction in human activity recognition" (Wang, Zhu and Ning, arXiv 2312.04147). The
decoders read the same features as the heads, so these must hold what was masked.
"""

import torch
from torch import Generator, Tensor, nn

from mmssl.data.description import Description, Signal
from mmssl.recipe import ProjectorKnobs, Reconstruct
from mmssl.training.encoders import Projector
from mmssl.training.model import Model


class Masking(nn.Module):
    """One decoder a modality, as deep as a projector with the same hidden width, initialised from torch's global
    generator."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self._knobs, steps = model.recipe.reconstruct, model.recipe.data.steps
        self.decoders = nn.ModuleDict()
        for name, width in model.widths.items():
            together = parts(model.description, name)
            self.register_buffer(f"parts_{name}", together, persistent=False)
            knobs = ProjectorKnobs(hidden=model.recipe.encoder.projector.hidden, width=steps * together.shape[1])
            self.decoders[name] = Projector(width, knobs)

    def mask(self, view: Tensor, modality: str, draws: Generator) -> Tensor:
        """Which values of a batch are masked: bool, shaped like the view."""
        return mask(view, self._knobs, self.get_buffer(f"parts_{modality}"), draws)

    def error(self, features: Tensor, modality: str, view: Tensor, hidden: Tensor) -> Tensor:
        """Squared error of the decoder on the masked values, relative to that of the batch's mean at each step.

        In any units, 0 is perfect and 1 no better than the mean.

        Args:
            features: (batch, width), of the masked view.
            view: the view before masking.
        """
        given, wanted, where = self.decoders[modality](features.float()), view.float().flatten(1), hidden.flatten(1)
        wrong = ((given - wanted).square() * where).sum()
        blind = ((wanted - wanted.mean(dim=0)).square() * where).sum()
        return wrong / blind.clamp(min=_LITTLE)


# Keeps the error finite where nothing is masked, or all recordings of a batch are equal.
_LITTLE = 1e-6


def parts(description: Description, modality: str) -> Tensor:
    """What is masked together, (parts, values of a step) of bool: a joint, a sensor's triad, a channel of no triad."""
    own = description.modalities[modality]
    if not isinstance(own, Signal):
        joints, coordinates = own.shape
        return torch.eye(joints, dtype=torch.bool).repeat_interleave(coordinates, dim=1)
    groups = [group for sensor in own.turning for group in sensor]
    groups += [[channel] for channel in sorted(set(range(len(own.channels))).difference(*groups))]
    rows = torch.zeros(len(groups), len(own.channels), dtype=torch.bool)
    for row, channels in zip(rows, groups, strict=True):
        row[channels] = True
    return rows


def mask(x: Tensor, knobs: Reconstruct, together: Tensor, draws: Generator) -> Tensor:
    """Which values of a batch are masked, bool; never all of a recording's time nor all of its parts.

    Args:
        x: (batch, steps, ...).
        together: the result of `parts`.
        draws: on x's device, or on the CPU to get the same draws on any device.
    """
    batch, steps = x.shape[:2]
    # Spans begin anywhere, so a recording's first span may be cut.
    shift = torch.randint(knobs.span, (batch, 1), generator=draws, device=draws.device).to(x.device)
    span = (torch.arange(steps, device=x.device) + shift) // knobs.span
    times = _some(span, knobs.time, draws)
    values = _some(torch.arange(len(together), device=x.device).expand(batch, -1), knobs.parts, draws)
    return (times[:, :, None] | (values[:, :, None] & together).any(dim=1)[:, None]).view(x.shape)


def _some(group: Tensor, share: float, draws: Generator) -> Tensor:
    """Mask whole groups, each with probability `share`, but never all groups of a recording.

    Args:
        group: (batch, places), the group of each place, numbered from 0 without gaps.

    Returns:
        (batch, places) of bool.
    """
    height = torch.rand(len(group), int(group.max()) + 1, generator=draws, device=draws.device)
    own = height.to(group.device).gather(1, group)
    return (own < share) & (own < own.amax(dim=1, keepdim=True))
