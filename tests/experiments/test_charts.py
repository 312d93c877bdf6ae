import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from mmssl.experiments.charts import (
    LIGHT,
    SERIES,
    SHAPES,
    against,
    confusion,
    confusion_rows,
    few_labels,
    signs,
    write,
)

# What could be taken for mathematics, for markup, for an expression or a colour.
NAMES = ["_walk", "a $x_1$ and $", "<b>bold</b> & co", r"50 % \alpha 'x' \"y\"", "{run} var(--no)"]
TITLE = "Cross-subject, <i>$\\mu$</i> & _more_"
DRAWS = np.random.default_rng(0)
LABELS = [i % 5 for i in range(50)]
POINTS = DRAWS.normal(size=(50, 2))
LINES = [
    {"system": name, "labels": share, "mean": 0.5, "low": 0.4, "high": 0.6}
    for name in NAMES
    for share in (0.01, 0.25, 1)
]
MATRIX = np.eye(5)
MATRIX[1], MATRIX[2] = np.nan, [0.004, 0.1, 0.896, 0, 0]
CHARTS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "confusion": (confusion(NAMES), confusion_rows(MATRIX, NAMES)),
    "signs": (signs(POINTS, LABELS, NAMES), []),
    "few_labels": (few_labels(LINES, "macro $F_1$"), []),
    "against": (against(POINTS[:, 0], POINTS[:, 1], NAMES[1], NAMES[2]), []),
}


def texts(path: Path) -> list[str]:
    """All that an SVG says, as a reader of XML takes it."""
    root = ElementTree.parse(path).getroot()  # noqa: S314 (our own file)
    return [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text")]


def drawn(path: Path, spec: dict[str, Any], rows: list[dict[str, Any]] | None = None) -> list[str]:
    write(path / "figure.svg", spec, TITLE, rows or [])
    return texts(path / "figure.svg")


@pytest.mark.parametrize("name", CHARTS)
def test_the_suffix_names_the_format_and_the_same_numbers_give_the_same_bytes(name: str, tmp_path: Path):
    spec, rows = CHARTS[name]
    for suffix in (".png", ".SVG", ".pdf"):
        for which in ("first", "second"):
            write(tmp_path / f"{which}{suffix}", spec, TITLE, rows)
        assert (
            suffix == ".pdf"
            or (tmp_path / f"first{suffix}").read_bytes() == (tmp_path / f"second{suffix}").read_bytes()
        )
    with Image.open(tmp_path / "first.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 400
        assert np.asarray(image.convert("L")).std() > 5, "something is drawn"
    assert texts(tmp_path / "first.SVG")
    pdf = (tmp_path / "first.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    with pytest.raises(ValueError, match=r"\.png, \.svg, \.pdf, not as figure\.jpg"):
        write(tmp_path / "figure.jpg", spec, TITLE, rows)
    assert not (tmp_path / "figure.jpg").exists()


@pytest.mark.parametrize("name", ["confusion", "signs", "few_labels"])
def test_names_are_drawn_as_they_are_and_no_colour_is_left_to_a_page(name: str, tmp_path: Path):
    assert set(NAMES) | {TITLE} <= set(drawn(tmp_path, *CHARTS[name]))
    assert "var(--" not in (tmp_path / "figure.svg").read_text("utf-8").replace("var(--no)", "")


def test_the_colours_of_a_file_are_the_pages_on_paper():
    css = (Path(__file__).parents[2] / "mmssl/report/page.css").read_text("utf-8")
    assert all(f"--{name}: {colour};" in css.split("prefers-color-scheme")[0] for name, colour in LIGHT.items())


def test_axes_are_named_and_points_left_out_are_counted(tmp_path: Path):
    assert {f"{NAMES[1]} (n = 50)", NAMES[2], TITLE} <= set(drawn(tmp_path, CHARTS["against"][0]))
    spec = against(np.array([1, math.nan, 3]), np.array([1, 2, math.inf]), "x", "y")
    assert "x (n = 1; 2 not finite)" in drawn(tmp_path, spec)
    assert {"macro $F_1$", "share of the labels used", "1%", "100%"} <= set(drawn(tmp_path, CHARTS["few_labels"][0]))


def test_cells_hold_per_cent_of_the_true_class(tmp_path: Path):
    said = drawn(tmp_path, *CHARTS["confusion"])
    assert sorted(text for text in said if text.isdigit()) == ["10", "100", "100", "100", "90"]
    assert said.count("no recording") == 1
    assert (
        drawn(tmp_path, confusion(NAMES[:2]), confusion_rows(np.full((2, 2), np.nan), NAMES[:2])).count("no recording")
        == 2
    )


def test_56_classes_have_signs_of_their_own(tmp_path: Path):
    assert len({(SERIES[i % len(SERIES)], SHAPES[i % len(SHAPES)]) for i in range(56)}) == 56
    classes = [f"class {i}" for i in range(27)]
    said = drawn(tmp_path, signs(DRAWS.normal(size=(270, 2)), [i % 27 for i in range(270)], classes))
    assert sorted(text for text in said if text.startswith("class")) == sorted(classes)


def test_a_class_keeps_its_sign_whichever_others_are_shown(tmp_path: Path):
    assert [text for text in drawn(tmp_path, signs(np.zeros((1, 2)), [3], NAMES)) if text in NAMES] == [NAMES[3]]
    picture = (tmp_path / "figure.svg").read_text("utf-8").lower()
    assert [i for i in range(1, 9) if LIGHT[f"c{i}"] in picture] == [4]


@pytest.mark.parametrize("names", [["x"], [f"{i}: {'a long name ' * 8}" for i in range(30)]])
def test_one_class_and_long_names_are_drawn(names: list[str], tmp_path: Path):
    n = len(names)
    write(tmp_path / "confusion.png", confusion(names), "t " * 80, confusion_rows(np.eye(n), names))
    write(tmp_path / "map.png", signs(DRAWS.normal(size=(n, 2)), range(n), names), "t " * 80)
    write(tmp_path / "few.png", few_labels([{**row, "system": name} for name in names for row in LINES[:3]], "f"), "t")
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            assert max(image.size) < 6000


def test_nothing_to_draw_is_an_empty_picture(tmp_path: Path):
    drawn(tmp_path, signs(np.zeros((0, 2)), [], NAMES))
    assert "x (n = 0; 1 not finite)" in drawn(tmp_path, against(np.array([math.nan]), np.array([1.0]), "x", "y"))
    alone = [{"system": "one repeat", "labels": 0.1, "mean": 0.5, "low": None, "high": None}]
    assert "10%" in drawn(tmp_path, few_labels(alone, "accuracy"))
