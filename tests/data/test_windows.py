from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmssl import Description, Recordings, Row, UserError
from mmssl.data.description import Window
from mmssl.data.moments import own_moments
from mmssl.data.windows import Interval, Timing, cut, intervals_in
from mmssl.evaluation import by_majority

RATES = {"body": 10.0, "wrist": 50.0}


def stream(seconds: float = 10.0, name: str = "s", rates: Any = RATES, **row: str) -> Recordings:
    """One stream whose numbers say when each line was taken."""
    description = Description.model_validate(
        {
            "name": "lab",
            "classes": ("walk",) if row.get("label") else (),
            "modalities": {
                "body": {
                    "kind": "skeleton", "joints": ("hip", "neck"), "coordinates": ("x", "y"), "root_joint": "hip",
                    "scale_joints": ("hip", "neck"), "hz": rates.get("body"),
                },
                "wrist": {"kind": "signal", "channels": ("x",), "hz": rates.get("wrist")},
            },
        }
    )  # fmt: skip
    frames = np.arange(round(seconds * RATES["body"])) / RATES["body"]
    body = np.stack([np.stack([frames, 0 * frames], 1), np.stack([frames, 1 + 0 * frames], 1)], 1)
    samples = np.arange(round(seconds * RATES["wrist"])) / RATES["wrist"]
    own = Row(recording_id=name, **{"subject": "anna", **row})
    return Recordings(description, [own], body=[body], wrist=[samples[:, None]])


def moments(made: Recordings, name: str) -> list[tuple[float, int]]:
    """When each window begins by its numbers, and how many lines it has."""
    return [
        (float(array.reshape(len(array), -1)[0, 0]), len(array)) for array in made.arrays(name) if array is not None
    ]


def test_windows_are_whole_begin_every_stride_and_hold_the_same_moments_of_each_modality() -> None:
    made = cut(stream(), Window(seconds=3, stride=1.5), {}, {}).recordings
    assert moments(made, "wrist") == [(pytest.approx(1.5 * k), 150) for k in range(5)]
    assert moments(made, "body") == [(pytest.approx(1.5 * k), 30) for k in range(5)]
    assert [(row.source, row.start, row.end) for row in made.rows] == [("s", 1.5 * k, 1.5 * k + 3) for k in range(5)]
    assert [row.recording_id for row in made.rows][:2] == ["s/0.000", "s/1.500"]
    assert made.description.window == Window(seconds=3, stride=1.5)


def test_a_window_that_a_gap_of_one_modality_halves_is_left_out() -> None:
    gaps = {"wrist": ((3.0, 4.0), (4.5, 5.2)), "body": ((8.1, 9.0),)}
    made, notes = cut(stream(label="walk"), Window(seconds=2, stride=1), {}, {"s": Timing(0.0, {}, gaps=gaps)})
    # From 2, 3 and 4 the gaps take 1, 1.5 and 0.7 s; from 7 and 8 they take 0.9.
    assert [row.start for row in made.rows] == [0, 1, 4, 5, 6, 7, 8]
    assert moments(made, "wrist")[2] == (pytest.approx(4), 100)
    gone = "left out, as half or more of it lies in a gap, where nothing was measured: "
    assert f"{gone}2 windows, the first s/2.000" in notes
    seen = {"s": [Interval(0, 2, "sit"), Interval(3, 4.6, "walk")]}
    made, notes = cut(stream(), None, seen, {"s": Timing(0.0, {}, gaps=gaps)})
    assert [row.label for row in made.rows] == ["sit"]
    assert f"{gone}1 interval, the first s/3.000" in notes
    with pytest.raises(UserError, match="no recording is long enough outside of the gaps where nothing was measured"):
        cut(stream(), Window(seconds=5, stride=5), {}, {"s": Timing(0.0, {}, gaps={"wrist": ((1.0, 9.0),)})})


@given(st.integers(5, 300), st.floats(0.2, 5), st.floats(0.1, 5))
def test_no_window_reaches_beyond_its_stream_and_none_that_fits_is_missing(
    tenths: int, seconds: float, stride: float
) -> None:
    lasts, window = tenths / 10, Window(seconds=seconds, stride=stride)
    fitting = [k for k in range(400) if k * stride + seconds <= lasts + 1e-7]
    if not fitting:
        with pytest.raises(UserError, match="no recording is long enough for windows"):
            cut(stream(lasts), window, {}, {})
        return
    made = cut(stream(lasts), window, {}, {}).recordings
    assert len(made) == len(fitting)
    for name, rate in RATES.items():
        assert {lines for _, lines in moments(made, name)} == {max(1, round(seconds * rate))}
        begins = [moment for moment, _ in moments(made, name)]
        np.testing.assert_allclose(begins, [k * stride for k in fitting], atol=1.01 / rate)


def test_a_window_has_the_label_of_the_interval_that_covers_half_of_it() -> None:
    seen = {"s": [Interval(0, 3.9, "sit"), Interval(4, 5.5, "walk"), Interval(8, 10, "sit")]}
    made = cut(stream(), Window(seconds=2, stride=1), seen, {}).recordings
    # 3 to 5 is covered by 0.9 s of sit and 1 s of walk, 5 to 7 by 0.5 s of walk, 7 to 9 by 1 s of the last.
    labels = ["sit", "sit", "sit", "walk", "walk", "", "", "sit", "sit"]
    assert [row.label for row in made.rows] == labels
    assert [row.interval for row in made.rows] == ["1", "1", "1", "2", "2", "", "", "3", "3"]
    assert made.description.classes == ("sit", "walk")
    assert len({row.unit for row in made.rows}) == 4


def test_several_cameras_windows_of_one_interval_count_as_one_and_show_the_same_moments() -> None:
    seen = [Interval(0, 5.5, "sit"), Interval(5.5, 8, "walk")]
    first, second, later = (
        cut(stream(name=name, view=view, trial=trial), Window(seconds=2, stride=2), {name: seen}, {}).recordings.rows
        for name, view, trial in (("a_1", "1", "1"), ("a_2", "2", "1"), ("b_1", "1", "2"))
    )
    assert [row.unit for row in first] == [row.unit for row in second]
    assert len({row.unit for row in first}) == 3, "one sits, one walks, and what has no label"
    assert not {row.unit for row in first} & {row.unit for row in later}
    rows = [*first, *second, *later]
    shown = own_moments(rows)
    assert shown is not None
    assert [rows[i].recording_id for i in np.flatnonzero(shown(5 + 3))] == ["a_1/6.000", "a_2/6.000"]
    assert shown(5).tolist() == [True, True, True, False, False] * 2 + [False] * 5


def test_without_a_window_intervals_are_the_recordings() -> None:
    made = cut(stream(), None, {"s": [Interval(1, 3.5, "sit"), Interval(4, 5, "walk")]}, {}).recordings
    assert [(row.label, row.start, row.end) for row in made.rows] == [("sit", 1, 3.5), ("walk", 4, 5)]
    assert moments(made, "wrist") == [(1, 125), (4, 50)]
    assert moments(made, "body") == [(1, 25), (4, 10)]


def test_a_stream_of_one_label_gives_windows_of_it() -> None:
    made = cut(stream(label="walk"), Window(seconds=5, stride=5), {}, {}).recordings
    assert [(row.label, row.subject, row.unit) for row in made.rows] == [("walk", "anna", "s#")] * 2


@pytest.mark.parametrize(
    ("start", "seen"),
    [
        (0.0, Interval(2, 6, "sit")),
        (100.0, Interval(102, 106, "sit")),  # Both on a clock of their own.
        (1.7e9, Interval(2, 6, "sit")),  # Seconds from the beginning of a stream that has stamps.
        (1.7e9, Interval(1.7e9 + 2, 1.7e9 + 6, "sit")),
    ],
)
def test_intervals_are_on_the_stream_s_clock_or_from_its_beginning(start: float, seen: Interval) -> None:
    made = cut(stream(), None, {"s": [seen]}, {"s": Timing(start, {})}).recordings
    assert [(row.start, row.end) for row in made.rows] == [(pytest.approx(2), pytest.approx(6))]


def test_intervals_of_another_clock_are_refused() -> None:
    with pytest.raises(
        UserError, match="s: its intervals lie from 50 to 60 s, and it spans 0 to 10: they are of another"
    ):
        cut(stream(), None, {"s": [Interval(50, 60, "sit")]}, {})


def test_seconds_from_the_beginning_hold_on_any_clock() -> None:
    seen = {"s": [Interval(0, 5, "sit"), Interval(5, 9, "walk")]}
    made, notes = cut(stream(), None, seen, {"s": Timing(25.0, {})})  # Seconds since the device was switched on.
    assert [(row.label, row.start, row.end) for row in made.rows] == [("sit", 0, 5), ("walk", 5, 9)]
    assert notes[1] == (
        "intervals of 1 recording, as s, count from its beginning: on its clock, which begins at 25 s, some would lie "
        "outside of it"
    )


def test_where_intervals_may_be_either_the_stream_s_clock_counts_and_is_named() -> None:
    made, notes = cut(stream(), None, {"s": [Interval(4, 6, "sit")]}, {"s": Timing(3.0, {})})
    assert [(row.start, row.end) for row in made.rows] == [(1, 3)]
    assert notes[1] == "intervals of 1 recording, as s, are taken for stamps of its clock, which begins at 3 s"


def test_seconds_from_the_beginning_need_files_that_begin_together() -> None:
    seen = {"s": [Interval(4, 6, "sit")]}
    with pytest.raises(
        UserError, match="s: its intervals count seconds from its beginning, and its files begin 8 s ap"
    ):
        cut(stream(), None, seen, {"s": Timing(1.7e9, {}, late=8.0)})
    _, notes = cut(stream(), None, seen, {"s": Timing(1.7e9, {}, late=0.4)})
    assert notes[1] == (
        "seconds of intervals of 1 recording, as s, count from when the last of its files begins, up to 0.4 s after "
        "the first"
    )
    stamped = {"s": [Interval(1.7e9 + 4, 1.7e9 + 6, "sit")]}
    assert len(cut(stream(), None, stamped, {"s": Timing(1.7e9, {}, late=8.0)}).notes) == 1


def test_intervals_outside_of_their_stream_are_counted() -> None:
    seen = {"s": [Interval(2, 6, "sit"), Interval(11, 12, "walk"), Interval(12, 14, "walk")]}
    made, notes = cut(stream(), None, seen, {})
    assert len(made) == 1
    said = "2 of 3 intervals lie outside of their recordings and are left out, the first from 11 to 12 s of s"
    assert notes[1] == said


def test_intervals_in_another_unit_are_refused() -> None:
    seen = {"s": [Interval(0, 5000, "sit"), Interval(5000, 9000, "walk")]}  # Milliseconds.
    with pytest.raises(UserError, match="s: sit from 0 to 5000 s is longer than it, which lasts 10 s, and 1 of its 2"):
        cut(stream(), Window(seconds=2, stride=1), seen, {})
    stamped = {"s": [Interval(1.7e9, 1.7e9 + 5000, "sit"), Interval(1.7e9 + 5000, 1.7e9 + 9000, "walk")]}
    assert len(cut(stream(), None, stamped, {"s": Timing(1.7e9, {})}).recordings) == 1  # Of stamps the unit is known.


def test_a_stream_of_another_rate_is_cut_by_its_own() -> None:
    whole = stream(rates={"body": 10.0, "wrist": 25.0})  # What the description says is of most, not of this one.
    made = cut(whole, Window(seconds=2, stride=4), {}, {"s": Timing(0.0, {"wrist": 50.0})}).recordings
    assert moments(made, "wrist") == [(0, 100), (4, 100), (8, 100)]


def test_what_has_no_rate_cannot_be_cut() -> None:
    with pytest.raises(UserError, match="how many lines of wrist a second has is not known: give its files time"):
        cut(stream(rates={"body": 10.0}), Window(seconds=1, stride=1), {}, {})


@pytest.mark.parametrize(
    ("start", "end", "seconds"),
    [
        ("2.5", "4", (2.5, 4)),
        ("1700000000", "1700000001.5", (1.7e9, 1.7e9 + 1.5)),
        ("1700000000000", "1700000001500", (1.7e9, 1.7e9 + 1.5)),
        ("1700000000000000000", "1700000001500000000", (1.7e9, 1.7e9 + 1.5)),
        ("2023-11-14T22:13:20Z", "2023-11-14T23:13:21.5+01:00", (1.7e9, 1.7e9 + 1.5)),
        ("2023-11-14 22:13:20", "2023-11-14 22:13:21.5", (1.7e9, 1.7e9 + 1.5)),
    ],
)
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_annotations_are_read_in_any_unit(start: str, end: str, seconds: tuple[float, float], mark: str) -> None:
    text = f"Label,start, end\nsit,{start},{end}\n\n".replace(",", mark)
    [one] = intervals_in(text.replace(".", ",") if mark == ";" else text)
    assert (one.start, one.end) == (pytest.approx(seconds[0], abs=1e-6), pytest.approx(seconds[1], abs=1e-6))
    assert one.label == "sit"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("start,stop,label\n1,2,sit\n", "no column end in its header"),
        ("start,end,label\n2,1,sit\n", "line 2: it ends at 1, and begins at 2"),
        ("start,end,label\n1,x,sit\n", "line 2: 'x' is neither a number nor a date with a time"),
        ("start,end,label\n1,nan,sit\n", "line 2: 'nan' is no moment"),
        ("start,end,label\n1,3,sit\n2,4,walk\n", "sit from 1 to 3 and walk from 2 overlap: a moment has one label"),
        ("start,end,label\n1,9,sit\n2,3,sit\n4,5,walk\n", "sit from 1 to 9 and walk from 4 overlap"),
        ("start,end,label\n1,3\n", "line 2: 2 cells, and the header has 3"),
    ],
)
def test_annotations_that_cannot_be_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        intervals_in(text)


def test_windows_are_kept_in_a_file(tmp_path: Any) -> None:
    made = cut(stream(), Window(seconds=2, stride=1), {"s": [Interval(0, 4, "sit")]}, {}).recordings
    made.save(tmp_path / "windows.parquet")
    again = Recordings.load(tmp_path / "windows.parquet")
    assert (again.rows, again.description, again.fingerprint) == (made.rows, made.description, made.fingerprint)


def test_an_interval_is_what_most_of_its_windows_are_and_of_a_tie_what_is_surer() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.45, 0.55], [0.2, 0.8], [0.9, 0.1]])
    labels, predicted = by_majority(["a", "a", "a", "b", "b"], np.array([1, 1, 1, 0, 0]), probabilities)
    assert labels.tolist() == [1, 0]
    assert predicted.tolist() == [1, 0]  # 2 votes of 3; 1 of 2 each, and 1.1 of probability against 0.9.
