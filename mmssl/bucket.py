"""Objects of an S3 store as files."""

import errno
import os
import re
import uuid
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from pyarrow import fs

from mmssl.errors import UserError, nearest
from mmssl.files import is_foreign
from mmssl.lease import Leased, Still

# Tries of a request, with growing pauses: a failure of some seconds is not reported.
_ATTEMPTS = 5
_SECONDS_TO_CONNECT = 3.0
_SCHEMES = ("http", "https")
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]+)?")


@dataclass(frozen=True)
class Bucket(Leased):
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
