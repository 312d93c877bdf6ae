"""Trials that pre-train as one model come to what they come to apart."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mmssl import Recordings
from mmssl.data.protocols import split
from mmssl.files import Folder
from mmssl.recipe import Pretrain, Recipe
from mmssl.training.adam import Adam
from mmssl.training.model import Model
from mmssl.training.preparation import Standardisation
from mmssl.training.prepared import Prepared
from mmssl.training.pretraining import Pretraining, StoppedError, learning_rate, pretrain
from mmssl.training.snapshot import Epoch, Snapshot
from mmssl.training.together import pretrain_together

KNOBS: dict[str, Any] = {
    "data.steps": 16,
    "encoder.imu.layers": 2,
    "encoder.imu.heads": 2,
    "encoder.imu.feedforward": 16,
    "encoder.imu.dropout": 0.3,
    "encoder.projector.hidden": 16,
    "encoder.projector.width": 8,
    "pretrain.batch_size": 9,
    "pretrain.epochs": 3,
    "pretrain.lr": 3e-5,
    "data.train_subjects": ("anna", "ben", "chris"),
    "data.validation_subjects": ("chris",),
}


def trainings(tiny: Recordings, trials: list[dict[str, Any]]) -> list[Pretraining]:
    made: list[Pretraining] = []
    for knobs in trials:
        recipe = Recipe().with_knobs({**KNOBS, **knobs})
        prepared = Prepared.of(tiny, recipe.data.steps, recipe.data.modalities)
        imu = Prepared.of(tiny, recipe.data.steps, ["imu"]).inputs["imu"]
        rows = split(tiny, recipe.data).train
        torch.manual_seed(recipe.seed)
        model = Model.fresh(recipe, prepared.description, {"imu": Standardisation.fit(imu[rows])})
        # In float32 Adam makes steps of full length of rounding errors, how large depending on the processor.
        model.encoders.double(), model.projectors.double()
        tensors = {name: tensor.double() for name, tensor in prepared.selected(model, rows).items()}
        made.append(Pretraining(model, tensors, seed=recipe.seed + 1))
    return made


def assert_same(apart: list[Pretraining], together: list[Pretraining]) -> None:
    for one, other in zip(apart, together, strict=True):
        assert len(one.epochs) == len(other.epochs) == 3
        for epoch, like in zip(one.epochs, other.epochs, strict=True):
            assert epoch.keys() == like.keys()
            for name, value in epoch.items():
                expected = value if isinstance(value, str) else pytest.approx(value, rel=1e-5, abs=1e-5)
                assert like[name] == expected, (epoch["epoch"], name)
        # Not the weights: of some the gradient is nothing but rounding, which Adam makes steps of full length of.
        mine, theirs = (trial.model.embed(trial.model.encode(trial.tensors)) for trial in (one, other))
        for name, embeddings in mine.items():
            torch.testing.assert_close(theirs[name], embeddings, rtol=1e-4, atol=1e-4)


POINTS = [
    {"objective.lambda": 1.0, "objective.mu": 25.0, "seed": 1},
    {"objective.lambda": 50.0, "objective.mu": 5.0, "seed": 1},
    {"objective.lambda": 10.0, "objective.mu": 10.0, "seed": 2, "data.validation_subjects": ("anna",)},
]


@pytest.mark.parametrize(
    "common",
    [
        {},
        {"data.modalities": ("skeleton",)},
        {"data.modalities": ("imu",), "encoder.imu.dropout": 0.0, "pretrain.schedule": "cosine"},
        {"objective.name": "simclr", "data.modalities": ("skeleton",)},
        {"objective.name": "cmc"},
        {"objective.name": "visreg"},
        {"objective.name": "vicreg_within_across"},
        {"encoder.imu.pooling": "moments", "augment.crop.probability": 0.5, "augment.imu.rotate.probability": 0.5},
    ],
    ids=["pair", "skeleton", "imu", "simclr", "cmc", "visreg", "within_across", "moments"],
)
def test_trials_that_differ_in_weights_of_the_loss_seed_and_fold(tiny: Recordings, common: dict[str, Any]) -> None:
    apart, together = (trainings(tiny, [{**point, **common} for point in POINTS]) for _ in range(2))
    for one in apart:
        pretrain(one)
    pretrain_together(together)
    assert_same(apart, together)
    first, _, third = together
    assert first.epochs != third.epochs


def test_one_that_diverges_leaves_the_others_alone(tiny: Recordings) -> None:
    points = [POINTS[0], {**POINTS[1], "objective.lambda": 1e300}, POINTS[2]]
    apart, together = (trainings(tiny, points) for _ in range(2))
    for one in (apart[0], apart[2]):
        pretrain(one)
    with pytest.raises(StoppedError) as alone:
        pretrain(apart[1])
    pretrain_together(together)
    assert str(together[1].stopped) == str(alone.value)
    assert_same([apart[0], apart[2]], [together[0], together[2]])


def test_all_that_diverge_end_it(tiny: Recordings) -> None:
    together = trainings(tiny, [{**point, "objective.lambda": 1e300} for point in POINTS])
    pretrain_together(together)
    assert [len(one.epochs) for one in together] == [1, 1, 1]


class Killed(BaseException):
    """As a process that dies: nothing in between may catch it."""


def test_a_process_that_died_goes_on_with_all_of_them(tiny: Recordings, tmp_path: Path) -> None:
    points = [POINTS[0], {**POINTS[1], "objective.lambda": 1e300}, POINTS[2]]
    whole, cut, resumed = (trainings(tiny, points) for _ in range(3))
    pretrain_together(whole)

    def die(epoch: Epoch) -> None:
        if epoch["epoch"] == 3:
            raise Killed

    snapshot = Snapshot(Folder(tmp_path), "group.safetensors", seconds_between=0)
    cut[2]._on_epoch = die
    with pytest.raises(Killed):
        pretrain_together(cut, snapshot)
    pretrain_together(resumed, snapshot)
    assert str([one.epochs for one in resumed]) == str([one.epochs for one in whole]), "nan too"
    assert [str(one.stopped) for one in resumed] == [str(one.stopped) for one in whole]
    for one, other in zip(whole, resumed, strict=True):
        for part in ("encoders", "projectors"):
            theirs = other.model.parts[part].state_dict()
            for name, weight in one.model.parts[part].state_dict().items():
                assert torch.equal(theirs[name], weight) or weight.isnan().any(), name


def test_a_pair_is_cropped_alike_and_two_views_of_one_modality_apart(tiny: Recordings) -> None:
    crop = {"augment.crop.probability": 1.0, "augment.crop.strength": 0.5}
    alone = crop | {"data.modalities": ("imu",)}
    for knobs, alike in ((crop, True), (alone, False)):
        [training] = trainings(tiny, [knobs])
        time = torch.linspace(0, 1, 16)
        for tensor in training.tensors.values():
            tensor.copy_(time.view(1, 16, *(1,) * (tensor.dim() - 2)).expand_as(tensor))
        first, second = (view.flatten(2)[..., 0] for view in training.views(torch.arange(9)))
        assert torch.equal(first, second) == alike
        assert not torch.equal(first, time.expand(9, 16))


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_the_rate_rises_and_falls_as_torchs_schedulers_have_it(steps: int) -> None:
    rise = max(1, round(steps / 10))
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
    schedulers = torch.optim.lr_scheduler
    expected = schedulers.SequentialLR(
        optimizer,
        [
            # Torch's first step is at the start factor: ours, one of `rise`, is the first above 0.
            schedulers.LinearLR(optimizer, start_factor=1 / rise, total_iters=max(1, rise - 1)),
            schedulers.CosineAnnealingLR(optimizer, T_max=max(1, steps - rise)),
        ],
        milestones=[rise],
    )
    knobs = Pretrain(lr=0.5, schedule="cosine")
    for step in range(steps):
        assert learning_rate(knobs, step, steps) == pytest.approx(expected.get_last_lr()[0], rel=1e-6), step
        optimizer.step()
        expected.step()


def test_a_schedule_is_what_the_optimizer_steps_by(tiny: Recordings, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    take_step = Adam.step

    def step(self: Adam, closure: Any = None) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return take_step(self, closure)

    monkeypatch.setattr(Adam, "step", step)
    [training] = trainings(tiny, [{"pretrain.schedule": "cosine", "pretrain.lr": 1e-3}])
    pretrain(training)
    steps = len(training.batches()) * 3
    assert rates == [learning_rate(training.model.recipe.pretrain, i, steps) for i in range(steps)]
    assert max(rates) == 1e-3
    assert rates[-1] < 2e-4
