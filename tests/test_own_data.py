"""The guide to one's own data, followed word by word on a folder as it describes."""

import csv
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from own_folder import make, make_new
from small import tune

from mmssl.export.encoders import load_encoders

GUIDE = (Path(__file__).resolve().parents[1] / "docs" / "own-data.md").read_text()


def steps() -> list[tuple[list[str], str]]:
    """Each block of commands with the answer that stands below it."""
    blocks = re.findall(r"```sh\n(.*?)```\n(?:\n```text\n(.*?)```)?", GUIDE, re.DOTALL)
    return [([line for line in commands.splitlines() if line], answer) for commands, answer in blocks]


def agrees(shown: str, said: str) -> None:
    """Every line of the guide stands in the answer, but for what is left out at `...`."""
    words = " ".join(said.split())
    for line in shown.splitlines():
        for part in line.split("..."):
            assert " ".join(part.split()) in words, line


@pytest.mark.timeout(900)
def test_the_guide_leads_from_a_folder_to_predictions(tmp_path: Path) -> None:
    make(tmp_path / "kitchen")
    make_new(tmp_path / "new")
    [description] = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    (tmp_path / "kitchen" / "description.yaml").write_text(description)
    answers: list[tuple[str, int, str]] = []
    for commands, shown in steps():
        said = ""
        for line in commands:
            words = shlex.split(line)[1:]
            if words[0] == "launch":
                shorter = {"pretrain.epochs=50": "pretrain.epochs=1", "data.steps=32": "data.steps=16"}
                assert shorter.keys() <= set(words)
                words = [shorter.get(word, word) for word in words]
                words += ["--local"]  # The guide is not about Ray.
                words += [part for knob in ("finetune.epochs=2", "encoder.imu.layers=1") for part in ("--set", knob)]
            done = subprocess.run(tune(*words), cwd=tmp_path, capture_output=True, text=True, timeout=900)
            answers.append((" ".join(words[:2]), done.returncode, done.stdout + done.stderr))
            said += done.stdout + done.stderr
            assert "Traceback" not in done.stderr, done.stderr
        if commands[0].split()[1] in ("data", "launch") and "predict" not in commands[-1]:
            agrees(shown, said)
    assert [(command, code) for command, code, _ in answers] == [
        ("data import", 2), ("data import", 0), ("data check", 0), ("launch vicreg_diagonal", 0), ("best --export", 0),
        ("data import", 0), ("predict encoders", 0), ("predict encoders", 0),
    ], answers  # fmt: skip
    assert load_encoders(tmp_path / "encoders").description.name == "kitchen"
    predicted = list(csv.DictReader((tmp_path / "classes.csv").read_text().splitlines()))
    assert [row["recording_id"] for row in predicted] == ["clip_1", "clip_2", "clip_3", "clip_4"]
    from_both = answers[-2][2]
    assert "clip_3" in from_both
    assert "1 of 4 recordings have no imu or no skeleton and are left out: clip_4" in from_both


def test_the_table_of_the_guide_is_that_of_the_folder(tmp_path: Path) -> None:
    make(tmp_path / "kitchen")
    lines = (tmp_path / "kitchen" / "recordings.csv").read_text().splitlines()
    [shown] = re.findall(r"```text\n(recording_id.*?)```", GUIDE, re.DOTALL)
    assert set(shown.splitlines()) <= set(lines)
