"""What trained encoders make of recordings, computed again from each trial's own weights."""

import math
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from scipy import stats

from mmssl import Description, Recordings, Row, UserError, load_encoders
from mmssl.data.description import Window
from mmssl.data.protocols import split
from mmssl.data.windows import Interval, cut
from mmssl.evaluation import pair_retrieval
from mmssl.evaluation import retrieval as nearest_neighbours
from mmssl.experiments import Result, embeddings, save
from mmssl.experiments.embeddings import features, health, retrieval
from mmssl.experiments.unlabelled import MEASURES, _judged_on_others, _measured, unlabelled
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.study.results import hits_of, points
from mmssl.study.tables import Tables
from mmssl.training.prepared import Prepared
from mmssl.training.trial import run_trial

StudyOf = Callable[..., tuple[Study, Plan]]
Vectors = dict[str, np.ndarray]

SMALL = {
    "data.steps": 16,
    "encoder.imu.layers": 1,
    "encoder.imu.feedforward": 16,
    "encoder.projector.hidden": 16,
    "encoder.projector.width": 8,
    "pretrain.epochs": 1,
    "pretrain.batch_size": 16,
    "finetune.epochs": 2,
    "finetune.hidden": 8,
}
SEEDS, FOLDS = (3, 4), ("anna", "ben", "chris")


def trained(study_of: StudyOf, recordings: Recordings, systems: list[str], **how: Any) -> tuple[Study, Plan]:
    """A study trained in this process; the last trial of the system `supervised` failed."""
    models: dict[str, dict[str, bytes]] = {}

    def end(plan: Plan, trial: PlannedTrial) -> Record:
        if plan.system(trial) == "supervised" and trial is plan.trials[-1]:
            return Record(trial_id=trial.trial_id, status="FAILED", cause="MemoryError: too much")
        recipe = plan.recipe(trial)
        prepared = Prepared.of(recordings, recipe.data.steps, recipe.data.modalities)
        outcome = run_trial(recipe, prepared, split(recordings, recipe.data), scored_split=plan.space.scored_split)
        assert outcome.model is not None
        models[trial.trial_id] = outcome.model.files()
        predictions = [{**row, "confidence": float(row["confidence"])} for row in outcome.predictions]
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=dict(outcome.metrics), predictions=predictions)

    fixed = {knob: value for knob, value in SMALL.items() if systems != ["untrained"] or "pretrain" not in knob}
    study, plan = study_of(end, systems, fixed=fixed, recordings=recordings, **how)
    for trial_id, files in models.items():
        study.put_model(trial_id, files)
    return study, plan


@pytest.fixture(scope="module")
def odd(tiny: Recordings) -> Recordings:
    """`tiny` with names of classes that mean something to TeX or to a web page."""
    new = {"slow": "_slow", "middle": "a, <b>$x_1$</b>", "fast": "größer/„als“ %"}
    rows = [row.model_copy(update={"label": new[row.label]}) for row in tiny.rows]
    described = tiny.description.model_copy(update={"classes": tuple(new.values())})
    return Recordings(described, rows, tiny.skeleton, tiny.imu)


@pytest.fixture(scope="module")
def made(study_of: StudyOf, odd: Recordings) -> tuple[Study, Plan]:
    return trained(study_of, odd, ["vicreg", "supervised"], seeds=SEEDS)


@pytest.fixture(scope="module")
def found(made: tuple[Study, Plan], odd: Recordings) -> dict[tuple[str, int, str], tuple[Recordings, Vectors, Vectors]]:
    """By system, seed and fold of each complete trial: what it was scored on, with features and embeddings."""
    study, plan = made
    vectors = {}
    for trial in plan.trials:
        if study.records(plan)[trial.trial_id].status == "COMPLETE":
            model = load_encoders(study.folder / "trials" / trial.trial_id)
            scored = odd.where(lambda row, fold=trial.fold: row.subject == fold)
            encoded = model.features(scored)
            embedded = model.embed({name: torch.from_numpy(one) for name, one in encoded.items()})
            embedded = {name: tensor.numpy() for name, tensor in embedded.items()}
            vectors[plan.system(trial), trial.seed, trial.fold] = (scored, encoded, embedded)
    return vectors


def rows_of(result: Result, name: str, *keys: str) -> dict[Any, dict[str, Any]]:
    table = result.tables[name].to_pylist()
    by_key = {tuple(row[key] for key in keys): row for row in table}
    assert len(by_key) == len(table), "a row is listed twice"
    return by_key


# Retrieval

WHAT = ("system", "space", "query", "gallery", "relevant")


def test_retrieval_is_that_of_the_embeddings_of_each_trial(
    made: tuple[Study, Plan], odd: Recordings, found: dict[Any, Any]
) -> None:
    result = retrieval(*made, odd, ())
    assert result.notes == ["supervised: 1 of 6 trials are not complete"]
    rows = rows_of(result, "retrieval", *WHAT)
    expected: dict[tuple[str, ...], list[tuple[str, dict[str, float]]]] = {}
    for (system, _, fold), (scored, encoded, embedded) in found.items():
        labels = scored.labels
        for name in ("imu", "skeleton"):
            for space, vectors in (("features", encoded), ("embedding", embedded)):
                if (system, space) != ("supervised", "embedding"):
                    numbers = nearest_neighbours(vectors[name], vectors[name], labels, labels, same=True)
                    expected.setdefault((system, space, name, name, "class"), []).append((fold, numbers))
        for one, other in permutations(("imu", "skeleton")) if system == "vicreg" else ():
            across = nearest_neighbours(embedded[one], embedded[other], labels, labels, same=True)
            expected.setdefault((system, "embedding", one, other, "class"), []).append((fold, across))
            pairs = pair_retrieval(embedded[one], embedded[other])
            pairs["map"] = pairs.pop("mrr")
            expected.setdefault((system, "embedding", one, other, "recording"), []).append((fold, pairs))
    assert set(rows) == set(expected)
    for what, numbers in expected.items():
        assert rows[what]["n"] == len(numbers) == (6 if what[0] == "vicreg" else 5)
        for name in ("recall@1", "recall@5", "recall@10", "map"):
            folds = [
                np.mean([one[name] for fold, one in numbers if fold == held]) for held in {one for one, _ in numbers}
            ]
            assert rows[what][name] == pytest.approx(np.mean(folds)), (what, name)


def test_windows_of_noise_are_found_as_often_as_chance_finds_them(study_of: StudyOf) -> None:
    """Windows that overlap by three quarters, of streams whose labels are drawn: only overlap could find a class."""
    draws = np.random.default_rng(0)
    description = Description.model_validate(
        {"name": "noise", "modalities": {"imu": {"kind": "signal", "channels": ("x", "y", "z"), "hz": 20}}}
    )
    rows = [Row(recording_id=name, subject=name) for name in FOLDS]
    walks = [np.cumsum(draws.normal(size=(20 * 400, 3)), axis=0) for _ in FOLDS]
    seen = {name: [Interval(4 * k, 4 * k + 4, str(draws.choice([*"abcd"]))) for k in range(100)] for name in FOLDS}
    some = cut(Recordings(description, rows, imu=walks), Window(seconds=4, stride=1), seen, {}).recordings
    study, plan = trained(study_of, some, ["vicreg_imu"], seeds=(3,))
    row = rows_of(retrieval(study, plan, some, ()), "retrieval", *WHAT)["vicreg_imu", "features", "imu", "imu", "class"]
    shares = [np.unique(some.labels[some.column("subject") == name], return_counts=True)[1] for name in FOLDS]
    chance = np.mean([np.sum((share / share.sum()) ** 2) for share in shares])
    assert row["recall@1"] == pytest.approx(chance, abs=0.08)


def by_two_cameras(recordings: Recordings) -> Recordings:
    """The same recordings twice, as two cameras saw them."""
    rows = [row.model_copy(update={"recording_id": f"{row.recording_id}_{view}", "view": view})
            for view in "12" for row in recordings.rows]  # fmt: skip
    arrays = {name: [*recordings.arrays(name)] * 2 for name in recordings.modalities}
    return Recordings(recordings.description, rows, **arrays)


def by_hand(study: Study, plan: Plan, recordings: Recordings) -> list[dict[str, float]]:
    """Retrieval by the IMU's features in each trial, of these recordings of the subject held out."""
    found: list[dict[str, float]] = []
    for trial in plan.trials:
        scored = recordings.where(lambda row, fold=trial.fold: row.subject == fold)
        encoded = load_encoders(study.folder / "trials" / trial.trial_id).features(scored)["imu"]
        found.append(nearest_neighbours(encoded, encoded, scored.labels, scored.labels, same=True))
    return found


def test_views_of_one_movement_count_as_one_recording_in_intervals(study_of: StudyOf, tiny: Recordings) -> None:
    some = by_two_cameras(tiny)
    study, plan = trained(study_of, some, ["untrained"], seeds=(3,))
    movements = sum(row.subject in FOLDS for row in tiny.rows)
    held_out = np.flatnonzero(np.isin(some.column("subject"), FOLDS))
    assert Prepared.of(some, 16, some.modalities).units(held_out) == movements
    predictions = study.table("predictions.parquet")
    assert len(hits_of(predictions)[plan.trials[0].point_id]) == movements
    assert len(predictions) == 2 * movements


def test_the_other_views_of_a_recording_are_no_other_recordings(study_of: StudyOf, tiny: Recordings) -> None:
    some = by_two_cameras(tiny)
    study, plan = trained(study_of, some, ["untrained"], seeds=(3,))
    row = rows_of(retrieval(study, plan, some, ()), "retrieval", *WHAT)["untrained", "features", "imu", "imu", "class"]
    expected = by_hand(study, plan, tiny)
    assert row["recall@1"] == pytest.approx(np.mean([one["recall@1"] for one in expected]))


def test_the_spread_of_retrieval_is_over_seeds(
    made: tuple[Study, Plan], odd: Recordings, found: dict[Any, Any]
) -> None:
    row = rows_of(retrieval(*made, odd, ()), "retrieval", *WHAT)["vicreg", "embedding", "imu", "skeleton", "recording"]
    by_seed = [
        np.mean([
            pair_retrieval(found["vicreg", seed, fold][2]["imu"], found["vicreg", seed, fold][2]["skeleton"])["mrr"]
            for fold in FOLDS
        ])
        for seed in SEEDS
    ]  # fmt: skip
    assert row["map.std"] == pytest.approx(np.std(by_seed, ddof=1))


def test_encoders_trained_with_labels_have_features_and_no_embedding(made: tuple[Study, Plan], odd: Recordings) -> None:
    rows = rows_of(retrieval(*made, odd, ()), "retrieval", *WHAT)
    assert {row["space"] for row in rows.values() if row["system"] == "supervised"} == {"features"}
    assert {row["space"] for row in rows.values() if row["system"] == "vicreg"} == {"features", "embedding"}


def test_one_seed_of_one_modality(study_of: StudyOf, tiny: Recordings) -> None:
    made = trained(study_of, tiny, ["vicreg_imu"], seeds=(3,))
    rows = rows_of(retrieval(*made, tiny, ()), "retrieval", *WHAT)
    assert set(rows) == {("vicreg_imu", space, "imu", "imu", "class") for space in ("embedding", "features")}, (
        "there is no other modality to look in"
    )
    assert {(row["n"], row["map.std"]) for row in rows.values()} == {(3, None)}


def test_the_test_subjects_are_what_is_searched_where_they_are_scored(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = trained(study_of, tiny, ["untrained"], seeds=(3,), folds="test")
    result = retrieval(study, plan, tiny, ())
    assert "test subjects dora scored" in result.caption
    dora = tiny.where(lambda row: row.subject == "dora")
    encoded = load_encoders(study.folder / "trials" / plan.trials[0].trial_id).features(dora)["imu"]
    numbers = nearest_neighbours(encoded, encoded, dora.labels, dora.labels, same=True)
    row = rows_of(result, "retrieval", *WHAT)["untrained", "features", "imu", "imu", "class"]
    assert {name: row[name] for name in numbers} == pytest.approx(numbers)


def test_a_fold_whose_classes_have_one_recording_each_counts_in_no_precision(
    study_of: StudyOf, tiny: Recordings
) -> None:
    some = tiny.where(lambda row: row.subject != "ben" or row.trial == "0")
    study, plan = trained(study_of, some, ["untrained"], seeds=(3,))
    row = rows_of(retrieval(study, plan, some, ()), "retrieval", *WHAT)["untrained", "features", "imu", "imu", "class"]
    expected = by_hand(study, plan, some)
    assert math.isnan(expected[1]["map"])
    assert row["map"] == pytest.approx((expected[0]["map"] + expected[2]["map"]) / 2)
    assert row["recall@1"] == pytest.approx(np.mean([one["recall@1"] for one in expected]))

    alone = trained(study_of, some, ["untrained"], seeds=(3,), folds=("ben",))
    rows = rows_of(retrieval(*alone, some, ()), "retrieval", *WHAT)
    assert rows["untrained", "features", "imu", "imu", "class"]["map"] is None
    assert rows["untrained", "embedding", "imu", "skeleton", "recording"]["map"] is not None


def test_a_fold_of_one_recording_has_nothing_to_retrieve(study_of: StudyOf, tiny: Recordings) -> None:
    some = tiny.where(lambda row: row.subject != "ben" or row.recording_id == "ben-fast-1")
    result = retrieval(*trained(study_of, some, ["untrained"], seeds=(3,)), some, ())
    assert {row["n"] for row in result.tables["retrieval"].to_pylist()} == {2}
    assert result.notes == ["fold ben: one recording only, so there is none to find"]


def test_retrieval_of_nothing_is_an_empty_table(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(lambda _, t: Record(trial_id=t.trial_id, status="PLANNED"), ["vicreg"])
    result = retrieval(study, plan, tiny, ())
    (path,) = save(study, result)
    assert study.table(path).num_rows == 0


@pytest.mark.parametrize("experiment", [retrieval, features])
def test_a_study_that_kept_no_models_is_explained(
    study_of: StudyOf, tiny: Recordings, experiment: Callable[..., Result]
) -> None:
    def end(plan: Plan, trial: PlannedTrial) -> Record:
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts={"val.accuracy": 0.5})

    study, plan = study_of(end, ["vicreg"])
    plan = plan.model_copy(update={"space": plan.space.model_copy(update={"keep_models": "none"})})
    with pytest.raises(
        UserError, match=r"study made has not kept the model of every trial \(keep_models: none in its space\)"
    ):
        experiment(study, plan, tiny, ())


# Features


def mapped(made: tuple[Study, Plan], result: Result, system: str) -> tuple[PlannedTrial, list[dict[str, Any]]]:
    """The one trial of a system that is on the map, and its rows."""
    rows = [row for row in result.tables["tsne"].to_pylist() if row["system"] == system]
    (trial,) = [trial for trial in made[1].trials if trial.trial_id in {row["trial_id"] for row in rows}]
    return trial, rows


@pytest.mark.parametrize("system", ["vicreg", "supervised"])
def test_the_map_is_of_the_trial_nearest_the_mean(made: tuple[Study, Plan], odd: Recordings, system: str) -> None:
    study, plan = made
    trial, _ = mapped(made, features(study, plan, odd, ()), system)
    scores = {
        name: record.facts["val.accuracy"]
        for name, record in study.records(plan).items()
        if record.status == "COMPLETE" and name in {t.trial_id for t in plan.trials if plan.system(t) == system}
    }
    gaps = {name: abs(value - np.mean(list(scores.values()))) for name, value in scores.items()}
    assert gaps[trial.trial_id] == pytest.approx(min(gaps.values()), abs=1e-12)


@pytest.mark.parametrize("system", ["vicreg", "supervised"])
def test_every_recording_that_was_scored_is_on_the_map_once(
    made: tuple[Study, Plan], odd: Recordings, system: str
) -> None:
    trial, own = mapped(made, features(*made, odd, ()), system)
    scored = [row for row in odd.rows if row.subject == trial.fold]
    assert [row["recording_id"] for row in own] == [row.recording_id for row in scored]
    assert [(row["label"], row["subject"]) for row in own] == [(row.label, trial.fold) for row in scored]


def test_the_map_is_of_the_features_each_modality_at_length_one(
    made: tuple[Study, Plan], odd: Recordings, found: dict[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[np.ndarray, int]] = []

    def layout(vectors: np.ndarray, seed: int) -> np.ndarray:
        given.append((vectors, seed))
        return np.column_stack([np.arange(9.0), -10.0 * len(given) - np.arange(9.0)])

    monkeypatch.setattr(embeddings, "tsne", layout)
    result = features(*made, odd, ())
    for i, system in enumerate(("vicreg", "supervised")):
        trial, own = mapped(made, result, system)
        _, encoded, _ = found[system, trial.seed, trial.fold]
        joined = [
            [x / math.sqrt(sum(float(y) ** 2 for y in vector)) for vector in both for x in vector]
            for both in zip(encoded["imu"], encoded["skeleton"], strict=True)
        ]
        np.testing.assert_allclose(given[i][0], joined, rtol=1e-4, atol=1e-6)
        assert given[i][1] == trial.seed
        assert [(row["x"], row["y"]) for row in own] == [(j, -10 * (i + 1) - j) for j in range(9)]


def test_the_map_has_a_place_for_each_recording(made: tuple[Study, Plan], odd: Recordings) -> None:
    for system in ("vicreg", "supervised"):
        _, own = mapped(made, features(*made, odd, ()), system)
        assert len({(row["x"], row["y"]) for row in own}) == 9
        assert np.isfinite([(row["x"], row["y"]) for row in own]).all()


def test_the_confusion_is_over_all_trials_with_rows_that_sum_to_one(made: tuple[Study, Plan], odd: Recordings) -> None:
    study, plan = made
    classes = odd.description.classes
    result = features(study, plan, odd, ())
    assert result.notes == ["supervised: 1 of 6 trials are not complete"]
    cells = rows_of(result, "confusion", "system", "label", "predicted")
    assert len(cells) == 2 * 3 * 3
    for system in ("vicreg", "supervised"):
        seen = [
            row
            for trial in plan.trials
            if plan.system(trial) == system
            for row in study.record(trial.trial_id).predictions
        ]
        assert len(seen) == 9 * (6 if system == "vicreg" else 5)
        for label in classes:
            own = [row["predicted"] for row in seen if row["label"] == label]
            shares = {guess: own.count(guess) / len(own) for guess in classes}
            assert {guess: cells[system, label, guess]["share"] for guess in classes} == pytest.approx(shares)
            assert sum(cells[system, label, guess]["share"] for guess in classes) == pytest.approx(1)
        hits = {label: cells[system, label, label]["share"] for label in classes}
        (worst,) = [row for row in result.tables["confusion_worst"].to_pylist() if row["system"] == system]
        assert worst["share"] == min(hits.values()) == hits[worst["worst"]]
        missed = {guess: cells[system, worst["worst"], guess]["share"] for guess in classes if guess != worst["worst"]}
        assert missed[worst["taken_for"]] == max(missed.values())


def test_where_no_recording_is_missed_no_class_is_missed_most(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = trained(study_of, tiny, ["untrained"], seeds=(3,), folds=("ben",))
    tables = Tables(study, plan)
    for trial in plan.trials:
        record = study.record(trial.trial_id)
        right = [{**row, "predicted": row["label"]} for row in record.predictions]
        tables.put(record.model_copy(update={"predictions": right}))
    tables.write()
    result = features(study, plan, tiny, ())
    assert result.cells == [["untrained", "-", "100.0", "-"]]


def test_a_class_without_a_scored_recording_has_no_row(study_of: StudyOf, tiny: Recordings) -> None:
    some = tiny.where(lambda row: row.subject != "ben" or row.label != "fast")
    study, plan = trained(study_of, some, ["untrained"], seeds=(3,), folds=("ben",))
    cells = rows_of(features(study, plan, some, ("png",)), "confusion", "label", "predicted")
    assert {label for label, _ in cells} == {"slow", "middle"}


def test_pictures_are_written_for_each_system_on_request(made: tuple[Study, Plan], odd: Recordings) -> None:
    study, plan = made
    assert features(study, plan, odd, ()).figures == []
    pictures = [Path(place) for place in features(study, plan, odd, ("png", "svg")).figures]
    assert {path.name for path in pictures} == {
        f"{what}-{system}.{kind}"
        for what in ("tsne", "confusion")
        for system in ("vicreg", "supervised")
        for kind in ("png", "svg")
    }
    assert len(pictures) == 8
    for path in pictures:
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.format == "PNG"


def test_a_point_with_odd_characters_names_its_pictures_plainly(study_of: StudyOf, odd: Recordings) -> None:
    hidden = odd.description.classes[2]
    study, plan = trained(
        study_of, odd, ["untrained"], seeds=(3,), folds=("ben",), grid={"pretrain.hidden_classes": [[hidden]]}
    )
    pictures = [Path(place) for place in features(study, plan, odd, ("png",)).figures]
    assert len(pictures) == 2
    assert all(path.is_file() and path.parent == (study.folder / "figures") for path in pictures)


def test_points_whose_plain_names_are_alike_keep_their_own_pictures(study_of: StudyOf, odd: Recordings) -> None:
    long = "a" * 300
    alike = odd.description.model_copy(update={"classes": (f"{long}/", f"{long}:", "c")})
    new = dict(zip(odd.description.classes, alike.classes, strict=True))
    rows = [row.model_copy(update={"label": new[row.label]}) for row in odd.rows]
    recordings = Recordings(alike, rows, odd.skeleton, odd.imu)
    hidden = {"pretrain.hidden_classes": [[f"{long}/"], [f"{long}:"]]}
    study, plan = trained(study_of, recordings, ["untrained"], seeds=(3,), folds=("ben",), grid=hidden)
    pictures = [Path(place) for place in features(study, plan, recordings, ("png",)).figures]
    assert len(set(pictures)) == 4


def test_a_fold_too_small_for_a_map_still_has_its_confusion(study_of: StudyOf, tiny: Recordings) -> None:
    some = tiny.where(lambda row: row.subject != "ben" or row.trial == "0")
    study, plan = trained(study_of, some, ["untrained"], seeds=(3,), folds=("ben",))
    result = features(study, plan, some, ("png",))
    assert result.tables["tsne"].num_rows == 0
    assert result.tables["confusion"].num_rows == 9
    assert [Path(place).name for place in result.figures] == ["confusion-untrained.png"]
    (note,) = result.notes
    assert note.startswith("untrained, fold ben: no map: t-SNE needs at least 4 recordings")


def test_encoders_that_give_the_same_for_all_have_no_map(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = trained(study_of, tiny, ["untrained"], seeds=(3,), folds=("ben",))
    (trial,) = plan.trials
    model = load_encoders(study.folder / "trials" / trial.trial_id)
    with torch.no_grad():
        for weights in model.encoders.parameters():
            weights.zero_()
    study.put_model(trial.trial_id, model.files())
    for one in model.features(tiny).values():
        assert (one == one[0]).all()
    result = features(study, plan, tiny, ())
    (note,) = result.notes
    assert note.startswith("untrained, fold ben: no map: ")
    assert result.tables["confusion"].num_rows == 9


def test_features_of_nothing_are_empty_tables(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(lambda _, t: Record(trial_id=t.trial_id, status="PLANNED"), ["vicreg"])
    result = features(study, plan, tiny, ("png",))
    assert {name: table.num_rows for name, table in result.tables.items()} == {
        "confusion_worst": 0, "confusion": 0, "tsne": 0,
    }  # fmt: skip
    assert len(save(study, result)) == 3


# Health

LAMBDAS = [1.0, 5.0, 10.0, 25.0, 50.0]
# By lambda: accuracy, then the measures.
HEALTH = ("unlabelled", "rankme", "std", "covariance")
MEASURED = {
    1.0: (0.40, 0.3, 3.0, 0.9, 0.30),
    5.0: (0.60, 0.6, 5.0, 0.8, 0.10),
    10.0: (0.80, 0.7, 4.0, 0.7, 0.05),
    25.0: (0.70, 0.4, 9.0, 0.6, 0.20),
    50.0: (0.50, 0.5, 2.0, 1.1, 0.02),
}


def measured(plan: Plan, trial: PlannedTrial) -> Record:
    """Every trial a little off its point's values, by amounts that cancel over seeds and folds."""
    accuracy, learnability, *embedding = MEASURED[trial.point["objective.lambda"]]
    off = (-0.01 if trial.seed == 1 else 0.01) * (1 + FOLDS.index(trial.fold))
    facts = {"val.accuracy": accuracy + off}
    for modality in ("imu", "skeleton"):
        facts |= {f"features.{modality}.cluster_learnability": learnability + off}
    for name, value in zip(("effective_rank", "std", "covariance"), embedding, strict=True):
        # Halfway between the modalities lies the measure.
        facts |= {f"embedding.imu.{name}": value * 0.5 + off, f"embedding.skeleton.{name}": value * 1.5 - off}
    return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts)


def test_measures_are_ranked_against_the_metric_by_spearman(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(measured, ["vicreg"], {"objective.lambda": LAMBDAS})
    rows = rows_of(health(study, plan, tiny, ()), "health", "measure")
    accuracy = [MEASURED[one][0] for one in LAMBDAS]
    for i, measure in enumerate(HEALTH, start=1):
        values = [MEASURED[one][i] for one in LAMBDAS]
        row = rows[(measure,)]
        assert row["spearman"] == pytest.approx(stats.spearmanr(values, accuracy).statistic)
        # Of all orders of five points, the share that agrees as much or more.
        exact = stats.permutation_test(
            (values,), lambda x: stats.spearmanr(x, accuracy).statistic, permutation_type="pairings",
            n_resamples=np.inf,
        )  # fmt: skip
        assert row["p"] == pytest.approx(exact.pvalue)
        assert (row["n"], row["system"]) == (5, "vicreg")


def test_the_point_picked_has_most_of_the_measure_or_least_covariance(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(measured, ["vicreg"], {"objective.lambda": LAMBDAS})
    rows = rows_of(health(study, plan, tiny, ()), "health", "measure")
    assert {name: (row["picked"], row["lost"]) for (name,), row in rows.items()} == {
        "unlabelled": (pytest.approx(0.80), pytest.approx(0)),
        "rankme": (pytest.approx(0.70), pytest.approx(0.10)),
        "std": (pytest.approx(0.50), pytest.approx(0.30)),
        "covariance": (pytest.approx(0.50), pytest.approx(0.30)),
    }


def test_a_point_that_is_not_complete_is_neither_compared_nor_picked(study_of: StudyOf, tiny: Recordings) -> None:
    def end(plan: Plan, trial: PlannedTrial) -> Record:
        if trial.point["objective.lambda"] == 25.0 and (trial.seed, trial.fold) == (2, "ben"):
            return Record(trial_id=trial.trial_id, status="COLLAPSED", cause="epoch 3: too small")
        return measured(plan, trial)

    study, plan = study_of(end, ["vicreg"], {"objective.lambda": LAMBDAS})
    row = rows_of(health(study, plan, tiny, ()), "health", "measure")[("rankme",)]
    left = [one for one in LAMBDAS if one != 25.0]
    expected = stats.spearmanr([MEASURED[one][2] for one in left], [MEASURED[one][0] for one in left]).statistic
    assert (row["n"], row["spearman"]) == (4, pytest.approx(expected))
    assert (row["picked"], row["lost"]) == (pytest.approx(0.60), pytest.approx(0.20))


def test_points_of_different_systems_are_not_compared(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(measured, ["vicreg", "cmc"], {"objective.lambda": LAMBDAS[:3]})
    result = health(study, plan, tiny, ("png",))
    rows = rows_of(result, "health", "system", "measure")
    assert set(rows) == {(s, m) for s in ("vicreg", "cmc") for m in HEALTH}
    assert {row["n"] for row in rows.values()} == {3}
    assert {Path(place).name for place in result.figures} == {
        f"health-{system}-{measure}.png" for system in ("vicreg", "cmc") for measure in HEALTH
    }
    assert all(Path(place).is_file() for place in result.figures)


def test_two_points_have_no_rank_correlation_and_the_note_says_so(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(measured, ["vicreg"], {"objective.lambda": LAMBDAS[:2]})
    result = health(study, plan, tiny, ("png",))
    row = rows_of(result, "health", "measure")[("rankme",)]
    assert (row["n"], row["spearman"], row["p"]) == (2, None, None)
    assert (row["picked"], row["lost"]) == (pytest.approx(0.60), pytest.approx(0))
    assert result.notes == ["a rank correlation needs three points of a system: search its knobs with `launch` first"]
    assert result.figures == []


def test_three_points_need_no_note(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(measured, ["vicreg"], {"objective.lambda": LAMBDAS[:3]})
    assert health(study, plan, tiny, ()).notes == []


@pytest.mark.slow
def test_measures_without_labels_are_of_the_kept_models(study_of: StudyOf, tiny: Recordings) -> None:
    weights = [1.0, 5.0, 25.0]
    study, plan = trained(study_of, tiny, ["vicreg"], grid={"objective.lambda": weights}, seeds=(3,))
    measured: list[tuple[int, int]] = []
    result = unlabelled(study, plan, tiny, (), lambda done, total: measured.append((done, total)))
    models = len(weights) * len(FOLDS)
    assert measured == [(done, models) for done in range(1, models + 1)]
    rows = rows_of(result, "unlabelled", "measure", "space", "recordings")
    places = {(space, side) for space in ("embedding", "features") for side in ("training", "held out")}
    possible = {(name, *place) for name in (*MEASURES, "clid") for place in places if name != "retrieval"}
    possible |= {("retrieval", "embedding", side) for _, side in places}
    # Of so few recordings there is no tree to speak of, and all points may have the same clusters.
    certain = {row for row in possible if row[2] == "training" and row[0] != "clid"}
    assert certain <= set(rows) <= possible

    # Once more from the weights, by another road.
    score: dict[str, float] = {}
    found: dict[str, float] = {}
    by_fold: dict[str, dict[str, float]] = {}
    for point in points(plan, study.table("trials.parquet")):
        own = [trial for trial in plan.trials if trial.point_id == point.point_id]
        assert point.mean is not None
        score[point.point_id] = point.mean
        by_fold[point.point_id] = {fold: value for (_, fold), value in point.scores.items()}
        values: list[float] = []
        for trial in own:
            _, _, embedded = embeddings.vectors(study, plan, trial, tiny, {})
            unit = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in embedded.values()]
            nearest = [(unit[0] @ unit[1].T).argmax(axis=axis) for axis in (0, 1)]
            values += [float(np.mean(one == np.arange(len(one)))) for one in nearest]
        found[point.point_id] = float(np.mean(values))
    best = max(score.values())
    chosen = score[max(found, key=lambda name: found[name])]
    row = rows["retrieval", "embedding", "held out"]
    assert row["lost.val.accuracy"] == pytest.approx(best - chosen)
    assert row["n.val.imu.accuracy"] == 3
    mean = np.mean(list(score.values()))
    assert result.notes[0].startswith(f"vicreg: a random pick loses {100 * (best - mean):.1f} (val.accuracy), ")

    # Who has labels of some people and judges by the others': with each fold alone on the one side.
    halves = result.tables["halves"].to_pylist()
    assert {tuple(row["judged on"]) for row in halves} == {(1, 2), (0, 2), (0, 1)}
    of_labels = [
        row["lost"]
        for row in halves
        if row["rule"] == "labels of the others" and row["score"] == "val.accuracy" and row["judged on"] == [1, 2]
    ]
    there = {name: np.mean([by_fold[name][fold] for fold in FOLDS[1:]]) for name in by_fold}
    assert of_labels[0] in [pytest.approx(max(there.values()) - value) for value in there.values()]
    study.drop_model(plan.trials[0].trial_id)
    with pytest.raises(UserError, match="has not kept the model of every trial"):
        unlabelled(study, plan, tiny, ())


@pytest.mark.parametrize("points", [2, 4])
def test_measures_agree_by_scores_that_differ(points: int) -> None:
    """From the skeleton all points score the same, by which no measure agrees or does not; two have no rank correlation
    at all."""
    rising = np.arange(points, dtype=float)[:, None] * np.ones(2)
    scored = {"val.accuracy": 0.5 + rising / 10, "val.skeleton.accuracy": np.ones((points, 2))}
    falling = {(f"falling {i}", "embedding", "training"): -rising for i in range(5)}
    measured = {**falling, ("rising", "embedding", "training"): rising}
    chosen = [row["chosen"] for row in _judged_on_others(measured, scored) if row["rule"] == "mean rank"]
    assert len(chosen) == (0 if points == 2 else 2 * len(scored))
    assert all(name.startswith("rising embedding training; ") for name in chosen)


def test_measures_without_labels_are_of_each_point_s_own_encoders(study_of: StudyOf, tiny: Recordings) -> None:
    """Points whose batch norms alone differ, of recordings some of which lack a modality."""
    imu = [None if i % 5 == 0 else one for i, one in enumerate(tiny.imu or ())]
    some = Recordings(tiny.description, tiny.rows, tiny.skeleton, imu)
    study, plan = trained(
        study_of, some, ["vicreg"], grid={"finetune.batch_norm": ["running", "renewed"]}, seeds=(3,), folds=("anna",)
    )
    found = _measured(study, plan, some, lambda done, total: None)
    held_out = some.where(lambda row: row.subject == "anna").having(["imu", "skeleton"])
    ranks: list[float] = []
    for trial in plan.trials:
        features = load_encoders(study.folder / "trials" / trial.trial_id).features(held_out)
        entropies = [stats.entropy(np.linalg.svd(one.astype(float), compute_uv=False)) for one in features.values()]
        ranks.append(float(np.mean(np.exp(entropies))))
        measured = found[trial.point_id]["anna"]["rankme", "features", "held out"]
        assert measured == pytest.approx(ranks[-1], rel=1e-4)
    assert ranks[0] != pytest.approx(ranks[1], rel=1e-3)


def test_where_nothing_is_complete_there_is_nothing_to_rank(study_of: StudyOf, tiny: Recordings) -> None:
    def end(plan: Plan, trial: PlannedTrial) -> Record:
        if trial.fold == "chris":
            return Record(trial_id=trial.trial_id, status="FAILED", cause="MemoryError: too much")
        return measured(plan, trial)

    study, plan = study_of(end, ["vicreg"], {"objective.lambda": LAMBDAS})
    with pytest.raises(UserError, match="study made: no point with encoders trained without labels is complete"):
        health(study, plan, tiny, ())


def test_encoders_trained_with_labels_have_no_measure(study_of: StudyOf, tiny: Recordings) -> None:
    def end(plan: Plan, trial: PlannedTrial) -> Record:
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts={"val.accuracy": 0.5})

    study, plan = study_of(end, ["supervised"], {"finetune.lr": [0.001, 0.01, 0.1]})
    with pytest.raises(UserError, match="no point with encoders trained without labels is complete"):
        health(study, plan, tiny, ())


def test_the_measures_of_trained_encoders_are_those_of_their_training_embeddings(
    made: tuple[Study, Plan], odd: Recordings
) -> None:
    """Effective rank: exp of the entropy of the singular values' shares."""
    study, plan = made
    result = health(study, plan, odd, ())
    assert {row["system"] for row in result.tables["health"].to_pylist()} == {"vicreg"}
    ranks = []
    for trial in [trial for trial in plan.trials if plan.system(trial) == "vicreg"]:
        model = load_encoders(study.folder / "trials" / trial.trial_id)
        train = odd.where(lambda row, fold=trial.fold: row.subject not in (fold, "dora"))
        encoded = {name: torch.from_numpy(one) for name, one in model.features(train).items()}
        for embedded in model.embed(encoded).values():
            singular = np.linalg.svd(embedded.numpy().astype(np.float64), compute_uv=False)
            shares = singular / singular.sum()
            ranks.append(math.exp(-sum(share * math.log(share) for share in shares)))
    (point,) = [p for p in points(plan, study.table("trials.parquet"), "rankme") if p.scores]
    assert point.mean == pytest.approx(np.mean(ranks), rel=1e-4)


def test_tables_are_written_with_their_caption(made: tuple[Study, Plan], odd: Recordings) -> None:
    study, plan = made
    result = features(study, plan, odd, ())
    for path, name in zip(save(study, result), ("confusion_worst", "confusion", "tsne"), strict=True):
        assert path == str(study.folder / "tables" / f"{name}.parquet")
        table = pq.read_table(path)
        assert table.schema.metadata[b"caption"].decode() == result.caption
        assert table.to_pylist() == result.tables[name].to_pylist()
