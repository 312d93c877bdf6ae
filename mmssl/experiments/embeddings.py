"""Experiments on features and embeddings, from each trial's kept model."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mmssl.data.moments import own_moments
from mmssl.data.protocols import split
from mmssl.data.recordings import Recordings
from mmssl.data.rows import having
from mmssl.errors import UserError
from mmssl.evaluation import confusion, finite_or_none, pair_retrieval, rank_agreement, tsne
from mmssl.evaluation import retrieval as nearest_neighbours
from mmssl.experiments import Result, TableColumn, charts, missing, names, plain_columns, protocol
from mmssl.export.encoders import kept_model
from mmssl.study.folder import Study
from mmssl.study.paired import complete, spread
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.results import LABEL_FREE, points, representative
from mmssl.study.scores import mean
from mmssl.training.prepared import Prepared

Vectors = npt.NDArray[np.float32]


def retrieval(study: Study, plan: Plan, recordings: Recordings, pictures: tuple[str, ...]) -> Result:
    """Nearest neighbours by cosine among the scored recordings of each fold.

    `relevant` is what counts as found: `class`, another recording of the query's class; or `recording`, the query's own
    recording in the other modality (map is then the mean reciprocal rank). `space` is what is compared: `embedding`,
    the projector's output, or `features`, the heads' input. Encoders trained with labels have no embeddings; features
    of two modalities cannot be compared. Numbers are means over seeds and folds; map also has its standard deviation
    over seeds, and leaves out folds in which no class has two recordings.

    What shows a query's own moments (`own_moments`) is no other recording, and is left out of its ranking.
    """
    gathered: dict[tuple[str, ...], dict[tuple[int, str], dict[str, float]]] = defaultdict(dict)
    called = names(plan)
    notes: list[str] = []
    for trial, rows, features, embeddings in _scored(study, plan, recordings):
        if len({recordings.rows[i].unit for i in rows}) == 1:
            notes.append(f"fold {trial.fold}: one recording only, so there is none to find")
            continue
        labels, own = recordings.labels[rows], own_moments([recordings.rows[i] for i in rows])
        spaces = {"embedding": embeddings, "features": features}
        for space, vectors in spaces.items():
            for name, one in vectors.items():
                at = (called[trial.point_id], space, name, name, "class")
                gathered[at][trial.seed, trial.fold] = nearest_neighbours(
                    one, one, labels, labels, same=True, left_out=own
                )
        for query, gallery in permutations(embeddings, 2):
            at = (called[trial.point_id], "embedding", query, gallery)
            key = (trial.seed, trial.fold)
            a, b = embeddings[query], embeddings[gallery]
            gathered[*at, "class"][key] = nearest_neighbours(a, b, labels, labels, same=True, left_out=own)
            pairs = pair_retrieval(a, b)
            gathered[*at, "recording"][key] = {"map" if name == "mrr" else name: value for name, value in pairs.items()}
    table: list[dict[str, Any]] = []
    for (system, space, query, gallery, relevant), found in gathered.items():
        measures = next(iter(found.values()))
        by_measure = {
            name: {key: values[name] for key, values in found.items() if not np.isnan(values[name])}
            for name in measures
        }
        table.append(
            {
                "system": system,
                "space": space,
                "query": query,
                "gallery": gallery,
                "relevant": relevant,
                **{name: mean(values) for name, values in by_measure.items()},
                "map.std": spread(by_measure["map"], 0),
                "n": len(found),
            }
        )
    recalls = [name for name in (table[0] if table else {}) if name.startswith("recall")]
    return Result(
        f"Retrieval: {protocol(plan)}. Gallery: the scored recordings of a fold.",
        {"retrieval": pa.Table.from_pylist(table)},
        (
            *plain_columns("system", "space", "query", "gallery", "relevant"),
            *(TableColumn(name, (name,), percent=True) for name in recalls),
            TableColumn("mAP", ("map", "map.std"), percent=True),
        ),
        [*_lacking(study, plan), *dict.fromkeys(notes)],
    )


def features(study: Study, plan: Plan, recordings: Recordings, pictures: tuple[str, ...]) -> Result:
    """t-SNE of each point's features, and its confusion matrix (Figures 6 to 9).

    t-SNE shows the scored recordings of one trial, the one whose score is nearest the point's mean; features of two
    modalities are scaled to length 1 and joined. The confusion matrix is over all seeds and folds; its rows are the
    true classes and sum to 1.
    """
    classes = recordings.description.classes
    nearest, called = _nearest_mean(study, plan), names(plan)
    files = _file_names(called.values())
    projected: list[dict[str, Any]] = []
    result = Result(
        f"Features: {protocol(plan)}. t-SNE of one trial a system, confusion over all.",
        {},
        (
            TableColumn("system", ("system",)),
            TableColumn("class missed most", ("worst",)),
            TableColumn("found", ("share",), percent=True),
            TableColumn("taken most for", ("taken_for",)),
        ),
        _lacking(study, plan),
    )
    for trial, rows, encoded, _ in _scored(study, plan, recordings, {trial.trial_id for trial in nearest.values()}):
        system = called[trial.point_id]
        try:
            xy = tsne(joined(encoded), seed=trial.seed)
        except ValueError as error:
            result.notes.append(f"{system}, fold {trial.fold}: no map: {error}")
            continue
        projected += [
            {
                "system": system,
                "trial_id": trial.trial_id,
                "recording_id": recordings.rows[i].recording_id,
                "subject": recordings.rows[i].subject,
                "label": recordings.rows[i].label,
                "x": float(x),
                "y": float(y),
            }
            for i, (x, y) in zip(rows, xy, strict=True)
        ]
        if pictures:
            whose = f"subject {trial.fold} held out" if trial.held_out else "test subjects"
            title = f"{system}: t-SNE of {plan.dataset.name}, {whose}"
            chart = charts.signs(xy, recordings.labels[rows].tolist(), classes)
            result.figures += charts.drawn(study, f"tsne-{files[system]}", pictures, chart, title)
    cells: list[dict[str, Any]] = []
    worst: list[dict[str, Any]] = []
    for system, (labels, predicted) in _predictions(study, plan, classes).items():
        matrix = confusion(labels, predicted, len(classes))
        cells += [
            {"system": system, "label": label, "predicted": guess, "share": float(matrix[i, j])}
            for i, label in enumerate(classes)
            for j, guess in enumerate(classes)
            if np.isfinite(matrix[i, j])
        ]
        diagonal = np.where(np.isfinite(matrix.diagonal()), matrix.diagonal(), np.inf)
        i = int(diagonal.argmin())
        others = np.where(np.arange(len(classes)) == i, -1, matrix[i])
        share, missed = float(diagonal[i]), bool(diagonal[i] < 1)
        taken_for = classes[others.argmax()] if missed else None
        worst.append(
            {"system": system, "worst": classes[i] if missed else None, "share": share, "taken_for": taken_for}
        )
        if pictures:
            title = f"{system}: confusion on {plan.dataset.name}, per cent of the true class"
            rows, name = charts.confusion_rows(matrix, classes), f"confusion-{files[system]}"
            result.figures += charts.drawn(study, name, pictures, charts.confusion(classes), title, rows)
    result.tables = {
        "confusion_worst": pa.Table.from_pylist(worst),
        "confusion": pa.Table.from_pylist(cells),
        "tsne": pa.Table.from_pylist(projected),
    }
    return result


def health(study: Study, plan: Plan, recordings: Recordings, pictures: tuple[str, ...]) -> Result:
    """How well measures without labels rank a study's points: Spearman's correlation with the metric.

    The measures are `study.results.LABEL_FREE`, on the training recordings. `picked` is the metric of the point with
    the largest value of the measure (of `covariance`, the smallest); `lost` is how far it is below the best point.
    Points of different systems are not compared.
    """
    trials = study.table("trials.parquet")
    metric = plan.space.scored
    table: list[dict[str, Any]] = []
    result = Result(
        f"Measures without labels against {metric}: {protocol(plan)}.",
        {},
        (
            *plain_columns("system", "measure", "spearman", "p"),
            TableColumn("points", ("n",)),
            TableColumn("picks a point with", ("picked",), percent=True),
            TableColumn("below the best by", ("lost",), percent=True),
        ),
    )
    for system in plan.bases:
        own = {trial.point_id for trial in plan.trials if plan.base(trial) == system}
        labelled = {
            point.point_id: point for point in points(plan, trials, metric) if point.point_id in own and point.complete
        }
        for measure in LABEL_FREE:
            measured = {
                p.point_id: p.mean for p in points(plan, trials, measure) if p.point_id in labelled and p.scores
            }
            pairs = [(value, labelled[name].mean) for name, value in measured.items()]
            x, y = (np.array([pair[i] for pair in pairs], dtype=np.float64) for i in (0, 1))
            if not pairs:
                continue
            chosen = int(x.argmin() if measure == "covariance" else x.argmax())
            table.append(
                {
                    "system": system,
                    "measure": measure,
                    **{name: finite_or_none(value) for name, value in rank_agreement(x, y).items()},
                    "picked": float(y[chosen]),
                    "lost": float(y.max() - y[chosen]),
                }
            )
            if pictures and len(pairs) > 2:
                title, name = f"{system} on {plan.dataset.name}", f"health-{system.replace(' ', '-')}-{measure}"
                result.figures += charts.drawn(study, name, pictures, charts.against(x, y, measure, metric), title)
    if not table:
        raise UserError(f"study {study.name}: no point with encoders trained without labels is complete")
    if max(row["n"] for row in table) < 3:
        result.notes.append("a rank correlation needs three points of a system: search its knobs with `launch` first")
    result.tables = {"health": pa.Table.from_pylist(table)}
    return result


def _scored(
    study: Study, plan: Plan, recordings: Recordings, only: set[str] | None = None
) -> Iterator[tuple[PlannedTrial, npt.NDArray[np.int64], dict[str, Vectors], dict[str, Vectors]]]:
    """Each complete trial, with the result of `vectors`."""
    done = {trial_id for trial_id, record in study.records(plan).items() if record.status == "COMPLETE"}
    require_models(study, plan, done)
    prepared: dict[int, Prepared] = {}
    for trial in plan.trials:
        if trial.trial_id not in done or (only is not None and trial.trial_id not in only):
            continue
        yield trial, *vectors(study, plan, trial, recordings, prepared)


def _lacking(study: Study, plan: Plan) -> list[str]:
    """Notes on points of which a part of the trials is complete."""
    planned, called = Counter(trial.point_id for trial in plan.trials), names(plan)
    there = Counter(row["point_id"] for row in complete(study))
    return [f"{called[point]}: {missing(n, planned[point])}" for point, n in there.items() if n < planned[point]]


def require_models(study: Study, plan: Plan, trial_ids: Iterable[str]) -> None:
    """Check that the study has kept the models of these trials.

    Raises:
        UserError: a model is missing.
    """
    if not all(study.has_model(trial_id) for trial_id in trial_ids):
        raise UserError(
            f"study {study.name} has not kept the model of every trial "
            f"(keep_models: {plan.space.keep_models} in its space): launch one with keep_models: all"
        )


def vectors(
    study: Study, plan: Plan, trial: PlannedTrial, recordings: Recordings, prepared: dict[int, Prepared]
) -> tuple[npt.NDArray[np.int64], dict[str, Vectors], dict[str, Vectors]]:
    """The rows of a trial's scored recordings that have all its modalities; their features and embeddings by modality,
    (rows, width).

    There are no embeddings where the encoders were trained with labels, as their projectors are untrained.

    Args:
        prepared: prepared recordings by number of steps; a cache for calls with the same recordings.

    Raises:
        FileNotFoundError: the trial's model was not kept.
        UserError: the model is damaged, or another trial's.
    """
    recipe = plan.recipe(trial)
    model = kept_model(study, plan, trial)
    parts = split(recordings, recipe.data)
    rows = parts.scored(plan.space.scored_split)
    if recipe.data.steps not in prepared:
        prepared[recipe.data.steps] = Prepared.of(recordings, recipe.data.steps, tuple(recordings.kinds))
    rows = having(prepared[recipe.data.steps], rows, recipe.data.modalities)
    encoded = model.encode(prepared[recipe.data.steps].selected(model, rows))
    embedded = model.embed(encoded) if recipe.finetune.encoders == "frozen" else {}
    return (
        rows,
        {name: tensor.numpy() for name, tensor in encoded.items()},
        {name: tensor.numpy() for name, tensor in embedded.items()},
    )


def joined(features: Mapping[str, Vectors]) -> Vectors:
    """Features of several modalities as one vector per recording, each modality scaled to length 1."""
    lengths = {name: np.linalg.norm(one, axis=1, keepdims=True) for name, one in features.items()}
    scaled = [one / np.where(lengths[name], lengths[name], 1) for name, one in features.items()]
    return np.concatenate(scaled, axis=1, dtype=np.float32)


def _nearest_mean(study: Study, plan: Plan) -> dict[str, PlannedTrial]:
    """By point, the complete trial whose score is nearest the point's mean; points without a complete trial are left
    out."""
    found = points(plan, study.table("trials.parquet"))
    return {point.point_id: representative(plan, point) for point in found if point.scores}


def _predictions(
    study: Study, plan: Plan, classes: Sequence[str]
) -> dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """True and predicted class indices of the scored recordings of all trials, by the point's name."""
    index = {name: i for i, name in enumerate(classes)}
    called = names(plan)
    gathered: dict[str, list[tuple[int, int]]] = {name: [] for name in called.values()}
    for row in study.table("predictions.parquet").to_pylist():
        gathered[called[row["point_id"]]].append((index[row["label"]], index[row["predicted"]]))
    arrays = {name: np.array(pairs) for name, pairs in gathered.items() if pairs}
    return {name: (pairs[:, 0], pairs[:, 1]) for name, pairs in arrays.items()}


def _file_names(names: Iterable[str]) -> dict[str, str]:
    """A unique part of a file name for each name."""
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9_.=-]+", "-", name)[:100]
        found[name] = f"{plain}-{len(found)}" if plain in found.values() else plain
    return found
