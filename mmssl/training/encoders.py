"""Networks: one encoder a modality, the projector for pre-training only, and the head that fine-tuning trains.

Constructors compute widths without a forward pass, so batch-norm statistics stay as initialised.
"""

import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from mmssl.recipe import SIGNAL_FEATURES, Finetune, ProjectorKnobs, Recipe, SignalEncoderKnobs
from mmssl.training.dropout import mask
from mmssl.training.points import features as points_of
from mmssl.training.stack import masked, stacked


class SignalEncoder(nn.Module):
    """Three 1-D convolutions over time, then a transformer (Yang et al. 2023, Fig. 1).

    Args:
        channels: of the signal.
        steps: time steps; every input has exactly these.
        knobs: of the transformer.
    """

    positions: Tensor

    def __init__(self, channels: int, steps: int, knobs: SignalEncoderKnobs) -> None:
        super().__init__()
        self.pooling = knobs.pooling
        self.width = (steps if knobs.pooling == "none" else 3) * SIGNAL_FEATURES
        self.convolutions = nn.Sequential(
            *_convolution_over_time(channels, 32),
            *_convolution_over_time(32, 64),
            *_convolution_over_time(64, SIGNAL_FEATURES),
        )
        self.register_buffer("positions", _sinusoids(steps, SIGNAL_FEATURES), persistent=False)
        self.dropout = nn.Dropout(knobs.dropout)
        # Not nn.TransformerEncoder: it copies one layer, so that all layers would start from the same weights.
        self.transformer = nn.Sequential(
            *(
                _TransformerLayer(SIGNAL_FEATURES, knobs.heads, knobs.feedforward, knobs.dropout, batch_first=True)
                for _ in range(knobs.layers)
            )
        )

    def forward(self, signal: Tensor) -> Tensor:
        """(batch, steps, channels) -> (batch, width): the features of all steps in a row, or pooled over the steps."""
        features: Tensor = self.convolutions(signal.transpose(1, 2)).transpose(1, 2)
        features = self.transformer(_dropout(features + self.positions, self.dropout))
        if self.pooling == "none":
            return features.flatten(1)
        return torch.cat([features.mean(dim=1), (features.var(dim=1) + _EPSILON).sqrt(), features.amax(dim=1)], dim=1)


# Added to a variance, as the root's slope at zero is not finite.
_EPSILON = 1e-6


class _TransformerLayer(nn.TransformerEncoderLayer):
    """The same weights and results, with the computation written out, to choose and count its products."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """(batch, steps, width) -> the same; attention is not masked."""
        attention = self.self_attn
        heads = linear(x, attention.in_proj_weight, attention.in_proj_bias).unflatten(2, (3, attention.num_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        seen = _attention(query, key, value, attention.dropout if self.training else 0.0)
        seen = linear(seen.transpose(1, 2).flatten(2), attention.out_proj.weight, attention.out_proj.bias)
        x = self.norm1(x + _dropout(seen, self.dropout1))
        hidden = _dropout(nn.functional.relu(linear(x, self.linear1.weight, self.linear1.bias)), self.dropout)
        return self.norm2(x + _dropout(linear(hidden, self.linear2.weight, self.linear2.bias), self.dropout2))


def _attention(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
    """softmax(query key^T / sqrt(width)) value, each (batch, heads, steps, width)."""
    if not stacked() and not (dropout and _draws_here(query)):
        return nn.functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
    # The same computation as torch's without a fused kernel.
    scale = math.sqrt(1 / math.sqrt(query.shape[-1]))
    weights = ((query * scale) @ (key * scale).transpose(-2, -1)).softmax(dim=-1)
    return (_masked(weights, dropout) if dropout else weights) @ value


def _dropout(x: Tensor, layer: nn.Dropout) -> Tensor:
    if not layer.training or not layer.p or not _draws_here(x):
        return layer(x)
    return _masked(x, layer.p)


def _draws_here(x: Tensor) -> bool:
    """Whether dropout masks are drawn by `dropout.mask`. A GPU's own are fast, but in a stack they would be drawn for
    all networks at once."""
    return stacked() or x.device.type == "cpu"


def _masked(x: Tensor, p: float) -> Tensor:
    return masked(x, p) if stacked() else x * mask(x, p)


def _convolution_over_time(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    # No bias here and below where batch norm follows: it would subtract the bias again.
    return (
        nn.Conv1d(channels_in, channels_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm1d(channels_out),
        nn.ReLU(),
    )


def _sinusoids(steps: int, width: int) -> Tensor:
    """Positional encoding (Vaswani et al. 2017, section 3.5), (steps, width)."""
    if torch.get_default_device().type == "meta":
        # Only the shape is needed; for `arange` torch would load sympy, which takes seconds.
        return torch.empty(steps, width)
    rates = 10000.0 ** (-torch.arange(0, width, 2) / width)
    angles = torch.arange(steps)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class SkeletonEncoder(nn.Module):
    """Co-occurrence network (Li et al., IJCAI 2018; Yang et al. 2023, Fig. 2).

    There are two streams: the joints' positions and their temporal differences. Each becomes 32 features a joint; then
    the joints become the channels, so that the next convolution sees all of them at once. The streams are joined for
    two more convolutions. Batch norm follows every convolution; ReLU, as in the original, the first, fifth and sixth.
    All convolutions are padded, so any number of steps from 16 on works.

    Args:
        joints: joints of the skeleton.
        coordinates: 2 or 3.
        steps: time steps, 16 or more; every input has exactly these.
    """

    def __init__(self, joints: int, coordinates: int, steps: int) -> None:
        super().__init__()
        # Four poolings halve time and the axis of the 32 point features.
        self.width = 256 * (steps // 16) * (32 // 16)
        self.positions = _Stream(joints, coordinates)
        self.differences = _Stream(joints, coordinates)
        self.joined = nn.Sequential(
            *_convolution_and_pool(128, 128), nn.ReLU(), *_convolution_and_pool(128, 256), nn.ReLU()
        )

    def forward(self, skeleton: Tensor) -> Tensor:
        """(batch, steps, joints, coordinates) -> (batch, width)."""
        differences = skeleton.diff(dim=1, prepend=skeleton[:, :1])
        streams = torch.cat([self.positions(skeleton), self.differences(differences)], dim=1)
        return self.joined(streams).flatten(1)


class _Stream(nn.Module):
    def __init__(self, joints: int, coordinates: int) -> None:
        super().__init__()
        self.point = nn.Sequential(
            nn.Conv2d(coordinates, 64, kernel_size=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.Conv2d(64, 32, kernel_size=(3, 1), padding=(1, 0), bias=False),
            nn.BatchNorm2d(32),
        )
        self.co_occurrence = nn.Sequential(*_convolution_and_pool(joints, 32), *_convolution_and_pool(32, 64))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps, joints, coordinates) -> (batch, 64, steps // 4, 8)."""
        first, norm, relu, second, last = self.point
        # The network's largest activations: there are as few as possible, and channels come last in memory, as in the
        # input, which is twice as fast on a CPU.
        weight, bias = _folded(cast(nn.Conv2d, first), cast(nn.BatchNorm2d, norm), x.flatten(0, 2))
        if x.device.type == "cpu" and weight.requires_grad and not stacked():
            points = points_of(x, weight, bias, cast(nn.Conv2d, second).weight).permute(0, 3, 1, 2)
        else:
            points = second(relu(nn.functional.linear(x, weight, bias)).permute(0, 3, 1, 2))
        points = last(points)
        # The flat view gives the gradient that layout too; batch norm is several times slower on any other.
        points = points.permute(0, 2, 3, 1)
        points = points.reshape(-1, 32).view(points.shape)
        joints_as_channels = points.transpose(1, 2)
        if not stacked():
            joints_as_channels = joints_as_channels.contiguous(memory_format=torch.channels_last)
        return self.co_occurrence(joints_as_channels)


def _folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """A 1x1 convolution and its batch norm as one linear map of x (n, channels): its weight and bias.

    Mean and covariance of the few input channels give the batch statistics of the many output channels.
    """
    weight, mean, variance = (
        convolution.weight.flatten(1),
        norm.get_buffer("running_mean"),
        norm.get_buffer("running_var"),
    )
    if norm.training:
        with torch.autocast(x.device.type, enabled=False):
            centre = x.mean(dim=0)
            centred = x - centre
            covariance = centred.T @ centred / len(x)
            batch_mean, batch_variance = weight @ centre, (weight @ covariance * weight).sum(dim=1)
        with torch.no_grad():
            share = cast(float, norm.momentum)
            mean.add_(share * (batch_mean - mean))
            variance.add_(share * (batch_variance * (len(x) / max(1, len(x) - 1)) - variance))
            norm.get_buffer("num_batches_tracked").add_(1)
        mean, variance = batch_mean, batch_variance
    scale = norm.weight * (variance + norm.eps).rsqrt()
    return scale[:, None] * weight, norm.bias - scale * mean


def _convolution_and_pool(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.MaxPool2d(2),
    )


class _Linear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """torch's `linear`, for x (..., width); trained in float32 on a CPU, it is computed by oneDNN.

    torch uses MKL, which takes more than twice as long on AMD's processors.
    """
    trains = weight.requires_grad and torch.is_grad_enabled()
    exact = x.dtype == torch.float32 and not torch.is_autocast_enabled(x.device.type)
    one = x.device.type == "cpu" and not stacked()
    if trains and exact and one and _ONEDNN and torch.backends.mkldnn.enabled:
        return cast(Tensor, _OneDnnLinear.apply(x, weight, bias))
    return nn.functional.linear(x, weight, bias)


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None]:
        [gradient] = gradients
        x, weight = ctx.saved_tensors
        rows, columns = gradient.flatten(0, -2), x.flatten(0, -2)
        return (
            _product(gradient, weight.t(), None) if ctx.needs_input_grad[0] else None,
            _product(rows.t(), columns.t(), None),
            rows.sum(dim=0) if ctx.biased else None,
        )


# Not in torch's public interface; its compiler calls it.
_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class Projector(nn.Sequential):
    """Maps an encoder's features to the embeddings that the objective sees; not used in classification.

    (batch, width_in) -> (batch, knobs.width)
    """

    def __init__(self, width_in: int, knobs: ProjectorKnobs) -> None:
        super().__init__(*_linear_block(width_in, knobs.hidden), _Linear(knobs.hidden, knobs.width))


class Head(nn.Module):
    """Classifier over the features of one or more frozen encoders.

    Args:
        widths: width of each modality's features, in the order in which they are joined.
        knobs: of fine-tuning, for the layer that each modality's features go through.
        classes: number of classes.
    """

    classifier: nn.Linear

    def __init__(self, widths: dict[str, int], knobs: Finetune, classes: int) -> None:
        super().__init__()

        def layer(width: int) -> nn.Module:
            if knobs.logistic:
                return Decorrelation(width)
            before = [nn.BatchNorm1d(width, affine=False)] if knobs.standardise else []
            return nn.Sequential(*before, *_linear_block(width, knobs.hidden))

        self.hidden = nn.ModuleDict({name: layer(width) for name, width in widths.items()})
        width = _AXES if knobs.logistic else knobs.hidden
        self.classifier = nn.Linear(width * len(widths), classes)

    def joined(self, features: Mapping[str, Tensor]) -> Tensor:
        """Features by modality, each (batch, width) -> what the classifier takes, (batch, its inputs)."""
        return torch.cat([layer(features[name]) for name, layer in self.hidden.items()], dim=1)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Features by modality, each (batch, width) -> logits (batch, classes)."""
        return self.classifier(self.joined(features))


_AXES = 128
"""Outputs of `Decorrelation`."""


class Decorrelation(nn.Module):
    """(batch, width) -> (batch, 128): a linear map that is set, not trained, brought to length 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, _AXES)

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.normalize(self.linear(features), dim=1)


def _linear_block(width_in: int, width_out: int) -> tuple[nn.Module, ...]:
    return _Linear(width_in, width_out, bias=False), nn.BatchNorm1d(width_out), nn.ReLU()


def build_encoders(recipe: Recipe, shapes: Mapping[str, tuple[int, ...]]) -> nn.ModuleDict:
    """The recipe's encoders by modality, in the recipe's order; each has a `width`.

    Args:
        shapes: by modality, the shape of a sample, (channels,), or of a frame, (joints, coordinates).
    """
    steps = recipe.data.steps
    encoders = nn.ModuleDict()
    for modality in recipe.data.modalities:
        size, *coordinates = shapes[modality]
        if coordinates:
            encoders[modality] = SkeletonEncoder(size, coordinates[0], steps)
        else:
            encoders[modality] = SignalEncoder(size, steps, recipe.encoder.imu)
    return encoders
