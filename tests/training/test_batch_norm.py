"""Statistics of batch norms against the formula, and what they do to a trained model."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from small import KNOBS
from torch import Tensor, nn

from mmssl import Recipe, Recordings
from mmssl.data.protocols import split
from mmssl.recipe import SignalEncoderKnobs
from mmssl.training.batch_norm import renew
from mmssl.training.encoders import SignalEncoder, SkeletonEncoder
from mmssl.training.prepared import Prepared
from mmssl.training.trial import train

SMALL = KNOBS | {
    "data.validation_subjects": ["chris"],
    "pretrain.epochs": 2,
    "finetune.batch_norm": "renewed",
    "augment.imu.scale.probability": 1,
    "augment.skeleton.scale.probability": 1,
}


def parts(*lengths: int) -> Sequence[Tensor]:
    return torch.arange(sum(lengths)).split(list(lengths))


def test_the_statistics_are_the_recordings_own() -> None:
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double) * 3 + 5
    norm = nn.BatchNorm1d(4).double()
    norm.get_buffer("running_mean").fill_(77)
    renew([norm], lambda rows: norm(x[rows]), parts(9))
    np.testing.assert_allclose(norm.get_buffer("running_mean"), x.numpy().mean(axis=0))
    np.testing.assert_allclose(norm.get_buffer("running_var"), x.numpy().var(axis=0, ddof=1))
    assert not norm.training
    assert norm.momentum == 0.1, "training goes on as it would have"


def test_of_several_parts_they_are_the_mean() -> None:
    x = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    norm = nn.BatchNorm1d(4).double()
    renew([norm], lambda rows: norm(x[rows]), parts(3, 3, 3))
    thirds = x.numpy().reshape(3, 3, 4)
    np.testing.assert_allclose(norm.get_buffer("running_mean"), thirds.mean(axis=1).mean(axis=0))
    np.testing.assert_allclose(norm.get_buffer("running_var"), thirds.var(axis=1, ddof=1).mean(axis=0))


@pytest.mark.parametrize(
    ("encoder", "shape"),
    [
        (SignalEncoder(6, 16, SignalEncoderKnobs(dropout=0.5)), (16, 6)),
        (SkeletonEncoder(20, 3, 16), (16, 20, 3)),
    ],
)
def test_a_frozen_encoder_then_computes_what_it_did_on_all_of_them_as_one_batch(
    encoder: nn.Module, shape: tuple[int, ...]
) -> None:
    x = torch.randn(200, *shape, generator=torch.Generator().manual_seed(0)) * 2 + 1
    renew([encoder], lambda rows: encoder(x[rows]), parts(200))
    frozen = encoder(x)
    assert not any(module.training for module in encoder.modules())
    for module in encoder.modules():
        module.train(isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)))
    # Frozen it divides by the unbiased deviation, in training by the biased one: 1 in 400.
    torch.testing.assert_close(frozen, encoder(x), rtol=0.05, atol=0.05)


def test_pretraining_stays_and_the_encoders_take_the_training_recordings_own(tiny: Recordings) -> None:
    recipe = Recipe().with_knobs(SMALL)
    kept = recipe.with_knobs({"finetune.batch_norm": "running"})
    assert recipe.pretraining_id() == kept.pretraining_id(), "they share their pre-training"
    assert recipe.content_id() != kept.content_id()
    renewed, running = (train(one, tiny).model for one in (recipe, kept))
    assert renewed is not None
    assert running is not None
    for (name, weight), (_, same) in zip(
        renewed.encoders.named_parameters(), running.encoders.named_parameters(), strict=True
    ):
        assert torch.equal(weight, same), name
    prepared = Prepared.of(tiny, 16, ("imu", "skeleton"))
    imu = prepared.selected(renewed, split(tiny, recipe.data).train)["imu"]
    convolution, norm, *_ = renewed.encoders["imu"].get_submodule("convolutions").children()
    seen = convolution(imu.transpose(1, 2)).detach()
    torch.testing.assert_close(norm.get_buffer("running_mean"), seen.mean(dim=(0, 2)))
    torch.testing.assert_close(norm.get_buffer("running_var"), seen.transpose(0, 1).flatten(1).var(dim=1))


def test_so_do_encoders_that_never_trained_and_those_that_trained_with_labels(tiny: Recordings) -> None:
    unlabelled_too = {"pretrain.epochs": 0, "finetune.labels": 0.34, "finetune.batch_norm": "running"}
    for knobs in (unlabelled_too, {"pretrain.epochs": 0, "finetune.encoders": "trained"}):
        recipe = Recipe().with_knobs(SMALL | knobs)
        model = train(recipe, tiny).model
        assert model is not None
        prepared = Prepared.of(tiny, 16, ("imu", "skeleton"))
        tensors = prepared.selected(model, split(tiny, recipe.data).train)
        convolution, norm, *_ = model.encoders["imu"].get_submodule("convolutions").children()
        seen = convolution(tensors["imu"].transpose(1, 2)).detach()
        torch.testing.assert_close(norm.get_buffer("running_mean"), seen.mean(dim=(0, 2)))
        if recipe.finetune.encoders == "trained":
            head = model.head(("imu", "skeleton"))
            features = model.encode(tensors)["imu"]
            linear, norm, *_ = head.hidden["imu"].children()
            seen = linear(features).detach().mean(dim=0)
            # The norms before it divided by the biased deviation while it was counted: 1 in 100 for these few.
            torch.testing.assert_close(norm.get_buffer("running_mean"), seen, rtol=0.05, atol=0.01)
