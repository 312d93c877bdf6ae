import itertools
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, confusion_matrix, f1_score
from sklearn.metrics.pairwise import cosine_similarity

from mmssl import evaluation
from mmssl.evaluation import (
    confusion,
    interval,
    pair_retrieval,
    rank_agreement,
    retrieval,
    score_interval,
    scores,
    tsne,
)

NO_LABELS = np.array([], dtype=np.int64)


def test_importing_it_is_cheap():
    code = "import sys, mmssl.evaluation; print(*({'torch', 'scipy', 'sklearn', 'altair'} & set(sys.modules)))"
    top = Path(__file__).resolve().parents[1]
    process = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=top)
    assert process.stdout.split() == []


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_scores_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    ours = scores(labels, predicted)
    assert ours["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    theirs = f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)
    assert ours["f1"] == pytest.approx(theirs)


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="no recording"):
        scores(NO_LABELS, NO_LABELS)


# Confusion


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_confusion_is_scikit_learns(pairs: list[tuple[int, int]]):
    labels, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    ours = confusion(labels, predicted, 5)
    theirs = confusion_matrix(labels, predicted, labels=range(5), normalize="true")  # 0 where there is no recording
    present = np.isin(range(5), labels)
    np.testing.assert_allclose(ours[present], theirs[present])
    np.testing.assert_allclose(ours[present].sum(axis=1), 1)
    assert np.isnan(ours[~present]).all()


def test_confusion_at_the_edges():
    assert np.isnan(confusion(NO_LABELS, NO_LABELS, 3)).all()
    np.testing.assert_array_equal(confusion(np.array([0, 0]), np.array([0, 0]), 1), [[1]])
    for labels, predicted, said in (
        ([0, 3], [0, 0], "label 3 is none of 3"),
        ([0, 0], [-1, 0], "prediction -1 is none of 3"),
        ([0, 1], [0], "2 labels for 1 pred"),
    ):
        with pytest.raises(ValueError, match=said):
            confusion(np.array(labels), np.array(predicted), 3)


# Retrieval


def draw(seed: int, n: int, m: int, classes: int = 4, width: int = 6) -> tuple[np.ndarray, ...]:
    draws = np.random.default_rng(seed)
    sizes = ((n, width), (m, width))
    return *(draws.normal(size=size) for size in sizes), *(draws.integers(classes, size=k) for k in (n, m))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("same", [False, True])
def test_retrieval_is_scikit_learns(seed: int, same: bool):
    query, gallery, query_labels, gallery_labels = draw(seed, 30, 30 if same else 25)
    if same:
        gallery_labels = query_labels
    query_labels[0] = 9  # in no gallery
    similarity = cosine_similarity(query, gallery)
    hits: dict[int, list[bool]] = {1: [], 5: [], 10: [], 40: []}
    precisions: list[float] = []
    for i in range(len(query)):
        others = [j for j in range(len(gallery)) if not (same and i == j)]
        relevant = gallery_labels[others] == query_labels[i]
        nearest = np.argsort(-similarity[i, others])
        for k in hits:
            hits[k].append(relevant[nearest[:k]].any())
        if relevant.any():
            precisions.append(average_precision_score(relevant, similarity[i, others]))
    assert len(precisions) < len(query)
    found = retrieval(query, gallery, query_labels, gallery_labels, same=same, at=(1, 5, 10, 40))
    assert found == pytest.approx({**{f"recall@{k}": np.mean(hits[k]) for k in hits}, "map": np.mean(precisions)})
    assert list(retrieval(query, gallery, query_labels, gallery_labels, same=same)) == [
        "recall@1",
        "recall@5",
        "recall@10",
        "map",
    ]


def test_what_is_left_out_is_in_no_ranking():
    """Each query against a gallery from which the others of its group were taken away by hand."""
    query, gallery, labels, _ = draw(7, 24, 24)
    group = np.arange(24) // 3
    group[-1] = 99
    found = retrieval(query, gallery, labels, labels, same=True, left_out=lambda i: group == group[i], at=(1, 5))
    one_by_one = [
        retrieval(query[[i]], gallery[group != group[i]], labels[[i]], labels[group != group[i]], same=False, at=(1, 5))
        for i in range(24)
    ]
    assert found == pytest.approx({name: np.nanmean([one[name] for one in one_by_one]) for name in found})
    none = retrieval(query, gallery, labels, labels, same=True, left_out=lambda i: group >= 0, at=(1,))
    assert none["recall@1"] == 0 and math.isnan(none["map"])


def test_one_recording_in_both_modalities_is_no_hit_for_itself():
    a = np.eye(3)
    labels = np.array([0, 1, 1])
    found = retrieval(a, a, labels, labels, same=True, at=(1,))
    # Recording 0 is alone in its class; each of the others has the one hit tied with one miss, first or second.
    assert found == pytest.approx({"recall@1": (0 + 0.5 + 0.5) / 3, "map": (1 + 1 / 2) / 2})
    assert retrieval(a, a, labels, labels, same=False, at=(1,))["recall@1"] == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 1), st.booleans()), min_size=1, max_size=6), st.randoms())
def test_ties_give_the_mean_over_all_their_orders(items: list[tuple[int, bool]], shuffle):
    """Items left of, on and right of the query's direction, so that many are tied; all orders written out."""
    shuffle.shuffle(items)
    gallery = np.array([[side, side == 0] for side, _ in items], dtype=float)
    labels = np.array([int(relevant) for _, relevant in items])
    firsts: dict[int, list[bool]] = {1: [], 2: [], 5: []}
    precisions: list[float] = []
    for order in itertools.permutations(range(len(items))):
        ranks = sorted(order, key=lambda j: -items[j][0])  # a stable sort
        for k in firsts:
            firsts[k].append(any(labels[j] for j in ranks[:k]))
        places = [place for place, j in enumerate(ranks, 1) if labels[j]]
        precisions.append(np.mean([n / place for n, place in enumerate(places, 1)]) if places else math.nan)
    found = retrieval(np.array([[1.0, 0]]), gallery, np.array([1]), labels, same=False, at=(1, 2, 5))
    expected = {**{f"recall@{k}": np.mean(firsts[k]) for k in firsts}, "map": np.mean(precisions)}
    assert found == pytest.approx(expected, nan_ok=True)


@given(st.permutations(range(12)), st.sampled_from([0.0, 0.1, 1e-300, 1e300]))
def test_embeddings_that_are_all_the_same_are_chance_in_any_order(order: list[int], value: float):
    labels = np.repeat(np.arange(3), 4)[order]
    collapsed = np.full((12, 50), value)
    found = retrieval(collapsed, collapsed, labels, labels, same=True)
    assert found["recall@1"] == pytest.approx(3 / 11)
    assert found["recall@5"] == pytest.approx(1 - math.comb(8, 5) / math.comb(11, 5))
    pairs = pair_retrieval(collapsed, collapsed)
    expected = {"recall@1": 1 / 12, "recall@5": 5 / 12, "recall@10": 10 / 12, "mrr": np.mean(1 / np.arange(1, 13))}
    assert pairs == pytest.approx(expected)


def test_ties_are_seen_through_rounding():
    """Multiples of one embedding have cosines that differ in the last digits."""
    draws = np.random.default_rng(0)
    ray = draws.normal(size=50) * draws.uniform(1, 9, size=(12, 1))
    labels = np.repeat(np.arange(3), 4)
    assert retrieval(ray, ray, labels, labels, same=True)["recall@1"] == pytest.approx(3 / 11)


def test_retrieval_by_cosine_ignores_length_and_kind_of_float():
    query, gallery, query_labels, gallery_labels = draw(1, 20, 30)
    expected = retrieval(query, gallery, query_labels, gallery_labels, same=False)
    longer = retrieval(query * 1e200, gallery * 1e-200, query_labels, gallery_labels, same=False)
    assert longer == pytest.approx(expected)
    single = retrieval(query.astype(np.float32), gallery.astype(np.float32), query_labels, gallery_labels, same=False)
    assert single == pytest.approx(expected)
    assert all(type(value) is float for value in single.values())


def test_a_query_without_its_class_in_the_gallery_is_missed_but_not_ranked():
    e = np.eye(2)
    assert retrieval(e, e, np.array([0, 7]), np.array([0, 1]), same=False, at=(1,)) == {"recall@1": 0.5, "map": 1.0}
    nobody = retrieval(e, e, np.array([8, 7]), np.array([0, 1]), same=False, at=(1, 9))
    assert nobody == pytest.approx({"recall@1": 0, "recall@9": 0, "map": math.nan}, nan_ok=True)
    one_class = np.zeros(2, dtype=np.int64)
    assert retrieval(e, e, one_class, one_class, same=True, at=(1,)) == {"recall@1": 1.0, "map": 1.0}


@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_found_at_the_rank_counted_out(seed: int):
    a, b, *_ = draw(seed, 40, 40)
    similarity = cosine_similarity(a, a + 2 * b)
    ranks = np.array([1 + sum(similarity[i, j] > similarity[i, i] for j in range(40)) for i in range(40)])
    found = pair_retrieval(a, a + 2 * b, at=(1, 3))
    expected = {"recall@1": np.mean(ranks <= 1), "recall@3": np.mean(ranks <= 3), "mrr": np.mean(1 / ranks)}
    assert found == pytest.approx(expected)
    each = np.arange(40)
    as_classes = retrieval(a, a + 2 * b, each, each, same=False, at=(1, 3))
    assert list(found.values()) == pytest.approx(list(as_classes.values()))


def test_a_perfect_pairing_and_one_recording():
    a = np.random.default_rng(0).normal(size=(20, 8))
    assert set(pair_retrieval(a, 3 * a).values()) == {1.0}
    assert set(pair_retrieval(a[:1], -a[:1]).values()) == {1.0}


def test_more_queries_than_fit_in_a_block(monkeypatch: pytest.MonkeyPatch):
    a, b, *_ = draw(0, 23, 23)
    whole = pair_retrieval(a, a + b)
    monkeypatch.setattr(evaluation, "BLOCK", 5)
    assert pair_retrieval(a, a + b) == pytest.approx(whole)


def test_what_cannot_be_retrieved_is_an_error():
    a, b, labels, _ = draw(0, 5, 5)
    for broken in (np.nan, np.inf):
        bad = a.copy()
        bad[3, 1] = broken
        with pytest.raises(ValueError, match=r"1 of 5 embeddings are not finite, the first in row 3"):
            retrieval(bad, b, labels, labels, same=False)
        with pytest.raises(ValueError, match="not finite"):
            pair_retrieval(b, bad)
    for query, gallery, same, said in (
        (a[:0], b, False, "0 queries"),
        (a, b[:0], False, "a gallery of 0"),
        (a, b[:4], True, "5 queries cannot be the same"),
        (a[:1], b[:1], True, "no recording but the query"),
        (a, b[:, :2], False, "cannot be compared"),
    ):
        with pytest.raises(ValueError, match=said):
            retrieval(query, gallery, labels[: len(query)], labels[: len(gallery)], same=same)
    with pytest.raises(ValueError, match="4 query labels for 5"):
        retrieval(a, b, labels[:4], labels, same=False)
    with pytest.raises(ValueError, match="no pairs"):
        pair_retrieval(a, b[:4])
    with pytest.raises(ValueError, match="0 queries"):
        pair_retrieval(a[:0], b[:0])
    with pytest.raises(ValueError, match="0 nearest"):
        pair_retrieval(a, b, at=(0,))


# t-SNE


def test_tsne_keeps_neighbours_and_repeats():
    draws = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 15)
    features = (draws.normal(size=(45, 10)) + 12 * np.eye(10)[labels]).astype(np.float32)
    points = tsne(features, seed=3)
    assert points.shape == (45, 2)
    assert points.dtype == np.float64
    distances = np.linalg.norm(points[:, None] - points, axis=2) + np.diag(np.full(45, np.inf))
    assert (labels[distances.argmin(axis=1)] == labels).all()
    np.testing.assert_array_equal(tsne(features, seed=3), points)


def test_tsne_depends_on_its_seed_alone_where_it_draws():
    features = np.random.default_rng(0).normal(size=(20, 600))
    first = tsne(features, seed=0)
    np.testing.assert_array_equal(tsne(features, seed=0), first)
    assert (tsne(features, seed=1) != first).any()


@pytest.mark.parametrize("n", [4, 5])
def test_tsne_of_few_recordings(n: int):
    assert np.isfinite(tsne(np.random.default_rng(0).normal(size=(n, 3)), seed=0)).all()


def test_what_tsne_cannot_lay_out_is_an_error():
    features = np.random.default_rng(0).normal(size=(8, 3))
    for bad, said in (
        (features[:3], "at least 4"),
        (features[:, :1], "2 dimensions"),
        (features * np.nan, "not finite"),
        (np.full((8, 3), 0.1), "all the same"),
    ):
        with pytest.raises(ValueError, match=said):
            tsne(bad, seed=0)


# Intervals


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20), st.floats(0.5, 0.99))
def test_the_interval_is_that_of_a_t_test(values: list[float], level: float):
    low, high = interval(values, level)
    if np.std(values) < 1e-9:  # SciPy divides by it
        assert (low, high) == pytest.approx((np.mean(values),) * 2, abs=1e-6)
        return
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(level)
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-9)


def test_the_interval_of_ten_draws_from_a_table_of_t():
    values = [0.61, 0.58, 0.64, 0.60, 0.59, 0.62, 0.63, 0.57, 0.60, 0.61]
    half = 2.262157 * np.std(values, ddof=1) / np.sqrt(10)
    assert interval(values) == pytest.approx((np.mean(values) - half, np.mean(values) + half), abs=1e-7)


@pytest.mark.parametrize(("folds", "size"), [(2, 12), (2, 48), (3, 24), (4, 24)])
def test_points_that_are_equal_but_for_chance_are_told_apart_in_one_of_twenty_studies(folds: int, size: int):
    """By the t-test of the folds alone in one of ten, where there are two: they often differ by the same."""
    drawn = np.random.default_rng(0).multinomial(size, [0.05, 0.05, 0.9], size=(2000, folds))
    differences = (drawn[..., 0] - drawn[..., 1]) / size
    ends = np.array([interval(one, recordings=folds * size) for one in differences])
    assert np.mean((ends[:, 0] > 1e-12) | (ends[:, 1] < -1e-12)) < 0.05
    alone = np.array([interval(one) for one in differences])
    assert (ends[:, 0] <= alone[:, 0]).all() and (ends[:, 1] >= alone[:, 1]).all()


def test_a_difference_is_no_surer_than_the_recordings_that_differ():
    """Five of fifty right and none of them wrong instead: McNemar's test without correction has z = the root of 5."""
    low, high = interval([0.1, 0.1], recordings=50)
    z = scipy.stats.norm.ppf(0.975)
    assert (high + low) / (high - low) == pytest.approx(math.sqrt(5) / z)
    assert low > 0 > interval([0.06, 0.06], recordings=50)[0], "three of fifty"


@pytest.mark.parametrize("values", [[], [0.5], [0.5, math.nan], [0.5, 0.6, math.inf]])
def test_no_interval_without_repeats_that_are_numbers(values: list[float]):
    assert all(math.isnan(end) for end in interval(values))
    assert all(math.isnan(end) for end in score_interval(values, None))


@pytest.mark.parametrize("level", [0, 1, 95, math.nan])
def test_a_level_in_percent_is_an_error(level: float):
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval([0.5, 0.6], level)
    with pytest.raises(ValueError, match="between 0 and 1"):
        score_interval([0.5, 0.6], None, level)


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def test_the_interval_of_a_score_is_students_t_on_the_logit_scale():
    groups = [0.925, 0.954, 0.861, 0.963]
    mean = np.mean(groups)
    half = 3.182446 * np.std(groups, ddof=1) / 2 / (mean * (1 - mean))
    low, high = score_interval(groups, None)
    assert (logit(low), logit(high)) == pytest.approx((logit(mean) - half, logit(mean) + half), abs=1e-5)
    assert mean - low > high - mean, "towards 1 there is less room"


def test_the_interval_of_a_score_is_that_of_the_difference_where_0_and_1_are_far():
    groups = [0.5, 0.502, 0.499, 0.503]
    assert score_interval(groups, None) == pytest.approx(interval(groups), abs=1e-4)


@pytest.mark.parametrize("hits", [0, 1, 30, 66, 67])
def test_the_interval_over_recordings_is_binomial(hits: int):
    low, high = score_interval([hits / 67], 67)
    wilson = scipy.stats.binomtest(hits, 67).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((wilson.low, wilson.high))
    assert score_interval([hits / 67] * 4, 67) == pytest.approx((low, high)), "equal groups are no certainty"
    apart = score_interval([0.9, 0.1, 0.5, 0.5], 67)
    assert apart[1] - apart[0] > 0.5, "people who differ are more than chance among recordings"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.none() | st.integers(1, 2000))
def test_the_interval_of_a_score_stays_between_0_and_1_and_holds_the_mean(groups: list[float], recordings: int | None):
    low, high = score_interval(groups, recordings)
    if math.isnan(low):
        assert recordings is None and np.std(groups) < 1e-9
        return
    assert 0 <= low <= np.mean(groups) <= high <= 1
    assert low < high
    swapped = score_interval([1 - group for group in groups], recordings)
    assert swapped == pytest.approx((1 - high, 1 - low), abs=1e-6)


@pytest.mark.parametrize("accuracy", [0.5, 0.7, 0.9, 0.95, 0.97, 0.99])
def test_the_interval_of_a_score_holds_the_true_mean_as_often_as_it_says(accuracy: float):
    """Four people, three seeds, 108 recordings of each; people are of a beta distribution."""
    draws = np.random.default_rng(int(100 * accuracy))
    spread = 0.35 * accuracy * (1 - accuracy) + 0.01  # 4 per cent at 0.9, 10 at 0.5
    strength = accuracy * (1 - accuracy) / spread**2 - 1
    people = draws.beta(accuracy * strength, (1 - accuracy) * strength, size=(1500, 4))
    scores = np.mean([draws.binomial(108, people) / 108 for _ in range(3)], axis=0)
    ends = np.array([score_interval(one, 4 * 108) for one in scores])
    assert np.mean((ends[:, 0] <= accuracy) & (accuracy <= ends[:, 1])) >= 0.93
    assert ends.min() >= 0
    assert ends.max() <= 1
    assert np.median(ends[:, 1] - ends[:, 0]) < 4 * spread, "and says something"


def test_a_score_in_per_cent_is_an_error():
    with pytest.raises(ValueError, match=r"not from 61\.0 to 95\.0"):
        score_interval([95, 61], 100)


# Rank agreement


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=9))
def test_rank_agreement_is_the_correlation_of_the_ranks(pairs: list[tuple[int, int]]):
    x, y = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    found = rank_agreement(x, y)
    assert found["n"] == len(pairs)
    if len(pairs) < 3 or len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(found["spearman"])
        assert math.isnan(found["p"])
        return
    # A rank is one more than the smaller values, and half a place for each other equal one.
    ranks = [[sum(v < w for v in column) + (sum(v == w for v in column) + 1) / 2 for w in column] for column in (x, y)]
    assert found["spearman"] == pytest.approx(np.corrcoef(ranks)[0, 1])
    assert 0 <= found["p"] <= 1


def test_p_for_few_points_counts_all_orders():
    x, y = [1.0, 2.0, 3.0, 5.0, 4.0], [2.0, 1.0, 3.0, 4.0, 4.0]
    found = rank_agreement(x, y)
    others = [scipy.stats.spearmanr(order, y).statistic for order in itertools.permutations(x)]
    assert found["p"] == pytest.approx(np.mean(np.abs(others) >= abs(found["spearman"]) - 1e-9))
    assert rank_agreement([1, 2, 3], [30, 20, 10]) == pytest.approx({"spearman": -1, "p": 2 / 6, "n": 3})


def test_p_for_more_points_is_scipys():
    draws = np.random.default_rng(0)
    x = draws.normal(size=25)
    y = x + draws.normal(size=25)
    expected = scipy.stats.spearmanr(x, y)
    found = rank_agreement(x, y)
    assert found == pytest.approx({"spearman": expected.statistic, "p": expected.pvalue, "n": 25})
    with_gaps = rank_agreement([*x, math.nan, 1, math.nan], [*y, 1, math.nan, math.nan])
    assert with_gaps == found
    raised = rank_agreement(np.exp(x), y)  # only the order counts
    assert raised == pytest.approx(found)


@pytest.mark.parametrize(
    ("x", "y", "n"),
    [
        ([], [], 0),
        ([1, 2], [1, 2], 2),
        ([1, 2, math.nan], [1, 2, 3], 2),
        ([1, 1, 1, 1], [1, 2, 3, 4], 4),
        ([1, 2, 3, 4], [0.1, 0.1, 0.1, 0.1], 4),
    ],
)
def test_no_agreement_to_measure(x: list[float], y: list[float], n: int):
    found = rank_agreement(x, y)
    assert math.isnan(found["spearman"])
    assert math.isnan(found["p"])
    assert found["n"] == n


def test_infinite_measures_have_a_rank():
    found = rank_agreement([math.inf, 1, 2, 3], [4, 1, 2, 3])
    assert found == pytest.approx({"spearman": 1, "p": 2 / 24, "n": 4})
    with pytest.raises(ValueError, match="3 measures for 2"):
        rank_agreement([1, 2, 3], [1, 2])


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.999])
def test_intervals_take_students_quantiles(level: float) -> None:
    for count in (2, 3, 4, 5, 13, 200, 201, 202, 900):
        values = np.linspace(-1, 2, count)
        low, high = interval(values, level)
        expected = scipy.stats.t.interval(level, count - 1, values.mean(), scipy.stats.sem(values))
        assert (low, high) == pytest.approx(expected, rel=1e-9)
