"""A study's points with their scores, and the best of them with those statistically tied with it."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa

from mmssl.errors import UserError, nearest
from mmssl.evaluation import deviation
from mmssl.recipe import SECTIONS, Recipe
from mmssl.study import scores
from mmssl.study.columns import COSTS, SCORED
from mmssl.study.folder import Study
from mmssl.study.plan import Key, Plan, PlannedTrial
from mmssl.study.planning import at_storage
from mmssl.study.scores import Estimate, in_rank, repeat
from mmssl.study.words import NO_RESULT, TRANSDUCTIVE, percent

UNLABELLED, RANKME = "unlabelled", "rankme"
LABEL_FREE = {
    UNLABELLED: "features.{}.cluster_learnability",
    RANKME: "embedding.{}.effective_rank",
    "std": "embedding.{}.std",
    "covariance": "embedding.{}.covariance",
}
"""Measures without labels, on the training recordings: by name, the column that is averaged over the modalities. They
compare points of one system only."""
CHOOSING = {UNLABELLED: "cluster learnability", RANKME: "RankMe"}
"""Those where more is better, in words. The first chose best where that was measured (docs/recipes.md)."""
Hits = Mapping[str, Mapping[tuple[str, str], float]]
"""By point, then by fold and recording: 1 where it was classified right, 0 where wrong; of windows the share right."""


def is_untrained(recipe: Recipe) -> bool:
    """Whether its encoders stay as initialised."""
    return not recipe.pretrain.epochs and recipe.finetune.encoders != "trained"


_NETWORK = f"encoder.{SECTIONS['signal']}"
TRAINED_ALONE = (
    f"{_NETWORK}.dropout", "finetune.encoder_rate", "finetune.variance", "finetune.covariance", "finetune.batch_norm",
)  # fmt: skip
"""Knobs of networks and heads that encoders which never train do not depend on."""
_DEFAULTS = Recipe().knobs()
_PLAIN: dict[str, dict[str, Any]] = {
    section: {one.rpartition(".")[2]: _DEFAULTS[one] for one in TRAINED_ALONE if one.startswith(f"{section}.")}
    for section in (_NETWORK, "finetune")
}
"""Their defaults, by section."""


def stand_beside(untrained: Recipe, trained: Recipe) -> bool:
    """Whether the first recipe is the untrained baseline of the second: the same recordings, networks and heads, no
    training of the encoders. Then the difference of their scores is what training adds, if the same people train."""
    if not is_untrained(untrained):
        return False

    def shared(recipe: Recipe) -> tuple[object, ...]:
        # Heads see augmented recordings only where they train on such copies.
        augment = recipe.augment if recipe.finetune.views else None
        name = SECTIONS["signal"]
        network = getattr(recipe.encoder, name).model_copy(update=_PLAIN[_NETWORK])
        encoder = recipe.encoder.model_copy(update={name: network})
        heads = recipe.finetune.model_copy(update={"encoders": "frozen", **_PLAIN["finetune"]})
        seen = recipe.pretrain.hidden_classes
        # Who trains is the study's; its fold may be any.
        data = recipe.data.model_copy(update={"train_subjects": (), "test_subjects": (), "validation_subjects": ()})
        return data, seen, encoder, heads, augment

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
    """Of its encoders, where a column of costs is given."""
    place: int = 0
    """In the plan; it breaks ties."""
    bounded: bool = True
    """Whether the metric is from 0 to 1."""
    recordings: dict[str, int | None] = field(default_factory=dict[str, int | None])
    """How many were scored, by fold."""

    @property
    def complete(self) -> bool:
        return len(self.scores) == self.planned

    @property
    def failures(self) -> int:
        """Trials that ended without a result."""
        return sum(self.statuses.get(status, 0) for status in NO_RESULT)

    @property
    def mean(self) -> float | None:
        return scores.mean(self.scores)

    @property
    def estimate(self) -> Estimate:
        """The mean with its interval; measures without labels have no interval."""
        if not self.bounded:
            return Estimate(self.mean, None, None, "")
        return scores.estimate(self.scores, scores.recordings_of(self.recordings.items()))

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds and folds; None for fewer than two."""
        return deviation([*self.scores.values()]) if len(self.scores) > 1 else None

    def row(self) -> dict[str, Any]:
        estimate = self.estimate
        return {
            "point_id": self.point_id,
            **self.values,
            "mean": estimate.mean,
            "low": estimate.low,
            "high": estimate.high,
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
    """Complete points whose difference from the best is not significant, best first."""
    noise: float | None
    """Half the width of the interval of a difference from the best, median over the other points; None without one."""
    caveats: list[str]
    """What the reader must know before trusting the choice."""
    compared: int = 0
    """How many other points are complete."""
    test: str = ""
    """The significance test, in words."""
    by_point: tuple[float, float] | None = None
    """The smallest and largest of the values that `noise` is the median of."""

    @property
    def threshold(self) -> str | None:
        """The smallest significant difference from the best, in words."""
        if self.noise is None:
            return None
        shown, unit = (percent, " percentage points") if self.best.bounded else ("{:.3g}".format, "")
        about, others = "", ""
        if self.by_point and self.by_point[0] < self.by_point[1]:
            about, others = "about ", f"; by point {' to '.join(map(shown, self.by_point))}"
        most = f"{about}{shown(self.noise)}{unit}"
        return f"a difference from the best below {most} is within the noise ({self.test}{others})"


_KEYS = ["point_id", "seed", "fold", "status"]


def points_in(study: Study, plan: Plan, metric: str | None = None, cost: str | None = None) -> list[Point]:
    """`points` of a study's table; reads only the columns it needs."""
    scored, counts = _columns(plan, metric or plan.space.scored)
    table = study.table("trials.parquet", [*_KEYS, *scored, *counts, *([cost] if cost else [])])
    return points(plan, table, metric, cost)


def _columns(plan: Plan, metric: str) -> tuple[list[str], list[str]]:
    """The columns whose mean is a trial's score, and those of how many were scored: the first one there counts."""
    if metric in LABEL_FREE:
        return [LABEL_FREE[metric].format(modality) for modality in plan.dataset.modalities], [SCORED]
    return [metric], [*(f"{SCORED}.{reading}" for reading in metric.split(".")[1:-1]), SCORED]


def points(plan: Plan, trials: pa.Table, metric: str | None = None, cost: str | None = None) -> list[Point]:
    """The plan's points in its order, with their scores and statuses; draws of labels belong to one point.

    Args:
        trials: `trials.parquet`. Points that a sampler has chosen since the plan was read are left out.
        metric: a column of scores, or a name in `LABEL_FREE`; the study's own metric by default.
        cost: a column of costs.

    Raises:
        UserError: the table has points that no plan of this study can have.
    """
    metric = metric or plan.space.scored
    # A table of an earlier version may lack a measure.
    scored, counts = ([name for name in own if name in trials.column_names] for own in _columns(plan, metric))
    gathered: dict[str, Point] = {}
    """By point id; with draws of labels several ids lead to one point."""
    for place, (point_id, trials_of) in enumerate(plan.candidates.items()):
        values = plan.space.compared(trials_of[0].point)
        point = Point(point_id, values, planned=len(trials_of), place=place, bounded=metric not in LABEL_FREE)
        gathered.update(dict.fromkeys((trial.point_id for trial in trials_of), point))
    read = {name: trials[name].to_pylist() for name in (*_KEYS, *scored, *counts, *([cost] if cost else []))}
    for i, (point_id, seed, fold, status) in enumerate(zip(*(read[name] for name in _KEYS), strict=True)):
        if (point := gathered.get(point_id)) is None:
            if plan.open_points:
                continue
            raise UserError(
                f"study {plan.name}: trials.parquet has points that are not in plan.json: one of the two is another "
                f"study's, or an older one; `mmssl-tune resume {plan.name}` writes the table anew"
            )
        point.statuses[status] = point.statuses.get(status, 0) + 1
        values = [read[name][i] for name in scored if read[name][i] is not None]
        if status == "COMPLETE" and values:
            point.scores[plan.key(point_id, seed, fold)] = statistics.fmean(values)
            point.recordings[fold] = next((read[name][i] for name in counts if read[name][i] is not None), None)
            point.cost = read[cost][i] if cost else None
    return [point for point_id, point in gathered.items() if point_id == point.point_id]


def ranked(all_points: Sequence[Point]) -> list[Point]:
    """Complete points by mean, highest first, then the others; ties in the plan's order.

    The order in which points are chosen and their weights kept.
    """

    def place(point: Point) -> tuple[bool, float, int]:
        mean = point.mean
        return not point.complete, math.inf if mean is None else -in_rank(mean), point.place

    return sorted(all_points, key=place)


def pareto(all_points: Sequence[Point]) -> list[Point]:
    """The Pareto front of mean and cost among the complete points, cheapest first."""
    complete = [point for point in all_points if point.complete and point.cost is not None]
    complete.sort(key=lambda point: (point.cost or 0.0, -in_rank(point.mean or 0.0)))
    front: list[Point] = []
    for point in complete:
        if not front or in_rank(point.mean or 0.0) > in_rank(front[-1].mean or 0.0):
            front.append(point)
    return front


def choose(all_points: Sequence[Point], hits: Callable[[], Hits] | None = None, study: str = "STUDY") -> Choice:
    """The point with the highest mean among those whose trials are all complete, and those tied with it.

    Two points are tied when a paired t-test finds no significant difference at the 5 % level. Pairs are folds, or seeds
    where there is one fold (`scores.groups`). Points of one trial each are paired by recording where `hits` are given;
    else there is no test, and a caveat says so.

    Args:
        hits: returns the result of `hits_of`, for points of one trial each.
        study: its name in commands.

    Raises:
        UserError: no point is complete.
    """
    complete = ranked([point for point in all_points if point.complete])
    if not complete:
        counts: dict[str, int] = {}
        for point in all_points:
            for status, count in point.statuses.items():
                counts[status] = counts.get(status, 0) + count
        listed = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none is chosen yet"
        open_ones = not counts or counts.get("PLANNED", 0) + counts.get("RUNNING", 0)
        retry, why = f"`mmssl-tune retry {study}` runs what failed", f"`mmssl-tune status {study}` says why"
        failed = retry if counts.get("FAILED") else why
        hint = f"`mmssl-tune resume {study}` runs what is missing" if open_ones else failed
        raise UserError(f"no point has all its trials complete ({listed}): {hint}")
    best, *others = complete
    right: Hits = hits() if hits and len(best.scores) == 1 else {}
    caveats: list[str] = []
    if right:
        caveats.append(
            f"one seed and one fold: points are compared by its {len(right[best.point_id])} recordings; what other "
            "seeds or people would change is unknown"
        )
    elif len(best.scores) < 2:
        caveats.append("one seed and one fold: the noise is unknown, so no point can be called better than another")
    elif len({repeat(key) for key in best.scores}) == 1:
        caveats.append("one seed: the spread is over folds alone; more seeds would show how much is chance")
    pruned = [point for point in all_points if point.statuses.get("PRUNED") and not point.complete]
    left_out = [point for point in all_points if not (point.complete or point.statuses.get("PRUNED"))]
    if pruned:
        were, their = ("was", "its") if len(pruned) == 1 else ("were", "their")
        caveats.append(
            f"{len(pruned)} of {len(all_points)} points {were} not trained to the end: {their} final score is unknown"
        )
    if left_out:
        verb = "is" if len(left_out) == 1 else "are"
        caveats.append(
            f"{len(left_out)} of {len(all_points)} points {verb} left out; trials without a result: "
            + _lacking(left_out)
        )
    apart = [_difference(best, other, right) for other in others]
    tied = [other for other, difference in zip(others, apart, strict=True) if difference.within_noise]
    half_widths = [(one.high - one.low) / 2 for one in apart if one.low is not None and one.high is not None]
    over = next((one.over for one in apart if one.over), "")
    if half_widths and 2 * len(tied) > len(others):
        caveats.append("most points are tied: more seeds would tell more of them apart, and so would more people")
    test = f"paired t-test over {over}, 95 %" if over else "no test: one trial each"
    by_point = (min(half_widths), max(half_widths)) if half_widths else None
    noise = statistics.median(half_widths) if half_widths else None
    return Choice(best, tied, noise, caveats, len(others), test, by_point)


def _lacking(left_out: Sequence[Point]) -> str:
    """The points' trials without a result, counted by status."""
    counts: Counter[str] = Counter()
    for point in left_out:
        counts.update({status: n for status, n in point.statuses.items() if status != "COMPLETE"})
        counts["PLANNED"] += max(0, point.planned - sum(point.statuses.values()))
        counts["COMPLETE without this measure"] += point.statuses.get("COMPLETE", 0) - len(point.scores)
    return ", ".join(f"{n} {status}" for status, n in sorted(counts.items()) if n > 0)


def _difference(best: Point, other: Point, right: Hits) -> Estimate:
    if right:
        ours, theirs = right.get(best.point_id, {}), right.get(other.point_id, {})
        return scores.difference([float(hit) - theirs[one] for one, hit in ours.items() if one in theirs])
    return scores.difference(scores.paired(best.scores, other.scores), best.recordings if best.bounded else {})


def hits_of(predictions: pa.Table) -> Hits:
    """Which held-out recordings each point classified right; of windows and of several cameras the share in each unit.

    Args:
        predictions: `predictions.parquet`.
    """
    hits: dict[str, dict[tuple[str, str], list[bool]]] = defaultdict(lambda: defaultdict(list))
    unit = "unit" if "unit" in predictions.column_names else "recording_id"  # Older tables know no windows.
    columns = [predictions[name].to_pylist() for name in ("point_id", "fold", unit, "label", "predicted")]
    for point_id, fold, recording, label, predicted in zip(*columns, strict=True):
        hits[point_id][fold, recording].append(label == predicted)
    return {point: {at: statistics.fmean(own) for at, own in found.items()} for point, found in hits.items()}


def representative(plan: Plan, point: Point, kept: Callable[[str], bool] = lambda trial_id: True) -> PlannedTrial:
    """The point's complete trial whose metric is nearest the point's mean, of those whose weights are kept.

    Not its highest: that would pick the easiest fold or the luckiest seed, and its score would promise too much.

    Args:
        kept: whether a trial's weights are. Where none are, it is the nearest of all.
    """
    mean = point.mean or 0.0
    scored = [trial for trial in plan.candidates[point.point_id] if plan.key_of(trial) in point.scores]
    trials = sorted(scored, key=lambda trial: in_rank(abs(point.scores[plan.key_of(trial)] - mean)))
    return next((trial for trial in trials if kept(trial.trial_id)), trials[0])


def metric_words(metric: str) -> str:
    """A score's column in words, such as "validation accuracy from wrist"."""
    if metric in LABEL_FREE:
        return CHOOSING.get(metric, metric)
    split, *by, what = metric.split(".")
    words = f"{'validation' if split == 'val' else split} {'F1' if what == 'f1' else what}"
    return words + (f" by {by[0]}" if by == ["interval"] else f" from {'.'.join(by)}" if by else "")


def metric_of(name: str | None, plan: "Plan") -> str:
    """The name of a column of scores or of a measure without labels, checked; the study's own metric by default."""
    if name is None:
        return plan.space.scored
    valid = [*scores_of(plan), *LABEL_FREE]
    if name not in valid:
        raise UserError(f"--by {name}: {nearest(name, valid)}")
    return name


def scores_of(plan: "Plan") -> list[str]:
    """The columns of scores that the study's trials have, on the scored split."""
    several = any(len(base.data.modalities) > 1 for base in plan.bases.values())
    found = [score for score in plan.scores if score.startswith(f"{plan.space.scored_split}.")]
    windows = f"{plan.space.scored_split}.interval."
    if not several:
        found = [score for score in found if score.count(".") == 1 or score.startswith(windows)]
    if not plan.dataset.windows:
        found = [score for score in found if not score.startswith(windows)]
    return found


class Best(NamedTuple):
    """The best point of a study, and the score it was chosen by."""

    metric: str
    choice: Choice
    cost: str | None
    """The column of costs, if any."""
    front: list[Point]
    """The Pareto front of score and cost."""
    points: int
    """How many the study has."""


def best_of(study: Study, plan: Plan, by: str | None = None, cost: str | None = None) -> Best:
    """Choose a study's best point by validation, or without labels.

    Args:
        by: `unlabelled` or `rankme`, or another score than the study's own.
        cost: a column of costs; the space's own by default.

    Raises:
        UserError: no point is complete, there is no such score, or it is of the test subjects.
    """
    if cost is not None and cost not in COSTS:
        raise UserError(f"--cost {cost}: {nearest(cost, list(COSTS))}")
    metric = metric_of(by, plan)
    if plan.space.scored_split == "test" and metric not in LABEL_FREE:
        raise UserError(
            f"study {study.name} scored the test subjects, by which nothing may be chosen: "
            f"choose in a study that holds training subjects out, or without labels (--by {UNLABELLED})"
        )
    if metric in LABEL_FREE and metric not in CHOOSING:
        raise UserError(f"--by {metric}: more of it is not better; to choose without labels: --by {UNLABELLED}")
    cost = cost or plan.space.cost
    all_points = points_in(study, plan, metric, cost)
    if metric in LABEL_FREE and not any(point.scores for point in all_points):
        done = sum(point.statuses.get("COMPLETE", 0) for point in all_points)
        if done:
            raise UserError(
                f"--by {metric}: none of the {done} COMPLETE trials of study {study.name} has it: it is not measured "
                "where encoders are fine-tuned with the head, nor was it by older versions"
            )
    hits = (lambda: hits_of(study.table("predictions.parquet"))) if metric == "val.accuracy" else None
    choice = choose(all_points, hits, study.name + at_storage(study))
    if plan.transductive:
        choice.caveats.insert(0, TRANSDUCTIVE)
    if metric in CHOOSING and len(plan.bases) > 1:
        choice.caveats.append(f"{CHOOSING[metric]} compares points of one system and variant, but these are of several")
    return Best(metric, choice, cost, pareto(all_points) if cost else [], len(all_points))
