"""MMAct: 35 actions of 20 subjects in 4 scenes, with 2-D poses from 4 cameras and the sensors of a phone and a watch.

Kong et al., "MMAct: a large-scale dataset for cross modal human action understanding", ICCV 2019.
"""

import re
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv
from pydantic import Field, TypeAdapter, ValidationError

from mmssl.data.description import Description, Protocol, Row, Signal, Skeleton
from mmssl.data.faults import checked, refuse
from mmssl.data.recordings import Array, Recordings
from mmssl.errors import UserError, nearest

_ACTIONS = (
    *("carrying", "carrying_heavy", "carrying_light", "checking_time", "closing", "crouching", "drinking", "entering"),
    *("exiting", "fall", "jumping", "kicking", "loitering", "looking_around", "opening", "picking_up", "pocket_in"),
    *("pocket_out", "pointing", "pulling", "pushing", "running", "setting_down", "sitting", "sitting_down", "standing"),
    *("standing_up", "talking", "talking_on_phone", "throwing", "transferring_object", "using_pc", "using_phone"),
    *("walking", "waving_hand"),
)
CLASSES = (35, 36, 37)
"""Numbers of classes to choose from, see `describe`."""
CAMERAS = (1, 2, 3, 4)

_DESK = 3
"""The scene with the desk."""
_APART_AT_DESK = ("using_phone", "talking_on_phone")
"""Actions that count as others at the desk: the first of them in 36 classes, both in 37."""

_LIMBS = (
    ("nose", "left_eye", "left_ear"),
    ("nose", "right_eye", "right_ear"),
    ("left_shoulder", "left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow", "right_wrist"),
    ("left_hip", "left_knee", "left_ankle"),
    ("right_hip", "right_knee", "right_ankle"),
    ("left_shoulder", "right_shoulder", "right_hip", "left_hip", "left_shoulder"),
)
_VECTOR = ("x", "y", "z")
_ANGLES = ("azimuth", "pitch", "roll")
_AXES = {"acc_phone": _VECTOR, "acc_watch": _VECTOR, "gyro": _VECTOR, "orientation": _ANGLES}
_CHANNELS = {sensor: (f"{sensor}_{x}", f"{sensor}_{y}", f"{sensor}_{z}") for sensor, (x, y, z) in _AXES.items()}
_UNITS = {"acc_phone": "m/s^2", "acc_watch": "m/s^2", "gyro": "rad/s", "orientation": "deg"}
_IMU_HZ = 100

_HOW_TO_GET = (
    "MMAct is given on request only (https://mmact19.github.io/2019/): unpack acc_phone_clip, acc_watch_clip, "
    "gyro_clip, orientation_clip and trimmed_pose into one folder, and say where it is with --data FOLDER"
)
_CLIP = r"scene(?P<scene>[0-9]{1,6})/session(?P<session>[0-9]{1,6})/(?P<action>[^/.][^/]*)"
_SUBJECT = r"subject(?P<subject>[0-9]{1,6})"
_SENSOR_FILE = re.compile(rf"(?:.*/)?(?P<part>{'|'.join(_AXES)})(?:_clip)?/{_SUBJECT}/{_CLIP}\.csv *", re.IGNORECASE)
_POSE_FILE = re.compile(rf"(?:.*/)?{_SUBJECT}/cam(?P<camera>[0-9]{{1,6}})/{_CLIP}\.json *", re.IGNORECASE)
_TIME = re.compile(r"[0-9]{8}_[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?")
_POSE = TypeAdapter(dict[Annotated[int, Field(ge=0, lt=2**31)], dict[str, list[float]]])
# A quarter of an hour of samples: a clip that claims more has a broken time stamp or frame number.
_LONGEST = 90_000

_Track = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""Time stamps in microseconds, rising, and a sensor's three channels, (samples, 3)."""


class _Key(NamedTuple):
    subject: int
    scene: int
    session: int
    action: str

    def __str__(self) -> str:
        return f"subject{self.subject}_scene{self.scene}_session{self.session}_{self.action}"


_LARGEST = (20, 4, 5)
"""Subject, scene and session, each from 1."""


@dataclass(frozen=True)
class _File:
    key: _Key
    part: str | int
    """A sensor, or the camera that a pose was seen by."""
    place: str
    path: Path


def describe(classes: int = 35, *, across_views: bool = False) -> Description:
    """What the numbers mean, with 35, 36 or 37 classes; the name says with how many.

    36 count using_phone at the desk (scene 3) apart, 37 talking_on_phone at the desk too. Coordinates are pixels of a
    1920 x 1080 picture, y down. COCO's joints have no pelvis and no neck: the left hip is the root, and from the left
    shoulder to it is the unit of length, since the trunk looks about as long from every side. The protocol cross_view
    is there where `across_views`: it needs every camera's recordings.

    Raises:
        UserError: another number of classes.
    """
    if classes not in CLASSES:
        raise UserError(f"MMAct has {' or '.join(map(str, CLASSES))} classes, not {classes}")
    subjects = tuple(str(subject) for subject in range(1, 21))
    protocols = {
        "cross_subject": Protocol(train=subjects[:16], test=subjects[16:]),
        "cross_scene": Protocol(by="scene", train=("1", "3", "4"), test=("2",)),
        "cross_session": Protocol(by="session", train=("1", "2", "3", "4"), test=("5",)),
    }
    if across_views:
        protocols["cross_view"] = Protocol(by="view", train=("1", "2", "3"), test=("4",))
    return Description(
        name=f"mmact_{classes}",
        classes=(*_ACTIONS, *map(_at_desk, _APART_AT_DESK[: classes - 35])),
        modalities={
            "skeleton": Skeleton(
                joints=(
                    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder"),
                    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip"),
                    *("left_knee", "right_knee", "left_ankle", "right_ankle"),
                ),
                root_joint="left_hip",
                scale_joints=("left_shoulder", "left_hip"),
                bones=tuple(bone for limb in _LIMBS for bone in pairwise(limb)),
                coordinates=("x", "y"),
                unit="px",
            ),
            "imu": Signal(
                channels=tuple(channel for channels in _CHANNELS.values() for channel in channels),
                # Angles are no vector, which a rotation could turn.
                sensors=((_CHANNELS["acc_phone"], _CHANNELS["gyro"]), (_CHANNELS["acc_watch"],)),
                units=tuple(_UNITS[sensor] for sensor, channels in _CHANNELS.items() for _ in channels),
                hz=_IMU_HZ,
            ),
        },
        protocols=protocols,
    )


def read(
    folder: Path, *, skip_bad: bool = False, camera: int | Literal["all"] = 1, classes: int = 35
) -> tuple[Recordings, list[str]]:
    """Read the unpacked files under a folder, whatever the folders around them are called. Any part of MMAct will do.

    The files of a subject, scene, session and action make one recording, or one with each camera's pose; letter case
    and spaces around the action do not matter.

    Sensors: the four are interpolated linearly at the same moments, 100 a second as the accelerometers have, from when
    the last of them starts to when the first of them ends. Of samples with the same stamp the first in the file counts.
    Angles go on beyond 180 degrees where they would wrap, and start within.

    Pose: the person whose joints' confidences sum to most over the clip is taken throughout, person1 if they are equal.
    There is one frame for each number from the first to the last. A joint that is not seen (confidence 0) is
    interpolated linearly between the frames that show it, and stays where it was seen first or last. A joint that is
    never seen lies on the root joint. Frames have no time stamps: skeleton and signals are taken to span the same time.

    Args:
        folder: where the files are.
        skip_bad: leave faulty recordings out instead of refusing to read.
        camera: 1 to 4, or "all": then every camera's pose is a recording of its own, with the camera as its view and
            the same signals as the others.
        classes: 35, 36 or 37, see `describe`.

    Returns:
        The recordings by subject, scene, session, action and camera; and what was left out, by file name with the
        reason.

    Raises:
        UserError: there is nothing to read, or (without `skip_bad`) one message that lists every faulty file.
    """
    folder = Path(folder)
    every = camera == "all"
    description = describe(classes, across_views=every)
    rows: list[Row] = []
    skeletons: list[Array] = []
    signals: list[Array] = []
    found, cameras = _find(folder, CAMERAS if every else (camera,))
    files, faults = _by_recording(found)
    for key, own in sorted(files.items()):
        imu, seen, wrong = _arrays(description, key, own, cameras)
        faults += wrong
        if imu is None:
            continue
        apart = key.scene == _DESK and _at_desk(key.action) in description.classes
        for view, skeleton in seen.items():
            rows.append(
                Row(
                    recording_id=f"{key}_cam{view}" if every else str(key),
                    label=_at_desk(key.action) if apart else key.action,
                    subject=str(key.subject),
                    scene=str(key.scene),
                    session=str(key.session),
                    view=str(view) if every else "",
                )
            )
            skeletons.append(skeleton)
            signals.append(imu)
    refuse(folder, faults, whole=bool(rows), skip_bad=skip_bad)
    return Recordings(description, rows, skeletons, signals), faults


def _at_desk(action: str) -> str:
    return f"{action}_at_desk"


def _find(folder: Path, wanted: tuple[int, ...]) -> tuple[list[_File], list[int]]:
    """The files of the sensors and of the cameras wanted, and which of these there are."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {_HOW_TO_GET}")
    files: list[_File] = []
    cameras: set[int] = set()
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        match = _SENSOR_FILE.fullmatch(place) or _POSE_FILE.fullmatch(place)
        if match is None or path.name[0] == ".":
            continue
        named = match.groupdict()
        if "camera" in named:
            cameras.add(int(named["camera"]))
            if int(named["camera"]) not in wanted:
                continue
        action = "_".join(named["action"].lower().split())
        key = _Key(int(named["subject"]), int(named["scene"]), int(named["session"]), action)
        part = int(named["camera"]) if "camera" in named else named["part"].lower()
        files.append(_File(key, part, place, path))
    parts = {file.part for file in files}
    for sensor in _AXES:
        if sensor not in parts:
            raise UserError(
                f"{folder}: no {sensor} files: looked for places like "
                f"{sensor}_clip/subject1/scene1/session1/walking.csv here and in all folders below; {_HOW_TO_GET}"
            )
    if parts.isdisjoint(wanted):
        others = f"there are cameras {', '.join(map(str, sorted(cameras)))}" if cameras else _HOW_TO_GET
        raise UserError(
            f"{folder}: no pose files of camera {' or '.join(map(str, wanted))}: looked for places like "
            f"subject1/cam{wanted[0]}/scene1/session1/walking.json here and in all folders below; {others}"
        )
    return files, sorted(cameras.intersection(wanted))


def _by_recording(files: list[_File]) -> tuple[dict[_Key, list[_File]], list[str]]:
    """The files of each recording, and the files that are of none."""
    groups: dict[_Key, list[_File]] = defaultdict(list)
    faults: list[str] = []
    for file in files:
        *numbers, action = file.key
        if not all(1 <= number <= largest for number, largest in zip(numbers, _LARGEST, strict=True)):
            limits = "subjects 1 to {}, scenes 1 to {}, sessions 1 to {}".format(*_LARGEST)
            faults.append(f"{file.place}: the data set has no such recording: {limits}")
        elif action not in _ACTIONS:
            faults.append(f"{file.place}: no action {action!r}; {nearest(action, list(_ACTIONS))}")
        else:
            groups[file.key].append(file)
    return groups, faults


def _arrays(
    description: Description, key: _Key, files: list[_File], cameras: list[int]
) -> tuple[Array | None, dict[int, Array], list[str]]:
    """One recording's signals, its skeleton by camera, and what is wrong with its files."""
    tracks: dict[str, _Track] = {}
    skeletons: dict[int, Array] = {}
    faults: list[str] = []
    for part in (*_AXES, *cameras):
        name = f"camera {part} pose" if isinstance(part, int) else part
        candidates = [file for file in files if file.part == part]
        if not candidates:
            faults.append(f"{key}: no {name} file, though {files[0].place} is there")
        elif len(candidates) > 1:
            places = ", ".join(file.place for file in candidates)
            faults.append(f"{key}: {len(candidates)} {name} files: {places}")
        else:
            [file] = candidates
            try:
                if isinstance(part, int):
                    skeletons[part] = _pose(description, file.path)
                else:
                    tracks[part] = _track(part, file.path)
            except (ValueError, OSError) as error:
                faults.append(f"{file.place}: {error}")
    imu = None
    if len(tracks) == len(_AXES):
        try:
            imu = _align(description, tracks)
        except ValueError as error:
            faults.append(f"{key}: {error}")
    return imu, skeletons, faults


def _track(sensor: str, path: Path) -> _Track:
    """Raises ValueError: what is wrong with the file."""
    content = path.read_bytes()
    if not content.strip():
        raise ValueError("empty")
    first = content.partition(b"\n")[0].decode("utf-8-sig", "replace").strip()
    named, *names = (name.strip().lower() for name in first.split(","))
    has_header = named == "time"
    axes = _AXES[sensor]
    if has_header and tuple(names) not in (_VECTOR, axes):
        raise ValueError(f"header is {first!r}, expected time,{','.join(axes)} or none")
    table = csv.read_csv(
        BytesIO(content),
        # Without threads, so that errors name the row.
        csv.ReadOptions(column_names=["time", *axes], skip_rows=int(has_header), use_threads=False),
        convert_options=csv.ConvertOptions(
            column_types={"time": pa.string(), **dict.fromkeys(axes, pa.float64())}, null_values=[]
        ),
    )
    if table.num_rows == 0:
        raise ValueError("no samples")
    moments = [_moment(row, text.strip()) for row, text in enumerate(table["time"].to_pylist(), 1)]
    values = np.stack([table[axis].to_numpy() for axis in axes], axis=1)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise ValueError(f"row {bad[0] + 1} has values that are not finite ({len(bad)} such rows)")
    stamps, first_with_it = np.unique(np.array(moments, "datetime64[us]").astype(np.int64), return_index=True)
    return stamps, values[first_with_it]


def _moment(row: int, text: str) -> datetime:
    if _TIME.fullmatch(text):
        with suppress(ValueError):  # the 31st of February
            return datetime.fromisoformat(text)  # which takes a fortieth of strptime's time
    raise ValueError(f"row {row}: {text!r} is no time like 20180920_15:04:05.678")


def _align(description: Description, tracks: dict[str, _Track]) -> Array:
    """(samples, channels), from the sensors in the order of the channels.

    Raises:
        ValueError: the sensors have no time in common, or far too much.
    """
    start = max(stamps[0] for stamps, _ in tracks.values())
    end = min(stamps[-1] for stamps, _ in tracks.values())
    if end <= start:
        late, early = (
            next(sensor for sensor, (stamps, _) in tracks.items() if stamps[edge] == moment)
            for edge, moment in ((0, start), (-1, end))
        )
        raise ValueError(
            f"the sensors have no time in common: {late} starts {(start - end) / 1e6} s after {early} ends"
        )
    if (end - start) * _IMU_HZ > _LONGEST * 10**6:
        raise ValueError(f"the sensors have {(end - start) / 1e6:.0f} s in common, too long for a clip")
    grid = np.arange(start, end + 1, 10**6 // _IMU_HZ)
    channels: list[npt.NDArray[np.float64]] = []
    for sensor, (stamps, values) in tracks.items():
        turns = sensor == "orientation"
        if turns:
            values = np.unwrap(values, axis=0, period=360)
        samples = np.stack([np.interp(grid, stamps, axis) for axis in values.T], axis=1)
        channels.append(samples - 360 * np.round(samples[0] / 360) if turns else samples)
    return checked(description, "imu", np.concatenate(channels, axis=1))


def _pose(description: Description, path: Path) -> Array:
    """(frames, joints, coordinates).

    Raises:
        ValueError: what is wrong with the file.
    """
    try:
        frames = _POSE.validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise ValueError(": ".join([*map(str, first["loc"]), first["msg"]])) from error
    numbers = np.array(sorted(frames), dtype=np.int64)
    names = sorted({name for people in frames.values() for name in people})
    if not names:
        raise ValueError("no frames" if not frames else "nobody is in any frame")
    if numbers[-1] - numbers[0] >= _LONGEST:
        raise ValueError(f"frames {numbers[0]} to {numbers[-1]} are too many for a clip")
    width = 3 * len(description.skeletons["skeleton"].joints)
    people = np.zeros((len(names), len(numbers), width))
    for i, number in enumerate(numbers):
        for name, keypoints in frames[number].items():
            if len(keypoints) not in (0, width):
                raise ValueError(f"frame {number}: {name} has {len(keypoints)} numbers, expected {width} or none")
            if keypoints:
                people[names.index(name), i] = keypoints
    bad = int((~np.isfinite(people)).sum())
    if bad:
        raise ValueError(f"{bad} numbers are not finite")
    people = people.reshape(len(names), len(numbers), -1, 3)
    person = people[np.argmax(people[..., 2].sum(axis=(1, 2)))]
    return checked(description, "skeleton", _fill(description, numbers, person))


def _fill(
    description: Description, numbers: npt.NDArray[np.int64], person: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Interpolate (frames in the file, joints, x y confidence) to (frames without gaps, joints, x y)."""
    own = description.skeletons["skeleton"]
    seen = person[..., 2] > 0
    unseen = [joint for j, joint in enumerate(own.joints) if not seen[:, j].any()]
    needed = [joint for joint in own.places if joint in unseen]
    if needed:
        raise ValueError(f"{', '.join(needed)} never seen: no place or no unit of length")
    every = np.arange(numbers[0], numbers[-1] + 1)
    skeleton = np.empty((len(every), len(own.joints), 2))
    for j, joint in enumerate(own.joints):
        source = own.root[0] if joint in unseen else j
        shown = seen[:, source]
        for axis in range(2):
            skeleton[:, j, axis] = np.interp(every, numbers[shown], person[shown, source, axis])
    return skeleton
