"""Recordings of people moving, wherever they came from: ragged arrays, a table, and what the numbers mean."""

import collections
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_serializer, model_validator
from pydantic_core import PydanticSerializationError

from mmssl import parquet
from mmssl.data.columns import spelt
from mmssl.data.stored import GROUP, LOOKED_AT, Array, StoredArrays, StoredRows, sizes, stays
from mmssl.errors import UserError
from mmssl.recipe import USUAL, Kind
from mmssl.storage import written_beside

Arrays = Sequence[Array | None]
"""One per recording, None where that lacks the modality."""

FORMAT = "mmssl.recordings/2"
_OLDER = "mmssl.recordings/1"
"""Of recordings whose modalities are those that older versions know: these read such a file too."""
UNLABELLED = -1
"""Class index of a recording without a label."""
QUATERNION_OFF = 0.05
"""How far the usual length of a quaternion may be from 1."""
NO_SUBJECT = "subject is empty, and it has a label: whoever it is might train and validate; name somebody"


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
        """What counts as one recording in intervals of confidence: windows of one interval are no separate answers."""
        return f"{self.source}#{self.interval}" if self.source else self.recording_id


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


def _length_columns(description: Description) -> dict[str, str]:
    """By modality, the column of a file that says how long its arrays are."""
    if description.is_usual:
        return {"skeleton": "frames", "imu": "samples"}
    return {name: f"{name}.length" for name in description.modalities}


_MOMENTS = ("start", "end")
_LEFT_OUT = ("view", "source", *_MOMENTS, "interval")
"""Columns that a file goes without where no recording has any."""


def _schema(description: Description) -> pa.Schema:
    columns: list[tuple[str, pa.DataType]] = [
        (name, pa.float64() if name in _MOMENTS else pa.string()) for name in Row.model_fields
    ]
    for name, length in _length_columns(description).items():
        columns += [(length, pa.int32()), (name, pa.large_list(pa.float32()))]
    return pa.schema(columns)


class Recordings:
    """Recordings with their table and description.

    Args:
        description: what the numbers mean, those of a modality that is not there included.
        rows: one per recording.
        skeleton: of the modality of that name, one array per recording; None in the place of one that was not recorded.
        imu: of the modality of that name, in the same form.
        arrays: of other modalities, by their names, in the same form. Of a skeleton (frames, joints, coordinates), of a
            signal (samples, channels); the numbers of frames and samples differ.

    Raises:
        UserError: lists everything that does not fit, by recording; or no modality is given.
    """

    def __init__(
        self,
        description: Description,
        rows: Sequence[Row],
        skeleton: Sequence[npt.ArrayLike | None] | None = None,
        imu: Sequence[npt.ArrayLike | None] | None = None,
        **arrays: Sequence[npt.ArrayLike | None] | None,
    ) -> None:
        self.description = description
        self.rows: Sequence[Row] = rows if isinstance(rows, StoredRows) else tuple(rows)
        every = {"skeleton": skeleton, "imu": imu, **arrays}
        given = {name: own for name, own in every.items() if own is not None}
        described = ", ".join(description.modalities)
        for name in given:
            if name not in description.modalities:
                raise UserError(f"{description.name}: {name} is given, and the description has {described} alone")
        if not given:
            raise UserError(f"{description.name}: no modality is given: recordings need one at least, of {described}")
        converted = {name: _float32(name, self.rows, given[name]) for name in sorted(given)}
        self._arrays: dict[str, Arrays] = {name: own for name, own in converted.items() if own is not None}
        faults = self._faults()
        if faults:
            raise UserError(
                f"{description.name}: {len(faults)} fault{'s' * (len(faults) > 1)} in the recordings:\n  "
                + "\n  ".join(faults)
            )

    def _faults(self) -> list[str]:
        description = self.description
        faults: list[str] = []
        if not self.rows:
            faults.append("there is no recording")
        # A number of each: of millions the names would fill the memory.
        numbers = np.fromiter((hash(row.recording_id) for row in self.rows), dtype=np.int64, count=len(self.rows))
        if len(np.unique(numbers)) < len(numbers):
            counts = collections.Counter(row.recording_id for row in self.rows)
            faults += [f"{name}: recording_id stands {count} times" for name, count in counts.items() if count > 1]
        if not _is_text(description.model_dump_json, PydanticSerializationError):
            faults.append("the description holds half a surrogate pair, which is no text")
        classes = set(description.classes)
        digest = _Digest(description) if isinstance(self.rows, StoredRows) and not faults else None
        for row, own in self._each():
            if not _is_text("".join(map(str, vars(row).values())).encode, UnicodeEncodeError):
                faults.append(f"{row.recording_id!r} of {row.subject!r}: half a surrogate pair, which is no text")
            if row.label and row.label not in classes:
                faults.append(f"{row.recording_id}: label {row.label!r} is not among the classes")
            if not row.recording_id.strip():
                faults.append("a recording: recording_id is empty")
            if row.label and not row.subject.strip():
                faults.append(f"{row.recording_id}: {NO_SUBJECT}")
            elif row.subject and not row.subject.strip():
                faults.append(f"{row.recording_id}: subject is a blank")
            if digest and not faults:  # While it is being read: another time would take as long.
                digest.add(row, own)
            found = [
                fault
                for name, array in own.items()
                if array is not None
                for fault in array_faults(description, name, array)
            ]
            if all(array is None for array in own.values()):
                found.append(f"has none of {', '.join(description.modalities)}")
            faults += [f"{row.recording_id}: {fault}" for fault in found]
        if digest and not faults:
            self.fingerprint = digest.hexdigest()
        return faults

    def _each(self) -> "Iterator[tuple[Row, dict[str, Array | None]]]":
        """Rows, each with its array of every modality that some recording has."""
        for row, *own in zip(self.rows, *self._arrays.values(), strict=True):
            yield row, dict(zip(self._arrays, own, strict=True))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def modalities(self) -> tuple[str, ...]:
        """What there is of every recording, in alphabetical order."""
        return tuple(name for name in self._arrays if not self.lacking([name]))

    @property
    def kinds(self) -> dict[str, Kind]:
        """Of each modality that some recording has, in alphabetical order."""
        return {name: self.description.modalities[name].kind for name in self._arrays}

    def arrays(self, modality: str) -> Arrays:
        """One per recording, None where that has none."""
        return self._arrays.get(modality) or (None,) * len(self)

    @property
    def skeleton(self) -> Arrays | None:
        """Those of the modality of this name, None where no recording has it; `arrays` gives those of any."""
        return self._arrays.get("skeleton")

    @property
    def imu(self) -> Arrays | None:
        """Those of the modality of this name, None where no recording has it."""
        return self._arrays.get("imu")

    def lengths(self, modality: str) -> npt.NDArray[np.int64]:
        """Frames or samples of each recording, 0 where it has none, (recordings,)."""
        own = self.arrays(modality)
        if isinstance(own, StoredArrays):
            return own.lengths
        return np.array([0 if array is None else len(array) for array in own], dtype=np.int64)

    def column(self, name: str) -> npt.NDArray[np.object_]:
        """One entry of every row, (recordings,)."""
        if isinstance(self.rows, StoredRows):
            found = self.rows.column(name)
            return np.full(len(self), Row.model_fields[name].default, dtype=object) if found is None else found
        values = np.empty(len(self), dtype=object)
        values[:] = [getattr(row, name) for row in self.rows]
        return values

    def lacking(self, modalities: Sequence[str]) -> tuple[str, ...]:
        """Ids of the recordings without one of the modalities."""
        return tuple(self.column("recording_id")[~self._having(modalities, np.all)])

    def _having(self, modalities: Sequence[str], rule: Callable[..., npt.NDArray[np.bool_]]) -> npt.NDArray[np.bool_]:
        """Whether each recording has all of the modalities, or any, as `rule` says, (recordings,)."""
        return rule([self.has[name] for name in modalities], axis=0)

    @property
    def has(self) -> Mapping[str, npt.NDArray[np.bool_]]:
        """By modality whether each recording has it, (recordings,)."""
        return self._has

    @cached_property
    def _has(self) -> Mapping[str, npt.NDArray[np.bool_]]:
        return {name: self.lengths(name) > 0 for name in self.description.modalities}

    def having_any(self, modalities: Sequence[str]) -> "Recordings":
        """The recordings with one of the modalities at least, in the same order.

        Raises:
            UserError: there is none.
        """
        return self._with(self._having(modalities, np.any), " or ".join(modalities))

    def having(self, modalities: Sequence[str]) -> "Recordings":
        """The recordings with all of the modalities, in the same order.

        Raises:
            UserError: there is none.
        """
        return self._with(self._having(modalities, np.all), " and ".join(modalities))

    def _with(self, kept: npt.NDArray[np.bool_], what: str) -> "Recordings":
        if not kept.any():
            raise UserError(f"{self.description.name}: no recording has {what}")
        return self if kept.all() else self.selected(np.flatnonzero(kept))

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class index of each recording, (recordings,); `UNLABELLED` where it has no label."""
        return self._labels

    @cached_property
    def _labels(self) -> npt.NDArray[np.int64]:
        index = {"": UNLABELLED, **{name: i for i, name in enumerate(self.description.classes)}}
        return np.array([index[label] for label in self.column("label")], dtype=np.int64)

    def labelled(self) -> "Recordings":
        """Those that have a label.

        Raises:
            UserError: none has.
        """
        kept = self.labels != UNLABELLED
        if not kept.any():
            raise UserError(f"{self.description.name}: no recording has a label, so there is nothing to score")
        return self.selected(np.flatnonzero(kept))

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """Subjects that have recordings here, numbers in numeric order; nobody in particular is none."""
        names = set(self.column("subject")) - {""}
        return tuple(sorted(names, key=lambda s: (0, int(s), s) if s.isdecimal() else (1, 0, s)))

    def described(self, description: Description) -> "Recordings":
        """The same under another description."""
        return Recordings(description, self.rows, **self._arrays)

    def where(self, keep: Callable[[Row], bool]) -> "Recordings":
        """The recordings whose row is kept, in the same order.

        Raises:
            UserError: there is none.
        """
        return self.selected(np.array([i for i, row in enumerate(self.rows) if keep(row)], dtype=np.int64))

    def selected(self, indices: npt.NDArray[np.int64]) -> "Recordings":
        """Some of them, in the order given, which need not be checked again.

        Raises:
            UserError: none is selected.
        """
        if not len(indices):
            return Recordings(self.description, [], **self._arrays)  # Says that there is none.
        selected = Recordings.__new__(Recordings)
        selected.description = self.description
        selected.rows = _at(self.rows, indices)
        arrays = {name: _at(own, indices) for name, own in self._arrays.items()}
        selected._arrays = {name: own for name, own in arrays.items() if self.has[name][indices].any()}
        return selected

    def to_check(self) -> "Recordings":
        """Those whose content is looked at for what is odd: all; where they stay in their file `LOOKED_AT`, the ones
        with labels first, the others spread over the file."""
        if not isinstance(self.rows, StoredRows) or len(self) <= LOOKED_AT:
            return self
        labelled = np.flatnonzero(self.labels != UNLABELLED)
        others = np.flatnonzero(self.labels == UNLABELLED)
        first = _spread(labelled, LOOKED_AT)
        return self.selected(np.sort(np.concatenate([first, _spread(others, LOOKED_AT - len(first))])))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over description, table and every number; the same data give the same fingerprint on any machine."""
        digest = _Digest(self.description)
        for row, own in self._each():
            digest.add(row, own)
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write one Parquet file: a row per recording, the description as JSON in the schema's metadata.

        Arrays are stored flat and row-major under their modality's name, with their first length beside them
        (`NAME.length`; of a usual pair `frames` and `samples`); the other sizes follow from the description. Both are
        null where a recording lacks the modality.
        """
        left_out = [name for name in _LEFT_OUT if all(value in ("", None) for value in self.column(name))]
        _write(Path(path), self.description, [self], left_out)

    @staticmethod
    def save_parts(path: str | Path, parts: "Iterable[Recordings]") -> None:
        """Write one file of recordings that need not fit into memory together.

        Args:
            parts: each of the same description; some tens of megabytes each are read fastest. Ids differ between parts
                too.

        Raises:
            UserError: there is no part, one has another description, or an id stands twice; nothing is written.
        """
        remaining = iter(parts)
        first = next(remaining, None)
        if first is None:
            raise UserError(f"{path}: there is no part to write")
        _write(Path(path), first.description, itertools.chain([first], remaining), [])

    @classmethod
    def load(cls, path: str | Path) -> "Recordings":
        """Read a file written by `save`.

        Raises:
            UserError: the file is missing, is not such a file, or what it holds does not fit together.
        """
        path = Path(path)
        if not path.is_file():
            raise UserError(f"{path}: there is no such recordings file")
        try:
            with path.open("rb") as content:
                parquet.check(content)
            file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path}: not a readable Parquet file ({error})") from error
        metadata = file.schema_arrow.metadata or {}
        if metadata.get(b"format") not in (FORMAT.encode(), _OLDER.encode()):
            raise UserError(
                f"{path}: not a recordings file (no {FORMAT!r} in its metadata): write one with Recordings.save()"
            )
        try:
            description = Description.model_validate_json(metadata.get(b"description", b""))
            schema, lengths = _schema_in(path, file.schema_arrow, description), _length_columns(description)
            stored = stays(file, list(description.modalities))
            names = [name for name in schema.names if not stored or name not in lengths]
            # Not read_table: it would take folders named like x=1 for columns.
            table = file.read(names).select(names).cast(pa.schema([schema.field(name) for name in names]))
            named = table.select([name for name in Row.model_fields if name in names])
            rows: Sequence[Row] = StoredRows(named, Row.model_construct)
            checked = (Row.model_validate(values) for values in StoredRows(named, dict[str, Any]))
            if stored:
                collections.deque(checked, maxlen=0)
            else:
                rows = [*checked]
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: holds text that is not in UTF-8 ({error.reason})") from error
        except (pa.ArrowException, OSError, ValidationError) as error:
            raise UserError(f"{path}: {error}") from error
        for name in set(lengths) - set(description.modalities):
            if any(table[one].null_count < len(table) for one in (name, lengths[name]) if one in names):
                given = ", ".join(description.modalities)
                raise UserError(f"{path}: {name} is there, and the description has {given} alone")
        arrays = {
            name: StoredArrays(file, name, modality.shape, sizes(path, table, lengths[name]))
            if stored
            else _ragged(path, rows, table, lengths[name], name, modality.shape)
            for name, modality in description.modalities.items()
        }
        return cls(description, rows, **arrays)


class _Digest:
    """The fingerprint of recordings, one added after the other."""

    def __init__(self, description: Description) -> None:
        self._digest = hashlib.sha256(description.model_dump_json().encode())
        # The older form's order; there the shape alone says which of the two an array is.
        self._names, self._usual = sorted(description.modalities, reverse=True), description.is_usual

    def add(self, row: Row, arrays: "Mapping[str, Array | None]") -> None:
        self._digest.update(row.model_dump_json().encode())
        for name in self._names:
            array = arrays.get(name)
            if array is not None:
                self._digest.update(("" if self._usual else name).encode())
                self._digest.update(str(array.shape).encode())
                self._digest.update(array.astype("<f4", copy=False).tobytes())

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _schema_in(path: Path, there: pa.Schema, description: Description) -> pa.Schema:
    """Of a file's own columns, those that recordings have.

    Raises:
        UserError: some are missing, or stand more than once.
    """
    whole = _schema(description)
    schema = pa.schema([column for column in whole if column.name in there.names])
    missing = set(whole.names) - set(schema.names) - set(_LEFT_OUT)
    if missing:
        raise UserError(f"{path}: columns missing: {', '.join(sorted(missing))}")
    twice = [name for name in schema.names if there.names.count(name) > 1]
    if twice:
        raise UserError(f"{path}: columns that stand more than once: {', '.join(twice)}; keep one of each")
    return schema


def _write(path: Path, description: Description, wholes: Iterable[Recordings], left_out: Sequence[str]) -> None:
    """Raises UserError: their descriptions differ, or an id stands twice."""
    written = {"format": _OLDER if description.is_usual else FORMAT, "description": description.model_dump_json()}
    schema = _schema(description).with_metadata(written)
    for name in left_out:
        schema = schema.remove(schema.get_field_index(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = set[bytes]()
    with (
        written_beside(path) as beside,
        beside.open("w+b") as file,
        parquet.writing(file, schema) as write,
    ):
        for whole in wholes:
            if whole.description != description:
                raise UserError(f"{path}: the parts' descriptions differ: one file has one")
            for one in map(str, whole.column("recording_id")):
                # Sixteen bytes of each: a million names would take more.
                name = hashlib.blake2b(one.encode(), digest_size=16).digest()
                if name in ids:
                    raise UserError(f"{path}: recording_id {one} stands in several parts")
                ids.add(name)
            for part in _parts(whole):
                write(_table(part, schema))


def _parts(whole: Recordings) -> Iterator[Recordings]:
    """Some recordings at a time, of about `GROUP` bytes of arrays."""
    modalities = whole.description.modalities
    sizes = [whole.lengths(name) * int(np.prod(one.shape)) * 4 for name, one in modalities.items()]
    groups = (np.cumsum(np.sum(sizes, axis=0)) - 1) // GROUP
    if not groups[-1]:
        yield whole
        return
    for group in np.unique(groups):
        yield whole.selected(np.flatnonzero(groups == group))


def _table(recordings: Recordings, schema: pa.Schema) -> pa.Table:
    columns: dict[str, Any] = {name: recordings.column(name) for name in Row.model_fields if name in schema.names}
    for name, length in _length_columns(recordings.description).items():
        columns[length] = [None if array is None else len(array) for array in recordings.arrays(name)]
        columns[name] = [None if array is None else array.ravel() for array in recordings.arrays(name)]
    return pa.table(columns, schema=schema)


def content_of(array: Array) -> bytes | None:
    """A digest, the same of the same numbers; None of an array that does not change, as those are alike by chance."""
    if not (array != array[0]).any():
        return None
    return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).digest()


def array_faults(description: Description, name: str, array: npt.NDArray[np.generic]) -> list[str]:
    """What is wrong with one recording's array of a modality, in words; empty when nothing is."""
    modality = description.modalities[name]
    if array.shape[1:] != modality.shape:
        return [f"{name} has shape {array.shape}, expected (any, {', '.join(map(str, modality.shape))})"]
    if len(array) == 0:
        return [f"{name} has no {modality.lines}"]
    bad = int((~np.isfinite(array)).sum())
    if bad:
        return [f"{name} has {bad} values that are not finite"]
    if isinstance(modality, Skeleton) and not np.linalg.norm(modality.trunk(array[0].astype(np.float64))) > 0:
        coinciding = " and ".join(map(in_words, modality.scale_joints))
        return [f"{name}: joints {coinciding} coincide in the first frame: no unit of length"]
    return _off_quaternions(name, modality, array) if isinstance(modality, Signal) else []


def _off_quaternions(name: str, signal: Signal, array: npt.NDArray[np.generic]) -> list[str]:
    for group in signal.quaternions:
        length = np.linalg.norm(array[:, group].astype(np.float64), axis=1)
        if not length.all() or np.median(np.abs(length - 1)) > QUATERNION_OFF:
            called = ", ".join(signal.channels[i] for i in group)
            return [
                f"{name}: {called} are described as a quaternion, and their length is {np.median(length):.3g}, not 1"
            ]
    return []


def _is_text(encode: Callable[[], object], error: type[Exception]) -> bool:
    try:
        encode()
    except error:
        return False
    return True


def _spread(rows: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most, dtype=np.int64)]


def _at(items: Any, indices: npt.NDArray[np.int64]) -> Any:
    stored = isinstance(items, StoredRows | StoredArrays)
    return items.selected(indices) if stored else tuple(items[i] for i in indices)


def _float32(name: str, rows: Sequence[Row], arrays: Sequence[npt.ArrayLike | None]) -> Arrays | None:
    """Nothing where no recording has one."""
    if len(arrays) != len(rows):
        raise UserError(f"{len(rows)} rows and {len(arrays)} {name} arrays: give one each")
    if isinstance(arrays, StoredArrays):
        return arrays if arrays.lengths.any() else None
    converted: list[Array | None] = []
    for row, array in zip(rows, arrays, strict=True):
        if array is None:
            converted.append(None)
            continue
        try:
            numbers = np.asarray(array)
            if numbers.dtype.kind not in "biufO":
                raise TypeError(f"it is of type {numbers.dtype.name}")
            with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which is reported as such
                converted.append(np.ascontiguousarray(numbers, dtype=np.float32))
        except (TypeError, ValueError) as error:
            raise UserError(f"{row.recording_id}: {name} is no array of numbers: {error}") from error
    return None if rows and all(array is None for array in converted) else tuple(converted)


def _ragged(
    path: Path, rows: Sequence[Row], table: Any, count: str, name: str, rest: tuple[int, ...]
) -> list[Array | None]:
    arrays: list[Array | None] = []
    for row, length, flat in zip(rows, table[count].to_pylist(), table[name], strict=True):
        if length is None and not flat.is_valid:
            arrays.append(None)
            continue
        values = np.asarray(flat.values, dtype=np.float32) if flat.is_valid else np.empty(0, np.float32)
        if length is None or values.size != length * int(np.prod(rest)):
            raise UserError(
                f"{path}: {row.recording_id}: {name} holds {values.size} numbers, expected {count} {length} x "
                + " x ".join(map(str, rest))
            )
        arrays.append(values.reshape(length, *rest))
    return arrays
