"""Figures and tables for papers."""

import re
from pathlib import Path

import matplotlib.image
import pandas as pd
from pages import command

from mmssl.report.content import gather
from mmssl.report.paper import latex, markdown
from mmssl.search.plan import Plan
from mmssl.search.store import Study


def test_every_figure_in_three_kinds(lost: tuple[Study, Plan], tmp_path: Path) -> None:
    study, _ = lost
    folder = tmp_path / "figures"
    words = ("report", "lost", "--storage", study.root, "--out", tmp_path / "page.html", "--figures", folder)
    assert command(*words) == 0
    names = {path.stem for path in folder.glob("*.png")}
    assert names == {"map", "ranking", "curves", "confusion", "tsne-joined", "tsne-imu", "tsne-skeleton"}
    for name in names:
        assert matplotlib.image.imread(folder / f"{name}.png").std() > 0.01, "something is drawn"
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert "<svg" in (folder / f"{name}.svg").read_text("utf-8")
    svg = (folder / "map.svg").read_text("utf-8")
    assert "2 of 3" in svg, "a cell that is not complete says so"


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
            assert f"{expected['mean']:.3f}" in row
            assert f"{expected['std']:.3f}" in row
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
