"""Trackers of a running study: the reports that they get, and that none of them delays it."""

import json
import math
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import small
from s3_store import Store

from mmssl import Recordings
from mmssl.errors import UserError
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.trackers import forwarding as live
from mmssl.trackers import registry
from mmssl.trackers.forwarding import Epoch, Forwarder
from mmssl.trackers.registry import check, require

SECRET = "correct-horse-battery-staple"  # noqa: S105 - nobody's


class FakeTracker:
    """A tracker that keeps the reports it gets."""

    def __init__(self, known: dict[str, int] | None = None, whole: dict[str, str] | None = None) -> None:
        self.known, self.whole = known or {}, whole or {}
        self.steps: dict[str, list[tuple[int, int]]] = {}
        self.ends: dict[str, str] = {}
        self.stopped = False

    def has(self, trial_id: str, status: str) -> bool:
        return self.whole.get(trial_id) == status

    def begin(self, planned: PlannedTrial) -> int:
        return self.known.get(planned.trial_id, 0)

    def epochs(self, planned: PlannedTrial, before: int, epochs: Sequence[Epoch]) -> None:
        steps = [(before + i, int(epoch["epoch"])) for i, epoch in enumerate(epochs)]
        self.steps.setdefault(planned.trial_id, []).extend(steps)

    def end(self, planned: PlannedTrial, record: Record) -> None:
        assert record.epochs == []
        self.ends[planned.trial_id] = record.status

    def stop(self) -> None:
        self.stopped = True


def epochs(first: int, last: int) -> list[dict[str, Any]]:
    return [{"phase": "pretrain", "epoch": epoch} for epoch in range(first, last + 1)]


def record(planned: PlannedTrial, last: int, status: str = "RUNNING") -> Record:
    return Record.model_validate({"trial_id": planned.trial_id, "status": status, "epochs": epochs(1, last)})


@pytest.fixture
def study(tmp_path: Path, plan_of: Callable[..., Plan]) -> tuple[Study, Plan]:
    plan = plan_of([1.0, 5.0], [2.0])
    made = Study(tmp_path, "study")
    made.create(plan)
    return made, plan


def reported_to(
    study: Study, program: FakeTracker, ended: Sequence[tuple[PlannedTrial, str]], *events: tuple[PlannedTrial, Record]
) -> None:
    forwarder = Forwarder("program", lambda: program, study, pytest.fail)
    forwarder.start(ended)
    for planned, state in events:
        forwarder.changed(planned, state)
    forwarder.close()


def test_each_epoch_is_reported_once_though_its_worker_dies_or_the_tracker_has_it(study: tuple[Study, Plan]) -> None:
    folder, plan = study
    first, second, third, *_ = plan.trials
    program = FakeTracker(known={second.trial_id: 3})
    reported_to(
        folder, program, [],
        (first, record(first, 2)), (first, record(first, 4)), (second, record(second, 2)),
        (first, Record(trial_id=first.trial_id, status="PLANNED")),  # Its worker died; it begins again.
        (first, record(first, 0)), (first, record(first, 3)), (first, record(first, 5, "COMPLETE")),
        (second, record(second, 6, "DIVERGED")), (third, record(third, 0, "PRUNED")),
    )  # fmt: skip
    assert program.steps[first.trial_id] == [(i, i + 1) for i in range(5)]
    assert program.steps[second.trial_id] == [(3, 4), (4, 5), (5, 6)]
    assert program.ends == {first.trial_id: "COMPLETE", second.trial_id: "DIVERGED", third.trial_id: "PRUNED"}
    assert program.stopped


def test_trials_that_had_ended_are_reported_to_a_tracker_without_them(study: tuple[Study, Plan]) -> None:
    folder, plan = study
    first, second, third, *_ = plan.trials
    for planned in (first, second, third):
        folder.keep(record(planned, 2, "COMPLETE"))
    # The third has been tried again while the tracker was not there.
    program = FakeTracker(whole={first.trial_id: "COMPLETE", third.trial_id: "FAILED"}, known={third.trial_id: 1})
    reported_to(folder, program, [(one, "COMPLETE") for one in (first, second, third)])
    assert program.steps == {second.trial_id: [(0, 1), (1, 2)], third.trial_id: [(1, 2)]}
    assert program.ends == {second.trial_id: "COMPLETE", third.trial_id: "COMPLETE"}


def test_a_tracker_that_fails_gets_one_message_and_no_more_reports(
    study: tuple[Study, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, plan = study
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    said: list[str] = []

    def make() -> FakeTracker:
        raise ConnectionError(f"http://me:{SECRET}@host/api with {SECRET}: gone\nand more")

    forwarder = Forwarder("mlflow", make, folder, said.append)
    forwarder.start([(trial, "COMPLETE") for trial in plan.trials])
    for _ in range(3):
        forwarder.changed(plan.trials[0], record(plan.trials[0], 3))
    forwarder.close()
    assert said == [
        "mlflow failed (ConnectionError: http://...@host/api with ...: gone): "
        "it gets no further reports; the study goes on without it"
    ]


def test_a_tracker_that_hangs_delays_no_study(study: tuple[Study, Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, plan = study
    monkeypatch.setattr(live, "TRACKER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(live, "_MOST", 2)
    said: list[str] = []
    never = threading.Event()

    def make() -> FakeTracker:
        never.wait()
        raise SystemExit

    for events in (1, 5):
        forwarder = Forwarder("wandb", make, folder, said.append)
        forwarder.start([])
        started = time.monotonic()
        for last in range(events):
            forwarder.changed(plan.trials[0], record(plan.trials[0], last))
        forwarder.close()
        assert time.monotonic() - started < 5
    never.set()
    assert [line.partition(":")[0] for line in said] == [
        "wandb has not answered for 0.5 s", "wandb has 2 reports of trials still to take",
    ]  # fmt: skip


@pytest.mark.parametrize("extra", ["dashboard", "tensorboard", "mlflow", "trackio", "wandb"])
def test_an_extra_that_is_missing_is_named(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require(extra)
    monkeypatch.setitem(sys.modules, registry._PACKAGES[extra], None)  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(UserError, match=rf"pip install 'mmssl-tune\[{extra}\]'"):
        require(extra)


def test_what_a_tracker_lacks_is_reported_before_anything_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI"):
        check(["mlflow"], "s3://bucket/prefix")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(UserError, match="WANDB_MODE=offline"):
        check(["wandb"], "studies")
    monkeypatch.setenv("WANDB_MODE", "offline")
    check(["wandb", "mlflow", "tensorboard"], "studies")


SPACE = small.space(30, grid={"pretrain.lr": [0.001, 1e30]}, folds=[["anna"], ["ben"]])


def environment(**more: str) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "WANDB"))}
    return {**known, "NO_COLOR": "1", "COLUMNS": "200", "MMSSL_SNAPSHOT_SECONDS": "0", **more}


def ends(words: list[str], **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(words, capture_output=True, text=True, env=environment(**more), timeout=250)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Recordings) -> Path:
    folder = tmp_path_factory.mktemp("live")
    tiny.save(folder / "tiny.parquet")
    (folder / "space.yaml").write_text(SPACE)
    return folder


def launch(folder: Path, name: str, *words: str | Path) -> list[str]:
    return small.tune(
        "launch", folder / "space.yaml", "--dataset", folder / "tiny.parquet", "--storage", folder,
        "--name", name, *words,
    )  # fmt: skip


@pytest.fixture(scope="module")
def followed(folder: Path) -> Study:
    """A study whose driver was killed in the midst of it, resumed with all programs, of which MLflow came late."""
    study = Study(folder, "followed")
    words = launch(folder, "followed", "--tensorboard", "--wandb", "--max-concurrent", "1")
    with subprocess.Popen(words, env=environment(WANDB_MODE="offline"), start_new_session=True) as driver:
        until = time.monotonic() + 200
        while len(list(study.folder.glob("tensorboard/*"))) < 2:
            assert driver.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        time.sleep(1)
        os.killpg(driver.pid, signal.SIGKILL)
    assert not study.in_use()
    secrets = {"WANDB_API_KEY": SECRET, "MLFLOW_TRACKING_TOKEN": SECRET}
    words = small.tune("resume", "followed", "--storage", folder, "--tensorboard", "--wandb", "--mlflow")
    done = ends(words, WANDB_MODE="offline", **secrets)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wandb" not in done.stdout + done.stderr and "mlflow" not in (done.stdout + done.stderr).lower()
    return study


def curves(study: Study) -> Iterator[tuple[str, str, str, dict[int, float]]]:
    """Trial, phase, column, finite value by epoch: the study's own table."""
    table = pd.read_parquet(study.folder / "epochs.parquet")
    for (trial, phase), rows in table.groupby(["trial_id", "phase"]):
        for column in rows.columns[6:]:
            known = rows.set_index("epoch")[column].dropna()
            known = known[known.abs() < math.inf]
            if len(known):
                yield str(trial), str(phase), column, known.to_dict()


@pytest.mark.ray
def test_tensorboard_shows_the_epochs_of_the_table_each_once(followed: Study) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = pd.read_parquet(followed.folder / "trials.parquet").set_index("trial_id")
    assert rows["status"].value_counts().to_dict() == {"COMPLETE": 2, "DIVERGED": 2}
    read = {
        trial: EventAccumulator(str(followed.folder / "tensorboard" / trial), {"scalars": 0}).Reload()
        for trial in rows.index
    }
    compared = 0
    for trial, phase, column, values in curves(followed):
        shown = [(event.step, event.value) for event in read[trial].Scalars(f"{phase}/{column}")]
        assert [step for step, _ in shown] == list(values)
        assert [value for _, value in shown] == pytest.approx(list(values.values()), rel=1e-6)
        compared += len(shown)
    assert compared > 2 * 30 * 9
    for trial, events in read.items():
        if rows.loc[trial, "status"] == "COMPLETE":
            (score,) = events.Scalars("val.accuracy")
            assert score.value == pytest.approx(rows.loc[trial, "val.accuracy"])
        assert "_hparams_/session_start_info" in events.summary_metadata
        text = events.Tensors("status/text_summary")[0].tensor_proto.string_val[0].decode()
        assert text == f"{rows.loc[trial, 'status']} {rows.loc[trial, 'cause']}".rstrip()


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")  # Of MLflow's own, as it is loaded.
def test_mlflow_has_a_run_for_each_trial_with_its_epochs_once(followed: Study) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{followed.root}/mlflow.db")
    experiment = client.get_experiment_by_name("followed")
    assert experiment
    runs = {run.data.params["trial_id"]: run for run in client.search_runs([experiment.experiment_id])}
    rows = pd.read_parquet(followed.folder / "trials.parquet").set_index("trial_id")
    assert set(runs) == set(rows.index), "also those that had ended before it was asked for"
    for trial, run in runs.items():
        assert run.info.status == {"COMPLETE": "FINISHED", "DIVERGED": "FAILED"}[rows.loc[trial, "status"]]
        assert float(run.data.params["pretrain.lr"]) == rows.loc[trial, "param.pretrain.lr"]
        assert run.data.tags["mmssl.status"] == rows.loc[trial, "status"]
        assert run.data.metrics.get("val.f1", math.nan) == pytest.approx(rows.loc[trial, "val.f1"], nan_ok=True)
    for trial, phase, column, values in curves(followed):
        history = client.get_metric_history(runs[trial].info.run_id, f"{phase}/{column}")
        assert sorted((metric.step, metric.value) for metric in history) == list(values.items())


def wandb_records(path: Path) -> Iterator[Any]:
    """The records of an offline run: a log in LevelDB's format, of blocks of 32 KiB, after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record as Line

    content, at, whole = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            line = Line()
            line.ParseFromString(whole)
            yield line
            whole = b""


@pytest.mark.ray
def test_wandb_has_the_epochs_offline(followed: Study) -> None:
    """Of a run that was cut off there are two folders; the later one has all of it."""
    table = list(curves(followed))
    last = {path.name: path for path in sorted(followed.folder.glob("wandb/offline-run-*/*.wandb"))}
    rows = pd.read_parquet(followed.folder / "trials.parquet").set_index("trial_id")
    assert {name.removeprefix("run-").removesuffix(".wandb") for name in last} == set(rows.index)
    for trial in rows.index:
        history: list[dict[str, Any]] = []
        summary: dict[str, Any] = {}
        config: dict[str, Any] = {}
        group = ""
        for line in wandb_records(last[f"run-{trial}.wandb"]):
            kind = line.WhichOneof("record_type")
            if kind == "history":
                history.append(
                    {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in line.history.item}
                )
            elif kind == "run":
                group = group or line.run.run_group
                config |= {item.key: json.loads(item.value_json) for item in line.run.config.update}
            elif kind == "summary":
                for item in line.summary.update:
                    summary["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        assert group == "followed"
        assert config["pretrain.lr"] == rows.loc[trial, "param.pretrain.lr"]
        assert summary["status"] == rows.loc[trial, "status"]
        if rows.loc[trial, "status"] == "COMPLETE":
            assert summary["val.accuracy"] == rows.loc[trial, "val.accuracy"]
        assert [row["_step"] for row in history] == list(range(len(history)))
        for _, phase, column, values in (one for one in table if one[0] == trial):
            name = f"{phase}/{column}"
            shown = {row[f"{phase}/epoch"]: row[name] for row in history if isinstance(row.get(name), float | int)}
            assert shown == values


@pytest.mark.ray
def test_no_secret_is_kept(followed: Study) -> None:
    paths = [path for path in Path(followed.root).rglob("*") if path.is_file()]
    assert len(paths) > 20
    assert [path for path in paths if SECRET.encode() in path.read_bytes()] == []


@pytest.mark.slow
@pytest.mark.ray
def test_a_server_that_is_gone_stops_nothing_and_without_trackers_nothing_is_loaded(folder: Path) -> None:
    gone = launch(folder, "gone", "--mlflow", "--set", "pretrain.epochs=1", "--max-concurrent", "1")
    done = ends(gone, MLFLOW_TRACKING_URI=f"http://me:{SECRET}@127.0.0.1:9", MLFLOW_HTTP_REQUEST_MAX_RETRIES="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len([line for line in done.stderr.splitlines() if "mlflow" in line]) == 1, done.stderr
    assert "note: mlflow failed (" in done.stderr and "the study goes on without it" in done.stderr
    study = Study(folder, "gone")
    assert SECRET not in done.stdout + done.stderr + study.log().decode()
    assert set(pd.read_parquet(study.folder / "trials.parquet")["status"]) == {"COMPLETE", "DIVERGED"}

    driver = (
        "import sys\nfrom mmssl.cli import main\ntry:\n    main()\nfinally:\n"
        "    print({'tensorboardX', 'mlflow', 'wandb', 'optuna_dashboard'} & set(sys.modules), file=sys.stderr)"
    )
    words = launch(folder, "plain", "--set", "pretrain.epochs=1", "--max-concurrent", "1")[3:]
    done = ends([sys.executable, "-c", driver, *words])
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "set()"
    made = {path.name for path in Study(folder, "plain").folder.iterdir()}
    assert made & {"tensorboard", "wandb", "mlflow.db"} == set()


@pytest.fixture
def beside_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's database is that beside the studies."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)


@pytest.mark.filterwarnings("ignore")  # Of MLflow's own, as it is loaded.
@pytest.mark.usefixtures("beside_studies")
def test_mlflow_ranks_no_run_first_for_an_infinite_number(study: tuple[Study, Plan]) -> None:
    from mmssl.trackers.mlflow import MLflow

    made, plan = study
    better, worse, diverging, lost = plan.trials[:4]
    tracker = MLflow(made, plan)
    told = ((better, (2.0, 0.9)), (worse, (3.0, 0.1)), (diverging, (0.5, math.inf)), (lost, (-math.inf, math.nan)))
    for planned, values in told:
        tracker.begin(planned)
        rows = [{"phase": "pretrain", "epoch": i, "train.loss": value} for i, value in enumerate(values, 1)]
        tracker.epochs(planned, 0, rows)
        facts = {"val.accuracy": values[-1]}
        tracker.end(planned, Record(trial_id=planned.trial_id, status="COMPLETE", facts=facts))

    def order(by: str) -> list[str]:
        runs = tracker._client.search_runs([tracker.mlflow_util.experiment_id or ""], order_by=[by])
        return [run.data.params["trial_id"] for run in runs if by.split("`")[1] in run.data.metrics]

    assert order("metrics.`val.accuracy` DESC") == [better.trial_id, worse.trial_id]
    by_loss = [worse.trial_id, diverging.trial_id, better.trial_id]
    assert order("metrics.`pretrain/train.loss` ASC") == by_loss
    assert order("metrics.`pretrain/train.loss` DESC") == by_loss[::-1]


@pytest.mark.filterwarnings("ignore")  # Of MLflow's own, as it is loaded.
@pytest.mark.usefixtures("beside_studies")
def test_mlflow_keeps_no_cause_of_a_trial_that_is_tried_again(study: tuple[Study, Plan]) -> None:
    from mmssl.trackers.mlflow import MLflow

    made, plan = study
    planned = plan.trials[0]
    for status, cause in (("FAILED", "the worker died"), ("COMPLETE", "")):
        tracker = MLflow(made, plan)
        tracker.begin(planned)
        tracker.end(planned, Record(trial_id=planned.trial_id, status=status, cause=cause))
        [run] = tracker._runs()
        assert run.data.tags["mmssl.status"] == status
        assert run.data.tags.get("mmssl.cause", "") == cause


@pytest.mark.filterwarnings("ignore")  # Of MLflow's own, as it is loaded.
@pytest.mark.usefixtures("beside_studies")
def test_mlflow_of_each_study_of_a_process_is_beside_that_study(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    from mmssl.trackers.mlflow import MLflow

    plan = plan_of([1.0], [2.0])
    for place in ("here", "there"):
        made = Study(tmp_path / place, "study")
        made.create(plan)
        assert len(list(MLflow(made, plan)._runs())) == 0
        assert (tmp_path / place / "mlflow.db").is_file()
        MLflow(made, plan).begin(plan.trials[0])


def test_no_tracker_gets_a_number_that_is_not_finite(plan_of: Callable[..., Plan]) -> None:
    epoch = {"phase": "pretrain", "epoch": 2, "train.loss": math.inf, "train.variance": 0.5, "probe.accuracy": None}
    assert live.numbers(epoch) == {"pretrain/train.variance": 0.5}
    facts = {"val.accuracy": math.nan, "val.f1": 0.25, "embedding.imu.effective_rank": math.inf}
    assert live.scores(facts) == {"val.f1": 0.25}


def test_tensorboard_of_a_study_in_a_bucket_comes_with_each_trials_end(
    s3: Store, tmp_path: Path, plan_of: Callable[..., Plan]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from mmssl.trackers.tensorboard import TensorBoard

    plan = plan_of([1.0], [2.0])
    first, second, _ = plan.trials
    study = Study(s3.make("boards"), "study")
    study.create(plan)
    board = TensorBoard(study, plan)
    for planned in (first, second):
        board.begin(planned)
        board.epochs(planned, 0, [{"phase": "pretrain", "epoch": 1, "train.loss": 0.5}])
    board.end(first, Record(trial_id=first.trial_id, status="COMPLETE", facts={"val.accuracy": 0.25}))
    board.stop()
    names = study.files.names("tensorboard")
    assert {name.split("/")[1] for name in names} == {first.trial_id}, "the other was cut off"
    (events,) = [name for name in names if "tfevents" in name]
    (tmp_path / Path(events).name).write_bytes(study.files.read(events))
    read = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in read.Scalars("pretrain/train.loss")] == [(1, 0.5)]
    assert read.Scalars("val.accuracy")[0].value == 0.25
    again = TensorBoard(study, plan)
    assert again.has(first.trial_id, "COMPLETE") and not again.has(second.trial_id, "COMPLETE")
    assert not again.has(first.trial_id, "FAILED")
    again.stop()


def test_trackers_are_imported_before_trials_train_in_the_same_process(tmp_path: Path, tiny: Recordings) -> None:
    """As MLflow's thread was importing polars, scikit-learn took it for whole, and the trial FAILED."""
    tiny.save(tmp_path / "tiny.parquet")
    program = f"""
import sys
import mmssl

def watch(planned, record):
    print(record.status, hasattr(sys.modules.get("mmssl.trackers.mlflow"), "MLflow"))

space = {{"fixed": {small.KNOBS | {"pretrain.epochs": 1}!r}, "folds": [["anna"]]}}
mmssl.launch(space, "tiny.parquet", storage=".", local=True, trackers=["mlflow"], watch=watch)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[0] == "RUNNING True", done.stderr
