"""A folder of CSV files, one for each recording and modality, and the table that lists them."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmssl.data.alignment import Offset, Track
from mmssl.data.columns import named, spelt
from mmssl.data.csv_file import text_of
from mmssl.data.csv_reader import CsvReader
from mmssl.data.csv_table import TABLE, TableLine, paths_in, table_in
from mmssl.data.description import Description, Row, Signal, Window
from mmssl.data.faults import by_cause, listed, refuse
from mmssl.data.file_names import table_of
from mmssl.data.formats import CONFIDENCE
from mmssl.data.inferred import DESCRIPTION, description_of, given_in
from mmssl.data.missing import Unseen
from mmssl.data.not_signals import suspects_in
from mmssl.data.recording_file import Opened, opened, together
from mmssl.data.recordings import Array, Recordings
from mmssl.data.spool import Place, Spool
from mmssl.data.windows import Interval, intervals_in
from mmssl.data.windows import cut as cut_streams
from mmssl.errors import UserError, few, nearest
from mmssl.recipe import USUAL


class Imported(NamedTuple):
    """Recordings read from a folder."""

    recordings: Recordings
    notes: list[str]
    """How columns were interpreted, and what was changed."""
    left_out: list[str]
    """Faults of the recordings that were left out."""


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
    spool_in: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
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
        spool_in: a folder for a file without a name, which holds what is read beyond 512 MB; None: memory holds all.
        progress: is called with the number of recordings that have been read, and that of all.

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
    given = given_in(folder)
    described = set(given.get("modalities", {}))
    table = table_of(folder, patterns) if patterns else None
    faults += table.faults if table else []
    notes += table.notes if table else []
    lines = table_in(folder / TABLE, described, faults, notes, table.text if table else None)
    paths = {place: path for place, path in paths_in(folder, lines, faults).items() if path}
    named_in = _named_in(lines, columns or {})
    intervals = _intervals(lines, paths, faults)
    of_recordings = {place: path for place, path in paths.items() if place not in intervals}
    headers = _opened(of_recordings, named_in, confidence, faults)
    if lines and paths and not headers:
        raise UserError(listed(folder, by_cause(faults), "no file can be read", len(faults)))
    lines = _joined(lines, described, headers, faults)
    try:
        annotated = {one.label for own in intervals.values() for one in own}
        description = description_of(folder, lines, headers, given, like, notes, annotated)
    except UserError as error:
        if faults:
            besides = listed(folder, by_cause(faults), "besides", len(faults))
            raise UserError(f"{besides}\n{error}") from error
        raise
    lines = _of_classes(lines, description.classes, faults)
    intervals = {place: _of_known(place, own, description.classes, faults) for place, own in intervals.items()}
    odd = _mixed_units(lines, headers, description, like)
    faults += odd
    headers = {place: header for place, header in headers.items() if place not in dict(odd)}
    _check_columns("--offset {}", offsets or {}, lines)
    if unseen == "neighbours" and not any(one.bones for one in description.skeletons.values()):
        raise UserError(
            f"{folder}: --unseen neighbours: which joints are neighbours is not known; write bones into {DESCRIPTION}"
        )
    reader = CsvReader(description, fill_gaps, offsets or {}, unseen)
    with Spool(spool_in) as spool:
        rows, arrays = _arrays(reader, lines, headers, faults, spool, progress)
        refuse(folder, by_cause(faults), whole=bool(rows), skip_bad=skip_bad, count=len(faults))
        if unseen == "left_out":
            description = _without_unseen(description, arrays, reader.never_seen, spool)
    notes += _unnamed(folder, paths)
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
        shown = tuple(sorted({row.label for row in recordings.rows} - {""}))
        if intervals and not like and "classes" not in given and shown != recordings.description.classes:
            recordings = recordings.described(recordings.description.model_copy(update={"classes": shown}))
    return Imported(recordings, notes, by_cause(faults))


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


def _of_classes(lines: Sequence[TableLine], classes: Sequence[str], faults: list[tuple[str, str]]) -> list[TableLine]:
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


def _of_known(
    place: str, intervals: Sequence[Interval], classes: Sequence[str], faults: list[tuple[str, str]]
) -> list[Interval]:
    """The intervals of a class, where the classes are known; the labels of others become faults."""
    strange = dict.fromkeys(one.label for one in intervals if classes and one.label not in classes)
    faults += [(place, f"no class is called {label}; {nearest(label, [*classes])}") for label in strange]
    return [one for one in intervals if one.label not in strange]


def _check_columns(option: str, names: Iterable[str], lines: Sequence[TableLine]) -> None:
    """Raise UserError where an option, with a place for the name, names files that the table does not have."""
    present = sorted({name for line in lines for name in line.files})
    for name in names:
        if name not in present:
            raise UserError(f"{option.format(name)}: the table has no files of that; {nearest(name, present)}")


def _arrays(
    reader: CsvReader,
    lines: Sequence[TableLine],
    headers: Mapping[str, Opened],
    faults: list[tuple[str, str]],
    spool: Spool,
    progress: Callable[[int, int], None],
) -> tuple[list[Row], dict[str, list[Array | None]]]:
    """Rows and arrays, by modality, of the recordings without a faulty file."""
    rows: list[Row] = []
    kept: dict[str, list[Array | Place | None]] = {name: [] for line in lines for name in line.files}
    uses = Counter(item for line in lines for item in line.files.items())
    shared: dict[tuple[str, str], Track] = {}
    """Of files that several recordings have, as cameras share a signal; the others are read, and forgotten."""
    for done, line in enumerate(lines):
        progress(done, len(lines))
        tracks: dict[str, Track] = {}
        for modality, place in sorted(line.files.items()):
            if place not in headers:
                continue
            try:
                track = shared.get((modality, place)) or reader.track(modality, place, headers[place])
            except (ValueError, OSError) as error:
                faults.append((place, str(error)))
                continue
            tracks[modality] = track
            if uses[modality, place] > 1:
                shared[modality, place] = track
        if len(tracks) < len(line.files):
            continue
        try:
            own = reader.side_by_side(line.row.recording_id, tracks)
        except ValueError as error:
            faults.append((line.row.recording_id, str(error)))
            continue
        rows.append(line.row)
        for modality, arrays in kept.items():
            arrays.append(spool.put(own[modality]) if modality in own else None)
    return rows, {modality: spool.mapped(arrays) for modality, arrays in kept.items()}


def _without_unseen(
    description: Description, arrays: dict[str, list[Array | None]], unseen: Mapping[str, set[str]], spool: Spool
) -> Description:
    """The description without these joints; they are taken out of `arrays`, in place."""
    modalities = dict(description.modalities)
    for name, joints in unseen.items():
        own = description.skeletons[name]
        kept = [i for i, joint in enumerate(own.joints) if joint not in joints]
        arrays[name] = spool.mapped([None if array is None else spool.put(array[:, kept]) for array in arrays[name]])
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


def _intervals(
    lines: Sequence[TableLine], paths: Mapping[str, Path], faults: list[tuple[str, str]]
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


def _named_in(lines: Sequence[TableLine], columns: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """The given names of the columns, by file.

    Raises:
        UserError: names for files that are not in the table.
    """
    _check_columns("--columns {}=...", filter(None, columns), lines)
    return {place: columns.get(column, columns.get("", ())) for line in lines for column, place in line.files.items()}


def _joined(
    lines: Sequence[TableLine], described: set[str], headers: dict[str, Opened], faults: list[tuple[str, str]]
) -> list[TableLine]:
    """The lines with one file for each modality; files that make one signal together become one."""
    result: list[TableLine] = []
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
    lines: Sequence[TableLine], headers: Mapping[str, Opened], description: Description, like: Description | None
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
