"""What a study answers to Ctrl-C: which trials go on from where."""

import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from small import created

from mmssl.cli.screen import _Signals  # pyright: ignore[reportPrivateUsage]
from mmssl.search.stopping import continuing, stopping
from mmssl.study.folder import Study
from mmssl.study.overview import RunningTrial
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.training.kept import pretraining_name, trial_name


@pytest.fixture
def study(tmp_path: Path, plan_of: Callable[..., Plan]) -> Study:
    return created(tmp_path, plan_of([1.0, 5.0], [25.0]))


def running(trial: PlannedTrial) -> RunningTrial:
    return RunningTrial(trial.trial_id, trial.point, trial.seed, trial.fold, datetime.now(UTC))


def keep(study: Study, plan: Plan, trial: PlannedTrial, epochs: int, name_of: Callable[..., str]) -> None:
    file = study.folder / study.snapshot_name(name_of(plan.recipe(trial), plan.dataset.fingerprint))
    file.parent.mkdir(parents=True, exist_ok=True)
    text = bytearray(("[" + ", ".join(["{}"] * epochs) + "]").encode())
    save_file({"epochs": torch.frombuffer(text, dtype=torch.uint8)}, file)


def test_it_says_at_which_epoch_each_trial_is_kept(study: Study) -> None:
    plan = study.plan()
    one, two, three, *_ = plan.trials
    keep(study, plan, one, 20, pretraining_name)
    keep(study, plan, two, 22, trial_name)
    at = [running(one), running(two)]
    assert stopping(study, plan, at, again=True) == (
        "stopping: 2 trials keep their snapshot at epochs 20 and 22; again to stop now"
    )
    assert stopping(study, plan, at[:1], again=False) == "stopping: 1 trial keeps its snapshot at epoch 20"
    assert stopping(study, plan, [*at, running(three)], again=False) == (
        "stopping: 2 trials keep their snapshot at epochs 20 and 22, 1 trial begins anew, it has no snapshot yet"
    )
    assert stopping(study, plan, [], again=False) == "stopping: nothing runs"
    assert continuing(study, plan, set()) == "2 trials go on from a snapshot, at epochs 20 and 22"
    assert continuing(study, plan, {two.trial_id}) == "1 trial goes on from a snapshot, at epoch 20"
    assert not continuing(study, plan, {one.trial_id, two.trial_id})


def test_ctrl_c_is_heard_at_once_whoever_handles_it() -> None:
    heard, handled = threading.Event(), list[int]()
    before = signal.signal(signal.SIGINT, lambda number, frame: handled.append(number))
    try:
        with _Signals(heard.set):
            os.kill(os.getpid(), signal.SIGINT)
            assert heard.wait(5)
        assert handled == [signal.SIGINT], "and is handled as before"
        assert signal.set_wakeup_fd(-1) == -1, "nothing is left behind"
    finally:
        signal.signal(signal.SIGINT, before)
