"""A running study as plain data for a screen or a script: points, running trials, failures, time left."""

import heapq
import re
import statistics
import threading
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from mmssl.recipe import COLLAPSED_BELOW, Recipe
from mmssl.study.columns import PROBE
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.study.results import Point
from mmssl.study.scores import in_rank
from mmssl.study.status import time_left
from mmssl.study.words import NO_RESULT, TERMINAL, fold_name, without_result

CellState = Literal["complete", "running", "begun", "planned", "failed", "diverged", "collapsed", "pruned"]
# A tenth of where VICReg holds the standard deviation, and as many times above where a trial is stopped for it.
NEAR_COLLAPSE = 10 * COLLAPSED_BELOW
# Embeddings on one line are as useless as constant ones, whatever their standard deviation.
LOW_RANK = 2.0
_FAILURES_KEPT = 50
_EPOCHS_KEPT = 1000
_ACROSS = "lambda"
"""The knob on the horizontal axis of every map, as in papers."""


@dataclass(frozen=True)
class Cell:
    """A point as the map shows it."""

    point_id: str
    values: Mapping[str, Any]
    """The searched knobs."""
    state: CellState
    """`complete` where every trial has a score; else `running` where a trial runs; else a failure, if there is one."""
    mean: float | None
    """Over the scored trials."""
    std: float | None
    """Their sample standard deviation; None for fewer than two."""
    n: int
    """How many trials are scored."""
    planned: int
    index: int
    """Its place in the plan."""


@dataclass(frozen=True)
class Health:
    """Signs of collapse in one modality's embeddings, from the last epoch of pre-training (see `epochs.parquet`)."""

    std: float
    effective_rank: float

    @property
    def nearly_constant(self) -> bool:
        return not self.std >= NEAR_COLLAPSE

    @property
    def nearly_on_a_line(self) -> bool:
        return not self.effective_rank >= LOW_RANK

    @property
    def near_collapse(self) -> bool:
        return self.nearly_constant or self.nearly_on_a_line


@dataclass(frozen=True)
class RunningTrial:
    """A running trial with its latest report."""

    trial_id: str
    values: Mapping[str, Any]
    seed: int
    fold: str
    started: datetime | None
    phase: str | None = None
    """As in `epochs.parquet`; None before the first report."""
    epoch: int = 0
    epochs: int = 0
    """Of that phase."""
    terms: Mapping[str, float] = field(default_factory=dict[str, float])
    """The objective's terms and `loss` in the last epoch of pre-training."""
    finetune: Mapping[str, float] = field(default_factory=dict[str, float])
    """The head's loss and training accuracy in the last epoch of fine-tuning."""
    probe: float | None = None
    health: Mapping[str, Health] = field(default_factory=dict[str, Health])
    """By modality."""
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict[str, Sequence[float]])
    """The objective's terms by epoch, the newest last, since the study has been watched."""

    @property
    def near_collapse(self) -> bool:
        return any(health.near_collapse for health in self.health.values())


@dataclass(frozen=True)
class Failure:
    """A trial that failed, diverged or collapsed."""

    trial_id: str
    values: Mapping[str, Any]
    seed: int
    fold: str
    status: str
    cause: str


class AlikeFailures(NamedTuple):
    """Failures whose causes are the same but for numbers, such as the epoch."""

    number: int
    status: str
    cause: str
    """Of the first."""


def alike(failures: Iterable[tuple[str, str]]) -> list[AlikeFailures]:
    """Failures grouped by status and cause, the most frequent first."""
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for status, cause in failures:
        groups.setdefault((status, re.sub(r"\d+(\.\d+)?(e[-+]?\d+)?", "#", cause)), []).append((status, cause))
    return [AlikeFailures(len(group), *group[0]) for group in sorted(groups.values(), key=lambda group: -len(group))]


@dataclass(frozen=True)
class Axes:
    """The two searched knobs of a map, with their values."""

    down: str
    across: str
    rows: tuple[float, ...]
    columns: tuple[float, ...]


@dataclass(frozen=True)
class View:
    """A study at one moment."""

    study: str
    metric: str
    """The column that is shown, such as val.accuracy."""
    choosable: bool
    """Whether it may choose the best point; scores of test subjects may not."""
    seeds: int
    folds: int
    planned: int
    trials: Mapping[str, int]
    """Counts by status; trials that a sampler has yet to choose are PLANNED."""
    axes: Axes | None
    cells: Sequence[Cell]
    """In the plan's order."""
    best: frozenset[str]
    """Ids of the complete points with the highest mean: several where means are equal."""
    running: Sequence[RunningTrial]
    """In the order in which they began."""
    failures: Sequence[Failure]
    """The latest ones, the newest last."""
    seconds_left: float | None
    untrained: float | None = None
    """The score of untrained encoders."""
    terms: Sequence[str] = ()
    """All loss terms that the study's trials report."""
    modalities: Sequence[str] = ()
    """All modalities whose embeddings the study's trials report."""
    probed: bool = False
    """Whether a trial has reported a probe."""
    held_out: Sequence[str] = ()
    """Names of the folds."""

    @property
    def ended(self) -> int:
        return sum(self.trials.get(status, 0) for status in TERMINAL)

    @property
    def failed(self) -> str:
        """Trials that failed, diverged or collapsed, counted by status."""
        return without_result({status: count for status, count in self.trials.items() if status != "PRUNED"})

    def leading(self, most: int) -> list[Cell]:
        """The first points in rank: complete ones by their mean, then running, begun, failed and planned ones."""
        order = ("complete", "running", "begun", "failed", "diverged", "collapsed", "pruned", "planned")
        return heapq.nsmallest(
            most, self.cells, key=lambda cell: (order.index(cell.state), -in_rank(cell.mean or 0.0), cell.index)
        )

    def document(self) -> dict[str, Any]:
        """The view as JSON values."""
        return {
            "study": self.study,
            "metric": self.metric,
            "planned": self.planned,
            "ended": self.ended,
            "trials": dict(self.trials),
            "seconds_left": self.seconds_left,
            "best": sorted(self.best),
            "points": [{k: v for k, v in asdict(cell).items() if k != "index"} for cell in self.cells],
            "running": [{**asdict(trial), "near_collapse": trial.near_collapse} for trial in self.running],
            "failures": [asdict(failure) for failure in self.failures],
        }


@dataclass
class _Pace:
    """The speed of a trial in its longest phase, measured from its first report: it may resume from a snapshot."""

    began: datetime
    first: int
    """The epoch of the first report."""
    reached: datetime | None = None
    epoch: int = 0
    epochs: int = 0

    def reach(self, now: datetime, epoch: int, epochs: int) -> None:
        if epoch > max(self.epoch, self.first):
            self.reached, self.epoch, self.epochs = now, epoch, epochs

    @property
    def each(self) -> float | None:
        """Seconds an epoch; None before the second report."""
        return (self.reached - self.began).total_seconds() / (self.epoch - self.first) if self.reached else None

    @property
    def total(self) -> float:
        """Seconds of the whole phase."""
        return (self.each or 0.0) * self.epochs

    def rest(self, now: datetime) -> float:
        """Seconds left of the phase."""
        since = (now - self.reached).total_seconds() if self.reached else 0.0
        return max(0.0, (self.each or 0.0) * (self.epochs - self.epoch) - since)


class LiveMap:
    """Keeps the view of a study up to date, trial by trial; the cost of a change does not grow with the study.

    One thread may write while another reads.

    Args:
        plan: a sampler may add points to it meanwhile.
        since: only trials that ended later count for the time left; now by default.
        untrained: the score of untrained encoders, if there is one.
    """

    def __init__(self, plan: Plan, since: datetime | None = None, untrained: float | None = None) -> None:
        self._untrained = untrained
        pretrained = [base for base in plan.bases.values() if base.pretrain.epochs]
        self._terms = dict.fromkeys(term for base in pretrained for term in ("loss", *base.objective.loss.terms))
        self._modalities = dict.fromkeys(modality for base in pretrained for modality in base.data.modalities)
        self._probed = False
        self._paces: dict[str, _Pace] = {}
        self._plan, self._since = plan, since or datetime.now(UTC)
        self._lock = threading.Lock()
        self.changes = 0
        """Grows with every change of the view."""
        self._points: dict[str, Point] = {}
        self._cells: dict[str, Cell] = {}
        self._axes = axes(plan)
        self._listed = 0
        self._status: dict[str, str] = {}
        self._counts = Counter[str]()
        self._running: dict[str, RunningTrial] = {}
        self._recipes: dict[str, Recipe] = {}
        self._failures: deque[Failure] = deque(maxlen=_FAILURES_KEPT)
        self._seconds = 0.0
        self._timed = 0
        self._best: tuple[float, set[str]] = -1.0, set()
        with self._lock:
            self._list()

    def add_ended(self, records: Iterable[Record]) -> None:
        """Add trials that had ended before."""
        with self._lock:
            for record in records:
                self._put(self._plan.trial(record.trial_id), record)

    def put(self, planned: PlannedTrial, record: Record) -> None:
        """Update a trial."""
        with self._lock:
            self._put(planned, record)

    def settle(self) -> None:
        """Nothing runs any more: mark the trials that were cut off as planned."""
        for trial_id in list(self._running):
            self.put(self._plan.trial(trial_id), Record(trial_id=trial_id, status="PLANNED"))

    @property
    def ended(self) -> int:
        return sum(self._counts[status] for status in TERMINAL)

    def view(self, now: datetime | None = None) -> View:
        plan, space = self._plan, self._plan.space
        with self._lock:
            self._list()
            counts = {status: count for status, count in sorted(self._counts.items()) if count}
            begun = sum(counts.values())
            counts["PLANNED"] = plan.total - begun
            running = list(self._running.values())
            moment = now or datetime.now(UTC)
            return View(
                study=plan.name,
                metric=space.scored,
                choosable=space.scored_split == "val",
                seeds=len(space.seeds),
                folds=len(plan.folds),
                planned=plan.total,
                trials={status: count for status, count in counts.items() if count},
                axes=self._axes,
                cells=list(self._cells.values()),
                best=frozenset(self._best[1]) if space.scored_split == "val" else frozenset(),
                running=running,
                failures=list(self._failures),
                seconds_left=self._left(running, min(counts["PLANNED"], max(0, plan.most - begun)), moment),
                untrained=self._untrained,
                terms=tuple(self._terms),
                modalities=tuple(self._modalities),
                probed=self._probed,
                held_out=[fold_name(fold) for fold in plan.folds],
            )

    def _left(self, running: Sequence[RunningTrial], waiting: int, now: datetime) -> float | None:
        """Estimated from the trials that have ended; before the first, from the epochs of the running ones."""
        each = self._seconds / self._timed if self._timed else None
        paces = [pace for trial in running if (pace := self._paces.get(trial.trial_id)) and pace.each is not None]
        if each is None and paces and len(paces) == len(running):
            whole, rests = [pace.total for pace in paces], [pace.rest(now) for pace in paces]
            return (waiting * statistics.fmean(whole) + sum(rests)) / len(rests) if waiting else max(rests)
        going = [(now - trial.started).total_seconds() if trial.started else 0.0 for trial in running]
        return time_left(each, going, waiting)

    def _list(self) -> None:
        """Add the points that are new in the plan."""
        trials = self._plan.trials
        while self._listed < len(trials):
            planned = trials[self._listed]
            self._listed += 1
            point_id = self._plan.candidate(planned.point_id)
            if point_id not in self._points:
                self._points[point_id] = Point(point_id, self._plan.space.compared(planned.point))
            self._points[point_id].planned += 1
            self._draw(point_id)

    def _put(self, planned: PlannedTrial, record: Record) -> None:
        self._list()
        self.changes += 1
        trial_id, point = planned.trial_id, self._points[self._plan.candidate(planned.point_id)]
        before = self._status.get(trial_id)
        if before != record.status:
            if before is not None:
                self._counts[before] -= 1
                point.statuses[before] -= 1
            self._status[trial_id] = record.status
            if record.status == "PLANNED":  # Counted as the rest, with the trials that never reported.
                del self._status[trial_id]
            else:
                self._counts[record.status] += 1
                point.statuses[record.status] = point.statuses.get(record.status, 0) + 1
        if record.status == "RUNNING":
            self._running[trial_id] = trial = self._progress(planned, record)
            self._terms |= dict.fromkeys(trial.terms)
            self._modalities |= dict.fromkeys(trial.health)
            self._probed |= trial.probe is not None
            if trial.phase and trial.phase.partition(".")[0] == self._longest(planned):
                now = datetime.now(UTC)
                self._paces.setdefault(trial_id, _Pace(now, trial.epoch)).reach(now, trial.epoch, trial.epochs)
        else:
            self._running.pop(trial_id, None)
            self._recipes.pop(trial_id, None)
            self._paces.pop(trial_id, None)
        score = record.facts.get(self._plan.space.scored) if record.status == "COMPLETE" else None
        if score is not None:
            point.scores[self._plan.key_of(planned)] = score
        if before != record.status:
            self._count_end(planned, record)
            self._draw(point.point_id)

    def _count_end(self, planned: PlannedTrial, record: Record) -> None:
        if record.status == "COMPLETE" and record.started and record.finished and record.finished >= self._since:
            self._seconds += (record.finished - record.started).total_seconds()
            self._timed += 1
        if record.status in NO_RESULT and record.status != "PRUNED":
            cause = record.cause or "no cause was recorded"
            self._failures.append(
                Failure(planned.trial_id, planned.point, planned.seed, planned.fold, record.status, cause)
            )

    def _progress(self, planned: PlannedTrial, record: Record) -> RunningTrial:
        trial_id = planned.trial_id
        present = self._running.get(trial_id)
        if present is None or not record.epochs:  # It begins, or has begun anew.
            present = RunningTrial(trial_id, planned.point, planned.seed, planned.fold, record.started)
        fresh: list[dict[str, Any]] = []
        for one in reversed(record.epochs):
            if (one["phase"], one["epoch"]) == (present.phase, present.epoch):
                break
            fresh.append(one)
        terms, finetune, health = dict(present.terms), dict(present.finetune), dict(present.health)
        phase, epoch, probe = present.phase, present.epoch, present.probe
        curves = dict(present.curves)
        for one in reversed(fresh):
            phase, epoch, probe = one["phase"], one["epoch"], one.get(PROBE, probe)
            numbers = {name.removeprefix("train."): v for name, v in one.items() if name.startswith("train.")}
            own = {name: value for name, value in numbers.items() if "." not in name}
            terms |= own
            if phase == "pretrain":
                curves |= {name: (*curves.get(name, ()), value)[-_EPOCHS_KEPT:] for name, value in own.items()}
            finetune |= {name.partition(".")[2]: v for name, v in numbers.items() if name.startswith("finetune.")}
            health |= {
                name.removesuffix(".std"): Health(value, numbers[name.removesuffix("std") + "effective_rank"])
                for name, value in numbers.items()
                if name.endswith(".std")
            }
        epochs = self._epochs(planned, phase) if phase else 0
        return RunningTrial(
            trial_id, planned.point, planned.seed, planned.fold, record.started, phase, epoch, epochs,
            terms, finetune, probe, health, curves,
        )  # fmt: skip

    def _longest(self, planned: PlannedTrial) -> str:
        """The phase that takes most of a trial's time."""
        return "pretrain" if self._epochs(planned, "pretrain") else "finetune"

    def _epochs(self, planned: PlannedTrial, phase: str) -> int:
        if planned.trial_id not in self._recipes:
            self._recipes[planned.trial_id] = self._plan.recipe(planned)
        recipe = self._recipes[planned.trial_id]
        match phase.partition(".")[0]:
            case "guide":
                return recipe.guide.epochs
            case "pretrain":
                return recipe.pretrain.epochs
            case _:
                return recipe.finetune.rounds

    def _draw(self, point_id: str) -> None:
        point = self._points[point_id]
        index = self._cells[point_id].index if point_id in self._cells else len(self._cells)
        self._cells[point_id] = cell = Cell(
            point_id, point.values, _state(point), point.mean, point.std, len(point.scores), point.planned, index
        )
        highest, those = self._best
        if point_id in those and not point.complete:  # It was extended.
            those.discard(point_id)
            complete = [one for one in self._cells.values() if one.state == "complete"]
            highest = max((one.mean or 0.0 for one in complete), default=-1.0)
            those = {one.point_id for one in complete if _equal(one.mean or 0.0, highest)}
        elif cell.state == "complete" and cell.mean is not None:
            if _equal(cell.mean, highest):
                those.add(point_id)
            elif cell.mean > highest:
                highest, those = cell.mean, {point_id}
        self._best = highest, those


def _equal(one: float, other: float) -> bool:
    """Whether two means are equal up to rounding."""
    return abs(one - other) < 1e-9


def _state(point: Point) -> CellState:
    if point.planned and point.complete:
        return "complete"
    if point.statuses.get("RUNNING"):
        return "running"
    bad = [status for status in NO_RESULT if point.statuses.get(status)]
    if bad:
        return bad[0].lower()  # pyright: ignore[reportReturnType]
    return "begun" if any(point.statuses.values()) else "planned"


def axes(plan: Plan) -> Axes | None:
    """The two knobs of a numeric grid; None where anything else is searched, or most of the grid is left out."""
    grid = plan.space.compared(plan.space.grid)
    if len(grid) != 2 or plan.space.ranges or len(plan.space.systems) > 1:
        return None
    points = {point_id: trials[0].point for point_id, trials in plan.candidates.items()}
    taken = [[*values, *(point[knob] for point in points.values())] for knob, values in grid.items()]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for values in taken for value in values):
        return None
    across, down = grid
    columns, rows = (tuple(sorted(set(values))) for values in taken)
    if _ACROSS in down and _ACROSS not in across:
        across, down, columns, rows = down, across, rows, columns
    if 4 * (len(points) + plan.open_points) < len(rows) * len(columns):
        return None
    return Axes(down, across, rows, columns)
