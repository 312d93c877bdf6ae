"""Locks for places that have none of their own."""

import os
import random
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import ClassVar

LEASE_VARIABLE = "MMSSL_LEASE_SECONDS"
LEASE = 30.0
"""Seconds after which a lease, no more renewed by its holder, is another's to take."""
Still = Callable[[], None]
"""Raises OSError where a lock that was taken has been lost meanwhile."""


class HeldError(Exception):
    """A lock is another process's."""


class Leased(ABC):
    """Locks of a place that has none of its own: leases.

    Whoever wants a lock writes a claim of its own and then lists all claims. The place shows every claim that was
    written before, so that of two at the same time one sees the other at least, and gives way. The holder writes its
    claim again and again; one that has not been written for `LEASE` seconds by the place's own clock is nobody's.
    """

    _doubt: ClassVar[float] = 0.0
    """For which part of a lease a claim that looks dead is watched, until it is taken for that."""

    @abstractmethod
    def place(self, name: str = "") -> str: ...
    @abstractmethod
    def write(self, name: str, content: bytes) -> None: ...
    @abstractmethod
    def exists(self, name: str) -> bool: ...
    @abstractmethod
    def remove(self, name: str) -> None: ...
    @abstractmethod
    def _times(self, under: str) -> dict[str, float]:
        """When the files below one of its folders were last written, by the place's clock."""

    @abstractmethod
    def _now(self, name: str) -> float:
        """That clock's time; a file of such a name may be written to read it."""

    @contextmanager
    def _lease(self, name: str, *, wait: bool) -> Generator[Still]:
        claim = self._claim(name, wait=wait)
        lost, done = threading.Event(), threading.Event()

        def renew() -> None:
            while not done.wait(_lease() / 6):
                with suppress(OSError):  # As long as the place is away, nobody takes the lock over either.
                    if not self.exists(claim):
                        lost.set()
                        return
                    self.write(claim, b"held")

        def still() -> None:
            if lost.is_set():
                raise OSError(f"{self.place(name)}: not renewed for {_lease():g} s, and taken by another process")

        renewing = threading.Thread(target=renew, daemon=True)
        renewing.start()
        try:
            yield still
        finally:
            done.set()
            renewing.join()
            with suppress(OSError):
                self.remove(claim)

    def _leased(self, name: str) -> bool:
        claims = self._times(name)
        if not claims:
            return False
        now = self._now(name)
        return any(now - moment <= _lease() for moment in claims.values())

    def _claim(self, name: str, *, wait: bool) -> str:
        seen: dict[str, tuple[float, float]] = {}
        while True:
            # A new one each time: a claim that is seen to be renewed is a holder's.
            mine = f"{name}/{uuid.uuid4().hex}"
            self.write(mine, b"asked")
            claims = self._times(name)
            now = claims.pop(mine, None)
            live: list[str] = []
            for claim, moment in claims.items():
                first, since = seen.setdefault(claim, (moment, time.monotonic()))
                watched = time.monotonic() - since
                if now is None or moment > first or now - moment <= _lease() or watched < self._doubt * _lease():
                    live.append(claim)
                else:
                    self.remove(claim)
            if now is not None and not live:
                return mine
            self.remove(mine)
            if not wait and any(claims[claim] > seen[claim][0] for claim in live):
                raise HeldError(self.place(name))
            time.sleep(random.uniform(0.2, 1))  # noqa: S311 - chance, not a secret


def _lease() -> float:
    return float(os.environ.get(LEASE_VARIABLE, LEASE))
