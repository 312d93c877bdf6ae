import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmssl.data.timeline import LineError, laid_out


@given(st.integers(20, 300), st.sampled_from([25, 30, 60, 64, 100, 120, 1000]), st.sampled_from([2, 3]), st.data())
def test_rounded_stamps_keep_every_line_and_the_rate(count: int, rate: int, digits: int, data: st.DataObject) -> None:
    """16 and 17 ms are 60 a second, not 58.82; hundredths of a second at 1000 a second drop no line."""
    seconds = data.draw(st.sampled_from([0.0, 7.5, 1.7e9])) + np.round(np.arange(count) / rate, digits)
    line = laid_out(seconds)
    kept = count - line.dropped
    assert kept == len(line.lines)
    assert line.dropped <= max(1, 0.01 * count)
    if not line.dropped:
        assert 1 / line.step == pytest.approx(rate, rel=2 * 10**-digits * rate / count + 0.001)


def test_bursts_of_a_watch_are_lines_at_its_own_rate() -> None:
    """Ten lines 4.5 ms apart, every 300 ms: 33 lines a second, where the usual step says 222."""
    seconds = np.concatenate([0.3 * burst + 0.0045 * np.arange(10) for burst in range(100)])
    line = laid_out(seconds)
    assert line.spread
    assert len(line.lines) == 1000
    assert 1 / line.step == pytest.approx(33.3, rel=0.01)
    np.testing.assert_array_equal(line.at_even(seconds[:, None])[:, 0], seconds)
    np.testing.assert_allclose(np.diff(line.stamps), np.diff(line.stamps)[0])


@pytest.mark.parametrize("stamped", ["whole seconds", "packets", "bursts"])
def test_rounded_stamps_and_packets_show_a_gap_where_the_sensor_was_off(stamped: str) -> None:
    """A minute off amid ten: no line is moved into it, and the rate is that of the sensor."""
    taken = np.concatenate([np.arange(15_000), 18_000 + np.arange(15_000)]) / 50
    packets = np.repeat(taken[::25], 25)
    within = 1e-3 * np.tile(np.arange(25), 1200)
    line = laid_out({"whole seconds": np.floor(taken), "packets": packets, "bursts": packets + within}[stamped])
    assert line.spread
    assert 1 / line.step == pytest.approx(50, rel=1e-4)
    assert line.gaps == (pytest.approx((299.98, 360), abs=0.01),)
    laid = line.at_even(taken[:, None])[:, 0]
    np.testing.assert_allclose(laid, np.arange(33_000) / 50, atol=0.01)
    assert len(laid) * line.step_kept == pytest.approx(660, abs=0.01)


def test_lines_that_come_at_once_after_a_stall_are_no_gap() -> None:
    taken = np.arange(10_000) / 50
    came = np.repeat(taken[::25], 25)
    came[5000:5250] = taken[5250]  # Five seconds that the radio held back.
    line = laid_out(came)
    assert (line.spread, line.gaps, line.even) == (True, (), None)
    np.testing.assert_allclose(line.stamps, taken, atol=0.5)  # A packet


def test_gaps_are_filled_at_the_usual_step() -> None:
    seconds = np.delete(np.arange(1000) / 50, slice(300, 400))
    line = laid_out(seconds)
    assert not line.spread
    assert 1 / line.step == pytest.approx(50)
    assert line.gaps == (pytest.approx((299 / 50, 400 / 50)),)
    np.testing.assert_allclose(line.at_even(seconds[:, None])[:, 0], np.arange(1000) / 50)


def test_lines_written_twice_are_one_and_a_stamp_of_two_lines_drops_one() -> None:
    seconds = np.repeat(np.arange(100) / 50, 2)
    values = np.repeat(np.arange(100.0), 2)
    line = laid_out(seconds, np.concatenate([[False], np.diff(values) == 0]))
    assert (line.dropped, line.spread) == (100, False)
    np.testing.assert_array_equal(line.at_even(values[:, None])[:, 0], np.arange(100))
    assert laid_out(seconds).spread
    once = np.insert(np.arange(200) / 50, 9, 8 / 50)
    assert (laid_out(once).dropped, laid_out(once).spread) == (1, False)


def test_lines_that_overtake_each_other_are_put_in_order() -> None:
    order = np.random.default_rng(0).permutation(5)
    seconds = (np.arange(200).reshape(40, 5)[:, order]).ravel() / 50
    line = laid_out(seconds)
    np.testing.assert_allclose(line.at_even(seconds[:, None])[:, 0], np.arange(200) / 50)


@pytest.mark.parametrize(
    ("seconds", "line", "message"),
    [
        (np.tile(np.arange(100) / 50, 2), 100, "the time goes back by 1.98 s"),
        (np.insert(np.arange(100) / 50, 60, 0.0), 60, "the time goes back"),
        (np.array([0, 1, np.nan, 3]), 2, "empty or not finite"),
        (np.array([0.0, 1.0, 1e12]), 2, "the time jumps by 1e\\+12 s, where a step is 1 s"),
    ],
)
def test_a_clock_that_begins_anew_or_jumps_is_an_error_that_names_the_line(seconds, line: int, message: str) -> None:
    with pytest.raises(LineError, match=message) as error:
        laid_out(seconds)
    assert error.value.line == line
