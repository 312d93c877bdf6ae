"""Storage that fails under a study: damaged files, a folder or a store that is gone for a while, a read-only disk."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import small
from s3_store import Gate, Store

from mmssl import Recordings
from mmssl.study.folder import Study

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

# Three pairs of trials, each with a pre-training to share.
SPACE = small.space(4, grid={"finetune.lr": [0.001, 0.002]})
SAME = ["trial_id", "status", "val.accuracy", "train.loss", "train.finetune.loss"]


def start(*words: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        small.tune(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200", "MMSSL_LEASE_SECONDS": "3"},
    )


def run(*words: str | Path) -> tuple[int, str]:
    """A command's exit status, and what it says as one long line."""
    with start(*words) as process:
        out, _ = process.communicate(timeout=300)
    assert "Traceback" not in out, out
    return process.returncode, out.replace("\n", " ")


def mended(root: str | Path) -> None:
    """Resume; what a worker could not write has FAILED, and is tried again."""
    code, out = run("resume", "study", "--storage", root)
    if code == 1:
        code, out = run("retry", "study", "--storage", root)
    assert code == 0, out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Recordings) -> Path:
    folder = tmp_path_factory.mktemp("failing")
    tiny.save(folder / "tiny.parquet")
    (folder / "space.yaml").write_text(SPACE)
    return folder


ON_RAY = "--max-concurrent", "1"


def launch_words(folder: Path, root: str | Path, how: tuple[str, ...] = ON_RAY) -> list[str | Path]:
    words: list[str | Path] = ["launch", folder / "space.yaml", "--dataset", folder / "tiny.parquet"]
    return [*words, "--storage", root, "--name", "study", *how]


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> Study:
    code, out = run(*launch_words(folder, folder / "undisturbed", ("--local",)))
    assert code == 0, out
    return Study(folder / "undisturbed", "study")


def copied(study: Study, root: Path) -> Study:
    copy = Study(root, "study")
    shutil.copytree(study.folder, copy.folder)
    return copy


def cut(path: Path) -> bytes:
    """Keep the first half of a file; gives it."""
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(half)
    return half


def assert_same(study: Study, other: Study) -> None:
    ours, theirs = (one.table("trials.parquet").select(SAME).to_pandas() for one in (study, other))
    pd.testing.assert_frame_equal(ours, theirs)
    ours, theirs = (one.table("epochs.parquet").to_pandas() for one in (study, other))
    pd.testing.assert_frame_equal(ours, theirs)


@pytest.mark.slow
def test_files_cut_short_are_made_anew_and_a_lost_result_is_said_and_mended(undisturbed: Study, tmp_path: Path) -> None:
    study = copied(undisturbed, tmp_path)
    plan = study.plan()
    cut_short, without_weights = plan.trials[0].trial_id, plan.trials[-1].trial_id
    for path in (
        study.folder / "trials.parquet",
        study.folder / "epochs.parquet",
        study.folder / "predictions.parquet",
    ):
        cut(path)
    record = study.folder / "trials" / cut_short / "record.json"
    half = cut(record)
    # A model that cannot be written, though the record can: a folder has the name of one of its files.
    study.forget(without_weights)
    study.drop_model(without_weights)
    obstacle = study.folder / "trials" / without_weights / "model.json"
    obstacle.unlink()
    obstacle.mkdir()
    ran = {cut_short, without_weights}
    kept = {trial.trial_id: study.record(trial.trial_id) for trial in plan.trials if trial.trial_id not in ran}

    code, out = run("results", "--storage", tmp_path)
    assert (code, "resume study` writes it anew" in out) == (2, True), out
    code, out = run("resume", "--storage", tmp_path)
    assert (code, f"{record}: damaged (" in out) == (2, True), out
    assert record.read_bytes() == half
    code, out = run("retry", "--storage", tmp_path)
    assert code == 1, out
    assert "study study: 4 COMPLETE, 2 missing; 2 to run" in out
    assert re.search(re.escape(f"{record}: damaged (") + r".*\); kept as record\.json\.damaged, and its trial", out)
    assert "of 6 trials without a result: 1 FAILED; IsADirectoryError" in out, out
    assert record.with_name("record.json.damaged").read_bytes() == half
    rows = study.table("trials.parquet").to_pandas().set_index("trial_id")
    assert rows["status"].value_counts().to_dict() == {"COMPLETE": 5, "FAILED": 1}
    assert rows.loc[without_weights, "traceback"].startswith("Traceback")

    obstacle.rmdir()
    code, out = run("retry", "--storage", tmp_path)
    assert code == 0, out
    assert_same(study, undisturbed)
    assert {trial_id: study.record(trial_id) for trial_id in kept} == kept, "what was whole ran again"
    assert sorted(study.records(plan)) == sorted(rows.index)


def test_a_plan_cut_short_is_said_and_made_again_around_all_that_had_ended(
    undisturbed: Study, folder: Path, tmp_path: Path
) -> None:
    study = copied(undisturbed, tmp_path)
    cut(study.folder / "plan.json")
    code, out = run("results", "study", "--storage", tmp_path)
    assert code == 2
    assert f"{study.folder / 'plan.json'}: damaged, or written by another version" in out
    assert "launch the same space and data again with --name study" in out
    (study.folder / "plan.json").rename(tmp_path / "plan.json.damaged")
    code, out = run(*launch_words(folder, tmp_path, ("--local",)))
    assert code == 0, out
    assert_same(study, undisturbed)
    plan = undisturbed.plan()
    assert study.records(plan) == undisturbed.records(plan), "what had ended ran again"


def test_weights_cut_short_are_named_with_the_way_out(undisturbed: Study, tmp_path: Path) -> None:
    study = copied(undisturbed, tmp_path)
    for path in study.folder.glob("trials/*/model.safetensors"):
        cut(path)
    code, out = run("best", "study", "--storage", tmp_path, "--export")
    assert code == 2
    assert f"mmssl-tune: {study.folder}/trials/" in out
    assert "not a whole model: model.safetensors is not the file that model.json was written with" in out
    assert "--refit" in out
    assert not (study.folder / "exports").exists()


def broken_off(words: list[str | Path], study: Study, fail: Callable[[], object]) -> str:
    """What a driver says whose storage fails once a trial has ended."""
    with start(*words) as driver:
        while not any(name.endswith("record.json") for name in study.files.names("trials")):
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.05)
        driver.send_signal(signal.SIGSTOP)  # Its trials are short, and what makes storage fail takes its time.
        fail()
        driver.send_signal(signal.SIGCONT)
        began = time.monotonic()
        out, _ = driver.communicate(timeout=300)
    print(f"the driver ended {time.monotonic() - began:.1f} s after its storage had failed")
    assert driver.returncode == 1, out
    assert "Traceback" not in out, out
    said = [line for line in out.splitlines() if line.startswith("mmssl-tune: ")]
    assert len(said) == 1, out
    return said[0]


@pytest.mark.slow
def test_a_folder_that_is_gone_for_a_while(undisturbed: Study, folder: Path, tmp_path: Path) -> None:
    study = Study(tmp_path / "studies", "study")
    away = tmp_path / "away"
    said = broken_off(launch_words(folder, tmp_path / "studies"), study, lambda: study.folder.rename(away))
    assert str(study.folder) in said
    assert not study.folder.exists(), "a second study was begun in its place"
    kept = {path.parent.name: path.read_bytes() for path in away.glob("trials/*/record.json")}
    assert kept
    away.rename(study.folder)
    mended(tmp_path / "studies")
    assert_same(study, undisturbed)


@pytest.mark.slow
def test_a_store_that_is_gone_for_a_while(s3: Store, undisturbed: Study, folder: Path) -> None:
    s3.make("gone")
    gate = Gate(s3)
    study = Study(s3.uri("gone"), "study")  # As one sees it who does not come through the gate.
    said = broken_off(launch_words(folder, gate.uri("gone")), study, gate.shut)
    assert "s3://gone" in said
    assert "Could not connect" in said
    assert study.records(study.plan())
    gate.open()
    mended(gate.uri("gone"))
    gate.shut()
    assert_same(study, undisturbed)


class ReadOnly:
    """A folder that is made read-only and writable again, by a mount of the folder over itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def freeze(self) -> bool:
        return mounted("--bind", self.folder, self.folder) and mounted("-o", "remount,bind,ro", self.folder)

    def thaw(self) -> None:
        subprocess.run(["umount", str(self.folder)], capture_output=True)


def mounted(*words: str | Path) -> bool:
    return subprocess.run(["mount", *map(str, words)], capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[ReadOnly]:
    disk = ReadOnly(tmp_path / "disk")
    if not disk.freeze():
        pytest.skip("only root may mount a folder")
    disk.thaw()
    yield disk
    disk.thaw()


@pytest.mark.slow
def test_a_disk_that_turns_read_only(undisturbed: Study, folder: Path, disk: ReadOnly) -> None:
    root = disk.folder
    study = Study(root, "study")
    said = broken_off(launch_words(folder, root), study, disk.freeze)
    assert "Read-only file system" in said
    for name in ("results", "status", "list"):
        code, out = run(name, "--storage", root)
        assert code == 0, out
    code, out = run("resume", "--storage", root)
    assert (code, "Read-only file system" in out) == (1, True), out
    code, out = run(*launch_words(folder, root / "new"))
    assert (code, "cannot be written (Read-only file system); choose another place with --storage" in out) == (2, True)
    disk.thaw()
    mended(root)
    assert_same(study, undisturbed)
