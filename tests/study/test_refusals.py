"""What a study would run in vain is refused before it starts, with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from small import created

from mmssl import Recordings, UserError
from mmssl.search.pruning import _fold_rule
from mmssl.study.plan import Plan, make_plan
from mmssl.study.planning import extend_plan, plan_study
from mmssl.study.refusals import refuse
from mmssl.study.space import Space, available, load

Planned = Callable[..., Plan]
TWO = [["anna"], ["ben"]]


@pytest.fixture
def planned(tiny: Recordings, tmp_path: Path) -> Planned:
    """Plans a study of a space on the tiny recordings."""
    file = tmp_path / "tiny.parquet"
    tiny.save(file)

    def plan(**entries: Any) -> Plan:
        space = Space.model_validate({"name": "s", "folds": TWO, **entries})
        return plan_study("study", space, tiny, str(file), None, [])

    return plan


def refused(planned: Planned, **entries: Any) -> str:
    with pytest.raises(UserError) as caught:
        planned(**entries)
    return str(caught.value)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"grid": {"objective.temperature": [0.1, 0.2]}}, "grid.objective.temperature: no point depends on it "
         "(objective.name is vicreg): take it out"),
        ({"grid": {"objective.beta": [0.1, 0.2]}, "systems": ["cmc", "vicreg_imu"]},
         "(objective.name is cmc; objective.name is vicreg)"),
        ({"grid": {"objective.lambda": [1.0, 2.0], "guide.epochs": [1, 2]}},
         "grid.guide.epochs: no point depends on it"),
        ({"grid": {"augment.skeleton.jitter.strength": [0.1, 0.2]}},
         "(augment.skeleton.jitter.probability is 0): take it out"),
        ({"grid": {"augment.skeleton.jitter.probability": [0.1, 0.2]}, "systems": ["vicreg_imu"]},
         "(data.modalities is imu): take it out"),
        ({"grid": {"encoder.imu.layers": [1, 2]}, "systems": ["simclr_skeleton"]}, "(data.modalities is skeleton)"),
        ({"grid": {"pretrain.lr": [0.1, 0.2], "finetune.lr": [0.1, 0.2]}, "systems": ["untrained", "supervised"]},
         "grid.pretrain.lr: no point depends on it (pretrain.epochs is 0): take it out"),
        ({"grid": {"pretrain.schedule": ["constant", "cosine"]}, "fixed": {"pretrain.epochs": 0}},
         "(pretrain.epochs is 0)"),
        ({"grid": {"finetune.label_draw": [0, 1]}}, "(finetune.labels is 1)"),
        ({"grid": {"encoder.projector.width": [8, 16]}, "systems": ["supervised"]},
         "(pretrain.epochs is 0 and finetune.encoders is trained)"),
        ({"ranges": {"objective.beta": {"low": 0.1, "high": 0.2}}, "sampler": "random", "budget": 3},
         "ranges.objective.beta: no point depends on it (objective.name is vicreg)"),
        ({"ranges": {"augment.crop.strength": {"low": 0.1, "high": 0.2}}, "sampler": "random", "budget": 3,
          "fixed": {"augment.crop.probability": 0}}, "(augment.crop.probability is 0)"),
    ],
)  # fmt: skip
def test_a_knob_that_no_point_depends_on_is_refused(planned: Planned, entries: dict[str, Any], said: str) -> None:
    assert said in refused(planned, **entries)


@pytest.mark.parametrize(
    "entries",
    [
        {"grid": {"objective.temperature": [0.1, 0.2]}, "systems": ["cmc_cmkm"]},
        {"grid": {"objective.lambda": [1.0, 2.0]}, "systems": ["vicreg", "untrained"],
         "where": 'system != "untrained" or objective.lambda == 1'},
        {"grid": {"finetune.labels": [0.5, 1.0], "finetune.label_draw": [0, 1]},
         "where": "labels < 1 or label_draw == 0"},
        {"grid": {"augment.crop.strength": [0.1, 0.2], "augment.crop.probability": [0.0, 0.5]},
         "where": "augment.crop.probability > 0 or augment.crop.strength == 0.1"},
        {"ranges": {"augment.crop.strength": {"low": 0.1, "high": 0.2}}, "sampler": "random", "budget": 3,
         "grid": {"augment.crop.probability": [0.0, 0.5]}},
        {"ranges": {"pretrain.epochs": {"low": 0, "high": 2}, "objective.mu": {"low": 1.0, "high": 2.0}},
         "sampler": "random", "budget": 3},
        # Variants are named, and what comes to the same in one system need not in another.
        {"variants": {"plain": {}, "cut": {"augment.crop.probability": 0.7}}, "systems": ["untrained", "vicreg"]},
    ],
)  # fmt: skip
def test_a_knob_that_some_point_depends_on_is_not(planned: Planned, entries: dict[str, Any]) -> None:
    planned(**entries)


def test_points_that_would_train_the_same_are_refused(planned: Planned) -> None:
    grid = {"finetune.labels": [0.5, 1.0], "finetune.label_draw": [0, 1]}
    assert refused(planned, grid=grid).endswith(
        "finetune.labels=1.0 finetune.label_draw=0 and finetune.labels=1.0 finetune.label_draw=1 would train the same "
        "(finetune.labels is 1): leave all such points but one out with a condition under `where`"
    )
    assert "untrained objective.lambda=1.0 and untrained objective.lambda=2.0 would train the same" in refused(
        planned, grid={"objective.lambda": [1.0, 2.0]}, systems=["vicreg", "untrained"]
    )


SMALL = {"grid": {"objective.lambda": [1.0, 2.0]}, "fixed": {"pretrain.epochs": 20}}


@pytest.mark.parametrize(("threshold", "seeds"), [(0.1, 1), (0.1, 2), (0.3, 2), (0.125, 2), (0.126, 2), (0.01, 4)])
def test_pruning_by_folds_is_refused_where_it_can_give_nothing_up(
    planned: Planned, threshold: float, seeds: int
) -> None:
    """Whether it can is tried: a point that is worse everywhere, before its last trial, beside a complete one."""
    study = optuna.create_study(pruner=_fold_rule(threshold), direction="maximize")
    best, worse = study.ask(), study.ask()
    count = 2 * seeds
    for step in range(count):
        best.report(0.9, step)
    study.tell(best, 0.9, state=TrialState.COMPLETE)
    fires = False
    for step in range(count - 1):
        worse.report(0.1 + step / 100, step)
        fires |= worse.should_prune()
    entries = {**SMALL, "prune": {"folds": threshold}, "seeds": list(range(seeds))}
    if fires:
        planned(**entries)
    else:
        assert f"prune.folds: {threshold:g} gives nothing up" in refused(planned, **entries)


def test_a_probe_that_is_never_due_or_compared_is_refused(planned: Planned) -> None:
    assert "prune.every: 20 epochs to a probe, and pre-training has 20: give fewer" in refused(
        planned, **SMALL, prune={"probe": "halving", "every": 20}
    )
    planned(**SMALL, prune={"probe": "halving", "every": 19})
    assert "prune: 2 points; it needs 5 to give one up" in refused(
        planned, **SMALL, prune={"probe": "median", "every": 5}
    )
    more = {"grid": {"objective.lambda": [1.0, 2.0, 3.0, 4.0, 5.0]}, "fixed": SMALL["fixed"]}
    planned(**more, prune={"probe": "median", "every": 5})


def test_too_little_to_train_on_is_refused_before_the_start(planned: Planned, tiny: Recordings) -> None:
    hidden = {"grid": {"pretrain.hidden_classes": [[], ["slow", "middle"]]}}
    planned(**hidden)
    one_class = tiny.where(lambda row: row.label == "slow" or row.subject in ("ben", "dora"))
    space = Space.model_validate({"name": "s", "folds": [["ben"]], "grid": {"finetune.labels": [0.01, 1.0]}})
    plan = planned(folds=[["ben"]], grid={"finetune.labels": [0.01, 1.0]}).model_copy(update={"space": space})
    with pytest.raises(UserError, match="fold ben: 1 label to train on: batch statistics need 2 at least"):
        refuse(plan, one_class)


def test_what_a_study_is_extended_by_is_judged_as_a_new_study(planned: Planned, tmp_path: Path) -> None:
    study = created(tmp_path / "studies", planned(grid={"finetune.labels": [0.4, 0.5], "finetune.label_draw": [0, 1]}))
    before = study.plan()
    with pytest.raises(UserError, match=r"label_draw=0 and finetune\.labels=1\.0 finetune\.label_draw=1 would train"):
        extend_plan(study, values={"finetune.labels": [1.0]})
    with pytest.raises(UserError, match="nobody is left to train"):
        extend_plan(study, folds=[["anna", "ben", "chris"]])
    assert study.plan() == before, "nothing of it is planned"
    with study.locked():
        extend_plan(study, values={"finetune.labels": [0.6]})
    assert study.plan().total == before.total * 3 // 2

    hidden = created(tmp_path / "hidden", planned(grid={"pretrain.hidden_classes": [[], ["slow"]]}))
    with pytest.raises(UserError, match="0 recordings to train on"):
        extend_plan(hidden, values={"pretrain.hidden_classes": [["slow", "middle", "fast"]]})


def test_a_study_planned_with_what_is_refused_today_is_extended_all_the_same(planned: Planned, tmp_path: Path) -> None:
    """Its table is read with it; nothing new is wrong."""
    plan = planned(grid={"finetune.labels": [0.4, 0.5], "finetune.label_draw": [0, 1]})
    grid = {"finetune.labels": [0.4, 1.0], "finetune.label_draw": [0, 1]}
    older = make_plan("older", plan.space.model_copy(update={"grid": grid}), plan.bases, plan.dataset, plan.folds,
                      plan.space.model_copy(update={"grid": grid}).points(plan.bases))  # fmt: skip
    study = created(tmp_path / "studies", older)
    with study.locked():
        extend_plan(study, seeds=[29])
    assert study.plan().total == 2 * older.total


@pytest.mark.parametrize("name", [space.name for space in available() if space.source == "shipped"])
def test_no_space_that_comes_along_is_refused(name: str, tiny: Recordings, tmp_path: Path) -> None:
    file = tmp_path / "tiny.parquet"
    tiny.save(file)
    space = load(name)
    space = space.model_copy(update={"folds": "leave_one_subject_out"})
    if "pretrain.hidden_classes" in space.grid:
        space = space.model_copy(update={"grid": {"pretrain.hidden_classes": [[], ["slow"]]}})
    plan_study("study", space, tiny, str(file), None, [])


@pytest.mark.parametrize("who", ["anna", "dora"])
def test_nobody_who_is_scored_pre_trains_under_another_spelling(tiny: Recordings, tmp_path: Path, who: str) -> None:
    """anna is held out, and dora tests; ben does neither."""
    first = next(row for row in tiny.rows if row.subject == who)

    def planned(name: str) -> Plan:
        """With one of their recordings under this name and without a label."""
        unlabelled = first.model_copy(update={"subject": name, "label": ""})
        rows = [unlabelled if row == first else row for row in tiny.rows]
        changed = Recordings(tiny.description, rows, skeleton=tiny.arrays("skeleton"), imu=tiny.arrays("imu"))
        space = Space.model_validate({"name": "s", "folds": [["anna"]], "grid": {"objective.mu": [1, 2]}})
        return plan_study("study", space, changed, str(tmp_path / "tiny.parquet"), None, [])

    with pytest.raises(UserError, match=f"subject '{who.title()}' would pre-train, and '{who}' is scored"):
        planned(who.title())
    for other in (who, "Ben", "eve", ""):
        planned(other)
