"""Which code this is: checkouts differ more often than versions."""

import hashlib
import re
from functools import cache
from pathlib import Path

_TOP = Path(__file__).parent
# A syntax tree of each file would take each worker a second.
_IMPORTS = re.compile(rf"\bfrom\s+({_TOP.name}(?:\.\w+)*)\s+import\s+(\([^)]*\)|[^\n]*)")


def code_digest(module: str) -> str:
    """SHA-256 over a module and what of the package it imports, names and contents.

    Args:
        module: `mmssl.training.trial` for example.

    Raises:
        ModuleNotFoundError: there is none; a digest of nothing would be the same for all code.
    """
    files = _imported(module)
    if not files:
        raise ModuleNotFoundError(module)
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.relative_to(_TOP).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def trial_code() -> str:
    """A digest of all code that a trial runs, as it was at the first call: files may change later."""
    return code_digest("mmssl.search.trainable")[:16]


def _imported(module: str) -> set[Path]:
    """Files of a module and of the package's modules that it imports, directly or not, anywhere in its text."""
    found, waiting = set[Path](), [module]
    while waiting:
        place = _TOP.joinpath(*waiting.pop().split(".")[1:])
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if path in found or place == _TOP or not path.is_file():
            continue
        found.add(path)
        for origin, names in _IMPORTS.findall(path.read_text("utf-8")):
            waiting += [origin, *(f"{origin}.{name}" for name in re.findall(r"\w+", names))]
    return found
