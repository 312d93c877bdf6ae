"""Commands on studies that run elsewhere, or in another shell: what there are, where they stand, what they say."""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from mmssl.cli.options import STORAGE, JsonOption, StorageOption, StudyArgument
from mmssl.cli.running import is_job_server
from mmssl.cli.studies import show_first_failure
from mmssl.cli.tables import show_conclusion, show_table
from mmssl.cli.terminal import ago, pass_on, print_json, say
from mmssl.errors import UserError, few
from mmssl.study.planning import at_storage
from mmssl.study.words import percent, without_result

if TYPE_CHECKING:
    from mmssl.search.jobs import Job, Jobs
    from mmssl.study.folder import Study
    from mmssl.study.listing import Listed
    from mmssl.study.status import StudyStatus

AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="RAY_ADDRESS",
        help="Job server of the cluster, as http://HOST:8265. Default: where the study was submitted to.",
    ),
]


def status(
    study: StudyArgument = None,
    storage: StorageOption = STORAGE,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say how far a study is, what came out, and how long it takes.

    Example: mmssl-tune status vicreg_grid-utd_mhad-1

    Example: mmssl-tune status --json
    """
    from mmssl.study.status import study_status
    from mmssl.study.verdict import conclude

    found = ReachedStudy(study, storage, address)
    plan = found.study.plan() if found.study else None
    current = study_status(found.study, plan) if found.study else None
    conclusion = None
    if found.study and plan and current and current.ended:
        conclusion = conclude(found.study, plan, running=current.state == "running")
    job, trouble = found.job_or_trouble()
    if as_json:
        print_json(
            {
                "study": found.name,
                "folder": found.study.place if found.study else None,
                **{
                    name: getattr(current, name, None)
                    for name in ("state", "planned", "trials", "seconds_left", "driver")
                },
                "verdict": conclusion.words if conclusion else None,
                "job": asdict(job) if job else None,
                "trouble": trouble,
            }
        )
        return
    if found.study and current:
        for line in _lines(current):
            say(line)
        if plan:
            show_first_failure(found.study, plan)
        if conclusion:
            show_conclusion(conclusion, next_step=current.state != "stopped")
        if current.state == "stopped":
            cluster = f" --address {current.job['address']}" if current.job else ""
            say(f"to go on: mmssl-tune resume {found.name}{at_storage(found.study)}{cluster}")
    if job:
        say(f"job {job.submission_id}: {job.status} at {job.address}" + (f": {job.message}" if job.message else ""))
        if not found.study:
            say(f"no plan of it is to be seen from here in {job.storage}; its last lines:")
            for line in found.jobs(job.address).logs(job).splitlines()[-5:]:
                say(f"  {line}")
    if trouble:
        say(f"note: {trouble}")


def logs(
    study: StudyArgument = None,
    storage: StorageOption = STORAGE,
    address: AddressOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the study ends or stops.")] = False,
) -> None:
    """Print the output of the process that runs a study.

    Of a job this is what it printed, else the study's own log.

    Example: mmssl-tune logs vicreg_grid-utd_mhad-1 -f

    Example: mmssl-tune logs grid --storage /shared/studies
    """
    found = ReachedStudy(study, storage, address)
    job, trouble = found.job_or_trouble()
    if job:
        jobs = found.jobs(job.address)
        pieces: Iterator[str] = jobs.follow(job) if follow else iter([jobs.logs(job)])
    elif found.study:
        pieces = _log_of(found.study, follow)
    else:
        raise UserError(trouble)
    for piece in pieces:
        pass_on(piece)


def stop(
    study: StudyArgument = None,
    storage: StorageOption = STORAGE,
    address: AddressOption = None,
) -> None:
    """Stop a study as Ctrl-C does; `resume` goes on from snapshots.

    What has ended is kept.

    Example: mmssl-tune stop vicreg_grid-utd_mhad-1

    Example: mmssl-tune stop grid --address http://127.0.0.1:8265
    """
    from mmssl.study.status import stop_driver

    found = ReachedStudy(study, storage, address)
    job, trouble = found.job_or_trouble()
    if job and not job.ended:
        ended = found.jobs(job.address).stop(job)
        if not ended.ended:
            raise UserError(f"job {job.submission_id} is still {ended.status}; ask again with `mmssl-tune status`")
        say(f"job {job.submission_id}: {ended.status}")
        how = f"mmssl-tune resume {found.name} --storage {job.storage} --address {job.address}"
    elif found.study:
        stop_driver(found.study)
        while found.study.in_use():
            time.sleep(0.2)
        how = f"mmssl-tune resume {found.name}{at_storage(found.study)}"
    else:
        raise UserError(trouble or f"study {found.name}: its job has ended")
    say(f"stopped; to go on: {how}")


def list_studies(
    storage: StorageOption = STORAGE,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """List studies with their age, data set, best score and size.

    And the jobs of a cluster.

    Example: mmssl-tune list --address http://127.0.0.1:8265

    Example: mmssl-tune list --storage s3://my-bucket/studies
    """
    from mmssl.study.listing import listed

    rows = listed(storage)
    submitted: list[Job] = []
    if is_job_server(address):
        from mmssl.search.jobs import Jobs

        submitted = Jobs(address or "").all()
    if as_json:
        print_json({"studies": [asdict(row) for row in rows], "jobs": [asdict(job) for job in submitted]})
        return
    show_table(
        f"studies in {storage}; best: highest mean of a point, in %",
        ["study", "data set", "state", "ended", "best", "age", "size"],
        [
            [
                row.study,
                row.dataset,
                f"{row.state} on {row.host}" if row.host else row.state,
                f"{row.ended}/{row.planned}",
                percent(row.best),
                ago(row.made),
                f"{row.bytes / 1e6:.1f} MB",
            ]
            for row in rows
            if not row.problem
        ],
    )
    for words, studies in _alike(rows):
        say(f"{few(studies)}: {words}")
    if is_job_server(address):
        show_table(
            f"jobs at {address}",
            ["job", "study", "status", "storage"],
            [[job.submission_id, job.study, job.status, job.storage] for job in submitted],
        )


def _alike(rows: "Sequence[Listed]") -> list[tuple[str, list[str]]]:
    """What is wrong, with the studies that have it: one problem may be of many."""
    found: dict[str, list[str]] = {}
    for row in rows:
        if words := row.problem.replace(row.study, "...") or without_result(row.trials):
            found.setdefault(words, []).append(row.study)
    return list(found.items())


class ReachedStudy:
    """A study as it can be reached from here: in its storage, by its job, or both.

    Raises:
        UserError: by neither.
    """

    def __init__(self, name: str | None, storage: str, address: str | None) -> None:
        from mmssl.study.lookup import find
        from mmssl.study.status import last_job, remembered

        self.study: Study | None = None
        self._address = address if is_job_server(address) else None
        self._servers: dict[str, Jobs] = {}
        absent = ""
        try:
            self.study = find(storage, name)
        except UserError as error:
            absent = str(error)
        remembered_job = remembered(name) if name else None
        if self.study is None and remembered_job:
            with suppress(UserError):  # It may lie where only the cluster's machines reach.
                self.study = find(remembered_job["storage"], name)
        if self._address is None:
            note = last_job(self.study) if self.study else None
            self._address = (note or remembered_job or {}).get("address")
        if self.study is None and self._address is None:
            raise UserError(absent)
        self.name = self.study.name if self.study else name or self.jobs(self._address or "").of(None).study

    def jobs(self, address: str) -> "Jobs":
        from mmssl.search.jobs import Jobs

        if address not in self._servers:
            self._servers[address] = Jobs(address)
        return self._servers[address]

    def job_or_trouble(self) -> "tuple[Job | None, str]":
        """The study's last job; or why it was not found, where there should be one."""
        if self._address is None:
            return None, ""
        try:
            return self.jobs(self._address).of(self.name), ""
        except UserError as error:
            if self.study is None:
                raise
            return None, str(error)


def _lines(current: "StudyStatus") -> list[str]:
    counts = ", ".join(f"{count} {status}" for status, count in current.trials.items())
    lines = [
        f"study {current.study}: {current.words}",
        f"{current.progress}: {counts}",
    ]
    if current.seconds_left is not None:
        minutes = round(current.seconds_left / 60)
        lines.append(f"about {minutes // 60} h {minutes % 60} min left at this pace" if minutes else "a minute left")
    if current.death:
        lines.append(current.death)
    return lines


def _log_of(study: "Study", follow: bool) -> Iterator[str]:
    """The study's log, and what is added to it as long as something runs the study."""
    reported = 0
    while True:
        running = follow and study.in_use()
        try:
            log = study.log()
        except FileNotFoundError as error:
            raise UserError(f"study {study.name}: it has no log yet; it has not been run") from error
        yield log[reported:].decode(errors="replace")
        reported = len(log)
        if not running:
            return
        time.sleep(0.5)
