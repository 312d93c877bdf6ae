"""A sampled study with pruning on real Ray: killed and taken up again, it ends as one that nobody disturbed."""

import os
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import small

from mmssl import Recordings
from mmssl.data.protocols import split
from mmssl.data.synthetic import generate
from mmssl.study.folder import Study
from mmssl.training.prepared import Prepared
from mmssl.training.trial import run_trial

SPACE = small.space(
    4,
    {"finetune.epochs": 3},
    sampler="tpe",
    budget=8,
    ranges={
        "objective.lambda": {"low": 1, "high": 100, "log": True},
        "pretrain.lr": {"low": 1e-5, "high": 1e-1, "log": True},
    },
    folds=[[1], [3]],
    prune={"probe": "halving", "every": 1},
)
# Rates that harm the encoders, break them and hardly change them: what is pruned does not hang on the last bits.
STOPPED_BETWEEN = small.space(
    4,
    {"finetune.epochs": 3},
    grid={"pretrain.lr": [0.05, 3.0, 1e-5]},
    folds=[[1]],
    prune={"probe": "halving", "every": 1},
)
VALUES = ["point_id", "status", "cause", "val.accuracy", "train.loss", "param.objective.lambda", "param.pretrain.lr"]


def run(*words: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        # One trial at a time: with more, what a sampler knows when it chooses depends on who ends first.
        small.tune(*words, "--local"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def recordings() -> Recordings:
    return generate(subjects=4, trials=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, recordings: Recordings) -> Path:
    folder = tmp_path_factory.mktemp("sampling")
    recordings.save(folder / "recordings.parquet")
    (folder / "space.yaml").write_text(SPACE)
    return folder


def launch(folder: Path, name: str, space: str = "space.yaml") -> "subprocess.Popen[str]":
    where = ["--dataset", folder / "recordings.parquet", "--storage", folder]
    return run("launch", folder / space, *where, "--name", name)


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Study:
    with launch(folder, "undisturbed") as process:
        out, _ = process.communicate(timeout=280)
    assert process.returncode == 0, out
    return Study(folder, "undisturbed")


def test_points_are_pruned_as_a_whole(undisturbed: Study) -> None:
    rows = pd.read_parquet(undisturbed.folder / "trials.parquet")
    assert len(rows) == 16
    assert set(rows["status"]) == {"COMPLETE", "PRUNED"}
    for _, point in rows.groupby("point_id"):
        pruned = point[point["status"] == "PRUNED"]
        if len(pruned):
            assert pruned["cause"].str.startswith("pruned at epoch").all()
            assert point.iloc[0]["status"] == "PRUNED", "its first trial, which was probed, did not go on"
    assert not list((undisturbed.folder / "progress").glob("*.safetensors"))


def test_a_trial_after_one_that_was_stopped_is_as_if_run_alone(folder: Path, recordings: Recordings) -> None:
    (folder / "between.yaml").write_text(STOPPED_BETWEEN)
    with launch(folder, "between", "between.yaml") as process:
        out, _ = process.communicate(timeout=280)
    assert process.returncode == 0, out
    study = Study(folder, "between")
    rows = pd.read_parquet(study.folder / "trials.parquet").sort_values("started").reset_index(drop=True)
    after = rows[(rows["status"] == "COMPLETE") & (rows["status"].shift() == "PRUNED")]
    assert len(after), "the space no longer has a trial that runs in the worker of one that was stopped"
    plan = study.plan()
    recipe = plan.recipe(plan.trial(after.iloc[0]["trial_id"]))
    outcome = run_trial(recipe, Prepared.of(recordings, 16, ["imu", "skeleton"]), split(recordings, recipe.data))
    assert outcome.metrics["train.loss"] == after.iloc[0]["train.loss"]
    assert outcome.metrics["val.accuracy"] == after.iloc[0]["val.accuracy"]


@pytest.mark.slow
def test_killed_and_taken_up_again_it_ends_as_the_undisturbed(folder: Path, undisturbed: Study) -> None:
    study = Study(folder, "killed")
    with launch(folder, "killed") as process:
        deadline = time.monotonic() + 200
        while len(list((study.folder / "points").glob("*.json"))) < 5:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.kill()
    with run("resume", "killed", "--storage", folder) as process:
        out, _ = process.communicate(timeout=250)
    assert process.returncode == 0, out
    ours, theirs = (
        pd.read_parquet(one.folder / "trials.parquet").set_index("trial_id")[VALUES] for one in (study, undisturbed)
    )
    pd.testing.assert_frame_equal(ours, theirs)
    assert [choice.point for choice in study.choices()] == [choice.point for choice in undisturbed.choices()]
