"""The ledger: every trial of a study, named by its content, written before it runs."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from mmssl.errors import UserError
from mmssl.recipe import USUAL, Kind, Recipe, Value, knob_names
from mmssl.study.columns import is_score, schemas
from mmssl.study.presets import RecipeName
from mmssl.study.space import LABEL_DRAW, Space, at_point, base_of
from mmssl.study.words import SYSTEM, VARIANT, fold_name

if TYPE_CHECKING:
    from mmssl.data.protocols import Split
    from mmssl.data.recordings import Recordings

FORMAT = "mmssl.plan/2"

Key = tuple[Any, ...]
"""Seed and fold of a point's trial; then its draw of labels, where that is a replicate too."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Id = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""A content id, which is part of names of files."""


class PlannedTrial(_Part):
    """One point x one seed x one fold."""

    trial_id: Id
    """Same recipe and same data, same id; nothing else has it."""
    point_id: Id
    """As trial_id, but for seed and fold."""
    point: dict[str, Any]
    """The searched knobs and their values; `system` and `variant` among them where there are several."""
    seed: int
    held_out: tuple[str, ...]
    """Subjects that validate; none where the test subjects are scored."""

    @property
    def fold(self) -> str:
        return fold_name(self.held_out)


ALL = "all modalities"
"""In `Dataset.having`: no modality is called so."""


@dataclass(frozen=True)
class StackedTrials:
    """Trials that pre-train as one model: the first of them does it."""

    lead: PlannedTrial
    others: tuple[PlannedTrial, ...]


class SampledPoint(_Part):
    """A point that a sampler has chosen."""

    number: int
    point: dict[str, Any]
    after: list[Id]
    """Points whose outcome the sampler learnt between the choice before and this one, in that order."""
    trials: tuple[PlannedTrial, ...] = ()
    """The point's, as they were planned; older versions did not keep them."""


class Dataset(_Part):
    """Which recordings a study uses, and how to find them again."""

    source: str
    """Data set name or recordings file, as `--dataset` takes it."""
    folder: str | None
    name: str
    fingerprint: str
    recordings: int
    train_subjects: tuple[str, ...]
    test_subjects: tuple[str, ...]
    windows: bool = False
    """Whether they are windows, cut from streams."""
    streams: int = 0
    """How many streams the windows are of; older versions did not count them."""
    skipped: tuple[str, ...] = ()
    """Faulty files that the user chose to go on without."""
    modalities: Mapping[str, Kind] = Field(default=USUAL, exclude_if=lambda modalities: modalities == USUAL)
    """Kinds by name, of all that a recording has."""
    pretrain_on: tuple[str, ...] = ()
    """Further recordings that only pre-train, each as `--pretrain-on` takes it."""
    unlabelled: int = 0
    """Recordings without a label, those included."""
    classes: int | None = Field(default=None, exclude_if=lambda classes: classes is None)
    """How many there are; older plans do not say."""
    having: Mapping[str, int] = {}
    """How many recordings have each modality that a system takes, and how many `ALL`; empty where all have all. Studies
    of older versions left out who lacks one."""

    @property
    def count(self) -> str:
        """How many recordings, in words."""
        return ", ".join(
            [
                _counted(self.recordings, "window") + f" of {_counted(self.streams, 'recording')}"
                if self.streams
                else _counted(self.recordings, "recording"),
                *([f"{self.unlabelled:,} without a label"] if self.unlabelled else []),
                *(f"{count:,} with {name}" for name, count in self.having.items()),
            ]
        )


class EarlierScore(_Part):
    """What a point of another study has come to in one place: a seed and a fold."""

    point: dict[str, Any]
    """As points are compared."""
    place: str
    value: float


class EarlierStudy(_Part):
    """What another study knows of the points of this one, on whatever recordings."""

    name: str
    scores: tuple[EarlierScore, ...]


def _with_recipe(space: Any) -> Any:
    """There was only the paper's recipe before recipes had names."""
    return {**space, "recipe": "paper"} if isinstance(space, dict) and "recipe" not in space else space


# No validator stands before the whole: all would be made Python's objects first, which takes longer of many trials.
class Plan(_Part):
    format: Literal["mmssl.plan/2"] = FORMAT
    name: str
    created: datetime
    space: Annotated[Space, BeforeValidator(_with_recipe)]
    bases: dict[str, Recipe]
    """By system, and variant where there are any, the recipe before a point's knobs, a seed and a fold are put in."""
    knobs: tuple[str, ...] | None = None
    """Those that there were when it was planned: its ids are of them, in every later version too. None in a plan of an
    older version, where the bases name them."""
    dataset: Dataset
    folds: tuple[tuple[str, ...], ...] = ()
    """Held-out subjects of each fold; a plan made before folds stood in it has trials in each of them."""
    earlier: Annotated[tuple[EarlierStudy, ...], Field(exclude_if=lambda studies: not studies)] = ()
    """Studies from whose scores a race starts."""
    trials: list[PlannedTrial]
    """A point's trials stand together, folds changing fastest, so that one point is finished before the next begins."""

    _by_id: dict[str, PlannedTrial] = PrivateAttr(default_factory=dict[str, PlannedTrial])
    _of_point: dict[str, list[PlannedTrial]] = PrivateAttr(default_factory=dict[str, list[PlannedTrial]])
    _candidates: dict[str, list[PlannedTrial]] = PrivateAttr(default_factory=dict[str, list[PlannedTrial]])
    _candidate_of: dict[str, str] = PrivateAttr(default_factory=dict[str, str])
    _firsts: dict[str, str] = PrivateAttr(default_factory=dict[str, str])
    _by_content: dict[str, str] = PrivateAttr(default_factory=dict[str, str])

    @model_validator(mode="after")
    def _indexed(self) -> "Plan":
        if not self.folds:
            object.__setattr__(self, "folds", tuple(dict.fromkeys(trial.held_out for trial in self.trials)))
        self._index(self.trials)
        return self

    def _index(self, trials: Iterable[PlannedTrial]) -> None:
        # Looked up once: of a pydantic model each look at a private attribute takes a microsecond.
        by_id, of_point, candidates, candidate_of = self._by_id, self._of_point, self._candidates, self._candidate_of
        firsts, draws_labels = self._firsts, self.space.draws_labels
        for trial in trials:
            trial_id, point_id = trial.trial_id, trial.point_id
            if trial_id in by_id:
                raise ValueError(f"trial {trial_id} is listed twice")
            by_id[trial_id] = trial
            of_point.setdefault(point_id, []).append(trial)
            if point_id not in candidate_of:
                like = str(self.space.compared(trial.point)) if draws_labels else point_id
                candidate_of[point_id] = firsts.setdefault(like, point_id)
            candidates.setdefault(candidate_of[point_id], []).append(trial)

    @property
    def subsets(self) -> tuple[str, ...]:
        """Modalities that get a head together in some of its trials."""
        searched = self.space.grid.get("finetune.subsets", [])
        every = [*(base.finetune.subsets for base in self.bases.values()), *searched]
        return tuple(dict.fromkeys(subset for subsets in every for subset in subsets))

    @property
    def schemas(self) -> Mapping[str, pa.Schema]:
        """Of its tables, by name."""
        return schemas(tuple(self.dataset.modalities), self.subsets)

    @property
    def scores(self) -> list[str]:
        """Columns of the scored split, by all modalities together, by each alone and by the subsets."""
        return [name for name in self.schemas["trials"].names if is_score(name)]

    @property
    def transductive(self) -> bool:
        """Whether a point pre-trains on recordings of people who are scored."""
        knob = "data.transductive"
        firsts = [trials[0] for trials in self._of_point.values()]
        return any(trial.point.get(knob, self.bases[self.base(trial)].data.transductive) for trial in firsts)

    @property
    def open_points(self) -> int:
        """How many points a sampler may still choose."""
        if self.space.budget is None or not self.space.sampled:
            return 0
        return max(0, self.space.budget - len(self._of_point))

    @property
    def total(self) -> int:
        """How many trials there will be when all points are chosen."""
        return len(self.trials) + self.open_points * len(self.space.seeds) * len(self.folds)

    @property
    def most(self) -> int:
        """How many of them will run: of a race's what its budget is enough for."""
        if self.space.sampler != "race":
            return self.total
        points = len(self._candidates)
        return self.total * min(points, self.space.budget or points) // points

    def add(self, point: Mapping[str, Value], trials: Sequence[PlannedTrial] = ()) -> list[PlannedTrial]:
        """Plan a point that was not; gives its trials, none where it was planned before.

        Args:
            trials: as they are to be planned; by default as `trials_at` gives them.

        Raises:
            ValueError: another point has a trial of the same id.
        """
        trials = trials or self.trials_at(point)
        if trials[0].point_id in self._of_point:
            return []
        self._index(trials)
        self.trials.extend(trials)
        return list(trials)

    def trials_at(self, point: Mapping[str, Value]) -> list[PlannedTrial]:
        """The trials of a point that is not planned."""
        return _trials(self.bases, self.counted, point, self.space.seeds, self.folds, self.dataset)

    @property
    def counted(self) -> Collection[str]:
        """The knobs that ids are of."""
        return frozenset(next(iter(self.bases.values())).given() if self.knobs is None else self.knobs)

    def alike(self, other: "Plan") -> bool:
        """Whether two plans have the same trials in the same order, by whatever ids: another version gives others."""
        return self.dataset.fingerprint == other.dataset.fingerprint and [
            self.recipe(trial) for trial in self.trials
        ] == [other.recipe(trial) for trial in other.trials]

    @property
    def candidates(self) -> Mapping[str, Sequence[PlannedTrial]]:
        """All trials of each point that is compared, by the id of the first; in the plan's order."""
        return self._candidates

    def candidate(self, point_id: str) -> str:
        """The id by which a point is compared: where labels are drawn several times that of its first draw."""
        return self._candidate_of[point_id]

    def key(self, point_id: str, seed: int, fold: str) -> Key:
        """Which of its candidate's trials a point's trial is."""
        if not self.space.draws_labels:
            return seed, fold
        draw = self._of_point[point_id][0].point.get(LABEL_DRAW)
        return (seed, fold) if draw is None else (seed, fold, draw)

    def key_of(self, trial: PlannedTrial) -> Key:
        return self.key(trial.point_id, trial.seed, trial.fold)

    def splits(self, recordings: "Recordings") -> "dict[tuple[str, ...], Split]":
        """Who trains and who is scored, by the subjects that each fold holds out.

        Raises:
            UserError: a fold cannot be.
        """
        from mmssl.data.protocols import split  # Who reads a study needs none, and it takes its time to load.

        base = next(iter(self.bases.values()))
        return {
            held_out: split(recordings, base.with_knobs({"data.validation_subjects": list(held_out)}).data)
            for held_out in self.folds
        }

    def trial(self, trial_id: str) -> PlannedTrial:
        return self._by_id[trial_id]

    def has_trial(self, trial_id: str) -> bool:
        """Whether a trial is planned."""
        return trial_id in self._by_id

    def trials_of(self, point_id: str) -> list[PlannedTrial]:
        """A point's trials, in the order in which they run."""
        return self._of_point[point_id]

    def check_ids(self) -> None:
        """Compare every id with what it is of, as only a plan without a digest needs.

        Raises:
            ValueError: one is another's.
        """
        for trials in self._of_point.values():
            made = {(trial.seed, trial.held_out): trial for trial in self.trials_at(trials[0].point)}
            for trial in trials:
                if made.get((trial.seed, trial.held_out)) != trial:
                    raise ValueError(f"trial {trial.trial_id} is not the one of its knobs, seed and fold")

    def has_point(self, point_id: str) -> bool:
        """Whether a point is planned."""
        return point_id in self._of_point

    def point_id(self, point: Mapping[str, Value]) -> str:
        """A point's id: the one it was planned with, or the one it would get."""
        counted = self.counted
        for kept in self._of_point.keys() - set(self._by_content.values()):
            content = _point_id(self.bases, counted, self._of_point[kept][0].point, self.dataset)
            self._by_content[content] = kept
        content = _point_id(self.bases, counted, point, self.dataset)
        return self._by_content.get(content, content)

    def system(self, trial: PlannedTrial) -> str:
        return trial.point.get(SYSTEM) or self.space.systems[0]

    def variant(self, trial: PlannedTrial) -> str | None:
        return trial.point.get(VARIANT)

    def recipe_name(self, trial: PlannedTrial) -> RecipeName:
        """Where its knobs start from."""
        return self.space.recipe_of(self.variant(trial))

    def base(self, trial: PlannedTrial) -> str:
        """Which of `bases` it starts from."""
        return base_of(self.bases, trial.point)

    def recipe(self, trial: PlannedTrial) -> Recipe:
        return _recipe(self.bases, trial.point, trial.seed, trial.held_out)

    def size(self) -> str:
        """The number of trials and where it comes from, in words."""
        points, candidates = len(self._of_point) + self.open_points, len(self._candidates)
        draws = points // candidates if candidates and points % candidates == 0 and not self.open_points else 1
        counts = [
            _counted(points // draws, "point"),
            *([_counted(draws, "draw") + " of labels"] if draws > 1 else []),
            _counted(len(self.space.seeds), "seed"),
            _counted(len(self.folds), "fold"),
        ]
        at_most = f", of which a race runs {self.most} at most" if self.space.sampler == "race" else ""
        return f"{' x '.join(counts)} = {_counted(self.total, 'trial')}{at_most}"


def make_plan(
    name: str,
    space: Space,
    bases: Mapping[str, Recipe],
    dataset: Dataset,
    folds: Sequence[tuple[str, ...]],
    points: Sequence[dict[str, Value]],
    knobs: Collection[str] | None = None,
) -> Plan:
    """Every point x seed x fold.

    Args:
        points: those planned from the start; a sampler adds others as it chooses them.
        knobs: those that ids are of; all by default.

    Raises:
        UserError: two planned trials would be the same (two points that differ in nothing).
    """
    counted = frozenset(knob_names() if knobs is None else knobs)
    # Draws of labels stand together, so that one candidate is finished before the next begins.
    together: dict[str, list[dict[str, Value]]] = {}
    for point in points:
        together.setdefault(str(space.compared(point)), []).append(point)
    in_order = [point for draws in together.values() for point in draws]
    trials = [trial for point in in_order for trial in _trials(bases, counted, point, space.seeds, folds, dataset)]
    if len({trial.trial_id for trial in trials}) < len(trials):
        raise UserError(f"space {space.name}: two of its points give the same recipe; take one out of the grid")
    return Plan(
        name=name,
        created=datetime.now(UTC),
        space=space,
        bases=dict(bases),
        knobs=tuple(name for name in knob_names() if name in counted),
        dataset=dataset,
        folds=tuple(folds),
        trials=trials,
    )


def _trials(
    bases: Mapping[str, Recipe],
    counted: Collection[str],
    point: Mapping[str, Value],
    seeds: Sequence[int],
    folds: Sequence[tuple[str, ...]],
    dataset: Dataset,
) -> list[PlannedTrial]:
    point_id = _point_id(bases, counted, point, dataset)
    return [
        PlannedTrial(
            trial_id=_recipe(bases, point, seed, held_out).content_id(dataset.fingerprint, knobs=counted),
            point_id=point_id,
            point=dict(point),
            seed=seed,
            held_out=held_out,
        )
        for seed in seeds
        for held_out in folds
    ]


def extended(plan: Plan, space: Space, folds: Sequence[tuple[str, ...]]) -> Plan:
    """The plan of a larger space on the same data: what was planned stays, with its ids, and more stands beside it.

    Raises:
        UserError: the larger space lacks something that was planned.
    """
    existing = list({trial.point_id: trial.point for trial in plan.trials}.values())
    points = existing if space.sampled else space.points(plan.bases)
    larger = make_plan(plan.name, space, plan.bases, plan.dataset, folds, points, plan.counted)
    # Recognised by their knobs, not by ids made today: what was planned keeps those it has.
    kept = {(_values(trial), trial.seed, trial.held_out): trial for trial in plan.trials}
    named = {_values(trial): trial.point_id for trial in plan.trials}
    trials = [
        kept.get((_values(trial), trial.seed, trial.held_out))
        or trial.model_copy(update={"point_id": named.get(_values(trial), trial.point_id)})
        for trial in larger.trials
    ]
    lost = {trial.trial_id for trial in plan.trials} - {trial.trial_id for trial in trials}
    if lost:
        raise UserError(f"study {plan.name}: {len(lost)} of its {len(plan.trials)} trials would no longer be planned")
    return Plan.model_validate({**dict(larger), "created": plan.created, "earlier": plan.earlier, "trials": trials})


def _values(trial: PlannedTrial) -> tuple[Any, ...]:
    """A point's knobs and values, to look it up by."""
    values = sorted(trial.point.items())
    return tuple((knob, tuple(value) if isinstance(value, list) else value) for knob, value in values)


def _point_id(
    bases: Mapping[str, Recipe], counted: Collection[str], point: Mapping[str, Value], dataset: Dataset
) -> str:
    # A point is what is left of a recipe when seed and fold are taken out.
    return _recipe(bases, point, 0, ()).content_id(dataset.fingerprint, knobs=counted)


def _recipe(bases: Mapping[str, Recipe], point: Mapping[str, Any], seed: int, held_out: tuple[str, ...]) -> Recipe:
    return at_point(bases, point, seed=seed, **{"data.validation_subjects": list(held_out)})


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
