"""The checks before a study: that they find what is wrong, and that what they estimate is what comes."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import small
from ray_head import Head

from mmssl import Recordings
from mmssl.search import doctor
from mmssl.search.nodes import Node
from mmssl.search.share import Share
from mmssl.study.plan import Plan, make_plan
from mmssl.study.space import Space
from mmssl.training.trial import train

# Without what the tests search or derive from the preset.
FIXED = {
    knob: value for knob, value in small.KNOBS.items() if knob not in ("encoder.projector.width", "finetune.epochs")
}


def plan_of(tiny: Recordings, **entries: object) -> Plan:
    space = Space.model_validate({"name": "s", "fixed": FIXED, **entries})
    data = small.dataset_of(tiny)
    bases = space.bases("tiny")
    return make_plan("doctor", space, bases, data, [("anna",), ("ben",)], space.points(bases))


def test_the_largest_point_is_the_one_with_the_most_weights(tiny: Recordings) -> None:
    plan = plan_of(tiny, grid={"encoder.projector.width": [8, 64, 16], "objective.mu": [1, 25]})
    planned, model = doctor._largest(plan, tiny)
    assert planned.point["encoder.projector.width"] == 64
    assert model.recipe.encoder.projector.width == 64


@pytest.mark.parametrize("systems", [["vicreg", "supervised", "untrained"], ["untrained", "supervised", "vicreg"]])
def test_of_points_of_one_size_that_which_pre_trains_is_tried(tiny: Recordings, systems: list[str]) -> None:
    plan = plan_of(tiny, systems=systems)
    assert plan.system(doctor._largest(plan, tiny)[0]) == "vicreg"
    plan = plan_of(tiny, systems=[name for name in systems if name != "vicreg"])
    assert plan.system(doctor._largest(plan, tiny)[0]) == "supervised"


@pytest.mark.parametrize(("keep", "models"), [("all", 8), ("best", 8), ("none", 0)])
def test_the_disk_that_models_take_is_what_they_take(tiny: Recordings, tmp_path: Path, keep: str, models: int) -> None:
    plan = plan_of(tiny, grid={"objective.mu": [1, 5, 10, 25]}, keep_models=keep)
    _, model = doctor._largest(plan, tiny)
    recipe = plan.recipe(plan.trials[0]).with_knobs({"pretrain.epochs": 1, "finetune.epochs": 1})
    trained = train(recipe, tiny).model
    assert trained is not None
    weights = doctor._weights(model)
    assert weights == pytest.approx(len(trained.files()["model.safetensors"]), rel=0.1)
    without = doctor._need(plan_of(tiny, grid={"objective.mu": [1, 5, 10, 25]}, keep_models="none"), weights, 2)
    assert doctor._need(plan, weights, 2) - without == models * weights


def test_where_a_sampler_chooses_the_largest_is_at_the_ranges_high_ends(tiny: Recordings) -> None:
    sizes = {"finetune.epochs": {"low": 8, "high": 64}, "encoder.projector.width": {"low": 8, "high": 32}}
    sampled = plan_of(tiny, sampler="tpe", budget=40, ranges=sizes)
    total, size = sampled.total, sampled.size()
    planned, _ = doctor._largest(sampled, tiny)
    assert planned.point == {"finetune.epochs": 64, "encoder.projector.width": 32}
    assert (sampled.total, sampled.size()) == (total, size), "what is said of the study is of all its points"
    grid = plan_of(tiny, grid={"objective.mu": [float(i + 1) for i in range(40)]})
    doctor._largest(grid, tiny)
    more_epochs = (64 - grid.recipe(grid.trials[0]).finetune.epochs) * sampled.total * doctor._BYTES_PER_EPOCH
    assert doctor._need(sampled, 10**6, 2) - doctor._need(grid, 10**6, 2) == pytest.approx(more_epochs)


def test_a_trial_that_would_not_fit_beside_its_like_is_warned_of() -> None:
    tried = doctor.Tried(pretrain=0.1, finetune=0.1, memory=10 * 10**9, total=24 * 10**9, device="a GPU")
    alone, thirds = Share(1, 1, 1, waits=False), Share(1, 0.3, 3, waits=False)
    assert doctor._training(tried, alone, []).verdict == "ok"
    finding = doctor._training(tried, thirds, [])
    assert finding.verdict == "warning"
    wanted = "3 such trials at once want more than its 24 GB: give each more with --gpus-per-trial 0.5,"
    assert wanted in finding.message
    small = doctor.Tried(pretrain=0.1, finetune=0.1, memory=10**9, total=24 * 10**9, device="a GPU")
    quarters = doctor._training(small, Share(1, 0.25, 4, waits=False), [])
    assert quarters.verdict == "ok"
    assert quarters.message.endswith("; 14 would fit, with --gpus-per-trial 0.08"), "21.6 GB for those of 1.5 GB"
    assert "would fit" not in doctor._training(small, Share(1, 0.08, 12, waits=False), []).message
    huge = doctor.Tried(pretrain=0.1, finetune=0.1, memory=30 * 10**9, total=24 * 10**9, device="a GPU")
    assert "give each more with a larger GPU, or make batches smaller" in doctor._training(huge, alone, []).message


def test_on_a_gpu_it_says_how_many_to_train_as_one_model() -> None:
    assert doctor._together({1: 10.0, 2: 18.0, 4: 30.0, 8: 29.0}).message.endswith(
        "4 trials as one model train 3.0 times as fast as one by one: --together 4"
    )
    assert "--together" not in doctor._together({1: 10.0, 2: 9.0, 4: 10.5}).message


@pytest.mark.parametrize("instructions", [True, False])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_where_bfloat16_saves_no_time_is_said(
    tiny: Recordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, instructions: bool
) -> None:
    machine = Node("a", "a", {"CPU": 2})
    tried = doctor.Tried(0.1, 0.1, 10**9, 24 * 10**9, "1 of 2 CPUs", bfloat16=instructions)
    monkeypatch.setattr(doctor, "_try", lambda *given: tried)
    plan = plan_of(tiny, grid={"objective.mu": [1, 5]}, fixed={**FIXED, "pretrain.precision": precision})
    found = {one.check: one for one in doctor._study(str(tmp_path), plan, tiny, Share(1, 0, 2, waits=False), [machine])}
    assert ("precision" in found) == (precision == "bfloat16" and not instructions)
    if "precision" in found:
        assert found["precision"].verdict == "warning"
        assert "--set pretrain.precision=float32" in found["precision"].message


@pytest.mark.parametrize(
    ("entries", "pretrainings"),
    [
        ({"grid": {"objective.mu": [1, 5, 10, 25]}}, 4),
        ({"grid": {"finetune.labels": [0.1, 0.5], "finetune.label_draw": [0, 1, 2]}}, 1),
        ({"grid": {"objective.mu": [1, 5, 10, 25]}, "sampler": "race", "budget": 2}, 2),
    ],
    ids=["a grid", "heads alone", "a race"],
)
def test_the_time_is_that_of_what_is_trained(
    tiny: Recordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: dict[str, object], pretrainings: int
) -> None:
    tried = doctor.Tried(360.0, 0.0, 10**9, 24 * 10**9, "1 of 2 CPUs")
    monkeypatch.setattr(doctor, "_try", lambda *given: tried)
    plan = plan_of(tiny, fixed={**FIXED, "pretrain.epochs": 10}, **entries)
    share, there = Share(1, 0, 2, waits=False), [Node("a", "a", {"CPU": 2})]
    found = {one.check: one.message for one in doctor._study(str(tmp_path), plan, tiny, share, there)}
    steps = 0
    for held_out in ("anna", "ben"):
        shown = sum(row.subject in {"anna", "ben", "chris"} - {held_out} for row in tiny.rows)
        steps += 10 * -(-shown // FIXED["pretrain.batch_size"])
    hours = pretrainings * steps * 360 / 2 / 3600
    assert found["time"] == f"{plan.size()}: about {hours:.1f} h at 2 at once"


def test_encoders_that_train_with_the_head_take_as_long_as_in_pre_training(
    tiny: Recordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = doctor.Tried(16 * 60.0, 1.0, 10**9, 24 * 10**9, "1 of 2 CPUs")
    monkeypatch.setattr(doctor, "_try", lambda *given: tried)
    fixed = {**FIXED, "pretrain.epochs": 1, "finetune.epochs": 10, "finetune.labels": 0.5}
    plan = plan_of(tiny, fixed=fixed, systems=["vicreg", "supervised"])
    share, there = Share(1, 0, 2, waits=False), [Node("a", "a", {"CPU": 2})]
    found = {one.check: one.message for one in doctor._study(str(tmp_path), plan, tiny, share, there)}
    seconds = 0.0
    for held_out in ("anna", "ben"):
        shown = sum(row.subject in {"anna", "ben", "chris"} - {held_out} for row in tiny.rows)
        seconds += -(-shown // 16) * 16 * 60  # Pre-training, in whole steps of a minute a recording.
        seconds += 10 * 0.5 * shown * (1 + 60)  # The head alone, a second a recording; and with its encoders.
    assert found["time"] == f"{plan.size()}: about {seconds / 2 / 3600:.1f} h at 2 at once"


def test_a_storage_in_no_folder_is_a_fault_and_is_not_made(tmp_path: Path) -> None:
    [finding] = doctor._storage(str(tmp_path / "no" / "studies"), [])
    assert (finding.verdict, finding.message) == (
        "fault", f"--storage {tmp_path / 'no' / 'studies'}: there is no folder {tmp_path / 'no'}"
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.ray
def test_a_laptop_is_examined_and_what_is_wrong_there_ends_it_with_1(tmp_path: Path, tiny: Recordings) -> None:
    tiny.save(tmp_path / "tiny.parquet")
    words = ["doctor", "--dataset", tmp_path / "tiny.parquet", "--storage", tmp_path / "tiny.parquet" / "inside"]
    done = subprocess.run(
        small.tune(*words, "--json"),
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    answer = json.loads(done.stdout)
    verdicts = {finding["check"]: finding["verdict"] for finding in answer["findings"]}
    assert verdicts == {
        "Ray": "ok", "storage": "fault", "resources": "ok", "data": "ok", "disk": "ok", "training": "ok", "time": "ok"
    }  # fmt: skip
    assert (done.returncode, answer["faults"]) == (1, 1)


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_is_examined_by_a_job_of_its_own(head: Head, tmp_path: Path) -> None:
    examined = head.command("doctor", "--storage", tmp_path / "studies", "--address", head.jobs)
    assert examined.returncode == 0, examined.stdout + examined.stderr
    assert "ok       nodes: the same Python, mmssl, torch and ray on all" in examined.stdout
    assert "no errors" in examined.stdout
    assert not list((tmp_path / "studies").glob("*"))
    refused = head.command("doctor", "--storage", tmp_path, "--dataset", "/no.parquet", "--address", head.jobs)
    assert refused.returncode == 1
    assert "fault    data: /no.parquet" in refused.stdout


def test_data_that_is_absent_is_a_fault(tmp_path: Path) -> None:
    words = ["doctor", "--dataset", "utd_mhad", "--data", str(tmp_path / "nothing")]
    done = subprocess.run(small.tune(*words), capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 1
    assert done.stdout.startswith("fault    data: ")
    assert "mmssl-tune data download utd_mhad" in done.stdout
