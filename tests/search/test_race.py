"""The race: its beliefs against conditional normals written out, what it runs, when it ends, how it is resumed."""

import csv
import functools
import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from hypothesis import given, settings
from hypothesis import strategies as st

from mmssl import Recordings, launch
from mmssl.errors import UserError
from mmssl.search.launch import run as run_plan
from mmssl.search.race import Race
from mmssl.search.share import Resources
from mmssl.search.surrogate import Score, posterior
from mmssl.search.work import Work
from mmssl.study.folder import Study
from mmssl.study.plan import Dataset, Plan, PlannedTrial, extended, make_plan
from mmssl.study.planning import extend_plan, starting_from
from mmssl.study.record import Record
from mmssl.study.space import Space
from mmssl.study.tables import Tables
from mmssl.study.words import LEFT

VALUES = [1.0, 5.0, 10.0, 25.0, 50.0]
Answer = Callable[[PlannedTrial], float | None]


def plan_of(budget: int | None, folds: int = 4, subjects: Sequence[str] = "", **entries: Any) -> Plan:
    subjects = tuple(subjects or (str(number) for number in range(1, folds + 1)))
    dataset = Dataset(
        source="d", folder=None, name="d", fingerprint="0" * 64, recordings=9, train_subjects=subjects, test_subjects=()
    )
    grid = {"objective.lambda": VALUES, "objective.mu": VALUES}
    space = Space.model_validate({"name": "s", "sampler": "race", "budget": budget, "grid": grid, **entries})
    bases = space.bases("synthetic")
    return make_plan("s", space, bases, dataset, [(one,) for one in subjects], space.points(bases))


def hill(trial: PlannedTrial) -> float:
    """Highest at lambda = 25, mu = 10; folds differ in their level, and a little in what they make of a point."""
    at = [VALUES.index(trial.point[knob]) / 4 for knob in ("objective.lambda", "objective.mu")]
    own = 0.01 * math.sin(7 * at[0] + 3 * at[1] + int(trial.fold) + trial.seed)
    return 0.8 - 0.5 * (at[0] - 0.75) ** 2 - 0.4 * (at[1] - 0.5) ** 2 + 0.03 * int(trial.fold) + own


def record(trial: PlannedTrial, score: float | None, status: str = "COMPLETE", cause: str = "") -> Record:
    facts = {} if score is None else {"val.accuracy": score}
    return Record.model_validate({"trial_id": trial.trial_id, "status": status, "cause": cause, "facts": facts})


def run(plan: Plan, answer: Answer = hill, at_once: int = 1) -> tuple[list[str], dict[str, Record], Race]:
    """Ids of the trials in the order in which they began, as many under way at once."""
    race, records, begun = Race(plan), dict[str, Record](), list[str]()
    running: list[list[PlannedTrial]] = []
    while True:
        while len(running) < at_once and (chosen := race.next(records)):
            running.append(chosen)
            begun += [trial.trial_id for trial in chosen]
        if not running:
            return begun, records, race
        for trial in running.pop(0):
            score = answer(trial)
            status = "COMPLETE" if score is not None else "DIVERGED"
            records[trial.trial_id] = record(trial, score, status)


def complete(plan: Plan, records: Mapping[str, Record]) -> dict[str, float]:
    """Means of the points that have all their trials."""
    whole = {
        point: [records[trial.trial_id] for trial in trials]
        for point, trials in plan.candidates.items()
        if all(trial.trial_id in records for trial in trials)
    }
    return {
        point: statistics.fmean(one.facts["val.accuracy"] for one in own)
        for point, own in whole.items()
        if all(one.status == "COMPLETE" for one in own)
    }


@pytest.mark.parametrize("studies", [[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]])
def test_beliefs_are_the_conditional_normals_of_a_model_written_out(studies: list[int]) -> None:
    draws = np.random.default_rng(3)
    positions = draws.random((6, 2))
    groups = [0, 1, 0, 1, 2]  # Five places: folds 0 and 1 with two seeds, fold 2 with one.
    cells = [(0, 0), (1, 0), (2, 1), (3, 3), (4, 4), (5, 2), (0, 1), (1, 4)]
    scores = [Score(point, place, 0.6 + 0.1 * draws.standard_normal()) for point, place in cells]
    ours = [place for place in range(5) if not studies[place]]
    awaited = [(2, 0), (5, ours[-1])]
    found = posterior(positions, groups, scores, awaited, studies)

    # What was fitted is not given back: it is found from the beliefs of another process that has no free choice.
    import mmssl.search.surrogate as module

    of = np.array([studies[place] for _, place in cells])
    values = np.array([score.value for score in scores])
    centre, scale = values[of == 0].mean(), max(values[of == study].std() for study in of)
    known = np.concatenate(
        [(values[[at]] - (own := values[of == of[at]]).mean()) / (own.std() if of[at] else scale) for at in range(8)]
    )
    model = module._Model(  # pyright: ignore[reportPrivateUsage]
        positions, np.array(groups), np.array(studies), np.array([p for p, _ in cells]),
        np.array([k for _, k in cells]), known,
    )  # fmt: skip
    logs = model.fitted()
    lengths, (place, point, own, noise) = np.exp(logs[:2]), np.exp(2 * logs[2:])

    def covariance(a: tuple[int, int], b: tuple[int, int]) -> float:
        distance = math.sqrt(5 * sum(((positions[a[0]][i] - positions[b[0]][i]) / lengths[i]) ** 2 for i in range(2)))
        alike = (1 + distance + distance**2 / 3) * math.exp(-distance)
        same = groups[a[1]] == groups[b[1]]
        of_study = float(any(studies) and studies[a[1]] == studies[b[1]])
        return of_study + place * (a[1] == b[1]) + alike * (point + own * same)

    every = list(itertools.product(range(6), range(5)))
    prior = np.array([[covariance(a, b) for b in every] for a in every])
    mean_over = np.array([[(a == p) * (k in ours) / len(ours) for a, k in every] for p in range(6)])

    def condition(seen: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
        rows = [every.index(cell) for cell in seen]
        gain = prior[:, rows] @ np.linalg.inv(prior[np.ix_(rows, rows)] + (noise + 1e-6) * np.eye(len(rows)))
        return gain, prior - gain @ prior[rows]

    gain, _ = condition(cells)
    _, after = condition([*cells, *awaited])
    expected = centre + scale * mean_over @ gain @ known
    np.testing.assert_allclose(found.mean, expected, rtol=1e-7)
    np.testing.assert_allclose(found.covariance, scale**2 * mean_over @ after @ mean_over.T, atol=1e-9)
    assert found.steps.shape == (6, len(ours), 6)
    for number, (p, k) in enumerate(every):
        if k not in ours:
            continue
        step = scale * mean_over @ after[:, number] / math.sqrt(after[number, number] + noise)
        np.testing.assert_allclose(found.steps[p, k], step, rtol=1e-5, atol=1e-8)
    assert found.noise == pytest.approx(scale * math.sqrt(noise))


def test_a_fifth_of_the_training_finds_the_top_of_a_hill() -> None:
    plan = plan_of(5)
    begun, records = undisturbed()
    assert len(begun) == len(set(begun)) <= 20
    means = complete(plan, records)
    best = plan.trials_of(max(means, key=means.__getitem__))[0]
    truth = {point: statistics.fmean(map(hill, trials)) for point, trials in plan.candidates.items()}
    assert max(truth.values()) - truth[best.point_id] < 0.01


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 9), st.integers(0, 2**31))
def test_it_keeps_to_its_budget_and_ends_with_a_point_to_choose(
    budget: int, folds: int, at_once: int, seed: int
) -> None:
    noise = np.random.default_rng(seed)
    plan = plan_of(budget, folds, seeds=[seed])
    begun, records, race = run(plan, lambda trial: hill(trial) + 0.03 * noise.standard_normal(), at_once)
    assert len(begun) == len(set(begun)) == len(records) <= budget * folds
    assert complete(plan, records)
    assert race.over


@functools.cache
def undisturbed() -> tuple[list[str], dict[str, Record]]:
    return run(plan_of(5))[:2]


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 19))
def test_cut_off_it_goes_on_as_it_would_have_done(cut: int) -> None:
    plan = plan_of(5)
    whole, records = undisturbed()
    race, kept = Race(plan), {trial_id: records[trial_id] for trial_id in whole[:cut]}
    rest: list[str] = []
    while chosen := race.next(kept):
        rest += [trial.trial_id for trial in chosen]
        kept |= {trial.trial_id: records.get(trial.trial_id) or record(trial, hill(trial)) for trial in chosen}
    assert whole[:cut] + rest == whole


def tables() -> Iterator[dict[tuple[float, float], dict[str, float]]]:
    """`vicreg_grid` on UTD-MHAD, one label a class: accuracy by lambda and mu, of each fold; by seed and by what is
    read."""
    with (Path(__file__).parent / "grid_of_utd_mhad.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    for seed, column in itertools.product(("28", "29"), ("both", "imu", "skeleton")):
        found: dict[tuple[float, float], dict[str, float]] = {}
        for row in rows:
            if row["seed"] == seed:
                found.setdefault((float(row["lambda"]), float(row["mu"])), {})[row["fold"]] = float(row[column])
        yield found


def test_of_real_scores_it_finds_better_ones_than_as_many_points_at_random() -> None:
    """At a fifth of the training; what another seed makes of the choices is in docs/recipes.md."""
    draws = np.random.default_rng(0)
    lost: dict[str, list[float]] = {"race": [], "random": []}
    for table in tables():
        means = np.array([statistics.fmean(folds.values()) for folds in table.values()])
        at_random = [means[draws.permutation(25)[:5]].max() for _ in range(2000)]
        lost["random"].append(means.max() - statistics.fmean(at_random))

        def answer(trial: PlannedTrial, table: Mapping[Any, Mapping[str, float]] = table) -> float:
            return table[trial.point["objective.lambda"], trial.point["objective.mu"]][trial.fold]

        plan = plan_of(5, subjects="1357")
        begun, records, _ = run(plan, answer)
        assert len(begun) <= 20
        lost["race"].append(means.max() - max(complete(plan, records).values()))
    assert statistics.fmean(lost["race"]) < 0.75 * statistics.fmean(lost["random"])


def elsewhere(trial: PlannedTrial) -> float:
    """The hill on other people, who score lower and scatter more."""
    return 0.3 + 0.5 * hill(trial)


def ended(root: Path, plan: Plan, answer: Answer) -> Study:
    """A study whose every trial is complete."""
    return small.study_of(root, plan, lambda _, trial: record(trial, answer(trial)))


def test_it_starts_from_what_another_study_found(tmp_path: Path) -> None:
    """So little training finds the top only where somebody has told of the hill."""
    others = plan_of(None, 3, sampler="grid").model_copy(update={"name": "others"})
    warm = starting_from(plan_of(1), ended(tmp_path, others, elsewhere))
    [known] = warm.earlier
    assert (known.name, len(known.scores)) == ("others", 75)
    assert Plan.model_validate_json(warm.model_dump_json()).earlier == warm.earlier
    more = extended(warm, warm.space.model_copy(update={"budget": 3}), warm.folds)
    assert (more.earlier, more.most) == (warm.earlier, 12)
    truth = {point: statistics.fmean(map(hill, trials)) for point, trials in warm.candidates.items()}
    for plan, regret in ((warm, 0.01), (plan_of(1), 0.1)):
        begun, records, _ = run(plan)
        assert len(begun) == 4
        [chosen] = complete(plan, records)
        assert (max(truth.values()) - truth[chosen] < regret) == (plan is warm)


def test_a_study_that_misleads_is_overruled(tmp_path: Path) -> None:
    """Its map is upside down: what is scored here counts more."""
    others = plan_of(None, 3, sampler="grid").model_copy(update={"name": "others"})
    warm = starting_from(plan_of(8), ended(tmp_path, others, lambda trial: -hill(trial)))
    _, records, _ = run(warm)
    means = complete(warm, records)
    truth = {point: statistics.fmean(map(hill, trials)) for point, trials in warm.candidates.items()}
    assert max(truth.values()) - truth[max(means, key=means.__getitem__)] < 0.02


def test_a_study_that_knows_nothing_of_the_points_is_refused(tmp_path: Path) -> None:
    grid = plan_of(None, 3, sampler="grid").model_copy(update={"name": "others"})
    study = ended(tmp_path, grid, hill)
    with pytest.raises(UserError, match=r"--warm-start others: only a race .* the sampler here is grid"):
        starting_from(grid, study)
    for entries in ({"grid": {"objective.lambda": [2.0, 3.0]}}, {"grid": {"objective.nu": VALUES}}):
        with pytest.raises(UserError, match=rf"none of its complete trials .* {next(iter(entries['grid']))}"):
            starting_from(plan_of(1, **entries), study)
    none = grid.model_copy(update={"name": "none"})
    failed = small.study_of(tmp_path, none, lambda _, trial: record(trial, None, "FAILED"))
    with pytest.raises(UserError, match="none of its complete trials"):
        starting_from(plan_of(1), failed)


def test_draws_of_labels_run_together_and_count_as_one_score() -> None:
    grid = {"objective.mu": [1.0, 5.0, 25.0], "finetune.label_draw": [0, 1]}
    plan = plan_of(2, 2, grid=grid, fixed={"finetune.labels": 0.1})
    race = Race(plan)
    chosen = race.next({})
    assert len({(trial.point["objective.mu"], trial.seed, trial.fold) for trial in chosen}) == 1
    assert sorted(trial.point["finetune.label_draw"] for trial in chosen) == [0, 1]
    begun, records, _ = run(plan, lambda trial: 0.5 + trial.point["objective.mu"] / 100)
    assert len(begun) == 2 * 2 * 2, "two points' worth of two folds, each with two draws"
    means = complete(plan, records)
    assert plan.trials_of(max(means, key=means.__getitem__))[0].point["objective.mu"] == 25


def test_cut_off_between_two_draws_the_others_are_run_first() -> None:
    grid = {"objective.mu": [1.0, 5.0, 25.0], "finetune.label_draw": [0, 1, 2]}
    plan = plan_of(2, 2, grid=grid, fixed={"finetune.labels": 0.1})

    def answer(trial: PlannedTrial) -> float:
        return 0.5 + trial.point["objective.mu"] / 100

    whole, records, _ = run(plan, answer)
    for cut in range(len(whole) + 1):
        race, kept = Race(plan), {trial_id: records[trial_id] for trial_id in whole[:cut]}
        rest: list[str] = []
        while chosen := race.next(kept):
            rest += [trial.trial_id for trial in chosen]
            kept |= {trial.trial_id: record(trial, answer(trial)) for trial in chosen}
        assert whole[:cut] + rest == whole


def test_what_diverges_is_dropped_and_its_neighbours_are_not_trusted() -> None:
    plan = plan_of(6)

    def cliff(trial: PlannedTrial) -> float | None:
        return None if trial.point["objective.lambda"] > 10 else hill(trial)

    begun, records, _ = run(plan, cliff)
    diverged = [plan.trial(one) for one in begun if records[one].status == "DIVERGED"]
    assert len({trial.point_id for trial in diverged}) == len(diverged), "no second fold of a point that diverged"
    assert len(diverged) < len(begun) / 3
    assert complete(plan, records)


def test_a_flat_map_is_not_searched_to_the_end() -> None:
    """Where points differ by less than the noise, more training tells nothing: it stops with one that is whole."""
    noise = np.random.default_rng(1)
    plan = plan_of(20)
    begun, records, race = run(plan, lambda trial: 0.8 + 0.03 * int(trial.fold) + 0.01 * noise.standard_normal())
    assert len(begun) < 40
    assert complete(plan, records)
    assert race.over.startswith(f"{len(begun)} of at most 80 pre-trainings: others may be ")


def test_what_was_handed_out_and_has_not_begun_is_not_left_out(tmp_path: Path, tiny: Recordings) -> None:
    plan = plan_of(1, 2)
    study, said = small.created(tmp_path, plan), list[str]()
    work = Work(study, plan, tiny, {}, Tables(study, plan), lambda planned, record: None, said.append)
    queue, recorder, _ = work.begin()
    handed: list[PlannedTrial] = []
    while queue.fill():
        handed.append(queue.waiting.popleft())
    assert len(handed) == 2
    assert not work.records
    recorder.fail(handed[0], "worker died", "")
    assert not queue.fill()
    assert len(work.records) == 1
    recorder.fail(handed[1], "worker died", "")
    assert not queue.fill()
    statuses = Counter(one.status for one in work.records.values())
    assert statuses == {"FAILED": 2, "PRUNED": plan.total - 2}
    assert said == ["race over after 2 pre-trainings, its budget; 48 of 50 trials are left out"]


def test_what_was_left_out_opens_again_with_more_to_spend() -> None:
    plan = plan_of(2)
    _, records, race = run(plan)
    left = [trial for trial in plan.trials if trial.trial_id not in records]
    records |= {trial.trial_id: record(trial, None, "PRUNED", LEFT + race.over) for trial in left}
    assert Race(plan).next(records) == []
    larger = plan_of(3)
    assert larger.trials == plan.trials
    assert Race(larger).next(records)[0] in left


def test_what_stays_left_out_with_more_to_spend_says_why(tmp_path: Path, tiny: Recordings) -> None:
    """Its budget ended the race; with a larger one the noise does, and nothing more is trained."""

    def flat(trial: PlannedTrial) -> float:
        return 0.8 + 0.05 * math.sin(100 * hill(trial))

    plan, larger = plan_of(5, 2), plan_of(20, 2)
    begun, records, race = run(plan, flat)
    left = [trial for trial in plan.trials if trial.trial_id not in records]
    records |= {trial.trial_id: record(trial, None, "PRUNED", LEFT + race.over) for trial in left}
    assert (len(begun), race.over) == (10, "10 pre-trainings, its budget")
    study, said = small.created(tmp_path, larger), list[str]()
    for one in records.values():
        study.keep(one)
    work = Work(study, larger, tiny, records, Tables(study, larger), lambda planned, record: None, said.append)
    assert not work.begin()[0].fill()
    causes = Counter(one.cause for one in study.records(larger).values())
    [why] = causes.keys() - {""}
    assert why.startswith("race over after 10 of at most 40 pre-trainings: others may be ")
    assert causes == {"": 10, why: 40}
    assert said == [f"{why}; 40 of 50 trials are left out"]


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"budget": None}, "budget"),
        ({"ranges": {"pretrain.lr": {"low": 0.001, "high": 0.1}}}, "ranges"),
        ({"prune": {"folds": 0.1}}, "prune"),
        ({"cost": "encoders.flops"}, "cost"),
        ({"folds": "test"}, "would choose by the test subjects"),
    ],
)
def test_what_a_race_cannot_do_is_refused(entries: dict[str, Any], why: str) -> None:
    document = {"name": "s", "sampler": "race", "budget": 4, "grid": {"objective.mu": VALUES}}
    with pytest.raises((UserError, ValueError), match=why):
        Space.model_validate(document | entries)


def test_a_plan_says_how_much_of_it_runs() -> None:
    plan = plan_of(5)
    assert (plan.total, plan.most, plan.open_points) == (100, 20, 0)
    assert plan.size() == "25 points x 1 seed x 4 folds = 100 trials, of which a race runs 20 at most"
    assert plan_of(40).most == 100


@pytest.mark.ray
def test_a_race_that_was_over_goes_on_with_more_to_spend(tmp_path: Path, tiny: Recordings) -> None:
    """Also under Ray, though every trial has a record by then."""
    grid = {"objective.lambda": [1, 5, 10, 25]}
    fixed = {**small.KNOBS, "pretrain.epochs": 1, "finetune.epochs": 1}
    entries = {"name": "four", "grid": grid, "fixed": fixed, "sampler": "race", "budget": 2}
    study = launch({**entries, "folds": [["anna"], ["ben"]]}, tiny, storage=tmp_path)
    trained = study.status().trials["COMPLETE"]
    assert trained < 8
    study.extend(budget=4)
    assert trained < study.status().trials["COMPLETE"] <= 8


def test_trackers_follow_a_race_that_has_more_to_spend(tmp_path: Path, tiny: Recordings) -> None:
    """What it had left out counts as ended nowhere, once it is open again."""
    fixed = {**small.KNOBS, "pretrain.epochs": 1, "finetune.epochs": 1}
    entries = {"grid": {"objective.lambda": [1, 5, 10, 25]}, "fixed": fixed, "sampler": "race", "budget": 2}
    made = launch({**entries, "folds": [["anna"], ["ben"]]}, tiny, storage=tmp_path, local=True)
    study = Study(tmp_path, made.name)
    before = study.records(study.plan())
    assert Counter(one.status for one in before.values()) == {"COMPLETE": 4, "PRUNED": 4}
    said, seen = list[str](), list[Record]()
    with study.locked():
        plan, recordings = extend_plan(study, budget=4)
    run_plan(
        study, plan, recordings, Resources(local=True), lambda planned, record: None, programs=["tensorboard"],
        on_existing=seen.extend, say=said.append,
    )  # fmt: skip
    assert {one.trial_id for one in seen} == {name for name, one in before.items() if one.status == "COMPLETE"}
    assert not [line for line in said if "tensorboard" in line]
    ended = study.records(study.plan())
    assert Counter(one.status for one in ended.values())["COMPLETE"] > 4
    told = {name.split("/")[1] for name in study.files.names("tensorboard") if name.endswith("/whole")}
    assert told == set(ended)
