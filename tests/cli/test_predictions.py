"""`predict` for who reads it on a terminal, for a pipe and for a script."""

import csv
import io
import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from asking import Ask

from mmssl import Recordings
from mmssl.export.encoders import load_encoders


def test_predictions_are_a_table_on_a_terminal_and_csv_in_a_pipe(
    ask: Ask, encoders: Path, tmp_path: Path, tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    dora = tiny.where(lambda row: row.subject == "dora")
    dora.save(tmp_path / "dora.parquet")
    words = ["predict", encoders, tmp_path / "dora.parquet"]
    piped = list(csv.DictReader(io.StringIO(ask(*words).out)))
    with monkeypatch.context() as terminal:
        terminal.setattr(sys.stdout, "isatty", lambda: True)
        answer = ask(*words)
    assert answer.code == 0, answer.err
    blank, head, *lines, count, hint = re.sub(r"\x1b\[[\d;]*m", "", answer.out).splitlines()
    assert head.split() == ["recording", "subject", "predicted", "probability,", "%"] and not blank.strip()
    rows = [line.split() for line in lines if "dora" in line]
    predicted = load_encoders(encoders).predict(dora)
    assert [row[:3] for row in rows] == [
        [one.recording_id, "dora", name] for one, name in zip(dora.rows, predicted, strict=True)
    ]
    assert [row[3] for row in rows] == [f"{100 * float(row['probability']):.1f}" for row in piped]
    said = ", ".join(f"{name} {n}" for name, n in Counter(predicted).most_common())
    assert count == f"9 recordings: {said}"
    assert hint == "probabilities of all 3 classes: --out FILE.csv"


def test_predictions_as_json_are_those_of_the_file(ask: Ask, encoders: Path, tmp_path: Path, tiny: Recordings) -> None:
    tiny.where(lambda row: row.subject == "dora").save(tmp_path / "dora.parquet")
    out = tmp_path / "said.csv"
    answer = ask("predict", encoders, tmp_path / "dora.parquet", "--out", out, "--json")
    rows = json.loads(answer.out)
    written = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row["predicted"] for row in rows] == [row["predicted"] for row in written]
    assert [row["p.slow"] for row in rows] == pytest.approx([float(row["p.slow"]) for row in written])
