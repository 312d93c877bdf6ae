"""What CONTRIBUTING says of adding something is enough: each change is made in a copy of the tree, and all follows."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
from small import space, tune

ROOT = Path(__file__).resolve().parents[1]

READER = '''"""Waves: a file for each recording."""

from pathlib import Path

import numpy as np

from mmssl.data.description import Description, Protocol, Row
from mmssl.data.recordings import Recordings

DESCRIPTION = Description(
    name="waves",
    classes=("slow", "fast"),
    joints=("hip", "neck"),
    root_joint="hip",
    scale_joints=("hip", "neck"),
    coordinates=("x", "y"),
    imu_channels=("turn",),
    protocols={"cross_subject": Protocol(test=("dora",))},
)


def read(folder: Path, *, skip_bad: bool = False) -> tuple[Recordings, list[str]]:
    rows, skeletons, signals = [], [], []
    for path in sorted(folder.glob("*.npz")):
        label, subject, trial = path.stem.split("-")
        with np.load(path) as file:
            skeletons.append(file["skeleton"])
            signals.append(file["imu"])
        rows.append(Row(recording_id=path.stem, label=label, subject=subject, trial=trial))
    return Recordings(DESCRIPTION, rows, skeletons, signals), []
'''
OBJECTIVE = '''def uniform(a: Tensor, b: Tensor, *, spread: float) -> dict[str, Tensor]:
    """Alignment and uniformity on the sphere, of the embeddings of two views, each (batch, D)."""
    import torch
    from torch.nn import functional

    from mmssl.objectives.terms import batch_of

    x, y = (functional.normalize(batch_of(z), dim=1) for z in (a, b))
    alignment = (x - y).square().sum(dim=1).mean()
    uniformity = sum(torch.pdist(z).square().mul(-2).exp().mean().log() for z in (x, y))
    return {"loss": alignment + spread * uniformity, "alignment": alignment, "uniformity": uniformity}


'''
ENTRY = """    "uniform": Loss(
        uniform,
        {"alignment": "squared distance of a recording's views", "uniformity": "log of the mean potential of pairs"},
        "Wang, T., Isola, P.: Understanding contrastive representation learning. ICML 2020",
    ),
"""
SPREAD = '    spread: Weight = 0.5\n    """Of the embeddings."""\n'
SAMPLER = '    "nsga2": Sampler("NSGAIISampler", {"population_size": 4}),\n'
COLUMN = "trials,hardware.load,real,processes,of the machine in the minute before\n"
LOAD = '        "hardware.load": os.getloadavg()[0],\n'
ENCODER = '''class MomentsEncoder(nn.Module):
    """Mean and deviation of each channel over time, through one linear layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.width = 16
        self.linear = _Linear(2 * channels, self.width)

    def forward(self, imu: Tensor) -> Tensor:
        """(batch, steps, channels) -> (batch, width)."""
        return self.linear(torch.cat([imu.mean(dim=1), imu.std(dim=1)], dim=1)).relu()


'''
COMMAND = '''

def people(dataset: DatasetArgument = "synthetic", data: DataOption = None) -> None:
    """Name who was recorded.

    Example: mmssl-tune people utd_mhad
    """
    say(", ".join(open_recordings(dataset, data, False, quiet=True)[0].subjects))
'''


class Change(NamedTuple):
    file: str
    before: str
    """Where in it; empty for a new file."""
    text: str
    """What comes there before it, or instead where it begins with `=`."""
    used: bool = False
    """Whether it is where a knob is read, or a column measured: CONTRIBUTING cannot name that."""


CHANGES = {
    "An objective": [
        Change("mmssl/objectives/__init__.py", "class Loss(NamedTuple)", OBJECTIVE),
        Change("mmssl/objectives/__init__.py", '    "simclr": Loss(\n', ENTRY),
        Change(
            "mmssl/objectives/__init__.py",
            "    beta: Weight = ",
            '    spread: Weight = 0.5\n    """Of the embeddings."""\n',
        ),
    ],
    "An encoder": [
        Change("mmssl/training/encoders.py", "class SkeletonEncoder(", ENCODER),
        Change(
            "mmssl/training/encoders.py",
            "SignalEncoder(size, steps, recipe.encoder.imu)",
            "=MomentsEncoder(size)",
        ),
    ],
    "A data set": [
        Change("mmssl/data/waves.py", "", READER),
        Change(
            "mmssl/data/sources.py",
            '    "utd_mhad": Reader(\n',
            '    "waves": Reader(partial(_read, "waves"), within={"pretrain.lr": 2e-3}, source="Nobody: Waves"),\n',
        ),
    ],
    "A sampler": [
        Change(
            "mmssl/study/space.py",
            '    "gp": Sampler(',
            '    "nsga2": Sampler("NSGAIISampler", {"population_size": 4}),\n',
        )
    ],
    "A knob": [
        Change(
            "mmssl/recipe.py",
            "    standardise: Annotated[bool, Strict()] = False\n",
            '    smoothing: Probability = 0.0\n    """Share of the labels that is spread over all classes."""\n',
        ),
        Change(
            "mmssl/training/finetuning.py",
            "cross_entropy(logits, labels[chosen])",
            "=cross_entropy(logits, labels[chosen], label_smoothing=knobs.smoothing)",
            used=True,
        ),
    ],
    "A column": [
        Change("mmssl/study/columns.csv", "trials,hardware.cores,", COLUMN),
        Change(
            "mmssl/environment.py",
            '        "hardware.cores":',
            '        "hardware.load": os.getloadavg()[0],\n',
            used=True,
        ),
    ],
    "A command": [
        Change("mmssl/cli/recordings.py", "", COMMAND),
        Change("mmssl/cli/__init__.py", '"spaces": spaces.spaces', '"people": recordings.people, '),
    ],
}


@pytest.mark.parametrize("kind", CHANGES)
def test_the_files_that_are_named_are_those_that_change(kind: str) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    [(files, words)] = re.findall(rf"^- \*\*{kind}\*\* \((\d) files?\b[^)]*\): (.*(?:\n  .*)*)", text, re.MULTILINE)
    changed = {change.file for change in CHANGES[kind] if not change.used}
    named = re.findall(r"`(mmssl/[\w/.]+)`", words)
    assert len(changed) == int(files)
    for file in changed:
        assert any(file == name or (name.endswith("/") and file.startswith(name)) for name in named), file
    assert all(any(file.startswith(name) for file in changed) for name in named), "no other is named"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with every change, and recordings for its reader."""
    place = tmp_path_factory.mktemp("tree")
    for name in ("mmssl", "search_spaces", "docs"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", "pictures"))
    for change in (change for changes in CHANGES.values() for change in changes):
        path = place / change.file
        if not change.before:
            path.write_text((path.read_text("utf-8") if path.exists() else "") + change.text, "utf-8")
            continue
        text = path.read_text("utf-8")
        assert text.count(change.before) == 1, change
        new = change.text[1:] if change.text.startswith("=") else change.text + change.before
        path.write_text(text.replace(change.before, new), "utf-8")
    draw = np.random.default_rng(0)
    (place / "waves").mkdir()
    for subject in ("anna", "ben", "dora"):
        for label, rate in (("slow", 1), ("fast", 3)):
            for trial in range(4):
                wave = np.sin(np.linspace(0, 6 * rate, 40) + draw.normal())
                joints = np.stack([np.zeros((40, 2)), np.stack([wave / 3, np.ones(40)], axis=1)], axis=1)
                imu = wave[:, None] + 0.1 * draw.normal(size=(40, 1))
                np.savez(place / "waves" / f"{label}-{subject}-{trial}.npz", skeleton=joints, imu=imu)
    return place


def run(tree: Path, *words: object) -> str:
    done = subprocess.run(
        [str(word) for word in words], cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_reference_has_what_was_added(tree: Path) -> None:
    run(tree, sys.executable, "docs/generate.py")
    pages = {path.name: path.read_text("utf-8") for path in (tree / "docs" / "reference").iterdir()}
    assert "| `uniform` | 1 or 2 | `spread` | `alignment`, `uniformity` | Wang, T., " in pages["spaces.md"]
    assert "| `objective.spread` | number ≥ 0 | `0.5` | uniform: of the embeddings. |" in pages["spaces.md"]
    assert "| `finetune.smoothing` | number ≥ 0, ≤ 1 | `0.0` | Share of the labels" in pages["spaces.md"]
    assert "`uniform_skeleton`" in pages["spaces.md"]
    assert "`nsga2`" in pages["spaces.md"]
    assert "| `waves`, " in pages["spaces.md"]
    assert "| `train.uniformity` | real |  | uniform: log of the mean potential of pairs" in pages["tables.md"]
    assert "| `hardware.load` | real | processes | of the machine" in pages["tables.md"]
    assert "## `mmssl-tune people`" in pages["cli.md"]
    assert "waves, " in pages["cli.md"]


def test_the_command_and_the_reader_work(tree: Path) -> None:
    assert run(tree, *tune("people", "waves", "--data", "waves")) == "anna, ben, dora\n"


@pytest.fixture(scope="module")
def study(tree: Path) -> str:
    """Launched with all that was added."""
    entries = {
        "systems": ["uniform"], "sampler": "nsga2", "budget": 2, "folds": [["ben"]],
        "ranges": {"objective.spread": {"low": 0.5, "high": 2.0}},
    }  # fmt: skip
    (tree / "added.yaml").write_text(space(2, {"finetune.smoothing": 0.1}, **entries), "utf-8")
    given = ("--dataset", "waves", "--data", "waves", "--storage", "studies", "--name", "added")
    run(tree, *tune("launch", "--local", "added.yaml", *given))
    return "added"


def test_a_study_trains_with_all_that_was_added(tree: Path, study: str) -> None:
    trials = pq.read_table(tree / "studies" / study / "trials.parquet").to_pylist()
    assert [row["status"] for row in trials] == ["COMPLETE"] * 2
    for row in trials:
        loss = row["train.alignment"] + row["param.objective.spread"] * row["train.uniformity"]
        assert row["train.loss"] == pytest.approx(loss, rel=1e-4)
        assert row["param.finetune.smoothing"] == 0.1
        assert row["hardware.load"] > 0


def test_answers_export_and_card_have_what_was_added(tree: Path, study: str) -> None:
    found = json.loads(run(tree, *tune("results", study, "--storage", "studies", "--json")))
    assert len(found["points"]) == 2
    run(tree, *tune("best", study, "--storage", "studies", "--export", "--out", "encoders", "--data", "waves"))
    card = (tree / "encoders" / "README.md").read_text("utf-8")
    for words in ("Pre-trained without labels by uniform", "`objective.spread`", "Wang, T., Isola", "Nobody: Waves"):
        assert words in card
    assert b"encoders.imu.linear.weight" in (tree / "encoders" / "model.safetensors").read_bytes()


def test_the_page_has_what_was_added(tree: Path, study: str) -> None:
    run(tree, *tune("report", study, "--storage", "studies", "--out", "page.html"))
    assert "objective.spread" in (tree / "page.html").read_text("utf-8")
