"""Optuna's samplers behind a plan, without Ray: what they choose, what they learn, how they are taken up again."""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from optuna.trial import TrialState

from mmssl.errors import UserError
from mmssl.search.sampler import PointSampler
from mmssl.study.folder import Record
from mmssl.study.plan import Dataset, Plan, SampledPoint, make_plan
from mmssl.study.space import Space

SAMPLERS = ["random", "tpe", "gp", "cmaes"]
WEIGHTS = {
    "objective.lambda": {"low": 1, "high": 100, "log": True},
    "objective.mu": {"low": 1, "high": 100, "log": True},
}


@pytest.fixture
def plan_for(dataset: Dataset) -> Callable[..., Plan]:
    def make(sampler: str, budget: int, folds: int = 1, **entries: Any) -> Plan:
        space = Space.model_validate(
            {"name": "s", "sampler": sampler, "budget": budget, "ranges": WEIGHTS, "fixed": {}, **entries}
        )
        bases = space.bases("synthetic")
        held_out = [(subject,) for subject in dataset.train_subjects[:folds]]
        return make_plan("study", space, bases, dataset, held_out, space.points(bases))

    return make


Score = Callable[[Mapping[str, Any]], float | None]


def hill(point: Mapping[str, Any]) -> float:
    """Highest, at 1, where lambda is 30 and mu is 5."""
    return math.exp(-(math.log(point["objective.lambda"] / 30) ** 2) - math.log(point["objective.mu"] / 5) ** 2)


def cliff(point: Mapping[str, Any]) -> float | None:
    """Highest where lambda is 3; above 10 everything diverges."""
    value = point["objective.lambda"]
    return None if value > 10 else 0.9 - 0.5 * math.log10(value / 3) ** 2


def ended(plan: Plan, point: Mapping[str, Any], status: str = "COMPLETE", **facts: float) -> dict[str, Record]:
    return {
        trial.trial_id: Record.model_validate({"trial_id": trial.trial_id, "status": status, "facts": facts})
        for trial in plan.trials_of(plan.point_id(point))
    }


def searched(
    plan: Plan, choices: list[SampledPoint], records: dict[str, Record], until: int, score: Score = hill
) -> list[dict[str, Any]]:
    """Choose and score points one after the other, from what is there up to so many."""
    sampler = PointSampler(plan, choices, records)
    while len(choices) < until:
        choice = sampler.ask()
        choices.append(choice)
        plan.add(choice.point)
        value = score(choice.point)
        facts = {} if value is None else {"val.accuracy": value, "encoders.parameters": 1000.0}
        records |= ended(plan, choice.point, "DIVERGED" if value is None else "COMPLETE", **facts)
        sampler.learn(plan.point_id(choice.point), records)
    return [choice.point for choice in choices]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_steps_are_the_numbers_that_are_written(plan_for: Callable[..., Plan], sampler: str) -> None:
    """0.1 + 2 * 0.1 of floats is more than 0.3, which the condition would leave out, and 0.6 + 4 * 0.1 more than 1."""
    ranges = {
        "objective.lambda": {"low": 0.1, "high": 0.9, "step": 0.1},
        "augment.crop.probability": {"low": 0.6, "high": 1.0, "step": 0.1},
    }
    plan = plan_for(sampler, 15, ranges=ranges, where="lambda <= 0.3")
    points = searched(plan, [], {}, 15, lambda point: point["objective.lambda"])
    assert sorted(tuple(point.values()) for point in points) == sorted(
        itertools.product([0.1, 0.2, 0.3], [0.6, 0.7, 0.8, 0.9, 1.0])
    )


def test_a_step_of_an_older_version_is_not_chosen_again(plan_for: Callable[..., Plan]) -> None:
    plan = plan_for("random", 4, ranges={"objective.lambda": {"low": 0.1, "high": 0.4, "step": 0.1}})
    old = SampledPoint(number=0, point={"objective.lambda": 0.1 + 2 * 0.1}, after=[])
    plan.add(old.point)
    points = searched(plan, [old], {}, 4, lambda point: 0.5)
    assert sorted(point["objective.lambda"] for point in points) == [0.1, 0.2, 0.1 + 2 * 0.1, 0.4]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_points_lie_in_their_ranges_meet_the_conditions_and_are_all_different(
    plan_for: Callable[..., Plan], sampler: str
) -> None:
    ranges = {
        **WEIGHTS,
        "finetune.hidden": {"low": 8, "high": 64, "step": 8},
        "encoder.imu.layers": {"low": 1, "high": 2},
    }
    points = searched(plan_for(sampler, 13, ranges=ranges, where=["lambda >= mu"]), [], {}, 13)
    assert len({tuple(point.values()) for point in points}) == 13
    for point in points:
        assert list(point) == list(ranges)
        assert 1 <= point["objective.mu"] <= point["objective.lambda"] <= 100
        assert point["finetune.hidden"] in range(8, 65, 8)
        assert point["encoder.imu.layers"] in (1, 2)
        assert isinstance(point["encoder.imu.layers"], int)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_cut_off_anywhere_it_goes_on_to_the_same_points(plan_for: Callable[..., Plan], sampler: str) -> None:
    whole = searched(plan_for(sampler, 13), [], {}, 13, cliff)
    for cut in (1, 7, 12):
        plan, choices, records = plan_for(sampler, 13), list[SampledPoint](), dict[str, Record]()
        searched(plan, choices, records, cut, cliff)
        kept = [SampledPoint.model_validate_json(choice.model_dump_json()) for choice in choices]
        assert searched(plan, kept, records, 13, cliff) == whole, cut


@pytest.mark.parametrize(
    ("sampler", "seeds", "entries"),
    [
        ("gp", [28], {}),
        ("tpe", [28, 1, 2], {"cost": "encoders.parameters"}),
        ("cmaes", [28, 1, 2, 3, 4, 5], {}),  # The first four are drawn, from the middle of the range: the cliff's edge.
    ],
)
def test_samplers_turn_away_from_where_points_diverge(
    plan_for: Callable[..., Plan], sampler: str, seeds: list[int], entries: dict[str, Any]
) -> None:
    ranges = {"objective.lambda": {"low": 1.0, "high": 100.0, "log": True}}
    lost: list[int] = []
    for seed in seeds:
        points = searched(plan_for(sampler, 24, ranges=ranges, seeds=[seed], **entries), [], {}, 24, cliff)
        lost.append(sum(cliff(point) is None for point in points))
    assert sum(lost) <= 8 * len(lost), lost


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_point_that_was_chosen_and_not_run_is_chosen_as_it_was(plan_for: Callable[..., Plan], sampler: str) -> None:
    whole = searched(plan_for(sampler, 6), [], {}, 6)
    plan, choices, records = plan_for(sampler, 6), list[SampledPoint](), dict[str, Record]()
    searched(plan, choices, records, 3)
    chosen = PointSampler(plan, choices, records).ask()
    plan.add(chosen.point)  # and the driver is killed before a trial of it ends
    again = PointSampler(plan, [*choices, chosen], records)
    records |= ended(plan, chosen.point, **{"val.accuracy": hill(chosen.point)})
    again.learn(plan.point_id(chosen.point), records)
    assert [chosen.point, again.ask().point] == whole[3:5]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_samplers_that_learn_come_nearer_than_chance(plan_for: Callable[..., Plan], sampler: str) -> None:
    count = 16 if sampler == "gp" else 40  # The first ten are drawn; a Gaussian process takes seconds for each other.

    def late(name: str) -> float:
        points = searched(plan_for(name, count), [], {}, count)
        return sum(hill(point) for point in points[-count // 4 :]) / (count // 4)

    assert late(sampler) > late("random") + 0.1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_it_learns_the_mean_over_seeds_and_folds_once_all_have_ended(
    plan_for: Callable[..., Plan], sampler: str
) -> None:
    plan = plan_for(sampler, 6, folds=2, seeds=[28, 29])
    points, records = PointSampler(plan, [], {}), dict[str, Record]()
    # A point without a result is as bad as the worst that is known, and waits until there is one.
    outcomes: list[tuple[list[str], float, TrialState, float | None]] = [
        (["DIVERGED"] * 4, 0, TrialState.COMPLETE, 0.55),
        (["COMPLETE"] * 4, 0.4, TrialState.COMPLETE, 0.55),
        (["COMPLETE"] * 3 + ["COLLAPSED"], 0.9, TrialState.COMPLETE, 0.55),
        (["COMPLETE"] * 3 + ["FAILED"], 0.9, TrialState.FAIL, None),
        (["COMPLETE"] * 4, 0.1, TrialState.COMPLETE, 0.25),
        (["FAILED", *["PRUNED"] * 3], 0, TrialState.COMPLETE, 0.25),
    ]
    for statuses, first, _, value in outcomes:
        point = points.ask().point
        number = len(points._study.trials) - 1
        for i, (trial, status) in enumerate(zip(plan.add(point), statuses, strict=True)):
            facts = {"val.accuracy": first + 0.1 * i} if status == "COMPLETE" else {}
            records[trial.trial_id] = Record.model_validate(
                {"trial_id": trial.trial_id, "status": status, "facts": facts}
            )
            points.learn(trial.point_id, records)
            waits = i < 3 or (value == 0.55 and first == 0)
            assert (points._study.trials[number].state == TrialState.RUNNING) == waits
    trials = points._study.trials
    assert [trial.state for trial in trials] == [state for _, _, state, _ in outcomes]
    assert [trial.value for trial in trials] == [value and pytest.approx(value) for *_, value in outcomes]


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_with_a_cost_it_learns_both(plan_for: Callable[..., Plan], sampler: str) -> None:
    plan = plan_for(sampler, 4, cost="encoders.parameters")
    points = PointSampler(plan, [], {})
    outcomes = [("COMPLETE", 0.5, 2000), ("COMPLETE", 0.7, 3000), ("DIVERGED", None, None), ("FAILED", None, None)]
    for status, accuracy, cost in outcomes:
        point = points.ask().point
        plan.add(point)
        facts = {} if accuracy is None else {"val.accuracy": accuracy, "encoders.parameters": cost}
        points.learn(plan.point_id(point), ended(plan, point, status, **facts))
    told = [trial.values for trial in points._study.trials]
    assert told == [[0.5, 2000], [0.7, 3000], [0.5, 3000], None], "the worst of each, so that no point is worse"
    assert [direction.name for direction in points._study.directions] == ["MAXIMIZE", "MINIMIZE"]


def test_lists_and_systems_are_drawn_too(plan_for: Callable[..., Plan]) -> None:
    entries = {"ranges": {}, "grid": {"finetune.hidden": [8, 16, 32]}, "systems": ["vicreg", "cmc"]}
    plan = plan_for("tpe", 6, **entries)
    points = searched(plan, [], {}, 6, lambda point: point["finetune.hidden"] / 32)
    assert {(point["system"], point["finetune.hidden"]) for point in points} == {
        (system, hidden) for system in ("vicreg", "cmc") for hidden in (8, 16, 32)
    }, "where there are just as many points as may be chosen, each is"


def test_where_no_point_is_to_be_found_it_says_so(plan_for: Callable[..., Plan]) -> None:
    plan = plan_for("random", 3, where=["lambda > 99.9999", "mu > 99.9999"])
    with pytest.raises(UserError, match=r"none of 10,000 drawn points is new and meets `where`; 0 of 3 were chosen"):
        PointSampler(plan, [], {}).ask()


def test_a_plan_grows_with_its_choices(plan_for: Callable[..., Plan]) -> None:
    plan = plan_for("tpe", 3, folds=2, seeds=[28, 29])
    assert (plan.total, plan.open_points, plan.size()) == (12, 3, "3 points x 2 seeds x 2 folds = 12 trials")
    point = {"objective.lambda": 2.0, "objective.mu": 3.0}
    first = plan.add(point)
    assert [(trial.seed, trial.fold) for trial in first] == [(28, "1"), (28, "3"), (29, "1"), (29, "3")]
    assert plan.trials == first == plan.trials_of(plan.point_id(point))
    assert plan.add(point) == []
    assert (plan.total, plan.open_points) == (12, 2)
    grid = make_plan("g", Space(name="g", grid={"objective.lambda": [2.0], "objective.mu": [3.0]}, seeds=[28, 29]),
                     plan.bases, plan.dataset, plan.folds, [point])  # fmt: skip
    assert [trial.trial_id for trial in grid.trials] == [trial.trial_id for trial in first], "an id is by content alone"
