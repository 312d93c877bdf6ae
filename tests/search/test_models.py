"""Which trials' weights a running study keeps."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("ray")

from mmssl.search.plan import Plan
from mmssl.search.recorder import LEADING, Models
from mmssl.search.store import Record, Study


def ended(study: Study, models: Models, plan: Plan, index: int, score: float | None) -> Record:
    trial = plan.trials[index]
    study.put_model(trial.trial_id, {"model.safetensors": b"weights", "model.json": b"{}"})
    status, facts = ("FAILED", {}) if score is None else ("COMPLETE", {"val.accuracy": score})
    record = Record(trial_id=trial.trial_id, status=status, facts=facts)
    models.ended(trial, record)
    return record


def kept(study: Study, plan: Plan) -> list[bool]:
    """By point, whether all its trials have weights; no point has some."""
    having = [study.has_model(trial.trial_id) for trial in plan.trials]
    points = [having[i : i + 3] for i in range(0, len(having), 3)]
    assert all(len(set(point)) == 1 for point in points)
    return [point[0] for point in points]


def test_the_leading_points_keep_their_weights(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.0])
    study = Study(tmp_path, "study")
    study.create(plan)
    models = Models(study, plan, {})
    means = [0.5, 0.9, 0.1, 0.7, 0.2, 0.8]
    for i in range(18):
        ended(study, models, plan, i, means[i // 3])
    best = sorted(means)[-LEADING:]
    assert kept(study, plan) == [mean in best for mean in means]


def test_a_point_that_is_not_complete_keeps_its_weights_and_one_with_a_failure_does_not(
    tmp_path: Path, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of([1.0, 2.0], [2.0])
    study = Study(tmp_path, "study")
    study.create(plan)
    models = Models(study, plan, {})
    for i, score in enumerate([0.9, None, 0.9, 0.1, 0.1]):
        ended(study, models, plan, i, score)
    having = [study.has_model(trial.trial_id) for trial in plan.trials]
    assert having == [False, False, False, True, True, False]


def test_taken_up_again_a_study_knows_its_leading_points(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([float(i) for i in range(1, LEADING + 3)], [2.0])
    study = Study(tmp_path, "study")
    study.create(plan)
    means = [i / 10 for i in range(LEADING + 2)]
    records: dict[str, Record] = {}
    for i in range(3 * (LEADING + 1)):
        record = ended(study, Models(study, plan, records), plan, i, means[i // 3])
        records[record.trial_id] = record
    models = Models(study, plan, records)
    for i in range(3 * (LEADING + 1), 3 * (LEADING + 2)):
        ended(study, models, plan, i, means[i // 3])
    assert kept(study, plan) == [False, False, *[True] * LEADING]
