"""`clusters/slurm.sh` as ShellCheck reads it, and as a real Slurm runs it on two machines made of namespaces."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import ROOT, Host, machines, missing, wait
from small_study import GIVEN, TRIALS, check_whole, lay_out

from mmssl import Recordings
from mmssl.study.folder import Study

SCRIPT = ROOT / "clusters" / "slurm.sh"
# Slurm of two nodes with all of its state on the machines' own /tmp and /run.
CONFIGURATION = """
ClusterName=lab
SlurmctldHost=first({first})
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=/run/munge/munge.socket.2
StateSaveLocation=/tmp/slurmctld
SlurmdSpoolDir=/tmp/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/tmp/slurmctld.log
SlurmdLogFile=/tmp/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
NodeName=first NodeAddr={first} CPUs={cpus}
NodeName=second NodeAddr={second} CPUs={cpus}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
MUNGE = """
mkdir /run/munge /tmp/munge && chmod 755 /run/munge && printf %064d 7 > /tmp/munge/key && chmod 400 /tmp/munge/key
munged --force --key-file=/tmp/munge/key --log-file=/tmp/munge/log --pid-file=/run/munge/pid --seed-file=/tmp/munge/seed
"""


class Slurm:
    """A Slurm of two nodes, the first of which one logs in to."""

    def __init__(self, nodes: list[Host], shared: Path) -> None:
        self.nodes, self.shared = nodes, shared
        first, second = nodes
        (shared / "home").mkdir()
        configuration = CONFIGURATION.format(first=first.address, second=second.address, cpus=os.cpu_count())
        (shared / "slurm.conf").write_text(configuration)
        for node in nodes:
            started = node.run("sh", "-c", MUNGE)
            assert started.returncode == 0, started.stdout
        self.on(first, "slurmctld")
        for node in nodes:
            self.on(node, "slurmd", "-N", node.name)
        wait(lambda: self.on(first, "sinfo", "--noheader", "--format=%D %t") == "2 idle\n", 60)

    def on(self, node: Host, *words: object) -> str:
        """What a command says; homes are shared."""
        ran = node.run("env", "HOME=/srv/home", "SLURM_CONF=/srv/slurm.conf", *words)
        assert ran.returncode == 0, ran.stdout
        return ran.stdout

    def say(self, *words: object) -> str:
        return self.on(self.nodes[0], *words)

    def submit(self) -> str:
        """The id of a job that runs the study."""
        return self.say("sbatch", "--parsable", "--chdir=/srv", "/srv/slurm.sh", *GIVEN).strip()

    def job(self, job: str, fact: str) -> str:
        return dict(re.findall(r"(\w+)=(\S*)", self.say("scontrol", "show", "job", job)))[fact]

    def log(self, job: str) -> str:
        return (self.shared / f"mmssl-tune-{job}.log").read_text()

    def train(self) -> list[bool]:
        return [node.trains() for node in self.nodes]


def filled_in(script: str) -> str:
    """The script for these machines; a second trial on one needs more than what the first leaves."""
    cpus = os.cpu_count() or 1
    for shipped, ours in (
        ("$HOME/mmssl-tune/.venv/bin", f"{sys.prefix}/bin"),
        ("$HOME/studies", "/srv/studies"),
        ("--cpus-per-task=8", f"--cpus-per-task={cpus}"),
        ("#SBATCH --gpus-per-node=1\n", ""),
        ("--cpus-per-trial 2", f"--cpus-per-trial {0.51 * cpus:.2f}"),
    ):
        assert shipped in script
        script = script.replace(shipped, ours)
    return script


@pytest.fixture(scope="module")
def slurm(tiny: Recordings) -> Iterator[Slurm]:
    absent = [name for name in ("slurmctld", "slurmd", "sbatch", "munged") if shutil.which(name) is None]
    reason = f"not installed: {', '.join(absent)}" if absent else missing()
    if reason:
        pytest.skip(reason)
    with machines("first", "second") as (nodes, shared):
        lay_out(shared, tiny)
        (shared / "slurm.sh").write_text(filled_in(SCRIPT.read_text()))
        yield Slurm(nodes, shared)


def test_shellcheck_finds_no_fault() -> None:
    tool = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert tool, "comes with the development environment"
    assert subprocess.run([tool, SCRIPT], capture_output=True, text=True).stdout == ""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_study_goes_on_where_its_job_is_queued_again(slurm: Slurm) -> None:
    job = slurm.submit()
    study = Study(slurm.shared / "studies", f"slurm-{job}")

    def ended() -> int:
        return len(list(study.folder.glob("trials/*/record.json")))

    wait(lambda: slurm.train() == [True, True], 200, lambda: slurm.log(job))
    wait(lambda: ended() >= 1, 200, lambda: slurm.log(job))
    # What Slurm sends five minutes before the time is up.
    slurm.say("scancel", "--signal=USR1", "--batch", job)
    wait(lambda: slurm.job(job, "JobState") == "PENDING", 120, lambda: slurm.log(job))
    assert "stopped with" in slurm.log(job)
    before = ended()
    assert 1 <= before < TRIALS

    slurm.say("scontrol", "update", f"jobid={job}", "StartTime=now")  # Slurm would have waited two minutes.
    wait(lambda: slurm.train() == [True, True], 200, lambda: slurm.log(job))
    wait(lambda: ended() > before, 200, lambda: slurm.log(job))
    # What becomes of a job whose node failed: all of its processes are gone at once.
    for node in slurm.nodes:
        for process in node.processes("ray::"):
            process.kill()
    slurm.say("scontrol", "requeue", job)
    wait(lambda: slurm.job(job, "JobState") == "PENDING", 120, lambda: slurm.log(job))
    assert ended() < TRIALS
    slurm.say("scontrol", "update", f"jobid={job}", "StartTime=now")

    wait(lambda: slurm.job(job, "JobState") == "COMPLETED", 400, lambda: slurm.log(job))
    print(slurm.say("scontrol", "show", "job", job), slurm.log(job))
    assert slurm.job(job, "Restarts") == "2"
    check_whole(study)
    assert slurm.train() == [False, False]
    assert [list(Path(f"/proc/{node.pid}/root/tmp").glob("mmssl-tune-*")) for node in slurm.nodes] == [[], []]
    assert (slurm.shared / "home" / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_that_is_cancelled_is_not_queued_again(slurm: Slurm) -> None:
    job = slurm.submit()
    wait(lambda: any(slurm.train()), 200, lambda: slurm.log(job))
    slurm.say("scancel", job)
    wait(lambda: not slurm.train()[0], 60)
    wait(lambda: slurm.job(job, "JobState") == "CANCELLED", 60)
    time.sleep(10)
    assert slurm.job(job, "JobState") == "CANCELLED"
    assert not any(node.processes("/ray/core/") for node in slurm.nodes)
