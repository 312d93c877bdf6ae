"""Studies by their names."""

import re
from pathlib import Path

from mmssl.errors import UserError, nearest
from mmssl.storage import storage_at
from mmssl.study.folder import PLAN, Study, closed


def plain_name(stem: str) -> str:
    """A name that a study can have, made of any words."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).lstrip("._-")[:80] or "study"


def free_name(root: str | Path, stem: str) -> str:
    """A name that no study under `root` has, made of `stem` and the first free number."""
    stem, number = plain_name(stem), 1
    around = storage_at(root)
    around.check()
    taken = set(around.folders())
    while f"{stem}-{number}" in taken:
        number += 1
    return f"{stem}-{number}"


def names(root: str | Path) -> list[str]:
    """The studies under `root`, the one whose plan was made last coming last.

    Raises:
        UserError: `root` is a bucket that is not there, or that may not be read.
    """
    around = storage_at(root)
    around.check()
    plans = around.modified(f"{folder}/{PLAN}" for folder in around.folders())
    return [plan.partition("/")[0] for plan in sorted(plans, key=lambda plan: plans[plan])]


def newest(root: str | Path) -> Study:
    """The study under `root` whose plan was made last."""
    around = storage_at(root)
    there = [name for name in names(root) if around.readable(f"{name}/{PLAN}")]
    if not there:
        raise UserError(
            f"{around.place()}: there is no study here; make one with `mmssl-tune launch`, or say where with --storage"
        )
    return Study(root, there[-1])


def find(root: str | Path, name: str | None) -> Study:
    """The study of that name under `root`, the newest where no name is given.

    Raises:
        UserError: there is none; names those that exist.
    """
    if name is None:
        return newest(root)
    study = Study(root, name)
    if not study.exists():
        around = storage_at(root)
        if name in around.folders() and not around.readable(name):
            raise UserError(closed(study.place))
        there = sorted(names(root))
        hint = nearest(name, there) if there else "there is none at all; say where with --storage"
        raise UserError(f"{storage_at(root).place()}: no study {name}; {hint}")
    return study
