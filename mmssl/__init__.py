"""Search for the encoders that multimodal self-supervised learning of human actions gives at its best weights."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmssl.api.studies import OpenStudy, launch, open_study, reproduce
    from mmssl.data.description import Description, Protocol, Row, Signal, Skeleton
    from mmssl.data.recordings import Recordings
    from mmssl.errors import UserError
    from mmssl.export.encoders import load_encoders
    from mmssl.recipe import Recipe
    from mmssl.study.presets import preset
    from mmssl.training.model import Model as Encoders
    from mmssl.training.trial import train

__all__ = [
    "Description",
    "Encoders",
    "OpenStudy",
    "Protocol",
    "Recipe",
    "Recordings",
    "Row",
    "Signal",
    "Skeleton",
    "UserError",
    "launch",
    "load_encoders",
    "open_study",
    "preset",
    "reproduce",
    "train",
]

# Imported at the first use: numpy, pyarrow and torch together take seconds, and `--help` needs none of them.
_HOME = {
    **dict.fromkeys(("OpenStudy", "launch", "open_study", "reproduce"), "mmssl.api.studies"),
    **dict.fromkeys(("Description", "Protocol", "Row", "Signal", "Skeleton"), "mmssl.data.description"),
    "Recordings": "mmssl.data.recordings",
    "Recipe": "mmssl.recipe",
    "preset": "mmssl.study.presets",
    "UserError": "mmssl.errors",
    "load_encoders": "mmssl.export.encoders",
    "train": "mmssl.training.trial",
    "Encoders": "mmssl.training.model",
}
_CALLED = {"Encoders": "Model"}
"""At home."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mmssl' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), _CALLED.get(name, name))
