"""JSON files that carry the digest of their own content, so that none is believed that is not as it was written."""

import hashlib
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from mmssl.recipe import explain

_ENTRY = b'"sha256":'
"""Alone in the last line; no other line of such a file begins with a quotation mark."""

Document = TypeVar("Document", bound=BaseModel)


class DamagedError(ValueError):
    """A file is not as it was written; says how that shows."""


def sealed(document: bytes) -> bytes:
    """A JSON object with one more entry at its end: SHA-256 of all that stands before it."""
    before = document.rstrip().removesuffix(b"}").rstrip() + b",\n"
    return before + _ENTRY + b'"%s"}' % hashlib.sha256(before).hexdigest().encode()


def opened(content: bytes) -> bytes:
    """The JSON object that `sealed` was given; files of older versions, which have no digest, as they are.

    Raises:
        DamagedError: the content is not that of its digest.
    """
    whole = content.rstrip()
    before, _, last = whole.rpartition(b"\n")
    if last.startswith(b'"') or _ENTRY in whole[-100:]:
        document = before.removesuffix(b",") + b"}"
        if sealed(document) != whole:
            raise DamagedError("it was changed after it was written: its `sha256` is not that of its content")
        return document
    return content


def read(kind: type[Document], content: bytes) -> Document:
    """A document of a kind, from its file.

    Raises:
        DamagedError: it is no such document, or not as it was written.
    """
    try:
        return kind.model_validate_json(opened(content))
    except ValidationError as error:
        raise DamagedError("; ".join(explain(error))) from error
