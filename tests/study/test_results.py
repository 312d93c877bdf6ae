import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mmssl.errors import UserError
from mmssl.study.plan import Dataset, Plan, make_plan
from mmssl.study.presets import SYSTEMS, preset
from mmssl.study.results import Point, choose, hits_of, pareto, points, ranked, stand_beside
from mmssl.study.space import Space


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
    assert "1 of 2 points is left out; trials without a result: 1 FAILED" in choice.caveats


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


def test_a_constant_gap_of_a_few_recordings_is_tied() -> None:
    first, second = point("a", [0.5, 0.75]), point("b", [0.45, 0.7])
    assert not choose([first, second]).tied, "nothing says of how many recordings"
    first.recordings = {"0": 20, "1": 20}
    choice = choose([first, second])
    assert choice.tied == [second]
    assert choice.noise == pytest.approx(stats.norm.ppf(0.975) * math.sqrt(0.05 / 40))
    first.bounded = second.bounded = False
    assert not choose([first, second]).tied, "of a measure without labels they say nothing"


def test_means_of_as_many_hits_rank_in_the_order_of_the_plan() -> None:
    """By the floats' last digits the second is the higher: the same 23 of 72 hits, shared out otherwise."""
    hits = {"a": [5, 5, 13], "b": [5, 6, 12]}
    first, second = (point(name, [one / 24 for one in own]) for name, own in hits.items())
    first.place, second.place = 0, 1
    assert sum(hits["a"]) == sum(hits["b"]) and (second.mean or 0) > (first.mean or 0)
    assert ranked([second, first]) == [first, second]
    assert choose([second, first]).best is first
    first.cost, second.cost = 1.0, 2.0
    assert pareto([second, first]) == [first], "it is as good and cheaper"


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
            f"{measure[0]}.imu.{measure[1]}": pa.array(imu, pa.float64()),
            f"{measure[0]}.skeleton.{measure[1]}": pa.array(skeleton, pa.float64()),
        }
    )


@pytest.mark.parametrize(
    ("metric", "column"),
    [
        ("unlabelled", ("features", "cluster_learnability")),
        ("rankme", ("embedding", "effective_rank")),
        ("std", ("embedding", "std")),
        ("covariance", ("embedding", "covariance")),
    ],
)
def test_a_measure_without_labels_is_the_mean_over_the_modalities(
    plan_of: Callable[..., Plan], metric: str, column: tuple[str, str]
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
    assert choice.noise == pytest.approx((high - low) / 2)
    assert choice.threshold == (
        f"a difference from the best below {100 * choice.noise:.1f} percentage points is within the noise "
        "(paired t-test over 3 folds, 95 %)"
    )


def test_with_one_fold_seeds_are_what_there_is() -> None:
    first = {(seed, "a"): 0.5 + seed / 100 for seed in range(5)}
    gaps = [0.1, 0.11, 0.12, 0.1, 0.11]
    second = {key: score - gap for (key, score), gap in zip(first.items(), gaps, strict=True)}
    choice = choose([seeded("a", first), seeded("b", second)])
    assert (choice.tied, choice.test) == ([], "paired t-test over 5 seeds, 95 %")


def test_the_threshold_is_the_median_over_the_other_points() -> None:
    others = [[0.9, 0.7, 0.8], [0.5, 0.6, 0.4], [0.1, 0.7, 0.7]]
    choice = choose([point("best", [0.95, 0.9, 0.85]), *(point(str(i), scores) for i, scores in enumerate(others))])
    ends = [stats.ttest_rel([0.95, 0.9, 0.85], scores).confidence_interval(0.95) for scores in others]
    least, middle, most = sorted((high - low) / 2 for low, high in ends)
    assert choice.threshold == (
        f"a difference from the best below about {100 * middle:.1f} percentage points is within the noise "
        f"(paired t-test over 3 folds, 95 %; by point {100 * least:.1f} to {100 * most:.1f})"
    )


def test_a_mean_is_in_its_own_interval_where_folds_have_unequal_numbers_of_seeds() -> None:
    scores = {(seed, "easy"): 0.9 for seed in range(8)} | {(0, "hard"): 0.6, (0, "middle"): 0.75, (0, "other"): 0.7}
    found = seeded("a", scores).estimate
    assert found.mean == seeded("a", scores).mean == pytest.approx((0.9 + 0.6 + 0.75 + 0.7) / 4)
    assert found.low is not None and found.high is not None and found.mean is not None
    assert found.low < found.mean < found.high
    assert found.over == "4 folds"


@pytest.mark.parametrize(
    ("scores", "over"),
    [
        ({(seed, fold, draw): 0.1 * seed + 0.01 * draw for seed in (1, 2) for fold in "ab" for draw in (0, 1, 2)},
         "2 folds"),
        ({(seed, "a", draw): 0.1 * seed + 0.01 * draw for seed in (1, 2) for draw in (0, 1, 2)}, "3 draws of labels"),
        ({(seed, "a", 0): 0.1 * seed for seed in (1, 2, 3, 4)}, "4 seeds"),
        ({(1, "a"): 0.7}, "50 recordings"),
    ],
)  # fmt: skip
def test_an_interval_is_over_the_outermost_of_what_was_repeated(scores: dict[Any, float], over: str) -> None:
    found = Point(
        "a", {}, len(scores), scores, recordings={fold: 25 if over == "2 folds" else 50 for _, fold, *_ in scores}
    )
    assert found.estimate.over == over
    assert found.estimate.mean == pytest.approx(np.mean(list(scores.values())))


def test_intervals_stay_between_0_and_1_and_measures_without_labels_have_none() -> None:
    sure, none = point("a", [1.0, 1.0, 1.0, 1.0]), point("a", [3.0, 4.0, 7.0])
    assert sure.estimate.interval is None, "it's not known how many recordings, and the folds do not differ"
    sure.recordings = dict.fromkeys("0123", 25)
    wilson = stats.binomtest(100, 100).proportion_ci(method="wilson")
    assert (sure.estimate.low, sure.estimate.high) == pytest.approx((wilson.low, 1))
    assert point("a", [0.0, 0.1, 0.3]).row()["low"] > 0
    none.bounded = False
    assert (none.estimate.mean, none.estimate.interval) == (pytest.approx(14 / 3), None)


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


def test_pruned_points_are_counted_as_such() -> None:
    pruned = Point("b", {}, 2, {(28, "x"): 0.9}, {"COMPLETE": 1, "PRUNED": 1})
    choice = choose([point("a", [0.5, 0.6]), pruned])
    assert choice.best.point_id == "a"
    assert any(caveat.startswith("1 of 2 points was not trained to the end") for caveat in choice.caveats)
    assert not any("left out" in caveat for caveat in choice.caveats)


def test_points_that_are_left_out_are_counted_by_what_their_trials_lack() -> None:
    diverged = Point("b", {}, 2, {(28, "0"): 0.9}, {"COMPLETE": 1, "DIVERGED": 1})
    waiting = Point("c", {}, 3, {}, {"DIVERGED": 1})
    unmeasured = Point("d", {}, 2, {(28, "0"): 0.9}, {"COMPLETE": 2})
    said = choose([point("a", [0.5, 0.6]), diverged, waiting, unmeasured]).caveats
    assert (
        "3 of 4 points are left out; trials without a result: 1 COMPLETE without this measure, 2 DIVERGED, 2 PLANNED"
        in said
    )
    with pytest.raises(UserError, match=r"\(1 COMPLETE, 1 DIVERGED\): `mmssl-tune status one` says why"):
        choose([diverged], study="one")


def test_points_of_one_trial_are_compared_by_recording() -> None:
    draws = np.random.default_rng(0)
    for count, gap in ((40, 0.05), (4000, 0.05)):
        best = draws.uniform(size=count) < 0.9
        other = best & (draws.uniform(size=count) > gap)
        rows = [
            {"point_id": name, "fold": "x", "recording_id": str(i), "label": "sit",
             "predicted": "sit" if right else "stand"}
            for name, column in (("a", best), ("b", other))
            for i, right in enumerate(column)
        ]  # fmt: skip
        table = pa.Table.from_pylist(rows)
        found = [point("a", [float(best.mean())]), point("b", [float(other.mean())])]
        choice = choose(found, lambda table=table: hits_of(table))
        low, high = stats.ttest_rel(best.astype(float), other.astype(float)).confidence_interval(0.95)
        assert bool(choice.tied) == (low <= 0)
        assert choice.noise == pytest.approx((high - low) / 2)
        assert choice.test == f"paired t-test over {count} recordings, 95 %"
        assert any("what other seeds or people would change" in caveat for caveat in choice.caveats)
        assert choose(found).test == "no test: one trial each"


@pytest.mark.parametrize("system", ["vicreg", "cmc", "cmc_cmkm", "supervised"])
def test_untrained_encoders_stand_beside_those_with_their_networks_and_heads(system: str) -> None:
    trained, untrained = preset("utd_mhad", system), preset("utd_mhad", "untrained")
    assert stand_beside(untrained, trained)
    assert not stand_beside(trained, untrained), "which is which"
    for same in ({"objective.lambda": 1, "pretrain.lr": 0.1}, {"seed": 3, "data.validation_subjects": ["7"]},
                 {"finetune.batch_norm": "renewed"}, {"encoder.imu.dropout": 0.3},
                 {"finetune.encoder_rate": 0.1, "finetune.variance": 1, "finetune.covariance": 1}):  # fmt: skip
        assert same.keys() & untrained.knobs().keys() <= untrained.unread().keys() | {
            "seed",
            "data.validation_subjects",
        }
        assert stand_beside(untrained, trained.with_knobs(same))
    for other in (
        {"encoder.imu.pooling": "none"}, {"finetune.hidden": 7}, {"finetune.views": 2}, {"finetune.labels": 0.5},
        {"data.steps": 30}, {"pretrain.hidden_classes": ["wave"]}, {"data.protocol": "cross_scene"},
        {"data.transductive": True},
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
