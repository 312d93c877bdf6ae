"""What recordings without labels change, and what they must not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmssl import Recipe, Recordings, UserError, launch
from mmssl.data.protocols import split
from mmssl.data.rows import labelled_rows, shown_rows
from mmssl.data.utd_mhad import read
from mmssl.study.folder import Study
from mmssl.training.model import WEIGHTS
from mmssl.training.prepared import Prepared
from mmssl.training.trial import run_trial

SMALL = {
    "data.steps": 16, "encoder.imu.layers": 1, "encoder.imu.feedforward": 16, "encoder.projector.hidden": 16,
    "encoder.projector.width": 8, "pretrain.epochs": 1, "pretrain.batch_size": 32, "finetune.epochs": 2,
    "finetune.hidden": 8,
}  # fmt: skip


def blanked(recordings: Recordings, but: Any) -> Recordings:
    """The same without labels, but for those of some rows."""
    kept = set(np.asarray(but).tolist())
    rows = [row if i in kept else row.model_copy(update={"label": ""}) for i, row in enumerate(recordings.rows)]
    return Recordings(recordings.description, rows, recordings.arrays("skeleton"), recordings.arrays("imu"))


def outcome(recipe: Recipe, recordings: Recordings) -> tuple[bytes, dict[str, float]]:
    prepared = Prepared.of(recordings, recipe.data.steps, recipe.data.modalities)
    trained = run_trial(recipe, prepared, split(recordings, recipe.data))
    assert trained.model is not None
    return trained.model.files()[WEIGHTS], trained.metrics


def assert_blank_labels_are_labels_not_drawn(recordings: Recordings, held_out: str, share: float, draw: int) -> None:
    drawn = Recipe().with_knobs(
        {**SMALL, "data.validation_subjects": [held_out], "finetune.labels": share, "finetune.label_draw": draw}
    )
    parts = split(recordings, drawn.data)
    labelled = labelled_rows(drawn, recordings, parts)
    fewer = blanked(recordings, [*labelled, *parts.validation, *parts.test])
    assert len(labelled) < len(parts.train)
    everything = drawn.with_knobs({"finetune.labels": 1.0})
    assert split(fewer, everything.data).train.tolist() == labelled.tolist()
    assert outcome(everything, fewer) == outcome(drawn, recordings)


def test_blank_labels_are_the_same_as_labels_that_are_not_drawn(tiny: Recordings) -> None:
    assert_blank_labels_are_labels_not_drawn(tiny, "chris", 0.34, 1)


@pytest.mark.usefixtures("unchecked")
def test_so_they_are_of_utd_mhad(utd_mhad: Path) -> None:
    recordings, _ = read(utd_mhad, skip_bad=False)
    assert_blank_labels_are_labels_not_drawn(recordings, "1", 0.1, 2)


@pytest.mark.usefixtures("unchecked")
def test_further_recordings_are_part_of_the_plan_and_found_again(tiny: Recordings, tmp_path: Path) -> None:
    dora = tiny.where(lambda row: row.subject == "dora")
    rows = [row.model_copy(update={"subject": "eve", "label": ""}) for row in dora.rows]
    Recordings(dora.description, rows, dora.skeleton, dora.imu).save(tmp_path / "more.parquet")
    tiny.where(lambda row: row.subject != "dora").save(tmp_path / "own.parquet")
    space = {"fixed": SMALL, "grid": {"objective.mu": [1, 2]}, "folds": [["ben"]]}
    options: dict[str, Any] = {"storage": tmp_path / "studies", "local": True}
    plain = launch(space, tmp_path / "own.parquet", **options)
    wide = launch(space, tmp_path / "own.parquet", pretrain_on=[tmp_path / "more.parquet"], **options)
    plans = [Study(str(tmp_path / "studies"), study.name).plan() for study in (plain, wide)]
    assert plans[1].dataset.pretrain_on == (str(tmp_path / "more.parquet"),)
    assert plans[1].dataset.count == "36 recordings, 9 without a label"
    assert plans[0].dataset.fingerprint != plans[1].dataset.fingerprint
    assert not {one.trial_id for one in plans[0].trials} & {one.trial_id for one in plans[1].trials}
    shown = [set(study.trials()["recordings.train"].to_pylist()) for study in (plain, wide)]
    assert shown == [{18}, {27}]
    assert set(wide.trials()["recordings.labelled"].to_pylist()) == {18}
    extended = wide.extend(seeds=[29], local=True)
    assert extended.trials()["status"].to_pylist() == ["COMPLETE"] * 4
    exported = wide.export(tmp_path / "encoders")
    assert exported.folder == tmp_path / "encoders"
    assert '"more"' in (tmp_path / "encoders" / "model.json").read_text()


def test_without_a_label_anywhere_nothing_can_be_searched(tiny: Recordings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no recording has a label, so nothing can be scored: .* --pretrain-on"):
        launch({"fixed": SMALL}, blanked(tiny, ()), storage=tmp_path, local=True)


def test_pre_training_is_shown_a_share_whatever_the_labels(tiny: Recordings) -> None:
    recipe = Recipe().with_knobs({**SMALL, "data.validation_subjects": ["chris"], "pretrain.share": 0.5})
    parts = split(tiny, recipe.data)
    shown = shown_rows(recipe, tiny, parts)
    assert len(shown) == round(0.5 * len(parts.train))
    assert set(shown.tolist()) < set(parts.train.tolist())
    assert labelled_rows(recipe, tiny, parts).tolist() == parts.train.tolist()
    other = recipe.with_knobs({"seed": 29})
    assert shown.tolist() != shown_rows(other, tiny, parts).tolist()


def test_scores_of_a_transductive_study_say_so_wherever_they_are_shown(tiny: Recordings, tmp_path: Path) -> None:
    space = {"fixed": {**SMALL, "data.transductive": True}, "grid": {"objective.mu": [1, 2]}, "folds": [["ben"]]}
    study = launch(space, tiny, storage=tmp_path, local=True)
    assert study.best().choice.caveats[0].startswith("transductive: ")
