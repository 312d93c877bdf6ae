"""Masked reconstruction: parts of what encoders see are hidden, and small decoders give them back from the features.

Spans of time and whole channels are hidden as in LIMU-BERT (Xu et al., SenSys 2021) and "An improved masking strategy
for self-supervised masked reconstruction in human activity recognition" (Wang, Zhu and Ning, arXiv 2312.04147). The
decoders read what heads read, so that it is these features that must hold what was hidden.
"""

import torch
from torch import Generator, Tensor, nn

from mmssl.data.recordings import Description, Signal
from mmssl.recipe import ProjectorKnobs, Reconstruct
from mmssl.training.encoders import Projector
from mmssl.training.model import Model


class Masking(nn.Module):
    """One decoder a modality, as deep as a projector and as wide inside; new, by torch's global generator."""

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
        """What of a batch is hidden, bool, like it: (batch, steps, ...)."""
        return mask(view, self._knobs, self.get_buffer(f"parts_{modality}"), draws)

    def error(self, features: Tensor, modality: str, view: Tensor, hidden: Tensor) -> Tensor:
        """Squared error of the hidden values as the decoder gives them, over that of the batch's mean at each step.

        1 is what is had without looking, 0 perfect, whatever the units.

        Args:
            features: (batch, width), of the view with parts hidden.
            view: before they were.
        """
        given, wanted, where = self.decoders[modality](features.float()), view.float().flatten(1), hidden.flatten(1)
        wrong = ((given - wanted).square() * where).sum()
        blind = ((wanted - wanted.mean(dim=0)).square() * where).sum()
        return wrong / blind.clamp(min=_LITTLE)


# Where chance hides nothing, and in a batch of equal recordings, the error stays finite.
_LITTLE = 1e-6


def parts(description: Description, modality: str) -> Tensor:
    """What is hidden as one, (parts, values of a step) of bool: a joint, a sensor's triad, a channel of no triad."""
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
    """What of a batch is hidden, bool like it; never all of a recording's time nor all of its parts.

    Args:
        x: (batch, steps, ...).
        together: as `parts` gives it.
        draws: on x's device, or on the CPU to get the same draws on any device.
    """
    batch, steps = x.shape[:2]
    # Spans begin anywhere: a recording's first may be cut.
    shift = torch.randint(knobs.span, (batch, 1), generator=draws, device=draws.device).to(x.device)
    span = (torch.arange(steps, device=x.device) + shift) // knobs.span
    times = _some(span, knobs.time, draws)
    values = _some(torch.arange(len(together), device=x.device).expand(batch, -1), knobs.parts, draws)
    return (times[:, :, None] | (values[:, :, None] & together).any(dim=1)[:, None]).view(x.shape)


def _some(group: Tensor, share: float, draws: Generator) -> Tensor:
    """For groups that are hidden as one, each with probability `share`, but never all that a recording has.

    Args:
        group: (batch, places), from 0, which is not skipped.

    Returns:
        (batch, places) of bool.
    """
    height = torch.rand(len(group), int(group.max()) + 1, generator=draws, device=draws.device)
    own = height.to(group.device).gather(1, group)
    return (own < share) & (own < own.amax(dim=1, keepdim=True))
