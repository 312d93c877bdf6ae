"""A space: the YAML file that says what a study searches, and the points that come of it."""

import itertools
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, cast

from pydantic import (
    AfterValidator,
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    ValidationError,
    model_validator,
)

from mmssl.errors import UserError, nearest
from mmssl.recipe import Kind, Recipe, Value, explain
from mmssl.study.presets import RecipeName, defined_by, kinds_for, parsed, preset, recipe_named
from mmssl.study.where import Point, condition
from mmssl.study.words import SYSTEM, VARIANT

SET_BY_STUDY = {
    "seed": "a study takes its seeds from `seeds`",
    "data.validation_subjects": "a study takes the subjects it holds out from `folds`",
}
SAME_FOR_ALL = ("data.protocol", "data.train_subjects", "data.test_subjects")
LABEL_DRAW = "finetune.label_draw"
"""A replicate, as a seed is, where other knobs are searched beside it."""
RECIPE = "recipe"
"""What a variant says of the recipe that it starts from, among its knobs."""
_MOST_COMBINATIONS = 100_000


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", list(value)) if isinstance(value, list | tuple) else [value]


def _different(value: list[Any]) -> list[Any]:
    for index, item in enumerate(value):
        if item in value[:index]:
            raise ValueError(f"{item!r} is listed twice")
    return value


def _groups(value: Any) -> Any:
    """[7, [1, 3]] as (("7",), ("1", "3")), so that one spelling is left of a group."""
    if isinstance(value, str) and value in ("leave_one_subject_out", "test"):
        return value
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(
            f"give leave_one_subject_out, a list of held-out groups as [[1, 3], [5]], or test, not {value!r}"
        )
    groups: list[tuple[str, ...]] = []
    for given in _listed(value):
        group = _listed(given)
        if not group or any(isinstance(one, bool) or not isinstance(one, str | int) or one == "" for one in group):
            raise ValueError(f"a group is a subject or a list of subjects, not {given!r}")
        groups.append(tuple(_different([str(one) for one in group])))
    _different([sorted(group) for group in groups])
    return tuple(groups)


def _plainly_named(value: dict[str, Any]) -> dict[str, Any]:
    for name in value:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", name):
            raise ValueError(f"a name is letters and digits, and . _ + - after the first, not {name!r}")
    return value


def _is_system(name: str) -> bool:
    with suppress(UserError):
        return bool(parsed(name))
    return False


def _all_systems(value: list[str]) -> list[str]:
    for name in value:
        try:
            parsed(name)
        except UserError as error:
            raise ValueError(str(error)) from error
    return value


Number = Annotated[int, Strict()] | Annotated[float, Strict(), AllowInfNan(False)]
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**32)]
Folds = Literal["leave_one_subject_out", "test"] | tuple[tuple[str, ...], ...]


class Sampler(NamedTuple):
    """One of Optuna's samplers."""

    optuna: str
    """Its class in `optuna.samplers`."""
    options: Mapping[str, Any] = {}
    """Its arguments beside the seed."""
    intervals_only: bool = False
    """Whether it moves within intervals, for one objective, and proposes no listed values."""
    lasting: bool = False
    """Whether it keeps its state with the trials that it proposed; the others read all results each time anew."""


SAMPLERS = {
    "random": Sampler("RandomSampler"),
    "tpe": Sampler("TPESampler", {"multivariate": True, "constant_liar": True}),
    "gp": Sampler("GPSampler"),
    "cmaes": Sampler("CmaEsSampler", intervals_only=True, lasting=True),
}
"""The samplers by their names in a space."""
if TYPE_CHECKING:
    SamplerName = str
else:
    SamplerName = Literal[("grid", "race", *SAMPLERS)]
Cost = Literal["encoders.parameters", "encoders.flops"]


class Range(BaseModel):
    """An interval that a knob is drawn from, both ends included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Number
    """The least value."""
    high: Number
    """The greatest value."""
    log: bool = False
    """Drawn evenly on a logarithmic scale."""
    step: Annotated[Number, Field(gt=0)] | None = None
    """Distance between the values that can be drawn, from `low` on; any value where it is left out, any whole
    one of a knob that is a whole number."""

    @model_validator(mode="after")
    def _an_interval(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g}: a logarithmic scale begins above 0")
        if self.log and self.step is not None:
            raise ValueError("log and step: choose one of them")
        return self

    def even(self, value: Any) -> Any:
        """A value that lies on a step as it is written: 0.3, where 0.1 + 2 * 0.1 of floats is 0.30000000000000004."""
        if self.step is None or not isinstance(value, float):
            return value
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        return float(low + step * round((Decimal(value) - low) / step))


class Prune(BaseModel):
    """When a point is pruned before all its trials are run; without one of the two rules, never."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folds: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Pruned when its scores are worse than the best point's on the same folds and seeds, by a Wilcoxon signed-rank
    test with a p-value below this."""
    probe: Literal["median", "halving"] | None = None
    """The probe of a point's first trial is a linear classifier on the encoders as they are during pre-training, scored
    on the validation split. `median`: pruned when it is below the median of the complete points at that epoch.
    `halving`: pruned when it is not in the best third of those that came as far (asynchronous successive halving)."""
    every: Annotated[int, Strict(), Field(ge=1)] = 10
    """Epochs of pre-training from one probe to the next."""

    @model_validator(mode="after")
    def _a_rule(self) -> "Prune":
        if self.folds is None and self.probe is None:
            raise ValueError("give a rule: `folds: 0.1`, or `probe: median` or `probe: halving`")
        return self


class Space(BaseModel):
    """What a study searches; `load` makes one whose every knob and value fits a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Stem of the file."""
    description: str = ""
    """A line for `mmssl-tune spaces`."""
    recipe: RecipeName = "default"
    """Where the recipes start from: the paper's settings, or ours, which change them where it was measured to help."""
    fixed: dict[str, Any] = {}
    """Knobs that differ from those of `recipe`, the same in every point; what makes a system itself stays."""
    systems: Annotated[
        list[str],
        Field(min_length=1),
        BeforeValidator(_listed),
        AfterValidator(_all_systems),
        AfterValidator(_different),
    ] = ["vicreg"]
    """Where the recipes start from, as `mmssl-tune systems` lists them; several are searched like a knob, and change
    slowest."""
    variants: Annotated[dict[str, dict[str, Any]], AfterValidator(_plainly_named)] = {}
    """By name, knobs that change together; searched like a knob, right after the systems. One may change nothing, for
    the others to be compared with; one with `recipe: NAME` starts from that recipe."""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    """The searched knobs, each with its values; the last knob changes fastest."""
    ranges: dict[str, Range] = {}
    """Searched knobs that are drawn from an interval, by a sampler."""
    where: Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = []
    """Conditions that a point must meet, all of them, as `lambda == mu or lambda == 2 * mu`."""
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(_different)] = [28]
    """Every point is run with each of them."""
    folds: Annotated[Folds, BeforeValidator(_groups)] = "leave_one_subject_out"
    """Groups of training subjects; each in turn is held out to validate on.

    test: all of them train and the test subjects are scored, by which nothing may be chosen."""
    sampler: SamplerName = "grid"
    """Who chooses the points: grid, every one; race, those of the grid that may still be the best, and as many of their
    seeds and folds as that takes; otherwise Optuna's sampler of that name, `budget` of them."""
    budget: Annotated[int, Strict(), Field(ge=1, le=_MOST_COMBINATIONS)] | None = None
    """How many points a sampler may choose; of a race, how many points' worth of training it may take."""
    metric: Literal["val.accuracy", "val.f1"] = "val.accuracy"
    """What the best point is best in; higher is better."""
    cost: Cost | None = None
    """What should be low at the same time: `best` then shows the points of which none is better in both."""
    prune: Prune | None = None
    """When a point is pruned before all its trials are run; never where it is left out."""
    keep_models: Literal["best", "all", "none"] = "best"
    """Whose encoders and heads, some tens of MB a trial, are kept to be exported and looked into; best: of the points
    that lead so far, and of those that are not complete yet."""

    @model_validator(mode="after")
    def _something_searched(self) -> "Space":
        if not self.grid and not self.ranges and not self.variants and "systems" not in self.model_fields_set:
            raise ValueError("nothing is searched: give a `grid` of knobs, or `systems` or `variants` to compare")
        return self

    @model_validator(mode="after")
    def _goes_together(self) -> "Space":
        wrong: list[str] = []
        if not self.sampled and self.ranges:
            wrong.append(f"ranges: a grid has values, not intervals; choose a sampler: {', '.join(SAMPLERS)}")
        if self.sampler == "race" and (self.prune or self.cost):
            what = "prune: a race leaves points out by itself" if self.prune else "cost: a race has one objective"
            wrong.append(f"{what}; leave it out")
        if self.sampler == "grid":
            if self.budget is not None:
                wrong.append("budget: a grid runs all its points; leave it out, or choose a sampler")
        elif self.budget is None:
            wrong.append(f"budget: sampler {self.sampler} needs the number of points to choose, as `budget: 40`")
        if self.sampler in SAMPLERS and SAMPLERS[self.sampler].intervals_only:
            if self.grid or self.variants or len(self.systems) > 1:
                wrong.append(f"sampler {self.sampler}: moves within intervals; give all its knobs under ranges")
            if self.cost:
                others = ", ".join(name for name, one in SAMPLERS.items() if not one.intervals_only)
                wrong.append(f"sampler {self.sampler}: has one objective; with `cost` choose one of {others}")
        if self.folds == "test" and (self.sampler != "grid" or self.prune):
            what = f"sampler {self.sampler}" if self.sampler != "grid" else "prune"
            wrong.append(f"{what}: would choose by the test subjects' scores; hold training subjects out instead")
        if self.prune and self.cost:
            wrong.append("prune: would prune points that are cheap and no better; leave out either prune or cost")
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    @property
    def scored_split(self) -> Literal["val", "test"]:
        """The split that its trials score."""
        return "test" if self.folds == "test" else "val"

    @property
    def scored(self) -> str:
        """The metric's column for the scored split."""
        return f"{self.scored_split}.{self.metric.partition('.')[2]}"

    @property
    def probe_every(self) -> int | None:
        """Epochs from one probe to the next; None where there are none."""
        return self.prune.every if self.prune and self.prune.probe else None

    @property
    def searched(self) -> dict[str, list[Any]]:
        """The grid, with the systems where there are several, and the variants where there are any."""
        several = {SYSTEM: self.systems} if len(self.systems) > 1 else {}
        return several | ({VARIANT: list(self.variants)} if self.variants else {}) | self.grid

    @property
    def sampled(self) -> bool:
        """Whether points are chosen as it goes; all of a grid, and of a race, are planned before."""
        return self.sampler in SAMPLERS

    @property
    def names(self) -> list[str]:
        """Names of all that is searched, in a point's order."""
        return [*self.searched, *self.ranges]

    @property
    def draws_labels(self) -> bool:
        """Whether points that differ in the draw of labels alone are replicates of one, as its seeds are."""
        return LABEL_DRAW in self.grid or LABEL_DRAW in self.ranges

    def compared(self, by_name: Mapping[str, Any]) -> dict[str, Any]:
        """The entries of a mapping by searched names that distinguish points: all but a draw of labels."""
        left_out = LABEL_DRAW if self.draws_labels else None
        return {name: value for name, value in by_name.items() if name != left_out}

    def bases(self, dataset: str, kinds: Mapping[str, Kind] | None = None) -> dict[str, Recipe]:
        """By system, and by variant where there are any, the recipe that a point's knobs are put in.

        Args:
            dataset: its name, for the presets.
            kinds: of its modalities, by name; the usual ones, and those that systems name, where none are given.

        Raises:
            UserError: no such system on these modalities, a fixed knob, or one of a variant, does not fit.
        """
        kinds = kinds_for(self.systems) if kinds is None else kinds
        return {
            _base(system, variant): preset(dataset, system, knobs.get(RECIPE, self.recipe), kinds).with_knobs(
                {
                    knob: value
                    for knob, value in {**self.fixed, **knobs}.items()
                    if knob not in (RECIPE, *defined_by(system))
                }
            )
            for system in self.systems
            for variant, knobs in (self.variants or {"": {}}).items()
        }

    def recipe_of(self, variant: str | None) -> RecipeName:
        """The recipe that a variant's knobs start from; of no variant, the space's."""
        return self.variants[variant].get(RECIPE, self.recipe) if variant else self.recipe

    def points(self, bases: Mapping[str, Recipe]) -> list[dict[str, Value]]:
        """The points that meet `where`, in the grid's order: each has a value for everything searched.

        None where a sampler chooses them.

        Args:
            bases: what `bases` gives.

        Raises:
            UserError: one message with every mistake.
        """
        _, points, mistakes = _check(self, bases)
        if mistakes:
            raise UserError(_all(f"space {self.name}", mistakes))
        return [] if self.sampled else points

    def admits(self, bases: Mapping[str, Recipe]) -> Callable[[Point], bool]:
        """Whether a point meets `where` and gives a recipe."""
        conditions = [condition(text, [*self.fixed, *self.names]) for text in self.where]

        def admitted(point: Point) -> bool:
            try:
                at_point(bases, point)
            except UserError:
                return False
            return all(holds(self.fixed | dict(point)) for holds in conditions)

        return admitted


class SpaceFile(NamedTuple):
    """A space that can be loaded by its name."""

    name: str
    path: Path
    source: Literal["local", "shipped"]


def available() -> list[SpaceFile]:
    """Spaces in ./search_spaces, then shipped ones; of two with one name the local one counts."""
    found: dict[str, SpaceFile] = {}
    for source, folder in _folders().items():
        for path in sorted(folder.glob("*.y*ml")):
            if path.suffix in (".yaml", ".yml") and path.is_file() and path.name[0] != ".":
                found.setdefault(path.stem, SpaceFile(path.stem, path, source))
    return list(found.values())


def load(name_or_path: str) -> Space:
    """Read a space by its name (see `available`) or from a file.

    Values come out as a recipe holds them: 1 under a knob that is a real number is 1.0.

    Raises:
        UserError: no such space; or one message with every mistake in its file.
    """
    from mmssl.yaml_file import read

    path = _find(name_or_path)
    document, mistakes = read(path)
    entries = [name for name in Space.model_fields if name != "name"]
    for name in [name for name in document if name not in entries]:
        why = "a space is named by its file" if name == "name" else nearest(str(name), entries, most=len(entries))
        mistakes.append(f"{name}: no such entry; {why}")
        del document[name]
    # What is sound beside a faulty part is checked all the same, so that one message names every mistake.
    named = [name for name in _listed(document.get("systems", "vicreg")) if isinstance(name, str) and _is_system(name)]
    systems = named or ["vicreg"]
    draft = Space.model_construct(
        name=path.stem,
        systems=systems,
        fixed=_mapping(document.get("fixed")),
        variants={name: _mapping(knobs) for name, knobs in _mapping(document.get("variants")).items()},
        grid={knob: _listed(values) for knob, values in _mapping(document.get("grid")).items()},
        ranges=_ranges(document.get("ranges")),
        where=[text for text in _listed(document.get("where")) if isinstance(text, str)],
    )
    fitted, _, found = _check(draft)
    try:
        space = Space.model_validate({**document, "name": path.stem})
    except ValidationError as error:
        raise UserError(_all(str(path), [*mistakes, *explain(error), *found])) from error
    if mistakes or found:
        raise UserError(_all(str(path), [*mistakes, *found]))
    space = space.model_copy(update=fitted)
    uneven = [line for knob, interval in space.ranges.items() for line in _uneven(knob, interval)]
    if uneven:
        raise UserError(_all(str(path), uneven))
    return _enough(space, str(path))


def _enough(space: Space, place: str) -> Space:
    """Return the space, if it has as many points as its budget; raise UserError otherwise."""
    drawn = [_values(interval) for interval in space.ranges.values()]
    if space.sampler == "grid" or not space.budget or any(values is None for values in drawn):
        return space
    listed = [*space.searched.values(), *(values for values in drawn if values is not None)]
    admitted = space.admits(space.bases(""))
    found = 0
    for values in itertools.islice(itertools.product(*listed), _MOST_COMBINATIONS):
        found += admitted(dict(zip(space.names, values, strict=True)))
        if found == space.budget:
            return space
    if math.prod(len(values) for values in listed) > _MOST_COMBINATIONS:
        return space
    raise UserError(f"{place}: budget {space.budget}: only {found} points can be chosen")


def _values(interval: Range) -> Sequence[int | float] | None:
    """All values that can be drawn; None for an interval of real numbers without a step."""
    low, high, step = interval.low, interval.high, interval.step
    if isinstance(low, int) and isinstance(high, int):
        return range(low, high + 1, int(step or 1))
    return [interval.even(low + i * step) for i in range(_steps(interval) + 1)] if step else None


def _steps(interval: Range) -> int:
    """Whole steps that fit between the ends, decimals taken as they are written."""
    low, high, step = (Decimal(str(value)) for value in (interval.low, interval.high, interval.step or 1))
    return int((high - low) / step)


def _uneven(knob: str, interval: Range) -> Iterator[str]:
    """A mistake where the step does not lead to the high end."""
    if interval.step is None:
        return
    last = Decimal(str(interval.low)) + _steps(interval) * Decimal(str(interval.step))
    if last != Decimal(str(interval.high)):
        yield (
            f"ranges.{knob}: step {interval.step:g} does not divide {interval.low:g} to {interval.high:g}: "
            f"the last value would be {last:g}; make that high, or give another step"
        )


def changed(space: Space, **entries: Any) -> Space:
    """The space with some entries changed, checked like a file's.

    Raises:
        UserError: one message with every mistake.
    """
    document = {name: getattr(space, name) for name in space.model_fields_set} | entries
    try:
        changed = Space.model_validate(document)
    except ValidationError as error:
        raise UserError(_all(f"space {space.name}", explain(error))) from error
    place = f"space {space.name}"
    fitted, _, mistakes = _check(changed)
    if mistakes:
        raise UserError(_all(place, mistakes))
    return _enough(changed.model_copy(update=fitted), place)


def is_shipped(space: Space) -> bool:
    """Whether it is a shipped space, apart from what the command line changes of it."""
    path = _folders()["shipped"] / f"{space.name}.yaml"
    if not path.is_file():
        return False
    with suppress(UserError):  # That of another version may not take the same changes.
        again = changed(load(str(path)), fixed=space.fixed, systems=space.systems, recipe=space.recipe)
        return again.model_dump(exclude={"description"}) == space.model_dump(exclude={"description"})
    return False


def text_of(space: Space) -> str:
    """The content of a file from which `load` makes the same space."""
    document = space.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"name"})
    import yaml

    return yaml.safe_dump({**document, "systems": space.systems}, sort_keys=False, allow_unicode=True, width=100)


def _folders() -> dict[Literal["local", "shipped"], Path]:
    package = Path(__file__).resolve().parents[1]
    inside = package / "search_spaces"
    # Only a wheel has them in the package; a checkout keeps them at its top.
    return {"local": Path("search_spaces"), "shipped": inside if inside.is_dir() else package.parent / "search_spaces"}


def _find(name_or_path: str) -> Path:
    if re.search(r"[/\\]|\.ya?ml$", name_or_path):
        return Path(os.path.expanduser(name_or_path))  # noqa: PTH111 - pathlib's fails where there is no such user
    found = {space.name: space.path for space in available()}
    if name_or_path not in found:
        places = " and ".join(dict.fromkeys(str(folder.absolute()) for folder in _folders().values()))
        raise UserError(f"no space {name_or_path!r} in {places}; {nearest(name_or_path, list(found))}")
    return found[name_or_path]


def _mapping(value: Any) -> dict[str, Any]:
    return {str(key): item for key, item in cast("dict[Any, Any]", value).items()} if isinstance(value, dict) else {}


def _ranges(value: Any) -> dict[str, Range]:
    """The valid intervals; the validation of the space reports the others."""
    sound: dict[str, Range] = {}
    for knob, given in _mapping(value).items():
        with suppress(ValidationError):
            sound[knob] = Range.model_validate(given)
    return sound


def _all(place: str, mistakes: Iterable[str]) -> str:
    return "\n  ".join([f"{place}:", *dict.fromkeys(mistakes)])


def _check(
    space: Space, bases: Mapping[str, Recipe] | None = None
) -> tuple[dict[str, Any], list[dict[str, Value]], list[str]]:
    """Whether each entry fits by itself and with the others.

    Args:
        space: may be a draft that has not been validated, with the entries that are looked at here.
        bases: the recipes that points' knobs are put in; those of UTD-MHAD by default.

    Returns:
        The entries with their values as a recipe holds them; the points of a grid, where there is no mistake; and the
        mistakes.
    """
    fixed, variants, grid, ranges = space.fixed, space.variants, space.grid, space.ranges
    mistakes: list[str] = []
    points: list[dict[str, Value]] = []
    defining = {knob: name for name in space.systems for knob in defined_by(name)}

    def fitting(part: str, knob: str, value: Any) -> Value:
        if knob in SET_BY_STUDY:
            mistakes.append(f"{part}.{knob}: {SET_BY_STUDY[knob]}")
            return value
        try:
            return Recipe().fitted(knob, value)
        except UserError as error:
            mistakes.extend(f"{part}.{line}" for line in str(error).splitlines())
            return value

    def starting(part: str, name: Any) -> Value:
        try:
            return recipe_named(name if isinstance(name, str) else repr(name))
        except UserError as error:
            mistakes.append(f"{part}.{RECIPE}: {error}")
            return name

    def searched_knob(part: str, knob: str, *others: str) -> None:
        if knob in SAME_FOR_ALL:
            mistakes.append(f"{part}.{knob}: all points share their subjects; put it under fixed")
        if knob in defining:
            mistakes.append(f"{part}.{knob}: {_defines(knob, defining[knob])}")
        also = {"fixed": fixed, "grid": grid, "variants": {name for one in variants.values() for name in one}}
        mistakes.extend(
            f"{part}.{knob}: also under {one}; take it out of one of the two" for one in others if knob in also[one]
        )

    fitted: dict[str, dict[str, Any]] = {"fixed": {}, "variants": {}, "grid": {}, "ranges": {}}
    for knob, value in fixed.items():
        fitted["fixed"][knob] = fitting("fixed", knob, value)
        if all(knob in defined_by(name) for name in space.systems):
            mistakes.append(f"fixed.{knob}: {_defines(knob, defining[knob])}")
    for name, knobs in variants.items():
        part = f"variants.{name}"
        start = {RECIPE: starting(part, knobs[RECIPE])} if RECIPE in knobs else {}
        changes = {knob: value for knob, value in knobs.items() if knob != RECIPE}
        fitted["variants"][name] = start | {knob: fitting(part, knob, value) for knob, value in changes.items()}
        for knob in changes:
            searched_knob(part, knob, "fixed")
    for knob, values in grid.items():
        fitted["grid"][knob] = [fitting("grid", knob, value) for value in values]
        searched_knob("grid", knob, "fixed", "variants")
        try:
            _different(fitted["grid"][knob])
        except ValueError as error:
            mistakes.append(f"grid.{knob}: {error}")
    for knob, interval in ranges.items():
        low, high = (fitting("ranges", knob, end) for end in (interval.low, interval.high))
        fitted["ranges"][knob] = interval.model_copy(update={"low": low, "high": high})
        if isinstance(low, int) and isinstance(interval.step, float):
            mistakes.append(f"ranges.{knob}: step {interval.step:g}: the knob is a whole number")
        if knob == "data.steps":
            mistakes.append(f"ranges.{knob}: recordings are prepared once for each length; list lengths under grid")
        searched_knob("ranges", knob, "fixed", "grid", "variants")
    checked = space.model_copy(update=fitted)
    searched = checked.searched
    conditions: list[Callable[[Point], bool]] = []
    for text in space.where:
        try:
            conditions.append(condition(text, [*fixed, *checked.names]))
        except UserError as error:
            mistakes.extend(str(error).splitlines())
    combinations = math.prod(len(values) for values in searched.values())
    if combinations > _MOST_COMBINATIONS:
        mistakes.append(f"grid: {combinations:,} combinations; at most {_MOST_COMBINATIONS:,} can be planned")
    if mistakes or ranges:
        return fitted, [], mistakes
    try:
        bases = bases or checked.model_copy(update={"recipe": "default", "fixed": {}}).bases("")
        for values in itertools.product(*searched.values()):
            point = dict(zip(searched, values, strict=True))
            if all(holds(checked.fixed | point) for holds in conditions):
                at_point(bases, point)
                points.append(point)
        if not points:
            mistakes.append(f"where: none of the grid's {combinations:,} points meets it")
    except UserError as error:
        mistakes.extend(str(error).splitlines())
    return fitted, points, mistakes


def _base(system: str, variant: str) -> str:
    return f"{system} {variant}".rstrip()


def base_of(bases: Mapping[str, Recipe], point: Point) -> str:
    """The key in `bases` of the recipe that a point's knobs are put in."""
    return _base(str(point.get(SYSTEM) or next(iter(bases)).partition(" ")[0]), str(point.get(VARIANT, "")))


def at_point(bases: Mapping[str, Recipe], point: Point, **also: Any) -> Recipe:
    """A point's recipe, before or with its seed and fold."""
    knobs = {knob: value for knob, value in point.items() if knob not in (SYSTEM, VARIANT)}
    return bases[base_of(bases, point)].with_knobs(knobs | also)


def _defines(knob: str, system: str) -> str:
    modalities = " (METHOD_NAME is of one modality)" if knob == "data.modalities" else ""
    return f"system {system} sets it; choose another system instead{modalities}"
