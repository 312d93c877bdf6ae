"""Recordings of people moving, wherever they came from: ragged arrays with their table, in memory and in a file."""

import collections
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from mmssl import parquet
from mmssl.data.description import Description, Row, Signal, Skeleton, in_words
from mmssl.data.stored import GROUP, LOOKED_AT, Array, StoredArrays, StoredRows, sizes, stays
from mmssl.errors import UserError
from mmssl.files import written_beside
from mmssl.recipe import Kind

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
