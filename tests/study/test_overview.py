"""What a board makes of a study's records, against values worked out by hand."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from mmssl.recipe import COLLAPSED_BELOW, Recipe
from mmssl.study import overview
from mmssl.study.folder import Study
from mmssl.study.overview import Axes, Health, LiveMap
from mmssl.study.plan import Dataset, Plan, PlannedTrial, make_plan
from mmssl.study.record import Record
from mmssl.study.results import points, ranked
from mmssl.study.space import Space
from mmssl.study.tables import Tables

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ended(trial: PlannedTrial, score: float | None, seconds: float = 10.0, status: Any = "COMPLETE") -> Record:
    facts = {} if score is None else {"val.accuracy": score}
    return Record(
        trial_id=trial.trial_id, status=status, facts=facts, started=NOON, finished=NOON + timedelta(seconds=seconds)
    )


def running(trial: PlannedTrial, *epochs: dict[str, Any]) -> Record:
    return Record(trial_id=trial.trial_id, status="RUNNING", started=NOON, epochs=list(epochs))


def epoch(phase: str, number: int, **numbers: float) -> dict[str, Any]:
    return {"phase": phase, "epoch": number, **{f"train.{name}": value for name, value in numbers.items()}}


def test_cells_are_the_means_of_what_has_ended_so_far(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0, 5.0], [1.0, 25.0])  # Three folds: trials 0 to 2 are the first point.
    live_map = LiveMap(plan, NOON)
    for trial, score in zip(plan.trials, (0.5, 0.7, 0.9, 0.8, 0.6), strict=False):
        live_map.put(trial, running(trial))
        live_map.put(trial, ended(trial, score))
    live_map.put(plan.trials[5], running(plan.trials[5]))
    view = live_map.view(NOON)
    first, second, third, fourth = view.cells
    assert (first.state, first.n, first.planned) == ("complete", 3, 3)
    assert first.mean == pytest.approx(0.7)
    assert first.std == pytest.approx(math.sqrt((0.2**2 + 0 + 0.2**2) / 2)), "over n - 1"
    assert (second.state, second.n, second.mean) == ("running", 2, pytest.approx(0.7))
    assert (third.state, third.n, third.mean, third.std) == ("planned", 0, None, None)
    assert view.best == {first.point_id}, "the second is not complete"
    assert view.trials == {"COMPLETE": 5, "RUNNING": 1, "PLANNED": 6}
    assert (view.ended, view.planned, view.failed) == (5, 12, "")
    assert view.axes == Axes("objective.mu", "objective.lambda", (1.0, 25.0), (1.0, 5.0))
    assert fourth.values == {"objective.lambda": 5.0, "objective.mu": 25.0}


def test_time_left_is_known_by_epochs_before_a_trial_has_ended(
    plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of one that goes on from a snapshot, whose first epochs come at once."""
    plan = plan_of([1.0], [1.0, 5.0])
    first, second, *others = plan.trials
    epochs = plan.recipe(first).pretrain.epochs
    clock = [NOON]
    monkeypatch.setattr(overview, "datetime", SimpleNamespace(now=lambda zone: clock[0]))
    live_map = LiveMap(plan, NOON)

    def report(trial: PlannedTrial, epoch: int, seconds: int) -> None:
        clock[0] = NOON + timedelta(seconds=seconds)
        rows = [{"phase": "pretrain", "epoch": epoch, "train.loss": 1.0}]
        live_map.put(trial, Record(trial_id=trial.trial_id, status="RUNNING", started=NOON, epochs=rows))

    report(first, 1, 10)
    report(second, 40, 10)
    assert live_map.view(clock[0]).seconds_left is None, "a single report says nothing of the pace"
    report(first, 6, 20)
    report(second, 42, 20)
    each, rests = [2.0, 5.0], [2.0 * (epochs - 6), 5.0 * (epochs - 42)]
    expected = (len(others) * sum(each) / 2 * epochs + sum(rests)) / 2
    assert live_map.view(clock[0]).seconds_left == pytest.approx(expected)


def test_points_with_the_same_mean_are_best_together(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0], [1.0, 5.0, 25.0])
    live_map = LiveMap(plan, NOON)
    for trial, score in zip(plan.trials, (0.1, 0.2, 0.6, 0.6, 0.1, 0.2, 0.2, 0.3, 0.3), strict=True):
        live_map.put(trial, ended(trial, score))
    assert live_map.view().best == {plan.trials[0].point_id, plan.trials[3].point_id}
    assert [cell.point_id for cell in live_map.view().leading(2)] == [plan.trials[0].point_id, plan.trials[3].point_id]


def test_a_point_with_a_failure_is_never_best(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0], [1.0, 5.0])
    live_map = LiveMap(plan, NOON)
    for trial, status in zip(plan.trials, ("COMPLETE", "COMPLETE", "DIVERGED", "FAILED", "PRUNED"), strict=False):
        live_map.put(trial, ended(trial, 0.99 if status == "COMPLETE" else None, status=status))
    view = live_map.view()
    assert [cell.state for cell in view.cells] == ["diverged", "failed"]
    assert view.best == frozenset()
    assert view.failed == "1 FAILED, 1 DIVERGED", "one that was pruned has not failed"
    assert [(failure.status, failure.fold) for failure in view.failures] == [("DIVERGED", "5"), ("FAILED", "1")]


def test_where_the_test_subjects_are_scored_nothing_is_best(plan_of: Callable[..., Plan]) -> None:
    space = Space(name="s", grid={"objective.mu": [1.0, 2.0]}, folds="test")
    bases = {"vicreg": Recipe()}
    plan = make_plan("tested", space, bases, plan_of([1.0], [1.0]).dataset, [()], space.points(bases))
    live_map = LiveMap(plan)
    for trial in plan.trials:
        live_map.put(trial, Record(trial_id=trial.trial_id, status="COMPLETE", facts={"test.accuracy": 0.9}))
    view = live_map.view()
    assert (view.metric, view.choosable, view.best) == ("test.accuracy", False, frozenset())
    assert [cell.mean for cell in view.cells] == [0.9, 0.9]


def test_a_running_trial_has_its_newest_numbers(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0], [1.0])
    recipe = plan.recipe(plan.trials[0])
    live_map, trial = LiveMap(plan, NOON), plan.trials[0]
    live_map.put(trial, running(trial))
    (begins,) = live_map.view().running
    assert (begins.phase, begins.terms, begins.health) == (None, {}, {})
    columns = ("loss", "invariance", "variance", "covariance"), ("imu", "skeleton")
    assert (tuple(live_map.view().terms), tuple(live_map.view().modalities)) == columns, "before any is reported"
    healthy = {"imu.std": 0.98, "imu.effective_rank": 30.0, "skeleton.std": 0.9, "skeleton.effective_rank": 12.0}
    first = epoch("pretrain", 1, loss=5.0, invariance=0.5, **healthy)
    second = epoch("pretrain", 2, loss=4.0, invariance=0.25, **healthy | {"skeleton.std": 0.05})
    live_map.put(trial, running(trial, first, second))
    (now,) = live_map.view().running
    assert (now.phase, now.epoch, now.epochs) == ("pretrain", 2, recipe.pretrain.epochs)
    assert now.terms == {"loss": 4.0, "invariance": 0.25}
    assert now.health == {"imu": Health(0.98, 30.0), "skeleton": Health(0.05, 12.0)}
    assert now.near_collapse
    tuned = epoch("finetune", 1, **{"finetune.loss": 0.3, "finetune.accuracy": 0.9})
    live_map.put(trial, running(trial, first, second, tuned))
    (now,) = live_map.view().running
    assert (now.phase, now.epoch, now.epochs) == ("finetune", 1, recipe.finetune.epochs)
    assert now.finetune == {"loss": 0.3, "accuracy": 0.9}
    assert now.terms["invariance"] == 0.25, "of the last epoch of pre-training"
    # Read from outside, a record has the last epoch of each phase alone.
    live_map.put(trial, running(trial, second, epoch("finetune", 2, **{"finetune.loss": 0.2})))
    (now,) = live_map.view().running
    assert (now.epoch, now.finetune) == (2, {"loss": 0.2, "accuracy": 0.9})
    live_map.put(trial, running(trial))
    assert live_map.view().running[0].phase is None, "its worker died, and it begins anew"


@pytest.mark.parametrize(
    ("std", "rank", "near"),
    [
        (1.0, 20.0, False),
        (10 * COLLAPSED_BELOW, 20.0, False),
        (9 * COLLAPSED_BELOW, 20.0, True),
        (1.0, 1.5, True),
        (math.nan, 20.0, True),
        (1.0, math.nan, True),
    ],
)
def test_what_is_near_collapse(std: float, rank: float, near: bool) -> None:
    assert Health(std, rank).near_collapse is near


def test_time_left_is_that_of_the_complete_trials(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0], [1.0, 5.0])
    live_map = LiveMap(plan, NOON)
    before = ended(plan.trials[0], 0.5, seconds=1000)
    assert before.finished
    live_map.add_ended([before.model_copy(update={"finished": NOON - timedelta(1), "started": NOON - timedelta(2)})])
    assert live_map.view(NOON).seconds_left is None
    live_map.put(plan.trials[1], ended(plan.trials[1], None, seconds=1, status="DIVERGED"))
    live_map.put(plan.trials[2], ended(plan.trials[2], 0.5, seconds=20))
    assert live_map.view(NOON).seconds_left is None, "nothing runs"
    live_map.put(plan.trials[3], running(plan.trials[3]))
    live_map.put(plan.trials[4], running(plan.trials[4]))
    # One has yet to begin (20 s), two have 15 s to go, two run at once.
    assert live_map.view(NOON + timedelta(seconds=5)).seconds_left == pytest.approx((20 + 15 + 15) / 2)
    live_map.put(plan.trials[5], running(plan.trials[5]))
    assert live_map.view(NOON + timedelta(seconds=5)).seconds_left == pytest.approx(15)
    assert live_map.view(NOON + timedelta(seconds=50)).seconds_left == 0


def test_what_was_cut_off_is_planned_again(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0], [1.0])
    live_map = LiveMap(plan, NOON)
    live_map.put(plan.trials[0], running(plan.trials[0]))
    live_map.settle()
    view = live_map.view()
    assert (view.running, view.trials, view.cells[0].state) == ([], {"PLANNED": 3}, "planned")


def test_the_view_agrees_with_the_results(tmp_path: Any, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0, 5.0], [1.0, 25.0])
    study = Study(tmp_path, plan.name)
    study.create(plan)
    tables, live_map = Tables(study, plan), LiveMap(plan)
    for i, trial in enumerate(plan.trials[:-2]):
        record = ended(trial, (i * 37 % 11) / 11) if i != 4 else ended(trial, None, status="FAILED")
        tables.put(record)
        live_map.put(trial, record)
    tables.write()
    rows = points(plan, study.table("trials.parquet"))
    assert [(c.point_id, c.mean, c.std, c.n, c.planned) for c in live_map.view().cells] == [
        (p.point_id, p.mean, p.std, len(p.scores), p.planned) for p in rows
    ]
    assert live_map.view().leading(1)[0].point_id == ranked(rows)[0].point_id


@pytest.mark.parametrize(
    "entries",
    [
        {"grid": {"objective.mu": [1.0, 2.0]}},
        {"grid": {"objective.mu": [1.0, 2.0], "objective.lambda": [1.0, 2.0], "pretrain.lr": [0.1]}},
        {"grid": {"objective.mu": [1.0, 2.0], "objective.lambda": [1.0, 2.0]}, "systems": ["vicreg", "cmc"]},
        {"grid": {"objective.mu": [1.0, 2.0], "pretrain.precision": ["float32", "bfloat16"]}},
        {"grid": {"objective.mu": [1.0, 2.0], "pretrain.hidden_classes": [[], ["walk"]]}},
        {"grid": {"objective.mu": list(range(1, 7)), "objective.lambda": list(range(1, 7))}, "where": ["lambda == mu"]},
        {
            "ranges": {"objective.mu": {"low": 1, "high": 2}, "objective.lambda": {"low": 1, "high": 2}},
            "sampler": "random",
            "budget": 3,
        },
    ],
)
def test_only_a_grid_of_two_numbers_is_a_map(plan_of: Callable[..., Plan], entries: dict[str, Any]) -> None:
    space = Space.model_validate({"name": "s", **entries})
    bases = space.bases("utd_mhad")
    known = space.points(bases) if space.sampler == "grid" else []
    plan = make_plan("s", space, bases, plan_of([1.0], [1.0]).dataset, [("1",)], known)
    view = LiveMap(plan).view()
    assert view.axes is None
    assert len(view.cells) == len(known)


def test_points_that_a_sampler_chooses_are_taken_in(plan_of: Callable[..., Plan]) -> None:
    space = Space.model_validate(
        {"name": "s", "sampler": "random", "budget": 2, "ranges": {"objective.mu": {"low": 1, "high": 9}}}
    )
    plan = make_plan("s", space, {"vicreg": Recipe()}, plan_of([1.0], [1.0]).dataset, [("1",)], [])
    live_map = LiveMap(plan)
    assert (live_map.view().planned, live_map.view().trials, live_map.view().cells) == (2, {"PLANNED": 2}, [])
    (trial,) = plan.add({"objective.mu": 3.0})
    live_map.put(trial, ended(trial, 0.5))
    assert [(cell.state, cell.mean) for cell in live_map.view().cells] == [("complete", 0.5)]
    assert live_map.view().trials == {"COMPLETE": 1, "PLANNED": 1}


def test_draws_of_labels_fill_one_cell(dataset: Dataset) -> None:
    grid = {"objective.lambda": [1.0, 5.0], "finetune.label_draw": [0, 1], "objective.mu": [1.0, 25.0]}
    space = Space(name="s", grid=grid, fixed={"finetune.labels": 0.5})
    bases = space.bases("synthetic")
    plan = make_plan("study", space, bases, dataset, [("1",)], space.points(bases))
    live_map = LiveMap(plan, NOON)
    assert [cell.planned for cell in live_map.view(NOON).cells] == [2] * 4
    for trial, score in zip(plan.trials, (0.9, 0.1, 0.6, 0.6, 0.8), strict=False):
        live_map.put(trial, ended(trial, score))
    view = live_map.view(NOON)
    assert view.axes == Axes("objective.mu", "objective.lambda", (1.0, 25.0), (1.0, 5.0))
    assert [cell.mean for cell in view.cells] == [pytest.approx(0.5), pytest.approx(0.6), pytest.approx(0.8), None]
    assert [cell.state for cell in view.cells] == ["complete", "complete", "begun", "planned"]
    assert view.best == {view.cells[1].point_id}
    assert view.cells[1].values == {"objective.lambda": 1.0, "objective.mu": 25.0}
