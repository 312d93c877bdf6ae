"""What a shell offers after Tab, asked as the shell asks."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pseudo_terminal import terminal
from small import dataset_of, study_of

from mmssl import Recordings
from mmssl.cli.completion import rejoined
from mmssl.experiments import EXPERIMENTS
from mmssl.recipe import Recipe
from mmssl.study.folder import Study
from mmssl.study.plan import PlannedTrial, make_plan
from mmssl.study.presets import SYSTEMS
from mmssl.study.record import Record
from mmssl.study.space import Space

COMMAND = Path(sys.executable).with_name("mmssl-tune")
BASH = shutil.which("bash")
ASK = """
eval "$SCRIPT"
[[ $(complete -p mmssl-tune) =~ -F\\ ([a-z_]+) ]]
COMP_WORDS=(mmssl-tune "$@"); COMP_CWORD=$#
${BASH_REMATCH[1]} mmssl-tune
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str) -> str:
    environment = {**os.environ, "_MMSSL_TUNE_COMPLETE": f"source_{shell}"}
    return subprocess.run([COMMAND], capture_output=True, text=True, env=environment, check=True).stdout


@pytest.fixture(scope="module")
def for_bash() -> str:
    return script("bash")


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, for_bash: str):
    monkeypatch.delenv("MMSSL_STORAGE", raising=False)
    monkeypatch.setenv("PATH", f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SCRIPT", for_bash)

    def ask(*words: str) -> list[str]:
        command = ["bash", "-c", ASK, "bash", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    return ask


@pytest.fixture
def study(tmp_path: Path, tiny: Recordings) -> Study:
    """Of two points, the first trial of which has ended."""
    space = Space(name="s", grid={"objective.lambda": [1.0, 5.0]})
    bases = {"vicreg": Recipe()}
    plan = make_plan("alone", space, bases, dataset_of(tiny), [("anna",)], space.points(bases))

    def ended(_: Study, trial: PlannedTrial) -> Record:
        return Record(trial_id=trial.trial_id, status="COMPLETE" if trial == plan.trials[0] else "PLANNED")

    return study_of(tmp_path / "studies", plan, ended)


@pytest.mark.skipif(BASH is None, reason="no bash")
def test_bash_completes_commands_options_and_names(offered, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / "studies" / name).mkdir(parents=True)
        (tmp_path / "studies" / name / "plan.json").touch()
    assert set(offered("re")) == {"resume", "retry", "results", "report", "reproduce", "rerun"}
    assert "--storage" in offered("launch", "--st")
    assert "vicreg_grid" in offered("launch", "vicreg_")
    assert offered("launch", "--system", "simclr") == [name for name in SYSTEMS if name.startswith("simclr")]
    assert offered("run", "--set", "objective.la") == ["objective.lambda=", "objective.lambda=25.0"], "no blank after ="
    assert {"pretrain.epochs=", "pretrain.lr="} < set(offered("run", "--set", "pretrain.")), "no values of several"
    assert offered("run", "--set", "pretrain.prec")[1:] == [
        f"pretrain.precision={one}" for one in ("float32", "tfloat32", "bfloat16")
    ]
    assert offered("launch", "--dataset", "utd") == ["utd_mhad"]
    assert set(offered("results", "")) >= {"first", "second"}
    assert offered("resume", "--storage", str(tmp_path / "studies"), "s") == ["second"]
    assert offered("compare", "--storage", str(tmp_path / "studies"), "second", "s") == ["second"]
    assert offered("resume", "--storage", str(tmp_path / "nowhere"), "s") == []
    assert offered("resume", "--storage", "s3://bucket/prefix", "s") == []


@pytest.mark.skipif(BASH is None, reason="no bash")
def test_points_trials_scores_and_experiments_are_those_there_are(offered, study: Study) -> None:
    plan = study.plan()
    points = [f"alone:{point[:8]}" for point in plan.candidates]
    trial = f"alone:{plan.trials[0].trial_id[:8]}"
    assert len(points) == 2
    every = ["alone:best", *points]
    assert offered("compare", "alone:") == every
    assert offered("compare", "al") == ["alone", *every], "no blank before the colon"
    assert offered("compare", points[0], points[1][:-3]) == points[1:]
    assert offered("rerun", "alone:") == [trial], "the other has not been run"
    assert offered("rerun", "al") == [trial]
    assert offered("reproduce", "") == list(EXPERIMENTS)
    scores = offered("results", "alone", "--by", "")
    assert {"unlabelled", "rankme", "val.accuracy", "val.f1", "val.imu.accuracy"} <= set(scores)
    assert [score for score in scores if "interval" in score] == [], "its recordings are no windows"


@pytest.mark.parametrize(
    ("words", "whole", "prefix"),
    [
        (["m", "launch", "--se"], ["m", "launch", "--se"], ""),
        (["m", "run", "--set", "a.b", "="], ["m", "run", "--set", "a.b="], "a.b="),
        (["m", "run", "--set", "a.b", "=", "2"], ["m", "run", "--set", "a.b=2"], "a.b="),
        (["m", "run", "--set", "=", "a.b", "=", "2"], ["m", "run", "--set=a.b=2"], "a.b="),
        (["m", "run", "--set", "=", "a"], ["m", "run", "--set=a"], ""),
        (["m", "run", "--set", "a.b", "=", "2", ""], ["m", "run", "--set", "a.b=2", ""], ""),
        (["m", "rerun", "A", ":", "1", "B", ":", "2"], ["m", "rerun", "A:1", "B:2"], "B:"),
        (["m", "list", "--storage", "s3", ":", "//me", "@", "b"], ["m", "list", "--storage", "s3://me@b"], "s3://me@"),
        (["m", "run", "--set", "'a.b=2"], ["m", "run", "--set", "'a.b=2"], ""),
    ],
)  # fmt: skip
def test_words_that_bash_split_are_whole_again(words: list[str], whole: list[str], prefix: str) -> None:
    assert rejoined(words) == (whole, prefix)


@pytest.mark.skipif(BASH is None, reason="no bash")
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("run --set objective.lam", "run --set objective.lambda="),
        ("run --set objective.lambda=", "run --set objective.lambda=25.0"),
        ("run --set=pretrain.precision=b", "run --set=pretrain.precision=bfloat16"),
        ("launch --system=cmc_c", "launch --system=cmc_cmkm"),
        ("compare alone:POINT", "compare alone:POINT_"),
        ("rerun al", "rerun alone:TRIAL_"),
    ],
)
def test_tab_in_bash_goes_on_after_what_it_splits_at(study: Study, typed: str, completed: str) -> None:
    plan = study.plan()
    point, trial = next(iter(plan.candidates))[:8], plan.trials[0].trial_id[:8]
    for word, full in (("POINT_", point), ("POINT", point[:5]), ("TRIAL_", trial)):
        typed, completed = typed.replace(word, full), completed.replace(word, full)
    path = f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}"
    with terminal(["bash", "--norc", "--noprofile"], 120, 20, PS1="> ", PATH=path, MMSSL_STORAGE=study.root) as bash:
        bash.until(">")
        bash.press('eval "$(_MMSSL_TUNE_COMPLETE=source_bash mmssl-tune)"; echo ask"ed"\r')
        bash.until("asked")
        bash.press(f"mmssl-tune {typed}\t")
        bash.until(f"> mmssl-tune {completed}", 60)


@pytest.mark.parametrize(("shell", "said"), [("zsh", "#compdef mmssl-tune"), ("fish", "complete --command mmssl-tune")])
def test_other_shells_get_a_script(shell: str, said: str) -> None:
    assert said in script(shell)


def test_nothing_heavy_is_loaded_to_complete_a_study(tmp_path: Path) -> None:
    code = (
        "import sys, typer\n"
        "from mmssl.cli import app\n"
        "command = typer.main.get_command(app).commands['results']\n"
        "study = next(one for one in command.params if one.name == 'study')\n"
        "print(study.shell_complete(typer.Context(command), ''), {'torch', 'ray', 'optuna'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[] set()\n"
