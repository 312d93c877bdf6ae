"""Every knob of one training run, validated and hashed.

Paper: Yang et al., "Contrastive self-supervised representation learning without negative samples for multimodal human
action recognition", Front. Neurosci. 2023.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    Strict,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.fields import FieldInfo

from mmssl.errors import UserError, nearest
from mmssl.knobs import Count, Names, Positive, Probability, Section, Weight, Whole, number
from mmssl.objectives import OBJECTIVES, Objective

Kind = Literal["signal", "skeleton"]
"""Kinds of modalities: samples x channels, or frames x joints x coordinates."""
USUAL: Mapping[str, Kind] = {"imu": "signal", "skeleton": "skeleton"}
"""The modalities of the data sets that have names, and of all recordings before modalities had names of their own."""
SECTIONS: Mapping[Kind, str] = {"signal": "imu", "skeleton": "skeleton"}
"""Names of the knobs' sections by kind of modality; the names are older than the kinds."""

SIGNAL_FEATURES = 128
"""Width of the transformer in a signal's encoder."""
# VICReg holds each dimension's standard deviation at 1; a hundredth of that is a constant for every purpose.
COLLAPSED_BELOW = 0.01
"""Standard deviation of embeddings below which pre-training is stopped."""

Value = str | int | float | bool | None | list["Value"]


def _in_order(value: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(value)) != len(value):
        raise ValueError("a modality is listed twice")
    return tuple(sorted(value))


def _subsets(value: tuple[str, ...]) -> tuple[str, ...]:
    """The subsets with sorted names, so that each has one spelling."""
    subsets = ["+".join(_in_order(tuple(part.strip() for part in subset.split("+")))) for subset in value]
    for subset in subsets:
        if "+" not in subset or "" in subset.split("+"):
            raise ValueError(f"{subset!r}: a subset is two modalities or more, joined by +, as wrist+ankle")
    if len(set(subsets)) != len(subsets):
        raise ValueError("a subset is listed twice")
    return tuple(subsets)


def _divides(value: int) -> int:
    if SIGNAL_FEATURES % value:
        right = " or ".join(str(n) for n in range(1, SIGNAL_FEATURES + 1) if SIGNAL_FEATURES % n == 0)
        raise ValueError(f"{value} does not divide the width {SIGNAL_FEATURES}: choose {right}")
    return value


class Data(Section):
    """Which recordings are used, and how they are prepared."""

    modalities: Annotated[Names, Field(min_length=1), AfterValidator(_in_order)] = tuple(USUAL)
    """One modality: two augmented views of it are pre-trained together. Several: they are each other's views, and the
    objective is the mean over their pairs. The system sets it."""
    steps: Annotated[Count, Field(ge=16)] = 50
    """Time steps each recording is resampled to, all its modalities alike."""
    protocol: str = "cross_subject"
    """Name of a protocol in the data set's description."""
    train_subjects: Names = ()
    """Empty: as the protocol says; all subjects but the test subjects where it says nothing."""
    test_subjects: Names = ()
    """Empty: as the protocol says."""
    validation_subjects: Names = ()
    """Training subjects held out to validate on. In a study the fold sets them."""
    transductive: Annotated[bool, Strict()] = False
    """Whether recordings without a label pre-train although they are of people who are scored. Scores then hold for
    people whose recordings were there before, and are not those of new people."""


class Augmentation(Section):
    probability: Probability = 0.0
    """Chance that a recording in a batch is changed."""


class Jitter(Augmentation):
    strength: Weight = 0.05
    """Standard deviation of the noise, in units of the body length (skeleton) or the channel's deviation (signal)."""


class Crop(Augmentation):
    strength: Annotated[Weight, Field(lt=1)] = 0.2
    """Largest share of the time that is cut away before resizing to full length."""


class Scale(Augmentation):
    strength: Annotated[Weight, Field(lt=1)] = 0.2
    """Factors are drawn between 1 - strength and 1 + strength."""


class Rotate(Augmentation):
    strength: Annotated[Weight, Field(le=180)] = 10.0
    """Largest angle in degrees."""


class Shear(Augmentation):
    strength: Weight = 0.2
    """Largest shear coefficient."""


class Permute(Augmentation):
    strength: Annotated[Count, Field(ge=2)] = 3
    """Largest number of time segments that change places."""


class Shuffle(Augmentation):
    strength: Probability = 1.0
    """Share of the channels that change places with each other."""


class SkeletonAugment(Section):
    """Of every modality of the kind skeleton, whatever its name."""

    jitter: Jitter = Jitter()
    crop: Crop = Crop()
    scale: Scale = Scale()
    rotate: Rotate = Rotate()
    shear: Shear = Shear()


class SignalAugment(Section):
    """Of every modality of the kind signal, whatever its name: the section is called imu after the first of them."""

    jitter: Jitter = Jitter()
    scale: Scale = Scale()
    rotate: Rotate = Rotate()
    permute: Permute = Permute()
    shuffle: Shuffle = Shuffle()


class Augment(Section):
    crop: Crop = Crop()
    """Of all modalities of a recording alike, so that they stay each other's view."""
    skeleton: SkeletonAugment = SkeletonAugment()
    imu: SignalAugment = SignalAugment()


class SignalEncoderKnobs(Section):
    """Transformer part of a signal's encoder (paper, Fig. 1); the convolutions are the paper's.

    Of every modality of the kind signal, whatever its name: the section is called imu after the first of them.
    """

    layers: Count = 2
    """The paper does not give their number."""
    heads: Annotated[Count, AfterValidator(_divides)] = 2
    """Of attention; the transformer's width, 128, must be a multiple."""
    feedforward: Count = 256
    """Width of the feed-forward network; the paper does not give it."""
    dropout: Annotated[Weight, Field(lt=1)] = 0.1
    """Share of the transformer's activations that are dropped while encoders are trained."""
    pooling: Literal["none", "moments"] = "none"
    """none: the features of every step, one after the other; moments: over the steps their mean, standard deviation and
    maximum, which do not change with when a movement begins."""


class ProjectorKnobs(Section):
    hidden: Count = 256
    """Width of its hidden layer."""
    width: Annotated[Count, Field(ge=2)] = 128
    """Dimensions of the embeddings that the objective sees."""


class Encoder(Section):
    imu: SignalEncoderKnobs = SignalEncoderKnobs()
    projector: ProjectorKnobs = ProjectorKnobs()


class Pretrain(Section):
    epochs: Whole = 200
    """0 leaves the encoders untrained, the baseline every table needs."""
    batch_size: Annotated[Count, Field(ge=2)] = 256
    """Recordings in a batch, at most: an epoch is cut into batches as equal as can be."""
    lr: Positive = 1e-3
    """Learning rate of Adam."""
    schedule: Literal["constant", "cosine"] = "constant"
    """cosine: the rate rises over the first tenth of all steps to `lr`, then falls along half a cosine to nothing."""
    precision: Literal["float32", "tfloat32", "bfloat16"] = "float32"
    """Of the networks' products, and with bfloat16 of activations; weights, losses and frozen encoders stay float32.

    bfloat16: on a CPU it saves time with AVX-512 BF16 or AMX; without AVX-512 its products are taken in float32 and
    rounded. tfloat32: with a shorter mantissa in the products of Nvidia's GPUs from Ampere on; the same as float32
    elsewhere."""
    hidden_classes: Names = ()
    """Classes whose recordings pre-training is not shown; fine-tuning is."""
    share: Annotated[Positive, Field(le=1)] = 1.0
    """Share of the recordings that pre-training is shown, drawn whatever their labels; fine-tuning has all. Of windows,
    and of several cameras' views, whole streams and movements are drawn."""
    incomplete: Literal["left_out", "two_views"] = "left_out"
    """Across modalities, the recordings that have but one of them. left_out: they do not pre-train; two_views: two
    views of what they have do, by the same objective, a modality that `augment` leaves as it is augmented in every way
    that the paper names. With three modalities or more, a recording that has two pre-trains their pair in either case,
    unless the objective takes all at once."""


class Reconstruct(Section):
    """Masked reconstruction: parts of what the encoders see are hidden, and small decoders, which pre-training
    discards, give them back from the features. It may stand beside any objective."""

    weight: Weight = 0.0
    """Of the reconstruction in the loss; 0: nothing is hidden. Batch norms' statistics are then always renewed (see
    `finetune.batch_norm`): the averages that training leaves are of recordings with parts hidden."""
    time: Annotated[Weight, Field(lt=1)] = 0.4
    """Share of the time that is hidden, in spans, of all joints or channels alike."""
    span: Count = 5
    """Steps of a span."""
    parts: Annotated[Weight, Field(lt=1)] = 0.2
    """Share of the joints that is hidden all the time; of a signal, of its sensors' triads and other channels."""


class Guide(Section):
    """cmc_cmkm: pre-training by SimCLR of the encoders that say which recordings are alike (see `Recipe.guide_of`)."""

    epochs: Whole = 100
    """In place of `pretrain.epochs`."""
    batch_size: Annotated[Count, Field(ge=2)] = 128
    """In place of `pretrain.batch_size`."""
    lr: Positive = 1e-2
    """In place of `pretrain.lr`."""


class Finetune(Section):
    encoders: Literal["frozen", "trained"] = "frozen"
    """trained: together with the head, on augmented batches; without pre-training this is supervised learning."""
    encoder_rate: Positive = 1.0
    """trained: learning rate of the encoders, as a multiple of `lr`; less of it spares what pre-training gave them."""
    variance: Weight = 0.0
    """trained: weight of the variance of each encoder's features, as of embeddings in VICReg, beside the cross-entropy
    (VCReg: Zhu et al., arXiv 2306.13292, on the features that the head reads)."""
    covariance: Weight = 0.0
    """trained: weight of the covariance of each encoder's features, beside the cross-entropy (VCReg)."""
    labels: Annotated[Positive, Field(le=1)] = 1.0
    """Share of the labels of each class that is used, but one label at least. Windows of one annotated interval have
    one label, and so have several cameras' views of one movement."""
    label_draw: Whole = 0
    """Which labels: the same draw gives the same recordings for every recipe and seed."""
    head: Literal["hidden", "logistic"] = "hidden"
    """Of frozen encoders. hidden: a linear layer for each modality, batch norm, ReLU and a classifier, by Adam;
    logistic: logistic regression on the features along the principal axes that they have in all recordings that
    pre-training is shown, each over its standard deviation. Where labels are few it is ahead."""
    epochs: Count = 100
    """Of the heads on the frozen features, or of encoders and head."""
    batch_size: Annotated[Count, Field(ge=2)] = 64
    """Recordings in a batch, at most; the paper does not give it."""
    lr: Positive = 1e-3
    """Learning rate of Adam; the paper does not give it."""
    views: Whole = 0
    """frozen: augmented copies of each labelled recording on whose features the heads train too, in as many steps."""
    batch_norm: Literal["running", "renewed"] = "running"
    """What encoders' batch norms keep when training is over. running: the averages that it left, of changing weights
    and augmented batches; renewed: the statistics of the recordings that it saw, as they are, which encoders that
    never train always have."""
    standardise: Annotated[bool, Strict()] = False
    """Whether a batch norm without weights comes before each modality's linear layer."""
    hidden: Count = 256
    """Width of each modality's linear layer before the classifier."""
    subsets: Annotated[Names, AfterValidator(_subsets), Field(exclude_if=lambda subsets: not subsets)] = ()
    """Modalities, as `wrist+ankle`, that get a head together, beside that of all together and that of each alone."""

    @property
    def logistic(self) -> bool:
        """Whether heads are fitted by logistic regression; encoders that labels train have a head that trains along."""
        return self.head == "logistic" and self.encoders == "frozen"

    @property
    def rounds(self) -> int:
        """Over how many epochs it reports; logistic regression has one."""
        return 1 if self.logistic else self.epochs


_ONE_KNOB = "one knob"


class Recipe(Section):
    data: Data = Data()
    augment: Augment = Augment()
    encoder: Encoder = Encoder()
    objective: Objective = Objective()
    pretrain: Pretrain = Pretrain()
    reconstruct: Reconstruct = Reconstruct()
    guide: Guide = Guide()
    finetune: Finetune = Finetune()
    seed: Annotated[int, BeforeValidator(number), Field(ge=0, lt=2**32)] = 28
    """Every random draw of the run comes from it."""

    @model_validator(mode="after")
    def _views_fit(self, info: ValidationInfo) -> "Recipe":
        if info.context == _ONE_KNOB:
            return self
        loss, count = self.objective.loss, len(self.data.modalities)
        if not loss.takes(count):
            raise ValueError(
                f"objective.name: {self.objective.name} takes {loss.taken} of the modalities, "
                f"data.modalities names {count}"
            )
        if self.pretrain.incomplete == "two_views" and (not loss.takes(1) or loss.learns or loss.doubled):
            raise ValueError(f"pretrain.incomplete: {self.objective.name} has no views of one modality; leave them out")
        if self.reconstruct.weight and not (self.reconstruct.time or self.reconstruct.parts):
            raise ValueError("reconstruct.weight: nothing is hidden where time and parts are 0; set one of them")
        return self

    def knobs(self) -> dict[str, Value]:
        """Every knob with its value, by dotted name, in the order of this file."""
        written = dict(_flatten(self.model_dump(mode="json", by_alias=True)))
        # Knobs that are not written at their default have a list there.
        return {knob: written[knob] if knob in written else list(_FIELDS[knob].default) for knob in _FIELDS}

    def fitted(self, knob: str, value: Any) -> Value:
        """A knob's value as a recipe holds it, checked without regard to the other knobs.

        Raises:
            UserError: no such knob, or no value for it.
        """
        return self._with({knob: value}, _ONE_KNOB).knobs()[knob]

    def with_knobs(self, values: Mapping[str, Any]) -> "Recipe":
        """This recipe with some knobs changed.

        Raises:
            UserError: one message that names every misspelt knob and every value that does not fit.
        """
        return self._with(values, None)

    def _with(self, values: Mapping[str, Any], context: str | None) -> "Recipe":
        mistakes = [f"{name}: no such knob; {nearest(name, knob_names())}" for name in values if name not in _FIELDS]
        document = self.model_dump(mode="json", by_alias=True)
        for name, value in values.items():
            if name in _FIELDS:
                *path, last = name.split(".")
                section = document
                for part in path:
                    section = section[part]
                section[last] = value
        try:
            recipe = Recipe.model_validate(document, context=context)
        except ValidationError as error:
            mistakes += explain(error)
            recipe = self
        if mistakes:
            raise UserError("\n".join(mistakes))
        return recipe

    def unread(self, kinds: Mapping[str, Kind] = USUAL) -> dict[str, str]:
        """The knobs that a run of this recipe does not depend on, each with the reason.

        Args:
            kinds: of the modalities, by name.
        """
        here = {kinds[modality] for modality in self.data.modalities}
        pretrains, trains = self.pretrain.epochs > 0, self.finetune.encoders == "trained"
        logistic = "finetune.head is logistic" if self.finetune.logistic else ""
        augments = pretrains or trains or (self.finetune.views > 0 and not logistic)
        knobs = self.knobs()
        ways = [name.removesuffix(".probability") for name in knobs if name.endswith(".probability")]
        own = ("augment.crop.", *(f"augment.{section}." for kind, section in SECTIONS.items() if kind in here))
        changes = [way for way in ways if f"{way}.".startswith(own) and knobs[f"{way}.probability"]]
        together = f"data.modalities is {', '.join(self.data.modalities)}"
        untrained = "" if pretrains else "pretrain.epochs is 0"
        supervised = f"{untrained} and finetune.encoders is trained" if untrained and trains else ""

        def only(*objectives: str) -> str:
            return untrained or (
                "" if self.objective.name in objectives else f"objective.name is {self.objective.name}"
            )

        reasons = {
            **{
                f"objective.{knob}": only(*(name for name, loss in OBJECTIVES.items() if knob in loss.knobs))
                for knob in dict.fromkeys(knob for loss in OBJECTIVES.values() for knob in loss.knobs)
            },
            "guide.": only(*(name for name, loss in OBJECTIVES.items() if loss.guided)),
            # Of encoders that never train the embeddings are measured all the same.
            "objective.name": supervised,
            "encoder.projector.": supervised,
            # A signal's statistics are those of the recordings that pre-training would be shown.
            **dict.fromkeys(
                ("pretrain.hidden_classes", "pretrain.share", "data.transductive"),
                "" if "signal" in here else supervised,
            ),
            f"encoder.{SECTIONS['signal']}.dropout": "" if trains else untrained,
            **{f"pretrain.{knob}": untrained for knob in ("batch_size", "lr", "schedule", "precision")},
            "reconstruct.": untrained,
            **{
                f"reconstruct.{knob}": "" if self.reconstruct.weight else "reconstruct.weight is 0"
                for knob in ("time", "span", "parts")
            },
            "finetune.batch_norm": ""
            if trains
            else untrained or ("reconstruct.weight is not 0: they are renewed" if self.reconstruct.weight else ""),
            **dict.fromkeys(
                ("finetune.encoder_rate", "finetune.variance", "finetune.covariance"),
                "" if trains else "finetune.encoders is frozen",
            ),
            "finetune.label_draw": "finetune.labels is 1" if self.finetune.labels == 1 else "",
            "finetune.head": "finetune.encoders is trained" if trains else "",
            **{f"finetune.{knob}": logistic for knob in ("epochs", "batch_size", "lr", "standardise", "hidden")},
            "finetune.views": logistic
            or ("finetune.encoders is trained" if trains else "" if changes else "nothing is augmented"),
            "augment.": "" if augments else "pretrain.epochs and finetune.views are 0",
            **{
                f"{part}.{section}.": together
                for part in ("augment", "encoder")
                for kind, section in SECTIONS.items()
                if kind not in here
            },
            "pretrain.incomplete": untrained or (together if len(self.data.modalities) == 1 else ""),
            "finetune.subsets": together if len(self.data.modalities) < 3 else "",
            **{f"{way}.strength": f"{way}.probability is 0" for way in ways if not knobs[f"{way}.probability"]},
        }
        found: dict[str, str] = {}
        for part, reason in reasons.items():
            for knob in (knob for knob in knobs if reason and knob.startswith(part)):
                found.setdefault(knob, reason)
        return found

    def given(self) -> list[str]:
        """The knobs that were set: of a recipe that was read, those in its file."""
        return list(dict(_flatten(self.model_dump(mode="json", by_alias=True, exclude_unset=True))))

    def content_id(self, *also: str, knobs: Collection[str] | None = None) -> str:
        """A hash of the knobs and further facts, 16 hexadecimal digits.

        Args:
            knobs: the only ones that count; all by default.
        """
        document = self.model_dump(mode="json", by_alias=True)
        return _content_id(document if knobs is None else _only(document, knobs), *also)

    def pretraining_id(self, *also: str) -> str:
        """A hash like `content_id` of all but fine-tuning: recipes with the same one share their encoders."""
        without = {"finetune"} if self.objective.loss.guided else {"finetune", "guide"}
        return _content_id(self.model_dump(mode="json", by_alias=True, exclude=without), *also)

    def guide_of(self, modality: str, kind: Kind) -> "Recipe":
        """The recipe that pre-trains one modality's guide of cmc_cmkm: SimCLR on the same recordings."""
        return Recipe(
            data=self.data.model_copy(update={"modalities": (modality,)}),
            augment=augmentation_apart(self.augment, kind),
            encoder=self.encoder,
            objective=Objective(name="simclr", temperature=self.objective.temperature),
            pretrain=self.pretrain.model_copy(update=self.guide.model_dump()),
            seed=self.seed,
        )


def head_inputs(recipe: Recipe) -> tuple[tuple[str, ...], ...]:
    """The modalities that each head takes as inputs: all together first, then each alone, then the subsets that the
    recipe names, of those that are a part of its modalities."""
    together = recipe.data.modalities
    if len(together) == 1:
        return (together,)
    subsets = [tuple(subset.split("+")) for subset in recipe.finetune.subsets]
    return (together, *((one,) for one in together), *(one for one in subsets if set(one) < set(together)))


def scored_inputs(split: str, recipe: Recipe) -> list[tuple[tuple[str, ...], str]]:
    """The modalities that each head takes as inputs, with the prefix of its scores' columns."""
    together, *parts = head_inputs(recipe)
    return [(together, split), *((part, f"{split}.{'+'.join(part)}") for part in parts)]


def _content_id(document: dict[str, Any], *also: str) -> str:
    return hashlib.sha256(json.dumps([document, *also], sort_keys=True).encode()).hexdigest()[:16]


def every_augmentation(*kinds: Kind) -> Augment:
    """Every augmentation that the paper names for a modality, of each modality by itself (equations 7 and 8).

    The paper gives neither probabilities nor strengths: docs/method.md says where those here come from.
    """
    own = tuple(f"augment.{SECTIONS[kind]}." for kind in kinds)
    knobs = [name for name in _FIELDS if name.startswith(own) and name.endswith("probability")]
    return Recipe().with_knobs(dict.fromkeys(knobs, 0.75)).augment


def augmentation_apart(augment: Augment, *kinds: Kind) -> Augment:
    """How two views of one modality are made beside pairs of modalities: as these are, or, where they leave it as it
    is, in every way that the paper names, since views that do not differ are no task."""
    every = every_augmentation(*kinds)
    own = {name: getattr(augment, name) for name in (SECTIONS[kind] for kind in kinds)}
    changed = {name: section for name, section in own.items() if any(way.probability for _, way in section)}
    return every.model_copy(update={**changed, **({"crop": augment.crop} if changed else {})})


_PLAIN = {
    r"a valid (list|tuple)": "a list",
    r"a valid dictionary( or .*)?": "a mapping",
    r"^(List|Tuple) should": "the list should",
    r"^Dictionary should": "the mapping should",
    r" after validation": "",
}


def explain(error: ValidationError) -> list[str]:
    """Pydantic's findings as one plain line each: dotted place, what is wrong, what was given."""
    lines: list[str] = []
    for finding in error.errors():
        place = ".".join(str(part) for part in finding["loc"] if not str(part).startswith("function-"))
        message = finding["msg"].removeprefix("Value error, ")
        for pydantics, plain in _PLAIN.items():
            message = re.sub(pydantics, plain, message)
        given = (
            "" if finding["type"] in ("missing", "value_error", "json_invalid") else f" (given: {finding['input']!r})"
        )
        lines.append(f"{place}: {message[0].lower()}{message[1:]}{given}" if place else message)
    return lines


def _flatten(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _only(document: Mapping[str, Any], knobs: Collection[str], prefix: str = "") -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in document.items():
        if not isinstance(value, Mapping):
            if f"{prefix}{name}" in knobs:
                kept[name] = value
        elif inner := _only(value, knobs, f"{prefix}{name}."):
            kept[name] = inner
    return kept


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        dotted = f"{prefix}{field.alias or name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _fields(field.annotation, f"{dotted}.")
        else:
            yield dotted, field


_FIELDS = dict(_fields(Recipe))


def knob_names() -> list[str]:
    return list(_FIELDS)
