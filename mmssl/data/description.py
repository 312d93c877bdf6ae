"""What recordings are: their table's rows, the modalities and what their numbers mean, who trains and who tests."""

import collections
import re
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_serializer, model_validator

from mmssl.data.columns import spelt
from mmssl.recipe import USUAL, Kind


def spelling(name: str) -> str:
    """A name without what spellings of one name may differ in: case, spaces and marks between words, accents in one
    character or two, zeros before a number, and the .0 that a spreadsheet puts behind it."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    plain = re.sub(r"(?<![\d.])0+(?=\d)|(?<=\d)\.0+$", "", plain.strip())
    return re.sub(r"[\s_-]+", " ", plain).strip()


class Protocol(BaseModel):
    """Who trains and who tests; a search never looks at the test recordings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["subject", "scene", "session", "view"] = Field(default="subject", exclude_if=lambda by: by == "subject")
    """What `train` and `test` name: a column of the table. Files of protocols by subject, and fingerprints, go without
    it."""
    train: tuple[str, ...] = ()
    """Empty: all but those that test."""
    test: tuple[str, ...] = ()

    def trains(self, name: str) -> bool:
        """Whether recordings of what has this name, in the column that the protocol is by, may train."""
        return name in self.train if self.train else name not in self.test


def _one_or_several(joints: str | tuple[str, ...]) -> str | tuple[str, ...]:
    return joints[0] if isinstance(joints, tuple) and len(joints) == 1 else joints


Place = Annotated[str | tuple[str, ...], AfterValidator(_one_or_several)]
"""A joint, or the middle of several."""


def joints_of(place: Place) -> tuple[str, ...]:
    return (place,) if isinstance(place, str) else place


def in_words(place: Place) -> str:
    return " and ".join(joints_of(place))


class Skeleton(BaseModel):
    """A modality of frames x joints x coordinates."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lines: ClassVar[str] = "frames"
    layout: ClassVar[tuple[str, ...]] = ("joints", "coordinates")
    """What two modalities have alike whose arrays mean the same."""

    kind: Literal["skeleton"] = "skeleton"
    joints: tuple[str, ...] = ()
    coordinates: tuple[str, ...] = ()
    """Axis names, ("x", "y", "z") or ("x", "y")."""
    root_joint: Place = ""
    """The joint that becomes the origin; of several it is their middle."""
    scale_joints: tuple[Place, Place] = ("", "")
    """Two joints whose distance in the first frame is the unit of length; each may be the middle of several."""
    bones: tuple[tuple[str, str], ...] = ()
    """Pairs of joints to draw; not used in training."""
    unit: str = ""
    hz: float | None = None

    @model_validator(mode="after")
    def _names_exist(self) -> "Skeleton":
        _some_unique("joints", self.joints)
        _some_unique("coordinates", self.coordinates)
        for joint in (*self.places, *(joint for bone in self.bones for joint in bone)):
            if joint not in self.joints:
                raise ValueError(f"joint {joint!r} is not among joints: {', '.join(self.joints)}")
        if self.scale_joints[0] == self.scale_joints[1]:
            raise ValueError("scale_joints must be two different joints: their distance is the unit of length")
        if len(self.coordinates) not in (2, 3):
            raise ValueError(f"coordinates must be 2 or 3 axes, not {len(self.coordinates)}")
        return self

    @property
    def columns(self) -> str:
        """Those of its files, in words."""
        one = ", ".join(f"JOINT_{axis}" for axis in self.coordinates)
        return f"{one} of {len(self.joints)} joints: {', '.join(self.joints)}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a frame."""
        return len(self.joints), len(self.coordinates)

    @property
    def root(self) -> list[int]:
        """Indices of the joints whose middle is the root."""
        return [self.joints.index(joint) for joint in joints_of(self.root_joint)]

    @property
    def scale(self) -> tuple[list[int], list[int]]:
        """Indices of the joints whose middles are a unit of length apart."""
        first, second = ([self.joints.index(joint) for joint in joints_of(place)] for place in self.scale_joints)
        return first, second

    @property
    def places(self) -> tuple[str, ...]:
        """Joints that origin and unit of length are taken from."""
        every = (joint for place in (self.root_joint, *self.scale_joints) for joint in joints_of(place))
        return tuple(dict.fromkeys(every))

    @property
    def length(self) -> str:
        """What the unit of length is, in words."""
        return " to ".join(map(in_words, self.scale_joints))

    def trunk(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """From the first of the scale joints to the second, (..., joints, coordinates) -> (..., coordinates)."""
        first, second = (array[..., at, :].mean(axis=-2) for at in self.scale)
        return second - first


class Signal(BaseModel):
    """A modality of samples x channels."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    lines: ClassVar[str] = "samples"
    layout: ClassVar[tuple[str, ...]] = ("channels",)

    kind: Literal["signal"] = "signal"
    channels: tuple[str, ...] = ()
    sensors: tuple[tuple[tuple[str, str, str] | tuple[str, str, str, str], ...], ...] = ()
    """One entry a rigid sensor: its triads of channels, which turn together when the sensor is rotated. Four channels
    are its orientation, a quaternion w, x, y, z that turns the sensor's axes into the world's: it turns with them."""
    units: tuple[str, ...] = ()
    """One a channel, or none."""
    hz: float | None = None

    @model_validator(mode="after")
    def _names_exist(self) -> "Signal":
        _some_unique("channels", self.channels)
        turned = [channel for sensor in self.sensors for triad in sensor for channel in triad]
        for channel in turned:
            if channel not in self.channels:
                raise ValueError(f"sensor channel {channel!r} is not among channels: {', '.join(self.channels)}")
        if len(set(turned)) != len(turned):
            raise ValueError("sensors uses a channel twice")
        if self.units and len(self.units) != len(self.channels):
            raise ValueError(f"units has {len(self.units)} entries for {len(self.channels)} channels")
        return self

    @property
    def columns(self) -> str:
        """Those of its files, in words."""
        return ", ".join(self.channels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample."""
        return (len(self.channels),)

    @property
    def turning(self) -> list[list[list[int]]]:
        """Indices of what turns together, sensor by sensor: three channels each, or four of a quaternion."""
        return [[[self.channels.index(channel) for channel in group] for group in sensor] for sensor in self.sensors]

    @property
    def triads(self) -> list[tuple[str, ...]]:
        """Those of all sensors."""
        return [group for sensor in self.sensors for group in sensor if len(group) == 3]

    @property
    def quaternions(self) -> list[list[int]]:
        """Indices of the four channels of each."""
        return [group for sensor in self.turning for group in sensor if len(group) == 4]

    def other_unit(self, other: "Signal") -> tuple[str, str, str] | None:
        """The first channel with another unit in a signal of the same channels, where both say theirs: its name, the
        unit here and the unit there."""
        each = zip(self.channels, self.units, other.units, strict=False)
        return next(((name, ours, theirs) for name, ours, theirs in each if _differ(ours, theirs)), None)


def _differ(one: str, other: str) -> bool:
    return bool(one and other) and spelt(one) != spelt(other)


def _some_unique(what: str, names: tuple[str, ...]) -> None:
    if not names:
        raise ValueError(f"{what} is empty")
    _unique(what, names)


def _unique(what: str, names: tuple[str, ...]) -> None:
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{what} names {', '.join(twice)} more than once")


Modality = Annotated[Skeleton | Signal, Field(discriminator="kind")]


def _in_order(modalities: dict[str, Modality]) -> dict[str, Modality]:
    return dict(sorted(modalities.items()))


# Before modalities had names there were one skeleton and one IMU, whose entries stood among the description's own.
_FLAT = {
    **{name: ("skeleton", name) for name in ("joints", "root_joint", "scale_joints", "bones", "coordinates")},
    "imu_channels": ("imu", "channels"),
    "imu_sensors": ("imu", "sensors"),
    "skeleton_unit": ("skeleton", "unit"),
    "imu_units": ("imu", "units"),
    "skeleton_hz": ("skeleton", "hz"),
    "imu_hz": ("imu", "hz"),
}
FLAT_ENTRIES = tuple(_FLAT)
"""Of a description of the older form, which is read too."""


class Window(BaseModel):
    """How streams were cut."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(gt=0)
    stride: float = Field(gt=0)
    """Seconds from the beginning of a window to that of the next."""

    def __str__(self) -> str:
        return f"{self.seconds:g} s every {self.stride:g} s"


class Description(BaseModel):
    """What the numbers of a data set mean. Sizes and names are read from here and stand nowhere else in the code.

    One whose only modalities are `skeleton` and `imu`, of the kinds skeleton and signal, is written in the older form:
    fingerprints are of that, and older versions read it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    classes: tuple[str, ...] = ()
    """Class names; a recording's label is one of them. Left out where no recording has a label."""
    modalities: Annotated[dict[str, Modality], AfterValidator(_in_order)] = {}
    """By name, in alphabetical order."""
    protocols: dict[str, Protocol] = {}
    meant_channels: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    """Channels that look like a label, a counter or a clock, and are signals all the same: others that do are refused.
    Files without any, and fingerprints, go without it."""
    window: Window | None = None
    """Of windows cut from streams: encoders trained on them take such windows."""

    @model_validator(mode="before")
    @classmethod
    def _of_older_form(cls, document: Any) -> Any:
        if not isinstance(document, Mapping) or not set(FLAT_ENTRIES) & set(document):
            return document
        named = document.get("modalities") or {}
        modalities = {
            name: own
            for name, own in modalities_in(document).items()
            if name in named or set(own) - {"kind", "unit", "hz"}
        }
        return {key: value for key, value in document.items() if key not in _FLAT} | {"modalities": modalities}

    @model_validator(mode="after")
    def _names_exist(self) -> "Description":
        _unique("classes", self.classes)
        if not self.modalities:
            raise ValueError("no modality is described: recordings have one at least")
        for name in self.modalities:
            check_name(name)
        for name, protocol in self.protocols.items():
            both = set(protocol.train) & set(protocol.test)
            if both:
                raise ValueError(f"protocol {name}: {protocol.by}s {', '.join(sorted(both))} both train and test")
        return self

    @property
    def kinds(self) -> dict[str, Kind]:
        """Of each modality."""
        return {name: modality.kind for name, modality in self.modalities.items()}

    @property
    def is_usual(self) -> bool:
        """Whether older versions know its modalities, as they are described."""
        middles = (
            not isinstance(p, str) for one in self.skeletons.values() for p in (one.root_joint, *one.scale_joints)
        )
        quaternions = any(one.quaternions for one in self.signals.values())
        return self.kinds.items() <= USUAL.items() and not any(middles) and not quaternions

    @property
    def signals(self) -> dict[str, Signal]:
        return {name: one for name, one in self.modalities.items() if isinstance(one, Signal)}

    @property
    def skeletons(self) -> dict[str, Skeleton]:
        return {name: one for name, one in self.modalities.items() if isinstance(one, Skeleton)}

    @model_serializer
    def _document(self) -> dict[str, Any]:
        usual = {entry: self._flat(entry) for entry in _FLAT} if self.is_usual else {"modalities": self.modalities}
        seldom = {"meant_channels": self.meant_channels, "window": self.window}
        written = {name: value for name, value in seldom.items() if value}
        return {"name": self.name, "classes": self.classes, **usual, "protocols": self.protocols, **written}

    def _flat(self, entry: str) -> Any:
        """An entry of the older form."""
        name, new = _FLAT[entry]
        kind = {"skeleton": Skeleton, "imu": Signal}[name]
        return getattr(self.modalities[name], new) if name in self.modalities else kind.model_fields[new].default

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """For scripts of before: `joints`, `imu_channels` and so on, of the modalities that had them."""
            return self._flat(name) if name in _FLAT else super().__getattr__(name)

        def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> "Description":
            if update and set(update) & set(_FLAT):
                return Description.model_validate({**self.model_dump(), **update})
            return super().model_copy(update=update, deep=deep)


def modalities_in(document: Mapping[str, Any]) -> dict[str, Any]:
    """By name, the entries that a description's document has of each modality, in whichever form.

    Raises:
        ValueError: one has them in both, or what stands there is no modality.
    """
    named = document.get("modalities") or {}
    if not isinstance(named, Mapping) or not all(isinstance(one, Mapping | BaseModel) for one in named.values()):
        raise ValueError("modalities: a mapping is expected, by name what each has, as `wrist: {channels: [acc_x]}`")
    found: dict[str, Any] = dict(named)
    for name, kind in USUAL.items():
        own = {new: document[old] for old, (of, new) in _FLAT.items() if of == name and _is_given(document.get(old))}
        if own and name in found:
            raise ValueError(f"{name} is described under modalities, and by {', '.join(own)} beside it")
        if own:
            found[name] = {"kind": kind, **own}
    return found


def _is_given(value: Any) -> bool:
    return value not in (None, "") and (isinstance(value, str | int | float) or any(value))


class Row(BaseModel):
    """One line of the table. Subjects, trials, sessions, scenes, views are names, even where they look like numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    recording_id: str
    label: str = ""
    """A class name; empty where nobody knows it: pre-training alone takes such a recording."""
    subject: str = ""
    """Who moves; empty where that is nobody in particular, of recordings without a label alone."""
    trial: str = ""
    session: str = ""
    scene: str = ""
    view: str = Field(default="", exclude_if=lambda view: not view)
    """The camera, where each of several gives a recording of the same moments: these share one IMU signal. Files of
    data sets without views, and fingerprints, go without it."""
    source: str = Field(default="", exclude_if=lambda source: not source)
    """The stream that a window was cut from; this and the next three are of windows alone."""
    start: float | None = Field(default=None, exclude_if=lambda start: start is None)
    """Seconds from the stream's beginning, as `end` has them too."""
    end: float | None = Field(default=None, exclude_if=lambda end: end is None)
    interval: str = Field(default="", exclude_if=lambda interval: not interval)
    """Which of the stream's annotated intervals its label is of, counted from 1."""

    @property
    def unit(self) -> str:
        """What counts as one recording in intervals of confidence: windows of one interval, and one movement as several
        cameras see it, are no separate answers."""
        if self.view:
            return "/".join((*self._seen, self.label, *([self.interval] if self.source else ())))
        return f"{self.source}#{self.interval}" if self.source else self.recording_id

    @property
    def stream(self) -> str:
        """Of a window, what was cut; one name where several cameras saw it."""
        return "/".join(self._seen) if self.view and self.source else self.source

    @property
    def _seen(self) -> tuple[str, ...]:
        return self.subject, self.scene, self.session, self.trial


# What holds a network's modules has attributes of its own, and they are attributes beside those.
_RESERVED = {
    "add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "clear", "compile", "cpu",
    "cuda", "double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer", "get_extra_state",
    "get_parameter", "get_submodule", "half", "ipu", "items", "keys", "load_state_dict", "modules", "mtia",
    "named_buffers", "named_children", "named_modules", "named_parameters", "parameters", "pop", "requires_grad_",
    "set_extra_state", "set_submodule", "share_memory", "state_dict", "to", "to_empty", "train", "training",
    "type", "update", "values", "xpu", "zero_grad", "finetune", "frames", "samples",
}  # fmt: skip
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def check_name(name: str) -> None:
    """Raises ValueError: no modality can be called so."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"modality {name!r}: a name is lower-case letters, digits and _, as left_wrist")
    if name in _RESERVED or name in Row.model_fields or name.startswith("register_"):
        raise ValueError(f"modality {name!r}: the name is taken by something else; call it otherwise, as {name}_sensor")
