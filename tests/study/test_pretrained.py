import errno
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mmssl.errors import UserError
from mmssl.files import Folder
from mmssl.study.folder import Study
from mmssl.study.lookup import names
from mmssl.study.plan import Plan


@pytest.fixture
def study(tmp_path: Path, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", "1")
    study = Study(tmp_path, "study")
    study.create(plan_of([1.0], [2.0]))
    return study


def test_what_several_need_is_made_once_and_read_back(study: Study) -> None:
    made: list[str] = []

    def make() -> Mapping[str, bytes]:
        made.append("once")
        return {"weights": b"\x00\xff", "epochs": b"[]"}

    first = study.pretrained.cached("0123abcd", make)
    again = Study(study.folder.parent, "study").pretrained.cached("0123abcd", make)
    assert dict(first) == dict(again) == {"weights": b"\x00\xff", "epochs": b"[]"}
    assert len(made) == 1
    study.pretrained.cached("ffff", make)
    assert len(made) == 2, "by name"


def test_another_study_beside_it_takes_what_was_made(study: Study, plan_of: Callable[..., Plan]) -> None:
    other = Study(study.folder.parent, "other")
    other.create(plan_of([1.0], [2.0]))
    study.pretrained.cached("0123abcd", lambda: {"weights": b"1"})
    study.drop()
    assert other.pretrained.cached("0123abcd", dict) == {"weights": b"1"}
    assert names(study.folder.parent) == ["other"]


def test_where_nothing_can_be_kept_a_trial_trains_for_itself(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.pretrained.cached("0123abcd", lambda: {"weights": b"1"})

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Folder, "lock", refuse)
    monkeypatch.setattr(Folder, "write", refuse)
    assert study.pretrained.cached("0123abcd", dict) == {"weights": b"1"}, "what lies there is read without the lock"
    assert [study.pretrained.cached("ffff", lambda n=n: {"weights": n}) for n in (b"2", b"3")] == [
        {"weights": b"2"},
        {"weights": b"3"},
    ]


def test_the_oldest_make_room(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", "3e-6")
    kept = study.folder.parent / ".pretrained"
    for number in range(4):
        study.pretrained.cached(f"name{number}", lambda: {"weights": bytes(1000)})
        os.utime(kept / f"name{number}" / "sha256.json", (number, number))
    assert sorted(path.name for path in kept.iterdir()) == ["name2", "name3"]
    assert study.pretrained.cached("name3", dict) == {"weights": bytes(1000)}
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", "0")
    assert study.pretrained.cached("name3", lambda: {"weights": b"new"}) == {"weights": b"new"}


def test_what_a_killed_process_left_half_written_goes_first(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", "3.5e-6")
    kept = study.folder.parent / ".pretrained"
    study.pretrained.cached("whole", lambda: {"weights": bytes(1000)})
    for name in ("left", "being_made"):
        (kept / name).mkdir()
        (kept / name / "weights").write_bytes(bytes(900))
    with Folder(study.folder.parent).lock(".pretrained/being_made/lock", wait=True):
        study.pretrained.cached("new", lambda: {"weights": bytes(1000)})
    assert sorted(path.name for path in kept.iterdir()) == ["being_made", "new", "whole"]


@pytest.mark.parametrize("said", ["a lot", "-1", "nan", ""])
def test_room_that_is_no_number_is_refused(said: str, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMSSL_PRETRAINED_GB", said)
    with pytest.raises(UserError, match=r"MMSSL_PRETRAINED_GB is '.*': give gigabytes"):
        study.pretrained.cached("name", dict)


def test_nothing_is_kept_of_what_could_not_be_made(study: Study) -> None:
    def fail() -> Mapping[str, bytes]:
        raise RuntimeError("epoch 3: loss is nan")

    with pytest.raises(RuntimeError, match="epoch 3"):
        study.pretrained.cached("0123abcd", fail)
    assert study.pretrained.cached("0123abcd", lambda: {"weights": b"1"}) == {"weights": b"1"}
    with pytest.raises(RuntimeError, match="epoch 3"):
        study.pretrained.cached("ffff", fail)


def test_half_of_what_a_killed_process_wrote_is_not_taken(study: Study) -> None:
    part = study.folder.parent / ".pretrained" / "0123abcd"
    part.mkdir(parents=True)
    (part / "weights").write_bytes(b"ha")
    (part / "weights.part").write_bytes(b"wh")
    (part / "stray").write_bytes(b"x")
    assert study.pretrained.cached("0123abcd", lambda: {"weights": b"whole"}) == {"weights": b"whole"}
    assert study.pretrained.cached("0123abcd", dict) == {"weights": b"whole"}


@pytest.mark.parametrize("damage", ["cut short", "one bit", "empty", "gone"])
@pytest.mark.parametrize("file", ["weights", "sha256.json"])
def test_what_was_damaged_is_made_again(study: Study, file: str, damage: str) -> None:
    made = {"weights": bytes(range(256)), "epochs": b"[]"}
    study.pretrained.cached("0123abcd", lambda: made)
    path = study.folder.parent / ".pretrained" / "0123abcd" / file
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        flipped = content[:7] + bytes([content[7] ^ 1]) + content[8:]
        path.write_bytes({"cut short": content[:-5], "one bit": flipped, "empty": b""}[damage])
    asked: list[str] = []
    assert study.pretrained.cached("0123abcd", lambda: asked.append("again") or made) == made
    assert asked == ["again"]
    assert path.read_bytes() == content


ASKS = """
import sys, time
from pathlib import Path
from mmssl.study.folder import Study

study, me = Study(sys.argv[1], "study"), sys.argv[2]
def make():
    with (study.folder / "made").open("a") as log:
        log.write(me)
    time.sleep(0.3)
    return {"by": me.encode()}
(study.folder / f"ready{me}").touch()
while len(list(study.folder.glob("ready*"))) < 3:
    time.sleep(0.005)
print(study.pretrained.cached("0123abcd", make)["by"].decode(), end="")
"""


def test_processes_that_ask_at_the_same_time_make_it_once(study: Study) -> None:
    command = [sys.executable, "-c", ASKS, str(study.folder.parent)]
    asking = [subprocess.Popen([*command, me], stdout=subprocess.PIPE, text=True) for me in "abc"]
    answers = [process.communicate(timeout=60)[0] for process in asking]
    made = (study.folder / "made").read_text()
    assert made in ("a", "b", "c")
    assert answers == [made] * 3
    assert [process.returncode for process in asking] == [0, 0, 0]
