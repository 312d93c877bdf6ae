"""Where a study stands, told from outside of the process that runs it."""

import os
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mmssl.errors import UserError
from mmssl.study import status as study_state
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, SampledPoint, make_plan
from mmssl.study.record import Record
from mmssl.study.space import Space
from mmssl.study.tables import Tables


@pytest.fixture
def study(tmp_path: Path, plan_of: Callable[..., Plan]) -> Study:
    """Six trials: three have ended in the last minute, one a day ago; one was running when its driver was killed."""
    plan = plan_of([1.0], [1.0, 25.0])
    made = Study(tmp_path, plan.name)
    made.create(plan)
    tables = Tables(made, plan)
    now = datetime.now(UTC)
    ends = [("COMPLETE", timedelta(days=1)), *((s, timedelta(seconds=1)) for s in ("COMPLETE", "FAILED", "DIVERGED"))]
    for trial, (status, ago) in zip(plan.trials, ends, strict=False):
        began = now - ago - timedelta(seconds=20 if status == "COMPLETE" else 1)
        tables.put(Record(trial_id=trial.trial_id, status=status, started=began, finished=now - ago))
    tables.put(Record(trial_id=plan.trials[4].trial_id, status="RUNNING", started=now - timedelta(seconds=5)))
    tables.write()
    return made


def test_a_study_whose_driver_was_killed_is_stopped(study: Study) -> None:
    study_state.begin(study)
    found = study_state.study_status(study)
    assert (found.state, found.driver, found.seconds_left) == ("stopped", None, None)
    assert found.died and found.died["pid"] == os.getpid()
    assert found.trials == {"COMPLETE": 2, "DIVERGED": 1, "FAILED": 1, "PLANNED": 2}
    assert (found.ended, found.planned) == (4, 6)
    with pytest.raises(UserError, match="no process is running it"):
        study_state.stop_driver(study)


def test_while_it_is_locked_it_runs_and_its_pace_says_how_long(study: Study) -> None:
    with study.locked():
        began = (datetime.now(UTC) - timedelta(seconds=60)).isoformat()
        study.put_note("driver", {"host": "elsewhere", "pid": 1, "started": began, "job": None})
        found = study_state.study_status(study)
        assert found.state == "running"
        assert found.trials["RUNNING"] == 1
        assert found.seconds_left == pytest.approx(15 + 20, abs=2), "the complete one took 20 s, one has run for 5 s"
        with pytest.raises(UserError, match="process 1 of elsewhere, on another machine"):
            study_state.stop_driver(study)
    assert not study.in_use()


def test_of_a_race_what_its_budget_leaves_out_takes_no_time(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    grid = plan_of([1.0], [1.0])
    space = Space.model_validate(
        {"name": "s", "sampler": "race", "budget": 2, "grid": {"objective.mu": [1, 2, 3, 4, 5]}}
    )
    plan = make_plan("raced", space, grid.bases, grid.dataset, grid.folds, space.points(grid.bases))
    study = Study(tmp_path, plan.name)
    study.create(plan)
    tables, now = Tables(study, plan), datetime.now(UTC)
    began = now - timedelta(seconds=100)
    first, second, *_ = plan.trials
    tables.put(Record(trial_id=first.trial_id, status="COMPLETE", started=began, finished=now))
    tables.put(Record(trial_id=second.trial_id, status="RUNNING", started=now))
    tables.write()
    with study.locked():
        study.put_note("driver", {"host": "elsewhere", "pid": 1, "started": began.isoformat(), "job": None})
        found = study_state.study_status(study)
    assert found.trials["PLANNED"] == 13, "5 points x 3 folds, two of which have begun"
    assert found.seconds_left == pytest.approx(100 + 400, abs=2), "its budget is 2 x 3 trials, of which 4 have not"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "has ended.*nothing was signalled"),
        ({"pid_namespace": "pid:[1]"}, "in another container.*stop it there"),
        ({"born": ""}, "by an older version: stop it there"),
    ],
    ids=["another has its number", "another container's", "an older version's"],
)
def test_stop_signals_nobody_but_the_driver(study: Study, change: dict[str, str], message: str) -> None:
    with subprocess.Popen(["sleep", "60"]) as bystander, study.locked():
        study_state.begin(study)
        noted = study.note("driver")
        assert noted
        study.put_note("driver", {**noted, "pid": bystander.pid, **change})
        with pytest.raises(UserError, match=message):
            study_state.stop_driver(study)
        time.sleep(0.2)
        assert bystander.poll() is None, "it was signalled"
        bystander.kill()


def test_points_that_are_still_to_be_chosen_are_missing_too(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    grid = plan_of([1.0], [1.0])
    space = Space.model_validate(
        {"name": "s", "sampler": "random", "budget": 3, "ranges": {"objective.mu": {"low": 1, "high": 9}}}
    )
    study = Study(tmp_path, "sampled")
    study.create(make_plan("sampled", space, grid.bases, grid.dataset, grid.folds, []))
    found = study_state.study_status(study)
    assert (found.state, found.planned, found.trials) == ("stopped", 9, {"PLANNED": 9})
    study.keep_choice(SampledPoint(number=0, point={"objective.mu": 2.0}, after=[]))
    plan = study.plan()
    tables = Tables(study, plan)
    for trial in plan.trials:
        tables.put(Record(trial_id=trial.trial_id, status="COMPLETE", facts={"val.accuracy": 0.5}))
    tables.write()
    found = study_state.study_status(study)
    assert (found.state, found.planned, found.trials) == ("stopped", 9, {"COMPLETE": 3, "PLANNED": 6})


def test_a_submitted_driver_says_which_job_it_is(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"submission_id": "study.1", "address": "http://127.0.0.1:8265"}
    monkeypatch.setenv(study_state.JOB, job["submission_id"])
    monkeypatch.setenv(study_state.JOB_ADDRESS, job["address"])
    study_state.begin(study)
    study_state.end(study)
    assert study_state.last_job(study) == job
    assert study.note("driver") is None


def test_where_a_study_was_submitted_to_is_remembered_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert study_state.remembered("mine") is None
    study_state.remember("mine", "http://127.0.0.1:8265", "s3://bucket/studies")
    assert study_state.remembered("mine") == {"address": "http://127.0.0.1:8265", "storage": "s3://bucket/studies"}
    (note,) = tmp_path.rglob("mine.json")
    for damaged in ("", "[]", '{"address": 3}'):
        note.write_text(damaged)
        assert study_state.remembered("mine") is None
    with pytest.raises(UserError, match="study name"):
        study_state.remembered("../mine")
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    study_state.remember("mine", "http://127.0.0.1:8265", "s3://bucket/studies")  # Nowhere, and the job is submitted.
    assert study_state.remembered("mine") is None
