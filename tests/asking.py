"""Commands as tests ask them."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmssl import cli


@dataclass
class Answer:
    code: int
    out: str
    err: str


Ask = Callable[..., Answer]


def asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs a command in this process, as the installed script does."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*words: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["mmssl-tune", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return Answer(int(end.value.code or 0), captured.out, captured.err)

    return run
