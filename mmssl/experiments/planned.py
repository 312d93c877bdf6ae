"""The study of an experiment: an existing one, or one planned for it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmssl.data.recordings import Recordings
from mmssl.errors import UserError
from mmssl.experiments import Experiment
from mmssl.study import space as spaces
from mmssl.study.folder import Study
from mmssl.study.lookup import find, plain_name
from mmssl.study.plan import Plan
from mmssl.study.planning import at_storage, name_of, plan_study, recordings_of, space_with, usable
from mmssl.study.space import Space


class PlannedStudy(NamedTuple):
    """The study of an experiment, with its plan and recordings."""

    study: Study
    plan: Plan
    recordings: Recordings
    planned: bool
    """Whether it existed already."""


def existing(chosen: Experiment, storage: str, study: str, data: Path | None = None) -> PlannedStudy:
    """A study by name.

    Raises:
        UserError: it scored the test subjects, and the experiment compares points.
    """
    found = find(storage, study)
    plan = found.plan()
    if chosen.chooses and plan.space.scored_split == "test":
        raise UserError(
            f"study {study}: scored the test subjects, by which points may not be compared; "
            "name a study that holds training subjects out"
        )
    return PlannedStudy(found, plan, recordings_of(plan, data), planned=True)


def planned(
    chosen: Experiment,
    recordings: Recordings,
    dataset: str,
    data: Path | None = None,
    skipped: Sequence[str] = (),
    *,
    storage: str,
    name: str | None = None,
    folds: str | None = None,
    seeds: Sequence[int] | None = None,
    settings: Sequence[str] | Mapping[str, Any] | None = None,
    systems: list[str] | None = None,
    recipe: str | None = None,
    hide: Sequence[Sequence[str]] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> PlannedStudy:
    """Plan the study of the experiment's space on recordings; an earlier study with the same plan is reused.

    Args:
        dataset: name or file of the recordings.
        hide: for hidden_classes, the groups of classes to hide; the paper's by default.

    Raises:
        UserError: it cannot be planned, or a study of this name has other settings.
    """
    if hide and chosen.name != "hidden_classes":
        raise UserError(f"--hide: {chosen.name} hides no classes; hidden_classes does")
    changes: dict[str, Any] = {} if seeds is None else {"seeds": list(seeds)}
    if chosen.name == "hidden_classes":
        changes["grid"] = {"pretrain.hidden_classes": [[], *_hidden(hide, recordings.description.classes)]}
    space = space_with(spaces.load(chosen.space), settings, systems, recipe, **changes)
    recordings = usable(recordings, space.systems, say)
    space = spaces.changed(space, folds=_folds(folds, chosen.chooses, space, name_of(dataset), recordings))
    name = name or plain_name(f"{chosen.space}-{name_of(dataset)}")
    plan = plan_study(name, space, recordings, dataset, data, list(skipped))
    found = Study(storage, plan.name)
    if not found.exists():
        return PlannedStudy(found, plan, recordings, planned=False)
    present = found.plan()
    if not present.alike(plan):
        raise UserError(
            f"study {found.name} exists with other settings: use it with "
            f"`mmssl-tune reproduce {chosen.name} {found.name}{at_storage(found)}`, or choose another --name"
        )
    return PlannedStudy(found, present, recordings, planned=True)


def _folds(given: str | None, chooses: bool, space: Space, dataset: str, recordings: Recordings) -> Any:
    """The folds; by default the test subjects, as in the paper, where there are recordings of them."""
    from mmssl.data.protocols import split

    if chooses:
        if given == "test":
            raise UserError("--folds test: this experiment compares points, by which the test subjects may not be used")
        return given or space.folds
    first = next(iter(space.bases(dataset, recordings.kinds).values()))
    return given or ("test" if len(split(recordings, first.data).test) else "leave_one_subject_out")


def _hidden(groups: Sequence[Sequence[str]] | None, classes: Sequence[str]) -> list[list[str]]:
    if groups:
        return [list(group) for group in groups]
    from mmssl.experiments.published import hidden_groups

    return [list(group.classes) for group in hidden_groups(classes)]
