"""UTD-MHAD: 27 actions of 8 subjects, Kinect v1 skeleton and one wearable inertial sensor.

Chen, Jafari and Kehtarnavaz, "UTD-MHAD: a multimodal dataset for human action recognition utilizing a depth camera and
a wearable inertial sensor", ICIP 2015.
"""

import re
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import pairwise
from pathlib import Path, PurePosixPath

import numpy as np

from mmssl.data.description import Description, Protocol, Row, Signal, Skeleton
from mmssl.data.faults import checked, refuse
from mmssl.data.recordings import Array, Recordings
from mmssl.errors import UserError

_LIMBS = (
    ("head", "shoulder_center", "spine", "hip_center"),
    ("shoulder_center", "left_shoulder", "left_elbow", "left_wrist", "left_hand"),
    ("shoulder_center", "right_shoulder", "right_elbow", "right_wrist", "right_hand"),
    ("hip_center", "left_hip", "left_knee", "left_ankle", "left_foot"),
    ("hip_center", "right_hip", "right_knee", "right_ankle", "right_foot"),
)

DESCRIPTION = Description(
    name="utd_mhad",
    classes=(
        *("swipe_left", "swipe_right", "wave", "clap", "throw", "arm_cross", "basketball_shoot", "draw_x"),
        *("draw_circle_cw", "draw_circle_ccw", "draw_triangle", "bowling", "boxing", "baseball_swing", "tennis_swing"),
        *("arm_curl", "tennis_serve", "push", "knock", "catch", "pickup_throw", "jog", "walk"),
        *("sit2stand", "stand2sit", "lunge", "squat"),
    ),
    modalities={
        "skeleton": Skeleton(
            joints=(
                *("head", "shoulder_center", "spine", "hip_center"),
                *("left_shoulder", "left_elbow", "left_wrist", "left_hand"),
                *("right_shoulder", "right_elbow", "right_wrist", "right_hand"),
                *("left_hip", "left_knee", "left_ankle", "left_foot"),
                *("right_hip", "right_knee", "right_ankle", "right_foot"),
            ),
            root_joint="hip_center",
            # Within a subject this length varies by 2 % between first frames; shoulder_center to hip_center by 4 %.
            scale_joints=("head", "hip_center"),
            bones=tuple(bone for limb in _LIMBS for bone in pairwise(limb)),
            coordinates=("x", "y", "z"),
            unit="m",
            # Nominally 30, which does not fit the counts: 2.5 to 2.6 IMU samples a frame.
            hz=20.0,
        ),
        "imu": Signal(
            channels=("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"),
            sensors=((("acc_x", "acc_y", "acc_z"), ("gyro_x", "gyro_y", "gyro_z")),),
            units=("g", "g", "g", "deg/s", "deg/s", "deg/s"),
            hz=50.0,
        ),
    },
    protocols={"cross_subject": Protocol(train=("1", "3", "5", "7"), test=("2", "4", "6", "8"))},
)

_HOW_TO_GET = "get them with `mmssl-tune data download utd_mhad`, or say where they are with --data FOLDER"
_NAME = re.compile(r"a([0-9]{1,6})_s([0-9]{1,6})_t([0-9]{1,6})_(skeleton|inertial)\.mat", re.IGNORECASE)
_VARIABLES = {"skeleton": "d_skel", "inertial": "d_iner"}
_MODALITIES = {"skeleton": "skeleton", "inertial": "imu"}
"""The variable in the files of each part of the data set, and the modality that it becomes."""
# The whole data set is 18 MB: a zip entry that claims more than this is no recording.
_LARGEST_ENTRY = 2**24

_Key = tuple[int, int, int]
"""Action, subject and trial, each from 1."""
_LARGEST: _Key = (27, 8, 4)


@dataclass(frozen=True)
class _File:
    key: _Key
    modality: str
    place: str
    content: Callable[[], bytes]


def read(folder: Path, *, skip_bad: bool = False) -> tuple[Recordings, list[str]]:
    """Read the .mat files under a folder, at any depth, or Skeleton.zip and Inertial.zip in it, which stay packed.

    A zip file is read only where its modality has no unpacked file. Any part of the data set will do.

    Args:
        folder: where the files are; letter case does not matter.
        skip_bad: leave faulty recordings out instead of refusing to read.

    Returns:
        The recordings by action, subject and trial; and what was left out, by file name with the reason.

    Raises:
        UserError: there is nothing to read, or (without `skip_bad`) one message that lists every faulty file.
    """
    folder = Path(folder)
    rows: list[Row] = []
    skeletons: list[Array] = []
    signals: list[Array] = []
    with ExitStack() as open_zips:
        files, faults = _by_recording(_find(folder, open_zips))
        for key, found in sorted(files.items()):
            arrays, wrong = _arrays(key, found)
            faults += wrong
            if not wrong:
                action, subject, trial = key
                label = DESCRIPTION.classes[action - 1]
                rows.append(Row(recording_id=_stem(key), label=label, subject=str(subject), trial=str(trial)))
                skeletons.append(arrays["skeleton"])
                signals.append(arrays["inertial"])
    refuse(folder, faults, whole=bool(rows), skip_bad=skip_bad)
    return Recordings(DESCRIPTION, rows, skeletons, signals), faults


def _find(folder: Path, open_zips: ExitStack) -> list[_File]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {_HOW_TO_GET}")
    files = [
        _File(*named, str(path.relative_to(folder)), path.read_bytes)
        for path in sorted(folder.rglob("*"))
        if (named := _parse(path.name))
    ]
    packed = set(_VARIABLES) - {file.modality for file in files}
    for path in sorted(folder.iterdir()):
        if path.name.lower() in {f"{modality}.zip" for modality in packed}:
            files += _zipped(path, packed, open_zips)
    for modality in _VARIABLES:
        if not any(file.modality == modality for file in files):
            raise UserError(
                f"{folder}: no {modality} files: looked for names like a1_s1_t1_{modality}.mat here and in all folders "
                f"below, and for {modality.title()}.zip here; {_HOW_TO_GET}"
            )
    return files


def _zipped(path: Path, modalities: set[str], open_zips: ExitStack) -> Iterator[_File]:
    try:
        archive = open_zips.enter_context(zipfile.ZipFile(path))
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path}: not a whole zip file ({error}); delete it, then: {_HOW_TO_GET}") from error
    for entry in archive.infolist():
        named = _parse(PurePosixPath(entry.filename).name)
        if named and named[1] in modalities:
            yield _File(*named, f"{path.name}: {entry.filename}", partial(_entry, archive, entry))


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.file_size > _LARGEST_ENTRY:
        raise ValueError(f"{entry.file_size} bytes are too many for a recording")
    return archive.read(entry)


def _parse(name: str) -> tuple[_Key, str] | None:
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    action, subject, trial, modality = match.groups()
    return (int(action), int(subject), int(trial)), modality.lower()


def _stem(key: _Key) -> str:
    return "a{}_s{}_t{}".format(*key)


def _by_recording(files: list[_File]) -> tuple[dict[_Key, list[_File]], list[str]]:
    """The files of each recording, and the files that are of none."""
    groups: dict[_Key, list[_File]] = defaultdict(list)
    faults: list[str] = []
    for file in files:
        if all(1 <= number <= largest for number, largest in zip(file.key, _LARGEST, strict=True)):
            groups[file.key].append(file)
        else:
            limits = "actions 1 to {}, subjects 1 to {}, trials 1 to {}".format(*_LARGEST)
            faults.append(f"{file.place}: the data set has no such recording: {limits}")
    return groups, faults


def _arrays(key: _Key, files: list[_File]) -> tuple[dict[str, Array], list[str]]:
    """One recording's arrays by modality, and what is wrong with its files."""
    arrays: dict[str, Array] = {}
    faults: list[str] = []
    for modality in _VARIABLES:
        candidates = [file for file in files if file.modality == modality]
        if not candidates:
            faults.append(f"{_stem(key)}_{modality}.mat: missing, though {files[0].place} is there")
        elif len(candidates) > 1:
            places = ", ".join(file.place for file in candidates)
            faults.append(f"{_stem(key)}_{modality}.mat: in {len(candidates)} places: {places}")
        else:
            try:
                arrays[modality] = _load(candidates[0])
            except ValueError as error:
                faults.append(f"{candidates[0].place}: {error}")
    return arrays, faults


def _load(file: _File) -> Array:
    """(frames, joints, coordinates) or (samples, channels).

    Raises:
        ValueError: what is wrong with the file.
    """
    from scipy.io import loadmat  # 0.5 s, which no other data set needs

    variable = _VARIABLES[file.modality]
    try:
        found: dict[str, object] = loadmat(BytesIO(file.content()), variable_names=[variable])
    except Exception as error:  # a damaged file makes the reader fail in many ways
        raise ValueError(f"not a readable .mat file ({type(error).__name__}: {error})") from error
    values = found.get(variable)
    if values is None:
        raise ValueError(f"holds no variable {variable}")
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
        raise ValueError(f"{variable} is no array of numbers")
    if file.modality == "skeleton":
        values = np.moveaxis(values, -1, 0)  # from joints x coordinates x frames
    return checked(DESCRIPTION, _MODALITIES[file.modality], values)
