"""A study whose processes are killed at random moments ends as one that nobody disturbed."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pandas as pd
import psutil
import pytest
import small
from ray_head import running_head

from mmssl import Recordings
from mmssl.study.folder import LOG, Study

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]

# 6 points x 2 seeds x 3 folds = 36 trials; two points share their pre-training, one system is guided by two others.
SPACE = small.space(
    40,
    {"guide.epochs": 2, "finetune.epochs": 3},
    systems=["vicreg", "cmc_cmkm"],
    grid={"finetune.lr": [0.001, 0.002], "objective.temperature": [0.1, 0.2]},
    where='system == "cmc_cmkm" or temperature == 0.1',
    seeds=[28, 29],
)
TRIALS = 36
VALUES = ["status", "val.accuracy", "val.f1", "val.imu.accuracy", "train.loss", "train.finetune.loss", "pretraining_id"]


def start(*words: str | Path, environment: Mapping[str, str] = os.environ) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        small.tune(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # With the last, a driver that hangs says where its threads are when it is aborted.
        env={**environment, "NO_COLOR": "1", "MMSSL_SNAPSHOT_SECONDS": "0", "PYTHONFAULTHANDLER": "1"},
    )


def processes(driver: int) -> dict[str, list[psutil.Process]]:
    """The driver's processes: its workers, and all that belong to its Ray."""
    try:
        family = psutil.Process(driver).children(recursive=True)
    except psutil.NoSuchProcess:
        return {"worker": [], "ray": []}

    return {"worker": [one for one in family if trains(one)], "ray": family}


def trains(process: psutil.Process) -> bool:
    try:
        return "ray::ImplicitFunc.train" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def at_work(driver: "subprocess.Popen[str]", study: Study) -> bool:
    """Wait until a worker trains; False where the driver ends before."""
    until = time.monotonic() + 120
    while driver.poll() is None:
        if processes(driver.pid)["worker"]:
            return True
        if time.monotonic() > until:
            aborted(driver, study, "the driver neither trains nor ends")
        time.sleep(0.1)
    return False


def aborted(driver: "subprocess.Popen[str]", study: Study, reason: str) -> NoReturn:
    """End a driver that hangs with all its processes, and the test with what it says of its threads."""
    family = processes(driver.pid)["ray"]
    left = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"]) if process in family]
    driver.send_signal(signal.SIGABRT)
    out = driver.communicate(timeout=60)[0]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    log = (study.folder / LOG).read_text("utf-8", "replace")[-20_000:] if study.exists() else ""
    pytest.fail(f"{reason}; processes {left}\n{out}\n{log}")


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


@dataclass(frozen=True)
class Undisturbed:
    study: Study
    seconds: float

    @property
    def pause(self) -> float:
        """The longest between two kills: in those drawn up to it some trial gets on, however fast the machine is."""
        return self.seconds / 8


@pytest.fixture
def undisturbed(tmp_path: Path, tiny: Recordings) -> Undisturbed:
    tiny.save(tmp_path / "tiny.parquet")
    (tmp_path / "space.yaml").write_text(SPACE)
    begun = time.monotonic()
    with start(*launch(tmp_path), "--name", "undisturbed") as whole:
        assert whole.wait(600) == 0, whole.communicate()[0]
    return Undisturbed(Study(tmp_path, "undisturbed"), time.monotonic() - begun)


def launch(folder: Path) -> list[str | Path]:
    return ["launch", folder / "space.yaml", "--dataset", folder / "tiny.parquet", "--storage", folder]


@pytest.fixture
def draws() -> random.Random:
    return random.Random(int(os.environ.get("MMSSL_KILL_SEED", "0")))  # noqa: S311 - chance, not a secret


def test_killed_at_random_a_study_ends_as_if_undisturbed(
    tmp_path: Path, undisturbed: Undisturbed, draws: random.Random
) -> None:
    words = launch(tmp_path)
    kills: Counter[str] = Counter()
    resumes = -1
    study = Study(tmp_path, "killed")
    driver = start(*words, "--name", "killed")
    while True:
        resumes += 1
        for _ in range(6):
            if not at_work(driver, study):
                break
            time.sleep(draws.uniform(0, undisturbed.pause))
            if driver.poll() is not None:
                break
            victim = draws.choice(["driver", "worker", "worker", "ray"])
            kills[victim] += kill(driver.pid, victim, draws)
            if victim == "driver":
                break
        try:
            driver.wait(120)
        except subprocess.TimeoutExpired:
            aborted(driver, study, "the driver neither ended nor went on after its Ray was killed")
        with driver:
            out = driver.communicate()[0]
        assert resumes < 40, out
        if not study.exists():  # Killed before the plan was written: there is nothing to resume yet.
            driver = start(*words, "--name", "killed")
        elif len(study.records(study.plan())) < TRIALS:
            driver = start("resume", "killed", "--storage", tmp_path)
        elif (pd.read_parquet(study.folder / "trials.parquet")["status"] == "FAILED").any():
            driver = start("retry", "killed", "--storage", tmp_path)
        elif driver.returncode == 0:
            break
        else:  # All records are there, the last tables may not be.
            driver = start("resume", "killed", "--storage", tmp_path)
    print(f"kills {dict(kills)}, resumes {resumes}, {differences(study, undisturbed.study)}")
    assert sum(kills.values()) >= 6
    assert_same(study, undisturbed.study)


def test_with_nodes_lost_at_random_a_study_ends_as_if_undisturbed(
    tmp_path: Path, undisturbed: Undisturbed, draws: random.Random
) -> None:
    kills: Counter[str] = Counter()
    resumes = 0
    study = Study(tmp_path, "killed")
    with running_head() as head:
        head.join()
        driver = start(*launch(tmp_path), "--name", "killed", "--address", head.address, environment=head.environment)
        while True:
            while driver.poll() is None:
                workers = [one for node in (0, 1) for one in head.processes(node) if trains(one)]
                if not workers:
                    time.sleep(0.1)
                    continue
                time.sleep(draws.uniform(0, undisturbed.pause))
                victim = draws.choice(["node", "node", "node", "worker", "driver"])
                if driver.poll() is not None:
                    break
                kills[victim] += 1
                if victim == "node":
                    head.lose(1)
                    head.join()
                elif victim == "worker":
                    with suppress(psutil.NoSuchProcess):
                        draws.choice(workers).kill()
                else:
                    driver.kill()
            with driver:
                out = driver.communicate()[0]
            if driver.returncode == 0:
                break
            # With 1 it would say that a trial failed: of none do three workers die on nodes that live.
            assert driver.returncode == -signal.SIGKILL, out
            resumes += 1
            driver = start(
                "resume", "killed", "--storage", tmp_path, "--address", head.address, environment=head.environment
            )
    print(f"kills {dict(kills)}, resumes {resumes}, {differences(study, undisturbed.study)}")
    assert kills["node"] >= 4
    assert_same(study, undisturbed.study)


def differences(ours: Study, theirs: Study) -> str:
    mine, whole = (pd.read_parquet(one.folder / "trials.parquet").set_index("trial_id") for one in (ours, theirs))
    curves = pd.read_parquet(ours.folder / "epochs.parquet")
    both = mine.index.intersection(whole.index).drop_duplicates()
    changed = ~(mine[~mine.index.duplicated()].loc[both, VALUES].fillna(-1) == whole.loc[both, VALUES].fillna(-1))
    return (
        f"rows lost {len(whole.index.difference(mine.index))}, doubled {mine.index.duplicated().sum()}, "
        f"values changed {changed.to_numpy().sum()}, epochs lost "
        f"{len(pd.read_parquet(theirs.folder / 'epochs.parquet')) - len(curves)}, "
        f"doubled {curves.duplicated(['trial_id', 'phase', 'epoch']).sum()}"
    )


def assert_same(study: Study, undisturbed: Study) -> None:
    ours, theirs = (
        pd.read_parquet(one.folder / "trials.parquet").set_index("trial_id") for one in (study, undisturbed)
    )
    assert len(theirs) == TRIALS
    pd.testing.assert_frame_equal(ours[VALUES], theirs[VALUES])
    keys = ["trial_id", "phase", "epoch"]
    curves, whole_curves = (pd.read_parquet(one.folder / "epochs.parquet") for one in (study, undisturbed))
    assert not curves.duplicated(keys).any()
    pd.testing.assert_frame_equal(
        curves.sort_values(keys, ignore_index=True), whole_curves.sort_values(keys, ignore_index=True)
    )
    assert set(study.records(study.plan())) == set(ours.index)
    assert not list((study.folder / "progress").glob("*.safetensors")), "snapshots of trials that have ended"
