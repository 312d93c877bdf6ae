"""A folder of CSV files, one for each recording and modality, and the table that lists them."""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from mmssl.data.alignment import Cut, Offset, Track, cut, in_words, merged, moved
from mmssl.data.columns import named, no_signal, spelt
from mmssl.data.csv_file import delimiter_of, text_of
from mmssl.data.description import FLAT_ENTRIES, Description, Row, Signal, Skeleton, Window, check_name, modalities_in
from mmssl.data.faults import listed, refuse, single
from mmssl.data.file_names import table_of
from mmssl.data.formats import CONFIDENCE
from mmssl.data.missing import Unseen, missing_samples, never_seen, put_in, unseen_joints
from mmssl.data.not_signals import suspects_in
from mmssl.data.quaternions import continuous, quaternions_in
from mmssl.data.recording_file import Opened, before, opened, together
from mmssl.data.recordings import NO_SUBJECT, Array, Recordings, array_faults
from mmssl.data.sheet import Sheet, Values
from mmssl.data.timeline import LineError, laid_out
from mmssl.data.windows import Interval, Timing, intervals_in
from mmssl.data.windows import cut as cut_streams
from mmssl.errors import UserError, few, nearest
from mmssl.recipe import USUAL, explain
from mmssl.yaml_file import read as read_yaml

_INTERVALS = "intervals"
"""The table's column of files with annotated intervals."""
TABLE, DESCRIPTION = "recordings.csv", "description.yaml"

_JOINT_AXIS = re.compile(r"(.+?)(?:[_. ]([xyzXYZ])|(?<=[a-z0-9])([XYZ]))")
_ROOTS = ("pelvis", "hip_center", "hips", "mid_hip", "spine_base", "waist", "hip", "root", "torso", "left_hip")
_TOPS = ("neck", "shoulder_center", "spine_shoulder", "chest", "thorax", "mid_shoulder", "head", "left_shoulder")
_TRIAD = re.compile(
    r"(?:(?:(?P<place>.*)[_. ])?(?P<kind>(?:linear[_. ])?(?:a|acc|accel|acceleration|accelerometer)|grav|gravity|g|gyr|"
    r"gyro|gyroscope|m|mag|magnetometer)[_. ]?)?(?P<axis>[xyz])",
    re.IGNORECASE,
)


_FILE = re.compile(r".*\.(csv|tsv|txt|json|skeleton|c3d|trc|mvnx|parquet)(\.gz)?", re.IGNORECASE)


class Imported(NamedTuple):
    """Recordings read from a folder."""

    recordings: Recordings
    notes: list[str]
    """How columns were interpreted, and what was changed."""
    left_out: list[str]
    """Faults of the recordings that were left out."""


class _Line(NamedTuple):
    """A line of the table; `number` counts from 1, the header's."""

    number: int
    row: Row
    files: Mapping[str, str]
    """By column that names files, after `_joined` by modality."""
    intervals: str = ""
    """The file with annotated intervals."""


def read(
    folder: str | Path,
    *,
    like: Description | None = None,
    skip_bad: bool = False,
    fill_gaps: bool = False,
    offsets: Mapping[str, Offset] | None = None,
    patterns: Sequence[str] = (),
    columns: Mapping[str, Sequence[str]] | None = None,
    confidence: float = CONFIDENCE,
    window: Window | None = None,
    unseen: Unseen | None = None,
) -> Imported:
    """Read a folder as docs/own-data.md lays it out.

    What the description leaves open is taken from the headers: joints and axes from columns JOINT_AXIS, channels from
    the others' names, triads of one sensor from names such as wrist_acc_x. Columns may stand in any order.

    Time stamps are optional: recordings are normalised by length. Lines are put in the order of their stamps and laid
    out evenly, as `timeline` says.

    Args:
        like: an earlier description whose joints, channels, classes and all else hold here too.
        skip_bad: leave faulty recordings out instead of refusing to read.
        fill_gaps: interpolate linearly over empty values, each column by itself; at the ends the nearest value stays.
        patterns: how files are called, from which the table is made, as "{subject}_{label}_{trial}_{modality}.csv".
        columns: of a column of the table, or of "" for all, the names in its files that begin with numbers.
        offsets: how the stamps of modalities are shifted.
        confidence: joints of which a network that found them was less sure are missing values.
        window: how recordings are cut; by default as those that they are `like`, else by the intervals of the table.
        unseen: what becomes of joints that a recording never shows; by default they are faults.

    Raises:
        UserError: there is no table, something in it or in the headers leaves open what the numbers mean, or (without
            `skip_bad`) one message that lists every fault in every file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if unseen == "left_out" and like:
        raise UserError("--unseen left_out: the joints are those of --like; choose masked or neighbours")
    faults: list[tuple[str, str]] = []
    notes: list[str] = []
    given = _given(folder)
    described = set(given.get("modalities", {}))
    table = table_of(folder, patterns) if patterns else None
    faults += table.faults if table else []
    notes += table.notes if table else []
    lines = _table(folder / TABLE, described, faults, notes, table.text if table else None)
    paths = {place: path for place, path in _paths(folder, lines, faults).items() if path}
    named_in = _named_in(lines, columns or {})
    intervals = _intervals(lines, paths, faults)
    of_recordings = {place: path for place, path in paths.items() if place not in intervals}
    headers = _opened(of_recordings, named_in, confidence, faults)
    if lines and paths and not headers:
        raise UserError(listed(folder, _by_cause(faults), "no file can be read", len(faults)))
    lines = _joined(lines, described, headers, faults)
    try:
        description = _description(folder, lines, headers, given, like, notes)
    except UserError as error:
        if faults:
            besides = listed(folder, _by_cause(faults), "besides", len(faults))
            raise UserError(f"{besides}\n{error}") from error
        raise
    lines = _of_classes(lines, description.classes, faults)
    odd = _mixed_units(lines, headers, description, like)
    faults += odd
    headers = {place: header for place, header in headers.items() if place not in dict(odd)}
    _check_columns("--offset {}", offsets or {}, lines)
    if unseen == "neighbours" and not any(one.bones for one in description.skeletons.values()):
        raise UserError(
            f"{folder}: --unseen neighbours: which joints are neighbours is not known; write bones into {DESCRIPTION}"
        )
    reader = _Reader(description, fill_gaps, offsets or {}, unseen)
    rows, arrays = _arrays(reader, lines, headers, faults)
    refuse(folder, _by_cause(faults), whole=bool(rows), skip_bad=skip_bad, count=len(faults))
    notes += _unnamed(folder, paths)
    if unseen == "left_out":
        description = _without_unseen(description, arrays, reader.never_seen)
    rated = {
        name: modality.model_copy(update={"hz": modality.hz or reader.rate(name)})
        for name, modality in description.modalities.items()
    }
    recordings = Recordings(description.model_copy(update={"modalities": rated}), rows, **arrays)
    named = [
        *(like.modalities if like else {}),
        *(n for n, own in given.get("modalities", {}).items() if "channels" in own),
    ]
    recordings = _checked(recordings, folder, named=named, notes=notes)
    notes += reader.notes()
    window = window or (like.window if like else None)
    if window or intervals:
        seen = {line.row.recording_id: intervals[line.intervals] for line in lines if line.intervals in intervals}
        recordings, more = cut_streams(recordings, window, seen, reader.timings)
        notes += more
    return Imported(recordings, notes, _by_cause(faults))


def _opened(
    paths: Mapping[str, Path],
    named_in: Mapping[str, Sequence[str]],
    confidence: float,
    faults: list[tuple[str, str]],
) -> dict[str, Opened]:
    """The files whose columns can be read; the others become faults."""
    found: dict[str, Opened] = {}
    for place, path in paths.items():
        try:
            found[place] = opened(path, named_in.get(place, ()), confidence)
        except (ValueError, OSError) as error:
            faults.append((place, str(error)))
    return found


def _of_classes(lines: Sequence[_Line], classes: Sequence[str], faults: list[tuple[str, str]]) -> list[_Line]:
    """The lines without a label, or with the label of a class; the others become faults."""
    strange = [line for line in lines if line.row.label not in ("", *classes)]
    faults += [
        (
            f"{TABLE} line {line.number}",
            f"no class is called {line.row.label}; {nearest(line.row.label, [*classes])}",
        )
        for line in strange
    ]
    return [line for line in lines if line not in strange]


def _check_columns(option: str, names: Iterable[str], lines: Sequence[_Line]) -> None:
    """Raise UserError where an option, with a place for the name, names files that the table does not have."""
    present = sorted({name for line in lines for name in line.files})
    for name in names:
        if name not in present:
            raise UserError(f"{option.format(name)}: the table has no files of that; {nearest(name, present)}")


def _arrays(
    reader: "_Reader", lines: Sequence[_Line], headers: Mapping[str, Opened], faults: list[tuple[str, str]]
) -> tuple[list[Row], dict[str, list[Array | None]]]:
    """Rows and arrays, by modality, of the recordings without a faulty file."""
    rows: list[Row] = []
    arrays: dict[str, list[Array | None]] = {name: [] for line in lines for name in line.files}
    for line in lines:
        tracks: dict[str, Track] = {}
        for modality, place in sorted(line.files.items()):
            if place not in headers:
                continue
            try:
                tracks[modality] = reader.track(modality, place, headers[place])
            except (ValueError, OSError) as error:
                faults.append((place, str(error)))
        if len(tracks) < len(line.files):
            continue
        try:
            own = reader.side_by_side(line.row.recording_id, tracks)
        except ValueError as error:
            faults.append((line.row.recording_id, str(error)))
            continue
        rows.append(line.row)
        for modality in arrays:
            arrays[modality].append(own.get(modality))
    return rows, arrays


def _without_unseen(
    description: Description, arrays: dict[str, list[Array | None]], unseen: Mapping[str, set[str]]
) -> Description:
    """The description without these joints; they are taken out of `arrays`, in place."""
    modalities = dict(description.modalities)
    for name, joints in unseen.items():
        own = description.skeletons[name]
        kept = [i for i, joint in enumerate(own.joints) if joint not in joints]
        arrays[name] = [None if array is None else array[:, kept] for array in arrays[name]]
        bones = tuple(bone for bone in own.bones if not joints & set(bone))
        modalities[name] = own.model_copy(update={"joints": tuple(own.joints[i] for i in kept), "bones": bones})
    return description.model_copy(update={"modalities": modalities})


def _unnamed(folder: Path, paths: Mapping[str, Path]) -> list[str]:
    """A note on CSV files that the table does not list."""
    unnamed = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.csv")
        if path.name != TABLE and path.name[0] != "." and path.is_file()
    )
    unnamed = [place for place in unnamed if folder / place not in paths.values()]
    return [f"{len(unnamed)} CSV files stand in no line of {TABLE}, the first is {unnamed[0]}"] if unnamed else []


def _checked(recordings: Recordings, folder: Path, *, named: Collection[str], notes: list[str]) -> Recordings:
    """Check that all channels are signals; those that the description names are kept anyway, with a note.

    Args:
        named: modalities whose channels the description names.

    Raises:
        UserError: a channel that was inferred is no signal.
    """
    found = suspects_in(recordings)
    if not found:
        return recordings
    lines = [one.words for one in found]
    if any(one.modality not in named for one in found):
        raise UserError(
            "\n  ".join([f"{folder}: channels that are no signals would be learnt:", *lines])
            + f"\nname the channels to read in {DESCRIPTION}: these without them, or with them if they "
            "are signals all the same"
        )
    notes += [f"{one}; {DESCRIPTION} names it, and so it stays" for one in lines]
    meant = {"meant_channels": (*recordings.description.meant_channels, *(one.channel for one in found))}
    changed = recordings.description.model_copy(update=meant)
    return recordings.described(changed)


def _by_cause(faults: Sequence[tuple[str, str]]) -> list[str]:
    """A line for each cause: faults that differ in numbers or in what a cell holds are one, and the first is quoted."""
    causes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for place, fault in faults:
        causes[re.sub(r"'[^']*'|\d+(\.\d+)?(e[-+]?\d+)?", "#", fault)].append((place, fault))
    return [
        f"{alike[0][0]}{f' and {len(alike) - 1} more' if len(alike) > 1 else ''}: {alike[0][1]}"
        for alike in causes.values()
    ]


def _given(folder: Path) -> dict[str, Any]:
    """The entries of the folder's description; none where there is no such file.

    Raises:
        UserError: it cannot be read, or has unknown entries.
    """
    path = folder / DESCRIPTION
    if not path.exists():
        return {}
    document, mistakes = read_yaml(path, "a description is a mapping, as `root_joint: pelvis`")
    names = [*Description.model_fields, *FLAT_ENTRIES]
    mistakes += [f"{key}: no such entry; {nearest(str(key), names)}" for key in document if key not in names]
    if mistakes:
        raise UserError(f"{path}:\n  " + "\n  ".join(mistakes))
    try:
        modalities = modalities_in(document)
        for name in modalities:
            check_name(name)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    return {key: value for key, value in document.items() if key not in FLAT_ENTRIES} | {"modalities": modalities}


def _intervals(
    lines: Sequence[_Line], paths: Mapping[str, Path], faults: list[tuple[str, str]]
) -> dict[str, list[Interval]]:
    """The annotated intervals, by file."""
    found: dict[str, list[Interval]] = {}
    for place in dict.fromkeys(line.intervals for line in lines if line.intervals in paths):
        found[place] = []
        try:
            found[place] = intervals_in(text_of(paths[place]))
        except (ValueError, OSError) as error:
            faults.append((place, str(error)))
    return found


def _named_in(lines: Sequence[_Line], columns: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The given names of the columns, by file.

    Raises:
        UserError: names for files that are not in the table.
    """
    _check_columns("--columns {}=...", filter(None, columns), lines)
    return {place: columns.get(column, columns.get("", ())) for line in lines for column, place in line.files.items()}


def _joined(
    lines: Sequence[_Line], described: set[str], headers: dict[str, Opened], faults: list[tuple[str, str]]
) -> list[_Line]:
    """The lines with one file for each modality; files that make one signal together become one."""
    result: list[_Line] = []
    for line in lines:
        parts: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for column, place in line.files.items():
            modality, part = _part(column, described)
            parts[modality].append((part, place))
        files = {modality: " + ".join(place for _, place in own) for modality, own in parts.items()}
        for modality, place in files.items():
            own = parts[modality]
            if own[0][0] and place not in headers and all(one in headers for _, one in own):
                try:
                    headers[place] = together([(part, headers[one]) for part, one in own])
                except ValueError as error:
                    faults.append((place, str(error)))
        result.append(line._replace(files=files))
    return result


def _mixed_units(
    lines: Sequence[_Line], headers: Mapping[str, Opened], description: Description, like: Description | None
) -> list[tuple[str, str]]:
    """Faults of files whose unit of a channel is not that of most files, or of `like`.

    Skeletons have no such faults: they are divided by their own length.
    """
    channels = {(modality, name) for modality, name, _ in _channels(description)}
    expected = {(modality, name): unit for modality, name, unit in _channels(like) if unit} if like else {}
    units: dict[tuple[str, str], dict[str, list[tuple[str, str]]]] = defaultdict(lambda: defaultdict(list))
    for modality, place in dict.fromkeys(item for line in lines for item in line.files.items()):
        for name, unit in zip(headers[place].names, headers[place].units, strict=False) if place in headers else ():
            if unit and (modality, name) in channels:
                units[modality, name][spelt(unit)].append((place, unit))
    odd: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for channel, places in units.items():
        most = max(places.values(), key=len)[0][1]
        usual, whose = (expected[channel], "--like has") if channel in expected else (most, "other files have")
        for spelling, own in places.items():
            for place, unit in own if spelling != spelt(usual) else ():
                odd[place, unit, f"{whose} in {usual}"].append(channel[1])
    return [
        (place, f"{few(names, 1)} in {unit}, which {usual}: give all the same unit")
        for (place, unit, usual), names in sorted(odd.items())
    ]


def _channels(description: Description) -> list[tuple[str, str, str]]:
    """Modality, name and unit, which may be "", of all channels."""
    found: list[tuple[str, str, str]] = []
    for modality, own in description.modalities.items():
        if isinstance(own, Signal):
            units = own.units or [""] * len(own.channels)
            names = [named(channel) for channel in own.channels]
            found += [(modality, name, unit or own_unit) for (name, own_unit), unit in zip(names, units, strict=True)]
    return found


def _part(column: str, described: set[str]) -> tuple[str, str]:
    """The modality of a column's files, and the part of it: a column may be called MODALITY_PART where the modality is
    a signal with a usual name, or is described."""
    modality, _, part = column.partition("_")
    whole = described | {name for name, kind in USUAL.items() if kind == "signal"}
    return (modality, part) if part and modality in whole and column not in described else (column, "")


def _table(
    path: Path, described: set[str], faults: list[tuple[str, str]], notes: list[str], made: str | None
) -> list[_Line]:
    """The lines that can be read.

    Args:
        described: modalities whose columns are recognised by their names.
        made: the table's text where there is no such file.

    Raises:
        UserError: there is no table, or its columns are not those expected.
    """
    optional = [name for name in Row.model_fields if name not in ("recording_id", "subject", "label")]
    shape = (
        f"recording_id,label,subject and a column of files for each modality, under its name, as "
        f"{','.join(USUAL)} (and, if you like, {', '.join(optional)})"
    )
    if made is None and not path.is_file():
        raise UserError(
            f"{path}: there is no such table; make one with a line for each recording and the header {shape}; or name "
            "the parts of the files' names, as --pattern '{subject}_{label}_{trial}_{modality}.csv'"
        )
    try:
        text = text_of(path) if made is None else made
        reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter_of(text.partition("\n")[0]), strict=True)
        header = [name.strip().lower() for name in next(reader, [])]
        numbered = [(reader.line_num, [cell.strip() for cell in cells], cells) for cells in reader]
        modalities = _modalities(path.parent, header, [cells for _, cells, _ in numbered], described)
        twice = [name for name, count in Counter(filter(None, header)).items() if count > 1]
        missing = [name for name in ("recording_id", *(["subject"] if "label" in header else [])) if name not in header]
        if twice:
            raise UserError(f"{path}: columns {', '.join(twice)} stand more than once")
        if missing or not modalities:
            what = ", ".join(missing) or "that names files"
            raise UserError(f"{path}: no column {what} in its header {','.join(header)[:200]!r}; expected {shape}")
        labelled = "label" in header
        readable = {*Row.model_fields, *modalities, *USUAL, _INTERVALS}
        close = [name for name in header if name not in readable and nearest(name, sorted(readable)).startswith("did")]
        if not labelled and "label" in "".join(nearest(name, ["label"]) for name in close):
            raise UserError(f"{path}: column {close[0]!r}: {nearest(close[0], ['label'])}")
        lines: list[_Line] = []
        first: dict[str, int] = {}
        spaced: list[int] = []
        for number, cells, written in numbered:
            place = f"{path.name} line {number}"
            if not any(cells):
                continue
            if len(cells) != len(header):
                faults.append((place, f"{len(cells)} cells, and the header has {len(header)}"))
                continue
            by_name = dict(zip(header, cells, strict=True))
            if cells != written:
                spaced.append(number)
            files = {one: by_name[one].replace("\\", "/") for one in modalities if by_name.get(one)}
            if not by_name["recording_id"] or not files:
                empty = " and ".join(modalities) if by_name["recording_id"] else "recording_id"
                faults.append((place, f"{empty}: empty"))
                continue
            try:
                row = Row.model_validate({k: v for k, v in by_name.items() if k in Row.model_fields and v})
            except ValidationError as error:
                faults.append((place, "; ".join(explain(error))))
                continue
            if row.label and not row.subject:
                faults.append((place, NO_SUBJECT))
                continue
            if row.recording_id in first:
                faults.append((place, f"recording_id {row.recording_id} stands in line {first[row.recording_id]} too"))
                continue
            first[row.recording_id] = number
            lines.append(_Line(number, row, files, by_name.get(_INTERVALS, "").replace("\\", "/")))
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV table ({error})") from error
    if close:
        notes.append(
            f"{path.name}: columns that are not read: {', '.join(close)} ({nearest(close[0], sorted(readable))})"
        )
    if spaced:
        notes.append(f"{path.name}: spaces around names are not read, as in line {spaced[0]}")
    if not labelled and _INTERVALS not in header:
        notes.append(f"{path.name} has no column label: these recordings are to be classified, or to pre-train on")
    elif labelled and (blank := sum(not line.row.label for line in lines)):
        count = f"{path.name}: {blank} of {len(lines)} recordings have no label"
        notes.append(f"{count}: these are to be classified, or to pre-train on")
    if not lines:
        raise UserError("\n  ".join([f"{path}: no recording is named in it", *_by_cause(faults)]))
    return lines


def _modalities(folder: Path, header: Sequence[str], lines: Sequence[Sequence[str]], described: set[str]) -> list[str]:
    """The columns whose cells name files.

    Raises:
        UserError: no modality can be called as one of them is.
    """
    found: list[str] = []
    for i, name in enumerate(header):
        cells = [line[i] for line in lines if len(line) == len(header) and line[i]]
        if (
            name
            and name not in (*Row.model_fields, _INTERVALS)
            and (name in {*described, *USUAL} or _are_files(folder, cells))
        ):
            found.append(name)
    try:
        for name in found:
            check_name(name)
    except ValueError as error:
        raise UserError(f"{folder / TABLE}: {error}") from error
    return sorted(found)


def _are_files(folder: Path, cells: Sequence[str]) -> bool:
    if cells and all(_FILE.fullmatch(cell) for cell in cells):
        return True
    try:
        return any((folder / cell.replace("\\", "/")).exists() for cell in cells)
    except (OSError, ValueError):
        return False


def _paths(folder: Path, lines: Sequence[_Line], faults: list[tuple[str, str]]) -> dict[str, Path | None]:
    """The file of each place that the table names; None, with a fault, where there is none to be read."""
    inside = folder.resolve()
    found: dict[str, Path | None] = {}
    for line in lines:
        for modality, place in (*line.files.items(), *([(_INTERVALS, line.intervals)] if line.intervals else [])):
            if place in found:
                continue
            path, fault = folder / place, ""
            try:
                if not path.resolve().is_relative_to(inside):
                    fault = "leads out of the folder; put the file inside"
                elif not path.exists():  # OpenPose writes a folder for a recording
                    fault = "there is no such file"
            except (OSError, ValueError, RuntimeError) as error:
                fault = f"no name of a file ({error})"
            if fault:
                faults.append((f"{TABLE} line {line.number}", f"{modality} {place[:200]!r}: {fault}"))
            found[place] = None if fault else path
    return found


def _description(
    folder: Path,
    lines: Sequence[_Line],
    headers: Mapping[str, Opened],
    given: Mapping[str, Any],
    like: Description | None,
    notes: list[str],
) -> Description:
    """The description, from the given entries and otherwise from the headers.

    Raises:
        UserError: an entry can be found in neither, or they contradict each other.
    """
    document: dict[str, Any] = {"name": folder.resolve().name}
    earlier: dict[str, dict[str, Any]] = {}
    if like:
        document |= {"name": like.name, "classes": like.classes, "protocols": like.protocols}
        earlier = {
            name: {"kind": modality.kind, **modality.model_dump(exclude_unset=True)}
            for name, modality in like.modalities.items()
        }
    here = given.get("modalities", {})
    modalities = {name: {**earlier.get(name, {}), **here.get(name, {})} for name in {**earlier, **here}}
    document |= given
    labels = {line.row.label for line in lines} - {""}
    document = {**document, "classes": document.get("classes", sorted(labels)) if labels else []}
    for name in dict.fromkeys(name for line in lines for name in sorted(line.files, reverse=True)):
        own = modalities.setdefault(name, {})
        there = [headers[place] for line in lines if (place := line.files.get(name)) and place in headers]
        if not there:
            continue
        if own.setdefault("kind", USUAL.get(name) or _kind(_most(there))) == "skeleton":
            _infer_skeleton(folder, name, own, there, notes)
        else:
            _infer_signal(name, own, there, notes)
    document["modalities"] = {name: own for name, own in modalities.items() if own}
    try:
        return Description.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{folder / DESCRIPTION}:\n  " + "\n  ".join(explain(error))) from error


def _most(headers: Sequence[Opened]) -> tuple[str, ...]:
    """The columns of most files."""
    return Counter(header.names for header in headers).most_common(1)[0][0]


def _axes(columns: Sequence[str]) -> dict[str, list[str]]:
    """The axes that each joint has columns of."""
    axes: dict[str, list[str]] = defaultdict(list)
    for name in columns:
        if match := _JOINT_AXIS.fullmatch(name):
            axes[match[1]].append((match[2] or match[3]).lower())
    return axes


def _kind(columns: Sequence[str]) -> str:
    """`skeleton` where most of a file's columns are positions of joints; acc_x is none."""
    joints = [
        axes for axes in _axes([name for name in columns if not _TRIAD.fullmatch(name)]).values() if len(axes) > 1
    ]
    return "skeleton" if len(joints) > 2 and 2 * sum(map(len, joints)) > len(columns) else "signal"


def _infer_skeleton(
    folder: Path, modality: str, document: dict[str, Any], headers: Sequence[Opened], notes: list[str]
) -> None:
    if "joints" not in document or "coordinates" not in document:
        columns = _most(headers)
        axes = _axes(columns)
        if not axes:
            raise UserError(
                f"{folder}: {modality}: skeletons need columns as pelvis_x,pelvis_y; theirs begin "
                f"{','.join(columns)[:100]!r}"
            )
        found = Counter(tuple(sorted(one)) for one in axes.values()).most_common(1)[0][0]
        document.setdefault("coordinates", list(found))
        document.setdefault("joints", [joint for joint, one in axes.items() if tuple(sorted(one)) == found])
    joints = [str(joint) for joint in document["joints"]]
    notes.append(f"{modality}: {len(joints)} joints in {len(document['coordinates'])}-D: {', '.join(joints)}")
    by_plain = {re.sub(r"[^a-z]+", "", joint.lower()): joint for joint in joints}
    if "root_joint" not in document:
        root, top = (
            next((by_plain[plain] for name in names if (plain := name.replace("_", "")) in by_plain), None)
            for names in (_ROOTS, _TOPS)
        )
        if root is None or (top is None and "scale_joints" not in document):
            indent, above = ("  ", "") if modality in USUAL else ("      ", f"  modalities:\n    {modality}:\n")
            raise UserError(
                f"{folder}: its joints' names do not say which is the body's middle, and which two are a fixed length "
                f"apart; write into {folder / DESCRIPTION}, with two of {', '.join(joints)}:\n{above}"
                + "\n".join(
                    f"{indent}{line}"
                    for line in (
                        "root_joint: NAME             # becomes the origin; the middle of several: [NAME, NAME]",
                        "scale_joints: [NAME, NAME]   # their distance is the unit of length, as from hip to shoulder",
                    )
                )
            )
        document["root_joint"] = root
        document.setdefault("scale_joints", [root, top])
        first, second = (place if isinstance(place, str) else " and ".join(place) for place in document["scale_joints"])
        notes.append(
            f"{modality}: origin {root}, unit of length {first} to {second}, by their names; {DESCRIPTION} can say "
            "otherwise"
        )


def _infer_signal(modality: str, document: dict[str, Any], headers: Sequence[Opened], notes: list[str]) -> None:
    document.setdefault("channels", [name for name in _most(headers) if not no_signal(name)])
    channels = [str(channel) for channel in document["channels"]]
    units = _units(headers)
    if "units" not in document and units.keys() >= set(channels):
        document["units"] = [units[channel] for channel in channels]
    if "sensors" not in document:
        sensors: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
        for channel in channels:
            if match := _TRIAD.fullmatch(channel):
                sensors[match["place"] or ""][(match["kind"] or "").lower()][match["axis"].lower()] = channel
        whole = {
            place: [[axes["x"], axes["y"], axes["z"]] for axes in kinds.values() if len(axes) == 3]
            for place, kinds in sensors.items()
        }
        document["sensors"] = [triads for triads in whole.values() if triads]
        titles = [
            f"{place or 'one sensor'} ({', '.join(k or 'x, y, z' for k, axes in kinds.items() if len(axes) == 3)})"
            for place, kinds in sensors.items()
            if whole[place]
        ]
        turned = f"sensors: {'; '.join(titles)}" if titles else "no triads like acc_x,acc_y,acc_z: no sensor is turned"
    else:
        count = len(document["sensors"])
        turned = f"{count} sensor{'s' * (count != 1)}, as described"
    notes.append(f"{modality}: {len(channels)} channels: {', '.join(channels)}; {turned}")


def _units(headers: Sequence[Opened]) -> dict[str, str]:
    """Of each column whose unit some files say, that of most of them; the others are faulty."""
    given: dict[str, list[str]] = defaultdict(list)
    for header in headers:
        for name, unit in zip(header.names, header.units, strict=False):
            given[name] += [unit] if unit else []
    usual = {name: Counter(map(spelt, units)).most_common(1)[0][0] for name, units in given.items() if units}
    return {name: next(unit for unit in given[name] if spelt(unit) == spelling) for name, spelling in usual.items()}


class _Reader:
    """Reads recordings' files by a description, and keeps count of changes for the notes."""

    def __init__(
        self,
        description: Description,
        fill_gaps: bool,
        offsets: Mapping[str, Offset],
        unseen: Unseen | None = None,
    ) -> None:
        self._description, self._fill_gaps, self._offsets = description, fill_gaps, offsets
        self._unseen: Unseen | None = unseen
        self.never_seen: dict[str, set[str]] = defaultdict(set)
        """Joints of skeletons that some recording never shows."""
        self._rates: dict[str, dict[str, float]] = defaultdict(dict)
        self._done: dict[str, list[str]] = defaultdict(list)
        """Files by the change that was made to them."""
        self._filled: dict[str, int] = {}
        self._ignored: Counter[str] = Counter()
        self._no_signals: Counter[str] = Counter()
        self._read: dict[tuple[str, str], Track] = {}
        self._cuts: dict[str, Cut] = {}
        self.timings: dict[str, Timing] = {}
        """Of each recording."""

    def rate(self, modality: str) -> float | None:
        """Lines a second: the median of the files with time stamps."""
        rates = self._rates[modality]
        return float(f"{np.median([*rates.values()]):.4g}") if rates else None

    def notes(self) -> list[str]:
        """Notes on rates, changes and columns that were not read."""
        lines: list[str] = []
        for one in self._description.modalities:
            if (rate := self.rate(one)) is None:
                continue
            lines.append(f"{one}: {rate:g} a second by its time stamps")
            odd = [place for place, own in self._rates[one].items() if not 0.8 < own / rate < 1.25]
            if odd:
                lines.append(f"{one}: {_counted(odd)} at another rate, {self._rates[one][odd[0]]:.4g} a second")
        lines += [f"{_counted(places)}: {what}" for what, places in self._done.items()]
        lines += in_words(self._cuts)
        if self._filled:
            total = sum(self._filled.values())
            lines.append(f"{total} empty values filled in {len(self._filled)} files, as {next(iter(self._filled))}")
        if self._no_signals:
            listed = ", ".join(sorted(self._no_signals))[:300]
            lines.append(f"not read, as no signals by their names: {listed}; channels in {DESCRIPTION} can name them")
        if self._ignored:
            lines.append(f"columns that are not read: {', '.join(sorted(self._ignored))[:300]}")
        return lines

    def track(self, modality: str, place: str, file: Opened) -> Track:
        """A file's columns of a modality, at even moments.

        Raises:
            ValueError: what is wrong with the file.
        """
        if (place, modality) in self._read:  # Several cameras may share one signal.
            return self._read[place, modality]
        own = self._description.modalities[modality]
        columns, extra = self._columns(modality, file)
        for name in extra:
            kind = no_signal(name) if isinstance(own, Signal) else ""
            if kind not in ("clock", "counter"):
                (self._no_signals if kind else self._ignored)[f"{name} ({kind})" if kind else name] += 1
        if not file.parts:
            track = self._one(modality, place, file, columns)
        else:
            parted = file.parted(columns)
            track = merged([self._one(modality, part.path.name, part, own) for part, own in parted if own])
            for part, _ in parted:  # What counts is the rate of the signal that they make.
                self._rates[modality].pop(part.path.name, None)
            if track.step and track.start is not None:
                self._rates[modality][place] = 1 / track.step
            read = [
                before(prefix, name) for (prefix, _), (_, own) in zip(file.parts, parted, strict=True) for name in own
            ]
            track = track._replace(values=track.values[:, [read.index(name) for name in columns]])
        faults = self._faults(modality, track.values[:1])
        if faults:
            raise ValueError("; ".join(faults))
        self._read[place, modality] = track
        return track

    def _one(self, modality: str, place: str, file: Opened, columns: Sequence[str]) -> Track:
        """The columns of one file, at even moments."""
        try:
            sheet = file.read(columns)
            values = self._without_codes(modality, place, columns, sheet.values)
            values = self._whole(modality, place, columns, values)
            own = self._description.modalities[modality]
            marked = [[own.channels[i] for i in four] for four in own.quaternions] if isinstance(own, Signal) else []
            turns = quaternions_in(columns, marked)
            values, none = continuous(values, turns)
            track = self._laid_out(modality, place, sheet, values)
        except LineError as error:
            raise ValueError(f"line {file.line(error.line)}: {error}") from error
        for i in none:
            self._done["called a quaternion and not of unit length: read as it is"].append(
                f"{place}, {columns[turns[i][0]]}"
            )
        # What is interpolated is not of unit length.
        return track._replace(values=continuous(track.values, turns)[0]) if turns else track

    def side_by_side(self, recording: str, tracks: Mapping[str, Track]) -> dict[str, Array]:
        """A recording's arrays, cut to the time that all modalities share.

        Raises:
            ValueError: they share no time, or too little.
        """
        forced = any(self._offsets[name].needs_rates for name in tracks if name in self._offsets)
        own = {name: self._shifted(name, tracks, forced) for name in tracks}
        whole, self._cuts[recording] = cut(own, forced=forced)
        starts = [track.start for track in whole.values() if track.start is not None]
        rates = {name: 1 / track.step for name, track in whole.items() if track.step}
        gaps = {name: track.gaps for name, track in whole.items() if track.gaps}
        self.timings[recording] = Timing(max(starts, default=0.0), rates, self._cuts[recording].begins, gaps)
        faults = [fault for name in tracks for fault in self._faults(name, whole[name].values)]
        if faults:
            raise ValueError("; ".join(faults))
        return {name: self._shaped(name, whole[name].values) for name in tracks}

    def _shifted(self, modality: str, tracks: Mapping[str, Track], forced: bool) -> Track:
        track, offset = tracks[modality], self._offsets.get(modality)
        if forced and track.step is None:
            raise ValueError(
                f"{modality} has no time stamps, and {DESCRIPTION} no rate of it (hz): --offset needs either"
            )
        others = [one for name, one in tracks.items() if name not in self._offsets]
        shifted = moved(track, offset, others) if offset else track
        return shifted._replace(start=shifted.start or 0.0) if forced else shifted

    def _shaped(self, modality: str, values: Values) -> Array:
        """(frames, joints, coordinates) or (samples, channels)."""
        array = single(values)
        return array.reshape(len(array), *self._description.modalities[modality].shape)

    def _faults(self, modality: str, values: Values) -> list[str]:
        return array_faults(self._description, modality, self._shaped(modality, values))

    def _columns(self, modality: str, header: Opened) -> tuple[list[str], list[str]]:
        """The file's columns in the description's order, and the other columns.

        Raises:
            ValueError: some are missing.
        """
        own = self._description.modalities[modality]
        if isinstance(own, Signal):
            by_key = {name: name for name in header.names}
            # Earlier descriptions have names with their units.
            wanted = {channel if channel in by_key else named(channel)[0]: channel for channel in own.channels}
        else:
            by_key = {
                f"{match[1]}\0{(match[2] or match[3]).lower()}": name
                for name in header.names
                if (match := _JOINT_AXIS.fullmatch(name))
            }
            wanted = {f"{joint}\0{axis.lower()}": f"{joint}_{axis}" for joint in own.joints for axis in own.coordinates}
        missing = [shown for key, shown in wanted.items() if key not in by_key]
        if missing:
            close = nearest(missing[0], [name for name in header.names if name not in wanted] or ["none"])
            others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ValueError(f"no column {missing[0]}{others}" + (f"; {close}" if close.startswith("did") else ""))
        used = [by_key[key] for key in wanted]
        return used, [name for name in header.names if name not in used]

    def _without_codes(self, modality: str, place: str, columns: Sequence[str], values: Values) -> Values:
        """The values with NaN for codes of joints not seen and samples not measured."""
        described = self._description.modalities[modality]
        if isinstance(described, Skeleton):
            kept, found = unseen_joints(values, described.joints, described.root_joint)
            what = "joints that were not seen are written"
        else:
            kept, found = missing_samples(values, columns)
            what = "missing values are written"
        for code in sorted({code for code, _ in found.values()}):
            share = [f"{name} ({n / len(values):.0%})" for name, (own, n) in found.items() if own == code]
            listed = ", ".join(share)
            throughout = self._unseen and all(n == len(values) for own, n in found.values() if own == code)
            if not self._fill_gaps and not throughout:
                raise ValueError(
                    f"{listed} of {len(values)} lines at {code:g}, as {what}: write nothing there, or fill them in "
                    "with --fill-gaps"
                )
            self._done[f"taken for empty, as {what} as {code:g}"].append(f"{place}, {listed}")
        return kept

    def _whole(self, modality: str, place: str, columns: Sequence[str], values: Values) -> Values:
        """The values without missing ones."""
        own = self._description.modalities[modality]
        unseen = never_seen(values, own.joints) if isinstance(own, Skeleton) else []
        if not unseen or not isinstance(own, Skeleton):
            return self._filled_in(place, columns, values)
        how = self._unseen
        if not how:
            raise ValueError(
                f"{', '.join(unseen)} never seen: say what to do with such joints, with --unseen masked, neighbours or "
                "left_out"
            )
        empty = np.repeat([joint in unseen for joint in own.joints], len(own.coordinates))
        filled = self._filled_in(place, columns, np.where(empty, 0.0, values))
        self.never_seen[modality] |= set(unseen)
        done = {
            "masked": "joints that are never seen stand at the root",
            "neighbours": "joints that are never seen stand amid their neighbours",
            "left_out": "joints that are never seen are left out of all recordings",
        }
        self._done[done[how]].append(f"{place}, {', '.join(unseen)}")
        return put_in(filled, own, unseen, how)

    def _filled_in(self, place: str, columns: Sequence[str], values: Values) -> Values:
        bad = ~np.isfinite(values)
        if not bad.any():
            return values
        line, column = np.argwhere(bad)[0]
        count = f"{int(bad.sum())} such values in {int(bad.any(axis=1).sum())} of {len(values)} lines"
        if not self._fill_gaps or np.isinf(values).any():
            raise LineError(
                int(line), f"{columns[column]} is empty or not finite ({count}); fill them in, or --fill-gaps"
            )
        whole = [name for name, one in zip(columns, bad.T, strict=True) if one.all()]
        if whole:
            raise ValueError(f"column {whole[0]} is empty throughout")
        at = np.arange(len(values))
        self._filled[place] = int(bad.sum())
        return np.stack([np.interp(at, at[~b], v[~b]) for b, v in zip(bad.T, values.T, strict=True)], axis=1)

    def _laid_out(self, modality: str, place: str, sheet: Sheet, values: Values) -> Track:
        """The values at even moments."""
        for note in sheet.notes:
            self._done[note].append(place)
        if sheet.seconds is None or len(values) < 2:
            if sheet.rate:
                self._rates[modality][place] = sheet.rate
            rate = sheet.rate or self._description.modalities[modality].hz
            return Track(values, 1 / rate if rate else None)
        same = np.concatenate([[False], (values[1:] == values[:-1]).all(axis=1)])
        line = laid_out(sheet.seconds, same)
        self._rates[modality][place] = 1 / line.step
        if line.spread:
            self._done[
                "time stamps that repeat or come in bursts; lines are taken as even between the first and the last"
            ].append(f"{place} ({len(line.lines)} lines)")
        if line.even is not None:
            self._done["uneven time stamps put at even moments"].append(place)
        if line.gaps:
            longest = max(end - begin for begin, end in line.gaps)
            self._done["gaps in time are interpolated over"].append(f"{place} ({longest:.3g} s)")
        if line.dropped > len(values) / 100:
            self._done["lines left out whose stamp another line has"].append(f"{place} ({line.dropped})")
        return Track(line.at_even(values), line.step_kept, line.start, sheet.epoch, line.gaps)


def _counted(places: Sequence[str]) -> str:
    return places[0] if len(places) == 1 else f"{len(places)} files, as {places[0]}"
