"""Which trials of a study share a pre-training, and which pre-train as one model."""

from collections.abc import Callable, Container, Sequence
from functools import cache

from mmssl.data.recordings import Recordings
from mmssl.data.rows import shown_rows
from mmssl.errors import UserError
from mmssl.study.plan import Plan, PlannedTrial, StackedTrials
from mmssl.study.pretrained import PRETRAINED_VARIABLE, most_pretrained
from mmssl.training.kept import pretraining_name


def groups(plan: Plan, recordings: Recordings, ended: Container[str], most: int) -> list[StackedTrials]:
    """Trials to pre-train together, at most so many at a time: alike, on equally many recordings.

    Of trials that share their pre-training one is taken, and the others wait for it. A study that is pruned has none:
    its trials are probed while they pre-train, each for itself; nor have points that a sampler is yet to choose.

    Raises:
        UserError: pre-trained encoders are not kept, by which those of a group reach their trials.
    """
    if most > 1 and not most_pretrained():
        raise UserError(
            f"--together {most} wants ${PRETRAINED_VARIABLE} above 0: a trial finds there what others trained"
        )
    if (
        most == 1 or plan.space.probe_every or plan.dataset.having or plan.space.sampler == "race"
    ):  # What a batch compares differs from trial to trial.
        return []
    from mmssl.training.together import alike  # Loads torch.

    splits = plan.splits(recordings)
    like: dict[str, dict[str, list[PlannedTrial]]] = {}
    for trial in plan.trials:
        recipe = plan.recipe(trial)
        key = alike(recipe)
        if key and trial.trial_id not in ended:
            of_its_kind = like.setdefault(f"{key} {len(shown_rows(recipe, recordings, splits[trial.held_out]))}", {})
            of_its_kind.setdefault(pretraining_name(recipe, plan.dataset.fingerprint), []).append(trial)
    found: list[StackedTrials] = []
    for sharing in like.values():
        firsts = [trials[0] for trials in sharing.values()]
        for i in range(0, len(firsts), most):
            lead, *others = firsts[i : i + most]
            if others:
                found.append(StackedTrials(lead, tuple(others)))
    return found


def needs(plan: Plan, probed: Callable[[PlannedTrial], bool]) -> Callable[[PlannedTrial], Sequence[str]]:
    """By trial, the pre-trainings that it takes from the storage or does for all.

    Args:
        probed: whether a trial is probed while it pre-trains, which it does for itself alone.
    """
    if not most_pretrained():
        return lambda trial: ()

    @cache
    def of(trial_id: str) -> Sequence[str]:
        trial = plan.trial(trial_id)
        recipe = plan.recipe(trial)
        if not recipe.pretrain.epochs:
            return ()
        guided = recipe.objective.loss.guided
        kinds = plan.dataset.modalities
        recipes = [recipe.guide_of(one, kinds[one]) for one in recipe.data.modalities] if guided else []
        recipes = [one for one in recipes if one.pretrain.epochs] + ([] if probed(trial) else [recipe])
        return [pretraining_name(one, plan.dataset.fingerprint) for one in recipes]

    return lambda trial: of(trial.trial_id)
