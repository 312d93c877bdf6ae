"""Names of kept trainings and the epochs of their snapshots, without torch."""

import json
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from safetensors import SafetensorError, safe_open

from mmssl.recipe import Recipe
from mmssl.version import code_digest

EPOCHS = "epochs"
"""In a snapshot, the epochs done, as JSON."""


def pretraining_name(recipe: Recipe, fingerprint: str) -> str:
    """A pre-training's id: the same where recipe (except fine-tuning), data and code are the same.

    Args:
        fingerprint: of the recordings.
    """
    return recipe.pretraining_id(fingerprint, _code_version())


def trial_name(recipe: Recipe, fingerprint: str) -> str:
    """The id of all that one trial trains: likewise, but with fine-tuning."""
    return recipe.content_id(fingerprint, _code_version())


@cache
def _code_version() -> str:
    """The version of all code that training may run, torch included; one module imports the rest of it."""
    return f"{code_digest('mmssl.training.together')} {version('torch').partition('+')[0]}"


def epochs_in(path: Path) -> int:
    """How many epochs the snapshot in a file has done; 0 where there is none."""
    with suppress(OSError, SafetensorError, ValueError), safe_open(path, "np") as file:
        return len(json.loads(file.get_tensor(EPOCHS).tobytes()))
    return 0
