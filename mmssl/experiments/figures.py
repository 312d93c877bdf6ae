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
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from mmssl.evaluation import whole_percent

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
                    axes.text(
                        column, row, whole_percent(float(share)), ha="center", va="center", fontsize=6, color=colour
                    )
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


def map_figure(
    path: Path,
    cells: Mapping[tuple[str, str], tuple[float, float | None, str]],
    columns: Sequence[str],
    rows: Sequence[str],
    names: tuple[str, str],
    title: str,
    measure: str,
) -> None:
    """Scores of the points of a grid over two knobs: mean and standard deviation are written in the cells.

    Args:
        path: the file, replaced where there is one.
        cells: by the values of both knobs, mean (NaN: hatched), standard deviation and a sign before the mean; a cell
            that is not there was not planned, and stays empty.
        columns: values of the first knob, from left to right.
        rows: values of the second, from below.
        names: of the two knobs.

    Raises:
        ValueError: another suffix, or no value.
    """
    if not columns or not rows:
        raise ValueError("a map needs values of both knobs")
    means = np.full((len(rows), len(columns)), np.nan)
    for (x, y), (mean, _, _) in cells.items():
        means[rows.index(y), columns.index(x)] = mean
    with _figure(path, title, 0.7 * len(columns) + 1.6, 0.42 * len(rows) + 0.7) as (figure, axes):
        image = axes.imshow(
            np.ma.masked_invalid(means), cmap="viridis", aspect="auto", origin="lower", interpolation="none"
        )
        low, high = image.get_clim() if np.isfinite(means).any() else (0.0, 1.0)
        for (x, y), (mean, std, sign) in cells.items():
            column, row = columns.index(x), rows.index(y)
            if np.isnan(mean):
                box = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch="////", edgecolor="#888888", lw=0)
                axes.add_patch(box)
            light = (mean - low) > 0.5 * (high - low)
            said = sign if np.isnan(mean) else f"{sign}{mean:.3f}" + ("" if std is None else f"\n± {std:.3f}")
            colour = "black" if light or np.isnan(mean) else "white"
            back = PLAIN if np.isnan(mean) else None
            axes.text(column, row, said, ha="center", va="center", fontsize=6.5, color=colour, bbox=back)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
        if np.isfinite(means).any():
            bar = figure.colorbar(image, ax=axes, pad=0.02)
            bar.set_label(measure)
            bar.outline.set_visible(False)
            bar.ax.tick_params(length=2)


def scatter_score_figure(
    path: Path, points: Floats, scores: Floats, names: tuple[str, str], title: str, measure: str
) -> None:
    """Scores of points that were drawn from two intervals, as colour; axes that span a factor of ten are logarithmic.

    Args:
        path: the file, replaced where there is one.
        points: (n, 2), the values of the two knobs.
        scores: (n,).
        names: of the two knobs.

    Raises:
        ValueError: another suffix, or sizes that do not fit.
    """
    if points.shape != (len(scores), 2):
        raise ValueError(f"points of shape {points.shape} for {len(scores)} scores")
    with _figure(path, title, 4.6, 3.4) as (figure, axes):
        drawn = axes.scatter(points[:, 0], points[:, 1], c=scores, cmap="viridis", s=26, edgecolors="black", lw=0.4)
        for i, scale in enumerate((axes.set_xscale, axes.set_yscale)):
            if len(points) and points[:, i].min() > 0 and points[:, i].max() >= 10 * points[:, i].min():
                scale("log")
        axes.grid(color="#dddddd", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
        bar = figure.colorbar(drawn, ax=axes, pad=0.02)
        bar.set_label(measure)
        bar.outline.set_visible(False)


def ranking_figure(
    path: Path,
    rows: Sequence[tuple[str, float, float | None, float | None, str, Sequence[float]]],
    baseline: float | None,
    title: str,
    measure: str,
) -> None:
    """Points by score, best above: mean with its interval, and each trial's score as a small stroke.

    Args:
        path: the file, replaced where there is one.
        rows: of each point its name, mean, both ends of its interval, whether it is "best", "tied" or "", and its
            trials' scores.
        baseline: of untrained encoders, drawn across.

    Raises:
        ValueError: another suffix, or no point.
    """
    if not rows:
        raise ValueError("no point to draw")
    looks = {"best": ("D", COLOURS[3]), "tied": ("^", COLOURS[0]), "": ("o", COLOURS[7])}
    with _figure(path, title, 4.2 + _length([row[0] for row in rows]), 0.19 * len(rows) + 0.6) as (_, axes):
        for i, (_, mean, low, high, mark, scores) in enumerate(rows):
            marker, colour = looks[mark]
            axes.plot(list(scores), [i] * len(scores), ls="", marker="|", markersize=5, color="#999999", mew=0.8)
            if low is not None and high is not None:
                axes.plot([low, high], [i, i], color=colour, lw=1.3)
            axes.plot([mean], [i], ls="", marker=marker, color=colour, markersize=4.5)
        if baseline is not None:
            axes.axvline(baseline, color=COLOURS[3], ls="--", lw=1)
            axes.text(baseline, -0.9, " untrained", color=COLOURS[3], fontsize=7, va="center")
        axes.set_yticks(range(len(rows)), [row[0] for row in rows])
        axes.set_ylim(len(rows) - 0.4, -1.3 if baseline is not None else -0.6)
        axes.grid(axis="x", color="#dddddd", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.set_xlabel(measure)
        present = [mark for mark in looks if any(row[4] == mark for row in rows)]
        if present != [""]:
            handles = [Line2D([], [], ls="", marker=looks[m][0], color=looks[m][1], markersize=4.5) for m in present]
            names = {"best": "best", "tied": "tied with it", "": "other"}
            _legend(axes, handles, [names[mark] for mark in present], 1)


def line_figure(
    path: Path, rows: Sequence[tuple[float, float, float | None, float | None]], name: str, title: str, measure: str
) -> None:
    """Mean with its interval over one knob.

    Args:
        path: the file, replaced where there is one.
        rows: of each point the knob's value, mean, and both ends of its interval.

    Raises:
        ValueError: another suffix, or no point.
    """
    if not rows:
        raise ValueError("no point to draw")
    ordered = sorted(rows, key=lambda row: row[0])
    with _figure(path, title, 4.2, 3.0) as (_, axes):
        axes.plot([row[0] for row in ordered], [row[1] for row in ordered], lw=1, alpha=0.6, color=COLOURS[0])
        for value, mean, low, high in ordered:
            if low is not None and high is not None:
                axes.plot([value, value], [low, high], color=COLOURS[0], lw=1.3)
            axes.plot([value], [mean], ls="", **_sign(0))
        if ordered[0][0] > 0 and ordered[-1][0] >= 10 * ordered[0][0]:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
            ticks = _apart([row[0] for row in ordered])
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.grid(axis="y", color="#dddddd", linewidth=0.5)
        axes.set_xlabel(name)
        axes.set_ylabel(measure)


def curves_figure(
    path: Path, panels: Mapping[str, Mapping[str, tuple[Sequence[int], Sequence[float]]]], title: str
) -> None:
    """A trial's curves over its epochs, a panel each on an axis of its own.

    Args:
        path: the file, replaced where there is one.
        panels: by the panel's name, its lines by name: epochs and values, NaN where there is none.

    Raises:
        ValueError: another suffix, or no panel.
    """
    if not panels:
        raise ValueError("no curve to draw")
    columns = min(3, len(panels))
    down = math.ceil(len(panels) / columns)
    with _figure(path, title, 2.3 * columns, 1.6 * down) as (figure, alone):
        alone.remove()
        grid = figure.subplots(down, columns, squeeze=False).ravel()
        for axes in grid[len(panels) :]:
            axes.remove()
        for axes, (name, lines) in zip(grid, panels.items(), strict=False):
            for i, (which, (epochs, values)) in enumerate(lines.items()):
                axes.plot(epochs, values, lw=1.1, ls=LINES[i % len(LINES)], color=COLOURS[(3 * i) % 8], label=which)
            axes.set_title(name, fontsize=7, loc="left")
            axes.grid(axis="y", color="#dddddd", linewidth=0.5)
            axes.tick_params(labelsize=6)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            if len(lines) > 1:
                axes.legend(frameon=False, fontsize=6)
        for axes in grid[max(0, len(panels) - columns) : len(panels)]:
            axes.set_xlabel("epoch", fontsize=7)


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
