"""Pre-trained encoders that the trials of a storage share."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress

from mmssl.errors import UserError
from mmssl.storage import Storage

_FOLDER = ".pretrained"
"""Beside the studies; no study can have that name."""
PRETRAINED_VARIABLE = "MMSSL_PRETRAINED_GB"
_GIGABYTES = 5.0
_DIGESTS = "sha256.json"


class Pretrained:
    """Files by content id, beside the studies of a storage.

    Args:
        storage: where studies lie.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def cached(self, name: str, make: Callable[[], Mapping[str, bytes]], *, wait: bool = True) -> Mapping[str, bytes]:
        """Files that trials need, of this study or of another beside it: made by the first that asks for them, while
        the others wait.

        Files that are not as they were written are made again. The oldest make room where all of them together take
        more than $MMSSL_PRETRAINED_GB gigabytes; with 0 none are kept.

        Args:
            name: their content id.
            make: gives the files by name; whatever it raises is raised, and nothing is kept.

        Raises:
            HeldError: another process is making them, and `wait` is False.
        """
        most = most_pretrained()
        if not most:
            return make()
        folder = f"{_FOLDER}/{name}"
        if kept := self._kept(folder):
            return kept
        with ExitStack() as held:
            try:
                held.enter_context(self._storage.lock(f"{folder}/lock", wait=wait))
            except OSError:  # Another user's, as may be where several share a storage: this trial trains for itself.
                return make()
            if kept := self._kept(folder):
                return kept
            made = make()
            with suppress(OSError):  # The trial that has it needs no copy.
                for file in self._storage.names(folder):
                    if not file.startswith(f"{folder}/lock"):
                        self._storage.remove(file)
                for file, content in made.items():
                    self._storage.write(f"{folder}/{file}", content)
                # Written last: without it the others are not taken for whole.
                self._storage.write(f"{folder}/{_DIGESTS}", _digests(made))
        with suppress(OSError):
            self._make_room(most)
        return made

    def _kept(self, folder: str) -> dict[str, bytes]:
        """The files of a folder of what trials need; none where they are not as they were written."""
        kept: dict[str, bytes] = {}
        for name in self._storage.names(folder):
            file = name.removeprefix(f"{folder}/")
            if not file.startswith("lock"):
                with suppress(OSError):  # Another process has just made room, or another user may read it alone.
                    kept[file] = self._storage.read(name)
        return kept if kept.pop(_DIGESTS, b"") == _digests(kept) else {}

    def _make_room(self, most: float) -> None:
        sizes = self._storage.sizes(_FOLDER)
        total = sum(sizes.values())
        if total <= most:
            return
        folders = {"/".join(name.split("/")[:2]) for name in sizes}
        ages = self._storage.modified(name for name in sizes if name.endswith(_DIGESTS))
        # What has no digests is being written by its lock's holder, or was by one that was killed.
        left = [one for one in folders if f"{one}/{_DIGESTS}" not in ages and not self._storage.locked(f"{one}/lock")]
        whole = [name.removesuffix(f"/{_DIGESTS}") for name in sorted(ages, key=lambda name: ages[name])]
        for folder in (*left, *whole):
            self._storage.inside(folder).remove_all()
            total -= sum(size for name, size in sizes.items() if name.startswith(f"{folder}/"))
            if total <= most:
                return


def most_pretrained() -> float:
    """Bytes that the pre-trained encoders of a storage may take; 0 where none are kept.

    Raises:
        UserError: the environment's word for it is no number of gigabytes.
    """
    setting = os.environ.get(PRETRAINED_VARIABLE, str(_GIGABYTES))
    try:
        most = float(setting)
    except ValueError:
        most = -1.0
    if not most >= 0:
        raise UserError(f"${PRETRAINED_VARIABLE} is {setting!r}: give gigabytes, as 5 or 0.5; 0 keeps none")
    return most * 1e9


def _digests(files: Mapping[str, bytes]) -> bytes:
    return json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}).encode()
