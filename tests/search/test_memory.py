"""What a study does when Ray reports that memory ran out.

Only that report is made up here: to fill a machine's memory at the right moment cannot be done the same way twice.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("ray")

from mmssl import Recordings
from mmssl.search import launch
from mmssl.search.cluster import Resources
from mmssl.search.plan import Dataset, Plan, make_plan
from mmssl.search.space import Space
from mmssl.search.store import Record, Study


class Machine:
    """Runs trials as Tune would, with memory for so many at once."""

    def __init__(self, room_for: int, too_large: frozenset[int] = frozenset()) -> None:
        self.room_for, self.too_large = room_for, too_large
        self.tried: list[int] = []

    def __call__(
        self, study: Study, plan: Plan, recordings, resources: Resources, searcher, recorder, *further
    ) -> None:
        at_once = resources.max_concurrent or 3
        self.tried.append(at_once)
        queue = list(searcher._queue)
        while queue:
            begun, queue = queue[:at_once], queue[at_once:]
            for planned in begun:
                record = Record(trial_id=planned.trial_id, status="RUNNING", started=datetime.now(UTC))
                recorder._open[planned.trial_id] = record
                recorder._optuna.begin(planned)
            too_large = any(plan.trials.index(planned) in self.too_large for planned in begun)
            if at_once > self.room_for or too_large:
                raise launch._OutOfMemoryError(at_once)
            for planned in begun:
                recorder._end(planned, recorder._open[planned.trial_id], status="COMPLETE", facts={"val.accuracy": 0.5})


@pytest.fixture
def study(tmp_path: Path, tiny: Recordings) -> Study:
    space = Space(name="s", grid={"objective.lambda": [1.0, 5.0, 10.0]})
    data = Dataset(
        source="tiny.parquet", folder=None, name="tiny", fingerprint=tiny.fingerprint, recordings=36,
        train_subjects=("anna", "ben"), test_subjects=(),
    )  # fmt: skip
    bases = space.bases("tiny")
    made = Study(tmp_path, "one")
    made.create(make_plan("one", space, bases, data, [("anna",), ("ben",)], space.points(bases)))
    return made


@pytest.fixture
def run_on(
    study: Study, tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Machine], tuple[list[str], list[str]]]:
    """The statuses in the plan's order, and what was said."""

    def run(machine: Machine) -> tuple[list[str], list[str]]:
        monkeypatch.setattr(launch, "_tune", machine)
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


def test_a_trial_that_alone_is_too_much_fails_alone(run_on, study: Study) -> None:
    statuses, _ = run_on(Machine(room_for=3, too_large=frozenset({4})))
    assert statuses == ["COMPLETE"] * 4 + ["FAILED", "COMPLETE"]
    assert study.record(study.plan().trials[4].trial_id).cause == "memory ran out with a single trial at a time"


def test_with_room_for_none_it_says_so_and_keeps_the_plan(run_on, study: Study) -> None:
    with pytest.raises(MemoryError, match="with a single trial at a time: give the machine more"):
        run_on(Machine(room_for=0))
    rows = study.table("trials.parquet").to_pylist()
    assert [row["status"] for row in rows] == ["FAILED"] + ["PLANNED"] * 5
