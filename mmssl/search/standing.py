"""Where a study stands, as its storage says: what has ended, who runs it, how long it may still take."""

import json
import os
import platform
import signal
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_state_path

from mmssl.errors import UserError
from mmssl.search.plan import TERMINAL
from mmssl.search.store import Study

JOB, JOB_ADDRESS = "MMSSL_JOB", "MMSSL_JOB_ADDRESS"
"""Environment variables by which a submitted driver knows its job."""
_DRIVER, _JOB = "driver", "job"


@dataclass(frozen=True)
class Standing:
    """What is known of a study from outside of the process that runs it."""

    study: str
    state: Literal["running", "stopped", "complete"]
    trials: dict[str, int]
    """How many have which status."""
    planned: int
    seconds_left: float | None
    """At the pace since the driver began; None where nothing has ended since, or nothing runs."""
    driver: dict[str, Any] | None
    """Host, process id, start and job of the process that runs it."""
    job: dict[str, Any] | None
    """The job that ran it last: its submission id, and the cluster's address."""

    @property
    def ended(self) -> int:
        return sum(count for status, count in self.trials.items() if status in TERMINAL)


def standing(study: Study) -> Standing:
    """Where a study stands.

    Raises:
        UserError: it has no plan or no tables that can be read.
    """
    planned = study.plan().total
    running = study.in_use()
    driver = study.note(_DRIVER) if running else None
    table = study.table("trials.parquet").select(["status", "finished"])
    trials: Counter[str] = Counter(table["status"].to_pylist())
    if not running:  # A driver that was killed had no time to say that nothing runs.
        trials["PLANNED"] += trials.pop("RUNNING", 0)
    trials["PLANNED"] += planned - len(table)  # Of points that a sampler has still to choose.
    ended = sum(count for status, count in trials.items() if status in TERMINAL)
    left = None
    if driver:
        since = datetime.fromisoformat(driver["started"])
        lately = sum(moment >= since for moment in table["finished"].to_pylist() if moment)
        if lately:
            left = (datetime.now(UTC) - since).total_seconds() / lately * (planned - ended)
    return Standing(
        study=study.name,
        state="running" if running else "complete" if ended == planned else "stopped",
        trials={status: count for status, count in sorted(trials.items()) if count},
        planned=planned,
        seconds_left=left,
        driver=driver,
        job=last_job(study),
    )


def last_job(study: Study) -> dict[str, Any] | None:
    """The job that ran a study last, as its driver noted it; None where it was never run by one."""
    return study.note(_JOB)


def begin(study: Study) -> None:
    """Note that this process runs the study from now on."""
    job = {"submission_id": os.environ[JOB], "address": os.environ.get(JOB_ADDRESS)} if JOB in os.environ else None
    started = datetime.now(UTC).isoformat(timespec="seconds")
    study.put_note(_DRIVER, {"host": platform.node(), "pid": os.getpid(), "started": started, "job": job})
    if job:
        study.put_note(_JOB, job)


def end(study: Study) -> None:
    """Note that it no longer does."""
    study.drop_note(_DRIVER)


def stop_driver(study: Study) -> None:
    """Have the process that runs a study on this machine finish reporting and end.

    Raises:
        UserError: none does here.
    """
    driver = study.note(_DRIVER) if study.in_use() else None
    if driver is None:
        raise UserError(f"study {study.name}: no process is running it")
    if driver["host"] != platform.node():
        raise UserError(f"study {study.name} is run by process {driver['pid']} on {driver['host']}: stop it there")
    os.kill(driver["pid"], signal.SIGTERM)


def remember(study: str, address: str, storage: str) -> None:
    """Note in the user's own folder where a study runs, so that its name alone leads there from another shell."""
    path = _note(study)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"address": address, "storage": storage}))


def remembered(study: str) -> dict[str, Any] | None:
    """The address and storage that were noted for a study; None where nothing was."""
    try:
        known = json.loads(_note(study).read_text())
    except (OSError, ValueError):
        return None
    return known if isinstance(known, dict) and isinstance(known.get("address"), str) else None


def _note(study: str) -> Path:
    return user_state_path("mmssl-tune") / "jobs" / f"{Study('.', study).name}.json"
