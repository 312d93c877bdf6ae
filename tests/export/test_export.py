import json
import math
import random
import re
import resource
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from asking import Ask
from huggingface_hub import ModelCard, ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results
from huggingface_hub.utils import validate_repo_id
from safetensors.numpy import load_file, save_file
from small import put_document
from without_ray import SMALL, run_without_ray

import mmssl
from mmssl import Recordings, UserError
from mmssl.data.protocols import split
from mmssl.export.card import _caveats, card
from mmssl.export.conversion import convert
from mmssl.export.encoders import Exported, export
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.study.results import Choice, Point, choose, points, representative
from mmssl.study.space import Space
from mmssl.study.tables import Tables
from mmssl.training.model import Model
from mmssl.training.prepared import Prepared
from mmssl.training.trial import run_trial, score


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny: Recordings) -> Study:
    """A study of one point and three folds."""
    space = Space(name="one", grid={"objective.lambda": [25.0]})
    return run_without_ray(space, tiny, tmp_path_factory.mktemp("finished"), [("anna",), ("ben",), ("chris",)])


def chosen(study: Study) -> tuple[Plan, Choice]:
    plan = study.plan()
    return plan, choose(points(plan, study.table("trials.parquet")))


@pytest.fixture(scope="module")
def exported(finished: Study, tiny: Recordings) -> Exported:
    plan, choice = chosen(finished)
    return export(finished, plan, tiny, choice, "val.accuracy", None, refit=False)


def test_the_representative_trial_is_the_one_nearest_the_mean(finished: Study) -> None:
    plan, choice = chosen(finished)
    trial = representative(plan, choice.best)
    gaps = {key: abs(value - np.mean(list(choice.best.scores.values()))) for key, value in choice.best.scores.items()}
    assert gaps[trial.seed, trial.fold] == min(gaps.values())


def test_an_export_gives_the_trials_own_features_and_scores(
    exported: Exported, finished: Study, tiny: Recordings
) -> None:
    plan, choice = chosen(finished)
    trial = representative(plan, choice.best)
    encoders = mmssl.load_encoders(exported.folder)
    held_out = tiny.where(lambda row: row.subject == trial.fold)
    predicted = encoders.predict(held_out)
    right = np.mean([guess == row.label for guess, row in zip(predicted, held_out.rows, strict=True)])
    assert right == pytest.approx(choice.best.scores[trial.seed, trial.fold])
    features = encoders.features(held_out)
    assert {name: array.shape for name, array in features.items()} == {"imu": (9, 3 * 128), "skeleton": (9, 512)}
    assert exported.checked == 9


def test_an_export_keeps_projectors_and_every_head(exported: Exported, finished: Study, tiny: Recordings) -> None:
    plan, choice = chosen(finished)
    recipe = plan.recipe(representative(plan, choice.best))
    prepared = Prepared.of(tiny, recipe.data.steps, recipe.data.modalities)
    trained = run_trial(recipe, prepared, split(tiny, recipe.data)).model
    assert trained is not None
    loaded = mmssl.load_encoders(exported.folder)
    assert list(loaded.projectors) == ["imu", "skeleton"]
    assert list(loaded.heads) == ["imu+skeleton", "imu", "skeleton"]
    for part, module in trained.parts.items():
        theirs = loaded.parts[part].state_dict()
        assert theirs.keys() == module.state_dict().keys()
        for name, tensor in module.state_dict().items():
            assert torch.equal(tensor, theirs[name]), f"{part}.{name}"
    again = Model.from_files(loaded.files(), "memory")
    assert again.files() == loaded.files() == trained.files()
    embeddings = loaded.embed({k: torch.from_numpy(v) for k, v in loaded.features(tiny).items()})
    assert {name: tuple(z.shape) for name, z in embeddings.items()} == {"imu": (36, 8), "skeleton": (36, 8)}


@pytest.mark.parametrize("part", ["projectors.imu", "heads.skeleton", "encoders.imu"])
def test_an_export_without_one_of_its_parts_is_refused(exported: Exported, tmp_path: Path, part: str) -> None:
    copy = tmp_path / "export"
    shutil.copytree(exported.folder, copy)
    kept = {k: v for k, v in load_file(copy / "model.safetensors").items() if not k.startswith(part)}
    save_file(kept, copy / "model.safetensors")
    with pytest.raises(UserError, match="not a whole model"):
        mmssl.load_encoders(copy)


@pytest.mark.parametrize("modality", ["imu", "skeleton"])
def test_an_export_classifies_from_one_modality_as_its_trial_did(
    exported: Exported, finished: Study, tiny: Recordings, modality: str
) -> None:
    plan, choice = chosen(finished)
    trial = representative(plan, choice.best)
    held_out = tiny.where(lambda row: row.subject == trial.fold)
    predicted = mmssl.load_encoders(exported.folder).predict(held_out, [modality])
    right = np.mean([guess == row.label for guess, row in zip(predicted, held_out.rows, strict=True)])
    assert right == pytest.approx(finished.record(trial.trial_id).facts[f"val.{modality}.accuracy"])
    assert right == pytest.approx(exported.metrics[f"val.{modality}.accuracy"])


@pytest.mark.usefixtures("unchecked")
def test_the_test_score_is_computed_once_and_recorded(exported: Exported, finished: Study, tiny: Recordings) -> None:
    plan, choice = chosen(finished)
    trial = representative(plan, choice.best)
    looks = finished.looks()
    (look,) = looks.values()
    assert trial.trial_id in look["checkpoint"]
    recipe = plan.recipe(trial)
    parts = split(tiny, recipe.data)
    prepared = Prepared.of(tiny, recipe.data.steps, recipe.data.modalities)
    _, metrics = score(mmssl.load_encoders(exported.folder), prepared, parts.test, "test")
    assert look["metrics"] == metrics
    assert look["look"] == 1
    said: list[str] = []
    again = export(finished, plan, tiny, choice, "val.accuracy", None, refit=False, say=said.append)
    assert finished.looks() == looks, "a second export must not be a second look"
    assert again.metrics == exported.metrics
    assert said[-1] == f"the test score is that of look 1 at the test subjects, on {look['when'][:10]}"


@pytest.mark.usefixtures("unchecked")
def test_the_test_subjects_can_be_left(finished: Study, tiny: Recordings, tmp_path: Path) -> None:
    plan, choice = chosen(finished)
    looks, said = finished.looks(), list[str]()
    done = export(
        finished, plan, tiny, choice, "val.accuracy", tmp_path / "left", refit=False, test=False, say=said.append
    )
    assert finished.looks() == looks
    assert not [name for name in done.metrics if name.startswith("test.")]
    assert said[-1] == "note: the test subjects are not scored: they were left out"
    with pytest.raises(UserError, match="there is no folder"):
        export(finished, plan, tiny, choice, "val.accuracy", tmp_path / "no" / "such", refit=False)


def test_the_card_states_the_point_not_just_the_checkpoint(exported: Exported, finished: Study) -> None:
    _, choice = chosen(finished)
    card = (exported.folder / "README.md").read_text()
    assert f"{choice.best.mean:.4f} ± {choice.best.std:.4f} (n = 3 trials" in card
    assert "look no. 1" in card
    assert "dora" in card


def test_the_card_lists_the_scores_of_each_modality_once(exported: Exported, finished: Study) -> None:
    plan, choice = chosen(finished)
    facts = finished.record(representative(plan, choice.best).trial_id).facts
    lines = (exported.folder / "README.md").read_text().splitlines()
    table = {tuple(line.strip("| ").split(" | ")[:2]): line for line in lines if line.startswith(("| valid", "| test"))}
    trials = [finished.record(trial.trial_id).facts for trial in plan.trials]
    for reading, by in (("", "imu + skeleton"), ("imu.", "imu"), ("skeleton.", "skeleton")):
        for measure, title in (("accuracy", "accuracy"), ("f1", "F1")):
            name = f"val.{reading}{measure}"
            values = [one[name] for one in trials]
            point = f"{np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}"
            assert table["validation " + title, by] == f"| validation {title} | {by} | {point} | {facts[name]:.4f} |"
            own = exported.metrics[f"test.{reading}{measure}"]
            assert table["test " + title, by] == f"| test {title} | {by} | - | {own:.4f} |"


@pytest.mark.usefixtures("unchecked")
def test_a_choice_without_labels_is_not_said_to_be_by_validation(
    finished: Study, tiny: Recordings, tmp_path: Path
) -> None:
    plan = finished.plan()
    choice = choose(points(plan, finished.table("trials.parquet"), "rankme"))
    done = export(finished, plan, tiny, choice, "rankme", tmp_path / "out", refit=False)
    card = (done.folder / "README.md").read_text()
    assert f"rankme of the point: {choice.best.mean:.4f} ± " in card
    assert "Chosen by rankme, a measure without labels, on training recordings" in card
    assert "Chosen by validation" not in card


@pytest.mark.parametrize(("metric", "promises"), [("val.imu.accuracy", 1), ("unlabelled", 0)])
def test_the_highest_mean_promises_too_much_where_it_was_the_choice(metric: str, promises: int) -> None:
    selection = {"caveats": [], "points": 4, "complete": 3, "metric": metric}
    facts = {"selection": selection, "data": {"train_subjects": ["anna", "ben"]}, "held_out": ["anna"]}
    found = [line for line in _caveats(facts, None) if "the highest of 3" in line]
    assert len(found) == promises


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory, tiny: Recordings) -> Study:
    """Systems without self-supervision, trained on all training subjects; the test subjects are scored."""
    space = Space(name="all", systems=["supervised", "untrained_imu"], folds="test", seeds=[1, 2])
    return run_without_ray(space, tiny, tmp_path_factory.mktemp("tested"), [()])


def test_encoders_that_all_training_subjects_trained_can_be_exported(
    tested: Study, tiny: Recordings, tmp_path: Path
) -> None:
    plan = tested.plan()
    (_, point) = points(plan, tested.table("trials.parquet"), "rankme")
    done = export(tested, plan, tiny, Choice(point, [], None, []), "rankme", tmp_path / "out", refit=False)
    assert done.checked == 27, "there is nobody held out to compare on"
    assert "trained on all training subjects" in done.checkpoint
    assert mmssl.load_encoders(done.folder).recipe.data.validation_subjects == ()
    card = (done.folder / "README.md").read_text()
    assert "# imu encoders from study all" in card
    assert "Pre-trained" not in card, "these encoders were not"
    assert r"untrained\_imu" in card


@pytest.mark.usefixtures("unchecked")
def test_the_card_of_supervised_encoders_speaks_of_no_pre_training(
    tested: Study, tiny: Recordings, tmp_path: Path
) -> None:
    plan = tested.plan()
    (point, _) = points(plan, tested.table("trials.parquet"), "test.accuracy")
    done = export(tested, plan, tiny, Choice(point, [], None, []), "test.accuracy", tmp_path / "out", refit=False)
    card = (done.folder / "README.md").read_text()
    assert "Pre-trained" not in card
    assert "frozen" not in card
    assert "trained together with" in card


def test_the_hub_reads_the_numbers_of_the_study_from_the_card(
    exported: Exported, finished: Study, tiny: Recordings
) -> None:
    plan, choice = chosen(finished)
    loaded = ModelCard.load(exported.folder / "README.md")
    assert loaded.data.library_name == "mmssl-tune"
    assert set(loaded.data.tags) >= {"imu", "skeleton", "vicreg"}
    results = {(one.dataset_split, one.metric_name): one for one in loaded.data.eval_results}
    assert len(results) == 18
    trials = finished.table("trials.parquet").to_pylist()
    trial = representative(plan, choice.best)
    (look,) = [one for one in finished.looks().values() if trial.trial_id in one["checkpoint"]]
    own = finished.record(trial.trial_id).facts
    for reading in ("", "imu.", "skeleton."):
        alone = f" by {reading[:-1]} alone" if reading else ""
        for measure, title in (("accuracy", "accuracy"), ("f1", "F1")):
            name = f"{reading}{measure}"
            mean = results["validation", f"validation {title}{alone}, mean over 3 trials"]
            values = [row[f"val.{name}"] for row in trials]
            assert mean.metric_value == pytest.approx(np.mean(values))
            assert mean.metric_args == {"std": pytest.approx(np.std(values, ddof=1)), "n": 3}
            weights = results["validation", f"validation {title}{alone}, these weights"]
            assert (weights.metric_type, weights.metric_value) == (measure, own[f"val.{name}"])
            tested = results["test", f"test {title}{alone}, these weights"]
            assert (tested.metric_value, tested.dataset_name) == (look["metrics"][f"test.{name}"], "tiny")
            assert tested.dataset_args["fingerprint"] == tiny.fingerprint
    assert {path.name for path in exported.folder.iterdir()} == {
        "README.md", "config.json", "model.json", "model.safetensors"
    }  # fmt: skip


def test_the_cards_front_matter_keeps_to_the_hubs_rules(exported: Exported) -> None:
    text = (exported.folder / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    json.dumps(front, allow_nan=False)  # As the Hub keeps it.
    assert front["license"] in ("unknown", "other")
    assert (front["library_name"], front["pipeline_tag"]) == ("mmssl-tune", "feature-extraction")
    for name in ("tags", "datasets", "metrics"):
        assert all(isinstance(one, str) and one for one in front[name])
    for dataset in front["datasets"]:
        validate_repo_id(dataset)
    (index,) = front["model-index"]
    assert isinstance(index["name"], str)
    for result in index["results"]:
        assert result["task"]["type"]
        assert result["dataset"]["type"] in front["datasets"]
        assert result["dataset"]["name"]
        for metric in result["metrics"]:
            assert metric["type"] in front["metrics"]
            assert 0 <= metric["value"] <= 1
    data = ModelCardData(**{k: v for k, v in front.items() if k != "model-index"})
    name, results = model_index_to_eval_results(front["model-index"])
    again = ModelCardData(**data.to_dict(), model_name=name, eval_results=results).to_dict()
    written = again["model-index"][0]["results"]
    assert [
        ((one["dataset"]["config"], one["dataset"]["split"], one["dataset"]["args"]), one["metrics"]) for one in written
    ] == [
        ((one["dataset"]["config"], one["dataset"]["split"], one["dataset"]["args"]), one["metrics"])
        for one in index["results"]
    ]
    assert sum(len(one["metrics"]) for one in written) == 18


def in_the_hubs_cache(folder: Path, cache: Path, repository: str) -> None:
    """Put a folder where huggingface_hub keeps what it has downloaded of a model repository."""
    place = cache / f"models--{repository.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / ("a" * 40))
    (place / "refs").mkdir()
    (place / "refs" / "v1").write_text("a" * 40)


def test_encoders_are_loaded_by_the_name_of_a_repository(
    exported: Exported, tiny: Recordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_hubs_cache(exported.folder, tmp_path, "you/your-encoders")
    offline: dict[str, Any] = {"cache_dir": tmp_path, "local_files_only": True}
    loaded = mmssl.Encoders.from_pretrained("you/your-encoders", revision="v1", **offline)
    assert loaded.predict(tiny) == mmssl.Encoders.from_pretrained(str(exported.folder)).predict(tiny)
    with pytest.raises(UserError, match=r"me/none: not a folder, nor loadable from the Hugging Face Hub \("):
        mmssl.Encoders.from_pretrained("me/none", **offline)
    with pytest.raises(UserError, match=r"me/none: is no export"):
        mmssl.load_encoders("me/none")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"you/your-encoders: not a folder; .* pip install 'mmssl-tune\[hub\]'"):
        mmssl.Encoders.from_pretrained("you/your-encoders")


@pytest.mark.usefixtures("unchecked")
def test_the_card_says_what_untrained_encoders_score_or_that_none_were_run(
    exported: Exported, tiny: Recordings, tmp_path: Path
) -> None:
    assert (
        "No untrained encoders of these modalities are complete in this study"
        in (exported.folder / "README.md").read_text()
    )
    space = Space(name="both", systems=["vicreg_imu", "untrained_imu", "untrained_skeleton"], seeds=[1])
    study = run_without_ray(space, tiny, tmp_path, [("anna",), ("ben",)])
    plan = study.plan()
    trained, untrained, _ = points(plan, study.table("trials.parquet"))
    failed = next(trial for trial in plan.trials if plan.system(trial) == "untrained_skeleton")
    study.keep(Record(trial_id=failed.trial_id, status="FAILED", cause="MemoryError: too much"))
    tables = Tables(study, plan)
    for record in study.records(plan).values():
        tables.put(record)
    tables.write()
    choice = Choice(trained, [], 0.05, ["one seed"], compared=1, test="paired t-test over 2 folds, 95 %")
    done = export(study, plan, tiny, choice, "val.accuracy", None, refit=False)
    card = (done.folder / "README.md").read_text()
    assert "2 of 3 points complete. Trials without a result: 1 FAILED. " in card
    assert f"- {choice.threshold.capitalize()}.\n" in card if choice.threshold else False
    scores = list(untrained.scores.values())
    assert (
        f"Untrained encoders in the same study (untrained\\_imu): validation accuracy "
        f"{np.mean(scores):.4f} ± {np.std(scores, ddof=1):.4f}" in card
    )
    assert "- System vicreg\\_imu, recipe default. " in card
    assert "untrained\\_skeleton" not in card
    assert "- One seed." in card
    assert "by skeleton" not in card


@pytest.mark.usefixtures("unchecked")
def test_the_card_knows_untrained_encoders_that_no_system_names(tiny: Recordings, tmp_path: Path) -> None:
    space = Space(name="lengths", grid={"pretrain.epochs": [0, 1, 2]}, seeds=[1])
    study = run_without_ray(space, tiny, tmp_path, [("anna",), ("ben",)])
    plan = study.plan()
    untrained, trained, _ = points(plan, study.table("trials.parquet"))
    scores = list(untrained.scores.values())
    baseline = f"(vicreg untrained): validation accuracy {np.mean(scores):.4f} ± {np.std(scores, ddof=1):.4f}"

    def card_of(point: Point) -> str:
        done = export(study, plan, tiny, Choice(point, [], None, []), "val.accuracy", None, refit=False, test=False)
        return (done.folder / "README.md").read_text()

    assert f"Untrained encoders in the same study {baseline}" in card_of(trained)
    assert "These encoders are untrained themselves." in card_of(untrained)
    study.keep(Record(trial_id=plan.trials[0].trial_id, status="FAILED", cause="MemoryError: too much"))
    tables = Tables(study, plan)
    for record in study.records(plan).values():
        tables.put(record)
    tables.write()
    assert "No untrained encoders of these modalities are complete in this study" in card_of(trained)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("metric", "by"), [("val.accuracy", ""), ("val.f1", " --by val.f1")])
def test_the_command_on_the_card_retrains_the_point_that_was_exported(
    finished: Study, tiny: Recordings, tmp_path: Path, metric: str, by: str
) -> None:
    plan = finished.plan()
    choice = choose(points(plan, finished.table("trials.parquet"), metric))
    done = export(finished, plan, tiny, choice, metric, tmp_path / "refit", refit=True, test=False)
    assert f"`mmssl-tune best one{by} --export --refit` trains it again." in (done.folder / "README.md").read_text()


@pytest.mark.usefixtures("unchecked")
def test_untrained_encoders_of_another_variant_are_no_baseline(tiny: Recordings, tmp_path: Path) -> None:
    variants = {"narrow": {}, "wide": {"finetune.lr": 0.02}}
    space = Space(name="varied", systems=["vicreg_imu", "untrained_imu"], variants=variants, seeds=[1])
    study = run_without_ray(space, tiny, tmp_path, [("anna",), ("ben",)])
    plan = study.plan()
    of = {tuple(point.values.values()): point for point in points(plan, study.table("trials.parquet"))}
    done = export(study, plan, tiny, Choice(of["vicreg_imu", "wide"], [], None, []), "val.accuracy", None, refit=False)
    selection = json.loads((done.folder / "model.json").read_text())["selection"]
    [baseline] = selection["untrained"]
    assert baseline["system"] == "untrained_imu"
    assert baseline["scores"]["val.accuracy"]["mean"] == of["untrained_imu", "wide"].mean


def test_hostile_names_stay_words_in_the_card(exported: Exported) -> None:
    model = mmssl.load_encoders(exported.folder)
    facts = json.loads((exported.folder / "model.json").read_text())
    evil = "---\n# Owned\n| a | <script>alert(1)</script> `x` ${{ y }}: {z} [l](http://e)"
    model.description = model.description.model_copy(update={"classes": (evil, "b", "c"), "skeleton_unit": evil})
    facts["data"] |= {"name": evil, "train_subjects": [evil], "test_subjects": ["---"]}
    facts["selection"]["caveats"] = [evil]
    text = card(model, facts)
    loaded = ModelCard(text)
    assert len(loaded.data.eval_results) == 18
    assert loaded.data.eval_results[0].dataset_name == " ".join(evil.split())
    assert loaded.data.datasets == ["Owned_a_script_alert_1_script_x_y_z_l_http_e"]
    assert "<script>" not in loaded.text
    assert "\n# Owned" not in text
    lines = [line for line in loaded.text.splitlines() if line.startswith("| classes")]
    assert len(re.findall(r"(?<!\\)\|", lines[0])) == 3, "two cells, as every line of that table"


def test_an_export_says_with_what_it_was_made_and_not_where(exported: Exported, tmp_path: Path) -> None:
    document = json.loads((exported.folder / "model.json").read_text())
    assert "host" not in document["environment"]
    assert not {"source", "folder"} & set(document["data"]), "where the data lie is not published"
    for path in exported.folder.iterdir():
        if path.suffix in (".md", ".json"):
            assert str(Path(str(exported.folder)).parents[2]) not in path.read_text("utf-8")


@pytest.mark.usefixtures("unchecked")
def test_an_export_takes_the_place_of_one_that_was_converted(finished: Study, tiny: Recordings, tmp_path: Path) -> None:
    plan, choice = chosen(finished)
    for _ in range(2):
        done = export(finished, plan, tiny, choice, "val.accuracy", tmp_path / "out", refit=False)
        assert not (done.folder / "model.onnx").exists(), "it would be of other weights"
        (done.folder / "model.onnx").write_bytes(b"converted")


def test_refit_trains_on_every_training_subject_and_says_so(finished: Study, tiny: Recordings, tmp_path: Path) -> None:
    plan, choice = chosen(finished)
    said: list[str] = []
    done = export(finished, plan, tiny, choice, "val.accuracy", tmp_path / "refit", refit=True, say=said.append)
    encoders = mmssl.load_encoders(done.folder)
    assert encoders.recipe.data.validation_subjects == ()
    card = ModelCard.load(done.folder / "README.md")
    names = [one.metric_name for one in card.data.eval_results if one.dataset_split == "validation"]
    assert len(names) == 6
    assert all(name.endswith("mean over 3 trials") for name in names), "no subject was held out"
    assert "no validation score is theirs" in card.text
    assert "retrained on all training subjects (anna, ben, chris)" in said[0]
    assert "val.accuracy" not in done.metrics, "no subject was held out from these encoders"
    assert done.metrics["val.accuracy.mean"] == choice.best.mean
    raw = np.concatenate(Prepared.of(tiny, encoders.recipe.data.steps, ["imu"]).inputs["imu"][:27])
    assert encoders.standardisations["imu"].mean == pytest.approx(raw.mean(axis=0), rel=1e-3, abs=1e-4)


def test_an_export_does_not_overwrite_what_is_none(finished: Study, tiny: Recordings, tmp_path: Path) -> None:
    plan, choice = chosen(finished)
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not an export"):
        export(finished, plan, tiny, choice, "val.accuracy", tmp_path, refit=False)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


@pytest.mark.usefixtures("unchecked")
def test_a_lost_checkpoint_is_explained(finished: Study, tiny: Recordings, tmp_path: Path) -> None:
    copy = Study(tmp_path, "one")
    shutil.copytree(finished.folder, copy.folder)
    plan, choice = chosen(copy)
    nearest = representative(plan, choice.best)
    copy.drop_model(nearest.trial_id)
    second = representative(plan, choice.best, copy.has_model)
    done = export(copy, plan, tiny, choice, "val.accuracy", tmp_path / "out", refit=False)
    assert done.checkpoint.startswith(f"trial {second.trial_id}: ")
    assert done.checkpoint.endswith("of the point's 3 trials the one nearest its mean whose weights are kept")
    for trial in plan.trials:
        copy.drop_model(trial.trial_id)

    def refused(metric: str, keep_models: str) -> str:
        planned = plan.model_copy(update={"space": plan.space.model_copy(update={"keep_models": keep_models})})
        with pytest.raises(UserError) as caught:
            export(copy, planned, tiny, choice, metric, tmp_path / "out", refit=False)
        return str(caught.value)

    rerun = (
        f"move {copy.folder / 'trials' / nearest.trial_id} away and `mmssl-tune resume one`, which runs the trial again"
    )
    refit = "export with --refit, which trains anew"
    assert refused("val.accuracy", "best").endswith(f"model.safetensors: missing; {refit}, or {rerun}")
    # Resumed, the study would not keep the weights of a trial that ran again.
    assert refused("val.accuracy", "none").endswith(f"missing (keep_models: none in the space); {refit}")
    assert refused("rankme", "best").endswith(
        f"missing (keep_models: best in the space: of the points that lead by val.accuracy); {refit}"
    )


@pytest.mark.parametrize("name", ["model.safetensors", "model.json"])
def test_a_damaged_export_is_refused(exported: Exported, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "export"
    shutil.copytree(exported.folder, copy)
    (copy / name).write_bytes((copy / name).read_bytes()[:-40])
    with pytest.raises(UserError, match="not a whole model"):
        mmssl.load_encoders(copy)


HUGE = 2**31 - 1


@pytest.mark.parametrize(
    ("section", "knobs"),
    [
        ("finetune", {"hidden": 9}),
        ("finetune", {"hidden": 1_000_000}),
        ("finetune", {"standardise": True}),
        ("encoder", {"projector": {"hidden": HUGE, "width": HUGE}}),
        ("encoder", {"imu": {"layers": HUGE}}),
        ("encoder", {"imu": {"feedforward": HUGE}}),
        ("data", {"steps": HUGE, "modalities": ["skeleton"]}),
    ],
    ids=str,
)
def test_what_does_not_fit_the_weights_is_refused_before_it_takes_memory(
    exported: Exported, tmp_path: Path, section: str, knobs: dict[str, object]
) -> None:
    copy = tmp_path / "export"
    shutil.copytree(exported.folder, copy)
    document = json.loads((copy / "model.json").read_text())
    for name, value in knobs.items():
        own = document["recipe"][section]
        own[name] = {**own[name], **value} if isinstance(value, dict) else value
    put_document(copy, {"recipe": document["recipe"]})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        UserError, match=r"not a whole model: .*(by the recipe|missing|not part of this model|overflowed).*export again"
    ):
        mmssl.load_encoders(copy)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kB"


def test_to_compare_shapes_loads_nothing_that_takes_seconds(exported: Exported) -> None:
    code = f"import sys, mmssl; mmssl.load_encoders({str(exported.folder)!r}); print('sympy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


STILL = {"mean": [0.0] * 4, "std": [1.0] * 4}


@pytest.mark.parametrize(
    "statistics", [None, [], "imu", {}, {"wrist": STILL}, {"imu": [0.0]}, {"imu": {"mean": [0.0] * 4}}]
)
def test_statistics_that_are_none_are_refused(exported: Exported, tmp_path: Path, statistics: object) -> None:
    copy = tmp_path / "export"
    shutil.copytree(exported.folder, copy)
    put_document(copy, {"standardisation": statistics})
    with pytest.raises(UserError, match="not a whole model"):
        mmssl.load_encoders(copy)


def test_an_export_of_before_modalities_had_names_gives_the_same(
    exported: Exported, tiny: Recordings, tmp_path: Path
) -> None:
    copy = tmp_path / "export"
    shutil.copytree(exported.folder, copy)
    now = mmssl.load_encoders(copy)
    statistics = {
        "imu_mean": now.standardisations["imu"].mean.tolist(),
        "imu_std": now.standardisations["imu"].std.tolist(),
    }
    put_document(copy, {"format": "mmssl.model/2", "standardisation": None, **statistics})
    older = mmssl.load_encoders(copy)
    assert older.files()["model.safetensors"] == now.files()["model.safetensors"]
    for name, features in now.features(tiny).items():
        np.testing.assert_array_equal(older.features(tiny)[name], features)


@pytest.mark.parametrize("digests", [True, False])
@pytest.mark.parametrize("name", ["mean", "std"])
@pytest.mark.parametrize("numbers", [[1, 1, 1], [1] * 5, [[1, 1, 1, 1]], [[1]] * 4, 1, [], None, "1111", {}])
def test_statistics_of_another_shape_are_refused(
    exported: Exported, tmp_path: Path, name: str, numbers: object, digests: bool
) -> None:
    copy = tmp_path / "export"
    shutil.copytree(exported.folder, copy)
    put_document(copy, {"standardisation": {"imu": {**STILL, name: numbers}}}, digests=digests)
    with pytest.raises(UserError, match=f"not a whole model: {name} of imu: expected 4"):
        mmssl.load_encoders(copy)


@pytest.mark.parametrize(
    ("name", "number"),
    [(name, number) for name in ("mean", "std") for number in (math.nan, math.inf, 1e39, None, [])]
    + [("std", number) for number in (0, -1, 1e-50)],
)
def test_statistics_that_cannot_be_are_refused(exported: Exported, tmp_path: Path, name: str, number: float) -> None:
    copy = tmp_path / "export"
    shutil.copytree(exported.folder, copy)
    put_document(copy, {"standardisation": {"imu": {**STILL, name: [1, number, 1, 1]}}})
    with pytest.raises(UserError, match=f"not a whole model: {name} of imu: expected 4"):
        mmssl.load_encoders(copy)


def test_an_export_of_an_older_version_has_no_digests_and_is_read(
    exported: Exported, tiny: Recordings, tmp_path: Path
) -> None:
    copy = tmp_path / "export"
    shutil.copytree(exported.folder, copy)
    put_document(copy, digests=False)
    assert not {"sha256", "weights_sha256"} & set(json.loads((copy / "model.json").read_text()))
    assert mmssl.load_encoders(copy).predict(tiny) == mmssl.load_encoders(exported.folder).predict(tiny)


def test_the_weights_of_another_trial_are_refused(finished: Study, tiny: Recordings, tmp_path: Path) -> None:
    copy = Study(tmp_path, "one")
    shutil.copytree(finished.folder, copy.folder)
    plan, choice = chosen(copy)
    taken = representative(plan, choice.best)
    other = next(trial for trial in plan.trials if trial != taken)
    for names in (["model.safetensors"], ["model.safetensors", "model.json"]):
        for name in names:
            shutil.copy(copy.folder / "trials" / other.trial_id / name, copy.folder / "trials" / taken.trial_id / name)
        with pytest.raises(UserError, match=rf"trials/{taken.trial_id}: not .*--refit"):
            export(copy, plan, tiny, choice, "val.accuracy", tmp_path / "out", refit=False)


def test_recordings_of_another_body_are_refused(exported: Exported, tiny: Recordings) -> None:
    other = Recordings(
        tiny.description.model_copy(update={"imu_channels": ("ax", "ay", "az", "spin")}),
        tiny.rows,
        tiny.skeleton,
        tiny.imu,
    )
    with pytest.raises(UserError, match="channels of imu are ax, ay, az, spin; these encoders take ax, ay, az, turn"):
        mmssl.load_encoders(exported.folder).features(other)


def test_recordings_in_another_unit_are_refused(tiny: Recordings) -> None:
    units = ("g", "g", "g", "deg/s")
    ours = Recordings(tiny.description.model_copy(update={"imu_units": units}), tiny.rows, tiny.skeleton, tiny.imu)
    model = mmssl.train(mmssl.Recipe().with_knobs(SMALL | {"pretrain.epochs": 1}), ours).model
    assert model is not None
    other = ours.described(ours.description.model_copy(update={"imu_units": ("m/s^2",) * 3 + ("deg/s",)}))
    with pytest.raises(UserError, match=r"ax of imu is in m/s\^2; these encoders take g"):
        model.predict(other)
    unsaid = ours.described(ours.description.model_copy(update={"imu_units": ()}))
    spelt = ours.described(ours.description.model_copy(update={"imu_units": ("G", "g", "g", "°/s")}))
    assert model.predict(unsaid) == model.predict(spelt) == model.predict(ours)


def test_using_encoders_leaves_the_callers_random_draws_alone(
    exported: Exported, tiny: Recordings, tmp_path: Path
) -> None:
    def states() -> list[object]:
        kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - what users may draw from
        return [torch.get_rng_state().tolist(), random.getstate(), kind, np.asarray(keys).tolist(), *rest]

    before = states()
    encoders = mmssl.load_encoders(exported.folder)
    assert states() == before, "load_encoders"
    encoders.predict(tiny)
    encoders.features(tiny)
    assert states() == before, "predict"
    convert(encoders, "torch", ["imu", "skeleton"], tmp_path / "model.pt2")
    assert states() == before, "convert"
    mmssl.train(mmssl.Recipe().with_knobs(SMALL | {"pretrain.epochs": 1}), tiny)
    assert states() == before, "train"


def test_an_export_needs_nothing_of_the_study(exported: Exported, finished: Study, tmp_path: Path) -> None:
    shutil.copytree(exported.folder, tmp_path / "elsewhere")
    recordings = finished.folder.parent / "tiny.parquet"
    words = ["evaluate", tmp_path / "elsewhere", recordings, "--subjects", "dora", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "mmssl.cli", *map(str, words)], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    answer = json.loads(done.stdout)
    assert answer["recordings"] == 9
    assert answer["accuracy"] == pytest.approx(exported.metrics["test.accuracy"])


def test_evaluate_says_who_of_those_scored_has_trained_the_encoders(
    ask: Ask, exported: Exported, finished: Study, tmp_path: Path
) -> None:
    held_out, *trained = sorted(
        {"anna", "ben", "chris"}, key=lambda one: f"without subject {one}" not in exported.checkpoint
    )
    words = ["evaluate", exported.folder, finished.folder.parent / "tiny.parquet"]
    everybody = ask(*words)
    said = " ".join(everybody.err.split())
    assert f"18 of 36 recordings are of subjects {', '.join(sorted(trained))}, who trained these encoders" in said
    assert said.endswith(f"this is no score of new people; for those here: --subjects {held_out},dora")
    assert json.loads(ask(*words, "--json").out)["trained_on"] == 18
    for others in (held_out, "dora", f"{held_out},dora"):
        assert "trained" not in ask(*words, "--subjects", others).err
        assert json.loads(ask(*words, "--subjects", others, "--json").out)["trained_on"] == 0
    on = ["convert", exported.folder, "--to", "torch", "--out", tmp_path / "a.pt2", "--on", words[-1]]
    assert "who trained these encoders" in " ".join(ask(*on, "--subjects", trained[0]).err.split())
    assert "who trained" not in ask(*on, "--force").err


def test_a_recipe_that_was_run_alone_knows_who_trained_too(ask: Ask, tiny: Recordings, tmp_path: Path) -> None:
    without = tiny.described(tiny.description.model_copy(update={"protocols": {}}))
    without.save(tmp_path / "tiny.parquet")
    knobs = SMALL | {"pretrain.epochs": 1, "data.test_subjects": "[dora]"}
    words = ["run", "--dataset", tmp_path / "tiny.parquet", "--out", tmp_path / "out"]
    assert ask(*words, *(word for knob, value in knobs.items() for word in ("--set", f"{knob}={value}"))).code == 0
    answer = ask("evaluate", tmp_path / "out", tmp_path / "tiny.parquet")
    assert "18 of 36 recordings are of subjects anna, ben, who trained" in " ".join(answer.err.split())


@pytest.mark.parametrize("transductive", [False, True])
def test_who_only_pre_trained_has_trained_the_encoders_too(
    ask: Ask, tiny: Recordings, tmp_path: Path, transductive: bool
) -> None:
    """ben's recordings have no label, and neither have some of dora's, who tests."""
    without = tiny.description.model_copy(update={"protocols": {}})
    blank = {
        row.recording_id
        for row in tiny.rows
        if row.subject == "ben" or (row.subject == "dora" and row.label == tiny.description.classes[0])
    }
    rows = [row.model_copy(update={"label": ""}) if row.recording_id in blank else row for row in tiny.rows]
    Recordings(without, rows, tiny.skeleton, tiny.imu).save(tmp_path / "some.parquet")
    tiny.described(without).save(tmp_path / "tiny.parquet")
    knobs = SMALL | {
        "pretrain.epochs": 1, "data.test_subjects": "[dora]", "data.validation_subjects": "[chris]",
        "data.transductive": transductive,
    }  # fmt: skip
    words = ["run", "--dataset", tmp_path / "some.parquet", "--out", tmp_path / "out"]
    assert ask(*words, *(word for knob, value in knobs.items() for word in ("--set", f"{knob}={value}"))).code == 0
    said = " ".join(ask("evaluate", tmp_path / "out", tmp_path / "tiny.parquet").err.split())
    who = (
        "27 of 36 recordings are of subjects anna, ben, dora"
        if transductive
        else ("18 of 36 recordings are of subjects anna, ben")
    )
    assert f"{who}, who trained these encoders" in said


def test_two_exports_at_once_both_keep_their_look(
    finished: Study, tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two checkpoints of one point, into its one folder; both score the test subjects at once, if they may."""
    mine, both = threading.local(), threading.Barrier(2)

    def together(*given: Any) -> Any:
        with suppress(threading.BrokenBarrierError):
            both.wait(3)
        return score(*given)

    monkeypatch.setattr("mmssl.export.encoders.representative", lambda *_: mine.trial)
    monkeypatch.setattr("mmssl.export.encoders.score", together)
    (finished.folder / "tests.json").unlink(missing_ok=True)
    plan, choice = chosen(finished)

    def write(trial: PlannedTrial) -> Exported:
        mine.trial = trial
        return export(finished, plan, tiny, choice, "val.accuracy", None, refit=False)

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(write, plan.trials[:2]))
    looks = list(finished.looks().values())
    assert sorted(look["look"] for look in looks) == [1, 2]
    assert {look["checkpoint"] for look in looks} == {one.checkpoint for one in done}
    assert done[0].folder == done[1].folder
    mmssl.load_encoders(done[0].folder)
    assert [path.name for path in done[0].folder.parent.iterdir() if path.name.startswith(".")] == []
