"""Trials of a study that pre-train as one model: who does, and that each comes to what it comes to alone."""

import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import small
import torch
import yaml

from mmssl import Recordings
from mmssl.errors import UserError
from mmssl.search.queue import TrialQueue
from mmssl.search.searcher import PlanSearcher
from mmssl.search.together import groups, needs
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial, make_plan
from mmssl.study.space import Space
from mmssl.training.kept import pretraining_name
from mmssl.training.prepared import Prepared
from mmssl.training.together import with_others
from mmssl.training.trial import pretrained

GRID = {"objective.lambda": [1.0, 10.0], "pretrain.lr": [1e-4, 1e-3], "finetune.lr": [0.001, 0.01]}


@pytest.fixture
def planned(tiny: Recordings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Plan]:
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", "1")

    def plan(text: str) -> Plan:
        space = Space(name="s", **yaml.safe_load(text))
        bases = space.bases("tiny")
        data = small.dataset_of(tiny)
        return make_plan("one", space, bases, data, [("anna",), ("ben", "chris")], space.points(bases))

    return plan


def test_those_alike_are_taken_one_for_each_pre_training(planned: Callable[..., Plan], tiny: Recordings) -> None:
    plan = planned(small.space(2, grid=GRID, seeds=[1, 2]))
    found = groups(plan, tiny, {}, 3)
    # On each fold, which hold out differently many, at each rate: two lambdas and two seeds.
    members = [(group.lead, *group.others) for group in found]
    assert sorted(map(len, members)) == [3] * 4, "a fourth has nobody left to train with"
    for trials in members:
        assert len({trial.held_out for trial in trials}) == 1
        assert len({trial.point["pretrain.lr"] for trial in trials}) == 1
        assert {trial.point["finetune.lr"] for trial in trials} == {0.001}, "the others take theirs"
    ended = {trial.trial_id for trial in plan.trials if trial.seed == 1}
    assert all(group.lead.seed == 2 for group in groups(plan, tiny, ended, 3))
    assert groups(plan, tiny, {}, 1) == []


def test_those_that_wait_begin_when_their_lead_has_ended(planned: Callable[..., Plan], tiny: Recordings) -> None:
    plan = planned(small.space(2, grid={"objective.lambda": [1.0, 10.0], "finetune.lr": [0.001, 0.01]}))
    found, needed = groups(plan, tiny, {}, 2), needs(plan, lambda trial: False)
    waiting = [
        {trial.trial_id for trial in plan.trials if trial.held_out == group.lead.held_out} - {group.lead.trial_id}
        for group in found
    ]
    searcher = PlanSearcher(plan, TrialQueue(plan.trials), groups=found, needs=needed)
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert [first["trial_id"], second["trial_id"]] == [group.lead.trial_id for group in found]
    assert [len(one["others"]) for one in (first, second)] == [1, 1]
    assert searcher.suggest("c") is None, "all others wait"
    searcher.queue.put_back(plan.trial(first["trial_id"]))  # Its worker died.
    searcher.on_trial_complete("a")
    assert searcher.suggest("d") == first
    assert searcher.suggest("e") is None
    searcher.on_trial_complete("d")
    begun = [one for word in "fgh" if isinstance(one := searcher.suggest(word), dict)]
    assert {one["trial_id"] for one in begun} == waiting[0]
    assert [one["others"] for one in begun] == [[], [], []]
    searcher.on_trial_complete("b")
    rest = [one["trial_id"] for word in "ijk" if isinstance(one := searcher.suggest(word), dict)]
    assert set(rest) == waiting[1]


@pytest.mark.parametrize("system", ["vicreg", "cmc_cmkm"])
def test_those_at_work_do_not_wait_for_each_other_while_there_is_other_work(
    planned: Callable[..., Plan], system: str
) -> None:
    """16 at once, four heads on each pre-training: in the plan's order half of them would wait."""
    heads = [0.001, 0.002, 0.003, 0.004]
    knob = "objective.lambda" if system == "vicreg" else "objective.temperature"
    grid = {knob: [0.1, 0.2, 0.3, 0.4], "finetune.lr": heads}
    plan = planned(small.space(2, {"guide.epochs": 1}, systems=[system], grid=grid, seeds=[1, 2, 3, 4]))
    needed = needs(plan, lambda trial: False)
    assert len(plan.trials) == 4 * 4 * 4 * 2

    def first_wave(**more: Any) -> list[PlannedTrial]:
        searcher = PlanSearcher(plan, TrialQueue(plan.trials), **more)
        for number in range(16):
            assert isinstance(searcher.suggest(f"ray{number}"), dict)
        return list(searcher.planned.values())

    in_order, at_work = first_wave(), first_wave(needs=needed)
    own = [len({needed(trial)[-1] for trial in trials}) for trials in (in_order, at_work)]
    assert own == [8, 16], "the plan's first point has 4 seeds x 2 folds, and its second the same"
    names = [name for trial in at_work for name in needed(trial)]
    assert len(names) == len(set(names)), "none needs what another does"


def test_where_all_wait_they_are_handed_out_and_what_is_trained_keeps_nobody_waiting(
    planned: Callable[..., Plan],
) -> None:
    grid = {"finetune.lr": [0.001, 0.002, 0.003], "objective.mu": [1.0, 2.0]}
    plan = planned(small.space(2, grid=grid))
    trials = [trial for trial in plan.trials if trial.held_out == ("anna",)]
    assert [trial.point["objective.mu"] for trial in trials] == [1, 2, 1, 2, 1, 2], "a pre-training for each mu"
    ended = {trial.trial_id for trial in plan.trials if trial not in trials}
    searcher = PlanSearcher(
        plan,
        TrialQueue([trial for trial in plan.trials if trial.trial_id not in ended]),
        needs=needs(plan, lambda trial: False),
    )

    def handed(word: str) -> int:
        given = searcher.suggest(word)
        assert isinstance(given, dict)
        return [trial.trial_id for trial in trials].index(given["trial_id"])

    assert [handed("a"), handed("b")] == [0, 1]
    assert handed("c") == 2, "all wait: the first of them goes on as soon as it may"
    searcher.on_trial_complete("c", error=True)
    searcher.queue.put_back(trials[2])  # Its worker died.
    searcher.on_trial_result("b", {"epochs": [{"phase": "pretrain", "epoch": 2}]})
    assert handed("d") == 2
    searcher.on_trial_result("b", {"epochs": [{"phase": "finetune", "epoch": 1}]})
    assert handed("e") == 3, "what it needs is there"
    searcher.on_trial_complete("a")
    assert handed("f") == 5
    assert handed("g") == 4
    assert searcher.suggest("h") is None
    for word in "bdefg":
        searcher.on_trial_complete(word)
    assert searcher.suggest("h") == "FINISHED"


def test_what_is_not_shared_keeps_nobody_waiting(planned: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(small.space(2, systems=["vicreg", "supervised"]))
    needed = needs(plan, lambda trial: False)
    assert {(plan.system(trial), len(needed(trial))) for trial in plan.trials} == {("vicreg", 1), ("supervised", 0)}
    probed = needs(plan, lambda trial: True)
    assert all(not probed(trial) for trial in plan.trials)
    guided = planned(small.space(2, {"guide.epochs": 1}, systems=["cmc_cmkm"]))
    first = guided.trials[0]
    *guides, own = needs(guided, lambda trial: False)(first)
    assert own == pretraining_name(guided.recipe(first), guided.dataset.fingerprint)
    assert len(set(guides)) == 2
    assert needs(guided, lambda trial: True)(first) == guides, "of one that is probed they are kept all the same"
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", "0")
    assert all(not needs(plan, lambda trial: False)(trial) for trial in plan.trials)


def test_two_groups_that_want_the_same_in_another_order_do_not_wait_for_each_other(
    planned: Callable[..., Plan], tiny: Recordings, tmp_path: Path
) -> None:
    """Two studies of one storage, by grids 1, 25 and 25, 1: each trains its first, then wants the other's."""
    plan = planned(small.space(1, grid={"objective.mu": [1.0, 25.0]}))
    one, two = (trial for trial in plan.trials if trial.held_out == ("anna",))
    split = plan.splits(tiny)[one.held_out]
    both, made = threading.Barrier(2), list[str]()

    def train(lead: PlannedTrial, other: PlannedTrial) -> None:
        study, recipe = Study(tmp_path, lead.trial_id), plan.recipe(lead)

        def cache(name: str, make: Callable[[], Mapping[str, bytes]], *, wait: bool = True) -> Mapping[str, bytes]:
            def meet() -> Mapping[str, bytes]:
                made.append(name)
                if len(made) <= 2:
                    both.wait(30)
                return make()

            return study.pretrained.cached(name, meet, wait=wait)

        prepared = Prepared.of(tiny, recipe.data.steps, recipe.data.modalities)
        pretrained(
            recipe, prepared, split, on_epoch=lambda epoch: None, device=torch.device("cpu"), cache=cache,
            by=with_others([(plan.recipe(other), split)], prepared, torch.device("cpu"), cache),
        )  # fmt: skip

    threads = [threading.Thread(target=train, args=pair, daemon=True) for pair in ((one, two), (two, one))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [thread.is_alive() for thread in threads] == [False, False]
    assert sorted(made) == sorted(pretraining_name(plan.recipe(t), tiny.fingerprint) for t in (one, two)), "each once"


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
@pytest.mark.slow
def test_a_study_gives_what_it_gives_apart(tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    # The third point diverges, and its group goes on without it.
    grid = {"objective.mu": [1.0, 25.0, 3e38], "finetune.epochs": [2, 3]}
    (tmp_path / "space.yaml").write_text(small.space(3, {"pretrain.lr": 3e-5}, grid=grid, folds=[["anna"], ["ben"]]))
    rows: dict[str, pd.DataFrame] = {}
    for name, together in (("apart", 1), ("together", 8)):
        done = subprocess.run(
            small.tune(
                *("launch", tmp_path / "space.yaml", "--dataset", tmp_path / "tiny.parquet"),
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
