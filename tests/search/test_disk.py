"""A disk that is full, really: a small file system in memory, which root may mount."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import small

from mmssl import Recordings
from mmssl.study.folder import Study

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

SPACE = small.space(2, grid={"objective.mu": [1, 5, 10, 25]}, keep_models="all")


def mounted(*words: str | Path) -> bool:
    return subprocess.run(["mount", *map(str, words)], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    if not mounted("-t", "tmpfs", "-o", "size=3m", "tmpfs", place):
        pytest.skip("only root may mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def command(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        small.tune(*words),
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=300,
    )


def test_a_full_disk_is_said_and_nothing_kept_is_lost(tmp_path: Path, small_disk: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    (tmp_path / "space.yaml").write_text(SPACE)
    words = ["launch", tmp_path / "space.yaml", "--dataset", tmp_path / "tiny.parquet", "--name", "study"]
    whole = command(*words, "--storage", tmp_path / "roomy")
    assert whole.returncode == 0, whole.stderr

    full = command(*words, "--storage", small_disk)
    assert full.returncode == 1, full.stdout + full.stderr
    assert "No space left on device" in full.stdout + full.stderr
    assert "Traceback" not in full.stdout + full.stderr
    study = Study(small_disk, "study")
    kept = {path: path.read_bytes() for path in study.folder.glob("trials/*/record.json")}
    assert len(study.records(study.plan())) == len(kept), "what was kept is whole"

    assert mounted("-o", "remount,size=100m", small_disk)
    for name in ("resume", "retry"):
        done = command(name, "study", "--storage", small_disk)
    assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs = (
        pd.read_parquet(Study(root, "study").folder / "trials.parquet") for root in (small_disk, tmp_path / "roomy")
    )
    same = ["trial_id", "status", "val.accuracy", "train.loss"]
    pd.testing.assert_frame_equal(ours[same], theirs[same])
    complete = [path for path, content in kept.items() if b'"COMPLETE"' in content]
    assert [path for path in complete if path.read_bytes() != kept[path]] == [], "what was complete ran again"
