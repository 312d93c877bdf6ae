"""The bar of one training run."""

import io

import pytest
from rich.console import Console

from mmssl.cli import terminal
from mmssl.recipe import Recipe


def test_the_bar_is_there_from_the_first_epoch_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that are said before and after stand alone."""
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "console_on", lambda **_: Console(file=screen, force_terminal=True, width=80))
    recipe = Recipe().with_knobs({"pretrain.epochs": 2, "finetune.epochs": 1})
    with terminal.epoch_progress(recipe, "retraining") as on_epoch:
        assert screen.getvalue() == ""
        on_epoch({})
        assert "retraining" in screen.getvalue()
        on_epoch({})
        on_epoch({})
        done = screen.getvalue()
        assert done.endswith("\x1b[2K"), "the bar is wiped away"
    assert screen.getvalue() == done


def test_without_an_epoch_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "console_on", lambda **_: Console(file=screen, force_terminal=True, width=80))
    with terminal.epoch_progress(Recipe(), "exporting"):
        pass
    assert screen.getvalue() == ""
