"""One real study on real Ray, small in every respect, with points that complete, diverge and fail."""

import json
import os
import re
import signal
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import optuna
import pandas as pd
import psutil
import pytest
import small

from mmssl import Recordings
from mmssl.data.protocols import split
from mmssl.study.folder import Study
from mmssl.study.plan import Plan
from mmssl.trackers.optuna_study import optuna_study
from mmssl.training.kept import pretraining_name
from mmssl.training.prepared import Prepared
from mmssl.training.snapshot import Epoch
from mmssl.training.trial import run_trial

pytestmark = pytest.mark.ray(cpus=2)

# A learning rate of 1e30 diverges; a projector that no memory can hold is an error of torch's.
HUGE = 2_000_000_000
SPACE = small.space(
    4,
    {"finetune.epochs": 3},
    grid={"encoder.imu.heads": [1, 2], "pretrain.lr": [0.001, 1e30], "encoder.projector.hidden": [16, HUGE]},
    where=[
        "pretrain.lr < 1 or heads == 1",
        "encoder.projector.hidden == 16 or heads == 1",
        "encoder.projector.hidden == 16 or pretrain.lr < 1",
    ],
    folds=[["anna"], ["ben"]],
)
ONE_POINT = small.space(4, {"finetune.epochs": 3}, grid={"encoder.imu.heads": [1], "pretrain.lr": [0.001]})


@dataclass
class Launched:
    study: Study
    plan: Plan
    done: subprocess.CompletedProcess[str]


SECRET = "correct-horse-battery-staple"  # noqa: S105 - nobody's


def environment() -> dict[str, str]:
    secrets = dict.fromkeys(("AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "MY_PASSWORD"), SECRET)
    return {**os.environ, **secrets, "NO_COLOR": "1", "COLUMNS": "120"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: Recordings) -> Path:
    folder = tmp_path_factory.mktemp("launch")
    tiny.save(folder / "tiny.parquet")
    (folder / "mixed.yaml").write_text(SPACE)
    return folder


def launch_words(folder: Path, name: str) -> list[str]:
    return small.tune(
        "launch", folder / "mixed.yaml", "--dataset", folder / "tiny.parquet",
        "--storage", folder / "studies", "--name", name,
    )  # fmt: skip


@pytest.fixture(scope="module")
def launched(folder: Path) -> Launched:
    done = subprocess.run(launch_words(folder, "undisturbed"), capture_output=True, text=True, env=environment())
    study = Study(folder / "studies", "undisturbed")
    return Launched(study, study.plan(), done)


def test_every_planned_trial_ran_once_in_all_places(launched: Launched) -> None:
    plan, study = launched.plan, launched.study
    planned = [trial.trial_id for trial in plan.trials]
    assert plan.size() == "4 points x 1 seed x 2 folds = 8 trials"
    rows = pd.read_parquet(study.folder / "trials.parquet")
    assert list(rows["trial_id"]) == planned
    assert rows["status"].value_counts().to_dict() == {"COMPLETE": 4, "DIVERGED": 2, "FAILED": 2}
    assert set(study.records(plan)) == set(planned)
    seen = optuna_study(study, plan).trials
    assert sorted(trial.user_attrs["trial_id"] for trial in seen) == sorted(planned)
    values = dict(zip(rows["trial_id"], rows["val.accuracy"], strict=True))
    for trial in seen:
        if trial.state == optuna.trial.TrialState.COMPLETE:
            assert trial.value == values[trial.user_attrs["trial_id"]]
        else:
            assert trial.state == optuna.trial.TrialState.FAIL
            assert trial.user_attrs["status"] in ("DIVERGED", "FAILED")


def test_the_launch_says_what_happened_and_exits_by_it(launched: Launched) -> None:
    assert launched.done.returncode == 1, "two trials failed"
    assert "4 points x 1 seed x 2 folds = 8 trials" in launched.done.stdout
    assert "train anna, ben, chris; held out in turn: anna, ben; test, not looked at: dora" in launched.done.stdout
    (failed,) = (line for line in launched.done.stdout.splitlines() if "2 of 8 trials FAILED" in line)
    assert failed.startswith("2 of 8 trials FAILED: RuntimeError: ") and "you tried to allocate" in failed, failed
    assert "2 of 8 trials DIVERGED: " in launched.done.stdout
    page = launched.study.files.place("report.html")
    assert f"to make its page {page}: mmssl-tune report " in launched.done.stdout.splitlines()[-1]
    begins, first, *lines = launched.done.stderr.splitlines()
    assert begins.startswith("starting Ray; ")
    assert first.endswith(" trials at once, 1 CPU each")
    assert len(lines) == 8, "a line a trial, and no warning of any library"
    assert all(line.split("/")[0] == str(i + 1) for i, line in enumerate(lines))


def test_the_log_has_the_studys_own_lines(launched: Launched) -> None:
    first, second, *lines = launched.study.log().decode().splitlines()
    assert re.fullmatch(r"[-\d]{10} [:\d]{8} 8 of 8 trials to run", first)
    assert second.endswith(" trials at once, 1 CPU each")
    assert len(lines) == 8, "a line a trial, and nothing that Ray says of every study"
    assert all(re.search(r" fold=\w+: (COMPLETE|DIVERGED|FAILED)", line) for line in lines)


def test_what_a_worker_gives_is_what_the_same_recipe_gives_alone(launched: Launched, tiny: Recordings) -> None:
    rows = pd.read_parquet(launched.study.folder / "trials.parquet").set_index("trial_id")
    predictions = pd.read_parquet(launched.study.folder / "predictions.parquet")
    for trial in [trial for trial in launched.plan.trials if rows.loc[trial.trial_id, "status"] == "COMPLETE"][-2:]:
        recipe = launched.plan.recipe(trial)
        alone = run_trial(
            recipe, Prepared.of(tiny, recipe.data.steps, recipe.data.modalities), split(tiny, recipe.data)
        )
        for name, value in alone.metrics.items():
            assert rows.loc[trial.trial_id, name] == value, name
        theirs = predictions[predictions["trial_id"] == trial.trial_id]
        assert list(theirs["predicted"]) == [row["predicted"] for row in alone.predictions]
        kept = launched.study.folder / "trials" / trial.trial_id / "model.safetensors"
        assert alone.model is not None
        assert kept.read_bytes() == alone.model.files()["model.safetensors"]


def test_curves_have_every_epoch_once(launched: Launched) -> None:
    epochs = pd.read_parquet(launched.study.folder / "epochs.parquet")
    rows = pd.read_parquet(launched.study.folder / "trials.parquet").set_index("trial_id")
    for trial_id, curve in epochs.groupby("trial_id"):
        pretrain = curve[curve["phase"] == "pretrain"]
        assert list(pretrain["epoch"]) == list(range(1, len(pretrain) + 1))
        if rows.loc[trial_id, "status"] == "COMPLETE":
            assert len(pretrain) == 4
            assert list(curve[curve["phase"] == "finetune"]["epoch"]) == [1, 2, 3]


def test_rows_carry_cause_subjects_and_origin(launched: Launched, tiny: Recordings) -> None:
    rows = pd.read_parquet(launched.study.folder / "trials.parquet")
    diverged = rows[rows["status"] == "DIVERGED"]
    assert diverged["cause"].str.match(r"epoch \d+: \w+ is (nan|inf)").all()
    failed = rows[rows["status"] == "FAILED"]
    assert failed["traceback"].str.contains("Traceback").all()
    assert (rows["data.fingerprint"] == tiny.fingerprint).all()
    assert rows["version.torch"].notna().all()
    assert rows[["hardware.cpu", "hardware.cores", "determinism.algorithms", "packages"]].notna().all(axis=None)
    for digest in set(rows["packages"]):
        installed = launched.study.packages(digest)
        assert installed is not None
        assert installed["torch"] == version("torch")
    for row in rows.to_dict("records"):
        assert set(row["subjects.train"]) | set(row["subjects.validation"]) == {"anna", "ben", "chris"}
        assert not set(row["subjects.train"]) & set(row["subjects.validation"])


def test_a_trial_run_again_comes_to_the_same(launched: Launched, folder: Path) -> None:
    def again(number: int, *words: str) -> subprocess.CompletedProcess[str]:
        trial_id = launched.plan.trials[number].trial_id
        asked = ["rerun", f"undisturbed:{trial_id[:10]}", "--storage", folder / "studies", *words]
        return subprocess.run(small.tune(*asked), capture_output=True, text=True, env=environment())

    rows = pd.read_parquet(launched.study.folder / "trials.parquet")
    complete, diverged, failed = (rows.index[rows["status"] == one][0] for one in ("COMPLETE", "DIVERGED", "FAILED"))
    done = again(complete)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"the same \(to the bit\); (\d+) of \1 values equal, 0 predictions differ", done.stdout)
    [answer] = json.loads(again(diverged, "--json").stdout)["trials"]
    assert (answer["same"], answer["now"]["status"], answer["changed"]) == (True, "DIVERGED", {})
    done = again(failed)
    assert done.returncode == 2
    assert "is FAILED: there is nothing to compare with" in done.stderr


def test_a_second_launch_of_the_same_name_is_refused(launched: Launched, folder: Path) -> None:
    done = subprocess.run(launch_words(folder, "undisturbed"), capture_output=True, text=True, env=environment())
    assert done.returncode == 2
    assert "mmssl-tune resume undisturbed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_point_that_failed_is_never_best(launched: Launched, folder: Path) -> None:
    words = small.tune("best", "undisturbed", "--storage", folder / "studies", "--json")
    done = subprocess.run(words, capture_output=True, text=True, env=environment())
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert answer["best"]["pretrain.lr"] == 0.001
    assert answer["best"]["encoder.imu.heads"] in (1, 2)
    assert any("2 of 4 points" in caveat for caveat in answer["caveats"])


# On all training subjects; two trials differ in fine-tuning alone, and the encoders of simclr_imu guide cmc_cmkm.
SYSTEMS_SPACE = small.space(
    2,
    {"pretrain.lr": 0.001, "guide.epochs": 2, "guide.batch_size": 16, "guide.lr": 0.001, "finetune.epochs": 3},
    systems=["simclr_imu", "cmc_cmkm", "supervised"],
    grid={"finetune.labels": [0.5, 1]},
    folds="test",
    keep_models="none",
    recipe="paper",  # Whose augmentation of one modality is that of the guides, so that they are shared.
)


@pytest.mark.slow
def test_systems_that_share_their_pre_training_give_what_each_gives_alone(folder: Path, tiny: Recordings) -> None:
    (folder / "systems.yaml").write_text(SYSTEMS_SPACE)
    words = small.tune(
        "launch", folder / "systems.yaml", "--dataset", folder / "tiny.parquet",
        "--storage", folder / "shared", "--name", "systems",
    )  # fmt: skip
    keeping = {**environment(), "MMSSL_PRETRAINED_GB": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=keeping)
    assert done.returncode == 0, done.stderr
    assert "test, SCORED: dora" in done.stdout
    study = Study(folder / "shared", "systems")
    plan = study.plan()
    rows = pd.read_parquet(study.folder / "trials.parquet").set_index("trial_id")
    assert list(rows["system"]) == [name for name in ("simclr_imu", "cmc_cmkm", "supervised") for _ in range(2)]
    assert set(rows["fold"]) == {"test"}
    assert rows["val.accuracy"].isna().all()
    assert set(rows["recordings.train"]) == {27}
    assert list(rows["recordings.labelled"]) == [3 * round(0.5 * 9), 27] * 3
    assert set(rows["recordings.validation"]) == {9}
    epochs = pd.read_parquet(study.folder / "epochs.parquet")
    for trial in plan.trials:
        recipe = plan.recipe(trial)
        told: list[Epoch] = []
        prepared = Prepared.of(tiny, recipe.data.steps, recipe.data.modalities)
        alone = run_trial(recipe, prepared, split(tiny, recipe.data), scored_split="test", on_epoch=told.append)
        for name, value in alone.metrics.items():
            assert rows.loc[trial.trial_id, name] == value, name
        curve = epochs[epochs["trial_id"] == trial.trial_id]
        assert list(zip(curve["phase"], curve["epoch"], strict=True)) == [(one["phase"], one["epoch"]) for one in told]
        assert not list((study.folder / "trials" / trial.trial_id).glob("model.*")), "the space says to keep none"
    predictions = pd.read_parquet(study.folder / "predictions.parquet")
    assert set(predictions["split"]) == {"test"}
    assert set(predictions["subject"]) == {"dora"}
    cmc = plan.recipe(plan.trials[2])
    trained = [plan.recipe(plan.trials[0]), cmc, *(cmc.guide_of(one, tiny.kinds[one]) for one in cmc.data.modalities)]
    kept = {pretraining_name(recipe, tiny.fingerprint) for recipe in trained}
    assert len(kept) == 3
    assert {path.name for path in (folder / "shared" / ".pretrained").iterdir()} == kept
    assert set(rows["pretraining_id"]) == {
        pretraining_name(plan.recipe(trial), tiny.fingerprint) for trial in plan.trials
    }

    # A study over other fine-tuning takes all of it from there, and gives what it gives by itself.
    studies = {}
    for root in ("shared", "apart"):
        words = small.tune(
            "launch", folder / "systems.yaml", "--dataset", folder / "tiny.parquet",
            "--storage", folder / root, "--name", "again", "--set", "finetune.lr=0.01",
        )  # fmt: skip
        subprocess.run(words, check=True, capture_output=True, env=keeping)
        studies[root] = pd.read_parquet(folder / root / "again" / "trials.parquet")
    same = ["trial_id", "status", "test.accuracy", "test.f1", "train.loss", "train.finetune.loss", "pretraining_id"]
    pd.testing.assert_frame_equal(studies["shared"][same], studies["apart"][same])
    assert set(studies["shared"]["pretraining_id"]) == set(rows["pretraining_id"])
    reused = {root: one[["system", "pretraining_reused"]].dropna() for root, one in studies.items()}
    assert reused["shared"]["pretraining_reused"].to_list() == [True] * 4
    assert reused["apart"].groupby("system")["pretraining_reused"].sum().to_dict() == {"cmc_cmkm": 1, "simclr_imu": 1}
    assert {path.name for path in (folder / "shared" / ".pretrained").iterdir()} == kept


def test_no_secret_of_the_environment_is_kept_or_said(launched: Launched) -> None:
    files = [path for path in launched.study.folder.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    tables = [launched.study.table(path.name).to_pylist() for path in launched.study.folder.glob("*.parquet")]
    assert SECRET not in str(tables)
    assert SECRET not in launched.done.stdout + launched.done.stderr


@pytest.mark.ray(cpus=1)
def test_interrupted_and_resumed_it_ends_as_if_undisturbed(launched: Launched, folder: Path) -> None:
    study = Study(folder / "studies", "interrupted")
    words = launch_words(folder, "interrupted")
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    ) as process:
        while not list(study.folder.glob("trials/*/record.json")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole process group
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    assert "mmssl-tune resume interrupted" in out
    assert "Traceback" not in out + err
    assert "Tuner.restore" not in study.log().decode(), "Tune's own way on, of a folder that is gone"
    rows = pd.read_parquet(study.folder / "trials.parquet")
    assert len(rows) == 8
    assert "RUNNING" not in set(rows["status"])
    assert (rows["status"] == "PLANNED").any()
    kept = {path: path.stat().st_mtime_ns for path in study.folder.glob("trials/*/record.json")}

    words = small.tune("resume", "interrupted", "--storage", folder / "studies")
    done = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert done.returncode == 1, done.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "what had ended was run again"
    mine, theirs = (pd.read_parquet(s.folder / "trials.parquet").set_index("trial_id") for s in (study, launched.study))
    same = ["status", "val.accuracy", "val.f1", "train.loss", "fold", "point_id"]
    pd.testing.assert_frame_equal(mine[same], theirs[same])
    assert len(study.records(launched.plan)) == 8


@pytest.mark.slow
def test_a_trial_whose_worker_is_killed_goes_on(launched: Launched, folder: Path) -> None:
    study = Study(folder / "studies", "killed")
    with subprocess.Popen(
        launch_words(folder, "killed"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        killed = 0
        while killed < 2 and process.poll() is None:
            time.sleep(0.05)
            for worker in [child for child in family(process.pid) if "ray::ImplicitFunc.train" in title(child)][:1]:
                worker.kill()
                killed += 1
                time.sleep(3)
        process.communicate(timeout=200)
    assert killed
    mine, theirs = (pd.read_parquet(s.folder / "trials.parquet").set_index("trial_id") for s in (study, launched.study))
    same = ["status", "val.accuracy", "train.loss"]
    pd.testing.assert_frame_equal(mine[same], theirs[same])
    curves = pd.read_parquet(study.folder / "epochs.parquet")
    assert not curves.duplicated(["trial_id", "phase", "epoch"]).any()
    assert len(curves) == len(pd.read_parquet(launched.study.folder / "epochs.parquet"))


@pytest.mark.slow
def test_a_worker_that_dies_again_and_again_fails_its_trial_alone_and_retry_mends_it(
    launched: Launched, folder: Path
) -> None:
    study = Study(folder / "studies", "dying")
    words = small.tune(
        "launch", folder / "mixed.yaml", "--dataset", folder / "tiny.parquet",
        "--storage", folder / "studies", "--name", "dying", "--max-concurrent", 1,
    )  # fmt: skip
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        while not study.exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        first = study.plan().trials[0].trial_id
        while not (study.folder / "trials" / first / "record.json").exists():
            assert process.poll() is None, process.communicate()
            for worker in [child for child in family(process.pid) if "ray::ImplicitFunc" in title(child)]:
                worker.kill()
            time.sleep(0.02)
        process.communicate(timeout=200)
    rows = pd.read_parquet(study.folder / "trials.parquet")
    died = rows[(rows["status"] == "FAILED") & (rows["param.encoder.projector.hidden"] != HUGE)]
    assert first in set(died["trial_id"])
    assert died["cause"].str.startswith("the worker died: The actor died unexpectedly").all()
    assert died["cause"].str.endswith("(it was started 3 times; perhaps it was killed because memory ran out)").all()
    assert died["traceback"].str.contains("Worker exit type: SYSTEM_ERROR").all()

    done = subprocess.run(
        small.tune("retry", "dying", "--storage", folder / "studies"), capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 1, "three trials fail whenever they are tried"
    assert f"{len(died) + 3} FAILED" in done.stdout
    mine, theirs = (pd.read_parquet(s.folder / "trials.parquet").set_index("trial_id") for s in (study, launched.study))
    same = ["status", "val.accuracy", "train.loss"]
    pd.testing.assert_frame_equal(mine[same], theirs[same])


@pytest.mark.slow
def test_workers_that_ray_kills_for_want_of_memory_fail_their_trials_and_retry_mends_them(folder: Path) -> None:
    """Ray is told that a hundredth of the memory is all there is, and kills whatever it has started."""
    name = "starved"
    words = launch_words(folder, name)
    words[words.index(str(folder / "mixed.yaml"))] = str(folder / "one.yaml")
    (folder / "one.yaml").write_text(ONE_POINT)
    done = subprocess.run(
        words, capture_output=True, text=True, env={**environment(), "RAY_memory_usage_threshold": "0.01"}
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    study = Study(folder / "studies", name)
    rows = pd.read_parquet(study.folder / "trials.parquet")
    failed = rows[rows["status"] == "FAILED"]
    assert len(failed)
    assert failed["cause"].str.startswith("the worker died").all()
    assert failed["cause"].str.contains("memory").any(), "Ray does not say of each why"
    assert set(rows["status"]) <= {"FAILED", "PLANNED"}
    words = small.tune("retry", name, "--storage", folder / "studies")
    assert subprocess.run(words, capture_output=True, env=environment()).returncode == 0
    assert set(pd.read_parquet(study.folder / "trials.parquet")["status"]) == {"COMPLETE"}


@pytest.mark.slow
def test_an_extended_study_is_one_that_was_planned_whole(launched: Launched, folder: Path) -> None:
    """Seeds and values are added to a finished study; what had ended is not run again."""
    study = Study(folder / "studies", "extended")
    words = small.tune(
        "launch", folder / "mixed.yaml", "--dataset", folder / "tiny.parquet",
        "--storage", folder / "studies", "--name", "extended", "--set", "finetune.epochs=2",
    )  # fmt: skip
    (folder / "small.yaml").write_text(ONE_POINT)
    words[words.index(str(folder / "mixed.yaml"))] = str(folder / "small.yaml")
    subprocess.run(words, capture_output=True, check=True, env=environment())
    kept = {path: path.stat().st_mtime_ns for path in study.folder.glob("trials/*/record.json")}
    assert len(kept) == 3
    words = small.tune(
        "extend", "extended", "--storage", folder / "studies", "--seeds", "29", "--values", "encoder.imu.heads=[2]"
    )
    done = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    rows = pd.read_parquet(study.folder / "trials.parquet")
    assert len(rows) == 2 * 2 * 3
    assert set(rows["status"]) == {"COMPLETE"}
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "what had ended was run again"
    assert set(zip(rows["seed"], rows["param.encoder.imu.heads"], strict=True)) == {(28, 1), (28, 2), (29, 1), (29, 2)}
    again = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert again.returncode == 2
    assert "29 is listed twice" in again.stderr


def family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
