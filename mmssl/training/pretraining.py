"""Train one trial's encoders without labels, with the recipe's objective."""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from mmssl.data.rows import batch_count
from mmssl.objectives import over_pairs
from mmssl.recipe import COLLAPSED_BELOW, Augment, Kind, Pretrain, Recipe, augmentation_apart
from mmssl.training.adam import adam
from mmssl.training.health import embedding_health, unit_scale
from mmssl.training.incomplete import Incomplete
from mmssl.training.masking import Masking
from mmssl.training.model import Model
from mmssl.training.prepared import Prepared
from mmssl.training.selection import Recorded
from mmssl.training.snapshot import Epoch, Loop, Snapshot
from mmssl.training.transforms import augment_signal, augment_skeleton, crop_together

# Enough embeddings to judge their health; a singular value decomposition of more would cost as much as training.
HEALTH_SAMPLE = 1024

Numbers = dict[str, float]
OnEpoch = Callable[[Epoch], None]


class StoppedError(Exception):
    """Training has failed beyond recovery."""

    def __init__(self, status: Literal["DIVERGED", "COLLAPSED"], cause: str) -> None:
        super().__init__(cause)
        self.status: Literal["DIVERGED", "COLLAPSED"] = status


class Pretraining:
    """One trial's pre-training: its random draws, its loss and its numbers. Its networks may train in a stack.

    Args:
        model: its encoders and projectors are trained in place.
        tensors: standardised training inputs by modality, (recordings, steps, ...).
        seed: of every draw.
        on_epoch: called with each epoch's loss terms and embedding health, named `train...`.
        guides: for a guided objective, features of the same recordings for each modality, (recordings, any width).
        probe: adds its score to the epochs in which it is due.
        has: by modality, which recordings have it, (recordings,) of bool; all by default.
    """

    def __init__(
        self,
        model: Model,
        tensors: Mapping[str, Recorded],
        *,
        seed: int,
        on_epoch: OnEpoch = lambda epoch: None,
        guides: Sequence[Tensor] = (),
        probe: "Probe | None" = None,
        has: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.model, self.seed, self.probe = model, seed, probe
        self.stopped: StoppedError | None = None
        self.epochs: list[Epoch] = []
        self.tensors, self._on_epoch = tensors, on_epoch
        modalities, loss = model.recipe.data.modalities, model.recipe.objective.loss
        self.branches: tuple[str, ...] = modalities if len(modalities) > 1 and not loss.doubled else modalities * 2
        first = next(iter(tensors.values()))
        self.recordings, self.device = len(first), first.device
        ordering, augmenting = (int(word) for word in np.random.SeedSequence(seed).generate_state(2))
        self._order = torch.Generator().manual_seed(ordering)
        self._draws = torch.Generator(device=self.device).manual_seed(augmenting)
        self._augment = augmentation(model, self.device)
        self._objective = loss.with_knobs(model.recipe.objective, self._draws)
        self.learned = _learned(model, len(self.branches), seed).to(self.device)
        self._guides = guides
        lacks = has is not None and not all(own.all() for own in has.values())
        kinds: set[Kind] = {model.description.kinds[name] for name in modalities}
        apart = augmentation_apart(model.recipe.augment, *kinds)
        self._augment_apart = augmentation(model, self.device, apart)
        self._incomplete = Incomplete(has, model.recipe) if has is not None and lacks else None
        self.masking = _new(lambda: Masking(model), seed).to(self.device) if model.recipe.reconstruct.weight else None
        self._whole: list[Tensor] = []
        self._hidden: list[Tensor] = []
        self._sums: dict[str, Tensor] = {}
        self._counted = 0
        self._embedded: dict[int, Tensor] = {}

    @property
    def generators(self) -> list[torch.Generator]:
        """The generators it draws from, except torch's global one."""
        return [self._order, self._draws]

    def batches(self) -> tuple[Tensor, ...]:
        """The indices of an epoch's batches."""
        return tuple(
            batch.to(self.device)
            for batch in batches(self.recordings, self.model.recipe.pretrain.batch_size, self._order)
        )

    def views(self, batch: Tensor) -> list[Tensor]:
        """Augmented views of a batch, one for each branch; masked where the recipe says so.

        Where recordings lack a modality, the views are of those that have it; a branch without any has an empty view.
        """
        views = self._augmented(batch)
        if self.masking is None:
            return views
        named = zip(self.branches, views, strict=True)
        hidden = [self.masking.mask(view, name, self._draws) for name, view in named]
        self._whole, self._hidden = views, hidden
        return [view.masked_fill(where, 0) for view, where in zip(views, hidden, strict=True)]

    def _augmented(self, batch: Tensor) -> list[Tensor]:
        shown: dict[str, Tensor] = {name: tensor[batch] for name, tensor in self.tensors.items()}
        if self._incomplete:
            ways = [partial(augment, shown, self._draws) for augment in (self._augment, self._augment_apart)]
            return self._incomplete.views(batch, *(lambda way=way: [*way().values()] for way in ways))
        copies = len(self.branches) // len(shown)
        return [view for _ in range(copies) for view in self._augment(shown, self._draws).values()]

    def loss(self, views: Sequence[Tensor], batch: Tensor, features: Sequence[Tensor] = ()) -> Tensor:
        """The loss of the views' embeddings, each (batch, D); its terms are added to the epoch's.

        Args:
            features: of the same views, each (batch, width); needed where views are masked.
        """
        embedded = [embeddings.float() for embeddings in views]
        guides = [guide[batch] for guide in self._guides]
        if self._incomplete:
            terms = self._incomplete.terms(self._objective, embedded, guides, [*self.learned], batch)
        elif self.model.recipe.objective.loss.doubled:
            terms = self._objective(embedded)
        else:
            terms = over_pairs(self._objective, embedded, guides, [*self.learned])
        if self.masking:
            shown = zip(features, self.branches, self._whole, self._hidden, strict=True)
            errors = [self.masking.error(*view) for view in shown if len(view[0])]
            error = torch.stack(errors).mean()
            terms["loss"] = terms["loss"] + self.model.recipe.reconstruct.weight * error
            terms["reconstruction"] = error
        # A branch without recordings in this batch keeps its embeddings of the batch before.
        self._embedded |= {i: own.detach() for i, own in enumerate(embedded) if len(own)}
        self._counted += len(batch)
        for name, term in terms.items():
            self._sums[name] = self._sums.get(name, 0) + term.detach() * (len(batch) / self.recordings)
        return terms["loss"]

    def end_epoch(self) -> None:
        """Report the epoch's numbers, with a probe where one is due."""
        recipe, number = self.model.recipe, len(self.epochs) + 1
        sums, self._sums = self._sums, dict[str, Tensor]()
        # Batches in which no two recordings could be compared have no terms.
        counted, self._counted = self._counted / self.recordings, 0
        latest: Numbers = {f"train.{name}": float(term) / (counted or 1.0) for name, term in sums.items()}
        # Of the last batch only: every batch changes the weights.
        for i, name in enumerate(self.branches):
            if i not in self._embedded:
                continue
            health = embedding_health(unit_scale(recipe.objective, self._embedded[i][:HEALTH_SAMPLE]))
            latest |= {f"train.{name}.{measure}": value for measure, value in health.items()}
        # After the last epoch the head itself is scored.
        if self.probe and number % self.probe.every == 0 and number < recipe.pretrain.epochs:
            latest["probe.accuracy"] = self.probe.score(self.model)
            self.model.encoders.train()
        self.report({"phase": "pretrain", "epoch": number, **latest})

    def report(self, epoch: Epoch) -> None:
        """Add an epoch to those done, and report it; sets `stopped` where it diverged or collapsed."""
        self.epochs.append(epoch)
        self._on_epoch(epoch)
        self.stopped = _fault(epoch, self.branches)


def pretrain(training: Pretraining, snapshot: Snapshot | None = None) -> int:
    """Train the encoders by the recipe's objective, without labels (for VICReg the paper's Algorithm 1).

    With several modalities each pair of their embeddings is compared; with one, the embeddings of two augmented views.
    Dropout draws from torch's global generator, which is seeded.

    Args:
        snapshot: training resumes from it; its epochs are reported as if they had just been trained.

    Returns:
        1, the number of models trained; `mmssl.training.together` trains several.

    Raises:
        StoppedError: the loss is not finite, or the embeddings have collapsed; it names epoch and term.
    """
    model, recipe = training.model, training.model.recipe
    torch.manual_seed(training.seed)
    trained = {"encoders": model.encoders, "projectors": model.projectors, "learned": training.learned}
    trained |= {"masking": training.masking} if training.masking else {}
    optimizer = adam(trained.values(), recipe.pretrain.lr)
    loop = Loop(trained, optimizer, training.generators)
    for epoch in snapshot.restore(loop) if snapshot else []:
        training.report(epoch)
    model.projectors.train()
    model.encoders.train()
    while len(training.epochs) < recipe.pretrain.epochs:
        steps = training.batches()
        for number, batch in enumerate(steps, start=len(training.epochs) * len(steps)):
            set_rate(optimizer, recipe.pretrain, number, len(steps))
            views = training.views(batch)
            if not any(map(len, views)):
                continue
            with precision(recipe, training.device):
                features = [
                    model.encoders[name](view) if len(view) else view
                    for name, view in zip(training.branches, views, strict=True)
                ]
                embeddings = [
                    model.projectors[name](own) if len(own) else own
                    for name, own in zip(training.branches, features, strict=True)
                ]
            loss = training.loss(embeddings, batch, features)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        training.end_epoch()
        if training.stopped:
            raise training.stopped
        if snapshot:
            snapshot.keep(loop, training.epochs, last=len(training.epochs) == recipe.pretrain.epochs)
    model.encoders.eval()
    model.projectors.eval()
    return 1


def _learned(model: Model, branches: int, seed: int) -> nn.ModuleList:
    """The objective's own modules: one for each pair of branches, or none."""
    learns = model.recipe.objective.loss.learns
    if learns is None:
        return nn.ModuleList()
    width = model.recipe.encoder.projector.width
    return _new(lambda: nn.ModuleList([learns(width) for _ in range(math.comb(branches, 2))]), seed)


_Module = TypeVar("_Module", bound=nn.Module)


def _new(make: Callable[[], _Module], seed: int) -> _Module:
    """A module with weights from a generator of its own, so that the encoders start the same without it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def precision(recipe: Recipe, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=recipe.pretrain.precision == "bfloat16")


@contextmanager
def gpu_products(*, tfloat32: bool) -> Generator[None]:
    """Whether products in float32 may be rounded to TensorFloat-32 on a GPU: torch itself does it to convolutions."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = tfloat32
    try:
        with torch.backends.cudnn.flags(
            torch.backends.cudnn.enabled,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.benchmark_limit,
            torch.backends.cudnn.deterministic,
            tfloat32,
        ):
            yield
    finally:
        matmul.allow_tf32 = before


@dataclass(frozen=True)
class Probe:
    """Linear evaluation during pre-training: it compares points whose losses are not comparable.

    A ridge classifier on standardised features; leave-one-out on the training recordings chooses its strength. It has a
    closed form, so it costs little and draws nothing.
    """

    prepared: Prepared
    labelled: npt.NDArray[np.int64]
    """The recordings it is fitted on."""
    scored: npt.NDArray[np.int64]
    every: int
    """Epochs from one probe to the next."""

    def score(self, model: Model) -> float:
        """Accuracy on the scored recordings, 0 to 1; leaves the encoders in evaluation mode."""
        from sklearn.linear_model import RidgeClassifierCV
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        def features(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
            encoded = model.encode(self.prepared.selected(model, rows)).values()
            return torch.cat([one.flatten(1) for one in encoded], dim=1).cpu().numpy().astype(np.float64)

        train, test = features(self.labelled), features(self.scored)
        if not (np.isfinite(train).all() and np.isfinite(test).all()):
            return 0.0
        classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=np.logspace(0, 5, 6)))
        classifier.fit(train, self.prepared.labels[self.labelled])
        return float(classifier.score(test, self.prepared.labels[self.scored]))


def last_numbers(epochs: Sequence[Epoch]) -> Numbers:
    """The last epoch's `train...` numbers."""
    return {name: float(value) for name, value in epochs[-1].items() if name.startswith("train.")} if epochs else {}


# A usual share of all steps.
_WARM_UP = 0.1


def set_rate(optimizer: torch.optim.Optimizer, knobs: Pretrain, step: int, steps_an_epoch: int) -> None:
    """Set the learning rate of a step, counted from 0 over all epochs: where training resumes, it is the same."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(knobs, step, knobs.epochs * steps_an_epoch)


def learning_rate(knobs: Pretrain, step: int, steps: int) -> float:
    """The learning rate of a step, 0 to `steps` - 1, by `knobs.schedule`."""
    if knobs.schedule == "constant":
        return knobs.lr
    rise = max(1, round(_WARM_UP * steps))
    if step < rise:
        return knobs.lr * (step + 1) / rise
    return knobs.lr * (1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2


def augmentation(
    model: Model, device: torch.device, knobs: Augment | None = None
) -> Callable[[Mapping[str, Tensor], torch.Generator], dict[str, Tensor]]:
    """A function that augments a batch by modality; all modalities of a recording are cropped in time alike.

    Args:
        knobs: instead of the recipe's.
    """
    knobs, signals = knobs or model.recipe.augment, model.description.signals
    raw = {
        name: (torch.from_numpy(own.mean).to(device), torch.from_numpy(own.std).to(device))
        for name, own in model.standardisations.items()
    }

    def augment(batch: Mapping[str, Tensor], draws: torch.Generator) -> dict[str, Tensor]:
        cropped = crop_together(list(batch.values()), knobs.crop, draws)
        return {
            name: augment_signal(x, knobs.imu, draws, signals[name].turning, raw[name])
            if name in signals
            else augment_skeleton(x, knobs.skeleton, draws)
            for name, x in zip(batch, cropped, strict=True)
        }

    return augment


def batches(count: int, most: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """All recordings in random order, in the fewest batches of at most `most`, as equal as can be.

    Equal, because VICReg's statistics over a short last batch would be noise. Never one recording alone, which has no
    statistics: an odd one out makes a batch of `most + 1`.
    """
    return torch.randperm(count, generator=generator).tensor_split(batch_count(count, most))


def _fault(epoch: Epoch, branches: Sequence[str]) -> StoppedError | None:
    """The error for a loss that is not finite or for collapsed embeddings, with epoch and term; None without either."""
    numbers = last_numbers([epoch])
    terms = [name for name in numbers if name.count(".") == 1]
    for name in sorted(terms, key=lambda term: term == "train.loss"):  # a part explains more than the sum
        if not math.isfinite(numbers[name]):
            return StoppedError("DIVERGED", f"epoch {epoch['epoch']}: {name.removeprefix('train.')} is {numbers[name]}")
    for name in branches:
        spread = numbers.get(f"train.{name}.std", math.inf)
        if spread < COLLAPSED_BELOW:
            return StoppedError(
                "COLLAPSED",
                f"epoch {epoch['epoch']}: {name} embeddings have standard deviation {spread:.2g} (< {COLLAPSED_BELOW})",
            )
    return None
