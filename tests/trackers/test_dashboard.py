"""optuna-dashboard on a copy of a study: what it shows, that it follows, and that nothing can be written."""

import hashlib
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

from mmssl.study.folder import OPTUNA, Record, Study
from mmssl.study.plan import Plan
from mmssl.trackers.dashboard import Copy
from mmssl.trackers.optuna_study import OptunaStudy

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
    fill(made, plan_of([1.0, 5.0], [2.0]), made)
    return made


def fill(study: Study, plan: Plan, at: Study) -> OptunaStudy:
    study.create(plan)
    view = OptunaStudy(at.folder / OPTUNA, plan, {})
    for planned, status in zip(plan.trials, ("COMPLETE", "DIVERGED"), strict=False):
        ended = record(planned.trial_id, status)
        study.keep(ended)
        view.begin(planned)
        view.told(planned, ended.epochs)
        view.end(planned, ended)
    view.begin(plan.trials[2])
    view.told(plan.trials[2], epochs(3))
    return view


def shown(path: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="study", storage=f"sqlite:///{path}").trials


def digest(study: Study) -> str:
    return hashlib.sha256((study.folder / OPTUNA).read_bytes()).hexdigest()


def test_the_studys_own_database_has_curves_states_and_attributes(study: Study) -> None:
    own = optuna.load_study(study_name="study", storage=f"sqlite:///{study.folder / OPTUNA}")
    assert own.metric_names == ["val.accuracy"]
    assert own.direction == optuna.study.StudyDirection.MAXIMIZE
    assert own.user_attrs["fingerprint"] == study.plan().dataset.fingerprint
    assert own.user_attrs["intermediate values"] == "train.rankme by epoch of pre-training"
    complete, diverged, running = own.trials
    assert [trial.state.name for trial in own.trials] == ["COMPLETE", "FAIL", "RUNNING"]
    assert complete.intermediate_values == {i: 3.0 * i for i in (*range(1, 21), 30, 40)}
    assert running.intermediate_values == {1: 3.0, 2: 6.0, 3: 9.0}
    planned = study.plan().trials[0]
    assert complete.user_attrs == {
        "trial_id": planned.trial_id, "point_id": planned.point_id, "seed": 28, "fold": "1", "system": "vicreg",
        "status": "COMPLETE", "val.accuracy": 0.5, "val.f1": 0.25, "rankme": 7.0, "seconds": 3.5, "host": "lab",
    }  # fmt: skip
    assert diverged.user_attrs["cause"] == "epoch 3: loss is nan"


def test_made_anew_from_the_records_it_says_the_same(study: Study, tmp_path: Path) -> None:
    plan = study.plan()
    OptunaStudy(tmp_path / "again.db", plan, study.records(plan))
    for ours, theirs in zip(shown(tmp_path / "again.db"), shown(study.folder / OPTUNA)[:2], strict=True):
        assert (ours.state, ours.value, ours.params) == (theirs.state, theirs.value, theirs.params)
        assert (ours.user_attrs, ours.intermediate_values) == (theirs.user_attrs, theirs.intermediate_values)


def test_a_probed_study_shows_the_probe(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plan = plan_of([1.0], [2.0])
    rules = {"probe": "median", "every": 15}
    space = plan.space.model_validate({**plan.space.model_dump(exclude_none=True), "prune": rules})
    plan = plan.model_copy(update={"space": space})
    view = OptunaStudy(tmp_path / "o.db", plan, {})
    view.begin(plan.trials[0])
    rows = epochs(45)
    for row in rows[14::15]:
        row["probe.accuracy"] = row["epoch"] / 100
    view.told(plan.trials[0], rows + epochs(2, "finetune"))
    assert shown(tmp_path / "o.db")[0].intermediate_values == {15: 0.15, 30: 0.3, 45: 0.45}


def test_trials_that_were_cut_off_wait(study: Study, tmp_path: Path) -> None:
    before = digest(study)
    copy = Copy(study, study.plan(), tmp_path)
    copy.refresh()
    assert [trial.state.name for trial in shown(copy.path)] == ["COMPLETE", "FAIL", "WAITING"]
    with study.locked():
        copy.refresh()
        assert [trial.state.name for trial in shown(copy.path)] == ["COMPLETE", "FAIL", "RUNNING"]
    assert digest(study) == before


def test_a_driver_that_ends_leaves_none_running(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    study = Study(tmp_path / "root", "study")
    fill(study, plan_of([1.0], [2.0]), study).settle()
    assert [trial.state.name for trial in shown(study.folder / OPTUNA)] == ["COMPLETE", "FAIL", "WAITING"]


@pytest.mark.parametrize("content", [None, b"", b"SQLite format 3\0 and no more", b"x" * 5000])
def test_a_database_that_is_missing_or_damaged_is_made_of_the_records(
    study: Study, tmp_path: Path, content: bytes | None
) -> None:
    (study.folder / OPTUNA).unlink()
    if content is not None:
        (study.folder / OPTUNA).write_bytes(content)
    copy = Copy(study, study.plan(), tmp_path)
    copy.refresh()
    assert [trial.state.name for trial in shown(copy.path)] == ["COMPLETE", "FAIL"]
    assert (study.folder / OPTUNA).exists() == (content is not None)


def test_a_study_in_a_bucket(s3: Store, tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    local = Study(tmp_path / "root", "study")
    plan = plan_of([1.0, 5.0], [2.0])
    view = fill(local, plan, local)
    far = Study(s3.make("dashboards"), "study")
    far.create(plan)
    far.put(OPTUNA, (local.folder / OPTUNA).read_bytes())
    copy = Copy(far, plan, tmp_path)
    copy.refresh()
    assert len(shown(copy.path)) == 3
    view.begin(plan.trials[3])
    time.sleep(1.1)  # The store's clock has whole seconds.
    far.put(OPTUNA, (local.folder / OPTUNA).read_bytes())
    copy.refresh()
    assert len(shown(copy.path)) == 4


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
    view = fill(study, plan, study)
    with study.locked(), served(study) as (said, process):
        page = next(word for word in said.split() if word.startswith("http://127.0.0.1:"))
        site, _, number = page.replace("/dashboard", "/api").rpartition("/studies/")
        detail = asked(f"{site}/studies/{number}")
        assert [trial["state"] for trial in detail["trials"]] == ["Complete", "Fail", "Running"]
        assert detail["has_intermediate_values"]
        assert detail["objective_names"] == ["val.accuracy"]
        plain = http.client.HTTPConnection(site.split("/")[2], timeout=30)
        plain.putrequest("GET", page.partition(site.split("/")[2])[2], skip_accept_encoding=True)
        plain.endheaders()
        assert plain.getresponse().status == 200
        before = digest(study)
        for method, path in (
            ("POST", "studies"), ("DELETE", f"studies/{number}"), ("PUT", f"studies/{number}/note"),
            ("POST", "trials/3/tell"), ("POST", "trials/1/user-attrs"),
        ):  # fmt: skip
            with pytest.raises(urllib.error.HTTPError, match="403"):
                asked(f"{site}/{path}", method, **{"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            asked(f"{site}/studies", Host="evil.example")
        assert digest(study) == before
        view.end(plan.trials[2], record(plan.trials[2].trial_id))
        until = time.monotonic() + 60
        while asked(f"{site}/studies/{number}")["trials"][2]["state"] != "Complete":
            assert time.monotonic() < until
            time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=30)
        assert (process.returncode, rest) == (0, "")


def test_another_host_is_warned_of_and_a_port_that_is_taken_is_said(study: Study) -> None:
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
        page.get_by_text("3 Trials").wait_for(timeout=60_000)
        text = page.inner_text("body")
        assert "Waiting" in text and "Complete" in text and "Fail" in text
        page.goto(f"{page_url}/note")
        page.get_by_text("no more than the luckiest").wait_for(timeout=60_000)
        page.close()
    assert failed == []
