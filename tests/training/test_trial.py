import ast
import hashlib
import itertools
import math
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifierCV
from sklearn.preprocessing import StandardScaler

from mmssl import Protocol, Recipe, Recordings, Row, UserError, preset, version
from mmssl.data.protocols import Split, split
from mmssl.data.rows import labelled_rows, seen_rows
from mmssl.files import Folder
from mmssl.recipe import SIGNAL_FEATURES, USUAL
from mmssl.study.presets import SYSTEMS, RecipeName
from mmssl.training import kept
from mmssl.training import trial as training
from mmssl.training.health import embedding_health
from mmssl.training.kept import pretraining_name
from mmssl.training.prepared import Prepared
from mmssl.training.snapshot import Epoch, Snapshot
from mmssl.training.trial import Outcome, run_trial, train
from mmssl.unlabelled import cluster_learnability

SMALL = {
    "data.steps": 16,
    "data.validation_subjects": ["chris"],
    "encoder.imu.layers": 1,
    "encoder.imu.feedforward": 32,
    "encoder.projector.hidden": 32,
    "encoder.projector.width": 16,
    "pretrain.epochs": 3,
    "pretrain.batch_size": 8,
    "finetune.epochs": 5,
    "finetune.hidden": 16,
    "augment.imu.jitter.probability": 0.5,
    "augment.skeleton.rotate.probability": 0.5,
}


GUIDE = {"guide.epochs": 2, "guide.batch_size": 8, "guide.lr": 1e-3}


@pytest.fixture
def recipe() -> Recipe:
    return Recipe().with_knobs(SMALL)


def bits(outcome: Outcome) -> dict[str, bytes]:
    assert outcome.model is not None
    return outcome.model.files()


def test_one_seed_gives_the_same_bits_twice_and_another_seed_others(tiny: Recordings, recipe: Recipe) -> None:
    torch.manual_seed(1)
    first = train(recipe, tiny)
    torch.manual_seed(2)  # whatever a worker did before must not show
    torch.rand(5)
    second = train(recipe, tiny)
    assert bits(first) == bits(second)
    assert first.metrics == second.metrics
    assert first.predictions == second.predictions
    other = train(recipe.with_knobs({"seed": 29}), tiny)
    assert bits(other)["model.safetensors"] != bits(first)["model.safetensors"]


def test_a_trial_leaves_torchs_own_generator_alone(tiny: Recordings, recipe: Recipe) -> None:
    before = torch.get_rng_state()
    train(recipe, tiny)
    assert torch.equal(before, torch.get_rng_state())


def test_the_loss_is_the_weighted_sum_of_its_terms(tiny: Recordings, recipe: Recipe) -> None:
    epochs: list[Epoch] = []
    weighted = recipe.with_knobs({"objective.lambda": 3.0, "objective.mu": 5.0, "objective.nu": 2.0})
    outcome = train(weighted, tiny, on_epoch=epochs.append)
    pretrain = [epoch for epoch in epochs if epoch["phase"] == "pretrain"]
    assert [epoch["epoch"] for epoch in pretrain] == [1, 2, 3]
    assert [epoch["epoch"] for epoch in epochs if epoch["phase"] == "finetune"] == [1, 2, 3, 4, 5]
    for epoch in [*pretrain, outcome.metrics]:
        terms = [float(epoch[f"train.{name}"]) for name in ("invariance", "variance", "covariance")]
        assert epoch["train.loss"] == pytest.approx(3 * terms[0] + 5 * terms[1] + 2 * terms[2], rel=1e-5)


def test_the_validation_and_test_sides_have_no_part_in_training(tiny: Recordings, recipe: Recipe) -> None:
    def changed(subjects: set[str]) -> Recordings:
        classes = tiny.description.classes
        return Recordings(
            tiny.description,
            [
                row.model_copy(update={"label": classes[0]}) if row.subject in subjects else row for row in tiny.rows
            ],
            [s * 3 if row.subject in subjects else s for row, s in zip(tiny.rows, tiny.skeleton, strict=True)],
            [i * 5 + 1 if row.subject in subjects else i for row, i in zip(tiny.rows, tiny.imu, strict=True)],
        )  # fmt: skip

    plain = train(recipe, tiny)
    assert bits(train(recipe, changed({"chris", "dora"}))) == bits(plain)
    assert bits(train(recipe, changed({"anna"}))) != bits(plain)


def test_predictions_name_every_held_out_recording_once(tiny: Recordings, recipe: Recipe) -> None:
    outcome = train(recipe, tiny)
    held_out = [row for row in tiny.rows if row.subject == "chris"]
    assert [row["recording_id"] for row in outcome.predictions] == [row.recording_id for row in held_out]
    assert [row["label"] for row in outcome.predictions] == [row.label for row in held_out]
    right = np.mean([row["label"] == row["predicted"] for row in outcome.predictions])
    assert outcome.metrics["val.accuracy"] == pytest.approx(right)
    assert all(1 / 3 <= float(row["confidence"]) <= 1 for row in outcome.predictions)


def test_fine_tuning_leaves_the_encoders_as_they_were(tiny: Recordings, recipe: Recipe) -> None:
    short, long = (train(recipe.with_knobs({"finetune.epochs": n}), tiny).model for n in (1, 9))
    assert short is not None
    assert long is not None
    for name, tensor in short.encoders.state_dict().items():
        assert torch.equal(tensor, long.encoders.state_dict()[name]), name
    for reading in ("imu+skeleton", "imu", "skeleton"):
        a, b = (model.heads[reading].state_dict()["classifier.weight"] for model in (short, long))
        assert not torch.equal(a, b), reading


def test_views_that_nothing_changes_change_nothing(tiny: Recordings, recipe: Recipe) -> None:
    still = recipe.with_knobs(
        {"augment.imu.jitter.probability": 0, "augment.skeleton.rotate.probability": 0, "pretrain.epochs": 1}
    )
    alone, copied = (train(still.with_knobs({"finetune.views": n}), tiny) for n in (0, 3))
    assert alone.model is not None
    assert copied.model is not None
    assert alone.model.weights() == copied.model.weights()
    assert alone.metrics == copied.metrics


def test_heads_train_on_augmented_views_and_score_recordings_as_they_are(tiny: Recordings, recipe: Recipe) -> None:
    alone, with_views = (train(recipe.with_knobs({"finetune.views": n}), tiny) for n in (0, 3))
    assert alone.model is not None
    assert with_views.model is not None
    assert alone.model.weights("encoders", "projectors") == with_views.model.weights("encoders", "projectors")
    for reading in ("imu+skeleton", "imu", "skeleton"):
        a, b = (model.heads[reading].state_dict()["classifier.weight"] for model in (alone.model, with_views.model))
        assert not torch.equal(a, b), reading
    guesses = with_views.model.predict(tiny)
    held_out = [guess for row, guess in zip(tiny.rows, guesses, strict=True) if row.subject == "chris"]
    assert held_out == [row["predicted"] for row in with_views.predictions]


def test_training_learns_what_untrained_weights_do_not_know(tiny: Recordings, recipe: Recipe) -> None:
    longer = recipe.with_knobs({"pretrain.epochs": 20, "finetune.epochs": 60})
    outcome = train(longer, tiny)
    assert outcome.metrics["val.accuracy"] > 0.8
    assert outcome.metrics["train.invariance"] < train(recipe, tiny).metrics["train.invariance"]


@pytest.mark.parametrize(
    ("name", "modalities", "terms"),
    [
        ("barlow_twins", ["imu", "skeleton"], {"on_diagonal", "off_diagonal"}),
        ("barlow_twins", ["imu"], {"on_diagonal", "off_diagonal"}),
        ("simclr", ["skeleton"], {"positive", "negative"}),
        ("cmc", ["imu", "skeleton"], {"positive", "negative"}),
    ],
)
def test_the_other_objectives_train_and_record_their_terms(
    tiny: Recordings, recipe: Recipe, name: str, modalities: list[str], terms: set[str]
) -> None:
    chosen = recipe.with_knobs({"objective.name": name, "data.modalities": modalities, "pretrain.epochs": 10})
    epochs: list[Epoch] = []
    outcome = train(chosen, tiny, on_epoch=epochs.append)
    assert outcome.status == "COMPLETE", outcome.cause
    assert terms <= {metric.removeprefix("train.") for metric in outcome.metrics}
    losses = [float(epoch["train.loss"]) for epoch in epochs if epoch["phase"] == "pretrain"]
    assert losses[-1] < losses[0]
    for modality in modalities:
        assert 0.01 < outcome.metrics[f"train.{modality}.std"] <= 1.01


@pytest.mark.parametrize(("name", "modalities"), [("simclr", ["imu", "skeleton"]), ("cmc", ["imu"])])
def test_an_objective_refuses_views_it_is_not_made_for(recipe: Recipe, name: str, modalities: list[str]) -> None:
    with pytest.raises(UserError, match=rf"objective\.name: {name} takes"):
        recipe.with_knobs({"objective.name": name, "data.modalities": modalities})


@pytest.mark.parametrize("modality", ["imu", "skeleton"])
def test_one_modality_trains_on_two_views_of_it(tiny: Recordings, recipe: Recipe, modality: str) -> None:
    outcome = train(recipe.with_knobs({"data.modalities": [modality]}), tiny)
    assert outcome.status == "COMPLETE"
    assert outcome.model is not None
    assert list(outcome.model.encoders) == [modality]
    assert outcome.metrics["train.invariance"] > 0, "the two views must differ"


def test_encoders_may_stay_untrained(tiny: Recordings, recipe: Recipe) -> None:
    outcome = train(recipe.with_knobs({"pretrain.epochs": 0}), tiny)
    assert outcome.status == "COMPLETE"
    assert "train.loss" not in outcome.metrics


def test_a_loss_that_is_not_finite_ends_the_trial_with_epoch_and_term(tiny: Recordings, recipe: Recipe) -> None:
    epochs: list[Epoch] = []
    outcome = train(recipe.with_knobs({"pretrain.lr": 1e30, "pretrain.epochs": 50}), tiny, on_epoch=epochs.append)
    assert outcome.status == "DIVERGED"
    assert outcome.cause.startswith(f"epoch {len(epochs)}: ")
    assert len(epochs) < 50
    assert not math.isfinite(float(epochs[-1]["train.loss"]))
    assert outcome.model is None


def test_a_head_that_diverges_ends_the_trial_too(tiny: Recordings, recipe: Recipe) -> None:
    outcome = train(recipe.with_knobs({"finetune.lr": 1e30}), tiny)
    assert outcome.status == "DIVERGED"
    assert outcome.cause.startswith("fine-tuning epoch ")
    assert "val.accuracy" not in outcome.metrics


def test_encoders_that_the_last_step_broke_are_not_fine_tuned(tiny: Recordings, recipe: Recipe) -> None:
    outcome = train(recipe.with_knobs({"pretrain.lr": 1e30, "pretrain.epochs": 1, "pretrain.batch_size": 64}), tiny)
    assert outcome.status == "DIVERGED"
    assert "features are not finite" in outcome.cause


def test_collapsed_embeddings_end_the_trial(tiny: Recordings, recipe: Recipe) -> None:
    invariance_alone = {"objective.mu": 0.0, "objective.nu": 0.0, "pretrain.lr": 0.1, "pretrain.epochs": 20}
    outcome = train(recipe.with_knobs(invariance_alone), tiny)
    assert outcome.status == "COLLAPSED"
    assert "standard deviation" in outcome.cause
    assert outcome.cause.startswith("epoch ")


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_smallest_training_sides_train(tiny: Recordings, recipe: Recipe, count: int) -> None:
    few = {row.recording_id for row in [row for row in tiny.rows if row.subject != "chris"][:count]}
    part = tiny.where(lambda row: row.recording_id in few or row.subject == "chris")
    subjects = sorted({row.subject for row in part.rows})
    small = recipe.with_knobs({"data.train_subjects": subjects, "pretrain.batch_size": 2, "finetune.batch_size": 2})
    assert train(small, part).status == "COMPLETE"


def test_one_training_recording_is_refused(tiny: Recordings, recipe: Recipe) -> None:
    part = tiny.where(lambda row: row.subject == "chris" or row.recording_id == "anna-slow-0")
    with pytest.raises(UserError, match="2 at least"):
        train(recipe.with_knobs({"data.train_subjects": ["anna", "chris"]}), part)


def test_preparation_is_reused_as_it_is(tiny: Recordings, recipe: Recipe) -> None:
    prepared = Prepared.of(tiny, recipe.data.steps, recipe.data.modalities)
    copies = {name: array.copy() for name, array in prepared.inputs.items()}
    first = run_trial(recipe, prepared, split(tiny, recipe.data))
    second = run_trial(recipe, prepared, split(tiny, recipe.data))
    assert bits(first) == bits(second)
    for name, array in prepared.inputs.items():
        assert np.array_equal(array, copies[name]), "a trial changed what all trials share"


def of_system(name: str, start: RecipeName = "default", **knobs: object) -> Recipe:
    """A system's preset made small; `__` in a name stands for a dot. What augments is the preset's own."""
    small = {knob: value for knob, value in (SMALL | GUIDE).items() if not knob.startswith("augment.")}
    small |= {knob.replace("__", "."): value for knob, value in knobs.items()}
    return preset("synthetic", name, start).with_knobs(
        {k: v for k, v in small.items() if k not in SYSTEMS[name].defining}
    )


def prepared_and_split(recipe: Recipe, recordings: Recordings) -> tuple[Prepared, Split]:
    return Prepared.of(recordings, recipe.data.steps, tuple(USUAL)), split(recordings, recipe.data)


def with_other_data(recordings: Recordings, rows: set[int], modalities: tuple[str, ...] = tuple(USUAL)) -> Recordings:
    """The same table, but other numbers in some rows."""
    assert recordings.skeleton is not None
    assert recordings.imu is not None
    skeleton = [a[::-1] * 3 if i in rows else a for i, a in enumerate(recordings.skeleton)]
    imu = [a[::-1] * 5 + 1 if i in rows else a for i, a in enumerate(recordings.imu)]
    return Recordings(
        recordings.description,
        recordings.rows,
        skeleton if "skeleton" in modalities else recordings.skeleton,
        imu if "imu" in modalities else recordings.imu,
    )


def weights(outcome: Outcome, part: str) -> dict[str, torch.Tensor]:
    assert outcome.model is not None
    return dict(outcome.model.parts[part].state_dict())


def same(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]) -> bool:
    assert a.keys() == b.keys()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_trains(tiny: Recordings, name: str) -> None:
    method, modalities = SYSTEMS[name]
    epochs: list[Epoch] = []
    outcome = train(of_system(name), tiny, on_epoch=epochs.append)
    assert outcome.status == "COMPLETE", outcome.cause
    numbers = {**outcome.metrics, **{f"{i}.{k}": v for i, epoch in enumerate(epochs) for k, v in epoch.items()}}
    assert all(math.isfinite(value) for value in numbers.values() if not isinstance(value, str))
    guided = [f"guide.{modality}" for modality in modalities if method == "cmc_cmkm" for _ in range(2)]
    alone = 0 if method in ("untrained", "supervised") else 3
    assert [epoch["phase"] for epoch in epochs] == [*guided, *["pretrain"] * alone, *["finetune"] * 5]
    scored = {metric for metric in outcome.metrics if metric.startswith(("val.", "test."))}
    prefixes = ["", *(f"{modality}." for modality in modalities if len(modalities) > 1)]
    assert scored == {f"val.{reading}{measure}" for reading in prefixes for measure in ("accuracy", "f1")}
    assert all(0 <= outcome.metrics[metric] <= 1 for metric in scored)
    assert outcome.model is not None
    assert list(outcome.model.encoders) == list(outcome.model.projectors) == list(modalities)
    assert list(outcome.model.heads) == (["imu+skeleton", "imu", "skeleton"] if len(modalities) > 1 else [*modalities])


@pytest.mark.parametrize("suffix", ["_imu", "_skeleton", ""])
def test_supervised_training_changes_the_encoders_and_a_head_on_frozen_ones_does_not(
    tiny: Recordings, suffix: str
) -> None:
    initial = weights(train(of_system(f"untrained{suffix}", finetune__epochs=1), tiny), "encoders")
    assert same(initial, weights(train(of_system(f"untrained{suffix}", finetune__epochs=9), tiny), "encoders"))
    supervised = weights(train(of_system(f"supervised{suffix}"), tiny), "encoders")
    for name in initial:
        if name.endswith("weight"):
            assert not torch.equal(initial[name], supervised[name]), name
    for modality in SYSTEMS[f"untrained{suffix}"].modalities:
        assert any(name.startswith(modality) for name in initial)


def test_encoders_that_are_trained_and_then_fine_tuned_start_from_their_pre_training(tiny: Recordings) -> None:
    frozen, tuned = (
        train(of_system("vicreg", finetune__encoders=how, finetune__batch_norm="running"), tiny)
        for how in ("frozen", "trained")
    )
    for name, value in frozen.metrics.items():
        if name.startswith("train.") and not name.startswith("train.finetune"):
            assert tuned.metrics[name] == value, name
    assert not same(weights(frozen, "encoders"), weights(tuned, "encoders"))
    assert same(weights(frozen, "projectors"), weights(tuned, "projectors"))


class Kept:
    """Stands for a study's shelf: what was made under which name, and how often it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.made: list[str] = []
        self.asked: list[str] = []

    def __call__(self, name: str, make: Callable[[], Mapping[str, bytes]], *, wait: bool = True) -> Mapping[str, bytes]:
        self.asked.append(name)
        if name not in self.files:
            self.files[name] = dict(make())
            self.made.append(name)
        return self.files[name]


def run(recipe: Recipe, recordings: Recordings, kept: Kept | None = None) -> tuple[Outcome, list[Epoch]]:
    epochs: list[Epoch] = []
    prepared, parts = prepared_and_split(recipe, recordings)
    outcome = run_trial(recipe, prepared, parts, on_epoch=epochs.append, cache=kept)
    return outcome, epochs


def test_guides_are_trained_once_for_a_seed_and_give_the_same_as_if_trained_each_time(tiny: Recordings) -> None:
    kept = Kept()
    recipe = of_system("cmc_cmkm")
    guides = [pretraining_name(recipe.guide_of(modality, kind), tiny.fingerprint) for modality, kind in USUAL.items()]
    own = pretraining_name(recipe, tiny.fingerprint)
    alone, told_alone = run(recipe, tiny)
    first, told_first = run(recipe, tiny, kept)
    assert kept.asked == [own, *guides]
    assert kept.made == [*guides, own]
    second, told_second = run(recipe, tiny, kept)
    assert kept.asked == [own, *guides, own]
    assert len(kept.made) == 3
    assert bits(alone) == bits(first) == bits(second)
    assert told_alone == told_first == told_second
    assert alone.metrics == first.metrics == second.metrics
    assert alone.predictions == second.predictions
    others = recipe.with_knobs({"objective.positives": 2, "finetune.labels": 0.5, "pretrain.lr": 1e-4})
    run(others, tiny, kept)
    assert kept.made[3:] == [pretraining_name(others, tiny.fingerprint)], "the same guide in the same way"
    run(recipe.with_knobs({"seed": 29}), tiny, kept)
    run(recipe.with_knobs({"guide.epochs": 1}), tiny, kept)
    assert len(kept.made) == 10


@pytest.mark.parametrize("name", ["vicreg", "barlow_twins_skeleton", "simclr_imu", "cmc_cmkm"])
def test_a_pre_training_gives_the_same_bits_whether_trained_or_taken(tiny: Recordings, name: str) -> None:
    kept = Kept()
    recipe = of_system(name)
    alone, told_alone = run(recipe, tiny)
    trained, told_trained = run(recipe, tiny, kept)
    own = pretraining_name(recipe, tiny.fingerprint)
    made = list(kept.made)
    assert made[-1] == own
    taken, told_taken = run(recipe, tiny, kept)
    assert kept.made == made
    assert kept.asked[-1] == own
    assert bits(alone) == bits(trained) == bits(taken)
    assert told_alone == told_trained == told_taken
    assert alone.metrics == trained.metrics == taken.metrics
    fewer = recipe.with_knobs({"finetune.labels": 0.5, "finetune.epochs": 2})
    assert bits(run(fewer, tiny, kept)[0]) == bits(run(fewer, tiny)[0])
    assert kept.made == made


def test_where_nothing_is_pre_trained_nothing_is_kept(tiny: Recordings) -> None:
    kept = Kept()
    run(of_system("untrained"), tiny, kept)
    run(of_system("supervised_imu"), tiny, kept)
    assert kept.asked == []


def test_encoders_of_simclr_guide_where_they_are_there_already(tiny: Recordings) -> None:
    kept = Kept()
    knobs = {"pretrain__epochs": 2, "pretrain__batch_size": 8, "pretrain__lr": 1e-3}
    simclr, guided = of_system("simclr_imu", "paper", **knobs), of_system("cmc_cmkm", "paper")
    _, told_simclr = run(simclr, tiny, kept)
    outcome, told = run(guided, tiny, kept)
    recipes = [simclr, of_system("simclr_skeleton", "paper", **knobs), guided]
    assert kept.made == [pretraining_name(one, tiny.fingerprint) for one in recipes]
    assert [{**epoch, "phase": "pretrain"} for epoch in told if epoch["phase"] == "guide.imu"] == [
        epoch for epoch in told_simclr if epoch["phase"] == "pretrain"
    ]
    assert bits(outcome) == bits(run(guided, tiny)[0])


def test_a_pre_training_of_other_code_or_another_torch_is_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = shutil.copytree(Path(version.__file__).parent, tmp_path / "mmssl")

    def name() -> str:
        kept._code_version.cache_clear()  # pyright: ignore[reportPrivateUsage]
        return pretraining_name(Recipe(), "data")

    ours = name()
    with monkeypatch.context() as patched:
        patched.setattr(kept, "version", lambda name: "1.0")
        assert name() != ours
    with monkeypatch.context() as patched:
        patched.setattr("mmssl.version._TOP", package)
        assert name() == ours
        for other in ("study/presets", "export/card", "search/launch", "cli/studies"):
            _change(package / f"{other}.py")
        assert name() == ours, "of code that training does not run"
        names = {ours}
        own = [f"training/{part}.py" for part in ("trial", "encoders", "transforms")]
        for part in (*own, "data/protocols.py", "objectives/moments.py", "recipe.py"):
            _change(package / part)
            names.add(name())
        assert len(names) == 7
    assert name() == ours


def test_a_digest_is_never_one_of_nothing() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"mmssl\.training\.moved_away"):
        version.code_digest("mmssl.training.moved_away")


@pytest.mark.parametrize("module", ["mmssl.search.trainable", "mmssl.training.together", "mmssl.cli.studies"])
def test_a_digest_is_of_all_that_a_syntax_tree_says_is_imported(module: str) -> None:
    package = Path(version.__file__).parent

    def imported(name: str, seen: set[Path]) -> set[Path]:
        place = package.joinpath(*name.split(".")[1:])
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if path in seen or place == package or not path.is_file():
            return seen
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mmssl"):
                for one in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                    imported(str(one), seen)
        return seen

    digest = hashlib.sha256()
    for path in sorted(imported(module, set())):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    assert version.code_digest(module) == digest.hexdigest()


def _change(path: Path) -> None:
    path.write_text(path.read_text() + "\n")


def test_a_snapshot_outlasts_a_pre_training_that_is_not_kept(tiny: Recordings, tmp_path: Path) -> None:
    """Who is killed in fine-tuning goes on from there; that of what guides is kept, and needs none."""
    recipe = of_system("cmc_cmkm")
    prepared, parts = prepared_and_split(recipe, tiny)

    def snapshots(name: str) -> Snapshot:
        return Snapshot(Folder(tmp_path), name, seconds_between=0)

    run_trial(recipe, prepared, parts, cache=lambda name, make, wait=True: make(), snapshots=snapshots)
    assert [path.name for path in tmp_path.iterdir()] == [pretraining_name(recipe, tiny.fingerprint)]


def test_a_probed_pre_training_is_neither_kept_nor_taken(tiny: Recordings) -> None:
    recipe, kept = of_system("vicreg"), Kept()
    prepared, parts = prepared_and_split(recipe, tiny)
    told: list[Epoch] = []
    run(recipe, tiny, kept)
    outcome = run_trial(recipe, prepared, parts, cache=kept, probe_every=1, on_epoch=told.append)
    assert len(kept.asked) == 1
    assert sum("probe.accuracy" in epoch for epoch in told) == recipe.pretrain.epochs - 1
    assert bits(outcome) == bits(run(recipe, tiny, kept)[0])


def test_in_bfloat16_losses_stay_near_and_weights_exact(tiny: Recordings) -> None:
    """The first losses, before rounding has led the weights elsewhere."""
    recipe = of_system("vicreg", pretrain__epochs=2, pretrain__batch_size=64)
    (exact, told_exact), (rough, told_rough) = (
        run(recipe.with_knobs({"pretrain.precision": precision}), tiny) for precision in ("float32", "bfloat16")
    )
    assert exact.model is not None and rough.model is not None
    assert {one.dtype for one in rough.model.encoders.state_dict().values()} == {torch.float32, torch.int64}
    assert bits(exact) != bits(rough)
    for name in ("train.loss", "train.invariance", "train.variance", "train.covariance", "train.imu.std"):
        assert told_rough[0][name] == pytest.approx(told_exact[0][name], rel=0.01), name
        assert told_rough[0][name] != told_exact[0][name], name


@pytest.mark.parametrize("precision", ["float32", "tfloat32"])
def test_only_tfloat32_lets_a_gpu_shorten_products_and_only_in_pre_training(tiny: Recordings, precision: str) -> None:
    """What a GPU makes of it cannot be seen without one; torch's own default shortens those of convolutions."""

    def allowed() -> tuple[bool, bool]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    before, seen = allowed(), dict[str, tuple[bool, bool]]()
    recipe = of_system("vicreg", pretrain__epochs=1, pretrain__precision=precision)
    prepared, parts = prepared_and_split(recipe, tiny)
    run_trial(recipe, prepared, parts, on_epoch=lambda epoch: seen.update({str(epoch["phase"]): allowed()}))
    shortened = precision == "tfloat32"
    assert seen == {"pretrain": (shortened, shortened), "finetune": (False, False)}
    assert allowed() == before


def test_guides_make_a_difference(tiny: Recordings) -> None:
    """Whom they find alike is mined as positives: guides of other weights give other encoders."""
    plain, other = (train(of_system("cmc_cmkm", guide__epochs=n), tiny) for n in (0, 4))
    assert not same(weights(plain, "encoders"), weights(other, "encoders"))
    assert plain.status == other.status == "COMPLETE"


def test_a_guide_that_diverges_ends_the_trial_and_is_not_kept(tiny: Recordings) -> None:
    kept = Kept()
    outcome, epochs = run(of_system("cmc_cmkm", guide__lr=1e30, guide__epochs=50), tiny, kept)
    assert outcome.status == "DIVERGED"
    assert outcome.cause.startswith(f"guide.imu: epoch {len(epochs)}: ")
    assert outcome.model is None
    assert kept.files == {}


@pytest.mark.parametrize("name", ["vicreg", "supervised", "cmc", "untrained"])
def test_each_modality_alone_is_scored_by_a_head_of_its_own(tiny: Recordings, name: str) -> None:
    recipe = of_system(name, "paper")
    prepared, parts = prepared_and_split(recipe, tiny)
    outcome = run_trial(recipe, prepared, parts)
    model = outcome.model
    assert model is not None
    features = model.encode(prepared.selected(model, parts.validation))
    truth = torch.from_numpy(prepared.labels[parts.validation])
    for modality in tuple(USUAL):
        head = model.heads[modality].eval()
        with torch.no_grad():
            hidden = torch.relu(head.hidden[modality][1](features[modality] @ head.hidden[modality][0].weight.T))
            logits = hidden @ head.classifier.weight.T + head.classifier.bias
        accuracy = (logits.argmax(dim=1) == truth).double().mean().item()
        assert outcome.metrics[f"val.{modality}.accuracy"] == pytest.approx(accuracy)
    together = model.probabilities({name: tensor.numpy() for name, tensor in features.items()}).argmax(axis=1)
    assert outcome.metrics["val.accuracy"] == pytest.approx((together == truth.numpy()).mean())
    assert [row["predicted"] for row in outcome.predictions] == [tiny.description.classes[i] for i in together]


def test_the_head_of_one_modality_knows_nothing_of_the_other(tiny: Recordings) -> None:
    everybody = set(range(len(tiny)))
    plain = train(of_system("untrained"), tiny)
    other = train(of_system("untrained"), with_other_data(tiny, everybody, ("skeleton",)))
    assert plain.model is not None
    assert other.model is not None
    assert same(plain.model.heads["imu"].state_dict(), other.model.heads["imu"].state_dict())
    assert not same(plain.model.heads["skeleton"].state_dict(), other.model.heads["skeleton"].state_dict())
    assert plain.metrics["val.imu.accuracy"] == other.metrics["val.imu.accuracy"]


@pytest.mark.parametrize(("share", "of_each"), [(1e-9, 1), (0.01, 1), (0.25, 2), (0.34, 2), (0.5, 3), (0.9, 5), (1, 6)])
def test_a_share_of_the_labels_is_that_share_of_each_class_and_one_at_least(
    tiny: Recordings, share: float, of_each: int
) -> None:
    recipe = of_system("untrained", finetune__labels=share)
    prepared, parts = prepared_and_split(recipe, tiny)
    rows = labelled_rows(recipe, prepared, parts)
    assert set(rows) <= set(parts.train)
    assert len(set(rows)) == len(rows)
    assert np.bincount(prepared.labels[rows]).tolist() == [of_each] * 3
    assert (np.diff(rows) > 0).all(), "in the recordings' order"


def test_the_shares_of_one_draw_hold_each_other(tiny: Recordings) -> None:
    recipe = of_system("untrained")
    prepared, parts = prepared_and_split(recipe, tiny)
    for draw in range(5):
        shares = [
            set(
                labelled_rows(
                    of_system("untrained", finetune__labels=n / 6, finetune__label_draw=draw), prepared, parts
                )
            )
            for n in range(1, 7)
        ]
        assert [len(rows) for rows in shares] == [3, 6, 9, 12, 15, 18]
        assert all(less < more for less, more in itertools.pairwise(shares))
        assert shares[-1] == set(parts.train)


def test_a_share_that_pre_trains_is_of_whole_streams_but_for_the_last(tiny: Recordings) -> None:
    """Of windows drawn one by one a part would show nearly every moment, since they overlap."""
    day = {row.recording_id: f"{row.subject} {row.label}" for row in tiny.rows}
    rows = [row.model_copy(update={"source": day[row.recording_id]}) for row in tiny.rows]
    windows = Recordings(tiny.description, rows, tiny.skeleton, tiny.imu)
    orders: set[tuple[str, ...]] = set()
    for seed in range(6):
        seen: list[str] = []
        for share in (1 / 6, 0.5, 0.6):
            recipe = of_system("vicreg", pretrain__share=share, seed=seed)
            prepared, parts = prepared_and_split(recipe, windows)
            shown = seen_rows(recipe, prepared, parts)
            assert len(shown) == round(share * 18) and (np.diff(shown) > 0).all()
            counts = Counter(rows[i].source for i in shown)
            whole = [name for name, count in counts.items() if count == 3]
            assert len(whole) == len(shown) // 3 and set(seen) <= set(whole)
            part = [i for i in shown if rows[i].source not in whole]
            assert (
                part
                == [i for i in parts.train if rows[i].source in counts and rows[i].source not in whole][: len(part)]
            )
            seen = whole
        orders.add(tuple(seen))
    assert len(orders) > 1, "another seed, other streams"
    plain, parts = prepared_and_split(of_system("vicreg"), tiny)
    alone = seen_rows(of_system("vicreg", pretrain__share=0.6, seed=3), plain, parts)
    drawn = np.random.default_rng(3).permutation(parts.train)[: len(alone)]
    assert alone.tolist() == sorted(drawn), "of other recordings as ever"


@pytest.mark.parametrize("kind", ["windows of one interval", "views of one movement"])
def test_a_label_is_of_all_that_is_annotated_at_once(tiny: Recordings, kind: str) -> None:
    """Half of the labels would else be of nearly every interval, each of which somebody had to annotate."""

    def piece(row: Row) -> Row:
        if kind == "windows of one interval":
            return row.model_copy(update={"source": f"day of {row.subject}", "interval": row.label})
        return row.model_copy(update={"view": row.trial, "trial": ""})

    pieces = Recordings(tiny.description, [piece(row) for row in tiny.rows], tiny.skeleton, tiny.imu)
    for share, units in ((0.01, 1), (0.5, 1), (0.75, 2), (1.0, 2)):
        recipe = of_system("untrained", finetune__labels=share)
        prepared, parts = prepared_and_split(recipe, pieces)
        rows = labelled_rows(recipe, prepared, parts)
        assert rows.tolist() == sorted(rows)
        drawn = {(row.label, row.subject) for row in (pieces.rows[i] for i in rows)}
        whole = [i for i in parts.train if (pieces.rows[i].label, pieces.rows[i].subject) in drawn]
        assert rows.tolist() == whole, "all that is of one label, or none of it"
        assert len(drawn) == units * len(pieces.description.classes)


def test_a_draw_gives_the_same_labels_to_every_system_and_seed_and_another_draw_others(tiny: Recordings) -> None:
    def drawn(name: str, draw: int, **knobs: object) -> tuple[int, ...]:
        recipe = of_system(name, finetune__labels=0.34, finetune__label_draw=draw, **knobs)
        prepared, parts = prepared_and_split(recipe, tiny)
        return tuple(labelled_rows(recipe, prepared, parts))

    by_draw = [
        {drawn(name, draw, seed=seed) for name in SYSTEMS for seed in (0, 28)}
        | {drawn("vicreg", draw, objective__mu=3.0, finetune__hidden=5)}
        for draw in range(4)
    ]
    assert [len(rows) for rows in by_draw] == [1] * 4
    assert len(set.union(*by_draw)) == 4


def test_only_the_labelled_recordings_are_fine_tuned_on(tiny: Recordings) -> None:
    recipe = of_system("supervised_skeleton", finetune__labels=0.34)
    prepared, parts = prepared_and_split(recipe, tiny)
    labelled = set(labelled_rows(recipe, prepared, parts).tolist())
    plain = bits(train(recipe, tiny))
    assert bits(train(recipe, with_other_data(tiny, set(parts.train.tolist()) - labelled))) == plain
    assert bits(train(recipe, with_other_data(tiny, {min(labelled)}))) != plain


@pytest.mark.parametrize("name", ["vicreg", "simclr_imu", "cmc_cmkm"])
def test_pre_training_is_not_shown_the_hidden_classes_and_fine_tuning_is(tiny: Recordings, name: str) -> None:
    recipe = of_system(name, pretrain__hidden_classes=["fast"])
    parts = split(tiny, recipe.data)
    hidden = {int(i) for i in parts.train if tiny.rows[i].label == "fast"}
    assert len(hidden) == 6
    plain = train(recipe, tiny)
    other = train(recipe, with_other_data(tiny, hidden))
    assert same(weights(plain, "encoders"), weights(other, "encoders"))
    assert same(weights(plain, "projectors"), weights(other, "projectors"))
    assert plain.model is not None
    assert other.model is not None
    assert np.array_equal(plain.model.standardisations["imu"].mean, other.model.standardisations["imu"].mean)
    for key, value in plain.metrics.items():
        if key.startswith(("train.", "embedding.")) and "finetune" not in key:
            assert other.metrics[key] == value, key
    assert not same(weights(plain, "heads"), weights(other, "heads")), "they are fine-tuned on"
    assert {row["label"] for row in plain.predictions} == {"slow", "middle", "fast"}, "and scored"
    shown = train(recipe, with_other_data(tiny, {int(i) for i in parts.train if tiny.rows[i].label == "slow"}))
    assert not same(weights(plain, "encoders"), weights(shown, "encoders"))
    assert not same(weights(plain, "encoders"), weights(train(of_system(name), tiny), "encoders"))


def test_a_hidden_class_that_is_none_is_refused_with_the_nearest(tiny: Recordings) -> None:
    with pytest.raises(UserError, match="tiny has no class 'fsat'; did you mean fast"):
        train(of_system("vicreg", pretrain__hidden_classes=["slow", "fsat"]), tiny)
    with pytest.raises(UserError, match="2 at least"):
        train(of_system("vicreg", pretrain__hidden_classes=["slow", "middle", "fast"]), tiny)


@pytest.mark.parametrize("name", ["vicreg", "simclr_skeleton"])
def test_the_test_side_is_scored_where_that_is_asked_for(tiny: Recordings, name: str) -> None:
    recipe = of_system(name).with_knobs({"data.validation_subjects": []})
    prepared, parts = prepared_and_split(recipe, tiny)
    assert set(parts.train_subjects) == {"anna", "ben", "chris"}
    outcome = run_trial(recipe, prepared, parts, scored_split="test")
    assert not [metric for metric in outcome.metrics if metric.startswith("val.")]
    dora = [row for row in tiny.rows if row.subject == "dora"]
    assert [row["recording_id"] for row in outcome.predictions] == [row.recording_id for row in dora]
    assert {row["split"] for row in outcome.predictions} == {"test"}
    assert outcome.model is not None
    predicted = outcome.model.predict(tiny.where(lambda row: row.subject == "dora"))
    right = np.mean([guess == row.label for guess, row in zip(predicted, dora, strict=True)])
    assert outcome.metrics["test.accuracy"] == pytest.approx(right)
    assert ("test.imu.f1" in outcome.metrics) == (name == "vicreg")
    validated = run_trial(recipe, prepared, parts)
    assert validated.predictions == []
    assert bits(validated) == bits(outcome), "which side is scored has no part in training"


@pytest.mark.parametrize("name", ["vicreg", "barlow_twins_imu", "cmc", "untrained"])
@pytest.mark.parametrize("hidden", [[], ["middle"]])
def test_the_health_of_the_embeddings_is_that_of_all_that_pre_training_saw(
    tiny: Recordings, name: str, hidden: list[str]
) -> None:
    recipe = of_system(name, pretrain__hidden_classes=hidden)
    prepared, parts = prepared_and_split(recipe, tiny)
    outcome = run_trial(recipe, prepared, parts)
    model = outcome.model
    assert model is not None
    shown = np.array([i for i in parts.train if tiny.rows[i].label not in hidden])
    for modality in recipe.data.modalities:
        raw = prepared.inputs[modality][shown]
        if modality == "imu":
            training = raw.reshape(-1, raw.shape[-1]).astype(np.float64)
            raw = ((raw - training.mean(axis=0)) / training.std(axis=0)).astype(np.float32)
        with torch.no_grad():
            features = model.encoders[modality](torch.from_numpy(raw))
            embeddings = model.projectors[modality](features)
        learnable = outcome.metrics[f"features.{modality}.cluster_learnability"]
        assert learnable == pytest.approx(cluster_learnability(features.numpy()), abs=1.01 / len(features))
        if recipe.objective.name != "vicreg":
            embeddings = embeddings / embeddings.norm(dim=1, keepdim=True) * math.sqrt(16)
        for measure, value in embedding_health(embeddings).items():
            assert outcome.metrics[f"embedding.{modality}.{measure}"] == pytest.approx(value, rel=1e-3), measure
    assert {metric.split(".")[1] for metric in outcome.metrics if metric.startswith("embedding.")} == set(
        recipe.data.modalities
    )


def many(tiny: Recordings, people: int, each: int, *, windows: bool = False) -> Recordings:
    """Recordings of an IMU sorted by person, each of whom moves in their own way; or windows of one stream each."""
    draws = np.random.default_rng(0)
    rows: list[Row] = []
    imu: list[np.ndarray] = []
    for person in range(people):
        mixing = draws.normal(size=(4, 4)) * (0.1 if person < people // 2 else 3)
        for i in range(each):
            label = tiny.description.classes[i % 3]
            row = Row(recording_id=f"{person}-{i}", label=label, subject=str(person), trial=str(i))
            cut = {"source": str(person), "start": i, "end": i + 2.0, "interval": str(i // 5)}
            rows.append(row.model_copy(update=cut) if windows else row)
            imu.append(draws.normal(size=(16, 4)) @ mixing)
    subjects = [str(person) for person in range(people)]
    protocol = Protocol(train=tuple(subjects), test=())
    description = tiny.description.model_copy(update={"protocols": {"cross_subject": protocol}})
    return Recordings(description, rows, None, imu)


def test_windows_of_the_same_moments_are_no_neighbours(tiny: Recordings) -> None:
    recordings = many(tiny, 4, 20, windows=True)
    recipe = of_system("untrained_imu", data__validation_subjects=["3"])
    prepared, parts = Prepared.of(recordings, 16, ["imu"]), split(recordings, recipe.data)
    outcome = run_trial(recipe, prepared, parts)
    assert outcome.model is not None
    features = outcome.model.encode(prepared.selected(outcome.model, parts.train))["imu"].numpy()
    person, number = np.repeat(range(3), 20), np.tile(range(20), 3)

    def alike(i: int) -> np.ndarray:
        near = (number // 5 == number[i] // 5) | (abs(number - number[i]) < 2)
        return (person == person[i]) & near

    found = outcome.metrics["features.imu.cluster_learnability"]
    assert found == pytest.approx(cluster_learnability(features, alike), abs=1.01 / 60)
    assert found != pytest.approx(cluster_learnability(features), abs=2 / 60), "or this would show nothing"


def test_of_many_recordings_the_health_is_that_of_a_sample_of_all_and_not_of_the_first(tiny: Recordings) -> None:
    recordings = many(tiny, 20, 110)
    recipe = of_system("untrained_imu", data__validation_subjects=["7"])
    prepared, parts = Prepared.of(recordings, 16, ["imu"]), split(recordings, recipe.data)
    outcome = run_trial(recipe, prepared, parts)
    assert outcome.model is not None
    assert len(parts.train) == 2090
    features = outcome.model.encode(prepared.selected(outcome.model, parts.train))
    embeddings = outcome.model.embed(features)["imu"]
    drawn = np.sort(np.random.default_rng(0).choice(2090, 1024, replace=False))
    health, of_all, of_first = (embedding_health(part) for part in (embeddings[drawn], embeddings, embeddings[:1024]))
    for measure, value in health.items():
        assert outcome.metrics[f"embedding.imu.{measure}"] == pytest.approx(value, rel=1e-3), measure
    few = features["imu"][drawn][np.sort(np.random.default_rng(0).choice(1024, 512, replace=False))]
    assert outcome.metrics["features.imu.cluster_learnability"] == pytest.approx(
        cluster_learnability(few.numpy()), abs=1.01 / 512
    )
    told = outcome.metrics["embedding.imu.effective_rank"]
    assert told == pytest.approx(of_all["effective_rank"], rel=0.02)
    assert of_first["effective_rank"] != pytest.approx(of_all["effective_rank"], rel=0.1), "or this would show nothing"


def test_embeddings_that_no_pre_training_made_have_no_health(tiny: Recordings) -> None:
    """A supervised encoder's projector is as it was initialised, and its encoder is not what it was judged on."""
    metrics = train(of_system("supervised"), tiny).metrics
    assert not [metric for metric in metrics if metric.startswith(("embedding.", "features."))]


def test_a_probe_changes_nothing_that_is_trained(tiny: Recordings, recipe: Recipe) -> None:
    prepared, parts = Prepared.of(tiny, 16, tuple(USUAL)), split(tiny, recipe.data)
    told: list[Epoch] = []
    plain = run_trial(recipe, prepared, parts)
    probed = run_trial(recipe, prepared, parts, probe_every=1, on_epoch=told.append)
    assert bits(probed) == bits(plain)
    assert probed.metrics == plain.metrics
    assert ["probe.accuracy" in epoch for epoch in told if epoch["phase"] == "pretrain"] == [True, True, False]


def test_a_probe_is_a_linear_evaluation_of_the_encoders_at_that_epoch(tiny: Recordings, recipe: Recipe) -> None:
    prepared, parts = Prepared.of(tiny, 16, tuple(USUAL)), split(tiny, recipe.data)
    told: list[Epoch] = []
    run_trial(recipe.with_knobs({"pretrain.epochs": 5}), prepared, parts, probe_every=2, on_epoch=told.append)
    probes = {epoch["epoch"]: epoch["probe.accuracy"] for epoch in told if "probe.accuracy" in epoch}
    assert list(probes) == [2, 4]
    for epochs, accuracy in probes.items():
        model = run_trial(recipe.with_knobs({"pretrain.epochs": epochs}), prepared, parts).model
        assert model is not None
        features = np.concatenate(list(model.features(tiny).values()), axis=1).astype(np.float64)
        scaler = StandardScaler().fit(features[parts.train])
        ridge = RidgeClassifierCV(alphas=[1, 10, 100, 1e3, 1e4, 1e5])
        ridge.fit(scaler.transform(features[parts.train]), tiny.labels[parts.train])
        right = ridge.predict(scaler.transform(features[parts.validation])) == tiny.labels[parts.validation]
        assert accuracy == right.mean()


def test_what_encoders_cost_is_counted_by_hand(tiny: Recordings, recipe: Recipe) -> None:
    steps, channels, width, feedforward = 16, 4, SIGNAL_FEATURES, 32
    convolutions = [(channels, 32), (32, 64), (64, width)]
    weights = sum(3 * a * b + 2 * b for a, b in convolutions)  # a kernel of 3, and batch norm's two
    weights += 4 * width * width + 4 * width + 2 * width * feedforward + feedforward + width + 4 * width
    products = sum(3 * a * b for a, b in convolutions) * steps
    products += steps * (4 * width * width + 2 * width * feedforward) + 2 * steps * steps * width
    imu = recipe.with_knobs({"data.modalities": ["imu"]})
    metrics = run_trial(imu, Prepared.of(tiny, 16, ["imu"]), split(tiny, imu.data)).metrics
    assert metrics["encoders.parameters"] == weights
    assert metrics["encoders.flops"] == 2 * products, "a multiplication and an addition each"
    both = run_trial(recipe, Prepared.of(tiny, 16, tuple(USUAL)), split(tiny, recipe.data)).metrics
    assert both["encoders.flops"] > metrics["encoders.flops"]


OTHER: dict[str, object] = {
    "pretrain.incomplete": "two_views",
    "objective.name": "barlow_twins",
    "encoder.imu.pooling": "none",
    "pretrain.schedule": "cosine",
    "pretrain.precision": "bfloat16",
    "pretrain.hidden_classes": ["middle"],
    "pretrain.share": 0.5,
    "data.transductive": True,
    "finetune.encoders": "trained",
    "finetune.head": "logistic",
    "finetune.batch_norm": "renewed",
    "finetune.standardise": True,
    "finetune.subsets": ["imu+skeleton"],
    "finetune.labels": 0.5,
    "finetune.lr": 3e-3,
    "finetune.batch_size": 4,
    "pretrain.lr": 3e-3,
    "guide.lr": 3e-3,
    "encoder.imu.dropout": 0.3,
    "data.steps": 18,
    "encoder.imu.heads": 4,
    "augment.imu.shuffle.strength": 0.4,
}
"""Another value of knobs of which twice as much, or a half, is none."""


def otherwise(recipe: Recipe, knob: str) -> Recipe:
    value = recipe.knobs()[knob]
    if knob in OTHER:
        return recipe.with_knobs({knob: OTHER[knob]})
    if knob.endswith(("probability", "strength")):
        return recipe.with_knobs({knob: 5 if knob.endswith("permute.strength") else 0.95})
    assert isinstance(value, int | float), knob
    return recipe.with_knobs({knob: value * 2 or 3})


@pytest.mark.parametrize("name", ["vicreg_imu", "cmc_cmkm", "supervised_skeleton", "untrained", "barlow_twins"])
def test_knobs_that_are_not_read_change_no_bit_and_the_others_do(tiny: Recordings, name: str) -> None:
    recipe = of_system(name, pretrain__epochs=1, guide__epochs=1, finetune__epochs=1, guide__batch_size=8)
    told = train(recipe, tiny)
    unread = recipe.unread()
    others = recipe
    for knob in unread:
        # A projector that nothing reads is drawn all the same, before the heads; with views augmentation would be read.
        if not knob.startswith(("encoder.projector", "finetune.views")):
            others = otherwise(others, knob)
    for other in (others, otherwise(recipe, "finetune.views") if "finetune.views" in unread else recipe):
        same = train(other, tiny)
        assert same.metrics == told.metrics
        assert same.predictions == told.predictions
    if name in ("cmc_cmkm", "barlow_twins"):
        return  # Each of the others is a training.
    left_out = (
        "data.t",
        "data.validation",
        "data.protocol",
        "data.modalities",
        "seed",
        *SYSTEMS[name].defining,
        "objective.name",
    )
    for knob in recipe.knobs():
        if knob not in unread and not knob.startswith(left_out):
            now = train(otherwise(recipe, knob), tiny)
            assert (now.metrics, now.predictions) != (told.metrics, told.predictions), knob


def test_features_of_trained_encoders_keep_variance_and_lose_covariance(tiny: Recordings) -> None:
    def measured(**more: float) -> tuple[float, float]:
        values = {"pretrain.epochs": 0, "finetune.encoders": "trained", "finetune.epochs": 6}
        values |= {"finetune.batch_norm": "renewed"}
        recipe = Recipe().with_knobs(SMALL | values | {f"finetune.{knob}": value for knob, value in more.items()})
        prepared = Prepared.of(tiny, recipe.data.steps, recipe.data.modalities)
        model = run_trial(recipe, prepared, split(tiny, recipe.data)).model
        assert model is not None
        features = model.encode(prepared.padded(model, np.arange(len(tiny))))["skeleton"].numpy().astype(np.float64)
        covariances = np.cov(features.T)
        spread = np.sqrt(np.diag(covariances)).clip(max=1).mean()
        return float(spread), float((covariances**2).sum() - (np.diag(covariances) ** 2).sum())

    plain, spread, apart = measured(), measured(variance=25), measured(covariance=25)
    assert spread[0] > 1.1 * plain[0]
    assert apart[1] < 0.5 * plain[1]


def test_encoders_are_fine_tuned_at_a_rate_of_their_own(tiny: Recordings) -> None:
    """Adam's first step moves every weight by its rate, whatever the gradient."""
    values = {"pretrain.epochs": 0, "finetune.encoders": "trained", "finetune.epochs": 1, "finetune.batch_size": 64}

    def moved(**more: float) -> dict[str, float]:
        recipe = Recipe().with_knobs(SMALL | values | {f"finetune.{knob}": value for knob, value in more.items()})
        prepared = Prepared.of(tiny, recipe.data.steps, recipe.data.modalities)
        parts = split(tiny, recipe.data)
        before, _ = training.fresh(recipe, prepared, parts, torch.device("cpu"))
        after = run_trial(recipe, prepared, parts).model
        assert after is not None
        largest: dict[str, float] = {}
        for part, module in before.parts.items():
            pairs = zip(module.parameters(), after.parts[part].parameters(), strict=True)
            largest[part] = max(float((new - old).detach().abs().max()) for old, new in pairs)
        return largest

    alike, slower = moved(lr=1e-3), moved(lr=1e-3, encoder_rate=0.1)
    assert alike["encoders"] == pytest.approx(1e-3, rel=1e-2)
    assert slower["encoders"] == pytest.approx(1e-4, rel=1e-2)
    assert slower["heads"] == pytest.approx(alike["heads"], rel=1e-2)
