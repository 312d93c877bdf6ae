"""A study that is submitted to a cluster, and found again by its name from other shells."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import small
from ray_head import Head

from mmssl import Recordings
from mmssl.data.protocols import split
from mmssl.study.folder import Study
from mmssl.training.prepared import Prepared
from mmssl.training.trial import run_trial

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

SPACE = small.space(100, grid={"objective.mu": [1, 25]})


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return found


@pytest.mark.slow
def test_a_job_is_followed_stopped_and_resumed_by_the_studys_name(head: Head, tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    (tmp_path / "mine.yaml").write_text(SPACE)
    launched = head.command(
        "launch", tmp_path / "mine.yaml", "--dataset", tmp_path / "tiny.parquet",
        "--storage", tmp_path / "shared", "--set", "finetune.hidden=4", "--address", head.jobs, "--json",
    )  # fmt: skip
    assert launched.returncode == 0, launched.stderr
    told = json.loads(launched.stdout)
    name = "mine-tiny-1"
    assert told == {
        "study": name, "job": f"{name}.1", "address": head.jobs, "storage": str(tmp_path / "shared")
    }  # fmt: skip

    twice = head.command("resume", name, "--storage", tmp_path / "shared", "--address", head.jobs)
    assert twice.returncode == 2, "two drivers would be at work"
    assert f"mmssl-tune stop {name}" in twice.stderr

    study = Study(tmp_path / "shared", name)
    wait_for(lambda: list(study.folder.glob("trials/*/record.json")))
    status = json.loads(head.command("status", name, "--json").stdout)
    assert (status["state"], status["job"]["status"], status["planned"]) == ("running", "RUNNING", 6)
    assert status["driver"]["job"] == {"submission_id": f"{name}.1", "address": head.jobs}
    listed = json.loads(head.command("list", "--storage", tmp_path / "shared", "--address", head.jobs, "--json").stdout)
    assert [(row["study"], row["state"]) for row in listed["studies"]] == [(name, "running")]
    ours = [job for job in listed["jobs"] if job["study"] == name]  # The head has run jobs of other tests.
    assert [(job["submission_id"], job["status"]) for job in ours] == [(f"{name}.1", "RUNNING")]

    stopped = head.command("stop", name)
    assert stopped.returncode == 0, stopped.stderr
    assert f"job {name}.1: STOPPED" in stopped.stdout
    assert f"mmssl-tune resume {name} --storage {tmp_path}/shared --address {head.jobs}" in stopped.stdout
    assert "mmssl-tune resume" in head.command("logs", name).stdout, "its driver ended as after Ctrl-C"
    rows = pd.read_parquet(study.folder / "trials.parquet")
    assert set(rows["status"]) == {"COMPLETE", "PLANNED"}
    kept = {path: path.stat().st_mtime_ns for path in study.folder.glob("trials/*/record.json")}

    resumed = head.command("resume", name, "--storage", tmp_path / "shared", "--address", head.jobs)
    assert resumed.returncode == 0, resumed.stderr
    watched = head.command("watch", name)
    assert watched.returncode == 0, watched.stdout + watched.stderr
    assert "6/6" in watched.stdout and "points by val.accuracy" in watched.stdout
    followed = head.command("logs", name, "-f")
    assert f"{6 - len(kept)} to run" in followed.stdout
    assert "6/6" in followed.stdout
    status = json.loads(head.command("status", name, "--json").stdout)
    assert (status["state"], status["trials"]) == ("complete", {"COMPLETE": 6})
    assert (status["job"]["submission_id"], status["job"]["status"]) == (f"{name}.2", "SUCCEEDED")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "what had ended was run again"

    plan = study.plan()
    recipe = plan.recipe(plan.trials[-1])
    assert recipe.finetune.hidden == 4
    alone = run_trial(recipe, Prepared.of(tiny, recipe.data.steps, recipe.data.modalities), split(tiny, recipe.data))
    row = pd.read_parquet(study.folder / "trials.parquet").set_index("trial_id").loc[plan.trials[-1].trial_id]
    assert row["val.accuracy"] == alone.metrics["val.accuracy"]
    assert row["train.loss"] == pytest.approx(alone.metrics["train.loss"], rel=1e-6)

    (tmp_path / "shared").rename(tmp_path / "elsewhere")
    refused = head.command("watch", name)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"job {name}.2, SUCCEEDED at {head.jobs}" in refused.stderr
    assert f"mmssl-tune logs {name} -f" in refused.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["launch", "vicreg_grid"], "--storage studies: a job runs in a folder of its own"),
        (["launch", "vicreg_grid", "--storage", "/s", "--dataset", "x.parquet"], "--dataset x.parquet"),
        (["launch", "vicreg_gird", "--storage", "/s"], "did you mean vicreg_grid"),
        (["resume", "../up", "--storage", "/s"], "study name '../up'"),
        (["resume", "--storage", "/nowhere"], "no study here"),
        (["reproduce", "table2", "--storage", "/s"], "reproduce makes its tables where it runs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_another_machine_could_not_do_is_refused(head: Head, words: list[str], said: str) -> None:
    refused = head.command(*words, "--address", head.jobs)
    assert refused.returncode == 2, refused.stdout
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_without_the_token_nobody_is_let_in(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    for token in ("", "0" * 64):
        monkeypatch.setitem(head.environment, "RAY_AUTH_TOKEN", token)
        monkeypatch.setitem(head.environment, "RAY_AUTH_TOKEN_PATH", "/dev/null")
        refused = head.command("list", "--address", head.jobs)
        assert refused.returncode == 2
        assert "RAY_AUTH_TOKEN_PATH" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_where_no_cluster_is(head: Head) -> None:
    for address in ("http://127.0.0.1:1", "https://127.0.0.1:1/"):
        refused = head.command("list", "--address", address)
        assert refused.returncode == 2
        assert "no cluster answers there" in refused.stderr
