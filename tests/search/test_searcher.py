"""Optuna's view of a study, without Ray."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import optuna
import pytest
from sqlalchemy import event

from mmssl.search.searcher import PlanSearcher
from mmssl.study.folder import Record
from mmssl.study.plan import Dataset, Plan, make_plan
from mmssl.study.space import Space
from mmssl.trackers.optuna_study import OptunaStudy


def stored(path: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="study", storage=f"sqlite:///{path}").trials


def record(trial_id: str, status: str = "COMPLETE", accuracy: float = 0.5) -> Record:
    return Record.model_validate(
        {
            "trial_id": trial_id,
            "status": status,
            "cause": "" if status == "COMPLETE" else "epoch 3: loss is nan",
            "started": datetime(2026, 1, 1, tzinfo=UTC),
            "finished": datetime(2026, 1, 2, tzinfo=UTC),
            "facts": {"val.accuracy": accuracy} if status == "COMPLETE" else {},
        }
    )


def test_trials_are_entered_once_with_their_values_and_end_as_their_records(
    tmp_path: Path, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of([1.0, 5.0], [2.0])
    study = OptunaStudy(tmp_path / "o.db", plan, {})
    ends = ["COMPLETE", "DIVERGED", "FAILED", "COLLAPSED", "PRUNED", "COMPLETE"]
    for planned, status in zip(plan.trials, ends, strict=True):
        study.begin(planned)
        study.end(planned, record(planned.trial_id, status, 0.25))
    seen = stored(tmp_path / "o.db")
    assert [trial.user_attrs["trial_id"] for trial in seen] == [planned.trial_id for planned in plan.trials]
    assert [trial.params for trial in seen] == [planned.point for planned in plan.trials]
    assert [trial.state.name for trial in seen] == ["COMPLETE", "FAIL", "FAIL", "FAIL", "PRUNED", "COMPLETE"]
    assert [trial.value for trial in seen] == [0.25, None, None, None, None, 0.25]
    assert seen[1].user_attrs["status"] == "DIVERGED"
    assert seen[1].user_attrs["cause"] == "epoch 3: loss is nan"


def test_taken_up_again_it_says_what_the_records_say(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0, 5.0], [2.0])
    path = tmp_path / "o.db"
    first = OptunaStudy(path, plan, {})
    first.begin(plan.trials[0])
    first.end(plan.trials[0], record(plan.trials[0].trial_id, "FAILED"))
    first.begin(plan.trials[1])  # and the driver is killed
    optuna.load_study(study_name="study", storage=f"sqlite:///{path}").enqueue_trial({"objective.lambda": 5.0})

    kept = {planned.trial_id: record(planned.trial_id, accuracy=0.75) for planned in plan.trials[1:3]}
    second = OptunaStudy(path, plan, kept)
    assert [(t.user_attrs["trial_id"], t.state.name, t.value) for t in stored(path)] == [
        (trial_id, "COMPLETE", 0.75) for trial_id in kept
    ]
    second.begin(plan.trials[0])
    second.end(plan.trials[0], record(plan.trials[0].trial_id, accuracy=0.125))
    assert stored(path)[2].value == 0.125
    assert stored(path)[2].user_attrs["trial_id"] == plan.trials[0].trial_id


def test_knobs_that_are_no_numbers_become_categories(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0], [2.0])
    grid = {"objective.name": ["vicreg", "cmc"], "data.modalities": [["imu"], ["skeleton"]], "data.steps": [16, 50]}
    plan = plan.model_copy(update={"space": plan.space.model_copy(update={"grid": grid})})
    point = {"objective.name": "cmc", "data.modalities": ["imu"], "data.steps": 50}
    planned = plan.trials[0].model_copy(update={"point": point})
    OptunaStudy(tmp_path / "o.db", plan, {}).begin(planned)
    (seen,) = stored(tmp_path / "o.db")
    assert seen.params == {"objective.name": "cmc", "data.modalities": '["imu"]', "data.steps": 50}


def test_a_system_is_a_category(tmp_path: Path, dataset: Dataset) -> None:
    space = Space(name="s", systems=["vicreg", "untrained_imu"], folds="test", metric="val.f1")
    bases = space.bases("synthetic")
    plan = make_plan("study", space, bases, dataset, [()], space.points(bases))
    study = OptunaStudy(tmp_path / "o.db", plan, {})
    for planned, score in zip(plan.trials, (0.25, 0.5), strict=True):
        study.begin(planned)
        study.end(planned, Record(trial_id=planned.trial_id, status="COMPLETE", facts={"test.f1": score}))
    assert [(trial.params, trial.value) for trial in stored(tmp_path / "o.db")] == [
        ({"system": "vicreg"}, 0.25),
        ({"system": "untrained_imu"}, 0.5),
    ]


@pytest.mark.parametrize("folder", ["s p", "ü#1", "a?b", "100%41"])
def test_any_folder_will_do(tmp_path: Path, plan_of: Callable[..., Plan], folder: str) -> None:
    (tmp_path / folder).mkdir()
    OptunaStudy(tmp_path / folder / "o.db", plan_of([1.0], [2.0]), {})
    assert (tmp_path / folder / "o.db").is_file()


def test_a_file_that_cannot_be_made_or_grows_no_more_is_said_in_one_line(
    tmp_path: Path, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of([1.0], [2.0])
    with pytest.raises(OSError, match=rf"^{tmp_path}/absent/optuna.db: unable to open database file$"):
        OptunaStudy(tmp_path / "absent" / "optuna.db", plan, {})
    view = OptunaStudy(tmp_path / "optuna.db", plan, {})
    view.begin(plan.trials[0])
    # SQLite says of a file that may not grow what it says of a disk that is full.
    event.listen(view._storage.engine, "connect", lambda connection, _: connection.execute("pragma max_page_count = 1"))
    view._storage.engine.dispose()
    with pytest.raises(OSError, match=rf"^{tmp_path}/optuna.db: database or disk is full$"):
        view.told(
            plan.trials[0], [{"phase": "pretrain", "epoch": i, "train.imu.effective_rank": 1.0} for i in range(9999)]
        )


def test_the_searcher_hands_out_what_has_not_ended_and_then_finishes(
    tmp_path: Path, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of([1.0, 5.0], [2.0])
    searcher = PlanSearcher(plan, OptunaStudy(tmp_path / "o.db", plan, {}), {plan.trials[1].trial_id})
    handed: list[str] = []
    for i in range(5):
        given = searcher.suggest(f"ray{i}")
        assert isinstance(given, dict)
        handed.append(given["trial_id"])
        assert searcher.planned[f"ray{i}"].trial_id == given["trial_id"]
    assert handed == [t.trial_id for i, t in enumerate(plan.trials) if i != 1]
    for i in range(5):
        assert searcher.suggest("ray99") is None, "one that runs may be put back"
        searcher.on_trial_complete(f"ray{i}")
    assert searcher.suggest("ray99") == "FINISHED"


def test_a_trial_that_is_put_back_comes_next_and_is_one_for_optuna(
    tmp_path: Path, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of([1.0], [2.0])
    optuna_study = OptunaStudy(tmp_path / "o.db", plan, {})
    searcher = PlanSearcher(plan, optuna_study, {})
    first = searcher.suggest("ray0")
    searcher.on_trial_complete("ray0", error=True)
    searcher.put_back(searcher.planned["ray0"])
    assert searcher.suggest("ray1") == first
    optuna_study.end(searcher.planned["ray1"], record(plan.trials[0].trial_id))
    assert [trial.state.name for trial in stored(tmp_path / "o.db")] == ["COMPLETE"]
