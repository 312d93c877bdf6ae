"""The thin adapter between Ray Tune and a training run."""

from typing import Any

import torch
from ray import tune

from mmssl.search import one_trial
from mmssl.search.nodes import Agreement, require
from mmssl.search.one_trial import Setting


def trial(config: dict[str, Any], *, terms: Agreement, setting: Setting) -> None:
    """Run one trial in this worker.

    Args:
        config: as `one_trial.config_of` makes it.
        terms: what this process must have in common with the driver.
    """
    # Raised, so that the trial is started again, on another node if there is one: this one may have joined meanwhile.
    require(terms)
    torch.set_num_threads(setting.threads)
    one_trial.run(config, setting, tune.report)
