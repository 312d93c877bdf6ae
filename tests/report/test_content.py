"""The page's numbers against the Parquet tables, recomputed with pandas."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import small
import yaml
from pages import CLASSES, HOSTILE, command

from mmssl import Recordings
from mmssl.evaluation import tsne
from mmssl.experiments.embeddings import joined, vectors
from mmssl.report.against import against
from mmssl.report.content import Content, gather, most_frequent
from mmssl.report.exhibit import exhibit
from mmssl.report.page import render, verdict
from mmssl.study.baseline import baseline_command
from mmssl.study.folder import Record, Study
from mmssl.study.overview import LiveMap
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.presets import preset, recipe_named
from mmssl.study.results import best_of, stand_beside
from mmssl.study.space import Range, load

StudyOf = Callable[..., tuple[Study, Plan]]


def embedded(path: Path) -> dict[str, Any]:
    return embedded_in(path.read_text("utf-8"))


def embedded_in(html: str) -> dict[str, Any]:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html)
    return json.loads(text)


def trials_of(study: Study) -> pd.DataFrame:
    return pd.read_parquet(study.folder / "trials.parquet")


def test_map_cells_are_the_means_of_the_table(lost: tuple[Study, Plan], page: Path) -> None:
    study, _ = lost
    table = trials_of(study)
    grouped = table.groupby(["param.objective.lambda", "param.objective.mu"])
    cells = {(row["x"], row["y"]): row for row in embedded(page)["map"]["rows"]}
    assert set(cells) == set(grouped.groups)
    for key, own in grouped:
        complete = own[own["status"] == "COMPLETE"]
        cell = cells[key]
        assert cell["mean"] == pytest.approx(complete["val.accuracy"].mean())
        assert cell["std"] == pytest.approx(complete["val.accuracy"].std(ddof=1))
        assert (cell["n"], cell["trials"]) == (len(complete), 3)
        assert (cell["state"] == "complete") == (len(complete) == 3)
    assert cells[10.0, 1.0]["failed"] == "1 DIVERGED"
    assert cells[10.0, 1.0]["first"].startswith("✕ 1 of 3")
    marks = [row["mark"] for row in cells.values()]
    assert marks.count("best") == 1
    assert cells[10.0, 1.0]["mark"] == "other", "what is not complete is never tied with the best"


def test_the_best_is_the_one_that_the_command_names(
    lost: tuple[Study, Plan], page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, _ = lost
    assert command("best", "lost", "--storage", study.root, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    html = page.read_text("utf-8").replace("\u00a0", " ")
    assert f"{100 * said['best']['mean']:.1f} ± {100 * said['best']['std']:.1f} %" in html
    assert f"{100 * said['interval']['low']:.1f} to {100 * said['interval']['high']:.1f} %" in html
    (row,) = [row for row in embedded(page)["map"]["rows"] if row["mark"] == "best"]
    assert (row["low"], row["high"]) == (said["interval"]["low"], said["interval"]["high"])
    tied = sum(row["mark"] == "tied with the best" for row in embedded(page)["map"]["rows"])
    assert tied == len(said["tied"])
    for caveat in said["caveats"]:
        assert caveat in html


def test_trials_without_a_result_are_counted_alike_in_every_view(
    lost: tuple[Study, Plan], page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, plan = lost
    assert command("list", "--storage", study.root) == 0
    assert "1 FAILED, 1 DIVERGED" in capsys.readouterr().out
    assert command("status", "lost", "--storage", study.root) == 0
    assert "12 trials have ended: 10 COMPLETE, 1 DIVERGED, 1 FAILED" in capsys.readouterr().out
    live_map = LiveMap(plan)
    live_map.add_ended(study.records(plan).values())
    assert live_map.view().failed == "1 FAILED, 1 DIVERGED"
    assert command("results", "lost", "--storage", study.root) == 0
    shown = capsys.readouterr().out
    html = page.read_text("utf-8")
    for point in ("1 FAILED", "1 DIVERGED"):
        assert shown.count(point) == html.count(f"<td>{point}</td>") == 1
    failed = {row["failed"] for row in embedded(page)["map"]["rows"]}
    assert failed == {"1 FAILED", "1 DIVERGED", "none"}


def test_what_the_test_can_tell_is_one_sentence_in_every_view(
    lost: tuple[Study, Plan], page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, plan = lost
    sentence = best_of(study, plan).choice.threshold
    assert sentence and "percentage points is within the noise (paired t-test over" in sentence
    assert command("best", "lost", "--storage", study.root) == 0
    assert sentence in capsys.readouterr().out
    assert page.read_text("utf-8").count(f"{sentence.capitalize()}.") == 2, "with what came out and above the ranking"


def test_confusions_are_counted_from_the_predictions(lost: tuple[Study, Plan], page: Path) -> None:
    predictions = pd.read_parquet(lost[0].folder / "predictions.parquet")
    found = embedded(page)["confusion"]
    assert found["classes"] == [name.replace("\u2028", "\u2424") for name in CLASSES], "in the data set's order"
    complete = trials_of(lost[0]).groupby("point_id")["status"].agg(lambda s: (s == "COMPLETE").all())
    assert set(found["cells"]) == set(complete[complete].index)
    for point_id, cells in found["cells"].items():
        own = predictions[predictions["point_id"] == point_id]
        counted = own.groupby(["label", "predicted"]).size().to_dict()
        assert {(CLASSES[i], CLASSES[j]): count for i, j, count, _ in cells} == counted


def test_curves_are_those_of_the_table(lost: tuple[Study, Plan], page: Path) -> None:
    epochs = pd.read_parquet(lost[0].folder / "epochs.parquet")
    curves = embedded(page)["trials"]["curves"]
    assert set(curves) == set(epochs["trial_id"])
    for (trial_id, phase), own in epochs.groupby(["trial_id", "phase"]):
        one = curves[trial_id][phase]
        assert one["epochs"] == own["epoch"].to_list()
        for name, values in one["values"].items():
            assert values == pytest.approx(own[name].to_list(), rel=1e-3)
        assert set(one["values"]) == {c for c in own.columns if c.startswith("train.") and own[c].notna().any()}


def test_recordings_are_played_as_they_are(lost: tuple[Study, Plan], page: Path, recordings: Recordings) -> None:
    import base64

    items = embedded(page)["recordings"]["items"]
    fold = trials_of(lost[0]).set_index("trial_id")
    (subject,) = {item["subject"] for item in items}
    assert subject in set(fold["fold"])
    by_id = {row.recording_id: i for i, row in enumerate(recordings.rows)}
    assert {item["id"] for item in items} == {row.recording_id for row in recordings.rows if row.subject == subject}
    assert recordings.skeleton is not None
    assert recordings.imu is not None
    for item in items:
        i = by_id[item["id"]]
        motion = item["motion"]
        for array, packed in ((recordings.skeleton[i], motion["body"]), (recordings.imu[i], motion["signals"]["imu"])):
            whole = np.frombuffer(base64.b64decode(packed["data"]), "<u2").reshape(packed["rows"], -1)
            shown = np.array(packed["low"]) + np.array(packed["step"]) * whole
            flat = array.reshape(len(array), -1)
            assert packed["rows"] == len(array)
            assert np.abs(shown - flat).max() < 1e-4 * np.ptp(flat)
        assert item["motion"]["seconds"] == pytest.approx(len(recordings.skeleton[i]) / 10)


def test_places_are_by_the_encoders_of_each_point(
    lost: tuple[Study, Plan], page: Path, recordings: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, plan = lost
    content = gather(study, plan, CLASSES)
    assert content.best is not None
    best, ranked = content.best.point, [one.point for one in content.ranked]
    found = exhibit(study, plan, best, recordings, ranked)
    key = plan.key(best.point_id, found.trial.seed, found.trial.fold)
    like = {point.point_id for point in ranked if key in point.scores}
    assert set(found.places) == like
    assert len(like) > 2
    assert found.unplaced == {}
    for trial in plan.trials:
        if trial.point_id in like and (trial.seed, trial.fold) == key:
            _, features, _ = vectors(study, plan, trial, recordings, {})
            first = found.places[trial.point_id][0].xy
            assert np.array_equal(first, tsne(joined(features), trial.seed))
            shown = embedded(page)["recordings"]["places"][trial.point_id][0]
            assert np.allclose(np.array(shown).T, first, rtol=1e-3)
    assert len({one[0].xy.tobytes() for one in found.places.values()}) == len(like), "each has its own"

    monkeypatch.setattr("mmssl.report.exhibit.MOST_PLACING", 2)
    few = exhibit(study, plan, best, recordings, ranked)
    assert len(few.places) == 2
    assert {*few.unplaced} == like - {*few.places}
    assert all("by the 2 highest points only" in why for why in few.unplaced.values())
    monkeypatch.setattr(Study, "has_model", lambda _, trial_id: trial_id == found.trial.trial_id)
    alone = exhibit(study, plan, best, recordings, ranked)
    assert set(alone.places) == {best.point_id}
    assert {*alone.unplaced} == like - {best.point_id}
    assert all("has not kept its encoders (keep_models: best" in why for why in alone.unplaced.values())


def test_nothing_of_the_test_subjects_is_on_the_page(page: Path) -> None:
    assert "dora-" not in page.read_text("utf-8")


@pytest.mark.parametrize("word", [HOSTILE, "<b>data</b>", "<u>", "<i>ax</i>", "</script><script>alert"])
def test_names_with_html_in_them_are_text(page: Path, word: str) -> None:
    html = page.read_text("utf-8")
    assert word not in html
    assert (
        word in json.dumps(embedded(page), ensure_ascii=False) or word.replace("<", "&lt;").replace(">", "&gt;") in html
    )


def test_a_study_name_with_html_in_it_is_text(lost: tuple[Study, Plan]) -> None:
    study, plan = lost
    content = gather(study, plan.model_copy(update={"name": f"{HOSTILE}</title>"}), None)
    html = render(content, None, f"none: {HOSTILE}")
    assert HOSTILE not in html
    assert html.count("</title>") == 1
    assert html.count("&lt;img src=x onerror=alert(1)&gt;&lt;/title&gt;") >= 2


def test_baseline_is_found_in_the_study_beside_it(lost: tuple[Study, Plan], study_of: StudyOf) -> None:
    study, plan = lost
    assert gather(study, plan, None).baselines == []
    made = {"root": Path(study.root), "systems": ["untrained"], "grid": {}, "fixed": small.KNOBS}
    beside, _ = study_of("beside", seeds=[28, 29], **made)
    beyond, _ = study_of("beyond", seeds=[29, 30], **made)  # Looked at first.
    try:
        assert {trial.seed for trial in plan.trials} == {28}
        theirs = pd.read_parquet(beside.folder / "trials.parquet")
        stands_beside(study, plan, "beside, on the same seeds and folds", theirs[theirs["seed"] == 28])
        beside.drop()
        theirs = pd.read_parquet(beyond.folder / "trials.parquet")
        stands_beside(study, plan, "beyond, on the same folds", theirs)
    finally:
        beside.drop()
        beyond.drop()


def stands_beside(study: Study, plan: Plan, name: str, theirs: pd.DataFrame) -> None:
    content = gather(study, plan, None)
    (baseline,) = content.baselines
    assert (baseline.mean, baseline.std) == pytest.approx(
        (theirs["val.accuracy"].mean(), theirs["val.accuracy"].std(ddof=1))
    )
    ours = trials_of(study)
    assert content.best is not None
    ours = ours[ours["point_id"] == content.best.point.point_id].set_index("fold")["val.accuracy"]
    gains = ours - theirs.groupby("fold")["val.accuracy"].mean()
    assert baseline.gain.mean == pytest.approx(gains.mean())
    half = 4.302652729911275 * gains.std(ddof=1) / np.sqrt(3)  # Student's t, 2 degrees of freedom
    assert (baseline.gain.low, baseline.gain.high) == pytest.approx((gains.mean() - half, gains.mean() + half))
    words = " ".join(verdict(content).lines)
    assert (
        f"Untrained encoders with the same head score {100 * baseline.mean:.1f} ± {100 * baseline.std:.1f} % "
        f"in study {name}" in words
    )
    held = f"(chance 33.3 %, untrained {100 * baseline.mean:.1f} %)"
    assert held in verdict(content).headline, "beside the score"
    rows = re.findall(r'<tr class="reference">(.*?)</tr>', render(content, None, "none"))
    assert [re.findall(r">([^<>]+)<", row)[1] for row in rows] == ["untrained", "chance"]


def test_a_baseline_with_another_head_is_none(lost: tuple[Study, Plan], study_of: StudyOf) -> None:
    study, plan = lost
    other, _ = study_of(
        "elsewhere", root=Path(study.root), systems=["untrained"], grid={}, fixed=small.KNOBS | {"finetune.hidden": 16}
    )
    try:
        assert gather(study, plan, None).baselines == []
    finally:
        other.drop()


def test_the_command_for_a_baseline_gives_the_best_points_networks_and_heads(study_of: StudyOf) -> None:
    variants = {"theirs": {"recipe": "paper"}, "ours": {"finetune.views": 2, "encoder.imu.pooling": "none"}}
    study, plan = study_of(
        "varied", lambda trial: scored(trial, 0.9 if trial.point["variant"] == "ours" else 0.1), variants=variants,
        grid={"finetune.lr": [0.01, 0.02]}, fixed={**small.KNOBS, "pretrain.epochs": 2},
    )  # fmt: skip
    content = gather(study, plan, None)
    assert content.best is not None
    words = shlex.split(baseline_command(plan, content.choice, ""))
    options = dict(zip(words[3::2], words[4::2], strict=True))
    assert (options["--system"], options["--recipe"]) == ("untrained", "default")
    knobs = dict(word.split("=", 1) for option, word in zip(words[3::2], words[4::2], strict=True) if option == "--set")
    start = preset(plan.dataset.name, "untrained", recipe_named(options["--recipe"]))
    untrained = start.with_knobs({knob: yaml.safe_load(value) for knob, value in knobs.items()})
    trial = plan.trials_of(content.best.point.point_id)[0]
    assert stand_beside(untrained, plan.recipe(trial))
    assert not stand_beside(start, plan.recipe(trial)), "the settings are needed"


def test_the_command_for_the_same_study_brings_its_space_along(
    study_of: StudyOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, plan = study_of(
        "few", lambda trial: scored(trial, 0.5), grid={"finetune.lr": [0.01, 0.02]}, where=["lr < 1"]
    )
    html = render(gather(study, plan, None), None, "none")
    lines = unescape(re.findall(r"<pre[^>]*><code>(cat .*?)</code></pre>", html, re.DOTALL)[0])
    monkeypatch.chdir(tmp_path)
    *writing, launching = lines.splitlines()
    subprocess.run(["sh", "-c", "\n".join(writing)], check=True)
    words = shlex.split(launching)
    assert words[:3] == ["mmssl-tune", "launch", "made.yaml"]
    assert load(words[2]).model_dump() == plan.space.model_dump()
    assert not {"--set", "--recipe", "--system"} & set(words), "the file has them"


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"grid": {"finetune.lr": [0.01]}}, "a map needs two points, and there is one"),
        (
            {"grid": {"encoder.imu.pooling": ["none", "moments"]}},
            "a map over one knob needs numbers, and pooling has none",
        ),
        (
            {
                "grid": {"encoder.imu.pooling": ["none", "moments"]},
                "ranges": {"finetune.lr": Range(low=0.01, high=0.02)}, "sampler": "random", "budget": 2,
            },
            "points drawn from ranges need two knobs whose values are numbers, and only lr has them",
        ),
    ],
)  # fmt: skip
def test_why_there_is_no_map(study_of: StudyOf, entries: dict[str, Any], why: str) -> None:
    chosen = (
        [{"encoder.imu.pooling": "none", "finetune.lr": 0.01}, {"encoder.imu.pooling": "moments", "finetune.lr": 0.015}]
        if "ranges" in entries
        else None
    )
    study, plan = study_of("without", lambda trial: scored(trial, 0.5), chosen=chosen, **entries)
    html = render(gather(study, plan, None), None, "none")
    assert f"There is no map: {why}. The ranking has all points." in html


def test_two_knobs_of_words_have_a_map_of_cells(study_of: StudyOf) -> None:
    grid = {"encoder.imu.pooling": ["none", "moments"], "pretrain.schedule": ["constant", "cosine"]}
    study, plan = study_of("words", lambda trial: scored(trial, 0.5), grid=grid)
    assert "Map of pooling and schedule" in render(gather(study, plan, None), None, "none")


@pytest.mark.parametrize(
    ("where", "said"),
    [([], "grid: every combination"), (["lr < 1"], "grid: every combination that the conditions admit")],
)
def test_a_grid_with_conditions_is_not_called_whole(study_of: StudyOf, where: list[str], said: str) -> None:
    study, plan = study_of(
        "whole", lambda trial: scored(trial, 0.5), grid={"finetune.lr": [0.01, 0.02, 2.0]}, where=where
    )
    assert f"<td>{said}</td>" in render(gather(study, plan, None), None, "none")


def test_differences_are_those_of_the_paired_test(
    study_of: StudyOf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand: Student's t over three folds, and the marks that follow from it."""
    from scipy.stats import ttest_1samp

    draws = np.random.default_rng(0)
    scores: dict[str, dict[tuple[Any, Any, str], float]] = {"ours": {}, "theirs": {}}

    def ending(name: str) -> Any:
        def end(trial: PlannedTrial) -> Record:
            at = trial.point["objective.lambda"], trial.point["objective.mu"], trial.fold
            lift = 0.2 if name == "ours" and trial.point["objective.mu"] == 10.0 else 0.0
            scores[name][at] = 0.5 + lift + float(draws.normal(0, 0.02))
            return scored(trial, scores[name][at])

        return end

    study, _ = study_of("ours", ending("ours"))
    root = Path(study.root)
    study_of("theirs", ending("theirs"), root=root, fixed=small.KNOBS | {"pretrain.epochs": 4})
    out = tmp_path / "page.html"
    assert command("report", "ours", "--storage", root, "--against", "theirs", "--out", out, "--json") == 0
    said = json.loads(capsys.readouterr().out)["against"]
    assert said["notes"] == ["theirs differs in pretrain.epochs 4, not 3"]
    rows = {(row["x"], row["y"]): row for row in embedded(out)["against"]["rows"]}
    assert len(rows) == len(said["points"]) == 4
    for (x, y), row in rows.items():
        apart = [scores["ours"][x, y, fold] - scores["theirs"][x, y, fold] for fold in ("anna", "ben", "chris")]
        test = ttest_1samp(apart, 0)
        low, high = test.confidence_interval()
        assert (row["mean"], row["low"], row["high"]) == pytest.approx((np.mean(apart), low, high))
        assert (row["significance"] == "significant") == (test.pvalue < 0.05)
        assert row["first"] == ("● " if test.pvalue < 0.05 else "") + f"{100 * np.mean(apart):+.1f}"
        assert row["n"] == 3
    assert {y for (_, y), row in rows.items() if row["significance"] == "significant"} == {10.0}
    html = out.read_text("utf-8")
    assert "about 0.2 of them would be marked by chance" in html
    # A study of one point stands beside every point; one of other values beside none.
    study_of("one", ending("theirs"), root=root, grid={"objective.lambda": [1.0], "objective.mu": [1.0]})
    assert command("report", "ours", "--storage", root, "--against", "one", "--out", out, "--json") == 0
    said = json.loads(capsys.readouterr().out)["against"]
    assert all(row["beside"] for row in said["points"])
    assert said["notes"][0] == "one differs in no fixed knob", "lambda and mu are searched"
    study_of("far", ending("theirs"), root=root, grid={"objective.lambda": [2.0, 3.0], "objective.mu": [1.0]})
    assert command("report", "ours", "--storage", root, "--against", "far", "--out", out) == 2
    assert "none of its points has the values of one of ours's" in capsys.readouterr().err


def test_variants_of_another_recipe_are_not_alike(study_of: StudyOf) -> None:
    variants = {"paper": {"recipe": "paper"}, "default": {"recipe": "default"}}
    grid = {"objective.lambda": [1.0, 10.0]}
    ours, plan = study_of("variants", lambda trial: scored(trial, 0.5), variants=variants, grid=grid)
    theirs, _ = study_of("recipe", lambda trial: scored(trial, 0.4), recipe="paper", grid=grid)
    content = gather(ours, plan, None)
    beside = {one.ranked.label: one.beside for one in against(content, theirs).differences}
    assert {label for label, name in beside.items() if name} == {
        "variant = paper, λ = 1", "variant = paper, λ = 10"
    }  # fmt: skip
    itself = against(content, ours).differences
    assert {one.ranked.label: one.beside for one in itself} == {label: label for label in beside}


def test_what_is_absent_has_its_true_reason(study_of: StudyOf) -> None:
    failed, plan = study_of("failed", lambda trial: Record(trial_id=trial.trial_id, status="FAILED", cause="it rained"))
    html = render(gather(failed, plan, None), None, "none")
    assert "No trial recorded an epoch: all have ended." in html
    assert "No point has all its trials complete." in html
    planned, plan = study_of("planned", lambda trial: Record(trial_id=trial.trial_id, status="PLANNED"))
    html = render(gather(planned, plan, None), None, "none")
    assert "No point has all its trials complete yet." in html


def scored(trial: PlannedTrial, score: float, side: str = "val") -> Record:
    return Record(
        trial_id=trial.trial_id, status="COMPLETE", facts={f"{side}.accuracy": score, f"{side}.f1": score},
        epochs=[{"phase": "pretrain", "epoch": 1, "train.loss": 1.0}],
    )  # fmt: skip


def test_knobs_that_change_together_are_one(study_of: StudyOf) -> None:
    grid = {"objective.lambda": [1.0, 2.0, 20.0], "objective.mu": [1.0, 2.0, 20.0]}
    study, plan = study_of(
        "diagonal", lambda trial: scored(trial, trial.point["objective.mu"] / 40), grid=grid, where=["lambda == mu"]
    )
    content = gather(study, plan, None)
    assert [axis.label for axis in content.axes] == ["λ = μ"]
    assert content.shares == []
    assert "fewer than two" in content.no_shares
    assert "λ = μ = 20" in render(content, None, "none")


def test_a_third_knob_is_shown_slice_by_slice(study_of: StudyOf) -> None:
    grid = {"objective.lambda": [1.0, 2.0], "objective.mu": [1.0, 2.0], "pretrain.lr": [0.1, 0.01]}
    study, plan = study_of("sliced", lambda trial: scored(trial, trial.point["pretrain.lr"]), grid=grid)
    content = gather(study, plan, None)
    html = render(content, None, "none")
    assert "<option>lr = 0.1</option><option>lr = 0.01</option>" in html, "that of the best first"
    shares = {share.label: share.share for share in content.shares}
    assert shares["lr"] > 0.95
    assert shares["λ"] < 0.05


def test_draws_of_labels_are_one_points_trials(study_of: StudyOf, capsys: pytest.CaptureFixture[str]) -> None:
    """By single draws lambda 1 has the highest mean, by all of them lambda 5."""
    by_draw = {1.0: [0.9, 0.1, 0.2], 5.0: [0.6, 0.5, 0.7], 25.0: [0.3, 0.3, 0.3]}
    grid = {"objective.lambda": list(by_draw), "finetune.label_draw": [0, 1, 2]}

    def ending(trial: PlannedTrial) -> Record:
        gain = {"anna": -0.01, "ben": 0.0, "chris": 0.01}[trial.fold]
        score = by_draw[trial.point["objective.lambda"]][trial.point["finetune.label_draw"]]
        return scored(trial, score + gain)

    fixed = small.KNOBS | {"pretrain.epochs": 3, "finetune.labels": 0.5}
    study, plan = study_of("drawn", ending, grid=grid, fixed=fixed)
    assert plan.size() == "3 points x 3 draws of labels x 1 seed x 3 folds = 27 trials"
    content = gather(study, plan, None)
    assert [one.label for one in content.ranked] == ["λ = 5", "λ = 1", "λ = 25"]
    assert [one.point.mean for one in content.ranked] == pytest.approx([0.6, 0.4, 0.3])
    assert [(len(one.point.scores), one.point.planned) for one in content.ranked] == [(9, 9)] * 3
    shown = embedded_in(render(content, None, "none"))
    assert [row["x"] for row in shown["map"]["rows"]] == [5.0, 1.0, 25.0]
    root = str(study.folder.parent)
    assert command("best", "drawn", "--storage", root, "--json") == 0
    best = json.loads(capsys.readouterr().out)
    assert best["best"]["mean"] == pytest.approx(0.6)
    assert best["best"]["objective.lambda"] == 5
    assert "finetune.label_draw" not in best["best"]
    # Of each fold the mean over its draws: gaps of 0.2 in all of them, which is no chance.
    assert [one["objective.lambda"] for one in best["tied"]] == []
    assert "Mean and standard deviation over 3 folds x 3 draws of labels x 1 seed, " in verdict(content).lines[0]


@pytest.mark.parametrize(("spread", "above"), [(0.2, False), (0.01, True)])
def test_the_headline_says_where_the_best_is_not_above_chance(study_of: StudyOf, spread: float, above: bool) -> None:
    """Three classes; three folds whose mean is 45 %, some 95 % interval of which takes 33 % in."""
    gains = {"anna": -spread, "ben": 0.0, "chris": spread}
    study, plan = study_of(
        "low", lambda trial: scored(trial, 0.45 + gains[trial.fold]), grid={"finetune.lr": [0.01, 0.02]}
    )
    headline = verdict(replace(gather(study, plan, None), chance=1 / 3)).headline
    assert headline.endswith("It is not above chance beyond the noise.") == (not above)


def test_where_only_draws_of_labels_are_searched_none_is_the_best(study_of: StudyOf) -> None:
    fixed = small.KNOBS | {"finetune.labels": 0.5}
    study, plan = study_of(
        "draws", lambda trial: scored(trial, [0.9, 0.1, 0.2][trial.point["finetune.label_draw"]]),
        grid={"finetune.label_draw": [0, 1, 2]}, fixed=fixed,
    )  # fmt: skip
    content = gather(study, plan, None)
    assert content.best is not None
    assert (len(content.ranked), content.best.point.mean) == (1, pytest.approx(0.4))


@pytest.mark.parametrize(
    ("entries", "judged"),
    [({}, 2), ({"prune": {"folds": 0.2}}, 4), ({"sampler": "race", "budget": 3}, 3)],
    ids=["failed", "pruned", "a race"],
)
def test_the_best_was_chosen_among_all_that_were_judged(
    study_of: StudyOf, entries: dict[str, Any], judged: int
) -> None:
    """Of four points two are complete, one has a score, and one none."""

    def ending(trial: PlannedTrial) -> Record:
        place = (trial.point["objective.lambda"], trial.point["objective.mu"])
        if place[0] == 1 or (place == (10, 1) and trial.fold == "anna"):
            return scored(trial, 0.4 if place[0] == 10 else 0.6)
        return Record(trial_id=trial.trial_id, status="PRUNED" if entries else "FAILED", cause="worse")

    study, plan = study_of("judged", ending, **entries)
    (said,) = [line for line in gather(study, plan, None).caveats if "chosen among" in line]
    assert said.startswith(f"the best was chosen among {judged} by these same recordings")


def test_points_of_one_trial_without_a_test_are_not_called_tied(study_of: StudyOf) -> None:
    """By F1 there is nothing to pair: no recording has one of its own."""

    def ending(trial: PlannedTrial) -> Record:
        return scored(trial, 0.5) if trial.fold == "anna" else Record(trial_id=trial.trial_id, status="PLANNED")

    study, plan = study_of("once", ending, metric="val.f1")
    alone = [trial for trial in plan.trials if trial.fold == "anna"]
    plan = Plan.model_validate({**dict(plan), "folds": (("anna",),), "trials": alone})
    said = verdict(gather(study, plan, None)).headline
    assert said.endswith("; with one trial each there is no test of whether the 3 other points are worse.")
    assert "tied" not in said


def test_intervals_of_points_that_are_not_complete_may_be_over_something_else(study_of: StudyOf) -> None:
    def ending(trial: PlannedTrial) -> Record:
        part = trial.point["objective.lambda"] == 10 and trial.fold != "anna"
        return Record(trial_id=trial.trial_id, status="FAILED") if part else scored(trial, 0.4 + 0.1 * (trial.seed % 3))

    study, plan = study_of("parts", ending, seeds=[28, 29])
    assert gather(study, plan, None).interval == (
        "95 % interval over folds; of points that are not complete perhaps over seeds"
    )
    study, plan = study_of("whole", lambda trial: scored(trial, 0.4), seeds=[28, 29])
    assert gather(study, plan, None).interval == "95 % interval over folds"


def test_the_page_of_one_epoch_says_epoch(study_of: StudyOf) -> None:
    study, plan = study_of("one", lambda trial: scored(trial, 0.5), fixed={**small.KNOBS, "pretrain.epochs": 1})
    html = render(gather(study, plan, None), None, "none")
    assert "1 epoch, batches of 16" in unescape(re.sub("<.*?>", "", html))


def test_the_page_says_how_long_each_point_pre_trains(study_of: StudyOf) -> None:
    """And of untrained encoders that are the best no more than that, not that they are above themselves."""
    by_epochs = {0: 0.8, 2: 0.5, 4: 0.4}
    fixed = {knob: value for knob, value in small.KNOBS.items() if knob != "pretrain.batch_size"}
    grid = {"pretrain.epochs": list(by_epochs), "pretrain.batch_size": [8, 16]}
    where = ["pretrain.epochs > 0 or pretrain.batch_size == 8"]
    study, plan = study_of(
        "lengths",
        lambda trial: scored(trial, by_epochs[trial.point["pretrain.epochs"]] + 0.01 * len(trial.fold)),
        grid=grid, fixed=fixed, where=where,
    )  # fmt: skip
    content = gather(study, plan, None)
    html = render(content, None, "none")
    assert '<th scope="row">' in html
    [shown] = re.findall(r"pre-training</span></th><td>(.*?)</td>", html)
    assert unescape(re.sub("<.*?>", "", shown)) == "0 or 2 or 4 epochs, batches of 8 or 16"
    said = verdict(content)
    assert "The best encoders are untrained ones." in said.lines
    assert "untrained" not in said.headline
    [reference] = content.references
    assert reference.name == "vicreg untrained"


def test_a_study_of_the_test_side_has_no_best(study_of: StudyOf) -> None:
    study, plan = study_of("tested", lambda trial: scored(trial, 0.5, "test"), folds="test")
    content = gather(study, plan, None)
    assert content.best is None
    assert "nothing may be chosen" in verdict(content).headline
    assert "best" not in {row.mark for row in content.ranked}
    html = render(content, None, "none")
    assert "Every trial of this study scored them" in html
    assert "best --export" not in html.replace("best tested", "best")


@pytest.mark.parametrize("status", ["PLANNED", "FAILED"])
def test_a_study_without_a_complete_trial_has_a_page(study_of: StudyOf, tmp_path: Path, status: Any) -> None:
    study, _ = study_of(
        f"all-{status}", lambda trial: Record(trial_id=trial.trial_id, status=status, cause="it rained")
    )
    out = tmp_path / "page.html"
    assert command("report", study.name, "--storage", study.root, "--out", out, "--figures", tmp_path / "figures") == 0
    html = out.read_text("utf-8")
    assert "There is no best point yet" in html
    assert ("it rained" in html) == (status == "FAILED")
    assert {path.name for path in (tmp_path / "figures").iterdir()} >= {"table.tex", "table.md"}


def test_recordings_that_are_not_here_are_missed_aloud(
    lost: tuple[Study, Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmssl import UserError
    from mmssl.cli import report

    def gone(*_: object) -> None:
        raise UserError("gone")

    monkeypatch.setattr(report, "recordings_of", gone)
    out = tmp_path / "page.html"
    assert command("report", "lost", "--storage", lost[0].root, "--out", out, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["recordings"] == "The recordings are not here: gone."
    assert "The recordings are not here: gone." in out.read_text("utf-8")
    assert embedded(out)["recordings"] is None
    assert command("report", "lost", "--storage", lost[0].root, "--out", out, "--data", tmp_path) == 2


def test_default_place_is_the_study(lost: tuple[Study, Plan], capsys: pytest.CaptureFixture[str]) -> None:
    study, _ = lost
    assert command("report", "lost", "--storage", study.root) == 0
    path = study.folder / "report.html"
    assert f"written: {path}" in capsys.readouterr().out
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("beside", [False, True])
def test_the_page_is_opened_in_a_browser_on_request(
    lost: tuple[Study, Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    study, _ = lost
    monkeypatch.chdir(tmp_path)
    words = ["report", "lost", "--storage", study.root, *(["--out", "page.html"] if beside else [])]
    assert command(*words) == 0
    assert opened == []
    assert command(*words, "--open") == 0
    path = tmp_path / "page.html" if beside else Path(study.folder) / "report.html"
    assert opened == [path.absolute().as_uri()]
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>")


def test_a_folder_is_no_file(lost: tuple[Study, Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("report", "lost", "--storage", lost[0].root, "--out", tmp_path) == 2
    assert f"give a file, as {tmp_path / 'report.html'}" in capsys.readouterr().err


def test_a_hundred_long_trials_stay_under_5_mb(study_of: StudyOf) -> None:
    draws = np.random.default_rng(0)
    measures = ["loss", "invariance", "variance", "covariance"]
    measures += [f"{m}.{what}" for m in ("imu", "skeleton") for what in ("std", "effective_rank", "covariance")]

    def ending(trial: PlannedTrial) -> Record:
        epochs: list[dict[str, Any]] = [
            {
                "phase": "pretrain",
                "epoch": i + 1,
                **{f"train.{name}": float(draws.normal()) for name in measures},
            }
            for i in range(300)
        ]
        epochs += [
            {
                "phase": "finetune",
                "epoch": i + 1,
                "train.finetune.loss": 0.123456789,
                "train.finetune.accuracy": 0.98765,
            }
            for i in range(100)
        ]
        guesses = [
            {"split": "val", "recording_id": f"{trial.fold}-{i}", "subject": trial.fold, "label": CLASSES[i % 3],
             "predicted": CLASSES[int(draws.integers(3))], "confidence": 0.5}
            for i in range(110)
        ]  # fmt: skip
        score = float(draws.uniform(0.5, 1))
        return Record(
            trial_id=trial.trial_id,
            status="COMPLETE",
            facts={"val.accuracy": score},
            epochs=epochs,
            predictions=guesses,
        )

    values = [1.0, 5.0, 10.0, 25.0, 50.0, 100.0]
    study, plan = study_of("long", ending, grid={"objective.lambda": values, "objective.mu": values})
    assert len(plan.trials) == 108
    content: Content = gather(study, plan, CLASSES)
    size = len(render(content, None, "none").encode())
    # What 120 recordings of 64 frames of 20 joints and 160 samples of 6 channels add, in base64.
    recordings = 120 * (64 * 20 * 3 + 160 * 6) * 2 * 4 / 3
    assert size + recordings < 5e6
    one = content.curves[plan.trials[0].trial_id]["pretrain"]
    assert (len(one.epochs), one.epochs[0], one.epochs[-1]) == (100, 1, 300)


def test_the_most_frequent_class_is_scored_as_points_are() -> None:
    """Mean over folds: neither the recordings of a large fold nor one with more trials weigh more. Naming a is right
    for 18 of 20 and none of 4, naming b for 2 of 20 and 3 of 4."""
    rows = [("1", i, "a" if i < 18 else "b") for i in range(20)] * 2
    rows += [("2", i, "b" if i < 3 else "c") for i in range(4)]
    fold, recording, label = zip(*rows, strict=True)
    predictions = pa.table({"fold": fold, "recording_id": [str(i) for i in recording], "label": label})
    assert most_frequent(predictions) == pytest.approx((18 / 20 + 0) / 2)
    assert most_frequent(predictions.slice(20)) == most_frequent(predictions), "each recording counts once"
    assert most_frequent(predictions.slice(0, 0)) == 0
