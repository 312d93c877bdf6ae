"""Where recipes start from: the systems that can be trained, and the settings of each on a data set."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

from mmssl.data.sources import READERS
from mmssl.errors import UserError, nearest
from mmssl.objectives import OBJECTIVES
from mmssl.recipe import USUAL, Guide, Kind, Recipe, Value, every_augmentation

RecipeName = Literal["default", "paper"]
"""paper: its architecture and settings, nothing added; default: changed where it was measured to help."""
RECIPES: tuple[RecipeName, ...] = get_args(RecipeName)

# What `default` changes of the settings across modalities, which it takes for one modality too. It is its whole
# augmentation, but for two views of a skeleton, which are augmented as in the paper.
_OURS: dict[str, Any] = {
    "augment.crop.probability": 0.5,
    "augment.imu.rotate.probability": 0.5,
    "augment.imu.rotate.strength": 20,
    "augment.imu.scale.probability": 0.5,
    "augment.imu.scale.strength": 0.1,
    "augment.imu.jitter.probability": 0.5,
    "encoder.imu.pooling": "moments",
}

# What makes a method itself: knobs that neither a data set's settings nor a space's `fixed` change.
_METHODS: dict[str, dict[str, Any]] = {
    "untrained": {"pretrain.epochs": 0},
    "supervised": {"pretrain.epochs": 0, "finetune.encoders": "trained"},
    **{name: {"objective.name": name} for name in OBJECTIVES},
    "masked": {
        "objective.name": "vicreg",
        "objective.lambda": 0,
        "objective.mu": 0,
        "objective.nu": 0,
        "reconstruct.weight": 1,
    },
}


class System(NamedTuple):
    """A method on its modalities: a row of the paper's Table 2."""

    method: str
    modalities: tuple[str, ...]

    @property
    def defining(self) -> dict[str, Value]:
        """The knobs that make it this system, with their values."""
        return {"data.modalities": list(self.modalities), **_METHODS[self.method]}


def systems(modalities: Iterable[str]) -> dict[str, System]:
    """By name: a method's own is that across all modalities of a data set, with one of them it ends in the modality."""
    return dict(_systems(sorted(modalities)))


def _systems(modalities: Sequence[str]) -> Iterator[tuple[str, System]]:
    for method in _METHODS:
        numbers = OBJECTIVES[method].modalities if method in OBJECTIVES else (1, 2)
        if 1 in numbers:
            for modality in modalities:
                yield f"{method}_{modality}", System(method, (modality,))
        if 2 in numbers and len(modalities) > 1:
            yield method, System(method, tuple(modalities))


SYSTEMS = systems(USUAL)
"""Those of a data set with the usual modalities."""


def parsed(name: str) -> tuple[str, tuple[str, ...]]:
    """A system's method, and the modalities that its name names: none in that across all, METHOD_ONE+OTHER has two.

    Raises:
        UserError: no modalities give a system of this name.
    """
    if name in _METHODS and _takes(name, 2):
        return name, ()
    method = next((one for one in sorted(_METHODS, key=len, reverse=True) if name.startswith(f"{one}_")), "")
    named = sorted(name.removeprefix(f"{method}_").split("+"))
    if not method or not all(named) or len(set(named)) < len(named) or not _takes(method, len(named)):
        raise UserError(f"no system {name!r}; {nearest(name, list(SYSTEMS), most=len(SYSTEMS))}")
    return method, tuple(named)


def _takes(method: str, count: int) -> bool:
    return method not in OBJECTIVES or OBJECTIVES[method].takes(count)


def system_named(name: str, modalities: Iterable[str]) -> System:
    """A system on a data set's modalities.

    Raises:
        UserError: there is no such system, or not on these.
    """
    (method, named), there = parsed(name), sorted(modalities)
    absent = [one for one in named if one not in there]
    if absent:
        choice = nearest(name, list(systems(there)))
        raise UserError(
            f"the recordings have no {absent[0]}, which system {name} takes: choose another with --system; {choice}"
        )
    if not named and len(there) < 2:
        alone = next((f", as {method}_{one}" for one in there if _takes(method, 1)), "")
        raise UserError(
            f"the recordings have {', '.join(there)} alone, and system {name} is across modalities: choose another "
            f"with --system{alone}"
        )
    return System(method, named or tuple(there))


def defined_by(name: str) -> tuple[str, ...]:
    """The knobs that make a system itself."""
    return ("data.modalities", *_METHODS[parsed(name)[0]])


def kinds_for(names: Iterable[str]) -> dict[str, Kind]:
    """Modalities that systems could be of, where no recordings are there to say."""
    named = {one: "signal" for name in names for one in parsed(name)[1]}
    return {**named, **USUAL}  # pyright: ignore[reportReturnType]


def recipe_named(word: str) -> RecipeName:
    """Raises UserError: there is no such recipe."""
    for name in RECIPES:
        if name == word:
            return name
    raise UserError(f"no recipe {word!r}; {nearest(word, list(RECIPES))}")


def preset(
    dataset: str, system: str = "vicreg", recipe: RecipeName = "default", kinds: Mapping[str, Kind] = USUAL
) -> Recipe:
    """The recipe a system starts from on a data set; one of the user's own data starts from UTD-MHAD's.

    The paper's augments each modality by itself, in every way that it names, within a modality and across (equations 7
    and 8), and shows augmented recordings neither to an untrained nor to a supervised encoder. `default` augments two
    views of a skeleton so, and all else less: an encoder for whom an IMU's channels change places learns less from
    that than it has untrained (docs/recipes.md).

    Args:
        kinds: of the data set's modalities, by name, as `Recordings.kinds` gives them.

    Raises:
        UserError: no such system.
    """
    method, modalities = parsed = system_named(system, kinds)
    # One's own, and a data set without settings, start from UTD-MHAD's.
    own, usual = READERS.get(dataset, READERS["utd_mhad"]), READERS["utd_mhad"]
    across, one = {**usual.across, **own.across}, {**usual.within, **own.within}
    if recipe == "default":
        across = one = {**across, **_OURS, **own.tuned}
    values = dict(across if len(modalities) > 1 else one)
    if method in OBJECTIVES and OBJECTIVES[method].guided:
        values |= {f"guide.{name}": one[f"pretrain.{name}"] for name in Guide.model_fields}
    start = Recipe().with_knobs(values | parsed.defining)
    among: set[Kind] = {kinds[name] for name in modalities}
    two_skeletons = len(modalities) == 1 and among == {"skeleton"}
    if start.pretrain.epochs and (recipe == "paper" or two_skeletons):
        start = start.model_copy(update={"augment": every_augmentation(*among)})
    return start
