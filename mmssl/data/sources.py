"""From a data set's name, or a file, to its recordings; and what there is to know about them at a glance."""

import os
import shlex
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mmssl.errors import UserError, nearest

if TYPE_CHECKING:
    from mmssl.data.description import Description
    from mmssl.data.recordings import Array, Recordings


class Reader(NamedTuple):
    """A data set that has a name."""

    read: "Callable[..., tuple[Recordings, list[str]]]"
    """Of its folder, `skip_bad` and its options: the recordings, and what was left out, each with the reason."""
    in_a_folder: bool = True
    """Whether it reads files; else it is made up."""
    options: Mapping[str, Mapping[str, Any]] = {}
    """What may stand after its name: by option, the words and what `read` takes for them."""
    example: str = ""
    """Of its options."""
    across: Mapping[str, Any] = {}
    """Knobs that recipes start from across modalities; UTD-MHAD's settings where it gives none."""
    within: Mapping[str, Any] = {}
    """Knobs that recipes start from within one modality; UTD-MHAD's settings where it gives none."""
    tuned: Mapping[str, Any] = {}
    """What the recipe `default` changes of both, where that was measured."""
    source: str = ""
    """The paper to cite."""
    limits: str = ""
    """What to know of it before one trusts a score."""
    whole: "Callable[[], Description] | None" = None
    """Of the whole data set, where it has a fixed number of recordings: this many, and without those never recorded."""
    recordings: int = 0
    never_recorded: frozenset[tuple[str, str, str]] = frozenset()
    """Class, subject and trial."""


def _read(module: str, folder: Path, **options: Any) -> "tuple[Recordings, list[str]]":
    """By a module beside this one. It loads numpy and pyarrow, of which `--help` needs neither."""
    return import_module(f"mmssl.data.{module}").read(folder, **options)


def _synthetic(_: Path, *, skip_bad: bool) -> "tuple[Recordings, list[str]]":
    from mmssl.data.synthetic import generate

    return generate(), []


def _utd_mhad() -> "Description":
    from mmssl.data.utd_mhad import DESCRIPTION

    return DESCRIPTION


# Small enough for a first search on two cores within minutes.
_SMALL: dict[str, Any] = {
    "data.steps": 24,
    "pretrain.batch_size": 32,
    "pretrain.lr": 1e-3,
    "pretrain.epochs": 10,
    "finetune.epochs": 30,
}
# The settings of UTD-MHAD and MMAct are those of the paper (its Table 1).
READERS = {
    "synthetic": Reader(
        _synthetic,
        in_a_folder=False,
        across=_SMALL,
        within=_SMALL,
        limits="These recordings are made up by a program: good for a first look, not for conclusions about people.",
    ),
    "utd_mhad": Reader(
        partial(_read, "utd_mhad"),
        across={"pretrain.batch_size": 256, "pretrain.lr": 1e-3, "pretrain.epochs": 200},
        within={"pretrain.batch_size": 128, "pretrain.lr": 1e-2, "pretrain.epochs": 100},
        tuned={"pretrain.epochs": 120},
        source="Chen, C., Jafari, R., Kehtarnavaz, N.: UTD-MHAD: A multimodal dataset for human action recognition "
        "utilizing a depth camera and a wearable inertial sensor. ICIP 2015",
        limits="In UTD-MHAD the one inertial sensor is on the right wrist for actions 1 to 21 and on the right thigh "
        "for 22 to 27: what the IMU encoder knows of an action is tied to where the sensor was, and the placement "
        "itself gives away which of the two groups an action is of.",
        whole=_utd_mhad,
        recordings=861,
        never_recorded=frozenset({("draw_x", "1", "4"), ("walk", "6", "4"), ("squat", "8", "4")}),
    ),
    "mmact": Reader(
        partial(_read, "mmact"),
        options={
            "classes": {"35": 35, "36": 36, "37": 37},
            "camera": {"1": 1, "2": 2, "3": 3, "4": 4, "all": "all"},
        },
        example="classes=36,camera=2",
        across={"pretrain.batch_size": 128, "pretrain.lr": 1e-4, "pretrain.epochs": 200},
        within={"pretrain.batch_size": 96, "pretrain.lr": 1e-3, "pretrain.epochs": 100},
        source="Kong, Q. et al.: MMAct: A large-scale dataset for cross modal human action understanding. ICCV 2019",
    ),
}
"""By the name that `--dataset` takes."""
FOLDER_VARIABLE = "MMSSL_DATA"


def open_dataset(
    name_or_file: str, folder: Path | None = None, *, skip_bad: bool = False, like: Path | None = None
) -> "tuple[Recordings, list[str]]":
    """Read a data set by name, or a file that `Recordings.save` wrote.

    Args:
        name_or_file: one of `READERS`, with options where it has any (mmact:classes=36,camera=2), or the path of a
            Parquet file. The same word always means the same data.
        folder: where a data set on disk is; None for `default_folder`. One that would not be read is refused: whoever
            names a folder and no data set must not get the scores of another.
        skip_bad: leave faulty recordings out instead of refusing to read.
        like: the exported encoders that are to read them, for the advice where they have yet to be imported.

    Returns:
        The recordings, and what was left out, by file name with the reason.

    Raises:
        UserError: no such name, option, file or folder, or what is there cannot be read.
    """
    from mmssl.data.recordings import Recordings

    file = recordings_file(name_or_file)
    if file is not None:
        _check_imported(file, like)
        if folder is not None:
            raise UserError(f"--data {folder}: not read, as {file} holds the recordings itself; leave --data out")
        return Recordings.load(file), []
    name, options = _named(name_or_file)
    if folder is not None and not READERS[name].in_a_folder:
        folders = " or ".join(f"--dataset {one}" for one, reader in READERS.items() if reader.in_a_folder)
        raise UserError(f"--data {folder}: the data set {name} reads no folder; say whose folder it is: {folders}")
    return READERS[name].read(folder or default_folder(name), skip_bad=skip_bad, **options)


def _check_imported(file: Path, like: Path | None) -> None:
    """Raises UserError: it is a folder, or a file that no import has written."""
    folder = file if file.is_dir() else file.parent
    if file.is_file():
        try:
            with file.open("rb") as content:
                written = content.read(4) == b"PAR1"
        except OSError as error:
            raise UserError(f"{file}: cannot be read ({error.strerror})") from error
        if written or file.suffix.lower() == ".parquet":
            return
    elif not file.is_dir():
        return
    words = ["mmssl-tune", "data", "import", str(folder), *(["--like", str(like)] if like else [])]
    public = "" if like else " (that of a public data set goes to --data)"
    if folder == file:
        raise UserError(f"{file}: a folder, not a recordings file{public}; import it first: {shlex.join(words)}")
    raise UserError(f"{file}: not a recordings file; import its folder first: {shlex.join(words)}")


def data_set_of(name: str) -> str | None:
    """The data set that recordings of this name are of, in whatever form: mmact of mmact_36; None for one's own."""
    return next((one for one in READERS if name == one or name.startswith(f"{one}_")), None)


def choices() -> str:
    """What `--dataset` takes, for its help."""
    return ", ".join(f"{name}[:{one.example}]" if one.example else name for name, one in READERS.items())


def dataset_name(name_or_file: str) -> str:
    """The name of a data set without its options; for a file, its own without the ending.

    Raises:
        UserError: neither, or an option that the data set does not have.
    """
    file = recordings_file(name_or_file)
    return _named(name_or_file)[0] if file is None else file.stem


def _named(word: str) -> tuple[str, dict[str, Any]]:
    """A data set's name, and its options as its reader takes them."""
    name, colon, after = word.partition(":")
    if name not in READERS:
        raise UserError(f"no data set {name!r}; {nearest(name, list(READERS))}; or name a recordings file (.parquet)")
    valid = READERS[name].options
    options: dict[str, Any] = {}
    for given in after.split(",") if colon else []:
        option, _, value = given.partition("=")
        if value not in valid.get(option, {}):
            choice = ", ".join(f"{option}={'|'.join(values)}" for option, values in valid.items())
            right = f"valid options: {choice}" if valid else f"it has none: write {name}"
            raise UserError(f"{word}: {given!r} is no option of {name}; {right}")
        if option in options:
            raise UserError(f"{word}: {option} is listed twice")
        options[option] = valid[option][value]
    return name, options


def default_folder(name: str) -> Path:
    """Where a data set is looked for, and put, by default, whatever its options.

    That is $MMSSL_DATA, or the folder of the data set's name in it if there is one; without that variable, a folder of
    that name where the operating system keeps a user's data.
    """
    from platformdirs import user_data_path

    name, *_ = name.split(":")
    root = os.environ.get(FOLDER_VARIABLE)
    if not root:
        return user_data_path("mmssl-tune", appauthor=False) / name
    inside = Path(os.path.expanduser(root)) / name  # noqa: PTH111 - as below
    return inside if inside.is_dir() else inside.parent


def recordings_file(name_or_file: str) -> Path | None:
    """The file that is meant, there or not; None for what looks like a name."""
    path = Path(os.path.expanduser(name_or_file))  # noqa: PTH111 - pathlib's fails where there is no such user
    named = name_or_file.partition(":")[0] in READERS or (
        path.suffix.lower() != ".parquet" and path.name == name_or_file and (not name_or_file or not path.exists())
    )
    return None if named else path


@dataclass(frozen=True)
class Lengths:
    shortest: int
    median: float
    longest: int
    lines: str
    """What is counted: frames or samples."""


@dataclass(frozen=True)
class Missing:
    """A recording that most other subjects have."""

    label: str
    subject: str
    trial: str


@dataclass(frozen=True)
class Survey:
    """What is in a data set, and what is not."""

    name: str
    fingerprint: str
    recordings: int
    unlabelled: int
    """Recordings without a label, which only pre-train."""
    expected: int | None
    """Recordings in the whole data set, where that is fixed."""
    classes: tuple[str, ...]
    subjects: tuple[str, ...]
    absent_subjects: tuple[str, ...]
    """Subjects that a protocol names and that have no recordings."""
    counts: tuple[tuple[int, ...], ...]
    """Recordings of each subject (outer) and class (inner)."""
    missing: tuple[Missing, ...]
    lengths: dict[str, Lengths | None]
    """By modality; None where no recording has it."""
    having: dict[str, int]
    """By modality, how many recordings have it."""
    having_all: int
    """How many recordings have all modalities that any has."""
    problems: tuple[str, ...]
    """What was left out while reading, by file name with the reason."""

    @property
    def whole(self) -> bool | None:
        """Whether every recording of the data set is here; None where its number is not fixed."""
        return None if self.expected is None else self.recordings == self.expected


def survey(recordings: "Recordings", problems: Sequence[str] = ()) -> Survey:
    """Count and measure recordings; `problems` are passed on."""
    description = recordings.description
    reader = next((one for one in READERS.values() if one.whole and one.whole() == description), None)
    by_subject = [protocol for protocol in description.protocols.values() if protocol.by == "subject"]
    named = {subject for protocol in by_subject for subject in (*protocol.train, *protocol.test)}
    counts = Counter((row.subject, row.label) for row in recordings.rows)
    return Survey(
        name=description.name,
        fingerprint=recordings.fingerprint,
        recordings=len(recordings),
        unlabelled=sum(not row.label for row in recordings.rows),
        expected=reader.recordings if reader else None,
        classes=description.classes,
        subjects=recordings.subjects,
        absent_subjects=tuple(sorted(named - set(recordings.subjects), key=lambda s: (len(s), s))),
        counts=tuple(tuple(counts[subject, label] for label in description.classes) for subject in recordings.subjects),
        missing=_missing(recordings, reader.never_recorded if reader else frozenset()),
        lengths={name: _lengths(recordings.arrays(name), one.lines) for name, one in description.modalities.items()},
        having={name: int(has.sum()) for name, has in recordings.has.items()},
        having_all=len(recordings) - len(recordings.lacking(list(recordings.kinds))),
        problems=tuple(problems),
    )


def _missing(recordings: "Recordings", never_recorded: frozenset[tuple[str, str, str]]) -> tuple[Missing, ...]:
    have: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in (row for row in recordings.rows if row.label):
        have[row.label, row.trial].add(row.subject)
    return tuple(
        Missing(label=label, subject=subject, trial=trial)
        for label in recordings.description.classes
        for trial in sorted({trial for other, trial in have if other == label})
        for subject in recordings.subjects
        if len(have[label, trial]) > len(recordings.subjects) / 2
        and subject not in have[label, trial]
        and (label, subject, trial) not in never_recorded
    )


def _lengths(arrays: "Sequence[Array | None]", lines: str) -> Lengths | None:
    counts = [len(array) for array in arrays if array is not None]
    if not counts:
        return None
    return Lengths(shortest=min(counts), median=float(statistics.median(counts)), longest=max(counts), lines=lines)
