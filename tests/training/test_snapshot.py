"""A loop that is cut off anywhere and goes on ends as one that never was."""

from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mmssl import Recipe, Recordings
from mmssl.data.protocols import split
from mmssl.storage import Folder
from mmssl.study.presets import preset
from mmssl.training.prepared import Prepared
from mmssl.training.snapshot import Epoch, Snapshot, digest_of
from mmssl.training.trial import Outcome, run_trial

SMALL = {
    "data.steps": 16,
    "data.validation_subjects": ["chris"],
    "encoder.imu.layers": 1,
    "encoder.imu.feedforward": 16,
    "encoder.projector.hidden": 16,
    "encoder.projector.width": 8,
    "pretrain.batch_size": 16,
    "guide.epochs": 2,
    "finetune.epochs": 4,
    "finetune.hidden": 8,
}


class Killed(BaseException):
    """As a process that dies: nothing in between may catch it."""


def recipe_of(system: str) -> Recipe:
    knobs = SMALL if system in ("supervised", "untrained") else {**SMALL, "pretrain.epochs": 5}
    if system == "vicreg":
        knobs = {**knobs, "pretrain.schedule": "cosine"}
    return preset("tiny", system).with_knobs(knobs)


def outcome_of(
    recipe: Recipe,
    tiny: Recordings,
    folder: Path | None,
    *,
    die_after: int | None = None,
    probe_every: int | None = None,
) -> tuple[Outcome, list[Epoch]]:
    told: list[Epoch] = []

    def on_epoch(epoch: Epoch) -> None:
        told.append(epoch)
        if die_after is not None and len(told) > die_after:
            raise Killed

    prepared = Prepared.of(tiny, 16, ("imu", "skeleton"))
    if folder is not None:
        folder.mkdir(exist_ok=True)
    snapshots = None if folder is None else lambda name: Snapshot(Folder(folder), name, seconds_between=0)
    outcome = run_trial(
        recipe,
        prepared,
        split(tiny, recipe.data),
        on_epoch=on_epoch,
        snapshots=snapshots,
        probe_every=probe_every,
    )
    return outcome, told


def weights(outcome: Outcome) -> dict[str, torch.Tensor]:
    assert outcome.model is not None
    return {f"{part}.{k}": v for part, m in outcome.model.parts.items() for k, v in m.state_dict().items()}


@pytest.mark.parametrize(
    "system", ["vicreg", "simclr_imu", "cmc_cmkm", "levljepa", "vicreg_within_across", "masked", "supervised"]
)
def test_killed_at_every_epoch_it_ends_with_the_same_bits_and_the_same_curve(
    tiny: Recordings, tmp_path: Path, system: str
) -> None:
    recipe = recipe_of(system)
    undisturbed, curve = outcome_of(recipe, tiny, None)
    for die_after in range(len(curve)):
        with pytest.raises(Killed):
            outcome_of(recipe, tiny, tmp_path / system, die_after=die_after)
    outcome, told = outcome_of(recipe, tiny, tmp_path / system)
    assert told == curve
    assert outcome.metrics == undisturbed.metrics
    ours, theirs = weights(outcome), weights(undisturbed)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


def test_an_epoch_that_wx_is_not_trained_again(tiny: Recordings, tmp_path: Path) -> None:
    recipe = recipe_of("vicreg")
    with pytest.raises(Killed):
        outcome_of(recipe, tiny, tmp_path, die_after=3)
    (file,) = tmp_path.iterdir()
    # Other numbers in the snapshot come out at the end: they were taken, not computed anew.
    kept = load_file(file)
    kept["modules.encoders.imu.convolutions.0.weight"].zero_()
    del kept["sha256"]
    save_file({**kept, "sha256": digest_of(kept)}, file)
    changed, _ = outcome_of(recipe, tiny, tmp_path)
    assert changed.metrics["train.loss"] != outcome_of(recipe, tiny, None)[0].metrics["train.loss"]


@pytest.mark.parametrize(("system", "probe_every"), [("vicreg", None), ("vicreg", 2), ("supervised", None)])
def test_a_snapshot_of_other_training_code_is_not_gone_on_from(
    tiny: Recordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, probe_every: int | None
) -> None:
    recipe = recipe_of(system)
    undisturbed, curve = outcome_of(recipe, tiny, None, probe_every=probe_every)
    with pytest.raises(Killed), monkeypatch.context() as other:
        other.setattr("mmssl.training.kept._code_version", lambda: "other code")
        outcome_of(recipe, tiny, tmp_path, die_after=3, probe_every=probe_every)
    (file,) = tmp_path.iterdir()
    kept = load_file(file)
    for name in kept:
        if name.startswith("modules.encoders") and name.endswith("weight"):
            kept[name].zero_()  # As weights that other code came to.
    del kept["sha256"]
    save_file({**kept, "sha256": digest_of(kept)}, file)
    outcome, told = outcome_of(recipe, tiny, tmp_path, probe_every=probe_every)
    assert told == curve
    assert outcome.metrics == undisturbed.metrics


@pytest.mark.parametrize("damage", ["cut short", "empty", "of another loop", "another weight"])
def test_a_damaged_snapshot_is_a_new_beginning(tiny: Recordings, tmp_path: Path, damage: str) -> None:
    recipe = recipe_of("vicreg")
    undisturbed, curve = outcome_of(recipe, tiny, None)
    with pytest.raises(Killed):
        outcome_of(recipe, tiny, tmp_path, die_after=3)
    (file,) = tmp_path.iterdir()
    content = file.read_bytes()
    if damage == "of another loop":
        kept = load_file(file)
        del kept["modules.encoders.imu.convolutions.0.weight"], kept["sha256"]
        save_file({**kept, "sha256": digest_of(kept)}, file)
    elif damage == "another weight":
        kept = load_file(file)
        kept["modules.encoders.imu.convolutions.0.weight"][0] += 1
        save_file(kept, file)
    else:
        file.write_bytes(content[: len(content) // 2] if damage == "cut short" else b"")
    outcome, told = outcome_of(recipe, tiny, tmp_path)
    assert told == curve
    assert outcome.metrics == undisturbed.metrics


def test_a_short_loop_writes_nothing(tiny: Recordings, tmp_path: Path) -> None:
    recipe = recipe_of("vicreg")
    prepared = Prepared.of(tiny, 16, ("imu", "skeleton"))
    run_trial(recipe, prepared, split(tiny, recipe.data), snapshots=lambda name: Snapshot(Folder(tmp_path), name))
    assert list(tmp_path.iterdir()) == []


def test_a_snapshot_knows_where_its_epochs_were_trained(tmp_path: Path, tiny: Recordings) -> None:
    recipe, places = recipe_of("vicreg"), [{"there"}, {"here"}, {"here"}]
    prepared, folder = Prepared.of(tiny, 16, ("imu", "skeleton")), Folder(tmp_path)

    def die(epoch: Epoch) -> None:
        if epoch["epoch"] == 3:
            raise Killed

    for at, on_epoch in zip(places, (die, die, lambda epoch: None), strict=True):
        with suppress(Killed):
            run_trial(
                recipe, prepared, split(tiny, recipe.data), on_epoch=on_epoch,
                snapshots=lambda name, at=at: Snapshot(folder, name, seconds_between=0, places=at),
            )  # fmt: skip
    assert places == [{"there"}, {"there", "here"}, {"there", "here"}]
