"""Fetch UTD-MHAD from its official address, going on where an interrupted download stopped."""

import hashlib
import re
import ssl
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx

from mmssl.errors import UserError
from mmssl.files import Folder
from mmssl.lease import HeldError

OFFICIAL = "https://www.utdallas.edu/~kehtar/UTD-MAD/"
PAGE = "https://www.utdallas.edu/~kehtar/UTD-MHAD.html"

Progress = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes that are here, and the bytes in all where the server says so."""

# Tries in a row that bring nothing new before giving up, and the pause after the first of them, which doubles.
_TRIES = 5
_PAUSE_S = 0.5
_CONTENT_RANGE = re.compile(r"bytes (?:(?P<start>[0-9]+)-[0-9]+|\*)/(?P<total>[0-9]+|\*)")


@dataclass(frozen=True)
class RemoteFile:
    name: str
    sha256: str | None
    """None where no checksum is published: then only the zip file's own checksums are verified."""


FILES = (
    RemoteFile("Inertial.zip", "1900de05775c04626dee30b34638b79dd739d481786f0a788f2fbb00663abea4"),
    RemoteFile("Skeleton.zip", None),
)


def download_utd_mhad(
    folder: Path,
    *,
    base_url: str = OFFICIAL,
    progress: Progress | None = None,
    files: Sequence[RemoteFile] = FILES,
) -> list[Path]:
    """Put the zip files that `utd_mhad.read` reads into a folder; those already there and whole are not fetched again.

    What has come of a file so far is kept as NAME.part beside it.

    Returns:
        Where the files are, in the order of `files`.

    Raises:
        UserError: the server cannot be reached or trusted, has no such file, keeps cutting the connection, sends
            something else than the file, the folder cannot be written, or another process is fetching the same.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        here = {path.name.lower(): path for path in folder.iterdir()}
        paths = [here.get(file.name.lower(), folder / file.name) for file in files]
        headers = {"Accept-Encoding": "identity"}
        with httpx.Client(headers=headers, timeout=30, follow_redirects=True) as client:
            for file, path in zip(files, paths, strict=True):
                if path.exists() and _fault(file, path) is None:
                    continue
                part = path.with_name(path.name + ".part")
                url = base_url.rstrip("/") + "/" + file.name
                with Folder(folder).lock(part.name, wait=False):
                    try:
                        _fetch(client, url, part, progress)
                        if fault := _fault(file, part):
                            part.unlink()
                            raise UserError(
                                f"{url}: this is not the expected file: {fault}; start again, or {_by_hand(folder)}"
                            )
                        part.replace(path)
                    finally:
                        if not _size(part):
                            part.unlink(missing_ok=True)  # That it is there is the lock's doing.
    except HeldError as error:
        raise UserError(f"{error}: another process is fetching this file; wait for it") from error
    except OSError as error:
        raise UserError(f"{folder}: {error}; mend that and start again: what has come so far is kept") from error
    return paths


def _fetch(client: httpx.Client, url: str, part: Path, progress: Progress | None) -> None:
    """Ask for the rest of a file until all of it is in `part`."""
    most = _size(part)
    tries = 0
    while True:
        try:
            if _fetch_some(client, url, part, progress):
                return
            trouble = "the connection was cut short"
        except httpx.HTTPStatusError as error:
            trouble = f"the server answers {error.response.status_code} {error.response.reason_phrase}"
            if not error.response.is_server_error:
                raise UserError(f"{url}: {trouble}; {_by_hand(part.parent)}") from error
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise UserError(_no_connection(url, error, part.parent)) from error
        except httpx.HTTPError as error:
            trouble = f"{type(error).__name__}: {error}"
        if _size(part) > most:
            most, tries = _size(part), 0
            continue
        tries += 1
        if tries == _TRIES:
            raise UserError(
                f"{url}: {trouble}, {_TRIES} times in a row with nothing new; {_size(part)} bytes are kept in "
                f"{part.name}: start again later, or {_by_hand(part.parent)}"
            )
        time.sleep(_PAUSE_S * 2**tries)


def _fetch_some(client: httpx.Client, url: str, part: Path, progress: Progress | None) -> bool:
    """Append what one request brings; whether `part` then has all."""
    done = _size(part)
    with client.stream("GET", url, headers={"Range": f"bytes={done}-"} if done else {}) as response:
        sent = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        total = sent["total"] if sent else response.headers.get("Content-Length")
        total = int(total) if total and total.isdecimal() else None
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if done == total:
                return True
            part.unlink(missing_ok=True)  # more than the whole file: of another version
            return False
        response.raise_for_status()
        resumed = response.status_code == HTTPStatus.PARTIAL_CONTENT
        if resumed and not (sent and sent["start"] == str(done)):
            part.unlink(missing_ok=True)
            return False
        done = done if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            # No decoding: Content-Length and ranges count the bytes on the wire.
            for chunk in response.iter_raw():
                file.write(chunk)
                done += len(chunk)
                if progress:
                    progress(part.stem, done, total)
    # The server may end a long answer early without an error.
    return total is None or done == total


def _fault(file: RemoteFile, path: Path) -> str | None:
    """Why a file is not the expected one; None when it is."""
    if file.sha256 is not None:
        with path.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        return None if found == file.sha256 else f"SHA-256 is {found}, expected {file.sha256}"
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
        return f"not a whole zip file ({error})"
    return f"{damaged} in it is damaged" if damaged else None


def _no_connection(url: str, error: BaseException, folder: Path) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"{url}: the server's certificate cannot be verified ({cause.verify_message}); the official server is "
                f"known to leave out an intermediate certificate. Nothing is fetched from a server that cannot be "
                f"trusted: {_by_hand(folder)}"
            )
        cause = cause.__cause__ or cause.__context__
    return f"{url}: no connection ({error}): are you online? Start again when you are; what has come so far is kept"


def _by_hand(folder: Path) -> str:
    return f"open {PAGE} in a browser, fetch Inertial.zip and Skeleton.zip there, and put both into {folder}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
