"""Machines made of Linux namespaces: each with its own network, processes, /tmp, memory files and home."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "10.231.77"
SHARED = Path("/srv")
"""Where every machine sees the one folder that they share, as an NFS mount would be."""
_OWN = ["--net", "--pid", "--fork", "--mount", "--uts", "--mount-proc", "--kill-child"]
_LOGIN = """
set -e
mount --make-rprivate /
hostname {name}
mount --bind {folder}/passwd /etc/passwd
mount --bind {shared} {at}
for folder in /tmp /run /dev/shm; do mount -t tmpfs tmpfs "$folder"; done
mkdir /run/sshd
ip link set lo up
until ip link show eth0 > /dev/null 2>&1; do sleep 0.1; done
ip address add {address}/24 dev eth0
ip link set eth0 up
ip route add default via {network}.254
exec {sshd} -D -e -f {folder}/sshd_config
"""
_SSHD = """
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {keys}
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
AcceptEnv LANG
"""


def missing() -> str:
    """Why there can be no such machines here; nothing where there can."""
    absent = [name for name in ("ip", "unshare", "nsenter", "ssh", "ssh-keygen", "rsync") if shutil.which(name) is None]
    if absent or _sshd() is None:
        return f"not installed: {', '.join(absent or ['sshd'])}"
    if any(Path(place).is_relative_to("/tmp") for place in (ROOT, sys.prefix, sys.base_prefix)):  # noqa: S108
        return "the checkout or its Python lies in /tmp, which each machine has its own of"
    tried = subprocess.run(
        ["unshare", *_OWN, "sh", "-c", "mount -t tmpfs tmpfs /tmp && ip link add type bridge && ip link add type veth"],
        capture_output=True,
        text=True,
    )
    return f"namespaces need root: {tried.stderr.strip()}" if tried.returncode else ""


class Host:
    """One machine, with an SSH server for root, whose home is a folder of its own.

    Args:
        folder: the machine's files, outside /tmp.
        number: the last part of its address.
        keys: the file of public keys that open it.
        shared: the folder that all machines see as SHARED.
    """

    def __init__(self, folder: Path, name: str, number: int, keys: Path, shared: Path) -> None:
        self.name, self.address, self.home = name, f"{NETWORK}.{number}", folder / "home"
        self.home.mkdir(parents=True)
        users = Path("/etc/passwd").read_text().splitlines()
        others = [line for line in users if not line.startswith("root:")]
        (folder / "passwd").write_text("\n".join([f"root:x:0:0:root:{self.home}:/bin/bash", *others]) + "\n")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host_key"], check=True)
        (folder / "sshd_config").write_text(_SSHD.format(address=self.address, folder=folder, keys=keys))
        script = _LOGIN.format(
            name=name, folder=folder, shared=shared, at=SHARED, address=self.address, network=NETWORK, sshd=_sshd()
        )
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(["unshare", *_OWN, "bash", "-c", script], stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        """The machine's process 1, as it is numbered outside."""
        return psutil.Process(self._process.pid).children()[0].pid

    def plug_into(self, switch: "Switch") -> None:
        """Connect the machine, and wait until its SSH server answers."""
        wait(lambda: _network(self._process.pid) != _network(os.getpid()), 60, self.log.read_text)
        switch.connect(self._process.pid, self.name)
        wait(lambda: "Server listening" in self.log.read_text(), 60, self.log.read_text)

    def popen(self, *words: object) -> "subprocess.Popen[str]":
        """Start a command on the machine, as root with the environment of a fresh login."""
        environment = {"HOME": str(self.home), "PATH": os.environ["PATH"], "TERM": "dumb", "PYTHONPATH": str(ROOT)}
        enter = ["nsenter", "--target", str(self.pid), "--all", f"--wdns={self.home}"]
        return subprocess.Popen(
            [*enter, *map(str, words)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=environment,
        )  # fmt: skip

    def run(self, *words: object, timeout: float = 300) -> "subprocess.CompletedProcess[str]":
        with self.popen(*words) as process:
            try:
                out, _ = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                out, _ = process.communicate()
                raise AssertionError(f"{words} took more than {timeout} s: {out}") from None
        return subprocess.CompletedProcess(words, process.returncode, out)

    def processes(self, words: str) -> list[psutil.Process]:
        """The machine's processes whose command line has these words in it."""
        found: list[psutil.Process] = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            try:
                if words in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def trains(self) -> bool:
        """Whether the machine runs a trial now."""
        return bool(self.processes("ray::ImplicitFunc.train"))

    def end(self) -> None:
        self._process.kill()  # Its process 1 goes with it, and all others with that.
        self._process.wait()


class Switch:
    """What the machines are plugged into: a network namespace with a bridge, and no way out."""

    def __init__(self) -> None:
        script = "ip link add switch type bridge && ip link set switch up && echo up && exec sleep infinity"
        self._process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._process.stdout
        with self._process.stdout as said:
            assert said.readline() == "up\n"

    def connect(self, pid: int, name: str) -> None:
        inside = ["nsenter", "--target", str(self._process.pid), "--net", "ip", "link"]
        peer = ["peer", "name", "eth0", "netns", str(pid)]
        subprocess.run([*inside, "add", name, "type", "veth", *peer], check=True)
        subprocess.run([*inside, "set", name, "master", "switch", "up"], check=True)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def machines(*names: str) -> Iterator[tuple[list[Host], Path]]:
    """Machines on one network, one key pair that opens them all, and the folder that they share as SHARED.

    The private key lies in each home as `.ssh/id_ed25519`.
    """
    with ExitStack() as ended:
        folder = Path(ended.enter_context(tempfile.TemporaryDirectory(prefix="mmssl-", dir="/var/tmp")))
        shared = folder / "shared"
        shared.mkdir()
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        switch = Switch()
        ended.callback(switch.end)
        hosts: list[Host] = []
        for number, name in enumerate(names, start=1):
            host = Host(folder / name, name, number, folder / "key.pub", shared)
            ended.callback(host.end)
            (host.home / ".ssh").mkdir()
            shutil.copy(folder / "key", host.home / ".ssh" / "id_ed25519")
            host.plug_into(switch)
            hosts.append(host)
        yield hosts, shared


def wait(condition: Callable[[], object], seconds: float, said: Callable[[], object] = str) -> float:
    """How long a condition took to hold; fails with what is said meanwhile."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, said()
        time.sleep(0.2)
    return time.monotonic() - begun


def _network(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def _sshd() -> str | None:
    return shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
