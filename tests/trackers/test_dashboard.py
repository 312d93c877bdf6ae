"""A study in optuna-dashboard: what it shows, that it follows, and that nothing can be written."""

import http.client
import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest
import small
from s3_store import Store

from mmssl.errors import UserError
from mmssl.study.folder import Study
from mmssl.study.plan import Dataset, Plan, make_plan
from mmssl.study.record import Record
from mmssl.study.space import Space
from mmssl.study.tables import Tables
from mmssl.trackers.dashboard import DashboardApp
from mmssl.trackers.optuna_study import optuna_study

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def epochs(last: int, phase: str = "pretrain") -> list[dict[str, Any]]:
    """Ranks of 2 x epoch and 4 x epoch, whose mean is 3 x epoch."""
    return [
        {
            "phase": phase,
            "epoch": i,
            "train.imu.effective_rank": 2.0 * i,
            "train.skeleton.effective_rank": 4.0 * i,
            "train.loss": 1e6,
        }
        for i in range(1, last + 1)
    ]


def record(trial_id: str, status: str = "COMPLETE", score: float = 0.5) -> Record:
    complete = status == "COMPLETE"
    facts = {"val.accuracy": score, "val.f1": 0.25, "embedding.imu.effective_rank": 7.0, "seconds.total": 3.5}
    return Record.model_validate(
        {
            "trial_id": trial_id, "status": status, "cause": "" if complete else "epoch 3: loss is nan",
            "started": datetime(2026, 1, 1, tzinfo=UTC), "finished": datetime(2026, 1, 2, tzinfo=UTC),
            "facts": {**(facts if complete else {}), "host": "lab"}, "epochs": epochs(40),
        }
    )  # fmt: skip


@pytest.fixture
def study(tmp_path: Path, plan_of: Callable[..., Plan]) -> Study:
    """Two trials have ended, and one runs."""
    made = Study(tmp_path / "root", "study")
    fill(made, plan_of([1.0, 5.0], [2.0]))
    return made


def fill(study: Study, plan: Plan) -> Tables:
    study.create(plan)
    tables = Tables(study, plan)
    for planned, status in zip(plan.trials, ("COMPLETE", "DIVERGED"), strict=False):
        study.keep(record(planned.trial_id, status))
        tables.put(record(planned.trial_id, status))
    tables.put(begun(plan, 2))
    tables.write()
    return tables


def begun(plan: Plan, number: int) -> Record:
    started = datetime(2026, 1, 1, tzinfo=UTC)
    return Record(trial_id=plan.trials[number].trial_id, status="RUNNING", started=started, epochs=epochs(3))


def states(seen: optuna.Study) -> list[str]:
    return [trial.state.name for trial in seen.trials]


def test_the_study_in_optunas_terms_has_curves_states_and_attributes(study: Study) -> None:
    plan = study.plan()
    with study.locked():
        seen = optuna_study(study, plan)
    assert seen.metric_names == ["val.accuracy"]
    assert seen.direction == optuna.study.StudyDirection.MAXIMIZE
    assert seen.user_attrs["fingerprint"] == plan.dataset.fingerprint
    assert seen.user_attrs["intermediate values"] == "train.rankme by epoch of pre-training"
    assert states(seen) == ["COMPLETE", "FAIL", "RUNNING", *["WAITING"] * 3]
    assert [trial.user_attrs["trial_id"] for trial in seen.trials] == [trial.trial_id for trial in plan.trials]
    assert [trial.params for trial in seen.trials] == [trial.point for trial in plan.trials]
    complete, diverged, running, *_ = seen.trials
    assert complete.value == 0.5
    assert complete.intermediate_values == {i: 3.0 * i for i in (*range(1, 21), 30, 40)}
    assert running.intermediate_values == {1: 3.0, 2: 6.0, 3: 9.0}
    planned = plan.trials[0]
    assert complete.user_attrs == {
        "trial_id": planned.trial_id, "point_id": planned.point_id, "seed": 28, "fold": "1", "system": "vicreg",
        "status": "COMPLETE", "val.accuracy": 0.5, "val.f1": 0.25, "rankme": 7.0, "seconds.total": 3.5, "host": "lab",
    }  # fmt: skip
    assert (diverged.value, diverged.user_attrs["cause"]) == (None, "epoch 3: loss is nan")


def test_trials_that_were_cut_off_wait(study: Study) -> None:
    assert states(optuna_study(study, study.plan())) == ["COMPLETE", "FAIL", *["WAITING"] * 4]


def test_each_status_has_a_state(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    study, plan = Study(tmp_path, "study"), plan_of([1.0, 5.0], [2.0])
    study.create(plan)
    assert states(optuna_study(study, plan)) == ["WAITING"] * 6, "before the tables are there"
    tables = Tables(study, plan)
    for planned, status in zip(
        plan.trials, ("FAILED", "DIVERGED", "COLLAPSED", "PRUNED", "COMPLETE", "PLANNED"), strict=True
    ):
        tables.put(record(planned.trial_id, status))
    tables.write()
    assert states(optuna_study(study, plan)) == ["FAIL", "FAIL", "FAIL", "PRUNED", "COMPLETE", "WAITING"]


def test_a_probed_study_shows_the_probe(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plan = plan_of([1.0], [2.0])
    rules = {"probe": "median", "every": 15}
    space = plan.space.model_validate({**plan.space.model_dump(exclude_none=True), "prune": rules})
    plan = plan.model_copy(update={"space": space})
    study = Study(tmp_path, "study")
    study.create(plan)
    rows = epochs(45)
    for row in rows[14::15]:
        row["probe.accuracy"] = row["epoch"] / 100
    tables = Tables(study, plan)
    tables.put(begun(plan, 0).model_copy(update={"epochs": rows + epochs(2, "finetune")}))
    tables.write()
    assert optuna_study(study, plan).trials[0].intermediate_values == {15: 0.15, 30: 0.3, 45: 0.45}


def test_knobs_that_are_no_numbers_become_categories(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0], [2.0])
    grid = {"objective.name": ["vicreg", "cmc"], "data.modalities": [["imu"], ["skeleton"]], "data.steps": [16, 50]}
    plan = plan.model_copy(update={"space": plan.space.model_copy(update={"grid": grid})})
    point = {"objective.name": "cmc", "data.modalities": ["imu"], "data.steps": 50}
    plan = plan.model_copy(update={"trials": [plan.trials[0].model_copy(update={"point": point})]})
    (seen,) = optuna_study(Study(tmp_path, "study"), plan).trials
    assert seen.params == {"objective.name": "cmc", "data.modalities": '["imu"]', "data.steps": 50}


def test_a_system_is_a_category(tmp_path: Path, dataset: Dataset) -> None:
    space = Space(name="s", systems=["vicreg", "untrained_imu"], folds="test", metric="val.f1")
    bases = space.bases("synthetic")
    plan = make_plan("study", space, bases, dataset, [()], space.points(bases))
    study = Study(tmp_path, "study")
    study.create(plan)
    tables = Tables(study, plan)
    for planned, score in zip(plan.trials, (0.25, 0.5), strict=True):
        tables.put(Record(trial_id=planned.trial_id, status="COMPLETE", facts={"test.f1": score}))
    tables.write()
    assert [(trial.params, trial.value) for trial in optuna_study(study, plan).trials] == [
        ({"system": "vicreg"}, 0.25),
        ({"system": "untrained_imu"}, 0.5),
    ]


def test_a_damaged_table_is_reported(study: Study) -> None:
    (study.folder / "trials.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"trials\.parquet: not readable .*`mmssl-tune resume study` writes it anew"):
        optuna_study(study, study.plan())


def test_a_study_in_a_bucket(s3: Store, plan_of: Callable[..., Plan]) -> None:
    far, plan = Study(s3.make("dashboards"), "study"), plan_of([1.0, 5.0], [2.0])
    tables = fill(far, plan)
    shown = DashboardApp(far, plan, None)
    before = shown.app
    shown.refresh()
    assert shown.app is before, "nothing has changed"
    tables.put(record(plan.trials[3].trial_id))
    time.sleep(1.1)  # The store's clock has whole seconds.
    tables.write()
    shown.refresh()
    assert shown.app is not before
    assert states(optuna_study(far, plan))[3] == "COMPLETE"


@contextmanager
def served(study: Study, *words: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    command = small.tune("dashboard", "study", "--storage", study.root, "--no-open", *words)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        said = ""
        try:
            while "http://" not in said:
                line = process.stdout.readline()
                assert line, said
                said += line
            yield said, process
        finally:
            process.kill()


def asked(url: str, method: str = "GET", **headers: str) -> Any:
    request = urllib.request.Request(url, method=method, headers=headers, data=b"{}" if method != "GET" else None)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def test_the_command_follows_the_study_refuses_to_write_and_ends_with_ctrl_c(
    tmp_path: Path, plan_of: Callable[..., Plan]
) -> None:
    study = Study(tmp_path / "root", "study")
    plan = plan_of([1.0, 5.0], [2.0])
    tables = fill(study, plan)
    with study.locked(), served(study) as (said, process):
        page = next(word for word in said.split() if word.startswith("http://127.0.0.1:"))
        site, _, number = page.replace("/dashboard", "/api").rpartition("/studies/")
        detail = asked(f"{site}/studies/{number}")
        assert [trial["state"] for trial in detail["trials"]] == ["Complete", "Fail", "Running", *["Waiting"] * 3]
        assert detail["has_intermediate_values"]
        assert detail["objective_names"] == ["val.accuracy"]
        plain = http.client.HTTPConnection(site.split("/")[2], timeout=30)
        plain.putrequest("GET", page.partition(site.split("/")[2])[2], skip_accept_encoding=True)
        plain.endheaders()
        assert plain.getresponse().status == 200
        for method, path in (
            ("POST", "studies"), ("DELETE", f"studies/{number}"), ("PUT", f"studies/{number}/note"),
            ("POST", "trials/3/tell"), ("POST", "trials/1/user-attrs"),
        ):  # fmt: skip
            with pytest.raises(urllib.error.HTTPError, match="403"):
                asked(f"{site}/{path}", method, **{"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            asked(f"{site}/studies", Host="evil.example")
        assert not (study.folder / "optuna.db").exists()
        tables.put(record(plan.trials[2].trial_id))
        tables.write()
        until = time.monotonic() + 60
        while asked(f"{site}/studies/{number}")["trials"][2]["state"] != "Complete":
            assert time.monotonic() < until
            time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
        assert (process.returncode, rest) == (0, "")


def test_another_host_is_warned_of_and_a_port_in_use_is_reported(study: Study) -> None:
    with served(study, "--host", "0.0.0.0") as (said, _):  # noqa: S104
        assert "no passwords" in said
        port = said.rpartition("/dashboard")[0].rpartition(":")[2]
        words = small.tune("dashboard", "study", "--storage", study.root, "--no-open", "--port", port)
        refused = subprocess.run(words, capture_output=True, text=True)
        assert refused.returncode == 2
        assert f"--port {port}: nothing can listen there" in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.browser
def test_a_browser_shows_the_trials(study: Study, chromium: "Browser") -> None:
    with served(study) as (said, _):
        page_url = next(word for word in said.split() if word.startswith("http://"))
        page = chromium.new_page()
        failed: list[str] = []
        page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
        page.goto(page_url)
        page.get_by_text("Intermediate values", exact=False).first.wait_for(timeout=60_000)
        page.get_by_text("val.accuracy", exact=False).first.wait_for(timeout=60_000)
        page.goto(f"{page_url}/trials")
        page.get_by_text("6 Trials").wait_for(timeout=60_000)
        text = page.inner_text("body")
        assert "Waiting" in text and "Complete" in text and "Fail" in text
        page.goto(f"{page_url}/note")
        page.get_by_text("no more than the luckiest").wait_for(timeout=60_000)
        page.close()
    assert failed == []
