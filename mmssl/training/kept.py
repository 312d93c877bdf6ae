"""What is kept of a training, as far as a process without torch needs it: its names, and how far it is."""

import json
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path

from safetensors import SafetensorError, safe_open

from mmssl.recipe import Recipe
from mmssl.version import code_digest

EPOCHS = "epochs"
"""In a snapshot, the epochs that are behind it, as JSON."""


def pretraining_name(recipe: Recipe, fingerprint: str) -> str:
    """What a pre-training is known by: the same where recipe (but for fine-tuning), data and code are the same.

    Args:
        fingerprint: of the recordings.
    """
    return recipe.pretraining_id(fingerprint, _code_version())


def trial_name(recipe: Recipe, fingerprint: str) -> str:
    """As `pretraining_name`, of all that one trial trains."""
    return recipe.content_id(fingerprint, _code_version())


@cache
def _code_version() -> str:
    """Of all code that training may run: of the module that imports the rest of it, and torch's."""
    return f"{code_digest('mmssl.training.together')} {version('torch').partition('+')[0]}"


def epochs_in(path: Path) -> int:
    """How many epochs the snapshot in a file has behind it; 0 where none is there."""
    with suppress(OSError, SafetensorError, ValueError), safe_open(path, "np") as file:
        return len(json.loads(file.get_tensor(EPOCHS).tobytes()))
    return 0
