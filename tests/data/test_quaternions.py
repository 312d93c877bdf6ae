import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmssl.data.quaternions import continuous, quaternions_in


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
