"""When a trial that was run again counts as the same."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small
import torch

from mmssl import Recordings
from mmssl.data.protocols import split
from mmssl.environment import digest_of, machine, packages, programs
from mmssl.errors import UserError
from mmssl.search.rerun import Differences, Rerun, differences, find_trial, original, rerun
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, make_plan
from mmssl.study.record import Record
from mmssl.study.space import Space
from mmssl.training.kept import pretraining_name
from mmssl.training.prepared import Prepared
from mmssl.training.trial import Outcome, run_trial

THEN = {"status": "COMPLETE", "cause": "", "val.accuracy": 0.9, "val.f1": 0.88, "train.loss": 20.0}
OTHER = {"host": ("there", "here")}
ON_GPU = Differences({}, {}, gpu=True)


@pytest.mark.parametrize(
    ("now", "guesses", "changed", "same"),
    [
        ({}, 0, {}, True),
        ({"train.loss": 20.0000001}, 0, {}, False),
        ({}, 1, {}, False),
        ({"train.loss": 20.0000001}, 2, ON_GPU, True),
        ({"val.f1": 0.85}, 2, ON_GPU, False),
        ({"train.loss": 21.0, "val.accuracy": 0.91}, 3, OTHER, True),
        ({"val.accuracy": 0.93}, 3, OTHER, False),
        ({"val.f1": 0.85}, 3, OTHER, False),
        ({"status": "DIVERGED"}, 0, OTHER, False),
    ],
)
def test_to_the_bit_where_nothing_has_changed_else_by_its_scores(
    plan_of: Callable[..., Plan], now: dict[str, Any], guesses: int, changed: Any, same: bool
) -> None:
    trial = plan_of([1.0], [2.0]).trials[0]
    differences = changed if isinstance(changed, Differences) else Differences(changed, {"git.clean": (True, False)})
    assert Rerun(trial, THEN, {**THEN, **now}, differences, guesses).same(0.02) is same


def test_a_trial_is_found_by_the_beginning_of_its_id(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0, 5.0], [2.0, 10.0])
    wanted = plan.trials[3]
    assert find_trial(plan, wanted.trial_id[:9]) == wanted
    with pytest.raises(UserError, match=r"trials of study .* begin so"):
        find_trial(plan, "")
    with pytest.raises(UserError, match="trial 000000000"):
        find_trial(plan, "000000000")


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory, tiny: Recordings) -> tuple[Study, Plan, Record]:
    """A study of one trial, which ran with two threads, as its worker would have written it."""
    knobs = {**small.KNOBS, "pretrain.epochs": 2}
    space = Space(name="one", systems=["vicreg"], seeds=[3])
    bases = {name: base.with_knobs(knobs) for name, base in space.bases("tiny").items()}
    dataset = small.dataset_of(tiny)
    plan = make_plan("one", space, bases, dataset, [("anna",)], space.points(bases))
    study = Study(tmp_path_factory.mktemp("rerun"), "one")
    study.create(plan)
    (trial,) = plan.trials
    recipe = plan.recipe(trial)
    torch.set_num_threads(2)
    outcome = run_trial(recipe, Prepared.of(tiny, 16, recipe.data.modalities), split(tiny, recipe.data))
    torch.set_num_threads(1)
    facts = {
        **programs(), **machine("cpu"), **outcome.metrics, "threads": 2,
        "pretraining_id": pretraining_name(recipe, tiny.fingerprint),
    }  # fmt: skip
    predictions = [{**row, "confidence": float(row["confidence"])} for row in outcome.predictions]
    record = Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts, predictions=predictions)
    study.keep_packages(facts["packages"], packages())
    study.keep(record)
    return study, plan, study.record(trial.trial_id)


def test_with_the_threads_of_then_it_comes_to_the_same_bits(
    ended: tuple[Study, Plan, Record], tiny: Recordings
) -> None:
    study, plan, record = ended
    (trial,) = plan.trials
    changed = differences(study, plan, trial, original(study, plan, trial))
    assert changed == Differences({}, {})
    assert torch.get_num_threads() == 1
    found = rerun(plan, trial, record, tiny, changed)
    assert torch.get_num_threads() == 1
    assert found.now["val.accuracy"] == record.facts["val.accuracy"]
    assert (found.same(0), found.guesses) == (True, 0)


@pytest.mark.parametrize("exact", [True, False])
def test_a_record_whose_score_was_altered_does_not_come_again(
    ended: tuple[Study, Plan, Record], tiny: Recordings, exact: bool
) -> None:
    _, plan, record = ended
    by = 1e-12 if exact else 0.03
    altered = record.model_copy(update={"facts": {**record.facts, "val.f1": record.facts["val.f1"] + by}})
    changed = Differences({} if exact else OTHER, {})
    found = rerun(plan, plan.trials[0], altered, tiny, changed)
    assert not found.same(0.02)
    assert [name for name in found.then if found.then[name] != found.now[name]] == ["val.f1"]


def test_a_number_that_is_not_finite_comes_again(
    ended: tuple[Study, Plan, Record], tiny: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the cluster learnability of fewer than three recordings, which a record keeps as none."""
    study, plan, record = ended
    (trial,) = plan.trials
    numbers = {"val.accuracy": 0.5, "features.imu.cluster_learnability": math.nan}
    other = record.model_copy(update={"facts": {**record.facts, **numbers, "val.f1": None}, "predictions": []})
    kept = Record.model_validate_json(other.model_dump_json())
    monkeypatch.setattr("mmssl.search.rerun.run_trial", lambda *given, **how: Outcome("COMPLETE", metrics=numbers))
    scores = {name: None for name in kept.facts if name.endswith((".accuracy", ".f1")) and name not in numbers}
    kept = kept.model_copy(update={"facts": {**kept.facts, **scores}})
    found = rerun(plan, trial, kept, tiny, differences(study, plan, trial, kept))
    assert (found.now["features.imu.cluster_learnability"], found.same(0)) == (None, True)


def test_what_has_changed_since_is_told_apart_by_whether_it_computes(
    ended: tuple[Study, Plan, Record], tmp_path: Path
) -> None:
    _, plan, record = ended
    study = Study(tmp_path, "one")
    study.create(plan)
    installed = {**packages(), "numpy": "1.0", "gone": "7", "rich": "0"}
    study.keep_packages(digest_of(installed), installed)
    then = {
        **record.facts,
        "packages": digest_of(installed),
        "hardware.cpu": "another",
        "version.ray": "1",
        "hardware.memory": 1,
    }
    changed = differences(study, plan, plan.trials[0], record.model_copy(update={"facts": then}))
    assert changed.decisive == {
        "hardware.cpu": ("another", machine("cpu")["hardware.cpu"]),
        "package numpy": ("1.0", packages()["numpy"]),
    }
    assert changed.others == {
        "version.ray": ("1", programs()["version.ray"]),
        "package gone": ("7", None),
        "package rich": ("0", packages()["rich"]),
    }
    assert not changed.exact


def test_what_an_older_version_did_not_record_may_have_changed(ended: tuple[Study, Plan, Record]) -> None:
    study, plan, record = ended
    old = {name: value for name, value in record.facts.items() if not name.startswith(("hardware", "pack", "determ"))}
    changed = differences(study, plan, plan.trials[0], record.model_copy(update={"facts": old}))
    assert {"packages", "hardware.cpu", "determinism.algorithms"} <= set(changed.decisive)
    assert all(then is None for then, _ in changed.decisive.values())
