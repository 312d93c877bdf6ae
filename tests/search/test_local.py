"""A study in this process, without Ray: as one on Ray to the bit, stopped and taken up again, pruned and sampled."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import small
from asking import Ask

from mmssl import Recordings
from mmssl.search import one_trial, pruning
from mmssl.search.launch import run
from mmssl.search.rerun import differences
from mmssl.search.share import Resources
from mmssl.study.folder import Record, Study
from mmssl.study.plan import PlannedTrial, make_plan
from mmssl.study.space import Space

GRID = {"encoder.imu.heads": [1, 2], "pretrain.lr": [0.001, 1e30]}
"""A learning rate of 1e30 diverges."""
OF_THE_RUN = {"started", "finished", "pretraining_reused"}
"""What two runs of the same trial need not have in common, with all seconds."""


def sampled(budget: int) -> str:
    return small.space(
        2,
        sampler="tpe",
        budget=budget,
        ranges={"pretrain.lr": {"low": 1e-5, "high": 1e-1, "log": True}},
        folds=[["anna"], ["ben"]],
        prune={"probe": "halving", "every": 1},
    )


def words(folder: Path, name: str, *more: object) -> list[str]:
    return small.tune(
        "launch", folder / "space.yaml", "--dataset", folder / "tiny.parquet", "--storage", folder,
        "--name", name, *more,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, tiny: Recordings) -> Path:
    tiny.save(tmp_path / "tiny.parquet")
    (tmp_path / "space.yaml").write_text(small.space(2, grid=GRID, folds=[["anna"], ["ben"]]))
    return tmp_path


def tables(study: Study) -> dict[str, list[dict[str, object]]]:
    """The rows without clocks."""
    found: dict[str, list[dict[str, object]]] = {}
    for name in ("trials", "epochs", "predictions"):
        rows = study.table(f"{name}.parquet").to_pylist()
        found[name] = [
            {k: v for k, v in row.items() if k not in OF_THE_RUN and not k.startswith("seconds.")} for row in rows
        ]
    return found


def loading(*of: str | Path) -> list[str]:
    """What a command prints, and in the last line which of Ray and torch it has loaded."""
    command = (
        "import sys; from mmssl.cli import app\ntry: app()\nfinally: print(sorted({'ray', 'torch'} & set(sys.modules)))"
    )
    return subprocess.run(
        [sys.executable, "-c", command, *of], check=True, capture_output=True, text=True
    ).stdout.splitlines()


def test_it_loads_no_ray(folder: Path) -> None:
    said = loading(*words(folder, "here", "--local", "--json", "--set", "finetune.epochs=1")[3:])
    assert said[-1] == "['torch']"
    assert json.loads("\n".join(said[:-1]))["trials"] == {"COMPLETE": 4, "DIVERGED": 4}
    log = (folder / "here" / "study.log").read_text().splitlines()
    assert [line.split(" ", 2)[2] for line in log[:2]] == ["8 of 8 trials to run", "1 trial at once, 1 CPU each"]
    assert len(log[2:]) == 8, "a line a trial"


def test_planning_loads_neither_ray_nor_torch(folder: Path) -> None:
    said = loading(*words(folder, "planned", "--dry-run")[3:])
    assert "nothing was started" in said[-2] and said[-1] == "[]"


def test_stopped_by_ctrl_c_it_is_whole_and_resumes(folder: Path) -> None:
    long = ["--set", "pretrain.epochs=12"]
    whole = subprocess.run(words(folder, "whole", "--local", *long), check=False, capture_output=True)
    assert whole.returncode == 0, whole.stderr
    study = Study(folder, "stopped")
    with subprocess.Popen(words(folder, "stopped", "--local", *long), stdout=-1, stderr=-1, text=True) as process:
        while not list(study.folder.glob("trials/*/record.json")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        time.sleep(0.1)  # Into the next trial.
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "mmssl-tune resume stopped" in out
    assert "Traceback" not in out + err
    assert not study.in_use()
    rows = study.table("trials.parquet").to_pylist()
    kept = set(study.records(study.plan()))
    assert {row["trial_id"] for row in rows if row["status"] != "PLANNED"} == kept
    assert 0 < len(kept) < 8
    times = {path: path.stat().st_mtime_ns for path in study.folder.glob("trials/*/record.json")}
    resume = small.tune("resume", "stopped", "--storage", folder, "--local")
    done = subprocess.run(resume, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert tables(study) == tables(Study(folder, "whole"))
    assert {path: path.stat().st_mtime_ns for path in times} == times, "what had ended is not run again"


@pytest.fixture
def planned(tmp_path: Path, tiny: Recordings) -> Callable[..., Study]:
    def make(**entries: object) -> Study:
        space = Space.model_validate({"name": "s", "fixed": {**small.KNOBS, "pretrain.epochs": 2}, **entries})
        bases = space.bases("tiny")
        plan = make_plan("one", space, bases, small.dataset_of(tiny), [("anna",)], space.points(bases))
        study = Study(tmp_path, "one")
        study.create(plan)
        return study

    return make


def test_a_pruned_point_trains_no_further_and_the_next_does(
    planned: Callable[..., Study], tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = planned(grid={"pretrain.lr": [0.001, 0.01, 0.02]}, prune={"probe": "halving", "every": 1})
    trials = study.plan().trials
    monkeypatch.setattr(
        pruning._PointPruner, "should_prune", lambda self, point_id, step, value: point_id == trials[1].point_id
    )
    seen: list[tuple[int, str]] = []

    def watch(trial: PlannedTrial, record: Record) -> None:
        seen.append((trials.index(trial), record.status))

    run(study, study.plan(), tiny, Resources(local=True), watch)
    assert [status for number, status in seen if number == 1] == ["RUNNING", "PRUNED"]
    pruned = study.record(trials[1].trial_id)
    assert pruned.cause.startswith("pruned at epoch 1")
    assert [epoch["epoch"] for epoch in pruned.epochs] == [1]
    assert [seen[0], seen[-1]] == [(0, "RUNNING"), (2, "COMPLETE")]


def test_a_trial_knows_that_its_encoders_were_trained_elsewhere(
    planned: Callable[..., Study], tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first trains them with other threads, the second takes them; the third trains its own."""
    grid = {"pretrain.lr": [0.001, 0.01], "finetune.lr": [0.001, 0.01]}
    study = planned(grid=grid, where="pretrain.lr == 0.001 or finetune.lr == 0.001")
    places = iter(["2 threads", "1 thread", "1 thread"])
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", "1")
    monkeypatch.setattr(one_trial, "computing", lambda device: next(places))
    run(study, study.plan(), tiny, Resources(local=True), lambda trial, record: None)
    rows = study.table("trials.parquet", ["pretraining_reused", "trained_elsewhere"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [(False, None), (True, True), (False, None)]
    plan = study.plan()
    for trial, compared_to_the_bit in zip(plan.trials, (True, False, True), strict=True):
        assert differences(study, plan, trial, study.record(trial.trial_id)).exact is compared_to_the_bit


def test_what_cannot_be_written_ends_the_study_and_is_no_outcome_of_a_trial(
    planned: Callable[..., Study], tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = planned(grid={"pretrain.lr": [0.001, 0.01]})

    def full(record: Record) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(study, "keep", full)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(OSError, match="no space left"):
        run(study, study.plan(), tiny, Resources(local=True), lambda trial, record: None)
    assert {row["status"] for row in study.table("trials.parquet").to_pylist()} == {"PLANNED"}
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_ctrl_c_while_a_report_is_recorded_waits_for_its_end(
    planned: Callable[..., Study], tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = planned(grid={"pretrain.lr": [0.001, 0.01]})
    keep = study.keep

    def interrupted(record: Record) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        keep(record)

    monkeypatch.setattr(study, "keep", interrupted)
    records = run(study, study.plan(), tiny, Resources(local=True), lambda trial, record: None)
    assert [record.status for record in records.values()] == ["COMPLETE"]
    rows = pd.DataFrame(study.table("trials.parquet").to_pylist())
    assert list(rows["status"]) == ["COMPLETE", "PLANNED"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--max-concurrent", 2], "--local runs one trial after the other: leave out --together and --max-concurrent"),
        (["--address", "auto"], "--local runs in this process, --address on a cluster: leave one of them out"),
    ],
)
def test_what_it_cannot_do_is_refused(folder: Path, more: list[object], said: str) -> None:
    done = subprocess.run(words(folder, "here", "--local", *more), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, f"mmssl-tune: {said}\n")
    assert not (folder / "here").exists()


RACE = small.space(
    2,
    sampler="race",
    budget=2,
    grid={"pretrain.lr": [1e-5, 1e-4, 1e-3, 1e30], "objective.mu": [1, 25]},
    folds=[["anna"], ["ben"]],
)


def test_a_race_runs_a_part_and_says_why_it_left_the_rest(folder: Path, ask: Ask) -> None:
    (folder / "space.yaml").write_text(RACE)
    assert ask(*words(folder, "raced", "--local")[3:]).code == 0
    study = Study(folder, "raced")
    trials = study.table("trials.parquet").to_pylist()
    run_ones = [trial for trial in trials if trial["status"] in ("COMPLETE", "DIVERGED")]
    left = [trial for trial in trials if trial["status"] == "PRUNED"]
    assert (len(trials), len(run_ones) + len(left)) == (16, 16)
    assert 2 <= len(run_ones) <= 4
    assert {trial["cause"] for trial in left} == {left[0]["cause"]}
    assert left[0]["cause"].startswith("race over after ")
    assert ask("best", "raced", "--storage", folder, "--json").code == 0

    warm = ask(*words(folder, "warm", "--local", "--warm-start", "raced")[3:])
    assert warm.code == 0
    assert f"starts from {len([one for one in run_ones if one['status'] == 'COMPLETE'])} scores of" in warm.out
    [known] = Study(folder, "warm").plan().earlier
    assert {score.value for score in known.scores} == {one["val.accuracy"] for one in run_ones} - {None}

    assert ask("extend", "raced", "--storage", folder, "--budget", "4", "--local").code == 0
    after = {trial["trial_id"]: trial for trial in study.table("trials.parquet").to_pylist()}
    again = [trial for trial in after.values() if trial["status"] in ("COMPLETE", "DIVERGED")]
    assert len(run_ones) < len(again) <= 8
    for trial in run_ones:
        assert after[trial["trial_id"]] == trial, "what had run was not run again"


@pytest.mark.ray
@pytest.mark.parametrize("text", [RACE, pytest.param(sampled(4), marks=pytest.mark.slow)], ids=["race", "tpe"])
def test_a_local_study_is_that_of_ray_to_the_bit_whose_driver_loads_no_torch(folder: Path, text: str) -> None:
    (folder / "space.yaml").write_text(text)
    for name, library, more in (("here", "torch", ["--local"]), ("on_ray", "ray", ["--max-concurrent", 1])):
        assert loading(*words(folder, name, *more)[3:])[-1] == f"['{library}']"
    here, on_ray = Study(folder, "here"), Study(folder, "on_ray")
    assert [trial.trial_id for trial in here.plan().trials] == [trial.trial_id for trial in on_ray.plan().trials]
    assert tables(here) == tables(on_ray)
    for trial in here.plan().trials:
        assert here.has_model(trial.trial_id) == on_ray.has_model(trial.trial_id)
        if here.has_model(trial.trial_id):
            ours, theirs = (one.model_files(trial.trial_id)[0]["model.safetensors"] for one in (here, on_ray))
            assert ours == theirs
        ours, theirs = here.record(trial.trial_id), on_ray.record(trial.trial_id)
        assert ours.facts.keys() == theirs.facts.keys()
        assert (ours.epochs, ours.predictions, ours.cause) == (theirs.epochs, theirs.predictions, theirs.cause)
