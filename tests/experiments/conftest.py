from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import small

from mmssl import Recordings
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial, make_plan
from mmssl.study.record import Record
from mmssl.study.space import Space

Ended = Callable[[Plan, PlannedTrial], Record]
StudyOf = Callable[..., tuple[Study, Plan]]


@pytest.fixture(scope="session")
def study_of(tmp_path_factory: pytest.TempPathFactory, tiny: Recordings) -> StudyOf:
    """Studies whose trials ended as a function says, without training."""

    def make(
        ended: Ended,
        systems: list[str],
        grid: dict[str, list[Any]] | None = None,
        *,
        seeds: tuple[int, ...] = (1, 2),
        folds: tuple[str, ...] | str = ("anna", "ben", "chris"),
        dataset: str = "tiny",
        fixed: dict[str, Any] | None = None,
        variants: dict[str, dict[str, Any]] | None = None,
        recordings: Recordings = tiny,
        root: Path | None = None,
        name: str = "made",
    ) -> tuple[Study, Plan]:
        space = Space(
            name=name, systems=systems, grid=grid or {}, seeds=list(seeds), fixed=fixed or {},
            variants=variants or {},
            folds="test" if folds == "test" else "leave_one_subject_out",
        )  # fmt: skip
        bases = space.bases(dataset)
        described = small.dataset_of(recordings, name=dataset)
        held_out = [()] if folds == "test" else [tuple(fold.split("+")) for fold in folds]
        plan = make_plan(name, space, bases, described, held_out, space.points(bases))
        return small.study_of(
            root or tmp_path_factory.mktemp("studies"), plan, lambda _, trial: ended(plan, trial)
        ), plan

    return make
