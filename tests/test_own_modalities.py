"""A lab's own modalities from a study to the page: two signals and a skeleton, signals alone, one signal."""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import small
import torch

import mmssl
from mmssl import Description, Recipe, Recordings, Signal, Skeleton, UserError, cli, preset
from mmssl.evaluation import scores
from mmssl.export.conversion import convert
from mmssl.objectives import OBJECTIVES, over_pairs
from mmssl.recipe import Kind, knob_names, scored_inputs
from mmssl.study.presets import SYSTEMS, system_named, systems
from mmssl.training.model import Model
from mmssl.training.preparation import prepare
from mmssl.training.prepared import Prepared
from mmssl.training.pretraining import Pretraining
from mmssl.training.trial import train

KNOBS = {**small.KNOBS, "pretrain.epochs": 2, "finetune.epochs": 3}
SPACE: dict[str, Any] = {
    "name": "lab",
    "systems": ["vicreg", "untrained", "vicreg_wrist"],
    "fixed": {**KNOBS, "finetune.subsets": ["wrist+ankle"]},
    "folds": [["anna"]],
}


@pytest.fixture(scope="module")
def lab(tiny: Recordings) -> Recordings:
    """The bodies and wrists of `tiny`, and ankles with a channel more, at another rate."""
    draws = np.random.default_rng(1)
    wrists, bodies = tiny.arrays("imu"), tiny.arrays("skeleton")
    description = Description(
        name="lab",
        classes=tiny.description.classes,
        modalities={
            "wrist": tiny.description.signals["imu"].model_copy(update={"hz": 30.0}),
            "body": tiny.description.skeletons["skeleton"],
            "ankle": Signal(channels=("x", "y", "z", "load", "foot"), sensors=((("x", "y", "z"),),)),
        },
        protocols=tiny.description.protocols,
    )
    ankles = [
        np.concatenate([3 * one[::2], one[::2, :1]], axis=1) + draws.normal(size=(len(one[::2]), 5))
        for one in wrists
        if one is not None
    ]
    return Recordings(description, tiny.rows, wrist=wrists, body=bodies, ankle=ankles)


def only(recordings: Recordings, *names: str) -> Recordings:
    own = {name: recordings.description.modalities[name] for name in names}
    description = recordings.description.model_copy(update={"modalities": own})
    return Recordings(description, recordings.rows, **{name: recordings.arrays(name) for name in names})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, lab: Recordings) -> mmssl.OpenStudy:
    return mmssl.launch(SPACE, lab, storage=tmp_path_factory.mktemp("named"), local=True)


@pytest.fixture(scope="module")
def export(study: mmssl.OpenStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study.export(tmp_path_factory.mktemp("exports") / "encoders", by="val.wrist.accuracy").folder


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command in this process; gives what it prints."""

    def run(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["mmssl-tune", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        assert not end.value.code, captured.err
        return captured.out

    return run


def test_columns_are_by_name(study: mmssl.OpenStudy) -> None:
    trials = study.trials().to_pandas().set_index("system")
    assert list(trials["status"]) == ["COMPLETE"] * 3
    read = {"", ".ankle", ".body", ".wrist", ".ankle+wrist"}
    measured = {
        name.removeprefix("val").removesuffix(".accuracy") for name in trials if re.match(r"val.*accuracy", name)
    }
    assert measured == {*read, ".interval"}
    for system, own in (("vicreg", read), ("untrained", read), ("vicreg_wrist", {""})):
        assert {one for one in read if not np.isnan(trials.loc[system, f"val{one}.accuracy"])} == own
    assert not [name for name in trials if ".imu." in name.removeprefix("param.") and not name.startswith("param.")]
    assert np.isfinite(
        trials.loc["vicreg", [f"embedding.{name}.std" for name in ("ankle", "body", "wrist")]].astype(float)
    ).all()
    epochs = pd.read_parquet(Path(study.place) / "epochs.parquet")
    assert {"train.ankle.std", "train.body.effective_rank", "train.wrist.covariance"} <= set(epochs.columns)
    by_pair = study.results("val.ankle+wrist.accuracy")
    assert by_pair["n"].to_pylist().count(1) == 2
    assert study.best("rankme").choice.best.values["system"] in ("vicreg", "untrained", "vicreg_wrist")
    with pytest.raises(UserError, match=r"--by val\.elbow\.accuracy: did you mean"):
        study.results("val.elbow.accuracy")


def test_an_export_predicts_from_what_there_is(
    export: Path, lab: Recordings, tmp_path: Path, ask: Callable[..., str]
) -> None:
    lab.save(tmp_path / "lab.parquet")
    only(lab, "wrist").save(tmp_path / "wrist.parquet")

    def predicted(file: str, *words: str) -> list[str]:
        ask("predict", export, tmp_path / file, *words, "--out", tmp_path / "out.csv", "--force")
        return list(pd.read_csv(tmp_path / "out.csv")["predicted"])

    encoders = mmssl.load_encoders(export)
    assert encoders.recipe.data.modalities == ("ankle", "body", "wrist")
    assert predicted("lab.parquet") == encoders.predict(lab)
    assert predicted("wrist.parquet", "--modalities", "wrist") == encoders.predict(lab, ["wrist"])
    assert predicted("lab.parquet", "--modalities", "wrist,ankle") == encoders.predict(lab, ["ankle", "wrist"])
    card = (export / "README.md").read_text()
    assert "# ankle + body + wrist encoders from study" in card
    assert "ankle, channels x (any unit), y (any unit)" in card
    assert "body, skeletons of 5 joints x 2 (any unit)" in card
    assert "| validation accuracy | ankle + wrist |" in card


@pytest.mark.parametrize("names", [["wrist"], ["ankle", "wrist"], ["ankle", "body", "wrist"]], ids="+".join)
def test_other_programs_run_it_by_these_names(export: Path, lab: Recordings, tmp_path: Path, names: list[str]) -> None:
    runtime = pytest.importorskip("onnxruntime")
    encoders = mmssl.load_encoders(export)
    convert(encoders, "onnx", names, tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    assert [one.name for one in session.get_inputs()] == names
    outputs = [one.name for one in session.get_outputs()]
    assert outputs == [*(f"features.{name}" for name in names), "probabilities"]
    given = dict(zip(outputs, session.run(None, dict(prepare(lab, encoders.recipe.data.steps, names))), strict=True))
    features = encoders.features(lab, names)
    for name in names:
        np.testing.assert_allclose(given[f"features.{name}"], features[name], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(given["probabilities"], encoders.probabilities(features), rtol=1e-3, atol=1e-4)


def test_the_page_shows_every_modality(study: mmssl.OpenStudy, tmp_path: Path, ask: Callable[..., str]) -> None:
    ask("report", study.name, "--storage", Path(study.place).parent, "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    for name in ("ankle", "body", "wrist"):
        assert f"</i> {name}</span>" in page
        assert f"train.{name}.std" in page
    assert "features of all modalities joined" in page
    assert "ankle: x, y, z" in page


def trained(recordings: Recordings, system: str, knobs: Mapping[str, object] | None = None) -> Any:
    recipe = preset("lab", system, kinds=recordings.kinds).with_knobs(
        {**KNOBS, "data.validation_subjects": ["anna"], **(knobs or {})}
    )
    return train(recipe, recordings)


def test_all_named_give_a_head_of_their_own(lab: Recordings) -> None:
    """And one that was trained beside others does not change them."""
    with_subsets, without = (
        trained(lab, "vicreg", {"finetune.subsets": subsets}) for subsets in (["wrist+ankle", "body+ankle"], [])
    )
    model = with_subsets.model
    assert list(model.heads) == ["ankle+body+wrist", "ankle", "body", "wrist", "ankle+wrist", "ankle+body"]
    assert without.metrics.items() <= with_subsets.metrics.items()
    held_out = lab.where(lambda row: row.subject == "anna")
    for reading, prefix in scored_inputs("val", model.recipe):
        guesses = model.probabilities(model.features(held_out, reading)).argmax(axis=1)
        assert with_subsets.metrics[f"{prefix}.accuracy"] == scores(held_out.labels, guesses)["accuracy"]
    with pytest.raises(UserError, match=r"cannot classify from body, wrist: choose ankle\+body\+wrist or "):
        model.predict(held_out, ["body", "wrist"])


@pytest.mark.parametrize("names", [("ankle", "wrist"), ("wrist",)], ids="+".join)
def test_signals_alone(lab: Recordings, names: tuple[str, ...]) -> None:
    some = only(lab, *names)
    outcome = trained(some, "vicreg" if len(names) > 1 else "vicreg_wrist")
    assert outcome.status == "COMPLETE"
    assert set(outcome.model.encoders) == set(outcome.model.standardisations) == set(names)
    raw = np.concatenate(
        Prepared.of(some.where(lambda row: row.subject in ("ben", "chris")), 16, names).inputs["wrist"]
    )
    assert outcome.model.standardisations["wrist"].mean == pytest.approx(raw.mean(axis=0), rel=1e-3, abs=1e-4)
    files = outcome.model.files()
    again = Model.from_files(files, "here")
    assert again.predict(some) == outcome.model.predict(some)
    if len(names) == 1:
        with pytest.raises(UserError, match=r"the recordings have wrist alone, and system vicreg .* as vicreg_wrist"):
            preset("lab", "vicreg", kinds=some.kinds)


def test_names_do_not_change_what_is_learnt(tiny: Recordings) -> None:
    """Those of `tiny` called otherwise, in the same order: the same draws, the same bits."""
    own = tiny.description.modalities
    renamed = tiny.description.model_copy(update={"modalities": {"arm": own["imu"], "body": own["skeleton"]}})
    other = Recordings(renamed, tiny.rows, arm=tiny.arrays("imu"), body=tiny.arrays("skeleton"))
    usual, named = trained(tiny, "vicreg"), trained(other, "vicreg")
    called = {"arm": "imu", "body": "skeleton"}
    as_usual = {re.sub(r"\b(arm|body)\b", lambda match: called[match[0]], name): v for name, v in named.metrics.items()}
    assert as_usual == usual.metrics
    for ours, theirs in called.items():
        for (_, a), (_, b) in zip(
            named.model.encoders[ours].state_dict().items(),
            usual.model.encoders[theirs].state_dict().items(),
            strict=True,
        ):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", [name for name, loss in OBJECTIVES.items() if loss.takes(3) and not loss.doubled])
def test_the_objective_of_three_is_the_mean_over_their_pairs(lab: Recordings, name: str) -> None:
    recipe = preset("lab", name, kinds=lab.kinds).with_knobs({**KNOBS, "data.validation_subjects": ["anna"]})
    prepared = Prepared.of(lab, 16, recipe.data.modalities)
    torch.manual_seed(0)
    model = Model.fresh(recipe, lab.description, {})
    tensors = {one: torch.from_numpy(values) for one, values in prepared.inputs.items()}
    guides = [torch.randn(len(lab), 5) for _ in tensors] if OBJECTIVES[name].guided else []
    training = Pretraining(model, tensors, seed=1, guides=guides)
    assert training.branches == ("ankle", "body", "wrist")
    a, b, c = embeddings = [torch.randn(12, 8) for _ in range(3)]
    batch = torch.arange(12)
    drawn = training.generators[1].get_state()
    loss = training.loss(embeddings, batch)

    def function() -> Callable[..., dict[str, torch.Tensor]]:
        """What it draws is what it drew the first time."""
        return recipe.objective.loss.with_knobs(recipe.objective, torch.Generator().set_state(drawn))

    learned = [{"learned": module} for module in training.learned] or [{}] * 3
    pairs = [((a, b), (0, 1)), ((a, c), (0, 2)), ((b, c), (1, 2))]
    one_by_one = function()
    by_hand = [
        one_by_one(*two, *(guides[i][batch] for i in at if guides), **own)
        for (two, at), own in zip(pairs, learned, strict=True)
    ]
    assert loss.item() == pytest.approx(sum(one["loss"].item() for one in by_hand) / 3, rel=1e-6)
    whole = over_pairs(function(), embeddings, [guide[batch] for guide in guides], [*training.learned])
    for term in by_hand[0]:
        assert whole[term].item() == pytest.approx(sum(one[term].item() for one in by_hand) / 3, rel=1e-6)
    two = over_pairs(function(), [a, b], [guide[batch] for guide in guides[:2]], [*training.learned][:1])
    assert all(torch.equal(two[term], by_hand[0][term]) for term in two), "of two it is what it was"


def test_guides_are_pretrained_for_each_of_three(lab: Recordings) -> None:
    outcome = trained(lab, "cmc_cmkm", {"guide.epochs": 1, "guide.batch_size": 16})
    assert outcome.status == "COMPLETE"
    assert {"train.ankle.std", "train.body.std", "train.wrist.std"} <= set(outcome.metrics)


KINDS: dict[str, Kind] = {"ankle": "signal", "body": "skeleton", "wrist": "signal"}


def test_systems_are_of_the_names_that_there_are() -> None:
    there = systems(KINDS)
    assert there["vicreg"].modalities == ("ankle", "body", "wrist")
    of_one = [name.removesuffix("_imu") for name in SYSTEMS if name.endswith("_imu")]
    across = [name for name in SYSTEMS if not name.endswith(("_imu", "_skeleton"))]
    assert sorted(there) == sorted([*across, *(f"{method}_{name}" for method in of_one for name in KINDS)])
    assert system_named("cmc_wrist+ankle", KINDS).modalities == ("ankle", "wrist")
    assert preset("lab", "vicreg_body", "paper", KINDS).augment.imu == Recipe().augment.imu
    assert preset("lab", "vicreg_wrist", "paper", KINDS).augment.skeleton == Recipe().augment.skeleton
    assert preset("lab", "vicreg_wrist", "paper", KINDS).augment.imu.jitter.probability > 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("vicreg_imu", "the recordings have no imu, which system vicreg_imu takes: .* did you mean vicreg"),
        ("vicreg_wirst", "the recordings have no wirst.* did you mean vicreg_wrist"),
        ("vicreg_wrist+elbow", "the recordings have no elbow"),
        ("vicreg_wrist+wrist", "no system"),
        ("cmc_wrist", "no system 'cmc_wrist'"),
        ("simclr_wrist+body", "no system"),
        ("vicreg_", "no system"),
        ("wrist", "no system"),
    ],
)
def test_systems_that_are_none(name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        system_named(name, KINDS)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"systems": ["vicreg_elbow"]}, "the recordings have no elbow, which system vicreg_elbow takes"),
        (
            {"fixed": {"finetune.subsets": ["wrist+elbow"]}},
            r"finetune\.subsets: elbow\+wrist: the recordings have no elbow",
        ),
        ({"fixed": {"finetune.subsets": ["wrist+body+ankle"]}}, "no system has these and others"),
        ({"fixed": {"finetune.subsets": ["wrist"]}}, "a subset is two modalities or more"),
        ({"fixed": {"finetune.subsets": ["wrist+ankle", "ankle + wrist"]}}, "a subset is listed twice"),
    ],
)
def test_a_study_that_cannot_be(lab: Recordings, tmp_path: Path, entries: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        mmssl.launch({"name": "no", "systems": ["vicreg"], **entries}, lab, storage=tmp_path, local=True)


def test_ids_of_recipes_are_those_of_before() -> None:
    later = {
        *("data.transductive", "pretrain.share", "pretrain.incomplete", "finetune.subsets", "finetune.encoder_rate"),
        *("finetune.variance", "finetune.covariance", "finetune.head"),
        *(f"reconstruct.{name}" for name in ("weight", "time", "span", "parts")),
        *(f"objective.{name}" for name in ("weight", "weight_second", "directions", "shrinkage", "within")),
    }
    before = [name for name in knob_names() if name not in later]
    assert preset("utd_mhad").content_id("x", knobs=before) == "e88310083b3fad44"
    assert preset("utd_mhad", "vicreg", "paper").content_id("x", knobs=before) == "56e5e656e2b62f97"
    assert preset("synthetic").content_id("x", knobs=before) == "f0931389e23d73fc"
    assert "subsets" not in Recipe().model_dump(mode="json")["finetune"]
    assert Recipe().knobs()["finetune.subsets"] == []
    assert Recipe().fitted("finetune.subsets", ["b+a"]) == ["a+b"]


def test_the_skeleton_of_another_name_keeps_root_and_unit(lab: Recordings) -> None:
    """Whatever those of the new recordings are."""
    outcome = trained(lab, "vicreg_body")
    own = lab.description.skeletons["body"]
    changed = own.model_copy(update={"root_joint": "head", "scale_joints": ("left", "right")})
    assert isinstance(changed, Skeleton)
    described = lab.description.model_copy(update={"modalities": {**lab.description.modalities, "body": changed}})
    other = Recordings(described, lab.rows, **{name: lab.arrays(name) for name in lab.kinds})
    assert outcome.model.predict(other) == outcome.model.predict(lab)
    renamed = described.model_copy(update={"modalities": {"trunk": own}})
    with pytest.raises(UserError, match="lab: has no body, which these encoders take; it has trunk"):
        outcome.model.predict(Recordings(renamed, lab.rows, trunk=lab.arrays("body")))
