"""Reports of a running study to trackers, beside its tables, each tracker in a thread of its own.

None of them can hold the study up or make it fail: one that does not keep up, or raises, gets one message and no
further report.
"""

import math
import os
import queue
import re
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from mmssl.study.columns import is_score
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.study.results import CHOOSING, LABEL_FREE
from mmssl.study.words import TERMINAL

_MOST = 10_000
"""Reports that may wait for a tracker; one with more never catches up."""
TRACKER_TIMEOUT_S = 20.0
"""Seconds without a sign of life after which the end of a study waits no longer for a tracker."""
_MEASURES = {name: re.compile(re.escape(LABEL_FREE[name]).replace(r"\{\}", ".+")) for name in CHOOSING}
"""Measures without labels: by name, what matches their columns."""

Epoch = Mapping[str, Any]


class Tracker(Protocol):
    """A program that trials are reported to; after an exception it gets no further report."""

    def has(self, trial_id: str, status: str) -> bool:
        """Whether it has the whole of a trial that has ended so; of one that was tried again, its last end."""
        ...

    def begin(self, planned: PlannedTrial) -> int:
        """A trial begins, for the first time or again; gives how many of its epochs the tracker has already."""
        ...

    def epochs(self, planned: PlannedTrial, before: int, epochs: Sequence[Epoch]) -> None:
        """New epochs of a trial, which had `before` epochs until then."""
        ...

    def end(self, planned: PlannedTrial, record: Record) -> None:
        """A trial has ended; the record has no epochs."""
        ...

    def stop(self) -> None:
        """Nothing more comes; trials that began and did not end were interrupted."""
        ...


class Forwarder:
    """Reports a study's trials to one tracker, in a thread of its own.

    Args:
        make: gives the tracker; called in that thread.
        say: called with a message where the tracker fails.
    """

    def __init__(self, name: str, make: Callable[[], Tracker], study: Study, say: Callable[[str], None]) -> None:
        self._name, self._make, self._study, self._say = name, make, study, say
        self._queue: queue.Queue[tuple[PlannedTrial, list[Epoch], Record | None] | None] = queue.Queue(_MOST)
        self._ended: deque[tuple[PlannedTrial, str]] = deque()
        self._queued: dict[str, int] = {}
        self._broken = False
        self._moved = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, ended: Iterable[tuple[PlannedTrial, str]]) -> None:
        """Start the thread.

        Args:
            ended: trials that had ended before, with their statuses; those that the tracker lacks are reported too.
        """
        self._ended.extend(ended)
        self._thread.start()

    def changed(self, planned: PlannedTrial, record: Record) -> None:
        """A trial's record has changed."""
        if self._broken or record.status == "PLANNED":
            return
        # A trial that is begun again, as its worker died, reports from its first epoch, to the same bits.
        before = self._queued.get(planned.trial_id, 0)
        new = record.epochs[before:]
        self._queued[planned.trial_id] = before + len(new)
        ended = record.status in TERMINAL
        try:
            self._queue.put_nowait((planned, list(new), _without_rows(record) if ended else None))
        except queue.Full:
            self._drop(f"has {_MOST} reports of trials still to take")
        if ended:
            del self._queued[planned.trial_id]

    def close(self) -> None:
        """Wait until the tracker has taken all reports, as long as it takes any at all."""
        self._moved = time.monotonic()
        while not self._broken:
            try:
                self._queue.put(None, timeout=1)
                break
            except queue.Full:
                self._check_life()
        while self._thread.is_alive() and not self._broken:
            self._thread.join(0.1)
            self._check_life()

    def _check_life(self) -> None:
        if time.monotonic() - self._moved > TRACKER_TIMEOUT_S:
            self._drop(f"has not answered for {TRACKER_TIMEOUT_S:g} s")

    def _drop(self, reason: str) -> None:
        if not self._broken:
            self._broken = True
            self._say(f"{self._name} {reason}: it gets no further reports; the study goes on without it")

    def _run(self) -> None:
        try:
            tracker = self._make()
            places: dict[str, tuple[int, int]] = {}
            for planned, epochs, record in self._items():
                if isinstance(epochs, str):
                    if tracker.has(planned.trial_id, epochs):
                        continue
                    kept = self._study.record(planned.trial_id)
                    epochs, record = kept.epochs, _without_rows(kept)
                at, before = places.pop(planned.trial_id, None) or (0, tracker.begin(planned))
                new = epochs[max(0, before - at) :]
                if new:
                    tracker.epochs(planned, max(at, before), new)
                if record:
                    tracker.end(planned, record)
                else:
                    places[planned.trial_id] = at + len(epochs), before
            tracker.stop()
        except BaseException as error:  # Whatever it is, the study goes on.
            self._drop(f"failed ({without_secrets(error)})")

    def _items(self) -> Iterator[tuple[PlannedTrial, Sequence[Epoch] | str, Record | None]]:
        """Reports as they come; while none comes, the trials that had ended before, each with its status."""
        open_end = True
        while not self._broken and (open_end or self._ended):
            self._moved = time.monotonic()
            if self._ended and (self._queue.empty() or not open_end):
                yield *self._ended.popleft(), None
            elif item := self._queue.get():
                yield item
            else:
                open_end = False


class TuneTrial:
    """What Ray's callbacks read of a trial: its name, and as config its recipe and its place in the plan.

    The callbacks are called with records rather than by Tune, which does not know trials that are pruned before they
    begin, and repeats reports.
    """

    def __init__(self, plan: Plan, planned: PlannedTrial) -> None:
        self.trial_id = planned.trial_id
        self.experiment_dir_name = plan.name
        self.config = {**plan.recipe(planned).knobs(), **place_of(plan, planned)}
        self._name = "-".join([planned.point_id[:8], str(planned.seed), planned.fold])

    def __str__(self) -> str:
        return self._name


def place_of(plan: Plan, planned: PlannedTrial) -> dict[str, Any]:
    """A trial's place in its plan: its ids, seed, fold and system."""
    ids = planned.model_dump(include={"trial_id", "point_id", "seed"})
    return {**ids, "fold": planned.fold, "system": plan.system(planned)}


def _without_rows(record: Record) -> Record:
    return record.model_copy(update={"epochs": [], "predictions": []})


def scores(facts: Mapping[str, Any]) -> dict[str, float]:
    """A trial's scores, seconds and measures without labels, where finite; from its facts or its row of the table."""
    found = {name: value for name, value in facts.items() if is_score(name) or name == "seconds.total"}
    for measure, columns in _MEASURES.items():
        if values := [value for name, value in facts.items() if value is not None and columns.fullmatch(name)]:
            found[measure] = statistics.fmean(values)
    return _finite(found)


def numbers(epoch: Epoch) -> dict[str, float]:
    """An epoch's finite numbers by phase and column of `epochs.parquet`."""
    return _finite(
        {f"{epoch['phase']}/{name}": value for name, value in epoch.items() if name not in ("phase", "epoch")}
    )


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    """Without infinities: trackers that rank runs put them first, and others plot nothing any more."""
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}


def without_secrets(error: BaseException) -> str:
    """An error's first line, without what might be a secret."""
    text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    text = re.sub(r"//[^/@\s]*@", "//...@", text)
    for name, value in os.environ.items():
        if re.search("KEY|TOKEN|SECRET|PASSWORD", name) and len(value) >= 8:
            text = text.replace(value, "...")
    return text
