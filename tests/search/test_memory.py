"""What a study does when memory ran out: the machine's, as Ray reports it, or a GPU's, as torch raises it.

Only that report and that error are made up here: to fill a machine's memory at the right moment cannot be done the same
way twice, and no GPU is needed to run the tests.
"""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("ray")

from small import dataset_of

from mmssl import Recordings
from mmssl.recipe import Recipe
from mmssl.search import callback, launch, on_ray, one_trial
from mmssl.search.callback import RecordingCallback
from mmssl.search.searcher import PlanSearcher
from mmssl.search.setting import Setting
from mmssl.search.share import Resources, Share
from mmssl.search.work import Work
from mmssl.study.folder import Study
from mmssl.study.plan import make_plan
from mmssl.study.space import Space

pytestmark = pytest.mark.ray


class Machine:
    """Runs trials as Tune would, with memory for so many at once."""

    def __init__(self, room_for: int, too_large: frozenset[int] = frozenset()) -> None:
        self.room_for, self.too_large = room_for, too_large
        self.tried: list[int] = []

    def __call__(
        self, work: Work, resources: Resources, searcher: PlanSearcher, callback: RecordingCallback, folder: Path
    ) -> Share:
        plan, recorder = work.plan, callback.recorder
        at_once = resources.max_concurrent or 3
        self.tried.append(at_once)
        queue = list(searcher.queue.waiting)
        while queue:
            begun, queue = queue[:at_once], queue[at_once:]
            for planned in begun:
                recorder.begin(planned)
            too_large = any(plan.trials.index(planned) in self.too_large for planned in begun)
            if at_once > self.room_for or too_large:
                raise on_ray._OutOfMemoryError(at_once)
            for planned in begun:
                recorder._end(planned, recorder._open[planned.trial_id], status="COMPLETE", facts={"val.accuracy": 0.5})
        return Share(1, 0, at_once, waits=False)


class Gpu:
    """Runs trials as Tune would, each with a share of a GPU that is enough for some.

    Args:
        needed: the share that each trial needs, in the plan's order.
    """

    def __init__(self, needed: list[float]) -> None:
        self.needed = needed
        self.tried: list[tuple[float, list[int]]] = []

    def __call__(
        self, work: Work, resources: Resources, searcher: PlanSearcher, callback: RecordingCallback, folder: Path
    ) -> Share:
        plan = work.plan
        share = resources.gpus_per_trial or 0.25
        self.tried.append((share, []))
        while isinstance(given := searcher.suggest("one"), dict):
            number = [planned.trial_id for planned in plan.trials].index(given["trial_id"])
            self.tried[-1][1].append(number)
            tune_trial = SimpleNamespace(trial_id="one", temporary_state=SimpleNamespace(ray_actor=None))
            callback.on_trial_start(0, [], tune_trial)
            end = report_of_a_trial_that_raises(
                torch.OutOfMemoryError("CUDA out of memory.") if share < self.needed[number] else ValueError("no")
            )
            callback.on_trial_result(0, [], tune_trial, end)
            searcher.on_trial_complete("one")
        return Share(1, share, 4, waits=False)


def report_of_a_trial_that_raises(error: Exception) -> dict[str, Any]:
    """What the trainable reports last; it is stopped by the error when it looks for its data."""

    class Nothing(dict):
        def __getitem__(self, name: object) -> None:
            raise error

    reports: list[dict[str, Any]] = []
    setting = Setting("", "s", {}, Nothing(), "val", False, None, at_once=1, threads=1, device="cpu")
    one_trial.run({"recipe": Recipe().model_dump_json(by_alias=True)}, setting, reports.append)
    return reports[-1]


@pytest.fixture
def study(tmp_path: Path, tiny: Recordings) -> Study:
    space = Space(name="s", grid={"objective.lambda": [1.0, 5.0, 10.0]})
    data = dataset_of(tiny, train_subjects=("anna", "ben"), test_subjects=())
    bases = space.bases("tiny")
    made = Study(tmp_path, "one")
    made.create(make_plan("one", space, bases, data, [("anna",), ("ben",)], space.points(bases)))
    return made


@pytest.fixture
def run_on(
    study: Study, tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Machine | Gpu], tuple[list[str], list[str]]]:
    """The statuses in the plan's order, and what was said."""

    def run(machine: Machine | Gpu) -> tuple[list[str], list[str]]:
        monkeypatch.setattr(on_ray, "_tune", machine)
        monkeypatch.setattr(callback, "node_of", lambda actor: "")
        said: list[str] = []
        launch.run(study, study.plan(), tiny, Resources(), lambda planned, record: None, say=said.append)
        rows = study.table("trials.parquet").to_pylist()
        return [row["status"] for row in rows], said

    return run


def test_fewer_run_at_once_until_they_fit(run_on) -> None:
    machine = Machine(room_for=1)
    statuses, said = run_on(machine)
    assert statuses == ["COMPLETE"] * 6
    assert machine.tried == [3, 2, 1]
    assert said == [
        "memory ran out: from now on 2 at once, not 3",
        "memory ran out: from now on 1 at once, not 2",
    ]


@pytest.mark.slow
def test_a_trial_that_alone_is_too_much_fails_alone(run_on, study: Study) -> None:
    statuses, _ = run_on(Machine(room_for=3, too_large=frozenset({4})))
    assert statuses == ["COMPLETE"] * 4 + ["FAILED", "COMPLETE"]
    assert study.record(study.plan().trials[4].trial_id).cause == "memory ran out with a single trial at a time"


@pytest.mark.slow
def test_with_room_for_none_it_says_so_and_keeps_the_plan(run_on, study: Study) -> None:
    with pytest.raises(MemoryError, match="with a single trial at a time: give the machine more"):
        run_on(Machine(room_for=0))
    rows = study.table("trials.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["FAILED"] + ["PLANNED"] * 5


@pytest.mark.slow
def test_trials_that_a_gpu_has_no_room_for_are_run_again_with_more_of_it(run_on, study: Study) -> None:
    gpu = Gpu([0.25, 0.5, 0.25, 1.0, 2.0, 0.25])
    statuses, said = run_on(gpu)
    assert gpu.tried == [(0.25, [0, 1, 2, 3, 4, 5]), (0.5, [1, 3, 4]), (1.0, [3, 4])]
    assert said == [
        "a GPU's memory ran out: 3 trials once more, with 0.5 of a GPU each, not 0.25",
        "a GPU's memory ran out: 2 trials once more, with 1 of a GPU each, not 0.5",
    ]
    assert statuses == ["FAILED"] * 6
    records = [study.record(planned.trial_id) for planned in study.plan().trials]
    assert [record.cause for record in records if record.cause != "ValueError: no"] == [
        "OutOfMemoryError: CUDA out of memory. (with a GPU of its own)"
    ]
    assert "torch.OutOfMemoryError" in records[4].traceback
