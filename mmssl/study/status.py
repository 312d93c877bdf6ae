"""The status of a study, read from its storage: which trials have ended, which process runs it, the time left."""

import json
import os
import signal
import statistics
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_state_path

from mmssl.errors import UserError
from mmssl.process import identity, lives
from mmssl.sealed import opened, sealed
from mmssl.study.folder import Study
from mmssl.study.plan import Plan
from mmssl.study.words import TERMINAL

JOB, JOB_ADDRESS = "MMSSL_JOB", "MMSSL_JOB_ADDRESS"
"""Environment variables that give a submitted driver its job."""
_DRIVER, _JOB = "driver", "job"


@dataclass(frozen=True)
class StudyStatus:
    """The status of a study, as any process can read it."""

    study: str
    state: Literal["running", "stopped", "complete"]
    trials: dict[str, int]
    """Counts by status."""
    planned: int
    seconds_left: float | None
    """`time_left`, estimated from the trials that ended since the driver began; None where nothing runs."""
    driver: dict[str, Any] | None
    """The process that runs it: identity, start and job."""
    died: dict[str, Any] | None
    """The last process that ran it, if it ended without a message: it was killed, or its machine is gone."""
    job: dict[str, Any] | None
    """The last job that ran it: its submission id and the cluster's address."""

    @property
    def ended(self) -> int:
        return sum(count for status, count in self.trials.items() if status in TERMINAL)

    @property
    def began(self) -> datetime | None:
        """When the process that runs it began; None where nothing runs."""
        return datetime.fromisoformat(self.driver["started"]) if self.driver else None

    @property
    def words(self) -> str:
        """The state, and which process runs it."""
        return self.state + (f" by {_process(self.driver)}" if self.driver else "")

    @property
    def progress(self) -> str:
        return f"{self.ended} of {self.planned} trials have ended"

    @property
    def death(self) -> str:
        """A sentence about the process that died; empty where none did."""
        return f"{_process(self.died)} ran it and ended without a message; it may have been killed" if self.died else ""


def study_status(study: Study, plan: Plan | None = None) -> StudyStatus:
    """The status of a study.

    Args:
        plan: the study's plan, if it has been read already.

    Raises:
        UserError: its plan or tables cannot be read.
    """
    plan = plan or study.plan()
    planned = plan.total
    running = study.in_use()
    noted = _noted(study)
    driver = noted if running else None
    table = study.table("trials.parquet", ["status", "started", "finished"])
    trials: Counter[str] = Counter(table["status"].to_pylist())
    if not running:  # A killed driver leaves trials marked as RUNNING.
        trials["PLANNED"] += trials.pop("RUNNING", 0)
    trials["PLANNED"] += planned - len(table)  # Of points that a sampler has still to choose.
    ended = sum(count for status, count in trials.items() if status in TERMINAL)
    left = None
    if driver:
        since, rows = datetime.fromisoformat(driver["started"]), table.to_pylist()
        lately = [
            (row["finished"] - row["started"]).total_seconds()
            for row in rows
            if row["status"] == "COMPLETE" and row["started"] and row["finished"] and row["finished"] >= since
        ]
        now = datetime.now(UTC)
        going = [
            (now - row["started"]).total_seconds() for row in rows if row["status"] == "RUNNING" and row["started"]
        ]
        begun = planned - trials["PLANNED"]
        waiting = min(trials["PLANNED"], max(0, plan.most - begun))
        left = time_left(statistics.fmean(lately) if lately else None, going, waiting)
    return StudyStatus(
        study=study.name,
        state="running" if running else "complete" if ended == planned else "stopped",
        trials={status: count for status, count in sorted(trials.items()) if count},
        planned=planned,
        seconds_left=left,
        driver=driver,
        died=None if running else noted,
        job=last_job(study),
    )


def time_left(each: float | None, going: Sequence[float], waiting: int) -> float | None:
    """Seconds until a study has ended, if all trials take equally long and as many run at once as now.

    Args:
        each: mean seconds of the complete trials; None without any.
        going: seconds that each running trial has run so far.
        waiting: how many trials have not begun.

    Returns:
        None where no trial is complete yet, or nothing runs.
    """
    if each is None or not going:
        return None
    rest = [max(0.0, each - seconds) for seconds in going]
    return (waiting * each + sum(rest)) / len(going) if waiting else max(rest)


def _process(driver: dict[str, Any]) -> str:
    return f"process {driver['pid']} on {driver['host']}"


def last_job(study: Study) -> dict[str, Any] | None:
    """The last job that ran a study, as its driver noted it; None where no job ever did."""
    return study.note(_JOB)


def begin(study: Study) -> None:
    """Note that this process runs the study from now on."""
    job = {"submission_id": os.environ[JOB], "address": os.environ.get(JOB_ADDRESS)} if JOB in os.environ else None
    started = datetime.now(UTC).isoformat(timespec="seconds")
    study.put_note(_DRIVER, {**identity(), "started": started, "job": job})
    if job:
        study.put_note(_JOB, job)


def end(study: Study) -> None:
    """Note that this process no longer runs the study."""
    study.drop_note(_DRIVER)


def _noted(study: Study) -> dict[str, Any] | None:
    note = study.note(_DRIVER) or {}
    return note if {"host", "pid", "started"} <= set(note) else None


def stop_driver(study: Study) -> None:
    """Ask the process that runs a study on this machine to finish its reports and end.

    Raises:
        UserError: no process runs it here, or it is another user's.
    """
    driver = _noted(study) if study.in_use() else None
    if driver is None:
        raise UserError(f"study {study.name}: no process is running it")
    process = f"process {driver['pid']} of {driver['host']}"
    alive = lives(driver)
    if alive is None:
        raise UserError(
            f"study {study.name} is run by {process}, on another machine, in another container or by an older version: "
            "stop it there, with Ctrl-C or `kill`"
        )
    if not alive:
        raise UserError(
            f"study {study.name}: {process}, which ran it, has ended; another process holds the study's lock for now, "
            "so nothing was signalled: look again with `mmssl-tune status`"
        )
    try:
        os.kill(driver["pid"], signal.SIGTERM)
    except ProcessLookupError:
        pass  # It has just ended by itself.
    except PermissionError as error:
        raise UserError(f"study {study.name} is run by {process} of another user, who alone can stop it") from error


def remember(study: str, address: str, storage: str) -> None:
    """Note in the user's own folder where a study runs, so that another shell finds it by its name."""
    path = _note(study)
    with suppress(OSError):  # Where the home cannot be written, users give the address again.
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sealed(json.dumps({"address": address, "storage": storage}).encode()))


def remembered(study: str) -> dict[str, Any] | None:
    """The address and storage noted for a study; None without a note."""
    try:
        note = json.loads(opened(_note(study).read_bytes()))
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) and isinstance(note.get("address"), str) else None


def _note(study: str) -> Path:
    return user_state_path("mmssl-tune") / "jobs" / f"{Study('.', study).name}.json"
