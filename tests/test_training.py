import math

import numpy as np
import pytest
import torch

from mmssl import Recipe, Recordings, UserError
from mmssl.data.protocols import split
from mmssl.training import Epoch, Outcome, Prepared, run_trial, train

SMALL = {
    "data.steps": 16,
    "data.validation_subjects": ["chris"],
    "encoder.imu.layers": 1,
    "encoder.imu.feedforward": 32,
    "encoder.projector.hidden": 32,
    "encoder.projector.width": 16,
    "pretrain.epochs": 3,
    "pretrain.batch_size": 8,
    "finetune.epochs": 5,
    "finetune.hidden": 16,
    "augment.imu.jitter.probability": 0.5,
    "augment.skeleton.rotate.probability": 0.5,
}


@pytest.fixture
def recipe() -> Recipe:
    return Recipe().with_knobs(SMALL)


def bits(outcome: Outcome) -> dict[str, bytes]:
    assert outcome.model is not None
    return outcome.model.files()


def test_one_seed_gives_the_same_bits_twice_and_another_seed_others(tiny: Recordings, recipe: Recipe) -> None:
    torch.manual_seed(1)
    first = train(recipe, tiny)
    torch.manual_seed(2)  # whatever a worker did before must not show
    torch.rand(5)
    second = train(recipe, tiny)
    assert bits(first) == bits(second)
    assert first.metrics == second.metrics
    assert first.predictions == second.predictions
    other = train(recipe.with_knobs({"seed": 29}), tiny)
    assert bits(other)["model.safetensors"] != bits(first)["model.safetensors"]


def test_a_trial_leaves_torchs_own_generator_alone(tiny: Recordings, recipe: Recipe) -> None:
    before = torch.get_rng_state()
    train(recipe, tiny)
    assert torch.equal(before, torch.get_rng_state())


def test_the_loss_is_the_weighted_sum_of_its_terms(tiny: Recordings, recipe: Recipe) -> None:
    epochs: list[Epoch] = []
    weighted = recipe.with_knobs({"objective.lambda": 3.0, "objective.mu": 5.0, "objective.nu": 2.0})
    outcome = train(weighted, tiny, on_epoch=epochs.append)
    pretrain = [epoch for epoch in epochs if epoch["phase"] == "pretrain"]
    assert [epoch["epoch"] for epoch in pretrain] == [1, 2, 3]
    assert [epoch["epoch"] for epoch in epochs if epoch["phase"] == "finetune"] == [1, 2, 3, 4, 5]
    for epoch in [*pretrain, outcome.metrics]:
        terms = [float(epoch[f"train.{name}"]) for name in ("invariance", "variance", "covariance")]
        assert epoch["train.loss"] == pytest.approx(3 * terms[0] + 5 * terms[1] + 2 * terms[2], rel=1e-5)


def test_the_validation_and_test_sides_have_no_part_in_training(tiny: Recordings, recipe: Recipe) -> None:
    def changed(subjects: set[str]) -> Recordings:
        classes = tiny.description.classes
        return Recordings(
            tiny.description,
            [
                row.model_copy(update={"label": classes[0]}) if row.subject in subjects else row for row in tiny.rows
            ],
            [s * 3 if row.subject in subjects else s for row, s in zip(tiny.rows, tiny.skeleton, strict=True)],
            [i * 5 + 1 if row.subject in subjects else i for row, i in zip(tiny.rows, tiny.imu, strict=True)],
        )  # fmt: skip

    plain = train(recipe, tiny)
    assert bits(train(recipe, changed({"chris", "dora"}))) == bits(plain)
    assert bits(train(recipe, changed({"anna"}))) != bits(plain)


def test_predictions_name_every_held_out_recording_once(tiny: Recordings, recipe: Recipe) -> None:
    outcome = train(recipe, tiny)
    held_out = [row for row in tiny.rows if row.subject == "chris"]
    assert [row["recording_id"] for row in outcome.predictions] == [row.recording_id for row in held_out]
    assert [row["label"] for row in outcome.predictions] == [row.label for row in held_out]
    right = np.mean([row["label"] == row["predicted"] for row in outcome.predictions])
    assert outcome.metrics["val.accuracy"] == pytest.approx(right)
    assert all(1 / 3 <= float(row["confidence"]) <= 1 for row in outcome.predictions)


def test_fine_tuning_leaves_the_encoders_as_they_were(tiny: Recordings, recipe: Recipe) -> None:
    short, long = (train(recipe.with_knobs({"finetune.epochs": n}), tiny).model for n in (1, 9))
    assert short is not None
    assert long is not None
    for name, tensor in short.encoders.state_dict().items():
        assert torch.equal(tensor, long.encoders.state_dict()[name]), name
    assert not torch.equal(short.head.state_dict()["classifier.weight"], long.head.state_dict()["classifier.weight"])


def test_training_learns_what_untrained_weights_do_not_know(tiny: Recordings, recipe: Recipe) -> None:
    longer = recipe.with_knobs({"pretrain.epochs": 20, "finetune.epochs": 60})
    outcome = train(longer, tiny)
    assert outcome.metrics["val.accuracy"] > 0.8
    assert outcome.metrics["train.invariance"] < train(recipe, tiny).metrics["train.invariance"]


@pytest.mark.parametrize(
    ("name", "modalities", "terms"),
    [
        ("barlow_twins", ["imu", "skeleton"], {"on_diagonal", "off_diagonal"}),
        ("barlow_twins", ["imu"], {"on_diagonal", "off_diagonal"}),
        ("simclr", ["skeleton"], {"positive", "negative"}),
        ("cmc", ["imu", "skeleton"], {"positive", "negative"}),
    ],
)
def test_the_other_objectives_train_and_record_their_terms(
    tiny: Recordings, recipe: Recipe, name: str, modalities: list[str], terms: set[str]
) -> None:
    chosen = recipe.with_knobs({"objective.name": name, "data.modalities": modalities, "pretrain.epochs": 10})
    epochs: list[Epoch] = []
    outcome = train(chosen, tiny, on_epoch=epochs.append)
    assert outcome.status == "COMPLETE", outcome.cause
    assert terms <= {metric.removeprefix("train.") for metric in outcome.metrics}
    losses = [float(epoch["train.loss"]) for epoch in epochs if epoch["phase"] == "pretrain"]
    assert losses[-1] < losses[0]
    for modality in modalities:
        assert 0.01 < outcome.metrics[f"train.{modality}.std"] <= 1.01


@pytest.mark.parametrize(("name", "modalities"), [("simclr", ["imu", "skeleton"]), ("cmc", ["imu"])])
def test_an_objective_refuses_views_it_is_not_made_for(recipe: Recipe, name: str, modalities: list[str]) -> None:
    with pytest.raises(UserError, match=rf"objective\.name: {name} takes"):
        recipe.with_knobs({"objective.name": name, "data.modalities": modalities})


@pytest.mark.parametrize("modality", ["imu", "skeleton"])
def test_one_modality_trains_on_two_views_of_it(tiny: Recordings, recipe: Recipe, modality: str) -> None:
    outcome = train(recipe.with_knobs({"data.modalities": [modality]}), tiny)
    assert outcome.status == "COMPLETE"
    assert outcome.model is not None
    assert list(outcome.model.encoders) == [modality]
    assert outcome.metrics["train.invariance"] > 0, "the two views must differ"


def test_encoders_may_stay_untrained(tiny: Recordings, recipe: Recipe) -> None:
    outcome = train(recipe.with_knobs({"pretrain.epochs": 0}), tiny)
    assert outcome.status == "COMPLETE"
    assert "train.loss" not in outcome.metrics


def test_a_loss_that_is_not_finite_ends_the_trial_with_epoch_and_term(tiny: Recordings, recipe: Recipe) -> None:
    epochs: list[Epoch] = []
    outcome = train(recipe.with_knobs({"pretrain.lr": 1e30, "pretrain.epochs": 50}), tiny, on_epoch=epochs.append)
    assert outcome.status == "DIVERGED"
    assert outcome.cause.startswith(f"epoch {len(epochs)}: ")
    assert len(epochs) < 50
    assert not math.isfinite(float(epochs[-1]["train.loss"]))
    assert outcome.model is None


def test_a_head_that_diverges_ends_the_trial_too(tiny: Recordings, recipe: Recipe) -> None:
    outcome = train(recipe.with_knobs({"finetune.lr": 1e30}), tiny)
    assert outcome.status == "DIVERGED"
    assert outcome.cause.startswith("fine-tuning epoch ")
    assert "val.accuracy" not in outcome.metrics


def test_encoders_that_the_last_step_broke_are_not_fine_tuned(tiny: Recordings, recipe: Recipe) -> None:
    outcome = train(recipe.with_knobs({"pretrain.lr": 1e30, "pretrain.epochs": 1, "pretrain.batch_size": 64}), tiny)
    assert outcome.status == "DIVERGED"
    assert "features are not finite" in outcome.cause


def test_collapsed_embeddings_end_the_trial(tiny: Recordings, recipe: Recipe) -> None:
    invariance_alone = {"objective.mu": 0.0, "objective.nu": 0.0, "pretrain.lr": 0.01, "pretrain.epochs": 200}
    outcome = train(recipe.with_knobs(invariance_alone), tiny)
    assert outcome.status == "COLLAPSED"
    assert "standard deviation" in outcome.cause
    assert outcome.cause.startswith("epoch ")


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_smallest_training_sides_train(tiny: Recordings, recipe: Recipe, count: int) -> None:
    few = {row.recording_id for row in [row for row in tiny.rows if row.subject != "chris"][:count]}
    part = tiny.where(lambda row: row.recording_id in few or row.subject == "chris")
    subjects = sorted({row.subject for row in part.rows})
    small = recipe.with_knobs({"data.train_subjects": subjects, "pretrain.batch_size": 2, "finetune.batch_size": 2})
    assert train(small, part).status == "COMPLETE"


def test_one_training_recording_is_refused(tiny: Recordings, recipe: Recipe) -> None:
    part = tiny.where(lambda row: row.subject == "chris" or row.recording_id == "anna-slow-0")
    with pytest.raises(UserError, match="2 at least"):
        train(recipe.with_knobs({"data.train_subjects": ["anna", "chris"]}), part)


def test_preparation_is_reused_as_it_is(tiny: Recordings, recipe: Recipe) -> None:
    prepared = Prepared.of(tiny, recipe)
    copies = {name: array.copy() for name, array in prepared.inputs.items()}
    first = run_trial(recipe, prepared, split(tiny, recipe.data))
    second = run_trial(recipe, prepared, split(tiny, recipe.data))
    assert bits(first) == bits(second)
    for name, array in prepared.inputs.items():
        assert np.array_equal(array, copies[name]), "a trial changed what all trials share"
