import gc
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from asking import Ask, asked
from hypothesis import HealthCheck, settings
from s3_store import CREDENTIALS, Store, running_store

from mmssl import Description, Protocol, Recordings, Row
from mmssl.recipe import Recipe
from mmssl.study.plan import Dataset, Plan, make_plan
from mmssl.study.space import Space

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from mmssl.training.model import Model

torch.set_num_threads(1)
# A shell has its background jobs ignore Ctrl-C, and what they start would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# A study that is compared with another must have trained by itself; tests of what is kept turn it on.
os.environ["MMSSL_PRETRAINED_GB"] = "0"
# Hundreds of tests start the command: none has to compile the package that the one before it compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# How fast a shared machine makes examples up says nothing about what is tested.
settings.register_profile("shared_machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared_machine")


def pytest_collection_finish() -> None:
    """What libraries and thousands of tests hold stays: full collections need not go through it each time."""
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What a Ray has that a test starts, here or in a process of its own: without the marker, words on which it fails.

    One CPU, where two trials at once are not the point: each worker loads torch and Ray Tune anew, for 5 s.
    """
    marker = item.get_closest_marker("ray")
    cpus = marker.kwargs.get("cpus", 1) if marker else 0
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("slow") is None or not cpus:
            resources = f'{{"CPU": {cpus}}}' if cpus else "a test that starts Ray needs the marker ray"
            patch.setenv("RAY_OVERRIDE_RESOURCES", resources)
        return (yield)


@pytest.fixture(scope="session")
def utd_mhad() -> Path:
    """The folder with real UTD-MHAD recordings, half of it or the whole; tests are skipped where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "utd_mhad"
    folder = Path(os.environ.get("MMSSL_UTD_MHAD", beside))
    if not folder.is_dir():
        pytest.skip(f"no UTD-MHAD recordings at {folder}: set MMSSL_UTD_MHAD")
    return folder


@pytest.fixture(scope="session")
def chromium() -> Iterator["Browser"]:
    """A browser that asks nothing of the network by itself; tests that need it are skipped where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
    if found is None:
        pytest.skip("no chromium and no google-chrome on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tiny() -> Recordings:
    """A data set unlike UTD-MHAD in every size: 2-D, 5 joints, 4 channels, 3 classes, subjects with names."""
    draws = np.random.default_rng(0)
    rows: list[Row] = []
    skeleton: list[np.ndarray] = []
    imu: list[np.ndarray] = []
    body = np.array([[0, 0], [0, 1], [0, 1.5], [-0.5, 1], [0.5, 1]])
    for subject in ("anna", "ben", "chris", "dora"):
        for label, speed in (("slow", 1), ("middle", 2), ("fast", 4)):
            for trial in range(3):
                frames, samples = draws.integers(20, 40), draws.integers(60, 90)
                phase = draws.uniform(0, 0.3)
                swing = np.sin(2 * np.pi * (speed * np.linspace(0, 1, frames) + phase))[:, None, None]
                skeleton.append(body + 0.5 * swing + 0.02 * draws.normal(size=(frames, 5, 2)) + draws.uniform(-1, 1, 2))
                angle = 2 * np.pi * (speed * np.linspace(0, 1, samples) + phase)
                signals = np.stack([np.sin(angle), np.cos(angle), 0 * angle + 9.8, speed * np.cos(angle)], axis=1)
                imu.append(signals + 0.1 * draws.normal(size=signals.shape))
                rows.append(
                    Row(recording_id=f"{subject}-{label}-{trial}", label=label, subject=subject, trial=str(trial))
                )
    description = Description(
        name="tiny",
        classes=("slow", "middle", "fast"),
        joints=("pelvis", "neck", "head", "left", "right"),
        root_joint="pelvis",
        scale_joints=("pelvis", "neck"),
        coordinates=("x", "y"),
        imu_channels=("ax", "ay", "az", "turn"),
        imu_sensors=((("ax", "ay", "az"),),),
        protocols={"cross_subject": Protocol(train=("anna", "ben", "chris"), test=("dora",))},
    )
    return Recordings(description, rows, skeleton, imu)


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a command in this process, as the installed script does."""
    return asked(monkeypatch, capsys)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is exported in this process is not loaded in another, which takes seconds: for tests of something else."""

    def check(folder: Path, model: "Model", recordings: Recordings, scratch: Path) -> int:
        return len(recordings)

    monkeypatch.setattr("mmssl.export.encoders._check_in_new_process", check)


@pytest.fixture
def encoders(tmp_path: Path, tiny: Recordings) -> Path:
    """An export of encoders as they are before training."""
    from mmssl.training.model import Model, Standardisation

    recipe = Recipe().with_knobs({"data.steps": 16, "encoder.imu.layers": 1})
    model = Model.fresh(
        recipe, tiny.description, {"imu": Standardisation(np.zeros(4, np.float32), np.ones(4, np.float32))}
    )
    folder = tmp_path / "encoders"
    folder.mkdir()
    for name, content in model.files().items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def s3() -> Iterator[Store]:
    """An object store on loopback, with credentials for it in the environment."""
    with pytest.MonkeyPatch.context() as patch, running_store() as store:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield store


@pytest.fixture(scope="session")
def dataset() -> Dataset:
    return Dataset(
        source="synthetic",
        folder=None,
        name="synthetic",
        fingerprint="f" * 64,
        recordings=12,
        train_subjects=("1", "3", "5"),
        test_subjects=("2",),
    )


@pytest.fixture
def plan_of(dataset: Dataset) -> Callable[..., Plan]:
    """Plans over lambda x mu with one fold for each of three subjects."""

    def make(lambdas: list[float], mus: list[float], seeds: list[int] | None = None) -> Plan:
        space = Space(name="grid", grid={"objective.lambda": lambdas, "objective.mu": mus}, seeds=seeds or [28])
        bases = {"vicreg": Recipe()}
        folds = [(subject,) for subject in dataset.train_subjects]
        return make_plan("study", space, bases, dataset, folds, space.points(bases))

    return make
