"""What a study would run in vain is refused before it starts, with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from small import created

from mmssl import Recordings, UserError
from mmssl.data.description import Signal
from mmssl.search.pruning import _fold_rule
from mmssl.study.plan import Plan, make_plan
from mmssl.study.planning import extend_plan, plan_study, plan_warnings
from mmssl.study.refusals import refuse
from mmssl.study.space import Space, at_point, available, load

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


def warned(planned: Planned, recordings: Recordings, **entries: Any) -> list[str]:
    return [finding.what for finding in plan_warnings(planned(**entries), recordings)]


LAMBDAS: dict[str, Any] = {"grid": {"objective.lambda": [1.0, 2.0]}}


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({**LAMBDAS, "fixed": {"objective.beta": 0.1, "objective.nu": 2}}, ["objective.beta is set, and no point "
         "depends on it (objective.name is vicreg)"]),
        ({"systems": ["untrained", "simclr_imu"], "fixed": {"objective.mu": 3, "augment.skeleton.jitter.strength": 1}},
         ["augment.skeleton.jitter.strength is set, and no point depends on it (pretrain.epochs and finetune.views are "
          "0; data.modalities is imu)", "objective.mu is set, and no point depends on it (pretrain.epochs is 0; "
          "objective.name is simclr)"]),
        # Masked pre-training sets its own weights, which are not those that are set for all.
        ({"systems": ["masked", "cmc"], "fixed": {"objective.lambda": 3}}, ["objective.lambda is set, and no point "
         "depends on it (system masked sets it; objective.name is cmc)"]),
        ({"systems": ["vicreg", "cmc"], "fixed": {"objective.temperature": 3}}, []),
        ({"variants": {"plain": {}, "pulled": {"finetune.variance": 1}}}, ["variant pulled: finetune.variance is set, "
         "and no point depends on it (finetune.encoders is frozen)"]),
        ({"sampler": "random", "budget": 3, "ranges": {"objective.mu": {"low": 1.0, "high": 2.0}},
          "fixed": {"guide.lr": 1}}, ["guide.lr is set, and no point depends on it (objective.name is vicreg)"]),
    ],
)  # fmt: skip
def test_what_is_set_and_read_by_no_point_is_said(
    planned: Planned, tiny: Recordings, entries: dict[str, Any], said: list[str]
) -> None:
    assert warned(planned, tiny, **entries) == said


@pytest.mark.parametrize("name", [one.name for one in available()])
def test_shipped_spaces_set_nothing_in_vain(tiny: Recordings, name: str) -> None:
    # By what each point's recipe says of itself, for a space without the knobs of classes that `tiny` lacks.
    space = load(name)
    bases = space.bases("tiny")
    read = {
        knob
        for point in space.points(bases) or [{}]
        for knob in space.fixed
        if knob not in (at_point(bases, point) if point else next(iter(bases.values()))).unread()
    }
    assert read == set(space.fixed)


def test_sensors_that_do_not_turn_are_not_searched_for_their_angle(planned: Planned, tiny: Recordings) -> None:
    angles = {"grid": {"augment.imu.rotate.strength": [10.0, 40.0]}}
    planned(**angles)
    [(name, signal)] = [(name, one) for name, one in tiny.description.modalities.items() if isinstance(one, Signal)]
    loose = {**tiny.description.modalities, name: signal.model_copy(update={"sensors": ()})}
    emg = Recordings(tiny.description.model_copy(update={"modalities": loose}), tiny.rows, tiny.skeleton, tiny.imu)
    space = Space.model_validate({"name": "s", "folds": TWO, **angles})
    with pytest.raises(UserError, match=r"no point depends on it .no sensor here has x, y and z that turn together"):
        plan_study("study", space, emg, "emg.parquet", None, [])


def test_values_that_come_to_the_same_are_said(planned: Planned, tiny: Recordings) -> None:
    """18 recordings train in each fold, 6 of each of 3 classes: a batch of 18 holds them all, 0.25 of 6 is 2."""
    grid: dict[str, list[Any]] = {"pretrain.batch_size": [6, 9, 10, 18, 64], "pretrain.share": [0.5, 1.0]}
    half = {9: 1, 10: 1, 18: 1, 64: 1, 6: 2}  # Batches of 9 recordings, of which each has two at least.
    whole = {size: -(-18 // size) for size in grid["pretrain.batch_size"]}
    lines = warned(planned, tiny, grid=grid)
    tail = "of the points train the same as others, and tell nothing more"
    assert [half[9], whole[9]] == [half[10], whole[10]] != [half[18], whole[18]] == [half[64], whole[64]]
    assert lines == [
        f"pretrain.batch_size: 9, 10, 18 and 64 come to as many batches here: 4 {tail}",
        f"pretrain.batch_size: 18 and 64 come to as many batches here: 1 {tail}",
    ]
    labels = {"finetune.labels": [0.1, 0.2, 0.25, 0.3, 1.0], "finetune.label_draw": [0, 1]}
    assert warned(planned, tiny, grid=labels, where="labels < 1 or label_draw == 0") == [
        f"finetune.labels: 0.1 and 0.2 come to the same labels here: 2 {tail}",
        f"finetune.labels: 0.25 and 0.3 come to the same labels here: 2 {tail}",
    ]
    assert warned(planned, tiny, grid={"finetune.batch_size": [4, 8, 16]}) == []


def test_nobody_is_held_out_twice(planned: Planned, tiny: Recordings, tmp_path: Path) -> None:
    """Two folds of one person would pass for two people in every interval."""
    why = "folds: anna is held out in anna and in anna+ben, and intervals would take these for different people"
    assert why in refused(planned, **LAMBDAS, folds=[["anna"], ["anna", "ben"]])
    plan = planned(**LAMBDAS, folds=[["anna"]])
    study = created(tmp_path, plan)
    with study.locked(), pytest.raises(UserError, match=r"anna is held out in anna and in anna.ben"):
        extend_plan(study, folds=[["anna", "ben"]])
    # One that older versions planned goes on.
    old = make_plan(
        "old", plan.space, plan.bases, plan.dataset, [("anna",), ("anna", "ben")], [dict(plan.trials[0].point)]
    )
    refuse(old, tiny, before=old)


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
