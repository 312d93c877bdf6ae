"""Commands that other commands propose do what they are proposed for."""

import csv
import html
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
import small
from asking import Ask
from own_folder import make

from mmssl import Recordings
from mmssl.cli.recordings import by_what_they_have
from mmssl.study.baseline import baselines
from mmssl.study.folder import Study
from mmssl.study.results import best_of

PAIR = (("imu", "skeleton"), ("imu",), ("skeleton",))
THREE = (("a", "b", "c"), ("a",), ("b",), ("c",), ("a", "c"))


class Having:
    """Recordings by what each has."""

    def __init__(self, *had: str) -> None:
        self._had = [words.split() for words in had]

    def __len__(self) -> int:
        return len(self._had)

    def lacking(self, names: Sequence[str]) -> list[int]:
        return [i for i, own in enumerate(self._had) if not set(names) <= set(own)]


def others(tiny: Recordings) -> Recordings:
    """Recordings of a person who only pre-trains."""
    some = tiny.selected(range(6))
    rows = [row.model_copy(update={"recording_id": f"zoe-{i}", "subject": "zoe"}) for i, row in enumerate(some.rows)]
    arrays = {one: [array * 1.01 for array in some.arrays(one)] for one in some.kinds}
    return Recordings(some.description, rows, **arrays)


@pytest.mark.parametrize(
    ("inputs", "had", "options"),
    [
        (PAIR, ["imu skeleton", "imu skeleton"], ""),
        (PAIR, ["skeleton", "skeleton"], " --modalities skeleton"),
        (PAIR, ["imu skeleton", "skeleton"], " --modalities skeleton"),
        (PAIR, ["imu skeleton", "skeleton", "imu"], " --skip-bad"),
        (PAIR, ["imu", "skeleton", "skeleton"], " --modalities skeleton --skip-bad"),
        (THREE, ["a c", "a c"], " --modalities a,c"),
        (THREE, ["a b", "a b"], " --modalities a"),  # There is no head for both.
        (THREE, ["b c", "a c"], " --modalities c"),
    ],
)
def test_encoders_read_the_most_that_all_recordings_have(
    inputs: Sequence[Sequence[str]], had: list[str], options: str
) -> None:
    assert by_what_they_have(inputs, Having(*had)) == options  # pyright: ignore[reportArgumentType]


def test_what_predict_proposes_for_recordings_without_a_modality_works(
    ask: Ask, encoders: Path, tmp_path: Path, tiny: Recordings
) -> None:
    skeletons = Recordings(tiny.description, tiny.rows, skeleton=tiny.skeleton)
    some = Recordings(
        tiny.description, tiny.rows, skeleton=tiny.skeleton, imu=[*tiny.arrays("imu")[:9], *[None] * (len(tiny) - 9)]
    )
    for recordings in (skeletons, some):
        recordings.save(tmp_path / "new.parquet")
        words = ["predict", encoders, tmp_path / "new.parquet"]
        refused = ask(*words)
        (option,) = re.findall(r"--modalities \w+", refused.err)
        assert (refused.code, option) == (2, "--modalities skeleton")
        assert ask(*words, *option.split()).code == 0


@pytest.mark.parametrize("lacks", ["imu", "skeleton"])
def test_the_step_after_an_import_of_one_modality_works(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "kitchen")
    table = tmp_path / "kitchen" / "recordings.csv"
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name != lacks], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    imported = ask("data", "import", "kitchen", "--skip-bad")
    assert imported.code == 0, imported.err
    step = imported.out.strip().partition("next: mmssl-tune ")[2]
    assert ask(*shlex.split(step)).code == 0
    bare = ask("data", "check", "kitchen.parquet", "--json")
    said = json.loads(bare.out)
    assert (bare.code, said["errors"]) == (2, 1)
    assert "choose another with --system, as vicreg_" in said["findings"][0]["what"]


def test_the_proposed_baseline_pairs_with_every_trial(ask: Ask, tiny: Recordings, tmp_path: Path) -> None:
    """Folds, seeds and draws of labels are the study's own, none of which `table2` has; so are who only pre-trains."""
    tiny.save(tmp_path / "tiny.parquet")
    others(tiny).save(tmp_path / "others.parquet")
    space, storage = tmp_path / "own.yaml", tmp_path / "studies"
    labels = {"objective.lambda": [5.0], "finetune.labels": [0.5], "finetune.label_draw": [3, 4]}
    space.write_text(small.space(1, systems=["vicreg"], grid=labels, folds=[["anna", "ben"], ["chris"]], seeds=[5, 6]))
    there = ("--dataset", tmp_path / "tiny.parquet", "--pretrain-on", tmp_path / "others.parquet")
    assert ask("launch", space, "--name", "own", *there, "--storage", storage, "--local").code == 0
    proposed = ask("best", "own", "--storage", storage).out
    [command] = [line.strip() for line in proposed.splitlines() if "launch table2" in line]
    assert ask(*shlex.split(command)[1:], "--name", "untrained", "--local").code == 0
    study = Study(str(storage), "own")
    plan = study.plan()
    [baseline] = baselines(study, plan, best_of(study, plan).choice)
    assert (baseline.study, baseline.paired, baseline.n) == ("untrained", True, 8)


def test_the_command_of_the_page_makes_the_study_again(ask: Ask, tiny: Recordings, tmp_path: Path) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    others(tiny).save(tmp_path / "others.parquet")
    earlier, race = tmp_path / "earlier.yaml", tmp_path / "race.yaml"
    grid = {"objective.lambda": [1.0, 5.0, 25.0]}
    earlier.write_text(small.space(1, grid=grid, folds=[["anna"]]))
    race.write_text(small.space(1, grid=grid, folds=[["anna"], ["ben"]], sampler="race", budget=2))
    storage = ("--storage", tmp_path / "studies", "--local")
    there = ("--dataset", tmp_path / "tiny.parquet", "--pretrain-on", tmp_path / "others.parquet")
    assert ask("launch", earlier, "--name", "first", "--dataset", tmp_path / "tiny.parquet", *storage).code == 0
    assert ask("launch", race, "--name", "own", "--warm-start", "first", *there, *storage).code == 0
    assert ask("report", "own", *storage[:2]).code == 0
    page = html.unescape((tmp_path / "studies" / "own" / "report.html").read_text())
    text, command = re.findall(r"cat > \S+ <<'END'\n(.*?)END\n(mmssl-tune launch .*?)</", page, re.DOTALL)[0]
    (tmp_path / "again.yaml").write_text(text)
    words = shlex.split(command)[1:]
    assert ask(words[0], tmp_path / "again.yaml", *words[2:], *storage).code == 0
    own, again = (Study(str(tmp_path / "studies"), name).plan() for name in ("own", "own-again"))
    assert again.trials == own.trials and again.dataset == own.dataset
    assert again.earlier == own.earlier and own.earlier[0].name == "first"
