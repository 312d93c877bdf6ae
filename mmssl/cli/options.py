"""The options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

from mmssl.errors import UserError


def path_of(word: str | Path) -> Path:
    """A shell leaves the ~ of --data=~/x as it is."""
    try:
        return Path(word).expanduser()
    except RuntimeError as error:
        raise UserError(f"{word}: there is no such user") from error


def storage_of(word: str) -> str:
    """A folder, or an object store's URI as another machine can be told of it."""
    if "://" not in word:
        return str(path_of(word))
    from mmssl.storage import storage_at

    return storage_at(word).uri


DatasetOption = Annotated[
    str,
    typer.Option(
        "--dataset",
        help="synthetic, utd_mhad, mmact[:classes=36,camera=2], or a recordings file (.parquet).",
        metavar="NAME|FILE",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder of the data set. Default: $MMSSL_DATA, else a folder of the user's.",
        metavar="DIR",
        parser=path_of,
    ),
]
SkipOption = Annotated[bool, typer.Option("--skip-bad", help="Go on without faulty recordings.")]
StorageOption = Annotated[
    str,
    typer.Option(
        "--storage",
        envvar="MMSSL_STORAGE",
        help="Where studies lie: a folder, or s3://BUCKET/PREFIX.",
        metavar="ROOT",
        parser=storage_of,
    ),
]
SystemsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--system",
        help="Instead of the space's systems; repeatable. `mmssl-tune systems` lists them.",
        metavar="NAME",
    ),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Change a knob of the recipe; repeatable.", metavar="KNOB=VALUE")
]
StudyArgument = Annotated[str | None, typer.Argument(help="Name of the study; the newest by default.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
STORAGE = "studies"
