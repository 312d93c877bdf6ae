"""Commands on studies that run elsewhere, or in another shell: what there are, where they stand, what they say."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmssl.cli.options import STORAGE, JsonOption, StorageOption, StudyArgument
from mmssl.cli.running import is_job_server
from mmssl.cli.terminal import pass_on, print_json, say, show_table
from mmssl.errors import UserError
from mmssl.study.planning import at_storage

if TYPE_CHECKING:
    from mmssl.search.jobs import Job, Jobs
    from mmssl.study.folder import Study
    from mmssl.study.status import Standing

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
    """Say how far a study is, whether it runs and where, and how long it may still take.

    Example: mmssl-tune status vicreg_grid-utd_mhad-1
    """
    from mmssl.study.status import standing

    found = ReachedStudy(study, storage, address)
    stands = standing(found.study) if found.study else None
    job, trouble = found.job_or_trouble()
    if as_json:
        print_json(
            {
                "study": found.name,
                "folder": found.study.place if found.study else None,
                **{
                    name: getattr(stands, name, None)
                    for name in ("state", "planned", "trials", "seconds_left", "driver")
                },
                "job": asdict(job) if job else None,
                "trouble": trouble,
            }
        )
        return
    if found.study and stands:
        for line in _lines(found.study, stands):
            say(line)
    if job:
        say(f"job {job.submission_id}: {job.status} at {job.address}" + (f": {job.said}" if job.said else ""))
        if not found.study:
            say(f"no plan of it is to be seen from here in {job.storage}; the last it said:")
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
    """Print what the process that runs a study has said: of a job what it printed, else the study's own log.

    Example: mmssl-tune logs vicreg_grid-utd_mhad-1 -f
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
    """Stop a study as Ctrl-C does: what has ended is kept, what runs goes on from its snapshot when it is resumed.

    Example: mmssl-tune stop vicreg_grid-utd_mhad-1
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
    """List the studies in a storage with how far they are, and the jobs of a cluster.

    Example: mmssl-tune list --address http://127.0.0.1:8265
    """
    from mmssl.study.folder import Study, names
    from mmssl.study.plan import without_result
    from mmssl.study.status import standing

    rows: list[dict[str, Any]] = []
    for name in names(storage):
        study = Study(storage, name)
        try:
            stands = standing(study)
            trials, running = stands.trials, stands.driver
            rows.append({"study": name, "state": stands.state, "ended": stands.ended, "planned": stands.planned})
            rows[-1] |= {"trials": trials, "host": running and running["host"], "problem": ""}
        except UserError as error:
            rows.append({"study": name, "state": "damaged", "problem": str(error)})
    submitted: list[Job] = []
    if is_job_server(address):
        from mmssl.search.jobs import Jobs

        submitted = Jobs(address or "").all()
    if as_json:
        print_json({"studies": rows, "jobs": [asdict(job) for job in submitted]})
        return
    show_table(
        f"studies in {storage}",
        ["study", "state", "ended", "no result", "where"],
        [
            [
                row["study"],
                row["state"],
                row["problem"] or f"{row['ended']}/{row['planned']}",
                without_result(row["trials"]) if "trials" in row else "",
                row.get("host") or "",
            ]
            for row in rows
        ],
    )
    if is_job_server(address):
        show_table(
            f"jobs at {address}",
            ["job", "study", "status", "storage"],
            [[job.submission_id, job.study, job.status, job.storage] for job in submitted],
        )


class ReachedStudy:
    """A study as it can be reached from here: in its storage, by its job, or both.

    Raises:
        UserError: by neither.
    """

    def __init__(self, name: str | None, storage: str, address: str | None) -> None:
        from mmssl.study.folder import find
        from mmssl.study.status import last_job, remembered

        self.study: Study | None = None
        self._address = address if is_job_server(address) else None
        self._servers: dict[str, Jobs] = {}
        absent = ""
        try:
            self.study = find(storage, name)
        except UserError as error:
            absent = str(error)
        known = remembered(name) if name else None
        if self.study is None and known:
            with suppress(UserError):  # It may lie where only the cluster's machines reach.
                self.study = find(known["storage"], name)
        if self._address is None:
            note = last_job(self.study) if self.study else None
            self._address = (note or known or {}).get("address")
        if self.study is None and self._address is None:
            raise UserError(absent)
        self.name = self.study.name if self.study else name or self.jobs(self._address or "").of(None).study

    def jobs(self, address: str) -> "Jobs":
        from mmssl.search.jobs import Jobs

        if address not in self._servers:
            self._servers[address] = Jobs(address)
        return self._servers[address]

    def job_or_trouble(self) -> "tuple[Job | None, str]":
        """The study's last job; or why it is not known, where there should be one."""
        if self._address is None:
            return None, ""
        try:
            return self.jobs(self._address).of(self.name), ""
        except UserError as error:
            if self.study is None:
                raise
            return None, str(error)


def _lines(study: "Study", stands: "Standing") -> list[str]:
    counts = ", ".join(f"{count} {status}" for status, count in stands.trials.items())
    lines = [
        f"study {stands.study}: {stands.words}",
        f"{stands.progress}: {counts}",
    ]
    if stands.seconds_left is not None:
        minutes = round(stands.seconds_left / 60)
        lines.append(f"about {minutes // 60} h {minutes % 60} min left at this pace" if minutes else "a minute left")
    if stands.death:
        lines.append(stands.death)
    if stands.state == "stopped":
        cluster = f" --address {stands.job['address']}" if stands.job else ""
        lines.append(f"to go on: mmssl-tune resume {study.name}{at_storage(study)}{cluster}")
    return lines


def _log_of(study: "Study", follow: bool) -> Iterator[str]:
    """The study's log, and what is added to it as long as something runs the study."""
    told = 0
    while True:
        running = follow and study.in_use()
        try:
            log = study.log()
        except FileNotFoundError as error:
            raise UserError(f"study {study.name}: it has no log yet; it has not been run") from error
        yield log[told:].decode(errors="replace")
        told = len(log)
        if not running:
            return
        time.sleep(0.5)
