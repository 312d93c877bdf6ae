import math
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from mmssl.experiments.figures import (
    COLOURS,
    MARKERS,
    confusion_figure,
    curves_figure,
    few_label_figure,
    line_figure,
    map_figure,
    ranking_figure,
    scatter_figure,
    scatter_measure_figure,
    scatter_score_figure,
)

# What could be taken for mathematics, for markup or for a name to be left out.
NAMES = ["_walk", "a $x_1$ and $", "<b>bold</b> & co", r"50 % \alpha", "{run}"]
TITLE = "Cross-subject, <i>$\\mu$</i> & _more_"
DRAWS = np.random.default_rng(0)
LABELS = np.arange(50) % 5
POINTS = DRAWS.normal(size=(50, 2))
SERIES = {name: [(share, 0.5, 0.4, 0.6) for share in (0.01, 0.05, 0.25, 1.0)] for name in NAMES}


def confusion_of_names(path: Path) -> None:
    matrix = np.eye(5)
    matrix[1], matrix[2] = np.nan, [0.004, 0.1, 0.896, 0, 0]
    confusion_figure(path, matrix, NAMES, TITLE)


def map_of_names(path: Path) -> None:
    scatter_figure(path, POINTS, LABELS, NAMES, TITLE)


def few_labels_of_names(path: Path) -> None:
    few_label_figure(path, SERIES, TITLE, "macro $F_1$")


def measure(path: Path) -> None:
    scatter_measure_figure(path, POINTS[:, 0], POINTS[:, 1], NAMES[1], NAMES[2], TITLE)


def search_map(path: Path) -> None:
    cells = {(x, y): (i / 10, 0.125, "") for i, (x, y) in enumerate(zip(NAMES[:3], NAMES[2:], strict=True))}
    cells[NAMES[0], NAMES[3]] = (math.nan, None, "2 of 4")
    map_figure(path, cells, NAMES[:3], NAMES[2:], (NAMES[1], NAMES[4]), TITLE, "mean <b>")


def search_ranking(path: Path) -> None:
    marks = ["best", "tied", "", "", ""]
    rows = [
        (name, 0.5 - i / 10, 0.3, 0.7, mark, [0.4, 0.6])
        for i, (name, mark) in enumerate(zip(NAMES, marks, strict=True))
    ]
    ranking_figure(path, rows, 0.2, TITLE, NAMES[1])


def search_line(path: Path) -> None:
    line_figure(path, [(1, 0.5, 0.4, 0.6), (10, 0.6, None, None), (100, 0.4, 0.3, 0.5)], NAMES[1], TITLE, NAMES[2])


def search_scatter(path: Path) -> None:
    scatter_score_figure(path, np.exp(POINTS), POINTS[:, 0], (NAMES[1], NAMES[2]), TITLE, NAMES[3])


def trial_curves(path: Path) -> None:
    panels = {name: {"imu": ([1, 2, 3], [0.1, math.nan, 0.3]), "_skeleton": ([1, 2], [0.2, 0.1])} for name in NAMES}
    curves_figure(path, panels, TITLE)


FIGURES = [
    confusion_of_names, map_of_names, few_labels_of_names, measure,
    search_map, search_ranking, search_line, search_scatter, trial_curves,
]  # fmt: skip
Draw = Callable[[Path], None]


def svg(path: Path) -> ElementTree.Element:
    return ElementTree.parse(path).getroot()  # noqa: S314 (our own file)


def texts(path: Path) -> list[str]:
    """All that an SVG says, as a reader of XML takes it."""
    return [element.text or "" for element in svg(path).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("draw", FIGURES)
def test_the_suffix_names_the_format(draw: Draw, tmp_path: Path):
    for suffix in (".png", ".SVG", ".pdf"):
        draw(tmp_path / f"figure{suffix}")
    with Image.open(tmp_path / "figure.png") as image:
        image.load()
        assert image.format == "PNG"
        assert min(image.size) > 200
    assert svg(tmp_path / "figure.SVG").tag == "{http://www.w3.org/2000/svg}svg"
    pdf = (tmp_path / "figure.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    with pytest.raises(ValueError, match=r"\.png, \.svg, \.pdf, not as figure\.jpg"):
        draw(tmp_path / "figure.jpg")
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("draw", FIGURES)
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_same_arrays_give_the_same_bytes(draw: Draw, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first, second = tmp_path / f"1{suffix}", tmp_path / f"2{suffix}"
    draw(first)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")  # a date, were one written, would be another
    with matplotlib.rc_context({"font.size": 20, "text.usetex": True, "svg.fonttype": "path"}):  # a user's settings
        before = dict(matplotlib.rcParams)
        draw(second)
        assert dict(matplotlib.rcParams) == before
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("draw", [confusion_of_names, map_of_names, few_labels_of_names])
def test_names_are_drawn_as_they_are(draw: Draw, tmp_path: Path):
    draw(tmp_path / "figure.svg")
    assert set(NAMES) | {TITLE} <= set(texts(tmp_path / "figure.svg"))


def test_axes_are_named_and_points_left_out_are_counted(tmp_path: Path):
    path = tmp_path / "figure.svg"
    measure(path)
    assert {NAMES[1], NAMES[2], TITLE, "n = 50"} <= set(texts(path))
    scatter_measure_figure(path, np.array([1, math.nan, 3]), np.array([1, 2, math.inf]), "x", "y", "t")
    assert "n = 1, 2 not finite" in texts(path)
    few_labels_of_names(path)
    assert {"macro $F_1$", "labels used", "1 %", "5 %", "25 %", "100 %"} <= set(texts(path))


def test_cells_hold_per_cent_of_the_true_class(tmp_path: Path):
    path = tmp_path / "figure.svg"
    confusion_of_names(path)
    numbers = [text for text in texts(path) if text.isdigit()]
    assert sorted(numbers) == ["10", "100", "100", "100", "90"]
    assert texts(path).count("no recording") == 1
    confusion_figure(path, np.eye(41), [str(i) for i in range(100, 141)], "too many classes for numbers")
    assert "100 %" in texts(path)  # the colour bar's
    assert texts(path).count("100") == 2  # a class, on both axes


def test_cells_of_a_search_hold_mean_spread_and_what_is_missing(tmp_path: Path):
    path = tmp_path / "figure.svg"
    map_figure(path, {("1", "2"): (0.25, 0.0625, "* "), ("5", "2"): (math.nan, None, "2 of 4")}, ["1", "5"], ["2"],
               ("a", "b"), "t", "mean")  # fmt: skip
    said = texts(path)
    assert "* 0.250" in said
    assert "± 0.062" in said
    assert "2 of 4" in said
    assert "0.000" not in said, "what was not planned is empty"
    map_figure(path, {("1", "2"): (math.nan, None, "0 of 4")}, ["1"], ["2"], ("a", "b"), "t", "mean")
    assert "0 of 4" in texts(path)


def test_the_ranking_names_points_baseline_and_what_marks_mean(tmp_path: Path):
    path = tmp_path / "figure.svg"
    search_ranking(path)
    assert {*NAMES, "best", "tied with it", "other", " untrained"} <= set(texts(path))
    ranking_figure(path, [("a", 0.5, None, None, "", [0.5])], None, "t", "accuracy")
    assert {"best", "tied with it", " untrained"} & set(texts(path)) == set()


def test_27_classes_have_27_signs(tmp_path: Path):
    signs = {(COLOURS[i % len(COLOURS)], list(MARKERS)[i % len(MARKERS)]) for i in range(56)}
    assert len(signs) == 56
    path, classes = tmp_path / "figure.svg", [f"class {i}" for i in range(27)]
    scatter_figure(path, DRAWS.normal(size=(270, 2)), np.arange(270) % 27, classes, "t")
    assert [text for text in texts(path) if text.startswith("class")] == classes
    scatter_figure(path, DRAWS.normal(size=(4, 2)), np.array([3, 20, 3, 20]), classes, "t")
    assert [text for text in texts(path) if text.startswith("class")] == ["class 3", "class 20"]


def test_a_class_keeps_its_sign_whichever_others_are_shown(tmp_path: Path):
    scatter_figure(tmp_path / "figure.svg", np.zeros((1, 2)), np.array([3]), NAMES, "t")
    drawn = (tmp_path / "figure.svg").read_text("utf-8").lower()
    assert [colour for colour in COLOURS if colour.lower() in drawn] == [COLOURS[3]]


@pytest.mark.parametrize("names", [["x"], [f"{i}: {'a long name ' * 8}" for i in range(30)]])
def test_one_class_and_names_too_long_have_room(names: list[str], tmp_path: Path):
    """Where matplotlib finds no room it warns, which is an error here."""
    n = len(names)
    confusion_figure(tmp_path / "confusion.png", np.eye(n), names, "t " * 80)
    scatter_figure(tmp_path / "map.png", DRAWS.normal(size=(n, 2)), np.arange(n), names, "t " * 80)
    few_label_figure(tmp_path / "few.png", dict.fromkeys(names, SERIES[NAMES[0]]), "t " * 80, "accuracy")
    assert len(list(tmp_path.iterdir())) == 3


def test_nothing_and_too_little_to_draw(tmp_path: Path):
    path = tmp_path / "figure.svg"
    scatter_figure(path, np.zeros((0, 2)), LABELS[:0], NAMES, "no recording")
    scatter_measure_figure(path, np.array([math.nan]), np.array([1.0]), "x", "y", "no point")
    assert "n = 0, 1 not finite" in texts(path)
    confusion_figure(path, np.full((2, 2), np.nan), ["a", "b"], "no recording")
    assert texts(path).count("no recording") == 3
    few_label_figure(path, {"one repeat": [(0.1, 0.5, math.nan, math.nan)]}, "t", "accuracy")
    assert "10 %" in texts(path)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda path: confusion_figure(path, np.eye(3), ["a", "b"], "t"), r"shape \(3, 3\) for 2 classes"),
        (lambda path: confusion_figure(path, np.zeros((0, 0)), [], "t"), "for 0 classes"),
        (lambda path: scatter_figure(path, POINTS, LABELS[:9], NAMES, "t"), "for 9 labels"),
        (lambda path: scatter_figure(path, POINTS, LABELS, NAMES[:3], "t"), "from 0 to 4 for 3 classes"),
        (lambda path: scatter_figure(path, POINTS, LABELS - 1, NAMES, "t"), "from -1 to 3"),
        (lambda path: scatter_figure(path, POINTS * np.nan, LABELS, NAMES, "t"), "not finite"),
        (lambda path: few_label_figure(path, {}, "t", "accuracy"), "no share"),
        (lambda path: few_label_figure(path, {"a": []}, "t", "accuracy"), "no share"),
        (lambda path: few_label_figure(path, {"a": [(0, 1, 1, 1)]}, "t", "accuracy"), "not at 0"),
        (lambda path: few_label_figure(path, {"a": [(50, 1, 1, 1)]}, "t", "accuracy"), "not at 50"),
        (lambda path: map_figure(path, {}, [], ["1"], ("a", "b"), "t", "m"), "values of both"),
        (lambda path: ranking_figure(path, [], None, "t", "m"), "no point"),
        (lambda path: line_figure(path, [], "a", "t", "m"), "no point"),
        (lambda path: curves_figure(path, {}, "t"), "no curve"),
        (lambda path: scatter_score_figure(path, POINTS, POINTS[:3, 0], ("a", "b"), "t", "m"), "for 3 scores"),
        (lambda path: scatter_measure_figure(path, POINTS[:3, 0], POINTS[:2, 0], "x", "y", "t"), "3 values of x"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(draw: Draw, said: str, tmp_path: Path):
    with pytest.raises(ValueError, match=said):
        draw(tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())
