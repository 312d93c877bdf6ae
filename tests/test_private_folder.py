"""The temporary folder of a driver: private, short, removed by it or by the next."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from mmssl.private_folder import own_folder, remove

SOCKET = "r/session_2026-01-31_23-59-59_123456_4194304/sockets/plasma_store"
"""As Ray names it: `_private/node.py`."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where folders are made: short, since pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


def test_nobody_else_can_look_into_it_and_it_is_gone_with_its_driver(place: Path) -> None:
    before = os.umask(0)
    try:
        with own_folder() as folder:
            assert folder.parent == place
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            (folder / "session").mkdir()
            with pytest.raises(KeyboardInterrupt), own_folder() as another:
                raise KeyboardInterrupt
            assert folder.exists() and not another.exists()
    finally:
        os.umask(before)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("length", [20, 26, 27, 60, 200])
def test_sockets_fit_in_wherever_temporary_files_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as short:
        deep = Path(f"{short}/{'d' * max(1, length - len(short) - 1)}")
        deep.mkdir()
        monkeypatch.setenv("TMPDIR", str(deep))
        monkeypatch.setattr(tempfile, "tempdir", None)
        with own_folder() as folder:
            assert len(os.fsencode(folder / SOCKET)) <= 107
            assert (folder.parent == deep) is (len(str(deep)) <= 26)


def test_what_killed_drivers_left_is_removed_and_nothing_else(place: Path) -> None:
    program = "from mmssl.private_folder import own_folder\nwith own_folder() as f: print(f, flush=True); input()"
    with (
        subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as killed,
        subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as lives,
    ):
        assert killed.stdout and lives.stdout
        left, used = (Path(one.stdout.readline().strip()) for one in (killed, lives))
        (left / "session").mkdir()
        killed.kill()
        killed.wait()
        others = [place / name for name in ("mmssl-without-owner", "mmssl-of-a-broken-one", "mmssl-elsewhere", "other")]
        for one in others:
            one.mkdir()
        (place / "mmssl-of-a-broken-one" / "owner.json").write_text("[")
        owner = (left / "owner.json").read_text()
        (place / "mmssl-elsewhere" / "owner.json").write_text(owner.replace('"host": "', '"host": "x'))
        (place / "mmssl-link").symlink_to(left)
        with own_folder() as folder:
            assert not left.exists()
            there = {*others, used, folder, place / "mmssl-link"}
            assert set(place.iterdir()) == there
        lives.kill()


def test_it_is_gone_though_another_thread_writes_into_it_meanwhile(place: Path) -> None:
    with own_folder() as folder:
        until = time.monotonic() + 0.12

        def write() -> None:
            while time.monotonic() < until:
                with suppress(OSError):
                    (folder / "tune" / "run").mkdir(parents=True, exist_ok=True)
                    (folder / "tune" / "run" / str(time.monotonic_ns())).touch()

        with ThreadPoolExecutor(1) as pool:
            written = pool.submit(write)
            remove(folder)
            written.result()
        remove(folder)
        assert list(place.iterdir()) == []


def test_what_cannot_be_removed_keeps_its_owner(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with own_folder() as folder:
        (folder / "tune").mkdir()
        monkeypatch.setattr(shutil, "rmtree", lambda path, ignore_errors=False: None)
        remove(folder)
        assert (folder / "owner.json").is_file()
        monkeypatch.undo()


def test_where_none_can_be_made_it_says_what_would_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmssl.private_folder._places", lambda: iter(["/proc/none", "/" + "d" * 90]))
    with pytest.raises(OSError, match="set TMPDIR to a folder whose path has at most 26 characters"), own_folder():
        pass
