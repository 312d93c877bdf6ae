"""A study in optuna-dashboard: a copy of what Optuna knows of it, which follows the study and is only read."""

import json
import socket
import socketserver
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import optuna
from optuna.trial import TrialState
from optuna_dashboard import save_note, wsgi
from sqlalchemy.exc import SQLAlchemyError

from mmssl.errors import UserError
from mmssl.study.folder import OPTUNA, Study
from mmssl.study.plan import Plan
from mmssl.trackers.optuna_study import OptunaStudy, explained, measured, storage_in

_SECONDS = 2.0
"""Between two looks at whether the study has gone on."""
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Copy:
    """A study's Optuna database in a file of this process's own.

    optuna-dashboard writes where it is asked to, and whoever reads a SQLite file for long holds up its writer: neither
    may happen to the file of the driver.

    Args:
        folder: for the copy, and what is made on the way.
    """

    def __init__(self, study: Study, plan: Plan, folder: Path) -> None:
        self._study, self._plan, self._fresh = study, plan, folder / "fresh.db"
        self._seen: object = None
        self.path = folder / "copy.db"

    def refresh(self) -> None:
        """Copy the study's database again, if it has changed; one that cannot be read is made of the records."""
        running = self._study.in_use()
        seen = (running, self._study.files.modified([OPTUNA]).get(OPTUNA))
        if seen == self._seen:
            return
        self._fresh.unlink(missing_ok=True)
        try:
            self._fetch()
            self._complete(running)
        except (OSError, sqlite3.Error, SQLAlchemyError, KeyError, RuntimeError):
            if self.path.exists() and running:
                return  # Caught in the middle of a change; what is shown stays till the next look.
            self._fresh.unlink(missing_ok=True)
            OptunaStudy(self._fresh, self._plan, self._study.records(self._plan)).settle()
            self._complete(running)
        _copy(self._fresh, self.path)
        self._seen = seen

    def follow(self, stop: threading.Event) -> None:
        """Refresh it again and again."""
        while not stop.wait(_SECONDS):
            with suppress(OSError, sqlite3.Error, SQLAlchemyError, UserError):  # It will be there at the next look.
                self.refresh()

    def _fetch(self) -> None:
        if self._study.files.local is None:
            self._fresh.write_bytes(self._study.files.read(OPTUNA))
        else:
            _copy(self._study.files.local / OPTUNA, self._fresh)

    def _complete(self, running: bool) -> None:
        """Say what is to be known of it, and that nothing runs where no process runs the study."""
        storage = storage_in(self._fresh)
        try:
            study = optuna.load_study(study_name=self._plan.name, storage=storage)
            if not running:
                for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
                    storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)  # pyright: ignore[reportPrivateUsage]
            save_note(study, _note(self._plan))
        finally:
            storage.engine.dispose()


def serve(study: Study, host: str, port: int, ready: Callable[[str], None], goes_on: Callable[[], bool]) -> None:
    """Serve a study's dashboard.

    Args:
        port: 0 for one that is free.
        ready: told the address when it answers.
        goes_on: asked now and then whether it is still wanted.

    Raises:
        UserError: nothing can listen there.
    """
    plan = study.plan()
    with tempfile.TemporaryDirectory(prefix="mmssl-", ignore_cleanup_errors=True) as folder:
        copy = Copy(study, plan, Path(folder))
        copy.refresh()
        storage = storage_in(copy.path)
        number = storage.get_study_id_from_name(plan.name)
        app = _reading_only(wsgi(storage), _LOOPBACK if host in _LOOPBACK else None)
        try:
            server = _Server(host, port)
        except OSError as error:
            raise UserError(
                f"--host {host} --port {port}: nothing can listen there ({error.strerror or error}); give another "
                "port, or none for a free one"
            ) from error
        stop = threading.Event()
        following = threading.Thread(target=copy.follow, args=(stop,), daemon=True)
        with server:
            server.set_app(app)
            following.start()
            shown = f"[{host}]" if ":" in host else host
            ready(f"http://{shown}:{server.server_port}/dashboard/studies/{number}")
            try:
                while goes_on():
                    server.handle_request()
            finally:
                stop.set()
                following.join()
                storage.engine.dispose()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line for every request is nobody's business."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True
    timeout = 0.2

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Quiet)

    def server_bind(self) -> None:
        """As the parent's, which asks the network for the machine's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


def _reading_only(app: Any, hosts: Iterable[str] | None) -> Any:
    """Refuse whatever would change something, and where names are given whoever asks for another host.

    A page of the web could else have its own name lead here, and read what a browser on this machine may.
    """

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        name = environ.get("HTTP_HOST", "").rpartition(":")[0] or environ.get("HTTP_HOST", "")
        environ.setdefault("HTTP_ACCEPT_ENCODING", "identity")  # optuna-dashboard takes it for granted.
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            reason = "this is a copy of the study, to be read only"
        elif hosts is not None and name.strip("[]") not in hosts:
            reason = "not served under this name"
        else:
            return app(environ, start)
        body = json.dumps({"reason": reason}).encode()
        start("403 Forbidden", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    return answer


def _copy(source: Path, target: Path) -> None:
    """Copy a SQLite file as it is between two changes; whoever reads the target sees its old content or the new."""
    with (
        closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=1)) as read,
        closing(sqlite3.connect(target, timeout=10)) as written,
    ):
        read.backup(written)


def _note(plan: Plan) -> str:
    lines = [
        f"**{plan.size()}**; a copy, to be read only.",
        f"The objective is `{plan.space.scored}`: {explained(plan.space.scored)}. The best trial is no more than the "
        "luckiest: `mmssl-tune results` has the points' means over all seeds and folds, `mmssl-tune best` says which "
        "are tied with the best.",
        f"Intermediate values are `{measured(plan)}` by epoch of pre-training (of `train.rankme` the first 20 epochs "
        "and every tenth; all are in `epochs.parquet`). The loss is not shown: its scale is what lambda and mu are.",
    ]
    if len(plan.bases) > 1:
        lines.append("Ranks of different systems cannot be compared.")
    return "\n\n".join(lines)
