"""A command of another revision and of this one, in turn: how many times the seconds it takes here.

python3 start.py run python benchmarks/against.py REVISION [--rounds 5] -- COMMAND...

    ... against.py HEAD~20 -- mmssl-tune --help
    ... against.py HEAD~20 -- python FOLDER/benchmarks/around_training.py

The revision is installed beside this one, as locked, in ~/.cache (some GB), and kept for the next time. FOLDER is the
checkout that the command is of. What a command prints is shown in the last round alone.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from tempfile import TemporaryDirectory

from measure import machine, ratio

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("revision")
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("command", nargs="+")
    given = words.parse_args()
    trees = {given.revision: installed(given.revision), "here": ROOT}
    used: dict[str, list[tuple[float, float]]] = {name: [] for name in trees}
    # The first round warms the caches of files, and does not count.
    for number in range(given.rounds + 1):
        for name, tree in trees.items():
            spent = run(tree, given.command, show=number == given.rounds)
            if number:
                used[name].append(spent)
    print(machine(1))
    for what, place in (("CPU", 0), ("wall clock", 1)):
        before, after = ([spent[place] for spent in used[name]] for name in trees)
        print(f"{what}: {middle(before):.3f} s at {given.revision}, {middle(after):.3f} s here: {ratio(after, before)}")


def middle(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) // 2]


def installed(revision: str) -> Path:
    """A checkout of a revision with its environment."""
    commit = git("-C", str(ROOT), "rev-parse", "--short=12", f"{revision}^{{commit}}").strip()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    tree = cache / "mmssl-tune-against" / commit
    if not (tree / ".venv" / "bin" / "mmssl-tune").exists():
        shutil.rmtree(tree, ignore_errors=True)
        git("clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(tree))
        git("-C", str(tree), "checkout", "--quiet", commit)
        subprocess.run([sys.executable, "start.py", "sync", "--no-dev", "--quiet"], cwd=tree, check=True)
    return tree


def git(*words: str) -> str:
    return subprocess.run([shutil.which("git") or "git", *words], check=True, stdout=subprocess.PIPE, text=True).stdout


def run(tree: Path, command: list[str], *, show: bool) -> tuple[float, float]:
    """Seconds of CPU, of the command and what it starts, and of the clock."""
    words = [word.replace("FOLDER", str(tree)) for word in command]
    path = f"{tree / '.venv' / 'bin'}:{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"} | {"PATH": path}
    with TemporaryDirectory() as folder:
        began, before = time.perf_counter(), getrusage(RUSAGE_CHILDREN)
        done = subprocess.run(
            [shutil.which(words[0], path=path) or words[0], *words[1:]],
            cwd=folder,
            env=environment,
            stdout=None if show else subprocess.DEVNULL,
            stderr=None if show else subprocess.DEVNULL,
            check=False,
        )
        wall, after = time.perf_counter() - began, getrusage(RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(words)} in {tree} ended with {done.returncode}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


if __name__ == "__main__":
    main()
