"""The command that shows a study in a browser while it runs."""

import os
import signal
import sys
import threading
import webbrowser
from typing import Annotated

import typer

from mmssl.cli.options import STORAGE, StorageOption, StudyArgument
from mmssl.cli.terminal import say


def dashboard(
    study: StudyArgument = None,
    storage: StorageOption = STORAGE,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. Whoever can reach it sees the study: there are no passwords.", metavar="HOST"
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on. Default: a free one.", metavar="N", min=0, max=65535)
    ] = 0,
    open_browser: Annotated[
        bool | None, typer.Option("--open/--no-open", help="Open a browser. Default: where there is a screen.")
    ] = None,
) -> None:
    """Show a study in optuna-dashboard as it goes on.

    Nothing can be changed there. Needs the extra `dashboard`.

    Example: mmssl-tune dashboard vicreg_grid-utd_mhad-1

    Example: mmssl-tune dashboard --port 8080
    """
    from mmssl.study.lookup import find
    from mmssl.trackers.registry import require

    found = find(storage, study)
    require("dashboard")
    from mmssl.trackers.dashboard import serve

    def ready(url: str) -> None:
        if host not in ("127.0.0.1", "localhost", "::1"):
            say(f"note: whoever reaches {host} from the network can read this study: optuna-dashboard has no passwords")
        say(f"study {found.name}: {url} (Ctrl-C ends it)")
        sys.stdout.flush()
        if _screen() if open_browser is None else open_browser:
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    interrupts: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):  # No exception: pressed twice, it would hit what cleans up.
        signal.signal(number, lambda number, frame: interrupts.append(number))
    serve(found, host, port, ready, goes_on=lambda: not interrupts)


def _screen() -> bool:
    """Whether somebody sits at a terminal beside a screen."""
    shown = sys.platform == "darwin" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return sys.stdout.isatty() and shown
