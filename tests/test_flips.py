"""One bit of a file changes, as on a disk that fails: nothing that a command reads is then another without a word."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from small import KNOBS, dataset_of, study_of
from torch import nn

from mmssl import Recordings, UserError, load_encoders
from mmssl.data.protocols import split
from mmssl.environment import digest_of
from mmssl.export.encoders import kept_model
from mmssl.files import Folder
from mmssl.recipe import Recipe
from mmssl.study.folder import Study
from mmssl.study.plan import PlannedTrial, SampledPoint, make_plan
from mmssl.study.record import Record
from mmssl.study.space import Range, Space
from mmssl.study.status import remember, remembered
from mmssl.training.model import FACTS, WEIGHTS, Model
from mmssl.training.prepared import Prepared
from mmssl.training.snapshot import Loop, Snapshot
from mmssl.training.trial import run_trial

INSTALLED = {"torch": "2.13.0", "numpy": "2.4.0"}
NOTICED = object()
"""Given by a reader that goes on without the file: what was in it is made anew."""


@dataclass(frozen=True)
class Kind:
    """Files that are read together, and what a command gets from them."""

    files: tuple[Path, ...]
    read: Callable[[], Any]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory, tiny: Recordings) -> Iterator[Mapping[str, Kind]]:
    """Every kind of file that a command reads back, of a study with a sampler whose first trial is trained."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("flips")
        patch.setenv("MMSSL_PRETRAINED_GB", "1")
        patch.setenv("XDG_STATE_HOME", str(root / "state"))
        yield made(root, tiny)


def made(root: Path, tiny: Recordings) -> Mapping[str, Kind]:
    tiny.save(root / "tiny.parquet")
    space = Space(
        name="study", grid={}, ranges={"objective.lambda": Range(low=1.0, high=50.0)}, sampler="random", budget=2
    )
    bases = {"vicreg": Recipe().with_knobs({**KNOBS, "pretrain.epochs": 2})}
    dataset = dataset_of(tiny, root / "tiny.parquet")
    plan = make_plan("study", space, bases, dataset, [("anna",), ("ben",)], [{"objective.lambda": 25.0}])

    def ended(study: Study, trial: PlannedTrial) -> Record:
        if trial != plan.trials[0]:
            return Record(trial_id=trial.trial_id, status="PLANNED")
        recipe, epochs = plan.recipe(trial), list[dict[str, Any]]()
        prepared = Prepared.of(tiny, recipe.data.steps, recipe.data.modalities)
        outcome = run_trial(recipe, prepared, split(tiny, recipe.data), on_epoch=epochs.append)
        assert outcome.model is not None
        study.put_model(trial.trial_id, outcome.model.files(metrics=outcome.metrics))
        return Record(
            trial_id=trial.trial_id,
            status="COMPLETE",
            started=datetime(2026, 1, 1, tzinfo=UTC),
            finished=datetime(2026, 1, 2, tzinfo=UTC),
            facts={**outcome.metrics, "packages": digest_of(INSTALLED)},
            epochs=epochs,
            predictions=outcome.predictions,
        )

    study = study_of(root, plan, ended)
    first = plan.trials[0]
    model = kept_model(study, plan, first)
    exported = root / "exported"
    exported.mkdir()
    for name, content in model.files(study="study").items():
        (exported / name).write_bytes(content)
    study.keep_choice(SampledPoint(number=0, point={"objective.lambda": 7.0}, after=[first.point_id]))
    study.put_looks({"0123456789abcdef": {"look": 1, "checkpoint": "a", "metrics": {"test.accuracy": 0.5}}})
    study.keep_packages(digest_of(INSTALLED), INSTALLED)
    study.put_note("job", {"address": "http://127.0.0.1:8265", "id": "mmssl-1"})
    remember("study", "http://127.0.0.1:8265", str(root))
    study.put_table("tables/few_labels.parquet", pa.table({"read_from": ["imu"], "accuracy": [0.5]}))
    before, loop = trained(0), trained(3)
    Snapshot(Folder(root), "snapshot", seconds_between=0).keep(loop, [{"phase": "pretrain", "epoch": 3}], last=True)
    files = {"encoders.safetensors": model.weights("encoders"), "epochs.json": b'{"epochs": [], "together": 1}'}

    def table(name: str) -> Kind:
        def read() -> object:
            table = study.table(name)
            some = study.table(name, table.column_names[:3])
            return table.to_pylist(), table.schema.metadata, some.to_pylist()

        return Kind((study.folder / name,), read)

    def pretrained() -> object:
        asked: list[str] = []
        found = study.pretrained.cached("0123abcd", lambda: asked.append("again") or files)
        return NOTICED if asked else dict(found)

    def restored() -> object:
        loop = copy.deepcopy(before)
        epochs = Snapshot(Folder(root), "snapshot").restore(loop)
        return (epochs, parts_of(loop.tensors())) if epochs else NOTICED

    def one(name: str, read: Callable[[], object]) -> Kind:
        return Kind((study.folder / name,), lambda: NOTICED if (found := read()) is None else found)

    assert pretrained() is NOTICED
    own, kept = f"trials/{first.trial_id}", root / ".pretrained" / "0123abcd"
    return {
        **{name: table(f"{name}.parquet") for name in ("trials", "epochs", "predictions", "tables/few_labels")},
        "recordings": Kind((root / "tiny.parquet",), lambda: described(Recordings.load(root / "tiny.parquet"))),
        "plan": one("plan.json", study.plan),
        "choice": one("points/000000.json", study.choices),
        "record": one(f"{own}/record.json", lambda: study.record(first.trial_id)),
        "kept weights": one(f"{own}/{WEIGHTS}", lambda: made_of(kept_model(study, plan, first))),
        "kept facts": one(f"{own}/{FACTS}", lambda: made_of(kept_model(study, plan, first))),
        "exported weights": Kind((exported / WEIGHTS,), lambda: made_of(load_encoders(exported))),
        "exported facts": Kind((exported / FACTS,), lambda: made_of(load_encoders(exported))),
        "tests": one("tests.json", study.looks),
        "packages": one(f"environments/{digest_of(INSTALLED)}.json", lambda: study.packages(digest_of(INSTALLED))),
        "note": one("running/job.json", lambda: study.note("job")),
        "address": Kind((root / "state/mmssl-tune/jobs/study.json",), lambda: remembered("study") or NOTICED),
        "pre-training": Kind(tuple(kept / name for name in (*files, "sha256.json")), pretrained),
        "snapshot": Kind((root / "snapshot",), restored),
    }


def trained(steps: int) -> Loop:
    """A loop so many steps on."""
    torch.manual_seed(0)
    module, draws = nn.Linear(5, 3), torch.Generator().manual_seed(0)
    loop = Loop({"net": module}, torch.optim.Adam(module.parameters()), [draws])
    for _ in range(steps):
        module(torch.rand(4, 5, generator=draws)).sum().backward()
        loop.optimizer.step()
    return loop


def parts_of(tensors: Mapping[str, torch.Tensor]) -> dict[str, tuple[str, bytes]]:
    return {name: (f"{tensor.dtype} {tensor.shape}", tensor.numpy().tobytes()) for name, tensor in tensors.items()}


def made_of(model: Model) -> object:
    still = model.standardisations["imu"]
    return model.recipe, model.description, still.mean.tobytes(), still.std.tobytes(), model.weights()


def described(recordings: Recordings) -> object:
    return recordings.fingerprint, recordings.description, recordings.rows


def silent(kind: Kind, draws: np.random.Generator, flips: int) -> tuple[int, list[str]]:
    """How many of so many flips gave another value without an error; and the errors that are none for users."""
    whole, count, wrong = kind.read(), 0, list[str]()
    assert whole is not NOTICED
    for _ in range(flips):
        path = kind.files[draws.integers(len(kind.files))]
        content = bytearray(path.read_bytes())
        place, bit = int(draws.integers(len(content))), int(draws.integers(8))
        before = bytes(content)
        content[place] ^= 1 << bit
        path.write_bytes(content)
        try:
            found = kind.read()
            count += found is not NOTICED and found != whole
        except UserError as error:
            if path.name not in str(error) and path.parent.name not in str(error):
                wrong.append(f"{path.name} {place}.{bit}: which file? {error}")
        except Exception as error:
            wrong.append(f"{path.name} {place}.{bit}: {error!r}")
        path.write_bytes(before)
    return count, wrong


@pytest.mark.parametrize("flips", [360, pytest.param(3060, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_no_flipped_bit_is_read_without_a_word(kinds: Mapping[str, Kind], flips: int) -> None:
    draws = np.random.default_rng(flips)
    each = flips // len(kinds)
    found = {name: silent(kind, draws, each) for name, kind in kinds.items()}
    print("\n".join(f"{name}: {count} silent of {each}" for name, (count, _) in found.items()))
    assert {name: count for name, (count, _) in found.items() if count} == {}
    assert [one for _, wrong in found.values() for one in wrong] == []
