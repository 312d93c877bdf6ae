"""The best encoders as a folder that another program loads, checked by loading it in another process."""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from mmssl.data.protocols import split
from mmssl.data.recordings import Recordings
from mmssl.errors import UserError
from mmssl.model import FACTS, WEIGHTS, Model
from mmssl.prepared import Prepared
from mmssl.pretraining import OnEpoch
from mmssl.search.plan import Plan, PlannedTrial
from mmssl.search.results import Point
from mmssl.search.space import SYSTEM
from mmssl.search.store import SCORES, TESTS, Study
from mmssl.training import score, train

CARD = "README.md"
# Another process may split its sums over other threads; float32 keeps about seven digits.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Exported:
    folder: Path
    checkpoint: str
    """Which weights were taken, in words."""
    metrics: dict[str, float]
    checked: int
    """Recordings on which a new process gave the same features and predictions."""


def load_encoders(folder: str | Path) -> Model:
    """Load an exported folder: `features(recordings)` and `predict(recordings)` take raw recordings.

    Raises:
        UserError: the folder is no whole export.
    """
    folder = Path(folder)
    missing = [name for name in (WEIGHTS, FACTS) if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder}: no export lies here ({' and '.join(missing)} missing)")
    return Model.from_files({name: (folder / name).read_bytes() for name in (WEIGHTS, FACTS)}, str(folder))


def representative(plan: Plan, point: Point) -> PlannedTrial:
    """The point's trial whose metric is nearest the point's mean.

    Not its highest: that would pick the easiest fold or the luckiest seed, and its score would promise too much.
    """
    mean = point.mean or 0.0
    trials = [trial for trial in plan.trials if trial.point_id == point.point_id]
    return min(trials, key=lambda trial: abs(point.scores[trial.seed, trial.fold] - mean))


def export(
    study: Study,
    plan: Plan,
    recordings: Recordings,
    point: Point,
    metric: str,
    folder: Path | None,
    *,
    refit: bool,
    on_epoch: OnEpoch = lambda epoch: None,
    say: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write the point's encoders to a folder, load it in a new process, and compare.

    The test subjects' score is computed if their recordings are here, once for each checkpoint, and recorded in the
    study; a later export of the same checkpoint states the recorded one.

    Args:
        recordings: those of the study.
        metric: what the point's scores are.
        folder: where to write; inside the study by default, or in exports/STUDY where the study lies in a bucket.
        refit: train anew on all training subjects, with the study's first seed, instead of taking a checkpoint.

    Raises:
        UserError: the folder holds something else, or the exported encoders do not give the same in a new process.
    """
    exports = Path("exports") / study.name if study.files.local is None else study.files.local / "exports"
    folder = (folder or exports / f"{point.point_id}{'-refit' if refit else ''}").expanduser().absolute()
    _may_replace(folder)
    trial = representative(plan, point)
    trained = _refitted(plan, trial, recordings, on_epoch) if refit else _kept(study, trial)
    if refit:
        checkpoint = (
            f"retrained on all training subjects ({', '.join(plan.dataset.train_subjects)}), seed {plan.space.seeds[0]}"
        )
    else:
        trained_on = f"without subject {trial.fold}" if trial.held_out else "on all training subjects"
        checkpoint = (
            f"trial {trial.trial_id}: seed {trial.seed}, trained {trained_on}; "
            f"of the point's {point.planned} trials the one nearest its mean"
        )
    say(f"taking {checkpoint}")

    metrics = {f"{metric}.mean": point.mean or 0.0, f"{metric}.n": float(len(point.scores))}
    if point.std is not None:
        metrics[f"{metric}.std"] = point.std
    if not refit:
        metrics[metric] = point.scores[trial.seed, trial.fold]
        metrics |= {name: value for name, value in study.record(trial.trial_id).facts.items() if name in SCORES}
    # Compared on the processor, whose arithmetic the new process shares.
    trained.to("cpu")
    tested = _test(study, trained, recordings, checkpoint)
    if tested:
        metrics |= tested["metrics"]

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as scratch:
        beside = Path(scratch) / "export"
        beside.mkdir()
        facts: dict[str, Any] = {
            "study": plan.name,
            "checkpoint": checkpoint,
            "metrics": metrics,
            "data": plan.dataset.model_dump(mode="json"),
            "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        for name, content in trained.files(**facts).items():
            (beside / name).write_bytes(content)
        (beside / CARD).write_text(_card(plan, point, metric, trained, checkpoint, metrics, tested), encoding="utf-8")
        shown = (not refit and trial.held_out) or plan.dataset.train_subjects
        some = recordings.where(lambda row: row.subject in shown)
        checked = _check_in_new_process(beside, trained, some, Path(scratch))
        if folder.exists():
            shutil.rmtree(folder)
        beside.rename(folder)
    return Exported(folder, checkpoint, metrics, checked)


def _kept(study: Study, trial: PlannedTrial) -> Model:
    place = study.files.place(f"trials/{trial.trial_id}")
    try:
        return Model.from_files(*study.model_files(trial.trial_id))
    except (FileNotFoundError, UserError) as error:
        why = f"{error.filename}: missing" if isinstance(error, FileNotFoundError) else str(error)
        raise UserError(
            f"{why}; without this checkpoint export with --refit, which trains anew, or move {place} away and "
            f"`mmssl-tune resume {study.name}`, which runs the trial again"
        ) from error


def _refitted(plan: Plan, trial: PlannedTrial, recordings: Recordings, on_epoch: OnEpoch) -> Model:
    recipe = plan.recipe(trial).with_knobs({"data.validation_subjects": [], "seed": plan.space.seeds[0]})
    outcome = train(recipe, recordings, on_epoch=on_epoch)
    if outcome.model is None:
        raise UserError(
            f"training on all training subjects ended {outcome.status}: {outcome.cause}; export a checkpoint instead"
        )
    return outcome.model


def _test(study: Study, model: Model, recordings: Recordings, checkpoint: str) -> dict[str, Any] | None:
    """The weights' test score, computed the first time it is asked for; None where no test subject is present."""
    looks = _looks(study)
    key = hashlib.sha256(model.files()[WEIGHTS]).hexdigest()[:16]
    if key not in looks:
        sides = split(recordings, model.recipe.data)
        if len(sides.test) == 0:
            return None
        data = model.recipe.data
        _, metrics = score(model, Prepared.of(recordings, data.steps, data.modalities), sides.test, "test")
        looks[key] = {
            "look": len(looks) + 1,
            "checkpoint": checkpoint,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "metrics": metrics,
            "recordings": len(sides.test),
            "subjects": list(sides.test_subjects),
        }
        study.put(TESTS, json.dumps(looks, indent=1).encode())
    return looks[key]


def _looks(study: Study) -> dict[str, dict[str, Any]]:
    """Each look at the test subjects, by the weights looked at."""
    try:
        looks = json.loads(study.files.read(TESTS))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(
            f"{study.files.place(TESTS)}: damaged ({error}): how often the tests were looked at is not known; bring it "
            "back from a copy, or move it away and say so where you report a score"
        ) from error
    return looks


def _may_replace(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file; choose another place with --out")
    strange = [path.name for path in folder.iterdir() if path.name not in (WEIGHTS, FACTS, CARD)]
    if strange or not (folder / FACTS).is_file():
        raise UserError(f"{folder}: exists and is not an export; choose another place with --out")


def _check_in_new_process(folder: Path, model: Model, recordings: Recordings, scratch: Path) -> int:
    """Compare features and predictions of raw recordings between this process and one that knows only the folder."""
    recordings.save(scratch / "recordings.parquet")
    command = [
        sys.executable,
        "-m",
        "mmssl.cli",
        "evaluate",
        str(folder),
        "--dataset",
        str(scratch / "recordings.parquet"),
    ]
    done = subprocess.run(
        [*command, "--features", str(scratch / "features.safetensors"), "--json"], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise UserError(f"the exported encoders could not be loaded in a new process:\n{done.stderr.strip()}")
    theirs = load_file(scratch / "features.safetensors")
    ours = model.features(recordings)
    for name, features in ours.items():
        difference = float(np.abs(theirs[name] - features).max())
        if difference > TOLERANCE * max(1.0, float(np.abs(features).max())):
            raise UserError(f"a new process gives other {name} features: they differ by up to {difference:.2g}")
    predicted = model.probabilities(ours).argmax(axis=1)
    accuracy = float((predicted == recordings.labels).mean())
    if json.loads(done.stdout)["accuracy"] != accuracy:
        raise UserError(f"a new process scores {json.loads(done.stdout)['accuracy']}, this one {accuracy}")
    return len(recordings)


def _card(
    plan: Plan,
    point: Point,
    metric: str,
    model: Model,
    checkpoint: str,
    metrics: dict[str, float],
    tested: dict[str, Any] | None,
) -> str:
    dataset, description = plan.dataset, model.description
    searched = ", ".join(f"`{knob}` = {value}" for knob, value in point.values.items())
    spread = f" ± {point.std:.4f}" if point.std is not None else ""
    recipe = model.recipe
    start = f"Pre-trained without labels by {recipe.objective.name}" if recipe.pretrain.epochs else "Not pre-trained"
    then = (
        "then frozen; heads were fine-tuned on labels"
        if recipe.finetune.encoders == "frozen"
        else "then trained together with a head on labels"
    )
    sides = {"val": "on held-out training subjects", "test": "on the test subjects"}
    measured = sides.get(metric.partition(".")[0], "without labels, on training recordings")
    known = tested["metrics"] if tested else {}
    lines = [
        f"# {' + '.join(model.recipe.data.modalities)} encoders from study {plan.name}",
        "",
        f"{start}{f' ({searched})' if searched else ''}, {then}.",
        "",
        "| | |",
        "|---|---|",
        f"| system | {point.values.get(SYSTEM) or plan.space.systems[0]} |",
        f"| checkpoint | {checkpoint} |",
        f"| data | {dataset.name}, {dataset.recordings} recordings, fingerprint `{dataset.fingerprint[:16]}` |",
        f"| training subjects | {', '.join(dataset.train_subjects)} |",
        f"| {metric} of the point | {point.mean:.4f}{spread} (n = {len(point.scores)} seeds x folds, {measured}) |",
    ]
    lines += [
        f"| {name} of this checkpoint | {metrics[name]:.4f} |"
        for name in dict.fromkeys((*SCORES, metric))
        if name in metrics and name not in known
    ]
    if tested:
        scores = ", ".join(f"{name} {value:.4f}" for name, value in tested["metrics"].items())
        lines.append(
            f"| test subjects {', '.join(tested['subjects'])} | {scores} ({tested['recordings']} recordings; "
            f"look no. {tested['look']} of this study at its test subjects, {tested['when']}) |"
        )
    else:
        lines.append("| test subjects | not present, not evaluated |")
    shape = f"{len(description.joints)} joints x {len(description.coordinates)}"
    return "\n".join(
        [
            *lines,
            "",
            f"The point was chosen by {'validation' if metric.startswith('val.') else metric} alone. "
            "The recipe, the IMU statistics and the class names are in "
            f"`{FACTS}`; the weights in `{WEIGHTS}`.",
            "",
            "```python",
            "import mmssl",
            "",
            'encoders = mmssl.load_encoders("this folder")',
            'recordings = mmssl.Recordings.load("my_recordings.parquet")',
            "encoders.features(recordings)  # by modality: (recordings, width)",
            "encoders.predict(recordings)  # class names",
            "```",
            "",
            f"Input: skeletons of {shape} ({description.skeleton_unit or 'any unit'}) and IMU channels "
            f"{', '.join(description.imu_channels)}. The data's own licence governs their use.",
            "",
        ]
    )
