"""`reproduce`: from a command to a table, without Ray where hand-made scores will do, and once for real."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import small
from asking import Ask

from mmssl import Protocol, Recordings, Row
from mmssl.cli import studies, terminal
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.presets import SYSTEMS
from mmssl.study.record import Record
from mmssl.study.tables import Tables
from mmssl.training.kept import pretraining_name


class Scorer:
    """Stands where Ray would: gives each trial that has not ended a score, the same whenever it is asked."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.most = 10_000
        """Trials after which it is interrupted."""
        self.fails: Callable[[Plan, PlannedTrial], bool] = lambda plan, trial: False

    def run(
        self,
        study: Study,
        plan: Plan,
        recordings: Recordings,
        resources: Any,
        watch: Any,
        *,
        retry: bool = False,
        **_: Any,
    ) -> dict[str, Record]:
        records, tables = study.records(plan), Tables(study, plan)
        for trial in [trial for trial in plan.trials if trial.trial_id not in records][: self.most]:
            record = (
                Record(trial_id=trial.trial_id, status="FAILED", cause="MemoryError: too much")
                if self.fails(plan, trial)
                else self.scored(plan, trial, recordings)
            )
            study.keep(record)
            records[trial.trial_id] = record
            self.ran.append(trial.trial_id)
        for record in records.values():
            tables.put(record)
        tables.write()
        return records

    @staticmethod
    def scored(plan: Plan, trial: PlannedTrial, recordings: Recordings) -> Record:
        system, split = plan.system(trial), plan.space.scored_split
        accuracy = (len(plan.trials) * 7 + int(trial.trial_id, 16)) % 101 / 100
        facts: dict[str, Any] = {"recordings.train": 18, "recordings.labelled": 18}
        modalities = SYSTEMS[system].modalities
        for reading in ("", *(f"{name}." for name in modalities if len(modalities) > 1)):
            facts |= {f"{split}.{reading}accuracy": accuracy, f"{split}.{reading}f1": accuracy}
        for name in modalities:
            facts |= {
                f"embedding.{name}.{measure}": accuracy + 1 for measure in ("effective_rank", "std", "covariance")
            }
        rows = [row for row in recordings.rows if row.subject in (trial.held_out or plan.dataset.test_subjects)]
        predictions = [
            {
                "split": split, "recording_id": row.recording_id, "subject": row.subject, "label": row.label,
                "predicted": row.label, "confidence": 1.0,
            }
            for row in rows
        ]  # fmt: skip
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=facts, predictions=predictions)


@pytest.fixture
def scorer(monkeypatch: pytest.MonkeyPatch) -> Scorer:
    made = Scorer()
    without_ray = SimpleNamespace(run=made.run)
    monkeypatch.setitem(sys.modules, "mmssl.search.launch", without_ray)
    monkeypatch.setattr(studies, "console_beside", lambda descriptor: terminal.console_on(stderr=descriptor == 2))
    return made


@pytest.fixture
def here(tmp_path: Path, tiny: Recordings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with recordings of all subjects and of all but the test subject."""
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "tiny.parquet")
    tiny.where(lambda row: row.subject != "dora").save(tmp_path / "untested.parquet")
    return tmp_path


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def strict(text: str) -> Any:
    """JSON as every program reads it: NaN and infinities are none."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


FEW = ["--system", "untrained", "--system", "vicreg", "--seeds", "1,2"]

BAD = [
    (["tabel2"], "no experiment 'tabel2'; did you mean table2"),
    (
        ["5"],
        "no experiment '5'; valid names: table2, ablation, few_labels, hidden_classes, retrieval, features, health, "
        "unlabelled",
    ),
    (["table2", "--hide", "slow"], "--hide: table2 hides no classes; hidden_classes does"),
    (["hidden_classes", "--hide", "slwo"], "tiny has no class 'slwo'; did you mean slow"),
    (["hidden_classes", "--hide", "slow,,fast"], "hidden_classes"),
    (["hidden_classes", "--hide", "slow", "--hide", "slow"], "grid.pretrain.hidden_classes: ['slow'] is listed twice"),
    (["hidden_classes", "--hide", "slow,middle,fast"], "hides every class"),
    (["hidden_classes", "--set", "pretrain.hidden_classes=[slow]"], "the space searches it"),
    (["few_labels", "--set", "finetune.labels=0.1"], "the space searches it"),
    (["table2", "--formats", "gif"], "--formats gif: valid names: png, svg, pdf, none"),
    (["table2", "--formats", "png,svgz"], "--formats svgz: did you mean svg"),
    (["table2", "--formats", ""], "--formats"),
    (["table2", "old", "--seeds", "1"], "study old was planned already; leave out --seeds"),
    (
        ["table2", "old", "--folds", "test", "--set", "data.steps=16", "--name", "new"],
        "leave out --name, --folds, --set",
    ),
    (["table2", "old", "--dataset", "tiny.parquet", "--skip-bad"], "leave out --dataset, --skip-bad"),
    (["table2", "old"], "no study old"),
    (["health", "--folds", "test"], "--folds test: this experiment compares points"),
    (
        ["table2", "--folds", "test", "--dataset", "untested.parquet"],
        "no recordings of the test subjects dora are here",
    ),
    (["table2", "--folds", "loso"], "folds: "),
    (["table2", "--seeds", "1,a"], "seeds.1: "),
    (["table2", "--seeds", "1,1"], "seeds: 1 is listed twice"),
    (["table2", "--seeds", "-1"], "seeds.0: "),
    (["table2", "--seeds", "1.5"], "seeds.0: "),
    (["table2", "--seeds", "1,,2"], "seeds.1: "),
    (["table2", "--seeds", ""], "seeds.0: "),
    (["table2", "--system", "vicrge"], "no system 'vicrge'; did you mean vicreg"),
    (["table2", "--set", "pretrain.epoch=3"], "did you mean pretrain.epochs"),
    (["table2", "--set", "data.test_subjects=[anna]"], "anna"),
    (["table2", "--name", "../up"], "study name '../up'"),
    (["table2", "--dataset", "nowhere.parquet"], "nowhere.parquet: there is no such"),
    (["table2", "--cpus-per-trial", "5000"], "--cpus-per-trial 5000: there are"),
]


@pytest.mark.parametrize(("words", "said"), BAD, ids=[" ".join(words) for words, _ in BAD])
def test_bad_input_is_answered_in_words_with_2_and_nothing_is_written(
    ask: Ask, scorer: Scorer, here: Path, words: list[str], said: str
) -> None:
    before = files(here)
    where = [] if "--dataset" in words or "old" in words else ["--dataset", "tiny.parquet"]
    answer = ask("reproduce", *words, *where)
    assert answer.code == 2
    assert answer.err.startswith("mmssl-tune: ")
    assert answer.err.count("mmssl-tune: ") == 1
    assert said in answer.err
    assert answer.out == ""
    assert files(here) == before
    assert scorer.ran == []


def test_without_an_experiment_the_choice_is_named(ask: Ask) -> None:
    answer = ask("reproduce")
    assert answer.code == 2
    assert "Missing argument 'EXPERIMENT'" in answer.err


# What is planned


def planned(name: str) -> Plan:
    return Study("studies", name).plan()


def test_the_test_subjects_are_scored_where_they_are_here(ask: Ask, scorer: Scorer, here: Path) -> None:
    assert ask("reproduce", "table2", "--dataset", "tiny.parquet", *FEW, "--formats", "none").code == 0
    assert ask("reproduce", "table2", "--dataset", "untested.parquet", *FEW, "--formats", "none").code == 0
    tested, untested = planned("table2-tiny"), planned("table2-untested")
    assert {trial.fold for trial in tested.trials} == {"test"}
    assert {trial.fold for trial in untested.trials} == {"anna", "ben", "chris"}
    assert {trial.seed for trial in tested.trials} == {1, 2}


def test_an_experiment_that_chooses_never_scores_the_test_subjects(ask: Ask, scorer: Scorer, here: Path) -> None:
    words = ["--dataset", "tiny.parquet", "--seeds", "1", "--formats", "none"]
    assert ask("reproduce", "health", *words).code == 0
    assert {trial.fold for trial in planned("vicreg_grid-tiny").trials} == {"anna", "ben", "chris"}
    assert ask("reproduce", "table2", *words, "--system", "vicreg", "--system", "cmc").code == 0
    before = files(here)
    answer = ask("reproduce", "health", "table2-tiny")
    assert answer.code == 2
    assert "scored the test subjects" in answer.err
    assert files(here) == before


def test_whom_the_command_line_makes_test_counts_for_the_default(ask: Ask, scorer: Scorer, here: Path) -> None:
    words = ["--dataset", "untested.parquet", *FEW, "--set", "data.test_subjects=[chris]", "--formats", "none"]
    answer = ask("reproduce", "table2", *words, "--set", "data.train_subjects=[anna, ben]")
    assert answer.code == 0, answer.err
    plan = planned("table2-untested")
    assert {trial.fold for trial in plan.trials} == {"test"}
    assert (plan.dataset.train_subjects, plan.dataset.test_subjects) == (("anna", "ben"), ("chris",))


def test_the_protocol_of_the_command_line_counts_for_the_default(
    ask: Ask, scorer: Scorer, here: Path, tiny: Recordings
) -> None:
    rooms = {"0": "kitchen", "1": "kitchen", "2": "garden"}
    rows: list[Row] = [row.model_copy(update={"scene": rooms[row.trial]}) for row in tiny.rows]
    described = tiny.description.model_copy(
        update={"protocols": {"by_room": Protocol(by="scene", train=("kitchen",), test=("garden",))}}
    )
    Recordings(described, rows, tiny.skeleton, tiny.imu).save(here / "rooms.parquet")
    words = ["--dataset", "rooms.parquet", *FEW, "--set", "data.protocol=by_room", "--formats", "none"]
    answer = ask("reproduce", "table2", *words)
    assert answer.code == 0, answer.err
    assert {trial.fold for trial in planned("table2-rooms").trials} == {"test"}
    assert "by_room: trained on anna, ben, chris, dora, test subjects anna, ben, chris, dora scored" in answer.out


def test_the_papers_classes_are_hidden_by_default(ask: Ask, scorer: Scorer, here: Path) -> None:
    words = ["--dataset", "tiny.parquet", "--system", "vicreg", "--system", "cmc", "--seeds", "1", "--formats", "none"]
    assert ask("reproduce", "hidden_classes", *words).code == 0
    hidden = [trial.point["pretrain.hidden_classes"] for trial in planned("hidden_classes-tiny").trials]
    assert hidden == [[], ["slow"], ["middle"], ["slow", "middle"]] * 2, "of three classes: 1, 2, and the first two"


def test_classes_are_hidden_in_the_groups_that_are_given(ask: Ask, scorer: Scorer, here: Path) -> None:
    words = ["--dataset", "tiny.parquet", "--system", "vicreg", "--seeds", "1", "--formats", "none"]
    assert ask("reproduce", "hidden_classes", *words, "--hide", "slow, fast", "--hide", "middle").code == 0
    hidden = [trial.point["pretrain.hidden_classes"] for trial in planned("hidden_classes-tiny").trials]
    assert hidden == [[], ["slow", "fast"], ["middle"]]


def test_a_file_of_any_name_gives_a_study_a_name(ask: Ask, scorer: Scorer, here: Path) -> None:
    (here / "tiny.parquet").rename(here / "my réc.parquet")
    answer = ask("reproduce", "table2", "--dataset", "my réc.parquet", *FEW, "--formats", "none")
    assert answer.code == 0, answer.err
    assert planned("table2-my_r_c").dataset.source == str(here / "my réc.parquet")


# Again


def test_the_same_command_again_trains_nothing_and_makes_the_same(ask: Ask, scorer: Scorer, here: Path) -> None:
    words = ["reproduce", "table2", "--dataset", "tiny.parquet", *FEW, "--formats", "none", "--json"]
    first = ask(*words)
    assert len(scorer.ran) == 4
    second = ask(*words)
    assert (first.code, second.code) == (0, 0)
    assert strict(first.out) == strict(second.out)
    assert len(scorer.ran) == 4, "all had ended"


def test_the_same_study_with_other_settings_is_refused_with_what_to_do(ask: Ask, scorer: Scorer, here: Path) -> None:
    words = ["reproduce", "table2", "--dataset", "tiny.parquet", *FEW, "--formats", "none"]
    assert ask(*words).code == 0
    before = files(here)
    for more in (["--set", "data.steps=16"], ["--folds", "leave_one_subject_out"], ["--system", "cmc"]):
        answer = ask(*words, *more)
        assert answer.code == 2
        assert "study table2-tiny exists with other settings" in answer.err
        assert "table2 table2-tiny" in answer.err
        assert "--name" in answer.err
    assert files(here) == before
    assert ask("reproduce", "table2", "table2-tiny", "--formats", "none").code == 0
    assert ask(*words, "--set", "data.steps=16", "--name", "steps16").code == 0
    assert len(scorer.ran) == 4 + 4


def test_an_interrupted_experiment_makes_no_table_and_goes_on(ask: Ask, scorer: Scorer, here: Path) -> None:
    scorer.most = 3
    words = ["reproduce", "table2", "--dataset", "tiny.parquet", *FEW, "--formats", "none"]
    answer = ask(*words)
    assert answer.code == 130
    assert "mmssl-tune reproduce table2 table2-tiny" in answer.err
    assert not list(here.rglob("table2.parquet"))
    assert ask("reproduce", "table2", "table2-tiny", "--formats", "none").code == 0
    assert len(scorer.ran) == len(set(scorer.ran)) == 4
    assert list(here.rglob("table2.parquet"))


def test_a_failed_trial_ends_with_1_and_is_noted_in_the_table(ask: Ask, scorer: Scorer, here: Path) -> None:
    scorer.fails = lambda plan, trial: plan.system(trial) == "vicreg" and trial.seed == 2
    words = ["reproduce", "table2", "--dataset", "tiny.parquet", *FEW, "--formats", "none"]
    answer = ask(*words)
    assert answer.code == 1
    assert "note: vicreg, read from imu+skeleton: 1 of 2 trials are not complete" in answer.out


# What is printed and written

EXPERIMENTS = {
    "table2": ("table2", ["--system", "untrained", "--system", "vicreg", "--seeds", "1,2"]),
    "few_labels": ("few_labels", ["--system", "vicreg", "--system", "supervised"]),
    "hidden_classes": ("hidden_classes", ["--system", "vicreg", "--seeds", "1"]),
    "health": ("vicreg_grid", []),
}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_json_is_what_the_table_holds(ask: Ask, scorer: Scorer, here: Path, experiment: str) -> None:
    space, more = EXPERIMENTS[experiment]
    answer = ask("reproduce", experiment, "--dataset", "tiny.parquet", *more, "--json", "--formats", "svg")
    assert answer.code == 0, answer.err
    document = strict(answer.out)
    assert document["study"] == f"{space}-tiny"
    (path,) = document["tables"]
    assert path == str(here / "studies" / f"{space}-tiny" / "tables" / f"{experiment}.parquet")
    table = pq.read_table(path)
    assert table.to_pylist() == document["rows"]
    assert len(document["rows"]) > 0
    assert table.schema.metadata[b"caption"].decode() == document["caption"]
    assert "tiny" in document["caption"]
    assert [Path(text).name for text in document["texts"]] == [f"{experiment}.md", f"{experiment}.tex"]
    assert all(Path(figure).suffix == ".svg" and Path(figure).is_file() for figure in document["figures"])
    assert bool(document["figures"]) == (experiment in ("few_labels", "health"))


def test_the_table_is_printed_in_per_cent_with_spread_and_interval(ask: Ask, scorer: Scorer, here: Path) -> None:
    words = ["reproduce", "table2", "--dataset", "tiny.parquet", *FEW, "--formats", "none"]
    answer = ask(*words)
    (row,) = [
        row
        for row in pq.read_table(here / "studies" / "table2-tiny" / "tables" / "table2.parquet").to_pylist()
        if (row["system"], row["read_from"]) == ("vicreg", "imu+skeleton")
    ]
    lines = answer.out.splitlines()
    header = next(line for line in lines if "system" in line and "read from" in line)
    for column in ("accuracy (%)", "seeds ± (%)", "F1 (%)", "over untrained (%)"):
        assert column in header
    shown = next(line for line in lines if line.split()[:2] == ["vicreg", "imu+skeleton"])
    for name, mean in (("accuracy", "accuracy.mean"), ("f1", "f1.mean"), ("gain", "gain")):
        assert f"{100 * row[mean]:.1f} [{100 * row[f'{name}.low']:.1f}, {100 * row[f'{name}.high']:.1f}]" in shown
    assert f" {100 * row['accuracy.std']:.1f} " in shown
    assert any(line.startswith("Linear evaluation: tiny, cross_subject: trained on anna, ben, chris") for line in lines)
    assert f"written: {here / 'studies' / 'table2-tiny' / 'tables' / 'table2.parquet'}" in lines


# For real

SMALL = {
    "data.steps": 16,
    "encoder.imu.layers": 1,
    "encoder.imu.feedforward": 16,
    "encoder.projector.hidden": 16,
    "encoder.projector.width": 8,
    "pretrain.epochs": 3,
    "pretrain.batch_size": 16,
    "guide.epochs": 2,
    "guide.batch_size": 16,
    "finetune.epochs": 6,
    "finetune.hidden": 8,
}
FOUR = ("untrained", "vicreg", "supervised", "cmc_cmkm")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, tiny: Recordings) -> Path:
    folder = tmp_path_factory.mktemp("reproduce")
    tiny.save(folder / "tiny.parquet")
    return folder


def table2(root: Path, *more: str, systems: tuple[str, ...]) -> list[str]:
    return [
        "reproduce", "table2", "--dataset", str(root / "tiny.parquet"), "--storage", str(root / "studies"),
        *(word for name in systems for word in ("--system", name)),
        *(word for knob, value in SMALL.items() for word in ("--set", f"{knob}={value}")), *more,
    ]  # fmt: skip


@dataclass
class Made:
    words: list[str]
    done: subprocess.CompletedProcess[str]
    study: Study
    plan: Plan


def make(root: Path, name: str, *more: str, systems: tuple[str, ...]) -> Made:
    words = table2(root, "--name", name, "--local", *more, systems=systems)
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", "MMSSL_PRETRAINED_GB": "1"}
    done = subprocess.run(small.tune(*words), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    study = Study(root / "studies", name)
    return Made(words, done, study, study.plan())


@pytest.fixture(scope="module")
def held_out(root: Path) -> Made:
    return make(root, "held_out", "--seeds", "28", "--folds", "leave_one_subject_out", systems=FOUR)


@pytest.fixture(scope="module")
def tested(root: Path) -> Made:
    return make(root, "tested", "--seeds", "1,2", systems=("untrained", "vicreg"))


@pytest.mark.ray
def test_a_table_is_made_of_what_the_trials_scored(held_out: Made) -> None:
    trials = pd.read_parquet(held_out.study.folder / "trials.parquet")
    assert held_out.plan.size() == "4 points x 1 seed x 3 folds = 12 trials"
    assert set(trials["status"]) == {"COMPLETE"}
    table = pd.read_parquet(held_out.study.folder / "tables" / "table2.parquet").set_index(["system", "read_from"])
    assert set(table.index) == {(s, r) for s in FOUR for r in ("imu+skeleton", "imu", "skeleton")}
    untrained = trials[trials["system"] == "untrained"].set_index("fold")
    for system, own in trials.groupby("system"):
        for reading, column in (("imu+skeleton", "val"), ("imu", "val.imu"), ("skeleton", "val.skeleton")):
            row = table.loc[(system, reading)]
            scores = own.set_index("fold")[f"{column}.accuracy"]
            assert row["accuracy.mean"] == pytest.approx(scores.mean())
            assert row["f1.mean"] == pytest.approx(own[f"{column}.f1"].mean())
            assert (row["n"], row["planned"]) == (3, 3)
            if system != "untrained":
                assert row["gain"] == pytest.approx((scores - untrained[f"{column}.accuracy"]).mean())


@pytest.mark.ray
def test_the_written_table_carries_its_caption_for_every_reader(held_out: Made) -> None:
    path = held_out.study.folder / "tables" / "table2.parquet"
    caption = pq.read_schema(path).metadata[b"caption"].decode()
    assert caption in held_out.done.stdout
    assert "training subjects held out in turn (anna, ben, chris)" in caption
    assert "test subjects are not used; 1 seed (28); 3 epochs of pre-training, 6 of fine-tuning" in caption
    assert pd.read_parquet(path).shape == pq.read_table(path).shape
    assert f"written: {path}" in held_out.done.stdout


@pytest.mark.ray
def test_the_guides_were_pre_trained_once_for_each_fold(held_out: Made, tiny: Recordings) -> None:
    expected = {
        pretraining_name(held_out.plan.recipe(trial).guide_of(modality, tiny.kinds[modality]), tiny.fingerprint)
        for trial in held_out.plan.trials
        if held_out.plan.system(trial) == "cmc_cmkm"
        for modality in ("imu", "skeleton")
    }
    assert len(expected) == 3 * 2, "one a modality and fold"
    assert expected <= {path.name for path in (held_out.study.folder.parent / ".pretrained").iterdir()}
    epochs = pd.read_parquet(held_out.study.folder / "epochs.parquet")
    phases = epochs.groupby(["trial_id", "phase"]).size().unstack(fill_value=0)
    guided = [trial.trial_id for trial in held_out.plan.trials if held_out.plan.system(trial) == "cmc_cmkm"]
    assert (phases.loc[guided, ["guide.imu", "guide.skeleton", "pretrain", "finetune"]] == [2, 2, 3, 6]).all().all()
    assert (phases.drop(index=guided)[["guide.imu", "guide.skeleton"]] == 0).all().all()


@pytest.mark.ray
def test_once_made_it_is_made_again_without_training(held_out: Made, ask: Ask) -> None:
    kept = {path: when for path, when in files(held_out.study.folder).items() if "tables" not in path.parts}
    assert len([path for path in kept if path.name == "record.json"]) == 12
    again = ask(*held_out.words)
    assert again.code == 0, again.err
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert again.err == "", "no trial ran"
    shown = held_out.done.stdout
    assert again.out == shown[shown.index("Linear evaluation: ") :]


@pytest.mark.ray
def test_another_experiment_is_made_from_the_same_study(held_out: Made, ask: Ask, root: Path) -> None:
    words = ["held_out", "--storage", root / "studies", "--json", "--formats", "none"]
    answer = ask("reproduce", "retrieval", *words)
    assert answer.code == 0, answer.err
    document = strict(answer.out)
    assert {(row["system"], row["space"]) for row in document["rows"]} == {
        (system, space) for system in FOUR for space in ("features", "embedding")
    } - {("supervised", "embedding")}
    assert {row["n"] for row in document["rows"]} == {3}
    for row in document["rows"]:
        assert 0 <= row["recall@1"] <= row["recall@5"] <= row["recall@10"] <= 1
        assert 0 < row["map"] <= 1
    assert set((held_out.study.folder / "tables").iterdir()) == {
        held_out.study.folder / "tables" / f"{name}.{kind}"
        for name in ("table2", "retrieval")
        for kind in ("parquet", "md", "tex")
    }


@pytest.mark.ray
def test_where_the_test_subject_is_here_it_is_scored(tested: Made, tiny: Recordings) -> None:
    trials = pd.read_parquet(tested.study.folder / "trials.parquet")
    assert set(trials["fold"]) == {"test"}
    assert trials["val.accuracy"].isna().all()
    predictions = pd.read_parquet(tested.study.folder / "predictions.parquet")
    assert (set(predictions["subject"]), set(predictions["split"])) == ({"dora"}, {"test"})
    for trial_id, own in predictions.groupby("trial_id"):
        right = np.mean(own["label"] == own["predicted"])
        assert trials.set_index("trial_id").loc[trial_id, "test.accuracy"] == pytest.approx(right)
        assert len(own) == 9
    assert set(map(tuple, trials["subjects.train"])) == {("anna", "ben", "chris")}
    caption = pq.read_schema(tested.study.folder / "tables" / "table2.parquet").metadata[b"caption"].decode()
    assert "tiny, cross_subject: trained on anna, ben, chris, test subjects dora scored; 2 seeds (1, 2)" in caption
    assert "test, SCORED: dora; nothing may be chosen by it" in tested.done.stdout
    assert "mmssl-tune best" not in tested.done.stdout


@pytest.mark.ray
def test_by_the_test_subjects_nothing_is_chosen(tested: Made, ask: Ask, root: Path) -> None:
    for more in ([], ["--by", "test.f1"], ["--export"]):
        refused = ask("best", "tested", "--storage", root / "studies", *more)
        assert refused.code == 2
        assert "scored the test subjects, by which nothing may be chosen" in refused.err
    assert ask("reproduce", "health", "tested", "--storage", root / "studies").code == 2
    answer = ask("best", "tested", "--storage", root / "studies", "--by", "rankme", "--json")
    assert answer.code == 0, answer.err
    trials = pd.read_parquet(tested.study.folder / "trials.parquet")
    rank = trials[["embedding.imu.effective_rank", "embedding.skeleton.effective_rank"]].mean(axis=1)
    by_system = rank.groupby(trials["system"]).mean()
    chosen = strict(answer.out)["best"]
    assert chosen["system"] == by_system.idxmax()
    assert chosen["mean"] == pytest.approx(by_system.max())
