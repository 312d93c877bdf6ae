"""Logistic regression on frozen features, along the axes in which those of unlabelled recordings vary."""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmssl.training.encoders import Decorrelation, Head
from mmssl.training.model import Model

_SHRINKAGE = 0.3
"""Of the largest variance, added to each: what varies little is noise, and is not brought up to the rest."""
_INVERSE_PENALTY = 10.0
"""scikit-learn's C, for inputs as long as the root of their number."""


def decorrelate(model: Model, features: Mapping[str, Tensor]) -> None:
    """Set the layers of a model's heads by features of unlabelled recordings, (recordings, width) by modality."""
    if not model.recipe.finetune.logistic:
        return
    heads = [cast(Head, head) for head in model.heads.values()]
    for name, own in features.items():
        if own.isfinite().all():
            first, *others = [cast(Decorrelation, head.hidden[name]) for head in heads if name in head.hidden]
            set_axes(first, own)
            for other in others:
                other.load_state_dict(first.state_dict())


@torch.no_grad()
def set_axes(layer: Decorrelation, features: Tensor) -> None:
    """Set a layer to the principal axes of features, (recordings, width), each over its standard deviation.

    Where there are fewer axes than it has outputs, the other outputs are 0.
    """
    centre = features.double().mean(dim=0)
    _, spread, axes = torch.linalg.svd(features.double() - centre, full_matrices=False)
    axes, variances = axes[: layer.linear.out_features], spread[: layer.linear.out_features].square()
    weight = torch.zeros_like(layer.linear.weight, dtype=torch.float64)
    if variances[0] > 0:
        used = variances > 1e-9 * variances[0]
        weight[: len(axes)] = axes * (used / (variances + _SHRINKAGE * variances[0]).sqrt())[:, None]
    layer.linear.weight.copy_(weight)
    layer.linear.bias.copy_(-weight @ centre)


def fit(head: Head, features: Mapping[str, Tensor], labels: Tensor) -> tuple[float, float]:
    """Fit the classifier of a head whose layers are set; nothing is drawn.

    Args:
        features: by modality, (recordings, width).
        labels: class index of each, (recordings,).

    Returns:
        The mean cross-entropy and the accuracy on these recordings.
    """
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    with torch.no_grad():
        inputs = head.joined(features).double().cpu().numpy()
    classes, (count, width) = head.classifier.out_features, inputs.shape
    right = np.eye(classes)[labels.cpu().numpy()]

    def losses(flat: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        weight, bias = flat[:-classes].reshape(classes, width), flat[-classes:]
        logs = log_softmax(inputs @ weight.T + bias, axis=1)
        wrong = np.exp(logs) - right
        penalty = weight / (_INVERSE_PENALTY * width)
        gradient = np.concatenate([(wrong.T @ inputs + penalty).ravel(), wrong.sum(axis=0)])
        return -float((logs * right).sum()) + float((weight * penalty).sum()) / 2, gradient

    found: Any = minimize(
        losses, np.zeros(classes * (width + 1)), jac=True, method="L-BFGS-B", options={"maxiter": 500}
    )
    weight, bias = found.x[:-classes].reshape(classes, width), found.x[-classes:]
    with torch.no_grad():
        for own, value in ((head.classifier.weight, weight), (head.classifier.bias, bias)):
            own.copy_(torch.from_numpy(value))
    logs = log_softmax(inputs @ weight.T + bias, axis=1)
    return -float((logs * right).sum()) / count, float(np.mean(logs.argmax(axis=1) == right.argmax(axis=1)))
