"""Tables made of scores that were chosen by hand, against the same numbers from numpy and scipy."""

import re
import zlib
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from markdown_it import MarkdownIt
from PIL import Image
from scipy import special, stats

from mmssl import Recordings, UserError
from mmssl.experiments import Result, TableColumn, names, protocol, save, save_for_paper
from mmssl.experiments.comparison import few_labels, hidden_classes, linear_evaluation
from mmssl.experiments.published import FEW_LABELS, PUBLISHED, hidden_groups
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.presets import SYSTEMS
from mmssl.study.record import Record
from mmssl.study.space import load

StudyOf = Callable[..., tuple[Study, Plan]]

SEEDS, FOLDS = (1, 2), ("anna", "ben", "chris")
KEYS = [(seed, fold) for seed in SEEDS for fold in FOLDS]
# By system: accuracy by seed (rows) and fold (columns).
SCORES = {
    "untrained": [[0.50, 0.60, 0.40], [0.55, 0.45, 0.65]],
    "vicreg": [[0.70, 0.90, 0.60], [0.75, 0.65, 0.60]],
    "cmc": [[0.50, 0.55, 0.45], [0.60, 0.40, 0.60]],
    "supervised": [[0.30, 0.20, 0.10], [0.25, 0.15, 0.30]],
}
COUNTS = {"recordings.train": 18, "recordings.labelled": 18}


def score(system: str, seed: int, fold: str) -> float:
    return SCORES[system][SEEDS.index(seed)][FOLDS.index(fold)]


def facts(accuracy: float, side: str = "val", *, alone: bool = True) -> dict[str, Any]:
    """Columns of a trial; each modality alone is a fixed share of both together."""
    found: dict[str, Any] = {**COUNTS, f"{side}.accuracy": accuracy, f"{side}.f1": max(0.0, accuracy - 0.05)}
    for modality, share in (("imu", 0.5), ("skeleton", 0.8)) if alone else ():
        found |= {f"{side}.{modality}.accuracy": accuracy * share, f"{side}.{modality}.f1": accuracy * share - 0.01}
    return found


def complete(plan: Plan, trial: PlannedTrial) -> Record:
    accuracy = score(plan.system(trial), trial.seed, trial.fold)
    return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts(accuracy))


def failing(system: str, *keys: tuple[int, str]) -> Callable[[Plan, PlannedTrial], Record]:
    """As `complete`, but for some trials of a system that fail."""

    def end(plan: Plan, trial: PlannedTrial) -> Record:
        if plan.system(trial) == system and (trial.seed, trial.fold) in keys:
            return Record(trial_id=trial.trial_id, status="FAILED", cause="MemoryError: too much")
        return complete(plan, trial)

    return end


def rows_of(result: Result, name: str, *keys: str) -> dict[Any, dict[str, Any]]:
    table = result.tables[name].to_pylist()
    by_key = {tuple(row[key] for key in keys) if len(keys) > 1 else row[keys[0]]: row for row in table}
    assert len(by_key) == len(table), "a row is listed twice"
    return by_key


def over_folds(differences: Mapping[tuple[int, str], float]) -> tuple[float, float]:
    """Of the folds' means, each over its seeds."""
    return student(means_of_folds(differences))


def means_of_folds(differences: Mapping[tuple[int, str], float]) -> list[Any]:
    folds = sorted({fold for _, fold in differences})
    return [np.mean([one for (_, fold), one in differences.items() if fold == name]) for name in folds]


def student(differences: Any) -> tuple[float, float]:
    n, mean = len(differences), np.mean(differences)
    half = stats.t.ppf(0.975, df=n - 1) * np.std(differences, ddof=1) / np.sqrt(n)
    return float(mean - half), float(mean + half)


def of_scores(groups: Any) -> Any:
    """Student's t on the logit scale: the standard error of a logit is that of the mean over p (1 - p)."""
    if np.ptp(groups) < 1e-9:
        return None, None  # Nothing is known of equal groups, of an unknown number of recordings.
    n, mean = len(groups), np.mean(groups)
    half = stats.t.ppf(0.975, df=n - 1) * stats.sem(groups) / (mean * (1 - mean))
    low, high = special.expit(special.logit(mean) + np.array([-half, half]))
    return pytest.approx((low, high))


# Linear evaluation


def test_a_systems_score_is_the_mean_over_seeds_and_folds(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(complete, list(SCORES))
    rows = rows_of(linear_evaluation(study, plan, tiny, ()), "table2", "system", "read_from")
    assert len(rows) == 3 * len(SCORES), "from both modalities, and from each alone"
    for (system, read_from), row in rows.items():
        share = {"imu+skeleton": 1, "imu": 0.5, "skeleton": 0.8}[read_from]
        grid = np.array(SCORES[system]) * share
        assert row["accuracy.mean"] == pytest.approx(grid.mean())
        assert row["accuracy.std"] == pytest.approx(np.std(grid.mean(axis=1), ddof=1)), "over seeds"
        assert row["accuracy.std_folds"] == pytest.approx(np.std(grid.mean(axis=0), ddof=1)), "over folds"
        assert (row["accuracy.low"], row["accuracy.high"]) == of_scores(grid.mean(axis=0)), "over folds"
        f1 = grid - (0.05 if share == 1 else 0.01)
        assert row["f1.mean"] == pytest.approx(f1.mean())
        assert (row["f1.low"], row["f1.high"]) == of_scores(f1.mean(axis=0))
        assert row["f1.std"] == pytest.approx(row["accuracy.std"])
        assert (row["n"], row["planned"]) == (6, 6)
        assert row["trained_on"] == "imu+skeleton"
        assert row["chance"] == pytest.approx(1 / 3)


def test_the_gain_is_paired_with_untrained_encoders_by_seed_and_fold(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(complete, list(SCORES))
    rows = rows_of(linear_evaluation(study, plan, tiny, ()), "table2", "system", "read_from")
    for (system, read_from), row in rows.items():
        if system == "untrained":
            assert row["gain"] is row["gain.low"] is row["gain.high"] is None
            continue
        share = {"imu+skeleton": 1, "imu": 0.5, "skeleton": 0.8}[read_from]
        differences = share * (np.array(SCORES[system]) - np.array(SCORES["untrained"]))
        assert row["gain"] == pytest.approx(differences.sum() / 6)
        # Seeds that share the same held-out person are no further people: three folds are three answers.
        half = stats.t.ppf(0.975, df=2) * np.std(differences.mean(axis=0), ddof=1) / np.sqrt(3)
        assert row["gain.low"] == pytest.approx(row["gain"] - half)
        assert row["gain.high"] == pytest.approx(row["gain"] + half)


def test_one_modality_is_compared_with_untrained_encoders_of_that_modality(study_of: StudyOf, tiny: Recordings) -> None:
    level = {"untrained": 0.9, "untrained_imu": 0.2, "untrained_skeleton": 0.4, "vicreg_imu": 0.5, "vicreg_skeleton": 0}

    def end(plan: Plan, trial: PlannedTrial) -> Record:
        system = plan.system(trial)
        return Record(
            trial_id=trial.trial_id, status="COMPLETE", facts=facts(level[system], alone=system == "untrained")
        )

    study, plan = study_of(end, list(level))
    rows = rows_of(linear_evaluation(study, plan, tiny, ()), "table2", "system", "read_from")
    assert [key for key in rows if key[0] != "untrained"] == [
        ("untrained_imu", "imu"), ("untrained_skeleton", "skeleton"), ("vicreg_imu", "imu"),
        ("vicreg_skeleton", "skeleton"),
    ]  # fmt: skip
    assert rows["vicreg_imu", "imu"]["gain"] == pytest.approx(0.3)
    assert rows["vicreg_skeleton", "skeleton"]["gain"] == pytest.approx(-0.4)


def test_a_variant_is_compared_with_the_first_of_its_recipe_and_that_with_the_first_of_all(
    study_of: StudyOf, tiny: Recordings
) -> None:
    level = {"plain": 0.25, "wide": 0.5, "ours": 0.75, "more": 0.625}

    def end(plan: Plan, trial: PlannedTrial) -> Record:
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts(level[plan.variant(trial) or ""]))

    ours = {"recipe": "default", "finetune.epochs": 3}
    theirs = {"recipe": "paper"}
    variants = {
        "plain": theirs,
        "wide": {**theirs, "finetune.hidden": 64},
        "ours": ours,
        "more": {**ours, "finetune.standardise": True},
    }
    study, plan = study_of(end, ["vicreg"], variants=variants)
    result = linear_evaluation(study, plan, tiny, ())
    rows = rows_of(result, "ablation", "variant", "read_from")
    assert {name: (row["compared_with"], row["difference"]) for (name, read), row in rows.items() if read == PAIR} == {
        "plain": (None, None), "wide": ("plain", 0.25), "ours": ("plain", 0.5), "more": ("ours", -0.125),
    }  # fmt: skip
    assert "; recipes paper, default. " in result.caption


def test_each_point_is_compared_with_untrained_encoders_at_the_same_knobs(study_of: StudyOf, tiny: Recordings) -> None:
    level = {("untrained", 0.1): 0.4, ("untrained", 0.5): 0.8, ("vicreg", 0.1): 0.5, ("vicreg", 0.5): 0.85}

    def end(plan: Plan, trial: PlannedTrial) -> Record:
        accuracy = level[plan.system(trial), trial.point["finetune.labels"]]
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts(accuracy))

    study, plan = study_of(end, ["untrained", "vicreg"], {"finetune.labels": [0.1, 0.5]})
    rows = rows_of(linear_evaluation(study, plan, tiny, ()), "table2", "system", "read_from")
    assert rows["vicreg labels=0.1", "imu+skeleton"]["gain"] == pytest.approx(0.1)
    assert rows["vicreg labels=0.5", "imu+skeleton"]["gain"] == pytest.approx(0.05)


def test_a_variant_is_compared_with_the_first_and_with_untrained_encoders_of_its_own(
    study_of: StudyOf, tiny: Recordings
) -> None:
    rng = np.random.default_rng(0)
    scored: dict[tuple[str, str, int, str], float] = {}

    def end(plan: Plan, trial: PlannedTrial) -> Record:
        accuracy = float(rng.uniform(0.2, 0.9))
        scored[plan.system(trial), plan.variant(trial) or "", trial.seed, trial.fold] = accuracy
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts(accuracy))

    variants = {"none": {}, "wide": {"finetune.hidden": 64}, "short": {"pretrain.epochs": 3}}
    study, plan = study_of(end, ["untrained", "vicreg"], variants={**variants, "short": {"finetune.epochs": 3}})
    rows = rows_of(linear_evaluation(study, plan, tiny, ()), "ablation", "system", "read_from")
    assert [name for name, read in rows if read == "imu"] == [
        f"{system} {variant}" for system in ("untrained", "vicreg") for variant in variants
    ]
    keys = {(seed, fold) for _, _, seed, fold in scored}
    for (_, read_from), row in rows.items():
        method, variant = row["method"], row["variant"]
        share = {"imu+skeleton": 1, "imu": 0.5, "skeleton": 0.8}[read_from]
        if variant == "none":
            assert row["difference"] is row["difference.low"] is row["difference.f1"] is None
        else:
            from_first = {key: share * (scored[method, variant, *key] - scored[method, "none", *key]) for key in keys}
            assert row["difference"] == pytest.approx(np.mean(list(from_first.values())))
            assert (row["difference.low"], row["difference.high"]) == pytest.approx(over_folds(from_first))
            assert row["difference.f1"] == pytest.approx(row["difference"]), "F1 is a constant below, here"
        if method == "vicreg":
            gain = {key: share * (scored["vicreg", variant, *key] - scored["untrained", variant, *key]) for key in keys}
            assert row["gain"] == pytest.approx(np.mean(list(gain.values())))
            assert (row["gain.low"], row["gain.high"]) == pytest.approx(over_folds(gain))


def test_a_missing_trial_is_left_out_of_the_pairs_and_named(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(failing("vicreg", (1, "ben")), ["untrained", "vicreg"])
    result = linear_evaluation(study, plan, tiny, ())
    row = rows_of(result, "table2", "system", "read_from")["vicreg", "imu+skeleton"]
    left = [key for key in KEYS if key != (1, "ben")]
    assert row["n"] == 5
    folds = means_of_folds({key: score("vicreg", *key) for key in left})
    assert row["accuracy.mean"] == pytest.approx(np.mean(folds)), "over the same as its interval"
    assert row["accuracy.low"] < row["accuracy.mean"] < row["accuracy.high"]
    differences = {key: score("vicreg", *key) - score("untrained", *key) for key in left}
    assert row["gain"] == pytest.approx(np.mean(means_of_folds(differences)))
    assert (row["gain.low"], row["gain.high"]) == pytest.approx(over_folds(differences))
    assert row["accuracy.std"] is None, "only one seed has all its folds"
    whole = [[score("vicreg", seed, fold) for seed in SEEDS] for fold in ("anna", "chris")]
    assert row["accuracy.std_folds"] == pytest.approx(np.std(np.mean(whole, axis=1), ddof=1))
    assert "vicreg, read from imu+skeleton: 1 of 6 trials are not complete" in result.notes


def test_seeds_that_lack_different_folds_have_no_spread(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(failing("vicreg", (1, "ben"), (2, "anna")), ["untrained", "vicreg"])
    row = rows_of(linear_evaluation(study, plan, tiny, ()), "table2", "system", "read_from")["vicreg", "imu+skeleton"]
    assert row["n"] == 4
    assert row["accuracy.std"] is None, "their means differ by whom they are of"
    assert row["accuracy.std_folds"] is None, "only one fold has both seeds"


def test_an_interval_that_is_not_over_what_the_caption_says_is_named(study_of: StudyOf, tiny: Recordings) -> None:
    lost = [(seed, fold) for seed in SEEDS for fold in FOLDS if fold != "anna"]
    study, plan = study_of(failing("vicreg", *lost), ["untrained", "vicreg"])
    result = linear_evaluation(study, plan, tiny, ())
    row = rows_of(result, "table2", "system", "read_from")["vicreg", PAIR]
    assert (row["accuracy.low"], row["accuracy.high"]) == of_scores([score("vicreg", seed, "anna") for seed in SEEDS])
    assert "95 % interval over folds" in result.caption
    assert row["note"] == "4 of 6 trials are not complete; its interval is over 2 seeds"
    assert rows_of(result, "table2", "system", "read_from")["untrained", PAIR]["note"] == ""


def test_a_missing_untrained_trial_leaves_the_score_as_it_is(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(failing("untrained", (2, "anna")), ["untrained", "vicreg"])
    row = rows_of(linear_evaluation(study, plan, tiny, ()), "table2", "system", "read_from")["vicreg", "imu+skeleton"]
    assert row["n"] == 6
    assert row["accuracy.mean"] == pytest.approx(np.mean(SCORES["vicreg"]))
    assert row["gain"] == pytest.approx(
        np.mean(means_of_folds({k: score("vicreg", *k) - score("untrained", *k) for k in KEYS if k != (2, "anna")}))
    )


def test_one_seed_has_no_spread_over_seeds(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(complete, ["untrained", "vicreg"], seeds=(1,))
    row = rows_of(linear_evaluation(study, plan, tiny, ()), "table2", "system", "read_from")["vicreg", "imu+skeleton"]
    assert row["accuracy.std"] is None
    assert row["accuracy.std_folds"] == pytest.approx(np.std(SCORES["vicreg"][0], ddof=1))


def test_without_untrained_encoders_there_is_no_gain(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(complete, ["vicreg", "supervised"])
    rows = rows_of(linear_evaluation(study, plan, tiny, ()), "table2", "system", "read_from")
    assert {row["gain"] for row in rows.values()} == {None}
    assert not any("untrained" in row["note"] for row in rows.values())


def test_a_system_that_failed_keeps_its_rows_without_numbers(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(failing("cmc", *KEYS), ["untrained", "cmc"])
    result = linear_evaluation(study, plan, tiny, ())
    row = rows_of(result, "table2", "system", "read_from")["cmc", "imu+skeleton"]
    numbers = [name for name in row if name.startswith(("accuracy", "f1", "gain"))]
    assert {row[name] for name in numbers} == {None}
    assert row["note"] == "6 of 6 trials are not complete"
    (path,) = save(study, result)
    assert study.table(path).num_rows == 6


def test_a_study_that_has_not_begun_says_so_in_each_row(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(lambda _, trial: Record(trial_id=trial.trial_id, status="PLANNED"), ["untrained", "vicreg"])
    result = linear_evaluation(study, plan, tiny, ())
    assert {row["note"] for row in result.tables["table2"].to_pylist()} == {"6 of 6 trials are not complete"}


def test_what_is_not_above_chance_is_named(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(complete, list(SCORES))
    rows = rows_of(linear_evaluation(study, plan, tiny, ()), "table2", "system", "read_from")
    for key, row in rows.items():
        assert ("not above chance (33.3 %)" in row["note"]) == (row["accuracy.mean"] <= 1 / 3), key
    assert "not above chance" in rows["supervised", "imu+skeleton"]["note"]
    assert "not above chance" not in rows["cmc", "imu+skeleton"]["note"]


def test_what_is_below_untrained_encoders_is_named_with_whether_it_is_sure(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(complete, list(SCORES))
    result = linear_evaluation(study, plan, tiny, ())
    rows = rows_of(result, "table2", "system", "read_from")
    differences = {
        system: {key: score(system, *key) - score("untrained", *key) for key in KEYS}
        for system in ("vicreg", "cmc", "supervised")
    }
    assert sum(differences["vicreg"].values()) > 0
    assert sum(differences["cmc"].values()) < 0 < over_folds(differences["cmc"])[1]
    assert over_folds(differences["supervised"])[1] < 0
    assert rows["vicreg", "imu+skeleton"]["note"] == ""
    assert rows["cmc", "imu+skeleton"]["note"] == "below untrained encoders, within the noise"
    assert rows["supervised", "imu+skeleton"]["note"].split("; ")[1] == "below untrained encoders"
    assert "cmc, read from imu+skeleton: below untrained encoders, within the noise" in result.notes


def test_a_single_pair_is_never_sure(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(complete, ["untrained", "supervised"], seeds=(1,), folds=("anna",))
    row = rows_of(linear_evaluation(study, plan, tiny, ()), "table2", "system", "read_from")[
        "supervised", "imu+skeleton"
    ]
    assert row["gain"] == pytest.approx(0.30 - 0.50)
    assert row["gain.low"] is row["gain.high"] is None
    assert "below untrained encoders, within the noise" in row["note"]


@pytest.mark.parametrize(("epochs", "steps"), [(1, 3), (14, 42), (15, 45)])
def test_too_few_steps_for_batch_norm_are_counted(study_of: StudyOf, tiny: Recordings, epochs: int, steps: int) -> None:
    fixed = {
        "pretrain.epochs": epochs, "pretrain.batch_size": 7, "finetune.epochs": epochs, "finetune.batch_size": 6,
        "finetune.batch_norm": "running",
    }  # fmt: skip
    study, plan = study_of(complete, ["untrained", "vicreg", "supervised"], fixed=fixed)
    rows = rows_of(linear_evaluation(study, plan, tiny, ()), "table2", "system", "read_from")
    left = 1.0
    for _ in range(steps):
        left -= 0.1 * left
    said = f"{steps} steps of training: batch norm's running averages still hold {100 * left:.0f}% of their first"
    for system in ("vicreg", "supervised"):  # 18 recordings: 3 batches an epoch for both
        assert (said in rows[system, "imu+skeleton"]["note"]) == (left >= 0.01), system
    assert "steps of training" not in rows["untrained", "imu+skeleton"]["note"], "they are as they began"


def test_renewed_batch_norms_need_no_number_of_steps(study_of: StudyOf, tiny: Recordings) -> None:
    fixed = {"pretrain.epochs": 1, "finetune.batch_norm": "renewed"}
    study, plan = study_of(complete, ["vicreg"], fixed=fixed)
    row = rows_of(linear_evaluation(study, plan, tiny, ()), "table2", "system", "read_from")["vicreg", "imu+skeleton"]
    assert "steps of training" not in row["note"]


def test_published_figures_stand_beside_both_modalities_of_their_data_set(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(complete, list(SCORES), dataset="utd_mhad")
    result = linear_evaluation(study, plan, tiny, ())
    rows = rows_of(result, "table2", "system", "read_from")
    names = ("yang.accuracy", "yang.f1", "brinzea.accuracy", "brinzea.f1")
    stated = {key: [row[f"published.{name}"] for name in names] for key, row in rows.items()}
    assert {key: found for key, found in stated.items() if found != [None] * 4} == {
        ("vicreg", "imu+skeleton"): [0.9606, 0.9696, None, None],
        ("cmc", "imu+skeleton"): [0.9512, 0.9508, 0.9604, None],
        ("supervised", "imu+skeleton"): [0.9651, 0.9636, 0.9721, None],
    }
    assert "published figures are of the test subjects, these are not: they cannot be compared" in result.notes
    shown = dict(zip(result.heads, result.cells[list(rows).index(("vicreg", "imu+skeleton"))], strict=True))
    assert shown["Yang et al. 2023, accuracy (%)"] == "96.1"
    assert shown["Yang et al. 2023, F1 (%)"] == "97.0"
    assert shown["Brinzea et al. 2022, accuracy (%)"] == "-"
    assert "Brinzea et al. 2022, F1 (%)" not in shown, "they give none for this data set"


def test_the_figure_of_cmc_cmkm_is_that_of_both_papers() -> None:
    """Its authors' own, and what the later paper came to when it ran it again."""
    figures = {
        (figure.source, figure.accuracy, figure.f1) for figure in PUBLISHED["utd_mhad", "cross_subject"]["cmc_cmkm"]
    }
    assert figures == {("Yang et al. 2023", 0.9581, 0.9574), ("Brinzea et al. 2022", 0.9767, None)}


def test_every_system_of_table_2_has_its_published_figure_in_each_protocol() -> None:
    trained = {name for name in load("table2").systems if SYSTEMS[name].method != "untrained"}
    for figures in PUBLISHED.values():
        assert {name for name, found in figures.items() if found[0].source == "Yang et al. 2023"} == trained


def test_published_figures_of_mmact_hold_for_either_number_of_classes(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(complete, ["cmc"], dataset="mmact_36")
    row = rows_of(linear_evaluation(study, plan, tiny, ()), "table2", "system", "read_from")["cmc", "imu+skeleton"]
    assert (row["published.yang.accuracy"], row["published.yang.f1"]) == (0.8205, 0.8306)
    assert (row["published.brinzea.accuracy"], row["published.brinzea.f1"]) == (None, 0.8205)


def test_a_method_with_changes_has_no_published_figure(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(complete, ["vicreg"], dataset="utd_mhad", variants={"wide": {"finetune.hidden": 64}})
    result = linear_evaluation(study, plan, tiny, ())
    assert {row["published.yang.accuracy"] for row in result.tables["ablation"].to_pylist()} == {None}
    assert not any("published" in note for note in result.notes)


def test_published_figures_are_those_of_the_protocol(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(complete, ["cmc"], dataset="mmact_36", fixed={"data.protocol": "cross_scene"})
    row = rows_of(linear_evaluation(study, plan, tiny, ()), "table2", "system", "read_from")["cmc", "imu+skeleton"]
    assert (row["published.yang.accuracy"], row["published.brinzea.f1"]) == (0.8401, 0.7997)


@pytest.mark.parametrize(
    ("dataset", "chosen"), [("tiny", "cross_subject"), ("my_utd_mhad", "cross_subject"), ("utd_mhad", "cross_session")]
)
def test_no_figure_is_published_for_other_data(study_of: StudyOf, tiny: Recordings, dataset: str, chosen: str) -> None:
    study, plan = study_of(complete, list(SCORES), dataset=dataset, fixed={"data.protocol": chosen})
    result = linear_evaluation(study, plan, tiny, ())
    rows = result.tables["table2"].to_pylist()
    assert {row[name] for row in rows for name in row if name.startswith("published")} == {None}
    assert not any("published" in note for note in result.notes)


def test_where_the_test_subjects_are_scored_the_table_holds_their_scores(study_of: StudyOf, tiny: Recordings) -> None:
    def end(plan: Plan, trial: PlannedTrial) -> Record:
        accuracy = score(plan.system(trial), trial.seed, "ben")
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts(accuracy, "test"))

    study, plan = study_of(end, ["untrained", "vicreg"], folds="test", dataset="utd_mhad")
    result = linear_evaluation(study, plan, tiny, ())
    row = rows_of(result, "table2", "system", "read_from")["vicreg", "imu+skeleton"]
    assert row["accuracy.mean"] == pytest.approx((0.90 + 0.65) / 2)
    assert row["accuracy.std"] == pytest.approx(np.std([0.90, 0.65], ddof=1))
    assert row["accuracy.std_folds"] is None
    assert (row["accuracy.low"], row["accuracy.high"]) == of_scores([0.90, 0.65]), "one fold: over seeds"
    differences = [0.90 - 0.60, 0.65 - 0.45]
    assert row["gain"] == pytest.approx(np.mean(differences))
    assert (row["gain.low"], row["gain.high"]) == pytest.approx(student(differences)), "one fold: over seeds"
    assert row["published.yang.accuracy"] == 0.9606
    assert not any("published" in note for note in result.notes), "here they may be compared"


def test_the_caption_names_epochs_of_pre_training_and_fine_tuning(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(complete, ["untrained", "vicreg"], fixed={"pretrain.epochs": 7, "finetune.epochs": 3})
    caption = linear_evaluation(study, plan, tiny, ()).caption
    assert protocol(plan) in caption
    assert "; 7 epochs of pre-training, 3 of fine-tuning" in caption
    study, plan = study_of(complete, ["vicreg"], {"pretrain.epochs": [5, 9], "finetune.epochs": [2, 4]})
    assert "; 5/9 epochs of pre-training, 2/4 of fine-tuning" in linear_evaluation(study, plan, tiny, ()).caption


def test_draws_of_labels_that_have_rows_of_their_own_are_no_repeats(study_of: StudyOf, tiny: Recordings) -> None:
    grid, fixed = {"finetune.label_draw": [0, 1, 2]}, {"finetune.labels": 0.5}
    study, plan = study_of(complete, ["untrained", "vicreg"], grid, fixed=fixed, folds=("anna",))
    result = linear_evaluation(study, plan, tiny, ())
    row = rows_of(result, "table2", "system", "read_from")["vicreg label_draw=0", PAIR]
    assert row["n"] == len(SEEDS)
    assert "95 % interval over seeds" in result.caption


# Few labels

SHARES, DRAWS = (0.1, 0.5), (0, 1, 2)
LABELLED = {0.1: 3, 0.5: 9}


def few(system: str, share: float, draw: int, seed: int, fold: str) -> float:
    """Some accuracy that every argument changes, for each system in a way of its own."""
    base = {"vicreg": 0.5, "supervised": 0.3, "untrained": 0.2}[system]
    wobbles = {"vicreg": (0.0, 0.07, -0.02), "supervised": (0.01, -0.05, 0.02), "untrained": (0.03, 0.0, -0.01)}
    people = {"vicreg": (0.0, 0.02, 0.05), "supervised": (0.01, 0.0, 0.02), "untrained": (0.02, 0.03, 0.0)}
    return base + share / 2 + wobbles[system][draw] + 0.013 * seed + people[system][FOLDS.index(fold)]


def drawn(plan: Plan, trial: PlannedTrial, labelled: Mapping[float, int] = LABELLED) -> Record:
    share, draw = trial.point["finetune.labels"], trial.point["finetune.label_draw"]
    accuracy = few(plan.system(trial), share, draw, trial.seed, trial.fold)
    counted = {**facts(accuracy), "recordings.labelled": labelled[share]}
    return Record(trial_id=trial.trial_id, status="COMPLETE", facts=counted)


def few_rows(study: Study, plan: Plan, recordings: Recordings) -> dict[Any, dict[str, Any]]:
    return rows_of(few_labels(study, plan, recordings, ()), "few_labels", "system", "read_from", "labels")


PAIR = "imu+skeleton"
GRID: dict[str, list[Any]] = {"finetune.labels": list(SHARES), "finetune.label_draw": list(DRAWS)}


TOGETHER = [
    f"over supervised, read from {name}: labels trained these encoders for {PAIR}; for {name} alone they may do better "
    f"(the system supervised_{name})"
    for name in ("imu", "skeleton")
]


def test_scores_with_few_labels_are_over_folds_as_their_differences_are(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(drawn, ["vicreg", "supervised"], GRID)
    rows = few_rows(study, plan, tiny)
    pair = {(system, share): row for (system, read, share), row in rows.items() if read == PAIR}
    assert list(pair) == [("vicreg", 0.1), ("vicreg", 0.5), ("supervised", 0.1), ("supervised", 0.5)]
    for (system, share), row in pair.items():
        by_fold = [
            np.mean([few(system, share, draw, seed, fold) for draw in DRAWS for seed in SEEDS]) for fold in FOLDS
        ]
        assert row["mean"] == pytest.approx(np.mean(by_fold))
        assert (row["low"], row["high"]) == of_scores(by_fold)
        assert (row["draws"], row["recordings.labelled"]) == (3, LABELLED[share])


def over(share: float, other: str) -> list[Any]:
    """For each held-out person the mean difference of `vicreg` from the other system, over draws and seeds."""
    return [
        np.mean([few("vicreg", share, draw, seed, fold) - few(other, share, draw, seed, fold)
                 for draw in DRAWS for seed in SEEDS])
        for fold in FOLDS
    ]  # fmt: skip


def test_few_labels_are_compared_with_supervised_learning_from_the_same_labels(
    study_of: StudyOf, tiny: Recordings
) -> None:
    study, plan = study_of(drawn, ["vicreg", "supervised"], GRID)
    rows = few_rows(study, plan, tiny)
    for share in SHARES:
        differences = over(share, "supervised")
        row = rows["vicreg", PAIR, share]
        assert row["over_supervised"] == pytest.approx(np.mean(differences))
        assert (row["over_supervised.low"], row["over_supervised.high"]) == pytest.approx(student(differences))
        assert rows["supervised", PAIR, share]["over_supervised"] is None


@pytest.mark.parametrize(("reading", "part"), [(PAIR, 1), ("imu", 0.5), ("skeleton", 0.8)])
def test_few_labels_are_read_from_each_modality_too_and_set_beside_untrained_encoders(
    study_of: StudyOf, tiny: Recordings, reading: str, part: float
) -> None:
    study, plan = study_of(drawn, ["vicreg", "supervised", "untrained"], GRID)
    rows = few_rows(study, plan, tiny)
    for share in SHARES:
        ours = [np.mean([part * few("vicreg", share, draw, *key) for key in KEYS]) for draw in DRAWS]
        assert rows["vicreg", reading, share]["mean"] == pytest.approx(np.mean(ours))
        for other in ("supervised", "untrained"):
            differences = [part * difference for difference in over(share, other)]
            row = rows["vicreg", reading, share]
            assert row[f"over_{other}"] == pytest.approx(np.mean(differences))
            assert (row[f"over_{other}.low"], row[f"over_{other}.high"]) == pytest.approx(student(differences))
            assert rows[other, reading, share][f"over_{other}"] is None


def test_few_labels_of_one_modality_are_compared_with_the_same_modality(study_of: StudyOf, tiny: Recordings) -> None:
    def end(plan: Plan, trial: PlannedTrial) -> Record:
        accuracy = {"vicreg_imu": 0.75, "untrained_imu": 0.5, "untrained": 0.25}[plan.system(trial)]
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts(accuracy) | {"recordings.labelled": 3})

    grid = {"finetune.labels": [0.1], "finetune.label_draw": list(DRAWS)}
    study, plan = study_of(end, ["vicreg_imu", "untrained_imu", "untrained"], grid)
    rows = few_rows(study, plan, tiny)
    assert list(rows) == [
        ("vicreg_imu", "imu", 0.1), ("untrained_imu", "imu", 0.1),
        ("untrained", PAIR, 0.1), ("untrained", "imu", 0.1), ("untrained", "skeleton", 0.1),
    ]  # fmt: skip
    assert rows["vicreg_imu", "imu", 0.1]["over_untrained"] == pytest.approx(0.25)


def test_few_labels_of_one_modality_are_compared_with_labels_that_train_it_alone(
    study_of: StudyOf, tiny: Recordings
) -> None:
    accuracies = {"vicreg": 0.75, "supervised": 0.5, "supervised_imu": 0.625}

    def end(plan: Plan, trial: PlannedTrial) -> Record:
        found = facts(accuracies[plan.system(trial)]) | {"recordings.labelled": 3}
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=found)

    grid = {"finetune.labels": [0.1], "finetune.label_draw": list(DRAWS)}
    study, plan = study_of(end, ["vicreg", "supervised", "supervised_imu"], grid)
    result = few_labels(study, plan, tiny, ())
    rows = rows_of(result, "few_labels", "system", "read_from")
    ours = {reading: rows["vicreg", reading] for reading in (PAIR, "imu", "skeleton")}
    assert {reading: row["over_supervised.trained_on"] for reading, row in ours.items()} == {
        PAIR: PAIR, "imu": "imu", "skeleton": PAIR,
    }  # fmt: skip
    assert ours[PAIR]["over_supervised"] == pytest.approx(0.25)
    assert ours["imu"]["over_supervised"] == pytest.approx(ours["imu"]["mean"] - 0.625)
    assert rows["supervised_imu", "imu"]["over_supervised"] is None
    [note] = [note for note in result.notes if note.startswith("over supervised")]
    assert note.startswith("over supervised, read from skeleton: ") and "the system supervised_skeleton" in note


def test_few_labels_of_one_fold_are_compared_over_draws(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(drawn, ["vicreg", "supervised"], GRID, folds=("anna",))
    result = few_labels(study, plan, tiny, ())
    row = rows_of(result, "few_labels", "system", "read_from", "labels")["vicreg", PAIR, 0.1]
    differences = [
        np.mean([few("vicreg", 0.1, draw, seed, "anna") - few("supervised", 0.1, draw, seed, "anna") for seed in SEEDS])
        for draw in DRAWS
    ]
    assert (row["over_supervised.low"], row["over_supervised.high"]) == pytest.approx(student(differences))
    assert "95 % interval over draws of labels, of scores and of differences" in result.caption
    by_draw = [np.mean([few("vicreg", 0.1, draw, seed, "anna") for seed in SEEDS]) for draw in DRAWS]
    vicreg = rows_of(result, "few_labels", "system", "read_from", "labels")["vicreg", PAIR, 0.1]
    assert (vicreg["low"], vicreg["high"]) == of_scores(by_draw)


def test_a_missing_trial_changes_the_comparison_of_no_other(study_of: StudyOf, tiny: Recordings) -> None:
    """The difference is over the draws, seeds and folds that both systems have: supervised learning lacks one fold of
    the draw that it is worst in."""

    def end(plan: Plan, trial: PlannedTrial) -> Record:
        if plan.system(trial) == "supervised" and trial.fold == "chris" and trial.point["finetune.label_draw"] == 1:
            return Record(trial_id=trial.trial_id, status="FAILED", cause="MemoryError: too much")
        return drawn(plan, trial)

    study, plan = study_of(end, ["vicreg", "supervised"], GRID)
    rows = few_rows(study, plan, tiny)
    anna, ben, _ = over(0.1, "supervised")
    chris = np.mean(
        [few("vicreg", 0.1, draw, 1, "chris") - few("supervised", 0.1, draw, 1, "chris") for draw in (0, 2)]
    )
    row = rows["vicreg", PAIR, 0.1]
    assert row["over_supervised"] == pytest.approx(np.mean([anna, ben, chris]))
    assert (row["over_supervised.low"], row["over_supervised.high"]) == pytest.approx(student([anna, ben, chris]))


def test_shares_of_labels_that_lack_trials_are_named(study_of: StudyOf, tiny: Recordings) -> None:
    """Their means are over other folds and draws than those beside them."""

    def end(plan: Plan, trial: PlannedTrial) -> Record:
        lost = plan.system(trial) == "vicreg" and trial.point["finetune.labels"] == 0.1 and trial.fold != "ben"
        if lost or (plan.system(trial) == "supervised" and trial.fold == "anna"):
            return Record(trial_id=trial.trial_id, status="FAILED", cause="MemoryError: too much")
        return drawn(plan, trial)

    study, plan = study_of(end, ["vicreg", "supervised"], GRID)
    result = few_labels(study, plan, tiny, ())
    assert "95 % interval over folds" in result.caption
    assert result.notes == [
        "vicreg, 10 % of the labels: 12 of 18 trials are not complete",
        "supervised, 10 % of the labels: 6 of 18 trials are not complete",
        "supervised, 50 % of the labels: 6 of 18 trials are not complete",
        *(
            f"vicreg, read from {read_from}, 10 % of the labels: its interval is over 3 draws of labels"
            for read_from in (PAIR, "imu", "skeleton")
        ),
        *TOGETHER,
    ]


def test_without_supervised_learning_there_is_nothing_to_compare_with(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(drawn, ["vicreg"], GRID)
    rows = few_labels(study, plan, tiny, ()).tables["few_labels"].to_pylist()
    assert [row["over_supervised"] for row in rows] == [None] * len(rows)


def test_what_rounds_to_nothing_has_no_sign() -> None:
    table = pa.Table.from_pylist([{"change": -0.0004, "low": -0.0104, "high": 0.0096}])
    shown = (TableColumn("change", ("change", "low", "high"), percent=True),)
    assert Result("", {"changes": table}, shown).cells == [["0.0 [-1.0, 1.0]"]]


def test_heads_that_a_study_did_not_score_have_no_row(study_of: StudyOf, tiny: Recordings) -> None:
    def end(plan: Plan, trial: PlannedTrial) -> Record:
        counted = facts(0.5, alone=False) | {"recordings.labelled": 3}
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=counted)

    study, plan = study_of(end, ["vicreg"], GRID)
    assert list(few_rows(study, plan, tiny)) == [("vicreg", PAIR, 0.1), ("vicreg", PAIR, 0.5)]


def test_with_one_draw_of_labels_intervals_are_over_folds_or_of_one_fold_over_seeds(
    study_of: StudyOf, tiny: Recordings
) -> None:
    grid = {"finetune.labels": [0.1], "finetune.label_draw": [1]}
    for folds in (FOLDS, ("anna",)):
        study, plan = study_of(drawn, ["vicreg", "supervised"], grid, folds=folds)
        row = rows_of(few_labels(study, plan, tiny, ("png",)), "few_labels", "system", "read_from")["vicreg", PAIR]
        ours, theirs = (
            np.array([[few(system, 0.1, 1, seed, fold) for seed in SEEDS] for fold in folds])
            for system in ("vicreg", "supervised")
        )
        axis = 1 if len(folds) > 1 else 0
        assert row["mean"] == pytest.approx(ours.mean())
        assert (row["low"], row["high"]) == of_scores(ours.mean(axis=axis))
        assert (row["over_supervised.low"], row["over_supervised.high"]) == pytest.approx(
            student((ours - theirs).mean(axis=axis))
        )
    study, plan = study_of(drawn, ["vicreg", "supervised"], grid, folds=("anna",), seeds=(1,))
    row = rows_of(few_labels(study, plan, tiny, ("png",)), "few_labels", "system", "read_from")["vicreg", PAIR]
    assert row["low"] is row["over_supervised.low"] is None, "nothing was repeated"


def test_shares_that_come_to_the_same_labels_are_named(study_of: StudyOf, tiny: Recordings) -> None:
    grid = {"finetune.labels": [0.01, 0.1, 0.5], "finetune.label_draw": list(DRAWS)}
    study, plan = study_of(lambda p, t: drawn(p, t, {0.01: 3, 0.1: 3, 0.5: 9}), ["vicreg", "supervised"], grid)
    assert few_labels(study, plan, tiny, ()).notes == [
        *TOGETHER,
        "shares 0.01 and 0.1 use the same number of labels, one a class at least",
    ]


def test_pictures_of_few_labels_are_written_on_request(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(drawn, ["vicreg", "supervised"], GRID)
    assert few_labels(study, plan, tiny, ()).figures == []
    assert not (study.folder / "figures").exists()
    png, svg, *alone = map(Path, few_labels(study, plan, tiny, ("png", "svg")).figures)
    assert [path.stem for path in alone] == ["few_labels-imu"] * 2 + ["few_labels-skeleton"] * 2
    with Image.open(png) as image:
        assert image.format == "PNG"
    assert png.parent == svg.parent == (study.folder / "figures")
    assert all(word in svg.read_text() for word in ("vicreg", "supervised", "Few labels, tiny"))


def test_few_labels_of_nothing_is_an_empty_table(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(lambda _, t: Record(trial_id=t.trial_id, status="PLANNED"), ["vicreg"], GRID)
    result = few_labels(study, plan, tiny, ("png",))
    assert (result.tables["few_labels"].num_rows, result.notes, result.figures) == (0, [], [])
    (path,) = save(study, result)
    assert study.table(path).num_rows == 0


def test_points_that_differ_in_more_than_labels_are_not_thrown_together(study_of: StudyOf, tiny: Recordings) -> None:
    study, plan = study_of(drawn, ["vicreg"], GRID | {"objective.lambda": [1.0, 25.0]})
    with pytest.raises(UserError, match=r"study made also searches objective\.lambda"):
        few_labels(study, plan, tiny, ())


# Tables for a paper


def test_the_table_for_a_paper_has_every_cell_that_is_shown(study_of: StudyOf, odd: Recordings) -> None:
    """Read back by a peer; names that mean something to Markdown or LaTeX stay words."""
    groups = [[], [odd.description.classes[1]]]
    study, plan = study_of(predicting(odd), ["vicreg"], {"pretrain.hidden_classes": groups})
    result = hidden_classes(study, plan, odd, ())
    result.notes.append("50 % & more_or_less")
    markdown, latex = map(Path, save_for_paper(study, result))
    tables = study.folder / "tables"
    assert (markdown, latex) == (tables / "hidden_classes.md", tables / "hidden_classes.tex")
    tokens = MarkdownIt().enable("table").parse(markdown.read_text("utf-8"))
    texts = ["".join(part.content for part in token.children or ()) for token in tokens if token.type == "inline"]
    assert not any(token.type.startswith("html") for token in tokens)
    assert texts == [f"{result.caption} Note: 50 % & more_or_less.", *result.heads, *chain(*result.cells)]
    lines = latex.read_text("utf-8").splitlines()
    rows = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert len(rows) == len(result.cells)
    assert all(len(re.findall(r"(?<!\\)&", row)) == len(result.heads) - 1 for row in rows)
    assert r"a, \textless{}b\textgreater{}\$x\_1\$\textless{}/b\textgreater{}" in latex.read_text("utf-8")


# Hidden classes


@pytest.fixture
def odd(tiny: Recordings) -> Recordings:
    """Two of the three classes have names that mean something to a shell, to TeX or to a web page."""
    new = {"slow": "slow", "middle": "a, <b>$x_1$</b>", "fast": "größer/„als“ %"}
    rows = [row.model_copy(update={"label": new[row.label]}) for row in tiny.rows]
    described = tiny.description.model_copy(update={"classes": tuple(new.values())})
    return Recordings(described, rows, tiny.skeleton, tiny.imu)


def guesses(recordings: Recordings, trial: PlannedTrial) -> list[dict[str, Any]]:
    """Predictions for the held-out subject: a half wrong on hidden classes, a quarter on others, by the trial."""
    classes, hidden = recordings.description.classes, trial.point["pretrain.hidden_classes"]
    found: list[dict[str, Any]] = []
    for row in recordings.rows:
        if row.subject != trial.fold:
            continue
        wrong = zlib.crc32(f"{trial.trial_id} {row.recording_id}".encode()) % 4 < (2 if row.label in hidden else 1)
        guess = classes[(classes.index(row.label) + 1) % 3] if wrong else row.label
        found.append({
            "split": "val", "recording_id": row.recording_id, "subject": row.subject, "label": row.label,
            "predicted": guess, "confidence": 0.5,
        })  # fmt: skip
    return found


def predicting(recordings: Recordings) -> Callable[[Plan, PlannedTrial], Record]:
    return lambda plan, trial: Record(
        trial_id=trial.trial_id, status="COMPLETE", facts=facts(0.5), predictions=guesses(recordings, trial)
    )


def share_right(
    recordings: Recordings, plan: Plan, system: str, hidden: list[str], key: tuple[int, str], classes: tuple[str, ...]
) -> float:
    (trial,) = [
        trial
        for trial in plan.trials
        if (plan.system(trial), trial.point["pretrain.hidden_classes"], trial.seed, trial.fold)
        == (system, hidden, *key)
    ]
    right, seen = 0, 0
    for row in guesses(recordings, trial):
        if row["label"] in classes:
            seen += 1
            right += row["label"] == row["predicted"]
    return right / seen


def test_accuracy_on_hidden_and_other_classes_beside_pre_training_on_all(study_of: StudyOf, odd: Recordings) -> None:
    every = odd.description.classes
    groups = [[], [every[1]], [every[0], every[2]]]
    study, plan = study_of(predicting(odd), ["vicreg", "cmc"], {"pretrain.hidden_classes": groups})
    rows = rows_of(hidden_classes(study, plan, odd, ()), "hidden_classes", "system", "hidden", "classes")
    assert len(rows) == 2 * (1 + 3 + 3)
    for system in ("vicreg", "cmc"):
        for hidden in groups:
            subsets = {"all": every, "hidden": tuple(hidden), "others": tuple(n for n in every if n not in hidden)}
            for name, classes in subsets.items() if hidden else [("all", every)]:
                row = rows[system, ", ".join(hidden) or "none", name]
                ours = np.array([share_right(odd, plan, system, hidden, key, classes) for key in KEYS])
                beside = np.array([share_right(odd, plan, system, [], key, classes) for key in KEYS])
                assert row["accuracy.mean"] == pytest.approx(ours.mean())
                assert row["accuracy.std"] == pytest.approx(np.std(ours.reshape(2, 3).mean(axis=1), ddof=1))
                assert row["pretrained_on_all"] == pytest.approx(beside.mean())
                assert row["n"] == 6
                if hidden:
                    assert row["change"] == pytest.approx((ours - beside).mean())
                    low, high = over_folds(dict(zip(KEYS, ours - beside, strict=True)))
                    middle, held_out = (low + high) / 2, {fold for _, fold in KEYS}
                    seen = [one for one in odd.rows if one.subject in held_out and one.label in classes]
                    # Of so few recordings chance alone may make more than the folds show.
                    half = max((high - low) / 2, stats.norm.ppf(0.975) * np.sqrt(abs(middle) / len(seen)))
                    assert (row["change.low"], row["change.high"]) == pytest.approx((middle - half, middle + half))
                else:
                    assert row["change"] is row["change.low"] is None


def test_intervals_of_hidden_classes_count_windows_of_one_interval_once(study_of: StudyOf, odd: Recordings) -> None:
    """Folds that are equal leave Wilson's interval, here of 4 annotated intervals a class and fold, of 5 windows."""
    every = odd.description.classes

    def end(plan: Plan, trial: PlannedTrial) -> Record:
        rows: list[dict[str, Any]] = [
            {
                "split": "val", "recording_id": f"{label}{unit}.{i}", "unit": f"{label}{unit}", "subject": trial.fold,
                "label": label, "predicted": label if unit % 2 else "none", "confidence": 0.5,
            }
            for label in every for unit in range(4) for i in range(5)
        ]  # fmt: skip
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts(0.5), predictions=rows)

    study, plan = study_of(end, ["vicreg"], {"pretrain.hidden_classes": [[], [every[0]]]}, seeds=(1,))
    rows = rows_of(hidden_classes(study, plan, odd, ()), "hidden_classes", "hidden", "classes")
    for name, count in (("all", 36), ("hidden", 12), ("others", 24)):
        row = rows[every[0], name]
        expected = stats.binomtest(count // 2, count).proportion_ci(method="wilson")
        assert (row["accuracy.low"], row["accuracy.high"]) == pytest.approx(tuple(expected))


def test_recordings_without_a_label_may_be_of_hidden_classes_which_is_said(study_of: StudyOf, odd: Recordings) -> None:
    first = odd.description.classes[0]
    rows = [row.model_copy(update={"label": ""}) if row.trial == "0" else row for row in odd.rows]
    some = Recordings(odd.description, rows, odd.skeleton, odd.imu)
    study, plan = study_of(predicting(odd), ["vicreg"], {"pretrain.hidden_classes": [[], [first]]})
    unknown = sum(row.trial == "0" for row in rows)
    result = hidden_classes(study, plan, some, ())
    assert result.caption.endswith(
        "Pre-training never sees recordings labelled as the hidden classes, fine-tuning sees all."
    )
    assert result.notes == [
        f"{unknown} recordings without a label may pre-train, whatever they show: hidden classes too"
    ]
    assert hidden_classes(study, plan, odd, ()).notes == []


def test_the_change_is_over_trials_that_both_have(study_of: StudyOf, odd: Recordings) -> None:
    every = odd.description.classes
    lost = {(1, "anna"): [], (2, "ben"): [every[1]]}

    def end(plan: Plan, trial: PlannedTrial) -> Record:
        if lost.get((trial.seed, trial.fold)) == trial.point["pretrain.hidden_classes"]:
            return Record(trial_id=trial.trial_id, status="DIVERGED", cause="epoch 1: loss is nan")
        return predicting(odd)(plan, trial)

    study, plan = study_of(end, ["vicreg"], {"pretrain.hidden_classes": [[], [every[1]]]})
    result = hidden_classes(study, plan, odd, ())
    assert result.notes == [
        "vicreg, pre-trained on all: 1 of 6 trials are not complete",
        f"vicreg, pre-trained without {every[1]}: 1 of 6 trials are not complete",
    ]
    rows = rows_of(result, "hidden_classes", "hidden", "classes")
    row = rows[every[1], "hidden"]
    both = [key for key in KEYS if key not in lost]
    changes = [
        share_right(odd, plan, "vicreg", [every[1]], key, (every[1],))
        - share_right(odd, plan, "vicreg", [], key, (every[1],))
        for key in both
    ]
    assert row["n"] == 5
    assert row["change"] == pytest.approx(np.mean(means_of_folds(dict(zip(both, changes, strict=True)))))


def test_without_pre_training_on_all_there_is_no_change(study_of: StudyOf, odd: Recordings) -> None:
    every = odd.description.classes
    study, plan = study_of(predicting(odd), ["vicreg"], {"pretrain.hidden_classes": [[every[0]]]})
    rows = hidden_classes(study, plan, odd, ()).tables["hidden_classes"].to_pylist()
    assert [(row["pretrained_on_all"], row["change"]) for row in rows] == [(None, None)] * 3


def test_both_interpretations_of_the_papers_hidden_groups_have_its_figures(study_of: StudyOf, odd: Recordings) -> None:
    classes = odd.description.classes
    groups = [list(group.classes) for group in hidden_groups(classes)]
    study, plan = study_of(
        predicting(odd), ["vicreg", "cmc"], {"pretrain.hidden_classes": [[], *groups]}, dataset="utd_mhad"
    )
    result = hidden_classes(study, plan, odd, ())
    rows = rows_of(result, "hidden_classes", "system", "hidden", "classes")
    stated = {
        key: (row["reading"], row["published.yang.accuracy"], row["published.yang.f1"])
        for key, row in rows.items()
        if row["published.yang.accuracy"] is not None
    }
    assert len(classes) == 3, "so no group of five, and no fifth class"
    assert stated == {
        ("vicreg", classes[0], "all"): ("class 1; the first class", 0.9558, 0.9559),
        ("vicreg", classes[1], "all"): ("class 2", 0.9395, 0.9385),
        ("vicreg", ", ".join(classes[:2]), "all"): ("the first 2 classes", 0.9395, 0.9385),
    }
    row = rows["vicreg", classes[0], "all"]
    hiding = [
        trial for trial in plan.trials if trial.point == {"system": "vicreg", "pretrain.hidden_classes": groups[0]}
    ]
    f1 = {row["trial_id"]: row["val.f1"] for row in study.table("trials.parquet").to_pylist()}
    assert row["f1.mean"] == pytest.approx(np.mean([f1[trial.trial_id] for trial in hiding]))
    assert rows["vicreg", classes[0], "hidden"]["f1.mean"] is None, "F1 is a mean over all classes"
    shown = dict(zip(result.heads, result.cells[list(rows).index(("vicreg", classes[1], "all"))], strict=True))
    assert shown["Yang et al. 2023, accuracy (%)"] == "94.0"
    assert shown["Yang et al. 2023, F1 (%)"] == "93.8"
    assert "published figures are of the test subjects, these are not: they cannot be compared" in result.notes


def test_the_papers_hidden_groups_have_no_figures_of_another_protocol(study_of: StudyOf, odd: Recordings) -> None:
    groups = [list(group.classes) for group in hidden_groups(odd.description.classes)]
    study, plan = study_of(
        predicting(odd), ["vicreg"], {"pretrain.hidden_classes": [[], *groups]}, dataset="mmact_36",
        fixed={"data.protocol": "cross_scene"},
    )  # fmt: skip
    rows = hidden_classes(study, plan, odd, ()).tables["hidden_classes"].to_pylist()
    assert {row[name] for row in rows for name in row if name.startswith("published")} <= {None}


def test_the_papers_hidden_groups_of_many_classes() -> None:
    groups = [(group.classes, group.column) for group in hidden_groups("abcdefg")]
    assert groups == [
        (("a",), 1), (("b",), 2), (("e",), 5), (("a", "b"), 2), (("a", "b", "c", "d", "e"), 5),
    ]  # fmt: skip


def test_few_labels_stand_beside_what_the_paper_has_with_all(study_of: StudyOf, tiny: Recordings) -> None:
    grid = {"finetune.labels": [0.1, 0.5]}
    study, plan = study_of(complete, ["vicreg", "supervised"], grid, dataset="utd_mhad")
    result = few_labels(study, plan, tiny, ())
    rows = rows_of(result, "few_labels", "system", "read_from", "labels")
    assert {key: row["published.yang.accuracy"] for key, row in rows.items() if row["read_from"] == PAIR} == {
        ("vicreg", PAIR, 0.1): 0.9606, ("vicreg", PAIR, 0.5): 0.9606,
        ("supervised", PAIR, 0.1): 0.9651, ("supervised", PAIR, 0.5): 0.9651,
    }  # fmt: skip
    assert rows["vicreg", "imu", 0.1]["published.yang.accuracy"] is None, "the paper's is of encoders of the IMU alone"
    shown = dict(zip(result.heads, result.cells[list(rows).index(("supervised", PAIR, 0.5))], strict=True))
    assert shown["Yang et al. 2023, accuracy (%)"] == "96.5"
    assert "published figures are with all labels" in result.notes
    assert FEW_LABELS in result.notes


def test_a_fold_without_a_hidden_recording_has_no_accuracy_on_it(study_of: StudyOf, odd: Recordings) -> None:
    first = odd.description.classes[0]
    some = odd.where(lambda row: row.label != first or row.subject != "ben")
    study, plan = study_of(predicting(some), ["vicreg"], {"pretrain.hidden_classes": [[], [first]]})
    rows = rows_of(hidden_classes(study, plan, some, ()), "hidden_classes", "hidden", "classes")
    assert (rows[first, "hidden"]["n"], rows[first, "others"]["n"]) == (4, 6)


def test_hidden_classes_at_several_other_knobs_are_not_thrown_together(study_of: StudyOf, odd: Recordings) -> None:
    grid = {"pretrain.hidden_classes": [[], [odd.description.classes[0]]], "objective.lambda": [1.0, 25.0]}
    study, plan = study_of(predicting(odd), ["vicreg"], grid)
    with pytest.raises(UserError, match=r"study made also searches objective\.lambda"):
        hidden_classes(study, plan, odd, ())


def test_hidden_classes_of_nothing_is_an_empty_table(study_of: StudyOf, odd: Recordings) -> None:
    grid = {"pretrain.hidden_classes": [[], [odd.description.classes[0]]]}
    study, plan = study_of(lambda _, t: Record(trial_id=t.trial_id, status="PLANNED"), ["vicreg"], grid)
    result = hidden_classes(study, plan, odd, ())
    (path,) = save(study, result)
    assert study.table(path).num_rows == 0


# Captions and names


def test_the_caption_says_who_was_held_out(study_of: StudyOf) -> None:
    _, plan = study_of(complete, ["vicreg"])
    assert protocol(plan) == (
        "tiny, training subjects held out in turn (anna, ben, chris), the others of anna, ben, chris train; "
        "test subjects are not used; 2 seeds (1, 2)"
    )


def test_the_caption_says_who_was_tested(study_of: StudyOf) -> None:
    _, plan = study_of(
        lambda _, t: Record(trial_id=t.trial_id, status="PLANNED"), ["vicreg"], folds="test", seeds=(28,)
    )
    assert protocol(plan) == (
        "tiny, cross_subject: trained on anna, ben, chris, test subjects dora scored; 1 seed (28)"
    )


def test_the_caption_names_groups_that_were_held_out_together(study_of: StudyOf) -> None:
    _, plan = study_of(
        lambda _, t: Record(trial_id=t.trial_id, status="PLANNED"), ["vicreg"], folds=("anna+ben", "chris"), seeds=(3,)
    )
    assert "held out in turn (anna+ben, chris), the others of anna, ben, chris train" in protocol(plan)


def test_points_are_called_by_their_system_and_what_else_is_searched(study_of: StudyOf) -> None:
    _, plan = study_of(
        lambda _, t: Record(trial_id=t.trial_id, status="PLANNED"),
        ["vicreg", "cmc"],
        {"finetune.labels": [0.1, 1.0], "pretrain.hidden_classes": [["slow"]]},
    )
    assert list(names(plan).values()) == [
        f"{system} labels={share} hidden_classes=['slow']" for system in ("vicreg", "cmc") for share in (0.1, 1.0)
    ]
