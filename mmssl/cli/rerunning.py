"""The command that runs trials again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmssl.cli.options import STORAGE, DataOption, JsonOption, StorageOption, trials_there
from mmssl.cli.running import end
from mmssl.cli.tables import beside_name
from mmssl.cli.terminal import epoch_progress, print_json, say
from mmssl.errors import few
from mmssl.study.planning import recordings_of

if TYPE_CHECKING:
    from mmssl.search.rerun import Differences


def rerun(
    trials: Annotated[
        list[str],
        typer.Argument(
            autocompletion=trials_there,
            help="A trial of a study, by the beginning of its id; of the newest study where none is named.",
            metavar="STUDY:TRIAL...",
        ),
    ],
    data: DataOption = None,
    storage: StorageOption = STORAGE,
    tolerance: Annotated[
        float, typer.Option(help="Of a trial's scores, where machine or versions are not those of then.", min=0)
    ] = 0.02,
    as_json: JsonOption = False,
) -> None:
    """Run trials again here, and say whether they come to the same.

    Example: mmssl-tune rerun vicreg_grid-synthetic-1:3f2a91

    Example: mmssl-tune rerun grid:3f2a91 grid:85af8e --tolerance 0.01 --json
    """
    answers = [_again(word, storage, data, tolerance, as_json=as_json) for word in trials]
    if as_json:
        print_json({"same": all(answer["same"] for answer in answers), "trials": answers})
    end(not all(answer["same"] for answer in answers))


def _again(word: str, storage: str, data: Path | None, tolerance: float, *, as_json: bool) -> dict[str, Any]:
    """Run a trial again, and say what it comes to."""
    from mmssl.search.rerun import differences, find_trial, original, rerun
    from mmssl.study.lookup import find

    name, _, beginning = word.rpartition(":")
    study = find(storage, name or None)
    plan = study.plan()
    trial = find_trial(plan, beginning)
    record = original(study, plan, trial)
    recordings = recordings_of(plan, data)
    changed = differences(study, plan, trial, record)
    how = "to the bit" if changed.exact else f"scores within {tolerance:g}"
    if not as_json:
        for line in _changes(changed):
            say(f"note: {line}")
        say(f"compared {how}, with as many threads as then ({record.facts['threads']})")
    with epoch_progress(plan.recipe(trial), f"trial {trial.trial_id}") as on_epoch:
        found = rerun(plan, trial, record, recordings, changed, on_epoch)
    same = found.same(tolerance)
    differing = [name for name, value in found.then.items() if found.now.get(name) != value]
    answer: dict[str, Any] = {
        "study": study.name,
        "trial": trial.trial_id,
        "same": same,
        "tolerance": 0 if changed.exact else tolerance,
        "then": found.then,
        "now": found.now,
        "changed": {name: list(values) for name, values in changed.decisive.items()},
        "also_changed": {name: list(values) for name, values in changed.others.items()},
        "gpu": changed.gpu,
        "other_predictions": found.guesses,
    }
    if as_json:
        return answer
    for name in differing:
        say(beside_name(name, f"{found.then[name]} then, {found.now.get(name)} now"))
    say(
        f"trial {trial.trial_id} of study {study.name}: {'the same' if same else 'NOT the same'} ({how}); "
        f"{len(found.then) - len(differing)} of {len(found.then)} values equal, {found.guesses} predictions differ"
    )
    return answer


def _changes(changed: "Differences") -> list[str]:
    """What is not as it was when a trial ran, a line for each thing that decides the last bits."""
    lines: list[str] = []
    unknown = [name for name, (then, _) in changed.decisive.items() if then is None and name != "pretrained_together"]
    if unknown:
        lines.append(f"not recorded then: {', '.join(unknown)}")
    for name, (then, now) in changed.decisive.items():
        if name == "pretraining_id":
            lines.append("the package's code, or torch, is not that of then (pretraining_id)")
        elif name == "pretrained_together":
            lines.append(f"it was pre-trained as one model with {then - 1} others, and now is alone")
        elif name == "trained_elsewhere":
            lines.append("a part of it was trained with another number of threads, or on another machine")
        elif name not in unknown:
            lines.append(f"{name} was {then}, and is {now}")
    if changed.gpu:
        lines.append("it is trained on a GPU, where the same run need not give the same bits twice")
    packages = [name.removeprefix("package ") for name in changed.others if name.startswith("package ")]
    for name, (then, now) in changed.others.items():
        if not name.startswith("package ") and then is not None:
            lines.append(f"{name} was {then}, and is {now}; by itself it changes no number")
    if packages:
        lines.append(f"other packages differ, of those that compute nothing: {few(packages)}")
    return lines
