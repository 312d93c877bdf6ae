"""`watch` beside a process that runs a study, here this one: in a terminal, piped, in a folder and in a bucket."""

import json
import os
import platform
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import small
from pseudo_terminal import terminal
from s3_store import Store

from mmssl.study import status
from mmssl.study.folder import Study
from mmssl.study.plan import Plan
from mmssl.study.record import Record
from mmssl.study.tables import Tables

HEALTH = {"train.imu.std": 0.98, "train.imu.effective_rank": 20.0}


class Driver:
    """Runs a study of 2 x 2 points on three folds, as far as its storage shows."""

    def __init__(self, root: str, plan: Plan) -> None:
        self.study, self.plan, self._held = Study(root, plan.name), plan, ExitStack()
        self.study.create(plan)
        self.tables = Tables(self.study, plan)

    def begin(self) -> None:
        self._held.enter_context(self.study.locked())
        status.begin(self.study)

    def put(self, number: int, status: Any, score: float | None = None, **others: Any) -> None:
        now = datetime.now(UTC)
        facts = {} if score is None else {"val.accuracy": score}
        finished = None if status == "RUNNING" else now
        record = Record(
            trial_id=self.plan.trials[number].trial_id, status=status, facts=facts,
            started=now - timedelta(seconds=60), finished=finished, **others,
        )  # fmt: skip
        if finished:
            self.study.keep(record)
        self.tables.put(record)

    def end(self, *, killed: bool = False) -> None:
        if not killed:
            self.tables.settle()
            status.end(self.study)
        self._held.close()


@pytest.fixture
def plan(plan_of: Callable[..., Plan]) -> Plan:
    old = {"created": datetime.now(UTC) - timedelta(days=1)}
    return plan_of([1.0, 5.0], [1.0, 25.0]).model_copy(update=old)


@pytest.fixture
def driver(tmp_path: Path, plan: Plan) -> Iterator[Driver]:
    made = Driver(str(tmp_path), plan)
    yield made
    made.end(killed=True)


def watch(driver: Driver, *words: str) -> list[str]:
    return small.tune("watch", driver.study.name, "--storage", driver.study.root, *words)


def asked(driver: Driver, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(watch(driver, *words), capture_output=True, text=True, env=environment, timeout=120)


def test_a_running_study_is_shown_until_it_ends(driver: Driver) -> None:
    driver.begin()
    for number, score in enumerate((0.5, 0.7, 0.9)):
        driver.put(number, "COMPLETE", score)
    epochs = [{"phase": "pretrain", "epoch": 3, "train.loss": 2.0, "train.invariance": 0.125, **HEALTH}]
    driver.put(3, "RUNNING", epochs=epochs)
    driver.tables.write()
    with terminal(watch(driver), 80, 24) as shown:
        text = shown.until("pretrain")
        assert f"running by process {os.getpid()} on {platform.node()}" in text.replace("\n", "")
        assert "3/12 trials" in text and "left ~8 min" in text, "8 wait for 60 s each, one at once"
        assert "★ 70.0 ±20.0 3/3" in text and "▶ 0/3" in text
        assert "3/200" in text and "0.125" in text and "0.98" in text
        driver.put(3, "DIVERGED", cause="epoch 4: [b]invariance[/b] is \x1b[31mnan")
        for number in (4, 5):
            driver.put(number, "COMPLETE", 0.25)
        driver.tables.write()
        text = shown.until("DIVERGED")
        assert "epoch 4: [b]invariance[/b] is  [31mnan" in text
        assert "D 25.0 ±0.0  2/3" in text and "6/12 trials" in text
        # The last is high enough for all that the end says, however long the storage's path is.
        for columns, rows in ((40, 12), (200, 50), (80, 50)):
            shown.resize(columns, rows)
            shown.until(lambda text, columns=columns: _titles(text) == 1 and _widest(text) <= columns)
        for number in range(6, 12):
            driver.put(number, "COMPLETE", 0.8)
        driver.end()
        assert shown.end() == 0, shown.text
        assert not shown.cursor_hidden
        assert "12/12" in shown.text and "points by val.accuracy" in shown.text
        assert "next: mmssl-tune best study" in " ".join(shown.text.split()), "on a line of its own"


def _titles(text: str) -> int:
    return sum(line.split()[:1] == ["study"] and "running by" not in line for line in text.splitlines())


def _widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_ctrl_c_detaches_and_leaves_it_running(driver: Driver) -> None:
    driver.begin()
    driver.put(0, "RUNNING")
    driver.tables.write()
    for number in (signal.SIGINT, signal.SIGTERM):
        with terminal(watch(driver), 80, 24) as shown:
            shown.until("begins")
            assert shown.end(number) == 130
            assert "detached; study study goes on" in shown.text
            assert "0/12 trials" in shown.text, "the last picture stays"
            assert not shown.cursor_hidden
    assert driver.study.in_use()


def test_piped_it_prints_a_line_for_each_trial_that_ends(driver: Driver) -> None:
    driver.begin()
    driver.put(0, "COMPLETE", 0.5)
    driver.tables.write()
    with subprocess.Popen(watch(driver), stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout
        assert "1 of 12 trials have ended" in watching.stdout.readline()
        driver.put(1, "COMPLETE", 0.75)
        driver.put(2, "FAILED", cause="ValueError: no")
        driver.tables.write()
        assert watching.stdout.readline() == "2/12 lambda=1.0 mu=1.0 seed=28 fold=3: COMPLETE val.accuracy 75.0 %\n"
        assert watching.stdout.readline() == "3/12 lambda=1.0 mu=1.0 seed=28 fold=5: FAILED ValueError: no\n"
        driver.end()
        rest = watching.stdout.read()
    assert watching.returncode == 130, "nine trials are to go"
    assert "1 of 12 trials FAILED: ValueError: no" in rest
    assert "stopped with 9 of 12 trials to go: mmssl-tune resume study" in rest
    assert "\x1b" not in rest


def test_in_continuous_integration_a_terminal_gets_lines_too(driver: Driver) -> None:
    driver.begin()
    driver.tables.write()
    with terminal(watch(driver), 120, 24, CI="true") as shown:
        shown.until("0 of 12 trials have ended")
        driver.put(0, "COMPLETE", 0.5)
        driver.end()
        assert shown.end() == 130
        assert "1/12 lambda=1.0 mu=1.0 seed=28 fold=1: COMPLETE val.accuracy 50.0 %" in shown.text
        assert "●" not in shown.text and "━" not in shown.text


def test_a_driver_that_died_is_told(driver: Driver) -> None:
    driver.begin()
    driver.put(0, "COMPLETE", 0.5)
    driver.put(1, "RUNNING")
    driver.tables.write()
    driver.end(killed=True)
    done = asked(driver)
    assert done.returncode == 130
    assert f"process {os.getpid()} on {platform.node()} ran it and ended without a message" in done.stdout
    assert "11 of 12 trials to go" in done.stdout
    document = json.loads(asked(driver, "--json").stdout)
    assert (document["state"], document["died"]["pid"], document["running"]) == ("stopped", os.getpid(), [])
    assert document["trials"] == {"COMPLETE": 1, "PLANNED": 11}


def test_one_that_has_not_begun_is_told(driver: Driver) -> None:
    done = asked(driver)
    assert (done.returncode, done.stderr) == (130, "")
    assert f"study study has not begun: mmssl-tune resume study --storage {driver.study.root}\n" == done.stdout


def test_one_that_has_ended_is_summed_up(driver: Driver) -> None:
    driver.begin()
    for number in range(12):
        driver.put(number, "COMPLETE", 0.5) if number else driver.put(0, "FAILED", cause="no")
    driver.end()
    done = asked(driver)
    assert done.returncode == 1, "a trial failed"
    assert "points by val.accuracy" in done.stdout and "kept in" in done.stdout
    with terminal(watch(driver), 80, 50) as shown:
        assert shown.end() == 1
        assert "★ 50.0 ±0.0  3/3" in shown.text and "F 50.0 ±0.0  2/3" in shown.text
        assert "FAILED lambda=1.0 mu=1.0 fold=1: no" in shown.text


def test_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(small.tune("watch", "none", "--storage", tmp_path), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no study none" in done.stderr


def test_one_in_a_bucket_is_followed(s3: Store, plan: Plan) -> None:
    driver = Driver(s3.make("watched"), plan)
    driver.begin()
    driver.put(0, "RUNNING", epochs=[{"phase": "pretrain", "epoch": 7, "train.loss": 2.0, **HEALTH}])
    driver.tables.write()
    with terminal(watch(driver), 80, 50) as shown:
        shown.until("7/200")
        for number in range(12):
            driver.put(number, "COMPLETE", 0.5)
        driver.end()
        assert shown.end() == 0, shown.text
        assert "12/12" in shown.text


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (60, 20)])
def test_keys_change_what_is_shown(driver: Driver, columns: int, rows: int) -> None:
    driver.begin()
    for number, epochs in ((0, 4), (1, 9)):
        curve = [
            {"phase": "pretrain", "epoch": n, "train.loss": 30.0 / n, "train.invariance": 1.0 * n, **HEALTH}
            for n in range(1, epochs + 1)
        ]
        driver.put(number, "RUNNING", epochs=curve)
    driver.tables.write()
    first, second = (driver.plan.trials[number].fold for number in (0, 1))
    with terminal(watch(driver), columns, rows) as shown:
        mode = shown.mode
        shown.until(lambda text: "q quit" in text and text.count("pretrain") == 2)
        assert [line for line in shown.lines if line.strip()][-1].startswith("c curves of a trial")
        heads = next(line for line in shown.lines if "epoch" in line)

        def folds() -> list[str]:
            return [line.split("pretrain")[0].split()[-1] for line in shown.lines if "pretrain" in line]

        assert folds() == [first, second]
        shown.press("s")
        shown.until(lambda _: folds() == [second, first])
        assert next(line for line in shown.lines if "epoch" in line) == heads
        shown.press("m")
        shown.until(lambda text: "\\" not in text and "mean" in text)
        shown.press("c")
        alone = shown.until("invariance")
        assert f"fold={first}" in alone and "pretrain 4/" in alone
        curve = next(line for line in shown.lines if line.startswith("loss"))
        assert curve.split() == ["loss", "30", "█▃▂▁", "7.5"], "30, 15, 10, 7.5"
        assert all(len(line) <= columns for line in shown.lines)
        shown.press("c")
        shown.until(f"fold={second}")
        shown.press("p")
        shown.until("paused")
        driver.put(2, "COMPLETE", 0.5)
        driver.tables.write()
        shown.press("a")
        assert "0/12" in shown.until(lambda text: "fold=" not in text)
        shown.press("p")
        shown.until("1/12")
        shown.press("q")
        assert shown.end() == 0
        assert "detached; study" in shown.text
        assert shown.mode == mode, "the terminal is as it was"


def test_ctrl_c_leaves_the_terminal_as_it_was(driver: Driver) -> None:
    driver.begin()
    driver.put(0, "RUNNING")
    driver.tables.write()
    with terminal(watch(driver), 80, 24) as shown:
        mode = shown.mode
        shown.until("q quit")
        assert shown.mode != mode
        assert shown.end(signal.SIGINT) == 130
        assert shown.mode == mode
