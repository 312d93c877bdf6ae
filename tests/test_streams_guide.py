"""The guide to long recordings, followed word by word on the folder that its script makes."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.csv
from small import tune

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_guide_leads_from_a_stream_to_a_time_line(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    shutil.copy(DOCS / "make_streams.py", tmp_path / "docs")
    (tmp_path / "few.yaml").write_text("grid: {objective.mu: [5, 25]}\nfolds: [[anna], [ben]]\n")
    blocks = re.findall(r"```sh\n(.*?)```\n(?:\n```text\n(.*?)```)?", (DOCS / "streams.md").read_text(), re.DOTALL)
    said = ""
    for commands, _ in blocks:
        for line in commands.splitlines():
            program, *words = shlex.split(line)
            if words[0] == "launch":
                assert "pretrain.epochs=30" in words
                shorter = {"pretrain.epochs=30": "pretrain.epochs=1", "vicreg_diagonal": str(tmp_path / "few.yaml")}
                words = [shorter.get(word, word) for word in words]
                words += ["--local", "--set", "finetune.epochs=2", "--set", "data.steps=16"]
            run = [sys.executable, *words] if program == "python" else tune(*words)
            done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=280)
            assert done.returncode == 0, done.stderr
            said += done.stdout
    [header, cut, _] = [answer for _, answer in blocks if answer]
    assert cut.strip() in said
    for line in header.splitlines():
        place, columns = line.split()[:2]
        first = (tmp_path / place).read_text().partition("\n")[0]
        assert first == columns
    predicted = pyarrow.csv.read_csv(tmp_path / "timeline.csv")
    assert predicted.column_names[:8] == [
        "source", "recording_id", "subject", "stream", "start", "end", "predicted", "probability",
    ]  # fmt: skip
    assert predicted.num_rows == 316
    assert (tmp_path / "timeline.svg").read_text().count("anna-shift") >= 1
