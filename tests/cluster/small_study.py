"""A study long enough to be disturbed: six trials of some seconds each."""

from pathlib import Path

import pandas as pd
import small

from mmssl import Recordings
from mmssl.study.folder import Study

TRIALS, EPOCHS = 6, 1000
GIVEN = ["/srv/space.yaml", "--dataset", "/srv/tiny.parquet"]
"""What `mmssl-tune launch` is told on a machine that sees the folder as /srv."""
_SPACE = small.space(EPOCHS, grid={"objective.mu": list(range(1, TRIALS + 1))}, folds=[["ben"]])


def lay_out(folder: Path, recordings: Recordings) -> None:
    """Put what the study needs into a folder."""
    recordings.save(folder / "tiny.parquet")
    (folder / "space.yaml").write_text(_SPACE)


def check_whole(study: Study) -> None:
    """Each trial ran to its end, and each of its epochs is there once, however often it was begun."""
    assert pd.read_parquet(study.folder / "trials.parquet")["status"].tolist() == ["COMPLETE"] * TRIALS
    epochs = pd.read_parquet(study.folder / "epochs.parquet")
    assert not epochs.duplicated(["trial_id", "phase", "epoch"]).any()
    assert epochs[epochs["phase"] == "pretrain"].groupby("trial_id").size().tolist() == [EPOCHS] * TRIALS
