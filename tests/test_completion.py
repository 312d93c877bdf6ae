"""What a shell offers after Tab, asked as the shell asks."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmssl.study.presets import SYSTEMS

COMMAND = Path(sys.executable).with_name("mmssl-tune")
BASH = shutil.which("bash")
ASK = """
eval "$(_MMSSL_TUNE_COMPLETE=source_bash mmssl-tune)"
[[ $(complete -p mmssl-tune) =~ -F\\ ([a-z_]+) ]]
COMP_WORDS=(mmssl-tune "$@"); COMP_CWORD=$#
${BASH_REMATCH[1]} mmssl-tune
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("MMSSL_STORAGE", raising=False)
    monkeypatch.setenv("PATH", f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}")

    def ask(*words: str) -> list[str]:
        command = ["bash", "-c", ASK, "bash", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    return ask


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


@pytest.mark.parametrize(("shell", "said"), [("zsh", "#compdef mmssl-tune"), ("fish", "complete --command mmssl-tune")])
def test_other_shells_get_a_script(shell: str, said: str) -> None:
    environment = {**os.environ, "_MMSSL_TUNE_COMPLETE": f"source_{shell}"}
    done = subprocess.run([COMMAND], capture_output=True, text=True, env=environment, check=True)
    assert said in done.stdout


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
