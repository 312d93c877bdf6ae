"""Pre-train encoders without labels, freeze them, fine-tune a head: the only training loops."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from mmssl.data.protocols import Split, split
from mmssl.data.recordings import Description, Recordings, Row
from mmssl.encoders import Projector
from mmssl.errors import UserError
from mmssl.evaluation import scores
from mmssl.model import Inputs, Model, prepare
from mmssl.objectives import barlow_twins, cmc, embedding_health, simclr, vicreg
from mmssl.recipe import Modality, Objective, Recipe
from mmssl.transforms import Standardisation, augment_imu, augment_skeleton

# VICReg holds each dimension's standard deviation at 1; a hundredth of that is a constant for every purpose.
COLLAPSED_BELOW = 0.01
# Enough embeddings to judge their health; a singular value decomposition of more would cost as much as training.
HEALTH_SAMPLE = 1024

Numbers = dict[str, float]
Epoch = dict[str, str | int | float]
OnEpoch = Callable[[Epoch], None]


class StoppedError(Exception):
    """Training has failed in a way that more epochs cannot mend."""

    def __init__(self, status: Literal["DIVERGED", "COLLAPSED"], cause: str) -> None:
        super().__init__(cause)
        self.status: Literal["DIVERGED", "COLLAPSED"] = status


@dataclass(frozen=True)
class Prepared:
    """Recordings at equal length: made once per study, read by every trial."""

    description: Description
    rows: tuple[Row, ...]
    labels: Sequence[int]
    inputs: Inputs
    """By modality, (recordings, steps, ...)."""

    @classmethod
    def of(cls, recordings: Recordings, recipe: Recipe) -> "Prepared":
        return cls(recordings.description, recordings.rows, recordings.labels.tolist(), prepare(recordings, recipe))


@dataclass
class Outcome:
    """What one trial gives."""

    status: Literal["COMPLETE", "DIVERGED", "COLLAPSED"]
    cause: str = ""
    metrics: Numbers = field(default_factory=dict[str, float])
    """By name, the split first: `train.loss`, `val.accuracy` ..."""
    seconds: Numbers = field(default_factory=dict[str, float])
    """Wall-clock by phase."""
    predictions: list[dict[str, str | float]] = field(default_factory=list[dict[str, str | float]])
    """One row per recording scored."""
    model: Model | None = None
    """What was trained; None where pre-training was stopped."""


def run_trial(
    recipe: Recipe,
    prepared: Prepared,
    sides: Split,
    *,
    on_epoch: OnEpoch = lambda epoch: None,
    device: str | torch.device = "cpu",
) -> Outcome:
    """Pre-train, freeze, fine-tune and score one recipe.

    The training side alone gives the IMU statistics, the pre-training batches and the labels of the head; the
    validation side is scored once, at the end. Two runs of one recipe give the same bits on the same machine and number
    of threads (CPU): every draw comes from `recipe.seed`.

    Args:
        on_epoch: called after each epoch of both phases with `phase`, `epoch` and that epoch's numbers.

    Returns:
        The outcome; a loss that is not finite and collapsed embeddings end it with the status that says so.

    Raises:
        UserError: fewer than two recordings to train on.
    """
    device = torch.device(device)
    if len(sides.train) < 2:
        raise UserError(f"{len(sides.train)} recordings to train on: batch statistics need 2 at least")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        init, pretraining, finetuning = (int(word) for word in np.random.SeedSequence(recipe.seed).generate_state(3))
        torch.manual_seed(init)
        standardisation = _standardisation(recipe, prepared, sides)
        model = Model.fresh(recipe, prepared.description, standardisation)
        model.encoders.to(device)
        model.head.to(device)
        tensors = model.tensors({name: array[sides.train] for name, array in prepared.inputs.items()})

        started = time.perf_counter()
        try:
            metrics = pretrain(model, tensors, seed=pretraining, on_epoch=on_epoch)
            pretrained = time.perf_counter()
            labels = np.asarray(prepared.labels, dtype=np.int64)
            train_labels = torch.from_numpy(labels[sides.train]).to(device)
            metrics |= finetune(model, tensors, train_labels, seed=finetuning, on_epoch=on_epoch)
        except StoppedError as stopped:
            return Outcome(stopped.status, str(stopped), seconds={"total": time.perf_counter() - started})
        finetuned = time.perf_counter()
        outcome = Outcome("COMPLETE", metrics=metrics, model=model)
        if len(sides.validation):
            outcome.predictions, validated = score(model, prepared, sides.validation, "val")
            outcome.metrics |= validated
        outcome.seconds = {
            "pretrain": pretrained - started,
            "finetune": finetuned - pretrained,
            "score": time.perf_counter() - finetuned,
        }
        return outcome


def train(recipe: Recipe, recordings: Recordings, *, on_epoch: OnEpoch = lambda epoch: None) -> Outcome:
    """`run_trial` from raw recordings, for use without a study; on a GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prepared, sides = Prepared.of(recordings, recipe), split(recordings, recipe.data)
    return run_trial(recipe, prepared, sides, on_epoch=on_epoch, device=device)


def pretrain(model: Model, tensors: Mapping[Modality, Tensor], *, seed: int, on_epoch: OnEpoch) -> Numbers:
    """Train the encoders by the recipe's objective, without labels (for VICReg the paper's Algorithm 1).

    With two modalities their embeddings are drawn to each other; with one, those of two augmented views.

    Args:
        model: its encoders are trained in place.
        tensors: standardised training inputs by modality, (recordings, steps, ...).

    Returns:
        The last epoch's loss terms and embedding health, named `train...`.

    Raises:
        StoppedError: the loss is not finite, or the embeddings have collapsed; it names epoch and term.
    """
    recipe, encoders = model.recipe, model.encoders
    modalities = recipe.data.modalities
    branches: tuple[Modality, ...] = modalities if len(modalities) == 2 else modalities * 2
    first = tensors[modalities[0]]
    projectors = nn.ModuleDict(
        {name: Projector(model.widths[name], recipe.encoder.projector) for name in modalities}
    ).to(first.device)
    optimizer = torch.optim.Adam([*encoders.parameters(), *projectors.parameters()], lr=recipe.pretrain.lr)
    ordering, augmenting = (int(word) for word in np.random.SeedSequence(seed).generate_state(2))
    order = torch.Generator().manual_seed(ordering)
    draws = torch.Generator(device=first.device).manual_seed(augmenting)
    augment = _augmentation(model, first.device)
    objective = _objective(recipe.objective)
    latest: Numbers = {}

    encoders.train()
    for epoch in range(1, recipe.pretrain.epochs + 1):
        sums: dict[str, Tensor] = {}
        pair: list[Tensor] = []
        for batch in _batches(len(first), recipe.pretrain.batch_size, order):
            views = [augment(name, tensors[name][batch.to(first.device)], draws) for name in branches]
            pair = [projectors[name](encoders[name](view)) for name, view in zip(branches, views, strict=True)]
            terms = objective(pair[0], pair[1])
            optimizer.zero_grad()
            terms["loss"].backward()
            optimizer.step()
            for name, term in terms.items():
                sums[name] = sums.get(name, 0) + term.detach() * (len(batch) / len(first))
        latest = {f"train.{name}": float(term) for name, term in sums.items()}
        # Of the last batch: embeddings of several would come from as many different weights.
        for name, embeddings in zip(branches, pair, strict=True):
            health = embedding_health(_at_scale(recipe.objective, embeddings.detach()[:HEALTH_SAMPLE]))
            latest |= {f"train.{name}.{measure}": value for measure, value in health.items()}
        on_epoch({"phase": "pretrain", "epoch": epoch, **latest})
        _check(epoch, list(sums), latest, branches)
    encoders.eval()
    return latest


def finetune(
    model: Model, tensors: Mapping[Modality, Tensor], labels: Tensor, *, seed: int, on_epoch: OnEpoch
) -> Numbers:
    """Train the head on the features of the frozen encoders, which are computed once.

    Args:
        model: its head is trained in place.
        tensors: standardised training inputs by modality.
        labels: class index of each recording, (recordings,).

    Returns:
        The last epoch's `train.finetune.loss` and `train.finetune.accuracy`.

    Raises:
        StoppedError: the features or the loss are not finite.
    """
    knobs, head = model.recipe.finetune, model.head
    features = model.encode(tensors)
    broken = [name for name, feature in features.items() if not feature.isfinite().all()]
    if broken:  # The last step of pre-training may have broken what its loss, taken before, did not show.
        raise StoppedError("DIVERGED", f"after pre-training: {' and '.join(broken)} features are not finite")
    optimizer = torch.optim.Adam(head.parameters(), lr=knobs.lr)
    order = torch.Generator().manual_seed(seed)
    latest: Numbers = {}
    head.train()
    for epoch in range(1, knobs.epochs + 1):
        loss_sum = torch.zeros((), device=labels.device)
        hits = torch.zeros((), device=labels.device)
        for batch in _batches(len(labels), knobs.batch_size, order):
            chosen = batch.to(labels.device)
            logits = head({name: feature[chosen] for name, feature in features.items()})
            loss = nn.functional.cross_entropy(logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.detach() * len(batch)
            hits += (logits.detach().argmax(dim=1) == labels[chosen]).sum()
        latest = {
            "train.finetune.loss": float(loss_sum / len(labels)),
            "train.finetune.accuracy": float(hits / len(labels)),
        }
        on_epoch({"phase": "finetune", "epoch": epoch, **latest})
        if not math.isfinite(latest["train.finetune.loss"]):
            raise StoppedError("DIVERGED", f"fine-tuning epoch {epoch}: loss is {latest['train.finetune.loss']}")
    head.eval()
    return latest


def score(
    model: Model, prepared: Prepared, chosen: np.ndarray, side: str
) -> tuple[list[dict[str, str | float]], Numbers]:
    """Predictions for some recordings, a row each, and their metrics under the name of the side they are on."""
    features = model.encode(model.tensors({name: array[chosen] for name, array in prepared.inputs.items()}))
    probabilities = model.probabilities({name: tensor.cpu().numpy() for name, tensor in features.items()})
    labels, predicted = np.asarray(prepared.labels, dtype=np.int64)[chosen], probabilities.argmax(axis=1)
    classes = prepared.description.classes
    rows: list[dict[str, str | float]] = [
        {
            "split": side,
            "recording_id": prepared.rows[i].recording_id,
            "subject": prepared.rows[i].subject,
            "label": classes[label],
            "predicted": classes[guess],
            "confidence": float(row[guess]),
        }
        for i, label, guess, row in zip(chosen, labels, predicted, probabilities, strict=True)
    ]
    return rows, {f"{side}.{name}": value for name, value in scores(labels, predicted).items()}


def _standardisation(recipe: Recipe, prepared: Prepared, sides: Split) -> Standardisation:
    if "imu" not in recipe.data.modalities:
        channels = len(prepared.description.imu_channels)
        return Standardisation(np.zeros(channels, np.float32), np.ones(channels, np.float32))
    return Standardisation.fit(prepared.inputs["imu"][sides.train])


def _augmentation(model: Model, device: torch.device) -> Callable[[Modality, Tensor, torch.Generator], Tensor]:
    description, knobs = model.description, model.recipe.augment
    index = {channel: i for i, channel in enumerate(description.imu_channels)}
    triads = [[(index[x], index[y], index[z]) for x, y, z in sensor] for sensor in description.imu_sensors]
    raw = (
        torch.from_numpy(model.standardisation.mean).to(device),
        torch.from_numpy(model.standardisation.std).to(device),
    )

    def augment(modality: Modality, batch: Tensor, draws: torch.Generator) -> Tensor:
        if modality == "imu":
            return augment_imu(batch, knobs.imu, draws, triads, raw)
        return augment_skeleton(batch, knobs.skeleton, draws)

    return augment


def _batches(count: int, most: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """All recordings in random order, in the fewest batches of at most `most`, as equal as can be.

    Equal, because the statistics that VICReg takes over a short last batch would be noise; never one recording alone,
    of which there are none (an odd one out makes a batch of `most + 1`).
    """
    return torch.randperm(count, generator=generator).tensor_split(max(1, min(math.ceil(count / most), count // 2)))


def _objective(knobs: Objective) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    match knobs.name:
        case "vicreg":
            return partial(vicreg, lambda_=knobs.lambda_, mu=knobs.mu, nu=knobs.nu)
        case "barlow_twins":
            return partial(barlow_twins, beta=knobs.beta)
        case "simclr":
            return partial(simclr, temperature=knobs.temperature)
        case "cmc":
            return partial(cmc, temperature=knobs.temperature)


def _at_scale(knobs: Objective, embeddings: Tensor) -> Tensor:
    """Embeddings at the scale at which a healthy dimension deviates by about 1: only VICReg keeps them there itself."""
    if knobs.name == "vicreg":
        return embeddings
    return nn.functional.normalize(embeddings, dim=1) * math.sqrt(embeddings.shape[1])


def _check(epoch: int, terms: Sequence[str], numbers: Numbers, branches: Sequence[Modality]) -> None:
    for name in sorted(terms, key=lambda term: term == "loss"):  # a part tells more than the sum
        value = numbers[f"train.{name}"]
        if not math.isfinite(value):
            raise StoppedError("DIVERGED", f"epoch {epoch}: {name} is {value}")
    for name in branches:
        spread = numbers[f"train.{name}.std"]
        if spread < COLLAPSED_BELOW:
            raise StoppedError(
                "COLLAPSED",
                f"epoch {epoch}: {name} embeddings have standard deviation {spread:.2g} (< {COLLAPSED_BELOW})",
            )
