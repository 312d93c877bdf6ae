"""Figures for papers and reports: plain arrays in, one file out, of the kind its suffix names (.png, .svg, .pdf).

The same arrays give the same bytes with the same matplotlib: its defaults are used, not the user's settings, and no
date is written. Names are drawn as they are, without mathematics in dollars. Importing this takes a second.
"""

import math
import textwrap
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]

# A date would make the bytes differ; the name of the entry is each format's own.
METADATA: dict[str, dict[str, None]] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
STYLE = {
    "text.parse_math": False,
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "svg.fonttype": "none",  # text stays text: it can be searched, and read aloud
    "svg.hashsalt": "mmssl",
    "pdf.fonttype": 42,  # what publishers ask for
}
# Okabe and Ito's colours, which the colour-blind tell apart, without black and with a yellow that shows on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#B8A800", "#666666")
# With the sizes, in points, at which they look alike.
MARKERS = {"o": 4.6, "^": 5.0, "s": 4.2, "v": 5.0, "D": 4.0, "P": 5.6, "X": 5.6}
LINES = ("-", "--", "-.", ":")
PLAIN = {"facecolor": "#eeeeee", "edgecolor": "none", "pad": 1}
# Beyond these many classes, numbers in the cells could not be read.
NUMBERED = 40


def confusion_figure(path: Path, matrix: Floats, classes: Sequence[str], title: str) -> None:
    """Confusion matrix with the per cent of each true class written in the cells that have half a per cent or more.

    Args:
        path: the file, replaced where there is one.
        matrix: (classes, classes), rows are true classes, shares from 0 to 1; a row of NaN is hatched.

    Raises:
        ValueError: another suffix, or sizes that do not fit.
    """
    n = len(classes)
    if matrix.shape != (n, n) or n == 0:
        raise ValueError(f"a confusion matrix of shape {matrix.shape} for {n} classes")
    size = min(14, max(1.4, 0.25 * n)) + _length(classes)
    with _figure(path, title, size + 1.2, size + 0.4) as (figure, axes):
        axes.set_facecolor("#eeeeee")
        for row in np.flatnonzero(np.isnan(matrix).all(axis=1)).tolist():
            axes.axhspan(row - 0.5, row + 0.5, facecolor="none", edgecolor="#cccccc", hatch="////", linewidth=0)
            axes.text(n / 2 - 0.5, row, "no recording", ha="center", va="center", fontsize=6, zorder=4, bbox=PLAIN)
        shown = np.ma.masked_invalid(matrix)
        image = axes.imshow(shown, cmap="Blues", vmin=0, vmax=1, interpolation="none")
        axes.set_xticks(range(n), classes, rotation=90)
        axes.set_yticks(range(n), classes)
        axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=0.5)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        if n <= NUMBERED:
            for (row, column), share in np.ndenumerate(matrix):
                if share >= 0.005:
                    colour = "white" if share > 0.55 else "black"
                    axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=6, color=colour)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02, format=FuncFormatter(_percent))
        bar.set_label("share of the true class")
        bar.outline.set_visible(False)
        bar.ax.tick_params(length=2)


def scatter_figure(path: Path, points: Floats, labels: Labels, classes: Sequence[str], title: str) -> None:
    """A map of recordings, as t-SNE makes it: a class keeps its colour and marker whichever others are shown.

    Classes are told apart by colour and marker together, up to 56 of them; after that the signs repeat.

    Args:
        path: the file, replaced where there is one.
        points: (n, 2), without unit.
        labels: (n,), each from 0 to the number of classes - 1. Classes without a recording are left out of the legend.

    Raises:
        ValueError: another suffix, sizes that do not fit, a label without class, or a point that is not finite.
    """
    if points.shape != (len(labels), 2):
        raise ValueError(f"points of shape {points.shape} for {len(labels)} labels")
    if len(labels) and not 0 <= min(labels) <= max(labels) < len(classes):
        raise ValueError(f"labels from {min(labels)} to {max(labels)} for {len(classes)} classes")
    if not np.isfinite(points).all():
        raise ValueError("points that are not finite have no place on the map")
    present: list[int] = np.unique(labels).tolist()
    columns = max(1, math.ceil(len(present) / 27))
    names = [classes[c] for c in present]
    with _figure(path, title, 4.6 + (0.3 + _length(names)) * columns, 4.6) as (_, axes):
        handles: list[Line2D] = []
        for c in present:
            chosen = points[labels == c]
            (handle,) = axes.plot(chosen[:, 0], chosen[:, 1], ls="", alpha=0.9, **_sign(c))
            handles.append(handle)
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(True)
        axes.spines[:].set_color("#bbbbbb")
        _legend(axes, handles, names, columns)


def few_label_figure(
    path: Path, series: Mapping[str, Sequence[tuple[float, float, float, float]]], title: str, metric: str
) -> None:
    """How a metric falls with the share of labels: a line a method, its confidence interval as a band.

    Args:
        path: the file, replaced where there is one.
        series: by the method's name, (share of the labels, mean, low, high); shares above 0 and up to 1, in any order.
            Where low or high is NaN, as with one repeat, there is no band.
        metric: its name, on the y axis.

    Raises:
        ValueError: another suffix, nothing to draw, or a share that is not above 0 and up to 1.
    """
    shares = sorted({row[0] for rows in series.values() for row in rows})
    if not shares:
        raise ValueError("no share of labels to draw")
    for share in shares:
        if not 0 < share <= 1:
            raise ValueError(f"the share of labels lies above 0 and up to 1, not at {share}")
    with _figure(path, title, 4.2 + _length(list(series)), max(3.2, 0.6 + 0.16 * len(series))) as (_, axes):
        handles: list[Line2D] = []
        for i, rows in enumerate(series.values()):
            share, mean, low, high = np.array(sorted(rows), dtype=np.float64).reshape(-1, 4).T
            axes.fill_between(share, low, high, color=_sign(i)["color"], alpha=0.18, linewidth=0)
            (handle,) = axes.plot(share, mean, lw=1.3, ls=LINES[i % len(LINES)], **_sign(i))
            handles.append(handle)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(_percent))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(_apart(shares))
        axes.set_xlabel("labels used")
        axes.set_ylabel(metric)
        axes.grid(axis="y", color="#dddddd", linewidth=0.5)
        _legend(axes, handles, list(series), 1)


def scatter_measure_figure(path: Path, x: Floats, y: Floats, x_name: str, y_name: str, title: str) -> None:
    """One number of each point of a study against another. Points where either is not finite are counted, not drawn.

    Args:
        path: the file, replaced where there is one.
        x: (points,), in the unit that `x_name` should give; likewise y.

    Raises:
        ValueError: another suffix, or the lengths differ.
    """
    if x.shape != y.shape:
        raise ValueError(f"{len(x)} values of {x_name} for {len(y)} of {y_name}")
    both = np.isfinite(x) & np.isfinite(y)
    with _figure(path, title, 4.2, 3.2) as (_, axes):
        axes.plot(x[both], y[both], ls="", alpha=0.8, **_sign(0))
        axes.grid(color="#dddddd", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.set_xlabel(x_name)
        axes.set_ylabel(y_name)
        left_out = f", {len(x) - both.sum()} not finite" if not both.all() else ""
        axes.set_title(f"n = {both.sum()}{left_out}", loc="right", fontsize=7, color="#555555")


@contextmanager
def _figure(path: Path, title: str, width: float, height: float) -> Generator[tuple[Figure, Axes]]:
    """A figure of this size in inches, and its axes; once drawn on, it is written."""
    suffix = path.suffix.lower()
    if suffix not in METADATA:
        raise ValueError(f"a figure is written as {', '.join(METADATA)}, not as {path.name}")
    with matplotlib.style.context(["default", STYLE]):
        lines = textwrap.wrap(title, max(20, int(14 * width)))  # 14 letters of this size are an inch
        figure = Figure(figsize=(width, height + 0.16 * len(lines)))
        figure.suptitle("\n".join(lines), fontsize=9, fontweight="bold")
        axes = figure.add_subplot()
        yield figure, axes
        figure.savefig(path, format=suffix[1:], metadata=METADATA[suffix], bbox_inches="tight", pad_inches=0.05)


def _length(names: Sequence[str]) -> float:
    """Room that the longest name needs, in inches, at 7 points."""
    return 0.06 * max((len(name) for name in names), default=0)


def _sign(i: int) -> dict[str, Any]:
    """Colour and marker. 8 and 7 share no divisor: neighbours in a list differ in both, and all 56 pairs come up."""
    marker, size = list(MARKERS.items())[i % len(MARKERS)]
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.3}
    return {"color": COLOURS[i % len(COLOURS)], "marker": marker, "markersize": size, **edge}


def _legend(axes: Axes, handles: Sequence[Line2D], names: Sequence[str], columns: int) -> None:
    legend = axes.legend(
        handles,
        [str(i) for i in range(len(names))],
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        borderaxespad=0,
        frameon=False,
        ncols=columns,
        handletextpad=0.5,
        labelspacing=0.35,
    )
    # Not by the labels, of which matplotlib leaves out those that begin with an underscore.
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)


def _percent(share: float, position: int | None = None) -> str:
    return f"{100 * share:.3g} %"


def _apart(shares: Sequence[float]) -> list[float]:
    """Of shares in rising order, those whose names have room on a log axis: each a quarter more than the one before."""
    chosen: list[float] = []
    for share in reversed(shares):
        if not chosen or chosen[-1] >= 1.25 * share:
            chosen.append(share)
    return chosen
