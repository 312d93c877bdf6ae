"""A study's outcome in a sentence: each number against its own computation."""

import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from small import dataset_of, study_of

from mmssl import Recordings
from mmssl.study.folder import Study
from mmssl.study.overview import alike
from mmssl.study.plan import PlannedTrial, make_plan
from mmssl.study.presets import preset
from mmssl.study.record import Record
from mmssl.study.results import best_of, metric_words
from mmssl.study.space import Space
from mmssl.study.verdict import beside, conclude

FOLDS = (("anna",), ("ben",), ("chris",))
MakeStudy = Callable[..., Study]


@pytest.fixture
def study(tmp_path: Path, tiny: Recordings) -> MakeStudy:
    """Makes a study whose trials score by system or λ, and fold; those without a score have not begun.

    Where `seeds` are given, trials score by seed and fold.
    """

    def make(
        name: str,
        scores: dict[str, list[float]],
        systems: list[str] | None = None,
        seeds: dict[int, list[float]] | None = None,
        f1: bool = False,
        train: tuple[str, ...] = ("anna", "ben", "chris"),
    ) -> Study:
        grid = {} if systems else {"objective.lambda": [float(one) for one in scores]}
        space = Space(name="s", systems=systems or ["vicreg"], grid=grid, seeds=list(seeds or [28]))
        bases = space.bases("tiny")
        data = dataset_of(tiny, classes=3, train_subjects=train)
        plan = make_plan(name, space, bases, data, list(FOLDS), space.points(bases))

        def ended(_: Study, trial: PlannedTrial) -> Record:
            own = scores[plan.system(trial) if systems else str(trial.point["objective.lambda"])]
            if not own:
                return Record(trial_id=trial.trial_id, status="PLANNED")
            own = (seeds or {}).get(trial.seed, own)
            score = own[FOLDS.index(trial.held_out)]
            facts: dict[str, float] = {"val.accuracy": score, "recordings.validation": 9}
            if f1:
                facts["val.f1"] = 1 - score
            return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts)

        return study_of(tmp_path, plan, ended)

    return make


BEST, NEAR, FAR = [0.9, 0.8, 0.7], [0.9, 0.7, 0.75], [0.35, 0.15, 0.1]


def test_the_sentence_says_best_ties_chance_and_untrained(study: MakeStudy) -> None:
    made = study("one", {"1.0": NEAR, "5.0": BEST, "25.0": FAR})
    plan = made.plan()
    alone = conclude(made, plan)
    low, high = best_of(made, plan).choice.best.estimate.low, best_of(made, plan).choice.best.estimate.high
    assert low is not None and high is not None and low < 0.8 < high
    tied = stats.ttest_rel(BEST, NEAR).pvalue > 0.05, stats.ttest_rel(BEST, FAR).pvalue > 0.05
    assert tied == (True, False)
    assert alone.words == (
        f"best: lambda=5.0, validation accuracy 80.0 % (95 % interval {100 * low:.1f} to {100 * high:.1f}, over "
        "3 folds); 1 of the 2 other points is statistically tied with it; chance is 33.3 %"
    )
    assert len(alone.notes) <= 2
    assert alone.baseline_command.startswith("mmssl-tune launch table2 --system untrained --recipe default --dataset ")
    assert alone.next_command == f"mmssl-tune best one --storage {made.root} --export"
    worse = [0.6, 0.55, 0.42]
    study("beside", {"untrained": worse}, systems=["untrained"])
    gap = statistics.fmean(np.subtract(BEST, worse))
    assert stats.ttest_rel(BEST, worse).pvalue < 0.05
    with_it = conclude(made, plan)
    assert with_it.words == (
        f"{alone.words}; untrained encoders have {100 * statistics.fmean(worse):.1f} % "
        f"({100 * gap:.1f} points less, beyond the noise)"
    )
    assert (with_it.baseline_command, with_it.chance) == ("", 1 / 3)


def test_untrained_encoders_have_one_number_however_it_is_asked_for(study: MakeStudy) -> None:
    """Of several seeds beside a study of one: those that pair with its own, whether or not a best point is chosen."""
    made = study("one", {"1.0": NEAR, "5.0": BEST})
    study("beside", {"untrained": FAR}, systems=["untrained"], seeds={28: [0.3, 0.2, 0.1], 29: [0.6, 0.6, 0.6]})
    plan = made.plan()
    assert plan.space.seeds == [28]
    chosen, unchosen = (beside(made, plan, "val.accuracy", one)[1] for one in (best_of(made, plan).choice, None))
    assert chosen is not None and unchosen is not None
    assert (chosen.mean, chosen.n) == (unchosen.mean, unchosen.n) == (pytest.approx(0.2), 3)
    assert "untrained encoders have 20.0 %" in conclude(made, plan).words


def test_a_gain_over_a_part_of_the_trials_says_so(study: MakeStudy) -> None:
    """The difference of the means, over seeds that the other study lacks too, is another one."""
    seeds = {28: [0.9, 0.8, 0.7], 29: [0.7, 0.8, 0.9], 30: [0.85, 0.8, 0.75]}
    made = study("one", {"1.0": BEST}, seeds=seeds | {29: [0.2, 0.3, 0.1]})
    study("beside", {"untrained": FAR}, systems=["untrained"], seeds={28: [0.5, 0.4, 0.3]})
    gains = np.subtract(seeds[28], [0.5, 0.4, 0.3])
    said = conclude(made, made.plan()).words
    assert f"untrained encoders have 40.0 % ({100 * gains.mean():.1f} points less in the 3 trials that pair, " in said
    study("whole", {"untrained": FAR}, systems=["untrained"], seeds={seed: [0.5, 0.4, 0.3] for seed in seeds})
    assert "that pair" not in conclude(made, made.plan()).words


def test_untrained_encoders_of_other_people_are_no_baseline(study: MakeStudy) -> None:
    """Their heads have seen more people: what pre-training adds would be too little, or with fewer too much."""
    made = study("one", {"1.0": NEAR, "5.0": BEST})
    study("beside", {"untrained": FAR}, systems=["untrained"], train=("anna", "ben", "chris", "dora"))
    plan = made.plan()
    assert beside(made, plan, "val.accuracy", best_of(made, plan).choice)[1] is None
    assert "untrained" not in conclude(made, plan).words
    study("same", {"untrained": FAR}, systems=["untrained"], train=("chris", "anna", "ben"))
    assert "untrained encoders have 20.0 %" in conclude(made, plan).words


def test_what_is_next_exports_the_point_that_was_named(study: MakeStudy) -> None:
    made = study("one", {"1.0": NEAR, "5.0": BEST}, f1=True)
    plan = made.plan()
    by = best_of(made, plan, "val.f1")
    assert by.choice.best.values == {"objective.lambda": 1.0} != best_of(made, plan).choice.best.values
    assert conclude(made, plan, by).next_command == f"mmssl-tune best one --storage {made.root} --by val.f1 --export"
    assert "--by" not in conclude(made, plan).next_command


def test_untrained_encoders_that_are_better_are_told_so(study: MakeStudy) -> None:
    made = study("one", {"vicreg": FAR, "untrained": BEST}, systems=["vicreg", "untrained"])
    said = conclude(made, made.plan())
    assert said.words.startswith("best: untrained, validation accuracy 80.0 %")
    assert said.words.endswith("; the best encoders are untrained ones") and not said.baseline_command


@pytest.mark.parametrize(
    ("scores", "above"),
    [([0.35, 0.15, 0.1], False), ([0.6, 0.3, 0.5], False), ([0.6, 0.55, 0.62], True)],
    ids=["below", "within the noise", "above"],
)
def test_what_is_not_above_chance_is_not_for_export(study: MakeStudy, scores: list[float], above: bool) -> None:
    made = study("one", {"1.0": scores})
    plan = made.plan()
    said = conclude(made, plan)
    low = best_of(made, plan).choice.best.estimate.low
    assert low is not None and (low > 1 / 3) == above == said.above_chance
    assert ("the best is not above chance (33.3 %) beyond the noise" in said.words) != above
    assert ("chance is 33.3 %" in said.words) == above
    step = f"best one --storage {made.root} --export" if above else f"report one --storage {made.root}"
    assert said.next_command == f"mmssl-tune {step}"


def test_what_is_not_whole_says_so(study: MakeStudy) -> None:
    begun = study("begun", {"1.0": FAR, "5.0": []})
    said = conclude(begun, begun.plan())
    assert said.words.startswith("best so far: lambda=1.0, validation accuracy 20.0 %")
    assert said.next_command == f"mmssl-tune resume begun --storage {begun.root}"
    assert conclude(begun, begun.plan(), running=True).next_command.startswith("mmssl-tune watch begun")
    empty = study("empty", {"1.0": []})
    assert conclude(empty, empty.plan()).words == "no point has all its trials complete; chance is 33.3 %"


def test_a_study_of_the_test_subjects_has_no_best(tmp_path: Path, tiny: Recordings) -> None:
    space = Space(name="s", systems=["vicreg"], folds="test")
    bases = {"vicreg": preset("tiny", "vicreg")}
    plan = make_plan("tested", space, bases, dataset_of(tiny), [()], space.points(bases))

    def ended(_: Study, trial: PlannedTrial) -> Record:
        predictions = [
            {"recording_id": str(i), "subject": "dora", "label": label, "predicted": "slow"}
            for i, label in enumerate(("slow", "middle", "fast", "fast"))
        ]
        facts = {"test.accuracy": 0.25}
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts, predictions=predictions)

    made = study_of(tmp_path, plan, ended)
    said = conclude(made, plan)
    assert said.words == "scored the test subjects, by which nothing may be chosen; chance is 33.3 %"
    assert said.chance == 1 / 3, "of the classes in its predictions: its plan does not say"


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        ("val.accuracy", "validation accuracy"),
        ("val.wrist.f1", "validation F1 from wrist"),
        ("test.interval.accuracy", "test accuracy by interval"),
        ("rankme", "RankMe"),
    ],
)
def test_a_score_has_a_name(metric: str, words: str) -> None:
    assert metric_words(metric) == words


def test_failures_that_differ_in_numbers_alone_are_one() -> None:
    failures = [("DIVERGED", f"epoch {i}: loss is nan") for i in range(3)] + [("FAILED", "no"), ("DIVERGED", "no")]
    assert alike(failures) == [(3, "DIVERGED", "epoch 0: loss is nan"), (1, "FAILED", "no"), (1, "DIVERGED", "no")]


def test_plans_of_before_know_no_number_of_classes(tiny: Recordings) -> None:
    assert "classes" not in dataset_of(tiny).model_dump()
