"""A made-up shift between what is seen and what is felt is found again; none is found in noise."""

from pathlib import Path

import numpy as np
import pytest

from mmssl import Description, Recordings, Row
from mmssl.data.offsets import shift_of
from mmssl.data.sources import open_dataset
from mmssl.data.synthetic import generate

FRAMES, SAMPLES, STEP = 30, 100, 1 / 300


def moving(late: float, recordings: int = 16) -> Recordings:
    """A hand that reaches now and then, and an accelerometer on it whose recording begins `late` seconds later."""
    draws = np.random.default_rng(0)
    description = Description(
        name="lab", classes=("reach",), joints=("pelvis", "neck", "left_hand", "right_hand"), root_joint="pelvis",
        scale_joints=("pelvis", "neck"), coordinates=("x", "y", "z"), skeleton_hz=FRAMES, imu_hz=SAMPLES,
        imu_channels=("right_wrist_acc_x", "right_wrist_acc_y", "right_wrist_acc_z"),
    )  # fmt: skip
    skeletons, signals = [], []
    for _ in range(recordings):
        time = np.arange(-2, 8, STEP)
        hand = np.zeros((len(time), 3))
        for at in draws.uniform(-1, 7, 6):
            hand += draws.normal(0, 0.3, 3) * np.exp(-(((time - at) / 0.2) ** 2))[:, None]
        felt = np.array([0, 9.81, 0]) + np.gradient(np.gradient(hand, STEP, axis=0), STEP, axis=0)
        body = np.zeros((len(time), 4, 3)) + np.array([[0, 0, 0], [0, 0.6, 0], [0.3, 0, 0], [-0.3, 0, 0]])
        body[:, 3] += hand
        seen = np.arange(0, 5, 1 / FRAMES)
        body = body[np.searchsorted(time, seen)] + draws.normal(0, 0.002, (len(seen), 4, 3))
        moments = late + np.arange(0, 5, 1 / SAMPLES)
        skeletons.append(body)
        signals.append(felt[np.searchsorted(time, moments)] + draws.normal(0, 0.1, (len(moments), 3)))
    rows = [Row(recording_id=f"r{i}", label="reach", subject="anna") for i in range(recordings)]
    return Recordings(description, rows, skeletons, signals)


@pytest.mark.parametrize("late", [-1.0, -0.5, -0.1, 0.2, 0.8])
def test_a_shift_is_found_within_a_step(late: float) -> None:
    found = shift_of(moving(late), "skeleton", "imu")
    assert found is not None
    assert found.joint == "right_hand"
    assert found.seconds == pytest.approx(late, abs=1.01 / FRAMES)


def test_of_many_recordings_a_part_is_looked_at_and_finds_the_same() -> None:
    """The first of them are as they should be: a part taken from the beginning alone would see no shift."""
    first, later = moving(0.0, 20), moving(0.5, 160)
    both = Recordings(
        later.description,
        [Row(recording_id=f"r{i}", label="reach", subject="anna") for i in range(180)],
        [*first.skeleton, *later.skeleton],
        [*first.imu, *later.imu],
    )
    found = shift_of(both, "skeleton", "imu")
    assert found is not None
    assert found.seconds == pytest.approx(0.5, abs=1.01 / FRAMES)
    assert found.recordings < 100
    assert found.agree / found.recordings == pytest.approx(8 / 9, abs=0.1)


def test_no_shift_is_found_where_there_is_none_or_in_noise() -> None:
    together = moving(0.0)
    assert shift_of(together, "skeleton", "imu") is None
    draws = np.random.default_rng(0)
    shifted = moving(0.5)
    noise = [draws.normal(size=one.shape) for one in shifted.arrays("imu")]
    assert shift_of(Recordings(shifted.description, shifted.rows, shifted.skeleton, noise), "skeleton", "imu") is None
    others = [*shifted.imu[1:], shifted.imu[0]]
    assert shift_of(Recordings(shifted.description, shifted.rows, shifted.skeleton, others), "skeleton", "imu") is None
    without = shifted.description.model_copy(update={"imu_hz": None})
    assert shift_of(Recordings(without, shifted.rows, shifted.skeleton, shifted.imu), "skeleton", "imu") is None
    assert shift_of(generate(subjects=4, trials=2), "skeleton", "imu") is None


@pytest.mark.parametrize("late", [-0.3, 0.4])
def test_a_shift_of_synthetic_recordings(late: float) -> None:
    made = generate(subjects=4, trials=2)
    frames, samples = made.description.skeleton_hz, made.description.imu_hz
    assert frames is not None
    assert samples is not None
    skeletons = [one[round(max(0, -late) * frames) :] for one in made.arrays("skeleton")]
    signals = [one[round(max(0, late) * samples) :] for one in made.arrays("imu")]
    found = shift_of(Recordings(made.description, made.rows, skeletons, signals), "skeleton", "imu")
    assert found is not None
    assert found.seconds == pytest.approx(late, abs=1.01 / frames)


def test_a_shift_of_real_recordings(utd_mhad: Path) -> None:
    """Their rates are not exact, and so is what is found."""
    real, _ = open_dataset("utd_mhad", utd_mhad)
    real = real.where(lambda row: row.subject in ("1", "3"))
    assert shift_of(real, "skeleton", "imu") is None
    cut = [signal[20:] for signal in real.arrays("imu")]  # 0.4 s
    found = shift_of(Recordings(real.description, real.rows, real.skeleton, cut), "skeleton", "imu")
    assert found is not None
    assert found.seconds == pytest.approx(0.4, abs=0.06)
