"""What the user sees: every command's help, and an answer to each kind of bad input."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from mmssl import Recordings, cli
from mmssl.recipe import Recipe
from mmssl.search.plan import Dataset, make_plan
from mmssl.search.space import Space
from mmssl.search.store import Record, Study, Tables


@dataclass
class Answer:
    code: int
    out: str
    err: str


Ask = Callable[..., Answer]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command in this process, as the installed script does."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*words: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["mmssl-tune", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return Answer(int(end.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def study(tmp_path: Path, tiny: Recordings) -> Study:
    """A study with two points of two folds, one of which failed."""
    space = Space(name="s", grid={"objective.lambda": [1.0, 5.0]})
    data = Dataset(
        source="tiny.parquet", folder=None, name="tiny", fingerprint=tiny.fingerprint, recordings=36,
        train_subjects=("anna", "ben"), test_subjects=(),
    )  # fmt: skip
    plan = make_plan("one", space, Recipe(), data, [("anna",), ("ben",)], space.points(Recipe()))
    made = Study(tmp_path, "one")
    made.create(plan)
    tables = Tables(made, plan)
    for trial, score in zip(plan.trials, (0.5, 0.75, 0.9, None), strict=True):
        record = (
            Record(trial_id=trial.trial_id, status="FAILED", cause="MemoryError: too much")
            if score is None
            else Record(trial_id=trial.trial_id, status="COMPLETE", facts={"val.accuracy": score, "val.f1": score / 2})
        )
        made.keep(record)
        tables.put(record)
    tables.write()
    return made


def commands() -> list[list[str]]:
    found: list[list[str]] = []

    def walk(path: list[str], command: object) -> None:
        children = getattr(command, "commands", {})
        for name, child in children.items():
            walk([*path, name], child)
        if not children:
            found.append(path)

    walk([], get_command(cli.app))
    return found


@pytest.mark.parametrize("path", commands(), ids=" ".join)
def test_every_command_has_help_with_an_example_of_itself(ask: Ask, path: list[str]) -> None:
    answer = ask(*path, "--help")
    assert answer.code == 0
    assert f"Example: mmssl-tune {' '.join(path)}" in " ".join(answer.out.split())


def test_results_as_a_table_json_and_csv(ask: Ask, study: Study, tmp_path: Path) -> None:
    table = ask("results", "--storage", tmp_path)
    assert table.code == 0
    assert "0.6250" in table.out
    assert "1 FAILED" in table.out
    answer = json.loads(ask("results", "one", "--storage", tmp_path, "--metric", "val.f1", "--json").out)
    assert answer["metric"] == "val.f1"
    first, second = answer["points"]
    assert (first["objective.lambda"], first["mean"], first["n"], first["failures"]) == (1.0, 0.3125, 2, 0)
    assert (second["mean"], second["n"], second["failures"]) == (0.45, 1, 1)
    rows = list(csv.DictReader(io.StringIO(ask("results", "one", "--storage", tmp_path, "--csv").out)))
    assert [row["mean"] for row in rows] == ["0.625", "0.9"]


def test_best_leaves_out_what_is_not_complete(ask: Ask, study: Study, tmp_path: Path) -> None:
    answer = json.loads(ask("best", "--storage", tmp_path, "--json").out)
    assert answer["best"]["objective.lambda"] == 1.0
    assert answer["tied"] == []
    assert any("1 of 2 points" in caveat for caveat in answer["caveats"])


BAD = [
    (["launch"], "Missing option '--space'"),
    (["launch", "--space", "vicreg_gird"], "did you mean vicreg_grid"),
    (["launch", "--space", "vicreg_grid", "--dataset", "utd_mahd"], "did you mean utd_mhad"),
    (["launch", "--space", "vicreg_grid", "--dataset", "nowhere.parquet"], "nowhere.parquet: there is no such"),
    (["launch", "--space", "vicreg_grid", "--dataset", "utd_mhad", "--data", "nowhere"], "nowhere"),
    (["launch", "--space", "vicreg_grid", "--name", "../up"], "study name '../up'"),
    (["launch", "--space", "vicreg_grid", "--set", "pretrain.epochs"], "write KNOB=VALUE"),
    (["launch", "--space", "vicreg_grid", "--set", "pretrain.epoch=3"], "did you mean pretrain.epochs"),
    (["launch", "--space", "vicreg_grid", "--set", "pretrain.epochs=many"], "a number is expected, not 'many'"),
    (["launch", "--space", "vicreg_grid", "--set", "objective.mu=3"], "the space searches it"),
    (["launch", "--space", "vicreg_grid", "--set", "seed=3"], "seeds"),
    (["launch", "--space", "vicreg_grid", "--set", "data.validation_subjects=[1]"], "folds"),
    (["launch", "--space", "vicreg_grid", "--set", "data.train_subjects=[99]"], "99"),
    (["launch", "--space", "vicreg_grid", "--set", "data.modalities=sound"], "data.modalities"),
    (["run", "--set", "data.protocol=cross_scene"], "cross_scene"),
    (["run", "--set", "data.validation_subjects=[2]"], "not among the training subjects"),
    (["run", "--set", "encoder.imu.heads=3"], "does not divide"),
    (["results", "nothing"], "no study nothing"),
    (["results"], "no study here"),
    (["best", "--refit"], "add --export"),
    (["resume"], "no study here"),
    (["evaluate", "nowhere", "--dataset", "synthetic"], "no export lies here"),
    (["spaces", "nothing"], "no space 'nothing'"),
    (["data", "info", "--dataset", "nothing"], "no data set 'nothing'"),
    (["data", "download", "mmact"], "cannot be downloaded"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_answered_in_words_with_2(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = ask(*words)
    assert answer.code == 2
    assert said in answer.err
    assert "Traceback" not in answer.err
    assert not list(tmp_path.rglob("plan.json")), "nothing is begun on bad input"


def test_a_metric_that_is_none(ask: Ask, study: Study, tmp_path: Path) -> None:
    answer = ask("results", "--storage", tmp_path, "--metric", "val.acuracy")
    assert answer.code == 2
    assert "did you mean val.accuracy" in answer.err


def test_spaces_are_listed_and_checked(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "mine.yaml").write_text("grid: {objective.lamda: [1]}")
    answer = ask("spaces")
    assert answer.code == 2, "one of them does not hold"
    assert "vicreg_grid" in answer.out
    assert "did you mean objective.lambda" in " ".join(answer.out.split())
    (tmp_path / "search_spaces" / "mine.yaml").unlink()
    listed = json.loads(ask("spaces", "--json").out)
    assert {row["name"]: row["points"] for row in listed} == {"vicreg_grid": 25, "vicreg_diagonal": 7}


def test_run_trains_in_process_and_writes_encoders(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    words = ["run", "--dataset", tmp_path / "tiny.parquet", "--set", "pretrain.epochs=1", "--set", "finetune.epochs=1"]
    answer = ask(*words, "--out", tmp_path / "out", "--json")
    assert answer.code == 0
    document = json.loads(answer.out)
    assert document["status"] == "COMPLETE"
    scored = json.loads(
        ask("evaluate", tmp_path / "out", "--dataset", tmp_path / "tiny.parquet", "--subjects", "chris", "--json").out
    )
    assert scored["accuracy"] == pytest.approx(document["metrics"]["val.accuracy"])
    assert scored["f1"] == pytest.approx(document["metrics"]["val.f1"])


def test_a_run_that_diverges_exits_with_1(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    answer = ask("run", "--dataset", tmp_path / "tiny.parquet", "--set", "pretrain.lr=1e30")
    assert answer.code == 1
    assert "DIVERGED" in answer.out


def test_info_names_what_is_there(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    tiny.where(lambda row: row.recording_id != "ben-fast-1").save(tmp_path / "tiny.parquet")
    answer = ask("data", "info", "--dataset", tmp_path / "tiny.parquet")
    assert answer.code == 0
    assert "35 recordings" in answer.out
    assert "missing: fast, subject ben, trial 1" in answer.out
    assert json.loads(ask("data", "info", "--dataset", tmp_path / "tiny.parquet", "--json").out)["recordings"] == 35


def test_other_recordings_than_the_studys_are_refused(ask: Ask, study: Study, tmp_path: Path, tiny: Recordings) -> None:
    other = tiny.where(lambda row: row.trial != "2")
    other.save(tmp_path / "tiny.parquet")
    plan = study.plan()
    moved = plan.model_copy(
        update={"dataset": plan.dataset.model_copy(update={"source": str(tmp_path / "tiny.parquet")})}
    )
    study.plan_path.write_text(moved.model_dump_json())
    answer = ask("resume", "one", "--storage", tmp_path)
    assert answer.code == 2
    assert "planned for other recordings" in answer.err


def test_help_and_results_import_neither_torch_nor_ray() -> None:
    code = (
        "import sys, mmssl.cli, mmssl.search.store, mmssl.search.results;"
        "print({'torch', 'ray', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_typer_is_told_to_show_no_pretty_traceback() -> None:
    assert isinstance(cli.app, typer.Typer)
    assert cli.app.pretty_exceptions_enable is False
