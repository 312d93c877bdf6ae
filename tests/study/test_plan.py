from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmssl.errors import UserError
from mmssl.recipe import Recipe
from mmssl.study.plan import Dataset, Plan, extended, make_plan
from mmssl.study.presets import preset
from mmssl.study.space import Space, changed


def test_a_plan_is_points_times_seeds_times_folds(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0, 5.0], [1.0, 10.0, 25.0], seeds=[28, 29])
    assert len(plan.trials) == 2 * 3 * 2 * 3
    assert plan.size() == "6 points x 2 seeds x 3 folds = 36 trials"
    assert len({trial.trial_id for trial in plan.trials}) == 36
    assert {(t.point["objective.lambda"], t.point["objective.mu"], t.seed, t.held_out) for t in plan.trials} == {
        (lambda_, mu, seed, (subject,))
        for lambda_ in (1.0, 5.0)
        for mu in (1.0, 10.0, 25.0)
        for seed in (28, 29)
        for subject in ("1", "3", "5")
    }


def test_the_trials_of_a_point_share_its_id_and_stand_together(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0, 5.0], [2.0], seeds=[1, 2])
    ids = [trial.point_id for trial in plan.trials]
    assert ids == [ids[0]] * 6 + [ids[6]] * 6
    assert ids[0] != ids[6]


def test_a_trials_recipe_carries_point_seed_and_fold(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([5.0], [25.0], seeds=[7])
    recipe = plan.recipe(plan.trials[1])
    assert (recipe.objective.lambda_, recipe.objective.mu, recipe.seed) == (5.0, 25.0, 7)
    assert recipe.data.validation_subjects == ("3",)
    assert plan.trials[1].fold == "3"


def test_ids_come_from_content_and_not_from_the_study(dataset: Dataset) -> None:
    def ids(name: str, fingerprint: str, lambdas: list[float]) -> set[str]:
        space = Space(name=name, grid={"objective.lambda": lambdas})
        data = dataset.model_copy(update={"fingerprint": fingerprint})
        bases = {"vicreg": Recipe()}
        made = make_plan(name, space, bases, data, [("1",)], space.points(bases))
        return {trial.trial_id for trial in made.trials}

    assert ids("a", "x", [1.0, 2.0]) == ids("b", "x", [2.0, 1.0])
    assert not ids("a", "x", [1.0]) & ids("a", "y", [1.0])
    assert ids("a", "x", [1.0]) < ids("a", "x", [1.0, 3.0])


def test_two_points_that_are_one_recipe_are_refused(dataset: Dataset) -> None:
    space = Space(name="twice", grid={"objective.lambda": [1.0]})
    point = {"objective.lambda": 1.0}
    with pytest.raises(UserError, match="same recipe"):
        make_plan("study", space, {"vicreg": Recipe()}, dataset, [("1",)], [point, point])


@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.floats(0, 100), min_size=1, max_size=4, unique=True),
    seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3, unique=True),
)
def test_a_plan_survives_its_own_file(values: list[float], seeds: list[int]) -> None:
    space = Space(name="s", grid={"objective.mu": values}, seeds=seeds)
    data = Dataset(
        source="d", folder=None, name="d", fingerprint="0", recordings=2, train_subjects=("a", "b"), test_subjects=()
    )
    bases = {"vicreg": Recipe()}
    plan = make_plan("study", space, bases, data, [("a",), ("b",)], space.points(bases))
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert len({trial.trial_id for trial in plan.trials}) == len(values) * len(seeds) * 2


def planned(space: Space, dataset: Dataset, folds: list[tuple[str, ...]]) -> Plan:
    bases = space.bases("utd_mhad")
    return make_plan("study", space, bases, dataset, folds, space.points(bases))


def test_a_trial_of_a_system_has_the_recipe_of_its_preset(dataset: Dataset) -> None:
    systems = ["untrained_imu", "supervised", "simclr_skeleton", "cmc_cmkm"]
    plan = planned(Space(name="s", systems=systems, seeds=[1, 2]), dataset, [("1",), ("3",)])
    assert plan.size() == "4 points x 2 seeds x 2 folds = 16 trials"
    assert [plan.system(trial) for trial in plan.trials] == [name for name in systems for _ in range(4)]
    for trial in plan.trials:
        expected = preset("utd_mhad", plan.system(trial)).with_knobs(
            {"seed": trial.seed, "data.validation_subjects": list(trial.held_out)}
        )
        assert plan.recipe(trial) == expected
        assert trial.trial_id == expected.content_id(dataset.fingerprint)
    again = Plan.model_validate_json(plan.model_dump_json())
    assert again == plan
    assert [again.recipe(trial) for trial in again.trials] == [plan.recipe(trial) for trial in plan.trials]


def test_a_single_system_is_named_though_its_points_do_not(dataset: Dataset) -> None:
    plan = planned(Space(name="s", systems=["simclr_imu"]), dataset, [("1",)])
    assert [trial.point for trial in plan.trials] == [{}]
    assert {plan.system(trial) for trial in plan.trials} == {"simclr_imu"}


def test_a_trial_names_the_recipe_its_variant_starts_from(dataset: Dataset) -> None:
    variants = {"theirs": {"recipe": "paper"}, "ours": {}}
    plan = planned(Space(name="s", variants=variants), dataset, [("1",)])
    assert [plan.recipe_name(trial) for trial in plan.trials] == ["paper", "default"]
    assert (
        planned(Space(name="s", recipe="paper", systems=["vicreg"]), dataset, [("1",)]).space.recipe_of(None) == "paper"
    )


def test_a_variant_of_a_system_is_named_and_has_its_knobs(dataset: Dataset) -> None:
    variants = {"plain": {}, "wide": {"finetune.hidden": 9}}
    plan = planned(Space(name="s", systems=["vicreg", "cmc"], variants=variants, recipe="paper"), dataset, [("1",)])
    assert plan.size() == "4 points x 1 seed x 1 fold = 4 trials"
    assert [(plan.system(trial), plan.variant(trial)) for trial in plan.trials] == [
        ("vicreg", "plain"), ("vicreg", "wide"), ("cmc", "plain"), ("cmc", "wide"),
    ]  # fmt: skip
    for trial in plan.trials:
        expected = preset("utd_mhad", plan.system(trial), "paper").with_knobs(
            {"data.validation_subjects": ["1"], **variants[plan.variant(trial) or ""]}
        )
        assert plan.recipe(trial) == expected
    again = Plan.model_validate_json(plan.model_dump_json())
    assert [again.recipe(trial) for trial in again.trials] == [plan.recipe(trial) for trial in plan.trials]


def test_a_plan_from_before_recipes_had_names_is_the_papers(dataset: Dataset) -> None:
    plan = planned(Space(name="s", systems=["vicreg"], recipe="paper"), dataset, [("1",)])
    document = plan.model_dump(mode="json")
    del document["space"]["recipe"]
    assert Plan.model_validate(document) == plan


def test_where_the_test_subjects_are_scored_nobody_is_held_out(dataset: Dataset) -> None:
    space = Space(name="s", grid={"objective.mu": [1.0, 2.0]}, seeds=[1, 2, 3], folds="test")
    plan = planned(space, dataset, [()])
    assert plan.size() == "2 points x 3 seeds x 1 fold = 6 trials"
    assert {trial.fold for trial in plan.trials} == {"test"}
    assert {plan.recipe(trial).data.validation_subjects for trial in plan.trials} == {()}
    assert len({(trial.point_id, trial.seed) for trial in plan.trials}) == 6


def test_an_extended_plan_keeps_what_was_planned_and_is_what_would_have_been(plan_of: Callable[..., Plan]) -> None:
    small, whole = plan_of([1.0], [2.0], seeds=[28]), plan_of([1.0, 5.0], [2.0], seeds=[28, 29])
    folds = [("1",), ("3",), ("5",)]
    larger = extended(small, changed(small.space, grid=whole.space.grid, seeds=[28, 29]), folds)
    assert larger.trials == whole.trials
    assert larger.created == small.created
    with pytest.raises(UserError, match="6 of its 12 trials would no longer be planned"):
        extended(whole, changed(whole.space, seeds=[28]), folds)


def of_another_version(plan: Plan, path: str, **without: object) -> Plan:
    """As a version reads it that has knobs which the one that wrote it had not: here, all of a section."""
    document = plan.model_dump(mode="json") | without
    for base in document["bases"].values():
        del base[path]
    return Plan.model_validate(document)


def test_a_plan_of_fewer_knobs_is_extended_under_its_own_ids(plan_of: Callable[..., Plan]) -> None:
    """Its ids are not those that the same recipes have today, and are the same for all that is added."""
    bases, points = {"vicreg": Recipe()}, [{"objective.lambda": 1.0, "objective.mu": 2.0}]
    knobs = [name for name in Recipe().knobs() if not name.startswith("guide.")]
    today = plan_of([1.0, 5.0], [2.0], seeds=[28, 29])
    small = plan_of([1.0], [2.0])
    then = make_plan("study", small.space, bases, small.dataset, small.folds, points, knobs)
    assert not {trial.trial_id for trial in then.trials} & {trial.trial_id for trial in today.trials}
    for plan in (of_another_version(then, "guide"), of_another_version(then, "guide", knobs=None)):
        assert plan.trials == then.trials
        assert [plan.recipe(trial) for trial in plan.trials] == [small.recipe(trial) for trial in small.trials]
        larger = extended(plan, changed(plan.space, grid=today.space.grid, seeds=[28, 29]), plan.folds)
        assert [trial for trial in larger.trials if trial.seed == 28][:3] == then.trials
        assert [(trial.point, trial.seed, trial.held_out) for trial in larger.trials] == [
            (trial.point, trial.seed, trial.held_out) for trial in today.trials
        ]
        assert len({trial.point_id for trial in larger.trials}) == 2
        again = extended(Plan.model_validate_json(larger.model_dump_json()), larger.space, larger.folds)
        assert again.trials == larger.trials
        assert larger.alike(today)
        assert not larger.alike(small)


def test_a_plan_keeps_ids_that_no_content_gives(plan_of: Callable[..., Plan]) -> None:
    """As where a version writes the same value in another way."""
    plan = plan_of([1.0], [2.0])
    ids = {trial.trial_id: f"{number:016x}" for number, trial in enumerate(plan.trials)}
    document = plan.model_dump(mode="json")
    for trial in document["trials"]:
        trial |= {"trial_id": ids[trial["trial_id"]], "point_id": "f" * 16}
    kept = Plan.model_validate(document)
    larger = extended(kept, changed(kept.space, seeds=[28, 29]), kept.folds)
    assert larger.trials[:3] == kept.trials
    assert {trial.point_id for trial in larger.trials} == {"f" * 16}
    assert kept.point_id({"objective.lambda": 1.0, "objective.mu": 2.0}) == "f" * 16
