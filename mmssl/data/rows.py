"""Which recordings a recipe trains on: those that pre-training sees, and those whose labels fine-tuning uses."""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mmssl.data.description import Description, Row
from mmssl.data.protocols import Split, class_indices
from mmssl.errors import UserError, nearest
from mmssl.recipe import Recipe, head_inputs


class Labelled(Protocol):
    """Recordings, prepared for training or not."""

    @property
    def description(self) -> Description: ...

    @property
    def rows(self) -> Sequence[Row]: ...

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class index of each recording, (recordings,)."""
        ...

    @property
    def has(self) -> Mapping[str, npt.NDArray[np.bool_]]:
        """By modality whether each recording has it, (recordings,)."""
        ...


def enough(recipe: Recipe, data: Labelled, split: Split) -> None:
    """Whether there is enough to train on.

    Raises:
        UserError: fewer than two recordings or labels, a hidden class that does not exist, or a subset of modalities
            that are not there.
    """
    there = list(data.description.modalities)
    for name in (name for subset in recipe.finetune.subsets for name in subset.split("+") if name not in there):
        raise UserError(f"finetune.subsets: the recordings have no {name}; {nearest(name, there)}")
    shown, labelled = shown_rows(recipe, data, split), labelled_rows(recipe, data, split)
    together, *parts = head_inputs(recipe)
    counts = [(len(shown), "recording", ""), (len(having(data, labelled, together)), "label", "")]
    if len(having(data, labelled, together)) < len(labelled):
        counts[1] = (*counts[1][:2], f" of recordings with {' and '.join(together)}")
    counts += [(len(having(data, shown, [one])), "recording", f" with {one}") for one in together]
    counts += [(len(having(data, labelled, one)), "label", f" of recordings with {'+'.join(one)}") for one in parts]
    for count, what, of in counts:
        if count < 2:
            raise UserError(f"{count} {what}{'s' * (count != 1)}{of} to train on: batch statistics need 2 at least")


def labelled_rows(recipe: Recipe, data: Labelled, split: Split) -> npt.NDArray[np.int64]:
    """The training recordings whose labels fine-tuning uses: of each class the recipe's share, one at least.

    What counts as one recording (`Row.unit`) has one label: who annotates an interval has labelled all its windows.
    Labels are drawn whatever modalities their recordings have, so that every recipe draws the same; those without any
    that the recipe takes are of no use to it.
    """
    return having(data, _drawn_labels(recipe, data, split), recipe.data.modalities, least=1)


def _drawn_labels(recipe: Recipe, data: Labelled, split: Split) -> npt.NDArray[np.int64]:
    if recipe.finetune.labels == 1:
        return split.train
    draws = np.random.default_rng(recipe.finetune.label_draw)
    labels = data.labels[split.train]
    drawn: list[npt.NDArray[np.int64]] = []
    for label in np.unique(labels):
        rows = split.train[labels == label]
        _, firsts, unit = np.unique([data.rows[i].unit for i in rows], return_index=True, return_inverse=True)
        taken = draws.permutation(np.sort(firsts))[: max(1, round(recipe.finetune.labels * len(firsts)))]
        drawn.append(rows[np.isin(unit, unit[taken])])
    return np.sort(np.concatenate(drawn)) if drawn else split.train


def shown_rows(recipe: Recipe, data: Labelled, split: Split) -> npt.NDArray[np.int64]:
    """The recordings that pre-training sees, labelled or not: across modalities those that have two of them at least
    (all, where the objective takes all at once), or one where the recipe makes two views of it. Encoders that never
    train have the statistics of all."""
    alone = len(recipe.data.modalities) == 1 or recipe.pretrain.incomplete == "two_views"
    several = len(recipe.data.modalities) if recipe.objective.loss.doubled else 2
    least = 1 if alone or not recipe.pretrain.epochs else several
    return having(data, seen_rows(recipe, data, split), recipe.data.modalities, least)


def seen_rows(recipe: Recipe, data: Labelled, split: Split) -> npt.NDArray[np.int64]:
    """The recordings that the signals' statistics are of: all that may pre-train and have a modality of the recipe.

    A share of them is of whole streams and movements, but for the last: windows that overlap, and other cameras' views,
    would else show nearly every moment.
    """
    hidden = class_indices(data.description, recipe.pretrain.hidden_classes)
    shown = split.pretrain[np.isin(data.labels[split.pretrain], hidden, invert=True)]
    shown = having(data, shown, recipe.data.modalities, least=1)
    if recipe.pretrain.share == 1:
        return shown
    count = max(1, round(recipe.pretrain.share * len(shown)))
    rows = (data.rows[i] for i in shown)
    _, firsts, whole = np.unique([row.stream or row.unit for row in rows], return_index=True, return_inverse=True)
    order = whole[np.random.default_rng(recipe.seed).permutation(np.sort(firsts))]
    return np.sort(shown[np.argsort(np.argsort(order)[whole], kind="stable")[:count]])


def having(
    data: Labelled, rows: npt.NDArray[np.int64], modalities: Sequence[str], least: int | None = None
) -> npt.NDArray[np.int64]:
    """Those of some recordings that have all of the modalities, or so many of them at least."""
    count = np.sum([data.has[name][rows] for name in modalities], axis=0)
    return rows[count >= (len(modalities) if least is None else least)]


def batch_count(count: int, most: int) -> int:
    """The fewest batches of at most `most` recordings, but of two at least: an odd one out makes one of `most + 1`."""
    return max(1, min(math.ceil(count / most), count // 2))
