"""Differences of a study's points from those of another study, by the paired test."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from mmssl.errors import UserError
from mmssl.experiments.charts import as_spec, has_ends
from mmssl.experiments.compared import comparable, differing
from mmssl.report.charts import MARKS, MOST_ROWS, PICKED, POINT_SIZE, Landscape, matrix
from mmssl.report.content import Content, Ranked, axes_of, label
from mmssl.study.folder import Study
from mmssl.study.plan import Plan
from mmssl.study.results import Point, points_in
from mmssl.study.scores import Estimate, apart
from mmssl.study.space import LABEL_DRAW, RECIPE
from mmssl.study.words import SYSTEM, VARIANT, percent

# Black letters can be read on each: below, the same, above.
_SHADES = ["#d98a3d", "#f3cfa4", "#f7f7f7", "#c8d9ec", "#7fa9d4"]
_SURE, _UNSURE, _UNTESTED = "significant", "within the noise", "not tested"


@dataclass(frozen=True)
class Difference:
    """How far a point is above the point with the same values in the other study."""

    ranked: Ranked
    beside: str
    """The other point; empty where there is none."""
    estimate: Estimate
    pairs: int
    """Trials of the same seed and fold; of the same fold where no seed is in both."""

    @property
    def significance(self) -> str:
        if not self.estimate.over:
            return _UNTESTED
        return _UNSURE if self.estimate.within_noise else _SURE


@dataclass(frozen=True)
class Against:
    name: str
    differences: list[Difference]
    """In the order of the study's ranking; without a mean where there is nothing to compare with."""
    notes: list[str]

    @property
    def tested(self) -> int:
        return sum(one.significance != _UNTESTED for one in self.differences)

    @property
    def significant(self) -> int:
        return sum(one.significance == _SURE for one in self.differences)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The differences as JSON has them."""
        return [
            {
                "point_id": one.ranked.point.point_id, "point": one.ranked.label, "beside": one.beside or None,
                "difference": one.estimate.mean, "low": one.estimate.low, "high": one.estimate.high,
                "pairs": one.pairs, "significant": one.significance == _SURE,
            }
            for one in self.differences
        ]  # fmt: skip


def against(content: Content, other: Study) -> Against:
    """Each point's difference from the other study's point with the same values of all that either study searches;
    from its only point where it has one.

    Raises:
        UserError: the two have different recordings or scored splits, or no point has its like.
    """
    plan, second = content.plan, other.plan()
    comparable(plan, second, plan.name, other.name)
    if content.metric not in second.scores:
        raise UserError(f"{other.name}: has no {content.metric}, by which {plan.name} is compared")
    found = points_in(other, second, content.metric)
    axes = axes_of(second, found)
    searched = sorted(_searched(plan) | _searched(second))
    alike: dict[str, list[Point]] = defaultdict(list)
    for point in found:
        alike[_values(second, point, searched)].append(point)
    differences: list[Difference] = []
    pairs: list[tuple[Point, Point]] = []
    for one in content.ranked:
        likes = found if len(found) == 1 else alike[_values(plan, one.point, searched)]
        if len(likes) == 1:
            pairs.append((one.point, likes[0]))
            estimate, count = apart(one.point.scores, likes[0].scores, one.point.recordings)
            differences.append(Difference(one, label(axes, likes[0]), estimate, count))
        else:
            differences.append(Difference(one, "", Estimate(None, None, None, ""), 0))
    if not pairs:
        raise UserError(
            f"{other.name}: none of its points has the values of one of {plan.name}'s: of all that either searches "
            f"({', '.join(searched)}) both must have the same"
        )
    return Against(other.name, differences, _notes(plan, second, pairs, len(content.ranked), searched))


def _searched(plan: Plan) -> set[str]:
    variants = {knob for knobs in plan.space.variants.values() for knob in knobs}
    return {*plan.space.searched, *plan.space.ranges, *variants} - {SYSTEM, VARIANT, LABEL_DRAW}


def _values(plan: Plan, point: Point, searched: Sequence[str]) -> str:
    trial = plan.candidates[point.point_id][0]
    # Variants may start from recipes of their own.
    knobs: Mapping[str, Any] = {**plan.recipe(trial).knobs(), RECIPE: plan.recipe_name(trial)}
    return repr([plan.system(trial), *(knobs.get(knob) for knob in searched)])


def _notes(
    plan: Plan, second: Plan, pairs: Sequence[tuple[Point, Point]], count: int, searched: Sequence[str]
) -> list[str]:
    mine, beside = (one.recipe(one.candidates[p.point_id][0]) for one, p in zip((plan, second), pairs[0], strict=True))
    # What is searched may differ from pair to pair: the table says with which point each is compared.
    fixed = [words for words in differing(mine, beside) if words.partition(" ")[0] not in searched]
    notes = [f"{second.name} differs in {'; '.join(fixed) or 'no fixed knob'}"]
    if len(pairs) < count:
        notes.append(f"{count - len(pairs)} of {count} points have no like in {second.name}")
    if any(a.scores.keys() != b.scores.keys() for a, b in pairs):
        notes.append("not all trials have one of the same seed and fold in the other study: differences are over those")
    return notes


def spec(content: Content, found: Against, over: Landscape | None) -> dict[str, Any]:
    """The map of differences where the study has a map of cells; otherwise a list of them."""
    if over is None or over.kind != "cells" or over.y is None:
        return _list(content, found)
    most = max((abs(row["mean"]) for row in rows(found, over) if row["mean"] is not None), default=0) or 0.01
    return matrix(
        over.x, over.y, rows(found, over),
        alt.Scale(domain=[-most, -most / 2, 0, most / 2, most], range=_SHADES), "difference, in points",
        "format(100 * datum.value, '+.1f')",
        alt.when(alt.datum.state == "complete").then(alt.value("black")).otherwise(alt.value("var(--ink)")),
        _tooltip(), f"Map of differences in {content.measure} from {found.name}; the table below says the same.",
    )  # fmt: skip


def rows(found: Against, over: Landscape | None) -> list[dict[str, Any]]:
    """The chart's rows, one a point; with its place on the map where there is one."""
    places = {row["id"]: row for row in over.rows} if over else {}
    drawn: list[dict[str, Any]] = []
    for one in found.differences:
        point, mean = one.ranked.point, one.estimate.mean
        beside = places.get(point.point_id, {})
        sign = "● " if one.significance == _SURE else ""
        drawn.append(
            {
                "id": point.point_id, "point": one.ranked.label, "beside": one.beside, "mean": mean,
                "low": one.estimate.low, "high": one.estimate.high, "n": one.pairs, "significance": one.significance,
                "points": signed(mean), "interval": interval(one.estimate),
                "state": "not compared" if mean is None else "complete",
                "mark": MARKS[0] if one.significance == _SURE else MARKS[2],
                "first": "-" if mean is None else f"{sign}{signed(mean)}", "second": _half(one.estimate),
                "brief": "-" if mean is None else f"{100 * mean:+.0f}",
                **{key: beside[key] for key in ("x", "xs", "y", "ys", "slice") if key in beside},
            }
        )  # fmt: skip
    return drawn


def _half(estimate: Estimate) -> str:
    """Half the width of a difference's interval, which is symmetric."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"± {percent((estimate.high - estimate.low) / 2)}"


def signed(difference: float | None) -> str:
    """A difference in percentage points, with its sign."""
    words = percent(difference)
    return words if difference is None or words.startswith("-") else f"+{words}"


def interval(estimate: Estimate) -> str:
    """The ends of a difference's interval, in percentage points."""
    return "-" if estimate.low is None else f"{signed(estimate.low)} to {signed(estimate.high)}"


def _list(content: Content, found: Against) -> dict[str, Any]:
    drawn = [row for row in rows(found, None) if row["mean"] is not None][:MOST_ROWS]
    order = [row["point"] for row in drawn]
    base = alt.Chart(alt.InlineData(values=drawn)).encode(
        y=alt.Y("point:N", sort=order, title=None, axis=alt.Axis(labelLimit=170))
    )
    kinds = [_SURE, _UNSURE, _UNTESTED]
    colours = alt.Scale(domain=kinds, range=["var(--c1)", "var(--muted)", "var(--muted)"])
    colour = alt.Color("significance:N", scale=colours, legend=alt.Legend(title=None))
    shape = alt.Shape("significance:N", scale=alt.Scale(domain=kinds, range=["diamond", "circle", "cross"]))
    title = f"difference in {content.measure} from {found.name}"
    # In percentage points: a difference of 20 is not one by 20 %.
    points = "format(100 * datum.value, '+~f')"
    dots = base.mark_point(filled=True, size=POINT_SIZE, opacity=1).encode(
        x=alt.X("mean:Q", title=f"{title}, in percentage points", axis=alt.Axis(labelExpr=points, tickCount=5)),
        color=colour, shape=shape, tooltip=_tooltip(),
    )  # fmt: skip
    zero = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(color="var(--ink)").encode(x="zero:Q")
    ends = base.mark_rule(strokeWidth=2.5).encode(x="low:Q", x2="high:Q", color=colour)
    layers = [zero, *([ends] if has_ends(drawn) else []), dots]
    return as_spec(
        alt.layer(*layers).properties(width="container", height=24 * len(drawn)).add_params(PICKED),
        f"Difference in {content.measure} from {found.name} of each point, with its interval.",
    )


def _tooltip() -> list[Any]:
    return [
        alt.Tooltip("point:N"),
        alt.Tooltip("beside:N", title="compared with"),
        alt.Tooltip("points:N", title="difference in points"),
        alt.Tooltip("interval:N", title="95 % interval"),
        alt.Tooltip("n:Q", title="pairs of trials"),
        alt.Tooltip("significance:N", title="it is"),
    ]
