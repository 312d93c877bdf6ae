"""How a study is shown while it runs: a picture that is kept up to date on a terminal, elsewhere a line a trial."""

import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from mmssl.cli.drawing import ORDERS, ViewOptions, draw
from mmssl.cli.keys import keys
from mmssl.cli.terminal import say
from mmssl.study.overview import LiveMap, RunningTrial, View
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.words import TERMINAL, percent, point_words

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from mmssl.study.record import Record

# How often the terminal's size is looked at, and how often the picture is drawn anew at most.
_SECONDS_TO_LOOK, _SECONDS_TO_DRAW = 0.1, 0.4


def takes_pictures(console: "Console") -> bool:
    """Whether a console is a terminal in front of somebody: not a pipe, not a log of continuous integration."""
    setting = os.environ.get("CI", "").lower()
    return console.file.isatty() and console.is_interactive and setting in ("", "0", "false")


class LiveScreen:
    """A study on a console, from `with` to its end.

    Args:
        console: reaches the terminal whatever happens to standard output meanwhile.
        state: a word on the study's status, shown beside its name.
        since: when it was begun; None where it does not run.
        stopping: gives the line that is printed as soon as the end is requested, from the trials that run.
        untrained: what untrained encoders score, around which the map is shaded.
        keyed: keys change what is shown, where standard input is a terminal.
    """

    def __init__(
        self,
        console: "Console",
        plan: Plan,
        state: str,
        since: datetime | None = None,
        stopping: Callable[[Sequence[RunningTrial]], str] | None = None,
        untrained: float | None = None,
        *,
        keyed: bool = False,
    ) -> None:
        self.state = state
        self.quit = False
        """Whether a key requested the end, which comes as Ctrl-C does."""
        self._options = ViewOptions()
        self._keys = keys(self._pressed) if keyed else nullcontext(False)
        self._keyed = False
        self._held: tuple[View, float | None] | None = None
        self.live_map = LiveMap(plan, since, untrained)
        self._console, self._plan = console, plan
        self._since = since
        self._live: Live | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._size = (0, 0)
        self._pressed_last = 0.0
        self._signals = _Signals(partial(self._say_stopping, stopping)) if stopping else nullcontext()
        self._stops = False

    def __enter__(self) -> Self:
        self._signals.__enter__()
        if takes_pictures(self._console):
            from rich.live import Live

            self._keyed = self._keys.__enter__()
            # What Ray prints meanwhile belongs in the log, not above the picture.
            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            with suppress(OSError):
                self._draw()
                self._live.start()
                self._console.show_cursor()  # Until somebody listens for SIGTERM, which would leave it hidden.
            self._thread = threading.Thread(target=self._keep_up, name="picture", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _say_stopping(self, words: Callable[[Sequence[RunningTrial]], str]) -> None:
        self._stops, self.state = True, "stopping"
        self._print(words(self.live_map.view().running))

    def add_ended(self, records: "Collection[Record]") -> None:
        """Take in trials that had ended before."""
        if self._live:
            with suppress(OSError):
                self._console.show_cursor(False)
        self.live_map.add_ended(records)

    def put(self, planned: PlannedTrial, record: "Record") -> None:
        """Take in the newest state of a trial."""
        self.state = "stopping" if self._stops else ""
        self.live_map.put(planned, record)
        never_begun = record.status == "PRUNED" and record.started == record.finished
        if not self._live and record.status in TERMINAL and not never_begun:
            metric = self._plan.space.scored
            score = record.facts.get(metric)
            result = f"{metric} {percent(score)} %" if score is not None else record.cause
            where = f"{point_words(planned.point)} seed={planned.seed} fold={planned.fold}"
            self._print(f"{self.live_map.ended}/{self._plan.most} {where}: {record.status} {result}")

    def note(self, line: str) -> None:
        """Say what the user should know, above the picture."""
        self._print(f"note: {line}")

    def _print(self, line: str) -> None:
        # A terminal that is gone is no reason to end a study.
        with suppress(OSError):
            say(line, console=self._console)

    def stop(self) -> None:
        """Leave the last picture on the screen, and the terminal as it was before."""
        self._signals.__exit__(None, None, None)
        live, self._live = self._live, None
        self._ended.set()
        if live is None:
            return
        try:
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join(5)
            with suppress(OSError):
                live.update(self._picture(), refresh=False)
                live.stop()
        finally:
            if self._keyed:
                self._keys.__exit__(None, None, None)
            with suppress(OSError):
                self._console.show_cursor()
                self._console.file.flush()

    def _pressed(self, key: str) -> None:
        options = self._options
        match key.lower():
            case "q":
                self.quit = True
                os.kill(os.getpid(), signal.SIGINT)
            case "p":
                options.paused = not options.paused
                self._held = self._seen() if options.paused else None
            case "s":
                names = list(ORDERS)
                options.order = names[(names.index(options.order) + 1) % len(names)]
            case "m":
                options.ranked = not options.ranked
            case "a":
                options.alone = ""
            case "c":
                running = [trial.trial_id for trial in self._seen()[0].running]
                at = running.index(options.alone) + 1 if options.alone in running else 0
                options.alone = running[at % len(running)] if running else ""
            case _:
                return
        self._pressed_last = time.monotonic()

    def _seen(self) -> "tuple[View, float | None]":
        """What is shown: the study as it is, or as it was when the picture was held; and for how long it has run."""
        since = (datetime.now(UTC) - self._since).total_seconds() if self._since else None
        return self._held or (self.live_map.view(), since)

    def _keep_up(self) -> None:
        drawn: Any = None
        at = 0.0
        # A terminal that is gone ends this thread, and nothing else.
        with suppress(OSError):
            while not self._ended.wait(_SECONDS_TO_LOOK):
                now = time.monotonic()
                state = (self.live_map.changes, self.state, int(now))
                pressed = self._pressed_last >= at
                if self._fits() and not pressed and (state == drawn or now - at < _SECONDS_TO_DRAW):
                    continue
                self._draw()
                drawn, at = state, now

    def _fits(self) -> bool:
        return _size(self._console) == self._size

    def _draw(self) -> None:
        live = self._live
        if live is None:
            return
        if self._size != (0, 0) and not self._fits():
            # A terminal wraps and moves what stands there when its size changes: begin on a clean one.
            self._console.clear()
        live.update(self._picture(), refresh=live.is_started)

    def _picture(self) -> Any:
        width, height = self._size = _size(self._console)
        self._console.size = (width, height)
        if self._ended.is_set():
            self._held, self._options = None, ViewOptions()
        view, seconds = self._seen()
        return draw(
            view,
            width,
            height - 1,
            state=self.state or ("paused" if self._held else ""),
            seconds=seconds,
            fancy=self._console.encoding.startswith("utf"),
            options=self._options if self._keyed and not self._ended.is_set() else None,
        )


class _Signals:
    """Hears of Ctrl-C and SIGTERM in a thread of its own, whoever handles them and whatever the first one does."""

    def __init__(self, heard: Callable[[], None]) -> None:
        self._heard = heard
        self._thread: threading.Thread | None = None
        self._ours, self._theirs = -1, -1
        self._before = -1

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        self._ours, self._theirs = os.pipe()
        os.set_blocking(self._theirs, False)
        self._before = signal.set_wakeup_fd(self._theirs, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        thread, self._thread = self._thread, None
        if thread is None or threading.current_thread() is not threading.main_thread():
            return
        signal.set_wakeup_fd(self._before)
        os.write(self._theirs, _NO_MORE)
        thread.join(5)
        os.close(self._ours)
        os.close(self._theirs)

    def _listen(self) -> None:
        reported = False
        while (number := os.read(self._ours, 1)) not in (_NO_MORE, b""):
            if not reported and number[0] in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                reported = True
                self._heard()


_NO_MORE = b"\0"
"""No signal's number."""


def _size(console: "Console") -> tuple[int, int]:
    """Columns and lines of the console's own terminal; rich would ask standard output, which may be a file now."""
    width, height = os.get_terminal_size(console.file.fileno())
    return width or 80, height or 24
