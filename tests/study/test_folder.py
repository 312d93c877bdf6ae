import errno
import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mmssl.errors import UserError
from mmssl.files import Folder
from mmssl.recipe import knob_names
from mmssl.sealed import opened, sealed
from mmssl.study import folder as store
from mmssl.study.folder import Study
from mmssl.study.lookup import find
from mmssl.study.plan import Plan, SampledPoint, make_plan
from mmssl.study.record import Record
from mmssl.study.space import Space
from mmssl.study.tables import Tables


def full(*_: object, **__: object) -> None:
    """In place of what writes: the disk of the machine that runs the tests is not ours to fill."""
    raise OSError(errno.ENOSPC, "No space left on device")


def ended(trial_id: str, accuracy: float = 0.5) -> Record:
    return Record(
        trial_id=trial_id,
        status="COMPLETE",
        started=datetime(2026, 1, 1, tzinfo=UTC),
        finished=datetime(2026, 1, 2, tzinfo=UTC),
        facts={"val.accuracy": accuracy, "seconds.total": 3.0, "device": "cpu"},
        epochs=[{"phase": "pretrain", "epoch": e, "train.loss": 1.0 / e} for e in (1, 2)],
        predictions=[
            {
                "split": "val",
                "recording_id": "r",
                "subject": "1",
                "label": "walk",
                "predicted": "run",
                "confidence": 0.75,
            }
        ],
    )


def test_a_new_study_has_a_row_for_every_planned_trial(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0, 5.0], [2.0])
    study = Study(tmp_path, "study")
    study.create(plan)
    rows = study.table("trials.parquet").to_pylist()
    assert [row["trial_id"] for row in rows] == [trial.trial_id for trial in plan.trials]
    assert {row["status"] for row in rows} == {"PLANNED"}
    assert [row["param.objective.lambda"] for row in rows] == [1.0] * 3 + [5.0] * 3
    assert rows[0]["subjects.train"] == ["3", "5"]
    assert rows[0]["subjects.validation"] == ["1"]
    assert {f"param.{knob}" for knob in knob_names()} <= set(rows[0])
    assert study.plan() == plan


def test_a_study_that_an_older_version_planned_goes_on_under_its_ids(
    tmp_path: Path, plan_of: Callable[..., Plan]
) -> None:
    """Before folds and the precision of pre-training stood in plans."""
    today = plan_of([1.0, 5.0], [2.0])
    knobs = set(knob_names()) - {"pretrain.precision"}
    points = today.space.points(today.bases)
    plan = make_plan("study", today.space, today.bases, today.dataset, today.folds, points, knobs)
    study = Study(tmp_path, "study")
    study.create(plan)
    first = plan.trials[0].trial_id
    study.keep(ended(first, 0.75))
    document = json.loads((study.folder / "plan.json").read_bytes())
    del document["folds"], document["knobs"], document["sha256"]
    for base in document["bases"].values():
        del base["pretrain"]["precision"]
    (study.folder / "plan.json").write_text(json.dumps(document))
    read = study.plan()
    assert [trial.trial_id for trial in read.trials] == [trial.trial_id for trial in plan.trials]
    assert read.folds == plan.folds
    assert {read.recipe(trial).pretrain.precision for trial in read.trials} == {"float32"}
    assert study.records(read)[first].facts["val.accuracy"] == 0.75


def test_a_study_of_a_version_that_planned_otherwise_is_refused_with_the_reason(
    tmp_path: Path, plan_of: Callable[..., Plan]
) -> None:
    study = Study(tmp_path, "study")
    study.create(plan_of([1.0], [2.0]))
    text = opened((study.folder / "plan.json").read_bytes())
    (study.folder / "plan.json").write_bytes(text.replace(b"mmssl.plan/2", b"mmssl.plan/1"))
    with pytest.raises(UserError, match=r"written by another version: format: .*'mmssl\.plan/2'"):
        study.plan()


def test_records_come_back_as_they_were_kept(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0], [2.0])
    study = Study(tmp_path, "study")
    study.create(plan)
    record = ended(plan.trials[1].trial_id)
    study.keep(record)
    assert study.records(plan) == {record.trial_id: record}


@pytest.mark.parametrize("fault", ["half", "another's", "a digit"])
def test_a_damaged_record_is_refused_and_set_aside_when_its_trial_is_to_run_again(
    tmp_path: Path, plan_of: Callable[..., Plan], fault: str
) -> None:
    plan = plan_of([1.0], [2.0])
    study = Study(tmp_path, "study")
    study.create(plan)
    first, second = (ended(trial.trial_id) for trial in plan.trials[:2])
    study.keep(first)
    study.keep(second)
    path = study.folder / "trials" / first.trial_id / "record.json"
    whole, other = path.read_bytes(), (study.folder / "trials" / second.trial_id / "record.json").read_bytes()
    content = {"half": whole[:-20], "another's": other, "a digit": whole.replace(b'"epoch":1', b'"epoch":3', 1)}[fault]
    assert content != whole
    path.write_bytes(content)
    why = re.escape(f"{path}: damaged (") + (
        f"it is the record of trial {second.trial_id}" if fault == "another's" else ""
    )
    for reader in (lambda: study.record(first.trial_id), lambda: study.records(plan)):
        with pytest.raises(UserError, match=f"{why}.*bring it back from a copy, or let `mmssl-tune retry study`"):
            reader()
    assert path.read_bytes() == content, "who only reads changes nothing"

    damaged: dict[str, str] = {}
    assert study.records(plan, damaged) == {second.trial_id: second}
    (name,) = damaged
    assert study.files.place(name) == str(path)
    study.set_aside(name)
    assert path.with_name("record.json.damaged").read_bytes() == content
    assert study.records(plan) == {second.trial_id: second}
    study.keep(first)
    assert study.records(plan) == {first.trial_id: first, second.trial_id: second}


@pytest.mark.parametrize("seal", [lambda content: content, sealed], ids=["an older version", "sealed"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda one, other: one | {"trial_id": "../../x"}, "trial_id: string should match pattern"),
        (lambda one, other: one | {"trial_id": one["trial_id"].upper()}, "trial_id: string should match pattern"),
        (lambda one, other: one | {"trial_id": one["trial_id"] + "\n"}, "trial_id: string should match pattern"),
        (lambda one, other: one | {"point_id": "x/" + one["point_id"]}, "point_id: string should match pattern"),
        (lambda one, other: one | {"trial_id": other["trial_id"]}, "is listed twice"),
    ],
)
def test_ids_that_are_none_or_stand_twice_are_refused(
    tmp_path: Path,
    plan_of: Callable[..., Plan],
    seal: Callable[[bytes], bytes],
    change: Callable[[dict[str, str], dict[str, str]], dict[str, str]],
    reason: str,
) -> None:
    study = Study(tmp_path, "study")
    study.create(plan_of([1.0], [2.0]))
    path = study.folder / "plan.json"
    document = json.loads(opened(path.read_bytes()))
    document["trials"][0] = change(document["trials"][0], document["trials"][1])
    path.write_bytes(seal(json.dumps(document).encode()))
    with pytest.raises(UserError, match=f"{re.escape(str(path))}: damaged.*{reason}"):
        study.plan()


def test_a_changed_plan_or_choice_is_named_and_not_believed(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    grid = plan_of([1.0], [1.0])
    space = Space.model_validate(
        {"name": "s", "sampler": "random", "budget": 3, "ranges": {"objective.mu": {"low": 1, "high": 9}}}
    )
    plan = make_plan("study", space, grid.bases, grid.dataset, grid.folds, [])
    study = Study(tmp_path, "study")
    study.create(plan)
    chosen = [plan.add({"objective.mu": mu}) for mu in (1.0, 5.0)]
    for number, trials in enumerate(chosen):
        study.keep_choice(SampledPoint(number=number, point=trials[0].point, after=[], trials=tuple(trials)))
    assert study.plan().trials == plan.trials

    first, second = study.folder / "points" / "000000.json", study.folder / "points" / "000001.json"
    whole = {path: path.read_bytes() for path in (study.folder / "plan.json", first, second)}
    renamed = sealed(opened(whole[second]).replace(chosen[1][0].trial_id.encode(), b"../../x"))
    for path, old, new, why in (
        (study.folder / "plan.json", b'"mu": 25.0', b'"mu": 29.0', "sha256"),
        (second, b'"objective.mu":5.0', b'"objective.mu":7.0', "sha256"),
        (second, whole[second], whole[first], "it is choice 0"),
        (second, whole[second], renamed, "trials.0.trial_id: string should match pattern"),
    ):
        assert old in whole[path]
        path.write_bytes(whole[path].replace(old, new))
        with pytest.raises(UserError, match=f"{re.escape(str(path))}: damaged.*{why}.*bring it back from a copy"):
            study.plan()
        path.write_bytes(whole[path])
    (study.folder / "points" / "._000000.json").write_bytes(b"\0\5\x16\7")  # macOS leaves such files on shared disks.
    assert study.plan().trials == plan.trials
    first.unlink()
    with pytest.raises(UserError, match=f"{re.escape(str(first))}: missing"):
        study.plan()


def test_a_study_is_not_made_twice(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0], [2.0])
    Study(tmp_path, "study").create(plan)
    with pytest.raises(UserError, match="mmssl-tune resume study"):
        Study(tmp_path, "study").create(plan)


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", ".hidden", "a b", "x" * 101, "a\n"])
def test_names_cannot_leave_the_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="study name"):
        Study(tmp_path, name)


def test_two_drivers_cannot_share_a_study(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    study = Study(tmp_path, "study")
    study.create(plan_of([1.0], [2.0]))
    with study.locked(), pytest.raises(UserError, match="run by another process"), Study(tmp_path, "study").locked():
        pass
    with study.locked():
        pass


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of([1.0], [2.0])
    study = Study(tmp_path, "study")
    study.create(plan)
    tables = Tables(study, plan)
    tables.put(ended(plan.trials[0].trial_id))
    monkeypatch.setattr(store.parquet, "write_table", full)
    with pytest.raises(OSError, match="No space left"):
        tables.write()
    monkeypatch.undo()
    assert set(study.table("trials.parquet")["status"].to_pylist()) == {"PLANNED"}


def test_the_newest_study_is_found_and_a_misspelt_one_explained(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    with pytest.raises(UserError, match="no study here"):
        find(tmp_path, None)
    for i, name in enumerate(["first", "second"]):
        study = Study(tmp_path, name)
        study.create(plan_of([1.0], [2.0]))
        os.utime(study.folder / "plan.json", (i, i))
    assert find(tmp_path, None).name == "second"
    with pytest.raises(UserError, match="did you mean second"):
        find(tmp_path, "secnd")


@pytest.mark.parametrize("what", ["write", "make"])
def test_a_disk_that_is_full_at_the_start_is_said_in_one_line(
    tmp_path: Path, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Folder, what, full)  # A mock, as above.
    study = Study(tmp_path, "study")
    said = f"{study.place}: cannot be written (No space left on device); choose another place with --storage"
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        study.create(plan_of([1.0], [2.0]))
    monkeypatch.undo()
    assert not study.exists()
    study.create(plan_of([1.0], [2.0]))


def test_of_a_study_that_is_withdrawn_nothing_stays_but_what_has_ended(
    tmp_path: Path, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of([1.0], [2.0])
    study = Study(tmp_path, "study")
    study.create(plan)
    study.keep(record := Record(trial_id=plan.trials[0].trial_id, status="COMPLETE"))
    study.withdraw(plan)
    assert study.plan() == plan
    study.forget(record.trial_id)
    study.put("mine.txt", b"")
    study.withdraw(plan)
    assert [path.name for path in study.folder.rglob("*") if path.is_file()] == ["mine.txt"]
    study.files.remove("mine.txt")
    study.withdraw(plan)
    assert not study.folder.exists()


def test_in_brief_a_record_keeps_what_is_compared_and_what_was_probed() -> None:
    epochs = [{"phase": "pretrain", "epoch": 1}, {"phase": "pretrain", "epoch": 2, "probe.accuracy": 0.5}]
    whole = Record(
        trial_id="a", status="COMPLETE", facts={"val.accuracy": 0.5}, epochs=epochs, predictions=[{"split": "val"}]
    )
    brief = whole.brief()
    assert brief.epochs == epochs[1:]
    assert brief.predictions == []
    assert (brief.facts, brief.status) == (whole.facts, whole.status)
    assert len(whole.epochs) == 2, "itself as it was"
