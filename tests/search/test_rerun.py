"""When a trial that was run again counts as the same."""

from collections.abc import Callable
from typing import Any

import pytest

from mmssl.errors import UserError
from mmssl.search.plan import Plan
from mmssl.search.rerun import Rerun, find_trial

THEN = {"status": "COMPLETE", "cause": "", "val.accuracy": 0.9, "val.f1": 0.88, "train.loss": 20.0}
OTHER = {"host": ("there", "here")}


@pytest.mark.parametrize(
    ("now", "guesses", "changed", "same"),
    [
        ({}, 0, {}, True),
        ({"train.loss": 20.0000001}, 0, {}, False),
        ({}, 1, {}, False),
        ({"train.loss": 21.0, "val.accuracy": 0.91}, 3, OTHER, True),
        ({"val.accuracy": 0.93}, 3, OTHER, False),
        ({"val.f1": 0.85}, 3, OTHER, False),
        ({"status": "DIVERGED"}, 0, OTHER, False),
    ],
)
def test_to_the_bit_where_nothing_has_changed_else_by_its_scores(
    plan_of: Callable[..., Plan], now: dict[str, Any], guesses: int, changed: dict[str, Any], same: bool
) -> None:
    trial = plan_of([1.0], [2.0]).trials[0]
    assert Rerun(trial, THEN, {**THEN, **now}, changed, guesses).same(0.02) is same


def test_a_trial_is_found_by_the_beginning_of_its_id(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of([1.0, 5.0], [2.0, 10.0])
    wanted = plan.trials[3]
    assert find_trial(plan, wanted.trial_id[:9]) == wanted
    with pytest.raises(UserError, match=r"trials of study .* begin so"):
        find_trial(plan, "")
    with pytest.raises(UserError, match="trial 000000000"):
        find_trial(plan, "000000000")
