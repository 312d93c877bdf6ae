"""Columns of the tables that experiments make of scores."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mmssl.study.columns import SCORED
from mmssl.study.folder import Study
from mmssl.study.plan import Key
from mmssl.study.scores import Estimate, Scores, difference, estimate


def complete(study: Study) -> list[dict[str, Any]]:
    return [row for row in study.table("trials.parquet").to_pylist() if row["status"] == "COMPLETE"]


def scores_of(rows: Sequence[Mapping[str, Any]], column: str) -> dict[Key, float]:
    return {(row["seed"], row["fold"]): row[column] for row in rows if row[column] is not None}


def scored_in(rows: Sequence[Mapping[str, Any]], read_from: str) -> dict[str, int | None]:
    """How many recordings a point's trials were scored on, from some modalities, joined by "+"; by fold."""
    own = f"{SCORED}.{read_from}"  # Empty where it is the number of all; tables of earlier versions lack it.
    return {row["fold"]: row[SCORED] if row.get(own) is None else row[own] for row in rows}


def summary(name: str, scores: Scores, recordings: int | None) -> dict[str, float | None]:
    """Mean over seeds and folds with its 95 % interval (`estimate`); standard deviations over seeds of the
    mean over folds, and over folds of the mean over seeds."""
    spreads = {f"{name}.std": spread(scores, 0), f"{name}.std_folds": spread(scores, 1)}
    return columns(mean_ends(name), estimate(scores, recordings)) | spreads


def spread(scores: Scores, by: int) -> float | None:
    """Standard deviation of the means over seeds (0) or folds (1)."""
    groups: dict[Any, list[float]] = defaultdict(list)
    for key, score in scores.items():
        groups[key[by]].append(score)
    # A group that lacks trials has another mean for that alone; so have two that lack as many, but not the same.
    every = len({(*key[:by], *key[by + 1 :]) for key in scores})
    whole = [statistics.fmean(group) for group in groups.values() if len(group) == every]
    return statistics.stdev(whole) if len(whole) > 1 else None


def change(name: str, differences: Scores, counts: Mapping[str, int | None]) -> dict[str, float | None]:
    """Mean of paired differences with its 95 % interval (`difference`).

    Args:
        counts: how many recordings were scored, by fold.
    """
    return columns(ends(name), difference(differences, counts))


def columns(names: tuple[str, str, str], found: Estimate) -> dict[str, float | None]:
    return dict(zip(names, (found.mean, found.low, found.high), strict=True))


def ends(name: str) -> tuple[str, str, str]:
    return name, f"{name}.low", f"{name}.high"


def mean_ends(name: str) -> tuple[str, str, str]:
    """Columns of a score's mean and interval; `ends`: those of a difference."""
    return f"{name}.mean", f"{name}.low", f"{name}.high"
