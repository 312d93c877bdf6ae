"""A study's folder: every path in it, the tables' schemas, and the only code that writes them."""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError

from mmssl.errors import UserError, nearest
from mmssl.recipe import MODALITIES, Recipe, explain
from mmssl.search.plan import TERMINAL, Choice, Plan, PlannedTrial, Status
from mmssl.search.space import Cost

_HEALTH = [
    f"train.{modality}.{measure}" for modality in MODALITIES for measure in ("std", "effective_rank", "covariance")
]
_TERMS = [
    f"train.{term}"
    for term in (
        *("loss", "invariance", "variance", "covariance"),  # vicreg
        *("on_diagonal", "off_diagonal"),  # barlow_twins
        *("positive", "negative"),  # simclr, cmc
    )
]
PROBE = "probe.accuracy"
"""Name of the score of a linear classifier in the midst of pre-training."""
_FINETUNE = ["train.finetune.loss", "train.finetune.accuracy"]
_EMBEDDINGS = [name.replace("train.", "embedding.", 1) for name in _HEALTH]
COSTS = get_args(Cost)
"""Columns of what encoders cost."""
SCORES = [
    ".".join([side, *reading, measure])
    for side in ("val", "test")
    for reading in ((), *((modality,) for modality in MODALITIES))
    for measure in ("accuracy", "f1")
]
"""Columns of what a side scored, by all modalities together and, of a pair, by each alone."""
_KEYS = [("trial_id", pa.string()), ("point_id", pa.string()), ("seed", pa.int64()), ("fold", pa.string())]
_KNOB_TYPES: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    list: pa.list_(pa.string()),
}

TRIALS = pa.schema(
    [
        *_KEYS,
        ("status", pa.string()),
        ("cause", pa.string()),
        ("traceback", pa.string()),
        ("system", pa.string()),
        *((f"param.{name}", _KNOB_TYPES[type(value)]) for name, value in Recipe().knobs().items()),
        *((name, pa.float64()) for name in (*SCORES, *_TERMS, *_HEALTH, *_EMBEDDINGS, *_FINETUNE)),
        *((cost, pa.int64()) for cost in COSTS),
        *((f"seconds.{phase}", pa.float64()) for phase in ("pretrain", "finetune", "score", "total")),
        ("started", pa.timestamp("us", "UTC")),
        ("finished", pa.timestamp("us", "UTC")),
        ("subjects.train", pa.list_(pa.string())),
        ("subjects.validation", pa.list_(pa.string())),
        ("recordings.train", pa.int64()),
        ("recordings.labelled", pa.int64()),
        ("recordings.validation", pa.int64()),
        ("pretraining_id", pa.string()),
        ("device", pa.string()),
        ("threads", pa.int64()),
        *((f"version.{name}", pa.string()) for name in ("mmssl", "python", "torch", "ray", "optuna")),
        ("git.commit", pa.string()),
        ("git.clean", pa.bool_()),
        ("data.name", pa.string()),
        ("data.fingerprint", pa.string()),
    ]
)
EPOCHS = pa.schema(
    [
        *_KEYS,
        ("phase", pa.string()),
        ("epoch", pa.int64()),
        *((n, pa.float64()) for n in (*_TERMS, *_HEALTH, *_FINETUNE, PROBE)),
    ]
)
PREDICTIONS = pa.schema(
    [
        *_KEYS,
        *((name, pa.string()) for name in ("split", "recording_id", "subject", "label", "predicted")),
        ("confidence", pa.float64()),
    ]
)


class Record(BaseModel):
    """What is known of one trial once it has begun; kept as JSON beside its checkpoint when it has ended."""

    model_config = ConfigDict(extra="forbid")

    trial_id: str
    status: Status
    cause: str = ""
    traceback: str = ""
    started: datetime | None = None
    finished: datetime | None = None
    facts: dict[str, Any] = {}
    """Further columns of `trials.parquet`: metrics, seconds, device, versions ..."""
    epochs: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []


class Study:
    """The folder ROOT/NAME.

    Args:
        root: where studies lie.
        name: letters, digits, `.`, `_` and `-`, so that it cannot leave the root.
    """

    def __init__(self, root: str | Path, name: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise UserError(
                f"study name {name!r}: use up to 100 letters, digits, '.', '_' and '-', the first a letter or digit"
            )
        self.name = name
        self.folder = Path(root).expanduser().absolute() / name
        self.plan_path = self.folder / "plan.json"
        self.trials_path = self.folder / "trials.parquet"
        self.epochs_path = self.folder / "epochs.parquet"
        self.predictions_path = self.folder / "predictions.parquet"
        self.tests_path = self.folder / "tests.json"
        self.log_path = self.folder / "study.log"
        self.optuna_path = self.folder / "optuna.db"
        self.ray_folder = self.folder / "ray"
        self.exports_folder = self.folder / "exports"
        self.tables_folder = self.folder / "tables"
        self.figures_folder = self.folder / "figures"
        self.notes_folder = self.folder / "running"

    def trial_folder(self, trial_id: str) -> Path:
        return self.folder / "trials" / trial_id

    def create(self, plan: Plan) -> None:
        """Write the plan and tables in which every trial is PLANNED.

        Raises:
            UserError: there is a study of this name, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.locked():
                if self.plan_path.exists():
                    raise UserError(
                        f"study {self.name} exists in {self.folder.parent}: "
                        f"go on with `mmssl-tune resume {self.name}`, or give this one another --name"
                    )
                Tables(self, plan).write()
                self.put(self.plan_path, plan.model_dump_json(indent=1).encode())
        except OSError as error:
            raise UserError(
                f"{self.folder}: cannot be written ({error.strerror}); choose another place with --storage"
            ) from error

    def keep_choice(self, choice: Choice) -> None:
        """Make durable that a sampler has chosen a point."""
        folder = self.folder / "points"
        folder.mkdir(exist_ok=True)
        self.put(folder / f"{choice.number:06}.json", choice.model_dump_json().encode())

    def choices(self) -> list[Choice]:
        """The points that a sampler has chosen, in its order."""
        paths = sorted((self.folder / "points").glob("*.json"))
        return [Choice.model_validate_json(path.read_bytes()) for path in paths]

    def replan(self, plan: Plan) -> None:
        """Write a plan that has the present one's trials and more."""
        with self.locked():
            self.put(self.plan_path, plan.model_dump_json(indent=1).encode())

    def plan(self) -> Plan:
        if not self.plan_path.is_file():
            raise UserError(f"{self.folder}: no study lies here (no {self.plan_path.name})")
        try:
            plan = Plan.model_validate_json(self.plan_path.read_bytes())
            for choice in self.choices():
                plan.add(choice.point)
            return plan
        except ValidationError as error:
            raise UserError(
                f"{self.plan_path}: damaged, or written by another version: {'; '.join(explain(error))}"
            ) from error

    def plan_digest(self) -> str:
        """SHA-256 of the plan as it is kept.

        Raises:
            FileNotFoundError: there is none.
        """
        return hashlib.sha256(self.plan_path.read_bytes()).hexdigest()

    def put_note(self, name: str, document: dict[str, Any]) -> None:
        """Keep a small document about how the study is being run, beside its results."""
        self.notes_folder.mkdir(parents=True, exist_ok=True)
        self.put(self.notes_folder / f"{name}.json", json.dumps(document).encode())

    def note(self, name: str) -> dict[str, Any] | None:
        """The document of that name; None where there is none, or none that is whole."""
        try:
            document = json.loads((self.notes_folder / f"{name}.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return document if isinstance(document, dict) else None

    def drop_note(self, name: str) -> None:
        (self.notes_folder / f"{name}.json").unlink(missing_ok=True)

    def drop(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep a second driver out; the lock goes with the process that holds it.

        Raises:
            UserError: another process is running this study.
        """
        try:
            with FileLock(self.folder / "driver.lock", timeout=0):
                yield
        except Timeout as error:
            raise UserError(
                f"study {self.name} is being run by another process; wait for it, or stop it first"
            ) from error

    def in_use(self) -> bool:
        """Whether a process is running this study."""
        if not (self.folder / "driver.lock").exists():
            return False
        try:
            with self.locked():
                return False
        except UserError:
            return True

    def keep(self, record: Record) -> None:
        """Make a trial's end durable."""
        folder = self.trial_folder(record.trial_id)
        folder.mkdir(parents=True, exist_ok=True)
        self.put(folder / "record.json", record.model_dump_json().encode())

    def records(self, plan: Plan) -> dict[str, Record]:
        """What is kept of the planned trials that have ended, by trial id."""
        kept: dict[str, Record] = {}
        for trial in plan.trials:
            try:
                kept[trial.trial_id] = self.record(trial.trial_id)
            except FileNotFoundError:
                continue
        return kept

    def has_model(self, trial_id: str) -> bool:
        """Whether a trial's weights are kept."""
        return (self.trial_folder(trial_id) / "model.safetensors").is_file()

    def drop_model(self, trial_id: str) -> None:
        """Remove a trial's weights; its record and rows stay."""
        (self.trial_folder(trial_id) / "model.safetensors").unlink(missing_ok=True)

    def record(self, trial_id: str) -> Record:
        """What is kept of one trial that has ended.

        Raises:
            FileNotFoundError: it has not.
        """
        path = self.trial_folder(trial_id) / "record.json"
        try:
            return Record.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise UserError(
                f"{path}: damaged ({'; '.join(explain(error))}); remove it and resume, to run this trial again"
            ) from error

    def forget(self, trial_id: str) -> None:
        """Drop what is kept of a trial's end, so that it is run again."""
        (self.trial_folder(trial_id) / "record.json").unlink(missing_ok=True)

    def put_model(self, trial_id: str, files: Mapping[str, bytes]) -> None:
        folder = self.trial_folder(trial_id)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            self.put(folder / name, content)

    def once(self, name: str, make: Callable[[], Mapping[str, bytes]]) -> Mapping[str, bytes]:
        """Files that several trials need: made by the first that asks for them, while the others wait.

        Args:
            name: what they are known by; a content id.
            make: gives the files by name; whatever it raises is raised, and nothing is kept.
        """
        folder = self.folder / "pretrained" / name
        folder.parent.mkdir(exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if folder.is_dir():
                return {path.name: path.read_bytes() for path in folder.iterdir()}
            files = make()
            beside = folder.with_suffix(".part")
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir()
            for file, content in files.items():
                self.put(beside / file, content)
            beside.rename(folder)
            return files

    def progress_path(self, name: str) -> Path:
        """The snapshot of the training loop that is known by this content id."""
        return self.folder / "progress" / f"{name}.safetensors"

    def put(self, path: Path, content: bytes) -> None:
        """Write a file of the study beside the old one and rename it over: never half of it is seen."""
        beside = path.with_name(path.name + ".part")
        with beside.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)

    def put_table(self, path: Path, table: pa.Table) -> None:
        """Write a further table of the study, as `put` does."""
        path.parent.mkdir(exist_ok=True)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        self.put(path, sink.getvalue().to_pybytes())

    def figure(self, name: str) -> Path:
        """Where a picture of the study goes."""
        self.figures_folder.mkdir(exist_ok=True)
        return self.figures_folder / name

    def table(self, path: Path) -> pa.Table:
        """One of the study's tables, as last written."""
        if not path.is_file():
            raise UserError(f"{path}: there is no such table; is {self.name} a study?")
        try:
            return pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise UserError(
                f"{path}: not readable ({error}); `mmssl-tune resume {self.name}` writes it anew"
            ) from error


class Tables:
    """The three tables of a study while it runs; the rows of a trial that has ended are built once."""

    def __init__(self, study: Study, plan: Plan) -> None:
        self._study, self._plan = study, plan
        self._constant: dict[str, dict[str, Any]] = {}
        self._ended: dict[str, tuple[pa.Table, pa.Table, pa.Table]] = {}
        self._open: dict[str, Record] = {}
        self._next_write = 0.0

    def put(self, record: Record) -> None:
        """Take in the newest state of a trial."""
        if record.status in TERMINAL:
            self._ended[record.trial_id] = self._rows(record)
            self._open.pop(record.trial_id, None)
        else:
            self._open[record.trial_id] = record

    def write(self) -> None:
        """Write all three tables, each beside the old one and then renamed over it."""
        started = time.monotonic()
        parts = [
            self._ended.get(trial.trial_id)
            or self._rows(self._open.get(trial.trial_id) or Record(trial_id=trial.trial_id, status="PLANNED"))
            for trial in self._plan.trials
        ]
        study = self._study
        for i, (path, schema) in enumerate(
            ((study.trials_path, TRIALS), (study.epochs_path, EPOCHS), (study.predictions_path, PREDICTIONS))
        ):
            beside = path.with_name(path.name + ".part")
            rows = pa.concat_tables([schema.empty_table(), *(part[i] for part in parts)])
            pq.write_table(rows, beside, compression="zstd")
            beside.replace(path)
        # Writing again costs as much as there are rows: spend at most a tenth of the time on it.
        now = time.monotonic()
        self._next_write = now + max(1.0, 10 * (now - started))

    def settle(self) -> None:
        """Write for the last time: trials that were cut off are planned again, not running."""
        self._open.clear()
        self.write()

    def write_if_due(self) -> None:
        if time.monotonic() >= self._next_write:
            self.write()

    def _rows(self, record: Record) -> tuple[pa.Table, pa.Table, pa.Table]:
        if record.trial_id not in self._constant:
            self._constant[record.trial_id] = _planned_columns(self._plan, self._plan.trial(record.trial_id))
        planned = self._constant[record.trial_id]
        keys = {name: planned[name] for name, _ in _KEYS}
        unknown = set(record.facts) - set(TRIALS.names)
        if unknown:
            raise ValueError(f"no column for {', '.join(sorted(unknown))}")
        row = {
            **planned,
            **record.facts,
            **record.model_dump(include={"status", "cause", "traceback", "started", "finished"}),
        }
        return (
            pa.Table.from_pylist([row], schema=TRIALS),
            pa.Table.from_pylist([{**keys, **epoch} for epoch in record.epochs], schema=EPOCHS),
            pa.Table.from_pylist([{**keys, **prediction} for prediction in record.predictions], schema=PREDICTIONS),
        )


def _planned_columns(plan: Plan, trial: PlannedTrial) -> dict[str, Any]:
    dataset = plan.dataset
    return {
        **trial.model_dump(include={"trial_id", "point_id", "seed"}),
        "fold": trial.fold,
        "system": plan.system(trial),
        **{f"param.{name}": value for name, value in plan.recipe(trial).knobs().items()},
        "subjects.train": [subject for subject in dataset.train_subjects if subject not in trial.held_out],
        "subjects.validation": list(trial.held_out),
        "data.name": dataset.name,
        "data.fingerprint": dataset.fingerprint,
    }


def plain_name(stem: str) -> str:
    """A name that a study can have, made of any words."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).lstrip("._-")[:80] or "study"


def free_name(root: str | Path, stem: str) -> str:
    """A name that no study under `root` has, made of `stem` and the first free number."""
    stem, number = plain_name(stem), 1
    while (Path(root).expanduser() / f"{stem}-{number}").exists():
        number += 1
    return f"{stem}-{number}"


def names(root: str | Path) -> list[str]:
    """The studies under `root`, the one whose plan was made last coming last."""
    plans = sorted(Path(root).expanduser().glob("*/plan.json"), key=lambda path: path.stat().st_mtime)
    return [path.parent.name for path in plans]


def newest(root: str | Path) -> Study:
    """The study under `root` whose plan was made last."""
    root = Path(root).expanduser()
    there = names(root)
    if not there:
        raise UserError(
            f"{root}: there is no study here; make one with `mmssl-tune launch`, or say where with --storage"
        )
    return Study(root, there[-1])


def find(root: str | Path, name: str | None) -> Study:
    """The study of that name under `root`, the newest where no name is given.

    Raises:
        UserError: there is none; names those that exist.
    """
    if name is None:
        return newest(root)
    study = Study(root, name)
    if not study.plan_path.is_file():
        there = sorted(names(root))
        hint = nearest(name, there) if there else "there is none at all; say where with --storage"
        raise UserError(f"{study.folder.parent}: no study {name}; {hint}")
    return study
