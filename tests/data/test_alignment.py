"""Files of one recording on their clocks: what is kept of each is compared with the moments it was written at."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmssl.data.alignment import Apart, Offset, Track, cut, merged
from mmssl.data.csv_folder import read
from mmssl.errors import UserError

EPOCH = 1.7e9
CHANNELS = "imu_channels: [acc_x, acc_y, acc_z]\n"  # that the moments rise is meant


def track(start: float | None, rate: float, seconds: float, *, epoch: bool = False) -> Track:
    """Its one column is the moment of each line."""
    moments = (start or 0.0) + np.arange(round(seconds * rate) + 1) / rate
    return Track(moments[:, None], 1 / rate, start, epoch)


@given(
    st.floats(0, 50), st.floats(0, 50), st.floats(3, 60), st.floats(3, 60), st.sampled_from([25.0, 30.0, 100.0]),
    st.booleans(),
)  # fmt: skip
def test_files_on_one_clock_are_cut_to_what_both_span(
    a: float, b: float, long: float, short: float, rate: float, epoch: bool
) -> None:
    base = EPOCH if epoch else 0.0
    tracks = {"body": track(base + a, rate, long, epoch=epoch), "wrist": track(base + b, 64.0, short, epoch=epoch)}
    first, last = max(one.start or 0 for one in tracks.values()), min(one.end for one in tracks.values())
    slack = 1 / 25
    if last - first < max(one.step or 0 for one in tracks.values()):
        with pytest.raises(Apart, match="nothing in common on one clock"):
            cut(tracks)
        return
    kept, how = cut(tracks)
    assert how.clock == ("epoch" if epoch else "own")
    for name, one in kept.items():
        own = tracks[name].values[:, 0]
        moments = one.values[:, 0]
        assert set(moments) >= set(own[(own >= first + 1e-5) & (own <= last - 1e-5)])
        assert moments[0] >= first - slack - 1e-5
        assert moments[-1] <= last + slack + 1e-5
        assert one.start == pytest.approx(moments[0], abs=1e-6)
    assert abs(how.begins - abs(a - b)) < 1e-5


def test_files_on_different_clocks_or_none_stay_whole() -> None:
    for other in (track(3.0, 64, 9), track(None, 64, 9)._replace(step=None), track(None, 64, 9)):
        tracks = {"body": track(EPOCH, 30, 5, epoch=True), "wrist": other}
        kept, how = cut(tracks)
        assert (kept, how.clock) == (tracks, "")
    with pytest.raises(Apart):
        cut({"body": track(EPOCH, 30, 5, epoch=True), "wrist": track(3.0, 64, 9)}, forced=True)


@given(st.floats(0, 2), st.floats(0, 2), st.sampled_from([(100, 50), (50, 100), (64, 64), (100, 33)]), st.booleans())
def test_files_of_one_modality_are_merged_at_the_moments_of_the_fastest(
    a: float, b: float, rates: tuple[int, int], epoch: bool
) -> None:
    base = EPOCH if epoch else 0.0
    one, two = (track(base + s, rate, 8, epoch=epoch) for s, rate in zip((a, b), rates, strict=True))
    both = merged([one, two])
    moments = (both.start or 0) + np.arange(len(both.values)) * (both.step or 0)
    # Both columns are time itself, so that interpolated or not each line holds its moment twice.
    np.testing.assert_allclose(both.values, np.stack([moments, moments], axis=1), atol=1e-5)
    assert both.step == 1 / max(rates)
    assert moments[0] >= base + max(a, b) - 1e-5
    assert moments[-1] <= min(one.end, two.end) + 1e-5
    assert len(moments) >= (min(one.end, two.end) - base - max(a, b)) * max(rates) - 2


def test_gaps_keep_their_moments_when_files_are_cut_or_merged() -> None:
    gap = track(10.0, 20.0, 50)._replace(gaps=((3.0, 5.0),))
    late = track(11.0, 20.0, 30)._replace(gaps=((1.5, 2.0),))
    both, _ = cut({"wrist": gap, "body": late})
    assert both["wrist"].start == pytest.approx(11)
    assert both["wrist"].gaps == (pytest.approx((2.0, 4.0)),)
    assert both["body"].gaps == ((1.5, 2.0),)
    one = merged([gap, late])
    begins = one.start or 0.0
    assert [(begins + a, begins + b) for a, b in one.gaps] == [pytest.approx((13, 15)), pytest.approx((12.5, 13))]


def written(folder: Path, *, body: float | None, wrist: float | None, seconds: float = 3.0) -> Path:
    """Three recordings; the first number of each line is its moment on the true clock."""
    folder.mkdir()
    lines = ["recording_id,label,subject,skeleton,imu"]
    for i in range(3):
        for name, start, rate, columns in (
            ("s", body, 30, "hips_x,hips_y,neck_x,neck_y"),
            ("i", wrist, 100, "acc_x,acc_y,acc_z"),
        ):
            moments = (start or 0.0) + np.arange(round(seconds * rate)) / rate
            rest = [1.0] * columns.count(",")
            rows = [[*([] if start is None else [f"{m:.9f}"]), m % 1e6 + 7, *rest] for m in moments]
            header = columns if start is None else f"time,{columns}"
            text = "\n".join([header, *(",".join(map(str, row)) for row in rows)])
            (folder / f"{name}{i}.csv").write_text(text + "\n")
        lines.append(f"r{i},sit,anna,s{i}.csv,i{i}.csv")
    (folder / "recordings.csv").write_text("\n".join(lines) + "\n")
    (folder / "description.yaml").write_text(CHANNELS)
    return folder


def test_what_is_cut_off_is_noted(tmp_path: Path) -> None:
    found = read(written(tmp_path / "a", body=EPOCH, wrist=EPOCH + 1))
    body, wrist = (found.recordings.arrays(one)[0] for one in ("skeleton", "imu"))
    assert body is not None
    assert wrist is not None
    assert body[0, 0, 0] == pytest.approx((EPOCH + 1) % 1e6 + 7, abs=0.04)
    assert wrist[0, 0] == pytest.approx((EPOCH + 1) % 1e6 + 7, abs=0.04)
    assert (len(body), len(wrist)) == (60, 197)
    assert (
        "3 of 3 recordings cut to the span that their files share, the first r0: a median of 1.03 s is cut off, at "
        "most 1.03 s (of r0); the files begin a median of 1 s apart"
    ) in found.notes


@pytest.mark.parametrize("base", [0.0, EPOCH])
def test_no_common_span_is_an_error_and_an_offset_is_the_way_on(tmp_path: Path, base: float) -> None:
    made = written(tmp_path / "a", body=base, wrist=base + 5)
    with pytest.raises(UserError) as error:
        read(made)
    assert "r0 and 2 more: " in str(error.value)
    assert "nothing in common on one clock" in str(error.value)
    assert "--offset skeleton=+5s" in str(error.value)
    shifted = read(made, offsets={"imu": Offset(-4.0)}).recordings
    body, wrist = (shifted.arrays(one)[0] for one in ("skeleton", "imu"))
    assert (body[0, 0, 0], wrist[0, 0]) == pytest.approx(((base + 1) % 1e6 + 7, (base + 5) % 1e6 + 7), abs=0.07)
    begun = read(made, offsets={"imu": Offset(0.0, from_start=True)}).recordings
    assert [len(begun.arrays(one)[0]) for one in ("skeleton", "imu")] == [90, 300]
    later = read(made, offsets={"imu": Offset(0.5, from_start=True)}).recordings
    body, wrist = (later.arrays(one)[0] for one in ("skeleton", "imu"))
    assert (body[0, 0, 0], wrist[0, 0]) == pytest.approx(((base + 0.5) % 1e6 + 7, (base + 5) % 1e6 + 7), abs=0.07)


def test_an_offset_needs_rates_and_a_modality_that_is_there(tmp_path: Path) -> None:
    made = written(tmp_path / "a", body=None, wrist=0.0)
    assert len(read(made).recordings.arrays("skeleton")[0]) == 90
    with pytest.raises(UserError, match=r"skeleton has no time stamps, and .* no rate of it \(hz\)"):
        read(made, offsets={"imu": Offset(0.5)})
    with pytest.raises(UserError, match=r"--offset imi: .*did you mean imu"):
        read(made, offsets={"imi": Offset(0.5)})
    (made / "description.yaml").write_text(CHANNELS + "skeleton_hz: 30\n")
    found = read(made, offsets={"imu": Offset(0.5)}).recordings
    assert [len(found.arrays(one)[0]) for one in ("skeleton", "imu")] == pytest.approx([75, 250], abs=4)
