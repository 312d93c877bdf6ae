"""What a study's tables say: points with their spread, and the best of them as far as the noise allows."""

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow import compute

from mmssl.errors import UserError
from mmssl.recipe import MODALITIES, Recipe
from mmssl.search.plan import Key, Plan

RANKME = "rankme"
"""Effective rank of the embeddings of the training recordings, of many a sample (Garrido et al., ICML 2023), mean over
the modalities: a measure that needs no labels, and compares points of one system alone."""
LABEL_FREE = {RANKME: "effective_rank", "std": "std", "covariance": "covariance"}
"""By name, what of `embedding.MODALITY.*` is averaged over the modalities."""
# Differences that chance alone gives more often than this leave two points tied.
SIGNIFICANCE = 0.05


def stand_beside(untrained: Recipe, trained: Recipe) -> bool:
    """Whether one is of encoders that were never trained, with the networks of the other and heads trained alike: then
    the difference of their scores is what training the encoders adds."""
    if untrained.pretrain.epochs or untrained.finetune.encoders == "trained":
        return False

    def shared(recipe: Recipe) -> tuple[object, ...]:
        # Heads are shown augmented recordings only where they train on such copies.
        augment = recipe.augment if recipe.finetune.views else None
        # It says what trained encoders keep; untrained ones have the recordings' statistics whatever it says.
        heads = recipe.finetune.model_copy(update={"encoders": "frozen", "batch_norm": "running"})
        seen = recipe.pretrain.hidden_classes
        return recipe.data.modalities, recipe.data.steps, seen, recipe.encoder, heads, augment

    return shared(untrained) == shared(trained)


@dataclass
class Point:
    """One point's trials, all seeds and folds together."""

    point_id: str
    values: dict[str, Any]
    """The searched knobs."""
    planned: int = 0
    scores: dict[Key, float] = field(default_factory=dict[Key, float])
    """The metric by seed and fold, of trials that are COMPLETE."""
    statuses: dict[str, int] = field(default_factory=dict[str, int])
    cost: float | None = None
    """What its encoders cost, where that was asked for."""
    place: int = 0
    """In the plan; of equal points the first is the best."""

    @property
    def complete(self) -> bool:
        return len(self.scores) == self.planned

    @property
    def failures(self) -> int:
        """Trials that ended without a result."""
        return sum(self.statuses.get(status, 0) for status in ("FAILED", "DIVERGED", "COLLAPSED", "PRUNED"))

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.scores.values()) if self.scores else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds and folds; None for fewer than two."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else None

    def row(self) -> dict[str, Any]:
        return {
            "point_id": self.point_id,
            **self.values,
            "mean": self.mean,
            "std": self.std,
            "n": len(self.scores),
            "planned": self.planned,
            "failures": self.failures,
            "statuses": self.statuses,
        }


@dataclass(frozen=True)
class Choice:
    best: Point
    tied: list[Point]
    """Complete points whose difference from the best is within the noise, best first."""
    resolution: float | None
    """The difference from the best that would have counted, median over the other points; None where unknown."""
    caveats: list[str]
    """What the reader must know before trusting the choice."""
    next: Point | None = None
    """The second in rank."""


def points(plan: Plan, trials: pa.Table, metric: str | None = None, cost: str | None = None) -> list[Point]:
    """The plan's points in its order, with what the trials' table says of them; draws of labels are one point's.

    Args:
        trials: `trials.parquet`. Points in it that a sampler has chosen since the plan was read are left out.
        metric: a column of scores, or a name in `LABEL_FREE`; the study's own metric by default.
        cost: a column of costs.

    Raises:
        UserError: the table has points that no plan of this study can have.
    """
    metric = metric or plan.space.scored
    columns = (
        [f"embedding.{modality}.{LABEL_FREE[metric]}" for modality in MODALITIES] if metric in LABEL_FREE else [metric]
    )
    gathered: dict[str, Point] = {}
    for place, (point_id, trials_of) in enumerate(plan.candidates.items()):
        values = plan.compared(trials_of[0].point)
        gathered[point_id] = Point(point_id, values, planned=len(trials_of), place=place)
    for row in trials.select(["point_id", "seed", "fold", "status", *columns, *([cost] if cost else [])]).to_pylist():
        if not plan.has_point(row["point_id"]):
            if plan.open_points:
                continue
            raise UserError(
                f"study {plan.name}: trials.parquet has points that are not in plan.json: one of the two is another "
                f"study's, or an older one; `mmssl-tune resume {plan.name}` writes the table anew"
            )
        point = gathered[plan.candidate(row["point_id"])]
        point.statuses[row["status"]] = point.statuses.get(row["status"], 0) + 1
        values = [row[column] for column in columns if row[column] is not None]
        if row["status"] == "COMPLETE" and values:
            point.scores[plan.key(row["point_id"], row["seed"], row["fold"])] = statistics.fmean(values)
            point.cost = row[cost] if cost else None
    return list(gathered.values())


def ranked(all_points: Sequence[Point]) -> list[Point]:
    """Complete points first, by mean, highest first; then the others. Equal ones stand in the plan's order.

    By this order points are chosen, and their weights are kept.
    """
    return sorted(
        all_points,
        key=lambda point: (
            not point.complete,
            -(point.mean if point.mean is not None else -math.inf),
            point.place,
        ),
    )


def pareto(all_points: Sequence[Point]) -> list[Point]:
    """The complete points of which no other is at least as good in mean and cost and better in one, cheapest first."""
    complete = [point for point in all_points if point.complete and point.cost is not None]
    complete.sort(key=lambda point: (point.cost or 0.0, -(point.mean or 0.0)))
    front: list[Point] = []
    for point in complete:
        if not front or (point.mean or 0.0) > (front[-1].mean or 0.0):
            front.append(point)
    return front


def choose(all_points: Sequence[Point]) -> Choice:
    """The point with the highest mean among those whose every trial is complete, and those tied with it.

    Tied means: a paired t-test does not tell the two apart at the 5 % level. It is over folds, each the mean over its
    seeds, since seeds that share the same held-out people are not as many answers; with one fold it is over seeds. With
    a single pair there is no noise to measure, and every choice is a guess: the caveats say so.

    Raises:
        UserError: no point is complete.
    """
    complete = ranked([point for point in all_points if point.complete])
    if not complete:
        counts: dict[str, int] = {}
        for point in all_points:
            for status, count in point.statuses.items():
                counts[status] = counts.get(status, 0) + count
        said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none is chosen yet"
        open_ones = not counts or counts.get("PLANNED", 0) + counts.get("RUNNING", 0)
        hint = "`mmssl-tune resume` runs what is missing" if open_ones else "`mmssl-tune retry` runs what failed"
        raise UserError(f"no point has all its trials complete ({said}): {hint}")
    best = complete[0]
    caveats: list[str] = []
    if len(best.scores) < 2:
        caveats.append("one seed and one fold: the noise is unknown, so no point can be called better than another")
    elif len({seed for seed, _ in best.scores}) == 1:
        caveats.append("one seed: the spread is over folds alone; more seeds would show how much is chance")
    given_up = [point for point in all_points if point.statuses.get("PRUNED") and not point.complete]
    left_out = len(all_points) - len(complete) - len(given_up)
    if given_up:
        caveats.append(
            f"{len(given_up)} of {len(all_points)} points were given up early, on few validation scores: how good they "
            "would have become is not known"
        )
    if left_out:
        caveats.append(
            f"{left_out} of {len(all_points)} points are not complete, or lack this measure, and were not considered"
        )
    others = complete[1:]
    tied = [point for point in others if _tied(best, point)]
    needed = sorted(value for point in others if (value := _resolution(_differences(best, point))) is not None)
    resolution = statistics.median(needed) if needed else None
    if resolution is not None and 2 * len(tied) > len(others):
        folds = len({fold for _, fold in best.scores})
        seeds = len({seed for seed, _ in best.scores})
        over = [f"{folds} fold{'s' * (folds > 1)}", f"{seeds} seed{'s' * (seeds > 1)}"]
        caveats.append(
            f"most points are tied: with {' and '.join(over)} a difference of about {resolution:.3f} would have counted"
        )
    return Choice(best, tied, resolution, caveats, others[0] if others else None)


def _differences(best: Point, other: Point) -> list[float]:
    """Of the best from another point, one a fold (its mean over seeds); with one fold, one a seed."""
    by = 1 if len({fold for _, fold in best.scores}) > 1 else 0
    groups: dict[Any, list[float]] = defaultdict(list)
    for key, score in best.scores.items():
        groups[key[by]].append(score - other.scores[key])
    return [statistics.fmean(group) for group in groups.values()]


def _tied(best: Point, other: Point) -> bool:
    differences = _differences(best, other)
    resolution = _resolution(differences)
    if resolution is None:
        return True
    mean = abs(statistics.fmean(differences))
    return mean == 0 or mean < resolution


def _resolution(differences: Sequence[float]) -> float | None:
    """The mean difference at which the t-test turns: half the width of the interval around it."""
    n = len(differences)
    if n < 2:
        return None
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, 1 - SIGNIFICANCE / 2)) * statistics.stdev(differences) / math.sqrt(n)


def too_few(best: Mapping[tuple[str, str], float], other: Mapping[tuple[str, str], float]) -> float | None:
    """The difference in accuracy that as many recordings could have told from chance, if it is more than there is.

    Args:
        best: what `hits` gives for one point.
        other: the same for another.

    Returns:
        Half the width of the 95 % interval of the mean difference, recordings paired; None where the recordings tell
        the two apart, or are fewer than two.
    """
    differences = [right - other[recording] for recording, right in best.items()]
    needed = _resolution(differences)
    return needed if needed is not None and abs(statistics.fmean(differences)) <= needed else None


def hits(plan: Plan, predictions: pa.Table, point: Point) -> dict[tuple[str, str], float]:
    """How often each held-out recording was classified right by a point's trials, by fold and id: mean over seeds.

    Args:
        predictions: `predictions.parquet`.
    """
    rows = predictions.filter(
        compute.field("trial_id").isin([trial.trial_id for trial in plan.candidates[point.point_id]])
    )
    right: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for row in rows.select(["fold", "recording_id", "label", "predicted"]).to_pylist():
        right[row["fold"], row["recording_id"]].append(row["label"] == row["predicted"])
    return {recording: statistics.fmean(seeds) for recording, seeds in right.items()}


def over_recordings(plan: Plan, predictions: pa.Table, choice: Choice) -> tuple[float, float, int] | None:
    """The 95 % interval of the best point's accuracy over held-out recordings, and their number; None for fewer than 2.

    Adds a caveat where they are too few to tell it from the next.

    Args:
        predictions: `predictions.parquet`.
    """
    from mmssl.evaluation import bootstrap_interval

    right = hits(plan, predictions, choice.best)
    if len(right) < 2:
        return None
    if choice.next is not None:
        needed = too_few(right, hits(plan, predictions, choice.next))
        if needed is not None:
            choice.caveats.append(
                f"{len(right)} held-out recordings are too few to tell the best point from the next: a difference of "
                f"about {needed:.3f} would have counted"
            )
    return (*bootstrap_interval(list(right.values()), seed=0), len(right))
