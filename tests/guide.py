"""Guides of docs/, followed word by word in this process, with less training."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from typer.testing import CliRunner

from mmssl.cli import app
from mmssl.errors import UserError

DOCS = Path(__file__).resolve().parents[1] / "docs"
# A guide is not about Ray.
LESS = ("finetune.epochs=2", "data.steps=16", "encoder.imu.layers=1")


class Guide:
    """One of docs/ in a folder of its own, which holds the scripts of docs/ that it runs.

    Args:
        folder: where commands run; the caller changes to it.
        language: that its blocks of commands are in, so that two walks may stand on one page.
        folds: of the space that is searched in place of `vicreg_diagonal`, in YAML.
        epochs: of pre-training, as the guide has them; here it is one.
    """

    def __init__(self, folder: Path, page: str, language: str, folds: str, epochs: int) -> None:
        self.text = (DOCS / page).read_text()
        blocks = re.findall(rf"```{language}\n(.*?)```\n(?:\n```text\n(.*?)```)?", self.text, re.DOTALL)
        self.blocks: list[tuple[list[str], str]] = [
            ([line for line in commands.splitlines() if line], shown) for commands, shown in blocks
        ]
        """Commands, and what the guide shows below them."""
        self._shorter = {f"pretrain.epochs={epochs}": "pretrain.epochs=1", "vicreg_diagonal": "few.yaml"}
        (folder / "few.yaml").write_text(f"grid: {{objective.mu: [5, 25]}}\nfolds: {folds}\n")
        (folder / "docs").mkdir()
        for script in DOCS.glob("make_*.py"):
            shutil.copy(script, folder / "docs")

    def answer(self, line: str) -> tuple[int, str]:
        """A command's exit status, and what it says on both outputs. Of a launch also what the guide's own plans."""
        program, *words = shlex.split(line)
        if program == "python":
            done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True)
            return 0, done.stdout
        if words[0] != "launch":
            return answered(words)
        assert self._shorter.keys() <= set(words)
        code, planned = answered([*words, "--dry-run"])
        assert code == 0, planned
        own = {word.partition("=")[0]: word for word in words}
        less = {own[knob]: shorter for shorter in LESS if (knob := shorter.partition("=")[0]) in own}
        changed = [{**self._shorter, **less}.get(word, word) for word in words]
        more = [word for shorter in LESS if shorter not in changed for word in ("--set", shorter)]
        code, said = answered([*changed, "--local", *more])
        return code, planned + said


def answered(words: Sequence[str]) -> tuple[int, str]:
    done = CliRunner().invoke(app, words)
    if isinstance(done.exception, UserError):
        return 2, str(done.exception)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def agrees(shown: str, said: str) -> None:
    """Every line that a guide shows stands in the answer, but for what is left out at `...`."""
    words = " ".join(said.split())
    for line in shown.splitlines():
        for part in line.split("..."):
            assert " ".join(part.split()) in words, line


def begins(folder: Path, shown: str) -> None:
    """Files begin with the column names that a guide shows of them: a line each of place, columns and words."""
    for line in shown.splitlines():
        place, columns, *_ = line.split()
        first = (folder / place).read_text().partition("\n")[0]
        assert first.startswith(columns.removesuffix("...")) and (columns.endswith("...") or first == columns), line
