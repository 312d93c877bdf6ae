"""The page: facts and charts put into one HTML file that fetches nothing."""

import base64
import hashlib
import re
import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

import vl_convert
from jinja2 import Environment
from markupsafe import Markup, escape

from mmssl.data.description import Signal
from mmssl.evaluation import whole_percent
from mmssl.experiments.charts import SERIES, SHAPES, confusion, few_labels, one_line, scatter
from mmssl.report import against, charts
from mmssl.report.against import Against
from mmssl.report.content import MOST_RANKED, Content, Ranked, Reference, ended_badly, plain, shares_of
from mmssl.study.baseline import baseline_command, data_words, set_word
from mmssl.study.results import Choice, Point, representative
from mmssl.study.scores import repeat
from mmssl.study.space import is_shipped, text_of
from mmssl.study.verdict import best_is_untrained, is_above
from mmssl.study.words import percent, without_result

# What looks into encoders loads torch; a page of trials alone does without.
if TYPE_CHECKING:
    from mmssl.report.exhibit import Exhibit


_MOST_LISTED = 6
"""Numbers that are listed one by one."""


class Verdict(NamedTuple):
    headline: str
    lines: list[str]


def render(content: Content, exhibit: "Exhibit | None", no_exhibit: str, beside: Against | None = None) -> str:
    """The whole file.

    Args:
        no_exhibit: why there is none, as a sentence.
        beside: differences from another study.
    """
    plan = content.plan
    landscape = charts.landscape(content)
    kept = {name: files("mmssl.report").joinpath(f"page.{name}").read_text("utf-8") for name in ("html", "css", "js")}
    vega = _vega()
    if "</script" in (vega + kept["js"]).lower() or "<!--" in vega + kept["js"]:
        raise ValueError("the scripts would end before their end")
    statuses = content.status.trials
    shown = content.ranked[:MOST_RANKED]
    drawn = (landscape.x, landscape.y) if landscape else ()
    environment = Environment(autoescape=True, trim_blocks=True)
    environment.filters.update(whole=_whole, plain=plain)
    where, rerun = _storage_words(content), ""
    if content.shown:
        trial = representative(plan, content.shown.point)
        rerun = f"mmssl-tune rerun {shlex.quote(plan.name)}:{trial.trial_id}{where}"
    template = environment.from_string(kept["html"])
    return template.render(
        content=content,
        plan=plan,
        status=content.status,
        over=content.status.ended == content.status.planned,
        statuses=", ".join(f"{count} {status}" for status, count in statuses.items()),
        made=f"{content.made:%Y-%m-%d %H:%M} UTC",
        percent=percent,
        signed=against.signed,
        difference=against.interval,
        in_per_cent=_in_per_cent,
        verdict=verdict(content),
        landscape=landscape,
        map_title=_map_title(landscape),
        why_no_map=_why_no_map(content),
        also_searched=[axis.label for axis in content.axes if len(axis.values) > 1 and axis not in drawn],
        ranked=_with_references(content, shown),
        cut=len(content.ranked) if len(shown) < len(content.ranked) else 0,
        any_scores=any(one.point.scores for one in content.ranked),
        MOST_RANKED=MOST_RANKED,
        without_result=without_result,
        complete_points=sum(one.point.complete for one in content.ranked),
        series=charts.colours(list(plan.dataset.modalities)),
        bad_trials=[row for row in content.trials if ended_badly(row)],
        trials=content.trials if len(content.trials) <= 1000 else [],
        name_of=lambda point_id: content.names[plan.candidate(point_id)],
        beside=beside,
        few_label_charts=list(_few_label_rows(content)),
        scored_words=_scored_words(content),
        trained=_trained(content),
        classes=one_line(content.classes),
        exhibit=exhibit,
        no_exhibit=no_exhibit,
        launch=_launch(content),
        rerun=rerun,
        baseline=""
        if content.baselines or plan.space.scored_split != "val"
        else baseline_command(plan, content.choice, where),
        export=f"mmssl-tune best {shlex.quote(plan.name)} --export --refit --out encoders{where}",
        environment=_environment(content),
        version=version("mmssl-tune"),
        hashes=" ".join(_hash(script) for script in (vega, kept["js"])),
        css=Markup(kept["css"]),  # noqa: S704 - files of this package
        js=Markup(kept["js"]),  # noqa: S704
        vega=Markup(vega),  # noqa: S704
        data=one_line(_data(content, landscape, exhibit, beside)),
    )


@cache
def _vega() -> str:
    """What draws the charts; to put it together takes two seconds."""
    return vl_convert.javascript_bundle()  # pyright: ignore[reportCallIssue] - its stub forgets the default


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


# What holds a hyphen, as 1e-05, a date or a name, would be broken after it; a path may be, after its slashes.
_WORDS = re.compile(r"\b([0-9a-f]{40,64})\b|([^\s/,;]*\w-\w[^\s/,;]*)")


def _whole(text: str) -> Markup:
    """The text with no line break within its numbers and names, and with buttons to copy its hashes."""
    pieces: list[Markup] = []
    place = 0
    for found in _WORDS.finditer(text):
        pieces.append(escape(text[place : found.start()]))
        form = '<code class="hash" data-copy="{0}">{0}</code>' if found[1] else '<span class="whole">{0}</span>'
        pieces.append(Markup(form).format(found[0]))  # noqa: S704 - what it is given is escaped
        place = found.end()
    return Markup("").join([*pieces, escape(text[place:])])


def verdict(content: Content) -> Verdict:
    """The result in plain words."""
    choice, best = content.choice, content.best
    if choice is None or best is None:
        lines = [_baseline_words(content)] if any(one.point.scores for one in content.ranked) else []
        return Verdict(content.undecided, lines)
    others = sum(one.point.complete for one in content.ranked) - 1
    mean = _mean_words(best.point.mean, best.point.std) + _held_against(content, choice)
    if not others:
        headline = f"{best.label}: {content.measure} {mean}. No other point is complete to compare it with."
    elif choice.noise is None:
        headline = (
            f"{best.label} scored highest, with {content.measure} {mean}; with one trial each there is no test of "
            f"whether the {others} other point{'s are' if others > 1 else ' is'} worse."
        )
    elif not choice.tied:
        headline = (
            f"{best.label} is best, with {content.measure} {mean}; the other {others} are worse beyond the noise."
        )
    elif len(choice.tied) == others:
        headline = (
            f"{best.label} scored highest, with {content.measure} {mean}, but "
            f"{'the other point is' if others == 1 else f'all {others} other points are'} statistically tied with it."
        )
    else:
        headline = (
            f"{best.label} scored highest, with {content.measure} {mean}; "
            f"{len(choice.tied)} of the other {others} points are statistically tied with it."
        )
    if is_above(choice, content.chance) is False:
        headline += " It is not above chance beyond the noise."
    spread = _spread_words(best.point)
    lines = [
        f"Mean{' and standard deviation' if best.point.std is not None else ''} {spread}, {_scored_words(content)}."
    ]
    if best.estimate.over:
        lines.append(f"95 % interval {_interval_words(best)}, over {best.estimate.over}.")
    if choice.threshold:
        lines.append(f"{choice.threshold.capitalize()}.")
    lines.append(_baseline_words(content))
    lines.append(
        "Points were compared on held-out training subjects alone: nothing on this page but the looks listed at its "
        "end has seen a test subject."
    )
    return Verdict(headline, lines)


def _mean_words(mean: float | None, std: float | None) -> str:
    return percent(mean) + (f" ± {percent(std)} %" if std is not None else " %")


def _interval_words(one: Ranked) -> str:
    return f"{percent(one.low)} to {percent(one.high)} %"


def _held_against(content: Content, choice: Choice) -> str:
    itself = best_is_untrained(content.plan, choice)
    found = [one for one in content.references if not (one.study and itself)]
    words = ", ".join(f"{one.name} {percent(one.mean)} %" for one in found)
    return f" ({words})" if words else ""


def _spread_words(point: Point) -> str:
    seeds, folds, *draws = (len(set(column)) for column in zip(*point.scores, strict=True))
    of_labels = [f"{count} draw{'s' * (count > 1)} of labels" for count in draws]
    return " x ".join([f"over {folds} fold{'s' * (folds > 1)}", *of_labels, f"{seeds} seed{'s' * (seeds > 1)}"])


def _scored_words(content: Content) -> str:
    if content.plan.space.scored_split == "test":
        return f"on the test subjects {', '.join(content.plan.dataset.test_subjects)}"
    return "on training subjects held out in turn"


def _baseline_words(content: Content) -> str:
    if content.choice and best_is_untrained(content.plan, content.choice):
        return "The best encoders are untrained ones."
    if content.baselines:
        one = content.baselines[0]
        seeds = "seeds and " if one.paired and one.partly is None else ""
        where = "" if one.study == content.plan.name else f" in study {one.study}, on the same {seeds}folds"
        score = f"Untrained encoders with the same head score {_mean_words(one.mean, one.std)}{where}"
        if one.gain.mean is None:
            return f"{score}."
        ends = noise = ""
        if one.gain.over:
            low, high = against.signed(one.gain.low), against.signed(one.gain.high)
            ends = f", 95 % interval over {one.gain.over} {low} to {high}"
            noise = ": within the noise" if one.gain.within_noise else ""
        side = "above" if one.gain.mean >= 0 else "below"
        pairs = f"in the {one.partly} trials that pair " if one.partly else ""
        apart = f"{percent(abs(one.gain.mean))} percentage points {side} them"
        return f"{score}; {pairs}the best point is {apart}{ends}{noise}."
    return (
        "No untrained encoders were scored, so what pre-training adds is not known: they are far better than chance. "
        'The command for it stands under "How to make it again".'
    )


def _trained(content: Content) -> list[tuple[str, str]]:
    """What the points' encoders take, and how long they pre-train."""
    plan, bases = content.plan, [*content.plan.bases.values()]
    pretrained = [base for base in bases if base.pretrain.epochs] or bases

    def searched(knob: str) -> set[int]:
        return {trials[0].point[knob] for trials in plan.candidates.values() if knob in trials[0].point}

    # Not from the points' recipes: each takes a millisecond to make.
    epochs = searched("pretrain.epochs") or {base.pretrain.epochs for base in bases}
    batches = searched("pretrain.batch_size") or {base.pretrain.batch_size for base in pretrained}
    modalities = dict.fromkeys(" + ".join(base.data.modalities) for base in bases)
    words = f"{_or(epochs)} epoch{'s' * (max(epochs) != 1)}, batches of {_or(batches)}" if max(epochs) else "none"
    return [("modalities", "; ".join(modalities)), ("pre-training", words)]


def _or(numbers: Collection[int]) -> str:
    """Numbers in rising order, or the least and the most of many."""
    listed = sorted(numbers)
    return f"{listed[0]} to {listed[-1]}" if len(listed) > _MOST_LISTED else " or ".join(map(str, listed))


def _storage_words(content: Content) -> str:
    root = content.where.rstrip("/").removesuffix(content.plan.name).rstrip("/")
    return f" --storage {shlex.quote(root)}" if root else ""


def _map_title(landscape: charts.Landscape | None) -> str:
    if landscape is None:
        return "Map"
    return f"Map of {landscape.x.label} and {landscape.y.label}" if landscape.y else f"Over {landscape.x.label}"


def _why_no_map(content: Content) -> str:
    differ = [axis for axis in content.axes if len(axis.values) > 1]
    if not differ:
        return f"a map needs two points, and there is {'one' if content.ranked else 'none yet'}"
    if len(differ) == 1:
        return f"a map over one knob needs numbers, and {differ[0].label} has none"
    numbers = [axis.label for axis in differ if axis.numeric]
    return f"points drawn from ranges need two knobs whose values are numbers, and only {', '.join(numbers)} has them"


def _with_references(content: Content, shown: Sequence[Ranked]) -> list[tuple[int, Ranked | Reference]]:
    """Points with their ranks; references stand among the complete points by their means, with rank 0."""
    beside = [one for one in content.references if one.study != content.plan.name]  # Else it is a point itself.
    complete = [one for one in shown if one.point.complete]
    placed: list[Ranked | Reference] = sorted(
        [*complete, *beside], key=lambda one: -((one.point.mean if isinstance(one, Ranked) else one.mean) or 0.0)
    )
    ranks = {id(one): rank for rank, one in enumerate(complete, 1)}
    return [(ranks.get(id(one), 0), one) for one in (*placed, *shown[len(complete) :])]


def _in_per_cent(column: str) -> bool:
    """Whether a column's numbers are scores."""
    return column.rpartition(".")[2] in ("accuracy", "f1")


def _launch(content: Content) -> str:
    """The command that launches the study's space; where that was somebody's own file, with lines that write it."""
    space = content.plan.space
    warm = "".join(f" --warm-start {shlex.quote(study.name)}" for study in content.plan.earlier)
    again = f"{data_words(content.plan)}{warm} --name {shlex.quote(content.plan.name + '-again')}"
    if is_shipped(space):
        systems = "".join(f" --system {name}" for name in space.systems) if space.systems != ["vicreg"] else ""
        settings = "".join(f" --set {shlex.quote(f'{knob}={set_word(value)}')}" for knob, value in space.fixed.items())
        return f"mmssl-tune launch {space.name} --recipe {space.recipe}{systems}{settings} {again}"
    file = shlex.quote(f"{space.name}.yaml")
    return f"cat > {file} <<'END'\n{text_of(space)}END\nmmssl-tune launch {file} {again}"


def _environment(content: Content) -> list[tuple[str, str]]:
    rows = content.trials

    def counted(column: str, what: str = "{}") -> str:
        counts: Counter[str] = Counter(what.format(row[column]) for row in rows if row[column] is not None)
        if len(counts) < 2:
            return next(iter(counts), "not known yet")
        return ", ".join(f"{name} ({count} trials)" for name, count in counts.most_common())

    started = [row["started"] for row in rows if row["started"]]
    finished = [row["finished"] for row in rows if row["finished"]]
    spent = sum(row["seconds.total"] or 0.0 for row in rows)
    clean = {row["git.clean"] for row in rows if row["git.clean"] is not None}
    state = {frozenset([True]): " (clean)", frozenset([False]): " (with changes that were not committed)"}
    facts = [
        ("data", f"{content.plan.dataset.name}, SHA-256 {content.plan.dataset.fingerprint}"),
        ("source of the data", " ".join(filter(None, (content.plan.dataset.source, content.plan.dataset.folder)))),
        ("seeds", ", ".join(map(str, content.plan.space.seeds))),
        ("folds", ", ".join("+".join(fold) or "test" for fold in content.plan.folds)),
        ("git commit", counted("git.commit") + state.get(frozenset(clean), "")),
        *((name, counted(f"version.{name}")) for name in ("mmssl", "python", "torch", "ray", "optuna")),
        ("host", counted("host")),
        ("device", counted("device")),
        ("threads of a trial", counted("threads")),
        ("study", f"{content.where}, planned {content.plan.created:%Y-%m-%d %H:%M} UTC"),
    ]
    if started and finished:
        when = f"{min(started):%Y-%m-%d %H:%M} to {max(finished):%Y-%m-%d %H:%M} UTC"
        facts.append(("ran", f"{when}, {spent / 60:.1f} minutes of trials"))
    return facts


def _few_label_rows(content: Content) -> dict[str, list[dict[str, Any]]]:
    """Rows of the table of few labels, a list for each chart: by the modalities that heads take as inputs."""
    rows = content.few_labels
    whole = [row for row in rows if row["read_from"] == row["trained_on"]]
    inputs = dict.fromkeys(row["read_from"] for row in rows)
    found = {f"from {name}": [row for row in rows if row["read_from"] == name] for name in inputs}
    several = len({row["trained_on"] for row in rows}) > 1
    return {"from all that each was trained on": whole} | found if several else found


def _data(
    content: Content, landscape: charts.Landscape | None, exhibit: "Exhibit | None", beside: Against | None
) -> dict[str, Any]:
    """The input of the page's script."""
    still: dict[str, Any] = {}
    if any(one.point.scores for one in content.ranked):
        still["ranking-chart"] = charts.ranking(content)
    if content.shares:
        still["importance-chart"] = charts.importance(content)
    if exhibit and exhibit.timeline:
        fluid = {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
        still["timeline-chart"] = exhibit.timeline | fluid
    return {
        "points": _points(content),
        "map": landscape and {"spec": landscape.spec, "rows": landscape.rows},
        "against": beside
        and {"spec": against.spec(content, beside, landscape), "rows": against.rows(beside, landscape)},
        "labels": {name: few_labels(rows, content.measure) for name, rows in _few_label_rows(content).items()},
        "still": still,
        "trials": _trials(content),
        "confusion": {
            "spec": confusion(content.classes) if content.confusions else None,
            "classes": content.classes,
            "cells": {
                point_id: [
                    [int(i), int(j), int(counts[i, j]), whole_percent(float(shares[i, j]))]
                    for i, j in zip(*counts.nonzero(), strict=True)
                ]
                for point_id, counts in content.confusions.items()
                for shares in [shares_of(counts)]
            },
        },
        "recordings": exhibit and _recordings(content, exhibit),
    }


def _points(content: Content) -> dict[str, Any]:
    """Text and trial to show for each point that may be picked."""
    shown = content.shown or next(iter(content.ranked), None)
    return {
        "first": shown and shown.point.point_id,
        "all": {
            one.point.point_id: {"label": one.label, "words": _point_words(content, one), "trial": _shown(content, one)}
            for one in content.ranked
        },
    }


def _point_words(content: Content, one: Ranked) -> str:
    point = one.point
    words = [f"{content.measure} {_mean_words(point.mean, point.std)}"] if point.mean is not None else []
    words += [f"95 % interval {_interval_words(one)}"] if one.estimate.over else []
    words.append(f"{len(point.scores)} of {point.planned} trials")
    words += [without_result(point.statuses)] if point.failures else []
    words += [{"best": "the best", "tied": "tied with the best"}[one.mark]] if one.mark else []
    return "; ".join(words)


def _shown(content: Content, one: Ranked) -> str:
    """The trial nearest the point's mean, where its curves are kept; else the first whose are."""
    kept = [t.trial_id for t in content.plan.candidates[one.point.point_id] if t.trial_id in content.curves]
    nearest = representative(content.plan, one.point).trial_id if one.point.scores else ""
    return nearest if nearest in kept else next(iter(kept), "")


def _trials(content: Content) -> dict[str, Any]:
    by_id = {row["trial_id"]: row for row in content.trials if row["trial_id"] in content.curves}
    grouped: dict[str, list[str]] = {}
    for one in content.ranked:
        own = [t.trial_id for t in content.plan.candidates[one.point.point_id] if t.trial_id in by_id]
        if own:
            grouped[one.label] = own
    first = _shown(content, content.shown) if content.shown is not None else ""
    return {
        "spec": charts.curve(list(content.plan.dataset.modalities)),
        "modalities": list(content.plan.dataset.modalities),
        "points": grouped,
        "first": first or next(iter(grouped.values()), [""])[0],
        "facts": {
            trial_id: {
                "point": content.names[content.plan.candidate(row["point_id"])],
                "seed": repeat(content.plan.key(row["point_id"], row["seed"], row["fold"])),
                "fold": row["fold"],
                "status": row["status"],
                "words": _trial_words(content, row),
            }
            for trial_id, row in by_id.items()
        },
        "curves": {
            trial_id: {phase: {"epochs": one.epochs, "values": one.values} for phase, one in phases.items()}
            for trial_id, phases in content.curves.items()
        },
    }


def _trial_words(content: Content, row: dict[str, Any]) -> str:
    score = row[content.metric]
    result = f"{content.measure} {percent(score)} %" if score is not None else row["cause"] or "no score"
    return f"seed {row['seed']}, held out {row['fold']}: {row['status']}, {result}"


def _recordings(content: Content, exhibit: "Exhibit") -> dict[str, Any]:
    drawn, signals = exhibit.drawn, exhibit.description.signals
    joints = {name: i for i, name in enumerate(drawn.joints if drawn else ())}
    specs = {"classes": scatter(content.classes, ())}
    several = tuple(
        dict.fromkeys(name for one in exhibit.maps for name in one.modalities if len(set(one.modalities)) > 1)
    )
    if several:
        specs["modalities"] = scatter(content.classes, several)
    index = {name: i for i, name in enumerate(content.classes)}
    return {
        "items": exhibit.recordings,
        "shown": content.shown and content.shown.point.point_id,
        "guesses": {
            point_id: [one and (index[one[0]], round(one[1], 2)) for one in guesses]
            for point_id, guesses in exhibit.guesses.items()
        },
        "places": {
            point_id: [[[float(f"{value:.4g}") for value in column] for column in one.xy.T] for one in maps]
            for point_id, maps in exhibit.places.items()
        },
        "unplaced": exhibit.unplaced,
        "maps": [
            {
                "recordings": one.recordings,
                "modalities": one.modalities,
                "spec": "modalities" if len(set(one.modalities)) > 1 else "classes",
            }
            for one in exhibit.maps
        ],
        "specs": specs,
        "player": {
            "joints": len(joints),
            "coordinates": len(drawn.coordinates) if drawn else 0,
            "bones": [[joints[a], joints[b]] for a, b in exhibit.bones],
            "axes": exhibit.axes,
            "signs": exhibit.signs,
            "groups": {name: _groups(one, name if len(signals) > 1 else "") for name, one in signals.items()},
            "colours": SERIES,
            "shapes": SHAPES,
        },
    }


def _groups(signal: Signal, called: str) -> list[dict[str, Any]]:
    """Channels drawn in one panel: the triads of each sensor, and what is left one by one."""
    triads: list[tuple[str, ...]] = [tuple(triad) for sensor in signal.sensors for triad in sensor]
    inside = {channel for triad in triads for channel in triad}
    triads += [(channel,) for channel in signal.channels if channel not in inside]
    groups: list[dict[str, Any]] = []
    for triad in triads:
        indices = [signal.channels.index(channel) for channel in triad]
        unit = signal.units[indices[0]] if signal.units else ""
        title = (f"{called}: " if called else "") + ", ".join(triad) + (f" ({unit})" if unit else "")
        groups.append({"title": title, "unit": unit, "channels": indices, "names": list(triad)})
    return groups
