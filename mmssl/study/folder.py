"""What is kept of a study: every file's name, and the only code that writes them."""

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmssl import parquet
from mmssl.errors import UserError
from mmssl.files import written_beside
from mmssl.lease import HeldError, Still
from mmssl.private_folder import own_folder
from mmssl.sealed import DamagedError, opened, read, sealed
from mmssl.storage import storage_at
from mmssl.study.plan import Plan, SampledPoint
from mmssl.study.pretrained import Pretrained
from mmssl.study.record import Record
from mmssl.study.tables import Tables

PLAN, TESTS, LOG = "plan.json", "tests.json", "study.log"
"""Files of a study."""
_LOCK = "driver.lock"
_RECORD, _WEIGHTS, _FACTS = "record.json", "model.safetensors", "model.json"
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
        self.pretrained = Pretrained(self._around)
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
            raise UserError(closed(self.place)) from error
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


def closed(place: str) -> str:
    return f"{place}: another user's, who has not opened it to this one; ask for the right to read it"


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


def _make_ours(path: Path) -> None:
    """Have a copy in the place of a file that another of the study's users may change alone."""
    if path.exists() and not os.access(path, os.W_OK):
        with written_beside(path) as beside:
            beside.write_bytes(path.read_bytes())
