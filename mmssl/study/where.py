"""Conditions on points: small expressions over knobs, computed without Python's `eval`."""

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from mmssl.errors import UserError, nearest
from mmssl.recipe import Value

Point = Mapping[str, Value]

_LONGEST = 500
_FORM = "a condition is made of knobs, numbers, strings, lists, == != < <= > >= in, and or not, + - * / ( )"
_KEYWORDS = ("and", "or", "not", "in", "True", "False", "None")
_TOKEN = re.compile(
    r"""(?P<name> [A-Za-z_]\w* (?: \.[A-Za-z_]\w* )* )
      | (?: \d+\.?\d* | \.\d+ ) (?: [eE][-+]?\d+ )? (?![\w.])
      | '[^'\\\n]*' | "[^"\\\n]*"
      | [=!<>]= | [-+*/<>(),\[\]] | \s""",
    re.VERBOSE | re.ASCII,
)
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.USub: operator.neg, ast.UAdd: operator.pos}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda item, many: item in many,
    ast.NotIn: lambda item, many: item not in many,
}


def condition(text: str, knobs: Collection[str]) -> Callable[[Point], bool]:
    """A `where` expression as a function of a point: it computes what Python would, and can do nothing else.

    Args:
        text: names in it are knobs in full or, where that leaves one knob, their last parts: `lambda == mu`.
        knobs: the names that a point has.

    Raises:
        UserError: it is not understood; or, from the function, it has no value at a point.
    """
    if len(text) > _LONGEST:
        raise UserError(f"where {text[:40]!r}...: longer than {_LONGEST} characters")
    names = list(dict.fromkeys(knobs))
    used: list[str] = []
    unknown: list[str] = []

    def identifier(name: str) -> str:
        meant = [knob for knob in names if knob == name] or [knob for knob in names if knob.endswith(f".{name}")]
        if len(meant) == 1:
            used.append(meant[0])
            return f"_{names.index(meant[0])}"
        why = f"may be {' or '.join(meant)}; write it in full" if meant else f"not in this space; {_like(name, names)}"
        unknown.append(f"where {text!r}: {name}: {why}")
        return "None"

    # Knobs become plain identifiers first: to Python `lambda` is a keyword and a dotted name an object's attribute.
    python = ""
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise UserError(f"where {text!r}: {text[position]!r} at column {position + 1} is not understood; {_FORM}")
        position = token.end()
        name = token["name"]
        if name is not None and name not in _KEYWORDS:
            python += identifier(name)
        else:
            python += " " if token[0].isspace() else token[0]
    if unknown:
        raise UserError("\n".join(dict.fromkeys(unknown)))
    try:
        term = _term(ast.parse(python.strip(), mode="eval").body, names)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"where {text!r}: not understood; {_FORM}") from error

    def holds(point: Point) -> bool:
        try:
            result = term(point)
            if not isinstance(result, bool):
                raise TypeError(f"{result!r} is neither true nor false")
        except (TypeError, ArithmeticError, RecursionError) as error:
            at = ", ".join(f"{knob} = {point[knob]!r}" for knob in dict.fromkeys(used))
            raise UserError(f"where {text!r}: {error}" + (f", at {at}" if at else "")) from error
        return result

    return holds


def _like(name: str, knobs: list[str]) -> str:
    return nearest(name, [*dict.fromkeys(knob.rpartition(".")[2] for knob in knobs), *knobs])


def _term(node: ast.expr, knobs: list[str]) -> Callable[[Point], Any]:
    """One node of an expression as a function of a point; ValueError where it is none of those a condition knows."""

    def term(part: ast.expr) -> Callable[[Point], Any]:
        return _term(part, knobs)

    match node:
        case ast.Constant(value=value):
            return lambda _: value
        case ast.Name(id=name):
            knob = knobs[int(name[1:])]
            return lambda point: point[knob]
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            items = [term(element) for element in elements]
            return lambda point: [item(point) for item in items]
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            negated = term(operand)
            return lambda point: not negated(point)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _SIGNS:
            sign, signed = _SIGNS[type(op)], term(operand)
            return lambda point: sign(_number(signed(point)))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            compute, first, second = _ARITHMETIC[type(op)], term(left), term(right)
            return lambda point: compute(_number(first(point)), _number(second(point)))
        case ast.BoolOp(op=op, values=values):
            stop = isinstance(op, ast.Or)
            choices = [term(value) for value in values]

            def choose(point: Point) -> Any:
                result = None
                for choice in choices:
                    result = choice(point)
                    if bool(result) is stop:
                        break
                return result

            return choose
        case ast.Compare(left=left, ops=ops, comparators=others):
            start = term(left)
            links = [(_COMPARISONS[type(op)], term(other)) for op, other in zip(ops, others, strict=True)]

            def compare(point: Point) -> bool:
                value = start(point)
                for holds, other in links:
                    further = other(point)
                    if not holds(value, further):
                        return False
                    value = further
                return True

            return compare
        case _:
            raise ValueError(type(node).__name__)


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return value
