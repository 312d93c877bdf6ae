"""Commands on recordings, and how the other commands open them."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmssl.cli.options import DataOption, DatasetOption, JsonOption
from mmssl.cli.terminal import console_on, few, print_json, say, show_survey
from mmssl.errors import UserError
from mmssl.recipe import MODALITIES, Modality
from mmssl.study.presets import SYSTEMS

if TYPE_CHECKING:
    from mmssl.data.recordings import Recordings
    from mmssl.study.plan import Plan


def data_info(
    dataset: DatasetOption = "synthetic",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what recordings are there, and whether they are whole.

    Example: mmssl-tune data info --dataset utd_mhad --data ~/UTD-MHAD
    """
    from mmssl.data.sources import survey as survey_of

    recordings, problems = open_recordings(dataset, data, skip_bad=True, quiet=True)
    found = survey_of(recordings, problems)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        show_survey(found)


def data_download(
    name: Annotated[str, typer.Argument(help="utd_mhad")],
    data: DataOption = None,
) -> None:
    """Fetch a public data set from its official address; an interrupted download goes on where it stopped.

    Example: mmssl-tune data download utd_mhad
    """
    from mmssl.data.download import download_utd_mhad
    from mmssl.data.sources import default_folder

    if name != "utd_mhad":
        raise UserError(
            f"data set {name!r} cannot be downloaded; utd_mhad can (mmact is given on request by its authors)"
        )
    folder = data or default_folder(name)
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = console_on(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        tasks: dict[str, Any] = {}

        def progress(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bar.add_task(file, total=total)
            bar.update(tasks[file], completed=done, total=total)

        download_utd_mhad(folder, progress=progress)
    say(f"utd_mhad is in {folder}: mmssl-tune data info --dataset utd_mhad --data {shlex.quote(str(folder))}")


def open_recordings(dataset: str, data: Path | None, skip_bad: bool, *, quiet: bool) -> "tuple[Recordings, list[str]]":
    from mmssl.data.sources import open_dataset

    recordings, skipped = open_dataset(dataset, data, skip_bad=skip_bad)
    if skipped and not quiet:
        say(f"{len(skipped)} faulty recordings left out:")
        for fault in skipped:
            say(f"  {fault}")
    if dataset == "synthetic" and not quiet:
        say(
            "using the synthetic data set: good for a first look, not for conclusions; "
            "real recordings: --dataset utd_mhad --data DIR, or --dataset my_recordings.parquet"
        )
    return recordings, skipped


def having(recordings: "Recordings", modalities: Iterable[Modality], *, quiet: bool, hint: str = "") -> "Recordings":
    """The recordings with all of the modalities that there are; how many lack one is said beside the answer.

    Whoever needs a modality that no recording has says so, and what else to take.

    Raises:
        UserError: each modality is there, but never all of them in one recording.
    """
    there = [one for one in MODALITIES if any(array is not None for array in recordings.arrays(one))]
    asked = set(modalities)
    wanted: list[Modality] = [one for one in there if one in asked]
    kept, without = recordings.having(wanted), recordings.lacking(wanted)
    if without and not quiet:
        said = f"{len(without)} of {len(recordings)} recordings have no {' or no '.join(wanted)} and are left out"
        say(f"{said}: {few(without)}{hint}", stderr=True)
    return kept


def having_all(recordings: "Recordings", systems: Iterable[str], *, quiet: bool) -> "Recordings":
    """The recordings that every one of the systems takes, so that what is compared has seen the same."""
    return having(recordings, (one for system in systems for one in SYSTEMS[system].modalities), quiet=quiet)


def recordings_of(plan: "Plan", data: Path | None) -> "Recordings":
    """The recordings a study was planned for, looked for where they were then unless told otherwise."""
    folder = data or (Path(plan.dataset.folder) if plan.dataset.folder else None)
    recordings, _ = open_recordings(plan.dataset.source, folder, bool(plan.dataset.skipped), quiet=True)
    recordings = having_all(recordings, plan.space.systems, quiet=True)
    if recordings.fingerprint != plan.dataset.fingerprint:
        raise UserError(
            f"study {plan.name} was planned for other recordings than those in {folder or plan.dataset.source}: "
            f"fingerprint {plan.dataset.fingerprint[:12]} then, {recordings.fingerprint[:12]} now; "
            "give the old ones with --data"
        )
    return recordings


def name_of(dataset: str) -> str:
    from mmssl.data.sources import dataset_name

    return dataset_name(dataset)
