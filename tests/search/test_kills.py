"""A study whose processes are killed at random moments ends as one that nobody disturbed."""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import pandas as pd
import psutil
import pytest

from mmssl import Recordings
from mmssl.search.store import Study

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]

# 6 points x 2 seeds x 3 folds = 36 trials; two points share their pre-training, one system is guided by two others.
SPACE = """
systems: [vicreg, cmc_cmkm]
fixed:
  data.steps: 16
  encoder.imu.layers: 1
  encoder.imu.feedforward: 16
  encoder.projector.hidden: 16
  encoder.projector.width: 8
  pretrain.epochs: 12
  pretrain.batch_size: 16
  guide.epochs: 2
  finetune.hidden: 8
  finetune.epochs: 3
grid:
  finetune.lr: [0.001, 0.002]
  objective.temperature: [0.1, 0.2]
where: system == "cmc_cmkm" or temperature == 0.1
seeds: [28, 29]
"""
VALUES = ["status", "val.accuracy", "val.f1", "val.imu.accuracy", "train.loss", "train.finetune.loss", "pretraining_id"]


def start(*words: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "mmssl.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "NO_COLOR": "1", "MMSSL_SNAPSHOT_SECONDS": "0"},
    )


def processes(driver: int) -> dict[str, list[psutil.Process]]:
    """The driver's processes: its workers, and all that belong to its Ray."""
    try:
        family = psutil.Process(driver).children(recursive=True)
    except psutil.NoSuchProcess:
        return {"worker": [], "ray": []}

    def named(process: psutil.Process, part: str) -> bool:
        try:
            return part in " ".join(process.cmdline())
        except psutil.Error:
            return False

    return {"worker": [one for one in family if named(one, "ray::ImplicitFunc.train")], "ray": family}


def at_work(driver: "subprocess.Popen[str]") -> bool:
    """Wait until a worker trains; False where the driver ends before."""
    while driver.poll() is None:
        if processes(driver.pid)["worker"]:
            return True
        time.sleep(0.1)
    return False


def kill(driver: int, victim: str, draws: random.Random) -> bool:
    if victim == "driver":
        psutil.Process(driver).kill()
        return True
    found = processes(driver)[victim]
    chosen = [draws.choice(found)] if victim == "worker" and found else found
    for process in chosen:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    return bool(chosen)


def test_killed_at_random_a_study_ends_as_if_undisturbed(tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    (tmp_path / "space.yaml").write_text(SPACE)
    words = [
        "launch",
        "--space",
        tmp_path / "space.yaml",
        "--dataset",
        tmp_path / "tiny.parquet",
        "--storage",
        tmp_path,
    ]
    with start(*words, "--name", "undisturbed") as whole:
        assert whole.wait(600) == 0, whole.communicate()[0]

    draws = random.Random(int(os.environ.get("MMSSL_KILL_SEED", "0")))  # noqa: S311 - chance, not a secret
    kills: Counter[str] = Counter()
    resumes = -1
    study = Study(tmp_path, "killed")
    driver = start(*words, "--name", "killed")
    while True:
        resumes += 1
        for _ in range(3):
            if not at_work(driver):
                break
            time.sleep(draws.uniform(0, 4))
            if driver.poll() is not None:
                break
            victim = draws.choice(["driver", "worker", "worker", "ray"])
            kills[victim] += kill(driver.pid, victim, draws)
            if victim == "driver":
                break
        try:
            driver.wait(120)
        except subprocess.TimeoutExpired:
            for process in [*processes(driver.pid)["ray"], psutil.Process(driver.pid)]:
                process.kill()
            pytest.fail("the driver neither ended nor went on after its Ray was killed")
        with driver:
            out = driver.communicate()[0]
        assert resumes < 40, out
        if not study.plan_path.exists():  # Killed before the plan was written: there is nothing to resume yet.
            driver = start(*words, "--name", "killed")
        elif len(study.records(study.plan())) < 36:
            driver = start("resume", "killed", "--storage", tmp_path)
        elif (pd.read_parquet(study.trials_path)["status"] == "FAILED").any():
            driver = start("retry", "killed", "--storage", tmp_path)
        elif driver.returncode == 0:
            break
        else:  # All records are there, the last tables may not be.
            driver = start("resume", "killed", "--storage", tmp_path)
    print(f"kills {dict(kills)}, resumes {resumes}")

    undisturbed = Study(tmp_path, "undisturbed")
    ours, theirs = (pd.read_parquet(one.trials_path).set_index("trial_id") for one in (study, undisturbed))
    assert len(theirs) == 36
    assert sum(kills.values()) >= 6
    pd.testing.assert_frame_equal(ours[VALUES], theirs[VALUES])
    keys = ["trial_id", "phase", "epoch"]
    curves, whole_curves = (pd.read_parquet(one.epochs_path) for one in (study, undisturbed))
    assert not curves.duplicated(keys).any()
    pd.testing.assert_frame_equal(
        curves.sort_values(keys, ignore_index=True), whole_curves.sort_values(keys, ignore_index=True)
    )
    seen = optuna.load_study(study_name="killed", storage=f"sqlite:///{study.optuna_path}").trials
    assert Counter(trial.user_attrs["trial_id"] for trial in seen) == Counter(ours.index)
    values = {trial.user_attrs["trial_id"]: trial.value for trial in seen}
    assert values == ours["val.accuracy"].to_dict()
    assert set(study.records(study.plan())) == set(ours.index)
    assert not list((study.folder / "progress").glob("*.safetensors")), "snapshots of trials that have ended"
