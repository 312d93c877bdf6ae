"""What statuses, points, folds and scores are called, the same in every view."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

Status = Literal["PLANNED", "RUNNING", "COMPLETE", "FAILED", "DIVERGED", "COLLAPSED", "PRUNED"]
FOR_GOOD: tuple[Status, ...] = ("DIVERGED", "COLLAPSED", "PRUNED")
"""Of trials that keep their point from ever being complete; what FAILED may be tried again."""
NO_RESULT: tuple[Status, ...] = ("FAILED", *FOR_GOOD)
"""Of trials that have ended without one."""
TERMINAL: frozenset[Status] = frozenset({"COMPLETE", *NO_RESULT})
LEFT = "race over after "
"""How the cause begins of trials that a race left out."""
SYSTEM, VARIANT = "system", "variant"
"""Names of the searched parameters that a space with several systems, or with variants, has beside its knobs."""
TRANSDUCTIVE = (
    "transductive: unlabelled recordings of people who are scored pre-train, so this is no score of new people"
)
"""The note beside every score of a study whose recipe is transductive."""


def without_result(statuses: Mapping[str, int]) -> str:
    """Trials that have ended without a result, counted by status; empty where there is none."""
    return ", ".join(f"{statuses[status]} {status}" for status in NO_RESULT if statuses.get(status))


def value_of(value: Any) -> str:
    """A knob's value; one that was drawn has more digits than anybody reads."""
    return f"{value:.4g}" if isinstance(value, float) and value != round(value, 6) else str(value)


def short_names(knobs: Sequence[str]) -> list[str]:
    """Knobs by their last parts, where those differ."""
    last = [knob.rpartition(".")[2] for knob in knobs]
    return [short if last.count(short) == 1 else knob for knob, short in zip(knobs, last, strict=True)]


def point_words(values: Mapping[str, Any]) -> str:
    """What a point is called in a line: its searched knobs."""
    named = zip(values, short_names(list(values)), strict=True)
    return " ".join(
        value_of(values[knob]) if knob in (SYSTEM, VARIANT) else f"{name}={value_of(values[knob])}"
        for knob, name in named
    )


def fold_name(held_out: Sequence[str]) -> str:
    """What a fold is called in tables and messages."""
    return "+".join(held_out) or "test"


def percent(value: float | None) -> str:
    """A score; of a difference, percentage points."""
    return "-" if value is None else f"{100 * value:z.1f}"
