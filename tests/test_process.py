"""A process as others know it: which of them lives, which has ended, and of which nobody can say."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from mmssl.process import identity, lives

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
