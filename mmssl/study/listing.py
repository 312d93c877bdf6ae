"""The studies of a storage, a row for each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from mmssl.errors import UserError
from mmssl.study.folder import Study
from mmssl.study.lookup import names
from mmssl.study.results import points_in, ranked
from mmssl.study.status import study_status


@dataclass(frozen=True)
class Listed:
    """A study as a list has it; of one that is damaged no more than its name and the problem."""

    study: str
    state: str
    problem: str = ""
    dataset: str = ""
    made: datetime | None = None
    ended: int = 0
    planned: int = 0
    trials: Mapping[str, int] = field(default_factory=dict[str, int])
    host: str | None = None
    metric: str = ""
    best: float | None = None
    """The highest mean of a complete point, in a study by which one may be chosen."""
    bytes: int = 0


def listed(root: str) -> list[Listed]:
    """The studies under `root`, the newest last."""
    return [_row(Study(root, name)) for name in names(root)]


def _row(study: Study) -> Listed:
    try:
        plan = study.plan()
        status = study_status(study, plan)
        best = next(iter(ranked(points_in(study, plan))), None)
    except UserError as error:
        return Listed(study.name, "damaged", str(error))
    return Listed(
        study.name,
        status.state,
        "",
        plan.dataset.name,
        plan.created,
        status.ended,
        status.planned,
        status.trials,
        status.driver["host"] if status.driver else None,
        plan.space.scored,
        best.mean if best and best.complete and plan.space.scored_split == "val" else None,
        sum(study.files.sizes("").values()),
    )
