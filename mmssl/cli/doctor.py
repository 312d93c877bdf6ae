"""The command that looks whether everything is there that a study needs."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from mmssl.cli.options import (
    STORAGE,
    DataOption,
    DatasetOption,
    RecipeOption,
    SetOption,
    StorageOption,
    SystemsOption,
    spaces_there,
)
from mmssl.cli.recordings import open_recordings
from mmssl.cli.running import PlaceOptions, runs_trials
from mmssl.cli.terminal import beside, print_json, say
from mmssl.errors import UserError
from mmssl.study.planning import plan_study, space_with, usable


@runs_trials
def doctor(
    space: Annotated[
        str | None,
        typer.Argument(
            autocompletion=spaces_there,
            help="Name or file of the space to be searched. Default: one point, the preset.",
            metavar="SPACE",
        ),
    ] = None,
    dataset: DatasetOption = "synthetic",
    data: DataOption = None,
    storage: StorageOption = STORAGE,
    settings: SetOption = None,
    systems: SystemsOption = None,
    recipe: RecipeOption = None,
    *,
    running: PlaceOptions,
) -> None:
    """Check nodes, storage, data, disk and one batch of training.

    Example: mmssl-tune doctor vicreg_grid --dataset utd_mhad --data ~/UTD-MHAD

    Example: mmssl-tune doctor --storage /shared/studies --address auto
    """
    from mmssl.study import space as spaces

    given = spaces.load(space) if space else spaces.Space(name="preset", systems=["vicreg"])
    searched = space_with(given, settings, systems, recipe)
    findings: list[dict[str, Any]] = []

    def add(finding: dict[str, Any]) -> None:
        findings.append(finding)
        if not running.as_json:
            say(f"{finding['verdict']:<8} {finding['check']}: {finding['message']}")

    try:
        recordings, skipped = open_recordings(dataset, data, skip_bad=True, quiet=True)
        recordings = usable(recordings, searched.systems, beside(running.as_json))
        plan = plan_study("doctor", searched, recordings, dataset, data, skipped)
    except UserError as error:
        add({"check": "data", "verdict": "fault", "message": str(error)})
    else:
        if skipped:
            add({"check": "data", "verdict": "warning", "message": f"{len(skipped)} faulty recordings: see --skip-bad"})
        from mmssl.search.doctor import examine

        for finding in examine(str(storage), plan, recordings, running.resources()):
            add(asdict(finding))
    faults = sum(finding["verdict"] == "fault" for finding in findings)
    if running.as_json:
        print_json({"faults": faults, "findings": findings})
    else:
        say(f"{faults} to be mended" if faults else "no errors")
    if faults:
        raise typer.Exit(1)
