"""`cluster.onprem.yaml` brought up on machines made of namespaces: two run trials, from a third `ray` is called.

They differ from a lab's in that they share the files of this one: where the cluster file installs the project, here it
is found.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hosts import ROOT, Host, machines, missing, wait
from small_study import GIVEN, TRIALS, check_whole, lay_out

from mmssl import Recordings
from mmssl.study.folder import Study

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1200)]

RAY = Path(sys.executable).with_name("ray")
SSH = 22
NAMED = {6379, *range(8076, 8082), *range(10001, 11000), 44217, 44227}
"""The ports that the cluster file says the machines use."""


@dataclass
class Lab:
    """A cluster of two machines, and the desk from which it was brought up."""

    desk: Host
    head: Host
    worker: Host
    shared: Path
    """The folder that all three see as /srv."""

    @property
    def file(self) -> Path:
        return self.desk.home / "cluster.onprem.yaml"

    def ray(self, command: str, *words: object, timeout: float = 300) -> "subprocess.CompletedProcess[str]":
        return self.desk.run(RAY, command, self.file, *words, timeout=timeout)

    def launch(self, name: str, storage: str) -> str:
        """The command that runs a study, one trial at a time on each machine: a second needs more than what is left."""
        more_than_half = f"{0.51 * (os.cpu_count() or 1):.2f}"
        asked = ["--address", "auto", "--cpus-per-trial", more_than_half, "--name", name, "--storage", storage]
        return " ".join(map(str, ["MMSSL_SNAPSHOT_SECONDS=2", "mmssl-tune", "launch", *GIVEN, *asked]))

    def train(self) -> list[bool]:
        """Whether head and worker run a trial now."""
        return [self.head.trains(), self.worker.trains()]

    def autoscaler(self) -> str:
        """What the head's autoscaler says."""
        return self.head.run("sh", "-c", "tail -n 60 /tmp/mmssl-tune-0/ray/session_latest/logs/monitor.out").stdout


def filled_in(head: Host, worker: Host) -> dict[str, object]:
    """The cluster file for these machines, with the project found and not fetched."""
    config = yaml.safe_load((ROOT / "cluster.onprem.yaml").read_text())
    config["provider"] |= {"head_ip": head.address, "worker_ips": [worker.address]}
    config["auth"]["ssh_user"] = "root"
    token, clone, sync, shell = config["setup_commands"]
    assert "git clone" in clone and "start.py sync" in sync
    found = f"mkdir -p ~/mmssl-tune && ln -sfn {sys.prefix} ~/mmssl-tune/.venv"
    config["setup_commands"] = [token, found, f"echo export PYTHONPATH={ROOT} >> ~/.bashrc", shell]
    return config


@pytest.fixture(scope="module")
def lab(tiny: Recordings) -> Iterator[Lab]:
    reason = missing()
    if reason:
        pytest.skip(reason)
    with machines("desk", "head", "worker") as ((desk, head, worker), shared):
        started = Lab(desk, head, worker, shared)
        lay_out(shared, tiny)
        started.file.write_text(yaml.safe_dump(filled_in(head, worker)))
        desk.run(RAY, "get-auth-token", "--generate")
        begun = time.monotonic()
        up = started.ray("up", "--yes")
        assert up.returncode == 0, up.stdout
        wait(lambda: "2 local.cluster.node" in started.ray("exec", "ray status").stdout, 120, started.autoscaler)
        print(f"up in {time.monotonic() - begun:.0f} s")
        yield started


def test_no_other_port_can_be_reached_and_the_token_is_asked_for(lab: Lab) -> None:
    for host in (lab.head, lab.worker):
        sockets = [line.split()[3].rsplit(":", 1) for line in host.run("ss", "-ltnH").stdout.splitlines()]
        open_to_others = {int(port) for address, port in sockets if "127.0.0.1" not in address and address != "[::1]"}
        assert open_to_others - {SSH} <= NAMED
        token = host.home / ".ray" / "auth_token"
        assert token.stat().st_mode & 0o777 == 0o600
        assert token.read_text() == (lab.desk.home / ".ray" / "auth_token").read_text()
    assert lab.ray("exec", "ray status").returncode == 0
    assert lab.ray("exec", f"RAY_AUTH_TOKEN={'0' * 64} ray status").returncode != 0


def test_storage_that_is_not_shared_is_refused_before_a_trial_starts(lab: Lab) -> None:
    refused = lab.ray("exec", lab.launch("apart", "/tmp/studies"))  # noqa: S108 - each machine has its own
    print(refused.stdout)
    assert refused.returncode != 0
    said = " ".join(refused.stdout.split())
    assert f"({lab.worker.address}): study apart is not to be read under /tmp/studies" in said
    assert "give --storage on a file system that all nodes share" in said
    assert lab.train() == [False, False]


def test_a_study_runs_on_both_machines_and_survives_the_loss_of_one(lab: Lab) -> None:
    study = Study(lab.shared / "studies", "both")
    with lab.desk.popen(RAY, "exec", lab.file, lab.launch("both", "/srv/studies")) as driver:
        try:
            wait(lambda: lab.train() == [True, True], 200)
            wait(lambda: len(list(study.folder.glob("progress/*"))) >= 1, 60)
            (raylet,) = lab.worker.processes("/raylet/raylet")
            raylet.send_signal(signal.SIGKILL)
            wait(lambda: lab.train() == [True, False], 60)
            out, _ = driver.communicate(timeout=400)
        finally:
            driver.kill()
    assert driver.returncode == 0, out
    check_whole(study)
    print(out[-3000:])
    # The head tries that once, 30 s after it last heard of the machine.
    print(f"Ray runs again on the machine that lost it: {bool(lab.worker.processes('/raylet/raylet'))}")


def test_a_study_is_submitted_through_a_tunnel(lab: Lab) -> None:
    tune = [sys.executable, "-m", "mmssl.cli"]
    with lab.desk.popen(RAY, "dashboard", lab.file) as tunnel:
        try:
            wait(lambda: "8265" in lab.desk.run("ss", "-ltnH").stdout, 60)
            words = ["--name", "sent", "--storage", "/srv/studies", "--set", "pretrain.epochs=2"]
            asked = [
                "/srv/space.yaml",
                "--dataset",
                "/srv/tiny.parquet",
                "--address",
                "http://127.0.0.1:8265",
            ]
            sent = lab.desk.run(*tune, "launch", *asked, *words)
            assert sent.returncode == 0, sent.stdout
            followed = lab.desk.run(*tune, "logs", "sent", "-f")
        finally:
            tunnel.kill()
    assert followed.returncode == 0, followed.stdout
    trials = pd.read_parquet(Study(lab.shared / "studies", "sent").folder / "trials.parquet")
    assert trials["status"].tolist() == ["COMPLETE"] * TRIALS


def test_ray_down_ends_it(lab: Lab) -> None:
    down = lab.ray("down", "--yes")
    assert down.returncode == 0, down.stdout
    assert re.search("No nodes remaining", down.stdout)
    head = wait(lambda: not lab.head.processes("/ray/core/"), 60)
    worker = wait(lambda: not lab.worker.processes("/ray/core/"), 180)
    print(f"after `ray down` Ray was gone from the head after {head:.0f} s, from the worker after {worker:.0f} s")
