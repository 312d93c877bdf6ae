"""A study's figures as files for a paper, and its points as a LaTeX and a Markdown table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import altair as alt

from mmssl.experiments import charts, paper_tables
from mmssl.experiments.comparison import few_label_charts
from mmssl.experiments.paper_tables import md, tex
from mmssl.report.charts import curves, landscape, ranking
from mmssl.report.content import Content, Ranked, plain, shares_of
from mmssl.study.results import representative
from mmssl.study.words import percent

# What looks into encoders loads torch; a page of trials alone does without.
if TYPE_CHECKING:
    from mmssl.report.exhibit import Exhibit


class Figure(NamedTuple):
    spec: dict[str, Any]
    title: str
    rows: list[dict[str, Any]] = []  # noqa: RUF012 - never changed
    width: int = 420


def write(content: Content, exhibit: "Exhibit | None", folder: Path, kinds: Sequence[str] = charts.KINDS) -> list[Path]:
    """Write each figure there is something to draw for, in each of the kinds, and the tables; gives the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, one in _figures(content, exhibit).items():
        for kind in kinds:
            path = folder / f"{name}.{kind}"
            charts.write(path, one.spec, one.title, one.rows, one.width)
            written.append(path)
    for name, text in (("table.tex", latex(content)), ("table.md", markdown(content))):
        path = folder / name
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _figures(content: Content, exhibit: "Exhibit | None") -> dict[str, Figure]:
    plan, title = content.plan, f"{content.plan.name} on {content.plan.dataset.name}"
    found: dict[str, Figure] = {}
    over = landscape(content)
    if over is not None:
        width = max(420, 84 * len(over.x.values)) if over.kind == "cells" else 420
        for i, part in enumerate(over.slices or [""]):
            rows = [row for row in over.rows if row["slice"] == part]
            name = f"map-{i + 1}" if len(over.slices) > 1 else "map"
            found[name] = Figure(over.spec, f"{title}, {part}" if part else title, rows, width)
    if any(one.point.mean is not None for one in content.ranked):
        found["ranking"] = Figure(ranking(content, alt.Legend(title=None)), title)
    shown = content.shown
    if shown is not None:
        trial = representative(plan, shown.point)
        modalities = list(plan.dataset.modalities)
        panels = _panels(modalities)
        rows = _curves(content, trial.trial_id, panels)
        if rows:
            called = f"{title}, {shown.label}: trial {trial.trial_id[:8]}"
            found["curves"] = Figure(curves(list(panels), modalities), called, rows)
        counts = content.confusions.get(shown.point.point_id)
        if counts is not None and len(counts):
            cells = charts.confusion_rows(shares_of(counts), content.classes)
            called = f"{title}, {shown.label}: per cent of the true class"
            found["confusion"] = Figure(charts.confusion(content.classes), called, cells)
    index = {name: i for i, name in enumerate(content.classes)}
    for one in exhibit.maps if exhibit is not None else ():
        if len(set(one.modalities)) > 1:
            continue  # A paper shows classes by shape, so that none is left for modalities.
        labels = [index[exhibit.recordings[i]["label"]] for i in one.recordings] if exhibit else []
        spec = charts.signs(one.xy, labels, content.classes)
        found[f"tsne-{'-'.join(filter(None, {*one.modalities})) or 'joined'}"] = Figure(
            spec, f"{title}: t-SNE, {one.name}"
        )
    few = few_label_charts(content.few_labels, plan.dataset.name, content.metric)
    return found | {name: Figure(*one) for name, one in few.items()}


_PANELS = {
    "loss": {"": "train.loss"},
    "invariance": {"": "train.invariance"},
    "variance": {"": "train.variance"},
    "covariance": {"": "train.covariance"},
    "on diagonal": {"": "train.on_diagonal"},
    "off diagonal": {"": "train.off_diagonal"},
    "similarity of positives": {"": "train.positive"},
    "similarity of negatives": {"": "train.negative"},
}
_OF_MODALITIES = {"std of embeddings": "std", "effective rank": "effective_rank"}
_OF_HEADS = {
    "fine-tuning: loss": {"": "train.finetune.loss"},
    "fine-tuning: training accuracy (%)": {"": "train.finetune.accuracy"},
}


def _panels(modalities: Sequence[str]) -> dict[str, dict[str, str]]:
    """Panels of curves by title: the column of each curve, by the curve's name."""
    own = {title: {name: f"train.{name}.{what}" for name in modalities} for title, what in _OF_MODALITIES.items()}
    return {**_PANELS, **own, **_OF_HEADS}


def _curves(content: Content, trial_id: str, panels: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
    return [
        {"epoch": epoch, "value": value and value * (100 if "%" in name else 1), "series": which, "panel": name}
        for own in content.curves.get(trial_id, {}).values()
        for name, lines in panels.items()
        for which, column in lines.items()
        for epoch, value in zip(own.epochs, own.values.get(column, ()), strict=False)
    ]


def latex(content: Content) -> str:
    """The points as a booktabs table: best first, the best in bold, those tied with it with a dagger."""
    rows: list[list[str]] = []
    for one in content.ranked:
        *knobs, mean, interval, count = _cells(content, one)
        cells = [*map(tex, knobs), tex(mean) + (r"$^\dagger$" if one.mark == "tied" else ""), interval, count]
        rows.append([rf"\textbf{{{cell}}}" for cell in cells] if one.mark == "best" else cells)
    heads = [*(tex(axis.label) for axis in content.axes), tex(f"{content.measure} (%)"), r"95\,\% interval", "$n$"]
    return paper_tables.latex(tex(_caption(content)), "l" * len(content.axes) + "rrr", heads, rows)


def markdown(content: Content) -> str:
    """The points as a Markdown table, best first."""
    rows = [[*map(md, _cells(content, one)), one.mark] for one in content.ranked]
    heads = [*(md(axis.label) for axis in content.axes), f"{content.measure} (%)", "95 % interval", "n", ""]
    return paper_tables.markdown(md(_caption(content)), heads, rows)


def _caption(content: Content) -> str:
    tied = f" Tied: not significantly different from the best ({content.choice.test})." if content.choice else ""
    beside = "".join(
        f" {one.name.capitalize()}: {percent(one.mean)}{f' ± {percent(one.std)}' if one.std is not None else ''} %."
        for one in content.references
    )
    return (
        f"{content.plan.name}: mean {content.measure} ± standard deviation over seeds and folds; n: complete trials of "
        f"those planned. {content.protocol}. {content.interval}.{tied}{beside}"
    )


def _cells(content: Content, one: Ranked) -> list[str]:
    """A point's knobs, mean, interval, and number of complete trials."""
    point = one.point
    mean = percent(point.mean) + (f" ± {percent(point.std)}" if point.std is not None else "")
    interval = "-" if one.low is None else f"{percent(one.low)} to {percent(one.high)}"
    return [*(plain(axis.of(point)) for axis in content.axes), mean, interval, f"{len(point.scores)}/{point.planned}"]
