"""Folders that were misread or refused for the wrong reason, each made again in small and read whole."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from mmssl.data.csv_folder import Imported, read
from mmssl.errors import UserError

JOINTS = "pelvis,neck,head,hand"
WALK = "acc_x,acc_y,acc_z"
NANOS = 1_727_600_000_000_000_000
DAY = datetime(2024, 7, 20, 12, tzinfo=UTC)


def made(folder: Path, header: str, row: Callable[[int, str], str], lines: int = 150, body: str = "") -> Path:
    """Four recordings of two classes; `row` gives the line of a signal from its number and three numbers."""
    draws = np.random.default_rng(0)
    table = ["recording_id,label,subject,skeleton,imu"]
    for i in range(4):
        walk = draws.normal(size=(lines, 3)).cumsum(axis=0)
        texts = [",".join(f"{value:.5f}" for value in line) for line in walk]
        (folder / f"i{i}.csv").write_text("\n".join([header, *map(row, range(lines), texts)]) + "\n")
        places = draws.normal(size=(60, 12))
        names = ",".join(f"{joint}_{axis}" for joint in JOINTS.split(",") for axis in "xyz")
        rows = [",".join(f"{value:.5f}" for value in line) for line in places]
        if body:
            rows = [f"{float(body) + k / 30},{line}" for k, line in enumerate(rows)]
        (folder / f"s{i}.csv").write_text("\n".join([f"time,{names}" if body else names, *rows]) + "\n")
        table.append(f"r{i},{'ab'[i % 2]},anna,s{i}.csv,i{i}.csv")
    (folder / "recordings.csv").write_text("\n".join(table) + "\n")
    return folder


def shapes(found: Imported) -> set[tuple[int, ...]]:
    return {array.shape for array in found.recordings.arrays("imu") if array is not None}


@pytest.mark.parametrize(
    ("header", "row", "rate"),
    [
        (f"time,{WALK}", lambda i, text: f"{i / 1000:.2f},{text}", 1000),  # hundredths of a second at 1000 a second
        (f"time,seconds_elapsed,{WALK}", lambda i, text: f"{NANOS + i * 10**7},{i / 100},{text}", 100),
        (f"time,{WALK}", lambda i, text: f"{(DAY + timedelta(milliseconds=10 * i)).isoformat()},{text}", 100),
        (f"time,{WALK}", lambda i, text: f"{DAY + timedelta(milliseconds=10 * i):%H:%M:%S.%f},{text}", 100),
        (f"Time (s),{WALK}", lambda i, text: f"{(i - (i > 70)) / 100},{text}", 100),  # one stamp stands twice
        (f"{WALK},activity_id", lambda i, text: f"{text},{i % 2}", None),
    ],
)  # fmt: skip
def test_every_line_is_kept_under_three_channels(tmp_path: Path, header: str, row, rate: float | None) -> None:
    found = read(made(tmp_path, header, row))
    assert shapes(found) <= {(150, 3), (149, 3)}
    assert any(": 3" in note or "3 IMU" in note for note in found.notes if WALK.replace(",", ", ") in note)
    if rate:
        assert any(f"{rate:g} a second by its time stamps" in note for note in found.notes)
    else:
        assert any("activity_id (label)" in note for note in found.notes)


def test_two_modalities_without_a_common_moment_are_refused(tmp_path: Path) -> None:
    made(tmp_path, f"time,{WALK}", lambda i, text: f"{1_700_000_005 + i / 100},{text}", body="1700000000")
    with pytest.raises(UserError, match="nothing in common on one clock"):
        read(tmp_path)


def test_a_header_that_names_a_column_thrice_is_the_one_fault(tmp_path: Path) -> None:
    made(tmp_path, "left,left,left\nx,y,z", lambda i, text: text)
    with pytest.raises(UserError) as error:
        read(tmp_path)
    assert str(error.value).splitlines()[1:] == ["  i0.csv and 3 more: column left stands more than once in the header"]
