"""A worker that the kernel kills as memory runs out: really, in a control group, which root may make."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import small

from mmssl import Recordings
from mmssl.study.folder import LOG, Study

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]

SPACE = small.space(150, grid={"objective.mu": [1, 5, 10]})
MEMORY = 6 << 30

# However large it gets, the kernel takes Ray's workers first: Ray has told it to.
HOG = """
import sys
held = []
while sys.stdin.readline():
    held.append(b"x" * (64 << 20))
    print(flush=True)
"""


@pytest.fixture
def group() -> Iterator[Path]:
    top = Path("/sys/fs/cgroup")
    first_version = (top / "memory").is_dir()
    made = top / ("memory" if first_version else "") / f"mmssl-test-{os.getpid()}"
    try:
        made.mkdir()
        (made / ("memory.limit_in_bytes" if first_version else "memory.max")).write_text(str(MEMORY))
    except OSError as error:
        pytest.skip(f"only root may make a control group ({error})")
    yield made
    for pid in (made / "cgroup.procs").read_text().split():
        with suppress(psutil.NoSuchProcess):
            psutil.Process(int(pid)).kill()
    until = time.monotonic() + 30
    while (made / "cgroup.procs").read_text() and time.monotonic() < until:
        time.sleep(0.1)
    made.rmdir()


def started(group: Path, words: list[str], **options: object) -> "subprocess.Popen[str]":
    into = ["sh", "-c", 'echo $$ > "$0"; exec "$@"', str(group / "cgroup.procs"), *words]
    return subprocess.Popen(into, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]


def at_work(driver: "subprocess.Popen[str]") -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.Process(driver.pid).children(recursive=True):
        with suppress(psutil.Error):
            found += [process] if "ray::ImplicitFunc.train" in " ".join(process.cmdline()) else []
    return found


def test_fewer_run_at_once_where_the_kernel_killed_a_worker(tmp_path: Path, group: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    (tmp_path / "space.yaml").write_text(SPACE)
    words = ["launch", tmp_path / "space.yaml", "--dataset", tmp_path / "tiny.parquet", "--name", "study"]
    environment = {**os.environ, "NO_COLOR": "1", "MMSSL_SNAPSHOT_SECONDS": "0"}
    with (
        started(group, small.tune(*words, "--storage", tmp_path), stderr=subprocess.STDOUT, env=environment) as driver,
        started(group, [sys.executable, "-c", HOG], stdin=subprocess.PIPE) as hog,
    ):
        assert hog.stdin
        assert hog.stdout
        until = time.monotonic() + 120
        while len(victims := at_work(driver)) < 2:
            assert driver.poll() is None, driver.communicate()[0]
            assert time.monotonic() < until, "two workers never trained at once"
            time.sleep(0.1)
        while all(process.is_running() for process in victims):
            hog.stdin.write("more\n")
            hog.stdin.flush()
            hog.stdout.readline()
            assert driver.poll() is None, driver.communicate()[0]
        hog.stdin.close()
        out = driver.communicate(timeout=300)[0]
    study = Study(tmp_path, "study")
    rows = study.table("trials.parquet").to_pylist()
    assert driver.returncode == 0, out
    assert [row["status"] for row in rows] == ["COMPLETE"] * 9  # 3 points on 3 folds.
    assert "memory ran out: from now on 1 at once, not 2" in out + (study.folder / LOG).read_text("utf-8")
