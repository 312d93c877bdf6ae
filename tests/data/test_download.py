import hashlib
import shutil
import socket
import ssl
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmssl.data import download
from mmssl.data.download import FILES, OFFICIAL, RemoteFile, download_utd_mhad
from mmssl.errors import UserError
from mmssl.files import Folder


def zipped(size: int, seed: int) -> bytes:
    """A zip file with one entry of random bytes, which do not compress."""
    content = BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(zipfile.ZipInfo("content.bin"), np.random.default_rng(seed).bytes(size))
    return content.getvalue()


INERTIAL, SKELETON = zipped(300_000, 1), zipped(500_000, 2)
EXPECTED = (
    RemoteFile("Inertial.zip", hashlib.sha256(INERTIAL).hexdigest()),
    RemoteFile("Skeleton.zip", None),
)


@dataclass
class Server:
    """What a test server holds and how it behaves."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=lambda: {"/Inertial.zip": INERTIAL, "/Skeleton.zip": SKELETON})
    most: int | None = None
    """Bytes of one answer before the connection is cut."""
    ranges: bool = True
    lengths: bool = True
    failures: int = 0
    """Answers with 503 before the first good one."""
    range_shift: int = 0
    asked: list[tuple[str, str | None]] = field(default_factory=list)


class Handler(BaseHTTPRequestHandler):
    behaviour: Server

    def do_GET(self) -> None:
        server = self.behaviour
        wanted = self.headers["Range"]
        server.asked.append((self.path, wanted))
        content = server.files.get(self.path)
        if content is None:
            return self.send_error(404)
        if server.failures:
            server.failures -= 1
            return self.send_error(503)
        start, total = 0, len(content)
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= total:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{total}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            start += server.range_shift
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        else:
            self.send_response(200)
        if server.lengths:
            self.send_header("Content-Length", str(total - start))
        self.end_headers()
        rest = content[start:]
        self.wfile.write(rest[: server.most])
        return None

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    behaviour = Server()
    handler = type("Handler", (Handler,), {"behaviour": behaviour})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        behaviour.url = f"http://127.0.0.1:{http.server_port}/"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield behaviour
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSE_S", 0.0)


def fetch(server: Server, folder: Path, **more: Any) -> list[Path]:
    return download_utd_mhad(folder, base_url=server.url, files=EXPECTED, **more)


def assert_whole(folder: Path) -> None:
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "Inertial.zip": INERTIAL,
        "Skeleton.zip": SKELETON,
    }


def test_both_files_come(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert fetch(server, folder) == [folder / "Inertial.zip", folder / "Skeleton.zip"]
    assert_whole(folder)
    assert server.asked == [("/Inertial.zip", None), ("/Skeleton.zip", None)]


def test_progress_counts_to_the_whole(server: Server, tmp_path: Path) -> None:
    server.most = 200_000
    told: dict[str, list[tuple[int, int | None]]] = {"Inertial.zip": [], "Skeleton.zip": []}
    fetch(server, tmp_path, progress=lambda name, done, total: told[name].append((done, total)))
    for name, content in (("Inertial.zip", INERTIAL), ("Skeleton.zip", SKELETON)):
        counts = [done for done, _ in told[name]]
        assert counts == sorted(counts)
        assert counts[-1] == len(content)
        assert {total for _, total in told[name]} == {len(content)}


def test_whole_files_are_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "inertial.ZIP").write_bytes(INERTIAL)
    (tmp_path / "Skeleton.zip").write_bytes(SKELETON)
    assert fetch(server, tmp_path) == [tmp_path / "inertial.ZIP", tmp_path / "Skeleton.zip"]
    assert server.asked == []


def test_a_file_that_is_not_whole_is_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "Inertial.zip").write_bytes(INERTIAL[:-1])
    (tmp_path / "Skeleton.zip").write_bytes(SKELETON[:1000])
    fetch(server, tmp_path)
    assert_whole(tmp_path)


def test_a_cut_connection_is_resumed_as_often_as_it_brings_something(server: Server, tmp_path: Path) -> None:
    server.most = 30_000
    fetch(server, tmp_path)
    assert_whole(tmp_path)
    ranges = [wanted for path, wanted in server.asked if path == "/Inertial.zip"]
    assert ranges == [None, *(f"bytes={start}-" for start in range(30_000, len(INERTIAL), 30_000))]


def test_an_earlier_part_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    (tmp_path / "Skeleton.zip.part").write_bytes(SKELETON[:123_456])
    fetch(server, tmp_path)
    assert_whole(tmp_path)
    assert server.asked == [("/Inertial.zip", None), ("/Skeleton.zip", "bytes=123456-")]


def test_a_whole_part_only_needs_its_name(server: Server, tmp_path: Path) -> None:
    (tmp_path / "Skeleton.zip.part").write_bytes(SKELETON)
    fetch(server, tmp_path)
    assert_whole(tmp_path)
    assert server.asked[1:] == [("/Skeleton.zip", f"bytes={len(SKELETON)}-")]


def test_a_part_longer_than_the_file_is_started_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / "Skeleton.zip.part").write_bytes(SKELETON + b"more")
    fetch(server, tmp_path)
    assert_whole(tmp_path)
    assert server.asked[2:] == [("/Skeleton.zip", None)]


def test_a_server_that_ignores_ranges_is_started_over(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "Skeleton.zip.part").write_bytes(b"x" * 1000)
    fetch(server, tmp_path)
    assert_whole(tmp_path)


def test_an_answer_from_elsewhere_in_the_file_is_not_appended(server: Server, tmp_path: Path) -> None:
    server.range_shift = 10
    (tmp_path / "Skeleton.zip.part").write_bytes(SKELETON[:1000])
    fetch(server, tmp_path)
    assert_whole(tmp_path)


def test_without_a_length_the_checks_decide(server: Server, tmp_path: Path) -> None:
    server.lengths = False
    fetch(server, tmp_path)
    assert_whole(tmp_path)

    shutil.rmtree(tmp_path)
    server.most = 100_000
    with pytest.raises(UserError, match=r"Inertial\.zip: this is not the expected file: SHA-256 is"):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_brings_nothing_new_is_not_asked_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.most = 1000
    with pytest.raises(UserError, match=r"Inertial\.zip: .*5 times in a row .* 1000 bytes are kept .*in a browser"):
        fetch(server, tmp_path)
    assert len(server.asked) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["Inertial.zip.part"]


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.failures = 3
    fetch(server, tmp_path)
    assert_whole(tmp_path)
    server.failures = 99
    (tmp_path / "Inertial.zip").unlink()
    with pytest.raises(UserError, match="the server answers 503 Service Unavailable, 5 times in a row"):
        fetch(server, tmp_path)


def test_a_file_that_is_not_there(server: Server, tmp_path: Path) -> None:
    del server.files["/Skeleton.zip"]
    with pytest.raises(
        UserError, match=r"/Skeleton\.zip: the server answers 404 Not Found; open https://www\.utdallas"
    ):
        fetch(server, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["Inertial.zip"]
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("Inertial.zip", SKELETON, f"SHA-256 is {hashlib.sha256(SKELETON).hexdigest()}, expected {EXPECTED[0].sha256}"),
        ("Skeleton.zip", b"<html>come back later</html>", "not a whole zip file"),
        ("Skeleton.zip", SKELETON[:200] + b"?" + SKELETON[201:], "content.bin in it is damaged"),
    ],
)
def test_other_content_is_not_kept(server: Server, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    server.files[f"/{name}"] = content
    with pytest.raises(UserError, match=message):
        fetch(server, tmp_path)
    assert not (tmp_path / name).exists()
    assert not (tmp_path / f"{name}.part").exists()


def test_no_server(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        (tmp_path / "Inertial.zip.part").write_bytes(b"some")
        with pytest.raises(UserError, match=r"Inertial\.zip: no connection .*are you online\?"):
            download_utd_mhad(tmp_path, base_url=url)
    assert (tmp_path / "Inertial.zip.part").read_bytes() == b"some"


def test_a_name_that_does_not_resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    with pytest.raises(UserError, match=r"no connection .*Name or service not known"):
        download_utd_mhad(tmp_path)


def test_a_server_that_cannot_be_trusted(server: Server, tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    subprocess.run(
        [openssl, *command, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    handler = type("Handler", (Handler,), {"behaviour": server})
    folder = tmp_path / "data"

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            pass

    with Quiet(("127.0.0.1", 0), handler) as https:
        https.socket = context.wrap_socket(https.socket, server_side=True)
        thread = threading.Thread(target=https.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with pytest.raises(UserError) as error:
                download_utd_mhad(folder, base_url=f"https://127.0.0.1:{https.server_port}", files=EXPECTED)
        finally:
            https.shutdown()
            thread.join()
    message = str(error.value)
    assert "certificate cannot be verified" in message
    assert "https://www.utdallas.edu/~kehtar/UTD-MHAD.html in a browser" in message
    assert f"Inertial.zip and Skeleton.zip there, and put both into {folder}" in message
    assert server.asked == []
    assert list(folder.iterdir()) == []


def test_a_full_disk_keeps_what_has_come(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Callable[..., Any] = Path.open

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file
            self.left = 100_000

        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: Any) -> None:
            self.file.close()

        def write(self, chunk: bytes) -> None:
            self.left -= len(chunk)
            if self.left < 0:
                raise OSError(28, "No space left on device")
            self.file.write(chunk)

    def open_full(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        file = opened(path, mode, *rest, **more)
        return Full(file) if mode in ("ab", "wb") else file

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(UserError, match=r"No space left on device.*what has come so far is kept"):
        fetch(server, tmp_path)
    monkeypatch.undo()
    kept = (tmp_path / "Inertial.zip.part").read_bytes()
    assert 0 < len(kept) <= 100_000
    assert kept == INERTIAL[: len(kept)]
    fetch(server, tmp_path)
    assert_whole(tmp_path)
    assert server.asked[1] == ("/Inertial.zip", f"bytes={len(kept)}-")


def test_a_folder_that_cannot_be(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="File exists"):
        fetch(server, tmp_path / "file")


def test_the_official_files() -> None:
    assert OFFICIAL.startswith("https://www.utdallas.edu/")
    assert {file.name: file.sha256 for file in FILES} == {
        "Inertial.zip": "1900de05775c04626dee30b34638b79dd739d481786f0a788f2fbb00663abea4",
        "Skeleton.zip": None,
    }


def test_two_that_fetch_into_one_folder_do_not_write_into_one_file(server: Server, tmp_path: Path) -> None:
    part = tmp_path / "Inertial.zip.part"
    part.write_bytes(INERTIAL[:1000])
    with Folder(tmp_path).lock(part.name, wait=False):
        with pytest.raises(UserError, match=r"Inertial\.zip\.part: another process is fetching this file; wait for it"):
            fetch(server, tmp_path)
        assert part.read_bytes() == INERTIAL[:1000]
        assert server.asked == []
    fetch(server, tmp_path)
    assert_whole(tmp_path)
