import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mmssl.errors import UserError
from mmssl.presets import SYSTEMS, preset
from mmssl.search.plan import Dataset, Plan, make_plan
from mmssl.search.results import Point, choose, hits, pareto, points, ranked, stand_beside, too_few
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


def test_points_that_were_not_planned_are_an_error_unless_a_sampler_has_just_chosen_them(
    plan_of: Callable[..., Plan],
) -> None:
    whole, small = plan_of([1.0, 5.0], [2.0]), plan_of([1.0], [2.0])
    columns = {"point_id": "point_id", "seed": "seed", "fold": "fold"}
    rows = {name: [getattr(trial, own) for trial in whole.trials] for name, own in columns.items()}
    trials = pa.table({**rows, "status": ["COMPLETE"] * 6, "val.accuracy": [0.5] * 6})
    with pytest.raises(UserError, match=r"study study: trials\.parquet has points that are not in plan\.json"):
        points(small, trials)
    ranges = {"objective.lambda": {"low": 1, "high": 9}, "objective.mu": {"low": 1, "high": 9}}
    space = Space.model_validate({"name": "s", "sampler": "random", "budget": 2, "ranges": ranges})
    sampled = make_plan("study", space, small.bases, small.dataset, small.folds, [small.trials[0].point])
    assert [(point.point_id, point.mean) for point in points(sampled, trials)] == [(small.trials[0].point_id, 0.5)]


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


def seeded(name: str, scores: dict[tuple[int, str], float]) -> Point:
    return Point(name, {"objective.lambda": name}, len(scores), dict(scores), {"COMPLETE": len(scores)})


def test_seeds_of_one_fold_are_one_answer() -> None:
    folds, draws = ("a", "b", "c"), np.random.default_rng(1)
    first = {(seed, fold): float(draws.uniform()) for seed in range(8) for fold in folds}
    gaps = {"a": 0.10, "b": 0.02, "c": 0.06}
    second = {key: score - gaps[key[1]] for key, score in first.items()}
    assert stats.ttest_rel(list(first.values()), list(second.values())).pvalue < 0.001
    assert stats.ttest_1samp(list(gaps.values()), 0).pvalue > 0.05
    choice = choose([seeded("a", first), seeded("b", second)])
    assert [point.point_id for point in choice.tied] == ["b"], "three people are three answers, however many seeds"
    low, high = stats.ttest_1samp(list(gaps.values()), 0).confidence_interval(0.95)
    assert choice.resolution == pytest.approx((high - low) / 2)
    assert any(f"about {choice.resolution:.3f} would have counted" in caveat for caveat in choice.caveats)


def test_with_one_fold_seeds_are_what_there_is() -> None:
    first = {(seed, "a"): 0.5 + seed / 100 for seed in range(5)}
    gaps = [0.1, 0.11, 0.12, 0.1, 0.11]
    second = {key: score - gap for (key, score), gap in zip(first.items(), gaps, strict=True)}
    assert choose([seeded("a", first), seeded("b", second)]).tied == []


def test_hits_are_the_mean_over_seeds_of_each_held_out_recording(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0, 5.0], [2.0], seeds=[28, 29])
    rows = [
        {"trial_id": trial.trial_id, "fold": trial.fold, "recording_id": f"{trial.fold}-{i}", "label": "sit",
         "predicted": "sit" if (i + trial.seed) % 2 or trial.fold == "3" else "stand"}
        for trial in plan.trials
        for i in range(2)
    ]  # fmt: skip
    first = Point(plan.trials[0].point_id, {})
    assert hits(plan, pa.Table.from_pylist(rows), first) == {
        **{(fold, f"{fold}-{i}"): 0.5 for fold in ("1", "5") for i in range(2)},
        **{("3", f"3-{i}"): 1 for i in range(2)},
    }


def priced(name: str, mean: float, cost: float | None, planned: int = 1) -> Point:
    return Point(name, {}, planned, {(28, "a"): mean}, {"COMPLETE": 1}, cost)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_pareto_set_is_what_nothing_dominates(drawn: list[tuple[int, int]]) -> None:
    all_points = [priced(str(i), mean, cost) for i, (mean, cost) in enumerate(drawn)]
    front = {(one.mean, one.cost) for one in pareto(all_points)}
    assert front == {
        (mean, cost)
        for mean, cost in drawn
        if not any((m >= mean and c <= cost) and (m, c) != (mean, cost) for m, c in drawn)
    }


def test_what_is_not_complete_is_not_in_the_pareto_set() -> None:
    assert pareto([priced("a", 0.9, 1, planned=2), priced("b", 0.5, 2), priced("c", 0.8, None)]) == [
        priced("b", 0.5, 2)
    ]


def test_points_that_were_given_up_are_counted_as_such() -> None:
    pruned = Point("b", {}, 2, {(28, "x"): 0.9}, {"COMPLETE": 1, "PRUNED": 1})
    choice = choose([point("a", [0.5, 0.6]), pruned])
    assert choice.best.point_id == "a"
    assert any(caveat.startswith("1 of 2 points were given up early") for caveat in choice.caveats)
    assert not any("not considered" in caveat for caveat in choice.caveats)


def test_recordings_that_cannot_tell_two_points_apart_are_too_few() -> None:
    draws = np.random.default_rng(0)
    for count, gap in ((40, 0.05), (4000, 0.05)):
        best = {("a", str(i)): float(draws.uniform() < 0.9) for i in range(count)}
        other = {key: right * float(draws.uniform() > gap) for key, right in best.items()}
        differences = [right - other[key] for key, right in best.items()]
        low, high = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
        needed = too_few(best, other)
        assert (needed is None) == (low > 0)
        assert needed is None or needed == pytest.approx((high - low) / 2)
    assert too_few({("a", "1"): 1.0}, {("a", "1"): 0.0}) is None, "one recording says nothing of chance"


@pytest.mark.parametrize("system", ["vicreg", "cmc", "cmc_cmkm", "supervised"])
def test_untrained_encoders_stand_beside_those_with_their_networks_and_heads(system: str) -> None:
    trained, untrained = preset("utd_mhad", system), preset("utd_mhad", "untrained")
    assert stand_beside(untrained, trained)
    assert not stand_beside(trained, untrained), "which is which"
    for same in ({"objective.lambda": 1, "pretrain.lr": 0.1}, {"seed": 3, "data.validation_subjects": ["7"]},
                 {"finetune.batch_norm": "renewed"}):  # fmt: skip
        assert stand_beside(untrained, trained.with_knobs(same))
    for other in (
        {"encoder.imu.pooling": "none"}, {"finetune.hidden": 7}, {"finetune.views": 2}, {"finetune.labels": 0.5},
        {"data.steps": 30}, {"pretrain.hidden_classes": ["wave"]},
    ):  # fmt: skip
        assert not stand_beside(untrained, trained.with_knobs(other)), other
    for name in SYSTEMS:
        if SYSTEMS[name].method == "untrained" and name != "untrained":
            assert not stand_beside(preset("utd_mhad", name), trained)


def test_augmentation_that_no_head_sees_changes_nothing_about_untrained_encoders() -> None:
    trained, untrained = (preset("utd_mhad", name, "paper") for name in ("vicreg", "untrained"))
    assert stand_beside(untrained, trained.with_knobs({"augment.imu.jitter.probability": 1}))
    assert not stand_beside(untrained, preset("utd_mhad", "vicreg", "default"))
    seen, other = ({"finetune.views": 2, "augment.imu.jitter.probability": share} for share in (0.5, 1))
    untrained = trained.with_knobs({"pretrain.epochs": 0})
    assert stand_beside(untrained.with_knobs(seen), trained.with_knobs(seen))
    assert not stand_beside(untrained.with_knobs(seen), trained.with_knobs(other))
