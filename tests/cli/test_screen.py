"""A launch in a terminal: what stands on the screen while it runs, and what it leaves behind."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import small
from pseudo_terminal import Terminal, terminal

from mmssl import Recordings
from mmssl.study.folder import Study
from mmssl.study.plan import Plan

DIVERGES = 1e30


def launch(folder: Path, tiny: Recordings, epochs: int, second_rate: float) -> list[str]:
    grid = {"objective.lambda": [1, 10], "pretrain.lr": [0.001, second_rate]}
    tiny.save(folder / "tiny.parquet")
    (folder / "map.yaml").write_text(small.space(epochs, grid=grid, folds=[["anna"], ["ben"]]))
    return small.tune(
        "launch", folder / "map.yaml", "--dataset", folder / "tiny.parquet",
        "--storage", folder / "studies", "--name", "live",
    )  # fmt: skip


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_launch_fills_its_map_and_leaves_the_terminal_whole(tmp_path: Path, tiny: Recordings) -> None:
    with terminal(launch(tmp_path, tiny, 200, DIVERGES), 80, 24) as shown:
        shown.until("starting Ray")
        shown.until("0/8 trials")
        text = shown.until("pretrain")
        assert "lambda" in text and "· 3 planned" in text and "▶ 1 running" in text
        shown.until(lambda text: "/200" in text and "skel" in text)
        shown.resize(40, 12)
        shown.until(lambda text: _neat(text, 40))
        shown.resize(200, 50)
        shown.until(lambda text: _neat(text, 200) and "covariance" in text)
        shown.resize(100, 60)
        shown.until(lambda text: "D 0/2" in text)
        assert shown.end() == 0, "a trial that diverged has not failed"
        assert not shown.cursor_hidden
        text = shown.text
        assert text.count("8/8 trials") == 1 and "4 DIVERGED" in text and " running" not in text
        assert "● 2 complete  D 2 DIVERGED  ★ best mean so far" in text
        assert re.search(r"\d DIVERGED: epoch \d+: \w+ is (nan|inf)", text), "equal failures stand together"
        # Whether the best of so few recordings is above chance is not of this test.
        assert re.search("next: mmssl-tune (best|report) live", " ".join(text.split())), "wherever the line ends"


def _neat(text: str, columns: int) -> bool:
    """Whether one picture stands there, and nothing of an earlier one."""
    titles = [line for line in text.splitlines() if line.split()[:1] == ["live"]]
    return len(titles) == 1 and max(map(len, text.splitlines())) <= columns


@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)], ids=lambda number: number.name
)
def test_an_interrupted_launch_leaves_its_last_picture(
    tmp_path: Path, tiny: Recordings, number: signal.Signals
) -> None:
    with terminal(launch(tmp_path, tiny, 3000, 0.002), 100, 30) as shown:
        shown.until("pretrain")
        assert shown.end(number) == 130, shown.text
        assert not shown.cursor_hidden
        text = shown.text
        stops = r"stopping: \d trials? begins? anew, (it has|they have) no snapshot yet; again to stop now"
        assert re.search(stops, " ".join(text.split())), text
        assert text.count("0/8 trials") == 1 and "· 4 planned" in text and "▶" not in text, "nothing runs any more"
        assert "stopped with 8 of 8 trials to go: mmssl-tune resume live" in " ".join(text.split())
    study = Study(tmp_path / "studies", "live")
    assert not study.in_use()
    assert set(study.table("trials.parquet")["status"].to_pylist()) == {"PLANNED"}


PROGRAM = """
import sys, threading, time
from datetime import UTC, datetime
from mmssl.cli.screen import LiveScreen
from mmssl.cli.studies import _end_at_once
from mmssl.study.folder import Study
from mmssl.study.record import Record
from mmssl.cli.terminal import console_beside

study = Study(sys.argv[1], "study")
plan = study.plan()
with console_beside(2) as console, LiveScreen(console, plan, "starting", datetime.now(UTC)) as shown:
    sys.stdout = sys.stderr = None
    shown.add_ended([])
    shown.note("one thing [b]to know[/b]")
    shown.put(plan.trials[0], Record(trial_id=plan.trials[0].trial_id, status="RUNNING", started=datetime.now(UTC)))
    time.sleep(1.5)
    if sys.argv[2] == "abandon":
        threading.Thread(target=lambda: _end_at_once("Ray is gone", shown, console)).start()
    time.sleep(600)
"""


def shown_of(tmp_path: Path, plan: Plan, what: str) -> list[str]:
    Study(tmp_path, plan.name).create(plan)
    return [sys.executable, "-c", PROGRAM, str(tmp_path), what]


def test_a_process_that_is_ended_at_once_leaves_the_terminal_whole(
    tmp_path: Path, plan_of: Callable[..., Plan]
) -> None:
    words = shown_of(tmp_path, plan_of([1.0, 5.0], [1.0, 25.0]), "abandon")
    with terminal(words, 80, 24) as shown:
        shown.until("▶ 0/3")
        assert shown.cursor_hidden
        assert shown.end() == 1
        assert not shown.cursor_hidden
        assert "mmssl-tune: Ray is gone" in shown.text
        assert "note: one thing [b]to know[/b]" in shown.text
        assert shown.text.count("0/12 trials") == 1


def test_a_terminal_that_goes_away_does_not_end_the_study(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    words = shown_of(tmp_path, plan_of([1.0, 5.0], [1.0, 25.0]), "stay")
    survives = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *words]
    opened = Terminal(survives, 80, 24, {"TERM": "xterm", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
    try:
        opened.until("▶ 0/3")
        opened.hang_up()
        time.sleep(1)
        assert opened.process.poll() is None
    finally:
        opened.close()


def test_an_error_is_broken_between_words(tmp_path: Path) -> None:
    with terminal(small.tune("launch", "vicreg_gird", "--storage", tmp_path), 40, 24) as shown:
        assert shown.end() == 2
        lines = [line for line in shown.lines if line]
    whole = subprocess.run(small.tune("launch", "vicreg_gird"), capture_output=True, text=True, check=False).stderr
    assert len(lines) > 1
    assert " ".join(lines) == " ".join(whole.split())
