"""What a space and a recipe may hold, as JSON Schema: for editors, and for the reference."""

import ast
import inspect
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import BaseModel

from mmssl.objectives import OBJECTIVES
from mmssl.recipe import Recipe
from mmssl.study.presets import SYSTEMS
from mmssl.study.space import SAME_FOR_ALL, SET_BY_STUDY, Prune, Range, Space

Schema = dict[str, Any]

_BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}


def space_schema() -> Schema:
    """Of a space's file. It knows every entry, knob, value and system; what must go together, `load` says.

    Draft 2020-12, as pydantic writes it.
    """
    schema = Space.model_json_schema()
    entries = _described(Space, schema["properties"])
    del entries["name"]  # A space is named by its file.
    for name, model in (("Range", Range), ("Prune", Prune)):
        _described(model, schema["$defs"][name]["properties"])
    by_systems = set.intersection(*(set(system.defining) for system in SYSTEMS.values()))
    knobs = {name: knob for name, knob in knob_schemas().items() if name not in by_systems | set(SET_BY_STUDY)}
    searched = {name: knob for name, knob in knobs.items() if name not in SAME_FOR_ALL}
    numbers = {name: knob for name, knob in searched.items() if knob["type"] in ("number", "integer")}
    entries["fixed"] |= {"properties": knobs, "additionalProperties": False}
    entries["grid"] |= {
        "properties": {
            name: {"type": "array", "minItems": 1, "items": knob, "description": knob["description"]}
            for name, knob in searched.items()
        },
        "additionalProperties": False,
    }
    entries["ranges"] |= {
        "properties": {
            name: {"$ref": "#/$defs/Range", "description": knob["description"]} for name, knob in numbers.items()
        },
        "additionalProperties": False,
    }
    system = {"enum": list(SYSTEMS)}
    entries["systems"] |= {"type": ["string", "array"], "items": system, "if": {"type": "string"}, "then": system}
    entries["where"]["type"] = ["string", "array"]
    subject: Schema = {"type": ["string", "integer"]}
    group = {"anyOf": [subject, {"type": "array", "items": subject, "minItems": 1}]}
    named, _ = entries["folds"].pop("anyOf")
    entries["folds"]["anyOf"] = [named, {"type": "array", "items": group, "minItems": 1}]
    del schema["required"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "A space of mmssl-tune"}


def knob_schemas() -> dict[str, Schema]:
    """By knob: its values, and what it means."""
    found = _knobs(Recipe, "", Recipe.model_json_schema(by_alias=True)["$defs"])
    for knob in [name for name in found if name.startswith("objective.")]:
        names = [name for name, loss in OBJECTIVES.items() if knob.removeprefix("objective.") in loss.knobs]
        if names:
            meaning = found[knob]["description"]
            found[knob]["description"] = f"{', '.join(names)}: {meaning[0].lower()}{meaning[1:]}"
    return found


def _knobs(model: type[BaseModel], prefix: str, defined: dict[str, Schema]) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    schema = Recipe.model_json_schema(by_alias=True) if model is Recipe else defined[model.__name__]
    described = _described(model, schema["properties"])
    for name, field in model.model_fields.items():
        dotted = f"{prefix}{field.alias or name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= _knobs(field.annotation, f"{dotted}.", defined)
        else:
            found[dotted] = described[field.alias or name]
            if "minLength" in found[dotted].get("items", {}):
                found[dotted]["items"]["type"] = ["string", "integer"]  # Subjects may be numbered.
    return found


def _described(model: type[BaseModel], properties: dict[str, Schema]) -> dict[str, Schema]:
    """The properties of a model's schema with what stands under its fields, and without titles made of their names."""
    meant = meanings(model)
    for name, field in model.model_fields.items():
        one = properties[field.alias or name]
        one.pop("title", None)
        if name in meant:
            one["description"] = meant[name]
        _bounds(one)
    return properties


def _bounds(schema: Schema) -> None:
    """Bounds in JSON Schema's words where pydantic left its own, as it does around a validator."""
    alternatives = schema.get("anyOf", [])
    for theirs, word in _BOUNDS.items():
        if theirs in schema:
            bound = schema.pop(theirs)
            for one in alternatives or [schema]:
                one[word] = bound
    for one in alternatives:
        _bounds(one)


@cache
def meanings(model: type[BaseModel]) -> dict[str, str]:
    """What stands under each field of a model, its own or inherited, as one line.

    It is read from the source when it is requested: pydantic's `use_attribute_docstrings` would read it whenever the
    program starts.
    """
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if one.__module__.split(".")[0] != "mmssl":
            continue
        [lines] = [node.body for node in ast.parse(inspect.getsource(one)).body if isinstance(node, ast.ClassDef)]
        for field, after in pairwise(lines):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                found[field.target.id] = " ".join(inspect.cleandoc(str(after.value.value)).split())
    return found
