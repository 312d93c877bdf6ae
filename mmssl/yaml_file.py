"""Reads YAML as what it looks like, and nothing that could run or grow."""

import re
from pathlib import Path
from typing import Any

import yaml

from mmssl.errors import UserError


def parse_value(text: str) -> Any:
    """A knob's value written as in a space file: `1e-3`, `[7]`, `vicreg`.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return _Loader(text).get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{text!r} is no value: write a number, a word, or a list as [1, 3]") from error


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain data, with no repeated key and no alias.

    Words are then what they look like: 1e-3 a number, and 007, 1:30, no and 2020-01-01 names.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.mistakes: list[str] = []

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        # Aliases of aliases grow a small file without bound.
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(None, None, "aliases are not read; write it out", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                self.mistakes.append(f"line {key.start_mark.line + 1}: {key.value} is listed twice")
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _kind, _pattern, _first in (
    ("null", r"(~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"(true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)$", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("float", r"([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$", "-+."),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), list(_first))


def read(
    path: Path, expected: str = "a space is a mapping with the entry `grid` or `systems`"
) -> tuple[dict[Any, Any], list[str]]:
    """A file's mapping, and the keys in it that stand twice.

    Args:
        expected: what the file should hold, for the message where it is no mapping.

    Raises:
        UserError: it cannot be read, or is no mapping.
    """
    try:
        loader = _Loader(path.read_text("utf-8"))
        document: Any = loader.get_single_data()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise UserError(f"{path}: {place}{error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a YAML file ({error})") from error
    if not isinstance(document, dict):
        raise UserError(f"{path}: {expected}, not {document!r:.60}")
    return document, loader.mistakes
