"""How much of what points score each searched knob explains."""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from mmssl.errors import UserError
from mmssl.study.space import Range

FEWEST = 6
"""Points below which shares would be of noise alone."""


def importance(
    points: Sequence[Mapping[str, Any]], scores: Sequence[float], ranges: Mapping[str, Range]
) -> dict[str, float]:
    """Share of the variance among the points' scores that each knob explains by itself (fANOVA; Hutter et al., ICML
    2014), from 0 to 1; the rest up to 1 is due to combinations of knobs and to noise.

    The values of a knob that was given as a list count the same, however far apart they are; those drawn from an
    interval count as they were drawn. Knobs that never change are left out. Where the points are all combinations of
    the values, shares are of their scores themselves; else Optuna's forest says what the missing ones would score.

    Args:
        points: by knob, each point's values.
        scores: one a point.
        ranges: the knobs that were drawn from an interval.

    Raises:
        UserError: fewer than two knobs change, points are fewer than `FEWEST`, or all score the same.
    """
    knobs = {knob: [point[knob] for point in points] for knob in (points[0] if points else {})}
    columns = {knob: _column(values, ranges.get(knob)) for knob, values in knobs.items()}
    columns = {knob: column for knob, column in columns.items() if len(set(column)) > 1}
    if len(columns) < 2:
        raise UserError("fewer than two searched knobs have more than one value")
    if len(points) < FEWEST:
        raise UserError(f"{len(points)} complete points are too few: {FEWEST} or more are needed")
    if len(set(scores)) == 1:
        raise UserError("all points score the same")
    for one, other in combinations(columns, 2):
        if _as_one(columns[one], columns[other]):
            raise UserError(f"{one} and {other} only change together")
    drawn = {knob for knob in columns if _is_drawn(knobs[knob], ranges.get(knob))}
    if not drawn and _is_grid(list(columns.values())):
        variance = float(np.var(scores))
        return {knob: _of_means(column, scores) / variance for knob, column in columns.items()}
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution

    kinds: dict[str, BaseDistribution] = {
        knob: FloatDistribution(*_ends(column, between=knob in drawn and _has_no_steps(knobs[knob], ranges[knob])))
        for knob, column in columns.items()
    }
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize")
        for i, score in enumerate(scores):
            params = {knob: column[i] for knob, column in columns.items()}
            study.add_trial(optuna.create_trial(params=params, distributions=kinds, value=score))
        found = optuna.importance.FanovaImportanceEvaluator(seed=0).evaluate(study)
    finally:
        optuna.logging.set_verbosity(before)
    return {knob: float(found[knob]) for knob in columns}


def _column(values: Sequence[Any], interval: Range | None) -> list[float]:
    """Drawn numbers as places on the scale that was searched; anything else as its number among the values."""
    if interval is not None and _is_drawn(values, interval):
        return [math.log(value) if interval.log else float(value) for value in values]
    numbers = not any(isinstance(value, bool) or not isinstance(value, int | float) for value in values)
    names = list(values) if numbers else [json.dumps(value) for value in values]
    order = {name: float(i) for i, name in enumerate(sorted(set(names)))}
    return [order[name] for name in names]


def _is_drawn(values: Sequence[Any], interval: Range | None) -> bool:
    """Whether they are numbers from an interval."""
    return interval is not None and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )


def _has_no_steps(values: Sequence[Any], interval: Range) -> bool:
    return interval.step is None and not all(isinstance(value, int) for value in values)


def _ends(column: Sequence[float], *, between: bool) -> tuple[float, float]:
    """The first and last value, where any value `between` them may be; else half a step beyond them: the forest divides
    midway between values, and each must have as much room as its neighbours."""
    values = sorted(set(column))
    beyond = (0.0, 0.0) if between else ((values[1] - values[0]) / 2, (values[-1] - values[-2]) / 2)
    return values[0] - beyond[0], values[-1] + beyond[1]


def _is_grid(columns: Sequence[Sequence[float]]) -> bool:
    """Whether the points are all combinations of the values, each once."""
    points = list(zip(*columns, strict=True))
    return len(set(points)) == len(points) == math.prod(len(set(column)) for column in columns)


def _of_means(column: Sequence[float], scores: Sequence[float]) -> float:
    """Variance of the mean scores of each value."""
    places, means = np.array(column), np.array(scores)
    return float(np.var([means[places == place].mean() for place in sorted(set(column))]))


def _as_one(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether each value of one goes with one value of the other, and the other way round.

    Where no value comes twice, as of knobs that are drawn, that is so by itself: then they must rise together, or one
    rise as the other falls.
    """
    pairs = sorted(set(zip(one, other, strict=True)))
    if not len(pairs) == len(set(one)) == len(set(other)):
        return False
    second = [b for _, b in pairs]
    return len(pairs) < len(one) or second in (sorted(second), sorted(second, reverse=True))
