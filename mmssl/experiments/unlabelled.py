"""How well measures without labels choose among the points of a search; it reads the kept models."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from math import isnan
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from scipy.stats import rankdata

from mmssl import unlabelled as measures
from mmssl.data.moments import OwnMoments, own_moments
from mmssl.data.protocols import split
from mmssl.data.recordings import Recordings
from mmssl.data.rows import having, shown_rows
from mmssl.errors import UserError
from mmssl.evaluation import finite_or_none, rank_agreement
from mmssl.experiments import Result, TableColumn, plain_columns, protocol
from mmssl.experiments.embeddings import require_models
from mmssl.export.encoders import kept_model
from mmssl.recipe import Recipe
from mmssl.study.folder import Study
from mmssl.study.plan import Plan
from mmssl.study.results import Point, points
from mmssl.study.words import fold_name
from mmssl.training.model import Model
from mmssl.training.prepared import Prepared
from mmssl.training.pretraining import augmentation
from mmssl.training.selection import in_memory

Vectors = npt.NDArray[np.floating]

VIEWS = 4
"""Augmented copies of each recording, for measures that need views."""


class Outputs(NamedTuple):
    """A model's features or embeddings of some recordings."""

    vectors: Mapping[str, Vectors]
    """By modality, (recordings, D)."""
    views: Mapping[str, Vectors]
    """The same of augmented copies, (views, recordings, D)."""
    shared: bool
    """Whether vectors of different modalities can be compared."""
    alike: OwnMoments | None = None
    """Which recordings show the same moments."""


def _of_each(function: Callable[[Vectors], float]) -> Callable[[Outputs], float]:
    return lambda outputs: fmean(function(one) for one in outputs.vectors.values())


def _of_pairs(function: Callable[[Vectors, Vectors], float]) -> Callable[[Outputs], float]:
    def mean(outputs: Outputs) -> float:
        if not outputs.shared or len(outputs.vectors) < 2:
            return float("nan")
        return fmean(function(a, b) for a, b in combinations(outputs.vectors.values(), 2))

    return mean


def _alignment(outputs: Outputs) -> float:
    if outputs.shared and len(outputs.vectors) > 1:
        return _of_pairs(measures.alignment)(outputs)
    return fmean(measures.alignment(own[0], own[1]) for own in outputs.views.values())


def _cluster_learnability(outputs: Outputs) -> float:
    return fmean(measures.cluster_learnability(one, outputs.alike) for one in outputs.vectors.values())


def _lidar(outputs: Outputs) -> float:
    if outputs.shared:
        return measures.lidar(np.concatenate(list(outputs.views.values())))
    return fmean(measures.lidar(own) for own in outputs.views.values())


MEASURES: dict[str, tuple[Callable[[Outputs], float], int]] = {
    "rankme": (_of_each(measures.effective_rank), 1),
    "lidar": (_lidar, 1),
    "alpha-req": (_of_each(lambda z: abs(measures.spectral_decay(z) - 1)), -1),
    "cluster learnability": (_cluster_learnability, 1),
    "two-nn dimension": (_of_each(measures.two_nn_dimension), 1),
    "idest": (_of_each(measures.mst_dimension), -1),
    "sigreg": (_of_each(measures.normality), -1),
    "alignment": (_alignment, -1),
    "uniformity": (_of_each(measures.uniformity), -1),
    "retrieval": (_of_pairs(measures.retrieval), 1),
}
"""By name: the measure, and 1 where more of it is better, -1 where less is."""
_CLID = ("cluster learnability", "two-nn dimension")
_SEVERAL = 5
"""How many measures the mean rank is over."""


def unlabelled(
    study: Study,
    plan: Plan,
    recordings: Recordings,
    pictures: tuple[str, ...],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """How well measures without labels choose among a search's points.

    Each measure is computed on `embedding` (the projectors' output) and on `features` (the heads' input), of the
    `training` recordings and of those `held out`, and averaged over modalities and a point's trials. `clid` is the sum
    of its two parts, each standardised over the points. `lost` is how far the point that the measure picks is below the
    best; the notes have the loss of a random pick. Points of different systems, or with different shares of the labels,
    are not compared.

    In this table the measures are chosen and scored on the same people. The table `halves` chooses on each half of the
    folds and scores on the other half.

    Args:
        progress: called with the number of models done and their total.
    """
    trials = study.table("trials.parquet")
    measure = plan.space.scored.rpartition(".")[2]
    metrics = [
        name for name in plan.scores if name.startswith(f"{plan.space.scored_split}.") and name.endswith(f".{measure}")
    ]
    table: list[dict[str, Any]] = []
    halves: list[dict[str, Any]] = []
    notes: list[str] = []
    found = _measured(study, plan, recordings, progress)
    scores = {metric: points(plan, trials, metric) for metric in metrics}
    for group, own in _compared(plan).items():
        ids = [
            p.point_id for p in scores[plan.space.scored] if p.point_id in own and p.complete and p.point_id in found
        ]
        if len(ids) < 2:
            continue
        scored = {
            metric: np.array([_by_fold(point, plan) for point in of if point.point_id in ids])
            for metric, of in scores.items()
            if all(point.complete for point in of if point.point_id in ids)
        }
        measured = _over_points([found[point_id] for point_id in ids])
        means = {metric: values.mean(axis=1) for metric, values in scored.items()}
        random = ", ".join(f"{100 * (each.max() - each.mean()):.1f} ({metric})" for metric, each in means.items())
        notes.append(f"{group}: a random pick loses {random} on average")
        for (one, space, part), values in measured.items():
            over = values.mean(axis=1)
            finite = np.isfinite(over)
            if not finite.any():
                continue
            row: dict[str, Any] = {"points of": group, "measure": one, "space": space, "recordings": part}
            for metric, each in means.items():
                agreement = {name: finite_or_none(value) for name, value in rank_agreement(over, each).items()}
                lost = float(each.max() - each[finite][over[finite].argmax()])
                row |= {f"{name}.{metric}": value for name, value in {**agreement, "lost": lost}.items()}
            table.append(row)
        halves += [{"points of": group, **row} for row in _judged_on_others(measured, scored)]
    if not table:
        raise UserError(f"study {study.name}: no system has two complete points with frozen encoders")
    compared = [metric for metric in metrics if any(f"lost.{metric}" in row for row in table)]
    return Result(
        f"Measures without labels against {', '.join(compared)}: {protocol(plan)}.",
        {"unlabelled": pa.Table.from_pylist(table), **({"halves": pa.Table.from_pylist(halves)} if halves else {})},
        (
            *plain_columns("points of", "measure", "space", "recordings"),
            *(TableColumn(f"rank correlation, {metric}", (f"spearman.{metric}",)) for metric in compared),
            *(TableColumn(f"lost, {metric}", (f"lost.{metric}",), percent=True) for metric in compared),
        ),
        notes + _of_halves(halves),
    )


Key = tuple[str, str, str]
"""Measure, space and split."""


def _compared(plan: Plan) -> dict[str, set[str]]:
    """The points to compare with each other: by system, variant and, where there are several, share of the labels."""
    shares = {trial.trial_id: plan.recipe(trial).finetune.labels for trial in plan.trials}
    several = len(set(shares.values())) > 1
    groups: dict[str, set[str]] = defaultdict(set)
    for trial in plan.trials:
        labels = f", {100 * shares[trial.trial_id]:g} % of the labels" if several else ""
        groups[f"{plan.base(trial)}{labels}"].add(plan.candidate(trial.point_id))
    return groups


def _by_fold(point: Point, plan: Plan) -> list[float]:
    """A point's mean over seeds and draws of labels, in each fold."""
    folds = [fold_name(held_out) for held_out in plan.folds]
    return [fmean(value for key, value in point.scores.items() if key[1] == fold) for fold in folds]


def _over_points(found: Sequence[Mapping[str, Mapping[Key, float]]]) -> dict[Key, Vectors]:
    """Every measure, (points, folds), with the sign that makes more better."""
    signs = {name: sign for name, (_, sign) in MEASURES.items()}
    keys = dict.fromkeys(key for point in found for fold in point.values() for key in fold)
    table = {key: signs[key[0]] * np.array([[fold[key] for fold in point.values()] for point in found]) for key in keys}
    for space, part in dict.fromkeys(key[1:] for key in keys):
        parts = [table[name, space, part] for name in _CLID]
        if all(one.std() > 0 for one in parts):
            table["clid", space, part] = np.sum([(one - one.mean()) / one.std() for one in parts], axis=0)
    return table


def _judged_on_others(measured: Mapping[Key, Vectors], scored: Mapping[str, Vectors]) -> Iterator[dict[str, Any]]:
    """For each half of the folds: the measure that loses least there over all scores, and the mean rank of the five
    measures that agree best with the scores there; both scored on the other half."""
    folds = next(iter(scored.values())).shape[1]
    usable = {key: values for key, values in measured.items() if np.isfinite(values).all()}
    for chosen in combinations(range(folds), folds // 2) if folds > 1 and usable else ():
        here, there = list(chosen), [fold for fold in range(folds) if fold not in chosen]
        means = {metric: values[:, here].mean(axis=1) for metric, values in scored.items()}
        lost = {
            key: fmean(each.max() - each[values[:, here].mean(axis=1).argmax()] for each in means.values())
            for key, values in usable.items()
        }
        agreeing: dict[Key, float] = {}
        for key, values in usable.items():
            over = values[:, here].mean(axis=1)
            # Of two points, or of points that all score the same, there is none.
            known = [one for each in means.values() if not isnan(one := rank_agreement(over, each)["spearman"])]
            if known:
                agreeing[key] = fmean(known)
        single = min(lost, key=lost.__getitem__)
        several = sorted(agreeing, key=lambda key: -agreeing[key])[:_SEVERAL]
        labelled = np.mean([rankdata(each) for each in means.values()], axis=0)
        rules = [
            ("measure", " ".join(single), usable[single][:, there].mean(axis=1)),
            ("labels of the others", "", labelled),
        ]
        if several:
            ranks = np.mean([rankdata(usable[key][:, there].mean(axis=1)) for key in several], axis=0)
            rules.insert(1, ("mean rank", "; ".join(" ".join(key) for key in several), ranks))
        for rule, name, values in rules:
            for metric, all_of in scored.items():
                each = all_of[:, there].mean(axis=1)
                losses = {"lost": float(each.max() - each[values.argmax()]), "random": float(each.max() - each.mean())}
                yield {"judged on": there, "rule": rule, "chosen": name, "score": metric, **losses}


def _of_halves(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A note for each group and rule."""
    lines: list[str] = []
    for group, rule in dict.fromkeys((row["points of"], row["rule"]) for row in rows):
        own = [row for row in rows if (row["points of"], row["rule"]) == (group, rule)]
        parts: list[str] = []
        for metric in dict.fromkeys(row["score"] for row in own):
            lost, random = (
                100 * fmean(row[name] for row in own if row["score"] == metric) for name in ("lost", "random")
            )
            parts.append(f"{lost:.1f} ({metric}; at random {random:.1f})")
        lines.append(
            f"{group}, by {rule}, chosen on half of the folds and judged on the others, loses {', '.join(parts)}"
        )
    return lines


def _measured(
    study: Study, plan: Plan, recordings: Recordings, progress: Callable[[int, int], None]
) -> dict[str, dict[str, dict[Key, float]]]:
    """Each measure's mean over the seeds, by point and fold.

    Raises:
        UserError: a model is missing.
    """
    complete = {trial_id for trial_id, record in study.records(plan).items() if record.status == "COMPLETE"}
    recipes = {trial.trial_id: plan.recipe(trial) for trial in plan.trials if trial.trial_id in complete}
    recipes = {name: recipe for name, recipe in recipes.items() if recipe.finetune.encoders == "frozen"}
    require_models(study, plan, recipes)
    total = len({_encoders(recipe) for recipe in recipes.values()})
    gathered: dict[tuple[str, str, Key], list[float]] = defaultdict(list)
    of_encoders: dict[str, dict[Key, float]] = {}
    prepared: dict[int, Prepared] = {}
    for trial in plan.trials:
        if trial.trial_id not in recipes:
            continue
        # Trials that differ in their heads alone have the same encoders.
        name, steps = _encoders(recipes[trial.trial_id]), recipes[trial.trial_id].data.steps
        if name not in of_encoders:
            if steps not in prepared:
                prepared[steps] = Prepared.of(recordings, steps, tuple(recordings.kinds))
            of_encoders[name] = dict(_of_model(kept_model(study, plan, trial), prepared[steps], recordings))
            progress(len(of_encoders), total)
        for key, value in of_encoders[name].items():
            gathered[plan.candidate(trial.point_id), trial.fold, key].append(value)
    found: dict[str, dict[str, dict[Key, float]]] = defaultdict(lambda: defaultdict(dict))
    for (point, fold, key), values in gathered.items():
        found[point][fold][key] = fmean(values)
    return found


def _encoders(recipe: Recipe) -> str:
    """The same for recipes whose frozen encoders are the same: fine-tuning may give batch norms other statistics."""
    return f"{recipe.pretraining_id()} {recipe.finetune.batch_norm}"


def _of_model(model: Model, prepared: Prepared, recordings: Recordings) -> Iterator[tuple[Key, float]]:
    parts = split(recordings, model.recipe.data)
    for part, rows in (("training", shown_rows(model.recipe, prepared, parts)), ("held out", parts.validation)):
        rows = having(prepared, rows, model.recipe.data.modalities)
        alike = own_moments([prepared.rows[i] for i in rows])
        inputs = in_memory(prepared.selected(model, rows))
        change, draws = augmentation(model, torch.device("cpu")), torch.Generator().manual_seed(0)
        encoded = [model.encode(inputs), *(model.encode(change(inputs, draws)) for _ in range(VIEWS))]
        for space, shared, mapped in (
            ("embedding", True, [model.embed(one) for one in encoded]),
            ("features", False, encoded),
        ):
            arrays = [{name: tensor.numpy() for name, tensor in one.items()} for one in mapped]
            plain, *views = arrays
            outputs = Outputs(plain, {name: np.stack([view[name] for view in views]) for name in plain}, shared, alike)
            for name, (measure, _) in MEASURES.items():
                yield (name, space, part), measure(outputs)
