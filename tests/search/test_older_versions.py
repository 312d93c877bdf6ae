"""Studies of older versions, read, resumed, extended and exported by this one, and by a later one with more knobs.

`studies_of/2be55d1` was made by that commit: `grid` lacks the last of its three points, `drawn` a fold of its second
and all of its third. Whoever changes what they come to here would change it in every study there is.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mmssl.errors import UserError
from mmssl.export.encoders import kept_model
from mmssl.recipe import Recipe
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, extended
from mmssl.study.results import points
from mmssl.study.space import changed

ROOT = Path(__file__).resolve().parents[2]
MADE = Path(__file__).parent / "studies_of" / "2be55d1"
BEST = "b77264010f2fd8e5"
"""The trial of `grid` whose weights are there."""
DRAWN = [2.423976282492703, 7.226622272320315, 50.82244184950747]
"""The points of `drawn`, the third as the version that made it chose it when it went on."""
KEPT = ["trial_id", "point_id", "seed", "fold", "status", "val.accuracy", "started", "finished", "pretraining_id"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A storage with the studies, and beside them the recordings that they are of."""
    return shutil.copytree(MADE, tmp_path / "storage")


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A later version: a knob in an old section, one in a section of its own, and another default."""
    place = tmp_path_factory.mktemp("later")
    shutil.copytree(ROOT / "mmssl", place / "mmssl", ignore=shutil.ignore_patterns("__pycache__"))
    finetune = "    finetune: Finetune = Finetune()\n"
    for name, old, new in (
        (
            "objectives/__init__",
            "    nu: Weight = 1.0\n",
            '    sharpness: Weight = 2.0\n    """A knob."""\n    nu: Weight = 4.0\n',
        ),
        (
            "recipe",
            "\n_ONE_KNOB =",
            '\nclass Later(Section):\n    level: Count = 3\n    """Another."""\n\n\n_ONE_KNOB =',
        ),
        ("recipe", finetune, f"{finetune}    later: Later = Later()\n"),
    ):
        path = place / "mmssl" / f"{name}.py"
        text = path.read_text("utf-8")
        assert text.count(old) == 1, old
        path.write_text(text.replace(old, new), "utf-8")
    return place


def run(package: Path, folder: Path, *words: str) -> dict[str, Any]:
    """What a command of a version answers as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "mmssl.cli", *words, "--storage", ".", "--json"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(package)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows(folder: Path, study: str) -> dict[str, dict[str, Any]]:
    return {row["trial_id"]: row for row in pq.read_table(folder / study / "trials.parquet").to_pylist()}


def assert_kept(now: dict[str, dict[str, Any]], study: str) -> None:
    """Every trial that was planned is there under its id; what had ended was not run again."""
    then = rows(MADE, study)
    assert set(then) <= set(now)
    for trial_id, row in then.items():
        names = KEPT if row["status"] == "COMPLETE" else KEPT[:4]
        assert [now[trial_id][name] for name in names] == [row[name] for name in names]


def test_the_later_version_gives_other_ids(later: Path) -> None:
    """Else nothing would be tested here."""
    code = "from mmssl.recipe import Recipe; print(Recipe().with_knobs({'objective.nu': 1}).content_id('x'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=later, capture_output=True, text=True, check=True)
    assert done.stdout.strip() != Recipe().with_knobs({"objective.nu": 1}).content_id("x")


def assert_same_points(found: list[dict[str, Any]], study: str) -> None:
    """Points as `results` gives them are those of the tables that the older version wrote."""
    planned = rows(MADE, study).values()
    assert {point["point_id"] for point in found} == {row["point_id"] for row in planned}
    for point in found:
        scores = [row["val.accuracy"] for row in planned if row["point_id"] == point["point_id"]]
        known = [score for score in scores if score is not None]
        assert (point["n"], point["planned"]) == (len(known), len(scores))
        assert point["mean"] == (pytest.approx(sum(known) / len(known)) if known else None)


def test_results_and_weights_of_an_older_version_are_read(folder: Path) -> None:
    for name in ("grid", "drawn"):
        study = Study(folder, name)
        plan = study.plan()
        assert [trial.trial_id for trial in plan.trials] == list(rows(MADE, name))
        assert_same_points([point.row() for point in points(plan, study.table("trials.parquet"))], name)
    study = Study(folder, "grid")
    model = kept_model(study, study.plan(), study.plan().trial(BEST))
    assert model.recipe == study.plan().recipe(study.plan().trial(BEST))


@pytest.mark.usefixtures("unchecked")
def test_a_later_version_reads_and_exports_them(folder: Path, later: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for study in ("grid", "drawn"):
        assert_same_points(run(later, folder, "results", study)["points"], study)
    assert {path: path.read_bytes() for path in before} == before, "who only reads changes nothing"
    answer = run(later, folder, "best", "grid", "--export", "--out", "encoders")
    assert answer["best"]["objective.mu"] == 1.0
    facts = json.loads((folder / "encoders" / "model.json").read_bytes())
    assert (facts["trial_id"], facts["recipe"]["objective"]["nu"]) == (BEST, 1.0)


@pytest.mark.parametrize(
    ("study", "file", "old", "new"),
    [
        ("grid", "plan.json", '"objective.mu": 10.0\n', '"objective.mu": 14.0\n'),  # of a point
        ("grid", "plan.json", '"nu": 1.0', '"nu": 9.0'),  # of all
        ("grid", "plan.json", '"seed": 28,', '"seed": 29,'),
        ("grid", "plan.json", f'"trial_id": "{BEST}"', '"trial_id": "0123456789abcdef"'),
        ("grid", "plan.json", '"fingerprint": "3342f3', '"fingerprint": "3342f4'),
        ("drawn", "points/000000.json", '"objective.mu":2.4', '"objective.mu":3.4'),
    ],
)
def test_what_has_no_digest_is_compared_with_its_ids(folder: Path, study: str, file: str, old: str, new: str) -> None:
    path = folder / study / file
    text = path.read_text("utf-8")
    assert text.count(old) >= 1
    path.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(UserError, match=f"{'0' * 5}[01].json: damaged" if "points" in file else "plan.json: damaged"):
        Study(folder, study).plan()


def test_an_older_versions_points_are_extended_under_their_ids(folder: Path) -> None:
    study = Study(folder, "drawn")
    plan = study.plan()
    assert {trial.trial_id for trial in plan.trials} == set(rows(MADE, "drawn"))
    larger = extended(plan, changed(plan.space, seeds=[28, 29], budget=4), plan.folds)
    assert [trial for trial in larger.trials if trial.seed == 28] == plan.trials
    assert len({trial.point_id for trial in larger.trials}) == 2
    with study.locked():
        study.replan(larger)
    assert study.plan().trials == larger.trials, "the choices are known in the plan"
    assert Plan.model_validate_json(larger.model_dump_json()) == larger


def test_a_later_version_resumes_a_sampled_study(folder: Path, later: Path) -> None:
    answer = run(later, folder, "resume", "drawn", "--local")
    now = rows(folder, "drawn")
    assert_kept(now, "drawn")
    assert answer["trials"] == {"COMPLETE": 6}
    assert [row["status"] for row in now.values()] == ["COMPLETE"] * 6
    chosen = [json.loads(path.read_bytes()) for path in sorted((folder / "drawn" / "points").iterdir())]
    assert [choice["point"]["objective.mu"] for choice in chosen] == DRAWN
    assert [row["param.objective.mu"] for row in now.values()] == [mu for mu in DRAWN for _ in range(2)]
    assert {trial["trial_id"] for trial in chosen[2]["trials"]} == set(now) - set(rows(MADE, "drawn"))
    knobs = ("param.objective.nu", "param.objective.sharpness", "param.later.level")
    assert {tuple(row[knob] for knob in knobs) for row in now.values()} == {(1.0, 2.0, 3)}
    assert {trial.trial_id for trial in Study(folder, "drawn").plan().trials} == set(now), "and back in this version"


def test_a_later_version_extends_a_grid(folder: Path, later: Path) -> None:
    answer = run(later, folder, "extend", "grid", "--local", "--values", "objective.mu=[50]", "--seeds", "29")
    now = rows(folder, "grid")
    assert_kept(now, "grid")
    assert answer["trials"] == {"COMPLETE": 8}
    assert sorted((row["param.objective.mu"], row["seed"]) for row in now.values()) == [
        (mu, seed) for mu in (1.0, 10.0, 25.0, 50.0) for seed in (28, 29)
    ]
    for mu in (1.0, 10.0, 25.0, 50.0):
        assert len({row["point_id"] for row in now.values() if row["param.objective.mu"] == mu}) == 1
    assert {point["planned"] for point in answer["points"]} == {2}
