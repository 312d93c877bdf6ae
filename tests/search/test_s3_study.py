"""A study in an object store, its driver killed: it ends as one in a folder that nobody disturbed."""

import json
import os
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import small
from s3_store import CREDENTIALS, Store

import mmssl
from mmssl import Recordings
from mmssl.lease import LEASE_VARIABLE
from mmssl.study.folder import Study
from mmssl.trackers.optuna_study import optuna_study

pytestmark = pytest.mark.ray

# Trials in pairs that share their pre-training.
SPACE = small.space(4, grid={"finetune.lr": [0.001, 0.002]})
VALUES = ["status", "val.accuracy", "val.f1", "val.imu.accuracy", "train.loss", "train.finetune.loss", "pretraining_id"]


def means_of(study: Study) -> list[float]:
    return pd.read_parquet(study.folder / "trials.parquet").groupby("point_id")["val.accuracy"].mean().tolist()


@pytest.mark.slow
def test_a_killed_study_in_a_bucket_is_resumed_and_ends_as_one_in_a_folder(
    s3: Store, tmp_path: Path, tiny: Recordings
) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    (tmp_path / "space.yaml").write_text(SPACE)
    launch = ["launch", tmp_path / "space.yaml", "--dataset", tmp_path / "tiny.parquet", "--name", "study"]
    root = s3.make("studies").replace("?", "/of/mine?")
    environment = {**os.environ, LEASE_VARIABLE: "3", "MMSSL_SNAPSHOT_SECONDS": "0", "NO_COLOR": "1"}
    # Away from the tests' own folders, in which an export without --out would lie.
    environment["PYTHONPATH"] = str(Path(mmssl.__file__).parents[1])

    def done(*words: str | Path) -> "subprocess.CompletedProcess[str]":
        ended = subprocess.run(small.tune(*words), capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in ended.stdout + ended.stderr
        return ended

    study = Study(root, "study")
    with subprocess.Popen(small.tune(*launch, "--storage", root), env=environment, stderr=subprocess.PIPE) as driver:
        while not any(name.endswith("record.json") for name in study.files.names("trials")):
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.1)
        driver.kill()
    kept = set(study.records(study.plan()))
    assert 1 <= len(kept) <= 6
    assert study.in_use(), "until its lease ends"
    times = study.files.modified(study.files.names("trials"))

    resumed = done("resume", "study", "--storage", root)
    assert f"{len(kept)} COMPLETE, {6 - len(kept)} missing" in resumed.stdout
    assert f"best study --storage '{root}' --export" in resumed.stdout
    assert not study.in_use()
    again = study.files.modified(study.files.names("trials"))
    ran_again = [name for name in times if name.endswith("record.json") and again[name] != times[name]]
    assert ran_again == [], "what had ended was run again"

    done(*launch, "--storage", tmp_path)
    local = Study(tmp_path, "study")
    for table, values in (("trials", VALUES), ("epochs", ["train.loss"]), ("predictions", ["predicted", "confidence"])):
        keys = ["trial_id", *{"trials": [], "epochs": ["phase", "epoch"], "predictions": ["recording_id"]}[table]]
        ours = study.table(f"{table}.parquet").to_pandas().sort_values(keys, ignore_index=True)
        theirs = pd.read_parquet(local.folder / f"{table}.parquet").sort_values(keys, ignore_index=True)
        pd.testing.assert_frame_equal(ours[keys + values], theirs[keys + values])
    assert len(study.table("trials.parquet")) == 6

    seen = optuna_study(study, study.plan()).trials
    scores = study.table("trials.parquet").select(["trial_id", "val.accuracy"]).to_pandas()
    values = dict(scores.itertuples(index=False))
    assert {trial.user_attrs["trial_id"]: trial.value for trial in seen} == values
    assert b"COMPLETE" in study.log()
    assert study.files.names("progress") == []
    everything = b"".join(study.files.read(name) for name in study.files.names(""))
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"].encode() not in everything

    points = json.loads(done("results", "--storage", root, "--json").stdout)["points"]
    assert sorted(point["mean"] for point in points) == pytest.approx(sorted(means_of(local)))
    best = json.loads(done("best", "--export", "--storage", root, "--json").stdout)
    folder = tmp_path / "exports" / "study" / best["best"]["point_id"]
    assert best["export"]["folder"] == str(folder)
    assert set(mmssl.load_encoders(folder).predict(tiny)) <= {"slow", "middle", "fast"}
    assert len(study.looks()) == 1
