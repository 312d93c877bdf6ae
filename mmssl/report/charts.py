"""Charts of a study's content: its map, ranking, curves, and what matters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from mmssl.experiments.charts import SERIES, as_spec, has_ends, percents
from mmssl.report.content import Axis, Content, Ranked, plain
from mmssl.study.plan import without_result
from mmssl.study.scores import repeat

MOST_ROWS = 40
"""Points in the chart of the ranking; its table has more."""
MARKS = ["best", "tied with the best", "other"]
# Viridis' own colours: even in lightness, and told apart by the colour-blind.
SCALE = "viridis"
# From here on viridis is light enough for black letters to be read better than white ones.
LIGHT_FROM = 0.5


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
    chosen = _chosen(content, numeric)
    if len(chosen) == 1 or not any(axis.numeric for axis in chosen):
        only = [axis for axis in chosen if axis.numeric]
        if not only:
            return None
        rows = [_row(content, one, only[0], None, "") for one in content.ranked]
        return Landscape("line", only[0], None, rows, [], _line(content, only[0], rows))
    x, y = chosen
    others = [axis for axis in numeric if axis not in (x, y)]
    if any(axis.drawn for axis in numeric):
        if not (x.numeric and y.numeric):
            return None
        rows = [_row(content, one, x, y, "") for one in content.ranked]
        return Landscape("scatter", x, y, rows, [], _scatter(content, x, y, rows))
    rows = [
        _row(content, one, x, y, ", ".join(f"{axis.label} = {plain(axis.of(one.point))}" for axis in others))
        for one in content.ranked
    ]
    slices = list(dict.fromkeys(row["slice"] for row in rows)) if others else []
    return Landscape("cells", x, y, rows, slices, _cells(content, x, y, rows))


def _chosen(content: Content, axes: Sequence[Axis]) -> list[Axis]:
    """lambda and mu where both are searched; else those that explain most."""
    named = {axis.label: axis for axis in axes}
    if "λ" in named and "μ" in named:
        return [named["λ"], named["μ"]]
    by_share = [named[share.label] for share in content.shares if share.label in named]
    order = [*by_share, *(axis for axis in axes if axis not in by_share)]
    return sorted(order[:2], key=lambda axis: not axis.numeric)


def _row(content: Content, one: Ranked, x: Axis, y: Axis | None, part: str) -> dict[str, Any]:
    point = one.point
    mean = point.mean
    sign = {"best": "◆ ", "tied": "▲ "}.get(one.mark, "")
    first, second = (
        (f"{sign}{mean:.3f}", f"± {point.std:.3f}" if point.std is not None else "") if mean is not None else ("", "")
    )
    if not point.complete:
        gone = point.failures
        first = f"✕ {gone} of {point.planned}" if gone else f"{len(point.scores)} of {point.planned}"
        second = "no result" if gone else "done"
    return {
        "point": one.label,
        "x": x.of(point) if x.numeric else plain(x.of(point)),
        "xs": plain(x.of(point)),
        **({"y": y.of(point) if y.numeric else plain(y.of(point)), "ys": plain(y.of(point))} if y else {}),
        "mean": mean,
        "std": point.std,
        "low": one.low,
        "high": one.high,
        "n": len(point.scores),
        "trials": point.planned,
        "state": "complete" if point.complete else "not complete",
        "fill": 0.0 if not point.complete else mean,
        "failed": without_result(point.statuses) or "none",
        "mark": _mark(one),
        "first": first,
        "second": second,
        "brief": f"{mean:.2f}" if point.complete and mean is not None else "✕" if point.failures else "...",
        "slice": part,
    }


def _mark(one: Ranked) -> str:
    return {"best": MARKS[0], "tied": MARKS[1]}.get(one.mark, MARKS[2])


def _tooltip(content: Content) -> list[Any]:
    return [
        alt.Tooltip("point:N", title="point"),
        alt.Tooltip("mean:Q", title=f"mean {content.measure}", format=".4f"),
        alt.Tooltip("std:Q", title="standard deviation", format=".4f"),
        alt.Tooltip("low:Q", title="interval from", format=".4f"),
        alt.Tooltip("high:Q", title="to", format=".4f"),
        alt.Tooltip("n:Q", title="trials complete"),
        alt.Tooltip("trials:Q", title="of"),
        alt.Tooltip("failed:N", title="no result"),
        alt.Tooltip("mark:N", title="rank"),
    ]


def _cells(content: Content, x: Axis, y: Axis, rows: list[dict[str, Any]]) -> dict[str, Any]:
    base = alt.Chart(alt.NamedData(name="rows")).encode(
        x=alt.X("xs:O", sort=[plain(value) for value in x.values], title=x.label, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("ys:O", sort=[plain(value) for value in reversed(y.values)], title=y.label),
    )
    low, high = _spanned([row["mean"] for row in rows if row["state"] == "complete"])
    whole = alt.datum.state == "complete"
    colour = alt.Color(
        "mean:Q",
        scale=alt.Scale(scheme=SCALE, domain=[low, high]),
        legend=alt.Legend(title=f"mean {content.measure}", gradientLength=180, format=".2f"),
    )
    full = (
        base.transform_filter(whole)
        .mark_rect(stroke="var(--paper)", strokeWidth=2)
        .encode(color=colour, tooltip=_tooltip(content))
    )
    # A layer without a mark would be a picture without a name to a screen reader.
    layers: list[Any] = [full]
    if any(row["state"] != "complete" for row in rows):
        layers.append(
            base.transform_filter(alt.datum.state != "complete")
            .mark_rect(fill="url(#hatch)", stroke="var(--ink)", strokeWidth=1, strokeDash=[4, 3])
            .encode(tooltip=_tooltip(content))
        )
    if any(row["mark"] == MARKS[0] for row in rows):
        layers.append(
            base.transform_filter(alt.datum.mark == MARKS[0])
            .mark_rect(fill="transparent", stroke="var(--ink)", strokeWidth=3)
            .encode(tooltip=_tooltip(content))
        )
    letters = (
        alt.when(alt.datum.state != "complete")
        .then(alt.value("var(--ink)"))
        .when(alt.datum.mean >= low + LIGHT_FROM * (high - low))
        .then(alt.value("black"))
        .otherwise(alt.value("white"))
    )
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
    return as_spec(
        alt.layer(*layers, *texts).properties(width="container", height=52 * len(y.values)),
        f"Map of mean {content.measure} over {x.label} and {y.label}; the table of points says the same in numbers.",
    )


def _scatter(content: Content, x: Axis, y: Axis, rows: list[dict[str, Any]]) -> dict[str, Any]:
    means = [row["mean"] for row in rows if row["state"] == "complete"]
    base = (
        alt.Chart(alt.NamedData(name="rows"))
        .transform_calculate(kind="datum.state == 'complete' ? datum.mark : 'not complete'")
        .encode(
            x=alt.X("x:Q", title=x.label, scale=_scale(x)),
            y=alt.Y("y:Q", title=y.label, scale=_scale(y)),
            shape=alt.Shape(
                "kind:N",
                scale=alt.Scale(domain=[*MARKS, "not complete"], range=["diamond", "triangle-up", "circle", "cross"]),
                legend=alt.Legend(title=None, symbolFillColor="transparent", symbolStrokeColor="var(--ink)"),
            ),
            tooltip=_tooltip(content),
        )
    )
    look: dict[str, Any] = {"size": 130, "strokeWidth": 1.5, "stroke": "var(--ink)"}
    whole = (
        base.transform_filter(alt.datum.state == "complete")
        .mark_point(**look)
        .encode(
            fill=alt.Fill(
                "mean:Q",
                scale=alt.Scale(scheme=SCALE, domain=_spanned(means)),
                legend=alt.Legend(title=f"mean {content.measure}", gradientLength=180, format=".2f"),
            )
        )
    )
    layers: list[Any] = [whole] if means else []
    if len(means) < len(rows):
        layers.append(base.transform_filter(alt.datum.state != "complete").mark_point(fill="transparent", **look))
    return as_spec(
        alt.layer(*layers).properties(width="container", height=380),
        f"Points over {x.label} and {y.label}, coloured by mean {content.measure}.",
    )


def _line(content: Content, x: Axis, rows: list[dict[str, Any]]) -> dict[str, Any]:
    base = alt.Chart(alt.NamedData(name="rows")).encode(x=alt.X("x:Q", title=x.label, scale=_scale(x), axis=_values(x)))
    whole = base.transform_filter(alt.datum.state == "complete")
    y = alt.Y("mean:Q", title=f"mean {content.measure}", scale=alt.Scale(zero=False))
    line = whole.mark_line(color="var(--c1)", opacity=0.6).encode(y=y)
    rule = whole.mark_rule(color="var(--c1)", strokeWidth=2).encode(y=alt.Y("low:Q"), y2="high:Q")
    dots = whole.mark_point(filled=True, size=90, opacity=1).encode(
        y=y, color=_mark_colour(None), shape=_mark_shape(None), tooltip=_tooltip(content)
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
        alt.layer(*layers).properties(width="container", height=300),
        f"Mean {content.measure} with its interval over {x.label}.",
    )


def ranking(content: Content, legend: Any = None) -> dict[str, Any]:
    """Dot and interval of each point, and each trial's score as a small stroke.

    Args:
        legend: of what the marks mean, where no caption says it.
    """
    shown = [one for one in content.ranked if one.point.mean is not None][:MOST_ROWS]
    order = [one.label for one in shown]
    rows = [
        {
            "point": one.label,
            "mean": one.point.mean,
            "std": one.point.std,
            "low": one.low,
            "high": one.high,
            "n": len(one.point.scores),
            "trials": one.point.planned,
            "failed": without_result(one.point.statuses) or "none",
            "mark": _mark(one) if one.point.complete else "not complete",
        }
        for one in shown
    ]
    strokes = [
        {"point": one.label, "score": score, "seed": repeat(key), "fold": key[1]}
        for one in shown
        for key, score in one.point.scores.items()
    ]
    y = alt.Y("point:N", sort=order, title=None, axis=alt.Axis(labelLimit=170))
    x = alt.X("mean:Q", title=content.measure, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=7))
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
                alt.Tooltip("score:Q", format=".4f"),
            ],
        )
    )
    rule = base.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q"), x2="high:Q", color=_mark_colour(legend))
    dots = base.mark_point(filled=True, size=80, opacity=1).encode(
        x=x, color=_mark_colour(legend), shape=_mark_shape(legend), tooltip=_tooltip(content)
    )
    layers: list[Any] = [scores, *([rule] if has_ends(rows) else []), dots]
    if content.baselines:
        lines = [{"mean": one.mean, "name": f"untrained: {one.mean:.3f}"} for one in content.baselines]
        line = alt.Chart(alt.InlineData(values=lines))
        layers.insert(
            0, line.mark_rule(strokeDash=[6, 4], color="var(--c4)", strokeWidth=2).encode(x=x, tooltip="name:N")
        )
        layers.append(line.mark_text(align="left", dx=4, y=-8, color="var(--c4)").encode(x=x, text="name:N"))
    return as_spec(
        alt.layer(*layers).properties(width="container", height=24 * len(rows)),
        f"Points by mean {content.measure}, best first, with interval and single trials.",
    )


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
    """By modality, that of its curves."""
    own = (SERIES[3], SERIES[2], SERIES[1], SERIES[4], SERIES[6], SERIES[5], SERIES[7])
    return {name: own[i % len(own)] for i, name in enumerate(modalities)}


def curve(modalities: Sequence[str]) -> dict[str, Any]:
    """One panel of a trial's curves; the page puts its rows in: epoch, value, series, trial."""
    chart = _curve(alt.Chart(alt.NamedData(name="rows")), modalities, None)
    return as_spec(chart.properties(width="container", height=130), "Curve of one trial over its epochs.")


def curves(panels: Sequence[str], modalities: Sequence[str]) -> dict[str, Any]:
    """All panels of one trial's curves, for a paper: rows of epoch, value, series, panel."""
    legend = alt.Legend(title=None, values=list(modalities), orient="top")
    chart = _curve(alt.Chart(), modalities, legend).properties(width=200, height=110)
    facet = alt.Facet("panel:N", sort=list(panels), header=alt.Header(title=None, labelAnchor="start"))
    grid = chart.facet(facet, data=alt.NamedData(name="rows"), columns=3).resolve_scale(
        x="independent", y="independent"
    )
    return as_spec(grid, "Curves of one trial over its epochs.")


def _curve(data: Any, modalities: Sequence[str], legend: Any) -> Any:
    own = colours(modalities)
    return data.mark_line(point=alt.OverlayMarkDef(size=14), strokeWidth=1.8).encode(
        x=alt.X("epoch:Q", title="epoch", axis=_epochs()),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4, format="~g")),
        color=alt.Color(
            "series:N",
            scale=alt.Scale(domain=["", *own], range=[SERIES[0], *own.values()]),
            legend=legend,
        ),
        strokeDash=alt.StrokeDash(
            "trial:N", scale=alt.Scale(domain=["first", "second"], range=[[1, 0], [5, 4]]), legend=None
        ),
        tooltip=["trial:N", "series:N", "epoch:Q", alt.Tooltip("value:Q", format=".4g")],
    )


def _mark_colour(legend: Any) -> Any:
    return alt.Color(
        "mark:N",
        scale=alt.Scale(domain=[*MARKS, "not complete"], range=["var(--c4)", "var(--c1)", "var(--muted)", "var(--c5)"]),
        legend=legend,
    )


def _mark_shape(legend: Any) -> Any:
    return alt.Shape(
        "mark:N",
        scale=alt.Scale(domain=[*MARKS, "not complete"], range=["diamond", "triangle-up", "circle", "cross"]),
        legend=legend,
    )


def _epochs() -> Any:
    """Whole numbers only."""
    return alt.Axis(tickCount=4, grid=False, labelExpr="datum.value % 1 ? '' : format(datum.value, 'd')")


def _values(axis: Axis) -> Any:
    """Where they are few, the values that were tried; otherwise round numbers."""
    return alt.Axis(values=list(axis.values), format="~g", grid=False) if len(axis.values) <= 12 else alt.Axis()


def _scale(axis: Axis) -> Any:
    """Logarithmic where it was searched so, or spans a factor of ten or more."""
    low, high = axis.values[0], axis.values[-1]
    if axis.log or (low > 0 and high / low >= 10):
        return alt.Scale(type="log", nice=False, padding=16)
    return alt.Scale(zero=False, padding=16)


def _spanned(means: Sequence[float]) -> list[float]:
    if not means:
        return [0, 1]
    low, high = min(means), max(means)
    return [low, high] if high > low else [low - 0.01, high + 0.01]
