"""Pictures of studies at every size: what they say, and that they fit."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from mmssl.cli.drawing import ViewOptions, draw
from mmssl.cli.terminal import roughly
from mmssl.study.overview import Axes, Cell, Failure, Health, LiveMap, RunningTrial, View
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def cell(down: float, across: float, state: Any = "complete", mean: float | None = 0.8437, n: int = 4) -> Cell:
    values = {"objective.lambda": across, "objective.mu": down}
    return Cell(f"{down}/{across}", values, state, mean if n else None, 0.0321 if n > 1 else None, n, 4, int(down * 10))


def view(cells: list[Cell], **others: Any) -> View:
    axes = Axes("objective.mu", "objective.lambda", (1.0, 50.0), (1.0, 2.5, 50.0))
    best = frozenset({"1.0/1.0"})
    return View(
        **{
            "study": "vicreg_grid-1", "metric": "val.accuracy", "choosable": True, "seeds": 2, "folds": 2,
            "planned": 24, "trials": {"COMPLETE": 9, "PLANNED": 15}, "axes": axes, "cells": cells, "best": best,
            "running": [], "failures": [], "seconds_left": 150.0,
        } | others
    )  # fmt: skip


MAP = [
    cell(1.0, 1.0), cell(1.0, 2.5, mean=0.5), cell(1.0, 50.0, "running", 0.25, 2),
    cell(50.0, 1.0, "diverged", None, 0), cell(50.0, 2.5, "planned", None, 0), cell(50.0, 50.0, "begun", 0.75, 1),
]  # fmt: skip


def lines(shown: View, width: int, height: int, **others: Any) -> list[str]:
    return [line.rstrip() for line in draw(shown, width, height, **others).plain.split("\n")]


def test_the_fullest_map_says_mean_spread_and_trials() -> None:
    drawn = lines(view(MAP), 120, 30)
    assert "validation accuracy in %: mean ± standard deviation of 4 trials each (2 seeds x 2 folds)" in drawn
    assert drawn[4:7] == [
        "mu \\ lambda    1                 2.5               50",
        "         50  D 0/4             ·                 ◐ 75.0       1/4",
        "          1  ★ 84.4 ±3.2  4/4  ● 50.0 ±3.2  4/4  ▶ 25.0 ±3.2  2/4",
    ]
    assert "● 2 complete  ▶ 1 running  ◐ 1 begun  · 1 planned  D 1 DIVERGED  ★ best mean so far" in drawn
    assert "left ~2 min" in drawn[1] and "9/24" in drawn[1]


def test_a_narrower_map_drops_the_spread_and_then_digits_but_says_what_is_not_complete() -> None:
    assert "          1  ★ 84.4 ±3.2   ● 50.0 ±3.2   ▶ 25.0 2/4" in lines(view(MAP), 54, 20)
    narrow = lines(view(MAP), 35, 20)
    assert "          1  ★ 84.4  ● 50.0  ▶ 2/4" in narrow, "no mean whose number of trials is not told"
    assert "mu\\lambda 1   2.5 50" in lines(view(MAP), 22, 12)
    assert "        1 ★84 ●50 ▶" in lines(view(MAP), 22, 12)
    assert "       50 D   ·   ◐" in lines(view(MAP), 22, 12)


def test_without_colours_and_symbols_states_still_differ() -> None:
    drawn = "\n".join(lines(view(MAP), 120, 30, fancy=False))
    assert drawn.isascii()
    assert "* 84.4 +-3.2  4/4" in drawn and "= 50.0 +-3.2  4/4" in drawn and "> 25.0 +-3.2  2/4" in drawn
    assert "D 0/4" in drawn and "- 75.0        1/4" in drawn


def test_a_map_that_does_not_fit_is_a_ranking() -> None:
    wide = Axes("objective.mu", "objective.lambda", (1.0,), tuple(float(i) for i in range(40)))
    cells = [cell(1.0, float(i), mean=i / 100) for i in range(40)]
    drawn = lines(view(cells, axes=wide, best=frozenset({"1.0/39.0"})), 60, 16)
    assert drawn[4].split() == ["lambda", "mu", "mean", "spread", "n"]
    assert drawn[5].split() == ["★", "39.0", "1.0", "39.0", "±3.2", "4/4", "best"]
    assert drawn[6].split()[:4] == ["●", "38.0", "1.0", "38.0"]
    assert any(line.startswith("and ") and line.endswith(" more") for line in drawn)


def test_what_runs_is_told_with_a_sign_where_it_is_about_to_collapse() -> None:
    def trial(seed: int, std: float) -> RunningTrial:
        health = {"imu": Health(1.0, 30.0), "skeleton": Health(std, 12.0)}
        terms = {"loss": 9.0, "invariance": 0.25, "variance": 0.5, "covariance": 123456.0}
        values = {"objective.lambda": 50.0, "objective.mu": 1.0}
        return RunningTrial("t", values, seed, "anna", NOON, "pretrain", 12, 100, terms, {}, None, health)

    drawn = lines(view(MAP, running=[trial(1, 0.98), trial(2, 0.05)]), 160, 30)
    heads, first, second = drawn[9:12]
    assert heads.split()[:5] == ["lambda", "mu", "seed", "fold", "phase"]
    assert " ".join(first.split()) == "50.0 1.0 2 anna pretrain 12/100 9 0.25 0.5 1.2e5 1.00 30.0 0.050! 12.0"
    assert " ".join(second.split()) == "50.0 1.0 1 anna pretrain 12/100 9 0.25 0.5 1.2e5 1.00 30.0 0.98 12.0"
    assert "0.050!" in "\n".join(lines(view(MAP, running=[trial(2, 0.05)]), 50, 20)), "kept where others are dropped"


def test_columns_of_what_runs_do_not_come_and_go() -> None:
    """Of 80 columns: as trials begin, report, and turn to their heads, the line above them stays."""
    names, modalities = ("loss", "invariance", "variance", "covariance"), ("imu", "skeleton")

    def heads(phase: str | None, size: float, knob: float) -> str:
        seen = phase is not None
        trial = RunningTrial(
            "t", {"objective.lambda": knob, "objective.mu": 1.0}, 1, "7", NOON, phase, 12 * seen, 100 * seen,
            dict.fromkeys(names, size) if seen else {}, {"loss": 0.5} if phase == "finetune" else {}, None,
            dict.fromkeys(modalities, Health(0.98, 30.0)) if seen else {},
        )  # fmt: skip
        drawn = lines(view(MAP, running=[trial], terms=names, modalities=modalities), 80, 24)
        return next(line for line in drawn if "phase" in line)

    told = {
        heads(phase, size, knob)
        for phase in (None, "pretrain", "finetune")
        for size in (1.0, 0.0123, 123456.0, -1e-9)
        for knob in (1.0, 50.0)
    }
    assert len(told) == 1 and "skel" in told.pop()


def test_keys_are_explained_as_what_is_drawn_takes_them() -> None:
    trial = RunningTrial("t", {"objective.mu": 1.0}, 1, "7", NOON, "pretrain", 2, 9, {}, {}, None, {}, {"loss": [2, 1]})
    running = view(MAP, running=[trial])
    assert lines(running, 80, 24, options=ViewOptions(alone="t"))[-1] == "c next trial  a all  p pause  q quit"
    whole = "c curves of a trial  s sorted by health  m ranking  p pause  q quit"
    for options in (ViewOptions(), ViewOptions(alone="one that has ended")):
        assert lines(running, 80, 24, options=options)[-1] == whole


def test_cells_are_shaded_around_untrained_encoders() -> None:
    def shades(untrained: float | None) -> list[str]:
        drawn = draw(view(MAP, untrained=untrained), 120, 30)
        found = {drawn.plain[span.start : span.end][:4]: str(span.style) for span in drawn.spans}
        return [re.findall(r"color\((\d+)\)", found[mean])[-1] for mean in ("84.4", "50.0")]

    assert shades(0.6) == ["75", "222"], "0.24 above is the furthest; 0.10 below is the second of four oranges"
    assert shades(0.4) == ["75", "195"] and shades(None) == ["75", "195"]
    assert "untrained 60.0" in "\n".join(lines(view(MAP, untrained=0.6), 120, 30))


def test_the_loss_is_a_line_where_there_is_room() -> None:
    losses = [float(value) for value in range(100, 0, -1)]
    trial = RunningTrial(
        "t", {"objective.mu": 1.0}, 1, "7", NOON, "pretrain", 12, 100, {"loss": 1.0}, {}, None, {}, {"loss": losses}
    )
    drawn = "\n".join(lines(view(MAP, running=[trial], terms=("loss",)), 120, 30))
    assert "loss by epoch" in drawn and "█▇▇▆▆▅▅▄▄▃▃▂▂▁" in drawn
    assert "█" not in "\n".join(lines(view(MAP, running=[trial], terms=("loss",)), 120, 30, fancy=False))


def test_equal_failures_stand_together() -> None:
    several = [Failure(str(i), {"objective.mu": 1.0}, 1, "7", "DIVERGED", f"epoch {i}: loss is nan") for i in range(9)]
    drawn = lines(view(MAP, failures=[*several, Failure("f", {}, 1, "7", "FAILED", "no")]), 120, 30)
    assert drawn[-2:] == ["9 DIVERGED: epoch 0: loss is nan", "1 FAILED: no"]


def test_scores_of_the_test_subjects_are_not_called_validation() -> None:
    drawn = "\n".join(lines(view(MAP, metric="test.accuracy", choosable=False, best=frozenset()), 120, 30))
    assert "test accuracy in %" in drawn and "nothing may be chosen by it" in drawn
    assert "validation" not in drawn and "best" not in drawn and "★" not in drawn


def test_hostile_words_move_nothing() -> None:
    evil = "[red]x[/] \x1b[2J\x1b]0;t\x07\r\n\u202ey"
    failure = Failure("t", {"objective.mu": evil}, 1, evil, "FAILED", evil)
    running = RunningTrial("t", {"objective.mu": evil}, 1, evil, NOON, "pretrain", 1, 2)
    drawn = draw(view([], axes=None, failures=[failure], running=[running], study=evil), 120, 30)
    assert "[red]x[/]" in drawn.plain
    assert not set(drawn.plain) & set("\x1b\x07\r\u202e")
    assert "\n" not in drawn.plain.replace("\n", "", drawn.plain.count("\n")), "lines are its own"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (10.0, "<1 min"), (150.0, "~2 min"), (5940.0, "~99 min"), (7200.0, "~2 h"), (259200.0, "~3 days")],
)
def test_time_left_is_no_more_exact_than_it_is_known(seconds: float | None, words: str) -> None:
    assert roughly(seconds) == words


numbers = st.floats(allow_nan=True, allow_infinity=True)
words = st.text(max_size=30)
states = st.sampled_from(["complete", "running", "begun", "planned", "failed", "diverged", "collapsed", "pruned"])
values = st.floats(min_value=1e-6, max_value=1e6)


@st.composite
def views(draw_: Any) -> View:
    rows, columns = (tuple(sorted(draw_(st.sets(values, min_size=1, max_size=12)))) for _ in range(2))
    cells = [
        Cell(f"{i}-{j}", {"objective.lambda": a, "objective.mu": b}, draw_(states), 0.5, 0.1, 2, 120, i)
        for i, a in enumerate(rows)
        for j, b in enumerate(columns)
        if draw_(st.booleans())
    ]
    point = {"objective.lambda": draw_(values), draw_(words): draw_(words)}
    running = [
        RunningTrial(
            "t", point, 1, draw_(words), NOON, draw_(st.sampled_from([None, "pretrain", "guide.skeleton"])), 100, 1000,
            dict.fromkeys(["loss", "invariance", "on_diagonal"], draw_(numbers)), {"loss": draw_(numbers)},
            draw_(st.one_of(st.none(), st.just(0.5))), {"skeleton": Health(draw_(numbers), draw_(numbers))},
        )
        for _ in range(draw_(st.integers(0, 6)))
    ]  # fmt: skip
    failures = [Failure("t", point, 1, "a", "FAILED", draw_(words)) for _ in range(draw_(st.integers(0, 6)))]
    axes = Axes("objective.lambda", "objective.mu", rows, columns) if draw_(st.booleans()) else None
    best = frozenset(one.point_id for one in cells[:1])
    study = draw_(words)
    return view(cells, axes=axes, running=running, failures=failures, best=best, study=study)


def named(knob: str) -> View:
    """A trial that runs, of a searched knob of this name."""
    cells = [Cell(f"0-{j}", {"objective.mu": j}, "complete", 0.5, 0.1, 2, 120, j) for j in range(2)]
    health = {"skeleton": Health(0.0, 0.0)}
    trial = RunningTrial(
        "t", {"objective.mu": 1.0, knob: "0"}, 1, "", NOON, None, 100, 1000, {"loss": 0.0}, {}, None, health
    )
    return view(cells, axes=None, running=[trial], failures=[], best=frozenset({"0-0"}), study="")


@example(named("\n"), 20, 8, False, "")
@given(views(), st.integers(20, 220), st.integers(8, 60), st.booleans(), words)
def test_a_picture_fits_any_terminal(shown: View, width: int, height: int, fancy: bool, state: str) -> None:
    drawn = draw(shown, width, height, state=state, seconds=1e5, fancy=fancy).plain.split("\n")
    assert len(drawn) <= height
    assert max(map(cell_len, drawn)) <= width
    assert f"{shown.ended}/{shown.planned}" in drawn[1]


def test_a_picture_of_ten_thousand_trials_takes_milliseconds(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([float(i) for i in range(1, 51)], [float(i) for i in range(1, 68)])
    live_map = LiveMap(plan, NOON)

    def record(trial: PlannedTrial) -> Record:
        facts, finish = {"val.accuracy": 0.5}, NOON + timedelta(seconds=1)
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts, started=NOON, finished=finish)

    for trial in plan.trials[:5000]:
        live_map.put(trial, record(trial))
    before = time.thread_time()
    draw(live_map.view(), 200, 50)
    assert time.thread_time() - before < 0.5, "some 30 ms, and twice a second at most"
