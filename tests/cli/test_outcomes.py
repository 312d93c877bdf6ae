"""What a command that runs a study says of it, and ends with, where there is nothing to run or nothing came out."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import small
from asking import Ask

from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.study.words import Status

MakeStudy = Callable[[Sequence[Status]], Study]


@pytest.fixture
def study(tmp_path: Path, plan_of: Callable[..., Plan]) -> MakeStudy:
    """Makes a study of one point on three folds whose trials ended so."""

    def make(statuses: Sequence[Status]) -> Study:
        plan = plan_of([1.0], [1.0])

        def ended(_: Study, trial: PlannedTrial) -> Record:
            status = statuses[plan.trials.index(trial)]
            facts = {"val.accuracy": 0.5} if status == "COMPLETE" else {}
            return Record(trial_id=trial.trial_id, status=status, facts=facts)

        return small.study_of(tmp_path, plan, ended)

    return make


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["COMPLETE", "COMPLETE", "COMPLETE"], 0),
        (["COMPLETE", "DIVERGED", "COLLAPSED"], 0),
        (["COMPLETE", "COMPLETE", "FAILED"], 1),
        (["DIVERGED", "DIVERGED", "DIVERGED"], 1),
        (["COLLAPSED", "DIVERGED", "COLLAPSED"], 1),
        (["FAILED", "FAILED", "FAILED"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_study_without_a_score_ends_with_1(
    ask: Ask, study: MakeStudy, tmp_path: Path, statuses: list[Status], code: int
) -> None:
    study(statuses)
    for words in (["resume"], ["resume", "--json"], ["watch"]):
        assert ask(*words, "study", "--storage", tmp_path).code == code, words


def test_a_launch_whose_trials_all_diverge_ends_with_1(ask: Ask, tmp_path: Path) -> None:
    space = tmp_path / "s.yaml"
    space.write_text(small.space(1, {"pretrain.lr": 1e10}, grid={"objective.lambda": [1]}, folds=[["1"]]))
    answer = ask("launch", space, "--name", "s", "--storage", tmp_path / "studies", "--local", "--json")
    assert (answer.code, json.loads(answer.out[answer.out.index("{") :])["trials"]) == (1, {"DIVERGED": 1})


def test_where_nothing_is_to_run_it_is_said_without_the_recordings_or_ray(
    ask: Ask, study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = study(["COMPLETE", "COMPLETE", "COMPLETE"])
    (made.folder / "trials.parquet").write_bytes(b"damaged")
    monkeypatch.setitem(sys.modules, "mmssl.search.launch", None)  # To load it is an error.
    monkeypatch.setattr("mmssl.cli.studies.recordings_of", None)
    for command in ("resume", "retry"):
        answer = ask(command, "study", "--storage", tmp_path)
        assert (answer.code, answer.err) == (0, "")
        first, second, *_ = answer.out.splitlines()
        assert first == "study study: 3 COMPLETE, 0 missing; nothing to run"
        assert second.startswith("study study: points by val.accuracy")
    assert made.table("trials.parquet")["status"].to_pylist() == ["COMPLETE"] * 3, "tables are mended all the same"


def test_resume_names_what_runs_failed_trials_again(ask: Ask, study: MakeStudy, tmp_path: Path) -> None:
    study(["COMPLETE", "COMPLETE", "FAILED"])
    first = ask("resume", "study", "--storage", tmp_path).out.splitlines()[0]
    assert first == (
        "study study: 2 COMPLETE, 1 FAILED, 0 missing; nothing to run; those that FAILED once more: "
        f"mmssl-tune retry study --storage {tmp_path}"
    )


@pytest.fixture
def grid(tmp_path: Path, plan_of: Callable[..., Plan]) -> Study:
    """Two points, of which the second is better on each fold."""
    plan = plan_of([1.0, 5.0], [1.0])

    def ended(_: Study, trial: PlannedTrial) -> Record:
        score = (0.5 if trial.point["objective.lambda"] == 1.0 else 0.7) + 0.01 * plan.folds.index(trial.held_out)
        facts = {f"val.{reading}{what}": score for reading in ("", "imu.", "skeleton.") for what in ("accuracy", "f1")}
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts)

    return small.study_of(tmp_path, plan, ended)


def test_the_best_point_is_compared_by_that_name(ask: Ask, grid: Study, tmp_path: Path) -> None:
    first, second = (point[:8] for point in grid.plan().candidates)
    answer = ask("compare", f"study:{first}", "study:best", "--storage", tmp_path, "--json")
    assert answer.code == 0, answer.err
    said = json.loads(answer.out)
    of = {row["point"]: row for row in said["rows"] if row["read_from"] == "imu+skeleton"}
    assert list(of) == [f"study:{first}", f"study:{second}"]
    assert of[f"study:{second}"]["difference"] == pytest.approx(0.2)
    assert said["notes"][0].startswith(f"study:best is study:{second} (lambda=5.0 mu=1.0); chosen by these scores")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["study:best", "study:{second}"], "a point is listed twice"),
        (["study:best", "study:worst"], "study:worst: study study has no such point; name one as study:POINT, of "),
        (["study:best", "stduy:best"], "no study stduy; did you mean study"),
    ],
)
def test_a_point_that_is_none_or_twice_is_refused(
    ask: Ask, grid: Study, tmp_path: Path, words: list[str], said: str
) -> None:
    second = list(grid.plan().candidates)[1]
    answer = ask("compare", *(word.format(second=second[:4]) for word in words), "--storage", tmp_path)
    assert answer.code == 2 and said in answer.err, answer


def test_the_best_of_a_study_without_scores_is_refused_by_its_name(ask: Ask, study: MakeStudy, tmp_path: Path) -> None:
    study(["DIVERGED", "DIVERGED", "DIVERGED"])
    answer = ask("compare", "study:best", "study", "--storage", tmp_path)
    assert answer.code == 2 and answer.err.startswith("mmssl-tune: study:best: no point has all its trials complete")
