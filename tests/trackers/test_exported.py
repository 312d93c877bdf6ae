"""What programs are told beside a study's own tables: Trackio its trials, MLflow its exported encoders."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from without_ray import run_without_ray

from mmssl import Recordings
from mmssl.export.encoders import export
from mmssl.study.folder import Study
from mmssl.study.plan import Plan
from mmssl.study.record import Record
from mmssl.study.results import choose, points
from mmssl.study.space import Space
from mmssl.trackers import forwarding
from mmssl.trackers.forwarding import Forwarder


def followed(program: str, study: Study, plan: Plan, records: Sequence[Record]) -> None:
    """Told of each record in turn, by the program's own tracker, to the end."""
    from mmssl.trackers.registry import _made  # pyright: ignore[reportPrivateUsage]

    forwarder = Forwarder(program, lambda: _made(program, study, plan), study, pytest.fail)
    forwarder.start([])
    planned = {trial.trial_id: trial for trial in plan.trials}
    for record in records:
        forwarder.changed(planned[record.trial_id], record)
    with pytest.MonkeyPatch.context() as patch:  # A database is made first.
        patch.setattr(forwarding, "TRACKER_TIMEOUT_S", 250.0)
        forwarder.close()


@pytest.fixture
def trackio_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Trackio, imported anew, keeps its runs; it reads its variables once."""
    for name in [name for name in sys.modules if name.split(".")[0] == "trackio" or name == "mmssl.trackers.trackio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for name in ("TRACKIO_PROJECT", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "trackio"


@pytest.mark.filterwarnings("ignore")  # Of Trackio's own, as it is loaded.
def test_trackio_has_the_runs_of_a_study_that_was_cut_off(
    trackio_folder: Path, tmp_path: Path, plan_of: Callable[..., Plan], capfd: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of([1.0], [2.0])
    study = Study(tmp_path, plan.name)
    study.create(plan)
    first, second, _ = plan.trials

    def at(trial_id: str, epochs: int, status: str = "RUNNING") -> Record:
        rows = [{"phase": "pretrain", "epoch": n, "loss": 1 / n, "norm": math.inf} for n in range(1, epochs + 1)]
        facts = {"val.accuracy": 0.75} if status == "COMPLETE" else {}
        return Record.model_validate({"trial_id": trial_id, "status": status, "epochs": rows, "facts": facts})

    one, two = first.trial_id, second.trial_id
    followed("trackio", study, plan, [at(one, 2), at(two, 1), at(one, 4), at(two, 3, "DIVERGED")])  # A driver killed.
    followed("trackio", study, plan, [at(one, 5), at(one, 6, "COMPLETE")])
    from trackio.sqlite_storage import SQLiteStorage

    assert trackio_folder.is_dir()
    assert sorted(SQLiteStorage.get_runs(plan.name)) == sorted(
        f"{trial.point_id[:8]}-{trial.seed}-{trial.fold}" for trial in (first, second)
    )
    for trial, epochs, end in ((first, 6, {"val.accuracy": 0.75}), (second, 3, {})):
        run = f"{trial.point_id[:8]}-{trial.seed}-{trial.fold}"
        *rows, last = SQLiteStorage.get_logs(plan.name, run)
        assert [row["step"] for row in rows] == list(range(epochs))
        assert [row["pretrain/loss"] for row in rows] == [1 / n for n in range(1, epochs + 1)]
        assert not any("pretrain/norm" in row for row in rows), "no infinite number"
        assert {name: last[name] for name in end} == end
        assert (last["step"], last["status"]) == (epochs - 1, "COMPLETE" if end else "DIVERGED")
        config = SQLiteStorage.get_run_config(plan.name, run)
        assert config and config["objective.lambda"] == 1.0 and config["trial_id"] == trial.trial_id
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")


@pytest.mark.filterwarnings("ignore")  # Of Trackio's own, as it is loaded.
@pytest.mark.parametrize("before", [0, 3])
def test_trackio_lacks_no_epoch_of_a_trial_that_is_tried_again(
    trackio_folder: Path, tmp_path: Path, plan_of: Callable[..., Plan], before: int
) -> None:
    plan = plan_of([1.0], [2.0])
    study = Study(tmp_path, plan.name)
    study.create(plan)
    trial = plan.trials[0]

    def at(epochs: int, status: str) -> Record:
        rows = [{"phase": "pretrain", "epoch": n, "loss": 1 / n} for n in range(1, epochs + 1)]
        return Record.model_validate({"trial_id": trial.trial_id, "status": status, "epochs": rows})

    followed("trackio", study, plan, [at(before, "FAILED")])
    followed("trackio", study, plan, [at(5, "RUNNING"), at(6, "COMPLETE")])
    from trackio.sqlite_storage import SQLiteStorage

    rows = SQLiteStorage.get_logs(plan.name, f"{trial.point_id[:8]}-{trial.seed}-{trial.fold}")
    losses = {row["step"]: row["pretrain/loss"] for row in rows if "pretrain/loss" in row}
    assert losses == {n: 1 / (n + 1) for n in range(6)}
    assert [row["status"] for row in rows if "status" in row] == ["FAILED", "COMPLETE"]


@pytest.mark.filterwarnings("ignore")  # Of MLflow's own, as it is loaded.
@pytest.mark.usefixtures("unchecked")
def test_mlflow_has_the_exported_encoders_as_a_model_of_their_run(
    tiny: Recordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    study = run_without_ray(Space(name="one", systems=["vicreg_imu"], seeds=[1]), tiny, tmp_path, [("anna",), ("ben",)])
    plan = study.plan()
    choice = choose(points(plan, study.table("trials.parquet")))

    def exported(folder: str, *, refit: bool) -> list[str]:
        said: list[str] = []
        export(study, plan, tiny, choice, "val.accuracy", tmp_path / folder, refit=refit, test=False, say=said.append)
        return [line for line in said if "MLflow" in line]

    assert exported("untold", refit=False) == [], "MLflow was not told of the study"
    assert not (tmp_path / "mlflow.db").exists()
    followed("mlflow", study, plan, [study.record(trial.trial_id) for trial in plan.trials])
    (line,) = exported("told", refit=False)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    model = client.get_logged_model(line.removeprefix("in MLflow as model "))
    facts = json.loads((tmp_path / "told" / "model.json").read_text())
    assert (model.name, str(model.status), model.model_type) == ("one", "READY", "mmssl")
    assert model.tags["mmssl.folder"] == str(tmp_path / "told")
    assert model.source_run_id
    assert client.get_run(model.source_run_id).data.params["trial_id"] == facts["trial_id"] == model.params["trial_id"]
    assert {one.key.removeprefix("export/"): one.value for one in model.metrics or []} == facts["metrics"]
    (line,) = exported("anew", refit=True)
    anew = client.get_logged_model(line.removeprefix("in MLflow as model "))
    assert (anew.source_run_id, "trial_id" in anew.params) == (None, False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert exported("gone", refit=False)[0].startswith("note: MLflow does not know the exported encoders (")
