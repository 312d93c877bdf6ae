"""Stamps of every kind, against the moments that they were written from."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmssl.data.clock import clock_of
from mmssl.data.columns import is_clock, no_signal

START = datetime(2024, 7, 20, 23, 59, 59, 500_000, UTC)
MOMENTS = [START + timedelta(milliseconds=10 * i) for i in range(200)]
SECONDS = np.array([moment.timestamp() for moment in MOMENTS])


def numbers(name: str, values: np.ndarray, unit: str = ""):
    return name, unit, pa.chunked_array([pa.array(np.asarray(values, dtype=np.float64))])


def texts(name: str, values: list[str]):
    return name, "", pa.chunked_array([pa.array(values)])


@pytest.mark.parametrize("name", ["time", "time_s", "timestamp", "Time (ms)", "seconds_elapsed", "t"])
@pytest.mark.parametrize("size", [1.0, 1e3, 1e6, 1e9])
def test_stamps_since_1970_tell_their_unit_by_their_size(name: str, size: float) -> None:
    clock = clock_of([numbers(name, np.round(SECONDS * size))])
    if size == 1:  # whole seconds
        clock = clock_of([numbers(name, SECONDS)])
    assert clock.epoch
    np.testing.assert_allclose(clock.seconds, SECONDS, atol=1e-6)
    assert bool(clock.notes) == (
        (name in ("time_s", "seconds_elapsed") and size != 1) or (name == "Time (ms)" and size != 1e3)
    )


@given(
    rate=st.floats(10, 2000),
    unit=st.sampled_from([("s", 1.0), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)]),
    start=st.floats(0, 5000),
    named=st.booleans(),
)
def test_a_clock_of_its_own_is_read_by_name_and_step(
    rate: float, unit: tuple[str, float], start: float, named: bool
) -> None:
    word, size = unit
    seconds = start + np.arange(300) / rate
    # In milliseconds a thousand lines a second and more look like a line a second: there the name must say it.
    name = f"time_{word}" if named or (word != "s" and 1 / rate * size < 3) else "time"
    if (name == "time" and word == "us" and size / rate <= 1000) or (
        name == "time" and word == "ns" and size / rate <= 1e6
    ):
        return
    clock = clock_of([numbers(name, seconds * size)])
    assert not clock.epoch
    np.testing.assert_allclose(clock.seconds, seconds, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "write",
    [
        lambda moment: moment.isoformat(),
        lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        lambda moment: moment.strftime("%Y-%m-%d %H:%M:%S.%f"),
        lambda moment: moment.strftime("%Y/%m/%d %H:%M:%S,%f"),
        lambda moment: moment.strftime("%d.%m.%Y %H:%M:%S.%f"),
        lambda moment: moment.strftime("%m/%d/%Y %I:%M:%S.%f %p"),
        lambda moment: moment.strftime("%d-%m-%Y %H:%M:%S:%f"),
        lambda moment: moment.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat(" "),
        lambda moment: moment.astimezone(timezone(-timedelta(hours=7))).strftime("%Y-%m-%d %H:%M:%S.%f%z"),
    ],
)
def test_dates_and_times_are_read_with_and_without_a_zone(write) -> None:
    clock = clock_of([texts("timestamp", [write(moment) for moment in MOMENTS])])
    assert clock.epoch
    np.testing.assert_allclose(clock.seconds, SECONDS, atol=1e-6)


def test_date_and_time_of_day_in_two_columns_are_one_clock() -> None:
    clock = clock_of(
        [
            texts("date", [moment.strftime("%d.%m.%Y") for moment in MOMENTS]),
            texts("time", [moment.strftime("%H:%M:%S.%f") for moment in MOMENTS]),
        ]
    )
    # Past midnight date and time of day both go on.
    assert clock.epoch
    np.testing.assert_allclose(clock.seconds, SECONDS, atol=1e-6)


def test_a_time_of_day_goes_on_after_midnight() -> None:
    clock = clock_of([texts("time", [moment.strftime("%H:%M:%S.%f") for moment in MOMENTS])])
    assert not clock.epoch
    np.testing.assert_allclose(np.diff(clock.seconds), 0.01, atol=1e-6)


def test_of_several_clocks_the_finest_and_then_that_since_1970_is_read() -> None:
    elapsed = numbers("seconds_elapsed", np.arange(200) / 100)
    clock = clock_of([elapsed, numbers("time", SECONDS * 1e9)])
    assert clock.epoch
    assert clock.notes == ("seconds_elapsed not read: time is the clock",)
    coarse = texts("timestamp", [moment.strftime("%Y-%m-%d %H:%M:%S") for moment in MOMENTS])
    np.testing.assert_allclose(clock_of([coarse, elapsed]).seconds, np.arange(200) / 100)


def test_days_of_spreadsheets_and_of_matlab() -> None:
    for before in (25_569, 719_529):
        clock = clock_of([numbers("time", SECONDS / 86_400 + before)])
        assert clock.epoch
        np.testing.assert_allclose(clock.seconds, SECONDS, atol=2e-5)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (texts("time", ["noon", "later"]), "time is neither a number nor a date or a time of day: 'noon'"),
        (texts("date", ["2024-13-40", "2024-13-40"]), "there is no such date"),
        (texts("time", ["2024-07-20 12:00:00", "12:00:01"]), "some lines have a date and some have none"),
        (numbers("time", np.arange(9) * 1e14), "no unit of time"),
        (numbers("time", np.full(3, np.nan)), "empty throughout"),
    ],
)
def test_what_is_no_clock_is_refused(column, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clock_of([column])


def test_names_of_clocks_and_of_what_is_no_signal() -> None:
    clocks = "time Time timestamp TIMESTAMP t ts time_ms Time(s) seconds_elapsed date DateTime time_stamp epoch_ms"
    clocks += " Timestamp_Unix_CAL sensorTimestamp time[ms] unix_time elapsed_time sample_time"
    assert [name for name in clocks.split() if not is_clock(name)] == []
    others = {
        "label": "label Label activity_id activity class activity_label gesture",
        "person": "subject subject_id Person participant user_id",
        "counter": "index frame frame_number PacketCounter packet_counter sample Unnamed:0 row",
        "flag": "flag status valid battery",
        "id": "id trial device sensor_id",
    }
    assert {name: no_signal(name) for kind in others for name in others[kind].split() if no_signal(name) != kind} == {}
    signals = "x y z acc_x gyro_y a g m heart emg1 temperature Acceleration_x pressure wrist_acc_x w qx classic timer_x"
    assert [name for name in signals.split() if no_signal(name)] == []


@pytest.mark.parametrize("name", ["time", "time_hhmmss", "UTC time (HHMMSS.sss)"])
def test_hours_minutes_and_seconds_in_a_row_are_a_time_of_day(name: str) -> None:
    """Over the end of a minute, of an hour and of the day."""
    for start in (
        datetime(2024, 7, 20, 10, 14, 58),
        datetime(2024, 7, 20, 9, 59, 58),
        datetime(2024, 7, 20, 23, 59, 58),
    ):
        moments = [start + timedelta(milliseconds=10 * i) for i in range(500)]
        written = np.array([float(f"{one:%H%M%S}.{one.microsecond // 1000:03d}") for one in moments])
        clock = clock_of([numbers(name, written)])
        assert not clock.epoch
        expected = 3600 * start.hour + 60 * start.minute + start.second + 0.01 * np.arange(500)
        np.testing.assert_allclose(clock.seconds, expected, atol=1e-6)
        assert any("is a time of day" in note for note in clock.notes)
    assert is_clock(name.partition(" (")[0])


@given(start=st.floats(0, 86_000), rate=st.floats(20, 1000), count=st.integers(3, 4000))
def test_seconds_of_a_clock_of_its_own_are_never_taken_for_that(start: float, rate: float, count: int) -> None:
    seconds = start + np.arange(count) / rate
    clock = clock_of([numbers("time", seconds)])
    np.testing.assert_allclose(clock.seconds, seconds, rtol=1e-12)


def test_a_name_that_says_so_and_a_number_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="no more than 23 hours, 59 minutes and 59 seconds"):
        clock_of([numbers("time_hhmmss", np.array([101_559.0, 101_561.0]))])
