"""Where studies lie: a folder, or a bucket of an object store. Both read, replace, list and lock files by name."""

import errno
import fcntl
import glob
import os
import random
import re
import shutil
import stat
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from pyarrow import fs

from mmssl.errors import UserError, nearest

LEASE_VARIABLE = "MMSSL_LEASE_SECONDS"
LEASE = 30.0
"""Seconds after which a lease, no more renewed by its holder, is another's to take."""
# Tries of a request, with growing pauses: a failure of some seconds is not reported.
_ATTEMPTS = 5
_SECONDS_TO_CONNECT = 3.0
_SCHEMES = ("http", "https")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]+)?")
_PART = ".part"
"""At the end of a file's name while it is being written."""
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
"""What file systems without locks answer: Lustre mounted without `flock`, NFS without its lock server, some FUSE."""

_CLAIMS = ".claims"
"""At the end of the name of a folder of claims, beside the lock's file where a file system has no locks."""
Still = Callable[[], None]
"""Raises OSError where a lock that was taken has been lost meanwhile."""


class HeldError(Exception):
    """A lock is another process's."""


class _Leased(ABC):
    """Locks of a place that has none of its own: leases.

    Whoever wants a lock writes a claim of its own and then lists all claims. The place shows every claim that was
    written before, so that of two at the same time one sees the other at least, and gives way. The holder writes its
    claim again and again; one that has not been written for `LEASE` seconds by the place's own clock is nobody's.
    """

    _doubt: ClassVar[float] = 0.0
    """For which part of a lease a claim that looks dead is watched, until it is taken for that."""

    @abstractmethod
    def place(self, name: str = "") -> str: ...
    @abstractmethod
    def write(self, name: str, content: bytes) -> None: ...
    @abstractmethod
    def exists(self, name: str) -> bool: ...
    @abstractmethod
    def remove(self, name: str) -> None: ...
    @abstractmethod
    def _times(self, under: str) -> dict[str, float]:
        """When the files below one of its folders were last written, by the place's clock."""

    @abstractmethod
    def _now(self, name: str) -> float:
        """That clock's time; a file of such a name may be written to read it."""

    @contextmanager
    def _lease(self, name: str, *, wait: bool) -> Generator[Still]:
        claim = self._claim(name, wait=wait)
        lost, done = threading.Event(), threading.Event()

        def renew() -> None:
            while not done.wait(_lease() / 6):
                with suppress(OSError):  # As long as the place is away, nobody takes the lock over either.
                    if not self.exists(claim):
                        lost.set()
                        return
                    self.write(claim, b"held")

        def still() -> None:
            if lost.is_set():
                raise OSError(f"{self.place(name)}: not renewed for {_lease():g} s, and taken by another process")

        renewing = threading.Thread(target=renew, daemon=True)
        renewing.start()
        try:
            yield still
        finally:
            done.set()
            renewing.join()
            with suppress(OSError):
                self.remove(claim)

    def _leased(self, name: str) -> bool:
        claims = self._times(name)
        if not claims:
            return False
        now = self._now(name)
        return any(now - moment <= _lease() for moment in claims.values())

    def _claim(self, name: str, *, wait: bool) -> str:
        seen: dict[str, tuple[float, float]] = {}
        while True:
            # A new one each time: a claim that is seen to be renewed is a holder's.
            mine = f"{name}/{uuid.uuid4().hex}"
            self.write(mine, b"asked")
            claims = self._times(name)
            now = claims.pop(mine, None)
            live: list[str] = []
            for claim, moment in claims.items():
                first, since = seen.setdefault(claim, (moment, time.monotonic()))
                watched = time.monotonic() - since
                if now is None or moment > first or now - moment <= _lease() or watched < self._doubt * _lease():
                    live.append(claim)
                else:
                    self.remove(claim)
            if now is not None and not live:
                return mine
            self.remove(mine)
            if not wait and any(claims[claim] > seen[claim][0] for claim in live):
                raise HeldError(self.place(name))
            time.sleep(random.uniform(0.2, 1))  # noqa: S311 - chance, not a secret


@dataclass(frozen=True)
class Folder(_Leased):
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


@dataclass(frozen=True)
class Bucket(_Leased):
    """Objects of an S3 store whose keys begin alike; methods are those of `Folder`, and a lock is a lease."""

    options: "S3Options"
    bucket: str
    prefix: str
    local: None = None

    @classmethod
    def of(cls, uri: str) -> "Bucket":
        """The bucket and prefix of `s3://BUCKET/PREFIX`, with `?endpoint_override=HOST:PORT&scheme=http` if need be.

        Raises:
            UserError: it is no such URI.
        """
        parts = urlsplit(uri)
        if parts.scheme != "s3":
            raise UserError(f"--storage {_plain(uri)}: give a folder, or s3://BUCKET/PREFIX")
        if parts.username or parts.password:
            raise UserError(
                f"--storage {_plain(uri)}: others can read credentials in a command line; "
                "give them by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role"
            )
        given = dict(parse_qsl(parts.query))
        for name in given:
            if name not in ("endpoint_override", "scheme", "region"):
                valid = ["endpoint_override", "scheme", "region"]
                raise UserError(f"--storage {_plain(uri)}: no option {name!r}; {nearest(name, valid)}")
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc):
            raise UserError(f"--storage {_plain(uri)}: {parts.netloc!r} is no bucket's name; give s3://BUCKET/PREFIX")
        if "endpoint_override" not in given:
            given |= _endpoint()  # Part of the place from here on: another node may not have the variable.
        elif not _HOST.fullmatch(given["endpoint_override"]) or given.get("scheme", "https") not in _SCHEMES:
            raise UserError(f"--storage {_plain(uri)}: give ?endpoint_override=HOST:PORT, and &scheme=http or https")
        return cls(S3Options(**given), parts.netloc, parts.path.strip("/"))

    @property
    def uri(self) -> str:
        query = urlencode({name: value for name, value in vars(self.options).items() if value}, safe=":")
        return self.place() + (f"?{query}" if query else "")

    def place(self, name: str = "") -> str:
        return f"s3://{self._path(name)}"

    def inside(self, name: str) -> "Bucket":
        return replace(self, prefix=f"{self.prefix}/{name}".strip("/"))

    def check(self) -> None:
        """Find out at once whether the bucket can be used.

        Raises:
            UserError: there is no such bucket, or it is not to be seen with the credentials there are.
            OSError: the store does not answer.
        """
        try:
            with self._query(""):
                found = self._files(attempts=1).get_file_info(self.bucket)
        except OSError as error:
            if "ACCESS_DENIED" in str(error.__cause__) or "HTTP status 403" in str(error.__cause__):
                raise UserError(
                    f"s3://{self.bucket}: not to be seen with the credentials there are; set AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or use a role that may list, read, write and delete in it"
                ) from error
            raise
        if found.type == fs.FileType.NotFound:
            raise UserError(f"s3://{self.bucket}: there is no such bucket; make it first, or choose another --storage")

    def make(self) -> None:
        """Nothing: an object store has no folders."""

    def read(self, name: str) -> bytes:
        files, path = self._files(), self._path(name)
        with self._query(name):
            while True:
                with files.open_input_file(path) as stream:
                    content, version = stream.read(), stream.metadata()
                # The length was read before the content: another may have replaced the object in between.
                with files.open_input_file(path) as stream:
                    if stream.metadata() == version:
                        return content

    def write(self, name: str, content: bytes) -> None:
        with self._query(name), self._files().open_output_stream(self._path(name)) as stream:
            stream.write(content)

    def exists(self, name: str) -> bool:
        return bool(self.modified([name]))

    def modified(self, names: Iterable[str]) -> dict[str, float]:
        with self._query(""):
            infos = self._files().get_file_info([self._path(name) for name in names])
        return {self._name(info): info.mtime_ns / 1e9 for info in infos if info.type == fs.FileType.File}

    def readable(self, name: str) -> bool:
        return True

    def folders(self) -> list[str]:
        return sorted(info.base_name for info in self._list("", deep=False) if info.type == fs.FileType.Directory)

    def names(self, under: str) -> list[str]:
        names = (self._name(info) for info in self._list(under) if info.type == fs.FileType.File)
        return sorted(name for name in names if not is_foreign(name))

    def sizes(self, under: str) -> dict[str, int]:
        return {self._name(info): info.size for info in self._list(under) if info.type == fs.FileType.File}

    def remove(self, name: str) -> None:
        with self._query(name), suppress(FileNotFoundError):
            self._files().delete_file(self._path(name))

    def rename(self, name: str, new: str) -> None:
        with self._query(name):
            self._files().move(self._path(name), self._path(new))

    def remove_all(self) -> None:
        with suppress(OSError):
            self._files().delete_dir(self._path(""))

    @contextmanager
    def lock(self, name: str, *, wait: bool) -> Generator[Still]:
        with self._lease(name, wait=wait) as still:
            yield still

    def locked(self, name: str) -> bool:
        return self._leased(name)

    def _times(self, under: str) -> dict[str, float]:
        return {self._name(info): info.mtime_ns / 1e9 for info in self._list(under) if info.type == fs.FileType.File}

    def _now(self, name: str) -> float:
        clock = f"{name}.clock/{uuid.uuid4().hex}"
        self.write(clock, b"now")
        now = self.modified([clock])[clock]
        self.remove(clock)
        return now

    def _list(self, under: str, *, deep: bool = True) -> list[Any]:
        with self._query(under):
            selector = fs.FileSelector(self._path(under), allow_not_found=True, recursive=deep)
            return self._files().get_file_info(selector)

    def _files(self, attempts: int | None = None) -> fs.S3FileSystem:
        attempts = attempts or (1 if self.options in _SILENT else _ATTEMPTS)
        return self.options.connect(self.bucket, attempts, _authorities())

    def _path(self, name: str) -> str:
        return "/".join(part for part in (self.bucket, self.prefix, name) if part)

    def _name(self, info: Any) -> str:
        return info.path.removeprefix(self._path("")).lstrip("/")

    @contextmanager
    def _query(self, name: str) -> Generator[None]:
        """A request; of its error, one line with the place and the cause, without the request's id."""
        try:
            yield
            _SILENT.discard(self.options)
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "no such object", self.place(name)) from error
        except OSError as error:
            _SILENT.add(self.options)
            text = re.sub(r"\s*\(Request ID: [^)]*\)", "", " ".join(str(error).split()))
            raise OSError(f"{self.place(name)}: {text.rpartition('AWS Error ')[2]}") from error


@dataclass(frozen=True)
class S3Options:
    """How a store is reached; credentials come from where AWS's own programs look for them."""

    endpoint_override: str = ""
    scheme: str = ""
    region: str = ""

    @cache  # noqa: B019 - there are as many as places named in a command
    def connect(self, bucket: str, attempts: int, authorities: str | None) -> fs.S3FileSystem:
        """A connection that tries each request so many times.

        Args:
            authorities: file of those that the store's certificate may come from; None for the system's.
        """
        region = self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if not region:
            region = "us-east-1" if self.endpoint_override else fs.resolve_s3_region(bucket)
        return fs.S3FileSystem(
            endpoint_override=self.endpoint_override or None,
            scheme=self.scheme or None,
            region=region,
            tls_ca_file_path=authorities,
            connect_timeout=_SECONDS_TO_CONNECT,
            request_timeout=10,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=attempts),
            # One request for a small object where there would be three; it is seen when it is whole, or not at all.
            allow_delayed_open=True,
            background_writes=False,
        )


_SILENT: set[S3Options] = set()
"""Stores whose last request failed: their next requests are tried once, so that a report does not wait for each."""

Storage = Folder | Bucket


def is_refused(error: OSError) -> bool:
    """Whether it is for want of a right that something cannot be written: another user's, or mounted to be read."""
    return error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)


def is_foreign(name: str) -> bool:
    """Whether a file is a desktop's own, which it puts beside others where it copies or shows a folder."""
    return any(part.startswith("._") or part == ".DS_Store" for part in name.split("/"))


def storage_at(word: str | Path) -> Storage:
    """The storage that a user names: a folder, or s3://BUCKET/PREFIX.

    Raises:
        UserError: it is neither.
    """
    return Bucket.of(str(word)) if "://" in str(word) else Folder(Path(word).expanduser().absolute())


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


def _endpoint() -> dict[str, str]:
    """The environment's word for a store that is not AWS's, as options of a URI.

    Raises:
        UserError: it is no address, so that the request would go to AWS.
    """
    variable = next((name for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL") if os.environ.get(name)), None)
    if variable is None:
        return {}
    text = os.environ[variable]
    parts = urlsplit(text)
    if parts.scheme in _SCHEMES and _HOST.fullmatch(parts.netloc) and not parts.path.strip("/") and not parts.query:
        return {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    like = f"http://{text} or https://{text}" if _HOST.fullmatch(text) else "http://HOST:PORT or https://HOST:PORT"
    raise UserError(f"${variable} is {_plain(text)!r}: give {like}")


def _authorities() -> str | None:
    """The environment's word for the authorities that a store's certificate may come from.

    Raises:
        UserError: there is no such file.
    """
    text = os.environ.get("AWS_CA_BUNDLE")
    if text and not os.access(text, os.R_OK):
        raise UserError(f"$AWS_CA_BUNDLE is {text!r}: no file that can be read; give one with certificates in PEM")
    return text or None


def _plain(uri: str) -> str:
    """A URI without what might be a secret."""
    return re.sub(r"//[^/@]*@", "//...@", uri.partition("?")[0])


def _lease() -> float:
    return float(os.environ.get(LEASE_VARIABLE, LEASE))
