"""Pre-train several trials as one stacked model: faster on a GPU that one small model leaves idle, slower on a CPU."""

import time
from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import nn

from mmssl.data.protocols import Split
from mmssl.lease import HeldError
from mmssl.recipe import Recipe
from mmssl.training.adam import adam
from mmssl.training.kept import pretraining_name
from mmssl.training.prepared import Prepared
from mmssl.training.pretraining import Pretraining, StoppedError, precision, pretrain, set_rate
from mmssl.training.snapshot import Epoch, Loop, Snapshot
from mmssl.training.stack import Stack
from mmssl.training.trial import Cache, Files, Pretrain, fresh, pretrained_files, seeds

Stacked = tuple[Recipe, Split]
_MEMBER = "member"
"""In a snapshot of several models: the key of the model that an epoch belongs to."""


def with_others(stacked: Sequence[Stacked], prepared: Prepared, device: torch.device, cache: Cache) -> Pretrain:
    """Pre-train a model together with those of other trials, which are then cached. Models that are cached already, or
    that another process is pre-training, are left out."""

    def by(training: Pretraining, snapshot: Snapshot | None) -> int:
        others: dict[str, Pretraining] = {}

        def train(rest: Sequence[Stacked]) -> None:
            if not rest:
                if others:
                    pretrain_together([training, *others.values()], snapshot)
                else:
                    pretrain(training, snapshot)
                return
            (recipe, split), *further = rest
            name = pretraining_name(recipe, prepared.fingerprint)

            def make() -> Files:
                _, seed, _ = seeds(recipe)
                others[name] = other = Pretraining(*fresh(recipe, prepared, split, device), seed=seed)
                train(further)
                return pretrained_files(other, other.epochs, 1 + len(others))

            # A model that diverges or collapses is not cached: its own trial will end the same way, and be recorded.
            # One that another process trains is not waited for: that process may be waiting for this one.
            with suppress(StoppedError, HeldError):
                cache(name, make, wait=False)
            if name not in others:
                train(further)

        train(stacked)
        return 1 + len(others)

    return by


def pretrain_together(trainings: Sequence[Pretraining], snapshot: Snapshot | None = None) -> None:
    """Train several models as one with stacked weights: each kernel of the networks runs once for all of them.

    Each model draws what it would draw alone, dropout included (on a CPU; a GPU's own dropout draws otherwise), and its
    losses are the same up to rounding. One that is stopped does not affect the others.

    Args:
        trainings: without probes, equal by `alike`; their models are trained in place, and those that are stopped have
            the reason in `stopped`.
        snapshot: of all of them; training resumes from it.
    """
    first = trainings[0]
    recipe, device = first.model.recipe, first.device
    stacks = {
        name: Stack([nn.Sequential(one.model.encoders[name], one.model.projectors[name]) for one in trainings])
        for name in dict.fromkeys(first.branches)
    }
    dropout = [torch.Generator(device=device).manual_seed(one.seed) for one in trainings]
    optimizer = adam(stacks.values(), recipe.pretrain.lr)
    loop = Loop(stacks, optimizer, [*dropout, *(generator for one in trainings for generator in one.generators)])
    reported = snapshot.restore(loop) if snapshot else []
    for epoch in reported:
        trainings[int(epoch[_MEMBER])].report({name: value for name, value in epoch.items() if name != _MEMBER})
    done = max((len(one.epochs) for one in trainings), default=0)
    for number in range(done + 1, recipe.pretrain.epochs + 1):
        steps = list(zip(*(one.batches() for one in trainings), strict=True))
        for step, together in enumerate(steps, start=(number - 1) * len(steps)):
            set_rate(optimizer, recipe.pretrain, step, len(steps))
            views = [one.views(batch) for one, batch in zip(trainings, together, strict=True)]
            with precision(recipe, device):
                embeddings = [
                    stacks[name](torch.stack([pair[branch] for pair in views]), dropout)
                    for branch, name in enumerate(first.branches)
                ]
            losses = [
                one.loss([branch[i] for branch in embeddings], batch)
                for i, (one, batch) in enumerate(zip(trainings, together, strict=True))
            ]
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()
        for member, one in enumerate(trainings):
            if one.stopped is None:
                one.end_epoch()
                reported.append({_MEMBER: member, **one.epochs[-1]})
        if all(one.stopped for one in trainings):
            break
        if snapshot:
            snapshot.keep(loop, reported, last=number == recipe.pretrain.epochs)
    for name, stack in stacks.items():
        stack.unstack([nn.Sequential(one.model.encoders[name], one.model.projectors[name]) for one in trainings])
    for one in trainings:
        one.model.encoders.eval()
        one.model.projectors.eval()


def alike(recipe: Recipe) -> str:
    """A key: recipes with the same one can pre-train together, on equally many recordings; empty where none can."""
    # Guides are pre-trained apart; modules of an objective or a reconstruction are not stacked; with hidden classes the
    # number of recordings differs; torch cannot stack batch norms in bfloat16.
    training, loss = recipe.pretrain, recipe.objective.loss
    if loss.guided or loss.learns or training.hidden_classes or training.precision == "bfloat16":
        return ""
    if not training.epochs or recipe.reconstruct.weight:
        return ""
    return str((recipe.data.steps, recipe.data.modalities, loss.doubled, recipe.encoder, recipe.pretrain))


def rates(
    recipe: Recipe, prepared: Prepared, split: Split, device: torch.device, counts: Sequence[int] = (1, 2, 4, 8)
) -> dict[int, float]:
    """Epochs of pre-training per second, summed over the models, by how many train as one; as far as memory allows."""
    found: dict[int, float] = {}
    for count in counts:
        ends: list[float] = []

        def on_epoch(epoch: Epoch, ends: list[float] = ends) -> None:
            ends.append(time.perf_counter())  # The numbers have been read, so a GPU has finished the epoch.

        # The first epoch warms up.
        few = recipe.with_knobs({"pretrain.epochs": 4})
        try:
            trainings = [
                Pretraining(
                    *fresh(few, prepared, split, device), seed=i, on_epoch=on_epoch if i == 0 else lambda epoch: None
                )
                for i in range(count)
            ]
            if count == 1:
                pretrain(trainings[0])
            else:
                pretrain_together(trainings)
        except torch.OutOfMemoryError:
            break
        found[count] = count * (len(ends) - 1) / (ends[-1] - ends[0])
    return found
