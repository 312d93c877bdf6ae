"""A study's figures as files for a paper, and its points as a LaTeX and a Markdown table."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from mmssl.experiments import paper_tables
from mmssl.experiments.comparison import few_label_figures
from mmssl.experiments.paper_tables import md, tex
from mmssl.export.encoders import representative
from mmssl.report.charts import MOST_ROWS, Landscape, landscape
from mmssl.report.content import Axis, Content, Ranked, plain, shares_of
from mmssl.report.exhibit import Exhibit

KINDS = ("png", "svg", "pdf")
Draw = Callable[[Path], None]


def write(content: Content, exhibit: Exhibit | None, folder: Path) -> list[Path]:
    """Write each figure there is something to draw for, and the tables; gives the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, draw in _figures(content, exhibit).items():
        for kind in KINDS:
            path = folder / f"{name}.{kind}"
            draw(path)
            written.append(path)
    for name, text in (("table.tex", latex(content)), ("table.md", markdown(content))):
        path = folder / name
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _figures(content: Content, exhibit: Exhibit | None) -> dict[str, Draw]:
    from mmssl.experiments import figures

    plan, title = content.plan, f"{content.plan.name} on {content.plan.dataset.name}"
    drawn: dict[str, Draw] = {}
    over = landscape(content)
    if over is not None:
        drawn |= _map(content, over, title)
    scored = [one for one in content.ranked if one.point.mean is not None][:MOST_ROWS]
    if scored:
        rows = [
            (one.label, one.point.mean or 0.0, one.low, one.high, one.mark, list(one.point.scores.values()))
            for one in scored
        ]
        baseline = content.baselines[0].mean if content.baselines else None
        drawn["ranking"] = partial(
            figures.ranking_figure, rows=rows, baseline=baseline, title=title, measure=content.measure
        )
    shown = content.shown
    if shown is not None:
        trial = representative(plan, shown.point)
        panels = _panels(content, trial.trial_id)
        if panels:
            called = f"{title}, {shown.label}: trial {trial.trial_id[:8]}"
            drawn["curves"] = partial(figures.curves_figure, panels=panels, title=called)
        counts = content.confusions.get(shown.point.point_id)
        if counts is not None and len(counts):
            drawn["confusion"] = partial(
                figures.confusion_figure,
                matrix=shares_of(counts),
                classes=content.classes,
                title=f"{title}, {shown.label}",
            )
    if exhibit is not None:
        index = {name: i for i, name in enumerate(content.classes)}
        for one in exhibit.maps:
            if len(set(one.modalities)) > 1:
                continue  # The papers' figures tell classes apart by marker, so that none is left for modalities.
            labels = [index[exhibit.recordings[i]["label"]] for i in one.recordings]
            drawn[f"tsne-{'-'.join(filter(None, {*one.modalities})) or 'joined'}"] = partial(
                figures.scatter_figure,
                points=one.xy,
                labels=np.array(labels, dtype=np.int64),
                classes=content.classes,
                title=f"{title}: t-SNE, {one.name}",
            )
    return drawn | few_label_figures(content.few_labels, plan.dataset.name, content.metric)


def _map(content: Content, over: Landscape, title: str) -> dict[str, Draw]:
    from mmssl.experiments import figures

    if over.kind == "line":
        rows = [(row["x"], row["mean"], row["low"], row["high"]) for row in over.rows if row["state"] == "complete"]
        draw = partial(figures.line_figure, rows=rows, name=over.x.label, title=title, measure=content.measure)
        return {"map": draw} if rows else {}
    if over.y is None:
        return {}
    if over.kind == "scatter":
        rows = [row for row in over.rows if row["state"] == "complete"]
        draw = partial(
            figures.scatter_score_figure,
            points=np.array([(row["x"], row["y"]) for row in rows], dtype=np.float64).reshape(-1, 2),
            scores=np.array([row["mean"] for row in rows], dtype=np.float64),
            names=(over.x.label, over.y.label),
            title=title,
            measure=content.measure,
        )
        return {"map": draw} if rows else {}
    parts = over.slices or [""]
    drawn: dict[str, Draw] = {}
    for i, part in enumerate(parts):
        cells = {
            (row["xs"], row["ys"]): (row["mean"], row["std"], _SIGNS.get(row["mark"], ""))
            if row["state"] == "complete"
            else (math.nan, None, f"{row['n']} of {row['trials']}")
            for row in over.rows
            if row["slice"] == part
        }
        drawn["map" if len(parts) == 1 else f"map-{i + 1}"] = partial(
            figures.map_figure,
            cells=cells,
            columns=[plain(value) for value in over.x.values],
            rows=[plain(value) for value in over.y.values],
            names=(over.x.label, over.y.label),
            title=f"{title}, {part}" if part else title,
            measure=f"mean {content.measure}",
        )
    return drawn


_SIGNS = {"best": "\u25c6 ", "tied with the best": "\u25b2 "}
_PANELS = {
    "loss": {"": "train.loss"},
    "invariance": {"": "train.invariance"},
    "variance": {"": "train.variance"},
    "covariance": {"": "train.covariance"},
    "on diagonal": {"": "train.on_diagonal"},
    "off diagonal": {"": "train.off_diagonal"},
    "similarity of positives": {"": "train.positive"},
    "similarity of negatives": {"": "train.negative"},
    "std of embeddings": {"imu": "train.imu.std", "skeleton": "train.skeleton.std"},
    "effective rank": {"imu": "train.imu.effective_rank", "skeleton": "train.skeleton.effective_rank"},
    "fine-tuning: loss": {"": "train.finetune.loss"},
    "fine-tuning: training accuracy": {"": "train.finetune.accuracy"},
}


def _panels(content: Content, trial_id: str) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    panels: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    for phase in ("pretrain", "finetune"):
        curves = content.curves.get(trial_id, {}).get(phase)
        for name, lines in _PANELS.items() if curves else ():
            found = {
                which: (curves.epochs, [math.nan if value is None else value for value in curves.values[column]])
                for which, column in lines.items()
                if curves and column in curves.values
            }
            if found:
                panels[name] = found
    return panels


def latex(content: Content) -> str:
    """The points as a booktabs table: best first, the best in bold, those tied with it with a dagger."""
    axes = content.axes
    rows: list[list[str]] = []
    for one in content.ranked:
        mean, interval = _figures_of(one)
        words = [tex(_value(axis, one)) for axis in axes]
        cells = [*words, tex(mean) + (r"$^\dagger$" if one.mark == "tied" else ""), interval, _count(one)]
        rows.append([rf"\textbf{{{cell}}}" for cell in cells] if one.mark == "best" else cells)
    heads = [*(tex(axis.label) for axis in axes), tex(content.measure), r"95\,\% interval", "$n$"]
    return paper_tables.latex(tex(_caption(content)), "l" * len(axes) + "rrr", heads, rows)


def markdown(content: Content) -> str:
    """The same as a Markdown table."""
    rows = [
        [*(md(_value(axis, one)) for axis in content.axes), *_figures_of(one), _count(one), one.mark]
        for one in content.ranked
    ]
    heads = [*(md(axis.label) for axis in content.axes), content.measure, "95 % interval", "n", ""]
    return paper_tables.markdown(md(_caption(content)), heads, rows)


def _caption(content: Content) -> str:
    tied = f" Tied: not told from the best ({content.choice.test})." if content.choice else ""
    baseline = "".join(
        f" Untrained encoders: {one.mean:.3f}" + (f" ± {one.std:.3f}." if one.std is not None else ".")
        for one in content.baselines[:1]
    )
    return (
        f"{content.plan.name}: mean {content.measure} ± standard deviation over seeds and folds; n: complete trials of "
        f"those planned. {content.protocol}. {content.interval}.{tied}{baseline}"
    )


def _value(axis: Axis, one: Ranked) -> str:
    return plain(axis.of(one.point))


def _figures_of(one: Ranked) -> tuple[str, str]:
    if one.point.mean is None:
        return "-", "-"
    mean = f"{one.point.mean:.3f}" + (f" ± {one.point.std:.3f}" if one.point.std is not None else "")
    return mean, f"{one.low:.3f} to {one.high:.3f}" if one.low is not None and one.high is not None else "-"


def _count(one: Ranked) -> str:
    return f"{len(one.point.scores)}/{one.point.planned}"
