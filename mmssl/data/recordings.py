"""Recordings of people moving, wherever they came from: ragged arrays, a table, and what the numbers mean."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticSerializationError

from mmssl import parquet
from mmssl.errors import UserError
from mmssl.recipe import MODALITIES, Modality
from mmssl.storage import written_beside

Array = npt.NDArray[np.float32]

FORMAT = "mmssl.recordings/1"
UNLABELLED = -1
"""Class index of a recording without a label."""
NO_SUBJECT = "subject is empty, and it has a label: whoever it is might train and validate; name somebody"


class Protocol(BaseModel):
    """Who trains and who tests; a search never looks at the test side."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Literal["subject", "scene", "session", "view"] = Field(default="subject", exclude_if=lambda by: by == "subject")
    """What the sides name, a column of the table. Files of protocols by subject, and fingerprints, go without it."""
    train: tuple[str, ...] = ()
    """Empty: all but those that test."""
    test: tuple[str, ...] = ()


class Description(BaseModel):
    """What the numbers of a data set mean. Sizes and names are read from here and stand nowhere else in the code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    classes: tuple[str, ...] = ()
    """Class names; a recording's label is one of them. Left out where no recording has a label."""
    joints: tuple[str, ...] = ()
    """This and the next two are left out of data sets without skeletons, as are `coordinates`."""
    root_joint: str = ""
    """The joint that becomes the origin."""
    scale_joints: tuple[str, str] = ("", "")
    """Two joints whose distance in the first frame is the unit of length."""
    bones: tuple[tuple[str, str], ...] = ()
    """Pairs of joints to draw; not used in training."""
    coordinates: tuple[str, ...] = ()
    """Axis names, ("x", "y", "z") or ("x", "y")."""
    imu_channels: tuple[str, ...] = ()
    """Left out of data sets without IMU signals."""
    imu_sensors: tuple[tuple[tuple[str, str, str], ...], ...] = ()
    """One entry a rigid sensor: its triads of channels, which turn together when the sensor is rotated."""
    skeleton_unit: str = ""
    imu_units: tuple[str, ...] = ()
    skeleton_hz: float | None = None
    imu_hz: float | None = None
    protocols: dict[str, Protocol] = {}
    meant_channels: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    """Channels that look like a label, a counter or a clock, and are signals all the same: others that do are refused.
    Files without any, and fingerprints, go without it."""

    @model_validator(mode="after")
    def _names_exist(self) -> "Description":
        has_skeleton = bool(self.joints or self.coordinates or self.root_joint or any(self.scale_joints))
        if not has_skeleton and not self.imu_channels:
            raise ValueError("neither joints nor imu_channels are named: recordings have one modality at least")
        for what, names, needed in (
            ("classes", self.classes, False),
            ("joints", self.joints, has_skeleton),
            ("coordinates", self.coordinates, has_skeleton),
            ("imu_channels", self.imu_channels, False),
        ):
            if needed and not names:
                raise ValueError(f"{what} is empty")
            twice = [name for name, count in Counter(names).items() if count > 1]
            if twice:
                raise ValueError(f"{what} names {', '.join(twice)} more than once")
        used = (self.root_joint, *self.scale_joints) if has_skeleton else ()
        for joint in (*used, *(joint for bone in self.bones for joint in bone)):
            if joint not in self.joints:
                raise ValueError(f"joint {joint!r} is not among joints: {', '.join(self.joints)}")
        if has_skeleton and self.scale_joints[0] == self.scale_joints[1]:
            raise ValueError("scale_joints must be two different joints: their distance is the unit of length")
        if has_skeleton and len(self.coordinates) not in (2, 3):
            raise ValueError(f"coordinates must be 2 or 3 axes, not {len(self.coordinates)}")
        triad_channels = [channel for sensor in self.imu_sensors for triad in sensor for channel in triad]
        for channel in triad_channels:
            if channel not in self.imu_channels:
                raise ValueError(
                    f"sensor channel {channel!r} is not among imu_channels: {', '.join(self.imu_channels)}"
                )
        if len(set(triad_channels)) != len(triad_channels):
            raise ValueError("imu_sensors uses a channel twice")
        if self.imu_units and len(self.imu_units) != len(self.imu_channels):
            raise ValueError(f"imu_units has {len(self.imu_units)} entries for {len(self.imu_channels)} imu_channels")
        for name, protocol in self.protocols.items():
            both = set(protocol.train) & set(protocol.test)
            if both:
                raise ValueError(f"protocol {name}: {protocol.by}s {', '.join(sorted(both))} both train and test")
        return self


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


_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in Row.model_fields),
        ("frames", pa.int32()),
        ("skeleton", pa.large_list(pa.float32())),
        ("samples", pa.int32()),
        ("imu", pa.large_list(pa.float32())),
    ]
)


class Recordings:
    """Recordings with their table and description; `skeleton` or `imu` is None where no recording has any.

    Args:
        description: what the numbers mean, those of a modality that is not there included.
        rows: one per recording.
        skeleton: one array per recording, (frames, joints, coordinates); frame counts differ. None in the place of one
            that was not recorded.
        imu: one array per recording, (samples, channels); sample counts differ. None likewise.

    Raises:
        UserError: lists everything that does not fit, by recording; or neither modality is given.
    """

    def __init__(
        self,
        description: Description,
        rows: Sequence[Row],
        skeleton: Sequence[npt.ArrayLike | None] | None = None,
        imu: Sequence[npt.ArrayLike | None] | None = None,
    ) -> None:
        self.description = description
        self.rows = tuple(rows)
        if skeleton is None and imu is None:
            raise UserError(f"{description.name}: neither skeleton nor imu is given: recordings need one at least")
        self.skeleton = _float32("skeleton", self.rows, skeleton)
        self.imu = _float32("imu", self.rows, imu)
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
        counts = Counter(row.recording_id for row in self.rows)
        faults += [f"{name}: recording_id stands {count} times" for name, count in counts.items() if count > 1]
        if not _is_text(description.model_dump_json, PydanticSerializationError):
            faults.append("the description holds half a surrogate pair, which is no text")
        known = set(description.classes)
        for i, row in enumerate(self.rows):
            if not _is_text("".join(vars(row).values()).encode, UnicodeEncodeError):
                faults.append(f"{row.recording_id!r} of {row.subject!r}: half a surrogate pair, which is no text")
            if row.label and row.label not in known:
                faults.append(f"{row.recording_id}: label {row.label!r} is not among the classes")
            if not row.recording_id.strip():
                faults.append("a recording: recording_id is empty")
            if row.label and not row.subject.strip():
                faults.append(f"{row.recording_id}: {NO_SUBJECT}")
            elif row.subject and not row.subject.strip():
                faults.append(f"{row.recording_id}: subject is a blank")
            skeleton, imu = self.arrays("skeleton")[i], self.arrays("imu")[i]
            array_faults = [] if skeleton is None else skeleton_faults(description, skeleton)
            array_faults += [] if imu is None else imu_faults(description, imu)
            if skeleton is None and imu is None:
                array_faults.append("neither skeleton nor imu is there")
            faults += [f"{row.recording_id}: {fault}" for fault in array_faults]
        return faults

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What there is of every recording."""
        return tuple(modality for modality in MODALITIES if not self.lacking([modality]))

    def arrays(self, modality: Modality) -> "tuple[Array | None, ...]":
        """One per recording, None where that has none."""
        return (self.imu if modality == "imu" else self.skeleton) or (None,) * len(self)

    def lacking(self, modalities: Sequence[Modality]) -> tuple[str, ...]:
        """Ids of the recordings without one of the modalities."""
        have = zip(self.rows, *map(self.arrays, modalities), strict=True)
        return tuple(row.recording_id for row, *own in have if any(array is None for array in own))

    def having(self, modalities: Sequence[Modality]) -> "Recordings":
        """The recordings with all of the modalities, in the same order.

        Raises:
            UserError: there is none.
        """
        without = set(self.lacking(modalities))
        if len(without) == len(self):
            raise UserError(f"{self.description.name}: no recording has {' and '.join(modalities)}")
        return self.where(lambda row: row.recording_id not in without) if without else self

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class index of each recording, (recordings,); `UNLABELLED` where it has no label."""
        index = {"": UNLABELLED, **{name: i for i, name in enumerate(self.description.classes)}}
        return np.array([index[row.label] for row in self.rows], dtype=np.int64)

    def labelled(self) -> "Recordings":
        """Those that have a label.

        Raises:
            UserError: none has.
        """
        if not any(row.label for row in self.rows):
            raise UserError(f"{self.description.name}: no recording has a label, so there is nothing to score")
        return self.where(lambda row: bool(row.label))

    @cached_property
    def subjects(self) -> tuple[str, ...]:
        """Subjects that have recordings here, numbers in numeric order; nobody in particular is none."""
        names = {row.subject for row in self.rows} - {""}
        return tuple(sorted(names, key=lambda s: (0, int(s), s) if s.isdecimal() else (1, 0, s)))

    def where(self, keep: Callable[[Row], bool]) -> "Recordings":
        """The recordings whose row is kept, in the same order."""
        chosen = [i for i, row in enumerate(self.rows) if keep(row)]
        return Recordings(
            self.description,
            [self.rows[i] for i in chosen],
            self.skeleton and [self.skeleton[i] for i in chosen],
            self.imu and [self.imu[i] for i in chosen],
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over description, table and every number; the same data give the same fingerprint on any machine."""
        digest = hashlib.sha256(self.description.model_dump_json().encode())
        for row, *both in zip(self.rows, self.arrays("skeleton"), self.arrays("imu"), strict=True):
            digest.update(row.model_dump_json().encode())
            for array in (array for array in both if array is not None):
                digest.update(str(array.shape).encode())
                digest.update(array.astype("<f4", copy=False).tobytes())
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write one Parquet file: a row per recording, the description as JSON in the schema's metadata.

        Arrays are stored flat and row-major with their first length (`frames`, `samples`); the other sizes follow from
        the description. Both are null where a recording lacks the modality.
        """
        skeletons, signals = self.arrays("skeleton"), self.arrays("imu")
        has_views = any(row.view for row in self.rows)
        schema = _SCHEMA if has_views else _SCHEMA.remove(_SCHEMA.get_field_index("view"))
        table = pa.table(
            {
                **{
                    name: [getattr(row, name) for row in self.rows] for name in Row.model_fields if name in schema.names
                },
                "frames": [None if a is None else len(a) for a in skeletons],
                "skeleton": [None if a is None else a.ravel() for a in skeletons],
                "samples": [None if a is None else len(a) for a in signals],
                "imu": [None if a is None else a.ravel() for a in signals],
            },
            schema=schema.with_metadata({"format": FORMAT, "description": self.description.model_dump_json()}),
        )
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as beside, beside.open("w+b") as file:
            parquet.write_table(table, file)

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
            # Not read_table: it would take folders named like x=1 for columns.
            with pq.ParquetFile(path) as file:
                table = file.read()
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path}: not a readable Parquet file ({error})") from error
        metadata = table.schema.metadata or {}
        if metadata.get(b"format") != FORMAT.encode():
            raise UserError(
                f"{path}: not a recordings file (no {FORMAT!r} in its metadata): write one with Recordings.save()"
            )
        schema = pa.schema([column for column in _SCHEMA if column.name in table.column_names])
        missing = set(_SCHEMA.names) - set(schema.names) - {"view"}
        if missing:
            raise UserError(f"{path}: columns missing: {', '.join(sorted(missing))}")
        twice = [name for name in schema.names if table.column_names.count(name) > 1]
        if twice:
            raise UserError(f"{path}: columns that stand more than once: {', '.join(twice)}; keep one of each")
        try:
            table = table.select(schema.names).cast(schema)
            description = Description.model_validate_json(metadata.get(b"description", b""))
            names = [name for name in Row.model_fields if name in schema.names]
            rows = [Row.model_validate(row) for row in table.select(names).to_pylist()]
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: holds text that is not in UTF-8 ({error.reason})") from error
        except (pa.ArrowException, ValidationError) as error:
            raise UserError(f"{path}: {error}") from error
        return cls(
            description,
            rows,
            _ragged(path, rows, table, "frames", "skeleton", (len(description.joints), len(description.coordinates))),
            _ragged(path, rows, table, "samples", "imu", (len(description.imu_channels),)),
        )


def skeleton_faults(description: Description, array: npt.NDArray[np.generic]) -> list[str]:
    """What is wrong with one recording's skeleton, in words; empty when nothing is."""
    if not description.joints:
        return ["a skeleton is there, and the description names no joints"]
    rest = (len(description.joints), len(description.coordinates))
    faults = _array_faults("skeleton", "frames", array, rest)
    if not faults:
        first, second = (array[0, description.joints.index(joint)] for joint in description.scale_joints)
        if not np.linalg.norm((first - second).astype(np.float64)) > 0:
            faults.append(
                f"joints {' and '.join(description.scale_joints)} coincide in the first frame: no unit of length"
            )
    return faults


def imu_faults(description: Description, array: npt.NDArray[np.generic]) -> list[str]:
    """What is wrong with one recording's IMU signal, in words; empty when nothing is."""
    if not description.imu_channels:
        return ["an imu signal is there, and the description names no imu_channels"]
    return _array_faults("imu", "samples", array, (len(description.imu_channels),))


def _array_faults(name: str, unit: str, array: npt.NDArray[np.generic], rest: tuple[int, ...]) -> list[str]:
    if array.shape[1:] != rest:
        return [f"{name} has shape {array.shape}, expected (any, {', '.join(map(str, rest))})"]
    if len(array) == 0:
        return [f"{name} has no {unit}"]
    bad = int((~np.isfinite(array)).sum())
    return [f"{name} has {bad} values that are not finite"] if bad else []


def _is_text(encode: Callable[[], object], error: type[Exception]) -> bool:
    try:
        encode()
    except error:
        return False
    return True


def _float32(
    name: str, rows: Sequence[Row], arrays: Sequence[npt.ArrayLike | None] | None
) -> tuple[Array | None, ...] | None:
    if arrays is None:
        return None
    if len(arrays) != len(rows):
        raise UserError(f"{len(rows)} rows and {len(arrays)} {name} arrays: give one each")
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
    path: Path, rows: list[Row], table: Any, count: str, name: str, rest: tuple[int, ...]
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
