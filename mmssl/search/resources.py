"""The Ray that trials run on."""

import logging
import os
import secrets
import shlex
import signal
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import ray
import yaml
from ray._private import parameter, ray_constants, services, worker
from ray._private.node import Node
from ray._private.state import state
from ray.exceptions import RayError
from ray.job_config import JobConfig

import mmssl
from mmssl.errors import UserError
from mmssl.private_folder import RAY
from mmssl.process import cpus, interrupt_when_ended
from mmssl.search.share import UNKNOWN_GROWTH, Growth
from mmssl.study.pretrained import PRETRAINED_VARIABLE

_OF_WORKERS = (
    *("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_ARENA_MAX"),
    *("MMSSL_SNAPSHOT_SECONDS", PRETRAINED_VARIABLE),
)

_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
_AGENT_FILES = ("/dashboard/agent.py", "/runtime_env/agent/main.py")
"""What agents are called, and what they are before they have a name."""

RESTARTS = 2
"""How often a trial whose worker died is started again; it goes on from its last snapshot."""
MOVES = 20
"""How often in all, with those whose node was lost: it may be the trial that takes its node down."""


class NotStartedError(OSError):
    """Ray's processes have ended, or did not answer, while they were being started."""


def start(address: str | None, folder: Path) -> None:
    """Start a Ray of this process alone, or join the cluster at an address.

    Args:
        address: as in Resources.
        folder: for what a Ray of this process keeps while it runs, its sockets among it.

    Raises:
        UserError: no cluster answers there, or it does not let this process in.
        NotStartedError: Ray of this process ended at once.
    """
    if address is None:
        try:
            _start_alone(folder)
        except Exception as error:  # Of whatever kind: Ray raises what the first of its processes to end causes.
            raise NotStartedError(f"Ray did not start: {_first_line(error)}") from error
    else:
        _join(address)
    interrupt_when_ended()  # Ray has put a handler of its own in place, which ends the process at once.


def kill() -> None:
    """End what there still is of this process' own Ray, where some of it has died."""
    for processes in _own().values():
        for number in processes:
            with suppress(OSError):
                os.killpg(number, signal.SIGKILL)  # Each leads a group, in which are those that it started.


def hold() -> None:
    """Stop this process' own raylet where it is: once it has gone, the next call to it ends this process."""
    for number in _own().get("raylet", []):
        with suppress(OSError):
            os.kill(number, signal.SIGSTOP)


def needed() -> list[int]:
    """Numbers of what this process' own Ray takes it along with when it ends: the raylet and its agents.

    An agent's death ends its raylet, and the next call to that ends this process.
    """
    found = list[int]()
    for number in _own().get("raylet", []):
        with suppress(psutil.Error):
            found += [number, *(child.pid for child in psutil.Process(number).children() if _is_agent(child))]
    return found


def _own() -> dict[str, list[int]]:
    """The processes of this process' own Ray, by what they are; none where it has joined a cluster."""
    node: Any = worker._global_node  # pyright: ignore[reportPrivateUsage]
    return {what: [info.process.pid for info in infos] for what, infos in node.all_processes.items()} if node else {}


def _is_agent(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        words = process.cmdline()
        return any(word in _AGENTS or word.endswith(_AGENT_FILES) for word in words)
    return False


class _OwnCode(JobConfig):
    """Of a job whose workers find modules where they are installed, and not in the folder that this process is in.

    Ray has them look there first: another mmssl, or a `statistics.py`, would be taken for the driver's.
    """

    def _serialize(self) -> str:
        top = Path(mmssl.__file__).resolve().parents[1]
        # Run by `python -m` from a checkout, this process has it from there too.
        here = bool(sys.path) and Path(sys.path[0]).resolve() == top
        self._py_driver_sys_path = [str(top)] if here else []
        return super()._serialize()


@contextmanager
def _started_apart() -> Generator[None]:
    """What Ray starts meanwhile is in sessions of its own: what ends this process is not for them to hear.

    To a terminal that is lost, to `timeout` and to batch systems all that is in one process group is one program.
    Servers that nobody asks here are not started, each of which would take a CPU for a second: the dashboard's, even
    where it is switched off, the autoscaler's, and what prints workers' logs. The agent listens on any port: where
    another Ray has the usual one, it would try that for three seconds, and all wait for it.
    """
    parameters = {"no_monitor": True, "include_log_monitor": False, "dashboard_agent_listen_port": 0}
    changes: list[tuple[Any, str, Any]] = [
        (services, "ConsolePopen", partial(services.ConsolePopen, start_new_session=True)),
        (parameter, "RayParams", partial(parameter.RayParams, **parameters)),
        (Node, "start_api_server", _not_started),
    ]
    before = [getattr(owner, name) for owner, name, _ in changes]
    for owner, name, own in changes:
        setattr(owner, name, own)
    try:
        yield
    finally:
        for (owner, name, _), one in zip(changes, before, strict=True):
            setattr(owner, name, one)


def _not_started(node: Node, **arguments: Any) -> None:
    """In place of what starts the dashboard."""


def _start_alone(folder: Path) -> None:
    _make_token()
    # It warns that it asks for a token, as it should.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    # Ray hands the interpreter's path to a shell as it is: one with a space has to be quoted, and costs a second.
    python = shlex.quote(sys.executable)
    # Where other machines may join, Ray listens on every interface.
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False  # pyright: ignore[reportConstantRedefinition]
    try:
        with _started_apart():
            ray.init(
                address="local",
                num_cpus=cpus(),
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,
                job_config=_OwnCode(),
                # They would come too late for the first trials, which have workers of their own started.
                _system_config={"prestart_worker_first_driver": False},
                runtime_env=None if python == sys.executable else {"py_executable": python},
                _temp_dir=str(folder / RAY),
            )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before  # pyright: ignore[reportConstantRedefinition]


def _make_token() -> None:
    """Make the token that Ray asks of whoever connects before Ray does, which would let everyone here read it."""
    if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ):
        return
    try:
        path = Path("~/.ray/auth_token").expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(secrets.token_hex(32))
        except FileExistsError:
            if path.stat().st_uid == os.getuid():
                path.chmod(0o600)
    except (OSError, RuntimeError):  # Without a home of one's own that can be written: this Ray needs no file.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _join(address: str) -> None:
    answers(address)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            configure_logging=False,
            job_config=_OwnCode(),
            # The cluster's workers inherit nothing from here.
            runtime_env={"env_vars": {name: os.environ[name] for name in _OF_WORKERS if name in os.environ}},
        )
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise UserError(
            f"--address {address}: {_first_line(error)}; this machine must be a node of that cluster (`ray start`), "
            "and have its token (in ~/.ray/auth_token or RAY_AUTH_TOKEN_PATH, with RAY_AUTH_MODE=token)"
        ) from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def growth(launched_from: Path = Path("~/ray_bootstrap_config.yaml")) -> list[Growth]:
    """The nodes that the cluster's autoscaler may add, as far as one can know on a node.

    Args:
        launched_from: the file that `ray up` leaves on the head.
    """
    # Where whoever runs the cluster has set limits, they hold.
    limits = state.get_cluster_config()
    if limits is not None and limits.node_group_configs:
        return [
            Growth(UNKNOWN_GROWTH if group.max_count < 0 else group.max_count, dict(group.resources))
            for group in limits.node_group_configs
        ]
    try:
        config = yaml.safe_load(launched_from.expanduser().read_text("utf-8"))
    except OSError:
        # Kubernetes' operator says nothing of its limits to a pod.
        return [Growth(UNKNOWN_GROWTH, {})] if "RAY_USAGE_STATS_KUBERAY_IN_USE" in os.environ else []
    most = config.get("max_workers", 0)
    return [
        Growth(min(most, node.get("max_workers", most)), node.get("resources") or {})
        for name, node in config["available_node_types"].items()
        if name != config["head_node_type"]
    ]


def answers(address: str) -> None:
    """Find out quickly whether a cluster can be there: Ray would ask for two minutes, and then end the process.

    Raises:
        UserError: the address is none, or nothing answers at it.
    """
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in address:
        raise UserError(f"--address {address}: give auto, HOST:PORT, or http://HOST:8265 to submit a job")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--address {address}: no Ray answers there ({error}); `ray status` on the cluster's head says its address"
        ) from error
