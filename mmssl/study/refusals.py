"""What a study would run in vain, refused before it is planned for good."""

import itertools
import json
from collections.abc import Collection, Iterator, Mapping

import numpy as np

from mmssl.data.description import spelling
from mmssl.data.not_signals import suspects_in
from mmssl.data.recordings import Recordings
from mmssl.data.rows import enough
from mmssl.errors import UserError
from mmssl.recipe import Recipe, Value
from mmssl.study.plan import Plan
from mmssl.study.space import Space, at_point, base_of
from mmssl.study.words import SYSTEM, VARIANT, fold_name

_MOST_LOOKED_AT = 10_000
_MEDIAN_NEEDS = 5
"""Points: the median rule wants four complete ones to compare a fifth with."""


def refuse(plan: Plan, recordings: Recordings, before: Plan | None = None) -> None:
    """Refuse a study whose knobs, pruning or data cannot do what is requested.

    Args:
        before: what the plan was extended from: a reason that held for that already does not stop the extension.

    Raises:
        UserError: one message with every reason.
    """
    if before is None:
        _refuse_spellings(plan, recordings)
        _refuse_suspects(recordings, {name for base in plan.bases.values() for name in base.data.modalities})
    earlier = {_subject(reason) for reason in _reasons(before, recordings)} if before else set[str]()
    found = [reason for reason in _reasons(plan, recordings) if _subject(reason) not in earlier]
    if found:
        raise UserError("\n  ".join([f"space {plan.space.name}:", *found]))


def _subject(reason: str) -> str:
    """What a reason is about."""
    return reason.partition(":")[0]


def _reasons(plan: Plan, recordings: Recordings) -> list[str]:
    points = list({trial.point_id: trial.point for trial in plan.trials}.values())
    recipes = [at_point(plan.bases, point) for point in points or itertools.islice(_ends(plan.space), _MOST_LOOKED_AT)]
    unread = [_unread_by(recipe, plan) for recipe in recipes]
    found = [*_unread(plan.space, unread), *_pruning(plan, recipes), *_too_little(plan, recipes, recordings)]
    # Where a knob does nothing, all its values are the same.
    return found or list(_equal(plan, points, recipes, unread))


def _unread_by(recipe: Recipe, plan: Plan) -> dict[str, str]:
    whole = {} if plan.dataset.having else {"pretrain.incomplete": "every recording has all modalities"}
    return {**whole, **recipe.unread(plan.dataset.modalities)}


def _refuse_suspects(recordings: Recordings, modalities: Collection[str]) -> None:
    suspects = [one.words for one in suspects_in(recordings, modalities)]
    if suspects:
        raise UserError(
            "\n  ".join([f"{recordings.description.name}: channels that are no signals would be learnt:", *suspects])
            + "\nleave them out, or name those that are signals all the same: meant_channels in the description"
        )


def _refuse_spellings(plan: Plan, recordings: Recordings) -> None:
    """Refuse people who only pre-train under a name that somebody who is scored has in another spelling."""
    dataset = plan.dataset
    scored = {spelling(one): one for one in (*dataset.test_subjects, *(one for fold in plan.folds for one in fold))}
    known = {*dataset.train_subjects, *dataset.test_subjects, ""}
    alike = [one for one in recordings.subjects if one not in known and spelling(one) in scored]
    if alike:
        raise UserError(
            f"{dataset.name}: subject {alike[0]!r} would pre-train, and {scored[spelling(alike[0])]!r} is scored: if "
            "they are one person, the scores would be too good; spell them alike, or as two people"
        )


def _ends(space: Space) -> Iterator[dict[str, Value]]:
    """Points at the ranges' ends: what is not read at these is read at none between."""
    for values in itertools.product(*space.searched.values()):
        for end in ("low", "high"):
            ends = {knob: getattr(interval, end) for knob, interval in space.ranges.items()}
            yield dict(zip(space.searched, values, strict=True)) | ends


def _unread(space: Space, unread: list[dict[str, str]]) -> Iterator[str]:
    """Searched knobs that no point depends on."""
    for part, knobs in (("grid", space.grid), ("ranges", space.ranges)):
        for knob in knobs:
            reasons = dict.fromkeys(one[knob] for one in unread if knob in one)
            if unread and all(knob in one for one in unread):
                yield f"{part}.{knob}: no point depends on it ({'; '.join(reasons)}): take it out"


def _equal(
    plan: Plan, points: list[dict[str, Value]], recipes: list[Recipe], unread: list[dict[str, str]]
) -> Iterator[str]:
    """The first two points that differ in nothing that is read; systems and variants may come to the same."""
    seen: dict[str, dict[str, Value]] = {}
    for point, recipe, without in zip(points, recipes, unread, strict=False):
        read = {knob: value for knob, value in recipe.knobs().items() if knob not in without}
        other = seen.setdefault(json.dumps([base_of(plan.bases, point), read], sort_keys=True), point)
        if other is not point:
            reasons = dict.fromkeys(without[knob] for knob in point if point[knob] != other[knob])
            yield (
                f"{_words(other)} and {_words(point)} would train the same ({'; '.join(reasons)}): "
                "leave all such points but one out with a condition under `where`"
            )
            return


def _pruning(plan: Plan, recipes: list[Recipe]) -> Iterator[str]:
    """Rules of pruning that can prune nothing."""
    rules, space = plan.space.prune, plan.space
    if rules is None:
        return
    points, pairs = space.budget or len(recipes), len(space.seeds) * len(plan.folds) - 1
    if rules.folds and 0.5**pairs >= rules.folds:
        yield (
            f"prune.folds: {rules.folds:g} gives nothing up: before a point's last trial it has {pairs} pairs, whose "
            f"p-value is {0.5**pairs:g} at least; give more seeds or folds, or a greater p-value"
        )
    longest = max((recipe.pretrain.epochs for recipe in recipes), default=0)
    if rules.probe and rules.every >= longest:
        yield f"prune.every: {rules.every} epochs to a probe, and pre-training has {longest}: give fewer"
    needed = _MEDIAN_NEEDS if rules.probe == "median" and not rules.folds else 2
    if points < needed:
        yield f"prune: {points} points; it needs {needed} to give one up: leave it out"


def _too_little(plan: Plan, recipes: list[Recipe], recordings: Recordings) -> Iterator[str]:
    """Folds without enough to train on."""
    different = {
        (
            recipe.finetune.labels,
            recipe.finetune.subsets,
            recipe.pretrain.hidden_classes,
            recipe.pretrain.share,
            recipe.pretrain.incomplete,
            recipe.data.modalities,
        ): recipe
        for recipe in recipes
    }
    for held_out, parts in plan.splits(recordings).items():
        rows = parts.scored(plan.space.scored_split)
        for recipe in different.values():
            try:
                enough(recipe, recordings, parts)
            except UserError as error:
                yield f"fold {fold_name(held_out)}: {error}"
                break
            taken = recipe.data.modalities
            if not np.all([recordings.has[name][rows] for name in taken], axis=0).any():
                who = f"fold {fold_name(held_out)}: none of its {len(rows)} recordings has {' and '.join(taken)}"
                yield f"{who}, so nothing can be scored by them: hold out others with folds, or take another system"
                break


def _words(point: Mapping[str, Value]) -> str:
    """A point in a message."""
    named = [str(point[name]) for name in (SYSTEM, VARIANT) if name in point]
    return " ".join([*named, *(f"{knob}={value}" for knob, value in point.items() if knob not in (SYSTEM, VARIANT))])
