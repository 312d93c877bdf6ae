"""Two that change one study at the same time: each is told whether it did, and nothing of the other's is lost."""

import os
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import small

from mmssl import Recordings
from mmssl.api import studies as api
from mmssl.cli import studies
from mmssl.cli.running import RunOptions
from mmssl.errors import UserError
from mmssl.study import planning
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, make_plan
from mmssl.study.record import Record
from mmssl.study.space import Space
from mmssl.study.tables import Tables

REFUSED = "study one is being run by another process; wait for it, or stop it first"


@pytest.fixture
def study(tmp_path: Path, tiny: Recordings) -> Study:
    """Two points on two folds with one seed, complete."""
    space = Space(name="s", grid={"objective.lambda": [1.0, 5.0]}, seeds=[1])
    data = small.dataset_of(tiny)
    bases = space.bases("tiny")
    plan = make_plan("one", space, bases, data, [("anna",), ("ben",)], space.points(bases))
    return small.study_of(tmp_path, plan, lambda _, trial: complete(trial.trial_id))


def complete(trial_id: str) -> Record:
    return Record(trial_id=trial_id, status="COMPLETE", facts={"val.accuracy": 0.5})


def assert_whole(study: Study, seeds: list[int]) -> None:
    """Plan, table and records have every trial of these seeds, each once."""
    plan = study.plan()
    assert sorted(plan.space.seeds) == sorted(seeds)
    assert len(plan.trials) == 2 * 2 * len(seeds), "points x folds x seeds"
    rows = pd.read_parquet(study.folder / "trials.parquet")
    assert rows["trial_id"].tolist() == [trial.trial_id for trial in plan.trials]
    assert (rows["status"] == "COMPLETE").all()
    assert set(study.records(plan)) == set(rows["trial_id"])


def bare(command: Callable[..., None]) -> Callable[..., None]:
    """A command without the options of a shell."""
    return getattr(command, "__wrapped__")  # noqa: B009


RUN = RunOptions(as_json=True)
EXTENDING: dict[str, Callable[[Study, int], object]] = {
    "command": lambda study, seed: bare(studies.extend)(
        study=study.name, seeds=str(seed), storage=study.root, running=RUN
    ),
    "Python": lambda study, seed: api.open_study(study.place).extend(seeds=[seed]),
}
RUNNING: dict[str, Callable[[Study, int], object]] = {
    "resume": lambda study, seed: bare(studies.resume)(study=study.name, storage=study.root, running=RUN),
    "retry": lambda study, seed: bare(studies.retry)(study=study.name, storage=study.root, running=RUN),
    "resume in Python": lambda study, seed: api.open_study(study.place).resume(),
}


@pytest.mark.parametrize(
    ("first_does", "second_does"),
    [("command", "command"), ("command", "Python"), ("Python", "command"), *(("command", other) for other in RUNNING)],
)
def test_while_a_study_is_extended_another_is_refused_and_nothing_is_lost(
    study: Study, tiny: Recordings, monkeypatch: pytest.MonkeyPatch, first_does: str, second_does: str
) -> None:
    """With a run that takes no training; both are between reading the plan and writing it, if they may."""
    turn = threading.local()

    def recordings_of(plan: Plan, data: Path | None) -> Recordings:
        turn.reached()
        return tiny

    def run_study(study: Study, plan: Plan, recordings: Recordings, *_: object, **__: object) -> int:
        with study.locked():
            tables = Tables(study, plan)
            for trial in plan.trials:
                study.keep(complete(trial.trial_id))
                tables.put(complete(trial.trial_id))
            tables.write()
        return 0

    for module in (planning, studies, api):
        monkeypatch.setattr(module, "recordings_of", recordings_of)
    monkeypatch.setattr(studies, "run_study", run_study)
    monkeypatch.setattr(api, "_run", run_study)

    def does(what: str, seed: int, reached: Callable[[], None]) -> bool:
        turn.reached = reached
        try:
            (EXTENDING | RUNNING)[what](study, seed)
        except UserError as error:
            assert str(error) == REFUSED
            return False
        return True

    seeds = [1]
    for pair in range(2):
        first_reads, second_ends = threading.Event(), threading.Event()
        first, second = 10 + 2 * pair, 11 + 2 * pair

        def wait(reads: threading.Event = first_reads, ends: threading.Event = second_ends) -> None:
            reads.set()
            assert ends.wait(30)

        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(does, first_does, first, wait)
            assert first_reads.wait(30)
            read: list[int] = []
            refused = not does(second_does, second, partial(read.append, second))
            second_ends.set()
            assert done.result()
        seeds += [first] if refused else [first, second]
        assert_whole(study, seeds)
        assert refused, "while the first is between reading and writing"
        assert read == [], "what it would have run with is another's to change"


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_pairs_of_extend_that_train_leave_a_study_whole(tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    grid = {"objective.lambda": [1.0, 5.0]}
    (tmp_path / "space.yaml").write_text(small.space(1, grid=grid, folds=[["anna"], ["ben"]], seeds=[1]))

    def start(*words: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            small.tune(*words, "--storage", tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "NO_COLOR": "1"},
        )

    launch: list[Any] = [tmp_path / "space.yaml", "--dataset", tmp_path / "tiny.parquet", "--name", "one"]
    with start("launch", *launch) as first:
        assert first.wait(300) == 0, first.communicate()[0]
    study, seeds, refused = Study(tmp_path, "one"), [1], 0
    for pair in range(20):
        asked = [100 + 2 * pair, 101 + 2 * pair]
        both = [start("extend", "one", "--seeds", seed) for seed in asked]
        for seed, process in zip(asked, both, strict=True):
            out = process.communicate(timeout=300)[0]
            assert process.returncode in (0, 2), out
            if process.returncode == 0:
                seeds.append(seed)
            else:
                assert out == f"mmssl-tune: {REFUSED}\n"
                refused += 1
        assert_whole(study, seeds)
    print(f"20 pairs of extend: {refused} refused, {len(seeds) - 1} seeds added, 0 corrupt")
    assert refused == 41 - len(seeds)
