import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmssl import Description, Recordings, Row, Signal, UserError
from mmssl.data.quaternions import continuous, quaternions_in
from mmssl.training.preparation import prepare


def test_quaternions_are_known_by_their_names() -> None:
    assert quaternions_in(["quat_w", "quat_x", "acc_x", "quat_y", "quat_z"]) == [[0, 1, 3, 4]]
    assert quaternions_in(["q0", "q1", "q2", "q3"]) == [[0, 1, 2, 3]]
    assert quaternions_in(["Quat_q1", "Quat_q2", "Quat_q3", "Quat_q0"]) == [[0, 1, 2, 3]]
    both = [f"{place}_{name}" for place in ("wrist", "ankle") for name in ("qw", "qx", "qy", "qz")]
    assert quaternions_in(both) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert quaternions_in(["w", "x", "y", "z"]) == []
    assert quaternions_in(["quat_x", "quat_y", "quat_z", "acc_w"]) == []


@given(st.integers(0, 10**6))
def test_signs_that_jump_are_made_continuous(seed: int) -> None:
    draws = np.random.default_rng(seed)
    angle = draws.uniform(-0.2, 0.2, 200).cumsum()
    axis = draws.normal(size=3)
    axis /= np.linalg.norm(axis)
    turned = np.concatenate([np.cos(angle / 2)[:, None], np.sin(angle / 2)[:, None] * axis], axis=1)
    written = turned * draws.choice([-1.0, 1.0], 200)[:, None] * draws.uniform(0.99, 1.01, 200)[:, None]
    read, none = continuous(written, [[0, 1, 2, 3]])
    assert none == []
    np.testing.assert_allclose(read * np.sign((read[0] * turned[0]).sum()), turned, atol=1e-12)


def test_what_is_not_of_unit_length_is_no_quaternion() -> None:
    values = 5 * np.random.default_rng(0).normal(size=(50, 4))
    read, none = continuous(values, [[0, 1, 2, 3]])
    np.testing.assert_array_equal(read, values)
    assert none == [0]


def test_at_equal_steps_they_are_of_unit_length_whatever_their_signs() -> None:
    """A slow turn, with signs as devices have them, is the turn itself at each step's middle."""
    angle = np.linspace(0, 3, 400)
    turn = np.stack([np.cos(angle / 2), np.sin(angle / 2), 0 * angle, 0 * angle], axis=1)
    flipped = turn * np.where(np.random.default_rng(0).random(400) < 0.5, -1.0, 1.0)[:, None]
    signal = Signal(
        channels=("acc_x", "acc_y", "acc_z", "quat_w", "quat_x", "quat_y", "quat_z"),
        sensors=((("acc_x", "acc_y", "acc_z"), ("quat_w", "quat_x", "quat_y", "quat_z")),),
    )
    description = Description(name="turns", classes=("turn",), modalities={"wrist": signal})
    rows = [Row(recording_id="r1", label="turn", subject="anna")]
    recordings = Recordings(description, rows, wrist=[np.concatenate([0 * flipped[:, :3], flipped], axis=1)])
    found = prepare(recordings, 20, ["wrist"])["wrist"][0, :, 3:]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    middle = angle.reshape(20, 20).mean(axis=1)
    np.testing.assert_allclose(2 * np.arctan2(found[:, 1], found[:, 0]), middle, atol=1e-3)
    assert not description.is_usual
    with pytest.raises(
        UserError, match="quat_w, quat_x, quat_y, quat_z are described as a quaternion, and their length"
    ):
        Recordings(description, rows, wrist=[np.full((30, 7), 0.9)])
