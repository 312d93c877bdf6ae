"""What masked reconstruction hides, how its error is counted, and what it trains."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
import torch

from mmssl.data.description import Description, Signal, Skeleton
from mmssl.data.protocols import split
from mmssl.data.recordings import Recordings
from mmssl.errors import UserError
from mmssl.recipe import Recipe, Reconstruct
from mmssl.study.presets import preset
from mmssl.training.masking import Masking, mask, parts
from mmssl.training.model import Model
from mmssl.training.preparation import Standardisation
from mmssl.training.prepared import Prepared
from mmssl.training.snapshot import Epoch
from mmssl.training.trial import fresh, run_trial

ACCELERATION, GYROSCOPE = ("ax", "ay", "az"), ("gx", "gy", "gz")
LAB = Description(
    name="lab",
    classes=("walk", "sit"),
    modalities={
        "body": Skeleton(
            joints=("hip", "neck", "hand"), coordinates=("x", "y"), root_joint="hip", scale_joints=("hip", "neck")
        ),
        "wrist": Signal(channels=("ax", "gx", "ay", "gy", "az", "gz", "emg"), sensors=((ACCELERATION, GYROSCOPE),)),
    },
)
BATCH, STEPS = 400, 50


def drawn(modality: str, **knobs: float) -> npt.NDArray[np.bool_]:
    """What is hidden of a large batch, (BATCH, STEPS, values)."""
    x = torch.zeros(BATCH, STEPS, *LAB.modalities[modality].shape)
    hidden = mask(x, Reconstruct.model_validate(knobs), parts(LAB, modality), torch.Generator().manual_seed(3))
    assert hidden.shape == x.shape
    return hidden.flatten(2).numpy()


def test_what_is_hidden_as_one() -> None:
    assert parts(LAB, "body").int().tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]]
    assert parts(LAB, "wrist").int().tolist() == [
        [1, 0, 1, 0, 1, 0, 0],
        [0, 1, 0, 1, 0, 1, 0],
        [0, 0, 0, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("modality", ["body", "wrist"])
def test_joints_and_sensors_are_hidden_whole_and_never_all(modality: str) -> None:
    hidden = drawn(modality, time=0, parts=0.3)
    assert (hidden == hidden[:, :1]).all()
    groups = [np.flatnonzero(row) for row in parts(LAB, modality).numpy()]
    each = np.stack([hidden[:, 0, group].all(axis=1) for group in groups], axis=1)
    assert all((hidden[:, 0, group] == each[:, [i]]).all() for i, group in enumerate(groups))
    assert not each.all(axis=1).any()
    # Each of three with 0.3; where chance takes all three, one of them is spared.
    assert each.mean() == pytest.approx(0.3 - 0.3**3 / 3, abs=0.03)


def test_time_is_hidden_in_spans_of_all_values_and_never_all() -> None:
    hidden = drawn("wrist", time=0.4, span=5, parts=0)
    assert (hidden == hidden[:, :, :1]).all()
    times = hidden[:, :, 0]
    assert times.mean() == pytest.approx(0.4, abs=0.02)
    assert not times.all(axis=1).any()

    def lengths(row: npt.NDArray[np.bool_]) -> Iterator[int]:
        """Of the hidden stretches that touch neither end."""
        edges = np.flatnonzero(np.diff(row.astype(int)))
        for start, end in pairwise(edges):
            if row[end]:
                yield int(end - start)

    inside = [length for row in times for length in lengths(row)]
    assert inside
    assert set(np.mod(inside, 5)) == {0}
    begins = np.argwhere(np.diff(times.astype(int), axis=1) == 1)[:, 1] % 5
    assert set(begins) == {0, 1, 2, 3, 4}


def test_nothing_is_hidden_where_neither_is_asked_for() -> None:
    assert not drawn("body", time=0, parts=0).any()


def test_a_span_as_long_as_the_recording_leaves_a_part() -> None:
    hidden = drawn("body", time=0.9, span=STEPS, parts=0)
    assert 0.2 < hidden.mean() < 0.9
    assert not hidden.all(axis=(1, 2)).any()


def masking() -> tuple[Masking, torch.Tensor, torch.Tensor, torch.Tensor]:
    """With features, a view and what is hidden of it."""
    torch.manual_seed(1)
    recipe = Recipe().with_knobs({"data.modalities": ["body", "wrist"], "reconstruct.weight": 1})
    model = Model.fresh(recipe, LAB, {"wrist": Standardisation(np.zeros(7, np.float32), np.ones(7, np.float32))})
    own = Masking(model)
    view = torch.randn(12, STEPS, 7) * 3 + 1
    hidden = own.mask(view, "wrist", torch.Generator().manual_seed(2))
    return own, torch.randn(12, model.widths["wrist"]), view, hidden


def test_the_error_by_a_loop() -> None:
    own, features, view, hidden = masking()
    error = own.error(features, "wrist", view, hidden).item()
    given = own.decoders["wrist"](features).detach().numpy().reshape(12, STEPS, 7).astype(np.float64)
    wrong = blind = 0.0
    for i, step, channel in np.argwhere(hidden.numpy()):
        wanted = float(view[i, step, channel])
        wrong += (given[i, step, channel] - wanted) ** 2
        blind += (float(view[:, step, channel].double().mean()) - wanted) ** 2
    assert error == pytest.approx(wrong / blind, rel=1e-4)


@pytest.mark.parametrize(("given", "error"), [("mean", 1.0), ("view", 0.0)])
def test_the_error_of_a_mean_is_one_and_of_the_signal_none(given: str, error: float) -> None:
    own, _, view, hidden = masking()
    flat = view.flatten(1)
    own.decoders["wrist"] = torch.nn.Identity()
    features = flat.mean(dim=0).expand(12, -1) if given == "mean" else flat
    assert own.error(features, "wrist", view, hidden).item() == pytest.approx(error, abs=1e-6)


def test_a_batch_that_does_not_move_has_a_finite_error() -> None:
    own, features, view, hidden = masking()
    assert own.error(features, "wrist", torch.ones_like(view), hidden).isfinite()
    assert own.error(features, "wrist", view, torch.zeros_like(hidden)).item() == 0


SMALL = {"pretrain.epochs": 12, "finetune.epochs": 2, "encoder.projector.hidden": 32, "encoder.projector.width": 16}


@pytest.mark.parametrize(
    ("system", "precision"),
    [("masked", "float32"), ("masked_skeleton", "bfloat16"), ("vicreg", "bfloat16"), ("lejepa", "float32")],
)
def test_it_learns_to_give_back_what_was_hidden(tiny: Recordings, system: str, precision: str) -> None:
    knobs = SMALL | {"pretrain.precision": precision, "pretrain.lr": 3e-3}
    if not system.startswith("masked"):
        knobs |= {"reconstruct.weight": 2}
    recipe = preset("synthetic", system).with_knobs(knobs)
    prepared = Prepared.of(tiny, recipe.data.steps, recipe.data.modalities)
    epochs: list[Epoch] = []
    outcome = run_trial(recipe, prepared, split(tiny, recipe.data), on_epoch=epochs.append)
    assert outcome.status == "COMPLETE"
    told = [epoch for epoch in epochs if epoch["phase"] == "pretrain"]
    errors = [float(epoch["train.reconstruction"]) for epoch in told]
    assert errors[-1] < 0.9 * errors[0]
    if system.startswith("masked"):
        assert [epoch["train.loss"] for epoch in told] == pytest.approx(errors, rel=1e-5)


def test_the_encoders_begin_as_they_do_without_it(tiny: Recordings) -> None:
    def begun(weight: float) -> dict[str, torch.Tensor]:
        recipe = preset("synthetic").with_knobs({"reconstruct.weight": weight})
        prepared = Prepared.of(tiny, recipe.data.steps, recipe.data.modalities)
        model, _ = fresh(recipe, prepared, split(tiny, recipe.data), torch.device("cpu"))
        return dict(model.encoders.state_dict())

    with_it, without = begun(1), begun(0)
    assert all(torch.equal(one, without[name]) for name, one in with_it.items())


def test_a_weight_on_nothing_hidden_is_refused() -> None:
    with pytest.raises(UserError, match=r"nothing is hidden where time and parts are 0"):
        Recipe().with_knobs({"reconstruct.weight": 1, "reconstruct.time": 0, "reconstruct.parts": 0})


def test_knobs_that_nothing_reads_are_known() -> None:
    unread = Recipe().unread()
    assert {"reconstruct.time", "reconstruct.span", "reconstruct.parts"} <= unread.keys()
    assert "reconstruct.weight" not in unread
    hiding = Recipe().with_knobs({"reconstruct.weight": 1}).unread()
    assert not [knob for knob in hiding if knob.startswith("reconstruct.")]
    assert hiding["finetune.batch_norm"] == "reconstruct.weight is not 0: they are renewed"
