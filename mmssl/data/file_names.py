"""A table of recordings made from the names of their files."""

import csv
import re
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from mmssl.data.description import Row
from mmssl.errors import UserError, few, nearest

_FIELD = re.compile(r"\{(\w+)(\*?)\}")
_MODALITY = "modality"


class Names(NamedTuple):
    """What the names of files say."""

    text: str
    """A table as recordings.csv is one."""
    faults: list[tuple[str, str]]
    """Files, and what is wrong with their names."""
    notes: list[str]


class _Pattern(NamedTuple):
    text: str
    modality: str
    """Of a pattern without the field, the one that stands before it."""
    strict: re.Pattern[str]
    """Fields hold nothing that divides them, but one with a star."""
    loose: re.Pattern[str]


def table_of(folder: Path, patterns: Sequence[str]) -> Names:
    """A line for each recording that files of a folder are named after.

    Raises:
        UserError: a pattern that cannot be, or no file that fits.
    """
    compiled = [_compiled(pattern) for pattern in patterns]
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    found: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    faults: list[tuple[str, str]] = []
    others: list[str] = []
    for place in files:
        if any(part.startswith(".") for part in place.split("/")):
            continue
        one, match = next(((p, m) for p in compiled if (m := p.strict.fullmatch(place))), (None, None))
        if one is None or match is None:
            odd = next((p for p in compiled if p.loose.fullmatch(place)), None)
            if odd:
                advice = "a star lets one field hold what divides them, as {label*}"
                faults.append((place, f"can be read in several ways as {odd.text}: {advice}"))
            else:
                others.append(place)
            continue
        fields = match.groupdict()
        modality = fields.pop(_MODALITY, one.modality).lower()
        own = found.setdefault(tuple(sorted(fields.items())), {})
        if modality in own:
            faults.append((place, f"{own[modality]} is the {modality} of the same recording"))
        own.setdefault(modality, place)
    if not found:
        some = f"; there are {few(others, 3)}" if others else ""
        raise UserError(f"{folder}: no file is called as --pattern {patterns[0]}{some}")
    return _laid_out(found, faults, others)


def _laid_out(
    found: Mapping[tuple[tuple[str, str], ...], Mapping[str, str]], faults: list[tuple[str, str]], others: list[str]
) -> Names:
    fields = [name for name in Row.model_fields if any(name in dict(key) for key in found)]
    modalities = sorted({modality for own in found.values() for modality in own})
    with_id = "recording_id" in fields
    header = [*([] if with_id else ["recording_id"]), *fields, *modalities]
    rows: list[list[str]] = []
    for key, own in found.items():
        cells = dict(key)
        name = [] if with_id else ["_".join(cells[field] for field in fields)]
        rows.append([*name, *(cells.get(field, "") for field in fields), *(own.get(one, "") for one in modalities)])
    own = {"recordings.csv", "description.yaml"}
    left = [place for place in others if place not in own]
    notes = [f"{len(rows)} recordings by the names of their files: {', '.join(modalities)}"]
    if left:
        notes.append(f"{len(left)} files are not called as the pattern says, the first is {left[0]}")
    text = StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    return Names(text.getvalue(), faults, notes)


def _compiled(given: str) -> _Pattern:
    named = re.fullmatch(r"(\w+)=(.*)", given)
    modality, text = (named[1], named[2]) if named else ("", given)
    fields = [match[1] for match in _FIELD.finditer(text)]
    valid = [*Row.model_fields, _MODALITY]
    for field in fields:
        if field not in valid:
            raise UserError(f"--pattern {given}: {{{field}}} is no field; {nearest(field, valid, most=len(valid))}")
    twice = next((field for field in fields if fields.count(field) > 1), None)
    if twice:
        raise UserError(f"--pattern {given}: {{{twice}}} is there twice")
    if not fields or set(fields) == {_MODALITY}:
        raise UserError(
            f"--pattern {given}: no field tells the recordings apart; write {{subject}}, {{label}}, {{trial}}"
        )
    if (_MODALITY in fields) == bool(modality):
        raise UserError(
            f"--pattern {given}: {{modality}} says which part of a name tells the modality; or name it in front, as "
            "wrist={subject}_{label}_{trial}.csv"
        )
    stars = [match[1] for match in _FIELD.finditer(text) if match[2]]
    if len(stars) > 1:
        raise UserError(f"--pattern {given}: one star is enough, or names can be read in several ways")
    between = [re.escape(part) for part in _FIELD.split(text)[::3]]
    dividers = "".join(sorted(set("".join(_FIELD.split(text)[3:-1:3])) - {"/"}))
    strict = f"[^/{re.escape(dividers)}]+" if dividers else "[^/]+"
    return _Pattern(
        text,
        modality,
        re.compile(_pieced(between, [(field, "[^/]+" if field in stars else strict) for field in fields])),
        re.compile(_pieced(between, [(field, "[^/]+") for field in fields])),
    )


def _pieced(between: Sequence[str], fields: Sequence[tuple[str, str]]) -> str:
    return between[0] + "".join(
        f"(?P<{name}>{what}){after}" for (name, what), after in zip(fields, between[1:], strict=True)
    )
