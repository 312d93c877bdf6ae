"""Studies on small recordings with names that try to be HTML, their pages, and a browser to open them in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
from pages import CLASSES, HOSTILE, command

from mmssl import Description, Protocol, Recordings, Row
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial, make_plan
from mmssl.study.record import Record
from mmssl.study.space import Space
from mmssl.training.prepared import Prepared
from mmssl.training.snapshot import Epoch
from mmssl.training.trial import run_trial


@pytest.fixture(scope="session")
def recordings(tiny: Recordings) -> Recordings:
    """Those of `tiny`, in three dimensions and with names of the worst kind."""
    theirs = tiny.description
    described = Description.model_validate(
        theirs.model_dump()
        | {
            "name": "<b>data</b>",
            "classes": CLASSES,
            "coordinates": ("x", "y", "z"),
            "imu_channels": ("<i>ax</i>", "ay", "az", "turn"),
            "imu_sensors": ((("<i>ax</i>", "ay", "az"),),),
            "skeleton_hz": 10.0,
            "protocols": {"cross_subject": Protocol(train=("anna", "ben", "chris"), test=("dora",))},
        }
    )
    named = dict(zip(theirs.classes, CLASSES, strict=True))
    rows = [
        Row(recording_id=f"<u>{row.recording_id}</u>", label=named[row.label], subject=row.subject, trial=row.trial)
        for row in tiny.rows
    ]
    assert tiny.skeleton is not None
    deep = [np.concatenate([one, 0.2 * one[:, :, :1]], axis=2) for one in tiny.skeleton]
    return Recordings(described, rows, deep, tiny.imu)


Ending = Callable[[PlannedTrial], Record | None]


@pytest.fixture(scope="session")
def study_of(tmp_path_factory: pytest.TempPathFactory, recordings: Recordings) -> Callable[..., tuple[Study, Plan]]:
    """Studies on these recordings; trials are trained, unless a function says how they ended."""
    source = tmp_path_factory.mktemp("data") / "recordings.parquet"
    recordings.save(source)

    def make(
        name: str = "made",
        ending: Ending = lambda trial: None,
        root: Path | None = None,
        chosen: Any = None,
        **entries: Any,
    ):
        defaults: dict[str, Any] = {
            "description": f"a search of {HOSTILE}",
            "grid": {"objective.lambda": [1.0, 10.0], "objective.mu": [1.0, 10.0]},
            "fixed": small.KNOBS | {"pretrain.epochs": 3},
        }
        space = Space(name="made", **defaults | entries)
        bases = space.bases("recordings")
        described = small.dataset_of(recordings, source, name="<b>data</b>")
        folds = [()] if space.folds == "test" else [("anna",), ("ben",), ("chris",)]
        plan = make_plan(name, space, bases, described, folds, chosen or space.points(bases))
        study = small.study_of(
            root or tmp_path_factory.mktemp("studies"),
            plan,
            lambda study, trial: ending(trial) or _trained(study, plan, trial, recordings),
        )
        return study, plan

    return make


def _trained(study: Study, plan: Plan, trial: PlannedTrial, recordings: Recordings) -> Record:
    recipe = plan.recipe(trial)
    epochs: list[Epoch] = []
    outcome = run_trial(
        recipe,
        Prepared.of(recordings, recipe.data.steps, recipe.data.modalities),
        plan.splits(recordings)[trial.held_out],
        scored_split=plan.space.scored_split,
        on_epoch=epochs.append,
    )
    if outcome.model is not None:
        study.put_model(trial.trial_id, outcome.model.files())
    return Record(
        trial_id=trial.trial_id, status=outcome.status, cause=outcome.cause,
        facts=dict(outcome.metrics), epochs=[dict(epoch) for epoch in epochs], predictions=outcome.predictions,
    )  # fmt: skip


@pytest.fixture(scope="session")
def lost(study_of: Callable[..., tuple[Study, Plan]]) -> tuple[Study, Plan]:
    """A search of four points, one of which has a trial that diverged, and another one that failed."""

    def ending(trial: PlannedTrial) -> Record | None:
        if trial.point == {"objective.lambda": 10.0, "objective.mu": 1.0} and trial.fold == "ben":
            return Record(trial_id=trial.trial_id, status="DIVERGED", cause=f"epoch 2: loss is nan {HOSTILE}")
        if trial.point == {"objective.lambda": 1.0, "objective.mu": 10.0} and trial.fold == "anna":
            return Record(trial_id=trial.trial_id, status="FAILED", cause="ValueError", traceback="Traceback")
        return None

    return study_of("lost", ending)


@pytest.fixture(scope="session")
def page(lost: tuple[Study, Plan], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `lost`."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert command("report", "lost", "--storage", lost[0].root, "--out", path) == 0
    return path
