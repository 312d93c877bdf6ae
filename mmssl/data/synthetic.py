"""A small data set made on the spot: bodies moved by joint angles, and the wrist sensor that rides along.

It is for a first look and for tests. Each modality alone leaves classes that it can hardly separate: the skeleton
does not see a forearm turn about its own axis, the sensor on the right wrist does not see the left side move.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mmssl.data.description import Description, Protocol, Row, Signal, Skeleton
from mmssl.data.recordings import Recordings
from mmssl.errors import UserError

Floats = npt.NDArray[np.float64]
Vector = tuple[float, float, float]

GRAVITY = 9.80665
# Motion is computed at _HZ; the sensors take every 2nd and every 5th step of it.
_HZ, _IMU_EVERY, _SKELETON_EVERY = 100, 2, 5


class _Joint(NamedTuple):
    name: str
    parent: str
    segment: str
    """The rigid body part that it belongs to."""
    offset: Vector
    """From the parent, standing with hanging arms, in metres: +x to the person's left, +y up, +z forward."""


_JOINTS = (
    _Joint("hip_center", "", "pelvis", (0, 0, 0)),
    _Joint("neck", "hip_center", "trunk", (0, 0.5, 0)),
    _Joint("head", "neck", "trunk", (0, 0.2, 0)),
    _Joint("left_shoulder", "neck", "trunk", (0.18, -0.05, 0)),
    _Joint("left_elbow", "left_shoulder", "left_upper_arm", (0, -0.28, 0)),
    _Joint("left_wrist", "left_elbow", "left_forearm", (0, -0.25, 0)),
    _Joint("right_shoulder", "neck", "trunk", (-0.18, -0.05, 0)),
    _Joint("right_elbow", "right_shoulder", "right_upper_arm", (0, -0.28, 0)),
    _Joint("right_wrist", "right_elbow", "right_forearm", (0, -0.25, 0)),
    _Joint("left_hip", "hip_center", "pelvis", (0.1, -0.08, 0)),
    _Joint("left_knee", "left_hip", "left_thigh", (0, -0.42, 0)),
    _Joint("left_ankle", "left_knee", "left_shank", (0, -0.4, 0)),
    _Joint("right_hip", "hip_center", "pelvis", (-0.1, -0.08, 0)),
    _Joint("right_knee", "right_hip", "right_thigh", (0, -0.42, 0)),
    _Joint("right_ankle", "right_knee", "right_shank", (0, -0.4, 0)),
)
_NAMES = [joint.name for joint in _JOINTS]
_SEGMENTS = list(dict.fromkeys(joint.segment for joint in _JOINTS))
# The segment of a segment's upper end: parents stand first.
_CARRIED_BY = {
    joint.segment: next(j.segment for j in _JOINTS if j.name == (joint.parent or joint.name)) for joint in _JOINTS
}
_SENSOR = _NAMES.index("right_wrist"), _SEGMENTS.index("right_forearm")


class _Move(NamedTuple):
    """A segment is brought into a pose and swings there; rotation vectors in degrees, in the frame of its parent."""

    segment: str
    pose: Vector = (0, 0, 0)
    swing: Vector = (0, 0, 0)
    phase: float = 0
    """In cycles."""


class _Action(NamedTuple):
    hz: float
    moves: tuple[_Move, ...]


def _knees_up(side: str) -> _Action:
    return _Action(
        0.9, (_Move(f"{side}_thigh", (-35, 0, 0), (-30, 0, 0)), _Move(f"{side}_shank", (40, 0, 0), (35, 0, 0)))
    )


def _circle(direction: float) -> _Action:
    arm = "right_upper_arm"
    return _Action(1.0, (_Move(arm, (-80, 0, 0), (18, 0, 0)), _Move(arm, (0, 0, 0), (0, 0, 18), direction / 4)))


def _knock(hz: float) -> _Action:
    return _Action(hz, (_Move("right_upper_arm", (-45, 0, 0)), _Move("right_forearm", (-75, 0, 0), (25, 0, 0))))


_ACTIONS = {
    "wave_right": _Action(
        1.3, (_Move("right_upper_arm", (0, 0, -80)), _Move("right_forearm", (0, 0, -80), (0, 0, 30)))
    ),
    "wave_left": _Action(1.3, (_Move("left_upper_arm", (0, 0, 80)), _Move("left_forearm", (0, 0, 80), (0, 0, 30)))),
    "circle_clockwise": _circle(-1),
    "circle_counterclockwise": _circle(1),
    "hold_out": _Action(1.0, (_Move("right_upper_arm", (-80, 0, 0)),)),
    "turn_key": _Action(1.0, (_Move("right_upper_arm", (-80, 0, 0)), _Move("right_forearm", (0, 0, 0), (0, 45, 0)))),
    "knock_slowly": _knock(1.1),
    "knock_fast": _knock(1.6),
    "lift_left_knee": _knees_up("left"),
    "lift_right_knee": _knees_up("right"),
    "squat": _Action(
        0.6,
        (
            *(_Move(f"{side}_thigh", (-40, 0, 0), (-25, 0, 0)) for side in ("left", "right")),
            *(_Move(f"{side}_shank", (70, 0, 0), (45, 0, 0)) for side in ("left", "right")),
            _Move("trunk", (20, 0, 0), (10, 0, 0)),
        ),
    ),
    "bow": _Action(0.6, (_Move("trunk", (30, 0, 0), (20, 0, 0)),)),
}


@dataclass(frozen=True)
class _Person:
    offsets: Floats
    """Of the joints from their parents, (joints, 3), metres."""
    posture: Floats
    """The segments' rest pose, (segments, 3), rotation vectors in degrees."""
    mounting: Floats
    """The sensor on the forearm: rotation vector in degrees, (3,)."""
    amplitude: float
    tempo: float
    phase: float
    facing: float
    place: Floats


def generate(*, subjects: int = 8, trials: int = 2, seed: int = 0, noise: float = 1.0) -> Recordings:
    """Make the data set; the same arguments give the same numbers.

    Args:
        subjects: people, who differ in body, style, and in how they wear the sensor; odd ones train, even ones test.
        trials: recordings of each person and class.
        seed: every random draw comes from it.
        noise: of the sensors, as a multiple of the noise with which points of a search differ; 0 for none.

    Raises:
        UserError: fewer than one subject or trial.
    """
    if subjects < 1 or trials < 1:
        raise UserError(f"synthetic: {subjects} subjects and {trials} trials: there must be one of each at least")
    people = [_person(np.random.default_rng([seed, subject])) for subject in range(1, subjects + 1)]
    rows: list[Row] = []
    skeletons: list[Floats] = []
    signals: list[Floats] = []
    for number, (label, action) in enumerate(_ACTIONS.items()):
        for subject, person in enumerate(people, start=1):
            for trial in range(1, trials + 1):
                rng = np.random.default_rng([seed, subject, number, trial])
                skeleton, imu = _record(person, action, rng, noise)
                rows.append(
                    Row(
                        recording_id=f"{label}_s{subject}_t{trial}", label=label, subject=str(subject), trial=str(trial)
                    )
                )
                skeletons.append(skeleton)
                signals.append(imu)
    return Recordings(_description(subjects), rows, skeletons, signals)


def rotation(vectors: Floats) -> Floats:
    """Rotation vectors in radians, (3, ...), as matrices, (3, 3, ...), by Rodrigues' formula."""
    x, y, z = vectors
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, *vectors.shape)
    angle = np.linalg.norm(vectors, axis=0)
    identity = np.eye(3).reshape(3, 3, *(1,) * x.ndim)
    squared = _product(cross, cross)
    return identity + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * squared


def _product(a: Floats, b: Floats) -> Floats:
    """Of matrices in the first two axes: numpy's own product of thousands of small ones takes many times as long."""
    return (a[:, :, None] * b).sum(axis=1)


def inertial(position: Floats, orientation: Floats, hz: float) -> Floats:
    """What a perfect sensor moved like this measures, by central differences.

    Args:
        position: (steps, 3), metres, +y up.
        orientation: (steps, 3, 3), from the sensor's frame to the room's.
        hz: steps a second.

    Returns:
        (steps - 2, 6): acceleration less gravity's in g, so 1 g upwards at rest, and angular rate in deg/s, both in
        the sensor's frame; the first and the last step have no neighbour and are left out.
    """
    acceleration = (position[2:] - 2 * position[1:-1] + position[:-2]) * hz**2
    force = acceleration / GRAVITY + np.array([0, 1, 0])
    to_sensor = orientation[1:-1].swapaxes(1, 2)
    turning = to_sensor @ (orientation[2:] - orientation[:-2]) * (hz / 2)
    rate = np.stack([turning[:, 2, 1], turning[:, 0, 2], turning[:, 1, 0]], axis=1)
    return np.concatenate([(to_sensor @ force[..., None])[..., 0], np.rad2deg(rate)], axis=1)


def _person(rng: np.random.Generator) -> _Person:
    # Left and right are of one length.
    sideless = [joint.name.removeprefix("left_").removeprefix("right_") for joint in _JOINTS]
    size = rng.normal(1, 0.07)
    scale = {part: size * rng.normal(1, 0.06) for part in dict.fromkeys(sideless)}
    return _Person(
        offsets=np.array([joint.offset for joint in _JOINTS]) * np.array([[scale[part]] for part in sideless]),
        posture=rng.normal(0, 5, (len(_SEGMENTS), 3)),
        mounting=rng.normal(0, (10, 20, 10)),
        amplitude=rng.lognormal(0, 0.15),
        tempo=rng.lognormal(0, 0.1),
        phase=rng.normal(0, 0.06),
        facing=rng.normal(0, 15),
        place=rng.normal(0, 0.3, 2),
    )


def _record(person: _Person, action: _Action, rng: np.random.Generator, noise: float) -> tuple[Floats, Floats]:
    """One recording: (frames, joints, 3) in metres and (samples, 6) in g and deg/s."""
    frames = int(rng.integers(45, 80))
    steps = (frames - 1) * _SKELETON_EVERY + 1
    # One step more on either side, for the central differences.
    time = np.arange(-1, steps + 1) / _HZ
    joints, segments = _move(person, _angles(person, action, time, rng))
    mounting = np.deg2rad(person.mounting + rng.normal(0, 3, 3))
    joint, segment = _SENSOR
    imu = inertial(joints[:, joint], segments[:, segment] @ rotation(mounting), _HZ)[::_IMU_EVERY]
    skeleton = joints[1:-1:_SKELETON_EVERY]
    skeleton = skeleton + noise * rng.normal(0, 0.06, skeleton.shape)
    spread = np.repeat([0.12, 16.0], 3)
    imu = imu + noise * (rng.normal(0, spread) + rng.normal(0, spread, imu.shape))
    # To a sensor's resolution, which hides how processors differ in the last bit.
    return skeleton.round(4), imu.round(3)


def _angles(person: _Person, action: _Action, time: Floats, rng: np.random.Generator) -> Floats:
    """Each segment's rotation in its parent's frame over time, (3, 3, segments, steps)."""
    amplitude = person.amplitude * rng.lognormal(0, 0.1)
    cycles = action.hz * person.tempo * rng.lognormal(0, 0.05) * time + person.phase + rng.normal(0, 0.04)
    from_rest = np.clip(np.minimum(time, time[-1] - time) / 0.6, 0, 1)
    # Smooth to the second derivative, which the accelerometer measures.
    present = from_rest**3 * (10 - 15 * from_rest + 6 * from_rest**2)
    held = np.repeat(person.posture.T[:, :, None], len(time), axis=2)
    facing = person.facing + rng.normal(0, 5)
    held[:, _SEGMENTS.index("pelvis")] = [[0], [facing], [0]]
    speed = rng.uniform(0.2, 0.7, (len(_SEGMENTS), 3))
    sway = rng.normal(0, 2, speed.shape)
    phase = rng.uniform(0, 1, speed.shape)
    swung = sway.T[:, :, None] * np.sin(2 * np.pi * (speed.T[:, :, None] * time + phase.T[:, :, None]))
    for move in action.moves:
        segment = _SEGMENTS.index(move.segment)
        wave = np.sin(2 * np.pi * (cycles + move.phase))
        held[:, segment] += np.outer(move.pose, present)
        swung[:, segment] += np.outer(move.swing, amplitude * present * wave)
    return _product(rotation(np.deg2rad(held)), rotation(np.deg2rad(swung)))


def _move(person: _Person, angles: Floats) -> tuple[Floats, Floats]:
    """Forward kinematics: joints (steps, joints, 3) and segments' orientations (steps, segments, 3, 3) in the room."""
    segments = np.empty_like(angles)
    for i, name in enumerate(_SEGMENTS):
        parent = _SEGMENTS.index(_CARRIED_BY[name])
        segments[:, :, i] = angles[:, :, i] if parent == i else _product(segments[:, :, parent], angles[:, :, i])
    joints = np.zeros((3, len(_JOINTS), angles.shape[-1]))
    for i, joint in enumerate(_JOINTS):
        if joint.parent:
            arm = person.offsets[i] @ segments[:, :, _SEGMENTS.index(joint.segment)]
            joints[:, i] = joints[:, _NAMES.index(joint.parent)] + arm
    # The lower ankle stands on the floor; a smooth minimum, since a kink would be a blow to the sensor.
    left, right = joints[1, _NAMES.index("left_ankle")], joints[1, _NAMES.index("right_ankle")]
    floor = -np.logaddexp(-50 * left, -50 * right) / 50
    joints += np.stack([np.full_like(floor, person.place[0]), -floor, np.full_like(floor, person.place[1])])[:, None]
    return np.moveaxis(joints, -1, 0).swapaxes(1, 2), np.moveaxis(segments, (-1, -2), (0, 1))


def _description(subjects: int) -> Description:
    names = [str(subject) for subject in range(1, subjects + 1)]
    return Description(
        name="synthetic",
        classes=tuple(_ACTIONS),
        modalities={
            "skeleton": Skeleton(
                joints=tuple(_NAMES),
                root_joint="hip_center",
                scale_joints=("neck", "hip_center"),
                bones=tuple((joint.parent, joint.name) for joint in _JOINTS if joint.parent),
                coordinates=("x", "y", "z"),
                unit="m",
                hz=_HZ / _SKELETON_EVERY,
            ),
            "imu": Signal(
                channels=("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z"),
                sensors=((("acc_x", "acc_y", "acc_z"), ("gyro_x", "gyro_y", "gyro_z")),),
                units=("g", "g", "g", "deg/s", "deg/s", "deg/s"),
                hz=_HZ / _IMU_EVERY,
            ),
        },
        protocols={"cross_subject": Protocol(train=tuple(names[::2]), test=tuple(names[1::2]))},
    )
