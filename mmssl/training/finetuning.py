"""Heads on frozen encoders, or encoders trained with a head, on labelled recordings."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from mmssl.objectives.terms import covariance, variance
from mmssl.recipe import head_inputs
from mmssl.training.adam import adam
from mmssl.training.batch_norm import renew
from mmssl.training.logistic import fit
from mmssl.training.model import AT_ONCE, Model
from mmssl.training.presence import Has, encoded, only, only_features, with_all
from mmssl.training.pretraining import Numbers, OnEpoch, StoppedError, augmentation, batches, last_numbers
from mmssl.training.selection import Recorded, Selection, in_memory
from mmssl.training.snapshot import Loop, Snapshot

_Change = Callable[[Mapping[str, Recorded]], Mapping[str, Recorded]]
_AT_ONCE = 16_384
"""Recordings augmented at a time where they are not all in memory."""


def finetune(
    model: Model,
    tensors: Mapping[str, Recorded],
    labels: Tensor,
    *,
    seed: int,
    on_epoch: OnEpoch,
    snapshot: Snapshot | None = None,
    has: Has | None = None,
) -> Numbers:
    """Train the heads: first that of all modalities together, then one for each modality and each subset. Each trains
    on the recordings that have the modalities it reads.

    Frozen encoders compute their features once. Where the recipe trains the encoders too, they are trained with the
    first head and frozen for the others.

    Args:
        model: its heads are trained in place, and its encoders if the recipe says so.
        tensors: standardised inputs of the labelled recordings, by modality.
        labels: class index of each, (recordings,).
        on_epoch: called for the first head only.
        snapshot: training of the encoders resumes from it; heads take seconds, and have none.
        has: which recordings have each modality; all by default.

    Returns:
        The last epoch's `train.finetune.loss` and `train.finetune.accuracy` of the first head.

    Raises:
        StoppedError: the features or the loss are not finite.
    """
    torch.manual_seed(seed)
    together, *parts = head_inputs(model.recipe)
    has = has or {name: torch.ones(len(labels), dtype=torch.bool) for name in tensors}
    if model.recipe.finetune.encoders == "trained":
        whole = with_all(has, together)
        latest = _train_with_encoders(
            model,
            {name: only(one, whole) for name, one in tensors.items()},
            only(labels, whole),
            seed,
            on_epoch,
            snapshot,
        )
        features = _finite_features(model, tensors, has, "fine-tuning", [_as_it_is])
    else:
        features = _finite_features(model, tensors, has, "pre-training", _versions(model, labels.device, seed))
        latest = _train_head(model, together, features, has, labels, seed, on_epoch)
    for reading in parts:
        _train_head(model, reading, features, has, labels, seed, lambda epoch: None)
    return latest


def _as_it_is(tensors: Mapping[str, Recorded]) -> Mapping[str, Recorded]:
    return tensors


def _versions(model: Model, device: torch.device, seed: int) -> list[_Change]:
    """The recordings as they are, then `finetune.views` augmented versions of them, but for logistic regression."""
    augment = augmentation(model, device)
    draws = torch.Generator(device=device).manual_seed(seed)

    def augmented(tensors: Mapping[str, Recorded]) -> Mapping[str, Recorded]:
        return augment(in_memory(tensors), draws)

    return [_as_it_is, *[augmented] * (0 if model.recipe.finetune.logistic else model.recipe.finetune.views)]


def _finite_features(
    model: Model, tensors: Mapping[str, Recorded], has: Has, after: str, versions: Sequence[_Change]
) -> dict[str, Tensor]:
    """Features by modality, (versions, recordings, width); NaN where a recording lacks it.

    Raises:
        StoppedError: they are not finite. The loss cannot show what the last step of training broke.
    """
    parts = [*_parts(tensors, has)]
    each = [[encoded(model, change(own), had) for own, had in parts] for change in versions]
    features = {
        name: torch.stack([torch.cat([part[name] for part in version]) for version in each]) for name in each[0][0]
    }
    broken = [name for name, one in features.items() if not only_features(one, has[name]).isfinite().all()]
    if broken:
        raise StoppedError("DIVERGED", f"after {after}: {' and '.join(broken)} features are not finite")
    return features


def _parts(tensors: Mapping[str, Recorded], has: Has) -> Iterator[tuple[Mapping[str, Recorded], Has]]:
    """All recordings where they are in memory, else as many at a time as can be augmented in memory."""
    count, whole = len(next(iter(has.values()))), any(isinstance(one, Selection) for one in tensors.values())
    for first in range(0, count, _AT_ONCE) if whole else [0]:
        some = torch.zeros(count, dtype=torch.bool)
        some[first : first + _AT_ONCE if whole else count] = True
        yield (
            {name: only(one, some) for name, one in tensors.items()},
            {name: only(own, some) for name, own in has.items()},
        )


def _train_head(
    model: Model,
    reading: Sequence[str],
    features: Mapping[str, Tensor],
    has: Has,
    labels: Tensor,
    seed: int,
    on_epoch: OnEpoch,
) -> Numbers:
    """Train one head; each batch takes one version of each recording, drawn at random."""
    head, usable = model.head(reading), with_all(has, reading)
    features, labels = {name: only_features(features[name], usable) for name in reading}, only(labels, usable)
    if model.recipe.finetune.logistic:
        loss, accuracy = fit(head, {name: own[0] for name, own in features.items()}, labels)
        numbers = {"train.finetune.loss": loss, "train.finetune.accuracy": accuracy}
        on_epoch({"phase": "finetune", "epoch": 1, **numbers})
        return numbers
    versions = len(features[reading[0]])
    draws = torch.Generator().manual_seed(seed)

    def logits(chosen: Tensor) -> tuple[Tensor, float]:
        version = torch.randint(versions, chosen.shape, generator=draws).to(chosen.device)
        return head({name: features[name][version, chosen] for name in reading}), 0.0

    return _classify(model, {"head": head}, logits, labels, seed, on_epoch)


def _train_with_encoders(
    model: Model,
    tensors: Mapping[str, Recorded],
    labels: Tensor,
    seed: int,
    on_epoch: OnEpoch,
    snapshot: Snapshot | None,
) -> Numbers:
    modalities = model.recipe.data.modalities
    head, augment = model.head(modalities), augmentation(model, labels.device)
    draws = torch.Generator(device=labels.device).manual_seed(seed)

    knobs = model.recipe.finetune

    def logits(chosen: Tensor) -> tuple[Tensor, Tensor | float]:
        views = augment({name: tensors[name][chosen] for name in modalities}, draws)
        features = {name: model.encoders[name](view) for name, view in views.items()}
        ways = {variance: knobs.variance, covariance: knobs.covariance}
        terms = [weight * term(own) for term, weight in ways.items() if weight for own in features.values()]
        return head(features), sum(terms, 0.0)

    latest = _classify(
        model, {"encoders": model.encoders, "head": head}, logits, labels, seed, on_epoch, [draws], snapshot
    )
    if model.recipe.finetune.batch_norm == "renewed":
        renew_encoders(model, head, head, tensors)
    return latest


def renew_encoders(
    model: Model, above: nn.Module, run: Callable[[dict[str, Tensor]], object], tensors: Mapping[str, Recorded]
) -> None:
    """New batch-norm statistics from all recordings given, for the encoders and for `above`, which reads their features
    in `run`."""
    first = next(iter(tensors.values()))
    order = torch.Generator().manual_seed(model.recipe.seed)
    renew(
        [model.encoders, above],
        lambda rows: run({name: model.encoders[name](x[rows]) for name, x in tensors.items()}),
        (part.to(first.device) for part in batches(len(first), AT_ONCE, order)),
    )


def _classify(
    model: Model,
    trained: Mapping[str, nn.Module],
    logits_of: Callable[[Tensor], tuple[Tensor, Tensor | float]],
    labels: Tensor,
    seed: int,
    on_epoch: OnEpoch,
    generators: Sequence[torch.Generator] = (),
    snapshot: Snapshot | None = None,
) -> Numbers:
    """Train modules by cross-entropy.

    Args:
        logits_of: takes a batch's indices; returns its logits and a penalty that is added to the loss.
        generators: what `logits_of` draws from.
    """
    knobs = model.recipe.finetune
    rates = {name: knobs.encoder_rate if name == "encoders" else 1.0 for name in trained}
    optimizer = adam(trained.values(), knobs.lr, list(rates.values()))
    order = torch.Generator().manual_seed(seed)
    loop = Loop(trained, optimizer, [order, *generators])
    done = snapshot.restore(loop) if snapshot else []
    for epoch in done:
        on_epoch(epoch)
    for module in trained.values():
        module.train()
    for epoch in range(len(done) + 1, knobs.epochs + 1):
        loss_sum = torch.zeros((), device=labels.device)
        hits = torch.zeros((), device=labels.device)
        for batch in batches(len(labels), knobs.batch_size, order):
            chosen = batch.to(labels.device)
            logits, more = logits_of(chosen)
            loss = nn.functional.cross_entropy(logits, labels[chosen])
            optimizer.zero_grad()
            (loss + more).backward()
            optimizer.step()
            loss_sum += loss.detach() * len(batch)
            hits += (logits.detach().argmax(dim=1) == labels[chosen]).sum()
        loss = float(loss_sum / len(labels))
        numbers = {"train.finetune.loss": loss, "train.finetune.accuracy": float(hits / len(labels))}
        done.append({"phase": "finetune", "epoch": epoch, **numbers})
        on_epoch(done[-1])
        if not math.isfinite(loss):
            raise StoppedError("DIVERGED", f"fine-tuning epoch {epoch}: loss is {loss}")
        if snapshot:
            snapshot.keep(loop, done, last=epoch == knobs.epochs)
    for module in trained.values():
        module.eval()
    return last_numbers(done)
