"""What a study's Ray and its workers take over from the shell that started it, and what ends them."""

import io
import os
import shutil
import signal
import stat
import subprocess
import sysconfig
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
import small

from mmssl import Recordings
from mmssl.study.folder import Study
from mmssl.version import trial_code

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sysconfig.get_path("scripts")) / "mmssl-tune"
NAMESAKES = ("statistics", "queue", "random", "typing", "torch")


@pytest.fixture
def shell(tmp_path: Path, tiny: Recordings) -> Path:
    """A folder with another mmssl, and modules named like Python's own, none of which can be imported."""
    here = tmp_path / "here"
    (here / "mmssl").mkdir(parents=True)
    for name in ("mmssl/__init__", *NAMESAKES):
        (here / f"{name}.py").write_text("raise ImportError('of the folder that the driver was started in')\n")
    tiny.save(tmp_path / "tiny.parquet")
    # The first trial only has to end; another one is to be at work for a while.
    (tmp_path / "space.yaml").write_text(small.space(0, grid={"pretrain.epochs": [5, 150, 151]}, folds=[["ben"]]))
    return here


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The package's files, to be changed."""
    trial_code()  # Of the files that are copied now.
    copy = tmp_path / "package"
    shutil.copytree(ROOT / "mmssl", copy / "mmssl", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "search_spaces", copy / "mmssl" / "search_spaces")
    return copy


class Driver:
    """A driver of one CPU that starts where nobody should, with a long place for temporary files."""

    def __init__(self, shell: Path, package: Path) -> None:
        words = [
            shell.parent / "space.yaml",
            "--dataset",
            shell.parent / "tiny.parquet",
            "--name",
            "hostile",
        ]
        temporary = shell.parent / ("t" * 60)
        temporary.mkdir(exist_ok=True)
        self.study = Study(shell.parent / "studies", "hostile")
        self.process = subprocess.Popen(
            ["taskset", "-c", "0", PROGRAM, "launch", *words, "--storage", shell.parent / "studies"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=shell, start_new_session=True, umask=0,
            env={**os.environ, "PYTHONPATH": str(package), "TMPDIR": str(temporary), "NO_COLOR": "1"},
        )  # fmt: skip

    def until_it_trains(self) -> None:
        before = self.records()
        while self.records() == before or "RUNNING" not in self.statuses():
            if self.process.poll() is not None:
                pytest.fail("".join(self.process.communicate()))
            time.sleep(0.1)

    def records(self) -> set[Path]:
        return set(self.study.folder.glob("trials/*/record.json"))

    def statuses(self) -> list[str]:
        with suppress(FileNotFoundError):
            # Read at once: pandas opens it more than once, and another may have its place meanwhile.
            content = io.BytesIO((self.study.folder / "trials.parquet").read_bytes())
            return pd.read_parquet(content)["status"].to_list()
        return []

    def family(self) -> dict[str, psutil.Process]:
        """All processes of its Ray, by what they are called."""
        found: dict[str, psutil.Process] = {}
        for one in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                found[" ".join(one.cmdline())] = one
        return found

    def temporary(self) -> Path:
        (words,) = (words for words in self.family() if "--raylet_socket_name=" in words)
        return Path(words.partition("--raylet_socket_name=")[2].split("/session_")[0]).parent

    def end(self, *, settled: bool = True) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=100)
        assert "Traceback" not in out + err
        assert not self.study.in_use()
        if settled:
            assert "RUNNING" not in self.statuses(), out + err
            assert self.study.note("driver") is None, out + err
        return self.process.returncode, out, err


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_trials_run_the_code_that_the_driver_runs_on_the_cpus_it_may_use(shell: Path, package: Path) -> None:
    driver = Driver(shell, package)
    driver.until_it_trains()
    folder = driver.temporary()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700, "whatever the umask"
    assert folder.parent == Path("/tmp"), "$TMPDIR is too long for sockets"  # noqa: S108
    groups = {os.getpgid(one.pid) for one in driver.family().values()}
    assert driver.process.pid not in groups, "Ray hears what the driver does"
    # The package is changed while the study runs, and a worker that is started then has other code.
    with (package / "mmssl" / "errors.py").open("a") as stream:
        stream.write("# one line more\n")
    for words, one in driver.family().items():
        if "ray::ImplicitFunc" in words:
            one.kill()
    status, out, err = driver.end()
    assert status == 1, out + err
    assert "note: 1 trial at once, 1 CPU each" in err
    [line] = [line for line in err.splitlines() if line.startswith("mmssl-tune:")]
    assert "the package has changed since the study was started: mmssl 0.1.0, code " in line
    assert f"where the driver has 0.1.0, code {trial_code()}" in line
    assert not folder.exists()
    rows = pd.read_parquet(driver.study.folder / "trials.parquet")
    assert set(rows["code"].dropna()) == {trial_code()}
    assert set(rows["status"]) == {"COMPLETE", "PLANNED"}


@pytest.mark.ray
@pytest.mark.timeout(600)
@pytest.mark.slow
@pytest.mark.parametrize(
    "whom", ["TERM the group", "HUP the group", "TERM all", "KILL driver", "KILL raylet", "KILL agent", "KILL gcs"]
)
def test_what_ends_a_study_or_its_ray_leaves_it_whole(shell: Path, package: Path, whom: str) -> None:
    driver = Driver(shell, package)
    driver.until_it_trains()
    folder, number = driver.temporary(), getattr(signal, f"SIG{whom[:4].strip()}")
    family = driver.family()
    started = time.monotonic()
    if whom.endswith("the group"):
        os.killpg(driver.process.pid, number)
    elif whom.endswith("all"):  # As systemd does, and whatever ends a control group.
        for one in [psutil.Process(driver.process.pid), *family.values()]:
            with suppress(psutil.Error):
                one.send_signal(number)
    elif whom == "KILL driver":
        driver.process.kill()
    else:
        title = {"raylet": "/raylet ", "agent": "ray::DashboardAgent", "gcs": "/gcs_server "}[whom.split()[1]]
        next(one for words, one in family.items() if title in words).kill()
    settled = whom != "KILL driver"
    status, out, err = driver.end(settled=settled)
    assert time.monotonic() - started < 28
    assert status == (-9 if whom == "KILL driver" else 1 if "KILL" in whom else 130), out + err
    assert "mmssl-tune resume hostile" in (err if "KILL" in whom else out + err)
    if "KILL" in whom:
        [line] = [line for line in err.splitlines() if line.startswith("mmssl-tune:")]
        assert "has ended" in line
    assert not settled or not folder.exists()
    # A killed driver's Ray ends with it, but for the agents, which look for its gcs_server for a minute.
    psutil.wait_procs(list(family.values()), timeout=20 if settled else 90)
    assert [words for words, one in family.items() if one.is_running()] == []
    if not settled:
        run = subprocess.run(
            [PROGRAM, "resume", "hostile", "--storage", driver.study.root], capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        assert set(driver.statuses()) == {"COMPLETE"}
