"""A folder and a bucket keep the same promises: one suite for both."""

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO
from uuid import uuid4

import pytest
from s3_store import CREDENTIALS, Store, running_store

from mmssl import lease
from mmssl.bucket import Bucket
from mmssl.errors import UserError
from mmssl.lease import HeldError
from mmssl.storage import Storage, storage_at


def without_locks(monkeypatch: pytest.MonkeyPatch, answer: int = errno.ENOSYS) -> None:
    """Have every file system answer as one without locks, here and to `holder`."""

    def refuse(*_: object) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(fcntl, "lockf", refuse)
    monkeypatch.setenv("WITHOUT_LOCKS", str(answer))


@pytest.fixture(params=["folder", "folder without locks", pytest.param("bucket", marks=pytest.mark.ray)])
def files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    if request.param == "folder without locks":
        without_locks(monkeypatch)
    if request.param != "bucket":
        return storage_at(tmp_path)
    store: Store = request.getfixturevalue("s3")
    return storage_at(store.make(f"bucket-{uuid4().hex[:8]}")).inside("studies")


def test_what_was_written_is_read(files: Storage) -> None:
    content = bytes(range(256)) * 4000
    files.write("a/b/weights", content)
    assert files.read("a/b/weights") == content
    assert files.exists("a/b/weights")
    files.write("a/b/weights", b"")
    assert files.read("a/b/weights") == b""
    # Another object for the same place, and one that was told of it in words.
    assert storage_at(files.uri).read("a/b/weights") == b""
    assert storage_at(files.uri).inside("a/b").read("weights") == b""


def test_what_is_not_there_is_said_as_of_a_file(files: Storage) -> None:
    files.write("a/one", b"1")
    for absent in ("two", "a", "a/one/more"):
        assert not files.exists(absent)
        # Of a folder, and of a file within a file, a disk says other things than a store.
        with pytest.raises(OSError, match=absent):
            files.read(absent)
    with pytest.raises(FileNotFoundError) as missing:
        files.read("a/two")
    assert missing.value.filename == files.place("a/two")
    files.remove("two")
    assert files.names("nowhere") == []
    assert files.inside("nowhere").folders() == []
    assert files.modified(["a/one", "two"]).keys() == {"a/one"}


def test_files_and_folders_are_listed(files: Storage) -> None:
    for name in ("plan", "a/one", "a/deep/two", "ab/three", "b/four"):
        files.write(name, b"x")
    assert files.names("a") == ["a/deep/two", "a/one"]
    files.write("a/one", b"four")
    assert files.sizes("a") == {"a/deep/two": 1, "a/one": 4}
    assert files.sizes("nowhere") == {}
    assert files.folders() == ["a", "ab", "b"]
    files.remove("a/one")
    files.rename("a/deep/two", "a/deep/two.damaged")
    assert files.names("a") == ["a/deep/two.damaged"]
    assert files.read("a/deep/two.damaged") == b"x"
    files.inside("a").remove_all()
    assert files.names("a") == []
    assert files.read("ab/three") == b"x"


def test_the_last_written_is_known(files: Storage) -> None:
    files.write("one", b"1")
    time.sleep(1.1)
    files.write("two", b"2")
    times = files.modified(["one", "two"])
    assert 1 <= times["two"] - times["one"] < 60


def test_a_reader_never_sees_half(files: Storage) -> None:
    """Two contents in turn, megabytes long and not as long: whatever is read meanwhile is the one or the other."""
    contents = [bytes([i]) * i * 1_000_000 for i in (1, 2)]
    files.write("table", contents[0])
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            for content in contents:
                files.write("table", content)
                time.sleep(0.1)

    writing = threading.Thread(target=write)
    writing.start()
    reads: set[bytes] = set()
    began = time.monotonic()
    while time.monotonic() - began < 2:
        reads.add(files.read("table"))
    done.set()
    writing.join()
    assert sorted(reads) == contents, [len(read) for read in reads]


def test_a_machine_that_was_taken_for_lost_does_not_disturb_its_successor(tmp_path: Path) -> None:
    """Both write one file at the same time; each in a process, the machine's name being all that tells them apart."""
    code = """
import platform, sys
from mmssl.storage import storage_at
platform.node = lambda: sys.argv[2]
for _ in range(300):
    storage_at(sys.argv[1]).write("snapshot", sys.argv[2].encode() * 100_000)
"""
    lost, successor = (
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name], stderr=subprocess.PIPE)
        for name in ("a", "node-b")
    )
    files, read = storage_at(tmp_path), set[bytes]()
    while lost.poll() is None or successor.poll() is None:
        if files.exists("snapshot"):
            read.add(files.read("snapshot"))
    for writer in (lost, successor):
        assert writer.communicate()[1] == b""
    assert read == {b"a" * 100_000, b"node-b" * 100_000}
    (tmp_path / "snapshot.another.part").write_bytes(b"half")
    files.remove("snapshot")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_excludes_a_second_holder(files: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lease.LEASE_VARIABLE, "3")
    files.write("made", b"")
    again = storage_at(files.uri)
    assert not again.locked("lock")
    with files.lock("lock", wait=False) as still:
        assert again.locked("lock")
        with pytest.raises(HeldError), again.lock("lock", wait=False):
            pass
        still()
    assert not again.locked("lock")
    with again.lock("lock", wait=False):
        pass


HOLDS = """
import fcntl, os, sys, time
if answer := os.environ.get("WITHOUT_LOCKS"):
    def refuse(*_):
        raise OSError(int(answer), "")
    fcntl.flock = fcntl.lockf = refuse
from mmssl.storage import storage_at
with storage_at(sys.argv[1]).lock("lock", wait=True):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
print("released", time.time(), flush=True)
"""


def holder(files: Storage, seconds: float) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, files.uri, str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_holder_is_waited_for(files: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a lease lasts: it is renewed."""
    monkeypatch.setenv(lease.LEASE_VARIABLE, "1.5")
    files.write("made", b"")
    with holder(files, 2.5) as process, files.lock("lock", wait=True):
        taken = time.time()
        out, _ = process.communicate(timeout=60)
        assert float(out.split()[1]) - 0.5 < taken, "taken while the other held it"


def test_the_lock_of_a_killed_holder_is_taken_over(files: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lease.LEASE_VARIABLE, "3")
    files.write("made", b"")
    with holder(files, 600) as process:
        process.kill()
        process.wait()
        began = time.monotonic()
        with files.lock("lock", wait=False):
            assert time.monotonic() - began < 10
            assert files.locked("lock")
    assert not files.locked("lock")


@pytest.mark.parametrize("answer", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP], ids=errno.errorcode.get)
def test_where_a_file_system_has_no_locks_a_dead_holder_is_waited_for_no_longer_than_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    """A holder on a machine that is gone: nobody renews its claim, and no process here has its number."""
    monkeypatch.setenv(lease.LEASE_VARIABLE, "2")
    without_locks(monkeypatch, answer)
    files = storage_at(tmp_path)
    with files.lock("lock", wait=False):
        assert files.locked("lock")
        [claim] = (tmp_path / "lock.claims").iterdir()
        gone = claim.with_name("gone")
        gone.write_bytes(claim.read_bytes())
    assert files.locked("lock"), "until its lease ends"
    began = time.monotonic()
    with files.lock("lock", wait=False):
        assert 1.5 < time.monotonic() - began < 6
        assert not gone.exists()
    assert not files.locked("lock")


def test_a_claim_whose_machine_has_another_clock_is_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock is an hour behind; it is alive, as is seen by its being renewed."""
    monkeypatch.setenv(lease.LEASE_VARIABLE, "3")
    without_locks(monkeypatch)
    claim, done = tmp_path / "lock.claims" / "slow", threading.Event()
    claim.parent.mkdir()
    behind = time.time() - 3600

    def renew() -> None:
        moment = behind
        while not done.wait(0.25):
            moment += 0.25
            claim.touch()
            os.utime(claim, (moment, moment))

    renewing = threading.Thread(target=renew)
    claim.touch()
    os.utime(claim, (behind, behind))
    renewing.start()
    try:
        with pytest.raises(HeldError), storage_at(tmp_path).lock("lock", wait=False):
            pass
    finally:
        done.set()
        renewing.join()


def test_whoever_looks_whether_a_lock_is_held_keeps_nobody_from_taking_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where each look takes its time, as on a file server."""
    flock = fcntl.flock

    def slow(stream: IO[bytes], operation: int) -> None:
        flock(stream, operation)
        if operation & fcntl.LOCK_SH:
            time.sleep(0.002)

    monkeypatch.setattr(fcntl, "flock", slow)
    files, done = storage_at(tmp_path), threading.Event()
    files.write("lock", b"")

    def look() -> None:
        while not done.wait(0.01):
            files.locked("lock")

    with ThreadPoolExecutor(4) as pool:
        looking = [pool.submit(look) for _ in range(4)]
        try:
            for _ in range(100):
                with files.lock("lock", wait=False):
                    pass
        finally:
            done.set()
        for one in looking:
            one.result()


@pytest.mark.ray
def test_a_holder_that_slept_too_long_learns_that_it_lost(s3: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lease.LEASE_VARIABLE, "2")
    files = storage_at(s3.make("sleeper"))
    code = """
import sys, time
from mmssl.storage import storage_at
with storage_at(sys.argv[1]).lock("lock", wait=False) as still:
    print("held", flush=True)
    while True:
        time.sleep(0.1)
        still()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, files.uri], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGSTOP)
        with files.lock("lock", wait=True):
            process.send_signal(signal.SIGCONT)
            _, err = process.communicate(timeout=60)
            assert "OSError: s3://sleeper/lock: not renewed for 2 s, and taken by another process" in err


@pytest.mark.ray
def test_of_many_that_want_a_lock_at_once_one_has_it_at_a_time(s3: Store) -> None:
    files = storage_at(s3.make("rush"))
    inside: list[int] = []
    most: list[int] = []

    def work(i: int) -> None:
        with storage_at(files.uri).lock("lock", wait=True):
            inside.append(i)
            most.append(len(inside))
            time.sleep(0.05)
            inside.remove(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert most == [1, 1, 1, 1]


def test_a_folder_that_was_moved_away_is_not_begun_anew(tmp_path: Path) -> None:
    files = storage_at(tmp_path / "study")
    files.make()
    files.write("a/one", b"1")
    (tmp_path / "study").rename(tmp_path / "elsewhere")
    for use in (lambda: files.write("a/one", b"2"), lambda: files.lock("lock", wait=False).__enter__()):
        with pytest.raises(FileNotFoundError, match="the folder is gone"):
            use()
    assert not (tmp_path / "study").exists()
    assert (tmp_path / "elsewhere" / "a" / "one").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("gs://bucket/x", r"--storage gs://bucket/x: give a folder, or s3://BUCKET/PREFIX"),
        ("s3://me:secret@bucket", r"--storage s3://\.\.\.@bucket: others can read credentials"),
        ("s3://bucket?endpoint=x", r"no option 'endpoint'; did you mean endpoint_override"),
        ("s3://UPPER/x", r"'UPPER' is no bucket's name"),
        ("s3:///x", r"'' is no bucket's name"),
        ("s3://b/../x", r"is no bucket's name"),
        ("s3://bucket?endpoint_override=http://h:1", r"give \?endpoint_override=HOST:PORT, and &scheme=http or https"),
        (
            "s3://bucket?endpoint_override=h:1&scheme=ftp",
            r"give \?endpoint_override=HOST:PORT, and &scheme=http or https",
        ),
    ],
)
def test_what_is_no_storage_is_explained(word: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        storage_at(word)
    assert "secret" not in str(refused.value)


def test_the_endpoint_of_the_environment_becomes_part_of_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://10.0.0.1:9000")
    found = storage_at("s3://bucket/studies/")
    assert isinstance(found, Bucket)
    assert found.uri == "s3://bucket/studies?endpoint_override=10.0.0.1:9000&scheme=http"
    assert found.place("a") == "s3://bucket/studies/a"
    given = storage_at("s3://bucket?endpoint_override=h:1&scheme=http&region=eu-west-1")
    assert given.uri == "s3://bucket?endpoint_override=h:1&scheme=http&region=eu-west-1"


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("minio.lab:9000", "'minio.lab:9000': give http://minio.lab:9000 or https://minio.lab:9000"),
        ("minio", "'minio': give http://minio or https://minio"),
        ("10.0.0.1:9000", "give http://10.0.0.1:9000 or https://10.0.0.1:9000"),
        ("//minio.lab:9000", "give http://HOST:PORT or https://HOST:PORT"),
        ("s3://minio.lab", "give http://HOST:PORT or https://HOST:PORT"),
        ("http:/minio.lab:9000", "give http://HOST:PORT or https://HOST:PORT"),
        ("http://minio.lab:9000/bucket", "give http://HOST:PORT or https://HOST:PORT"),
        ("http://me:secret@minio.lab:9000", "give http://HOST:PORT or https://HOST:PORT"),
    ],
)
def test_an_endpoint_that_would_be_left_out_is_refused(
    monkeypatch: pytest.MonkeyPatch, variable: str, said: str, right: str
) -> None:
    monkeypatch.setenv(variable, said)
    with pytest.raises(UserError, match=rf"^\${variable} is .*{right}$") as refused:
        storage_at("s3://bucket/studies")
    assert "secret" not in str(refused.value)
    assert storage_at("s3://bucket?endpoint_override=h:1").uri == "s3://bucket?endpoint_override=h:1"


def test_authorities_of_the_environment_are_asked_about_a_stores_certificate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *words], check=True, capture_output=True)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running_store(ssl=(certificate, key)) as store:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://{store.endpoint}")

        def said(prefix: str) -> str:
            with pytest.raises((OSError, UserError)) as refused:
                storage_at(f"s3://bucket/{prefix}").check()
            return str(refused.value)

        assert "SSL peer certificate" in said("untrusted")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
        assert said("trusted") == ("s3://bucket: there is no such bucket; make it first, or choose another --storage")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "absent.pem"))
        assert said("absent").startswith(f"$AWS_CA_BUNDLE is '{tmp_path}/absent.pem': no file that can be read")


@pytest.mark.ray
def test_a_bucket_that_is_not_there_is_said_at_once(s3: Store) -> None:
    absent = storage_at(s3.uri("no-such-bucket"))
    with pytest.raises(UserError, match="s3://no-such-bucket: there is no such bucket"):
        absent.check()
    with pytest.raises(OSError, match=r"^s3://no-such-bucket/x: .*bucket does not exist") as failed:
        absent.write("x", b"")
    assert "\n" not in str(failed.value)


@pytest.mark.ray
@pytest.mark.parametrize("frozen", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_store_that_does_not_answer_is_said_within_seconds(frozen: bool) -> None:
    with running_store() as store:
        bucket = storage_at(store.make("bucket"))
        bucket.check()
        if frozen:
            store.freeze()
        else:
            store.stop()
        began = time.monotonic()
        with pytest.raises(OSError, match=r"^s3://bucket: (?!.*\n)"):
            bucket.check()
        assert time.monotonic() - began < (20 if frozen else 5)
        with pytest.raises(OSError, match=r"^s3://bucket/a: (?!.*\n)"):
            bucket.read("a")
        assert time.monotonic() - began < (120 if frozen else 30)


@pytest.mark.ray
def test_credentials_that_do_not_fit_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CREDENTIALS:
        monkeypatch.setenv(name, "mallory")
    with running_store(INITIAL_NO_AUTH_ACTION_COUNT="0") as store:
        refused = storage_at(store.uri("locked"))
        with pytest.raises(UserError, match="s3://locked: not to be seen with the credentials there are"):
            refused.check()
        with pytest.raises(OSError, match="s3://locked/x: INVALID_ACCESS_KEY_ID") as failed:
            refused.write("x", b"")
    assert "mallory" not in str(failed.value)


def test_processes_that_write_the_same_file_leave_it_whole(tmp_path: Path) -> None:
    code = (
        "import sys; from mmssl.files import Folder\n"
        "for _ in range(200): Folder(__import__('pathlib').Path(sys.argv[1])).write('one', b'a' * 5000)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    assert (tmp_path / "one").read_bytes() == b"a" * 5000
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_threads_and_machines_of_one_name_write_the_same_file_beside_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two containers may share the name, and the number of the process: only chance tells what they write apart."""
    both = threading.Barrier(2)
    sync = os.fsync

    def together(descriptor: int) -> None:
        both.wait(10)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", together)
    with ThreadPoolExecutor(2) as pool:
        for writing in [pool.submit(storage_at(tmp_path).write, "one", content) for content in (b"a" * 9, b"b" * 5)]:
            writing.result()
    assert (tmp_path / "one").read_bytes() in (b"a" * 9, b"b" * 5)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
