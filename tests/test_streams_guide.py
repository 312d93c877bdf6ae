"""The guide to long recordings, on the folder that its script makes."""

from pathlib import Path

import pyarrow.csv
import pytest
from guide import Guide, begins


@pytest.mark.usefixtures("unchecked")
def test_the_guide_leads_from_a_stream_to_a_time_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    guide = Guide(tmp_path, "streams.md", "sh", "[[anna], [ben]]", 30)
    said = ""
    for commands, _ in guide.blocks:
        for line in commands:
            code, answer = guide.answer(line)
            assert code == 0, answer
            said += answer
    [header, cut, _] = [shown for _, shown in guide.blocks if shown]
    assert cut.strip() in said
    begins(tmp_path, header)
    predicted = pyarrow.csv.read_csv(tmp_path / "timeline.csv")
    assert predicted.column_names[:8] == [
        "source", "recording_id", "subject", "stream", "start", "end", "predicted", "probability",
    ]  # fmt: skip
    assert predicted.num_rows == 316
    assert (tmp_path / "timeline.svg").read_text().count("anna-shift") >= 1
