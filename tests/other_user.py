"""A command run by another user of this machine, for whom this Python is made reachable."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest

USER = 12345
"""Of no name and no home: no line of /etc/passwd has it."""
TOP = Path(__file__).resolve().parents[1]

# Python may lie in the home of root, which nobody else may enter: a mount of that folder alone stands in its place.
_REACHABLE = """
set -e
python=$1 hold=$2 shut=$3 user=$4
shift 4
if [ -n "$shut" ]; then
    mount --bind "$python" "$hold"
    mount -t tmpfs -o mode=755 none "$shut"
    mkdir -p "$python"
    mount --bind "$hold" "$python"
fi
exec setpriv --reuid "$user" --regid "$user" --clear-groups "$@"
"""


def shut_above(path: Path) -> Path | None:
    """The uppermost folder on the way to a path that other users may not enter."""
    return next((one for one in reversed(path.parents) if not one.stat().st_mode & 0o001), None)


@contextmanager
def everybodys_folder() -> Iterator[Path]:
    """A folder that other users reach, where those of pytest are for one alone."""
    folder = Path(mkdtemp(prefix="mmssl-neighbours-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def as_other(
    *words: str | Path, cwd: Path, home: str | None = "/", umask: int = 0o022
) -> "subprocess.CompletedProcess[str]":
    """Run `mmssl-tune` as USER.

    Args:
        home: $HOME; None for none.
    """
    if os.getuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"):
        pytest.skip("only root may run a command as another user, by util-linux's setpriv and unshare")
    python = Path(sys.base_prefix).resolve()
    shut = shut_above(python)
    if any(one != shut and shut_above(one) not in (None, shut) for one in (TOP, Path(sys.prefix), python)):
        pytest.skip(f"no other user reaches {sys.executable}")
    hold = cwd / "hold"
    hold.mkdir(exist_ok=True)
    kept = ("PATH", "PYTHONPATH", "RAY_OVERRIDE_RESOURCES", "MMSSL_PRETRAINED_GB")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", _REACHABLE, "sh", str(python), str(hold),
         str(shut or ""), str(USER), sys.executable, "-m", "mmssl.cli", *map(str, words)],
        capture_output=True, text=True, cwd=cwd, umask=umask, timeout=280,
        env={**environment, **({} if home is None else {"HOME": home}), "NO_COLOR": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
