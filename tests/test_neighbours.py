"""Storages and machines that several people share: each goes on beside what others have shut, and none needs a home."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import small
from other_user import USER, as_other, everybodys_folder

from mmssl import Recordings, load_encoders
from mmssl.study.folder import LOG, Study
from mmssl.study.plan import Plan, PlannedTrial, SampledPoint, make_plan
from mmssl.study.record import Record
from mmssl.study.space import Space
from mmssl.training.prepared import Prepared
from mmssl.training.trial import run_trial


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    with everybodys_folder() as folder:
        yield folder


@pytest.fixture(scope="module")
def make(shared: Path, tiny: Recordings) -> Callable[..., tuple[Study, Plan]]:
    """Studies of two points under the shared folder; so many of their trials have been trained."""
    source = shared / "tiny.parquet"
    tiny.save(source)

    def made(root: Path, name: str, trained: int = 2) -> tuple[Study, Plan]:
        space = Space(name="s", grid={"objective.lambda": [1.0, 5.0]}, fixed={**small.KNOBS, "pretrain.epochs": 1})
        described = small.dataset_of(tiny, source)
        bases = space.bases("tiny")
        plan = make_plan(name, space, bases, described, [("anna",)], space.points(bases))

        def ended(study: Study, trial: PlannedTrial) -> Record:
            if plan.trials.index(trial) >= trained:
                return Record(trial_id=trial.trial_id, status="PLANNED")
            recipe = plan.recipe(trial)
            prepared = Prepared.of(tiny, recipe.data.steps, recipe.data.modalities)
            outcome = run_trial(recipe, prepared, plan.splits(tiny)[trial.held_out], scored_split="val")
            assert outcome.model is not None
            study.put_model(trial.trial_id, outcome.model.files())
            return Record(
                trial_id=trial.trial_id, status=outcome.status,
                facts=dict(outcome.metrics), predictions=outcome.predictions,
            )  # fmt: skip

        return small.study_of(root, plan, ended), plan

    return made


@pytest.fixture(scope="module")
def storage(shared: Path, make: Callable[..., tuple[Study, Plan]]) -> Path:
    """A study that all may read, beside what is shut: a disk's lost+found, and newer studies of a colleague."""
    root = shared / "studies"
    make(root, "open")
    for name, content in (("lost+found", ""), ("private", "{}"), ("half", "{}")):
        (root / name).mkdir()
        (root / name / "plan.json").write_text(content)
    (root / "half" / "plan.json").chmod(0o600)
    (root / "private").chmod(0o700)
    (root / "lost+found").chmod(0o700)
    return root


def said(done: "subprocess.CompletedProcess[str]", code: int = 0) -> str:
    printed = done.stdout + done.stderr
    assert done.returncode == code, printed
    assert "Traceback" not in printed
    return printed


@pytest.mark.timeout(900)
def test_what_others_have_shut_stops_nobody(shared: Path, storage: Path) -> None:
    def ask(*words: str, code: int = 0) -> str:
        return said(as_other(*words, "--storage", storage, cwd=shared), code)

    rows = {row["study"]: row for row in json.loads(ask("list", "--json"))["studies"]}
    assert rows["open"]["state"] == "complete"
    assert rows["half"]["problem"].startswith(f"{storage}/half: another user's, who has not opened it to this one")
    assert set(rows) == {"open", "half"}
    # Without a name it is the newest of those that can be read.
    assert json.loads(ask("results", "--json"))["study"] == "open"
    ask("status", "open")
    ask("report", "open", "--out", "/dev/null")  # It looks for untrained encoders in the studies beside.
    for name in ("private", "half"):
        assert ask("results", name, code=2).splitlines() == [
            f"mmssl-tune: {storage}/{name}: another user's, who has not opened it to this one; "
            "ask for the right to read it"
        ]


@pytest.mark.timeout(900)
def test_a_study_that_can_only_be_read_has_its_page_and_its_encoders_elsewhere(shared: Path, storage: Path) -> None:
    here = shared / "theirs"
    here.mkdir()
    os.chown(here, USER, USER)

    def ask(*words: str | Path, code: int = 0) -> str:
        return said(as_other(*words, "--storage", storage, cwd=here), code)

    (here / "hold").mkdir()
    before = {path: path.stat().st_mtime_ns for path in (storage / "open").rglob("*")}
    page = ask("report", "open")
    assert f"{storage}/open cannot be written (Permission denied); the page is written here" in page
    assert "<!doctype html>" in (here / "open.html").read_text("utf-8")[:100].lower()
    refused = ask("best", "open", "--export", code=2)
    assert "cannot be written; choose another place with --out" in refused
    exported = ask("best", "open", "--export", "--out", here / "encoders")
    assert "the test subjects are not scored: the look cannot be recorded" in exported
    load_encoders(here / "encoders")
    assert "test subjects were not evaluated: the look cannot be recorded" in (here / "encoders/README.md").read_text()
    assert json.loads((here / "encoders/model.json").read_bytes())["tested"] is None
    assert {path: path.stat().st_mtime_ns for path in (storage / "open").rglob("*")} == before


@pytest.mark.timeout(900)
@pytest.mark.parametrize("home", [None, "", "/", "here"])
def test_who_has_no_home_needs_none(shared: Path, storage: Path, home: str | None) -> None:
    said(as_other("status", "open", "--storage", storage, cwd=shared, home=home))
    absent = said(as_other("data", "info", "utd_mhad", cwd=shared, home=home), 2)
    assert re.fullmatch("mmssl-tune: .*/utd_mhad: no such folder; get them with .*\n", absent), absent


def test_desktop_files_beside_a_studys_own_are_no_part_of_it(
    tmp_path: Path, make: Callable[..., tuple[Study, Plan]]
) -> None:
    study, plan = make(tmp_path, "copied", 0)
    study.keep_choice(SampledPoint(number=0, point={"objective.lambda": 9.0}, after=[]))
    chosen = study.choices()
    for path in [*study.folder.rglob("*")]:
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\26\7Mac OS X")
        (path.parent / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (tmp_path / "._copied").write_bytes(b"\0\5\26\7Mac OS X")
    assert study.choices() == chosen
    assert study.records(plan) == {}
    assert study.plan().total == 3
    assert not any("._" in name or ".DS_Store" in name for name in study.files.names(""))
    assert not any("._" in name for name in study.files.sizes(""))


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_another_of_the_group_without_a_home_goes_on_with_a_study(
    shared: Path, make: Callable[..., tuple[Study, Plan]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """His is no line of /etc/passwd, and `/` for a home; the shared pre-trainings and `study.log` are the other's."""
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", "5")
    root = shared / "group"
    root.mkdir()
    os.chown(root, 0, USER)
    before = os.umask(0o002)
    try:
        root.chmod(0o2775)
        study, _ = make(root, "ours", 1)
    finally:
        os.umask(before)
    (study.folder / LOG).write_bytes(b"of the first\n")
    (study.folder / LOG).chmod(0o644)
    (root / ".pretrained").mkdir(mode=0o755)
    (root / ".pretrained").chmod(0o755)
    done = as_other("resume", "ours", "--storage", root, cwd=shared, umask=0o002)
    said(done)
    table = pd.read_parquet(study.folder / "trials.parquet")
    assert list(table["status"]) == ["COMPLETE", "COMPLETE"]
    assert (study.folder / LOG).stat().st_uid == USER
    assert (study.folder / LOG).stat().st_mode & 0o020, "and the first may go on with it"
    assert (study.folder / LOG).read_bytes().startswith(b"of the first\n")
    assert not any((root / ".pretrained").iterdir())
    assert not Path("/.ray").exists()
