"""Recordings at equal length, ready for training."""

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

from mmssl.data.description import Description, Row
from mmssl.data.recordings import Array, Recordings
from mmssl.data.stored import IN_MEMORY
from mmssl.errors import UserError
from mmssl.files import written_beside
from mmssl.training.preparation import Standardisation, prepare_some, prepared_blocks
from mmssl.version import code_digest

if TYPE_CHECKING:
    from mmssl.training.model import Model
    from mmssl.training.selection import Recorded

CACHE_VARIABLE = "MMSSL_CACHE"
_SECONDS_BETWEEN_WORDS = 20.0
_DAYS_KEPT = 30
"""Days since a study last used a file."""
_AT_ONCE = 16_384
"""Recordings at a time, for statistics."""


@dataclass(frozen=True)
class Prepared:
    """Recordings at equal length: made once per study, read by every trial.

    If they are larger than `IN_MEMORY`, they are kept in a file that all processes of a machine share as a memory map.
    Such arrays are pickled as the file's name.
    """

    description: Description
    fingerprint: str
    """Of the recordings."""
    rows: Sequence[Row]
    labels: npt.NDArray[np.int64]
    """Class index of each recording, (recordings,)."""
    inputs: Mapping[str, Array]
    """By modality, (recordings, steps, ...); all NaN where a recording lacks it, so that its use is noticed."""
    has: Mapping[str, npt.NDArray[np.bool_]]
    """By modality, which recordings have it, (recordings,)."""

    @classmethod
    def of(
        cls,
        recordings: Recordings,
        steps: int,
        modalities: Sequence[str],
        say: Callable[[str], None] = lambda line: None,
    ) -> "Prepared":
        """Prepare some modalities, or take them from the files of an earlier study.

        Args:
            say: called with the progress where that takes long.

        Raises:
            UserError: no recording has a modality, or the disk has no room for a file.
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
        """The same, pickled by content: for other machines, which lack its files."""
        return replace(self, inputs={name: np.asarray(array) for name, array in self.inputs.items()})

    def __getstate__(self) -> dict[str, Any]:
        files = {name: array.filename for name, array in self.inputs.items() if isinstance(array, np.memmap)}
        return {**vars(self), "inputs": {**self.inputs, **files}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        inputs: Mapping[str, Any] = state["inputs"]
        files = {name: _mapped(one) for name, one in inputs.items() if isinstance(one, str | Path)}
        vars(self).update(state, inputs={**inputs, **files})

    def units(self, rows: npt.NDArray[np.int64]) -> int:
        """How many independent recordings, as `Row.unit` counts them."""
        return len({self.rows[i].unit for i in rows})

    def standardisation(self, modality: str, rows: npt.NDArray[np.int64]) -> Standardisation:
        """A signal's mean and standard deviation over some recordings, which must have it."""
        array = self.inputs[modality]
        parts = np.split(rows, range(_AT_ONCE, len(rows), _AT_ONCE))
        return Standardisation.fit_parts(array[part] for part in parts)

    def selected(self, model: "Model", rows: npt.NDArray[np.int64]) -> "dict[str, Recorded]":
        """Some recordings as inputs of the model's encoders.

        Raises:
            ValueError: a recording lacks a modality.
        """
        for name in model.recipe.data.modalities:
            if not self.has[name][rows].all():
                raise ValueError(f"a recording has no {name}, which the encoders take")
        return self.padded(model, rows)

    def padded(self, model: "Model", rows: npt.NDArray[np.int64]) -> "dict[str, Recorded]":
        """Likewise, all NaN where a recording lacks a modality: for callers that use `has`."""
        from mmssl.training.selection import Selection  # It loads torch, which preparing does without.

        every = {
            name: Selection(self.inputs[name], rows, model.standardisations.get(name), model.device)
            for name in model.recipe.data.modalities
        }
        if sum(one.nbytes for one in every.values()) > IN_MEMORY:
            return {**every}
        return {name: one.all() for name, one in every.items()}


def _kept(recordings: Recordings, steps: int, modality: str, say: Callable[[str], None]) -> Array:
    """One modality, prepared, from its file; the file is made the first time, and again where it is damaged.

    Raises:
        UserError: the file cannot be written.
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
    """Whether a file is there and undamaged: a flipped bit would go unnoticed in training."""
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
        os.utime(path)  # Marks it as used: files that are unused for long are removed.
    return np.load(path, mmap_mode="r", allow_pickle=False)


def cache_folder() -> Path:
    """The folder of prepared recordings that are too large for memory: $MMSSL_CACHE, or the operating system's folder
    for caches. Its files may be removed while no study runs."""
    from platformdirs import user_cache_path

    given = os.environ.get(CACHE_VARIABLE)
    return Path(given).expanduser() if given else user_cache_path("mmssl-tune", appauthor=False)
