"""Which trackers there are, and what each needs."""

import importlib.util
import os
import threading
from collections.abc import Callable, Iterable

from mmssl.errors import UserError
from mmssl.study.folder import Study
from mmssl.study.plan import Plan
from mmssl.trackers.forwarding import Forwarder, Tracker

_PACKAGES = {"dashboard": "optuna_dashboard", "tensorboard": "tensorboardX", "mlflow": "mlflow", "wandb": "wandb"}
"""By extra, what it installs."""
_importing = threading.Lock()
"""Two threads that import Ray at once find half of it."""


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


def forwarders(programs: Iterable[str], study: Study, plan: Plan, say: Callable[[str], None]) -> "list[Forwarder]":
    """Begin to tell programs of a study."""
    return [Forwarder(program, lambda program=program: _made(program, study, plan), study, say) for program in programs]


def _made(program: str, study: Study, plan: Plan) -> Tracker:
    with _importing:
        make = _tracker(program)
    return make(study, plan)


def _tracker(program: str) -> Callable[[Study, Plan], Tracker]:
    if program == "tensorboard":
        from mmssl.trackers.tensorboard import TensorBoard

        return TensorBoard
    if program == "mlflow":
        from mmssl.trackers.mlflow import MLflow

        return MLflow
    from mmssl.trackers.wandb import Wandb

    return Wandb
