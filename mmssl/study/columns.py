"""The columns of a study's tables: each is a row of columns.csv, with its tables, name, type, unit and meaning."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import NamedTuple, get_args

import pyarrow as pa

from mmssl.objectives import OBJECTIVES
from mmssl.recipe import USUAL, Recipe
from mmssl.study.space import Cost

COSTS = get_args(Cost)
"""Columns of what encoders cost."""
PROBE = "probe.accuracy"
"""Name of the score of a linear classifier in the midst of pre-training."""
SCORED = "recordings.validation"
"""Column of how many recordings were scored; SCORED.MODALITY by one alone, where that is another number."""

_TYPES: dict[str, pa.DataType] = {
    "text": pa.string(),
    "texts": pa.list_(pa.string()),
    "yes or no": pa.bool_(),
    "whole": pa.int64(),
    "real": pa.float64(),
    "time": pa.timestamp("us", "UTC"),
}
_KNOB_TYPES: dict[type, str] = {str: "text", bool: "yes or no", int: "whole", float: "real", list: "texts"}
_PROGRAMS = ("mmssl", "python", "torch", "cuda", "cudnn", "ray", "optuna")


class ColumnSpec(NamedTuple):
    """One column, or several that mean the same: MODALITY, KNOB and PROGRAM in a name stand for each of them."""

    name: str
    type: str
    unit: str
    meaning: str
    """A line of Markdown."""

    def fields(self, modalities: Sequence[str] = tuple(USUAL), subsets: Sequence[str] = ()) -> list[pa.Field]:
        """What it is in a table, or what they are.

        Args:
            modalities: of the study's recordings.
            subsets: of them, which have scores of their own.
        """
        if "KNOB" in self.name:
            types = {knob: _KNOB_TYPES[type(value)] for knob, value in Recipe().knobs().items()}
            return [pa.field(self.name.replace("KNOB", knob), _TYPES[kind]) for knob, kind in types.items()]
        scored = subsets if is_score(self.name) or self.name.startswith(f"{SCORED}.") else ()
        for word, names in (("MODALITY", (*modalities, *scored)), ("PROGRAM", _PROGRAMS)):
            if word in self.name:
                return [pa.field(self.name.replace(word, name), _TYPES[self.type]) for name in names]
        return [pa.field(self.name, _TYPES[self.type])]


def _specs(table: str) -> Iterator[ColumnSpec]:
    holding = ", ".join(name for name, loss in OBJECTIVES.items() if loss.holds_scale)
    for row in csv.DictReader(files("mmssl.study").joinpath("columns.csv").read_text("utf-8").splitlines()):
        spec = ColumnSpec(row["column"], row["type"], row["unit"], row["meaning"].replace("HOLDING", holding))
        if table in row["tables"].split():
            yield from _terms(spec) if "TERM" in spec.name else [spec]


def _terms(spec: ColumnSpec) -> Iterator[ColumnSpec]:
    """Each term of the objectives once, with those that have it and what it is there."""
    for term in dict.fromkeys(term for loss in OBJECTIVES.values() for term in loss.terms):
        having = {name: loss.terms[term] for name, loss in OBJECTIVES.items() if term in loss.terms}
        meanings = {meaning: ", ".join(n for n, its in having.items() if its == meaning) for meaning in having.values()}
        meant = "; ".join(f"{names}: {meaning}" for meaning, names in meanings.items())
        yield spec._replace(name=spec.name.replace("TERM", term), meaning=spec.meaning.replace("OBJECTIVES", meant))


def _schema(specs: Iterable[ColumnSpec], modalities: Sequence[str], subsets: Sequence[str]) -> pa.Schema:
    """Of columns for each modality, those of one modality stand together."""
    fields: list[pa.Field] = []
    for _, group in groupby(specs, key=lambda one: (one.name.partition(".")[0], "MODALITY" in one.name)):
        fields += [
            field for alike in zip(*(one.fields(modalities, subsets) for one in group), strict=True) for field in alike
        ]
    return pa.schema(fields)


TABLES = {name: list(_specs(name)) for name in ("trials", "epochs", "predictions")}
KEYS = ("trial_id", "point_id", "seed", "fold")


@cache
def schemas(modalities: Sequence[str] = tuple(USUAL), subsets: Sequence[str] = ()) -> Mapping[str, pa.Schema]:
    """Of the tables by name, in studies of such modalities.

    Args:
        modalities: a tuple of their names.
        subsets: a tuple of those that get a head together.
    """
    return {name: _schema(specs, modalities, subsets) for name, specs in TABLES.items()}


def is_score(column: str) -> bool:
    """Whether a column is of a split's scores: by all modalities together, by each alone, or by a subset."""
    return column.startswith(("val.", "test."))
