"""Recordings that lack a modality are used for what they have, and for nothing else."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmssl import Recipe, Recordings, Row, UserError, launch
from mmssl.data.protocols import split
from mmssl.data.rows import labelled_rows, shown_rows
from mmssl.objectives import OBJECTIVES, vicreg
from mmssl.study.folder import Study
from mmssl.study.planning import recordings_of
from mmssl.training import finetuning
from mmssl.training.incomplete import Incomplete
from mmssl.training.prepared import Prepared
from mmssl.training.pretraining import Pretraining, pretrain
from mmssl.training.trial import Outcome, fresh, run_trial, seeds

SMALL: dict[str, Any] = {
    "data.steps": 16, "encoder.imu.layers": 1, "encoder.imu.feedforward": 16, "encoder.projector.hidden": 16,
    "encoder.projector.width": 8, "pretrain.epochs": 2, "pretrain.batch_size": 16, "finetune.epochs": 2,
    "finetune.hidden": 8, "data.validation_subjects": ["chris"],
}  # fmt: skip


@pytest.fixture(scope="module")
def gaps(tiny: Recordings) -> Recordings:
    """Every third recording is without one modality, every third without the other."""
    skeleton = [None if i % 3 == 0 else one for i, one in enumerate(tiny.arrays("skeleton"))]
    imu = [None if i % 3 == 1 else one for i, one in enumerate(tiny.arrays("imu"))]
    return Recordings(tiny.description, tiny.rows, skeleton, imu)


def outcome(recipe: Recipe, recordings: Recordings) -> Outcome:
    prepared = Prepared.of(recordings, recipe.data.steps, recipe.data.modalities)
    return run_trial(recipe, prepared, split(recordings, recipe.data))


def of_chris(recordings: Recordings, *modalities: str) -> Recordings:
    return recordings.having(modalities).where(lambda row: row.subject == "chris")


@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"pretrain.incomplete": "two_views"},
        {"finetune.encoders": "trained"},
        {"pretrain.epochs": 0},
        {"objective.name": "cmc_cmkm", "guide.epochs": 1},
    ],
)
def test_each_head_trains_on_and_is_scored_by_what_has_its_modalities(
    gaps: Recordings, monkeypatch: pytest.MonkeyPatch, knobs: dict[str, Any]
) -> None:
    counts: list[int] = []
    classify = finetuning._classify

    def counting(model: Any, modules: Any, logits: Any, labels: Tensor, *more: Any) -> Any:
        counts.append(len(labels))
        return classify(model, modules, logits, labels, *more)

    monkeypatch.setattr(finetuning, "_classify", counting)
    trained = outcome(Recipe().with_knobs({**SMALL, **knobs}), gaps)
    assert trained.status == "COMPLETE" and trained.model is not None
    assert counts == [6, 12, 12], "of 18 recordings of two people, a third each has both, imu and skeleton alone"
    assert all(weight.isfinite().all() for part in trained.model.parts.values() for weight in part.parameters())
    for modalities, column in (("imu", "skeleton"), "val"), (("imu",), "val.imu"), (("skeleton",), "val.skeleton"):
        own = of_chris(gaps, *modalities)
        right = np.mean([guess == row.label for guess, row in zip(trained.model.predict(own, modalities), own.rows,
                                                                  strict=True)])  # fmt: skip
        assert trained.metrics[f"{column}.accuracy"] == pytest.approx(right)
    assert [row["recording_id"] for row in trained.predictions] == [
        row.recording_id for row in of_chris(gaps, "imu", "skeleton").rows
    ]


def test_a_signals_statistics_are_of_all_that_have_it(gaps: Recordings) -> None:
    model = outcome(Recipe().with_knobs(SMALL), gaps).model
    assert model is not None
    seen = gaps.having(["imu"]).where(lambda row: row.subject in ("anna", "ben"))
    arrays = Prepared.of(seen, 16, ["imu"]).inputs["imu"]
    np.testing.assert_allclose(model.standardisations["imu"].mean, arrays.mean(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_allclose(model.standardisations["imu"].std, arrays.std(axis=(0, 1)), rtol=1e-4)


def test_left_out_of_pre_training_they_change_nothing_in_it(gaps: Recordings) -> None:
    """But for the signals' statistics: with the same of those it comes to the same bits as without them."""
    recipe = Recipe().with_knobs(SMALL)
    prepared = Prepared.of(gaps, 16, recipe.data.modalities)
    parts = split(gaps, recipe.data)
    model, _ = fresh(recipe, prepared, parts, torch.device("cpu"))
    whole = np.array([i for i in parts.pretrain if all(prepared.has[one][i] for one in ("imu", "skeleton"))])
    assert shown_rows(recipe, prepared, parts).tolist() == whole.tolist()
    pretrain(Pretraining(model, prepared.selected(model, whole), seed=seeds(recipe)[1]))
    theirs = outcome(recipe, gaps).model
    assert theirs is not None
    for name, weight in model.projectors.state_dict().items():
        assert torch.equal(weight, theirs.projectors.state_dict()[name]), name


def test_what_lacks_a_modality_is_refused_by_encoders_of_it(gaps: Recordings) -> None:
    recipe = Recipe().with_knobs(SMALL)
    model = outcome(recipe, gaps).model
    assert model is not None
    with pytest.raises(ValueError, match="a recording has no imu, which the encoders take"):
        Prepared.of(gaps, 16, recipe.data.modalities).selected(model, np.arange(3))
    with pytest.raises(UserError, match=r"recordings have no imu, the first is anna-slow-1"):
        model.features(gaps)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(*[st.booleans()] * 3).filter(any), min_size=1, max_size=12),
    st.booleans(),
)
def test_pairs_are_compared_where_both_are_and_single_ones_in_two_views(
    has: list[tuple[bool, ...]], twice: bool
) -> None:
    """A view is the recording's number, its modality and which view it is."""
    names = ("ankle", "body", "wrist")
    recipe = Recipe().with_knobs(
        {"data.modalities": names, "pretrain.incomplete": "two_views" if twice else "left_out"}
    )
    mine = Incomplete({name: torch.tensor([one[i] for one in has]) for i, name in enumerate(names)}, recipe)

    def augmented(number: int) -> list[Tensor]:
        return [torch.tensor([[r if one[i] else math.nan, i, number] for r, one in enumerate(has)]) for i in range(3)]

    batch = torch.arange(len(has))
    calls = iter((1, 2))
    views = mine.views(batch, lambda: augmented(0), lambda: augmented(next(calls)))
    assert not any(view.isnan().any() for view in views)
    seen: list[tuple[tuple[int, int], tuple[int, int], list[int]]] = []

    def objective(a: Tensor, b: Tensor, *guides: Tensor) -> dict[str, Tensor]:
        assert a[:, 0].tolist() == b[:, 0].tolist() == guides[0].tolist() == guides[1].tolist()
        [first], [second] = ({(int(i), int(n)) for _, i, n in one.tolist()} for one in (a, b))
        seen.append((first, second, a[:, 0].int().tolist()))
        return {"loss": a[:, 0].sum()}

    terms = mine.terms(objective, views, [torch.arange(len(has)).float()] * 3, (), batch)
    expected = [
        ((i, 0), (j, 0), [r for r, one in enumerate(has) if one[i] and one[j]]) for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    if twice:
        expected += [((i, 1), (i, 2), [r for r, one in enumerate(has) if one[i] and sum(one) == 1]) for i in range(3)]
    expected = [one for one in expected if len(one[2]) > 1]
    assert seen == expected
    total = sum(len(rows) for *_, rows in expected)
    if expected:
        assert float(terms["loss"]) == pytest.approx(sum(sum(rows) * len(rows) / total for *_, rows in expected))
    else:
        assert terms == {} and not any(map(len, views))


@pytest.mark.parametrize("name", [name for name, loss in OBJECTIVES.items() if loss.takes(2)])
def test_every_objective_across_modalities_is_trained_by_what_is_there(gaps: Recordings, name: str) -> None:
    loss = OBJECTIVES[name]
    knobs = {**SMALL, "objective.name": name, "guide.epochs": 1, "finetune.epochs": 1}
    if loss.takes(1) and not loss.learns and not loss.doubled:
        assert outcome(Recipe().with_knobs({**knobs, "pretrain.incomplete": "two_views"}), gaps).status == "COMPLETE"
    else:
        with pytest.raises(
            UserError, match=f"pretrain.incomplete: {name} has no views of one modality; leave them out"
        ):
            Recipe().with_knobs({**knobs, "pretrain.incomplete": "two_views"})
        assert outcome(Recipe().with_knobs(knobs), gaps).status == "COMPLETE"


def test_their_loss_is_the_objective_over_all_that_is_compared(gaps: Recordings) -> None:
    recipe = Recipe().with_knobs({**SMALL, "pretrain.incomplete": "two_views", "pretrain.epochs": 1})
    prepared, parts = Prepared.of(gaps, 16, recipe.data.modalities), split(gaps, recipe.data)
    shown = shown_rows(recipe, prepared, parts)
    assert shown.tolist() == parts.pretrain.tolist()
    model, tensors = fresh(recipe, prepared, parts, torch.device("cpu"))
    has = {name: torch.from_numpy(prepared.has[name][shown]) for name in recipe.data.modalities}
    training = Pretraining(model, tensors, seed=1, has=has)
    batch = torch.arange(len(shown))
    views = training.views(batch)
    embedded = [
        model.projectors[name](model.encoders[name](view)) for name, view in zip(training.branches, views, strict=True)
    ]
    loss = float(training.loss(embedded, batch).detach())
    both = has["imu"] & has["skeleton"]
    count = int(both.sum())
    weights = {"lambda_": 25.0, "mu": 25.0, "nu": 1.0}
    first, second = (own[:count] for own in embedded)
    parts = [(count, vicreg(first, second, **weights)["loss"])]
    for own in embedded:
        a, b = own[count:].chunk(2)
        assert len(a) == 6 and not torch.equal(a, b)
        parts.append((len(a), vicreg(a, b, **weights)["loss"]))
    expected = sum(n * float(part.detach()) for n, part in parts) / sum(n for n, _ in parts)
    assert loss == pytest.approx(expected, rel=1e-5)


def test_a_study_counts_them_and_an_older_one_still_leaves_them_out(gaps: Recordings, tmp_path: Path) -> None:
    space = {"fixed": {k: v for k, v in SMALL.items() if k != "data.validation_subjects"},
             "grid": {"pretrain.incomplete": ["left_out", "two_views"]}, "folds": [["ben"]]}  # fmt: skip
    gaps.save(tmp_path / "gaps.parquet")
    study = launch(space, tmp_path / "gaps.parquet", storage=tmp_path / "studies", local=True)
    rows = study.trials().to_pylist()
    assert [row["recordings.train"] for row in rows] == [6, 18]
    assert {row["recordings.labelled"] for row in rows} == {18}
    assert {(row["recordings.validation"], row["recordings.validation.imu"]) for row in rows} == {(3, 6)}
    plan = Study(str(tmp_path / "studies"), study.name).plan()
    assert plan.dataset.having == {"imu": 24, "skeleton": 24, "all modalities": 12}
    exported = study.export(tmp_path / "encoders")
    assert "24 with imu, 24 with skeleton, 12 with all modalities" in (exported.folder / "README.md").read_text()
    whole = gaps.having(("imu", "skeleton"))
    before = plan.dataset.model_copy(update={"having": {}, "fingerprint": whole.fingerprint})
    found = recordings_of(plan.model_copy(update={"dataset": before}), None)
    assert found.fingerprint == whole.fingerprint


def without(recordings: Recordings, keep: Callable[[Row], bool], modality: str) -> Recordings:
    arrays = {name: list(recordings.arrays(name)) for name in recordings.kinds}
    arrays[modality] = [one if keep(row) else None for row, one in zip(recordings.rows, arrays[modality], strict=True)]
    return Recordings(recordings.description, recordings.rows, **arrays)


def test_a_fold_that_nobody_can_be_scored_in_is_refused(tiny: Recordings, tmp_path: Path) -> None:
    no_ben = without(tiny, lambda row: row.subject != "ben", "imu")
    with pytest.raises(UserError, match="fold ben: none of its 9 recordings has imu and skeleton, so nothing can be"):
        launch({"fixed": {"data.steps": 16}}, no_ben, storage=tmp_path, local=True)


def test_the_same_labels_are_drawn_whatever_they_have(gaps: Recordings, tiny: Recordings) -> None:
    recipe = Recipe().with_knobs({**SMALL, "finetune.labels": 0.5})
    parts = split(gaps, recipe.data)
    every = labelled_rows(recipe, tiny, parts)
    assert labelled_rows(recipe, gaps, parts).tolist() == every.tolist()
    imu = Recipe().with_knobs({**SMALL, "finetune.labels": 0.5, "data.modalities": ["imu"]})
    assert labelled_rows(imu, gaps, parts).tolist() == [i for i in every if gaps.has["imu"][i]]
