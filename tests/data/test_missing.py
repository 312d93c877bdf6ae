import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmssl.data.description import Skeleton
from mmssl.data.missing import Unseen, missing_samples, never_seen, put_in, unseen_joints

JOINTS = ("hips", "neck", "head")


@given(st.sampled_from([-1.0, 0.0, 9999.0, -9999.0, -999.0]), st.integers(2, 3), st.integers(0, 10**6))
def test_joints_at_a_code_in_all_coordinates_are_missing(code: float, axes: int, seed: int) -> None:
    draws = np.random.default_rng(seed)
    values = draws.normal(0, 3, (20, 3, axes))
    written = values.copy()
    unseen = draws.random((20, 3)) < 0.3
    unseen[:, 0] = False
    unseen[0] = False
    unseen[[1, 2], 1] = True
    unseen[3, 1] = False
    written[unseen] = code
    written[5, 0, 0] = code  # one coordinate alone is a place
    read, found = unseen_joints(written.reshape(20, -1), JOINTS, "hips")
    expected = np.where(unseen[:, :, None], np.nan, written).reshape(20, -1)
    np.testing.assert_array_equal(read, expected)
    assert found == {JOINTS[j]: (code, int(unseen[:, j].sum())) for j in (1, 2) if unseen[:, j].any()}


def test_zero_is_where_a_skeleton_is_centred() -> None:
    values = np.random.default_rng(0).normal(size=(20, 3, 3))
    values[:, 0] = 0  # the root
    values[:, 1] = 0  # a joint that is there throughout
    values[0, 2] = 0  # the first line
    assert unseen_joints(values.reshape(20, -1), JOINTS, "hips")[1] == {}
    values[:, 1] = -1
    assert unseen_joints(values.reshape(20, -1), JOINTS, "hips")[1] == {"neck": (-1.0, 20)}


@pytest.mark.parametrize("code", [9999.0, -9999.0, 999.0, 99999.0])
def test_channels_at_a_code_beyond_all_else_are_missing(code: float) -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    values[[4, 9], 1] = code
    read, found = missing_samples(values, ["a", "b", "c"])
    assert found == {"b": (code, 2)}
    assert np.isnan(read).sum() == 2
    assert np.isnan(read[[4, 9], 1]).all()


def test_lines_that_are_minus_one_are_missing_and_large_signals_are_not() -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    values[7] = -1
    values[8, 0] = -1
    assert missing_samples(values, ["a", "b", "c"])[1] == dict.fromkeys("abc", (-1.0, 1))
    large = 700 * np.random.default_rng(0).normal(size=(50, 3))
    large[3, 0] = 999
    assert missing_samples(large, ["a", "b", "c"])[1] == {}


BODY = Skeleton(
    joints=("hips", "neck", "head", "nose", "hand"), root_joint="hips", scale_joints=("hips", "neck"),
    coordinates=("x", "y"), bones=(("hips", "neck"), ("neck", "head"), ("head", "nose"), ("neck", "hand")),
)  # fmt: skip


@pytest.mark.parametrize("how", ["masked", "left_out", "neighbours"])
def test_a_joint_that_is_never_seen_is_where_it_is_asked_to_be(how: Unseen) -> None:
    places = np.random.default_rng(0).normal(size=(6, 5, 2))
    places[:, [2, 3]] = np.nan
    values = places.reshape(6, -1)
    assert never_seen(values, BODY.joints) == ["head", "nose"]
    result = put_in(values, BODY, ["head", "nose"], how).reshape(6, 5, 2)
    np.testing.assert_array_equal(result[:, [0, 1, 4]], places[:, [0, 1, 4]])
    beside = 1 if how == "neighbours" else 0  # The head has the neck alone, and the nose then the head.
    np.testing.assert_array_equal(result[:, [2, 3]], np.repeat(places[:, [beside]], 2, axis=1))


def test_it_stands_in_the_middle_of_its_neighbours() -> None:
    places = np.random.default_rng(0).normal(size=(6, 5, 2))
    expected = (places[:, 0] + places[:, 2] + places[:, 4]) / 3
    places[:, 1] = np.nan
    result = put_in(places.reshape(6, -1), BODY, ["neck"], "neighbours").reshape(6, 5, 2)
    np.testing.assert_allclose(result[:, 1], expected)
    with pytest.raises(ValueError, match="neck never seen: no origin or no unit of length"):
        put_in(places.reshape(6, -1), BODY, ["neck"], "masked")
    alone = BODY.model_copy(update={"bones": (("hips", "neck"),)})
    with pytest.raises(ValueError, match="nose never seen, and no bone joins them to a joint that is"):
        put_in(places.reshape(6, -1), alone, ["nose"], "neighbours")
