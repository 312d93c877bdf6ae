"""Charts as Vega-Lite for a study's page, and as .png, .svg or .pdf files for a paper.

Colours are the page's CSS variables, so that one chart serves light, dark and print; files have the light colours. The
same numbers give the same picture, and with the same vl-convert the same bytes, except in PDF, whose fonts have no
fixed order.
"""

import json
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import numpy.typing as npt
import vl_convert

from mmssl.evaluation import whole_percent
from mmssl.study.folder import Study

Floats = npt.NDArray[np.floating]
Rows = Sequence[Mapping[str, Any]]

SERIES = [f"var(--c{i})" for i in range(1, 9)]
SHAPES = ["circle", "triangle-up", "square", "diamond", "cross", "triangle-down", "triangle-right"]
"""8 colours and 7 shapes have no common divisor, so 56 classes have unique marks, and neighbours differ in both."""
LIGHT = {
    "paper": "#ffffff", "ink": "#16191d", "muted": "#51595f", "line": "#d3d8dd", "c1": "#0069a6", "c2": "#a86500",
    "c3": "#00805c", "c4": "#c04a00", "c5": "#b0447f", "c6": "#2b7fae", "c7": "#77700a", "c8": "#5c5f66",
}  # fmt: skip
"""The page's colours for print, as in page.css."""
KINDS = ("png", "svg", "pdf")
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--ink)",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 240,
    },
    "legend": {
        "labelColor": "var(--ink)",
        "titleColor": "var(--muted)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "orient": "bottom",
        "labelLimit": 220,
        "columns": 4,
    },
    "text": {"fontSize": 12, "color": "var(--ink)"},
}


def write(path: Path, spec: Mapping[str, Any], title: str, rows: Rows = (), width: int = 420) -> None:
    """Draw a chart into a file; its suffix is the format.

    Args:
        path: the file, replaced if it exists.
        rows: the chart's data, which a page adds itself.
        width: of a chart as wide as the page, in pixels (96 an inch).

    Raises:
        ValueError: another suffix.
    """
    kind = path.suffix.lower()[1:]
    if kind not in KINDS:
        raise ValueError(f"a figure is written as .{', .'.join(KINDS)}, not as {path.name}")
    whole: dict[str, Any] = {
        **spec,
        "config": {**spec["config"], "background": "white", "font": "sans-serif"},
        "datasets": {**spec.get("datasets", {}), "rows": list(rows)},
        "padding": 8,
    }
    if whole.get("width") == "container":
        whole |= {"width": width, "autosize": {"type": "pad", "contains": "padding"}}
    whole["title"] = {
        "text": textwrap.wrap(title, max(48, whole.get("width", 500) // 7)),
        "anchor": "start", "fontSize": 13, "color": "var(--ink)", "offset": 12,
    }  # fmt: skip
    text = json.dumps(one_line(whole)).replace("url(#hatch)", LIGHT["line"])
    text = re.sub(r"var\(--(\w+)\)", lambda name: LIGHT.get(name[1], name[0]), text)
    if kind == "png":
        path.write_bytes(vl_convert.vegalite_to_png(text, scale=2))
    elif kind == "pdf":
        path.write_bytes(vl_convert.vegalite_to_pdf(text))
    else:
        path.write_text(vl_convert.vegalite_to_svg(text), encoding="utf-8")


def drawn(
    study: Study, name: str, kinds: Sequence[str], spec: Mapping[str, Any], title: str, rows: Rows = ()
) -> list[str]:
    """Draw a chart into a study, as a file of each kind; returns where they are."""
    draw = partial(write, spec=spec, title=title, rows=rows)
    return [study.put_figure(f"{name}.{kind}", draw) for kind in kinds]


def confusion(classes: Sequence[str]) -> dict[str, Any]:
    """The chart of a confusion matrix, for rows of true, predicted, share, count, percent."""
    classes = list(classes)
    base = alt.Chart(alt.NamedData(name="rows")).encode(
        x=alt.X("predicted:N", sort=classes, scale=alt.Scale(domain=classes), title="predicted",
                axis=alt.Axis(orient="top", labelAngle=-60, labelLimit=160)),
        y=alt.Y("true:N", sort=classes, scale=alt.Scale(domain=classes), title="true class",
                axis=alt.Axis(labelLimit=160)),
    )  # fmt: skip
    cells = base.mark_rect(fill="var(--c1)", stroke="var(--line)", strokeWidth=0.5).encode(
        # Light enough that the number stays readable on light and dark pages.
        fillOpacity=alt.FillOpacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0, 0.55]), legend=None),
        tooltip=["true:N", "predicted:N", alt.Tooltip("share:Q", format=".1%"), "count:Q"],
    )
    text = (
        base.transform_filter("!isValid(datum.share) || datum.share >= 0.005")
        .mark_text(fontSize=12, fontWeight={"expr": "datum.true == datum.predicted ? 'bold' : 'normal'"})
        .encode(text="percent:N")
    )
    step = 34 if len(classes) <= 15 else 26
    return as_spec(
        alt.layer(cells, text).properties(width=step * len(classes), height=step * len(classes)),
        "Confusion matrix: rows are true classes, columns predicted ones.",
    )


def confusion_rows(matrix: Floats, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Rows for the chart of `confusion`.

    Args:
        matrix: (classes, classes), shares from 0 to 1; rows are true classes, NaN where a class has no recording.
    """
    middle = classes[len(classes) // 2] if classes else ""
    rows: list[dict[str, Any]] = [
        {"true": classes[i], "predicted": classes[j], "share": share, "percent": whole_percent(share)}
        for (i, j), share in ((at, float(share)) for at, share in np.ndenumerate(matrix))
        if share > 0
    ]
    empty = np.flatnonzero(np.isnan(matrix).all(axis=1)).tolist()
    return rows + [{"true": classes[i], "predicted": middle, "percent": "no recording"} for i in empty]


def scatter(classes: Sequence[str], modalities: Sequence[str]) -> dict[str, Any]:
    """The page's map of recordings; the page adds the rows and the picked class."""
    classes = list(classes)
    several = [name for name in modalities if name]
    if several:
        shape = alt.Shape(
            "modality:N",
            scale=alt.Scale(domain=several, range=SHAPES[: len(several)]),
            legend=alt.Legend(title="modality", symbolStrokeColor="var(--ink)"),
        )
    else:
        shape = alt.Shape("label:N", scale=_by_index(classes, range(len(classes)), SHAPES), legend=None)
    colours = _by_index(classes, range(len(classes)), SERIES)
    only = alt.param(name="only", value="")
    picked = alt.param(name="picked", value=-1)
    chart = (
        alt.Chart(alt.NamedData(name="rows"))
        .mark_point(size=70, strokeWidth=1.6, cursor="pointer")
        .encode(
            x=alt.X("x:Q", axis=None, scale=alt.Scale(zero=False, nice=False, padding=14)),
            y=alt.Y("y:Q", axis=None, scale=alt.Scale(zero=False, nice=False, padding=14)),
            shape=shape,
            stroke=alt.Stroke("label:N", scale=colours, legend=None),
            fill=alt.condition(
                "datum.right",
                alt.Fill("label:N", scale=colours, legend=None),
                alt.value("transparent"),
            ),
            opacity=alt.condition("only == '' || datum.label == only", alt.value(0.95), alt.value(0.12)),
            size=alt.condition("datum.i == picked", alt.value(320), alt.value(70)),
            tooltip=[
                alt.Tooltip("id:N", title="recording"),
                alt.Tooltip("subject:N"),
                alt.Tooltip("label:N", title="class"),
                alt.Tooltip("predicted:N", title="predicted"),
                alt.Tooltip("confidence:Q", format=".2f"),
                *([alt.Tooltip("modality:N")] if several else []),
            ],
        )
        .add_params(only, picked)
    )
    return as_spec(
        chart.properties(width="container", height=420),
        "t-SNE map: each mark is a recording; the list beside it names them all.",
    )


def signs(points: Floats, labels: Sequence[int], classes: Sequence[str]) -> dict[str, Any]:
    """The map of recordings for a paper; a class keeps its colour and shape whichever classes are shown.

    Args:
        points: (recordings, 2), without unit.
        labels: (recordings,), indices of classes. Classes without a recording are left out of the legend.
    """
    rows = [{"x": float(x), "y": float(y), "label": classes[i]} for (x, y), i in zip(points, labels, strict=True)]
    present = sorted(set(map(int, labels)))
    names = [classes[i] for i in present]
    legend = alt.Legend(title=None, orient="right", columns=math.ceil(len(names) / 22) or 1, symbolLimit=0)
    free = alt.Scale(zero=False, nice=False, padding=14)
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_point(filled=True, size=45, opacity=0.9)
        .encode(
            x=alt.X("x:Q", axis=None, scale=free),
            y=alt.Y("y:Q", axis=None, scale=free),
            color=alt.Color("label:N", scale=_by_index(names, present, SERIES), legend=legend),
            shape=alt.Shape("label:N", scale=_by_index(names, present, SHAPES), legend=legend),
        )
    )
    return as_spec(
        chart.properties(width=420, height=420, view=alt.ViewConfig(stroke="var(--line)")),
        "Map of recordings: each mark is one, its colour and shape its class.",
    )


def _by_index(names: list[str], indices: Sequence[int], range_: Sequence[str]) -> Any:
    return alt.Scale(domain=names, range=[range_[i % len(range_)] for i in indices])


def few_labels(rows: Rows, measure: str) -> dict[str, Any]:
    """Score by share of labels: a line a system, with its interval as a band.

    Args:
        rows: of the table `few_labels`, with the same modalities as inputs, or all of each system.
    """
    systems = list(dict.fromkeys(row["system"] for row in rows))
    every = range(len(systems))
    shares = sorted({row["labels"] for row in rows})
    base = alt.Chart(alt.InlineData(values=list(rows))).encode(
        x=alt.X(
            "labels:Q",
            title="share of the labels used",
            scale=alt.Scale(type="log", nice=False, padding=14),
            axis=alt.Axis(format="~%", values=shares, labelOverlap=True, grid=False),
        ),
        color=alt.Color(
            "system:N", scale=_by_index(systems, every, SERIES), legend=alt.Legend(title=None, symbolOpacity=1)
        ),
    )
    y = alt.Y("mean:Q", title=measure, scale=alt.Scale(domain=[0, 1], clamp=True), axis=percents())
    band = base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q"), y2="high:Q")
    line = base.mark_line(strokeWidth=2).encode(
        y=y, strokeDash=alt.StrokeDash("system:N", legend=alt.Legend(title=None), scale=alt.Scale(domain=systems))
    )
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(
        y=y,
        shape=alt.Shape(
            "system:N",
            scale=_by_index(systems, every, SHAPES),
            legend=alt.Legend(title=None),
        ),
        tooltip=["system:N", alt.Tooltip("labels:Q", format="~%"), alt.Tooltip("mean:Q", format=".1%"),
                 alt.Tooltip("low:Q", format=".1%"), alt.Tooltip("high:Q", format=".1%")],
    )  # fmt: skip
    return as_spec(
        alt.layer(band, line, dots).properties(width="container", height=320),
        f"{measure} by share of the labels, a line a system.",
    )


def against(x: Floats, y: Floats, x_name: str, y_name: str) -> dict[str, Any]:
    """Two numbers of each point of a study against each other; points where one is not finite are only counted."""
    rows = [{"x": float(a), "y": float(b)} for a, b in zip(x, y, strict=True) if math.isfinite(a) and math.isfinite(b)]
    left_out = f"; {len(x) - len(rows)} not finite" if len(rows) < len(x) else ""
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_point(filled=True, size=45, color="var(--c1)", opacity=0.8)
        .encode(
            x=alt.X("x:Q", title=f"{x_name} (n = {len(rows)}{left_out})", scale=alt.Scale(zero=False)),
            y=alt.Y("y:Q", title=y_name, scale=alt.Scale(zero=False)),
        )
    )
    return as_spec(chart.properties(width="container", height=300), f"{y_name} of each point against its {x_name}.")


def has_ends(rows: Rows) -> bool:
    """Whether any row has an interval."""
    return any(row["low"] is not None for row in rows)


def percents() -> Any:
    return alt.Axis(format="~%", tickCount=5)


def as_spec(chart: Any, description: str) -> dict[str, Any]:
    """The chart as a Vega-Lite document with this module's config, checked by altair against the schema."""
    spec: dict[str, Any] = chart.properties(
        description=description, autosize=alt.AutoSizeParams(type="fit-x", contains="padding")
    ).to_dict()
    spec["config"] = CONFIG
    if spec.get("width") != "container":
        spec["autosize"] = {"type": "pad", "contains": "padding"}
    return spec


# A line break, even in a name, ends a Vega expression; names show the control characters' pictures instead.
_PICTURES = {code: 0x2400 + code for code in range(32)} | {0x7F: 0x2421, 0x85: 0x2424, 0x2028: 0x2424, 0x2029: 0x2424}


def one_line(value: Any) -> Any:
    """The same document, with control characters and line breaks in its texts replaced."""
    if isinstance(value, str):
        return value.translate(_PICTURES)
    if isinstance(value, dict):
        return {one_line(key): one_line(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [one_line(one) for one in value]
    return value
