"""Studies from Python: the same as by commands, and without Ray where that is asked for."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import small

import mmssl
from mmssl import Recordings, UserError

SPACE: dict[str, Any] = {
    "name": "two",
    "grid": {"objective.lambda": [1, 25]},
    "fixed": {**small.KNOBS, "pretrain.epochs": 1, "finetune.epochs": 1},
    "folds": [["anna"], ["ben"]],
}


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory, tiny: Recordings) -> mmssl.OpenStudy:
    """A study of recordings that were in memory alone."""
    return mmssl.launch(SPACE, tiny, storage=tmp_path_factory.mktemp("api"), local=True)


def test_what_was_launched_is_opened_by_its_place_and_says_the_same(launched: mmssl.OpenStudy) -> None:
    assert launched.name == "two-tiny-1"
    opened = mmssl.open_study(launched.place)
    assert (opened.status().state, opened.status().trials) == ("complete", {"COMPLETE": 4})
    results = opened.results()
    assert results.equals(launched.results())
    means = results["mean"].to_pylist()
    assert means == sorted(means, reverse=True)
    assert set(results["objective.lambda"].to_pylist()) == {1.0, 25.0}
    assert results["statuses"].to_pylist() == [[{"status": "COMPLETE", "count": 2}]] * 2
    assert pa.types.is_floating(results["mean"].type)
    trials = opened.trials()
    for row in results.to_pylist():
        scores = [trial["val.accuracy"] for trial in trials.to_pylist() if trial["point_id"] == row["point_id"]]
        assert row["mean"] == pytest.approx(sum(scores) / 2)
    best = opened.best()
    assert (best.metric, best.choice.best.point_id) == ("val.accuracy", results["point_id"][0].as_py())


def test_commands_know_it_too(launched: mmssl.OpenStudy) -> None:
    root = str(Path(launched.place).parent)
    done = subprocess.run(
        small.tune("results", launched.name, "--storage", root, "--csv"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3


def test_it_is_extended_without_running_anything_again(launched: mmssl.OpenStudy) -> None:
    times = {path: path.stat().st_mtime_ns for path in Path(launched.place).glob("trials/*/record.json")}
    seen: list[str] = []
    launched.extend(seeds=[29], local=True, watch=lambda planned, record: seen.append(record.status))
    assert seen.count("COMPLETE") == 4
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert launched.results()["n"].to_pylist() == [4, 4]
    launched.resume(local=True)
    with pytest.raises(UserError, match="say what to add"):
        launched.extend(local=True)


@pytest.mark.parametrize(
    ("space", "more", "said"),
    [
        ({**SPACE, "grid": {"objective.lamda": [1]}}, {}, "objective.lambda"),
        ({**SPACE, "gird": {}}, {}, "gird"),
        (SPACE, {"settings": {"objective.lambda": 1}}, "the space searches it"),
        (SPACE, {"cpus": 2}, "launch got an unexpected keyword argument 'cpus'"),
        (SPACE, {"cpus_per_trial": 9999}, "ask for no more"),
        (SPACE, {"systems": ["vicrge"]}, "vicreg"),
    ],
)
def test_what_is_wrong_is_said_and_leaves_no_study(
    tmp_path: Path, tiny: Recordings, space: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        mmssl.launch(space, tiny, storage=tmp_path, local=True, **more)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    with pytest.raises(UserError, match="no study lies here"):
        mmssl.open_study(tmp_path / "two-tiny-1")


def test_a_table_is_made_from_python(tmp_path: Path, tiny: Recordings) -> None:
    knobs = {**small.KNOBS, "pretrain.epochs": 1, "finetune.epochs": 1}
    more: dict[str, Any] = {"settings": knobs, "systems": ["vicreg", "untrained"], "seeds": [1], "local": True}
    result = mmssl.reproduce("table2", tiny, storage=tmp_path, name="paper", **more)
    assert len(next(iter(result.tables.values()))) > 0
    assert "test subjects dora scored" in result.caption
    again = mmssl.reproduce("table2", storage=tmp_path, study="paper")
    assert next(iter(again.tables.values())).equals(next(iter(result.tables.values())))
    with pytest.raises(UserError, match="no experiment"):
        mmssl.reproduce("table3")


def test_the_import_is_light() -> None:
    code = "import sys, mmssl; print(*({'torch', 'ray', 'optuna', 'numpy', 'pyarrow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


@pytest.mark.usefixtures("unchecked")
def test_a_first_small_try_ends_with_encoders(tiny: Recordings, tmp_path: Path) -> None:
    """One fold and one epoch: several points are equally good, and the weights of the one that is chosen are kept."""
    grid = {"objective.lambda": [5, 25], "objective.mu": [5, 10, 25]}
    space = {"name": "six", "grid": grid, "fixed": SPACE["fixed"], "folds": [["anna"]]}
    study = mmssl.launch(space, tiny, storage=tmp_path, local=True)
    means = study.results()["mean"].to_pylist()
    assert len(means) == 6
    assert len(set(means)) < 6, "there is a tie"
    out = tmp_path / "encoders"
    study.export(out, test=False)
    best = study.best().choice.best
    assert mmssl.load_encoders(out).recipe.knobs().items() >= best.values.items()
