"""Studies whose trials are trained in this process, one after the other."""

from pathlib import Path

from small import dataset_of, study_of

from mmssl import Recordings
from mmssl.data.protocols import split
from mmssl.study.folder import Study
from mmssl.study.plan import PlannedTrial, make_plan
from mmssl.study.presets import SYSTEMS
from mmssl.study.record import Record
from mmssl.study.space import Space
from mmssl.training.prepared import Prepared
from mmssl.training.trial import run_trial

SMALL = {
    "data.steps": 16,
    "encoder.imu.layers": 1,
    "encoder.imu.feedforward": 16,
    "encoder.projector.hidden": 16,
    "encoder.projector.width": 8,
    "pretrain.epochs": 5,
    "pretrain.batch_size": 16,
    "finetune.epochs": 20,
    "finetune.hidden": 8,
}


def run_without_ray(space: Space, recordings: Recordings, root: Path, folds: list[tuple[str, ...]]) -> Study:
    """A finished study named as its space; its recordings lie beside it."""
    recordings.save(root / "tiny.parquet")
    bases = {name: base.with_knobs(small(name)) for name, base in space.bases("synthetic").items()}
    dataset = dataset_of(recordings, root / "tiny.parquet")
    plan = make_plan(space.name, space, bases, dataset, folds, space.points(bases))

    def trained(study: Study, trial: PlannedTrial) -> Record:
        recipe = plan.recipe(trial)
        prepared = Prepared.of(recordings, recipe.data.steps, recipe.data.modalities)
        outcome = run_trial(recipe, prepared, split(recordings, recipe.data), scored_split=space.scored_split)
        assert outcome.model is not None
        study.put_model(trial.trial_id, outcome.model.files())
        return Record(trial_id=trial.trial_id, status="COMPLETE", facts=dict(outcome.metrics))

    return study_of(root, plan, trained)


def small(base: str) -> dict[str, object]:
    return {knob: value for knob, value in SMALL.items() if knob not in SYSTEMS[base.split()[0]].defining}
