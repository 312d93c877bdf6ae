"""Charts of a study: map, ranking, curves, importance of the knobs."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from mmssl.experiments.charts import SERIES, as_spec, has_ends, percents
from mmssl.report.content import Axis, Content, Ranked, plain
from mmssl.study.results import Point
from mmssl.study.scores import repeat
from mmssl.study.words import percent, without_result

MOST_ROWS = 40
"""Points in the chart of the ranking; its table has more."""
MARKS = ["best", "tied with the best", "other"]
_KINDS, _SIGNS = [*MARKS, "not complete"], ["diamond", "triangle-up", "circle", "cross"]
# Viridis' own colours: even in lightness, and distinguishable by the colour-blind.
SCALE = "viridis"
# From here on viridis is light enough for black letters to be read better than white ones.
LIGHT_FROM = 0.5
PICKED = alt.param(name="picked", value="")
"""The id of the point that the page looks into."""


@dataclass(frozen=True)
class Landscape:
    """The points over two searched knobs, or one."""

    kind: str
    """cells, scatter or line."""
    x: Axis
    y: Axis | None
    rows: list[dict[str, Any]]
    slices: list[str]
    """Values of the other knobs, one of which is shown at a time; the first by default."""
    spec: dict[str, Any]


def landscape(content: Content) -> Landscape | None:
    """The map of the scores over what was searched; None where nothing numeric was."""
    numeric = [axis for axis in content.axes if len(axis.values) > 1]
    if not numeric:
        return None
    plotted = _plotted(content, numeric)
    if len(plotted) == 1:
        (only,) = plotted
        if not only.numeric:
            return None
        rows = [_row(one, only, None, "") for one in content.ranked]
        return Landscape("line", only, None, rows, [], _line(content, only, rows))
    x, y = plotted
    others = [axis for axis in numeric if axis not in (x, y)]
    if any(axis.drawn for axis in numeric):
        if not (x.numeric and y.numeric):
            return None
        rows = [_row(one, x, y, "") for one in content.ranked]
        return Landscape("scatter", x, y, rows, [], _scatter(content, x, y, rows))
    rows = [
        _row(one, x, y, ", ".join(f"{axis.label} = {plain(axis.of(one.point))}" for axis in others))
        for one in content.ranked
    ]
    slices = list(dict.fromkeys(row["slice"] for row in rows)) if others else []
    return Landscape("cells", x, y, rows, slices, cells(content, x, y, rows))


def _plotted(content: Content, axes: Sequence[Axis]) -> list[Axis]:
    """lambda and mu where both are searched; else those that explain most."""
    named = {axis.label: axis for axis in axes}
    if "λ" in named and "μ" in named:
        return [named["λ"], named["μ"]]
    by_share = [named[share.label] for share in content.shares if share.label in named]
    order = [*by_share, *(axis for axis in axes if axis not in by_share)]
    if any(axis.drawn for axis in axes):  # A scatter is over numbers alone.
        order.sort(key=lambda axis: not axis.numeric)
    return sorted(order[:2], key=lambda axis: not axis.numeric)


def _row(one: Ranked, x: Axis, y: Axis | None, part: str) -> dict[str, Any]:
    point = one.point
    mean = point.mean
    sign = {"best": "◆ ", "tied": "▲ "}.get(one.mark, "")
    first = "" if mean is None else f"{sign}{percent(mean)}"
    second = "" if point.std is None else f"± {percent(point.std)}"
    if not point.complete:
        gone = point.failures
        first = f"✕ {gone} of {point.planned}" if gone else f"{len(point.scores)} of {point.planned}"
        second = "no result" if gone else "done"
    return {
        **_facts(one),
        **_place(point, x, y),
        "state": "complete" if point.complete else "not complete",
        "first": first,
        "second": second,
        "brief": f"{100 * mean:.0f}" if point.complete and mean is not None else "✕" if point.failures else "...",
        "slice": part,
    }


def _facts(one: Ranked) -> dict[str, Any]:
    """A point's scores, for marks and tooltips."""
    return {
        "id": one.point.point_id,
        "point": one.label,
        "mean": one.point.mean,
        "std": one.point.std,
        "low": one.low,
        "high": one.high,
        "n": len(one.point.scores),
        "trials": one.point.planned,
        "failed": without_result(one.point.statuses) or "none",
        "mark": {"best": MARKS[0], "tied": MARKS[1]}.get(one.mark, MARKS[2]),
    }


def _place(point: Point, x: Axis, y: Axis | None) -> dict[str, Any]:
    place: dict[str, Any] = {"x": x.of(point) if x.numeric else plain(x.of(point)), "xs": plain(x.of(point))}
    if y:
        place |= {"y": y.of(point) if y.numeric else plain(y.of(point)), "ys": plain(y.of(point))}
    return place


def _tooltip(content: Content) -> list[Any]:
    return [
        alt.Tooltip("point:N", title="point"),
        alt.Tooltip("mean:Q", title=f"mean {content.measure}", format=".1%"),
        alt.Tooltip("std:Q", title="standard deviation", format=".1%"),
        alt.Tooltip("low:Q", title="interval from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
        alt.Tooltip("n:Q", title="trials complete"),
        alt.Tooltip("trials:Q", title="of"),
        alt.Tooltip("failed:N", title="no result"),
        alt.Tooltip("mark:N", title="rank"),
    ]


def cells(content: Content, x: Axis, y: Axis, rows: list[dict[str, Any]]) -> dict[str, Any]:
    low, high = _spanned([row["mean"] for row in rows if row["state"] == "complete"])
    letters = (
        alt.when(alt.datum.state != "complete")
        .then(alt.value("var(--ink)"))
        .when(alt.datum.mean >= low + LIGHT_FROM * (high - low))
        .then(alt.value("black"))
        .otherwise(alt.value("white"))
    )
    return matrix(
        x, y, rows, alt.Scale(scheme=SCALE, domain=[low, high]), f"mean {content.measure}",
        "format(datum.value, '.1%')", letters,
        _tooltip(content),
        f"Map of mean {content.measure} over {x.label} and {y.label}; the table of points says the same in numbers.",
    )  # fmt: skip


def matrix(
    x: Axis, y: Axis, rows: list[dict[str, Any]], scale: Any, title: str, numbers: str, letters: Any,
    tooltip: list[Any], words: str,
) -> dict[str, Any]:  # fmt: skip
    """A cell a row, by its value `mean`, with its words `first` and `second`, or `brief` where it is narrow.

    Args:
        numbers: how the legend writes a value, as an expression.
        letters: their colour, by the cell.
    """
    base = alt.Chart(alt.NamedData(name="rows")).encode(
        x=alt.X("xs:O", sort=[plain(value) for value in x.values], title=x.label, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("ys:O", sort=[plain(value) for value in reversed(y.values)], title=y.label),
    )
    whole = alt.datum.state == "complete"
    colour = alt.Color(
        "mean:Q", scale=scale, legend=alt.Legend(title=title, gradientLength=180, labelExpr=numbers, tickCount=3)
    )
    full = (
        base.transform_filter(whole)
        .mark_rect(stroke="var(--paper)", strokeWidth=2, cursor="pointer")
        .encode(color=colour, tooltip=tooltip)
    )
    # A layer without a mark would be a picture without a name to a screen reader.
    layers: list[Any] = [full]
    if any(row["state"] != "complete" for row in rows):
        layers.append(
            base.transform_filter(alt.datum.state != "complete")
            .mark_rect(fill="url(#hatch)", stroke="var(--ink)", strokeWidth=1, strokeDash=[4, 3], cursor="pointer")
            .encode(tooltip=tooltip)
        )
    frame: dict[str, Any] = {"fill": "transparent", "stroke": "var(--ink)", "strokeWidth": 3, "cursor": "pointer"}
    if any(row["mark"] == MARKS[0] for row in rows):
        layers.append(base.transform_filter(alt.datum.mark == MARKS[0]).mark_rect(**frame).encode(tooltip=tooltip))
    # Inside the cell, and in the colour of its letters: a frame about a cell is what the cell itself says. It is empty,
    # so that the cell answers the pointer.
    inside: dict[str, Any] = {"filled": False, "strokeWidth": 1.5, "strokeDash": [5, 3], "aria": False}
    inside |= {"width": {"band": 0.88}, "height": {"band": 0.8}, "cursor": "pointer"}
    layers.append(base.transform_filter("datum.id == picked").mark_rect(**inside).encode(stroke=letters))
    # In cells that are too narrow for it the spread is left to the hover and the table.
    cell = f"width / {max(1, len(x.values))}"
    texts = [
        base.mark_text(dy=-8, fontSize=14, fontWeight="bold", opacity={"expr": f"{cell} >= 74 ? 1 : 0"}).encode(
            text="first:N", color=letters
        ),
        base.mark_text(dy=10, fontSize=12, opacity={"expr": f"{cell} >= 74 ? 1 : 0"}).encode(
            text="second:N", color=letters
        ),
        base.mark_text(fontSize=12, opacity={"expr": f"{cell} >= 74 || {cell} < 34 ? 0 : 1"}).encode(
            text="brief:N", color=letters
        ),
    ]
    chart = alt.layer(*layers, *texts).properties(width="container", height=52 * len(y.values))
    return as_spec(chart.add_params(PICKED), words)


def _scatter(content: Content, x: Axis, y: Axis, rows: list[dict[str, Any]]) -> dict[str, Any]:
    means = [row["mean"] for row in rows if row["state"] == "complete"]
    base = (
        alt.Chart(alt.NamedData(name="rows"))
        .transform_calculate(kind="datum.state == 'complete' ? datum.mark : 'not complete'")
        .encode(
            x=alt.X("x:Q", title=x.label, scale=_scale(x), axis=alt.Axis(format=_PLAIN)),
            y=alt.Y("y:Q", title=y.label, scale=_scale(y), axis=alt.Axis(format=_PLAIN)),
            shape=alt.Shape(
                "kind:N",
                scale=alt.Scale(domain=_KINDS, range=_SIGNS),
                legend=alt.Legend(title=None, symbolFillColor="transparent", symbolStrokeColor="var(--ink)"),
            ),
            tooltip=_tooltip(content),
        )
    )
    look: dict[str, Any] = {
        "size": {"expr": "datum.id == picked ? 340 : 130"},
        "strokeWidth": 1.5,
        "stroke": "var(--ink)",
        "cursor": "pointer",
    }
    whole = (
        base.transform_filter(alt.datum.state == "complete")
        .mark_point(**look)
        .encode(
            fill=alt.Fill(
                "mean:Q",
                scale=alt.Scale(scheme=SCALE, domain=_spanned(means)),
                legend=alt.Legend(title=f"mean {content.measure}", gradientLength=180, format=".1%", tickCount=3),
            )
        )
    )
    layers: list[Any] = [whole] if means else []
    if len(means) < len(rows):
        layers.append(base.transform_filter(alt.datum.state != "complete").mark_point(fill="transparent", **look))
    return as_spec(
        alt.layer(*layers).properties(width="container", height=380).add_params(PICKED),
        f"Points over {x.label} and {y.label}, coloured by mean {content.measure}.",
    )


def _line(content: Content, x: Axis, rows: list[dict[str, Any]]) -> dict[str, Any]:
    base = alt.Chart(alt.NamedData(name="rows")).encode(x=alt.X("x:Q", title=x.label, scale=_scale(x), axis=_values(x)))
    whole = base.transform_filter(alt.datum.state == "complete")
    y = alt.Y("mean:Q", title=f"mean {content.measure}", scale=alt.Scale(zero=False), axis=percents())
    line = whole.mark_line(color="var(--c1)", opacity=0.6).encode(y=y)
    rule = whole.mark_rule(color="var(--c1)", strokeWidth=2).encode(y=alt.Y("low:Q"), y2="high:Q")
    dots = whole.mark_point(filled=True, size=POINT_SIZE, opacity=1, cursor="pointer").encode(
        y=y, **_by_mark(None), tooltip=_tooltip(content)
    )
    lost = (
        base.transform_filter(alt.datum.state != "complete")
        .mark_point(shape="cross", angle=45, size=90, color="var(--ink)")
        .encode(y=alt.value({"expr": "height - 6"}), tooltip=_tooltip(content))
    )
    complete = [row for row in rows if row["state"] == "complete"]
    layers: list[Any] = [line, dots] if complete else []
    if has_ends(complete):
        layers.insert(1, rule)
    if len(complete) < len(rows):
        layers.append(lost)
    return as_spec(
        alt.layer(*layers).properties(width="container", height=300).add_params(PICKED),
        f"Mean {content.measure} with its interval over {x.label}.",
    )


def ranking(content: Content, legend: Any = None) -> dict[str, Any]:
    """Dot and interval of each point, each trial's score as a small stroke, references as lines, and the noise below
    the best as a band.

    Args:
        legend: of the marks, where no caption explains them.
    """
    shown = [one for one in content.ranked if one.point.mean is not None][:MOST_ROWS]
    order = [one.label for one in shown]
    rows = [_facts(one) | ({} if one.point.complete else {"mark": "not complete"}) for one in shown]
    strokes = [
        {"point": one.label, "score": score, "seed": repeat(key), "fold": key[1]}
        for one in shown
        for key, score in one.point.scores.items()
    ]
    y = alt.Y("point:N", sort=order, title=None, axis=alt.Axis(labelLimit=170))
    x = alt.X("mean:Q", title=content.measure, scale=alt.Scale(zero=False), axis=percents())
    base = alt.Chart(alt.InlineData(values=rows)).encode(y=y)
    scores = (
        alt.Chart(alt.InlineData(values=strokes))
        .mark_tick(color="var(--muted)", thickness=1.5, height=9, opacity=0.75)
        .encode(
            y=y,
            x=alt.X("score:Q", scale=alt.Scale(zero=False)),
            tooltip=[
                "point:N",
                "seed:N",
                alt.Tooltip("fold:N", title="held out"),
                alt.Tooltip("score:Q", format=".1%"),
            ],
        )
    )
    rule = base.mark_rule(strokeWidth=2.5, cursor="pointer").encode(
        x=alt.X("low:Q"), x2="high:Q", color=_by_mark(legend)["color"], tooltip=_tooltip(content)
    )
    dots = base.mark_point(filled=True, size=POINT_SIZE, opacity=1, cursor="pointer").encode(
        x=x, **_by_mark(legend), tooltip=_tooltip(content)
    )
    lines: list[dict[str, Any]] = [
        {"mean": one.mean, "name": f"{one.name} {percent(one.mean)}%", "guess": one.name == "chance"}
        for one in content.references
    ]
    means = [one.point.mean or 0.0 for one in shown] + [one.mean for one in content.references]
    middle = (min(means) + max(means)) / 2
    layers: list[Any] = [
        *_noise(content),
        *(layer for i, line in enumerate(lines) for layer in _reference(line, i, line["mean"] < middle)),
        scores,
        *([rule] if has_ends(rows) else []),
        dots,
    ]
    return as_spec(
        alt.layer(*layers).properties(width="container", height=24 * len(rows)).add_params(PICKED),
        f"Points by mean {content.measure}, best first, with interval and single trials.",
    )


POINT_SIZE = {"expr": "datum.id == picked ? 240 : 85"}
"""Of a point in a list."""


def _noise(content: Content) -> list[Any]:
    """A band from the best mean down over differences that the test does not find significant."""
    choice = content.choice
    if choice is None or choice.noise is None or choice.best.mean is None:
        return []
    band = {"from": choice.best.mean - choice.noise, "to": choice.best.mean, "what": choice.threshold}
    chart = alt.Chart(alt.InlineData(values=[band]))
    # Without a tooltip, which would take the place of the points' own.
    return [chart.mark_rect(color="var(--c4)", opacity=0.16).encode(x="from:Q", x2="to:Q", description="what:N")]


def _reference(line: dict[str, Any], place: int, left: bool) -> list[Any]:
    """A line with its name above the chart, each in a row of its own."""
    colour, dash = ("var(--muted)", [2, 3]) if line["guess"] else ("var(--c2)", [6, 4])
    chart = alt.Chart(alt.InlineData(values=[line])).encode(x="mean:Q")
    name = chart.mark_text(align="left" if left else "right", dx=4 if left else -4, color=colour)
    return [
        chart.mark_rule(strokeDash=dash, color=colour, strokeWidth=2).encode(tooltip="name:N"),
        name.encode(text="name:N", y=alt.value(-8 - 16 * place)),
    ]


def importance(content: Content) -> dict[str, Any]:
    rows = [{"knob": one.label, "share": one.share, "low": one.low, "high": one.high} for one in content.shares]
    y = alt.Y("knob:N", sort=None, title=None)
    base = alt.Chart(alt.InlineData(values=rows)).encode(y=y)
    bars = base.mark_bar(color="var(--c1)", height=16).encode(
        x=alt.X("share:Q", title="share of the variance", scale=alt.Scale(domain=[0, 1]), axis=percents()),
        tooltip=["knob:N", alt.Tooltip("share:Q", format=".1%"), alt.Tooltip("low:Q", format=".1%"),
                 alt.Tooltip("high:Q", format=".1%")],
    )  # fmt: skip
    rule = base.mark_rule(color="var(--ink)", strokeWidth=2).encode(x="low:Q", x2="high:Q")
    return as_spec(
        alt.layer(bars, *([rule] if has_ends(rows) else [])).properties(width="container", height=34 * len(rows)),
        "Share of the variance among the points that each knob explains.",
    )


def colours(modalities: Sequence[str]) -> dict[str, str]:
    """The colour of each modality's curves."""
    own = (SERIES[3], SERIES[2], SERIES[1], SERIES[4], SERIES[6], SERIES[5], SERIES[7])
    return {name: own[i % len(own)] for i, name in enumerate(modalities)}


def curve(modalities: Sequence[str]) -> dict[str, Any]:
    """One panel of a trial's curves; the page puts its rows in: epoch, value, series, trial."""
    line = _curve(alt.Chart(alt.NamedData(name="rows")), modalities, None)
    # Wherever the pointer is, the nearest value answers: by a cell around it, whose datum is the mark.
    near = alt.selection_point(
        name="near", nearest=True, on="pointerover", clear="pointerout", fields=["epoch"], empty=False
    )
    tooltip = {"expr": re.sub(r"\bof\.", "(datum.datum || datum).", _TOOLTIP)}
    dots = line.mark_point(filled=True, opacity=1, tooltip=tooltip).encode(
        size=alt.when(near).then(alt.value(70)).otherwise(alt.value(14))
    )
    chart = alt.layer(line, dots.add_params(near)).properties(width="container", height=130)
    return as_spec(chart, "Curve of one trial over its epochs.")


_TOOLTIP = "{epoch: of.epoch, value: format(of.value, '.4g'), modality: of.series || 'all', trial: of.trial}"


def curves(panels: Sequence[str], modalities: Sequence[str]) -> dict[str, Any]:
    """All panels of one trial's curves, for a paper: rows of epoch, value, series, panel."""
    legend = alt.Legend(title=None, values=list(modalities), orient="top")
    line = _curve(alt.Chart(), modalities, legend)
    chart = alt.layer(line, line.mark_point(filled=True, size=14, opacity=1)).properties(width=200, height=110)
    facet = alt.Facet("panel:N", sort=list(panels), header=alt.Header(title=None, labelAnchor="start"))
    grid = chart.facet(facet, data=alt.NamedData(name="rows"), columns=3).resolve_scale(
        x="independent", y="independent"
    )
    return as_spec(grid, "Curves of one trial over its epochs.")


def _curve(data: Any, modalities: Sequence[str], legend: Any) -> Any:
    own = colours(modalities)
    return data.mark_line(strokeWidth=1.8).encode(
        x=alt.X("epoch:Q", title="epoch", axis=_epochs()),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4, format=_PLAIN)),
        color=alt.Color(
            "series:N",
            scale=alt.Scale(domain=["", *own], range=[SERIES[0], *own.values()]),
            legend=legend,
        ),
        strokeDash=alt.StrokeDash(
            "trial:N", scale=alt.Scale(domain=["first", "second"], range=[[1, 0], [5, 4]]), legend=None
        ),
    )


def _by_mark(legend: Any) -> dict[str, Any]:
    """Colour and shape of a point's mark."""
    colours = alt.Scale(domain=_KINDS, range=["var(--c4)", "var(--c1)", "var(--muted)", "var(--c5)"])
    return {
        "color": alt.Color("mark:N", scale=colours, legend=legend),
        "shape": alt.Shape("mark:N", scale=alt.Scale(domain=_KINDS, range=_SIGNS), legend=legend),
    }


# With digits of its own: without, Vega takes as many as the step has, and writes 80 as 8e+1.
_PLAIN = ".6~g"


def _epochs() -> Any:
    """An axis labelled at whole numbers only."""
    return alt.Axis(tickCount=4, grid=False, labelExpr="datum.value % 1 ? '' : format(datum.value, 'd')")


def _values(axis: Axis) -> Any:
    """An axis labelled at the values that were tried, where they are few; otherwise at round numbers."""
    few: dict[str, Any] = {"values": list(axis.values), "grid": False} if len(axis.values) <= 12 else {}
    return alt.Axis(format=_PLAIN, labelOverlap=True, **few)


def _scale(axis: Axis) -> Any:
    """Logarithmic for an axis that was searched so, or spans a factor of ten or more."""
    low, high = axis.values[0], axis.values[-1]
    if axis.log or (low > 0 and high / low >= 10):
        return alt.Scale(type="log", nice=False, padding=16)
    return alt.Scale(zero=False, padding=16)


def _spanned(means: Sequence[float]) -> list[float]:
    if not means:
        return [0, 1]
    low, high = min(means), max(means)
    return [low, high] if high > low else [low - 0.01, high + 0.01]
