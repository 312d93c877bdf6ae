"""A study in optuna-dashboard, refreshed while the study runs, read-only."""

import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from optuna_dashboard import save_note, wsgi

from mmssl.errors import UserError
from mmssl.study.folder import Study
from mmssl.study.plan import Plan
from mmssl.trackers.optuna_study import TABLES, explained, measured, optuna_study

_SECONDS = 2.0
"""Between two refreshes."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class DashboardApp:
    """A study as a WSGI application of optuna-dashboard, made again when the study's tables change."""

    def __init__(self, study: Study, plan: Plan, hosts: Iterable[str] | None) -> None:
        self._study, self._plan, self._hosts = study, plan, hosts
        self._seen: object = None
        self.number = 0
        self.app: Application
        self.refresh()

    def refresh(self) -> None:
        """Read the study's tables again where they have changed.

        Raises:
            UserError: a table is damaged.
        """
        seen = (self._study.in_use(), self._study.files.modified(TABLES))
        if seen == self._seen:
            return
        if self._plan.space.sampled:
            self._plan = self._study.plan()  # It has more points than before.
        made = optuna_study(self._study, self._plan)
        save_note(made, _note(self._plan))
        self.number = made._study_id  # pyright: ignore[reportPrivateUsage]
        self.app = _read_only(wsgi(made._storage), self._hosts)  # pyright: ignore[reportPrivateUsage]
        self._seen = seen

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        return self.app(environ, start)

    def follow(self, stop: threading.Event) -> None:
        """Refresh it until `stop` is set."""
        while not stop.wait(_SECONDS):
            with suppress(OSError, UserError):  # The next refresh may succeed.
                self.refresh()


def serve(study: Study, host: str, port: int, ready: Callable[[str], None], goes_on: Callable[[], bool]) -> None:
    """Serve a study's dashboard.

    Args:
        port: 0 for one that is free.
        ready: called with the address when it answers.
        goes_on: called now and then; False ends it.

    Raises:
        UserError: nothing can listen there, or a table is damaged.
    """
    shown = DashboardApp(study, study.plan(), _LOOPBACK if host in _LOOPBACK else None)
    try:
        server = _Server(host, port)
    except OSError as error:
        raise UserError(
            f"--host {host} --port {port}: nothing can listen there ({error.strerror or error}); give another "
            "port, or none for a free one"
        ) from error
    stop = threading.Event()
    polling = threading.Thread(target=shown.follow, args=(stop,), daemon=True)
    with server:
        server.set_app(shown)
        polling.start()
        name = f"[{host}]" if ":" in host else host
        ready(f"http://{name}:{server.server_port}/dashboard/studies/{shown.number}")
        try:
            while goes_on():
                server.handle_request()
        finally:
            stop.set()
            polling.join()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """No line for each request."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    timeout = 0.2

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Quiet)

    def server_bind(self) -> None:
        """Bind without the parent's look-up of the machine's name in the network."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


def _read_only(app: Any, hosts: Iterable[str] | None) -> Application:
    """Refuse requests that would change something, and those for a host that is not among `hosts`, where given.

    Otherwise a web page could point its own name here (DNS rebinding) and read what this machine's browser may.
    """

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        name = environ.get("HTTP_HOST", "").rpartition(":")[0] or environ.get("HTTP_HOST", "")
        environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")  # optuna-dashboard takes it for granted.
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            reason = "the study is shown to be read only"
        elif hosts is not None and name.strip("[]") not in hosts:
            reason = "not served under this name"
        else:
            return app(environ, start)
        body = json.dumps({"reason": reason}).encode()
        start("403 Forbidden", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return answer


def _note(plan: Plan) -> str:
    lines = [
        f"**{plan.size()}**; to be read only.",
        f"The objective is `{plan.space.scored}`: {explained(plan.space.scored)}. The best trial is no more than the "
        "luckiest: `mmssl-tune results` has the points' means over all seeds and folds, `mmssl-tune best` says which "
        "are tied with the best.",
        f"Intermediate values are `{measured(plan)}` by epoch of pre-training (of `train.rankme` the first 20 epochs "
        "and every tenth; all are in `epochs.parquet`). The loss is not shown: its scale is what lambda and mu are.",
    ]
    if len(plan.bases) > 1:
        lines.append("Ranks of different systems cannot be compared.")
    return "\n\n".join(lines)
