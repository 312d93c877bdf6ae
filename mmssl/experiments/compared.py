"""Points of any studies beside each other, paired by seed and held-out subjects."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from mmssl.errors import UserError
from mmssl.experiments import SCORES, Result, TableColumn, names, otherwise, protocol, repeats
from mmssl.recipe import Recipe, scored_inputs
from mmssl.study.folder import Study
from mmssl.study.lookup import find
from mmssl.study.paired import change, complete, ends, scored_in, scores_of, summary
from mmssl.study.plan import Key, Plan
from mmssl.study.scores import difference, estimate, paired, recordings_of
from mmssl.study.space import SET_BY_STUDY
from mmssl.study.words import percent


class Entrant:
    """One point of a study.

    Args:
        storage: where the study is.
        word: STUDY, if it has one point; or STUDY:POINT, where POINT is the beginning of its id or the end of its name
            in tables, such as a variant.

    Raises:
        UserError: there is no such study or point, or several.
    """

    def __init__(self, storage: str, word: str) -> None:
        name, _, wanted = word.partition(":")
        self.word = word
        self.study: Study = find(storage, name)
        self.plan = self.study.plan()
        called = names(self.plan)
        found = [
            point_id
            for point_id, title in called.items()
            if not wanted or f" {title}".endswith(f" {wanted}") or (len(wanted) >= 4 and point_id.startswith(wanted))
        ]
        if len(found) != 1:
            valid = ", ".join(f"{point_id[:8]} ({title})" for point_id, title in list(called.items())[:8])
            more = ", ..." if len(called) > 8 else ""
            fault = f"has {len(found)} {'such ' if wanted else ''}points" if found else "has no such point"
            raise UserError(f"{word}: study {name} {fault}; name one as {name}:POINT, of {valid}{more}")
        self.point_id = found[0]
        self.trials = self.plan.trials_of(self.point_id)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        return [row for row in complete(self.study) if row["point_id"] == self.point_id]

    @property
    def keys(self) -> set[Key]:
        """The seeds and folds of its complete trials."""
        return {(row["seed"], row["fold"]) for row in self.rows}

    @property
    def recipe(self) -> Recipe:
        return self.plan.recipe(self.trials[0])

    @property
    def prefixes(self) -> dict[str, str]:
        """The prefix of the scores' columns, by the modalities that a head reads."""
        return {"+".join(inputs): prefix for inputs, prefix in scored_inputs(self.plan.space.scored_split, self.recipe)}

    def scores(self, read_from: str) -> dict[str, dict[Key, float]]:
        """Accuracy and F1 by seed and fold; empty where no head reads these modalities."""
        prefix = self.prefixes.get(read_from)
        return {name: scores_of(self.rows, f"{prefix}.{name}") if prefix else {} for name in ("accuracy", "f1")}


def compare(entrants: Sequence[Entrant]) -> Result:
    """Each point's scores, and its mean difference from the first point over the seeds and folds that both have.

    Raises:
        UserError: the points have different recordings or scored splits, or no seed and fold in common.
    """
    first, *others = entrants
    for other in others:
        _comparable(first, other)
    usual = repeats(first.plan, draws=False)
    table: list[dict[str, Any]] = []
    notes: list[str] = []
    for entrant in entrants:
        for read_from in entrant.prefixes:
            scores = entrant.scores(read_from)
            beside = first.scores(read_from if entrant is not first else "")
            pairs, counts = paired(scores["accuracy"], beside["accuracy"]), scored_in(entrant.rows, read_from)
            count = recordings_of(counts.items())
            about = [*otherwise(estimate(scores["accuracy"], count), usual), *_trained_for(entrant.recipe, read_from)]
            notes += [f"{entrant.word}, read from {read_from}: {note}" for note in about]
            table.append(
                {
                    "point": entrant.word,
                    "point_id": entrant.point_id,
                    "read_from": read_from,
                    **summary("accuracy", scores["accuracy"], count),
                    **summary("f1", scores["f1"], count),
                    "n": len(scores["accuracy"]),
                    "planned": len(entrant.trials),
                    "pairs": len(pairs) if entrant is not first else None,
                    **change("difference", pairs, counts),
                    **change("difference.f1", paired(scores["f1"], beside["f1"]), counts),
                }
            )
    return Result(
        f"Beside {first.word}: {protocol(first.plan)}. Mean over seeds and folds with its 95 % interval over "
        f"{usual}; seeds ±: standard deviation of the seeds' means; difference from the "
        "first point over the pairs: seeds and folds that both have, with its 95 % interval.",
        {"compared": pa.Table.from_pylist(table)},
        (
            TableColumn("point", ("point",)),
            TableColumn("read from", ("read_from",)),
            *SCORES,
            TableColumn("pairs", ("pairs",)),
            TableColumn("difference", ends("difference"), percent=True),
        ),
        [line for about in (_verdicts, _notes) for other in others for line in about(first, other)] + notes,
    )


def _trained_for(recipe: Recipe, read_from: str) -> list[str]:
    every = "+".join(recipe.data.modalities)
    if recipe.finetune.encoders == "frozen" or read_from == every:
        return []
    return [f"labels trained its encoders for {every}; for {read_from} alone they may do better"]


def comparable(plan: Plan, other_plan: Plan, name: str, other: str) -> None:
    """Check that two plans have the same recordings and the same scored split; `name` and `other` are for messages.

    Raises:
        UserError: they do not.
    """
    first, second = plan.dataset, other_plan.dataset
    if first.fingerprint != second.fingerprint:
        raise UserError(
            f"{other}: is of other recordings ({second.name}, {second.fingerprint[:12]}) than "
            f"{name} ({first.name}, {first.fingerprint[:12]})"
        )
    if plan.space.scored_split != other_plan.space.scored_split:
        raise UserError(f"{other}: one of the two scored the test subjects, the other training subjects")


def differing(first: Recipe, second: Recipe) -> list[str]:
    """The knobs in which the second recipe differs, such as `pretrain.epochs 300, not 100`."""
    before = first.knobs()
    return [
        f"{knob} {value}, not {before[knob]}"
        for knob, value in second.knobs().items()
        if value != before[knob] and knob not in SET_BY_STUDY
    ]


def _comparable(first: Entrant, other: Entrant) -> None:
    comparable(first.plan, other.plan, first.word, other.word)
    if not first.keys & other.keys:
        raise UserError(
            f"{other.word}: has no complete trial with a seed and held-out subjects of {first.word}'s: "
            "run it with the same `seeds` and `folds`"
        )


def _verdicts(first: Entrant, other: Entrant) -> Iterator[str]:
    """For each head: the difference from the first point, and whether it is within the noise."""
    for read_from in other.prefixes:
        pairs = paired(other.scores(read_from)["accuracy"], first.scores(read_from)["accuracy"])
        found = difference(pairs, scored_in(other.rows, read_from))
        if found.mean is None:
            continue
        where = "above" if found.mean >= 0 else "below"
        words = f"{other.word}, read from {read_from}: {percent(abs(found.mean))} points {where} {first.word}"
        if found.over:
            sure = "within" if found.within_noise else "beyond"
            ends = f"{percent(found.low)} to {percent(found.high)}"
            yield f"{words}, {sure} the noise (paired t-test over {found.over}: 95 % interval {ends})"
        else:
            yield f"{words}; the noise is unknown, as there is one pair"


def _notes(first: Entrant, other: Entrant) -> list[str]:
    """Notes on a pair of points: differences of the recipes, and scores without a pair."""
    notes = [f"{other.word}: {'; '.join(differing(first.recipe, other.recipe)) or 'the same recipe'}"]
    if first.keys != other.keys:
        notes.append(
            f"{other.word}: {len(first.keys & other.keys)} pairs of {len(first.keys)} and {len(other.keys)} trials: "
            "the means are over different seeds and folds; the difference is over the pairs"
        )
    return notes
