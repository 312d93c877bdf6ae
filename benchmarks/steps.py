"""A pre-training step of another revision and of this one, in turn: how many times the seconds it takes here.

python3 start.py run python benchmarks/steps.py REVISION [--rounds 9]

The revision is installed as `against.py` does it. Each build has a process with a ready batch, as in `arithmetic.py`;
they take their steps one after the other, for each precision and number of threads.
"""

import argparse
import os
import subprocess
from pathlib import Path
from typing import IO, cast

from against import ROOT, installed, middle
from measure import machine, ratio

from mmssl.process import cpus

WARM = 3
"""Steps that do not count."""
# With the build's own benchmarks: an older one has other modules. A step for each line that comes in.
CHILD = """
import sys, time
import torch
from arithmetic import step_of
torch.set_num_threads(int(sys.argv[2]))
step = step_of(sys.argv[1])
for _ in sys.stdin:
    began = time.perf_counter()
    step()
    print(time.perf_counter() - began, flush=True)
"""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("revision")
    words.add_argument("--rounds", type=int, default=9)
    given = words.parse_args()
    trees = installed(given.revision), ROOT
    for threads in sorted({1, cpus()}):
        print(machine(threads))
        for precision in ("float32", "bfloat16"):
            before, after = steps(trees, precision, threads, given.rounds)
            print(f"{precision}: {middle(before):.3f} s, {middle(after):.3f} s here: {ratio(after, before)}")


def steps(trees: tuple[Path, ...], precision: str, threads: int, rounds: int) -> list[list[float]]:
    """Seconds of each build's steps."""
    command = ["-c", CHILD, precision, str(threads)]
    # As trials have it.
    told = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(10**11), "MALLOC_ARENA_MAX": "1"}
    children = [
        subprocess.Popen(
            [str(tree / ".venv" / "bin" / "python"), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | told,
            cwd=tree / "benchmarks",
        )
        for tree in trees
    ]
    seconds: list[list[float]] = [[] for _ in trees]
    for number in range(rounds + WARM):
        for child, own in zip(children, seconds, strict=True):
            print("step", file=child.stdin, flush=True)
            spent = float(cast(IO[str], child.stdout).readline())
            if number >= WARM:
                own.append(spent)
    for child in children:
        child.communicate()
    return seconds


if __name__ == "__main__":
    main()
