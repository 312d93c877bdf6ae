"""A folder of CSV files larger than memory should be: what `data import` takes for it.

python3 start.py run python benchmarks/importing.py [FILES] [MINUTES] [FOLDER]

Makes the files up: six channels at 100 Hz, MINUTES each, 4 MB a minute as text, 0.14 MB as float32. They and the file
that is made of them stay in FOLDER, the current one by default.
"""

import subprocess
import sys
import time
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import numpy as np
from measure import machine

from mmssl.process import cpus

CHANNELS = [f"{kind}_{axis}" for kind in ("acc", "gyr") for axis in "xyz"]
HZ = 100


def make(folder: Path, files: int, minutes: float) -> None:
    """Files of made-up numbers that differ in their beginnings, where those are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = round(minutes * 60 * HZ)
    draws = np.random.default_rng(0)
    values = draws.standard_normal((lines, len(CHANNELS)))
    body = "".join(
        f"{i / HZ:.2f},{','.join(f'{value:.5f}' for value in line)}\n" for i, line in enumerate(values, start=1)
    )
    for i in range(files):
        path = folder / f"s{i % 8}_wrist_{i:05}.csv"
        if not path.exists():
            first = ",".join(f"{value:.5f}" for value in draws.standard_normal(len(CHANNELS)))
            path.write_text(f"time,{','.join(CHANNELS)}\n0.00,{first}\n{body}")


def most_memory(process: "subprocess.Popen[bytes]") -> float:
    """GB of memory of its own (not of files that it maps) until the process ends, looked at 50 times a second."""
    most = 0
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            break
        most = max([most, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))])
        time.sleep(0.02)
    return most * 1024 / 1e9


def main(files: int = 1000, minutes: float = 30, folder: str = ".") -> None:
    source, out = Path(folder) / "wrists", Path(folder) / "wrists.parquet"
    make(source, files, minutes)
    pattern = "{subject}_{modality}_{trial}.csv"
    command = [Path(sys.executable).with_name("mmssl-tune"), "data", "import", source, "--out", out, "--force"]
    process = subprocess.Popen([*command, "--pattern", pattern, "--window", "10s"])
    memory = most_memory(process)
    spent = getrusage(RUSAGE_CHILDREN)
    text = sum(path.stat().st_size for path in source.glob("*.csv")) / 1e9
    print(
        f"{files} files of {minutes:g} minutes, {text:.2f} GB of text, {out.stat().st_size / 1e9:.2f} GB written: "
        f"{spent.ru_utime + spent.ru_stime:.0f} s of CPU, most memory {memory:.2f} GB; ended with {process.returncode}"
    )
    print(machine(cpus()))


if __name__ == "__main__":
    main(*(kind(word) for kind, word in zip((int, float, str), sys.argv[1:], strict=False)))  # type: ignore[arg-type]
