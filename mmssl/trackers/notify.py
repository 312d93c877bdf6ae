"""A message to a webhook when a study is over, when its first trial fails, and when it stands still.

It never holds the study up, and its address, which is as good as a password, gets into no message of ours.
"""

import http.client
import json
import queue
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from mmssl.errors import UserError
from mmssl.study.folder import Record, Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.verdict import conclude
from mmssl.study.words import NO_RESULT, TERMINAL, point_words

VARIABLE = "MMSSL_NOTIFY"
STILL_S = 1800.0
"""Seconds without a word from any trial after which a study stands still."""
_TIMEOUT_S, _WAITS_S = 10.0, (1.0, 4.0, 16.0)
"""Seconds that an answer may take, and that are waited before it is tried again."""
_END_S = 20.0
"""Seconds that the end of a study waits for its message."""
_MOST = 1900
"""Characters: Discord takes 2,000."""


def check_url(url: str) -> None:
    """Find out early whether it can be an address.

    Raises:
        UserError: it cannot; the message does not repeat it.
    """
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise UserError("--notify: give the address of a webhook, which begins with https:// or http://")


def request_of(url: str, study: str, event: str, words: str) -> urllib.request.Request:
    """A message as the host of the address takes it; one that is not known gets JSON with all of it."""
    host, path = (urlsplit(url).hostname or "").lower(), urlsplit(url).path
    headers = {"Content-Type": "application/json", "User-Agent": "mmssl-tune"}
    words = words[:_MOST]
    if "ntfy" in host.split("."):
        headers |= {"Content-Type": "text/plain; charset=utf-8", "Title": f"study {study}"}
        return urllib.request.Request(url, words.encode(), headers, method="POST")  # noqa: S310 - `check_url`
    document: dict[str, Any] = {"text": words, "study": study, "event": event}
    if host.endswith(("discord.com", "discordapp.com")) and path.startswith("/api/webhooks"):
        document = {"content": words, "allowed_mentions": {"parse": []}}
    elif host.endswith("slack.com"):
        document = {"text": words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
    return urllib.request.Request(url, json.dumps(document).encode(), headers, method="POST")  # noqa: S310


class Notifier:
    """Sends what happens to a study to an address, in a thread of its own.

    Args:
        say: told once where a message cannot be delivered, without the address.
    """

    def __init__(
        self, url: str, study: Study, plan: Plan, say: Callable[[str], None], *, still: float = STILL_S
    ) -> None:
        self._url, self._study, self._plan, self._say, self._still = url, study, plan, say, still
        self._queue: queue.Queue[tuple[str, str] | None] = queue.Queue()
        self._failed = self._complained = self._stands = False
        self._moved = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)

    def start(self, ended: Iterable[PlannedTrial]) -> None:
        """Begin."""
        self._moved = time.monotonic()
        self._thread.start()

    def changed(self, planned: PlannedTrial, record: Record) -> None:
        """A trial's record has changed."""
        self._moved, self._stands = time.monotonic(), False
        if record.status in NO_RESULT and record.status != "PRUNED" and not self._failed:
            self._failed = True
            where = f"{point_words(planned.point)} seed={planned.seed} fold={planned.fold}"
            self._queue.put(("failure", f"study {self._plan.name}: {record.status} {where}: {record.cause}"))

    def close(self, reason: str = "", seconds: float = _END_S) -> None:
        """Say how it ended, and wait for that to be delivered, but not for ever.

        Args:
            reason: what ended it before its time.
        """
        self._queue.put(("end", self._ended(reason)))
        self._queue.put(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._complain(f"no answer in {seconds:g} s")

    def _ended(self, reason: str) -> str:
        why = f" ({reason})" if reason else ""
        try:
            return self._outcome(why)
        except (UserError, OSError):  # Its tables cannot be read.
            return f"study {self._plan.name} has ended{why}"

    def _outcome(self, why: str) -> str:
        study, plan = self._study, self._plan
        statuses = Counter(study.table("trials.parquet", ["status"])["status"].to_pylist())
        counts = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()) if status in TERMINAL)
        left = plan.total - sum(count for status, count in statuses.items() if status in TERMINAL)
        how = f"stopped with {left} of {plan.total} trials to go" if left else "is over"
        return f"study {plan.name} {how}{why}: {counts or 'no trial has ended'}. {conclude(study, plan).words}"

    def _run(self) -> None:
        while True:
            try:
                message = self._queue.get(timeout=max(0.05, min(self._still / 4, 60.0)))
            except queue.Empty:
                quiet = time.monotonic() - self._moved
                if quiet > self._still and not self._stands:
                    self._stands = True
                    words = f"no trial has said a word for {quiet / 60:.0f} minutes; look at it with mmssl-tune status"
                    self._deliver("still", f"study {self._plan.name} stands still: {words} {self._plan.name}")
                continue
            if message is None:
                return
            self._deliver(*message)

    def _deliver(self, event: str, words: str) -> None:
        request = request_of(self._url, self._plan.name, event, words)
        trouble = ""
        for wait in (*_WAITS_S, None):
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT_S):  # noqa: S310 - `check_url`
                    return
            except urllib.error.HTTPError as error:
                trouble = f"HTTP status {error.code}"
                if error.code < 500 and error.code != http.client.TOO_MANY_REQUESTS:
                    break
            except (OSError, http.client.HTTPException, ValueError) as error:
                # Not in its words: some have the address.
                trouble = type(getattr(error, "reason", None) or error).__name__
            if wait is not None:
                time.sleep(wait)
        self._complain(trouble)

    def _complain(self, trouble: str) -> None:
        if not self._complained:
            self._complained = True
            self._say(f"--notify: a message could not be delivered ({trouble}); the study goes on without")


@contextmanager
def notifying(url: str | None, study: Study, plan: Plan, say: Callable[[str], None]) -> Generator[Notifier | None]:
    """Whoever is told of a study from here to its end, however that comes."""
    if not url:
        yield None
        return
    notifier = Notifier(url, study, plan, say)
    notifier.start([])
    try:
        yield notifier
    except BaseException as error:
        notifier.close(type(error).__name__)
        raise
    notifier.close()
