"""The best encoders as a folder that another program loads, checked by loading it in another process."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from mmssl.data.description import Protocol, Row
from mmssl.data.protocols import pretrain_subjects, split
from mmssl.data.recordings import Recordings
from mmssl.data.rows import having
from mmssl.environment import machine, programs
from mmssl.errors import UserError
from mmssl.export.card import LIBRARY, card
from mmssl.export.conversion import DERIVED
from mmssl.files import is_foreign
from mmssl.sealed import opened
from mmssl.study.baseline import untrained_name
from mmssl.study.columns import is_score
from mmssl.study.folder import TESTS, Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.planning import name_of
from mmssl.study.results import Choice, Point, points, representative, stand_beside
from mmssl.study.words import fold_name, without_result
from mmssl.trackers.registry import register
from mmssl.training.model import FACTS, WEIGHTS, Model
from mmssl.training.prepared import Prepared
from mmssl.training.pretraining import OnEpoch
from mmssl.training.trial import score, train

CARD, POINTER = "README.md", "config.json"
"""The model card; and the file by which the Hugging Face Hub counts downloads, which says where everything is."""
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
    """Load an exported folder of this machine: `features(recordings)` and `predict(recordings)` take raw recordings.

    Raises:
        UserError: the folder is no whole export.
    """
    return Model.from_pretrained(Path(folder))


def trained_on(folder: Path, model: Model, recordings: Recordings) -> list[Row]:
    """The rows of those recordings that trained exported encoders and heads, as far as names say: those of a subject,
    and in a place of the protocol, that trained, or pre-trained alone."""
    about = json.loads(opened((folder / FACTS).read_bytes())).get("data", {})
    data, protocols = model.recipe.data, model.description.protocols
    protocol = protocols.get(data.protocol) or Protocol()
    by_name = data.train_subjects or (protocol.train if protocol.by == "subject" else ())
    trained = {*about.get("train_subjects", by_name)} - {*data.validation_subjects}
    if model.recipe.pretrain.epochs:
        trained |= {*about.get("pretrain_subjects", ())}
    return [
        row
        for row in recordings.rows
        if row.subject in trained and (protocol.by == "subject" or protocol.trains(getattr(row, protocol.by)))
    ]


def kept_model(study: Study, plan: Plan, trial: PlannedTrial) -> Model:
    """What a trial of a study trained.

    Raises:
        FileNotFoundError: its weights are not kept.
        UserError: they are damaged, or another trial's.
    """
    files, place = study.model_files(trial.trial_id)
    model = Model.from_files(files, place)
    if model.recipe != plan.recipe(trial):
        raise UserError(f"{place}: not the model of this trial: its recipe is another")
    return model


def export(
    study: Study,
    plan: Plan,
    recordings: Recordings,
    choice: Choice,
    metric: str,
    folder: Path | None,
    *,
    refit: bool,
    test: bool = True,
    on_epoch: OnEpoch = lambda epoch: None,
    say: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write the best point's encoders to a folder, load it in a new process, and compare.

    The folder is laid out as a model of the Hugging Face Hub; its card says how it was chosen and what it scores.

    The test subjects' score is computed if their recordings are here, once for each checkpoint, and recorded in the
    study; a later export of the same checkpoint states the recorded one.

    Args:
        recordings: those of the study.
        choice: the best point, those tied with it, and what to know of the choice.
        metric: what the points' scores are.
        folder: where to write; inside the study by default, or in exports/STUDY where the study lies in a bucket.
        refit: train anew on all training subjects, with the study's first seed, instead of taking a checkpoint.
        test: score the test subjects; else they are not looked at.
        say: gets notes meanwhile, also that the test subjects are about to be looked at.

    Raises:
        UserError: the folder holds something else, or the exported encoders do not give the same in a new process.
    """
    point = choice.best
    exports = Path("exports") / study.name if study.files.local is None else study.files.local / "exports"
    if folder and not folder.expanduser().absolute().parent.is_dir():
        raise UserError(f"--out {folder}: there is no folder {folder.expanduser().absolute().parent}")
    folder = (folder or exports / f"{point.point_id}{'-refit' if refit else ''}").expanduser().absolute()
    _may_replace(folder)
    trial = representative(plan, point) if refit else representative(plan, point, study.has_model)
    trained = _refitted(plan, trial, recordings, on_epoch) if refit else _kept(study, plan, trial, metric)
    if refit:
        checkpoint = (
            f"retrained on all training subjects ({', '.join(plan.dataset.train_subjects)}), seed {plan.space.seeds[0]}"
        )
    else:
        who = f"without subject {trial.fold}" if trial.held_out else "on all training subjects"
        checkpoint = (
            f"trial {trial.trial_id}: seed {trial.seed}, trained {who}; "
            f"of the point's {point.planned} trials the one nearest its mean"
            f"{'' if trial == representative(plan, point) else ' whose weights are kept'}"
        )
    say(f"taking {checkpoint}")

    metrics = {f"{metric}.mean": point.mean or 0.0, f"{metric}.n": float(len(point.scores))}
    if point.std is not None:
        metrics[f"{metric}.std"] = point.std
    record = None if refit else study.record(trial.trial_id)
    if record:
        metrics[metric] = point.scores[plan.key_of(trial)]
        metrics |= {name: value for name, value in record.facts.items() if is_score(name)}
    device = next(trained.encoders.parameters()).device.type
    # Compared on the processor, whose arithmetic the new process shares.
    trained.to("cpu")
    tested, untested = _test(study, trained, recordings, checkpoint, say) if test else (None, "they were left out")
    if tested:
        metrics |= tested["metrics"]
    elif untested:
        say(f"note: the test subjects are not scored: {untested}")

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as scratch:
        beside = Path(scratch) / "export"
        beside.mkdir()
        facts: dict[str, Any] = {
            "study": plan.name,
            "checkpoint": checkpoint,
            "trial_id": None if refit else trial.trial_id,
            "held_out": [] if refit else list(trial.held_out),
            "metrics": metrics,
            "selection": _selection(study, plan, choice, metric),
            "tested": tested,
            "untested": untested,
            "looks": len(study.looks()),
            # Where the data lie on this machine is nobody's business who is given the encoders.
            "data": {
                **plan.dataset.model_dump(mode="json", exclude={"source", "folder", "skipped"}),
                "pretrain_on": [name_of(word) for word in plan.dataset.pretrain_on],
                "pretrain_subjects": pretrain_subjects(recordings, split(recordings, trained.recipe.data)),
            },
            "environment": _made_with(record.facts if record else {**programs(), **machine(device)}),
            "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        for name, content in trained.files(**facts).items():
            (beside / name).write_bytes(content)
        (beside / CARD).write_text(card(trained, facts), encoding="utf-8")
        pointer = {"library_name": LIBRARY, "model_type": "mmssl", "weights": WEIGHTS, "facts": FACTS}
        (beside / POINTER).write_text(json.dumps(pointer, indent=1))
        shown = (not refit and trial.held_out) or plan.dataset.train_subjects
        some = recordings.where(lambda row: bool(row.label) and row.subject in shown)
        some = some.having(trained.recipe.data.modalities)
        checked = _check_in_new_process(beside, trained, some, Path(scratch))
        _put_in_place(beside, folder, Path(scratch))
    register(study, plan, folder, None if refit else trial, trial, metrics, say)
    return Exported(folder, checkpoint, metrics, checked)


def _selection(study: Study, plan: Plan, choice: Choice, metric: str) -> dict[str, Any]:
    """How the point was chosen, what its trials score from every set of inputs, and what untrained encoders do."""
    table = study.table("trials.parquet")
    best = choice.best
    chosen_by = points(plan, table, metric)
    firsts = {point.point_id: plan.trials_of(point.point_id)[0] for point in chosen_by}
    ours = firsts[best.point_id]
    by_score = {name: points(plan, table, name) for name in plan.scores if name in table.column_names}

    def scores(point_id: str) -> dict[str, dict[str, Any]]:
        found = {name: next(p for p in those if p.point_id == point_id) for name, those in by_score.items()}
        return {name: _summary(point) for name, point in found.items() if point.complete}

    untrained = [
        {"system": untrained_name(plan, trial), "scores": scores(point_id)}
        for point_id, trial in firsts.items()
        if point_id != best.point_id and stand_beside(plan.recipe(trial), plan.recipe(ours))
    ]
    return {
        "recipe": plan.recipe_name(ours),
        "system": plan.system(ours),
        "point": best.values,
        "metric": metric,
        "study_metric": plan.space.scored,
        "chosen_by": _summary(best),
        "size": plan.size(),
        "points": len(chosen_by),
        "complete": sum(point.complete for point in chosen_by),
        "no_result": without_result(sum((Counter(point.statuses) for point in chosen_by), Counter())),
        "tied": len(choice.tied),
        "test": choice.test,
        "threshold": choice.threshold,
        "interval": best.estimate.interval,
        "caveats": choice.caveats,
        "seeds": list(plan.space.seeds),
        "folds": [fold_name(held_out) for held_out in plan.folds],
        "scores": scores(best.point_id),
        "untrained": [one for one in untrained if one["scores"]],
    }


def _summary(point: Point) -> dict[str, Any]:
    return {"mean": point.mean, "std": point.std, "n": len(point.scores)}


def _made_with(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a trial was made with, but for the machine's name."""
    kinds = ("version", "git", "hardware", "determinism", "packages", "device", "threads")
    return {name: value for name, value in facts.items() if name.partition(".")[0] in kinds}


def _kept(study: Study, plan: Plan, trial: PlannedTrial, metric: str) -> Model:
    try:
        return kept_model(study, plan, trial)
    except (FileNotFoundError, UserError) as error:
        keeps = plan.space.keep_models
        why = f"{error.filename}: missing" if isinstance(error, FileNotFoundError) else str(error)
        ways = ["export with --refit, which trains anew"]
        if keeps == "all" or (keeps == "best" and metric == plan.space.scored):
            place = study.files.place(f"trials/{trial.trial_id}")
            ways.append(f"move {place} away and `mmssl-tune resume {study.name}`, which runs the trial again")
        else:
            led = f": of the points that lead by {plan.space.scored}" if keeps == "best" else ""
            why += f" (keep_models: {keeps} in the space{led})"
        raise UserError(f"{why}; {', or '.join(ways)}") from error


def _refitted(plan: Plan, trial: PlannedTrial, recordings: Recordings, on_epoch: OnEpoch) -> Model:
    recipe = plan.recipe(trial).with_knobs({"data.validation_subjects": [], "seed": plan.space.seeds[0]})
    outcome = train(recipe, recordings, on_epoch=on_epoch)
    if outcome.model is None:
        raise UserError(
            f"training on all training subjects ended {outcome.status}: {outcome.cause}; export a checkpoint instead"
        )
    return outcome.model


def _test(
    study: Study, model: Model, recordings: Recordings, checkpoint: str, say: Callable[[str], None]
) -> tuple[dict[str, Any] | None, str | None]:
    """The weights' test score, computed at the first request; None, and why if that is not plain, where no
    test subject is present or the look could not be recorded."""
    key = hashlib.sha256(model.files()[WEIGHTS]).hexdigest()[:16]
    if look := study.looks().get(key):
        say(f"the test score is that of look {look['look']} at the test subjects, on {look['when'][:10]}")
        return look, None
    parts = split(recordings, model.recipe.data)
    if len(parts.test) == 0:
        return None, None
    with ExitStack() as held:
        try:  # A look that cannot be recorded is not taken.
            held.enter_context(study.files.lock(f"{TESTS}.lock", wait=True))
            looks = study.looks()  # Another export may have looked meanwhile.
            study.put_looks(looks)
        except OSError as error:
            return None, f"the look cannot be recorded in {study.place} ({error.strerror or error})"
        if key in looks:
            return looks[key], None
        say(
            f"looking at the test subjects ({', '.join(parts.test_subjects)}): look {len(looks) + 1} of this study; "
            "--no-test leaves them"
        )
        data = model.recipe.data
        prepared = Prepared.of(recordings, data.steps, data.modalities)
        _, metrics = score(model, prepared, parts.test, "test")
        looks[key] = {
            "look": len(looks) + 1,
            "checkpoint": checkpoint,
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "metrics": metrics,
            "recordings": prepared.units(having(prepared, parts.test, data.modalities)),
            "subjects": list(parts.test_subjects),
        }
        study.put_looks(looks)
        return looks[key], None


def _may_replace(folder: Path) -> None:
    above = next(parent for parent in folder.parents if os.access(parent, os.F_OK))
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: {above} cannot be written; choose another place with --out")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file; choose another place with --out")
    ours = (WEIGHTS, FACTS, CARD, POINTER, *DERIVED)
    strange = [path.name for path in folder.iterdir() if path.name not in ours and not is_foreign(path.name)]
    if strange or not (folder / FACTS).is_file():
        raise UserError(f"{folder}: exists and is not an export; choose another place with --out")


def _put_in_place(beside: Path, folder: Path, scratch: Path) -> None:
    """Give a whole export its name; another that has it, perhaps since a moment ago, goes with the scratch files."""
    while True:
        with suppress(FileNotFoundError):
            folder.rename(scratch / uuid.uuid4().hex)
        try:
            beside.rename(folder)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _check_in_new_process(folder: Path, model: Model, recordings: Recordings, scratch: Path) -> int:
    """Compare features and predictions of raw recordings between this process and one that knows only the folder."""
    recordings.save(scratch / "recordings.parquet")
    command = [
        sys.executable,
        "-m",
        "mmssl.cli",
        "evaluate",
        str(folder),
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
