import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mmssl.errors import UserError
from mmssl.search.plan import Dataset, Plan, make_plan
from mmssl.search.results import Point, choose, points, ranked
from mmssl.search.space import Space


def point(name: str, scores: list[float], planned: int | None = None) -> Point:
    made = Point(name, {"objective.lambda": name}, planned=planned or len(scores))
    made.scores = {(28, str(fold)): score for fold, score in enumerate(scores)}
    made.statuses = {"COMPLETE": len(scores)}
    return made


def test_points_gather_their_trials(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0, 5.0], [2.0])
    trials = pa.table(
        {
            "point_id": [trial.point_id for trial in plan.trials],
            "seed": [trial.seed for trial in plan.trials],
            "fold": [trial.fold for trial in plan.trials],
            "status": ["COMPLETE", "COMPLETE", "FAILED", "COMPLETE", "COMPLETE", "COMPLETE"],
            "val.accuracy": [0.5, 0.7, None, 0.1, 0.2, 0.6],
        }
    )
    first, second = points(plan, trials)
    assert (first.mean, first.failures, first.complete) == (0.6, 1, False)
    assert second.mean == pytest.approx(0.3)
    assert second.std == pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1))
    assert ranked([first, second]) == [second, first]
    choice = choose([first, second])
    assert choice.best is second, "a point with a failed trial must not win on the trials that are left"
    assert any("1 of 2 points are not complete" in caveat for caveat in choice.caveats)


def test_nothing_complete_says_what_there_is() -> None:
    lost = Point("a", {}, planned=2, statuses={"FAILED": 1, "PLANNED": 1})
    with pytest.raises(UserError, match="1 FAILED, 1 PLANNED"):
        choose([lost])


@settings(max_examples=200, deadline=None)
@given(
    st.integers(2, 12).flatmap(
        lambda n: st.tuples(*[st.lists(st.floats(0, 1).map(lambda x: round(x, 3)), min_size=n, max_size=n)] * 2)
    )
)
def test_tied_is_what_a_paired_t_test_says(scores: tuple[list[float], list[float]]) -> None:
    a, b = (np.array(column) for column in scores)
    if np.isclose(np.std(a - b), 0, atol=1e-9):
        return
    choice = choose([point("a", scores[0]), point("b", scores[1])])
    p_value = float(stats.ttest_rel(a, b).pvalue)
    if not math.isclose(p_value, 0.05, rel_tol=1e-6):
        assert bool(choice.tied) == (p_value > 0.05)


def test_points_that_are_equal_everywhere_are_tied_and_constant_gaps_are_not() -> None:
    assert choose([point("a", [0.5, 0.75]), point("b", [0.5, 0.75])]).tied
    assert not choose([point("a", [0.5, 0.75]), point("b", [0.25, 0.5])]).tied


def test_one_seed_and_one_fold_tells_nothing_apart_and_says_so() -> None:
    choice = choose([point("a", [0.9]), point("b", [0.1])])
    assert [other.point_id for other in choice.tied] == ["b"]
    assert any("noise is unknown" in caveat for caveat in choice.caveats)


def test_one_seed_is_a_caveat() -> None:
    assert any("one seed" in caveat for caveat in choose([point("a", [0.9, 0.8])]).caveats)


def health_table(plan: Plan, imu: list[float | None], skeleton: list[float | None], measure: str) -> pa.Table:
    return pa.table(
        {
            "point_id": [trial.point_id for trial in plan.trials],
            "seed": [trial.seed for trial in plan.trials],
            "fold": [trial.fold for trial in plan.trials],
            "status": ["COMPLETE"] * len(plan.trials),
            f"embedding.imu.{measure}": pa.array(imu, pa.float64()),
            f"embedding.skeleton.{measure}": pa.array(skeleton, pa.float64()),
        }
    )


@pytest.mark.parametrize(
    ("metric", "column"), [("rankme", "effective_rank"), ("std", "std"), ("covariance", "covariance")]
)
def test_a_measure_without_labels_is_the_mean_over_the_modalities(
    plan_of: Callable[..., Plan], metric: str, column: str
) -> None:
    plan = plan_of([1.0, 5.0], [2.0])
    trials = health_table(plan, [2, 4, 6, 10, 20, None], [4, 4, 9, 30, None, None], column)
    first, second = points(plan, trials, metric)
    assert list(first.scores.values()) == [3, 4, 7.5]
    assert first.mean == pytest.approx((3 + 4 + 7.5) / 3)
    assert list(second.scores.values()) == [20, 20], "of one modality it is that one's"
    assert not second.complete, "a trial that has no such measure has no score"


def test_the_studys_own_metric_is_of_the_side_that_it_scored(dataset: Dataset) -> None:
    space = Space(name="s", grid={"objective.mu": [1.0, 2.0]}, folds="test", metric="val.f1")
    bases = space.bases("synthetic")
    plan = make_plan("study", space, bases, dataset, [()], space.points(bases))
    trials = pa.table(
        {
            "point_id": [trial.point_id for trial in plan.trials],
            "seed": [28, 28],
            "fold": ["test", "test"],
            "status": ["COMPLETE", "COMPLETE"],
            "test.f1": [0.25, 0.5],
        }
    )
    assert [point.scores for point in points(plan, trials)] == [{(28, "test"): 0.25}, {(28, "test"): 0.5}]
