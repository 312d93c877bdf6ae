"""Trials of a study that pre-train as one model: who does, and that each comes to what it comes to alone."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import small
import yaml

from mmssl import Recordings
from mmssl.errors import UserError
from mmssl.search.optuna_study import OptunaStudy
from mmssl.search.plan import Dataset, Plan, make_plan
from mmssl.search.searcher import PlanSearcher
from mmssl.search.space import Space
from mmssl.search.together import groups

GRID = {"objective.lambda": [1.0, 10.0], "pretrain.lr": [1e-4, 1e-3], "finetune.lr": [0.001, 0.01]}


@pytest.fixture
def planned(tiny: Recordings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", "1")

    def plan(text: str) -> Plan:
        space = Space(name="s", **yaml.safe_load(text))
        bases = space.bases("tiny")
        data = Dataset(
            source="tiny.parquet", folder=None, name="tiny", fingerprint=tiny.fingerprint, recordings=36,
            train_subjects=("anna", "ben", "chris"), test_subjects=("dora",),
        )  # fmt: skip
        return make_plan("one", space, bases, data, [("anna",), ("ben", "chris")], space.points(bases))

    return plan


def test_those_alike_are_taken_one_for_each_pre_training(planned: Callable[..., Plan], tiny: Recordings) -> None:
    plan = planned(small.space(2, grid=GRID, seeds=[1, 2]))
    found = groups(plan, tiny, {}, 3)
    # On each fold, which hold out differently many, at each rate: two lambdas and two seeds.
    members = [(group.lead, *group.companions) for group in found]
    assert sorted(map(len, members)) == [3] * 4, "a fourth has nobody left to train with"
    for group, trials in zip(found, members, strict=True):
        assert len({trial.held_out for trial in trials}) == 1
        assert len({trial.point["pretrain.lr"] for trial in trials}) == 1
        assert {trial.point["finetune.lr"] for trial in trials} == {0.001}, "the others take theirs"
        assert len(group.waiting) == 3 + 2, "and wait for it"
    ended = {trial.trial_id for trial in plan.trials if trial.seed == 1}
    assert all(group.lead.seed == 2 for group in groups(plan, tiny, ended, 3))
    assert groups(plan, tiny, {}, 1) == []


def test_those_that_wait_begin_when_their_lead_has_ended(
    planned: Callable[..., Plan], tiny: Recordings, tmp_path: Path
) -> None:
    plan = planned(small.space(2, grid={"objective.lambda": [1.0, 10.0], "finetune.lr": [0.001, 0.01]}))
    found = groups(plan, tiny, {}, 2)
    searcher = PlanSearcher(plan, OptunaStudy(tmp_path / "optuna.db", plan, {}), {}, groups=found)
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert [first["trial_id"], second["trial_id"]] == [group.lead.trial_id for group in found]
    assert [len(one["companions"]) for one in (first, second)] == [1, 1]
    assert searcher.suggest("c") is None, "all others wait"
    searcher.put_back(plan.trial(first["trial_id"]))  # Its worker died.
    searcher.on_trial_complete("a")
    assert searcher.suggest("d") == first
    assert searcher.suggest("e") is None
    searcher.on_trial_complete("d")
    begun = [one for word in "fgh" if isinstance(one := searcher.suggest(word), dict)]
    assert {one["trial_id"] for one in begun} == found[0].waiting
    assert [one["companions"] for one in begun] == [[], [], []]
    searcher.on_trial_complete("b")
    rest = [one["trial_id"] for word in "ijk" if isinstance(one := searcher.suggest(word), dict)]
    assert set(rest) == found[1].waiting


@pytest.mark.parametrize(
    "knobs",
    [{"pretrain.precision": "bfloat16"}, {"pretrain.hidden_classes": ["slow"]}, {"pretrain.epochs": 0}],
    ids=str,
)
def test_some_train_alone(planned: Callable[..., Plan], tiny: Recordings, knobs: dict[str, object]) -> None:
    plan = planned(small.space(2, knobs, grid=GRID))
    assert groups(plan, tiny, {}, 4) == []


def test_without_a_place_for_what_one_trains_for_others_it_is_refused(
    planned: Callable[..., Plan], tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(small.space(2, grid=GRID))
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", "0")
    with pytest.raises(UserError, match=r"--together 4 wants \$MMSSL_PRETRAINED_GB above 0"):
        groups(plan, tiny, {}, 4)


@pytest.mark.ray
def test_a_study_gives_what_it_gives_apart(tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    # The third point diverges, and its group goes on without it.
    grid = {"objective.mu": [1.0, 25.0, 3e38], "finetune.epochs": [2, 3]}
    (tmp_path / "space.yaml").write_text(small.space(3, {"pretrain.lr": 3e-5}, grid=grid, folds=[["anna"], ["ben"]]))
    rows: dict[str, pd.DataFrame] = {}
    for name, together in (("apart", 1), ("together", 8)):
        done = subprocess.run(
            small.tune(
                *("launch", "--space", tmp_path / "space.yaml", "--dataset", tmp_path / "tiny.parquet"),
                *("--storage", tmp_path / name, "--name", "study", "--together", together),
            ),
            capture_output=True,
            text=True,
            env={**os.environ, "NO_COLOR": "1", "MMSSL_PRETRAINED_GB": "1"},
        )
        assert done.returncode == 0, done.stderr
        rows[name] = pd.read_parquet(tmp_path / name / "study" / "trials.parquet").set_index("trial_id")
    apart, together = rows["apart"], rows["together"]
    assert together["status"].value_counts().to_dict() == {"COMPLETE": 8, "DIVERGED": 4}
    assert apart["pretrained_together"].isna().all()
    complete = together[together["status"] == "COMPLETE"]
    assert set(complete["pretrained_together"]) == {6}, "two folds of nine recordings, three points"
    assert complete["pretraining_reused"].sum() == 7, "one trained for all"
    for column in ("status", "cause", "pretraining_id"):
        assert together[column].equals(apart[column])
    for column in ("train.loss", "train.invariance", "train.covariance", "embedding.imu.effective_rank"):
        pd.testing.assert_series_equal(together[column], apart[column], rtol=1e-3)
    epochs = pd.read_parquet(tmp_path / "together" / "study" / "epochs.parquet")
    curves = epochs[epochs["phase"] == "pretrain"].groupby("trial_id")["epoch"].apply(list)
    assert all(curves[trial_id] == [1, 2, 3] for trial_id in complete.index)
