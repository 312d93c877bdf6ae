"""The thin adapter between Ray Tune and a training run."""

import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from ray import tune

from mmssl.data.protocols import Split
from mmssl.environment import machine, packages
from mmssl.recipe import Recipe
from mmssl.search.nodes import Agreement, require
from mmssl.study.columns import PROBE
from mmssl.study.folder import Study
from mmssl.training.prepared import Prepared
from mmssl.training.pretraining import pretrain
from mmssl.training.snapshot import Epoch, Snapshot
from mmssl.training.together import with_companions
from mmssl.training.trial import Outcome, labelled_rows, pretraining_name, run_trial
from mmssl.version import trial_code

trial_code()  # Of the code that has just been loaded.
# Each report costs the driver more than an epoch of a small study costs a worker (`benchmarks/reports.py`).
_SECONDS_BETWEEN_REPORTS, _SECONDS_A_REPORT = 2.0, 0.002


def trial(
    config: dict[str, Any],
    *,
    root: str,
    study: str,
    terms: Agreement,
    prepared: dict[int, Prepared],
    splits: dict[tuple[str, ...], Split],
    side: Literal["val", "test"],
    keep_models: bool,
    probe_every: int | None,
    at_once: int,
    threads: int,
    device: str,
) -> None:
    """Train the recipe in `config`, keep the model in the study, report epochs in batches and the outcome at the end.

    Args:
        config: `trial_id`, the recipe as JSON, whether it is probed, and `companions`, the recipes that pre-train
            together with it.
        terms: what this process must have in common with the driver.
        prepared: by number of time steps.
        splits: by held-out subjects.
        side: the side that is scored.
        keep_models: whether the trained model is kept in the study at all.
        probe_every: epochs from one probe to the next, of trials that are probed.
        at_once: how many trials share the driver, whose time they may not take more than half of with their reports.
    """
    # Raised, so that the trial is started again, on another node if there is one: this one may have joined meanwhile.
    require(terms)
    torch.set_num_threads(threads)
    recipe = Recipe.model_validate_json(config["recipe"])
    waiting: list[Epoch] = []
    between = max(_SECONDS_BETWEEN_REPORTS, 2 * at_once * _SECONDS_A_REPORT)
    reported = time.monotonic()

    def on_epoch(epoch: Epoch) -> None:
        nonlocal reported
        waiting.append(epoch)
        # Whether it is given up is decided before it trains on.
        if PROBE in epoch or time.monotonic() - reported >= between:
            tune.report({"epochs": list(waiting)})
            waiting.clear()
            reported = time.monotonic()

    started = time.time()
    facts: dict[str, Any] = {**machine(device), "code": trial_code(), "threads": threads}
    end: dict[str, Any] = {"started": started}
    try:
        sides, data, folder = splits[recipe.data.validation_subjects], prepared[recipe.data.steps], Study(root, study)
        name, made = pretraining_name(recipe, data.fingerprint), list[str]()
        folder.keep_packages(facts["packages"], packages())
        facts |= {
            "recordings.train": len(sides.train),
            "recordings.labelled": len(labelled_rows(recipe, data, sides)),
            "recordings.validation": len(sides.validation if side == "val" else sides.test),
            "pretraining_id": name,
        }

        def once(one: str, make: Callable[[], Mapping[str, bytes]], *, wait: bool = True) -> Mapping[str, bytes]:
            def here() -> Mapping[str, bytes]:
                made.append(one)
                return make()

            return folder.once(one, here, wait=wait)

        others = map(Recipe.model_validate_json, config["companions"])
        companions = [(other, splits[other.data.validation_subjects]) for other in others]
        outcome = run_trial(
            recipe,
            data,
            sides,
            side=side,
            on_epoch=on_epoch,
            device=device,
            once=once,
            probe_every=probe_every if config["probed"] else None,
            snapshots=lambda name: Snapshot(folder.files, folder.snapshot_name(name)),
            by=with_companions(companions, data, torch.device(device), once) if companions else pretrain,
        )
        if recipe.pretrain.epochs and not config["probed"]:
            facts["pretraining_reused"] = name not in made
        if outcome.model is not None and keep_models:
            folder.put_model(config["trial_id"], outcome.model.files(metrics=outcome.metrics))
        facts |= {**outcome.metrics, **{f"seconds.{phase}": seconds for phase, seconds in outcome.seconds.items()}}
        end |= {"status": outcome.status, "cause": outcome.cause, "predictions": _plain(outcome)}
    except Exception as error:
        # Reported rather than raised: Tune would keep the traceback in a file of its own and drop the epochs.
        end |= {"status": "FAILED", "cause": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        end["starved"] = isinstance(error, torch.OutOfMemoryError)
    if device == "cuda":
        torch.cuda.empty_cache()  # What this process kept for its next trial, its neighbours on the GPU would lack.
    finished = time.time()
    tune.report(
        {
            "epochs": waiting,
            "end": {**end, "finished": finished, "facts": {**facts, "seconds.total": finished - started}},
        }
    )


def _plain(outcome: Outcome) -> list[dict[str, str | float]]:
    return [
        {name: float(value) if isinstance(value, np.floating) else value for name, value in row.items()}
        for row in outcome.predictions
    ]
