"""Streams from windows to scores, a choice, encoders and a time line."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pytest
import small
from typer.testing import CliRunner

from mmssl import Description, Recipe, Recordings, Row, UserError, launch, train
from mmssl.cli import app
from mmssl.data.description import Window
from mmssl.data.windows import Interval, cut

HZ, SECONDS = 20, 40
LABELS = {"still": 0.0, "wave": 1.0, "shake": 3.0}


def streams() -> tuple[Recordings, dict[str, list[Interval]]]:
    """Three people's, one signal each, in which they do three things for a while."""
    draws = np.random.default_rng(0)
    description = Description.model_validate(
        {"name": "shift", "modalities": {"wrist": {"kind": "signal", "channels": ("x", "y", "z"), "hz": HZ}}}
    )
    rows, signals, intervals = [], [], {}
    moments = np.arange(HZ * SECONDS) / HZ
    for person in ("anna", "ben", "chris"):
        signal, own = draws.normal(0, 0.1, (len(moments), 3)), []
        for number, start in enumerate(range(1, SECONDS - 8, 9)):
            label = [*LABELS][(number + len(person)) % 3]
            inside = (moments >= start) & (moments < start + 8)
            signal[inside] += np.sin(2 * np.pi * LABELS[label] * moments[inside])[:, None]
            own.append(Interval(start, start + 8, label))
        rows.append(Row(recording_id=person, subject=person))
        signals.append(signal)
        intervals[person] = own
    return Recordings(description, rows, wrist=signals), intervals


def windows() -> Recordings:
    whole, intervals = streams()
    return cut(whole, Window(seconds=2, stride=1), intervals, {}).recordings


SPACE: dict[str, Any] = {
    "systems": ["vicreg_wrist"],
    "fixed": {**small.KNOBS, "pretrain.epochs": 1, "finetune.epochs": 20},
    "grid": {"objective.mu": [1, 25]},
}


@pytest.mark.usefixtures("unchecked")
def test_streams_are_searched_by_window_and_by_interval_exported_and_predicted_over_time(tmp_path: Path) -> None:
    made = windows()
    study = launch(SPACE, made, storage=tmp_path / "studies", local=True)
    table = study.trials().to_pylist()
    assert {row["status"] for row in table} == {"COMPLETE"}
    predicted = pyarrow.parquet.read_table(tmp_path / "studies" / study.name / "predictions.parquet").to_pylist()
    for row in table:
        own = [one for one in predicted if one["trial_id"] == row["trial_id"]]
        votes: dict[str, list[bool]] = {}
        for one in own:
            votes.setdefault(one["unit"], []).append(one["label"] == one["predicted"])
        assert row["recordings.validation"] == len(votes) == 4, "four intervals of each person"
        assert row["val.accuracy"] == pytest.approx(np.mean([hit for hits in votes.values() for hit in hits]))
        sure = [np.mean(hits) > 0.5 for hits in votes.values()]
        never = [np.mean(hits) < 1 / 3 for hits in votes.values()]
        assert np.mean(sure) <= row["val.interval.accuracy"] <= 1 - np.mean(never)
    assert study.results("val.interval.accuracy")["mean"].null_count == 0
    exported = study.export(tmp_path / "encoders")
    card = (exported.folder / "README.md").read_text()
    assert f"{len(made)} windows of 3 recordings" in card
    made.where(lambda row: row.subject == "anna").save(tmp_path / "anna.parquet")
    words = ["predict", str(exported.folder), str(tmp_path / "anna.parquet"), "--out", str(tmp_path / "said.csv")]
    done = CliRunner().invoke(app, [*words, "--picture", str(tmp_path / "said.svg")])
    assert done.exit_code == 0, done.output
    said = pyarrow.csv.read_csv(tmp_path / "said.csv").to_pylist()
    assert [(one["stream"], one["start"], one["end"]) for one in said[:2]] == [("anna", 0, 2), ("anna", 1, 3)]
    assert len(said) == SECONDS - 1
    assert "still" in (tmp_path / "said.svg").read_text()


def test_encoders_of_windows_take_windows_of_their_length_alone(tmp_path: Path) -> None:
    made = windows()
    model = train(Recipe().with_knobs({**SPACE["fixed"], "data.modalities": ["wrist"]}), made).model
    assert model is not None
    assert len(model.predict(made)) == len(made)
    whole, intervals = streams()
    for other, given in (
        (cut(whole, Window(seconds=3, stride=1), intervals, {}).recordings, "windows of 3 s"),
        (cut(whole, None, intervals, {}).recordings, "no such windows"),
    ):
        with pytest.raises(UserError, match=f"trained on windows of 2 s, and these are {given}: import them --like"):
            model.predict(other)


def test_windows_of_one_person_never_stand_on_two_sides() -> None:
    from mmssl.data.protocols import split
    from mmssl.recipe import Data

    made = windows()
    parts = split(made, Data(modalities=("wrist",), validation_subjects=("ben",)))
    sources = [{made.rows[i].source for i in rows} for rows in (parts.pretrain, parts.validation)]
    assert sources == [{"anna", "chris"}, {"ben"}]


def test_streams_that_nobody_has_cut_are_refused(tmp_path: Path) -> None:
    whole, _ = streams()
    long = Recordings(
        whole.description.model_copy(update={"classes": ("still", "wave")}),
        [row.model_copy(update={"label": "wave"}) for row in whole.rows],
        wrist=[np.tile(array, (3, 1)) for array in whole.arrays("wrist") if array is not None],
    )
    with pytest.raises(UserError, match=r"anna and 2 more of 3 recordings .* lasts 120 s; import them cut"):
        launch(SPACE, long, storage=tmp_path, local=True)
