"""Heads of logistic regression on features along the axes of unlabelled recordings."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from mmssl import Recipe, Recordings, UserError
from mmssl.data.protocols import split
from mmssl.recipe import Finetune
from mmssl.training.encoders import Decorrelation, Head
from mmssl.training.logistic import fit, set_axes
from mmssl.training.model import Model
from mmssl.training.prepared import Prepared
from mmssl.training.trial import Outcome, run_trial
from tests.training.test_trial import SMALL

LOGISTIC = {**SMALL, "finetune.head": "logistic"}


def features_of(count: int, width: int, seed: int = 0) -> torch.Tensor:
    """Correlated, and of unlike scales."""
    draws = np.random.default_rng(seed)
    mixed = draws.normal(size=(count, width)) @ draws.normal(size=(width, width)) * np.geomspace(10, 0.01, width)
    return torch.from_numpy(mixed + draws.normal(size=width)).float()


@pytest.mark.parametrize(("count", "width"), [(300, 40), (300, 200), (60, 200), (3, 5)])
def test_axes_are_principal_and_each_is_divided_by_its_deviation(count: int, width: int) -> None:
    features = features_of(count, width)
    layer = Decorrelation(width)
    set_axes(layer, features)
    kept = min(128, width, count - 1)
    peer = PCA(kept).fit(features.double().numpy())
    variances = peer.explained_variance_ * (count - 1) / count
    expected = peer.transform(features.double().numpy()) / np.sqrt(variances + 0.3 * variances[0]) / np.sqrt(count)
    with torch.no_grad():
        linear, found = layer.linear(features).numpy(), layer(features).numpy()
    strong = variances > 1e-6 * variances[0]
    assert np.abs(linear[:, :kept][:, strong]) == pytest.approx(np.abs(expected[:, strong]), abs=1e-4)
    assert linear[:, kept:] == pytest.approx(0, abs=1e-5)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)


def test_one_recording_has_no_axes_and_is_no_error() -> None:
    layer = Decorrelation(4)
    set_axes(layer, torch.ones(1, 4))
    assert not layer(torch.ones(2, 4)).any()


def head_and_features(count: int = 60) -> tuple[Head, dict[str, torch.Tensor], torch.Tensor]:
    features = {"imu": features_of(count, 7, 1), "skeleton": features_of(count, 150, 2)}
    labels = torch.from_numpy(np.random.default_rng(3).integers(0, 4, count))
    head = Head({name: own.shape[1] for name, own in features.items()}, Finetune(head="logistic"), classes=5)
    for name, own in features.items():
        layer = head.hidden[name]
        assert isinstance(layer, Decorrelation)
        set_axes(layer, own)
    return head, features, labels


def test_the_classifier_is_that_of_scikit_learn() -> None:
    head, features, labels = head_and_features()
    loss, accuracy = fit(head, features, labels)
    inputs = head.joined(features).detach().double().numpy()
    inputs *= np.sqrt(inputs.shape[1])
    peer = LogisticRegression(C=10, tol=1e-8, max_iter=10_000).fit(inputs, labels.numpy())
    with torch.no_grad():
        found = head(features).softmax(dim=1).double().numpy()
    assert found[:, :4] == pytest.approx(peer.predict_proba(inputs), abs=2e-3)
    assert found[:, 4].max() < 0.01, "no recording has this class"
    assert accuracy == pytest.approx(peer.score(inputs, labels.numpy()))
    assert loss == pytest.approx(-np.log(found[np.arange(60), labels.numpy()]).mean(), abs=1e-3)


def test_the_order_of_recordings_does_not_matter() -> None:
    head, features, labels = head_and_features()
    fit(head, features, labels)
    with torch.no_grad():
        before = head(features).softmax(dim=1)
    order = torch.from_numpy(np.random.default_rng(4).permutation(60))
    fit(head, {name: own[order] for name, own in features.items()}, labels[order])
    with torch.no_grad():
        assert head(features).softmax(dim=1).numpy() == pytest.approx(before.numpy(), abs=2e-3)


def outcome_of(recordings: Recordings, **knobs: object) -> Outcome:
    recipe = Recipe().with_knobs({**LOGISTIC, **knobs})
    prepared = Prepared.of(recordings, recipe.data.steps, recipe.data.modalities)
    return run_trial(recipe, prepared, split(recordings, recipe.data))


def test_a_trial_fits_its_heads_by_what_pre_training_was_shown(tiny: Recordings) -> None:
    """With few labels too, the axes are of all recordings that pre-training was shown, and of no others."""
    knobs = {"finetune.labels": 0.01}
    outcome = outcome_of(tiny, **knobs)
    model = outcome.model
    assert model is not None
    assert outcome.status == "COMPLETE"
    recipe = model.recipe
    shown = split(tiny, recipe.data).pretrain
    prepared = Prepared.of(tiny, recipe.data.steps, recipe.data.modalities)
    features = model.encode(prepared.selected(model, shown))
    for head in model.heads.values():
        assert isinstance(head, Head)
        for name, layer in head.hidden.items():
            own = Decorrelation(features[name].shape[1])
            set_axes(own, features[name])
            with torch.no_grad():
                found, expected = layer(features[name]), own(features[name])
            assert (found @ found.T).numpy() == pytest.approx((expected @ expected.T).numpy(), abs=1e-4)
    assert outcome_of(tiny, **knobs).metrics == outcome.metrics
    again = Model.from_files(model.files(), "here")
    assert (again.predict(tiny), again.predict(tiny, ["imu"])) == (model.predict(tiny), model.predict(tiny, ["imu"]))


@pytest.mark.parametrize("knob", ["epochs", "batch_size", "lr", "standardise", "hidden", "views"])
def test_knobs_of_training_by_steps_are_read_no_more(tiny: Recordings, knob: str) -> None:
    assert f"finetune.{knob}" in Recipe().with_knobs(LOGISTIC).unread()
    others = {"epochs": 7, "batch_size": 3, "lr": 0.1, "standardise": True, "hidden": 9, "views": 2}
    other, usual = outcome_of(tiny, **{f"finetune.{knob}": others[knob]}), outcome_of(tiny)
    assert other.metrics == usual.metrics


def test_encoders_that_labels_train_have_a_head_that_trains_along() -> None:
    trained = Recipe().with_knobs({**LOGISTIC, "finetune.encoders": "trained"})
    assert "finetune.head" in trained.unread()
    assert not {"finetune.epochs", "finetune.hidden"} & trained.unread().keys()
    with pytest.raises(UserError, match=r"finetune\.head"):
        Recipe().with_knobs({"finetune.head": "linear"})
