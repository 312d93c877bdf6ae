"""What a study answers when it is asked to stop."""

from collections.abc import Sequence

from mmssl.study.folder import Study
from mmssl.study.overview import RunningTrial
from mmssl.study.plan import Plan
from mmssl.training.snapshot import epochs_in
from mmssl.training.trial import pretraining_name, trial_name

_MOST = 4
"""Epochs that are named one by one."""


def stopping(study: Study, plan: Plan, running: Sequence[RunningTrial], *, again: bool) -> str:
    """Where each trial that runs will go on from when the study is resumed.

    Args:
        again: whether a second Ctrl-C stops at once.
    """
    local = study.files.local
    epochs: list[int] = []
    for trial in running if local else []:
        recipe = plan.recipe(plan.trial(trial.trial_id))
        names = [name_of(recipe, plan.dataset.fingerprint) for name_of in (pretraining_name, trial_name)]
        epochs.append(max(epochs_in(local / study.snapshot_name(name)) for name in names if local))
    kept = sorted(epoch for epoch in epochs if epoch)
    parts: list[str] = []
    if kept:
        shown = f"{', '.join(map(str, kept[:-1]))} and {kept[-1]}" if 1 < len(kept) <= _MOST else f"{kept[0]}"
        shown = f"{kept[0]} to {kept[-1]}" if len(kept) > _MOST else shown
        parts.append(
            f"{_counted(len(kept))} {'keeps its' if len(kept) == 1 else 'keep their'} snapshot at epoch {shown}"
        )
    if local is None:
        parts.append(f"{_counted(len(running))} {'goes' if len(running) == 1 else 'go'} on from the last snapshot")
    elif without := len(epochs) - len(kept):
        begins = "begins anew, it has no snapshot yet" if without == 1 else "begin anew, they have no snapshot yet"
        parts.append(f"{_counted(without)} {begins}")
    return "; ".join([f"stopping: {', '.join(parts) or 'nothing runs'}", *(["again to stop now"] if again else [])])


def _counted(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"
