"""Snapshots of training loops: a killed trial resumes from its snapshot, with the same results to the bit."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor, nn

from mmssl.storage import Storage
from mmssl.training.kept import EPOCHS

SECONDS_VARIABLE = "MMSSL_SNAPSHOT_SECONDS"
# A snapshot is some tens of MB: writing it more often would slow short trials down.
SECONDS_BETWEEN = 30.0
_PLACES = "places"
"""In a snapshot, where its epochs were trained, as JSON."""

Epoch = dict[str, str | int | float]


@dataclass(frozen=True)
class Loop:
    """The state of a training loop, except torch's global random state."""

    modules: Mapping[str, nn.Module]
    optimizer: torch.optim.Optimizer
    generators: Sequence[torch.Generator]

    @property
    def _device(self) -> torch.device:
        return self.optimizer.param_groups[0]["params"][0].device

    def tensors(self) -> dict[str, Tensor]:
        found = {
            f"modules.{part}.{name}": tensor
            for part, module in self.modules.items()
            for name, tensor in module.state_dict().items()
        }
        for index, state in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
        found |= {f"generators.{i}": generator.get_state() for i, generator in enumerate(self.generators)}
        found["random.cpu"] = torch.get_rng_state()
        if self._device.type == "cuda":
            found["random.cuda"] = torch.cuda.get_rng_state(self._device)
        return {name: tensor.detach().cpu().contiguous() for name, tensor in found.items()}

    def fits(self, tensors: Mapping[str, Tensor]) -> bool:
        """Whether the tensors are those of a loop with modules like these."""

        def shapes(found: Mapping[str, Tensor]) -> dict[str, torch.Size]:
            return {
                name: tensor.shape for name, tensor in found.items() if name.startswith(("modules.", "generators."))
            }

        return shapes(tensors) == shapes(self.tensors())

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the state that `tensors` returned."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in under("optimizer.").items():
            index, _, which = name.partition(".")
            state.setdefault(int(index), {})[which] = tensor
        for part, module in self.modules.items():
            module.load_state_dict(under(f"modules.{part}."))
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        for i, generator in enumerate(self.generators):
            generator.set_state(tensors[f"generators.{i}"])
        torch.set_rng_state(tensors["random.cpu"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random.cuda"], self._device)


class Snapshot:
    """The file of one loop.

    Args:
        files: the storage of the file.
        name: its name there.
        seconds_between: seconds at least between two writes; $MMSSL_SNAPSHOT_SECONDS or 30 by default.
        places: where the loop is trained (`environment.computing`); gets where what is restored was trained.
    """

    def __init__(
        self, files: Storage, name: str, seconds_between: float | None = None, places: set[str] | None = None
    ) -> None:
        if seconds_between is None:
            seconds_between = float(os.environ.get(SECONDS_VARIABLE, SECONDS_BETWEEN))
        self._files, self._name, self._seconds = files, name, seconds_between
        self._places = set[str]() if places is None else places
        self._tried = time.monotonic()
        self._kept = False

    def restore(self, loop: Loop) -> list[Epoch]:
        """Restore a loop; a snapshot that is absent, damaged or of another program leaves it as it is.

        Returns:
            The epochs done, none where nothing was restored.
        """
        try:
            tensors = tensors_from_bytes(self._files.read(self._name))
            whole = torch.equal(tensors.pop("sha256"), digest_of(tensors))
            epochs: list[Epoch] = json.loads(tensors.pop(EPOCHS).numpy().tobytes()) if whole else []
            places: list[str] = json.loads(tensors.pop(_PLACES).numpy().tobytes()) if whole else []
        except (FileNotFoundError, SafetensorError, KeyError, ValueError):
            return []
        if not whole or not loop.fits(tensors):
            return []
        loop.restore(tensors)
        self._places.update(places)
        self._kept = True
        return epochs

    def keep(self, loop: Loop, epochs: Sequence[Epoch], *, last: bool) -> None:
        """Write the file if it is due, or after the last epoch if it was ever written.

        Where it cannot be written, training continues: ending now would lose more than a later kill.
        """
        due = time.monotonic() - self._tried >= self._seconds
        if not due and not (last and self._kept):
            return
        tensors = {**loop.tensors(), EPOCHS: _text(list(epochs)), _PLACES: _text(sorted(self._places))}
        with suppress(OSError):
            self._files.write(self._name, tensors_to_bytes({**tensors, "sha256": digest_of(tensors)}))
            self._kept = True
        self._tried = time.monotonic()

    def drop(self) -> None:
        """Remove the file; if that fails, the end of the trial removes it."""
        with suppress(OSError):
            self._files.remove(self._name)


def _text(value: object) -> Tensor:
    """JSON as a tensor."""
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def digest_of(tensors: Mapping[str, Tensor]) -> Tensor:
    """SHA-256 of tensors with their names, as a tensor."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)} ".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


Snapshots = Callable[[str], Snapshot]
"""The snapshot of a loop, by the content id of what it trains."""
