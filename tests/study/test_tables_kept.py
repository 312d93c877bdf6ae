from collections.abc import Callable
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmssl.study import folder as store
from mmssl.study.columns import schemas
from mmssl.study.folder import Study
from mmssl.study.plan import Dataset, Plan, make_plan
from mmssl.study.record import Record
from mmssl.study.space import Space
from mmssl.study.tables import Tables
from tests.study.test_folder import ended, full


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
