"""Recordings at equal length, as training takes them."""

import hashlib
import io
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mmssl.data.recordings import Array, Description, Recordings, Row
from mmssl.data.stored import IN_MEMORY
from mmssl.errors import UserError
from mmssl.storage import written_beside
from mmssl.training.preparation import Standardisation, prepare_some, prepared_blocks
from mmssl.version import code_digest

if TYPE_CHECKING:
    from mmssl.training.model import Model
    from mmssl.training.selection import Recorded

CACHE_VARIABLE = "MMSSL_CACHE"
_SECONDS_BETWEEN_WORDS = 20.0
_DAYS_KEPT = 30
"""Since a study last used what is kept."""
_AT_ONCE = 16_384
"""Recordings that statistics are taken of at a time."""


@dataclass(frozen=True)
class Prepared:
    """Recordings at equal length: made once per study, read by every trial.

    What is larger than `IN_MEMORY` lies in a file that all processes of a machine map into memory: the pages are there
    once, however many read them. Such arrays are pickled as the file's name.
    """

    description: Description
    fingerprint: str
    """Of the recordings."""
    rows: Sequence[Row]
    labels: npt.NDArray[np.int64]
    """Class index of each recording, (recordings,)."""
    inputs: Mapping[str, Array]
    """By modality, (recordings, steps, ...); NaN throughout where a recording lacks it, so that no such number passes
    unnoticed."""
    has: Mapping[str, npt.NDArray[np.bool_]]
    """By modality whether each recording has it, (recordings,)."""

    @classmethod
    def of(
        cls,
        recordings: Recordings,
        steps: int,
        modalities: Sequence[str],
        say: Callable[[str], None] = lambda line: None,
    ) -> "Prepared":
        """Prepare some modalities, or take them from what an earlier study kept.

        Args:
            say: called with how far it is, where that takes long.

        Raises:
            UserError: no recording has a modality, or no room is left for what has to be kept in a file.
        """
        one = sum(int(np.prod(recordings.description.modalities[name].shape)) for name in modalities)
        kept = len(recordings) * steps * one * 4 > IN_MEMORY
        inputs = {
            name: _kept(recordings, steps, name, say) if kept else prepare_some(recordings, steps, name)
            for name in modalities
        }
        has = {name: recordings.has[name] for name in modalities}
        return cls(recordings.description, recordings.fingerprint, recordings.rows, recordings.labels, inputs, has)

    def in_memory(self) -> "Prepared":
        """The same for other machines, which lack its files: pickled by content."""
        return replace(self, inputs={name: np.asarray(array) for name, array in self.inputs.items()})

    def __getstate__(self) -> dict[str, Any]:
        files = {name: array.filename for name, array in self.inputs.items() if isinstance(array, np.memmap)}
        return {**vars(self), "inputs": {**self.inputs, **files}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        inputs: Mapping[str, Any] = state["inputs"]
        files = {name: _mapped(one) for name, one in inputs.items() if isinstance(one, str | Path)}
        vars(self).update(state, inputs={**inputs, **files})

    def units(self, rows: npt.NDArray[np.int64]) -> int:
        """How many independent recordings some are: windows of one annotated interval count once."""
        return len({self.rows[i].unit for i in rows})

    def standardisation(self, modality: str, rows: npt.NDArray[np.int64]) -> Standardisation:
        """Of a signal, over some recordings, which have it."""
        array = self.inputs[modality]
        parts = np.split(rows, range(_AT_ONCE, len(rows), _AT_ONCE))
        return Standardisation.fit_parts(array[part] for part in parts)

    def selected(self, model: "Model", rows: npt.NDArray[np.int64]) -> "dict[str, Recorded]":
        """Some recordings as the model's encoders take them.

        Raises:
            ValueError: one lacks a modality.
        """
        for name in model.recipe.data.modalities:
            if not self.has[name][rows].all():
                raise ValueError(f"a recording without {name} is given to encoders of it")
        return self.padded(model, rows)

    def padded(self, model: "Model", rows: npt.NDArray[np.int64]) -> "dict[str, Recorded]":
        """Some recordings as the encoders take them, NaN throughout where one lacks a modality: for users of `has`."""
        from mmssl.training.selection import Selection  # With torch, which preparing does without.

        every = {
            name: Selection(self.inputs[name], rows, model.standardisations.get(name), model.device)
            for name in model.recipe.data.modalities
        }
        if sum(one.nbytes for one in every.values()) > IN_MEMORY:
            return {**every}
        return {name: one.all() for name, one in every.items()}


def _kept(recordings: Recordings, steps: int, modality: str, say: Callable[[str], None]) -> Array:
    """One modality, prepared, from the file that keeps it; made the first time, and where the file is damaged.

    Raises:
        UserError: there is no room for it.
    """
    facts = [recordings.fingerprint, modality, str(steps), code_digest("mmssl.training.preparation")]
    path = cache_folder() / f"{hashlib.sha256(' '.join(facts).encode()).hexdigest()[:32]}.npy"
    try:
        if not _is_whole(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _keep(path, recordings, steps, modality, say)
        return _mapped(path)
    except OSError as error:
        raise UserError(
            f"{path}: the prepared recordings cannot be kept ({error.strerror}); "
            f"set {CACHE_VARIABLE} to a folder with room"
        ) from error


def _is_whole(path: Path) -> bool:
    """Whether a file is there and holds what was written: a bit that has changed since would train unnoticed."""
    seal = _seal(path)
    if not (path.is_file() and seal.is_file()):
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == seal.read_text("utf-8")


def _seal(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _keep(path: Path, recordings: Recordings, steps: int, modality: str, say: Callable[[str], None]) -> None:
    shape = (len(recordings), steps, *recordings.description.modalities[modality].shape)
    for old in path.parent.glob("*.npy"):
        if time.time() - old.stat().st_mtime > _DAYS_KEPT * 86_400:
            old.unlink(missing_ok=True)
            _seal(old).unlink(missing_ok=True)
    size, free = int(np.prod(shape)) * 4, shutil.disk_usage(path.parent).free
    if size > free:
        raise UserError(
            f"{path.parent}: the prepared recordings take {size / 1e9:.1f} GB of {modality}, and {free / 1e9:.1f} GB "
            f"are free; set {CACHE_VARIABLE} to a folder with room"
        )
    say(f"preparing {modality} of {len(recordings)} recordings, once: {size / 1e9:.1f} GB in {path.parent}")
    with written_beside(path) as beside, beside.open("wb") as file:
        start = io.BytesIO()
        np.lib.format.write_array_header_1_0(start, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.write(start.getvalue())
        digest = hashlib.sha256(start.getvalue())
        done, reported = 0, time.monotonic()
        for block in prepared_blocks(recordings, steps, modality):
            content = block.astype("<f4", copy=False).data
            file.write(content)
            digest.update(content)
            done += len(block)
            if time.monotonic() - reported > _SECONDS_BETWEEN_WORDS:
                say(f"prepared {modality} of {done} of {len(recordings)} recordings")
                reported = time.monotonic()
        file.flush()
        os.fsync(file.fileno())
        _seal(path).write_text(digest.hexdigest(), "utf-8")


def _mapped(path: str | Path) -> Array:
    with suppress(OSError):
        os.utime(path)  # In use: what nobody uses for long is removed.
    return np.load(path, mmap_mode="r", allow_pickle=False)


def cache_folder() -> Path:
    """Where prepared recordings are kept that are too large for memory: $MMSSL_CACHE, or where the operating system
    keeps caches; whatever is in it may be removed while no study runs."""
    from platformdirs import user_cache_path

    given = os.environ.get(CACHE_VARIABLE)
    return Path(given).expanduser() if given else user_cache_path("mmssl-tune", appauthor=False)
