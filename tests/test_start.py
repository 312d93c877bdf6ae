import ast
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

START = Path(__file__).resolve().parents[1] / "start.py"

# Stands for uv: notes how it was called, and ends as the test wants.
UV = """
import json, os, sys, time
call = {"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}
with open(os.environ["CALLS"], "a") as file:
    print(json.dumps(call), file=file)
if "sleep" in sys.argv:
    time.sleep(60)
sys.exit(int(os.environ["CODE"]) if os.environ.get("FAIL") in sys.argv else 0)
"""
# Stands for pip: puts that uv where it is told.
PIP = """
import json, os, pathlib, shutil, sys
with open(os.environ["CALLS"], "a") as file:
    print(json.dumps({"arguments": ["pip", *sys.argv[1:]]}), file=file)
target = pathlib.Path(sys.argv[sys.argv.index("--target") + 1]) / "bin"
target.mkdir(parents=True)
shutil.copy(os.environ["FAKE_UV"], target / "uv")
"""


class Checkout:
    """A copy of start.py in a folder of its own, with no uv but the one above."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        self.root.mkdir()
        shutil.copy(START, self.root)
        self.calls_file = folder / "calls"
        self.calls_file.touch()
        (folder / "uv.py").write_text(UV)
        self.uv = folder / "bin" / "uv"
        self.uv.parent.mkdir()
        self.uv.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{folder}/uv.py" "$@"\n')
        self.uv.chmod(0o755)
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        self.environment = {
            "PATH": str(self.uv.parent),
            "HOME": str(folder / "no home"),
            "CALLS": str(self.calls_file),
            "FAKE_UV": str(self.uv),
            "VIRTUAL_ENV": "/another",
        }

    def popen(self, *arguments: str, python: str = sys.executable, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [python, str(self.root / "start.py"), *arguments],
            cwd=self.elsewhere,
            env=self.environment | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self, *arguments: str, python: str = sys.executable, **environment: str) -> tuple[int, str, str]:
        with self.popen(*arguments, python=python, **environment) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    @property
    def calls(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

    @property
    def prefix(self) -> list[str]:
        return ["run", "--project", str(self.root), "--locked", "--python", sys.executable]

    @property
    def commands(self) -> list[list[str]]:
        """What uv was asked to run, without the part that is always the same."""
        prefix = self.prefix
        commands: list[list[str]] = []
        for call in self.calls:
            arguments = call["arguments"]
            assert isinstance(arguments, list)
            assert arguments[: len(prefix)] == prefix
            commands.append([word for word in arguments[len(prefix) :] if word != "--no-dev"])
        return commands

    @property
    def without_tools(self) -> set[bool]:
        """Whether uv was asked to leave out what only tests need."""
        return {"--no-dev" in str(call["arguments"]) for call in self.calls}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.mark.parametrize("command", ["test", "check"])
def test_the_checks_are_lint_types_and_tests(checkout: Checkout, command: str):
    assert checkout.start(command, "tests/test_x.py", "-k", "a or b") == (0, "", "")
    assert checkout.commands == [
        ["ruff", "check"],
        ["ruff", "format", "--check"],
        ["pyright", "--threads", "2"],
        ["pytest", "tests/test_x.py", "-k", "a or b"],
    ]
    assert {call["folder"] for call in checkout.calls} == {str(checkout.root)}
    assert checkout.without_tools == {False}


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_the_first_failure_ends_it_with_its_code(checkout: Checkout, step: int):
    word = ["check", "--check", "pyright", "pytest"][step]
    code, out, err = checkout.start("test", FAIL=word, CODE=str(40 + step))
    assert (code, out, err) == (40 + step, "", "")
    assert len(checkout.calls) == step + 1


def test_a_command_runs_where_the_user_is_in_the_locked_environment_of_this_python(checkout: Checkout):
    assert checkout.start("run", "python", "-c", "print( 1 )") == (0, "", "")
    assert checkout.commands == [["python", "-c", "print( 1 )"]]
    assert checkout.without_tools == {True}
    (call,) = checkout.calls
    assert call["folder"] == str(checkout.elsewhere)
    environment = call["environment"]
    assert isinstance(environment, dict)
    assert environment["UV_PYTHON_DOWNLOADS"] == "never"
    assert "VIRTUAL_ENV" not in environment


def test_what_is_installed_is_compiled_once(checkout: Checkout):
    checkout.start("run", "true")
    (checkout.root / ".venv").mkdir()
    checkout.start("run", "true")
    assert checkout.commands == [["true"], ["--no-compile-bytecode", "true"]], "at first as pyproject.toml has it"


def test_sync_installs(checkout: Checkout):
    assert checkout.start("sync", "--no-dev") == (0, "", "")
    assert [call["arguments"] for call in checkout.calls] == [
        ["sync", "--locked", "--python", sys.executable, "--no-dev"]
    ]


def test_the_demo_searches_and_exports(checkout: Checkout):
    assert checkout.start("demo", "--max-concurrent", "2") == (0, "", "")
    launch = ["mmssl-tune", "launch", "vicreg_grid", "--name", "demo_1", "--storage", "studies"]
    best = ["mmssl-tune", "best", "demo_1", "--export", "--storage", "studies"]
    assert checkout.commands == [[*launch, "--max-concurrent", "2"], best]
    assert checkout.without_tools == {True}
    assert {call["folder"] for call in checkout.calls} == {str(checkout.elsewhere)}


def test_the_demo_takes_a_free_name(checkout: Checkout):
    for name in ("demo_1", "demo_2", "demo_4"):
        (checkout.elsewhere / "studies" / name).mkdir(parents=True)
    checkout.start("demo")
    assert [command[2:][command[2:].index("demo_3")] for command in checkout.commands] == ["demo_3", "demo_3"]


def test_the_export_follows_the_search_in_name_and_place(checkout: Checkout):
    options = [
        "--storage=/far away",
        "--name",
        "mine",
        "--space=small.yaml",
        "--data",
        "/data",
        "--set",
        "pretrain.epochs=2",
    ]
    assert checkout.start("demo", *options) == (0, "", "")
    places = ["--storage", "/far away", "--data", "/data"]
    assert checkout.commands == [
        ["mmssl-tune", "launch", "small.yaml", "--name", "mine", *places, "--set", "pretrain.epochs=2"],
        ["mmssl-tune", "best", "mine", "--export", *places],
    ]


def test_nothing_is_exported_from_a_failed_search(checkout: Checkout):
    assert checkout.start("demo", FAIL="launch", CODE="3")[0] == 3
    assert len(checkout.calls) == 1


def test_uv_is_fetched_once_where_there_is_none(checkout: Checkout, tmp_path: Path):
    (tmp_path / "modules" / "pip").mkdir(parents=True)
    (tmp_path / "modules" / "pip" / "__init__.py").touch()
    (tmp_path / "modules" / "pip" / "__main__.py").write_text(PIP)
    bare = {"PATH": str(checkout.elsewhere), "PYTHONPATH": str(tmp_path / "modules")}
    assert checkout.start("run", "true", **bare) == (0, "", "")
    assert checkout.start("run", "true", **bare) == (0, "", "")
    first, *others = [call["arguments"] for call in checkout.calls]
    assert isinstance(first, list)
    version = runpy.run_path(str(START), run_name="start")["UV"]
    assert first[:2] == ["pip", "install"]
    assert f"uv=={version}" in first
    assert others == [[*checkout.prefix, "--no-dev", "true"]] * 2
    assert (checkout.root / ".uv" / version / "bin" / "uv").is_file()


def test_without_pip_it_says_what_to_install(checkout: Checkout, tmp_path: Path):
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    code, out, err = checkout.start("test", python=python, PATH=str(checkout.elsewhere))
    assert (code, out) == (2, "")
    assert f"{python} has no pip" in err
    assert "python3-pip" in err


def test_where_uv_cannot_be_had_it_says_so(checkout: Checkout, tmp_path: Path):
    (tmp_path / "modules" / "pip").mkdir(parents=True)
    (tmp_path / "modules" / "pip" / "__init__.py").touch()
    (tmp_path / "modules" / "pip" / "__main__.py").write_text("raise SystemExit('no network')")
    code, _, err = checkout.start("test", PATH=str(checkout.elsewhere), PYTHONPATH=str(tmp_path / "modules"))
    assert code == 2
    assert "no network" in err
    assert "could not get uv" in err


@pytest.mark.parametrize("arguments", [[], ["tset"], ["run"]])
def test_an_unknown_command_is_answered_with_the_usage(checkout: Checkout, arguments: list[str]):
    code, out, err = checkout.start(*arguments)
    assert (code, out) == (2, "")
    assert "start.py COMMAND" in err
    assert checkout.calls == []


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["demo", "--help"]])
def test_help_runs_nothing(checkout: Checkout, arguments: list[str]):
    code, out, err = checkout.start(*arguments)
    assert (code, err) == (0, "")
    assert "start.py COMMAND" in out
    assert checkout.calls == []


def test_ctrl_c_ends_it_quietly_with_130(checkout: Checkout):
    with checkout.popen("run", "sleep") as process:
        for _ in range(100):
            if checkout.calls:
                break
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "start.py" not in err


@pytest.mark.parametrize("version", [(2, 7), (3, 10), (3, 15), (4, 0)])
def test_another_python_is_refused(
    version: tuple[int, int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    with pytest.raises(SystemExit) as error:
        runpy.run_path(str(START), run_name="start")
    assert error.value.code == 2
    assert f"needs Python 3.11 to 3.14, and this is {version[0]}.{version[1]}" in capsys.readouterr().err


def test_older_pythons_can_read_as_far_as_the_refusal():
    ast.parse(START.read_text(), feature_version=(3, 7))
