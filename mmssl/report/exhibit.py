"""One checkpoint in detail: maps of the recordings that it was scored on, its predictions, and recordings to play."""

import base64
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mmssl.data.description import Description, Skeleton
from mmssl.data.recordings import Recordings
from mmssl.errors import UserError
from mmssl.evaluation import tsne
from mmssl.experiments.embeddings import joined, vectors
from mmssl.report.timeline import Prediction, timelines
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.results import Point, representative
from mmssl.training.prepared import Prepared

MOST_PLAYED, MOST_FRAMES, MOST_SAMPLES = 120, 64, 160
"""Recordings that the page holds, and how finely."""
MOST_MAPPED = 1500
"""Recordings on a map: t-SNE of more takes minutes, and shows a blot."""
MOST_PLACING, MOST_PLACED = 9, 900
"""Points whose encoders place the recordings, and the recordings of all these maps: each point takes about a second."""
MOST_GUESSES = 100_000
"""What other points predicted of them: as many points as that is, best first."""

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Map:
    """A t-SNE map: one dot a recording, or one a recording and modality."""

    name: str
    modalities: tuple[str, ...]
    """Of each dot: one of those that are mapped, or "" for all together."""
    recordings: tuple[int, ...]
    """Of each dot, the index in `Exhibit.recordings`."""
    xy: Floats


@dataclass(frozen=True)
class Exhibit:
    trial: PlannedTrial
    recordings: list[dict[str, Any]]
    """Id, subject, true and predicted class, confidence; and what is played: see `_motion`."""
    maps: list[Map]
    notes: list[str]
    description: Description
    drawn: Skeleton | None
    """The skeleton that is drawn."""
    bones: tuple[tuple[str, str], ...]
    """Pairs of joints to draw."""
    axes: tuple[int, int, int | None]
    """Which coordinate points right, up, and to the viewer; None where there are two."""
    signs: tuple[int, int]
    """Whether these coordinates grow that way."""
    guesses: dict[str, list[tuple[str, float] | None]]
    """By point, predicted class and confidence of each recording, by the trial of the same seed and fold."""
    places: dict[str, list[Map]]
    """By point, the maps by the encoders of that trial: by the same names, of the same recordings."""
    unplaced: dict[str, str]
    """By point, why there are none."""
    timeline: dict[str, Any] | None = None
    """Of windows, their predictions over the time of their streams, as a chart."""


def exhibit(study: Study, plan: Plan, point: Point, recordings: Recordings, others: Sequence[Point] = ()) -> Exhibit:
    """The point's trial nearest its mean, of those whose weights are kept, with its maps and recordings.

    Args:
        others: points whose predictions of these recordings, and places for them, are wanted too, best first.

    Raises:
        UserError: its weights are not kept, or damaged.
    """
    trial = representative(plan, point, study.has_model)
    prepared: dict[int, Prepared] = {}
    try:
        rows, features, embeddings = vectors(study, plan, trial, recordings, prepared)
    except FileNotFoundError as error:
        raise UserError(
            f"the weights of trial {trial.trial_id} are not kept (keep_models: {plan.space.keep_models} in the space)"
        ) from error
    notes: list[str] = []
    if len(rows) > MOST_MAPPED:
        some = np.sort(np.random.default_rng(0).choice(len(rows), MOST_MAPPED, replace=False))
        notes.append(f"the maps show {MOST_MAPPED} of {len(rows)} recordings, drawn at random")
        rows = rows[some]
        features, embeddings = ({name: one[some] for name, one in found.items()} for found in (features, embeddings))
    predictions = {
        row["recording_id"]: row
        for row in study.record(trial.trial_id).predictions
        if row["split"] == plan.space.scored_split
    }
    shown: list[dict[str, Any]] = []
    for i in rows.tolist():
        row = recordings.rows[i]
        guess = predictions.get(row.recording_id, {})
        shown.append(
            {
                "id": row.recording_id,
                "subject": row.subject,
                "label": row.label,
                "predicted": guess.get("predicted"),
                "confidence": guess.get("confidence"),
            }
        )
    played = _spread([one["label"] for one in shown])
    if len(played) < len(shown):
        notes.append(f"{len(played)} of the {len(shown)} recordings can be played, each class as often as can be")
    skeletons = [name for name, kind in recordings.kinds.items() if kind == "skeleton"]
    drawn = skeletons[0] if skeletons else ""
    if len(skeletons) > 1:
        notes.append(f"of the skeletons {', '.join(skeletons)} the first is drawn")
    for i in played:
        shown[i]["motion"] = _motion(recordings, int(rows[i]), drawn)
    skeleton = recordings.description.skeletons.get(drawn)
    bodies = [one for one in recordings.arrays(drawn) if one is not None]
    maps = _maps(features, embeddings, trial.seed, notes)
    places, unplaced = _places(study, plan, trial, recordings, rows, maps, others, prepared)
    of_windows = {n: Prediction(str(p["predicted"]), float(p["confidence"])) for n, p in predictions.items()}
    return Exhibit(
        trial, shown, maps, notes, recordings.description, skeleton, _bones(skeleton, bodies), *_view(skeleton, bodies),
        guesses=_guesses(study, plan, trial, [one["id"] for one in shown], others),
        places=places, unplaced=unplaced,
        timeline=timelines(recordings, of_windows, recordings.description.classes),
    )  # fmt: skip


def _guesses(
    study: Study, plan: Plan, trial: PlannedTrial, shown: Sequence[str], others: Sequence[Point]
) -> dict[str, list[tuple[str, float] | None]]:
    key = plan.key_of(trial)
    place = {name: i for i, name in enumerate(shown)}
    found: dict[str, list[tuple[str, float] | None]] = {
        point.point_id: [None] * len(shown)
        for point in others[: MOST_GUESSES // max(1, len(shown))]
        if key in point.scores
    }
    table = study.table("predictions.parquet")
    columns = ("point_id", "seed", "fold", "recording_id", "predicted", "confidence")
    for point_id, seed, fold, name, predicted, confidence in zip(*(table[c].to_pylist() for c in columns), strict=True):
        own = found.get(plan.candidate(point_id))
        if own is not None and name in place and plan.key(point_id, seed, fold) == key:
            own[place[name]] = predicted, confidence
    return found


def _places(
    study: Study, plan: Plan, trial: PlannedTrial, recordings: Recordings, rows: npt.NDArray[np.int64],
    maps: list[Map], others: Sequence[Point], prepared: dict[int, Prepared],
) -> tuple[dict[str, list[Map]], dict[str, str]]:  # fmt: skip
    """Maps by the trials of the same seed and fold, best point first; and why some points have none.

    Args:
        rows: indices of the recordings that `trial` was scored on.
        maps: of `trial`.
    """
    key = plan.key_of(trial)
    most = max(1, min(MOST_PLACING, MOST_PLACED // max(1, len(rows))))
    found = {trial.point_id: maps}
    missing: dict[str, str] = {}
    for point in others:
        if point.point_id in found or key not in point.scores:
            continue
        (own,) = (one for one in plan.candidates[point.point_id] if plan.key_of(one) == key)
        if len(found) >= most:
            few = f"by the {most} highest points" if most > 1 else "by one point"
            missing[point.point_id] = f"a page has places {few} only, since they take long to compute"
        elif not study.has_model(own.trial_id):
            missing[point.point_id] = (
                f"the study has not kept its encoders (keep_models: {plan.space.keep_models} in its space; with "
                f"keep_models: all a page has places by the {most} highest points)"
            )
        else:
            try:
                its_rows, features, embeddings = vectors(study, plan, own, recordings, prepared)
            except UserError as error:
                missing[point.point_id] = str(error)
                continue
            placed = _maps(features, embeddings, own.seed, []) if np.array_equal(its_rows, rows) else []
            if [one.name for one in placed] == [one.name for one in maps]:
                found[point.point_id] = placed
            else:
                missing[point.point_id] = "its encoders place other recordings, or by other modalities"
    return found, missing


def _maps(features: dict[str, Any], embeddings: dict[str, Any], seed: int, notes: list[str]) -> list[Map]:
    count = len(next(iter(features.values())))
    every = tuple(range(count))
    wanted: list[tuple[str, Floats, tuple[str, ...], tuple[int, ...]]] = []
    every_one = "both" if len(features) == 2 else "all"
    if len(features) > 1:
        wanted.append((f"features of {every_one} modalities joined", joined(features), ("",) * count, every))
    wanted += [(f"features of {name} alone", one, (name,) * count, every) for name, one in features.items()]
    if len(embeddings) > 1 and len({one.shape[1] for one in embeddings.values()}) == 1:
        # Of unit length: what is near in the embedding is near by cosine.
        both = np.concatenate([joined({name: one}) for name, one in embeddings.items()])
        modalities = tuple(name for name in embeddings for _ in range(count))
        wanted.append((f"embeddings of {every_one} modalities in one map", both, modalities, every * len(embeddings)))
    maps: list[Map] = []
    for name, array, modalities, indices in wanted:
        try:
            maps.append(Map(name, modalities, indices, tsne(array, seed)))
        except ValueError as error:
            notes.append(f"no map of {name}: {error}")
    return maps


def _spread(labels: list[str]) -> list[int]:
    """Indices of at most MOST_PLAYED recordings, class by class in turn."""
    by_class: dict[str, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        by_class[label].append(i)
    turns = [(turn, i) for own in by_class.values() for turn, i in enumerate(own)]
    return sorted(i for _, i in sorted(turns)[:MOST_PLAYED])


def _motion(recordings: Recordings, row: int, drawn: str) -> dict[str, Any]:
    """A recording as the page plays it: unsigned 16-bit numbers, little-endian, in base64, with their scale.

    `body`: the skeleton that is drawn, (frames, joints, coordinates); `signals`: by name, (samples, channels). A number
    is `low` + `step` * its value.
    """
    description = recordings.description
    motion: dict[str, Any] = {"seconds": None, "signals": {}}
    for name in (drawn, *description.signals):
        array = recordings.arrays(name)[row]
        if array is None:
            continue
        hz = description.modalities[name].hz
        if motion["seconds"] is None and hz:
            motion["seconds"] = round(len(array) / hz, 3)
        if name == drawn:
            frames = _thinned(array, MOST_FRAMES)
            motion["body"] = _packed(frames.reshape(len(frames), -1), False)
        else:
            motion["signals"][name] = _packed(_thinned(array, MOST_SAMPLES), True)
    return motion


def _thinned(array: Floats, most: int) -> Floats:
    """At most `most` rows, by linear interpolation."""
    if len(array) <= most:
        return array
    from scipy.interpolate import make_interp_spline

    return make_interp_spline(np.arange(len(array)), array, k=1)(np.linspace(0, len(array) - 1, most))


def _packed(array: Floats, by_column: bool) -> dict[str, Any]:
    """Rows as 16-bit numbers, on one scale or one a column."""
    low = array.min(axis=0) if by_column else np.full(array.shape[1], array.min())
    high = array.max(axis=0) if by_column else np.full(array.shape[1], array.max())
    step = np.where(high > low, (high - low) / 65535, 1.0)
    whole = ((array - low) / step).round().clip(0, 65535).astype("<u2")
    ends = (low, step) if by_column else (low[:1], step[:1])
    return {
        "rows": len(array),
        "data": base64.b64encode(whole.tobytes()).decode(),
        "low": [float(f"{value:.6g}") for value in ends[0]],
        "step": [float(f"{value:.6g}") for value in ends[1]],
    }


def _view(skeleton: Skeleton | None, bodies: list[Floats]) -> tuple[tuple[int, int, int | None], tuple[int, int]]:
    """Axes and their directions for a view of people upright, from the front.

    Up is along the coordinate in which the data set's unit of length (two joints of the trunk, or trunk and head) is
    longest, away from the root; across is the other along which the joints lie wider apart.
    """
    if skeleton is None:
        return (0, 1, None), (1, 1)
    first = np.stack([one[0] for one in bodies]).astype(np.float64)  # (recordings, joints, coordinates)
    trunk = skeleton.trunk(first).mean(axis=0) * (1 if skeleton.scale[0] == skeleton.root else -1)
    up = int(np.abs(trunk).argmax())
    others = [i for i in range(first.shape[2]) if i != up]
    others.sort(key=lambda i: -float(first[:, :, i].std(axis=1).mean()))
    depth = others[1] if len(others) > 1 else None
    return (others[0], up, depth), (1, 1 if trunk[up] >= 0 else -1)


def _bones(skeleton: Skeleton | None, bodies: list[Floats]) -> tuple[tuple[str, str], ...]:
    """The described bones; where there are none, the minimum spanning tree of the joints' mean distances."""
    if skeleton is None or skeleton.bones:
        return skeleton.bones if skeleton else ()
    from scipy.sparse.csgraph import minimum_spanning_tree
    from scipy.spatial.distance import pdist, squareform

    apart = np.mean([pdist(one[0]) for one in bodies], axis=0)
    tree = minimum_spanning_tree(squareform(apart + 1e-9)).tocoo()
    return tuple((skeleton.joints[a], skeleton.joints[b]) for a, b in zip(tree.row, tree.col, strict=True))
