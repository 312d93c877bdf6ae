"""What is kept of a study: every file's name, the tables' schemas, and the only code that writes them."""

import hashlib
import io
import json
import os
import re
import threading
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from mmssl import parquet
from mmssl.errors import UserError, nearest
from mmssl.private_folder import own_folder
from mmssl.sealed import DamagedError, opened, read, sealed
from mmssl.storage import HeldError, Still, storage_at, written_beside
from mmssl.study.columns import KEYS, PROBE
from mmssl.study.plan import Plan, PlannedTrial, SampledPoint
from mmssl.study.words import TERMINAL, Status


class Record(BaseModel):
    """The state of one trial that has begun; kept as JSON beside its checkpoint when it has ended."""

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

    def brief(self) -> "Record":
        """Without the rows of curves and predictions, which the tables have, except those that were probed."""
        probed = [epoch for epoch in self.epochs if PROBE in epoch]
        return self.model_copy(update={"epochs": probed, "predictions": []})


PLAN, TESTS, LOG = "plan.json", "tests.json", "study.log"
"""Files of a study."""
_LOCK, _DIGESTS = "driver.lock", "sha256.json"
_RECORD, _WEIGHTS, _FACTS = "record.json", "model.safetensors", "model.json"
_PRETRAINED = ".pretrained"
"""Beside the studies; no study can have that name."""
PRETRAINED_VARIABLE = "MMSSL_PRETRAINED_GB"
_PRETRAINED_GB = 5.0
_AT_ONCE = 16
"""Records read at once, from a store that takes its time for each."""


class Study:
    """What is kept of a study: the folder ROOT/NAME, or the objects of a bucket under that prefix.

    Files have their names within it.

    Args:
        root: where studies lie: a folder, or s3://BUCKET/PREFIX.
        name: letters, digits, `.`, `_` and `-`, so that it cannot leave the root.
    """

    def __init__(self, root: str | Path, name: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise UserError(
                f"study name {name!r}: use up to 100 letters, digits, '.', '_' and '-', the first a letter or digit"
            )
        self.name = name
        self._around = storage_at(root)
        self.files = self._around.inside(name)
        self._still: Still | None = None
        self._scratch: Path | None = None

    @property
    def root(self) -> str:
        """Where studies lie, in the form that another process can use."""
        return self._around.uri

    @property
    def place(self) -> str:
        """Where the study lies, for people."""
        return self.files.place()

    @property
    def folder(self) -> Path:
        """The study's folder on this machine.

        Raises:
            UserError: it lies in a bucket.
        """
        if self.files.local is None:
            raise UserError(f"{self.place}: not a folder of this machine")
        return self.files.local

    def create(self, plan: Plan) -> None:
        """Write the plan and tables in which every trial is PLANNED.

        Raises:
            UserError: there is a study of this name, or nothing can be written there.
        """
        self._around.check()
        try:
            self.files.make()
            with self.locked():
                if self.files.exists(PLAN):
                    raise UserError(
                        f"study {self.name} exists in {self._around.place()}: "
                        f"go on with `mmssl-tune resume {self.name}`, or give this one another --name"
                    )
                Tables(self, plan).write()
                self._put_plan(plan)
        except OSError as error:
            raise UserError(
                f"{self.place}: cannot be written ({error.strerror or error}); choose another place with --storage"
            ) from error

    def withdraw(self, plan: Plan) -> None:
        """Take back what `create` wrote, if none of its trials has ended: a study that was refused is none."""
        if self.ended(plan):
            return
        for name in (PLAN, *(f"{table}.parquet" for table in plan.schemas), LOG, "optuna.db", _LOCK):
            self.files.remove(name)
        if not self.files.names(""):
            self.drop()

    def exists(self) -> bool:
        """Whether a plan lies here."""
        return self.files.exists(PLAN)

    def keep_choice(self, choice: SampledPoint) -> None:
        """Make durable that a sampler has chosen a point."""
        self.put(_choice(choice.number), sealed(choice.model_dump_json().encode()))

    def choices(self) -> list[SampledPoint]:
        """The points that a sampler has chosen, in its order.

        Raises:
            UserError: one is damaged.
        """
        there = [name for name in self.files.names("points") if re.fullmatch(r"points/\d{6,}\.json", name)]
        found: list[SampledPoint] = []
        for number in range(len(there)):
            try:
                choice = read(SampledPoint, self.files.read(_choice(number)))
                if choice.number != number:
                    raise DamagedError(f"it is choice {choice.number}")
            except (DamagedError, FileNotFoundError) as error:
                raise self._without_choice(number, error) from error
            found.append(choice)
        return found

    def _without_choice(self, number: int, error: Exception) -> UserError:
        why = "missing" if isinstance(error, FileNotFoundError) else f"damaged ({error})"
        return UserError(
            f"{self.files.place(_choice(number))}: {why}; bring it back from a copy, or move what there is of it and "
            f"of those after it away: `mmssl-tune resume {self.name}` then chooses their points anew"
        )

    def replan(self, plan: Plan) -> None:
        """Write a plan that has the present one's trials and more; by whoever keeps other drivers out."""
        if self._still is None:
            raise RuntimeError(f"study {self.name}: not locked, so that another process may plan too")
        self._put_plan(plan)

    def _put_plan(self, plan: Plan) -> None:
        self.put(PLAN, sealed(plan.model_dump_json(indent=1).encode()))

    def plan(self) -> Plan:
        """What was planned, with the points that a sampler has added.

        Raises:
            UserError: no study lies here, or it is damaged.
        """
        try:
            content = self.files.read(PLAN)
            document = opened(content)
            plan = read(Plan, document)
            if document is content:  # It has no digest.
                plan.check_ids()
        except FileNotFoundError as error:
            raise UserError(f"{self.place}: no study lies here (no {PLAN})") from error
        except PermissionError as error:
            raise UserError(_closed(self.place)) from error
        except ValueError as error:
            raise UserError(
                f"{self.files.place(PLAN)}: damaged, or written by another version: {error}; bring it back from a "
                f"copy, or move it away and launch the same space and data again with --name {self.name}: what has "
                "ended is kept"
            ) from error
        for choice in self.choices():
            try:
                if not all(map(plan.has_point, choice.after)):
                    raise ValueError("it was made after points that are not there")
                plan.add(choice.point, choice.trials)
            except ValueError as error:
                raise self._without_choice(choice.number, error) from error
        return plan

    def plan_digest(self) -> str:
        """SHA-256 of the stored plan.

        Raises:
            FileNotFoundError: there is none.
        """
        return hashlib.sha256(self.files.read(PLAN)).hexdigest()

    def put_note(self, name: str, document: dict[str, Any]) -> None:
        """Keep a small document about how the study is being run, beside its results."""
        self.files.make()
        self.put(f"running/{name}.json", sealed(json.dumps(document).encode()))

    def note(self, name: str) -> dict[str, Any] | None:
        """The document of that name; None where there is none, or none that is whole."""
        try:
            document = json.loads(opened(self.files.read(f"running/{name}.json")))
        except (FileNotFoundError, ValueError):
            return None
        return document if isinstance(document, dict) else None

    def drop_note(self, name: str) -> None:
        self.files.remove(f"running/{name}.json")

    def drop(self) -> None:
        """Remove all of it."""
        self.files.remove_all()

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep a second driver out; the lock goes with the process that holds it. Who holds it already goes on.

        Raises:
            UserError: another process is running this study.
        """
        if self._still is not None:
            yield
            return
        try:
            with self.files.lock(_LOCK, wait=False) as self._still:
                try:
                    yield
                finally:
                    self._still = None
        except HeldError as error:
            raise UserError(
                f"study {self.name} is being run by another process; wait for it, or stop it first"
            ) from error

    def in_use(self) -> bool:
        """Whether a process is running this study."""
        return self.files.locked(_LOCK)

    @contextmanager
    def scratch(self) -> Generator[Path]:
        """A folder of this machine for the log, which grows in place, as no object's does; it is kept with the study.

        Where the study is such a folder, it is that; else the log comes from the study and goes there with its tables.
        """
        if self.files.local is not None:
            _make_ours(self.files.local / LOG)
            yield self.files.local
            return
        with own_folder() as self._scratch:
            with suppress(FileNotFoundError):
                (self._scratch / LOG).write_bytes(self.files.read(LOG))
            try:
                yield self._scratch
            finally:
                self.put_scratch()
                self._scratch = None

    def put_scratch(self) -> None:
        """Copy the present log of `scratch` into the study."""
        if self._scratch is not None and (self._scratch / LOG).exists():
            self.put(LOG, (self._scratch / LOG).read_bytes())

    def log(self) -> bytes:
        """The output of Ray and Optuna.

        Raises:
            FileNotFoundError: the study has not been run.
        """
        return self.files.read(LOG)

    def keep(self, record: Record) -> None:
        """Make a trial's end durable.

        Raises:
            OSError: it cannot be written, or another process has taken over the study.
        """
        if self._still is not None:
            self._still()
        self.put(_of(record.trial_id, _RECORD), sealed(record.model_dump_json().encode()))

    def ended(self, plan: Plan) -> list[str]:
        """Ids of the planned trials of whose end a record lies here, damaged or not."""
        there = set(self.files.names("trials"))
        return [trial.trial_id for trial in plan.trials if _of(trial.trial_id, _RECORD) in there]

    def records(self, plan: Plan, damaged: dict[str, str] | None = None) -> dict[str, Record]:
        """What is kept of the planned trials that have ended, by trial id.

        Args:
            damaged: gets the files that are, each with the reason; without it, they are an error.

        Raises:
            UserError: some are damaged.
        """
        ended = self.ended(plan)
        kept: dict[str, Record] = {}
        found: dict[str, str] = {}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            contents = pool.map(lambda trial_id: self.files.read(_of(trial_id, _RECORD)), ended)
            for trial_id, content in zip(ended, contents, strict=True):
                try:
                    kept[trial_id] = _record(content, trial_id)
                except DamagedError as error:
                    found[_of(trial_id, _RECORD)] = str(error)
        if found and damaged is None:
            raise self._without_record(*next(iter(found.items())), others=len(found) - 1)
        if damaged is not None:
            damaged.update(found)
        return kept

    def looks(self) -> dict[str, dict[str, Any]]:
        """Each look at the test subjects, by the weights looked at.

        Raises:
            UserError: the count of them is damaged.
        """
        try:
            looks: dict[str, dict[str, Any]] = json.loads(opened(self.files.read(TESTS)))
            if not all("look" in look for look in looks.values()):
                raise ValueError("an entry has no number")
        except FileNotFoundError:
            return {}
        except (AttributeError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.files.place(TESTS)}: damaged ({error}): how often the tests were looked at is not known; bring "
                "it back from a copy, or move it away and say so where you report a score"
            ) from error
        return looks

    def put_looks(self, looks: Mapping[str, Mapping[str, Any]]) -> None:
        self.put(TESTS, sealed(json.dumps(looks, indent=1).encode()))

    def _without_record(self, name: str, why: str, others: int = 0) -> UserError:
        also = f", and {others} other record{'s' * (others > 1)}" if others else ""
        return UserError(
            f"{self.files.place(name)}: damaged ({why}){also}; bring it back from a copy, or let `mmssl-tune retry "
            f"{self.name}` set it aside and run its trial again"
        )

    def set_aside(self, name: str) -> str:
        """Give a damaged file another name, by which it counts as none; gives that."""
        self.files.rename(name, f"{name}.damaged")
        return f"{name.rpartition('/')[2]}.damaged"

    def has_model(self, trial_id: str) -> bool:
        """Whether a trial's weights are kept."""
        return self.files.exists(_of(trial_id, _WEIGHTS))

    def model_files(self, trial_id: str) -> tuple[dict[str, bytes], str]:
        """The files of a trial's model by name, and where they lie.

        Raises:
            FileNotFoundError: its weights are not kept.
        """
        files = {name: self.files.read(_of(trial_id, name)) for name in (_WEIGHTS, _FACTS)}
        return files, self.files.place(f"trials/{trial_id}")

    def drop_model(self, trial_id: str) -> None:
        """Remove a trial's weights; its record and rows stay."""
        self.files.remove(_of(trial_id, _WEIGHTS))

    def record(self, trial_id: str) -> Record:
        """What is kept of one trial that has ended.

        Raises:
            FileNotFoundError: it has not.
        """
        name = _of(trial_id, _RECORD)
        try:
            return _record(self.files.read(name), trial_id)
        except DamagedError as error:
            raise self._without_record(name, str(error)) from error

    def keep_packages(self, digest: str, installed: Mapping[str, str]) -> None:
        """Keep the list of distributions that trials name by its digest; one list serves all that have it."""
        name = f"environments/{digest}.json"
        if not self.files.exists(name):
            self.put(name, json.dumps(installed, indent=1).encode())

    def packages(self, digest: str | None) -> dict[str, str] | None:
        """The distributions and versions of that digest; None where they are not kept, or not as they were."""
        from mmssl.environment import digest_of  # Loads torch, which few need.

        try:
            document = json.loads(self.files.read(f"environments/{digest}.json"))
        except (FileNotFoundError, ValueError):
            return None
        return document if isinstance(document, dict) and digest_of(document) == digest else None

    def forget(self, trial_id: str) -> None:
        """Drop what is kept of a trial's end, so that it is run again."""
        self.files.remove(_of(trial_id, _RECORD))

    def put_model(self, trial_id: str, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            self.put(_of(trial_id, name), content)

    def cached(self, name: str, make: Callable[[], Mapping[str, bytes]], *, wait: bool = True) -> Mapping[str, bytes]:
        """Files that trials need, of this study or of another beside it: made by the first that asks for them, while
        the others wait.

        Files that are not as they were written are made again. The oldest make room where all of them together take
        more than $MMSSL_PRETRAINED_GB gigabytes; with 0 none are kept.

        Args:
            name: their content id.
            make: gives the files by name; whatever it raises is raised, and nothing is kept.

        Raises:
            HeldError: another process is making them, and `wait` is False.
        """
        most = most_pretrained()
        if not most:
            return make()
        folder = f"{_PRETRAINED}/{name}"
        if kept := self._kept(folder):
            return kept
        with ExitStack() as held:
            try:
                held.enter_context(self._around.lock(f"{folder}/lock", wait=wait))
            except OSError:  # Another user's, as may be where several share a storage: this trial trains for itself.
                return make()
            if kept := self._kept(folder):
                return kept
            made = make()
            with suppress(OSError):  # The trial that has it needs no copy.
                for file in self._around.names(folder):
                    if not file.startswith(f"{folder}/lock"):
                        self._around.remove(file)
                for file, content in made.items():
                    self._around.write(f"{folder}/{file}", content)
                # Written last: without it the others are not taken for whole.
                self._around.write(f"{folder}/{_DIGESTS}", _digests(made))
        with suppress(OSError):
            self._make_room(most)
        return made

    def _kept(self, folder: str) -> dict[str, bytes]:
        """The files of a folder of what trials need; none where they are not as they were written."""
        kept: dict[str, bytes] = {}
        for name in self._around.names(folder):
            file = name.removeprefix(f"{folder}/")
            if not file.startswith("lock"):
                with suppress(OSError):  # Another process has just made room, or another user may read it alone.
                    kept[file] = self._around.read(name)
        return kept if kept.pop(_DIGESTS, b"") == _digests(kept) else {}

    def _make_room(self, most: float) -> None:
        sizes = self._around.sizes(_PRETRAINED)
        total = sum(sizes.values())
        if total <= most:
            return
        folders = {"/".join(name.split("/")[:2]) for name in sizes}
        ages = self._around.modified(name for name in sizes if name.endswith(_DIGESTS))
        # What has no digests is being written by its lock's holder, or was by one that was killed.
        left = [one for one in folders if f"{one}/{_DIGESTS}" not in ages and not self._around.locked(f"{one}/lock")]
        whole = [name.removesuffix(f"/{_DIGESTS}") for name in sorted(ages, key=lambda name: ages[name])]
        for folder in (*left, *whole):
            self._around.inside(folder).remove_all()
            total -= sum(size for name, size in sizes.items() if name.startswith(f"{folder}/"))
            if total <= most:
                return

    def snapshot_name(self, name: str) -> str:
        """The file for the snapshot of the training loop with this content id."""
        return f"progress/{name}.safetensors"

    def drop_snapshot(self, name: str) -> None:
        self.files.remove(self.snapshot_name(name))

    def put(self, name: str, content: bytes) -> None:
        """Write a file of the study, of which never half is seen."""
        self.files.write(name, content)

    def put_table(self, name: str, table: pa.Table) -> str:
        """Write one of the study's tables; gives the place."""
        file = io.BytesIO()
        parquet.write_table(table, file)
        self.put(name, file.getvalue())
        return self.files.place(name)

    def put_text(self, name: str, text: str) -> str:
        """Keep a text with the study; gives the place."""
        self.put(name, text.encode())
        return self.files.place(name)

    def put_figure(self, name: str, draw: Callable[[Path], None]) -> str:
        """Keep a picture of the study; gives the place.

        Args:
            draw: makes the file that it is given.
        """
        with TemporaryDirectory(prefix="mmssl-") as folder:
            path = Path(folder) / name
            draw(path)
            self.put(f"figures/{name}", path.read_bytes())
        return self.files.place(f"figures/{name}")

    def table(self, name: str, columns: Sequence[str] | None = None, trials: Collection[str] | None = None) -> pa.Table:
        """One of the study's tables, as last written.

        Args:
            name: of the file, as trials.parquet.
            columns: those that are read; all by default.
            trials: ids of those whose rows are read; all by default.

        Raises:
            UserError: there is none, or it is damaged.
        """
        place = self.files.place(name)
        try:
            content = self.files.read(name)
            parquet.check(io.BytesIO(content))
            with pq.ParquetFile(pa.BufferReader(content)) as file:
                wanted = list(columns) if columns else None
                if trials is None:
                    return file.read(wanted, use_threads=False)
                import pyarrow.compute as pc  # As in `write_table`.

                # Piece by piece: of a large study, all the curves would fill the memory.
                wanted_trials = pc.field("trial_id").isin(list(trials))
                pieces = file.iter_batches(columns=wanted, use_threads=False)
                found = [pa.Table.from_batches([piece]).filter(wanted_trials) for piece in pieces]
                return pa.concat_tables(found) if found else file.read(wanted, use_threads=False)
        except FileNotFoundError as error:
            raise UserError(f"{place}: there is no such table; is {self.name} a study?") from error
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{place}: not readable ({error}); {_anew(self.name, name)}") from error


def _closed(place: str) -> str:
    return f"{place}: another user's, who has not opened it to this one; ask for the right to read it"


def most_pretrained() -> float:
    """Bytes that the pre-trained encoders of a storage may take; 0 where none are kept.

    Raises:
        UserError: the environment's word for it is no number of gigabytes.
    """
    setting = os.environ.get(PRETRAINED_VARIABLE, str(_PRETRAINED_GB))
    try:
        most = float(setting)
    except ValueError:
        most = -1.0
    if not most >= 0:
        raise UserError(f"${PRETRAINED_VARIABLE} is {setting!r}: give gigabytes, as 5 or 0.5; 0 keeps none")
    return most * 1e9


def _of(trial_id: str, file: str) -> str:
    return f"trials/{trial_id}/{file}"


def _anew(study: str, table: str) -> str:
    """What makes a table again, in words."""
    folder, _, experiment = table.removesuffix(".parquet").rpartition("/")
    if folder:
        return f"`mmssl-tune reproduce {experiment} {study}` makes it again"
    return f"`mmssl-tune resume {study}` writes it anew"


def _choice(number: int) -> str:
    return f"points/{number:06}.json"


def _record(content: bytes, trial_id: str) -> Record:
    """Raises DamagedError: it is not as it was written, or another trial's."""
    record = read(Record, content)
    if record.trial_id != trial_id:
        raise DamagedError(f"it is the record of trial {record.trial_id}")
    return record


def _digests(files: Mapping[str, bytes]) -> bytes:
    return json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}).encode()


def _make_ours(path: Path) -> None:
    """Have a copy in the place of a file that another of the study's users may change alone."""
    if path.exists() and not os.access(path, os.W_OK):
        with written_beside(path) as beside:
            beside.write_bytes(path.read_bytes())


@dataclass(frozen=True)
class _Rows:
    """Rows of one table, and of which of the plan's trials each is."""

    table: pa.Table
    trials: npt.NDArray[np.int64]

    @classmethod
    def joined(cls, parts: "Sequence[_Rows]") -> "_Rows":
        table = pa.concat_tables([part.table for part in parts]).combine_chunks()
        return cls(table, np.concatenate([part.trials for part in parts]))

    def where(self, kept: npt.NDArray[np.bool_]) -> "_Rows":
        return self if kept.all() else _Rows(self.table.filter(pa.array(kept)), self.trials[kept])

    def ordered(self) -> pa.Table:
        """As the plan has its trials; one's own rows stay in their order."""
        return self.table.take(pa.array(np.argsort(self.trials, kind="stable")))


class Tables:
    """The three tables of a study while it runs.

    Rows are turned into columns many at a time: for one trial alone that takes longer than all else about it.
    """

    def __init__(self, study: Study, plan: Plan) -> None:
        self._study, self._plan = study, plan
        self._places: dict[str, int] = {}
        self._open: dict[str, Record] = {}
        self._fresh: dict[str, Record] = {}
        """Of trials that have ended since tables were written last."""
        self._ended = [_Rows(schema.empty_table(), np.array([], np.int64)) for schema in plan.schemas.values()]
        """Of each table, the rows of trials that ended before that."""
        self._planned: list[_Rows] = []
        """A row for each trial of the plan, in its state before it begins."""
        self._running: Sequence[_Rows] | None = None
        """Of each table, the rows of trials that had begun and not ended when tables were written last."""
        # The trials of a point stand together, and making a recipe costs more than all else about a row.
        self._knobs = lru_cache(maxsize=64)(lambda point_id: plan.recipe(plan.trials_of(point_id)[0]).knobs())
        self._next_write = 0.0
        self._lock = threading.RLock()
        """Where Ray holds the thread that runs the study, another settles them."""
        self._settled = False

    def put(self, record: Record) -> None:
        """Take in the newest state of a trial.

        Raises:
            ValueError: it has a fact without a column.
        """
        unknown = set(record.facts) - set(self._plan.schemas["trials"].names)
        if unknown:
            raise ValueError(f"no column for {', '.join(sorted(unknown))}")
        with self._lock:
            if record.status in TERMINAL:
                self._fresh[record.trial_id] = record
                self._open.pop(record.trial_id, None)
            else:
                self._open[record.trial_id] = record

    def write(self) -> None:
        """Write the tables that have changed, and the files that go with them."""
        with self._lock:
            if not self._settled:
                self._write()

    def _write(self) -> None:
        started = time.monotonic()
        unseen = self._plan.trials[len(self._places) :]
        before, self._running = None if unseen or self._fresh else self._running, None
        self._places |= {trial.trial_id: place for place, trial in enumerate(unseen, len(self._places))}
        self._planned += self._rows([Record(trial_id=trial.trial_id, status="PLANNED") for trial in unseen])[:1]
        self._take_in()
        running = self._rows(list(self._open.values()))
        waiting = np.ones(len(self._places), dtype=bool)
        for rows in (self._ended[0], running[0]):
            waiting[rows.trials] = False
        for i, (name, ended, own) in enumerate(zip(self._plan.schemas, self._ended, running, strict=True)):
            if before is not None and own.table.equals(before[i].table):
                continue  # A trial that goes on has new epochs alone.
            others = [] if i else [part.where(waiting[part.trials]) for part in self._planned]
            self._study.put_table(f"{name}.parquet", _Rows.joined([ended, own, *others]).ordered())
        self._running = running
        self._study.put_scratch()
        # Writing again costs as much as there are rows: spend at most a twentieth of the time on it.
        now = time.monotonic()
        self._next_write = now + max(2.0, 20 * (now - started))

    def _take_in(self) -> None:
        """Turn what has ended since into columns; a trial that had ended before has ended again."""
        again = np.zeros(len(self._places), dtype=bool)
        again[[self._places[trial_id] for trial_id in self._fresh]] = True
        fresh = self._rows(list(self._fresh.values()))
        before = [part.where(~again[part.trials]) for part in self._ended]
        self._ended = [_Rows.joined(parts) for parts in zip(before, fresh, strict=True)]
        self._fresh.clear()

    def settle(self) -> None:
        """Write for the last time: trials that were cut off are planned again, not running."""
        with self._lock:
            self._open.clear()
            self._running = None  # Whatever became of the files meanwhile, all are written once more.
            self.write()
            self._settled = True

    def write_if_due(self) -> None:
        if time.monotonic() >= self._next_write:
            self.write()

    def _rows(self, records: Sequence[Record]) -> tuple[_Rows, _Rows, _Rows]:
        """Of some trials, for each of the tables."""
        planned = [self._planned_columns(self._plan.trial(record.trial_id)) for record in records]
        outcome = {"status", "cause", "traceback", "started", "finished"}
        rows = [
            [{**own, **record.facts, **record.model_dump(include=outcome)}]
            for own, record in zip(planned, records, strict=True)
        ]
        keys = [{name: own[name] for name in KEYS} for own in planned]
        trials, epochs, predictions = self._plan.schemas.values()

        def table(schema: pa.Schema, of: Sequence[Sequence[Mapping[str, Any]]]) -> _Rows:
            whole = [{**key, **row} for key, own in zip(keys, of, strict=True) for row in own]
            places = np.array([self._places[record.trial_id] for record in records], dtype=np.int64)
            return _Rows(pa.Table.from_pylist(whole, schema=schema), np.repeat(places, [len(own) for own in of]))

        return (
            table(trials, rows),
            table(epochs, [record.epochs for record in records]),
            table(predictions, [record.predictions for record in records]),
        )

    def _planned_columns(self, trial: PlannedTrial) -> dict[str, Any]:
        plan, dataset = self._plan, self._plan.dataset
        own = {"seed": trial.seed, "data.validation_subjects": list(trial.held_out)}
        return {
            **trial.model_dump(include={"trial_id", "point_id", "seed"}),
            "fold": trial.fold,
            "recipe": plan.recipe_name(trial),
            "system": plan.system(trial),
            "variant": plan.variant(trial),
            **{f"param.{name}": value for name, value in (self._knobs(trial.point_id) | own).items()},
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
    around = storage_at(root)
    around.check()
    taken = set(around.folders())
    while f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"


def names(root: str | Path) -> list[str]:
    """The studies under `root`, the one whose plan was made last coming last.

    Raises:
        UserError: `root` is a bucket that is not there, or that may not be read.
    """
    around = storage_at(root)
    around.check()
    plans = around.modified(f"{folder}/{PLAN}" for folder in around.folders())
    return [plan.partition("/")[0] for plan in sorted(plans, key=lambda plan: plans[plan])]


def newest(root: str | Path) -> Study:
    """The study under `root` whose plan was made last."""
    around = storage_at(root)
    there = [name for name in names(root) if around.readable(f"{name}/{PLAN}")]
    if not there:
        raise UserError(
            f"{around.place()}: there is no study here; make one with `mmssl-tune launch`, or say where with --storage"
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
    if not study.exists():
        around = storage_at(root)
        if name in around.folders() and not around.readable(name):
            raise UserError(_closed(study.place))
        there = sorted(names(root))
        hint = nearest(name, there) if there else "there is none at all; say where with --storage"
        raise UserError(f"{storage_at(root).place()}: no study {name}; {hint}")
    return study
