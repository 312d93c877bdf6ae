"""Points of different studies beside each other, against numpy and scipy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

from mmssl import Recordings, UserError, cli
from mmssl.experiments.compared import Entrant, compare
from mmssl.experiments.comparison import linear_evaluation
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record

StudyOf = Callable[..., tuple[Study, Plan]]
FOLDS = ("anna", "ben", "chris")
PAIR = "imu+skeleton"
COUNTS = {
    "recordings.train": 90,
    "recordings.labelled": 60,
    "recordings.validation": 20,
    "recordings.validation.imu": 50,
    "recordings.validation.skeleton": 20,
}


@pytest.fixture
def scored() -> dict[tuple[str, int, str], float]:
    """What trials were given, by study and variant, seed and fold."""
    return {}


@pytest.fixture
def made(study_of: StudyOf, tmp_path: Path, scored: dict[tuple[str, int, str], float]) -> Callable[..., Study]:
    """Studies in one storage, scored at random; each modality alone is a share of both."""
    rng = np.random.default_rng(0)

    def make(name: str, systems: tuple[str, ...] = ("vicreg",), split: str = "val", **entries: Any) -> Study:
        def end(plan: Plan, trial: PlannedTrial) -> Record:
            accuracy = float(rng.uniform(0.3, 0.9))
            called = f"{name}:{plan.variant(trial)}" if plan.variant(trial) else name
            scored[called, trial.seed, trial.fold] = accuracy
            facts = {f"{split}.accuracy": accuracy, f"{split}.f1": accuracy**2}
            if plan.system(trial) == "vicreg":
                facts |= {f"{split}.imu.accuracy": accuracy / 2, f"{split}.skeleton.accuracy": accuracy / 4}
            return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts)

        return study_of(end, list(systems), root=tmp_path, name=name, **entries)[0]

    return make


def compared(root: Path, *words: str) -> dict[tuple[str, str], dict[str, Any]]:
    [table] = compare([Entrant(str(root), word) for word in words]).tables.values()
    return {(row["point"], row["read_from"]): row for row in table.to_pylist()}


def test_a_point_is_compared_with_the_first_by_seed_and_fold(
    made: Callable[..., Study], tmp_path: Path, scored: dict[tuple[str, int, str], float]
) -> None:
    made("short", fixed={"pretrain.epochs": 3})
    made("varied", variants={"paper": {"recipe": "paper"}, "wide": {"finetune.hidden": 64}})
    rows = compared(tmp_path, "short", "varied:paper", "varied:wide")
    assert list(rows)[:4] == [("short", PAIR), ("short", "imu"), ("short", "skeleton"), ("varied:paper", PAIR)]
    for share, read_from in ((1, PAIR), (0.5, "imu"), (0.25, "skeleton")):
        ours = np.array([[scored["varied:wide", seed, fold] for fold in FOLDS] for seed in (1, 2)])
        theirs = np.array([[scored["short", seed, fold] for fold in FOLDS] for seed in (1, 2)])
        by_fold = share * (ours - theirs).mean(axis=0)
        half = stats.t.ppf(0.975, df=2) * by_fold.std(ddof=1) / np.sqrt(3)
        row = rows["varied:wide", read_from]
        assert (row["accuracy.mean"], row["pairs"], row["n"]) == (pytest.approx(share * ours.mean()), 6, 6)
        alone = share * ours.mean(axis=0)
        wide = stats.t.ppf(0.975, df=2) * stats.sem(alone) / (alone.mean() * (1 - alone.mean()))
        middle = special.logit(alone.mean())
        ends = special.expit([middle - wide, middle + wide])
        assert (row["accuracy.low"], row["accuracy.high"]) == pytest.approx(tuple(ends))
        assert row["difference"] == pytest.approx(by_fold.mean())
        assert (row["difference.low"], row["difference.high"]) == pytest.approx(
            (by_fold.mean() - half, by_fold.mean() + half)
        )
    assert rows["varied:wide", PAIR]["difference.f1"] == pytest.approx((ours**2 - theirs**2).mean())
    assert rows["short", PAIR]["difference"] is rows["short", PAIR]["pairs"] is None


def test_only_seeds_and_folds_of_both_are_paired_with_a_note(
    made: Callable[..., Study], tmp_path: Path, scored: dict[tuple[str, int, str], float]
) -> None:
    made("first", seeds=(1, 2), fixed={"pretrain.epochs": 3})
    made("second", seeds=(2, 3), folds=("ben", "chris"), fixed={"pretrain.epochs": 4, "objective.mu": 5.0})
    row = compared(tmp_path, "first", "second")["second", PAIR]
    both = [(2, "ben"), (2, "chris")]
    assert row["pairs"] == 2
    assert row["difference"] == pytest.approx(np.mean([scored["second", *k] - scored["first", *k] for k in both]))
    *verdicts, recipes, pairs = compare([Entrant(str(tmp_path), word) for word in ("first", "second")]).notes
    assert len(verdicts) == 3, "of both modalities and of each"
    side = "above" if row["difference"] > 0 else "below"
    sure = "within" if row["difference.low"] <= 0 <= row["difference.high"] else "beyond"
    low, high = (f"{100 * row[f'difference.{end}']:.1f}" for end in ("low", "high"))
    assert verdicts[0] == (
        f"second, read from {PAIR}: {100 * abs(row['difference']):.1f} points {side} first, {sure} the noise "
        f"(paired t-test over 2 folds: 95 % interval {low} to {high})"
    )
    assert [recipes, pairs] == [
        "second: objective.mu 5.0, not 25.0; pretrain.epochs 4, not 3",
        "second: 2 pairs of 6 and 4 trials: the means are over different seeds and folds; "
        "the difference is over the pairs",
    ]


def test_an_interval_that_is_not_over_what_the_first_study_s_are_is_named(
    made: Callable[..., Study], tmp_path: Path
) -> None:
    made("folded", seeds=(1, 2))
    made("seeded", seeds=(1, 2, 3), folds=("ben",))
    entrants = [Entrant(str(tmp_path), word) for word in ("folded", "seeded")]
    over = [f"seeded, read from {read_from}: its interval is over 3 seeds" for read_from in (PAIR, "imu", "skeleton")]
    result = compare(entrants)
    assert "95 % interval over folds" in result.caption
    assert result.notes[-3:] == over
    result = compare(entrants[::-1])
    assert "95 % interval over seeds" in result.caption
    assert result.notes[-3:] == [
        f"folded, read from {read_from}: its interval is over 3 folds" for read_from in (PAIR, "imu", "skeleton")
    ]
    assert not [note for note in compare(entrants[:1]).notes if "interval" in note]


def test_one_modality_is_compared_with_the_same_of_a_pair_or_with_nothing(
    made: Callable[..., Study], tmp_path: Path, scored: dict[tuple[str, int, str], float]
) -> None:
    made("pair")
    made("alone", ("vicreg_imu",))
    row = compared(tmp_path, "pair", "alone")["alone", "imu"]
    keys = [(seed, fold) for seed in (1, 2) for fold in FOLDS]
    assert row["difference"] == pytest.approx(
        np.mean([scored["alone", *key] - scored["pair", *key] / 2 for key in keys])
    )
    rows = compared(tmp_path, "alone", "pair")
    assert rows["pair", "skeleton"]["difference"] is None
    assert rows["pair", "skeleton"]["pairs"] == 0


def test_encoders_that_labels_trained_for_both_are_no_measure_of_one_alone(
    made: Callable[..., Study], tmp_path: Path
) -> None:
    """A pair that was trained with labels gives its IMU encoder no reason to do without the skeleton."""
    for name, encoders in (("frozen", "frozen"), ("trained", "trained")):
        made(name, fixed={"finetune.encoders": encoders})
    made("imu", ("vicreg_imu",), fixed={"finetune.encoders": "trained"})
    notes = compare([Entrant(str(tmp_path), name) for name in ("frozen", "trained", "imu")]).notes
    assert [note for note in notes if "alone" in note] == [
        f"trained, read from {name}: labels trained its encoders for imu+skeleton; for {name} alone they may do better"
        for name in ("imu", "skeleton")
    ]


def test_an_interval_is_of_the_recordings_that_have_what_is_read(
    study_of: StudyOf, tmp_path: Path, tiny: Recordings
) -> None:
    """Folds that are equal leave Wilson's interval: of 40 recordings with both, and of 100 with an IMU."""

    def end(plan: Plan, trial: PlannedTrial) -> Record:
        facts = {"val.accuracy": 0.5, "val.f1": 0.5, "val.imu.accuracy": 0.5, "val.imu.f1": 0.5, **COUNTS}
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts)

    for name in ("some", "others"):
        study, plan = study_of(end, ["vicreg"], root=tmp_path, name=name, seeds=(1,), folds=("anna", "ben"))
    rows = compared(tmp_path, "some", "others")
    table = {row["read_from"]: row for row in linear_evaluation(study, plan, tiny, ()).tables["table2"].to_pylist()}
    for read_from, count in ((PAIR, 40), ("imu", 100)):
        low, high = stats.binomtest(count // 2, count).proportion_ci(method="wilson")
        for row in (rows["some", read_from], table[read_from]):
            assert (row["accuracy.low"], row["accuracy.high"]) == pytest.approx((low, high))


def test_what_cannot_be_compared_is_refused(made: Callable[..., Study], tmp_path: Path, tiny: Recordings) -> None:
    made("one")
    made("other_seeds", seeds=(7,))
    made("other_people", recordings=tiny.where(lambda row: row.subject != "dora"))
    made("tested", folds="test", split="test")
    made("several", grid={"objective.mu": [1.0, 5.0]})

    def refusal(*words: str) -> str:
        with pytest.raises(UserError) as error:
            compared(tmp_path, *words)
        return str(error.value)

    assert "has no complete trial with a seed and held-out subjects of one's" in refusal("one", "other_seeds")
    assert "other_people: is of other recordings (tiny, " in refusal("one", "other_people")
    assert "one of the two scored the test subjects" in refusal("one", "tested")
    assert "several: study several has 2 points; name one as several:POINT, of " in refusal("one", "several")
    assert "several:mu=9: study several has no such point; name one as several:POINT, of " in refusal("several:mu=9")
    assert "did you mean one" in refusal("on")


def test_the_command(made: Callable[..., Study], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made("short", fixed={"pretrain.epochs": 3})
    made("long", grid={"objective.mu": [1.0, 5.0]})
    words = ["compare", "short", "long:mu=5.0", "--storage", str(tmp_path)]
    assert cli.app(words, standalone_mode=False) is None
    shown = capsys.readouterr().out
    for part in ("Beside short: tiny", "accuracy", "note: long:mu=5.0: objective.mu 5.0, not 25.0"):
        assert part in shown
    cli.app([*words, "--json"], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    assert [row["point"] for row in document["rows"]] == ["short"] * 3 + ["long:mu=5.0"] * 3
    for wrong, message in ((["short"], "name a second point"), (["short", "short"], "a point is listed twice")):
        with pytest.raises(UserError, match=message):
            cli.app(["compare", *wrong, "--storage", str(tmp_path)], standalone_mode=False)
