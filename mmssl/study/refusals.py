"""What a study would run in vain, refused before it is planned for good."""

import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from mmssl.data.description import Signal, spelling
from mmssl.data.not_signals import suspects_in
from mmssl.data.protocols import Split
from mmssl.data.recordings import Recordings
from mmssl.data.rows import batch_count, enough, having, labelled_rows, seen_rows, shown_rows
from mmssl.errors import UserError
from mmssl.recipe import SECTIONS, Recipe, Value, head_inputs
from mmssl.study.plan import Plan
from mmssl.study.presets import defined_by
from mmssl.study.space import RECIPE, Space, at_point, base_of
from mmssl.study.words import SYSTEM, VARIANT, fold_name, value_of

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
    points = _points(plan)
    recipes = [at_point(plan.bases, point) for point in points or _some_ends(plan.space)]
    unread = [_unread_by(recipe, plan, recordings) for recipe in recipes]
    found = [*_unread(plan.space, unread), *_pruning(plan, recipes), *_too_little(plan, recipes, recordings)]
    found += _held_out_twice(plan)
    # Where a knob does nothing, all its values are the same.
    return found or list(_equal(plan, points, recipes, unread))


def _points(plan: Plan) -> list[dict[str, Value]]:
    """Those that are planned; none where a sampler has yet to choose them."""
    return list({trial.point_id: trial.point for trial in plan.trials}.values())


def _unread_by(recipe: Recipe, plan: Plan, recordings: Recordings) -> dict[str, str]:
    whole = {} if plan.dataset.having else {"pretrain.incomplete": "every recording has all modalities"}
    return {**whole, **unread_on(recipe, recordings)}


def unread_on(recipe: Recipe, recordings: Recordings) -> dict[str, str]:
    """The knobs that a run of this recipe on these recordings does not depend on, each with the reason."""
    found = recipe.unread(recordings.kinds)
    taken = (recordings.description.modalities[name] for name in recipe.data.modalities)
    signals, section = [one for one in taken if isinstance(one, Signal)], f"augment.{SECTIONS['signal']}"
    without = {
        "rotate": "" if any(one.sensors for one in signals) else "no sensor here has x, y and z that turn together",
        "shuffle": "" if any(len(one.channels) > 1 for one in signals) else "there is one channel",
    }
    for way, reason in without.items():
        for knob in (f"{section}.{way}.probability", f"{section}.{way}.strength"):
            if signals and reason:
                found.setdefault(knob, reason)
    return found


def without_effect(plan: Plan, recordings: Recordings) -> list[str]:
    """What is given and changes nothing, though the study can run: knobs that no point reads, and values of searched
    knobs that come to the same on these recordings."""
    points = _points(plan)

    def pairs() -> Iterator[tuple[dict[str, Value], Recipe]]:
        # There may be thousands, of which the first mostly decides.
        return ((point, at_point(plan.bases, point)) for point in points or _some_ends(plan.space))

    return [*_ignored(plan, recordings, pairs()), *(_the_same(plan, recordings, pairs()) if points else [])]


def _ignored(plan: Plan, recordings: Recordings, pairs: Iterable[tuple[Mapping[str, Value], Recipe]]) -> Iterator[str]:
    """Knobs that are set for all points, or for those of a variant, and that none of these reads."""
    given = {("", knob) for knob in plan.space.fixed}
    given |= {(name, knob) for name, knobs in plan.space.variants.items() for knob in knobs if knob != RECIPE}
    reasons: dict[tuple[str, str], dict[str, None]] = {}
    for point, recipe in pairs:
        if not given:
            return
        here = {one for one in given if one[0] in ("", point.get(VARIANT))}
        if not here:
            continue
        unread = _unread_by(recipe, plan, recordings)
        system = str(point.get(SYSTEM, plan.space.systems[0]))
        unread |= dict.fromkeys(defined_by(system), f"system {system} sets it")
        given -= {one for one in here if one[1] not in unread}
        for one in here & given:
            reasons.setdefault(one, {})[unread[one[1]]] = None
    for (variant, knob), why in sorted(reasons.items()):
        if (variant, knob) in given:
            whose = f"variant {variant}: {knob}" if variant else knob
            yield f"{whose} is set, and no point depends on it ({'; '.join(why)})"


_BY_AMOUNT = {
    "pretrain.share": "the same recordings",
    "pretrain.batch_size": "as many batches",
    "finetune.labels": "the same labels",
    "finetune.batch_size": "as many batches",
}
"""Knobs whose effect depends on how many recordings there are, each with what two of its values may come to."""


def _the_same(plan: Plan, recordings: Recordings, pairs: Iterable[tuple[dict[str, Value], Recipe]]) -> Iterator[str]:
    """Values of a searched knob by which points train the same, as batches of more recordings than there are."""
    searched = [knob for knob in _BY_AMOUNT if knob in plan.space.grid]
    if not searched:
        return
    splits, seen = list(plan.splits(recordings).values()), dict[str, dict[str, Value]]()
    amounts: dict[str, Any] = {}
    same: dict[tuple[str, Any], list[Any]] = {}
    for point, recipe in pairs:
        unread = _unread_by(recipe, plan, recordings)
        read = {knob: value for knob, value in recipe.knobs().items() if knob not in unread}
        decisive = [read.get(knob) for knob in (*_BY_AMOUNT, "finetune.label_draw")]
        about = json.dumps([decisive, *map(read.get, ("pretrain.hidden_classes", "data.modalities"))])
        if about not in amounts:
            amounts[about] = [_amounts(recipe, recordings, split) for split in splits]
        for knob in searched:
            if knob in read:
                read[knob] = [one[knob] for one in amounts[about]]
        other = seen.setdefault(json.dumps([base_of(plan.bases, point), read], sort_keys=True), point)
        if other is not point:
            for knob in (knob for knob in searched if point[knob] != other[knob]):
                same.setdefault((knob, other[knob]), []).append(point[knob])
    for (knob, first), values in same.items():
        *others, last = map(value_of, dict.fromkeys((first, *values)))
        yield (
            f"{knob}: {', '.join(others)} and {last} come to {_BY_AMOUNT[knob]} here: {len(values)} of the points "
            "train the same as others, and tell nothing more"
        )


def _amounts(recipe: Recipe, recordings: Recordings, split: Split) -> dict[str, Any]:
    """What the knobs of `_BY_AMOUNT` come to in a fold."""
    labelled = labelled_rows(recipe, recordings, split)
    heads = [len(having(recordings, labelled, inputs)) for inputs in head_inputs(recipe)]
    return {
        "pretrain.share": seen_rows(recipe, recordings, split).tolist(),
        "pretrain.batch_size": batch_count(len(shown_rows(recipe, recordings, split)), recipe.pretrain.batch_size),
        "finetune.labels": labelled.tolist(),
        "finetune.batch_size": [batch_count(rows, recipe.finetune.batch_size) for rows in heads],
    }


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


def _some_ends(space: Space) -> Iterator[dict[str, Value]]:
    return itertools.islice(_ends(space), _MOST_LOOKED_AT)


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


def _held_out_twice(plan: Plan) -> Iterator[str]:
    """The first people whom two folds hold out: means and intervals take folds for different people."""
    first: dict[str, tuple[str, ...]] = {}
    for fold in plan.folds:
        for one in fold:
            if (other := first.setdefault(one, fold)) is not fold:
                yield (
                    f"folds: {one} is held out in {fold_name(other)} and in {fold_name(fold)}, and intervals would "
                    "take these for different people: hold everybody out once"
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
