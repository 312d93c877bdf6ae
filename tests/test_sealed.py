import hashlib
import json
from collections.abc import Callable

import pytest
from pydantic import BaseModel

from mmssl.sealed import DamagedError, opened, read, sealed


class Loose(BaseModel):
    """Refuses no unknown entries, as `json.loads` does not."""

    name: str
    mu: float = 1.0


@pytest.mark.parametrize("indent", [None, 1])
def test_a_sealed_document_is_json_with_the_digest_of_what_stands_before_it(indent: int | None) -> None:
    document = {"name": 'a"}', "mu": 25.0}
    content = sealed(json.dumps(document, indent=indent).encode())
    before = content[: content.index(b'"sha256"')]
    assert json.loads(content) == document | {"sha256": hashlib.sha256(before).hexdigest()}
    assert json.loads(opened(content)) == document
    assert read(Loose, content + b"\n") == Loose(name='a"}', mu=25.0)


@pytest.mark.parametrize("content", [b'{"name": "a"}', b'{\n "name": "a"\n}\n'])
def test_a_document_without_a_digest_is_read_as_it_is(content: bytes) -> None:
    assert opened(content) == content
    assert read(Loose, content) == Loose(name="a")


@pytest.mark.parametrize("indent", [None, 1])
def test_no_flipped_bit_is_believed(indent: int | None) -> None:
    content = sealed(Loose(name="vicreg", mu=1.0).model_dump_json(indent=indent).encode())
    for place in range(len(content)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            with pytest.raises(DamagedError):
                read(Loose, bytes(flipped))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"\0" * len(content),
        lambda content: json.dumps(json.loads(content)).encode(),
        lambda content: json.dumps(json.loads(content), indent=2).encode(),
        lambda content: content.replace(b"vicreg", b"simclr"),
    ],
)
def test_what_is_cut_off_or_written_anew_is_refused(change: Callable[[bytes], bytes]) -> None:
    content = sealed(Loose(name="vicreg").model_dump_json().encode())
    with pytest.raises(DamagedError):
        read(Loose, change(content))
