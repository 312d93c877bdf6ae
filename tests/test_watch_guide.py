"""The walk of docs/own-data.md from a watch and a skeleton, followed on the folder that its script makes."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.csv
import pytest
from typer.testing import CliRunner

from mmssl.cli import app
from mmssl.errors import UserError

DOCS = Path(__file__).resolve().parents[1] / "docs"
SHORTER = {"pretrain.epochs=30": "pretrain.epochs=1", "vicreg_diagonal": "few.yaml"}
FEW = ["--local", "--set", "finetune.epochs=2", "--set", "data.steps=16", "--set", "encoder.imu.layers=1"]


def said(line: str) -> str:
    """What a command of the guide answers, on both outputs."""
    program, *words = shlex.split(line)
    if program == "python":
        return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True).stdout
    if words[0] == "launch":
        assert SHORTER.keys() <= set(words)
        words = [SHORTER.get(word, word) for word in words] + FEW
    done = CliRunner().invoke(app, words)
    if isinstance(done.exception, UserError):
        return str(done.exception)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_guide_leads_from_a_watch_and_a_skeleton_to_exercises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    shutil.copy(DOCS / "make_watch_and_body.py", tmp_path / "docs")
    (tmp_path / "few.yaml").write_text("grid: {objective.mu: [5, 25]}\nfolds: [[anna]]\n")
    guide = (DOCS / "own-data.md").read_text()
    blocks = re.findall(r"```bash\n(.*?)```\n\n(?:```text\n(.*?)```)?", guide, re.DOTALL)
    assert len(blocks) == 3
    for commands, shown in blocks:
        answer = " ".join("\n".join(said(line) for line in commands.splitlines()).split())
        for line in shown.splitlines():
            place, *header = line.split()
            if place.startswith("gym/"):
                first = (tmp_path / place).read_text().partition("\n")[0]
                assert first.startswith(header[0].removesuffix("..."))
            else:
                for part in line.split("..."):
                    assert " ".join(part.split()) in answer, line
    predicted = pyarrow.csv.read_csv(tmp_path / "exercises.csv")
    assert predicted.num_rows == 58
    assert set(predicted["predicted"].to_pylist()) <= {"squat", "curl", "jack", "rest"}
