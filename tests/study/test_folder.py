import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmssl.errors import UserError
from mmssl.recipe import knob_names
from mmssl.sealed import opened, sealed
from mmssl.storage import Folder
from mmssl.study import folder as store
from mmssl.study.columns import schemas
from mmssl.study.folder import Record, Study, Tables, find, names
from mmssl.study.plan import Dataset, Plan, SampledPoint, make_plan
from mmssl.study.space import Space


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


def test_tables_follow_the_records_and_are_read_by_other_libraries(
    tmp_path: Path, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of([1.0, 5.0], [2.0])
    study = Study(tmp_path, "study")
    study.create(plan)
    tables = Tables(study, plan)
    tables.put(ended(plan.trials[0].trial_id, 0.25))
    tables.put(Record(trial_id=plan.trials[1].trial_id, status="RUNNING", epochs=[{"phase": "pretrain", "epoch": 1}]))
    tables.put(Record(trial_id=plan.trials[2].trial_id, status="DIVERGED", cause="epoch 3: loss is nan"))
    tables.write()

    frame = pd.read_parquet(study.folder / "trials.parquet")
    assert list(frame["status"]) == ["COMPLETE", "RUNNING", "DIVERGED", "PLANNED", "PLANNED", "PLANNED"]
    assert frame["val.accuracy"][0] == 0.25
    assert frame["val.accuracy"].isna().sum() == 5
    assert frame["cause"][2] == "epoch 3: loss is nan"
    assert pl.read_parquet(study.folder / "epochs.parquet")["train.loss"].to_list() == [1.0, 0.5, None]
    predictions = duckdb.read_parquet(str(study.folder / "predictions.parquet"))
    assert predictions.project("predicted, confidence").fetchall() == [("run", 0.75)]

    tables.settle()
    assert list(pd.read_parquet(study.folder / "trials.parquet")["status"])[:2] == ["COMPLETE", "PLANNED"]
    assert pq.read_table(study.folder / "epochs.parquet").num_rows == 2


def test_a_report_of_a_trial_that_goes_on_writes_the_curves_alone(
    tmp_path: Path, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of([1.0], [2.0])
    study = Study(tmp_path, "study")
    study.create(plan)
    tables = Tables(study, plan)
    put_table, written = study.put_table, list[str]()

    def noted(name: str, table: pa.Table) -> str:
        place = put_table(name, table)  # Where that fails it has not been written.
        written.append(name)
        return place

    monkeypatch.setattr(study, "put_table", noted)
    every = ["trials.parquet", "epochs.parquet", "predictions.parquet"]

    def writes() -> list[str]:
        written.clear()
        tables.write()
        return list(written)

    first, second = (trial.trial_id for trial in plan.trials[:2])
    running = Record(trial_id=first, status="RUNNING", epochs=[{"phase": "pretrain", "epoch": 1}])
    tables.put(running)
    assert writes() == every
    assert writes() == []
    running.epochs.append({"phase": "pretrain", "epoch": 2})
    tables.put(running)
    assert writes() == ["epochs.parquet"]
    assert study.table("epochs.parquet")["epoch"].to_pylist() == [1, 2]
    tables.put(Record(trial_id=second, status="RUNNING"))
    assert writes() == ["trials.parquet"]
    tables.put(ended(first))
    assert writes() == every
    with monkeypatch.context() as disk:
        disk.setattr(store.parquet, "write_table", full)
        tables.put(ended(second))
        with pytest.raises(OSError, match="No space left"):
            tables.write()
    assert writes() == every, "what could not be written is written when it can be"
    (study.folder / "predictions.parquet").unlink()
    tables.settle()
    assert study.table("trials.parquet")["status"].to_pylist()[:3] == ["COMPLETE", "COMPLETE", "PLANNED"]
    assert study.table("predictions.parquet").num_rows == 2


def test_rows_have_the_knobs_of_their_own_recipe(tmp_path: Path, dataset: Dataset) -> None:
    """A row's columns, against the recipe that its trial is trained by, which is made anew for each."""
    grid = {"objective.mu": [1.0, 5.0]}
    space = Space(name="s", systems=["vicreg", "vicreg_imu"], grid=grid, seeds=[28, 29])
    bases = space.bases("synthetic")
    plan = make_plan("study", space, bases, dataset, [("1",), ("3", "5")], space.points(bases))
    study = Study(tmp_path, "study")
    study.create(plan)
    rows = study.table("trials.parquet").to_pylist()
    assert len(rows) == len(plan.trials) > 8
    for row, trial in zip(rows, plan.trials, strict=True):
        own = {name.removeprefix("param."): value for name, value in row.items() if name.startswith("param.")}
        assert own == plan.recipe(trial).knobs()
        assert (row["seed"], row["subjects.validation"]) == (trial.seed, list(trial.held_out))


def test_schemas_do_not_depend_on_what_happened(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0], [2.0])
    study = Study(tmp_path, "study")
    study.create(plan)
    empty = [
        pq.read_schema(path)
        for path in (
            study.folder / "trials.parquet",
            study.folder / "epochs.parquet",
            study.folder / "predictions.parquet",
        )
    ]
    tables = Tables(study, plan)
    tables.put(ended(plan.trials[0].trial_id))
    tables.write()
    full = [
        pq.read_schema(path)
        for path in (
            study.folder / "trials.parquet",
            study.folder / "epochs.parquet",
            study.folder / "predictions.parquet",
        )
    ]
    assert empty == full == list(schemas().values())


def test_a_fact_without_a_column_is_an_error_not_a_silent_loss(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0], [2.0])
    tables = Tables(Study(tmp_path, "study"), plan)
    with pytest.raises(ValueError, match=r"val\.acuracy"):
        tables.put(Record(trial_id=plan.trials[0].trial_id, status="COMPLETE", facts={"val.acuracy": 1.0}))


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


@pytest.fixture
def study(tmp_path: Path, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", "1")
    study = Study(tmp_path, "study")
    study.create(plan_of([1.0], [2.0]))
    return study


def test_what_several_need_is_made_once_and_read_back(study: Study) -> None:
    made: list[str] = []

    def make() -> Mapping[str, bytes]:
        made.append("once")
        return {"weights": b"\x00\xff", "epochs": b"[]"}

    first = study.cached("0123abcd", make)
    again = Study(study.folder.parent, "study").cached("0123abcd", make)
    assert dict(first) == dict(again) == {"weights": b"\x00\xff", "epochs": b"[]"}
    assert len(made) == 1
    study.cached("ffff", make)
    assert len(made) == 2, "by name"


def test_another_study_beside_it_takes_what_was_made(study: Study, plan_of: Callable[..., Plan]) -> None:
    other = Study(study.folder.parent, "other")
    other.create(plan_of([1.0], [2.0]))
    study.cached("0123abcd", lambda: {"weights": b"1"})
    study.drop()
    assert other.cached("0123abcd", dict) == {"weights": b"1"}
    assert names(study.folder.parent) == ["other"]


def test_where_nothing_can_be_kept_a_trial_trains_for_itself(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.cached("0123abcd", lambda: {"weights": b"1"})

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Folder, "lock", refuse)
    monkeypatch.setattr(Folder, "write", refuse)
    assert study.cached("0123abcd", dict) == {"weights": b"1"}, "what lies there is read without the lock"
    assert [study.cached("ffff", lambda n=n: {"weights": n}) for n in (b"2", b"3")] == [
        {"weights": b"2"},
        {"weights": b"3"},
    ]


def test_of_a_study_that_is_withdrawn_nothing_stays_but_what_has_ended(study: Study) -> None:
    plan = study.plan()
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


def test_the_oldest_make_room(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", "3e-6")
    kept = study.folder.parent / ".pretrained"
    for number in range(4):
        study.cached(f"name{number}", lambda: {"weights": bytes(1000)})
        os.utime(kept / f"name{number}" / "sha256.json", (number, number))
    assert sorted(path.name for path in kept.iterdir()) == ["name2", "name3"]
    assert study.cached("name3", dict) == {"weights": bytes(1000)}
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", "0")
    assert study.cached("name3", lambda: {"weights": b"new"}) == {"weights": b"new"}


def test_what_a_killed_process_left_half_written_goes_first(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", "3.5e-6")
    kept = study.folder.parent / ".pretrained"
    study.cached("whole", lambda: {"weights": bytes(1000)})
    for name in ("left", "being_made"):
        (kept / name).mkdir()
        (kept / name / "weights").write_bytes(bytes(900))
    with Folder(study.folder.parent).lock(".pretrained/being_made/lock", wait=True):
        study.cached("new", lambda: {"weights": bytes(1000)})
    assert sorted(path.name for path in kept.iterdir()) == ["being_made", "new", "whole"]


@pytest.mark.parametrize("said", ["a lot", "-1", "nan", ""])
def test_room_that_is_no_number_is_refused(said: str, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", said)
    with pytest.raises(UserError, match=r"MMSSL_PRETRAINED_GB is '.*': give gigabytes"):
        study.cached("name", dict)


def test_nothing_is_kept_of_what_could_not_be_made(study: Study) -> None:
    def fail() -> Mapping[str, bytes]:
        raise RuntimeError("epoch 3: loss is nan")

    with pytest.raises(RuntimeError, match="epoch 3"):
        study.cached("0123abcd", fail)
    assert study.cached("0123abcd", lambda: {"weights": b"1"}) == {"weights": b"1"}
    with pytest.raises(RuntimeError, match="epoch 3"):
        study.cached("ffff", fail)


def test_half_of_what_a_killed_process_wrote_is_not_taken(study: Study) -> None:
    part = study.folder.parent / ".pretrained" / "0123abcd"
    part.mkdir(parents=True)
    (part / "weights").write_bytes(b"ha")
    (part / "weights.part").write_bytes(b"wh")
    (part / "stray").write_bytes(b"x")
    assert study.cached("0123abcd", lambda: {"weights": b"whole"}) == {"weights": b"whole"}
    assert study.cached("0123abcd", dict) == {"weights": b"whole"}


@pytest.mark.parametrize("damage", ["cut short", "one bit", "empty", "gone"])
@pytest.mark.parametrize("file", ["weights", "sha256.json"])
def test_what_was_damaged_is_made_again(study: Study, file: str, damage: str) -> None:
    made = {"weights": bytes(range(256)), "epochs": b"[]"}
    study.cached("0123abcd", lambda: made)
    path = study.folder.parent / ".pretrained" / "0123abcd" / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        flipped = content[:7] + bytes([content[7] ^ 1]) + content[8:]
        path.write_bytes({"cut short": content[:-5], "one bit": flipped, "empty": b""}[damage])
    asked: list[str] = []
    assert study.cached("0123abcd", lambda: asked.append("again") or made) == made
    assert asked == ["again"]
    assert path.read_bytes() == content


ASKS = """
import sys, time
from pathlib import Path
from mmssl.study.folder import Study

study, me = Study(sys.argv[1], "study"), sys.argv[2]
def make():
    with (study.folder / "made").open("a") as log:
        log.write(me)
    time.sleep(0.3)
    return {"by": me.encode()}
(study.folder / f"ready{me}").touch()
while len(list(study.folder.glob("ready*"))) < 3:
    time.sleep(0.005)
print(study.cached("0123abcd", make)["by"].decode(), end="")
"""


def test_processes_that_ask_at_the_same_time_make_it_once(study: Study) -> None:
    command = [sys.executable, "-c", ASKS, str(study.folder.parent)]
    asking = [subprocess.Popen([*command, me], stdout=subprocess.PIPE, text=True) for me in "abc"]
    answers = [process.communicate(timeout=60)[0] for process in asking]
    made = (study.folder / "made").read_text()
    assert made in ("a", "b", "c")
    assert answers == [made] * 3
    assert [process.returncode for process in asking] == [0, 0, 0]


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


def test_a_row_says_what_was_trained_and_which_side_was_scored(tmp_path: Path, dataset: Dataset) -> None:
    space = Space(name="s", systems=["cmc", "untrained_imu"], folds="test")
    bases = space.bases("synthetic")
    plan = make_plan("study", space, bases, dataset, [()], space.points(bases))
    study = Study(tmp_path, "study")
    study.create(plan)
    tables = Tables(study, plan)
    facts = {"test.accuracy": 0.5, "test.imu.f1": 0.25, "embedding.imu.effective_rank": 3.0, "pretraining_id": "abc"}
    tables.put(Record(trial_id=plan.trials[0].trial_id, status="COMPLETE", facts=facts))
    tables.write()
    first, second = study.table("trials.parquet").to_pylist()
    assert [first["system"], second["system"]] == ["cmc", "untrained_imu"]
    assert (first["fold"], first["subjects.validation"], first["subjects.train"]) == ("test", [], ["1", "3", "5"])
    assert facts.items() <= first.items()
    assert first["val.accuracy"] is None
    assert second["param.data.modalities"] == ["imu"]
