"""Where recipes start from: the systems that can be trained, and the settings of each on a data set."""

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

from mmssl.data.sources import READERS
from mmssl.errors import UserError, nearest
from mmssl.objectives import OBJECTIVES
from mmssl.recipe import MODALITIES, Guide, Modality, Recipe, Value, every_augmentation

RecipeName = Literal["default", "paper"]
"""paper: its architecture and settings, nothing added; default: changed where it was measured to help."""
RECIPES: tuple[RecipeName, ...] = get_args(RecipeName)

# What `default` changes of the settings across modalities, which it takes for one modality too. Across modalities
# this is its whole augmentation; two views of one modality are augmented as in the paper.
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
}


class System(NamedTuple):
    """A method on its modalities: a row of the paper's Table 2."""

    method: str
    modalities: tuple[Modality, ...]

    @property
    def defining(self) -> dict[str, Value]:
        """The knobs that make it this system, with their values."""
        return {"data.modalities": list(self.modalities), **_METHODS[self.method]}


def _systems() -> Iterator[tuple[str, System]]:
    for method in _METHODS:
        numbers = OBJECTIVES[method].modalities if method in OBJECTIVES else (1, 2)
        if 1 in numbers:
            for modality in MODALITIES:
                yield f"{method}_{modality}", System(method, (modality,))
        if 2 in numbers:
            yield method, System(method, MODALITIES)


SYSTEMS = dict(_systems())
"""By name: a method's own is that across both modalities, with one of them it ends in the modality."""


def recipe_named(word: str) -> RecipeName:
    """Raises UserError: there is no such recipe."""
    for name in RECIPES:
        if name == word:
            return name
    raise UserError(f"no recipe {word!r}; {nearest(word, list(RECIPES))}")


def preset(dataset: str, system: str = "vicreg", recipe: RecipeName = "default") -> Recipe:
    """The recipe a system starts from on a data set; one of the user's own data starts from UTD-MHAD's.

    The paper's augments each modality by itself, in every way that it names, within a modality and across (equations 7
    and 8); `default` does so within a modality alone. In the paper's, neither an untrained nor a supervised encoder is
    shown augmented recordings.

    Raises:
        UserError: no such system.
    """
    if system not in SYSTEMS:
        raise UserError(f"no system {system!r}; {nearest(system, list(SYSTEMS), most=len(SYSTEMS))}")
    method, modalities = SYSTEMS[system]
    # One's own, and a data set without settings, start from UTD-MHAD's.
    own, usual = READERS.get(dataset, READERS["utd_mhad"]), READERS["utd_mhad"]
    pair, one = {**usual.across, **own.across}, {**usual.within, **own.within}
    if recipe == "default":
        pair = one = {**pair, **_OURS, **own.tuned}
    values = dict(pair if len(modalities) == len(MODALITIES) else one)
    if method in OBJECTIVES and OBJECTIVES[method].guided:
        values |= {f"guide.{name}": one[f"pretrain.{name}"] for name in Guide.model_fields}
    start = Recipe().with_knobs(values | SYSTEMS[system].defining)
    if start.pretrain.epochs and (recipe == "paper" or len(modalities) == 1):
        start = start.model_copy(update={"augment": every_augmentation(*modalities)})
    return start
