"""A process as others know it: which of them lives, which has ended, and of which nobody can say."""

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from mmssl.process import cpus, identity, lives

TELL = (
    "import json, sys; from mmssl.process import identity; print(json.dumps(identity()), flush=True); sys.stdin.read()"
)


MACHINE = identity()["machine"]
"""Not every container has one."""


@pytest.fixture
def other() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", TELL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:
        yield one
        one.kill()


def told(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout
    return json.loads(process.stdout.readline())


def test_a_process_lives_until_it_has_ended_also_where_nobody_waits_for_it(other: "subprocess.Popen[str]") -> None:
    noted = told(other)
    assert (noted["host"], noted["pid"]) == (platform.node(), other.pid)
    assert lives(noted) is True
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(other.pid).status() == psutil.STATUS_ZOMBIE
    assert lives(noted) is False, "only its number is left"
    other.wait()
    assert lives(noted) is False


def test_another_process_that_has_its_number_is_not_it(other: "subprocess.Popen[str]") -> None:
    noted = told(other)
    assert lives({**noted, "pid": os.getpid()}) is False
    assert lives({**identity(), "pid": other.pid}) is False


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"host": "elsewhere"}, None),
        ({"pid_namespace": "pid:[1]"}, None),
        ({"machine": "another", "boot": "another"}, None),
        ({"boot": "another"}, False if MACHINE else None),
        ({"born": ""}, None),
    ],
    ids=["host", "container", "machine of the same name", "since the machine was started anew", "an older version's"],
)
def test_of_a_process_elsewhere_nobody_can_say(change: dict[str, str], answer: bool | None) -> None:
    assert lives(identity()) is True
    assert lives({**identity(), **change}) is answer


def test_in_a_container_of_the_same_name_its_number_means_another_process() -> None:
    apart = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("only root may make namespaces")
    here = identity()
    code = f"from mmssl.process import identity, lives; print(lives({here!r}), lives(identity()))"
    top = Path(__file__).parents[1]
    done = subprocess.run([*apart, sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=top)
    assert done.stdout.split() == ["None", "True"]


WHERE = "import sys; from pathlib import Path; from mmssl.process import cpus; print(cpus(*map(Path, sys.argv[1:])))"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_a_process_that_is_bound_to_a_cpu_has_one() -> None:
    for bound, count in ((0, 1), (None, len(os.sched_getaffinity(0)))):
        words = [
            *(["taskset", "-c", str(bound)] if bound is not None else []),
            sys.executable,
            "-c",
            WHERE,
            "/no",
            "/no",
        ]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == f"{count}\n"


def quota(folder: str, microseconds: int) -> dict[str, str]:
    """Of the first version of control groups."""
    return {f"{folder}/cpu.cfs_quota_us": str(microseconds), f"{folder}/cpu.cfs_period_us": "100000"}


@pytest.mark.parametrize(
    ("group", "files", "count"),
    [
        ("0::/", {}, 8),
        ("0::/", {"cpu.max": "max 100000"}, 8),
        ("0::/", {"cpu.max": "400000 100000"}, 4),
        ("0::/slice/job", {"slice/job/cpu.max": "max 100000", "slice/cpu.max": "350000 100000"}, 3),
        ("0::/slice/job", {"slice/job/cpu.max": "20000 100000", "slice/cpu.max": "350000 100000"}, 1),
        ("0::/of/the/host", {"cpu.max": "200000 100000"}, 2),
        ("3:cpu,cpuacct:/j", quota("cpu,cpuacct/j", -1), 8),
        ("3:cpu,cpuacct:/j", quota("cpu,cpuacct/j", 500_000), 5),
        ("3:cpu:/docker/1", quota("cpu", 600_000), 6),
        ("9:memory:/j", {"memory/j/cpu.max": "100000 100000"}, 8),
        ("0::/../../init.scope", {"cpu.max": "200000 100000"}, 2),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_control_group_gives_no_more_than_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, files: dict[str, str], count: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    (tmp_path / "cgroup").write_text(f"11:pids:/j\n{group}\n")
    for name, content in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(f"{content}\n")
    assert cpus(tmp_path / "cgroup", tmp_path / "fs") == count


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU")
def test_a_real_control_group_gives_no_more_than_its_share() -> None:
    top = Path("/sys/fs/cgroup")
    first = (top / "cpu" / "cpu.cfs_quota_us").exists()
    group = (top / "cpu" if first else top) / f"mmssl-test-{os.getpid()}"
    try:
        if not first and not (top / "cgroup.controllers").exists():
            pytest.skip("no control groups here")
        group.mkdir()
        if first:
            (group / "cpu.cfs_period_us").write_text("100000")
            (group / "cpu.cfs_quota_us").write_text("100000")
        else:
            (group / "cpu.max").write_text("100000 100000")
    except OSError:
        pytest.skip("no control group may be made here")
    try:
        code = "from mmssl.process import cpus; print(cpus())"
        words = ["sh", "-c", 'echo $$ > "$0"/cgroup.procs && exec "$@"', group, sys.executable, "-c", code]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "1\n"
    finally:
        group.rmdir()


ENDED = """
import signal, sys, time
from mmssl.process import END_REQUESTED, interrupt_when_ended
interrupt_when_ended()
try:
    print("ready", flush=True)
    time.sleep(5)
except KeyboardInterrupt:
    print("interrupted", END_REQUESTED.is_set())
"""


@pytest.mark.parametrize("ignored", ["", "INT"], ids=["in front", "in the background of a script"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_the_signals_by_which_systems_end_programs_are_ctrl_c(number: signal.Signals, ignored: str) -> None:
    assert after_signal(number, ignored) == "interrupted True\n"


def test_nohup_is_respected() -> None:
    assert after_signal(signal.SIGHUP, "HUP") == ""


def after_signal(number: signal.Signals, ignored: str) -> str:
    words = ["sh", "-c", f'{f"trap {chr(39) * 2} {ignored}; " if ignored else ""}exec "$@"', "sh", sys.executable]
    # The tests themselves may run under nohup.
    heeded = partial(signal.signal, signal.SIGHUP, signal.SIG_DFL)
    with subprocess.Popen([*words, "-c", ENDED], stdout=subprocess.PIPE, text=True, preexec_fn=heeded) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        return process.stdout.read()
