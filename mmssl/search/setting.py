"""What a worker gets for a trial; whoever sends it need not load torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mmssl.data.protocols import Split
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.training.prepared import Prepared


@dataclass(frozen=True)
class Setting:
    """What the trials of a study have in common."""

    root: str
    study: str
    prepared: dict[int, Prepared]
    """By number of time steps."""
    splits: dict[tuple[str, ...], Split]
    """By held-out subjects."""
    scored_split: Literal["val", "test"]
    """The split that is scored."""
    keep_models: bool
    """Whether the trained model is kept in the study at all."""
    probe_every: int | None
    """Epochs from one probe to the next, of trials that are probed."""
    at_once: int
    """How many trials share the driver, whose time they may not take more than half of with their reports."""
    threads: int
    device: str


def config_of(plan: Plan, trial: PlannedTrial, probed: bool, others: Sequence[PlannedTrial] = ()) -> dict[str, Any]:
    """What one trial gets: its id, its recipe, whether it is probed, and the recipes that pre-train with it."""
    return {
        "trial_id": trial.trial_id,
        # The recipe travels as text: Tune would take a nested one apart.
        "recipe": plan.recipe(trial).model_dump_json(by_alias=True),
        "probed": probed,
        "others": [plan.recipe(other).model_dump_json(by_alias=True) for other in others],
    }
