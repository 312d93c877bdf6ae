"""What the user sees: every command's help, and an answer to each kind of bad input."""

import csv
import errno
import fcntl
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import pandas as pd
import pytest
import typer
from asking import Answer, Ask
from own_folder import make
from rich.console import Console
from rich.text import Text
from safetensors.numpy import load_file
from small import dataset_of, put_document, study_of
from typer.main import get_command

import mmssl
from mmssl import Protocol, Recordings, Row, cli
from mmssl.cli import studies, terminal
from mmssl.data.sources import READERS
from mmssl.errors import UserError
from mmssl.export.encoders import load_encoders
from mmssl.recipe import Recipe
from mmssl.study.folder import Study
from mmssl.study.plan import PlannedTrial, make_plan
from mmssl.study.presets import RECIPES, SYSTEMS, RecipeName, preset
from mmssl.study.record import Record
from mmssl.study.space import Space


@pytest.fixture
def study(tmp_path: Path, tiny: Recordings) -> Study:
    """A study with two points of two folds, one of which failed."""
    space = Space(name="s", grid={"objective.lambda": [1.0, 5.0]})
    data = dataset_of(tiny, train_subjects=("anna", "ben"), test_subjects=())
    bases = {"vicreg": Recipe()}
    plan = make_plan("one", space, bases, data, [("anna",), ("ben",)], space.points(bases))
    scores = dict(zip((trial.trial_id for trial in plan.trials), (0.5, 0.75, 0.9, None), strict=True))

    def ended(_: Study, trial: PlannedTrial) -> Record:
        score = scores[trial.trial_id]
        if score is None:
            return Record(trial_id=trial.trial_id, status="FAILED", cause="MemoryError: too much")
        facts = {"val.accuracy": score, "val.f1": score / 2}
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts)

    return study_of(tmp_path, plan, ended)


FACTS = [
    {"accuracy": 0.5, "f1": 0.5, "imu.accuracy": 0.25, "imu.f1": 0.25},
    {"accuracy": 0.75, "f1": 0.5, "imu.accuracy": 0.5, "imu.f1": 0.5},
]
RANKS = {"untrained": [(10.0, 4.0), (6.0, 2.0)], "vicreg": [(3.0, 5.0), (4.0, 8.0)], "cmc": [(2.0, 2.0), (2.0, 4.0)]}


@pytest.fixture
def compared(tmp_path: Path, tiny: Recordings) -> Callable[..., Study]:
    """Makes a finished study of some systems on two folds, or on the test subjects with two seeds."""

    def make(name: str, systems: list[str], folds: str | tuple[tuple[str, ...], ...]) -> Study:
        seeds = [1, 2] if folds == "test" else [1]
        space = Space(name="s", systems=systems, seeds=seeds, folds=folds)
        data = dataset_of(tiny, train_subjects=("anna", "ben"))
        bases = space.bases("tiny")
        held_out = [()] if folds == "test" else list(folds)
        plan = make_plan(name, space, bases, data, held_out, space.points(bases))
        turn = {trial.trial_id: i % 2 for i, trial in enumerate(plan.trials)}

        def ended(_: Study, trial: PlannedTrial) -> Record:
            i = turn[trial.trial_id]
            facts = {f"{space.scored_split}.{measure}": value for measure, value in FACTS[i].items()}
            imu, skeleton = RANKS[plan.system(trial)][i]
            facts |= {"embedding.imu.effective_rank": imu, "embedding.skeleton.effective_rank": skeleton}
            return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts)

        return study_of(tmp_path, plan, ended)

    return make


@pytest.fixture
def unrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launching stops where Ray would begin."""
    without_ray = SimpleNamespace(run=lambda *a, **k: {})
    monkeypatch.setitem(sys.modules, "mmssl.search.launch", without_ray)
    monkeypatch.setattr(studies, "console_beside", lambda descriptor: terminal.console_on(stderr=descriptor == 2))


LINE: Any = get_command(cli.app)


def commands() -> list[list[str]]:
    found: list[list[str]] = []

    def walk(path: list[str], command: object) -> None:
        children = getattr(command, "commands", {})
        for name, child in children.items():
            walk([*path, name], child)
        if not children:
            found.append(path)

    walk([], LINE)
    return found


@pytest.mark.parametrize("path", [[], ["data"], *commands()], ids=" ".join)
def test_every_command_has_help_with_two_or_three_examples_of_itself(ask: Ask, path: list[str]) -> None:
    answer = ask(*path, "--help")
    assert answer.code == 0
    examples = re.findall(rf"Example: {' '.join(['mmssl-tune', *path])}\b", " ".join(answer.out.split()))
    assert len(examples) in (2, 3)


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("path", [[], ["data"], *commands()], ids=" ".join)
def test_no_word_of_the_help_is_cut_or_split(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, path: list[str], width: int
) -> None:
    command = LINE
    for name in path:
        command = command.commands[name]
    context = typer.Context(command)
    options = command.get_params(context)
    monkeypatch.setenv("COLUMNS", str(width))
    out = ask(*path, "--help-all" if "--help-all" in {word for one in options for word in one.opts} else "--help").out
    assert "…" not in out
    words = set(out.replace("│", " ").split())
    shown = [one.display_type_rich(context) or "" for one in options]
    told = [command.help, *(one.help or "" for one in options), *shown]
    assert {word.replace("`", "") for text in told for word in text.split()} - {
        w.replace("`", "") for w in words
    } == set()
    flags = [one for one in options if getattr(one, "is_flag", False)]
    assert [one.name for one in flags if one.display_type_rich(context)] == [] and "<bool>" not in out


def test_a_command_is_the_same_whether_or_not_the_others_are_built(
    capsys: pytest.CaptureFixture[str], ask: Ask
) -> None:
    every: Any = get_command(cli.app)
    for name in every.commands:
        alone = ask(name, "--help")
        with pytest.raises(SystemExit):
            every([name, "--help"])
        assert capsys.readouterr().out == alone.out
    nearly = ask("lanch")
    assert nearly.code == 2 and "launch" in nearly.err


def test_the_help_of_launch_fits_a_screen_and_all_of_it_can_be_had(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    short, every = (ask("launch", word).out for word in ("--help", "--help-all"))
    assert len(short.splitlines()) <= 40
    options = set(re.findall(r"│ (--[a-z-]+)", every))
    daily = set(re.findall(r"│ (--[a-z-]+)", short))
    assert daily < options
    assert {"--dataset", "--values", "--local", "--notify"} <= daily
    more = short.partition("More, with --help-all:")[2].replace(",", "").split()
    assert daily | set(more) | {"--help-all"} == options


def test_no_word_of_the_help_is_taken_for_markup() -> None:
    def walk(command: Any) -> Iterator[str]:
        yield command.help or ""
        yield from (getattr(option, "help", None) or "" for option in command.params)
        for child in getattr(command, "commands", {}).values():
            yield from walk(child)

    texts = list(walk(LINE))
    assert len(texts) > 100
    assert [text for text in texts if Text.from_markup(text).plain != text] == []


def test_no_command_has_an_option_twice() -> None:
    def walk(command: Any) -> Iterator[list[str]]:
        yield [name for option in command.params for name in (*option.opts, *option.secondary_opts)]
        for child in getattr(command, "commands", {}).values():
            yield from walk(child)

    found = list(walk(LINE))
    assert len(found) > 20
    assert [names for names in found if len(set(names)) < len(names)] == []


@pytest.mark.usefixtures("unrun")
def test_a_study_that_is_refused_leaves_nothing(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UserError("--gpus-per-trial 1: there are no more than 2 CPUs, 0 GPUs here; ask for no more")

    monkeypatch.setitem(sys.modules, "mmssl.search.launch", SimpleNamespace(run=refuse))
    for words in (["launch", "vicreg_diagonal", "--name", "ghost"], ["reproduce", "few_labels"]):
        answer = ask(*words, "--storage", tmp_path)
        assert (answer.code, answer.err.splitlines()[-1]) == (
            2, "mmssl-tune: --gpus-per-trial 1: there are no more than 2 CPUs, 0 GPUs here; ask for no more"
        )  # fmt: skip
        assert list(tmp_path.iterdir()) == []


def test_results_as_a_table_json_and_csv(ask: Ask, study: Study, tmp_path: Path) -> None:
    table = ask("results", "--storage", tmp_path)
    assert table.code == 0
    assert "62.5" in table.out
    assert "1 FAILED" in table.out
    answer = json.loads(ask("results", "one", "--storage", tmp_path, "--by", "val.f1", "--json").out)
    assert answer["metric"] == "val.f1"
    first, second = answer["points"]
    assert (first["objective.lambda"], first["mean"], first["n"], first["failures"]) == (1.0, 0.3125, 2, 0)
    assert (second["mean"], second["n"], second["failures"]) == (0.45, 1, 1)
    rows = list(csv.DictReader(io.StringIO(ask("results", "one", "--storage", tmp_path, "--csv").out)))
    assert [row["mean"] for row in rows] == ["0.625", "0.9"]


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "a file system without locks"])
def test_who_looks_at_a_study_keeps_nobody_from_running_it(
    ask: Ask, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    flock, asked = fcntl.flock, list[int]()

    def answer(stream: IO[bytes], operation: int) -> None:
        asked.append(operation)
        if not locks:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        flock(stream, operation)

    monkeypatch.setattr(fcntl, "flock", answer)
    for words in (["status", "one"], ["watch", "one"], ["list"], ["results", "one"]):
        said = ask(*words, "--storage", tmp_path)
        # `watch` ends as the study did, in which a trial failed.
        assert said.code == (1 if words[0] == "watch" else 0), said.err
    assert asked and not [operation for operation in asked if operation & fcntl.LOCK_EX], "which a driver's would be"
    assert not (study.folder / "driver.lock.claims").exists()


def test_the_list_has_the_best_score_and_puts_equal_failures_together(ask: Ask, study: Study, tmp_path: Path) -> None:
    listed = ask("list", "--storage", tmp_path).out.splitlines()
    row = next(line for line in listed if line.startswith(" one "))
    *told, age = row.split()[:6]
    assert told == ["one", "tiny", "complete", "4/4", "62.5"] and age.isdigit()
    assert listed[-1] == "one: 1 FAILED"
    (study.folder / "trials.parquet").write_bytes(b"PAR1")
    (row,) = json.loads(ask("list", "--storage", tmp_path, "--json").out)["studies"]
    assert row["state"] == "damaged" and row["best"] is None
    assert ask("list", "--storage", tmp_path).out.splitlines()[-1].startswith("one: ")


@pytest.mark.usefixtures("unrun")
def test_why_trials_have_no_result_is_said(
    ask: Ask, tmp_path: Path, tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Space(name="s", grid={"objective.lambda": [1.0, 5.0]})
    bases = {"vicreg": Recipe()}
    groups = [("anna",), ("ben",), ("chris",)]
    plan = make_plan("one", space, bases, dataset_of(tiny), groups, space.points(bases))
    causes = [
        None,
        None,
        None,
        *(("DIVERGED", f"epoch {n}: loss is nan") for n in (3, 14)),
        ("COLLAPSED", "epoch 2: flat"),
    ]
    of = {trial.trial_id: cause for trial, cause in zip(plan.trials, causes, strict=True)}

    def ended(_: Study, trial: PlannedTrial) -> Record:
        status, cause = of[trial.trial_id] or ("COMPLETE", "")
        facts = {"val.accuracy": 0.5} if status == "COMPLETE" else {}
        return Record(trial_id=trial.trial_id, status=status, cause=cause, facts=facts)

    study_of(tmp_path, plan, ended)
    logs = f"mmssl-tune logs one --storage {tmp_path}"
    said = f"2 of 6 trials DIVERGED: epoch 3: loss is nan; try a lower pretrain.lr; more: {logs}"
    for command in ("status", "results", "best"):
        answer = ask(command, "one", "--storage", tmp_path)
        assert answer.code == 0 and said in answer.out.splitlines(), answer
        assert "COLLAPSED: epoch 2" not in answer.out, "one line"
    said = ask("best", "one", "--storage", tmp_path).out
    assert "1 of 2 points is left out; trials without a result: 1 COLLAPSED, 2 DIVERGED" in said
    tiny.save(tmp_path / "tiny.parquet")
    monkeypatch.chdir(tmp_path)
    again = ask("retry", "one", "--storage", tmp_path).out.splitlines()
    assert again[:2] == [
        "study one: 1 COLLAPSED, 3 COMPLETE, 2 DIVERGED, 0 missing; nothing to run",
        "DIVERGED and COLLAPSED trials are results and are not run again",
    ]
    assert again[1] not in ask("resume", "one", "--storage", tmp_path).out


def test_best_leaves_out_what_is_not_complete(ask: Ask, study: Study, tmp_path: Path) -> None:
    answer = json.loads(ask("best", "--storage", tmp_path, "--json").out)
    assert answer["best"]["objective.lambda"] == 1.0
    assert answer["tied"] == []
    assert any("1 of 2 points" in caveat for caveat in answer["caveats"])


BAD = [
    (["launch"], "Missing argument 'SPACE'"),
    (["launch", "vicreg_gird"], "did you mean vicreg_grid"),
    (["launch", "vicreg_grid", "--dataset", "utd_mahd"], "did you mean utd_mhad"),
    (["launch", "vicreg_grid", "--dataset", "nowhere.parquet"], "nowhere.parquet: there is no such"),
    (["launch", "vicreg_grid", "--dataset", "utd_mhad", "--data", "nowhere"], "nowhere"),
    (["launch", "vicreg_grid", "--data", "UTD-MHAD"], "say whose folder it is: --dataset utd_mhad"),
    (["launch", "vicreg_grid", "--name", "../up"], "study name '../up'"),
    (["launch", "vicreg_grid", "--set", "pretrain.epochs"], "write KNOB=VALUE"),
    (["launch", "vicreg_grid", "--set", "pretrain.epoch=3"], "did you mean pretrain.epochs"),
    (["launch", "vicreg_grid", "--set", "pretrain.epochs=many"], "a number is expected, not 'many'"),
    (["launch", "vicreg_grid", "--set", "objective.mu=3"], "the space searches it"),
    (["launch", "vicreg_grid", "--set", "seed=3"], "seeds"),
    (["launch", "vicreg_grid", "--set", "data.validation_subjects=[1]"], "folds"),
    (["launch", "vicreg_grid", "--set", "data.train_subjects=[99]"], "99"),
    (["launch", "vicreg_grid", "--set", "data.modalities=imu"], "system vicreg sets it"),
    (["launch", "vicreg_grid", "--system", "vicrge"], "no system 'vicrge'; did you mean vicreg"),
    (["launch", "vicreg_grid", "--system", "cmc", "--system", "cmc"], "systems: 'cmc' is listed twice"),
    (["launch", "vicreg_grid", "--system", "simclr"], "no system 'simclr'; did you mean simclr_imu"),
    (["launch", "vicreg_grid", "--set", "pretrain.hidden_classes=[wvae]"], "has no class 'wvae'"),
    (["launch", "vicreg_grid", "--set", "pretrain.epochs=9223372036854775808"], "less than or equal to"),
    (["launch", "vicreg_grid", "--cpus-per-trial", "5000"], "--cpus-per-trial 5000: there are"),
    (["run", "--set", "data.protocol=cross_scene"], "cross_scene"),
    (["run", "--set", "data.train_subjects=5"], "data.train_subjects: input should be a list (given: 5)"),
    (["run", "--set", "data.train_subjects="], "data.train_subjects: input should be a list (given: None)"),
    (["run", "--set", "data.modalities=[imu]"], "system vicreg sets it; choose another --system instead"),
    (["run", "--set", "objective.name=simclr"], "system vicreg sets it; choose another --system instead"),
    (["run", "--system", "untrained", "--set", "pretrain.epochs=3"], "system untrained sets it"),
    (
        ["run", "--system", "vicreg_both"],
        "which system vicreg_both takes: choose another with --system; did you mean vicreg",
    ),
    (["run", "--set", "pretrain.hidden_classes=[wvae]"], "has no class 'wvae'"),
    (["run", "--set", "5=5"], "5: no such knob; valid names: "),
    (["run", "--out", __file__], "no folder to write to"),
    (["run", "--out", f"{__file__}/inside"], "there is no folder"),
    (["run", "--out", str(Path(__file__).parent)], "not empty"),
    (["run", "--set", "data.validation_subjects=[2]"], "not among the training subjects"),
    (["run", "--set", "encoder.imu.heads=3"], "does not divide"),
    (["results", "nothing"], "no study nothing"),
    (["results"], "no study here"),
    (["best", "--refit"], "add --export"),
    (["best", "--data", "UTD-MHAD"], "--data say how to export: add --export"),
    (["report", "--formats", "svg"], "--formats svg: of the pictures that --figures DIR writes"),
    (["convert", "nowhere", "--to", "onnx", "--subjects", "7"], "add --on NAME|FILE"),
    (["resume"], "no study here"),
    (["results", "--json", "--csv"], "--json and --csv: choose one"),
    (["results", "--storage=~nobody-of-this-name/x"], "~nobody-of-this-name/x: there is no such user"),
    (["evaluate", "nowhere", "--dataset", "synthetic"], "is no export"),
    (["evaluate", "nowhere", "--dataset", "synthetic", "--features", "no/such/f"], "there is no folder no/such"),
    (["spaces", "nothing"], "no space 'nothing'"),
    (["data", "info", "--dataset", "nothing"], "no data set 'nothing'"),
    (["data", "download", "mmact"], "cannot be downloaded"),
    (["data", "import", "nowhere"], "nowhere: no such folder"),
    (["data", "import", ".", "--out", "x.csv"], "--out x.csv: give a file that ends in .parquet"),
    (["data", "import", ".", "--out", "no/x.parquet"], "there is no folder no"),
    (["data", "import", ".", "--like", "nowhere"], "nowhere: there is no such recordings file"),
    (["data", "import", ".", "--out", "x.parquet"], "recordings.csv: there is no such table; make one with a line"),
    (["data", "check", "synthetic", "--space", "vicreg_gird"], "did you mean vicreg_grid"),
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
    answer = ask("results", "--storage", tmp_path, "--by", "val.acuracy")
    assert answer.code == 2
    assert "did you mean val.accuracy" in answer.err


def test_a_space_is_shown_with_what_its_variants_change(ask: Ask, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "recipe: paper\nvariants: {paper: {}, moments: {encoder.imu.pooling: moments, finetune.views: 4}, "
        "ours: {recipe: default}}"
    )
    lines = ask("spaces", file).out.splitlines()
    assert lines[1:4] == [
        "variant paper: recipe = paper",
        "variant moments: recipe = paper, encoder.imu.pooling = moments, finetune.views = 4",
        "variant ours: recipe = default",
    ]
    told = json.loads(ask("spaces", file, "--json").out)
    assert told["variants"]["ours"] == {"recipe": "default"}
    assert len(told["points"]) == 3 and "variants" not in json.loads(ask("spaces", "vicreg_grid", "--json").out)


def test_spaces_are_listed_and_checked(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "mine.yaml").write_text("grid: {objective.lamda: [1]}")
    answer = ask("spaces")
    assert answer.code == 2, "one of them does not hold"
    assert "vicreg_grid" in answer.out
    assert "did you mean objective.lambda" in " ".join(answer.out.split())
    (tmp_path / "search_spaces" / "mine.yaml").unlink()
    listed = {row["name"]: row["points"] for row in json.loads(ask("spaces", "--json").out)}
    shipped = (Path(__file__).resolve().parents[1] / "search_spaces").glob("*.yaml")
    said = {path.stem: int(re.findall(r"\b(\d+) points\b", path.read_text())[0]) for path in shipped}
    assert listed == said
    assert said.items() >= {"vicreg_grid": 25, "vicreg_diagonal": 7}.items()


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


def test_systems_are_listed(ask: Ask) -> None:
    rows = json.loads(ask("systems", "--json").out)
    assert [row["name"] for row in rows] == list(SYSTEMS)
    assert {"name": "simclr_imu", "method": "simclr", "modalities": ["imu"]} in rows
    assert {"name": "cmc_cmkm", "method": "cmc_cmkm", "modalities": ["imu", "skeleton"]} in rows
    table = ask("systems")
    assert table.code == 0
    for name in SYSTEMS:
        assert any(line.split()[:1] == [name] for line in table.out.splitlines()), name
    assert "imu + skeleton" in table.out


QUICK = {
    "data.steps": 16, "encoder.imu.layers": 1, "encoder.imu.feedforward": 16, "encoder.projector.width": 8,
    "finetune.epochs": 2,
}  # fmt: skip


def quick(**knobs: object) -> list[str]:
    """Words that make a run short."""
    values = QUICK | {knob.replace("__", "."): value for knob, value in knobs.items()}
    return [f"--set={knob}={value}" for knob, value in values.items()]


def test_run_trains_the_system_that_is_named(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    words = ["run", "--dataset", tmp_path / "tiny.parquet", "--system", "simclr_imu", *quick(pretrain__epochs=1)]
    answer = ask(*words, "--out", tmp_path / "out", "--json")
    assert answer.code == 0, answer.err
    metrics = json.loads(answer.out)["metrics"]
    assert {"val.accuracy", "train.positive", "train.imu.std", "embedding.imu.effective_rank"} <= set(metrics)
    assert not [metric for metric in metrics if "skeleton" in metric or metric.startswith("val.imu")]
    recipe = json.loads((tmp_path / "out" / "model.json").read_text())["recipe"]
    expected = preset("tiny", "simclr_imu").with_knobs(QUICK | {"pretrain.epochs": 1})
    assert Recipe.model_validate(recipe) == expected.with_knobs({"data.validation_subjects": ["chris"]})


@pytest.mark.parametrize("recipe", RECIPES)
def test_run_starts_from_the_recipe_that_is_named(
    ask: Ask, tmp_path: Path, tiny: Recordings, recipe: RecipeName
) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    knobs = quick(pretrain__epochs=1, objective__mu=3, objective__beta=3)
    answer = ask("run", "--dataset", tmp_path / "tiny.parquet", "--recipe", recipe, *knobs, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    notes = [line for line in answer.out.splitlines() if line.startswith("note:")]
    assert notes == ["note: objective.beta is set, and nothing depends on it (objective.name is vicreg)"]
    written = json.loads((tmp_path / "out" / "model.json").read_text())["recipe"]
    expected = preset("tiny", "vicreg", recipe).with_knobs(
        QUICK | {"pretrain.epochs": 1, "objective.mu": 3, "objective.beta": 3}
    )
    assert Recipe.model_validate(written) == expected.with_knobs({"data.validation_subjects": ["chris"]})


@pytest.mark.parametrize("command", [["run"], ["launch", "vicreg_grid"], ["reproduce", "table2"]])
def test_a_recipe_that_is_none_is_answered_with_the_nearest(ask: Ask, tmp_path: Path, command: list[str]) -> None:
    places = [] if command == ["run"] else ["--storage", tmp_path / "studies"]
    answer = ask(*command, *places, "--recipe", "papre")
    assert answer.code == 2
    assert "'papre'" in answer.err
    assert "paper" in answer.err
    assert not (tmp_path / "studies").exists()


def test_run_of_an_untrained_system_has_no_pre_training_to_tell_of(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    answer = ask("run", "--dataset", tmp_path / "tiny.parquet", "--system", "untrained_skeleton", *quick(), "--json")
    metrics = json.loads(answer.out)["metrics"]
    assert "val.accuracy" in metrics
    assert "train.loss" not in metrics


def test_evaluate_scores_one_modality_by_its_own_head(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    words = ["--dataset", tmp_path / "tiny.parquet"]
    assert ask("run", *words, *quick(pretrain__epochs=1), "--out", tmp_path / "pair").code == 0
    model = load_encoders(tmp_path / "pair")
    truth = [row.label for row in tiny.rows]
    by_hand: dict[str, float] = {}
    for given, modalities in (("imu", ["imu"]), ("skeleton", ["skeleton"]), ("skeleton, imu", ["imu", "skeleton"])):
        saved = tmp_path / f"{given}.features"
        answer = ask("evaluate", tmp_path / "pair", *words, "--modalities", given, "--features", saved, "--json")
        document = json.loads(answer.out)
        predicted = model.predict(tiny, modalities)
        by_hand[given] = float(np.mean([guess == label for guess, label in zip(predicted, truth, strict=True)]))
        assert document["accuracy"] == pytest.approx(by_hand[given])
        assert document["modalities"] == modalities
        assert document["recordings"] == 36
        assert sorted(load_file(saved)) == modalities
    assert json.loads(ask("evaluate", tmp_path / "pair", *words, "--json").out)["accuracy"] == by_hand["skeleton, imu"]
    assert (
        f"36 recordings by imu: accuracy {100 * by_hand['imu']:.1f} %"
        in ask("evaluate", tmp_path / "pair", *words, "--modalities", "imu").out
    )


def test_evaluate_takes_recordings_that_lack_what_it_does_not_need(
    ask: Ask, encoders: Path, tmp_path: Path, tiny: Recordings
) -> None:
    Recordings(tiny.description, tiny.rows, imu=tiny.imu).save(tmp_path / "imu.parquet")
    tiny.save(tmp_path / "tiny.parquet")
    alone, all_there = (
        ask("evaluate", encoders, "--dataset", tmp_path / f"{name}.parquet", "--modalities", "imu", "--json").out
        for name in ("imu", "tiny")
    )
    assert json.loads(alone) == json.loads(all_there)
    answer = ask("evaluate", encoders, "--dataset", tmp_path / "imu.parquet")
    assert answer.code == 2
    assert "its recordings have no skeleton; --modalities imu does without" in answer.err


def test_a_modality_that_the_encoders_lack_is_refused(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    words = ["--dataset", tmp_path / "tiny.parquet"]
    ask("run", *words, "--system", "untrained_imu", *quick(), "--out", tmp_path / "imu_alone")
    for given, said in (
        ("skeleton", "--modalities skeleton: valid names: imu"),
        ("imu,skeleton", "--modalities skeleton: valid names: imu"),
        ("imu,sound", "--modalities sound: valid names: imu"),
    ):
        answer = ask("evaluate", tmp_path / "imu_alone", *words, "--modalities", given)
        assert answer.code == 2
        assert said in answer.err
        assert "Traceback" not in answer.err


TWO_FOLDS = (("anna",), ("ben",))


def test_best_by_rankme_has_the_highest_mean_over_the_modalities(
    ask: Ask, compared: Callable[..., Study], tmp_path: Path
) -> None:
    compared("one", ["vicreg", "cmc", "untrained"], TWO_FOLDS)
    answer = json.loads(ask("best", "one", "--storage", tmp_path, "--by", "rankme", "--json").out)
    assert (answer["metric"], answer["best"]["system"]) == ("rankme", "untrained")
    assert answer["best"]["mean"] == pytest.approx(((10 + 4) / 2 + (6 + 2) / 2) / 2)
    assert any("RankMe compares points of one system" in caveat for caveat in answer["caveats"])
    ranked = json.loads(ask("results", "one", "--storage", tmp_path, "--by", "rankme", "--json").out)["points"]
    assert [(point["system"], point["mean"]) for point in ranked] == [("untrained", 5.5), ("vicreg", 5.0), ("cmc", 2.5)]
    compared("alone", ["vicreg"], TWO_FOLDS)
    alone = json.loads(ask("best", "alone", "--storage", tmp_path, "--by", "rankme", "--json").out)
    assert alone["best"]["mean"] == 5.0
    assert not any("RankMe" in caveat for caveat in alone["caveats"])


def test_a_study_without_the_measure_is_not_chosen_by_it(
    ask: Ask, compared: Callable[..., Study], tmp_path: Path
) -> None:
    compared("older", ["vicreg", "cmc"], TWO_FOLDS)
    answer = ask("best", "--storage", tmp_path, "--by", "unlabelled")
    assert answer.code == 2
    assert "--by unlabelled: none of the 4 COMPLETE trials of study older has it" in answer.err


def test_results_of_one_modality_of_a_pair(ask: Ask, compared: Callable[..., Study], tmp_path: Path) -> None:
    compared("one", ["vicreg", "cmc"], TWO_FOLDS)
    answer = json.loads(ask("results", "--storage", tmp_path, "--by", "val.imu.accuracy", "--json").out)
    assert answer["metric"] == "val.imu.accuracy"
    assert [(point["system"], point["mean"]) for point in answer["points"]] == [("vicreg", 0.375), ("cmc", 0.375)]
    rows = list(csv.DictReader(io.StringIO(ask("results", "--storage", tmp_path, "--csv").out)))
    assert [row["system"] for row in rows] == ["vicreg", "cmc"]
    assert "system" in ask("results", "--storage", tmp_path).out


@pytest.mark.parametrize(
    ("command", "option", "metric", "said"),
    [
        ("results", "--by", "test.accuracy", "--by test.accuracy: did you mean"),
        ("results", "--by", "val.imu.acuracy", "did you mean val.imu.accuracy"),
        ("best", "--by", "rank_me", "--by rank_me: did you mean rankme"),
        ("best", "--by", "std", "more of it is not better; to choose without labels: --by unlabelled"),
        ("best", "--by", "covariance", "more of it is not better; to choose without labels: --by unlabelled"),
    ],
)
def test_a_score_that_the_study_does_not_have_is_refused(
    ask: Ask, compared: Callable[..., Study], tmp_path: Path, command: str, option: str, metric: str, said: str
) -> None:
    compared("one", ["vicreg", "cmc"], TWO_FOLDS)
    answer = ask(command, "--storage", tmp_path, option, metric)
    assert answer.code == 2
    assert said in answer.err


def test_nothing_is_chosen_by_the_test_subjects(ask: Ask, compared: Callable[..., Study], tmp_path: Path) -> None:
    compared("tested", ["vicreg", "cmc"], "test")
    shown = json.loads(ask("results", "--storage", tmp_path, "--json").out)
    assert shown["metric"] == "test.accuracy"
    assert [point["mean"] for point in shown["points"]] == [0.625, 0.625]
    for words in ([], ["--by", "test.accuracy"], ["--by", "test.imu.f1"], ["--export"]):
        answer = ask("best", "--storage", tmp_path, *words)
        assert answer.code == 2
        assert "scored the test subjects, by which nothing may be chosen" in answer.err
    answer = ask("best", "--storage", tmp_path, "--by", "val.accuracy")
    assert answer.code == 2
    without_labels = json.loads(ask("best", "--storage", tmp_path, "--by", "rankme", "--json").out)
    assert without_labels["best"]["system"] == "vicreg"


def test_a_run_that_diverges_exits_with_1(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    answer = ask("run", "--dataset", tmp_path / "tiny.parquet", "--set", "pretrain.lr=1e30")
    assert answer.code == 1
    assert "DIVERGED" in answer.out


def test_a_complete_run_says_so_and_no_more(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    small = [f"--set={knob}=1" for knob in ("pretrain.epochs", "finetune.epochs", "encoder.imu.layers")]
    answer = ask("run", "--dataset", tmp_path / "tiny.parquet", "--set=data.steps=16", *small)
    assert answer.code == 0
    assert answer.out.splitlines()[1] == "COMPLETE"


def test_evaluate_names_the_classes_that_differ(ask: Ask, encoders: Path, tmp_path: Path, tiny: Recordings) -> None:
    def evaluate(classes: tuple[str, ...]) -> Answer:
        new = dict(zip(tiny.description.classes, classes, strict=True))
        rows = [row.model_copy(update={"label": new[row.label]}) for row in tiny.rows]
        described = tiny.description.model_copy(update={"classes": classes})
        Recordings(described, rows, tiny.skeleton, tiny.imu).save(tmp_path / "other.parquet")
        return ask("evaluate", encoders, "--dataset", tmp_path / "other.parquet")

    assert evaluate(("slow", "middle", "fast")).code == 0
    renamed = evaluate(("slow", "medium", "quick"))
    assert renamed.code == 2
    assert "(unknown to it: medium, quick; not here: middle, fast)" in renamed.err
    assert "the same in another order" in evaluate(("middle", "slow", "fast")).err


def test_features_are_written_where_they_can_be(ask: Ask, encoders: Path, tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    words = ["evaluate", encoders, "--dataset", tmp_path / "tiny.parquet", "--features"]
    assert ask(*words, tmp_path / "features").code == 0
    assert {name: len(rows) for name, rows in load_file(tmp_path / "features").items()} == {"imu": 36, "skeleton": 36}
    answer = ask(*words, encoders)
    assert answer.code == 2
    assert "cannot be written" in answer.err


@pytest.mark.usefixtures("unrun")
def test_what_is_set_counts_where_the_space_looks(ask: Ask, tmp_path: Path) -> None:
    space = tmp_path / "mine.yaml"
    space.write_text("fixed: {objective.nu: 1}\ngrid: {objective.lambda: [1, 2, 3]}\nwhere: lambda > nu\n")
    ask("launch", space, "--storage", tmp_path, "--name", "as_written")
    ask("launch", space, "--storage", tmp_path, "--name", "changed", "--set", "objective.nu=2")
    as_written, changed = (Study(tmp_path, name).plan() for name in ("as_written", "changed"))
    assert {trial.point["objective.lambda"] for trial in as_written.trials} == {2.0, 3.0}
    assert {trial.point["objective.lambda"] for trial in changed.trials} == {3.0}
    assert (as_written.space.fixed, changed.space.fixed) == ({"objective.nu": 1.0}, {"objective.nu": 2.0})
    assert {changed.recipe(trial).objective.nu for trial in changed.trials} == {2.0}


@pytest.mark.usefixtures("unrun")
def test_other_systems_than_the_spaces_can_be_launched(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    space = tmp_path / "mine.yaml"
    space.write_text("systems: [vicreg, untrained]\nfixed: {pretrain.epochs: 3}\ngrid: {finetune.labels: [0.5, 1]}\n")
    words = ["launch", space, "--dataset", tmp_path / "tiny.parquet", "--storage", tmp_path]
    ask(*words, "--name", "as_written")
    ask(*words, "--name", "changed", "--system", "simclr_imu", "--system", "cmc")
    as_written, changed = (Study(tmp_path, name).plan() for name in ("as_written", "changed"))
    assert {as_written.system(trial) for trial in as_written.trials} == {"vicreg", "untrained"}
    assert {changed.system(trial) for trial in changed.trials} == {"simclr_imu", "cmc"}
    assert {changed.recipe(trial).pretrain.epochs for trial in changed.trials} == {3}
    assert len(changed.trials) == 2 * 2 * 3
    answer = ask(*words, "--name", "refused", "--system", "untrained")
    assert answer.code == 2
    assert "fixed.pretrain.epochs: system untrained sets it" in answer.err


@pytest.mark.usefixtures("unrun")
def test_a_launch_that_scores_the_test_subjects_says_so(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    tiny.where(lambda row: row.subject != "dora").save(tmp_path / "without.parquet")
    space = tmp_path / "mine.yaml"
    space.write_text("systems: [vicreg, cmc]\nfolds: test\nseeds: [1, 2]\n")
    words = ["launch", space, "--storage", tmp_path, "--name", "tested", "--dataset"]
    refused = ask(*words, tmp_path / "without.parquet")
    assert refused.code == 2
    assert "no recordings of the test subjects dora are here to score" in refused.err
    assert not (tmp_path / "tested").exists()
    answer = ask(*words, tmp_path / "tiny.parquet")
    assert answer.code == 130
    assert "2 points x 2 seeds x 1 fold = 4 trials" in answer.out
    assert "train anna, ben, chris; test, SCORED: dora; nothing may be chosen by it" in answer.out
    assert {trial.fold for trial in Study(tmp_path, "tested").plan().trials} == {"test"}


@pytest.mark.usefixtures("unrun")
def test_names_and_places_of_any_spelling(
    ask: Ask, tmp_path: Path, tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "my réc.parquet")
    answer = ask("launch", "vicreg_diagonal", "--dataset=~/my réc.parquet", "--storage=~/all studies")
    assert answer.code == 130, answer.err
    (plan,) = (tmp_path / "all studies").glob("*/plan.json")
    assert plan.parent.name == "vicreg_diagonal-my_r_c-1"
    assert Study(tmp_path / "all studies", plan.parent.name).plan().dataset.source == str(tmp_path / "my réc.parquet")
    assert f"mmssl-tune resume vicreg_diagonal-my_r_c-1 --storage '{tmp_path}/all studies'" in answer.out


@pytest.mark.usefixtures("unrun")
def test_a_study_remembers_where_its_data_was(
    ask: Ask, tmp_path: Path, tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def reader(folder: Path, *, skip_bad: bool) -> tuple[Recordings, list[str]]:
        read.append(folder)
        return tiny, []

    monkeypatch.setitem(READERS, "utd_mhad", READERS["utd_mhad"]._replace(read=reader))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MMSSL_DATA", "lab data")
    ask("launch", "vicreg_diagonal", "--dataset", "utd_mhad", "--name", "one")
    monkeypatch.delenv("MMSSL_DATA")
    ask("resume", "one")
    assert [folder.absolute() for folder in read] == [tmp_path / "lab data"] * 2
    monkeypatch.setenv("MMSSL_DATA", "lab data")
    ask("launch", "vicreg_diagonal", "--dataset", "synthetic", "--name", "two")
    assert Study("studies", "two").plan().dataset.folder is None, "nothing was read from there"


@pytest.mark.usefixtures("unrun")
@pytest.mark.parametrize("space", ["vicreg_diagonal", "vicreg_tpe"])
def test_a_fold_with_classes_that_nobody_trains_is_pointed_out(
    ask: Ask, tmp_path: Path, tiny: Recordings, space: str
) -> None:
    def fast_is_only_bens(row: Row) -> bool:
        return row.label != "fast" or row.subject in ("ben", "dora")

    tiny.where(fast_is_only_bens).save(tmp_path / "some.parquet")
    tiny.save(tmp_path / "all.parquet")
    words = ["launch", space, "--storage", tmp_path]
    notes = [line for line in ask(*words, "--dataset", tmp_path / "some.parquet").out.splitlines() if "note" in line]
    fold, few = notes
    assert fold == "note: fold ben validates on classes that no training recording shows: fast"
    assert "2 of 4 subjects have fewer than 8 recordings (anna (6), chris (6))" in few
    assert "note" not in ask(*words, "--dataset", tmp_path / "all.parquet").out
    json.loads(ask(*words, "--dataset", tmp_path / "some.parquet", "--json").out)


@pytest.mark.usefixtures("unrun")
def test_a_sampled_study_that_was_stopped_before_its_first_point_says_so(
    ask: Ask, tmp_path: Path, tiny: Recordings
) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    words = ["--dataset", tmp_path / "tiny.parquet", "--storage", tmp_path, "--name", "one"]
    launched = ask("launch", "vicreg_tpe", *words)
    assert launched.code == 130, launched.err
    assert "stopped with 180 of 180 trials to go: mmssl-tune resume one" in launched.out
    assert json.loads(ask("status", "one", "--storage", tmp_path, "--json").out)["planned"] == 180
    assert ask("results", "one", "--storage", tmp_path).code == 0
    assert ask("results", "one", "--storage", tmp_path, "--csv").code == 0
    chosen = ask("best", "one", "--storage", tmp_path)
    assert chosen.code == 2
    assert f"(none is chosen yet): `mmssl-tune resume one --storage {tmp_path}` runs what is missing" in chosen.err


def test_ctrl_c_while_ray_starts_says_how_to_go_on(
    ask: Ask, tmp_path: Path, tiny: Recordings, unrun: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    tiny.save(tmp_path / "tiny.parquet")
    monkeypatch.setitem(sys.modules, "mmssl.search.launch", SimpleNamespace(run=interrupted))
    words = ["--dataset", tmp_path / "tiny.parquet", "--storage", tmp_path, "--name", "early"]
    launched = ask("launch", "vicreg_tpe", *words)
    assert launched.code == 130
    assert f"stopped; what has ended is kept: mmssl-tune resume early --storage {tmp_path}" in launched.err


def test_each_stream_is_asked_whether_it_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert terminal.console_on().soft_wrap
    assert not terminal.console_on(stderr=True).soft_wrap


COLUMNS = (
    "columns of imu: ax, ay, az, turn\n"
    "columns of skeleton: JOINT_x, JOINT_y of 5 joints: pelvis, neck, head, left, right\n"
)


def test_info_names_the_columns_that_encoders_read(ask: Ask, encoders: Path) -> None:
    answer = ask("data", "info", encoders)
    assert (answer.code, answer.out.splitlines()) == (0, COLUMNS.splitlines()), answer.err
    told = json.loads(ask("data", "info", encoders, "--json").out)["modalities"]
    assert (told["imu"]["channels"], told["skeleton"]["coordinates"]) == (["ax", "ay", "az", "turn"], ["x", "y"])


def test_info_names_what_is_there(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    tiny.where(lambda row: row.recording_id != "ben-fast-1").save(tmp_path / "tiny.parquet")
    answer = ask("data", "info", "--dataset", tmp_path / "tiny.parquet")
    assert answer.code == 0
    assert "35 recordings" in answer.out
    assert "missing: fast, subject ben, trial 1" in answer.out
    assert answer.out.endswith(COLUMNS)
    assert json.loads(ask("data", "info", "--dataset", tmp_path / "tiny.parquet", "--json").out)["recordings"] == 35


def test_other_recordings_than_the_studys_are_refused(ask: Ask, study: Study, tmp_path: Path, tiny: Recordings) -> None:
    other = tiny.where(lambda row: row.trial != "2")
    other.save(tmp_path / "tiny.parquet")
    plan = study.plan()
    moved = plan.model_copy(
        update={"dataset": plan.dataset.model_copy(update={"source": str(tmp_path / "tiny.parquet")})}
    )
    (study.folder / "plan.json").write_text(moved.model_dump_json())
    answer = ask("retry", "one", "--storage", tmp_path)
    assert answer.code == 2
    assert "planned for other recordings" in answer.err


def test_typer_is_told_to_show_no_pretty_traceback() -> None:
    assert isinstance(cli.app, typer.Typer)
    assert cli.app.pretty_exceptions_enable is False


def test_predict_gives_class_and_probability_of_each_recording(
    ask: Ask, encoders: Path, tmp_path: Path, tiny: Recordings
) -> None:
    first, second = (tiny.where(lambda row, who=who: row.subject == who) for who in ("anna", "dora"))
    first.save(tmp_path / "anna.parquet")
    Recordings(second.description, second.rows, imu=second.imu).save(tmp_path / "dora.parquet")
    both = [tmp_path / "anna.parquet", tmp_path / "dora.parquet"]
    model = load_encoders(encoders)
    for out in ("classes.csv", "classes.parquet"):
        answer = ask("predict", encoders, *both, "--modalities", "imu", "--out", tmp_path / out)
        assert (answer.code, answer.out.count("\n")) == (0, 1), answer.err
        assert answer.out.startswith(f"written: {tmp_path / out} (18 recordings, ")
        table = pd.read_csv(tmp_path / out) if out.endswith("csv") else pd.read_parquet(tmp_path / out)
        assert list(table["recording_id"]) == [row.recording_id for row in (*first.rows, *second.rows)]
        assert list(table["source"]) == [str(tmp_path / "anna.parquet")] * 9 + [str(tmp_path / "dora.parquet")] * 9
        assert list(table["predicted"]) == [*model.predict(first, ["imu"]), *model.predict(second, ["imu"])]
        counts = table["predicted"].value_counts()
        said = answer.out.strip().rpartition(" columns): ")[2].split(", ")
        assert (set(said), said[0]) == (
            {f"{name} {n}" for name, n in counts.items()},
            f"{said[0].split()[0]} {max(counts)}",
        )
        by_class = table[[f"p.{name}" for name in tiny.description.classes]].to_numpy()
        np.testing.assert_allclose(by_class[:9], model.probabilities(model.features(first, ["imu"])), rtol=1e-5)
        np.testing.assert_allclose(by_class.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(table["probability"], by_class.max(axis=1))
    printed = ask("predict", encoders, both[0])
    assert printed.out.splitlines()[0].startswith(
        '"source","recording_id","subject","predicted","probability","p.slow"'
    )
    assert len(printed.out.splitlines()) == 10
    refused = ask("predict", encoders, *both)
    assert refused.code == 2
    assert "its recordings have no skeleton; --modalities imu does without" in refused.err


@pytest.mark.parametrize(
    "name", ['=HYPERLINK("http://x","y")', "+1-cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1"]
)
def test_names_in_csv_are_no_formulas(
    ask: Ask, encoders: Path, tmp_path: Path, tiny: Recordings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    classes = {label: f"{name}{label}" for label in tiny.description.classes}
    description = tiny.description.model_copy(update={"classes": tuple(classes.values())})
    put_document(encoders, {"description": description.model_dump(mode="json")})
    rows = [row.model_copy(update={"label": classes[row.label]}) for row in tiny.rows]
    rows[0] = rows[0].model_copy(update={"recording_id": name, "subject": "-7"})
    few = Recordings(description, rows, tiny.skeleton, tiny.imu).where(lambda row: row.trial == "0")
    monkeypatch.chdir(tmp_path)
    few.save(Path("=few.parquet"))
    for out in ("few.csv", "few-predicted.parquet"):
        assert ask("predict", encoders, "=few.parquet", "--out", out).code == 0
    with (tmp_path / "few.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert (cells[0]["recording_id"], cells[0]["subject"]) == (f"'{name}", "-7")
    assert {cell["source"] for cell in cells} == {"'=few.parquet"}
    assert {cell["predicted"] for cell in cells} <= {f"'{label}" for label in classes.values()}
    assert cells[1]["recording_id"] == few.rows[1].recording_id
    assert float(cells[0]["probability"]) == pytest.approx(max(float(cells[0][f"p.{c}"]) for c in classes.values()))
    assert pd.read_parquet(tmp_path / "few-predicted.parquet")["recording_id"][0] == name


def test_embed_writes_the_features_of_each_recording(
    ask: Ask, encoders: Path, tmp_path: Path, tiny: Recordings
) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    answer = ask("embed", encoders, tmp_path / "tiny.parquet", "--out", tmp_path / "features.parquet")
    assert answer.out == f"written: {tmp_path / 'features.parquet'} (36 recordings, 6 columns)\n", answer.err
    table = pd.read_parquet(tmp_path / "features.parquet")
    assert list(table["label"]) == [row.label for row in tiny.rows]
    for name, features in load_encoders(encoders).features(tiny).items():
        np.testing.assert_array_equal(np.stack(table[f"features.{name}"].to_list()), features)
    words = ["embed", encoders, tmp_path / "tiny.parquet", "--out", tmp_path / "imu.parquet", "--modalities", "imu"]
    assert ask(*words).code == 0
    assert [name for name in pd.read_parquet(tmp_path / "imu.parquet") if "features" in name] == ["features.imu"]


HOSTILE = "\x1b]0;owned\x07\x1b[2J\x1b[31m[bold]\u202ered\x9b1m"


@pytest.mark.usefixtures("unrun")
def test_names_do_not_reach_into_the_terminal(ask: Ask, tmp_path: Path, tiny: Recordings, study: Study) -> None:
    """Of a class, a subject, a recording and a fault in one, when a study is planned or refused; and of its log."""
    label, others = f"walk{HOSTILE}", tiny.description.classes[1:]
    description = tiny.description.model_copy(update={"classes": (label, *others)})
    rows = [
        row.model_copy(
            update={
                "label": label if row.label == "slow" else row.label,
                "subject": row.subject + HOSTILE,
                "recording_id": row.recording_id + HOSTILE,
            }
        )
        for row in tiny.rows
    ]
    imu = [None if i < 3 else signal for i, signal in enumerate(tiny.imu or ())]
    description = description.model_copy(update={"protocols": {}})
    Recordings(description, rows, tiny.skeleton, imu).save(tmp_path / "hostile.parquet")
    study.put_text("study.log", f"{HOSTILE}\r\n\tNext\n")
    said = [
        ask("data", "info", "--dataset", tmp_path / "hostile.parquet"),
        ask("data", "check", tmp_path / "hostile.parquet"),
        ask("launch", "vicreg_grid", "--dataset", tmp_path / "hostile.parquet", "--storage", tmp_path,
            "--set", f"data.validation_subjects=[{HOSTILE}]"),
        ask("launch", "vicreg_grid", "--dataset", tmp_path / "hostile.parquet", "--storage", tmp_path, "--name", "two"),
        ask("logs", "one", "--storage", tmp_path),
    ]  # fmt: skip
    assert Study(tmp_path, "two").plan().dataset.train_subjects[0].endswith(HOSTILE), "it was planned"
    for answer in said:
        printed = answer.out + answer.err
        assert "owned" in printed
        assert "[bold]" in printed
        assert {char for char in printed if not char.isprintable()} <= {"\n", "\t"}
    assert said[-1].out.splitlines()[1] == "\tNext"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["predict", "nowhere", "synthetic"], "is no export"),
        (["predict", "nowhere", "synthetic", "--out", "x.xlsx"], "ends in .csv or .parquet"),
        (["embed", "nowhere", "synthetic", "--out", "x.csv"], "ends in .parquet"),
        (["embed", "nowhere", "synthetic", "--out", "no/such/x.parquet"], "there is no folder no/such"),
        (["predict", "nowhere"], "Missing argument"),
    ],
    ids=str,
)
def test_what_cannot_be_predicted_or_embedded_is_refused(ask: Ask, words: list[str], reason: str) -> None:
    answer = ask(*words)
    assert answer.code == 2
    assert reason in answer.err


def test_convert_writes_a_file_beside_the_encoders(ask: Ask, encoders: Path, tmp_path: Path) -> None:
    answer = ask("convert", encoders, "--to", "torch", "--modalities", "imu")
    assert answer.code == 0, answer.err
    assert f"{encoders / 'model.pt2'}: imu; the same as the encoders but for" in answer.out
    assert (encoders / "model.pt2").is_file()
    assert ask("convert", encoders, "--to", "torch", "--out", tmp_path / "x.onnx").code == 2


def test_converted_files_are_scored_on_the_people_left_out(
    ask: Ask, encoders: Path, tmp_path: Path, tiny: Recordings
) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    words = ["convert", encoders, "--to", "torch", "--raw", "--modalities", "imu"]
    on = ["--on", tmp_path / "tiny.parquet"]
    answer = ask(*words, "--precision", "float16", *on, "--subjects", "chris")
    assert answer.code == 0, answer.err
    written = json.loads((encoders / "model.raw.scores.json").read_text())
    assert (written["subjects"], written["recordings"]) == (["chris"], 9)
    assert list(written["files"]) == ["encoders", "model.raw.float16.pt2"]
    scored = ask(
        "evaluate", encoders, tmp_path / "tiny.parquet", "--subjects", "chris", "--modalities", "imu", "--json"
    )
    assert written["files"]["encoders"]["accuracy"] == json.loads(scored.out)["accuracy"]
    for wrong, said in (
        (["--precision", "float8"], "--precision float8: choose of float32, float16, int8"),
        (["--precision", "float32,float16", "--out", tmp_path / "m.pt2"], "is one file"),
        ([*on, "--subjects", "zoe"], "--subjects zoe: not here"),
        (on, "these encoders were trained on all training subjects: say --subjects"),
    ):
        refused = ask(*words, *wrong)
        assert refused.code == 2
        assert said in refused.err


@pytest.fixture
def kitchen(tmp_path: Path) -> Path:
    """A lab's folder as it stands, with its description."""
    make(tmp_path / "my kitchen")
    (tmp_path / "my kitchen" / "description.yaml").write_text("protocols: {cross_subject: {test: [emil]}}\n")
    return tmp_path / "my kitchen"


def test_a_folder_of_csv_files_is_imported_checked_and_planned(
    ask: Ask, kitchen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = ask("data", "import", kitchen)
    assert refused.code == 2
    assert "ben_stir_2.csv: line 41: wrist_acc_x is no number" in refused.err
    assert not list(tmp_path.glob("*.parquet"))
    imported = ask("data", "import", kitchen, "--skip-bad")
    assert imported.code == 0
    assert "my kitchen.parquet: 89 recordings of 5 subjects in 6 classes" in imported.out
    assert "next: mmssl-tune data check 'my kitchen.parquet'" in imported.out
    checked = ask("data", "check", "my kitchen.parquet")
    assert checked.code == 0
    assert "3 of 89 recordings have no skeleton (anna_pour_1, chris_wipe_3, emil_chop_2): a head of" in checked.out
    assert "would use 89 recordings: 25 points x 1 seed x 4 folds = 100 trials" in checked.out
    answer = json.loads(ask("data", "check", "my kitchen.parquet", "--system", "vicreg_imu", "--json").out)
    assert (answer["errors"], answer["warnings"], answer["recordings"], answer["folds"]) == (0, 2, 87, 4)
    assert answer["findings"][0]["where"] == ["dora_reach_1", "dora_reach_2"]


@pytest.mark.parametrize(("labelled", "lacks"), [(True, ""), (False, "skeleton"), (True, "imu")])
def test_what_is_imported_like_encoders_is_for_them_to_predict(
    ask: Ask, encoders: Path, tmp_path: Path, tiny: Recordings, labelled: bool, lacks: str
) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    skeleton, signal = tiny.description.skeletons["skeleton"], tiny.description.signals["imu"]
    columns = {
        "skeleton": [f"{joint}_{axis}" for joint in skeleton.joints for axis in skeleton.coordinates],
        "imu": signal.channels,
    }
    names = [name for name in ("skeleton", "imu") if name != lacks]
    lines = [",".join(["recording_id", "subject", *["label"] * labelled, *names])]
    for i in range(2):
        for name in names:
            array = tiny.arrays(name)[i]
            assert array is not None
            rows = array.reshape(len(array), -1).tolist()
            (folder / f"{name}{i}.csv").write_text(
                "\n".join([",".join(columns[name]), *(",".join(map(str, row)) for row in rows)])
            )
        files = [f"{name}{i}.csv" for name in names]
        lines.append(
            ",".join([f"r{i}", "zoe", *[tiny.rows[i].label] * (labelled and i == 0), *[""] * (labelled and i), *files])
        )
    (folder / "recordings.csv").write_text("\n".join(lines))
    imported = ask("data", "import", folder, "--like", encoders, "--out", tmp_path / "new.parquet")
    assert imported.code == 0, imported.err
    assert "only pre-train" not in imported.out
    _, command = imported.out.strip().split("; next: mmssl-tune ")
    assert command == f"predict {encoders} {tmp_path / 'new.parquet'}{f' --modalities {names[0]}' if lacks else ''}"
    assert ask(*command.split()).code == 0


def test_check_says_whether_further_recordings_fit(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    own, more, other = (tmp_path / f"{name}.parquet" for name in ("own", "more", "other"))
    tiny.where(lambda row: row.subject != "dora").save(own)
    tiny.where(lambda row: row.subject in ("anna", "dora")).save(more)
    fitting = ask("data", "check", own, "--pretrain-on", more)
    assert fitting.code == 0
    assert "--pretrain-on: 9 further recordings fit" in fitting.out
    assert "more: 9 of 18 recordings are here already, and are left out" in fitting.out
    assert "would use 36 recordings" in fitting.out
    renamed = tiny.description.model_copy(update={"imu_channels": ("ax", "ay", "az", "spin")})
    Recordings(renamed, tiny.rows, tiny.skeleton, tiny.imu).save(other)
    refused = ask("data", "check", own, "--pretrain-on", other)
    assert (refused.code, "--pretrain-on other: channels of its imu are not those of tiny" in refused.out) == (2, True)


def test_a_label_among_the_channels_is_refused_by_check_and_launch(
    ask: Ask, tmp_path: Path, tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    signals = [signal.copy() for signal in tiny.imu]
    for label, signal in zip(tiny.labels, signals, strict=True):
        signal[:, 0] = label
    Recordings(tiny.description, tiny.rows, tiny.skeleton, signals).save("leak.parquet")
    channel = tiny.description.imu_channels[0]
    for words in (("data", "check", "leak.parquet"), ("launch", "vicreg_grid", "--dataset", "leak.parquet")):
        refused = ask(*words)
        assert refused.code == 2
        assert f"channel {channel} is constant within every recording and differs between them: the label?" in (
            refused.out + refused.err
        )
    assert not (tmp_path / "studies").exists()


@pytest.mark.usefixtures("unrun")
def test_a_study_takes_each_recording_for_what_it_has(
    ask: Ask, tmp_path: Path, tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    skeleton = [None, *tiny.skeleton[1:]]
    imu = [*tiny.imu[:-2], None, None]
    monkeypatch.chdir(tmp_path)
    Recordings(tiny.description, tiny.rows, skeleton, imu).save("gaps.parquet")
    launched = ask("launch", "vicreg_grid", "--dataset", "gaps.parquet", "--name", "pair")
    assert (
        "of 36 recordings 2 have no imu (dora-fast-1, dora-fast-2) and 1 have no skeleton (anna-slow-0): each is used "
        "for what it has; a head of all modalities trains on, and is scored by, the 33 that have all" in launched.err
    )
    pair = Study("studies", "pair").plan().dataset
    assert (pair.recordings, pair.having) == (36, {"imu": 34, "skeleton": 35, "all modalities": 33})
    assert pair.count == "36 recordings, 34 with imu, 35 with skeleton, 33 with all modalities"
    assert ask("resume", "pair").code == 130, "the same recordings are found again"
    shown = ask("data", "info", "gaps.parquet").out
    assert "imu: 34 recordings of 60" in shown and "33 recordings have all modalities" in shown
    ask("launch", "vicreg_one_modality", "--dataset", "gaps.parquet", "--name", "i", "--system", "vicreg_imu")
    assert Study("studies", "i").plan().dataset.recordings == 34


def test_what_reads_encoders_leaves_no_recording_out_unasked(
    ask: Ask, encoders: Path, tmp_path: Path, tiny: Recordings
) -> None:
    gaps = tmp_path / "gaps.parquet"
    Recordings(tiny.description, tiny.rows, [None, *tiny.skeleton[1:]], tiny.imu).save(gaps)
    said = "1 of 36 recordings have no skeleton, the first is anna-slow-0: classify from what they have with"
    for words in (["predict", encoders, gaps], ["evaluate", encoders, "--dataset", gaps]):
        refused = ask(*words)
        assert (refused.code, refused.out) == (2, "") and f"{said} --modalities imu" in refused.err
    from_both = ask("predict", encoders, gaps, "--skip-bad")
    assert len(from_both.out.splitlines()) == 1 + 35
    assert "1 of 36 recordings have no imu or no skeleton and are left out: anna-slow-0" in from_both.err
    assert len(ask("predict", encoders, gaps, "--modalities", "imu").out.splitlines()) == 1 + 36
    assert json.loads(ask("evaluate", encoders, "--dataset", gaps, "--skip-bad", "--json").out)["recordings"] == 35


@pytest.mark.parametrize(
    ("keep", "words", "said"),
    [
        (lambda row: row.subject == "anna", [], "leave_one_subject_out needs two training subjects or more"),
        (lambda row: row.subject != "dora", ["--space", "table2"], ""),
        (lambda row: True, ["--set", "data.test_subjects=[anna]"], "would both train and test"),
    ],
)
def test_check_ends_with_2_where_launch_refuses(
    ask: Ask, tmp_path: Path, tiny: Recordings, keep: Callable[[Row], bool], words: list[str], said: str
) -> None:
    described = tiny.description.model_copy(
        update={"protocols": {} if "anna" not in str(words) else tiny.description.protocols}
    )
    some = tiny.where(keep)
    Recordings(described, some.rows, some.skeleton, some.imu).save(tmp_path / "some.parquet")
    answer = ask("data", "check", tmp_path / "some.parquet", *words)
    assert answer.code == (2 if said else 0)
    assert ("launch refuses" in answer.out) == bool(said)
    assert said in answer.out


def test_check_of_what_cannot_be_read(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    answer = ask("data", "check", tmp_path / "torn.parquet", "--json")
    assert (answer.code, json.loads(answer.out)["errors"]) == (2, 1)
    assert "not a readable Parquet file" in json.loads(answer.out)["findings"][0]["what"]


def test_a_test_subject_whom_nobody_is_called_is_a_warning(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    """Where all others train, who is meant trains too."""
    warned = "test subject dorra has no recordings, and all others train: of a name that is misspelt, its owner too"
    for name, protocols, test, said in (
        ("misspelt", {}, "dorra", True),
        ("there", {}, "dora", False),
        ("named", {"cross_subject": Protocol(train=("anna", "ben"), test=("dora",))}, "dorra", False),
    ):
        description = tiny.description.model_copy(update={"protocols": protocols})
        file = tmp_path / f"{name}.parquet"
        Recordings(description, tiny.rows, tiny.skeleton, tiny.imu).save(file)
        words = ["--dataset", file, "--storage", tmp_path, "--set", f"data.test_subjects=[{test}]", "--dry-run"]
        assert (f"note: {warned}" in ask("launch", "vicreg_grid", *words).out) is said
        assert (warned in ask("data", "check", file, "--set", f"data.test_subjects=[{test}]").out) is said


@pytest.mark.usefixtures("unrun")
def test_launch_says_the_warnings_of_a_check(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    rows = [row.model_copy(update={"subject": "Ben"}) if i == 12 else row for i, row in enumerate(tiny.rows)]
    Recordings(tiny.description, rows, tiny.skeleton, tiny.imu).save(tmp_path / "two.parquet")
    out = ask(
        "launch", "vicreg_grid", "--dataset", tmp_path / "two.parquet", "--storage", tmp_path,
        "--set", "data.train_subjects=[anna,ben,Ben,chris]",
    ).out  # fmt: skip
    assert "note: subject 'Ben' and 'ben' differ in spelling alone: one person would train and validate" in out


def test_the_old_form_of_running_a_trial_again_names_the_new_one(ask: Ask, tmp_path: Path) -> None:
    answer = ask("reproduce", "85af8e07", "one", "--storage", tmp_path)
    assert (answer.code, answer.err) == (
        2,
        "mmssl-tune: reproduce 85af8e07: makes tables; to run a trial again: "
        f"mmssl-tune rerun one:85af8e07 --storage {tmp_path}\n",
    )


@pytest.mark.usefixtures("unrun")
def test_values_on_the_command_line_are_searched_instead(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    space = tmp_path / "mine.yaml"
    grid = "grid: {objective.lambda: [1, 2, 3], objective.mu: [1, 2]}\n"
    space.write_text(f"description: lambda to 3\nfixed: {{objective.nu: 2}}\n{grid}")
    words = ["launch", space, "--dataset", tmp_path / "tiny.parquet", "--storage", tmp_path, "--name", "one"]
    ask(*words, "--values", "objective.lambda=[5,25]", "--values", "objective.nu=1")
    plan = Study(tmp_path, "one").plan()
    assert plan.space.grid == {"objective.lambda": [5.0, 25.0], "objective.mu": [1.0, 2.0], "objective.nu": [1.0]}
    assert len(plan.trials) == 2 * 2 * 3 and plan.space.fixed == {}
    assert plan.space.description == "", "its values are others now"
    for given, said in (
        (["--values", "objective.lamda=[5]"], "did you mean objective.lambda"),
        (["--values", "objective.lambda"], "--values objective.lambda: write KNOB=VALUE"),
        (["--values", "objective.mu=1", "--values", "objective.mu=2"], "objective.mu is given twice"),
        (["--values", "objective.nu=1", "--set", "objective.nu=1"], "the space searches it"),
        (["--set", "pretrain.epochs=3", "--set", "pretrain.epochs=1"], "pretrain.epochs is given twice"),
        (["--seeds", "28", "--seeds=29"], "--seeds: is given 2 times, and takes one value"),
        (["--name", "three"], "--name: is given 2 times"),
    ):
        refused = ask(*words[:-1], "two", *given)
        assert refused.code == 2 and said in refused.err
    assert not (tmp_path / "two").exists()


def test_a_dry_run_says_the_plan_and_leaves_nothing(ask: Ask, tmp_path: Path, tiny: Recordings, study: Study) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    before = sorted(tmp_path.iterdir())
    words = ["launch", "vicreg_diagonal", "--dataset", tmp_path / "tiny.parquet", "--storage", tmp_path, "--dry-run"]
    said = ask(*words)
    assert said.code == 0
    assert "7 points x 1 seed x 3 folds = 21 trials on tiny (36 recordings)" in said.out
    assert "only where mu == lambda" in said.out or "only where lambda == mu" in said.out
    assert "how long a trial takes is not known" in said.out
    document = json.loads(ask(*words, "--json").out)
    assert (document["trials"], document["folds"], document["forecast"]) == (21, [["anna"], ["ben"], ["chris"]], None)
    assert sorted(tmp_path.iterdir()) == before


def test_seeds_and_budget_are_those_of_the_command(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    launch = ["--dataset", tmp_path / "tiny.parquet", "--storage", tmp_path, "--dry-run", "--json"]
    of_a_grid = json.loads(ask("launch", "vicreg_diagonal", "--seeds", "5, 28", *launch).out)
    assert (of_a_grid["seeds"], of_a_grid["trials"]) == ([5, 28], 7 * 2 * 3)
    sampled = json.loads(ask("launch", "vicreg_tpe", "--budget", "4", *launch).out)
    assert (sampled["seeds"], sampled["trials"]) == ([28, 29], 4 * 2 * 3)
    for words, said in (
        (["vicreg_diagonal", "--budget", "4"], "budget: a grid runs all its points"),
        (["vicreg_diagonal", "--seeds", "28,x"], "seeds.1: input should be a valid integer (given: 'x')"),
        (["vicreg_diagonal", "--seeds", "28,28"], "seeds: 28 is listed twice"),
    ):
        refused = ask("launch", *words, *launch)
        assert (refused.code, refused.out) == (2, "") and said in refused.err


def test_a_dry_run_knows_what_such_trials_took(ask: Ask, tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    space = Space(name="s", systems=["vicreg"], grid={"objective.lambda": [1.0]})
    bases = {"vicreg": preset("tiny", "vicreg")}
    plan = make_plan("one", space, bases, dataset_of(tiny), [("anna",), ("ben",)], space.points(bases))
    seconds = dict(zip((trial.trial_id for trial in plan.trials), (10.0, 20.0), strict=True))

    began = datetime(2026, 1, 1, tzinfo=UTC)

    def ended(_: Study, trial: PlannedTrial) -> Record:
        took = seconds[trial.trial_id]
        facts = {"val.accuracy": 0.5, "seconds.total": took}
        finished = began + timedelta(seconds=took)
        return Record(trial_id=trial.trial_id, status="COMPLETE", started=began, finished=finished, facts=facts)

    study_of(tmp_path, plan, ended)
    words = ["launch", "vicreg_diagonal", "--dataset", tmp_path / "tiny.parquet", "--storage", tmp_path, "--dry-run"]
    known = json.loads(ask(*words, "--json").out)["forecast"]
    assert known == {"study": "one", "trials": 2, "seconds": 15.0, "total": 15.0 * 21, "at_once": 30 / 20}
    said = ask(*words).out
    assert "took 15 s each (2 of study one): for all ~3 min with 2 at once as there, ~5 min one after the other" in said
    epochs = plan.bases["vicreg"]
    assert f"epochs: {epochs.pretrain.epochs} of pre-training and {epochs.finetune.epochs} of fine-tuning\n" in said

    def taken(_: Study, trial: PlannedTrial) -> Record:
        facts = {"val.accuracy": 0.5, "seconds.total": 1.0, "pretraining_id": "a", "pretraining_reused": True}
        return Record(trial_id=trial.trial_id, status="COMPLETE", started=began, finished=began, facts=facts)

    study_of(tmp_path, plan.model_copy(update={"name": "two"}), taken)
    assert json.loads(ask(*words, "--json").out)["forecast"] == known, "study two took its encoders from elsewhere"
    changed = [*words, "--set", "pretrain.epochs=3"]
    assert "pretrain.epochs: 3 (fixed)\nepochs: 3 of pre-training" in ask(*changed).out
    assert json.loads(ask(*changed, "--json").out)["forecast"] is None
    searched = [*words, "--values", "pretrain.epochs=[3,4]"]
    assert json.loads(ask(*searched, "--json").out)["forecast"] is None, "of trials that pre-train as long"


def test_old_names_are_taken_with_a_note(ask: Ask, compared: Callable[..., Study], tmp_path: Path) -> None:
    compared("one", ["vicreg", "cmc"], TWO_FOLDS)
    now, before = (
        ask("results", "one", "--storage", tmp_path, "--json", *words)
        for words in (["--by", "val.f1"], ["--metric=val.f1"])
    )
    assert (now.err, now.out) == ("", before.out)
    assert before.err == "note: --metric is now --by; the next version knows it no more\n"
    dry = ask("launch", "--space", "vicreg_grid", "--storage", tmp_path, "--dry-run", "--json")
    assert dry.code == 0 and dry.err.startswith("note: --space is now an argument: leave the option out")
    assert "--space" not in ask("launch", "--help").out, "hidden"


def test_a_missing_folder_is_not_made_in_silence(ask: Ask, study: Study, encoders: Path, tmp_path: Path) -> None:
    beyond = tmp_path / "no" / "such"
    for words in (
        ["report", "--storage", tmp_path, "--out", beyond / "page.html"],
        ["report", "--storage", tmp_path, "--figures", beyond],
        ["run", "--out", beyond],
        ["launch", "vicreg_diagonal", "--storage", beyond / "studies"],
    ):
        answer = ask(*words)
        assert (answer.code, f"there is no folder {tmp_path / 'no'}" in answer.err) == (2, True), words
    assert not (tmp_path / "no").exists()
    with pytest.raises(UserError, match=f"--storage .*: there is no folder {tmp_path / 'no'}"):
        mmssl.launch("vicreg_diagonal", storage=beyond)


@pytest.mark.usefixtures("unrun")
def test_the_storage_itself_is_made(ask: Ask, tmp_path: Path) -> None:
    ask("launch", "vicreg_diagonal", "--storage", tmp_path / "new", "--name", "one")
    assert Study(tmp_path / "new", "one").exists()


def test_formats_are_not_taken_for_a_folder(
    ask: Ask, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant = tmp_path / "png,svg"
    monkeypatch.chdir(tmp_path)
    answer = ask("report", "--storage", tmp_path, "--figures", meant.name)
    assert answer.code == 2 and answer.err.endswith("--formats png,svg\n") and not meant.exists()
    answer = ask("report", "--storage", tmp_path, "--figures", "figures", "--formats", "png,gif")
    assert (answer.code, "--formats gif: " in answer.err) == (2, True)
    meant.mkdir()
    assert ask("report", "--storage", tmp_path, "--figures", meant.name, "--formats", "svg").code == 0
    assert {file.suffix for file in meant.iterdir()} == {".svg", ".tex", ".md"}


def test_doctor_has_the_options_alone_that_it_uses(ask: Ask) -> None:
    every = set(re.findall(r"│ (--[a-z-]+)", ask("doctor", "--help-all").out))
    assert {"--cpus-per-trial", "--max-concurrent", "--address", "--json"} < every
    unused = {"--local", "--together", "--notify", "--mlflow", "--tensorboard", "--trackio", "--wandb"}
    assert unused < set(re.findall(r"│ (--[a-z-]+)", ask("launch", "--help-all").out))
    assert every & unused == set() and ask("doctor", "--mlflow").code == 2


@pytest.mark.parametrize("width", [60, 80])
def test_spaces_are_listed_with_all_that_is_said_of_them(ask: Ask, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    def narrow(**_: object) -> Console:
        return Console(width=width, highlight=False)

    monkeypatch.setattr("mmssl.cli.tables.console_on", narrow)
    out = ask("spaces").out
    assert "…" not in out
    said = [row["description"] for row in json.loads(ask("spaces", "--json").out)]
    for line in said:
        assert set(line.split()) <= set(out.split())
    if width == 80:
        assert len(out.rstrip().splitlines()) <= 24
        assert [line for line in said if line not in out] == [], "each in one line"


def test_the_version_is_that_of_the_package(ask: Ask) -> None:
    assert ask("--version").out == f"mmssl-tune {version('mmssl-tune')}\n"
