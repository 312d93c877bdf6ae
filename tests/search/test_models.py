"""Which trials' weights a running study keeps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ray")

from mmssl.errors import UserError
from mmssl.search.recorder import LEADING, Models
from mmssl.study.folder import Study
from mmssl.study.plan import Dataset, Plan, extended, make_plan
from mmssl.study.record import Record
from mmssl.study.results import Point, choose, points, representative
from mmssl.study.space import Space, changed


def ended(
    study: Study, models: Models, plan: Plan, index: int, score: float | None, status: str = "COMPLETE"
) -> Record:
    trial = plan.trials[index]
    study.put_model(trial.trial_id, {"model.safetensors": b"weights", "model.json": b"{}"})
    facts = {} if score is None else {"val.accuracy": score}
    record = Record.model_validate({"trial_id": trial.trial_id, "status": status, "facts": facts})
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


def test_a_point_that_may_still_become_complete_keeps_its_weights(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0, 2.0], [2.0])
    study = Study(tmp_path, "study")
    study.create(plan)
    models = Models(study, plan, {})
    for i, status in enumerate(["COMPLETE", "DIVERGED", "COMPLETE", "COMPLETE", "FAILED"]):
        ended(study, models, plan, i, 0.5 if status == "COMPLETE" else None, status)
    having = [study.has_model(trial.trial_id) for trial in plan.trials]
    assert having == [False, False, False, True, True, False], "what FAILED may be tried again"


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


class Weights:
    """Of a study, as names alone."""

    def __init__(self) -> None:
        self._names = set[str]()

    def put_model(self, trial_id: str, files: object) -> None:
        self._names.add(trial_id)

    def has_model(self, trial_id: str) -> bool:
        return trial_id in self._names

    def drop_model(self, trial_id: str) -> None:
        self._names.discard(trial_id)


class Life:
    """A study through runs that end anywhere, retries and extensions; what ends how is drawn."""

    def __init__(self, plan: Plan, draw: Callable[[Any], Any]) -> None:
        self.study, self.plan, self._draw = cast(Study, Weights()), plan, draw
        self.records: dict[str, Record] = {}

    def run(self) -> None:
        """Run some of what is missing, in any order, as several workers do."""
        models = Models(self.study, self.plan, self.records)
        missing = [i for i, trial in enumerate(self.plan.trials) if trial.trial_id not in self.records]
        order = self._draw(st.permutations(missing))
        for i in order[: self._draw(st.integers(0, len(order)))]:
            status = self._draw(st.sampled_from(["COMPLETE"] * 6 + ["FAILED", "DIVERGED"]))
            # Few values, as a few held-out recordings give: ties are the rule.
            score = self._draw(st.integers(0, 3)) / 3 if status == "COMPLETE" else None
            record = ended(self.study, models, self.plan, i, score, status)
            self.records[record.trial_id] = record
            self.check()

    def retry(self) -> None:
        self.records = {name: record for name, record in self.records.items() if record.status != "FAILED"}

    def extend(self, **entries: Any) -> None:
        folds = entries.pop("folds", self.plan.folds)
        self.plan = extended(self.plan, changed(self.plan.space, **entries), folds)

    def check(self) -> Point | None:
        """What is chosen, which has its weights."""
        rows = [
            {
                "point_id": trial.point_id,
                "seed": trial.seed,
                "fold": trial.fold,
                "status": record.status if record else "PLANNED",
                "val.accuracy": record.facts.get("val.accuracy") if record else None,
            }
            for trial in self.plan.trials
            for record in [self.records.get(trial.trial_id)]
        ]
        try:
            best = choose(points(self.plan, pa.Table.from_pylist(rows))).best
        except UserError:
            return None
        trial = representative(self.plan, best, self.study.has_model)
        assert self.study.has_model(trial.trial_id)
        return best


def test_of_a_sampled_study_points_keep_weights_that_further_draws_of_others_may_lift(dataset: Dataset) -> None:
    """By first draws alone the first two points are the worst; then the others are drawn again, and fail."""
    lambdas = [float(i) for i in range(1, LEADING + 3)]
    grid = {"objective.lambda": lambdas, "finetune.label_draw": [0, 1]}
    space = Space(name="s", sampler="random", budget=20, grid=grid, fixed={"finetune.labels": 0.5})
    bases = space.bases("synthetic")
    life = Life(make_plan("study", space, bases, dataset, [("1",)], []), lambda _: None)
    models = Models(life.study, life.plan, life.records)
    chosen = [(value, 0, 0.4 + value / 100) for value in lambdas] + [(value, 1, 0.0) for value in lambdas[2:]]
    for value, draw, score in chosen:
        [trial] = life.plan.add({"objective.lambda": value, "finetune.label_draw": draw})
        life.records[trial.trial_id] = ended(life.study, models, life.plan, len(life.plan.trials) - 1, score)
        best = life.check()
    assert best is not None
    assert (best.values, best.mean) == ({"objective.lambda": 2.0}, pytest.approx(0.42))


@pytest.mark.parametrize("draws", [[0], [0, 1]])
@settings(max_examples=40)
@given(st.data())
def test_what_is_chosen_has_its_weights_whatever_a_study_goes_through(
    dataset: Dataset, draws: list[int], data: st.DataObject
) -> None:
    grid = {"objective.lambda": [1.0, 2.0, 3.0], "finetune.label_draw": draws, "objective.mu": [1.0, 5.0]}
    space = Space(name="s", grid=grid, fixed={"finetune.labels": 0.5})
    bases = space.bases("synthetic")
    plan = make_plan("study", space, bases, dataset, [("1",)], space.points(bases))
    life = Life(plan, data.draw)
    for step in data.draw(st.lists(st.sampled_from(["run", "retry", "seeds", "folds", "draws"]), max_size=6)):
        match step:
            case "seeds":
                life.extend(seeds=[*life.plan.space.seeds, max(life.plan.space.seeds) + 1])
            case "folds" if len(life.plan.folds) == 1:
                life.extend(folds=[("1",), ("3",)])
            case "draws":
                present = life.plan.space.grid
                more = [*present["finetune.label_draw"], max(present["finetune.label_draw"]) + 1]
                life.extend(grid={**present, "finetune.label_draw": more})
            case "retry":
                life.retry()
            case _:
                life.run()
    life.run()
    life.check()


def test_the_trial_nearest_the_mean_is_exported_of_a_point_that_was_retried(
    tmp_path: Path, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of([1.0, 2.0], [2.0])
    study, records = Study(tmp_path, "study"), dict[str, Record]()
    study.create(plan)
    models = Models(study, plan, records)
    for i, score in enumerate([0.5, 0.8, None]):
        record = ended(study, models, plan, i, score, "COMPLETE" if score else "FAILED")
        records[record.trial_id] = record
    del records[plan.trials[2].trial_id]
    models = Models(study, plan, records)
    ended(study, models, plan, 2, 0.9)
    assert kept(study, plan) == [True, False]
