"""What the documents say exists, exists."""

import ast
import errno
import importlib.util
import inspect
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ray._private import services
from typer.main import get_command
from without_ray import run_without_ray

from mmssl import Recordings, cli
from mmssl.objectives import vicreg
from mmssl.study.space import Space

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
_GAP = "\0"


def _script(name: str) -> Any:
    """A program of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate, maps = _script("generate"), _script("maps")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_options_in_documents_exist(document: Path) -> None:
    known = get_command(cli.app).commands  # pyright: ignore[reportAttributeAccessIssue]
    for line in re.findall(r"mmssl-tune ((?:[a-z]+ ?)[^`\n#]*)", document.read_text()):
        words = line.split()
        command = known.get(words[0])
        assert command is not None, line
        if hasattr(command, "commands"):
            command = command.commands[words[1]]
        options = {option for parameter in command.params for option in parameter.opts}
        for option in re.findall(r"(?<!\S)--[a-z-]+", line):
            assert option in options, line


def test_no_document_has_both_sides_of_a_merge() -> None:
    marks = re.compile(r"^(<{7} |={7}$|>{7} )", re.MULTILINE)
    assert not [document.name for document in DOCUMENTS if marks.search(document.read_text("utf-8"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target, heading in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", document.read_text()):
        if "://" not in target:
            path = document.parent / target if target else document
            assert path.exists(), target
            assert not heading or heading in _anchors(path), (target, heading)


def _anchors(document: Path) -> list[str]:
    """Where GitHub lets a link lead: headings in small letters, without punctuation."""
    headings = re.findall(r"^#+ (.*)$", document.read_text("utf-8"), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("name", generate.pages())
def test_the_reference_is_that_of_the_code(name: str) -> None:
    page = generate.FOLDER / name
    assert page.read_text("utf-8") == generate.pages()[name], f"run: {generate.COMMAND}"


def test_the_reference_has_no_other_pages() -> None:
    assert {path.name for path in generate.FOLDER.iterdir()} == set(generate.pages())


def test_the_maps_of_the_readme_are_the_tables_of_the_recipes() -> None:
    tables = maps.tables()
    assert [len(means) for means in tables] == [25, 25]
    for (name, _), means in zip(maps.FILES.items(), tables, strict=True):
        drawn = (ROOT / "docs" / "pictures" / f"{name}.svg").read_text("utf-8")
        assert set(re.findall(r">(\d\d\.\d)<", drawn)) == {f"{mean:.1f}" for mean in means.values()}, name
        assert f"{min(means.values())} to {max(means.values())}" in (ROOT / "README.md").read_text("utf-8")


def test_messages_in_the_troubleshooting_are_said() -> None:
    source = [text for path in (ROOT / "mmssl").rglob("*.py") for text in _texts(ast.parse(path.read_text("utf-8")))]
    ours, others = (ROOT / "docs" / "troubleshooting.md").read_text("utf-8").split("## What the system and Ray say")
    said = re.findall(r"`(.*?)`", "\n".join(re.findall(r"^\|.*?[^\\]\|", ours, re.MULTILINE)))
    assert len(said) > 60
    assert [message for message in said if not any(_says(text, message) for text in source)] == []
    disk, memory = re.findall(r"^\| `(.*?)`", others, re.MULTILINE)
    assert disk == f"[Errno {errno.ENOSPC}] {os.strerror(errno.ENOSPC)}"
    assert any(_says(text, memory) for text in _texts(ast.parse(inspect.getsource(services))))


def _texts(tree: ast.AST) -> Iterator[str]:
    """Every string of a module; a gap where something is filled in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else _GAP for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _says(text: str, message: str) -> bool:
    """Whether a message with `…` for what differs, or the beginning or end of one, is of this text."""
    pieces = [piece for piece in message.split("…") if piece]
    return bool(re.search(".*?".join(map(re.escape, pieces)), text, re.DOTALL)) and max(map(len, pieces)) > 5


def test_the_eye_for_messages() -> None:
    text = next(_texts(ast.parse('f"study {name}: gone"')))
    assert _says(text, "study …: gone")
    assert not _says(text, "study …: lost")
    assert not _says(text, "…: …")


def test_the_weights_of_other_implementations_give_the_same_loss() -> None:
    """Each row of the table, with the terms as that code has them, written out."""
    a, b = np.random.default_rng(0).normal(size=(2, 16, 128)) * [[[0.8]], [[0.5]]]
    hinges = [np.maximum(0, 1 - np.sqrt(z.var(axis=0, ddof=1) + 1e-4)).mean() for z in (a, b)]
    squares = [np.cov(z, rowvar=False) ** 2 for z in (a, b)]
    covariance = sum(one.sum() - np.trace(one) for one in squares) / 128
    mean, total, halved = ((a - b) ** 2).mean(), ((a - b) ** 2).sum(axis=1).mean(), sum(hinges) / 2
    terms = {
        "official VICReg": (mean, halved, covariance),
        "lightly": (mean, halved, covariance),
        "solo-learn": (mean, sum(hinges), covariance),
        "equation 13": (total, sum(hinges), covariance),
    }
    rows = re.findall(r"^\| (.*(?:λ|D = ).*\|.*)\|$", (ROOT / "docs" / "method.md").read_text("utf-8"), re.MULTILINE)
    told = [cells for cells in (row.split("|") for row in rows) if len(cells) == 6 and cells[0].strip()]
    assert len(told) == len(terms)
    for name, *_, there, here in told:
        (known,) = [parts for stem, parts in terms.items() if stem in name]
        _same_loss(known, _numbers(there), a, b, (25, 25, 1))
        _same_loss(known, (25, 25, 1), a, b, _numbers(here))


def _numbers(cell: str) -> tuple[float, ...]:
    return tuple(float(word) for word in cell.split(","))


def _same_loss(terms: Sequence[float], theirs: Sequence[float], a: Any, b: Any, ours: Sequence[float]) -> None:
    weights = dict(zip(("lambda_", "mu", "nu"), ours, strict=True))
    loss = vicreg(torch.from_numpy(a), torch.from_numpy(b), **weights)["loss"].item()
    assert np.dot(terms, theirs) == pytest.approx(loss, rel=2e-3)  # The table has three digits.


def test_every_variable_of_the_environment_is_documented() -> None:
    named = {name for path in (ROOT / "mmssl").rglob("*.py") for name in re.findall(r"MMSSL_[A-Z_]+", path.read_text())}
    # Told to a job by the command that submits it, and to a command by the shell's own script.
    named = {name for name in named if not name.startswith("MMSSL_JOB")} - {"MMSSL_TUNE_COMPLETE"}
    assert len(named) >= 5
    assert [name for name in sorted(named) if f"`{name}`" not in (ROOT / "docs" / "howto.md").read_text()] == []


def test_the_spaces_in_the_documents_are_spaces() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "spaces.md").read_text(), re.DOTALL)
    grid, sampled, raced, pruned, several, varied = [yaml.safe_load(text) for text in examples]
    assert {*grid, *sampled, *pruned, *varied, "cost"} == set(Space.model_fields) - {"name"}, "every entry is shown"
    documents = [grid, sampled, raced, {**grid, **pruned}, varied, several]
    spaces = [Space.model_validate({**document, "name": "example"}) for document in documents]
    assert [len(space.points(space.bases("utd_mhad"))) for space in spaces] == [4, 0, 25, 4, 6, 12]
    compared = spaces[-1].bases("utd_mhad")
    assert {name: base.pretrain.epochs for name, base in compared.items()} == {
        "untrained": 0, "supervised": 0, "vicreg": 100, "cmc": 100
    }  # fmt: skip
    assert spaces[-1].scored_split == "test"


def test_the_example_with_exported_encoders_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny: Recordings
) -> None:
    run_without_ray(Space(name="one", systems=["vicreg"], seeds=[1]), tiny, tmp_path, [("chris",)])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        cli.app(["best", "one", "--storage", str(tmp_path), "--export", "--out", "encoders"])
    assert ended.value.code == 0
    capsys.readouterr()
    tiny.save(tmp_path / "kitchen.parquet")
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "encoders.md").read_text(), re.DOTALL)
    exec(example, {})  # noqa: S102
    said = re.fullmatch(r"15 labels, 21 recordings without: accuracy ([0-9.]+)\n", capsys.readouterr().out)
    assert said
    assert float(said[1]) > 0.6, "slow, middle and fast swings are told apart by far more than chance"


def test_the_recordings_example_runs(tmp_path: Path) -> None:
    import mmssl

    whole, parts = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), re.DOTALL)
    body, wrist = np.random.default_rng(0).normal(size=(30, 5, 3)), np.random.default_rng(1).normal(size=(80, 6))
    path = str(tmp_path / "kitchen.parquet")
    there: dict[str, Any] = {"array_of_frames_5_3": body, "array_of_samples_6": wrist}
    exec(whole.replace("kitchen.parquet", path), there)  # noqa: S102
    assert len(mmssl.Recordings.load(path)) == 1

    def one(folder: str) -> tuple[list[mmssl.Row], list[Any], list[Any]]:
        return [mmssl.Row(recording_id=folder, label="cut", subject="anna")], [body], [wrist]

    there |= {"folders": ["a", "b", "c"], "read_my_format": one}
    exec(parts.replace("kitchen.parquet", path), there)  # noqa: S102
    assert [row.recording_id for row in mmssl.Recordings.load(path).rows] == ["a", "b", "c"]


def test_the_readmes_example_in_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Word by word; it says what stands in its comments, and what it leaves another can open."""
    import mmssl

    readme = (ROOT / "README.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(import mmssl\n.*?)```", readme, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(example, {})  # noqa: S102
    first, *points, best = capsys.readouterr().out.splitlines()
    assert first == "{'COMPLETE': 4}"
    assert [line.split()[0] for line in points] in (["1.0", "25.0"], ["25.0", "1.0"])
    assert best == str({"objective.lambda": float(points[0].split()[0]), "objective.mu": 25.0})
    study = mmssl.open_study(tmp_path / "studies" / "tiny")
    assert study.status().trials == {"COMPLETE": 8}
    assert mmssl.load_encoders("encoders").description.name == "synthetic"
