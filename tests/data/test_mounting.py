import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmssl.data.mounting import turned, without_gravity


@given(st.integers(0, 10**6), st.sampled_from([[1, 0, 2], [2, 1, 0], [0, 2, 1]]), st.integers(0, 4))
def test_a_person_whose_axes_are_swapped_is_named(seed: int, order: list[int], who: int) -> None:
    draws = np.random.default_rng(seed)
    up = {f"p{i}": [np.array([0.1, 0.2, 9.8])[[1, 2, 0]] + draws.normal(0, 0.5, 3) for _ in range(6)] for i in range(5)}
    assert turned(up, "xyz") is None
    swapped = {**up, f"p{who}": [vector[order] for vector in up[f"p{who}"]]}
    found = turned(swapped, "xyz")
    if order.index(1) == 1:  # what points up stays
        assert found is None
    else:
        assert found is not None
        assert (found.people, found.usual, found.theirs) == ((f"p{who}",), "y", "xyz"[order.index(1)])
    upside_down = turned({**up, "p0": [-vector for vector in up["p0"]]}, "xyz")
    assert upside_down is not None
    assert (upside_down.people, upside_down.theirs) == (("p0",), "-y")


@pytest.mark.parametrize("unit", [9.81, 1.0])
def test_accelerations_without_gravity_are_told_from_still_and_from_wild_ones(unit: float) -> None:
    draws = np.random.default_rng(0)
    gravity = unit * np.array([0.3, 0.9, 0.3])
    signals = {f"r{i}": gravity + 0.2 * unit * draws.normal(size=(80, 3)) for i in range(10)}
    signals["wild"] = gravity * np.sign(np.sin(np.arange(80) / 3))[:, None] + unit * draws.normal(size=(80, 3))
    assert list(without_gravity(signals)) == []
    signals["without"] = 0.2 * unit * draws.normal(size=(80, 3))
    assert list(without_gravity(signals)) == ["without"]
