"""The walk of docs/own-data.md from a watch and a skeleton, on the folder that its script makes."""

from pathlib import Path

import pyarrow.csv
import pytest
from guide import Guide, agrees, begins


@pytest.mark.usefixtures("unchecked")
def test_the_guide_leads_from_a_watch_and_a_skeleton_to_exercises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    guide = Guide(tmp_path, "own-data.md", "bash", "[[anna]]", 30)
    assert len(guide.blocks) == 3
    for commands, shown in guide.blocks:
        answer = "\n".join(said for _, said in map(guide.answer, commands))
        files = [line for line in shown.splitlines() if line.startswith("gym/")]
        begins(tmp_path, "\n".join(files))
        agrees("\n".join(line for line in shown.splitlines() if line not in files), answer)
    predicted = pyarrow.csv.read_csv(tmp_path / "exercises.csv")
    assert predicted.num_rows == 58
    assert set(predicted["predicted"].to_pylist()) <= {"squat", "curl", "jack", "rest"}
