"""Files of this machine: a folder of them to read, replace, list and lock by name."""

import errno
import fcntl
import glob
import os
import random
import shutil
import stat
import time
import uuid
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from mmssl.errors import UserError
from mmssl.lease import HeldError, Leased, Still

_PART = ".part"
"""At the end of a file's name while it is being written."""
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What file systems without locks answer: Lustre mounted without `flock`, NFS without its lock server, some FUSE."""

_CLAIMS = ".claims"
"""At the end of the name of a folder of claims, beside the lock's file where a file system has no locks."""


@dataclass(frozen=True)
class Folder(Leased):
    """Files under a folder of this machine, or of a file system that machines share."""

    local: Path
    # Each machine has a clock of its own there, and they may differ by more than a lease.
    _doubt: ClassVar[float] = 1 / 3

    @property
    def uri(self) -> str:
        """The place in the form that another process can use."""
        return str(self.local)

    def place(self, name: str = "") -> str:
        """Where the folder or one of its files lies, to be read by people."""
        return str(self.local / name)

    def inside(self, name: str) -> "Folder":
        return Folder(self.local / name)

    def check(self) -> None:
        """Nothing: a folder is there, or will be made."""

    def make(self) -> None:
        """Make the folder itself, which no later writing does: one that was moved away is not begun anew.

        Raises:
            UserError: the one that the storage is to lie in is missing, as where its name was mistyped.
        """
        root = self.local.parent
        if not root.parent.exists():
            raise UserError(f"--storage {root}: there is no folder {root.parent}")
        root.mkdir(exist_ok=True)
        self.local.mkdir(exist_ok=True)

    def read(self, name: str) -> bytes:
        """A file's content.

        Raises:
            FileNotFoundError: there is none.
            OSError: it cannot be read.
        """
        return (self.local / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Replace a file, or make it: whoever reads sees the old content or the new, and the new one stays.

        Raises:
            OSError: it cannot be written; the old content stays.
        """
        path = self._ready(name)
        with written_beside(path) as beside, beside.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())

    def exists(self, name: str) -> bool:
        """Whether a file is there to be seen by this user."""
        return bool(self.modified([name]))

    def modified(self, names: Iterable[str]) -> dict[str, float]:
        """When files were last written, in seconds since 1970, of those that are there to be seen by this user."""
        found: dict[str, float] = {}
        for name in names:
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                facts = (self.local / name).stat()
                if stat.S_ISREG(facts.st_mode):
                    found[name] = facts.st_mtime
        return found

    def readable(self, name: str) -> bool:
        """Whether this user may read a file or folder that is there."""
        path = self.local / name
        return os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0))

    def folders(self) -> list[str]:
        """Names of the folders directly in this one."""
        return sorted(path.name for path in self.local.iterdir() if path.is_dir()) if self.local.is_dir() else []

    def names(self, under: str) -> list[str]:
        """Names of the files below one of its folders, but for those that another system put beside them."""
        paths = (path for path in (self.local / under).rglob("*") if path.suffix != _PART)
        names = (path.relative_to(self.local).as_posix() for path in paths)
        return sorted(self.modified(name for name in names if not is_foreign(name)))

    def sizes(self, under: str) -> dict[str, int]:
        """Bytes of each file below one of its folders."""
        found: dict[str, int] = {}
        for name in self.names(under):
            with suppress(FileNotFoundError, PermissionError):
                found[name] = (self.local / name).stat().st_size
        return found

    def remove(self, name: str) -> None:
        """Remove a file, if it is there, and what machines that went away had written of it."""
        path = self.local / name
        for one in (path, *path.parent.glob(f"{glob.escape(path.name)}.*{_PART}")):
            one.unlink(missing_ok=True)

    def rename(self, name: str, new: str) -> None:
        """Give a file another name, over what has it."""
        (self.local / name).replace(self.local / new)

    def remove_all(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.local, ignore_errors=True)

    @contextmanager
    def lock(self, name: str, *, wait: bool) -> Generator[Still]:
        """Keep other processes out; the lock goes with the process that holds it.

        Where the file system has no locks it is a lease, which goes `LEASE` seconds after that process.

        Raises:
            HeldError: another has it, and `wait` is False.
        """
        path = self._ready(name)
        if not path.exists():
            path.touch()  # With the rights of all other files here.
        if self._held(name) is None:
            with self._lease(f"{name}{_CLAIMS}", wait=wait) as still:
                yield still
            return
        from filelock import FileLock, Timeout

        lock = FileLock(path)
        while True:
            try:
                lock.acquire(timeout=-1 if wait else 0)
                break
            except Timeout as error:
                if self._held(name):
                    raise HeldError(path) from error
                time.sleep(random.uniform(0.001, 0.01))  # noqa: S311 - those that refused it only look whether it is held
        try:
            yield lambda: None
        finally:
            lock.release()

    def locked(self, name: str) -> bool:
        """Whether some process holds a lock; asking keeps nobody from taking it."""
        held = self._held(name)
        return self._leased(f"{name}{_CLAIMS}") if held is None else held

    def _held(self, name: str) -> bool | None:
        """Whether some process holds a lock of the file system's; None where it has none.

        Whoever looks holds it too, for an instant and shared with all who look; `lock` knows them from a holder.
        """
        try:
            with (self.local / name).open("rb") as stream:  # As one may who may not write here.
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return None
            raise
        return False

    def _times(self, under: str) -> dict[str, float]:
        return self.modified(self.names(under))

    def _now(self, name: str) -> float:
        return time.time()

    def _ready(self, name: str) -> Path:
        """A file's path, its folder made."""
        if not self.local.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the folder is gone", str(self.local))
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def is_refused(error: OSError) -> bool:
    """Whether it is for want of a right that something cannot be written: another user's, or mounted to be read."""
    return error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)


def is_foreign(name: str) -> bool:
    """Whether a file is a desktop's own, which it puts beside others where it copies or shows a folder."""
    return any(part.startswith("._") or part == ".DS_Store" for part in name.split("/"))


@contextmanager
def written_beside(path: Path) -> Generator[Path]:
    """A file of one's own to write, which then takes the place of another: whoever reads sees the old or the new.

    Two that write the same, even on machines or in containers of the same name, do not disturb each other.
    """
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_PART}")
    try:
        yield beside
        beside.replace(path)
    except BaseException:
        with suppress(OSError):  # Half of it would keep a full disk full.
            beside.unlink()
        raise
