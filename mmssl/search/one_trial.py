"""One planned trial from its recipe to its last report: a worker of Ray's and a study without Ray run it alike."""

import json
import time
import traceback
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mmssl.data.rows import having, labelled_rows, shown_rows
from mmssl.environment import computing, machine, packages
from mmssl.recipe import Recipe, head_inputs
from mmssl.search.setting import Setting
from mmssl.study.columns import PROBE, SCORED
from mmssl.study.folder import Study
from mmssl.training.kept import pretraining_name
from mmssl.training.prepared import Prepared
from mmssl.training.pretraining import pretrain
from mmssl.training.snapshot import Epoch, Snapshot
from mmssl.training.together import with_others
from mmssl.training.trial import Outcome, run_trial
from mmssl.version import trial_code

trial_code()  # Of the code that has just been loaded.
# Each report costs the driver more than an epoch of a small study costs a worker (`benchmarks/reports.py`).
_SECONDS_BETWEEN_REPORTS, _SECONDS_A_REPORT = 2.0, 0.002
_PLACES = "places.json"
"""Beside encoders that trials share: where they were trained."""


@contextmanager
def threads(count: int) -> Generator[None]:
    """Compute with so many threads, and afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def run(config: dict[str, Any], setting: Setting, report: Callable[[dict[str, Any]], None]) -> None:
    """Train the recipe in `config`, keep the model in the study, report epochs in batches and the outcome at the end.

    Args:
        config: as `setting.config_of` makes it.
        report: takes {"epochs": [...]}, the last time also with the "end".
    """
    recipe = Recipe.model_validate_json(config["recipe"])
    waiting: list[Epoch] = []
    between = max(_SECONDS_BETWEEN_REPORTS, 2 * setting.at_once * _SECONDS_A_REPORT)
    reported = time.monotonic()

    def on_epoch(epoch: Epoch) -> None:
        nonlocal reported
        waiting.append(epoch)
        # Whether it is pruned is decided before it trains on.
        if PROBE in epoch or time.monotonic() - reported >= between:
            report({"epochs": list(waiting)})
            waiting.clear()
            reported = time.monotonic()

    started = time.time()
    # Of all that the trial is made of: encoders of another trial, or a snapshot, may come from elsewhere.
    places = {computing(setting.device)}
    facts: dict[str, Any] = {**machine(setting.device), "code": trial_code(), "threads": setting.threads}
    end: dict[str, Any] = {"started": started}
    try:
        split, data = setting.splits[recipe.data.validation_subjects], setting.prepared[recipe.data.steps]
        folder = Study(setting.root, setting.study)
        name, made = pretraining_name(recipe, data.fingerprint), list[str]()
        folder.keep_packages(facts["packages"], packages())
        facts |= {
            "recordings.train": len(shown_rows(recipe, data, split)),
            "recordings.labelled": len(labelled_rows(recipe, data, split)),
            **_scored(recipe, data, split.scored(setting.scored_split)),
            "pretraining_id": name,
        }

        def cache(one: str, make: Callable[[], Mapping[str, bytes]], *, wait: bool = True) -> Mapping[str, bytes]:
            def here() -> Mapping[str, bytes]:
                made.append(one)
                return {**make(), _PLACES: json.dumps(sorted(places)).encode()}

            files = folder.cached(one, here, wait=wait)
            if wait:  # Else they are another trial's, made beside this one.
                places.update(json.loads(files.get(_PLACES, b"[]")))
            return files

        recipes = map(Recipe.model_validate_json, config["others"])
        others = [(other, setting.splits[other.data.validation_subjects]) for other in recipes]
        outcome = run_trial(
            recipe,
            data,
            split,
            scored_split=setting.scored_split,
            on_epoch=on_epoch,
            device=setting.device,
            cache=cache,
            probe_every=setting.probe_every if config["probed"] else None,
            snapshots=lambda name: Snapshot(folder.files, folder.snapshot_name(name), places=places),
            by=with_others(others, data, torch.device(setting.device), cache) if others else pretrain,
        )
        if recipe.pretrain.epochs and not config["probed"]:
            facts["pretraining_reused"] = name not in made
        if len(places) > 1:
            facts["trained_elsewhere"] = True
        if outcome.model is not None and setting.keep_models:
            folder.put_model(config["trial_id"], outcome.model.files(metrics=outcome.metrics))
        facts |= {**outcome.metrics, **{f"seconds.{phase}": seconds for phase, seconds in outcome.seconds.items()}}
        end |= {"status": outcome.status, "cause": outcome.cause, "predictions": _plain(outcome)}
    except Exception as error:
        # Reported rather than raised: Tune would keep the traceback in a file of its own and drop the epochs.
        end |= {"status": "FAILED", "cause": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        end["out_of_memory"] = isinstance(error, torch.OutOfMemoryError)
    if setting.device == "cuda":
        torch.cuda.empty_cache()  # What this process kept for its next trial, its neighbours on the GPU would lack.
    finished = time.time()
    report(
        {
            "epochs": waiting,
            "end": {**end, "finished": finished, "facts": {**facts, "seconds.total": finished - started}},
        }
    )


def _scored(recipe: Recipe, data: Prepared, rows: npt.NDArray[np.int64]) -> dict[str, int]:
    """How many recordings are scored, and by what each part of the modalities where some lack one."""
    together, *parts = head_inputs(recipe)
    counts = {SCORED: data.units(having(data, rows, together))}
    if len(having(data, rows, together)) < len(rows):
        counts |= {f"{SCORED}.{'+'.join(part)}": data.units(having(data, rows, part)) for part in parts}
    return counts


def _plain(outcome: Outcome) -> list[dict[str, str | float]]:
    return [
        {name: float(value) if isinstance(value, np.floating) else value for name, value in row.items()}
        for row in outcome.predictions
    ]
