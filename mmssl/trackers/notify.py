"""Messages to a webhook: when a study is over, when its first trial fails, and when it makes no progress.

They never hold the study up. The address, which is as good as a password, appears in no output.
"""

import http.client
import json
import queue
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from mmssl.errors import UserError
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.study.verdict import conclude
from mmssl.study.words import NO_RESULT, TERMINAL, point_words

STILL_S = 1800.0
"""Seconds without a report from any trial after which a study counts as making no progress."""
_TIMEOUT_S, _WAITS_S = 10.0, (1.0, 4.0, 16.0)
"""Timeout of a request, and the waits before it is tried again."""
_END_S = 20.0
"""Seconds that the end of a study waits for its message."""
_MOST = 1900
"""Characters: Discord takes 2,000."""


def check_url(url: str) -> None:
    """Check that it can be an address.

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
    """A request in the form that the address's host takes: ntfy, Discord, Slack, or JSON for any other."""
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
        say: called at the first message that cannot be delivered, without the address.
    """

    def __init__(
        self, url: str, study: Study, plan: Plan, say: Callable[[str], None], *, still: float = STILL_S
    ) -> None:
        self._url, self._study, self._plan, self._say, self._still = url, study, plan, say, still
        self._queue: queue.Queue[tuple[str, str] | None] = queue.Queue()
        self._failed = self._complained = self._stands = False
        self._moved = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="notify", daemon=True)

    def start(self) -> None:
        """Start the thread."""
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
        """Send how the study ended, and wait at most `seconds` for the delivery.

        Args:
            reason: what interrupted it.
        """
        self._queue.put(("end", self._ended(reason)))
        self._queue.put(None)
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._complain(f"no answer in {seconds:g} s")

    def _ended(self, reason: str) -> str:
        study, plan, why = self._study, self._plan, f" ({reason})" if reason else ""
        try:
            statuses = Counter(study.table("trials.parquet", ["status"])["status"].to_pylist())
            outcome = conclude(study, plan).words
        except (UserError, OSError):  # Its tables cannot be read.
            return f"study {plan.name} has ended{why}"
        ended = {status: count for status, count in sorted(statuses.items()) if status in TERMINAL}
        counts = ", ".join(f"{count} {status}" for status, count in ended.items())
        left = plan.total - sum(ended.values())
        how = f"stopped with {left} of {plan.total} trials to go" if left else "is over"
        return f"study {plan.name} {how}{why}: {counts or 'no trial has ended'}. {outcome}"

    def _run(self) -> None:
        while True:
            try:
                message = self._queue.get(timeout=max(0.05, min(self._still / 4, 60.0)))
            except queue.Empty:
                quiet = time.monotonic() - self._moved
                if quiet > self._still and not self._stands:
                    self._stands = True
                    words = f"no trial has reported for {quiet / 60:.0f} minutes; look at it with mmssl-tune status"
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
                # Not the error's own words: some have the address.
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
    """A notifier from here to the study's end, also where that is an exception; None without an address."""
    if not url:
        yield None
        return
    notifier = Notifier(url, study, plan, say)
    notifier.start()
    try:
        yield notifier
    except BaseException as error:
        notifier.close(type(error).__name__)
        raise
    notifier.close()
