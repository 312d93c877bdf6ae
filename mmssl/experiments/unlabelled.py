"""Which measure would have chosen well without labels: of every kept model of a search."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from mmssl import unlabelled as measures
from mmssl.data.protocols import split
from mmssl.data.recordings import Recordings
from mmssl.errors import UserError
from mmssl.evaluation import known, rank_agreement
from mmssl.experiments import Result, TableColumn, protocol
from mmssl.experiments.embeddings import require_models
from mmssl.export.encoders import kept_model
from mmssl.study.folder import Study
from mmssl.study.plan import Plan
from mmssl.study.results import Point, points
from mmssl.training.model import Model
from mmssl.training.prepared import Prepared, having
from mmssl.training.pretraining import augmentation
from mmssl.training.trial import shown_rows

Vectors = npt.NDArray[np.floating]

VIEWS = 4
"""Augmented ones of each recording, for measures that need views."""


class Seen(NamedTuple):
    """What a model makes of some recordings, in one space."""

    vectors: Mapping[str, Vectors]
    """By modality, (recordings, D)."""
    views: Mapping[str, Vectors]
    """Of augmented copies, (views, recordings, D)."""
    shared: bool
    """Whether vectors of different modalities can be compared."""


def _of_each(function: Callable[[Vectors], float]) -> Callable[[Seen], float]:
    return lambda seen: fmean(function(one) for one in seen.vectors.values())


def _of_pairs(function: Callable[[Vectors, Vectors], float]) -> Callable[[Seen], float]:
    def mean(seen: Seen) -> float:
        if not seen.shared or len(seen.vectors) < 2:
            return float("nan")
        return fmean(function(a, b) for a, b in combinations(seen.vectors.values(), 2))

    return mean


def _alignment(seen: Seen) -> float:
    if seen.shared and len(seen.vectors) > 1:
        return _of_pairs(measures.alignment)(seen)
    return fmean(measures.alignment(own[0], own[1]) for own in seen.views.values())


def _lidar(seen: Seen) -> float:
    if seen.shared:
        return measures.lidar(np.concatenate(list(seen.views.values())))
    return fmean(measures.lidar(own) for own in seen.views.values())


MEASURES: dict[str, tuple[Callable[[Seen], float], int]] = {
    "rankme": (_of_each(measures.effective_rank), 1),
    "lidar": (_lidar, 1),
    "alpha-req": (_of_each(lambda z: abs(measures.spectral_decay(z) - 1)), -1),
    "cluster learnability": (_of_each(measures.cluster_learnability), 1),
    "two-nn dimension": (_of_each(measures.two_nn_dimension), 1),
    "idest": (_of_each(measures.mst_dimension), -1),
    "sigreg": (_of_each(measures.normality), -1),
    "alignment": (_alignment, -1),
    "uniformity": (_of_each(measures.uniformity), -1),
    "retrieval": (_of_pairs(measures.retrieval), 1),
}
"""By name: the measure, and whether more (1) or less (-1) of it is better."""
_CLID = ("cluster learnability", "two-nn dimension")


def unlabelled(study: Study, plan: Plan, recordings: Recordings, pictures: tuple[str, ...]) -> Result:
    """How well measures without labels choose among a search's points, from the models that it has kept.

    Each is taken of `embedding` (what pre-training compares) and of `features` (what heads take), on the `training`
    recordings and on those `held out`; the mean over modalities, and over a point's trials. `clid` is the sum of its
    two parts, each standardised over the points. `lost` is how far the point that the measure picks is below the best;
    the notes have what a random pick loses. Points of different systems are not compared.
    """
    trials = study.table("trials.parquet")
    table: list[dict[str, Any]] = []
    notes: list[str] = []
    found = _measured(study, plan, recordings)
    for system in plan.bases:
        own = {plan.candidate(trial.point_id) for trial in plan.trials if plan.base(trial) == system}
        complete = [
            point
            for point in points(plan, trials)
            if point.point_id in own and point.complete and point.point_id in found
        ]
        if len(complete) < 2:
            continue
        scored = np.array([point.mean for point in complete], np.float64)
        notes.append(f"{system}: a random pick loses {100 * (scored.max() - scored.mean()):.1f} on average")
        for (measure, space, side), values in _over_points(complete, found).items():
            told = np.isfinite(values)
            if not told.any():
                continue
            table.append(
                {
                    "system": system,
                    "measure": measure,
                    "space": space,
                    "recordings": side,
                    **{name: known(value) for name, value in rank_agreement(values, scored).items()},
                    "picked": float(scored[told][values[told].argmax()]),
                    "lost": float(scored.max() - scored[told][values[told].argmax()]),
                }
            )
    if not table:
        raise UserError(f"study {study.name}: no two points of a system are complete, with frozen encoders")
    return Result(
        f"Measures without labels against {plan.space.scored}: {protocol(plan)}.",
        {"unlabelled": pa.Table.from_pylist(table)},
        (
            *(TableColumn(name, (name,)) for name in ("system", "measure", "space", "recordings", "spearman", "p")),
            TableColumn("points", ("n",)),
            TableColumn("picks a point with", ("picked",), percent=True),
            TableColumn("below the best by", ("lost",), percent=True),
        ),
        notes,
    )


Key = tuple[str, str, str]
"""Measure, space and side."""


def _over_points(complete: Sequence[Point], found: Mapping[str, Mapping[Key, float]]) -> dict[Key, Vectors]:
    """Every measure over the points, more being better."""
    signs = {name: sign for name, (_, sign) in MEASURES.items()}
    keys = dict.fromkeys(key for point in complete for key in found[point.point_id])
    table = {key: signs[key[0]] * np.array([found[point.point_id][key] for point in complete]) for key in keys}
    for space, side in dict.fromkeys(key[1:] for key in keys):
        parts = [table[part, space, side] for part in _CLID]
        if all(part.std() > 0 for part in parts):
            table["clid", space, side] = np.sum([(part - part.mean()) / part.std() for part in parts], axis=0)
    return table


def _measured(study: Study, plan: Plan, recordings: Recordings) -> dict[str, dict[Key, float]]:
    """By point, each measure as the mean over its trials.

    Raises:
        UserError: the study has not kept every model.
    """
    complete = {trial_id for trial_id, record in study.records(plan).items() if record.status == "COMPLETE"}
    gathered: dict[str, dict[Key, list[float]]] = defaultdict(lambda: defaultdict(list))
    of_encoders: dict[str, dict[Key, float]] = {}
    prepared: dict[int, Prepared] = {}
    for trial in plan.trials:
        recipe = plan.recipe(trial)
        if trial.trial_id not in complete or recipe.finetune.encoders == "trained":
            continue
        require_models(study, plan, [trial.trial_id])
        # Trials that differ in their heads alone have the same encoders.
        name = recipe.pretraining_id()
        if name not in of_encoders:
            steps = recipe.data.steps
            if steps not in prepared:
                prepared[steps] = Prepared.of(recordings, steps, recordings.modalities)
            of_encoders[name] = dict(_of_model(kept_model(study, plan, trial), prepared[steps], recordings))
        for key, value in of_encoders[name].items():
            gathered[plan.candidate(trial.point_id)][key].append(value)
    return {point: {key: fmean(values) for key, values in own.items()} for point, own in gathered.items()}


def _of_model(model: Model, prepared: Prepared, recordings: Recordings) -> Iterator[tuple[Key, float]]:
    sides = split(recordings, model.recipe.data)
    for side, rows in (("training", shown_rows(model.recipe, prepared, sides)), ("held out", sides.validation)):
        rows = having(prepared, rows, model.recipe.data.modalities)
        inputs = prepared.chosen(model, rows)
        change, draws = augmentation(model, torch.device("cpu")), torch.Generator().manual_seed(0)
        encoded = [model.encode(inputs), *(model.encode(change(inputs, draws)) for _ in range(VIEWS))]
        for space, shared, mapped in (
            ("embedding", True, [model.embed(one) for one in encoded]),
            ("features", False, encoded),
        ):
            arrays = [{name: tensor.numpy() for name, tensor in one.items()} for one in mapped]
            plain, *views = arrays
            seen = Seen(plain, {name: np.stack([view[name] for view in views]) for name in plain}, shared)
            for name, (measure, _) in MEASURES.items():
                yield (name, space, side), measure(seen)
