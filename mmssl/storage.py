"""Where studies lie: a folder, or a bucket of an object store. Both read, replace, list and lock files by name."""

import errno
import fcntl
import glob
import os
import platform
import random
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from filelock import FileLock, Timeout
from pyarrow import fs

from mmssl.errors import UserError, nearest

LEASE_VARIABLE = "MMSSL_LEASE_SECONDS"
LEASE = 30.0
"""Seconds after which a lock in a bucket, no more renewed by its holder, is another's to take."""
# Tries of a request, with growing pauses: an outage of some seconds is nobody's business.
_ATTEMPTS = 5
_SECONDS_TO_CONNECT = 3.0
_PART = ".part"
"""At the end of a file's name while it is being written."""

Still = Callable[[], None]
"""Raises OSError where a lock that was taken has been lost meanwhile."""


class HeldError(Exception):
    """A lock is another process's."""


@dataclass(frozen=True)
class Folder:
    """Files under a folder of this machine, or of a file system that machines share."""

    local: Path

    @property
    def uri(self) -> str:
        """The place as another process can be told of it."""
        return str(self.local)

    def place(self, name: str = "") -> str:
        """Where the folder or one of its files lies, to be read by people."""
        return str(self.local / name)

    def inside(self, name: str) -> "Folder":
        return Folder(self.local / name)

    def check(self) -> None:
        """Nothing: a folder is there, or will be made."""

    def make(self) -> None:
        """Make the folder itself, which no later writing does: one that was moved away is not begun anew."""
        self.local.mkdir(parents=True, exist_ok=True)

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
        # Of each process its own: two may write the same, one of them perhaps on a machine that was taken for lost.
        beside = path.with_name(f"{path.name}.{platform.node()}.{os.getpid()}{_PART}")
        try:
            with beside.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            beside.replace(path)
        except OSError:
            with suppress(OSError):  # Half of it would keep a full disk full.
                beside.unlink()
            raise

    def exists(self, name: str) -> bool:
        return (self.local / name).is_file()

    def modified(self, names: Iterable[str]) -> dict[str, float]:
        """When files were last written, in seconds since 1970, of those that are there."""
        return {name: (self.local / name).stat().st_mtime for name in names if self.exists(name)}

    def folders(self) -> list[str]:
        """Names of the folders directly in this one."""
        return sorted(path.name for path in self.local.iterdir() if path.is_dir()) if self.local.is_dir() else []

    def names(self, under: str) -> list[str]:
        """Names of the files below one of its folders."""
        paths = (self.local / under).rglob("*")
        whole = (path for path in paths if path.suffix != _PART and path.is_file())
        return sorted(path.relative_to(self.local).as_posix() for path in whole)

    def sizes(self, under: str) -> dict[str, int]:
        """Bytes of each file below one of its folders."""
        found: dict[str, int] = {}
        for name in self.names(under):
            with suppress(FileNotFoundError):
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

        Raises:
            HeldError: another has it, and `wait` is False.
        """
        path = self._ready(name)
        try:
            with FileLock(path, timeout=-1 if wait else 0):
                yield lambda: None
        except Timeout as error:
            raise HeldError(path) from error

    def locked(self, name: str) -> bool:
        """Whether some process holds a lock."""
        try:
            with (self.local / name).open("rb") as stream:  # As one may who may not write here.
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def _ready(self, name: str) -> Path:
        """A file's path, its folder made."""
        if not self.local.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the folder is gone", str(self.local))
        path = self.local / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True)
class Bucket:
    """Objects of an S3 store whose keys begin alike; methods are those of `Folder`.

    A lock is a lease: whoever wants it writes a claim of its own and then lists all claims. The store shows every
    claim that was written before, so that of two at the same time one sees the other at least, and gives way. The
    holder writes its claim again and again; one that has not been written for `LEASE` seconds by the store's own clock
    is nobody's.
    """

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
            endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
            if endpoint:  # Part of the place from here on: another node may not have the variable.
                given |= {"endpoint_override": urlsplit(endpoint).netloc, "scheme": urlsplit(endpoint).scheme}
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
            with self._asked(""):
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
        with self._asked(name):
            while True:
                with files.open_input_file(path) as stream:
                    content, version = stream.read(), stream.metadata()
                # The length was asked for before the content: another may have replaced the object in between.
                with files.open_input_file(path) as stream:
                    if stream.metadata() == version:
                        return content

    def write(self, name: str, content: bytes) -> None:
        with self._asked(name), self._files().open_output_stream(self._path(name)) as stream:
            stream.write(content)

    def exists(self, name: str) -> bool:
        return bool(self.modified([name]))

    def modified(self, names: Iterable[str]) -> dict[str, float]:
        with self._asked(""):
            infos = self._files().get_file_info([self._path(name) for name in names])
        return {self._name(info): info.mtime_ns / 1e9 for info in infos if info.type == fs.FileType.File}

    def folders(self) -> list[str]:
        return sorted(info.base_name for info in self._list("", deep=False) if info.type == fs.FileType.Directory)

    def names(self, under: str) -> list[str]:
        return sorted(self._name(info) for info in self._list(under) if info.type == fs.FileType.File)

    def sizes(self, under: str) -> dict[str, int]:
        return {self._name(info): info.size for info in self._list(under) if info.type == fs.FileType.File}

    def remove(self, name: str) -> None:
        with self._asked(name), suppress(FileNotFoundError):
            self._files().delete_file(self._path(name))

    def rename(self, name: str, new: str) -> None:
        with self._asked(name):
            self._files().move(self._path(name), self._path(new))

    def remove_all(self) -> None:
        with suppress(OSError):
            self._files().delete_dir(self._path(""))

    @contextmanager
    def lock(self, name: str, *, wait: bool) -> Generator[Still]:
        claim = self._claim(name, wait=wait)
        lost, done = threading.Event(), threading.Event()

        def renew() -> None:
            while not done.wait(_lease() / 6):
                with suppress(OSError):  # As long as the store is away, nobody takes the lock over either.
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

    def locked(self, name: str) -> bool:
        claims = self._claims(name)
        if not claims:
            return False
        clock = f"{name}.clock/{uuid.uuid4().hex}"
        self.write(clock, b"now")
        now = self.modified([clock])[clock]
        self.remove(clock)
        return any(now - moment <= _lease() for moment in claims.values())

    def _claim(self, name: str, *, wait: bool) -> str:
        seen: dict[str, float] = {}
        while True:
            # A new one each time: a claim that is seen to be renewed is a holder's.
            mine = f"{name}/{uuid.uuid4().hex}"
            self.write(mine, b"asked")
            claims = self._claims(name)
            now = claims.pop(mine, None)
            live = {claim: moment for claim, moment in claims.items() if now is None or now - moment <= _lease()}
            for claim in set(claims) - set(live):
                self.remove(claim)
            if now is not None and not live:
                return mine
            self.remove(mine)
            if not wait and any(moment > seen.setdefault(claim, moment) for claim, moment in live.items()):
                raise HeldError(self.place(name))
            time.sleep(random.uniform(0.2, 1))  # noqa: S311 - chance, not a secret

    def _claims(self, name: str) -> dict[str, float]:
        """When claims were last written, by the store's clock."""
        return {self._name(info): info.mtime_ns / 1e9 for info in self._list(name) if info.type == fs.FileType.File}

    def _list(self, under: str, *, deep: bool = True) -> list[Any]:
        with self._asked(under):
            selector = fs.FileSelector(self._path(under), allow_not_found=True, recursive=deep)
            return self._files().get_file_info(selector)

    def _files(self, attempts: int | None = None) -> fs.S3FileSystem:
        return self.options.connect(self.bucket, attempts or (1 if self.options in _SILENT else _ATTEMPTS))

    def _path(self, name: str) -> str:
        return "/".join(part for part in (self.bucket, self.prefix, name) if part)

    def _name(self, info: Any) -> str:
        return info.path.removeprefix(self._path("")).lstrip("/")

    @contextmanager
    def _asked(self, name: str) -> Generator[None]:
        """Say of an error where it happened and what, in one line, without the request that did not succeed."""
        try:
            yield
            _SILENT.discard(self.options)
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "no such object", self.place(name)) from error
        except OSError as error:
            _SILENT.add(self.options)
            said = re.sub(r"\s*\(Request ID: [^)]*\)", "", " ".join(str(error).split()))
            raise OSError(f"{self.place(name)}: {said.rpartition('AWS Error ')[2]}") from error


@dataclass(frozen=True)
class S3Options:
    """How a store is reached; credentials come from where AWS's own programs look for them."""

    endpoint_override: str = ""
    scheme: str = ""
    region: str = ""

    @cache  # noqa: B019 - there are as many as places named in a command
    def connect(self, bucket: str, attempts: int) -> fs.S3FileSystem:
        """A connection that tries each request so many times."""
        region = self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if not region:
            region = "us-east-1" if self.endpoint_override else fs.resolve_s3_region(bucket)
        return fs.S3FileSystem(
            endpoint_override=self.endpoint_override or None,
            scheme=self.scheme or None,
            region=region,
            connect_timeout=_SECONDS_TO_CONNECT,
            request_timeout=10,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=attempts),
            # One request for a small object where there would be three; it is seen when it is whole, or not at all.
            allow_delayed_open=True,
            background_writes=False,
        )


_SILENT: set[S3Options] = set()
"""Stores that failed when asked last, and are asked once: what is to be told then shall not wait for each request."""

Storage = Folder | Bucket


def storage_at(word: str | Path) -> Storage:
    """The storage that a user names: a folder, or s3://BUCKET/PREFIX.

    Raises:
        UserError: it is neither.
    """
    return Bucket.of(str(word)) if "://" in str(word) else Folder(Path(word).expanduser().absolute())


def _plain(uri: str) -> str:
    """A URI without what might be a secret."""
    return re.sub(r"//[^/@]*@", "//...@", uri.partition("?")[0])


def _lease() -> float:
    return float(os.environ.get(LEASE_VARIABLE, LEASE))
