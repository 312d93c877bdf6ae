"""One trial: pre-train encoders without labels, freeze them, fine-tune a head, score."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmssl.data.moments import own_moments
from mmssl.data.protocols import Split, split
from mmssl.data.recordings import Recordings
from mmssl.data.rows import enough, having, labelled_rows, seen_rows, shown_rows
from mmssl.evaluation import by_majority, scores
from mmssl.recipe import Recipe, scored_inputs
from mmssl.training import bfloat16
from mmssl.training.finetuning import finetune, renew_encoders
from mmssl.training.health import embedding_health, unit_scale
from mmssl.training.kept import pretraining_name, trial_name
from mmssl.training.logistic import decorrelate
from mmssl.training.model import Model
from mmssl.training.operations import operations
from mmssl.training.preparation import Standardisation
from mmssl.training.prepared import Prepared
from mmssl.training.presence import OneOf, encoded, only, presence, with_all
from mmssl.training.pretraining import (
    HEALTH_SAMPLE,
    Numbers,
    OnEpoch,
    Pretraining,
    Probe,
    StoppedError,
    gpu_products,
    last_numbers,
    pretrain,
)
from mmssl.training.selection import Recorded
from mmssl.training.snapshot import Epoch, Snapshot, Snapshots
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
                has=presence(prepared, labelled, recipe.data.modalities),
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
    has = presence(prepared, shown, modalities)
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
    own = {name: only(tensor, has[name]) for name, tensor in tensors.items()}
    # Untrained encoders have no running averages: without statistics of their own they would be too low a baseline.
    # After masked pre-training the averages are of masked recordings.
    renewed = recipe.finetune.batch_norm == "renewed" or not recipe.pretrain.epochs or recipe.reconstruct.weight > 0
    if frozen and renewed:
        for name, tensor in own.items():
            projector = model.projectors[name]
            renew_encoders(
                model, projector, lambda features, up=projector: [up(x) for x in features.values()], {name: tensor}
            )
    if not frozen:
        return model, latest
    rows = {name: _sample(torch.from_numpy(shown)[has[name]], HEALTH_SAMPLE) for name in own}
    features = model.encode({name: _sample(tensor, HEALTH_SAMPLE) for name, tensor in own.items()})
    decorrelate(model, features)
    return model, latest | _without_labels(model, features, prepared, rows)


def _without_labels(
    model: Model, features: Mapping[str, Tensor], prepared: Prepared, rows: Mapping[str, Tensor]
) -> Numbers:
    """Measures of the encoders that need no labels, on recordings they were trained on.

    Args:
        features: of these, by modality.
        rows: by modality, which recordings the features are of.
    """
    found: Numbers = {}
    for name, embeddings in model.embed(features).items():
        health = embedding_health(unit_scale(model.recipe.objective, embeddings))
        found |= {f"embedding.{name}.{measure}": value for measure, value in health.items()}
        vectors, at = (_sample(one, CLUSTERED) for one in (features[name], rows[name]))
        alike = own_moments([prepared.rows[i] for i in at.tolist()])
        found[f"features.{name}.cluster_learnability"] = cluster_learnability(vectors.cpu().numpy(), alike)
    return found


def _sample(tensor: OneOf, most: int) -> OneOf:
    """At most so many recordings, drawn with a fixed seed, since files are often sorted by person."""
    if len(tensor) <= most:
        return tensor
    rows = np.sort(np.random.default_rng(0).choice(len(tensor), most, replace=False))
    return tensor[torch.from_numpy(rows).to(tensor.device)]


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
    return encoded(model, prepared.padded(model, rows), presence(prepared, rows, [modality]))[modality]


def score(
    model: Model, prepared: Prepared, chosen: npt.NDArray[np.int64], scored_split: str
) -> tuple[list[dict[str, str | float]], Numbers]:
    """Predictions for some recordings, a row each, and their metrics, named by the split they are in.

    The predictions and `SPLIT.METRIC` are those of all modalities together. Where there are several,
    `SPLIT.MODALITY.METRIC` is that of one alone, `SPLIT.ONE+OTHER.METRIC` that of a subset with a head of its own. Each
    is over the recordings that have these modalities; without any there is no metric.
    """
    has = presence(prepared, chosen, model.recipe.data.modalities)
    inputs, classes = prepared.padded(model, chosen), prepared.description.classes
    features = {name: tensor.cpu().numpy() for name, tensor in encoded(model, inputs, has).items()}
    metrics: Numbers = {}
    (together, _), *parts = scored_inputs(scored_split, model.recipe)
    for reading, prefix in parts:
        usable = with_all(has, reading).numpy()
        if usable.any():
            guesses = model.probabilities({one: features[one][usable] for one in reading}).argmax(axis=1)
            measured = scores(prepared.labels[chosen[usable]], guesses)
            metrics |= {f"{prefix}.{name}": value for name, value in measured.items()}
    whole = with_all(has, together).numpy()
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
