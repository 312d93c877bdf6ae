"""Files that a command is told to write: none is written over unasked."""

from pathlib import Path

import pytest
import small
from asking import Ask
from own_folder import make

from mmssl import Recordings
from mmssl.study.folder import Study
from mmssl.study.plan import make_plan
from mmssl.study.space import Space

THEIRS = b"somebody's"


@pytest.fixture
def folder(tmp_path: Path, tiny: Recordings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one, with recordings and a folder of CSV files."""
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "tiny.parquet")
    make(tmp_path / "kitchen")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "encoders", "tiny.parquet", "--out", "x.csv"],
        ["embed", "encoders", "tiny.parquet", "--out", "x.parquet"],
        ["evaluate", "encoders", "tiny.parquet", "--features", "x.safetensors"],
        ["convert", "encoders", "--to", "torch", "--out", "x.pt2"],
        ["data", "import", "kitchen", "--skip-bad", "--out", "x.parquet"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
@pytest.mark.usefixtures("encoders")
def test_a_file_is_written_over_only_with_force(ask: Ask, folder: Path, words: list[str]) -> None:
    out = folder / words[-1]
    out.write_bytes(THEIRS)
    refused = ask(*words)
    assert (refused.code, out.read_bytes()) == (2, THEIRS)
    assert refused.err == (
        f"mmssl-tune: {words[-2]} {words[-1]}: is there already; give another name, or --force to write over it\n"
    )
    forced = ask(*words, "--force")
    assert forced.code == 0, forced.err
    assert out.read_bytes() != THEIRS


def test_an_import_is_not_written_over_under_its_own_name_either(ask: Ask, folder: Path) -> None:
    words = ["data", "import", "kitchen", "--skip-bad"]
    assert ask(*words).code == 0
    before = (folder / "kitchen.parquet").stat().st_mtime_ns
    refused = ask(*words)
    assert refused.code == 2 and "--out kitchen.parquet: is there already" in refused.err
    assert (folder / "kitchen.parquet").stat().st_mtime_ns == before


@pytest.mark.usefixtures("encoders")
def test_what_a_command_named_itself_it_makes_anew(ask: Ask, folder: Path) -> None:
    for _ in range(2):
        assert ask("convert", "encoders", "--to", "torch").code == 0
    assert (folder / "encoders" / "model.pt2").is_file()


@pytest.mark.usefixtures("encoders")
def test_an_export_goes_over_another_only_with_force(ask: Ask, folder: Path, tiny: Recordings) -> None:
    study = planned(folder, tiny)
    weights = (folder / "encoders" / "model.safetensors").read_bytes()
    words = ["best", study.name, "--storage", folder, "--export", "--out", "encoders"]
    refused = ask(*words)
    assert refused.code == 2 and "--out encoders: is there already" in refused.err
    assert "no point has all its trials complete" in ask(*words, "--force").err, "it goes on to choose one"
    assert (folder / "encoders" / "model.safetensors").read_bytes() == weights


def test_a_page_is_written_over_a_page_alone(ask: Ask, folder: Path, tiny: Recordings) -> None:
    study = planned(folder, tiny)
    words = ["report", study.name, "--storage", folder, "--out", "page.html"]
    (folder / "page.html").write_bytes(THEIRS)
    refused = ask(*words)
    assert refused.code == 2 and "--out page.html: is there already and no page of a study" in refused.err
    assert (folder / "page.html").read_bytes() == THEIRS
    (folder / "page.html").unlink()
    for _ in range(2):
        assert ask(*words).code == 0


def planned(folder: Path, tiny: Recordings) -> Study:
    """A study of which nothing has run."""
    space = Space(name="s", systems=["vicreg"])
    data = small.dataset_of(tiny, folder / "tiny.parquet")
    bases = space.bases("tiny")
    plan = make_plan("one", space, bases, data, [("anna",)], space.points(bases))
    return small.study_of(folder, plan, lambda _, trial: small.Record(trial_id=trial.trial_id, status="PLANNED"))
