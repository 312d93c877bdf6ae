"""What repeated trials score together, and how sure that is: one rule for every table, page and choice."""

import statistics
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmssl.evaluation import finite_or_none, interval, score_interval
from mmssl.study.plan import Key

Scores = Mapping[Key, float]
_UNITS = (("folds", 1), ("draws of labels", 2), ("seeds", 0))
"""What trials are repeated over, outermost first, and its place in `Key`."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float | None
    low: float | None
    high: float | None
    over: str
    """What the interval is over, as "4 folds"; empty where there is none."""

    @property
    def interval(self) -> dict[str, Any] | None:
        """For a script."""
        return {"low": self.low, "high": self.high, "over": self.over} if self.over else None

    @property
    def within_noise(self) -> bool:
        """Of a difference: whether it is not significant."""
        return self.low is None or self.high is None or self.low <= 0 <= self.high


def groups(scores: Scores) -> tuple[str, list[float]]:
    """What independent groups of trials are, and the mean of each.

    They are folds: trials that share the same held-out people are not as many answers. Of one fold they are its draws
    of labels, of one draw its seeds.
    """
    unit, found = "", dict[Hashable, list[float]]()
    for name, place in _UNITS:
        unit, found = name, defaultdict(list)
        for key, score in scores.items():
            found[key[place] if place < len(key) else None].append(score)
        if len(found) > 1:
            break
    return unit, [statistics.fmean(group) for group in found.values()]


def mean(scores: Scores) -> float | None:
    """Over the groups, so that a fold with more seeds than others counts as they do; None where there is none."""
    _, means = groups(scores)
    return statistics.fmean(means) if means else None


def in_rank(score: float) -> float:
    """A score to order by: two that differ by no more than the floats' rounding, as means of the same hits that folds
    share out otherwise, are equal."""
    return round(score, 12)


def estimate(scores: Scores, recordings: int | None) -> Estimate:
    """Mean of scores from 0 to 1 with `score_interval`.

    Args:
        recordings: how many were scored, those of each fold counted once; None where a trial does not have it.
    """
    unit, means = groups(scores)
    low, high = score_interval(means, recordings)
    over = f"{len(means)} {unit}" if len(means) > 1 else f"{recordings} recordings"
    return _estimate(means, low, high, over)


def difference(differences: Scores | Sequence[float], counts: Mapping[str, int | None] = {}) -> Estimate:
    """Mean of paired differences with the interval of the paired t-test.

    Args:
        differences: by trial, or where points have one trial each by recording, as a list.
        counts: of scores from 0 to 1, how many recordings were scored, by fold.
    """
    if not isinstance(differences, Mapping):
        return _estimate(differences, *interval(differences), f"{len(differences)} recordings")
    unit, means = groups(differences)
    recordings = recordings_of((fold, counts.get(fold)) for _, fold, *_ in differences)
    return _estimate(means, *interval(means, recordings=recordings), f"{len(means)} {unit}")


def repeat(key: Key) -> int | str:
    """Which of a fold's trials one is: its seed, with the draw of labels where there is one."""
    seed, _, *draws = key
    return f"{seed}, labels {draws[0]}" if draws else seed


def paired(ours: Scores, theirs: Scores) -> dict[Key, float]:
    """Differences of the scores that both have."""
    return {key: score - theirs[key] for key, score in ours.items() if key in theirs}


def apart(ours: Scores, theirs: Scores, counts: Mapping[str, int | None]) -> tuple[Estimate, int]:
    """How far the first is above, over the trials of a seed and fold that both have, or where there is none over the
    folds; and how many pairs that is.

    Args:
        counts: how many recordings were scored, by fold.
    """
    pairs = paired(ours, theirs) or paired(_by_fold(ours), _by_fold(theirs))
    return difference(pairs, counts), len(pairs)


def _by_fold(scores: Scores) -> dict[Key, float]:
    """Means over seeds."""
    return {
        (None, fold): mean({key: one for key, one in scores.items() if key[1] == fold}) or 0.0 for _, fold, *_ in scores
    }


def recordings_of(counts: Iterable[tuple[str, int | None]]) -> int | None:
    """How many recordings were scored, by what each trial's fold had; None where a trial does not say."""
    by_fold = dict(counts)
    scored = [count for count in by_fold.values() if count is not None]
    return sum(scored) if scored and len(scored) == len(by_fold) else None


def _estimate(means: Sequence[float], low: float, high: float, over: str) -> Estimate:
    ends = finite_or_none(low), finite_or_none(high)
    return Estimate(statistics.fmean(means) if means else None, *ends, over if ends[0] is not None else "")
