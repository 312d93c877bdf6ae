"""Importance of knobs against the analysis of variance of a full grid, which can be written out."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from mmssl.errors import UserError
from mmssl.study.importance import importance
from mmssl.study.space import Range

VALUES = [1.0, 5.0, 10.0, 25.0, 50.0]
GRID = [{"a": a, "b": b, "c": c} for a, b, c in itertools.product(VALUES, VALUES, ["x", "y"])]


def shares_by_formula(scores: list[float]) -> dict[str, float]:
    """Variance of a knob's means, over that of all scores: on a balanced grid its main effect."""
    table = np.array(scores).reshape(5, 5, 2)
    means = {"a": table.mean(axis=(1, 2)), "b": table.mean(axis=(0, 2)), "c": table.mean(axis=(0, 1))}
    return {knob: float(one.var() / table.var()) for knob, one in means.items()}


@pytest.mark.parametrize(
    "score",
    [
        lambda p: VALUES.index(p["a"]) + 0.5 * VALUES.index(p["b"]),
        lambda p: p["a"] / 50 + (p["c"] == "x"),
        lambda p: float((p["a"] > 5) == (p["b"] > 5)),
    ],
    ids=["ranks", "values and words", "together alone"],
)
def test_shares_are_those_of_the_analysis_of_variance(score: Callable[[dict[str, float | str]], float]) -> None:
    scores = [float(score(point)) for point in GRID]
    found = importance(GRID, scores, {})
    for knob, share in shares_by_formula(scores).items():
        assert found[knob] == pytest.approx(share), knob


@pytest.mark.parametrize("ranges", [{}, {knob: Range(low=1, high=3) for knob in ("a", "b")}], ids=["lists", "steps"])
def test_the_first_and_last_value_count_as_those_between(ranges: dict[str, Range]) -> None:
    """Two knobs with one special value of three explain as much, be it the first or that in the middle; so they do
    where a combination is missing, and a forest has to say what it would score."""
    points = [{"a": a, "b": b, "c": c} for a, b, c in itertools.product([1, 2, 3], [1, 2, 3], "abcdefghijklmnop")][:-1]
    found = importance(points, [float((p["a"] == 2) + (p["b"] == 1)) for p in points], ranges)
    assert found["a"] == pytest.approx(0.5, abs=0.02) and found["b"] == pytest.approx(0.5, abs=0.02)


def test_a_word_explains_what_a_number_would() -> None:
    """Of two words, each a column of its own, the forest took one here and the other there."""
    names = {1.0: "x", 5.0: "y"}
    grid = list(itertools.product([1.0, 5.0], VALUES, VALUES))[:-1]
    scores = [VALUES.index(b) + VALUES.index(c) + a / 4 for a, b, c in grid]
    as_numbers = importance([{"a": a, "b": b, "c": c} for a, b, c in grid], scores, {})
    as_words = importance([{"a": names[a], "b": b, "c": c} for a, b, c in grid], scores, {})
    assert as_words == as_numbers


def test_a_grid_counts_its_values_alike_and_an_interval_its_scale() -> None:
    drawn = np.random.default_rng(0).uniform(0, 2, size=(60, 2))
    points = [{"a": float(10**x), "b": float(10**y)} for x, y in drawn]
    scores = [float(x + y) for x, y in drawn]
    interval = Range(low=1, high=100, log=True)
    found = importance(points, scores, {"a": interval, "b": interval})
    assert found["a"] == pytest.approx(0.5, abs=0.1), "even on the logarithmic scale that it was drawn on"
    assert found["b"] == pytest.approx(0.5, abs=0.1)


def test_the_same_points_give_the_same_shares() -> None:
    scores = [float(i % 7) for i in range(len(GRID))]
    assert importance(GRID, scores, {}) == importance(GRID, scores, {})


@pytest.mark.parametrize(
    ("points", "scores", "why"),
    [
        ([], [], "fewer than two searched knobs"),
        ([{"a": float(i), "b": 1.0} for i in range(9)], list(range(9)), "fewer than two searched knobs"),
        ([{"a": float(i), "b": float(i % 2)} for i in range(5)], list(range(5)), "5 complete points are too few"),
        ([{"a": float(i), "b": float(i % 2)} for i in range(9)], [0.5] * 9, "all points score the same"),
        ([{"a": float(i), "b": 2.0 * i} for i in range(9)], list(range(9)), "a and b only change together"),
    ],
)
def test_what_cannot_be_said_is_not(points: list[dict[str, float]], scores: list[float], why: str) -> None:
    with pytest.raises(UserError, match=why):
        importance(points, scores, {})
