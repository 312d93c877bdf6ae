"""Run the project from a fresh checkout: `python3 start.py demo`, `python3 start.py test`.

Needs Python 3.11 to 3.14 with pip. Everything else comes, as locked, into .venv/ and .uv/ beside this file.
"""

import argparse
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

# Pythons since 3.6 must be able to read this file, to say this: no newer syntax in it.
if not (3, 11) <= sys.version_info[:2] <= (3, 14):
    version = ".".join(map(str, sys.version_info[:2]))
    sys.stderr.write(f"start.py needs Python 3.11 to 3.14, and this is {version}. Try: python3.13 start.py\n")
    sys.exit(2)

ROOT = Path(__file__).resolve().parent
UV = "0.13.9"
SECONDS_TO_STOP = 30

USAGE = """python3 start.py COMMAND [ARGUMENTS]

  demo [ARGUMENTS]   search on synthetic data, then export the best encoders; arguments go to `mmssl-tune launch`
  run CMD...         run a command in the environment, as in: python3 start.py run mmssl-tune --help
  test [ARGUMENTS]   lint, types and tests, with the tools they need; arguments go to pytest
  check              the same
  sync [ARGUMENTS]   install all of the locked environment (--no-dev: without those tools); arguments go to `uv sync`
"""


def main(arguments: list[str]) -> int:
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if {"-h", "--help"} & {command, *(rest if command == "demo" else [])}:
        print(USAGE, end="")
        return 0
    if command == "demo":
        steps = demo(rest)
    elif command in ("test", "check"):
        # Many tests wait for Ray most of the time. A file's share what they set up, so they stay together.
        all_tests = ["--numprocesses", "3", "--dist", "loadfile"]
        types = ["pyright", "--threads", "2"]
        steps = [["ruff", "check"], ["ruff", "format", "--check"], types, ["pytest", *(rest or all_tests)]]
    elif command == "run" and rest:
        steps = [rest]
    elif command == "sync":
        steps = []
    else:
        sys.stderr.write(USAGE)
        return 2
    # The user's paths hold where the user is; the checks look at the checkout.
    folder = None if command in ("demo", "run") else ROOT
    uv = find_uv()
    if uv is None:
        return 2
    if command == "sync":
        return call([uv, "sync", "--locked", "--python", sys.executable, *rest], folder)
    # The development tools are 1.2 GB that only the checks need. uv leaves them where they are installed.
    tools = [] if command in ("test", "check") else ["--no-dev"]
    options = ["--project", str(ROOT), "--locked", "--python", sys.executable, *tools]
    for step in steps:
        # What is installed was compiled then: uv would look through 20,000 files again, and say so.
        compiled = ["--no-compile-bytecode"] if (ROOT / ".venv").is_dir() else []
        code = call([uv, "run", *options, *compiled, *step], folder)
        if code != 0:
            return code
    return 0


def demo(arguments: list[str]) -> list[list[str]]:
    """A search, and the export of what it found; both are told the same name and places."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("--space", default="vicreg_grid")
    options.add_argument("--name")
    options.add_argument("--storage", default=os.environ.get("MMSSL_STORAGE", "studies"))
    options.add_argument("--data")
    chosen, others = options.parse_known_args(arguments)
    names = map("demo_{}".format, itertools.count(1))
    free = (name for name in names if not (Path(chosen.storage).expanduser() / name).exists())
    name = chosen.name or next(free)
    where = ["--storage", chosen.storage, *(["--data", chosen.data] if chosen.data else [])]
    return [
        ["mmssl-tune", "launch", chosen.space, "--name", name, *where, *others],
        ["mmssl-tune", "best", name, "--export", *where],
    ]


def find_uv() -> str | None:
    """The uv on the PATH, else our own, fetched where there is none yet; None, with a message, where that fails."""
    folder = ROOT / ".uv" / UV
    uv = shutil.which("uv") or shutil.which("uv", path=folder / "bin")
    if uv is not None:
        return uv
    if importlib.util.find_spec("pip") is None:
        sys.stderr.write(
            f"{sys.executable} has no pip, with which start.py gets uv. Install pip (Debian, Ubuntu: "
            "apt install python3-pip) or uv (https://docs.astral.sh/uv).\n"
        )
        return None
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--root-user-action=ignore"]
    pip = [sys.executable, "-m", "pip", "install", *quiet, "--only-binary=uv", "--target", str(folder), f"uv=={UV}"]
    if call(pip, ROOT) != 0:
        sys.stderr.write(f"start.py could not get uv {UV} (see above). Install it: https://docs.astral.sh/uv\n")
        return None
    return shutil.which("uv", path=folder / "bin")


def call(command: list[str], folder: Path | None) -> int:
    """Run a command in a folder (None: here) and wait for it, interrupted or not; its exit code as a shell has it."""
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never", "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    # Another environment that happens to be active is none of uv's business here.
    environment.pop("VIRTUAL_ENV", None)
    with subprocess.Popen(command, cwd=folder, env=environment) as child:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            # The terminal interrupts the child too; it puts its study in order and ends by itself.
            try:
                child.wait(SECONDS_TO_STOP)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                child.terminate()
            return 130
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
