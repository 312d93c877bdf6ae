"""Search for the encoders that multimodal self-supervised learning of human actions gives at its best weights."""

from typing import TYPE_CHECKING, Any

from mmssl.data.recordings import Description, Protocol, Recordings, Row
from mmssl.errors import UserError
from mmssl.recipe import Recipe, preset

if TYPE_CHECKING:
    from mmssl.export import load_encoders
    from mmssl.training import train

__all__ = ["Description", "Protocol", "Recipe", "Recordings", "Row", "UserError", "load_encoders", "preset", "train"]


def __getattr__(name: str) -> Any:
    # These two import torch, for seconds: not before somebody asks.
    if name == "load_encoders":
        from mmssl.export import load_encoders

        return load_encoders
    if name == "train":
        from mmssl.training import train

        return train
    raise AttributeError(f"module 'mmssl' has no attribute {name!r}")
