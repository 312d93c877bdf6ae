import contextlib
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmssl.errors import UserError
from mmssl.study.where import condition

KNOBS = ("alpha", "beta", "gamma")

numbers = st.one_of(
    st.integers(-20, 20).map(str),
    st.floats(-4, 4, allow_nan=False).map(repr),
    st.sampled_from([*KNOBS, "1e3", ".5", "2."]),
)
arithmetic = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(" ".join),
        st.tuples(st.sampled_from(["-", "+"]), inner).map("".join),
        inner.map("({})".format),
    ),
    max_leaves=6,
)
collections = st.lists(arithmetic, max_size=3).map(lambda items: f"[{', '.join(items)}]")
comparisons = st.one_of(
    st.tuples(arithmetic, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), arithmetic).map(" ".join),
    st.tuples(arithmetic, st.sampled_from(["<", "==", ">="]), arithmetic, st.sampled_from([">", "!="]), arithmetic).map(
        " ".join
    ),
    st.tuples(arithmetic, st.sampled_from(["in", "not in"]), collections).map(" ".join),
    st.sampled_from(["True", "False", "'a' < 'b'", '"a" in "cat"', "None == alpha"]),
)
expressions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map("not {}".format),
        inner.map("({})".format),
    ),
    max_leaves=5,
).filter(lambda text: len(text) <= 500)
values = st.one_of(st.integers(-5, 5), st.floats(-3, 3, allow_nan=False))


@given(expressions, st.fixed_dictionaries(dict.fromkeys(KNOBS, values)))
def test_agrees_with_python(text: str, point: dict[str, Any]):
    holds = condition(text, KNOBS)
    try:
        expected = eval(text, {"__builtins__": {}}, point)  # noqa: S307 (an expression made above)
    except ZeroDivisionError:
        with pytest.raises(UserError, match="zero"):
            holds(point)
    else:
        assert holds(point) is expected


PIECES = [*"a()[]<>+-*/.,='\"12e: \n\t\\;@~&|^%!{}λ#", "x.b", "==", "lambda ", " in ", " not ", " and ", " for ", "1e3"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_any_text_is_a_condition_or_a_mistake(text: str):
    with contextlib.suppress(UserError):
        condition(text, ["a", "x.b", "objective.lambda"])({"a": 1.0, "x.b": "b", "objective.lambda": 2.0})


POINT = {"objective.lambda": 25.0, "objective.mu": 5.0, "encoder.imu.layers": 2, "data.modalities": ["imu", "skeleton"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lambda == mu", False),
        ("objective.lambda == 5 * objective.mu", True),
        ("lambda == 5*mu", True),
        ("1 < objective.mu < lambda <= 25", True),
        ("lambda/mu in (1, 2, 5)", True),
        ("imu.layers == 2", True),
        ("'imu' in modalities and 'objective.mu' not in data.modalities", True),
        ("not (lambda == mu\n  or mu == 5)", False),
        ("modalities == ['imu', 'skeleton']", True),
        ("modalities == ('imu', 'skeleton')", True),
        ("not " * 100 + "lambda == mu", False),
    ],
)
def test_names_are_knobs_in_full_or_in_short(text: str, expected: bool):
    assert condition(text, POINT)(POINT) is expected


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "mu.__class__",
        "(mu).real == 1",
        "().__class__.__bases__",
        "mu()",
        "print(mu)",
        "modalities[0] == 'imu'",
        "lambda x: x",
        "lambda: mu",
        "[mu for mu in modalities]",
        "(mu for mu in modalities)",
        "{mu: 1}",
        "{mu}",
        "mu ** 9 > 1",
        "9**9**9**9 > mu",
        "mu // 2 == 1",
        "mu % 2 == 1",
        "1 << 99",
        "(mu := 3) == 3",
        "mu if mu else lambda",
        "f'{mu}' == 'a'",
        "b'a' == mu",
        "'a\\x41' == mu",
        "mu is 5",
        "*modalities",
        "mu = 5",
        "mu; mu",
        "mu == 1j",
        "mu == 0x10",
        "mu == ...",
        "mu == 5 # yes",
        "",
        "   ",
        "mu ==",
        "mu\x00 == 5",
        "((((mu))",
        "(" * 400 + "mu",
        "-" * 480 + "mu > 0",
        "mu(lambda)",
        "mu(lambda == 1)",
        "[*modalities] == mu",
        "'a' 'b' mu",
        "mu == 01",
        "mu == 1" + " or mu == 1" * 100,
        "μ == 5",
    ],
)
def test_anything_else_is_refused(text: str):
    began = time.process_time()
    with pytest.raises(UserError, match="where"):
        condition(text, POINT)(POINT)
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lamda == mu", "lamda: not in this space; did you mean lambda"),
        ("lamda == moo", "moo: not in this space"),
        (
            "strength > 1",
            "strength: may be augment.imu.scale.strength or augment.imu.jitter.strength; write it in full",
        ),
        ("mu = 5", "'=' at column 4"),
        ("mu / (mu - 5) > 1", r"division by zero, at objective.mu = 5.0$"),
        ("mu < 'a'", "not supported between .*float.* and .*str.*, at objective.mu = 5.0"),
        ("1 in mu", "not iterable, at objective.mu = 5.0"),
        ("modalities * 3 == mu", r"\['imu', 'skeleton'\] is not a number"),
        ("True + 1 == 2", "True is not a number"),
        ("lambda - mu", "20.0 is neither true nor false, at objective.lambda = 25.0, objective.mu = 5.0"),
        ("9" * 400 + " / 3 == 1", "too large"),
    ],
)
def test_mistakes_say_what_is_wrong_and_where(text: str, message: str):
    point = POINT | {"augment.imu.scale.strength": 0.1, "augment.imu.jitter.strength": 0.1}
    with pytest.raises(UserError, match=message) as error:
        condition(text, point)(point)
    assert text in str(error.value) or repr(text) in str(error.value)


def test_a_full_name_wins_over_a_longer_one_that_ends_alike():
    assert condition("seed == 1", ["seed", "other.seed"])({"seed": 1, "other.seed": 2})
