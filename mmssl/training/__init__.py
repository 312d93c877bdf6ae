"""One training run: two encoders pre-trained without labels, and a head trained on few."""

from mmssl.training.trial import train

__all__ = ["train"]
