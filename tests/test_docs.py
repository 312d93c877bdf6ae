"""What the documents say exists, exists."""

import re
from pathlib import Path

import pytest
import yaml
from test_export import run_without_ray
from typer.main import get_command

from mmssl import Recordings, cli
from mmssl.search import store
from mmssl.search.space import Space

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_every_column_is_documented() -> None:
    text = (ROOT / "docs" / "tables.md").read_text()
    for schema in (store.TRIALS, store.EPOCHS, store.PREDICTIONS):
        for name in schema.names:
            assert f"`{name}`" in text or name.startswith("param."), name


def test_the_spaces_in_the_documents_are_spaces() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "spaces.md").read_text(), re.DOTALL)
    grid, sampled, pruned, several = [yaml.safe_load(text) for text in examples]
    assert {*grid, *sampled, *pruned, "cost"} == set(Space.model_fields) - {"name"}, "every entry is shown"
    documents = [grid, sampled, {**grid, **pruned}, several]
    spaces = [Space.model_validate({**document, "name": "example"}) for document in documents]
    assert [len(space.points(space.bases("utd_mhad"))) for space in spaces] == [4, 0, 4, 12]
    compared = spaces[-1].bases("utd_mhad")
    assert {name: base.pretrain.epochs for name, base in compared.items()} == {
        "untrained": 0, "supervised": 0, "vicreg": 100, "cmc": 100
    }  # fmt: skip
    assert spaces[-1].side == "test"


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
    import numpy as np

    import mmssl

    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), re.DOTALL)
    arrays = {
        "array_of_frames_5_3": np.random.default_rng(0).normal(size=(30, 5, 3)),
        "array_of_samples_6": np.random.default_rng(1).normal(size=(80, 6)),
    }
    exec(example.replace("kitchen.parquet", str(tmp_path / "kitchen.parquet")), dict(arrays))  # noqa: S102
    assert len(mmssl.Recordings.load(tmp_path / "kitchen.parquet")) == 1
