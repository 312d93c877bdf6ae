"""The facts that a page shows of a study, from its tables and plan, without HTML."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmssl.errors import UserError
from mmssl.experiments import protocol, repeats
from mmssl.study.baseline import Baseline, baselines, chance
from mmssl.study.folder import Study
from mmssl.study.importance import importance
from mmssl.study.plan import Plan
from mmssl.study.results import Choice, Point, choose, hits_of, points, ranked
from mmssl.study.scores import Estimate, mean
from mmssl.study.status import StudyStatus, study_status
from mmssl.study.words import SYSTEM, TERMINAL, value_of

SYMBOLS = {"lambda": "λ", "mu": "μ", "nu": "ν"}  # noqa: RUF001
"""How papers write a knob's last word."""
MOST_CURVES, MOST_VALUES, MOST_RANKED = 150, 100, 200
"""Trials whose curves are kept, the values of one curve, and the points that are listed."""

Mark = Literal["best", "tied", ""]


@dataclass(frozen=True)
class Axis:
    """A searched knob, or several that only change together."""

    knobs: tuple[str, ...]
    label: str
    values: tuple[Any, ...]
    """Those that occur, in rising order where they are numbers."""
    drawn: bool
    """From an interval, rather than from a list."""
    log: bool

    @property
    def numeric(self) -> bool:
        return _numeric(self.values)

    def of(self, point: Point) -> Any:
        return point.values[self.knobs[0]]


@dataclass(frozen=True)
class Ranked:
    """A point with its label, the interval of its mean, and its rank against the best."""

    point: Point
    label: str
    estimate: Estimate
    mark: Mark

    @property
    def low(self) -> float | None:
        return self.estimate.low

    @property
    def high(self) -> float | None:
        return self.estimate.high


class Reference(NamedTuple):
    """A score to compare with."""

    name: str
    mean: float
    std: float | None = None
    study: str = ""


@dataclass(frozen=True)
class KnobShare:
    """What a knob explains of the variance among the points."""

    label: str
    share: float
    low: float | None
    high: float | None
    """Least and most, leaving out each fold in turn; None for one fold."""


@dataclass(frozen=True)
class Curves:
    """One trial's epochs of one phase, thinned: `values` by column, each as long as `epochs`."""

    epochs: list[int]
    values: dict[str, list[float | None]]


@dataclass(frozen=True)
class Content:
    plan: Plan
    status: StudyStatus
    made: datetime
    metric: str
    protocol: str
    axes: list[Axis]
    ranked: list[Ranked]
    interval: str
    """What the points' intervals are."""
    choice: Choice | None
    undecided: str
    """Why there is no best point; empty where there is."""
    caveats: list[str]
    chance: float | None
    """The accuracy of guessing; None of another metric."""
    commonest: float | None
    """The accuracy of always naming the most frequent class; None where that is no better, or counts are missing."""
    baselines: list[Baseline]
    shares: list[KnobShare]
    no_shares: str
    """Why there is no importance."""
    trials: list[dict[str, Any]]
    """Rows of `trials.parquet`."""
    curves: dict[str, dict[str, Curves]]
    """By trial id and phase."""
    left_out: int
    """Trials with curves that were left out, being too many."""
    classes: tuple[str, ...]
    confusions: dict[str, npt.NDArray[np.int64]]
    """By point id, how often recordings of each true class (rows) were predicted (columns), all its trials together."""
    few_labels: list[dict[str, Any]]
    few_labels_caption: str
    looks: list[dict[str, Any]]
    """At the test subjects."""
    where: str
    names: dict[str, str] = field(default_factory=dict[str, str])
    """Points' labels, by id."""

    @property
    def best(self) -> Ranked | None:
        return next((one for one in self.ranked if one.mark == "best"), None)

    @property
    def shown(self) -> Ranked | None:
        """The point shown in detail: the best, or where nothing may be chosen the first complete one."""
        return self.best or next((one for one in self.ranked if one.point.complete), None)

    @property
    def references(self) -> list[Reference]:
        """Chance, the most frequent class, untrained encoders; those that there are."""
        found = [Reference("chance", self.chance)] if self.chance is not None else []
        found += [Reference("most frequent class", self.commonest)] if self.commonest is not None else []
        return found + [Reference(one.system, one.mean, one.std, one.study) for one in self.baselines]

    @property
    def measure(self) -> str:
        """The metric in words."""
        return "accuracy" if self.metric.endswith("accuracy") else "F1"


def gather(study: Study, plan: Plan, classes: Sequence[str] | None) -> Content:
    """All facts of the page but those that need recordings.

    Args:
        classes: in the data set's order; None where it is not here.

    Raises:
        UserError: a table is missing or damaged.
    """
    trials = study.table("trials.parquet")
    predictions = study.table("predictions.parquet")
    metric = plan.space.scored
    found = points(plan, trials, metric)
    axes = axes_of(plan, found)
    called = {point.point_id: label(axes, point) for point in found}
    choice, undecided = _choice(plan, found, predictions)
    marks: dict[str, Mark] = {point.point_id: "tied" for point in choice.tied} if choice else {}
    if choice:
        marks[choice.best.point_id] = "best"
    order = ranked(found)
    shares, no_shares = _shares(plan, axes, found)
    curves, left_out = _curves(study, plan, order)
    classes = tuple(classes or sorted({*predictions["label"].to_pylist(), *predictions["predicted"].to_pylist()}))
    few, caption = _few_labels(study)
    guessing = chance(study, plan, metric)
    return Content(
        plan=plan,
        status=study_status(study, plan),
        made=datetime.now(UTC),
        metric=metric,
        protocol=protocol(plan),
        axes=axes,
        ranked=[
            Ranked(point, called[point.point_id], point.estimate, marks.get(point.point_id, "")) for point in order
        ],
        interval=_interval(plan, found),
        choice=choice,
        undecided=undecided,
        caveats=_caveats(plan, choice, found),
        chance=guessing,
        commonest=_commonest(predictions, guessing),
        baselines=baselines(study, plan, choice),
        shares=shares,
        no_shares=no_shares,
        trials=trials.to_pylist(),
        curves=curves,
        left_out=left_out,
        classes=classes,
        confusions=_confusions(plan, predictions, classes, order),
        few_labels=few,
        few_labels_caption=caption,
        looks=sorted(study.looks().values(), key=lambda look: look["look"]),
        where=study.place,
        names=called,
    )


def _interval(plan: Plan, found: Sequence[Point]) -> str:
    """What the points' intervals are, those of points that are not complete too."""
    usual = repeats(plan)
    others = {point.estimate.over.partition(" ")[2] for point in found} - {"", usual}
    of_parts = f"; of points that are not complete perhaps over {' or '.join(sorted(others))}" if others else ""
    return f"95 % interval over {usual}{of_parts}"


def axes_of(plan: Plan, found: Sequence[Point]) -> list[Axis]:
    """The searched knobs; those whose values are the same in every point make one axis."""
    columns = plan.space.compared({knob: [point.values.get(knob) for point in found] for knob in plan.space.names})
    groups: list[list[str]] = []
    for knob, column in columns.items():
        same = [group for group in groups if len(found) > 1 and columns[group[0]] == column]
        if same:
            same[0].append(knob)
        else:
            groups.append([knob])
    last = [knob.rpartition(".")[2] for knob in columns]
    short = {
        knob: SYMBOLS.get(word, word) if last.count(word) == 1 else knob
        for knob, word in zip(columns, last, strict=True)
    }
    return [
        Axis(
            knobs=tuple(group),
            label=" = ".join(short[knob] for knob in group),
            values=tuple(_in_order(columns[group[0]])),
            drawn=group[0] in plan.space.ranges,
            log=group[0] in plan.space.ranges and plan.space.ranges[group[0]].log,
        )
        for group in groups
    ]


def label(axes: Sequence[Axis], point: Point) -> str:
    """A point's label on the page."""
    words = [
        str(axis.of(point)) if axis.knobs == (SYSTEM,) else f"{axis.label} = {plain(axis.of(point))}" for axis in axes
    ]
    return ", ".join(words) or "the only point"


def plain(value: Any) -> str:
    """A knob's value as people write it."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e6:
        return str(int(value))
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else value_of(value)


def _in_order(values: Iterable[Any]) -> list[Any]:
    different = {json.dumps(value): value for value in values}.values()
    return sorted(different) if _numeric(different) else list(different)


def _numeric(values: Iterable[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _choice(plan: Plan, found: Sequence[Point], predictions: pa.Table) -> tuple[Choice | None, str]:
    if plan.space.scored_split == "test":
        return None, (
            "This study scored the test subjects, so nothing may be chosen from it: the points are compared, in the "
            "order of their means, and the highest is no choice."
        )
    try:
        accuracy = plan.space.scored == "val.accuracy"
        return choose(found, (lambda: hits_of(predictions)) if accuracy else None), ""
    except UserError as error:
        return None, f"There is no best point yet: {error}."


def _caveats(plan: Plan, choice: Choice | None, found: Sequence[Point]) -> list[str]:
    if choice is None:
        return []
    # Those that were pruned lost by these scores too; those that a race never began did not.
    judged = sum(
        point.complete or bool(point.statuses.get("PRUNED") and (point.scores or plan.space.prune)) for point in found
    )
    optimism = [
        f"the best was chosen among {judged} by these same recordings, so its score is a little too high; the score "
        "on the test subjects, which an export computes, is not"
    ]
    return choice.caveats + (optimism if judged > 1 else [])


def _commonest(predictions: pa.Table, guessing: float | None) -> float | None:
    share = most_frequent(predictions)
    # Classes are hardly ever as many as each other: a little more says nothing.
    return share if guessing is not None and share > 1.5 * guessing else None


def most_frequent(predictions: pa.Table) -> float:
    """The accuracy of always naming the class for which it is highest, as points are scored: the mean over folds.

    Args:
        predictions: `predictions.parquet`, in which some folds may have more trials than others.
    """
    held: dict[str, dict[str, str]] = defaultdict(dict)
    for fold, recording, label in zip(
        *(predictions[name].to_pylist() for name in ("fold", "recording_id", "label")), strict=True
    ):
        held[fold][recording] = label
    shares: dict[str, float] = defaultdict(float)
    for labels in held.values():
        for label, count in Counter(labels.values()).items():
            shares[label] += count / len(labels) / len(held)
    return max(shares.values(), default=0.0)


def _shares(plan: Plan, axes: Sequence[Axis], found: Sequence[Point]) -> tuple[list[KnobShare], str]:
    complete = [point for point in found if point.complete]
    searched = [{axis.knobs[0]: axis.of(point) for axis in axes} for point in complete]
    try:
        whole = importance(searched, [point.mean or 0.0 for point in complete], plan.space.ranges)
        folds = list(dict.fromkeys(fold for point in complete for _, fold, *_ in point.scores))
        without: list[dict[str, float]] = []
        for left in folds if len(folds) > 2 else []:
            scores = [
                mean({key: score for key, score in point.scores.items() if key[1] != left}) or 0.0 for point in complete
            ]
            without.append(importance(searched, scores, plan.space.ranges))
    except UserError as error:
        return [], str(error)
    named = {axis.knobs[0]: axis.label for axis in axes}
    shares = [
        KnobShare(
            named[knob],
            share,
            min((one[knob] for one in without), default=None),
            max((one[knob] for one in without), default=None),
        )
        for knob, share in whole.items()
    ]
    return sorted(shares, key=lambda one: -one.share), ""


def _curves(study: Study, plan: Plan, order: Sequence[Point]) -> tuple[dict[str, dict[str, Curves]], int]:
    table = study.table("epochs.parquet")
    columns = [name for name in table.column_names if name.startswith(("train.", "probe."))]
    there = set(table["trial_id"].to_pylist())
    trials = [trial.trial_id for point in order for trial in plan.candidates[point.point_id] if trial.trial_id in there]
    kept = set(trials[:MOST_CURVES])
    rows: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for i, (trial_id, phase) in enumerate(zip(table["trial_id"].to_pylist(), table["phase"].to_pylist(), strict=True)):
        if trial_id in kept:
            rows[trial_id][phase].append(i)
    epochs = table["epoch"].to_pylist()
    values = {name: table[name].to_pylist() for name in columns}
    curves: dict[str, dict[str, Curves]] = defaultdict(dict)
    for trial_id, phases in rows.items():
        for phase, own in phases.items():
            # The probe is of few epochs, which thinning must not lose.
            thinned = sorted(
                {own[i] for i in np.linspace(0, len(own) - 1, min(MOST_VALUES, len(own))).round().astype(int)}
                | {i for i in own if values.get("probe.accuracy", [])[i : i + 1] not in ([], [None])}
            )
            present = {name: [_short(values[name][i]) for i in thinned] for name in columns}
            curves[trial_id][phase] = Curves(
                [epochs[i] for i in thinned],
                {name: column for name, column in present.items() if any(value is not None for value in column)},
            )
    return dict(curves), len(trials) - len(kept)


def _confusions(
    plan: Plan, predictions: pa.Table, classes: Sequence[str], order: Sequence[Point]
) -> dict[str, npt.NDArray[np.int64]]:
    index = {name: i for i, name in enumerate(classes)}
    wanted = {point.point_id for point in order if point.complete} & {point.point_id for point in order[:MOST_RANKED]}
    found = {point_id: np.zeros((len(classes), len(classes)), np.int64) for point_id in wanted}
    columns = [predictions[name].to_pylist() for name in ("point_id", "label", "predicted")]
    for point_id, true, guess in zip(*columns, strict=True):
        candidate = plan.candidate(point_id)
        if candidate in found and true in index and guess in index:
            found[candidate][index[true], index[guess]] += 1
    return found


def shares_of(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """A confusion matrix, (classes, classes), as shares of the true class; NaN for classes without a recording."""
    total = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)


def _few_labels(study: Study) -> tuple[list[dict[str, Any]], str]:
    """Rows and caption of the table that `reproduce few_labels` made."""
    name = "tables/few_labels.parquet"
    table = study.table(name) if study.files.exists(name) else None
    if table is None or "read_from" not in table.column_names:
        return [], ""  # Older versions' tables lack the inputs: `reproduce` makes it again.
    return table.to_pylist(), ((table.schema.metadata or {}).get(b"caption") or b"").decode()


def _short(value: float | None) -> float | None:
    return float(f"{value:.4g}") if value is not None and math.isfinite(value) else None


def ended_badly(row: Mapping[str, Any]) -> bool:
    return row["status"] in TERMINAL and row["status"] != "COMPLETE"
