"""When points are pruned, against the tests and rules written out."""

import statistics
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mmssl.recipe import Recipe
from mmssl.search.pruning import Pruning
from mmssl.study.plan import Dataset, Plan, PlannedTrial, make_plan
from mmssl.study.record import Record
from mmssl.study.space import Space


@pytest.fixture
def plan_for(dataset: Dataset) -> Callable[..., Plan]:
    def make(points: int, prune: dict[str, Any], seeds: int = 1) -> Plan:
        space = Space.model_validate(
            {
                "name": "s", "grid": {"objective.lambda": [float(i + 1) for i in range(points)]},
                "prune": prune, "seeds": list(range(seeds)),
            }
        )  # fmt: skip
        bases = {"vicreg": Recipe()}
        folds = [(subject,) for subject in dataset.train_subjects]
        return make_plan("study", space, bases, dataset, folds, space.points(bases))

    return make


def of_points(plan: Plan) -> list[list[PlannedTrial]]:
    return [plan.trials_of(point_id) for point_id in dict.fromkeys(trial.point_id for trial in plan.trials)]


def complete(trial: PlannedTrial, score: float, **more: Any) -> Record:
    return Record.model_validate(
        {"trial_id": trial.trial_id, "status": "COMPLETE", "facts": {"val.accuracy": score}, **more}
    )


@pytest.mark.parametrize("draw", range(10))
def test_by_folds_as_the_signed_rank_test_says(plan_for: Callable[..., Plan], draw: int) -> None:
    plan = plan_for(2, {"folds": 0.1}, seeds=4)
    draws = np.random.default_rng(draw)
    best = draws.uniform(0.6, 0.9, 12)
    other = best - draws.normal(0.03, 0.05, 12)
    pruning = Pruning(plan, {})
    first, second = of_points(plan)
    for trial, score in zip(first, best, strict=True):
        pruning.ended(trial, complete(trial, score))
    assert pruning.pruned == {}, "there was nothing to compare the first with"
    for count, (trial, score) in enumerate(zip(second, other, strict=True), start=1):
        pruning.ended(trial, complete(trial, score))
        gaps = other[:count] - best[:count]
        worse = count > 1 and stats.wilcoxon(gaps, alternative="less", zero_method="zsplit").pvalue < 0.1
        if worse and other[:count].mean() < best.mean():
            assert pruning.pruned[second[0].point_id].startswith(f"pruned after {count} trials: worse than the best")
            return
        assert pruning.pruned == {}, count


def test_by_folds_a_hard_fold_is_compared_with_itself(plan_for: Callable[..., Plan]) -> None:
    plan = plan_for(2, {"folds": 0.2}, seeds=2)
    difficulty = [0.9, 0.9, 0.5] * 2
    pruning = Pruning(plan, {})
    first, second = of_points(plan)
    for trial, score in zip(first, difficulty, strict=True):
        pruning.ended(trial, complete(trial, score))
    for trial, score in zip(reversed(second), reversed(difficulty), strict=True):  # the hard fold first
        pruning.ended(trial, complete(trial, score + 0.01))
    assert pruning.pruned == {}


def probe(plan: Plan, pruning: Pruning, trial: PlannedTrial, epoch: int, score: float) -> bool:
    """Whether the point is pruned by it."""
    pruning.probed(trial, {"phase": "pretrain", "epoch": epoch, "probe.accuracy": score})
    return trial.point_id in pruning.pruned


def test_by_the_median_of_the_complete_points_at_the_same_epoch(plan_for: Callable[..., Plan]) -> None:
    plan = plan_for(7, {"probe": "median", "every": 2})
    pruning = Pruning(plan, {})
    firsts = [trials[0] for trials in of_points(plan)]
    curves = [(0.2, 0.5), (0.3, 0.6), (0.4, 0.7), (0.5, 0.8)]
    for trial, curve in zip(firsts, curves, strict=False):
        for epoch, score in zip((2, 4), curve, strict=True):
            assert not probe(plan, pruning, trial, epoch, score), "too few are complete to judge by"
        pruning.ended(trial, complete(trial, curve[-1]))
    assert not probe(plan, pruning, firsts[4], 2, statistics.median([0.2, 0.3, 0.4, 0.5]) + 0.01)
    assert probe(plan, pruning, firsts[4], 4, statistics.median([0.5, 0.6, 0.7, 0.8]) - 0.01)
    assert probe(plan, pruning, firsts[5], 2, 0.34)
    assert pruning.pruned[firsts[5].point_id] == (
        "pruned at epoch 2: probe 0.3400 is below the median of the complete points"
    )


def test_by_halving_the_best_third_that_came_as_far_goes_on(plan_for: Callable[..., Plan]) -> None:
    plan = plan_for(6, {"probe": "halving", "every": 2})
    pruning = Pruning(plan, {})
    firsts = [trials[0] for trials in of_points(plan)]
    stopped = [probe(plan, pruning, trial, 2, score) for trial, score in zip(firsts, [5, 4, 6, 3, 2, 7], strict=True)]
    # As they come: 5 alone; 4 of {5, 4}; 6 of three; 3 of four; 2 of five; 7 of six, of whom two go on.
    assert stopped == [False, True, False, True, True, False]
    assert not probe(plan, pruning, firsts[0], 4, 0), "judged again only when it has come three times as far"
    assert not probe(plan, pruning, firsts[0], 6, 5)
    assert not probe(plan, pruning, firsts[2], 6, 6)


def test_one_trial_of_a_point_is_probed_and_other_folds_are_not_compared(plan_for: Callable[..., Plan]) -> None:
    plan = plan_for(6, {"probe": "median", "every": 2}, seeds=2)
    pruning = Pruning(plan, {})
    for trials in of_points(plan):
        assert [pruning.probes(trial) for trial in trials] == [True] + [False] * 5
    for trials in of_points(plan)[:5]:
        probe(plan, pruning, trials[0], 2, 0.9)
        pruning.ended(trials[0], complete(trials[0], 0.9))
    other = of_points(plan)[5]
    assert not probe(plan, pruning, other[1], 2, 0.1)
    assert not Pruning(plan_for(2, {"folds": 0.1}), {}).probes(plan.trials[0])


def test_taken_up_again_it_knows_what_it_knew_and_judges_nothing_twice(plan_for: Callable[..., Plan]) -> None:
    plan = plan_for(7, {"probe": "median", "every": 2, "folds": 0.3}, seeds=2)
    records: dict[str, Record] = {}
    start = datetime(2026, 1, 1, tzinfo=UTC)
    live = Pruning(plan, {})
    for number, trials in enumerate(of_points(plan)):
        score = [0.5, 0.9, 0.6, 0.7, 0.8, 0.4, 0.85][number]
        for i, trial in enumerate(trials):
            epochs = [{"phase": "pretrain", "epoch": 2, "probe.accuracy": score}] if i == 0 else []
            for epoch in epochs:
                live.probed(trial, epoch)
            end: dict[str, Any] = {"epochs": epochs, "finished": start + timedelta(minutes=len(records))}
            cause = live.pruned.get(trial.point_id)
            records[trial.trial_id] = (
                complete(trial, score, **end)
                if cause is None
                else Record.model_validate({"trial_id": trial.trial_id, "status": "PRUNED", "cause": cause, **end})
            )
            live.ended(trial, records[trial.trial_id])
    assert live.pruned, "something has to be found again"
    again = Pruning(plan, records)
    assert again.pruned == live.pruned
    before = dict(again.pruned)
    for trials in of_points(plan):
        again.probed(trials[0], {"phase": "pretrain", "epoch": 2, "probe.accuracy": 0.0})
    assert again.pruned == before, "an epoch that is reported again, after a worker was killed, is not judged again"


def test_without_rules_nothing_is_pruned(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0, 2.0], [1.0])
    pruning = Pruning(plan, {})
    for trial in plan.trials:
        probe(plan, pruning, trial, 10, 0.0)
        pruning.ended(trial, complete(trial, 0.5 if trial.point["objective.lambda"] == 1 else 0.0))
    assert pruning.pruned == {}
