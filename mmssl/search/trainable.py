"""The thin adapter between Ray Tune and a training run."""

from typing import Any

from ray import tune

from mmssl.search.nodes import Agreement, require
from mmssl.search.setting import Setting


def trial(config: dict[str, Any], *, terms: Agreement, setting: Setting) -> None:
    """Run one trial in this worker, the only process that loads torch.

    Args:
        config: as `setting.config_of` makes it.
        terms: what this process must have in common with the driver.
    """
    # Raised, so that the trial is started again, on another node if there is one: this one may have joined meanwhile.
    require(terms)
    import torch

    from mmssl.search import one_trial

    torch.set_num_threads(setting.threads)
    one_trial.run(config, setting, tune.report)
