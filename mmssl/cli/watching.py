"""The command that shows a study which another process runs."""

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mmssl.cli.cluster import AddressOption, ReachedStudy
from mmssl.cli.options import STORAGE, JsonOption, StorageOption, StudyArgument
from mmssl.cli.running import end
from mmssl.cli.studies import exit_status, resuming, show_outcome, untrained_score
from mmssl.cli.terminal import console_beside, print_json, say
from mmssl.errors import UserError
from mmssl.process import interrupt_when_ended
from mmssl.study.planning import at_storage
from mmssl.study.words import TERMINAL

if TYPE_CHECKING:
    from rich.console import Console

    from mmssl.cli.screen import LiveScreen
    from mmssl.study.folder import Study
    from mmssl.study.plan import Plan
    from mmssl.study.polling import Change, TablePoller

_SECONDS_BETWEEN_LOOKS = 2.0
# A table of thousands of trials takes its time: no more than a tenth of it is spent on reading.
_REST = 10
_SECONDS_TO_ANSWER = 60.0
"""How long a storage may be out of reach until the command ends."""
_SECONDS_TO_BEGIN = 60.0
"""How old a plan may be until one that nothing has begun is no more taken for one that is about to be."""


def watch(
    study: StudyArgument = None,
    storage: StorageOption = STORAGE,
    address: AddressOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a study that another process runs; Ctrl-C leaves it running.

    Its points, what runs, what failed, time left.

    Example: mmssl-tune watch vicreg_grid-utd_mhad-1

    Example: mmssl-tune watch grid --storage /shared/studies
    """
    found = ReachedStudy(study, storage, address)
    if found.study is None:
        job, trouble = found.job_or_trouble()
        if job is None:
            raise UserError(trouble)
        raise UserError(
            f"study {found.name} is job {job.submission_id}, {job.status} at {job.address}; no plan of it is to be "
            f"seen from here in {job.storage}: follow what it says with `mmssl-tune logs {found.name} -f`"
        )
    plan = found.study.plan()
    if as_json:
        print_json(_document(found.study, plan))
        return
    interrupt_when_ended()  # The cursor must come back.
    end(_Watched(found, found.study, plan).follow())


def _document(study: "Study", plan: "Plan") -> dict[str, Any]:
    from mmssl.study.overview import LiveMap
    from mmssl.study.polling import TablePoller
    from mmssl.study.status import study_status

    status = study_status(study, plan)
    live_map = LiveMap(plan, status.began)
    for planned, record in TablePoller(study, plan).changes() or []:
        live_map.put(planned, record)
    if status.state != "running":
        live_map.settle()
    return {"state": status.state, "driver": status.driver, "died": status.died, **live_map.view().document()}


class _Watched:
    """A study on the screen, from the first look to its end."""

    def __init__(self, found: ReachedStudy, study: "Study", plan: "Plan") -> None:
        self._found, self._study, self._plan = found, study, plan
        self._in_vain_since: float | None = None

    def follow(self) -> int:
        """Show it until it has ended; gives the exit status that follows."""
        with console_beside(1) as out:
            return self._follow(out)

    def _follow(self, out: "Console") -> int:
        from mmssl.cli.screen import LiveScreen
        from mmssl.study.polling import TablePoller
        from mmssl.study.status import study_status

        study, plan = self._study, self._plan
        follower = TablePoller(study, plan)
        first: list[Change] = []
        # Read before the count of ended trials is printed: each that ends later gets its line. A storage that does not
        # answer is waited for later.
        with suppress(UserError, OSError):
            first = follower.changes() or []
        status, state = study_status(study, plan), self._state()
        shown: LiveScreen | None = None
        if state is not None:
            say(f"study {study.name}: {state or status.words}; {status.progress}; Ctrl-C leaves it running")
        try:
            untrained = untrained_score(study, plan)
            with LiveScreen(out, plan, state or "", status.began, untrained=untrained, keyed=True) as shown:
                try:
                    self._keep_up(shown, follower, first)
                    shown.live_map.settle()
                except KeyboardInterrupt:
                    shown.state = "detached"
                    raise
        except KeyboardInterrupt:
            goes_on = "goes on" if study.in_use() else "does not run"
            say(f"detached; study {study.name} {goes_on}; to look again: {_again(study)}")
            return 0 if shown and shown.quit else 130
        view = shown.live_map.view()
        left = view.planned - view.ended
        ended = ((failure.status, failure.cause) for failure in view.failures)
        death = study_status(study).death
        if death and left:
            say(death)
        if view.ended:
            show_outcome(study, plan, view.trials, ended, left, out)
        else:
            say(f"study {study.name} has not begun: {resuming(study)}")
        return exit_status(view.trials, left)

    def _keep_up(self, shown: "LiveScreen", follower: "TablePoller", first: "Sequence[Change]") -> None:
        """Show what is new until nothing can be any more.

        Args:
            first: what there was when it began.
        """
        before = [record for _, record in first if record.status in TERMINAL]
        shown.add_ended(before)
        for planned, record in first[len(before) :]:
            shown.put(planned, record)
        while True:
            started = time.monotonic()
            try:
                changes = follower.changes()
                # Tables that have just been written are written by somebody.
                state = self._state() if changes is None else ""
                if state is None:
                    changes = follower.changes(all_the_same=True)
                if self._in_vain_since is not None:
                    shown.note(f"{self._study.root} answers again")
                self._in_vain_since = None
            except (UserError, OSError) as error:
                self._wait_for_storage(shown, error)
                continue
            for planned, record in changes or []:
                shown.put(planned, record)
            if state is None:
                return
            shown.state = state
            time.sleep(max(_SECONDS_BETWEEN_LOOKS, _REST * (time.monotonic() - started)))

    def _wait_for_storage(self, shown: "LiveScreen", error: Exception) -> None:
        """Raises the error where the storage has been out of reach for too long."""
        now = time.monotonic()
        if self._in_vain_since is None:
            self._in_vain_since = now
            shown.note(f"{error}; trying again for {_SECONDS_TO_ANSWER:.0f} s")
        elif now - self._in_vain_since > _SECONDS_TO_ANSWER:
            raise error
        shown.state = "its storage does not answer"
        time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _state(self) -> str | None:
        """What goes on, as a few words; empty where it runs as it should, None where nothing does."""
        if self._study.in_use():
            return ""
        job = self._found.job_or_trouble()[0]
        if job and not job.ended:
            return f"job {job.submission_id} is {job.status}"
        young = datetime.now(UTC) - self._plan.created < timedelta(seconds=_SECONDS_TO_BEGIN)
        return "about to begin" if young and not self._study.ended(self._plan) else None


def _again(study: "Study") -> str:
    return f"mmssl-tune watch {study.name}{at_storage(study)}"
