"""A driver's own temporary folder: for its user alone, short enough for Ray's sockets, and gone when it ends."""

import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mmssl.process import identity, lives

_PREFIX, _OWNER = "mmssl-", "owner.json"
RAY = "r"
"""Of it, what Ray is given: it opens that for everybody, whatever the umask."""
_SOCKET = f"/{RAY}/session_2026-01-31_23-59-59_123456_4194304/sockets/plasma_store"
"""What Ray puts behind the folder in the longest path of its sockets."""
_LONGEST = 103 if sys.platform == "darwin" else 107
"""Bytes that such a path may have."""
_PAUSES = (0, 0, 0.05, 0.05, 0.05)
"""Seconds before each attempt to remove it."""


@contextmanager
def own_folder() -> Generator[Path]:
    """A folder that nobody else can look into; those that killed drivers left are removed.

    Raises:
        OSError: it can be made nowhere.
    """
    _clear()
    folder = _made()
    try:
        (folder / _OWNER).write_text(json.dumps(identity()))
        yield folder
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Remove a driver's folder, into which Ray may be writing; what says whose it is goes last.

    What is left all the same is removed by the next driver.
    """
    with suppress(OSError):
        for pause in _PAUSES:
            time.sleep(pause)
            inside = [path for path in folder.iterdir() if path.name != _OWNER]
            if not inside:
                shutil.rmtree(folder)
                break
            for path in inside:
                shutil.rmtree(path, ignore_errors=True)


def _made() -> Path:
    for place in _places():
        if len(os.fsencode(place)) + len(f"/{_PREFIX}12345678{_SOCKET}") <= _LONGEST:
            with suppress(OSError):
                return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    raise OSError(
        "no place for temporary files: neither $TMPDIR, /tmp, /var/tmp nor $XDG_RUNTIME_DIR can be written; set TMPDIR "
        f"to a folder whose path has at most {_LONGEST - len(f'/{_PREFIX}12345678{_SOCKET}')} characters, which Ray's "
        "sockets need"
    )


def _places() -> Iterator[str]:
    with suppress(OSError):
        yield tempfile.gettempdir()
    yield from ("/tmp", "/var/tmp")  # noqa: S108 - the folders in them are made by mkdtemp
    if "XDG_RUNTIME_DIR" in os.environ:
        yield os.environ["XDG_RUNTIME_DIR"]


def _clear() -> None:
    """Remove the folders of this user's drivers that have ended for certain."""
    for place in dict.fromkeys(_places()):
        for path in Path(place).glob(f"{_PREFIX}*"):
            with suppress(OSError, ValueError):
                about = path.lstat()
                if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid():
                    owner = json.loads((path / _OWNER).read_text())
                    if isinstance(owner, dict) and lives(owner) is False:
                        shutil.rmtree(path, ignore_errors=True)
