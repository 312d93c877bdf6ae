"""The best encoders as files that other programs load."""

from mmssl.export.encoders import load_encoders

__all__ = ["load_encoders"]
