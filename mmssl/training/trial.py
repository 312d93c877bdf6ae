"""One trial: pre-train encoders without labels, freeze them, fine-tune a head, score."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmssl.data.moments import own_moments
from mmssl.data.protocols import Split, split
from mmssl.data.recordings import Recordings
from mmssl.data.rows import enough, having, labelled_rows, seen_rows, shown_rows
from mmssl.evaluation import by_majority, scores
from mmssl.objectives.terms import covariance, variance
from mmssl.recipe import Recipe, head_inputs, scored_inputs
from mmssl.training import bfloat16
from mmssl.training.adam import adam
from mmssl.training.batch_norm import renew
from mmssl.training.health import embedding_health, unit_scale
from mmssl.training.kept import pretraining_name, trial_name
from mmssl.training.model import AT_ONCE, Model
from mmssl.training.operations import operations
from mmssl.training.preparation import Standardisation
from mmssl.training.prepared import Prepared
from mmssl.training.pretraining import (
    HEALTH_SAMPLE,
    Numbers,
    OnEpoch,
    Pretraining,
    Probe,
    StoppedError,
    augmentation,
    batches,
    gpu_products,
    last_numbers,
    pretrain,
)
from mmssl.training.selection import Recorded, Selection, in_memory
from mmssl.training.snapshot import Epoch, Loop, Snapshot, Snapshots
from mmssl.unlabelled import cluster_learnability

Files = Mapping[str, bytes]


class Cache(Protocol):
    def __call__(self, name: str, make: Callable[[], Files], /, *, wait: bool = True) -> Files:
        """Make files at the first call with a name, and return those kept from then on.

        Raises:
            HeldError: another process is making them, and `wait` is False.
        """
        ...


Pretrain = Callable[[Pretraining, Snapshot | None], int]
"""Pre-trains a model, perhaps with others; returns how many."""
CLUSTERED = 512
"""Most recordings to cluster: the cost grows with the square of their number."""
_AT_ONCE = 16_384
"""Recordings augmented at a time where they are not all in memory."""
_WEIGHTS, _EPOCHS = "encoders.safetensors", "epochs.json"
_PRETRAINED = ("encoders", "projectors")


@dataclass
class Outcome:
    """The result of one trial."""

    status: Literal["COMPLETE", "DIVERGED", "COLLAPSED"]
    cause: str = ""
    metrics: Numbers = field(default_factory=dict[str, float])
    """By name, the split first: `train.loss`, `val.accuracy` ..."""
    seconds: Numbers = field(default_factory=dict[str, float])
    """Wall-clock by phase."""
    predictions: list[dict[str, str | float]] = field(default_factory=list[dict[str, str | float]])
    """One row per recording scored."""
    model: Model | None = None
    """The trained model; None where training was stopped."""


def run_trial(
    recipe: Recipe,
    prepared: Prepared,
    split: Split,
    *,
    scored_split: Literal["val", "test"] = "val",
    on_epoch: OnEpoch = lambda epoch: None,
    device: str | torch.device = "cpu",
    cache: Cache | None = None,
    snapshots: Snapshots | None = None,
    probe_every: int | None = None,
    by: Pretrain = pretrain,
) -> Outcome:
    """Pre-train, freeze, fine-tune and score one recipe.

    The signals' statistics and the pre-training batches come from `split.pretrain`, the heads' labels from
    `split.train`; the scored split is used at the end, and by the probe. Two runs of one recipe give the same bits on
    the same machine with the same number of threads (CPU): every draw comes from `recipe.seed`, the choice of labels
    from `finetune.label_draw`.

    Args:
        scored_split: the split to score.
        on_epoch: called after each epoch of every phase with `phase`, `epoch` and that epoch's numbers.
        cache: keeps pre-trained encoders for the trials that share them. Pre-training that is probed bypasses it: the
            probe's scores belong to one trial.
        snapshots: training resumes from its snapshots; the caller removes them.
        probe_every: epochs from one probe to the next. A probe is a linear classifier on the encoders as they are; its
            score on the scored split is reported as `probe.accuracy`, and does not change training.
        by: how to pre-train, where it is not probed.

    Returns:
        The outcome. Its status is DIVERGED where a loss is not finite, COLLAPSED where the embeddings have collapsed.

    Raises:
        UserError: fewer than two recordings or labels to train on, or a hidden class that does not exist.
    """
    device = torch.device(device)
    *_, finetuning = seeds(recipe)
    rows = split.scored(scored_split)
    labelled = labelled_rows(recipe, prepared, split)
    enough(recipe, prepared, split)
    whole, scored_whole = (having(prepared, some, recipe.data.modalities) for some in (labelled, rows))
    probe = Probe(prepared, whole, scored_whole, probe_every) if probe_every else None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), gpu_products(tfloat32=False):
        started = time.perf_counter()
        try:
            model, metrics = pretrained(
                recipe,
                prepared,
                split,
                on_epoch=on_epoch,
                device=device,
                cache=cache,
                snapshots=snapshots,
                probe=probe,
                by=by,
            )
            ready = time.perf_counter()
            labels = torch.from_numpy(prepared.labels[labelled]).to(device)
            metrics |= finetune(
                model,
                prepared.padded(model, labelled),
                labels,
                has=_has(prepared, labelled, recipe.data.modalities),
                seed=finetuning,
                on_epoch=on_epoch,
                snapshot=snapshots(trial_name(recipe, prepared.fingerprint)) if snapshots else None,
            )
        except StoppedError as stopped:
            return Outcome(stopped.status, str(stopped), seconds={"total": time.perf_counter() - started})
        finetuned = time.perf_counter()
        outcome = Outcome("COMPLETE", metrics=metrics | _costs(model, prepared), model=model)
        if len(having(prepared, rows, recipe.data.modalities, least=1)):
            outcome.predictions, scored = score(model, prepared, rows, scored_split)
            outcome.metrics |= scored
        outcome.seconds = {
            "pretrain": ready - started,
            "finetune": finetuned - ready,
            "score": time.perf_counter() - finetuned,
        }
        return outcome


def train(recipe: Recipe, recordings: Recordings, *, on_epoch: OnEpoch = lambda epoch: None) -> Outcome:
    """Train and score one recipe on raw recordings, without a study; on a GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prepared = Prepared.of(recordings, recipe.data.steps, recipe.data.modalities)
    return run_trial(recipe, prepared, split(recordings, recipe.data), on_epoch=on_epoch, device=device)


def pretrained(
    recipe: Recipe,
    prepared: Prepared,
    split: Split,
    *,
    on_epoch: OnEpoch,
    device: torch.device,
    cache: Cache | None = None,
    snapshots: Snapshots | None = None,
    probe: Probe | None = None,
    by: Pretrain = pretrain,
) -> tuple[Model, Numbers]:
    """A model with pre-trained encoders and new heads, and the numbers of its pre-training.

    Encoders from `cache` report their epochs to `on_epoch` as if they had just been trained.

    Returns:
        The model, and its numbers: the last epoch's `train...`; `embedding...` and `features...` of a sample of the
        training recordings; `pretrained_together`, how many models trained as one, where there were several.

    Raises:
        StoppedError: as `pretrain`.
        UserError: a hidden class does not exist.
    """
    model, tensors = fresh(recipe, prepared, split, device)
    shown, modalities = shown_rows(recipe, prepared, split), recipe.data.modalities
    has = _has(prepared, shown, modalities)
    latest: Numbers = {}
    if recipe.pretrain.epochs:
        reported: list[Epoch] = []
        name = pretraining_name(recipe, prepared.fingerprint)
        # Epochs with probes belong to one trial, and so does the snapshot that holds them.
        snapshot = snapshots(trial_name(recipe, prepared.fingerprint) if probe else name) if snapshots else None

        def report(epoch: Epoch) -> None:
            reported.append(epoch)
            on_epoch(epoch)

        def make() -> Files:
            kinds = prepared.description.kinds
            guides = [
                _guide(
                    recipe.guide_of(modality, kinds[modality]), prepared, split, shown, report, device, cache, snapshots
                )
                for modality in (modalities if recipe.objective.loss.guided else ())
            ]
            _, seed, _ = seeds(recipe)
            training = Pretraining(model, tensors, seed=seed, on_epoch=report, guides=guides, probe=probe, has=has)
            rounded = bfloat16.products(device) if recipe.pretrain.precision == "bfloat16" else nullcontext()
            with gpu_products(tfloat32=recipe.pretrain.precision == "tfloat32"), rounded:
                count = pretrain(training, snapshot) if probe else by(training, snapshot)
            return pretrained_files(training, reported, count)

        if cache is not None and probe is None:
            kept = cache(name, make)
            document = json.loads(kept[_EPOCHS])
            if not reported:
                model.load_weights(kept[_WEIGHTS], *_PRETRAINED)
                for epoch in document["epochs"]:
                    report(epoch)
            beside = {"pretrained_together": document["together"]} if document["together"] > 1 else {}
        else:
            make()
            beside = {}
        latest = last_numbers(reported) | beside
    frozen = recipe.finetune.encoders == "frozen"
    own = {name: _of(tensor, has[name]) for name, tensor in tensors.items()}
    # Untrained encoders have no running averages: without statistics of their own they would be too low a baseline.
    # After masked pre-training the averages are of masked recordings.
    renewed = recipe.finetune.batch_norm == "renewed" or not recipe.pretrain.epochs or recipe.reconstruct.weight > 0
    if frozen and renewed:
        for name, tensor in own.items():
            projector = model.projectors[name]
            _renew(model, projector, lambda features, up=projector: [up(x) for x in features.values()], {name: tensor})
    rows = {name: torch.from_numpy(shown)[has[name]] for name in own}
    return model, latest | (_without_labels(model, own, prepared, rows) if frozen else {})


def _without_labels(
    model: Model, tensors: Mapping[str, Recorded], prepared: Prepared, rows: Mapping[str, Tensor]
) -> Numbers:
    """Measures of the encoders that need no labels, on the recordings they were trained on.

    Args:
        rows: by modality, which recordings the tensors are of.
    """
    features = model.encode({name: _sample(tensor, HEALTH_SAMPLE) for name, tensor in tensors.items()})
    found: Numbers = {}
    for name, embeddings in model.embed(features).items():
        health = embedding_health(unit_scale(model.recipe.objective, embeddings))
        found |= {f"embedding.{name}.{measure}": value for measure, value in health.items()}
        vectors, at = (_sample(one, CLUSTERED) for one in (features[name], _sample(rows[name], HEALTH_SAMPLE)))
        alike = own_moments([prepared.rows[i] for i in at.tolist()])
        found[f"features.{name}.cluster_learnability"] = cluster_learnability(vectors.cpu().numpy(), alike)
    return found


_OneOf = TypeVar("_OneOf", Tensor, Recorded)


def _sample(tensor: _OneOf, most: int) -> _OneOf:
    """At most so many recordings, drawn with a fixed seed, since files are often sorted by person."""
    if len(tensor) <= most:
        return tensor
    rows = np.sort(np.random.default_rng(0).choice(len(tensor), most, replace=False))
    return tensor[torch.from_numpy(rows).to(tensor.device)]


Has = Mapping[str, Tensor]
"""By modality, which recordings have it: (recordings,) of bool."""


def _has(prepared: Prepared, rows: npt.NDArray[np.int64], modalities: Sequence[str]) -> Has:
    return {name: torch.from_numpy(prepared.has[name][rows]) for name in modalities}


def _of(tensor: _OneOf, has: Tensor) -> _OneOf:
    """Only the recordings that have it."""
    if has.all():
        return tensor
    return tensor.where(has) if isinstance(tensor, Selection) else tensor[has.to(tensor.device)]


def _among(features: Tensor, has: Tensor) -> Tensor:
    """The same for features, (versions, recordings, width)."""
    return features if has.all() else features[:, has.to(features.device)]


def _all_of(has: Has, reading: Sequence[str]) -> Tensor:
    """Which recordings have all modalities that a head reads."""
    return torch.stack([has[name] for name in reading]).all(dim=0)


def fresh(recipe: Recipe, prepared: Prepared, split: Split, device: torch.device) -> tuple[Model, dict[str, Recorded]]:
    """A new model and the inputs it pre-trains on, NaN where a recording lacks a modality."""
    init, *_ = seeds(recipe)
    torch.manual_seed(init)
    seen = seen_rows(recipe, prepared, split)
    model = Model.fresh(recipe, prepared.description, _standardisations(recipe, prepared, seen)).to(device)
    return model, prepared.padded(model, shown_rows(recipe, prepared, split))


def pretrained_files(training: Pretraining, epochs: Sequence[Epoch], together: int) -> Files:
    """The files that keep a pre-training.

    Args:
        together: how many were trained as one model.

    Raises:
        StoppedError: the pre-training was stopped.
    """
    if training.stopped:
        raise training.stopped
    document = {"epochs": epochs, "together": together}
    return {_WEIGHTS: training.model.weights(*_PRETRAINED), _EPOCHS: json.dumps(document).encode()}


def _guide(
    recipe: Recipe,
    prepared: Prepared,
    split: Split,
    rows: npt.NDArray[np.int64],
    on_epoch: OnEpoch,
    device: torch.device,
    cache: Cache | None,
    snapshots: Snapshots | None,
) -> Tensor:
    """One modality's guide: features of the recordings that pre-train, (recordings, width), by an encoder trained for
    it; NaN where a recording lacks the modality."""
    [modality] = recipe.data.modalities
    phase = f"guide.{modality}"
    try:
        model, _ = pretrained(
            recipe,
            prepared,
            split,
            on_epoch=lambda epoch: on_epoch({**epoch, "phase": phase}),
            device=device,
            cache=cache,
            snapshots=snapshots,
        )
    except StoppedError as stopped:
        raise StoppedError(stopped.status, f"{phase}: {stopped}") from stopped
    if cache and snapshots:  # The encoder is in the cache, and the caller does not know of this snapshot.
        snapshots(pretraining_name(recipe, prepared.fingerprint)).drop()
    return _encoded(model, prepared.padded(model, rows), _has(prepared, rows, [modality]))[modality]


def _encoded(model: Model, tensors: Mapping[str, Recorded], has: Has) -> dict[str, Tensor]:
    """Features, (recordings, width) by modality; NaN where a recording lacks it."""
    found: dict[str, Tensor] = {}
    for name, features in model.encode({one: _of(tensor, has[one]) for one, tensor in tensors.items()}).items():
        if len(features) == len(has[name]):
            found[name] = features
        else:
            found[name] = features.new_full((len(has[name]), features.shape[1]), math.nan)
            found[name][has[name].to(features.device)] = features
    return found


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
        whole = _all_of(has, together)
        latest = _train_with_encoders(
            model,
            {name: _of(one, whole) for name, one in tensors.items()},
            _of(labels, whole),
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


_Change = Callable[[Mapping[str, Recorded]], Mapping[str, Recorded]]


def _as_it_is(tensors: Mapping[str, Recorded]) -> Mapping[str, Recorded]:
    return tensors


def _versions(model: Model, device: torch.device, seed: int) -> list[_Change]:
    """The recordings as they are, then `finetune.views` augmented versions of them."""
    augment = augmentation(model, device)
    draws = torch.Generator(device=device).manual_seed(seed)

    def augmented(tensors: Mapping[str, Recorded]) -> Mapping[str, Recorded]:
        return augment(in_memory(tensors), draws)

    return [_as_it_is, *[augmented] * model.recipe.finetune.views]


def _finite_features(
    model: Model, tensors: Mapping[str, Recorded], has: Has, after: str, versions: Sequence[_Change]
) -> dict[str, Tensor]:
    """Features by modality, (versions, recordings, width); NaN where a recording lacks it.

    Raises:
        StoppedError: they are not finite. The loss cannot show what the last step of training broke.
    """
    parts = [*_parts(tensors, has)]
    each = [[_encoded(model, change(own), had) for own, had in parts] for change in versions]
    features = {
        name: torch.stack([torch.cat([part[name] for part in version]) for version in each]) for name in each[0][0]
    }
    broken = [name for name, one in features.items() if not _among(one, has[name]).isfinite().all()]
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
            {name: _of(one, some) for name, one in tensors.items()},
            {name: _of(own, some) for name, own in has.items()},
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
    head, usable = model.head(reading), _all_of(has, reading)
    features, labels = {name: _among(features[name], usable) for name in reading}, _of(labels, usable)
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
        _renew(model, head, head, tensors)
    return latest


def _renew(
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


def score(
    model: Model, prepared: Prepared, chosen: npt.NDArray[np.int64], scored_split: str
) -> tuple[list[dict[str, str | float]], Numbers]:
    """Predictions for some recordings, a row each, and their metrics, named by the split they are in.

    The predictions and `SPLIT.METRIC` are those of all modalities together. Where there are several,
    `SPLIT.MODALITY.METRIC` is that of one alone, `SPLIT.ONE+OTHER.METRIC` that of a subset with a head of its own. Each
    is over the recordings that have these modalities; without any there is no metric.
    """
    has = _has(prepared, chosen, model.recipe.data.modalities)
    encoded = _encoded(model, prepared.padded(model, chosen), has)
    features, classes = {name: tensor.cpu().numpy() for name, tensor in encoded.items()}, prepared.description.classes
    metrics: Numbers = {}
    (together, _), *parts = scored_inputs(scored_split, model.recipe)
    for reading, prefix in parts:
        usable = _all_of(has, reading).numpy()
        if usable.any():
            guesses = model.probabilities({one: features[one][usable] for one in reading}).argmax(axis=1)
            measured = scores(prepared.labels[chosen[usable]], guesses)
            metrics |= {f"{prefix}.{name}": value for name, value in measured.items()}
    whole = _all_of(has, together).numpy()
    chosen, labels = chosen[whole], prepared.labels[chosen[whole]]
    if not len(chosen):
        return [], metrics
    probabilities = model.probabilities({name: own[whole] for name, own in features.items()})
    predicted = probabilities.argmax(axis=1)
    own = {f"{scored_split}.{name}": value for name, value in scores(labels, predicted).items()}
    units = [prepared.rows[i].unit for i in chosen]
    if any(prepared.rows[i].source for i in chosen):
        voted = scores(*by_majority(units, labels, probabilities))
        own |= {f"{scored_split}.interval.{name}": value for name, value in voted.items()}
    metrics = own | metrics
    rows: list[dict[str, str | float]] = [
        {
            "split": scored_split,
            "recording_id": prepared.rows[i].recording_id,
            "unit": prepared.rows[i].unit,
            "subject": prepared.rows[i].subject,
            "label": classes[label],
            "predicted": classes[guess],
            "confidence": float(row[guess]),
        }
        for i, label, guess, row in zip(chosen, labels, predicted, probabilities, strict=True)
    ]
    return rows, metrics


def _costs(model: Model, prepared: Prepared) -> Numbers:
    """The encoders' cost: their parameters, and floating-point operations for one recording."""
    return {
        "encoders.parameters": sum(weight.numel() for weight in model.encoders.parameters()),
        "encoders.flops": operations(lambda: model.encode(prepared.padded(model, np.arange(1)))),
    }


def seeds(recipe: Recipe) -> tuple[int, int, int]:
    """The seeds of the initial weights, of pre-training and of fine-tuning."""
    init, pretraining, finetuning = (int(word) for word in np.random.SeedSequence(recipe.seed).generate_state(3))
    return init, pretraining, finetuning


def _standardisations(recipe: Recipe, prepared: Prepared, rows: npt.NDArray[np.int64]) -> dict[str, Standardisation]:
    """One for each signal that the recipe takes, over some recordings."""
    signals = [one for one in recipe.data.modalities if one in prepared.description.signals]
    return {name: prepared.standardisation(name, having(prepared, rows, [name])) for name in signals}
