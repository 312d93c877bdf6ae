"""The messages of a study that is stopped, or goes on."""

from collections.abc import Container, Sequence

from mmssl.study.folder import Study
from mmssl.study.overview import RunningTrial
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.training.kept import epochs_in, pretraining_name, trial_name

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
        names = _names(plan, plan.trial(trial.trial_id))
        epochs.append(max(epochs_in(local / study.snapshot_name(name)) for name in names if local))
    kept = sorted(epoch for epoch in epochs if epoch)
    parts: list[str] = []
    if kept:
        parts.append(
            f"{_counted(len(kept))} {'keeps its' if len(kept) == 1 else 'keep their'} snapshot at {_epochs(kept)}"
        )
    if local is None:
        parts.append(f"{_counted(len(running))} {'goes' if len(running) == 1 else 'go'} on from the last snapshot")
    elif without := len(epochs) - len(kept):
        begins = "begins anew, it has no snapshot yet" if without == 1 else "begin anew, they have no snapshot yet"
        parts.append(f"{_counted(without)} {begins}")
    return "; ".join([f"stopping: {', '.join(parts) or 'nothing runs'}", *(["again to stop now"] if again else [])])


def continuing(study: Study, plan: Plan, ended: Container[str]) -> str:
    """How many trials go on from a snapshot, and from which epoch; empty where none does."""
    local = study.files.local
    files = {path.stem: path for path in local.glob(study.snapshot_name("*"))} if local else {}
    epochs: list[int] = []
    for trial in plan.trials:
        if not files:
            break
        if trial.trial_id not in ended:
            # Of trials that share a pre-training one goes on with it.
            found = [epochs_in(files.pop(name)) for name in _names(plan, trial) if name in files]
            epochs += [max(found)] if any(found) else []
    if not epochs:
        return ""
    kept = sorted(epochs)
    return f"{_counted(len(kept))} {'goes' if len(kept) == 1 else 'go'} on from a snapshot, at {_epochs(kept)}"


def _names(plan: Plan, trial: PlannedTrial) -> list[str]:
    """Of the snapshots that a trial may have."""
    recipe = plan.recipe(trial)
    return [name_of(recipe, plan.dataset.fingerprint) for name_of in (pretraining_name, trial_name)]


def _epochs(kept: Sequence[int]) -> str:
    """Sorted ones, in words."""
    if kept[0] == kept[-1]:
        return f"epoch {kept[0]}"
    if len(kept) > _MOST:
        return f"epochs {kept[0]} to {kept[-1]}"
    return f"epochs {', '.join(map(str, kept[:-1]))} and {kept[-1]}"


def _counted(count: int) -> str:
    return f"{count} trial{'' if count == 1 else 's'}"
