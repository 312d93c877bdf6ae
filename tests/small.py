"""Studies that are small in every respect, for tests of all that is around the training."""

import hashlib
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from mmssl import Recordings
from mmssl.sealed import opened, sealed
from mmssl.study.folder import Study
from mmssl.study.plan import Dataset, Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.study.tables import Tables
from mmssl.training.model import FACTS, WEIGHTS

KNOBS = {
    "data.steps": 16,
    "encoder.imu.layers": 1,
    "encoder.imu.feedforward": 16,
    "encoder.projector.hidden": 16,
    "encoder.projector.width": 8,
    "pretrain.batch_size": 16,
    "finetune.epochs": 2,
    "finetune.hidden": 8,
}


def created(root: Path, plan: Plan) -> Study:
    """A study that is planned, of which nothing has run."""
    study = Study(root, plan.name)
    study.create(plan)
    return study


def space(epochs: int, knobs: Mapping[str, Any] | None = None, **entries: Any) -> str:
    """The text of a space that pre-trains for so many epochs.

    Args:
        knobs: fixed ones beside or instead of `KNOBS`.
        entries: the space's others, as `grid`.
    """
    fixed = {**KNOBS, "pretrain.epochs": epochs, **(knobs or {})}
    fixed = {knob: value for knob, value in fixed.items() if knob not in entries.get("grid", {})}
    return yaml.safe_dump({"fixed": fixed, **entries}, sort_keys=False)


def dataset_of(recordings: Recordings, source: str | Path = "tiny.parquet", **entries: Any) -> Dataset:
    """What a plan says of recordings as `tiny`, but for the entries that are given."""
    whole: dict[str, Any] = {
        "source": str(source), "folder": None, "name": "tiny", "fingerprint": recordings.fingerprint,
        "recordings": len(recordings), "train_subjects": ("anna", "ben", "chris"), "test_subjects": ("dora",),
    }  # fmt: skip
    return Dataset(**whole | entries)


def tune(*words: object) -> list[str]:
    """The words that run `mmssl-tune` with this Python."""
    return [sys.executable, "-m", "mmssl.cli", *map(str, words)]


def put_document(folder: Path, changes: Mapping[str, object] | None = None, *, digests: bool = True) -> None:
    """Change what a model's document says, with digests that fit, or without any as older versions wrote it."""
    document = {**json.loads(opened((folder / FACTS).read_bytes())), **(changes or {})}
    document["weights_sha256"] = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    if not digests:
        del document["weights_sha256"]
    content = json.dumps(document, indent=1).encode()
    (folder / FACTS).write_bytes(sealed(content) if digests else content)


def study_of(root: str | Path, plan: Plan, ended: Callable[[Study, PlannedTrial], Record]) -> Study:
    """A planned study under `root` whose trials ended as a function says; those still PLANNED have not begun."""
    study = Study(root, plan.name)
    study.create(plan)
    tables = Tables(study, plan)
    for trial in plan.trials:
        record = ended(study, trial)
        if record.status != "PLANNED":
            study.keep(record)
            tables.put(record)
    tables.write()
    return study
