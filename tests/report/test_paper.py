"""Figures and tables for papers."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from pages import CLASSES, command
from PIL import Image

from mmssl.report.content import gather
from mmssl.report.paper import latex, markdown
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record

StudyOf = Callable[..., tuple[Study, Plan]]


def test_every_figure_in_three_kinds(lost: tuple[Study, Plan], tmp_path: Path) -> None:
    study, _ = lost
    folder = tmp_path / "figures"
    words = ("report", "lost", "--storage", study.root, "--out", tmp_path / "page.html", "--figures", folder)
    assert command(*words) == 0
    names = {path.stem for path in folder.glob("*.png")}
    assert names == {"map", "ranking", "curves", "confusion", "tsne-joined", "tsne-imu", "tsne-skeleton"}
    for name in names:
        with Image.open(folder / f"{name}.png") as image:
            assert np.asarray(image.convert("L")).std() > 5, "something is drawn"
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert "<svg" in (folder / f"{name}.svg").read_text("utf-8")
    svg = (folder / "map.svg").read_text("utf-8")
    assert "1 of 3" in svg, "a cell that is not complete says so"


def test_cells_of_confusion_are_the_same_on_the_page_and_in_the_figure(study_of: StudyOf, tmp_path: Path) -> None:
    right = {CLASSES[0]: 5, CLASSES[1]: 3, CLASSES[2]: 8}  # Of 8: 62.5, 37.5 and 100 per cent.

    def ending(trial: PlannedTrial) -> Record:
        guesses = [
            {"split": "val", "recording_id": f"{trial.fold}-{name}-{i}", "subject": trial.fold, "label": name,
             "predicted": name if i < count else CLASSES[(CLASSES.index(name) + 1) % 3], "confidence": 1.0}
            for name, count in right.items()
            for i in range(8)
        ]  # fmt: skip
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts={"val.accuracy": 2 / 3}, predictions=guesses)

    study, _ = study_of("halves", ending, grid={"objective.lambda": [1.0]})
    page, figures = tmp_path / "page.html", tmp_path / "figures"
    assert command("report", "halves", "--storage", study.root, "--out", page, "--figures", figures) == 0
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"))
    (cells,) = json.loads(text)["confusion"]["cells"].values()
    shown = sorted(percent for _, _, _, percent in cells)
    assert shown == ["100", "38", "38", "63", "63"]
    drawn = re.findall(r"<text[^>]*>(\d+)</text>", (figures / "confusion.svg").read_text("utf-8"))
    assert sorted(drawn) == shown


def test_tables_have_the_points_numbers(lost: tuple[Study, Plan]) -> None:
    study, plan = lost
    content = gather(study, plan, None)
    trials = pd.read_parquet(study.folder / "trials.parquet")
    means = trials[trials["status"] == "COMPLETE"].groupby("point_id")["val.accuracy"].agg(["mean", "std", "count"])
    for text in (latex(content), markdown(content)):
        rows = [line for line in text.splitlines() if re.match(r"(\\textbf\{|\| )?(1|10)\b", line)]
        assert len(rows) == 4
        for one, row in zip(content.ranked, rows, strict=True):
            expected = means.loc[one.point.point_id]
            assert f"{100 * expected['mean']:.1f}" in row
            assert f"{100 * expected['std']:.1f}" in row
            assert f"{int(expected['count'])}/3" in row


def test_latex_escapes_what_latex_would_read(lost: tuple[Study, Plan]) -> None:
    study, plan = lost
    content = gather(study, plan.model_copy(update={"name": r"50%_of $x$ & \input{x}"}), None)
    text = latex(content)
    assert r"50\%\_of \$x\$ \& \textbackslash{}input\{x\}" in text
    body = text[text.index(r"\begin{tabular}") :]
    assert all(line.count("&") == 4 for line in body.splitlines() if line.endswith(r"\\"))
    assert r"$\lambda$ & $\mu$" in text


def test_markdown_escapes_its_own_signs(lost: tuple[Study, Plan]) -> None:
    study, plan = lost
    content = gather(study, plan.model_copy(update={"name": "a|b <i>*c*"}), None)
    assert markdown(content).startswith(r"a\|b \<i\>\*c\*")
