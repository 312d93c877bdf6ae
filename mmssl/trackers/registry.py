"""Which trackers there are, and what each needs."""

import importlib.util
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from mmssl.errors import UserError
from mmssl.study.folder import Study
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.trackers.forwarding import Forwarder, Tracker, without_secrets

_PACKAGES = {
    "dashboard": "optuna_dashboard",
    "tensorboard": "tensorboardX",
    "mlflow": "mlflow",
    "trackio": "trackio",
    "wandb": "wandb",
}
"""The package that each extra installs."""
_CLASSES = {"tensorboard": "TensorBoard", "mlflow": "MLflow", "trackio": "Trackio", "wandb": "Wandb"}
"""Each tracker's class, in the module of its name beside this one."""
_importing = threading.Lock()
"""Held while a tracker is imported: two threads that import Ray at once find half of it."""


def require(extra: str) -> None:
    """Find out whether an extra is installed, without loading it.

    Raises:
        UserError: it is not; says how to install it.
    """
    if importlib.util.find_spec(_PACKAGES[extra]) is None:
        raise UserError(f"{extra} needs a further package ({_PACKAGES[extra]}): pip install 'mmssl-tune[{extra}]'")


def check(programs: Iterable[str], root: str, notify: str | None = None) -> None:
    """Find out early what would fail later.

    Args:
        notify: address of a webhook.

    Raises:
        UserError: a program is not installed, or not set up; or that is no address.
    """
    if notify:
        from mmssl.trackers.notify import check_url

        check_url(notify)
    for program in programs:
        require(program)
    if "mlflow" in programs and "://" in root and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError("--mlflow: studies in a bucket have no place for its database; set $MLFLOW_TRACKING_URI")
    if "wandb" in programs and os.environ.get("WANDB_MODE") not in ("offline", "disabled"):
        import wandb

        if not wandb.api.api_key:
            raise UserError("--wandb: no API key; run `wandb login`, set $WANDB_API_KEY, or $WANDB_MODE=offline")


def load(programs: Iterable[str]) -> None:
    """Import trackers, before trials train in the same process: what a thread has half imported, scikit-learn takes for
    whole."""
    for program in programs:
        with suppress(Exception):  # The tracker says so itself.
            importlib.import_module(f"mmssl.trackers.{program}")


def forwarders(programs: Iterable[str], study: Study, plan: Plan, say: Callable[[str], None]) -> "list[Forwarder]":
    """A forwarder for each tracker, not started yet."""
    return [Forwarder(program, lambda program=program: _made(program, study, plan), study, say) for program in programs]


def register(
    study: Study,
    plan: Plan,
    folder: Path,
    trial: PlannedTrial | None,
    point: PlannedTrial,
    metrics: Mapping[str, float],
    say: Callable[[str], None],
) -> None:
    """Call `mmssl.trackers.mlflow.register` where MLflow may have the study; an export does not fail with it.

    Args:
        say: called with the model's id, or with why there is none.
    """
    local = study.files.local
    has_server = os.environ.get("MLFLOW_TRACKING_URI") or (local and (local.parent / "mlflow.db").is_file())
    if not has_server or importlib.util.find_spec("mlflow") is None:
        return
    from mmssl.trackers import mlflow

    try:
        model = mlflow.register(study, plan, folder, trial, point, metrics)
    except Exception as error:
        say(f"note: MLflow does not know the exported encoders ({without_secrets(error)})")
    else:
        if model:
            say(f"in MLflow as model {model}")


def _made(program: str, study: Study, plan: Plan) -> Tracker:
    with _importing:
        module = importlib.import_module(f"mmssl.trackers.{program}")
    make: Callable[[Study, Plan], Tracker] = getattr(module, _CLASSES[program])
    return make(study, plan)
