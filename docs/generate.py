"""Write docs/reference/ from the code: `python3 start.py run python docs/generate.py`."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from typer.main import get_command

from mmssl import cli
from mmssl.data.sources import READERS
from mmssl.knobs import MOST
from mmssl.objectives import OBJECTIVES
from mmssl.recipe import USUAL, Recipe
from mmssl.study.columns import TABLES, ColumnSpec
from mmssl.study.json_schema import knob_schemas, space_schema
from mmssl.study.presets import SYSTEMS, RecipeName, preset
from mmssl.study.space import Prune, Range, Space

FOLDER = Path(__file__).resolve().parent / "reference"
COMMAND = "python3 start.py run python docs/generate.py"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


def pages() -> dict[str, str]:
    """The text of every page, by the name of its file."""
    return {"cli.md": _cli(), "spaces.md": _spaces(), "tables.md": _tables()}


def _page(title: str, *parts: str) -> str:
    made = f"<!-- Made from the code: change it there, then `{COMMAND}`. -->"
    return "\n\n".join([f"# {title}", made, *(part.strip() for part in parts)]) + "\n"


def _table(header: list[str], rows: Iterable[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# Commands


def _cli() -> str:
    top: Any = get_command(cli.app)
    commands = dict(_commands(top, "mmssl-tune "))
    return _page(
        "Commands",
        _first_line(top.help),
        top.epilog,
        _table(
            ["command", ""],
            [[f"[`{name}`](#{name.replace(' ', '-')})", _first_line(one.help)] for name, one in commands.items()],
        ),
        *(part for name, one in commands.items() for part in _command(name, one)),
        "## `mmssl-tune` itself",
        _options(top, top.params),
    )


def _commands(group: Any, before: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _command(name: str, command: Any) -> Iterator[str]:
    text, *examples = command.help.split("\n\nExample: ")
    yield f"## `{name}`"
    yield " ".join(text.split())
    context = typer.Context(command)
    yield f"```sh\n{name} {' '.join(command.collect_usage_pieces(context))}\n{chr(10).join(examples)}\n```"
    if command.params:
        yield _options(command, command.params)


def _options(command: Any, parameters: list[Any]) -> str:
    """A table of the options and arguments, as --help shows them."""
    records = [one.get_help_record(typer.Context(command)) for one in parameters]
    rows = [[f"`{one[0]}`", re.sub(r" {2,}\[", " [", one[1])] for one in records if one]
    return _table(["option", "what"], rows)


def _first_line(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())


# Spaces and knobs


def _spaces() -> str:
    knobs = knob_schemas()
    whole = space_schema()
    entries = {name: {**one, **_SHORT.get(name, {})} for name, one in whole["properties"].items()}
    return _page(
        "Spaces and knobs",
        "What a space file may hold; how to write one is in [spaces.md](../spaces.md). `mmssl-tune spaces --schema` "
        "prints the same as a JSON Schema, for editors.",
        "## Entries",
        _fields(entries, _defaults(Space)),
        "### An interval under `ranges`",
        _fields(whole["$defs"]["Range"]["properties"], _defaults(Range)),
        "### `prune`",
        _fields(whole["$defs"]["Prune"]["properties"], _defaults(Prune)),
        "## Knobs",
        "Every knob of a recipe: for `fixed`, `variants`, `grid` and `ranges` of a space, and `--set`. Defaults are "
        "those that neither of the [recipes](#recipes) changes. A study sets `seed` and `data.validation_subjects`.",
        *(part for section in _sections(knobs) for part in section),
        "## Objectives",
        "The values of `objective.name`. One modality is shown in two views; of two, each is the other's view. "
        "Terms are columns `train.TERM` of the [tables](tables.md).",
        _table(
            ["objective", "modalities", "knobs", "terms", "source"],
            [
                [
                    f"`{name}`",
                    " or ".join(map(str, loss.modalities)),
                    ", ".join(f"`{knob}`" for knob in loss.knobs),
                    ", ".join(f"`{term}`" for term in loss.terms),
                    loss.source,
                ]
                for name, loss in OBJECTIVES.items()
            ],
        ),
        "## Recipes",
        "What the recipes with a name change, on each data set. Recordings of one's own start from UTD-MHAD's. "
        "`paper`: its settings, and of the synthetic set smaller ones.",
        _starts("what `paper` changes of the defaults", lambda dataset, system: Recipe(), "paper"),
        "`default`: ours, on top of those.",
        _starts(
            "what `default` changes of `paper`", lambda dataset, system: preset(dataset, system, "paper"), "default"
        ),
        "## Systems",
        "What makes a system itself, which neither a space nor `--set` changes.",
        _table(
            ["system", "knobs"],
            [
                [f"`{name}`", ", ".join(f"`{knob}={_value(value)}`" for knob, value in system.defining.items())]
                for name, system in SYSTEMS.items()
            ],
        ),
    )


_SHORT: dict[str, dict[str, Any]] = {
    "fixed": {"type": "mapping of knobs to values"},
    "grid": {"type": "mapping of knobs to lists of values"},
    "ranges": {"type": "mapping of knobs to [intervals](#an-interval-under-ranges)"},
    "systems": {"type": "a system, or a list of them"},
    "where": {"type": "a condition, or a list of them"},
    "folds": {
        "anyOf": [
            {"enum": ["leave_one_subject_out", "test"]},
            {"type": "a list of subjects and groups of subjects, as `[7, [1, 3]]`"},
        ]
    },
    "prune": {"type": "[mapping](#prune)", "anyOf": None},
}
"""Entries whose schema, for an editor, says more than a reader wants in a cell."""


def _defaults(model: type[BaseModel]) -> dict[str, Any]:
    return {name: field.default for name, field in model.model_fields.items() if not field.is_required()}


def _fields(schemas: Mapping[str, dict[str, Any]], defaults: Mapping[str, Any]) -> str:
    return _table(
        ["entry", "values", "default", "what"],
        [
            [
                f"`{name}`",
                _values(one),
                f"`{_value(defaults[name])}`" if defaults.get(name) not in (None, "", {}, []) else "",
                one["description"],
            ]
            for name, one in schemas.items()
        ],
    )


def _sections(knobs: Mapping[str, dict[str, Any]]) -> Iterator[list[str]]:
    defaults = Recipe().knobs()
    for section, names in groupby(knobs, key=lambda knob: knob.partition(".")[0]):
        chosen = {name: knobs[name] for name in names}
        model = Recipe.model_fields[section].annotation
        meaning = model.__doc__ if isinstance(model, type) and issubclass(model, BaseModel) else None
        yield [f"### `{section}`", *([" ".join(meaning.split())] if meaning else []), _fields(chosen, defaults)]


def _values(schema: Mapping[str, Any]) -> str:
    """The values that a schema admits, in words."""
    if schema.get("anyOf"):
        kinds = dict.fromkeys(_values(one) for one in schema["anyOf"] if one.get("type") != "null")
        # A whole number is a number.
        return " or ".join(kind for kind in kinds if kind.removeprefix("whole ") == kind or kind[6:] not in kinds)
    if "enum" in schema:
        return ", ".join(f"`{one}`" for one in schema["enum"])
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    limits = [
        f"{sign} {bound:g}" if isinstance(bound, float) else f"{sign} {bound}"
        for sign, bound in (("≥", low), (">", above), ("≤", high), ("<", below))
        if bound is not None and bound not in (MOST, 2**32)
    ]
    match schema["type"]:
        case "integer":
            word = "whole number"
        case "boolean":
            word = "`true`, `false`"
        case "string":
            word = "text"
        case "array":
            of = schema["items"]
            word = "list of names" if "minLength" in of else f"list of: {_values(of)}"
        case other:
            word = str(other)
    return " ".join([word, *([", ".join(limits)] if limits else [])])


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def _starts(heading: str, before: Callable[[str, str], Recipe], recipe: RecipeName) -> str:
    """The knobs that a named recipe changes, for a pair and for one modality; equal rows of a data set are one."""
    kinds = {"both modalities": "vicreg", **{f"{one} alone": f"vicreg_{one}" for one in USUAL}}
    rows: list[list[str]] = []
    for dataset in READERS:
        by_words: dict[str, list[str]] = {}
        for kind, system in kinds.items():
            was = before(dataset, system).knobs()
            changed = {
                knob: value
                for knob, value in preset(dataset, system, recipe).knobs().items()
                if value != was[knob] and knob not in SYSTEMS[system].defining
            }
            words = [f"`{knob}={_value(value)}`" for knob, value in changed.items()]
            by_words.setdefault(", ".join(words) or "nothing", []).append(kind)
        rows += [[f"`{dataset}`, {'; '.join(of)}", words] for words, of in by_words.items()]
    return _table(["data set", heading], rows)


# Tables


def _tables() -> str:
    return _page(
        "Tables",
        "Every column of a study's tables. Where they lie, and how they are written, is in [tables.md](../tables.md). "
        "What is not known, does not apply or is not finite is null. "
        "MODALITY in a meaning stands for `imu` and `skeleton`. As types of Parquet: text is `string`, whole `int64`, "
        "real `double`, yes or no `bool`, texts `list<string>`, time `timestamp[us, UTC]`.",
        "## `trials.parquet`",
        "A row for each planned trial. `train.` columns are those of the last epoch.",
        _columns(TABLES["trials"]),
        "## `epochs.parquet`",
        "A row for each trial, phase and epoch. `train.` columns are means over the epoch.",
        _columns(TABLES["epochs"]),
        "## `predictions.parquet`",
        "A row for each trial and recording that it scored.",
        _columns(TABLES["predictions"]),
    )


def _columns(specs: Iterable[ColumnSpec]) -> str:
    return _table(
        ["column", "type", "unit", "what"],
        [
            [
                f"`{one.name}`" if "KNOB" in one.name else ", ".join(f"`{field.name}`" for field in one.fields()),
                one.type,
                one.unit,
                one.meaning,
            ]
            for one in specs
        ],
    )


if __name__ == "__main__":
    main()
