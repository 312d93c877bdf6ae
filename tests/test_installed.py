"""The package as others install it: a wheel, used from a folder that knows nothing of the checkout."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHORT = ["--set", "pretrain.epochs=1", "--set", "finetune.epochs=1", "--set", "data.steps=16"]
# Most of it is imports, which beside other work take minutes.
pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def uv() -> str:
    found = os.environ.get("UV") or shutil.which("uv")
    if not found:
        pytest.skip("no uv here: start.py has one")
    return found


@pytest.fixture(scope="module")
def wheel(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    _run(folder, [uv, "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT)])
    (built,) = folder.glob("*.whl")
    return built


def _run(folder: Path, command: list[str], **variables: str) -> str:
    outside = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command, cwd=folder, env={**outside, **variables}, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def environment(uv: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its programs: the wheel, with the other packages of this environment, but not its way to the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    programs = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    _run(folder, [uv, "venv", "--quiet", "--python", sys.executable, str(programs.parent)])
    python = str(programs / "python")
    _run(folder, [uv, "pip", "install", "--quiet", "--no-deps", "--python", python, str(wheel)])
    site = Path(_run(folder, [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip())
    # Folders that a .pth file names are searched; .pth files in these, as the checkout's, are not read.
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    assert Path(_run(folder, [python, "-c", "import mmssl; print(mmssl.__file__)"]).strip()).is_relative_to(site)
    return programs


def test_the_example_of_the_readme_runs_from_a_wheel(environment: Path, tmp_path: Path) -> None:
    tune, python = str(environment / "mmssl-tune"), str(environment / "python")
    assert "vicreg_grid" in _run(tmp_path, [tune, "spaces"]), "the spaces are in the wheel"
    _run(tmp_path, [tune, "run", *SHORT, "--out", "encoders"])
    made = "from mmssl.data.synthetic import generate; generate().save('my_recordings.parquet')\n"
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    _run(tmp_path, [python, "-c", made + example])


@pytest.mark.slow
@pytest.mark.ray
def test_uv_installs_the_command_as_a_tool(uv: str, wheel: Path, tmp_path: Path) -> None:
    places = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    _run(tmp_path, [uv, "tool", "install", "--quiet", "--python", sys.executable, str(wheel)], **places)
    tune = str(tmp_path / "bin" / "mmssl-tune")
    _run(tmp_path, [tune, "launch", "vicreg_diagonal", "--name", "first", *SHORT])
    _run(tmp_path, [tune, "best", "first", "--export", "--out", "encoders"])
    assert (tmp_path / "encoders" / "model.safetensors").is_file()
