"""Scores paired by seed and fold: what a table of any experiment is made of."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmssl.evaluation import interval
from mmssl.search.store import Study

Key = tuple[int, str]
"""Seed and fold."""
Scores = dict[Key, float]


def complete(study: Study) -> list[dict[str, Any]]:
    return [row for row in study.table("trials.parquet").to_pylist() if row["status"] == "COMPLETE"]


def scores_of(rows: Sequence[Mapping[str, Any]], column: str) -> Scores:
    return {(row["seed"], row["fold"]): row[column] for row in rows if row[column] is not None}


def summary(name: str, scores: Scores) -> dict[str, float | None]:
    """Mean over seeds and folds with its 95 % interval, as in `change`; standard deviation over seeds of the mean over
    folds, and over folds likewise."""

    def spread(by: int) -> float | None:
        groups: dict[Any, list[float]] = defaultdict(list)
        for key, score in scores.items():
            groups[key[by]].append(score)
        # A group that lacks trials has another mean for that alone.
        whole = [statistics.fmean(group) for group in groups.values() if len(group) == max(map(len, groups.values()))]
        return statistics.stdev(whole) if len(whole) > 1 else None

    columns = (*mean_ends(name), f"{name}.std", f"{name}.std_folds")
    return dict(zip(columns, (*_with_interval(scores), spread(0), spread(1)), strict=True))


def differences(ours: Scores, theirs: Scores) -> Scores:
    return {key: score - theirs[key] for key, score in ours.items() if key in theirs}


def change(name: str, differences: Scores) -> dict[str, float | None]:
    """Mean of paired differences with its 95 % interval (Student's t).

    The interval is over `independent` groups: folds, each the mean over its seeds; with one fold it is over seeds.
    """
    return dict(zip(ends(name), _with_interval(differences), strict=True))


def _with_interval(scores: Scores) -> tuple[float | None, float | None, float | None]:
    groups = independent((seed, fold, score) for (seed, fold), score in scores.items())
    low, high = interval([statistics.fmean(group) for group in groups])
    return statistics.fmean(scores.values()) if scores else None, known(low), known(high)


def independent(found: Iterable[tuple[int, str, float]]) -> list[list[float]]:
    """Values by what they were repeated over (seeds, or draws of labels) and by fold, grouped by fold; of one fold by
    the other.

    Seeds or labels that share the same held-out people are not as many independent answers.
    """
    every = list(found)
    by_fold = len({fold for _, fold, _ in every}) > 1
    groups: dict[int | str, list[float]] = defaultdict(list)
    for repeat, fold, value in every:
        groups[fold if by_fold else repeat].append(value)
    return list(groups.values())


def ends(name: str) -> tuple[str, str, str]:
    return name, f"{name}.low", f"{name}.high"


def mean_ends(name: str) -> tuple[str, str, str]:
    """Columns of a score's mean and interval; `ends`: those of a difference."""
    return f"{name}.mean", f"{name}.low", f"{name}.high"


def known(value: float) -> float | None:
    return None if math.isnan(value) else value
