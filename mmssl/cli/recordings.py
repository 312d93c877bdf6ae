"""Commands on recordings, and how the other commands open them."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmssl.cli.options import DataOption, DatasetArgument, JsonOption
from mmssl.cli.tables import show_survey
from mmssl.cli.terminal import console_on, print_json, say, waiting
from mmssl.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mmssl.data.recordings import Recordings


def data_info(
    dataset: DatasetArgument = "synthetic",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what recordings are there, with which columns, and whether they are whole.

    Of exported encoders, which columns they read.

    Example: mmssl-tune data info utd_mhad --data ~/UTD-MHAD

    Example: mmssl-tune data info encoders
    """
    from mmssl.data.sources import recordings_file
    from mmssl.data.sources import survey as survey_of

    file = recordings_file(dataset)
    if file and (file / "model.json").is_file():
        from mmssl.export.encoders import load_encoders

        if data is not None:
            raise UserError(f"--data {data}: not read, as {file} are encoders; leave it out")
        model = load_encoders(file)
        description, found = model.description, None
        read = {name: description.modalities[name] for name in model.recipe.data.modalities}
    else:
        recordings, problems = open_recordings(dataset, data, skip_bad=True, quiet=True)
        description, found = recordings.description, survey_of(recordings, problems)
        read = description.modalities
    if as_json:
        layout = {name: one.model_dump(mode="json") for name, one in read.items()}
        print_json({**(asdict(found) if found else {"name": description.name}), "modalities": layout})
        return
    if found:
        show_survey(found)
    for name, one in read.items():
        say(f"columns of {name}: {one.columns}")


def data_download(
    name: Annotated[str, typer.Argument(help="utd_mhad")],
    data: DataOption = None,
) -> None:
    """Fetch a public data set from its official address; an interrupted download goes on where it stopped.

    Example: mmssl-tune data download utd_mhad

    Example: mmssl-tune data download utd_mhad --data ~/UTD-MHAD
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
    say(f"utd_mhad is in {folder}: mmssl-tune data info utd_mhad --data {shlex.quote(str(folder))}")


def open_recordings(
    dataset: str, data: Path | None, skip_bad: bool, *, quiet: bool, like: Path | None = None
) -> "tuple[Recordings, list[str]]":
    from mmssl.data.sources import open_dataset

    with waiting(f"reading {dataset}"):
        recordings, skipped = open_dataset(dataset, data, skip_bad=skip_bad, like=like)
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


def by_what_they_have(inputs: "Iterable[Sequence[str]]", recordings: "Recordings") -> str:
    """The options by which encoders classify recordings: from the most that all have, or else that some have.

    Args:
        inputs: the sets of modalities that the encoders can classify from.
    """
    counts = {tuple(one): len(recordings) - len(recordings.lacking(one)) for one in inputs}
    most = max(counts, key=len)
    whole = [one for one, count in counts.items() if count == len(recordings)]
    selected = max(whole, key=len) if whole else most if counts[most] else max(counts, key=lambda one: counts[one])
    return (f" --modalities {','.join(selected)}" if selected != most else "") + ("" if whole else " --skip-bad")
