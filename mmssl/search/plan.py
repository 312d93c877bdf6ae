"""The ledger: every trial a study will run, named by its content, written before anything runs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from mmssl.errors import UserError
from mmssl.recipe import Recipe, Value
from mmssl.search.space import SYSTEM, Space, at_point

Status = Literal["PLANNED", "RUNNING", "COMPLETE", "FAILED", "DIVERGED", "COLLAPSED", "PRUNED"]
TERMINAL: frozenset[Status] = frozenset({"COMPLETE", "FAILED", "DIVERGED", "COLLAPSED", "PRUNED"})

FORMAT = "mmssl.plan/2"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlannedTrial(_Part):
    """One point x one seed x one fold."""

    trial_id: str
    """Same recipe and same data, same id; nothing else has it."""
    point_id: str
    """As trial_id, but for seed and fold."""
    point: dict[str, Any]
    """The searched knobs and their values; `system` among them where there are several."""
    seed: int
    held_out: tuple[str, ...]
    """Subjects of the validation side; none where the test subjects are scored."""

    @property
    def fold(self) -> str:
        return "+".join(self.held_out) or "test"


class Dataset(_Part):
    """Which recordings a study uses, and how to find them again."""

    source: str
    """Data set name or recordings file, as `--dataset` takes it."""
    folder: str | None
    name: str
    fingerprint: str
    recordings: int
    train_subjects: tuple[str, ...]
    test_subjects: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    """Faulty files that the user chose to go on without."""


class Plan(_Part):
    format: Literal["mmssl.plan/2"] = FORMAT
    name: str
    created: datetime
    space: Space
    bases: dict[str, Recipe]
    """By system, the recipe before a point's knobs, a seed and a fold are put in."""
    dataset: Dataset
    trials: tuple[PlannedTrial, ...]

    def system(self, trial: PlannedTrial) -> str:
        return trial.point.get(SYSTEM) or self.space.systems[0]

    def recipe(self, trial: PlannedTrial) -> Recipe:
        return _recipe(self.bases, trial.point, trial.seed, trial.held_out)

    def shared_pretrainings(self) -> frozenset[str]:
        """Ids of the pre-trainings that more than one trial needs, for itself or as guides."""
        counts: Counter[str] = Counter()
        for trial in self.trials:
            recipe = self.recipe(trial)
            guided = recipe.data.modalities if recipe.objective.name == "cmc_cmkm" else ()
            needed = [recipe, *(recipe.guide_of(modality) for modality in guided)]
            counts.update(one.pretraining_id(self.dataset.fingerprint) for one in needed if one.pretrain.epochs)
        return frozenset(name for name, count in counts.items() if count > 1)

    def size(self) -> str:
        """The number of trials and where it comes from, in words."""
        counts = [
            _counted(len({trial.point_id for trial in self.trials}), "point"),
            _counted(len({trial.seed for trial in self.trials}), "seed"),
            _counted(len({trial.fold for trial in self.trials}), "fold"),
        ]
        return f"{' x '.join(counts)} = {_counted(len(self.trials), 'trial')}"


def make_plan(
    name: str,
    space: Space,
    bases: Mapping[str, Recipe],
    dataset: Dataset,
    folds: Sequence[tuple[str, ...]],
    points: Sequence[dict[str, Value]],
) -> Plan:
    """Every point x seed x fold, folds changing fastest so that a point is finished before the next begins.

    Raises:
        UserError: two planned trials would be the same (two points that differ in nothing).
    """
    trials: list[PlannedTrial] = []
    for point in points:
        # A point is what is left of a recipe when seed and fold are taken out.
        point_id = _recipe(bases, point, 0, ()).content_id(dataset.fingerprint)
        for seed in space.seeds:
            for held_out in folds:
                trial_id = _recipe(bases, point, seed, held_out).content_id(dataset.fingerprint)
                trials.append(
                    PlannedTrial(trial_id=trial_id, point_id=point_id, point=point, seed=seed, held_out=held_out)
                )
    if len({trial.trial_id for trial in trials}) < len(trials):
        raise UserError(f"space {space.name}: two of its points give the same recipe; take one out of the grid")
    return Plan(
        name=name, created=datetime.now(UTC), space=space, bases=dict(bases), dataset=dataset, trials=tuple(trials)
    )


def extended(plan: Plan, space: Space, folds: Sequence[tuple[str, ...]]) -> Plan:
    """The plan of a larger space on the same data: what was planned stays, with its ids, and more stands beside it.

    Raises:
        UserError: the larger space lacks something that was planned.
    """
    larger = make_plan(plan.name, space, plan.bases, plan.dataset, folds, space.points(plan.bases))
    lost = {trial.trial_id for trial in plan.trials} - {trial.trial_id for trial in larger.trials}
    if lost:
        raise UserError(f"study {plan.name}: {len(lost)} of its {len(plan.trials)} trials would no longer be planned")
    return larger.model_copy(update={"created": plan.created})


def _recipe(bases: Mapping[str, Recipe], point: dict[str, Any], seed: int, held_out: tuple[str, ...]) -> Recipe:
    return at_point(bases, point, seed=seed, **{"data.validation_subjects": list(held_out)})


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
