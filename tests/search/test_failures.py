"""Nodes and heads of a cluster that go away while a study runs, on a cluster whose nodes share this machine."""

import os
import queue
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
import small
from ray_head import Head, free_port, running_head

from mmssl import Recordings
from mmssl.search.failures import HeadWatch
from mmssl.study.folder import Study

SPACE = small.space(60, grid={"objective.mu": [1, 2]}, folds=[["ben"]])


@pytest.fixture
def raylet() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_head_that_does_not_answer_is_lost_once_patience_is_over(raylet: socket.socket) -> None:
    lost = queue.Queue[str]()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        watch = HeadWatch(address, raylet.getsockname(), lost.put, "host:1", patience=3)
        with watch, pytest.raises(queue.Empty):
            lost.get(timeout=5)
    started = time.monotonic()
    with HeadWatch(address, raylet.getsockname(), lost.put, "host:1", patience=3):
        assert lost.get(timeout=60) == "the cluster at host:1 has not answered for 3 s"
    assert time.monotonic() - started > 1.5


def test_a_head_that_answers_again_in_time_is_not_lost(raylet: socket.socket) -> None:
    address, lost = ("127.0.0.1", free_port()), queue.Queue[str]()
    with HeadWatch(address, raylet.getsockname(), lost.put, "host:1", patience=6):
        time.sleep(3)
        with socket.create_server(address), pytest.raises(queue.Empty):
            lost.get(timeout=8)


@pytest.mark.parametrize(("died", "what"), [("head", "gcs_server"), ("raylet", "raylet on this machine")])
def test_what_has_died_on_this_machine_is_lost_at_once(raylet: socket.socket, died: str, what: str) -> None:
    lost, closed = queue.Queue[str](), ("127.0.0.1", free_port())
    addresses = (closed, raylet.getsockname()) if died == "head" else (raylet.getsockname(), closed)
    with HeadWatch(*addresses, lost.put, None) as watch:
        assert f"Ray's {what} has ended" in watch.gone()
        assert lost.get(timeout=20) == watch.gone()
    with HeadWatch(*addresses, lost.put, None) as watch:
        watch.leave()
        with pytest.raises(queue.Empty):  # It is to end.
            lost.get(timeout=3)


@pytest.fixture
def workerless() -> Iterator[Head]:
    """A head that runs no trials, as `ray up` makes it."""
    with running_head(cpus=0) as started:
        yield started


@pytest.fixture
def undisturbed(tmp_path: Path, tiny: Recordings) -> Study:
    tiny.save(tmp_path / "tiny.parquet")
    (tmp_path / "space.yaml").write_text(SPACE)
    subprocess.run(launch(tmp_path, "undisturbed"), check=True, capture_output=True)
    return Study(tmp_path, "undisturbed")


def launch(folder: Path, name: str, *more: object) -> list[str]:
    words = ["launch", folder / "space.yaml", "--dataset", folder / "tiny.parquet", "--storage", folder]
    return small.tune(*words, "--name", name, *more)


def start(words: list[str], head: Head) -> "subprocess.Popen[str]":
    environment = {**head.environment, "MMSSL_SNAPSHOT_SECONDS": "0"}
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=head.folder
    )


def wait_for_snapshot(study: Study, driver: "subprocess.Popen[str]") -> None:
    """Until a trial has got further than when this was called."""
    since = time.time()
    while not any(modified(path) > since for path in study.folder.glob("progress/*.safetensors")):
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.05)


def modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0


def assert_same(ours: Study, theirs: Study) -> None:
    """The same rows with the same values, and curves without a gap or an epoch twice."""
    values = ["status", "cause", "val.accuracy", "val.f1", "train.loss", "train.finetune.loss", "pretraining_id"]
    mine, whole = (pd.read_parquet(one.folder / "trials.parquet").set_index("trial_id") for one in (ours, theirs))
    pd.testing.assert_frame_equal(mine[values], whole[values])
    keys = ["trial_id", "phase", "epoch"]
    curves = [
        pd.read_parquet(one.folder / "epochs.parquet").sort_values(keys, ignore_index=True) for one in (ours, theirs)
    ]
    pd.testing.assert_frame_equal(*curves)
    assert not list(ours.folder.glob("progress/*.safetensors"))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_lost_nodes_do_not_count_against_a_trial_and_the_study_waits_for_another(
    workerless: Head, undisturbed: Study
) -> None:
    """More nodes are lost than a trial's worker may die; in between there is none at all."""
    study = Study(undisturbed.folder.parent, "moved")
    workerless.join()
    with start(launch(study.folder.parent, study.name, "--address", workerless.address), workerless) as driver:
        for _ in range(4):
            wait_for_snapshot(study, driver)
            workerless.lose(1)
            statuses = pd.read_parquet(study.folder / "trials.parquet")["status"]
            assert "FAILED" not in set(statuses)
            workerless.join()
        out, err = driver.communicate(timeout=300)
    assert driver.returncode == 0, out + err
    assert_same(study, undisturbed)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_without_its_head_a_study_ends_soon_and_goes_on_when_it_is_back(workerless: Head, undisturbed: Study) -> None:
    study = Study(undisturbed.folder.parent, "headless")
    workerless.join()
    with start(launch(study.folder.parent, study.name, "--address", workerless.address), workerless) as driver:
        wait_for_snapshot(study, driver)
        workerless.lose_all()
        started = time.monotonic()
        out, err = driver.communicate(timeout=120)
    assert time.monotonic() - started < 20, "Ray itself takes 60 s"
    assert driver.returncode == 1, out + err
    note, line = err.splitlines()
    assert note == "note: 1 trial at once, 1 CPU each"
    there = f"--storage {study.folder.parent} --address {workerless.address}"
    assert line.startswith(
        "mmssl-tune: Ray's raylet on this machine has ended: it, or an agent of it, was killed; what"
    )
    assert line.endswith(f"what has ended is kept: mmssl-tune resume headless {there}, once it is there again")
    assert not study.in_use()
    workerless.start()
    workerless.join()
    words = [*launch(Path(), "x")[:3], "resume", study.name, "--storage", str(study.folder.parent)]
    with start([*words, "--address", workerless.address], workerless) as driver:
        out, err = driver.communicate(timeout=300)
    assert driver.returncode == 0, out + err
    assert_same(study, undisturbed)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_ray_of_ones_own_that_dies_ends_the_driver_too(tmp_path: Path, undisturbed: Study) -> None:
    study = Study(tmp_path, "alone")
    words = launch(tmp_path, study.name)
    environment = {**os.environ, "MMSSL_SNAPSHOT_SECONDS": "0", "NO_COLOR": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as driver:
        wait_for_snapshot(study, driver)
        for one in psutil.Process(driver.pid).children(recursive=True):
            if one.name() in ("gcs_server", "raylet"):
                one.kill()
        out, err = driver.communicate(timeout=120)
    assert driver.returncode == 1, out + err
    [line] = [line for line in err.splitlines() if line.startswith("mmssl-tune: ")]
    assert "was killed; what has ended is kept: mmssl-tune resume alone" in line
    words = [*words[:3], "resume", study.name, "--storage", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert_same(study, undisturbed)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_ray_that_is_killed_while_it_starts_is_told_in_one_line(tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    (tmp_path / "space.yaml").write_text(small.space(1, grid={"objective.mu": [1, 2]}, folds=[["ben"]]))
    study = Study(tmp_path, "started")
    with subprocess.Popen(
        launch(tmp_path, study.name), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as driver:
        killed = False
        while not killed:
            assert driver.poll() is None, driver.communicate()
            for process in psutil.Process(driver.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    if "gcs_server" in " ".join(process.cmdline()):
                        process.kill()
                        killed = True
        out, err = driver.communicate(timeout=120)
    assert driver.returncode == 1, out + err
    assert "Traceback" not in out + err
    assert len([line for line in err.splitlines() if line.startswith("mmssl-tune: ")]) == 1, err
    assert f"mmssl-tune resume started --storage {tmp_path}" in err
    assert not study.in_use()
    words = small.tune("resume", study.name, "--storage", tmp_path)
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(study.table("trials.parquet")["status"].to_pylist()) == {"COMPLETE"}
