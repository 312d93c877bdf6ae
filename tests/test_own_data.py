"""The guide to one's own data, followed word by word on a folder as it describes."""

import csv
import re
from pathlib import Path

import pytest
from guide import DOCS, Guide, agrees
from own_folder import make, make_new

from mmssl.export.encoders import load_encoders

GUIDE = (DOCS / "own-data.md").read_text()


@pytest.mark.usefixtures("unchecked")
def test_the_guide_leads_from_a_folder_to_predictions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "kitchen")
    make_new(tmp_path / "new")
    guide = Guide(tmp_path, "own-data.md", "sh", "[[anna], [ben]]", 50)
    [description] = re.findall(r"```yaml\n(.*?)```", guide.text, re.DOTALL)
    (tmp_path / "kitchen" / "description.yaml").write_text(description)
    answers: list[tuple[str, int, str]] = []
    for commands, shown in guide.blocks:
        found = [(" ".join(line.split()[1:3]), *guide.answer(line)) for line in commands]
        answers += found
        if commands[0].split()[1] in ("data", "launch") and "predict" not in commands[-1]:
            agrees(shown, "\n".join(said for _, _, said in found))
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
