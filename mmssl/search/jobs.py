"""Studies as jobs of a cluster: submitted over HTTP, and found again by the study's name."""

import asyncio
import logging
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient

from mmssl.errors import UserError, nearest
from mmssl.search.nodes import last_line
from mmssl.study.folder import Study
from mmssl.study.status import JOB, JOB_ADDRESS, remember

STUDY, STORAGE = "mmssl.study", "mmssl.storage"
"""What a job's metadata call the study it runs, and where that lies."""
_SECONDS_TO_STOP = 120
"""How long a driver may report after it was asked to stop; Ray's own 3 s are too few."""
_SECONDS_TO_START = 60
"""How long a head may take until it runs jobs."""
_TALKATIVE = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)


@dataclass(frozen=True)
class Job:
    """One submission of a study."""

    submission_id: str
    address: str
    """Of the cluster's job server, as http://HOST:8265."""
    study: str
    storage: str
    status: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED, FAILED."""
    message: str
    """Ray's message about it."""
    submitted: float
    """Seconds since 1970."""

    @property
    def ended(self) -> bool:
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


class Jobs:
    """The jobs of one cluster that run studies.

    Args:
        address: as http://HOST:8265.

    Raises:
        UserError: nothing answers there, it does not let us in, or Ray's job client is not installed.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        # Ray takes the value of this variable or of RAY_ADDRESS over its argument.
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address
        with self._answering():
            self._client = JobSubmissionClient(self.address)

    def all(self) -> list[Job]:
        """The jobs that run or ran studies, the last submitted last."""
        with self._answering():
            found = self._client.list_jobs()
        jobs = [self._job(details) for details in found if STUDY in (details.metadata or {})]
        return sorted(jobs, key=lambda job: job.submitted)

    def of(self, study: str | None) -> Job:
        """The last job of a study; of any study where no name is given.

        Raises:
            UserError: there is none.
        """
        jobs = self.all()
        mine = [job for job in jobs if study in (None, job.study)]
        if not mine:
            names = list(dict.fromkeys(job.study for job in jobs))
            hint = nearest(study, names) if study and names else "it has run no study"
            raise UserError(f"{self.address}: no job{f' of study {study}' if study else ''}; {hint}")
        return mine[-1]

    def submit(self, study: str, storage: str, words: Sequence[str], file: Path | None = None) -> Job:
        """Have the cluster run a command on a study.

        Args:
            storage: where studies lie, as the cluster's machines see it.
            words: of `mmssl-tune`.
            file: travels with the job, and lies in its working directory under its own name.

        Raises:
            UserError: no study can have that name, a job of it has not ended, or the cluster takes none.
        """
        Study(".", study)  # A name that none could have is refused here, not by the job.
        before = [job for job in self.all() if job.study == study]
        going = [job for job in before if not job.ended]
        if going:
            raise UserError(
                f"study {study}: job {going[-1].submission_id} is {going[-1].status}; follow it with "
                f"`mmssl-tune logs {study} -f`, or stop it first with `mmssl-tune stop {study}`"
            )
        submission_id = f"{study}.{len(before) + 1}"
        environment = {
            "RAY_JOB_STOP_WAIT_TIME_S": str(_SECONDS_TO_STOP),
            JOB: submission_id,
            JOB_ADDRESS: self.address,
        }
        with tempfile.TemporaryDirectory() as folder, self._answering():
            if file is not None:
                shutil.copy(file, folder)
            until = time.monotonic() + _SECONDS_TO_START
            while True:
                try:
                    self._client.submit_job(
                        entrypoint=shlex.join(["mmssl-tune", *words]),
                        submission_id=submission_id,
                        runtime_env={"env_vars": environment, **({"working_dir": folder} if file else {})},
                        metadata={STUDY: study, STORAGE: storage},
                    )
                    break
                except RuntimeError as error:
                    # A head that has just been started answers before it can run a job.
                    if "No available agent" not in str(error) or time.monotonic() > until:
                        raise
                    time.sleep(1)
        job = Job(submission_id, self.address, study, storage, "PENDING", "", time.time())
        remember(study, self.address, storage)
        return job

    def logs(self, job: Job) -> str:
        """The output of its driver so far."""
        with self._answering():
            return self._client.get_job_logs(job.submission_id)

    def follow(self, job: Job) -> Generator[str]:
        """The output of its driver, piece by piece until it ends."""
        pieces = self._client.tail_job_logs(job.submission_id)

        async def next_piece() -> str | None:
            return await anext(pieces, None)

        with self._answering(), asyncio.Runner() as runner:
            while (piece := runner.run(next_piece())) is not None:
                yield piece

    def stop(self, job: Job) -> Job:
        """Have its driver finish reporting and end, and wait until it has."""
        with self._answering():
            self._client.stop_job(job.submission_id)
            until = time.monotonic() + _SECONDS_TO_STOP + 10
            while True:
                now = self._job(self._client.get_job_info(job.submission_id))
                if now.ended or time.monotonic() > until:
                    return now
                time.sleep(0.5)

    def _job(self, details: JobDetails) -> Job:
        about = details.metadata or {}
        return Job(
            submission_id=details.submission_id or "",
            address=self.address,
            study=about.get(STUDY, ""),
            storage=about.get(STORAGE, ""),
            status=details.status.value,
            message=details.message or "",
            submitted=(details.start_time or 0) / 1000,
        )

    @contextmanager
    def _answering(self) -> Generator[None]:
        """A request to the cluster; raises UserError where it does not answer, or refuses."""
        try:
            yield
        except AuthenticationError as error:
            raise UserError(
                f"{self.address}: refused: it wants its token; put the cluster's into ~/.ray/auth_token, or name its "
                "file in RAY_AUTH_TOKEN_PATH, and set RAY_AUTH_MODE=token"
            ) from error
        except OSError as error:
            raise UserError(
                f"{self.address}: no cluster answers there ({error}); is its job server's port reachable from here, "
                "as through `ray dashboard cluster.yaml`?"
            ) from error
        except RuntimeError as error:
            if "ray[default]" in str(error):
                raise UserError(
                    "jobs need Ray's job client, which is not installed: pip install 'mmssl-tune[cluster]'"
                ) from error
            raise UserError(f"{self.address}: {last_line(error)}") from error
