"""The options that several commands have."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from mmssl.data import sources
from mmssl.errors import UserError
from mmssl.study.planning import STORAGE


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


def _data_sets(incomplete: str) -> list[str]:
    return [name for name in sources.READERS if name.startswith(incomplete)]


def _systems(incomplete: str) -> list[str]:
    from mmssl.study.presets import SYSTEMS

    return [name for name in SYSTEMS if name.startswith(incomplete)]


def spaces_there(incomplete: str) -> list[str]:
    """Names of spaces, for a shell that completes a word."""
    from mmssl.study.space import available

    return [space.name for space in available() if space.name.startswith(incomplete)]


def studies_there(context: typer.Context, incomplete: str) -> list[str]:
    """Names of studies in the storage, for a shell that completes a word."""
    from mmssl.study.folder import names

    root = str(context.params.get("storage") or os.environ.get("MMSSL_STORAGE") or STORAGE)
    if "://" in root:
        return []  # A bucket may take seconds to answer.
    with suppress(UserError, OSError):
        return [name for name in reversed(names(path_of(root))) if name.startswith(incomplete)]
    return []


def recipes(incomplete: str) -> list[str]:
    """Names of recipes, for a shell that completes a word."""
    from mmssl.study.presets import RECIPES

    return [name for name in RECIPES if name.startswith(incomplete)]


def _settings(incomplete: str) -> list[str]:
    from mmssl.recipe import knob_names

    return [f"{name}=" for name in knob_names() if name.startswith(incomplete)]


DatasetOption = Annotated[
    str,
    typer.Option(
        "--dataset",
        autocompletion=_data_sets,
        help=f"{sources.choices()}, or a recordings file (.parquet).",
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
PretrainOnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--pretrain-on",
        autocompletion=_data_sets,
        help="Further recordings that only pre-train, with labels or without: a recordings file, or a data set; "
        "repeatable.",
        metavar="FILE|NAME",
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
        autocompletion=_systems,
        help="Instead of the space's systems; repeatable. `mmssl-tune systems` lists them.",
        metavar="NAME",
    ),
]
WHERE_KNOBS_START = "Where the knobs start from: default, or paper (its settings, nothing added)"
RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        autocompletion=recipes,
        help=f"{WHERE_KNOBS_START}. Default: as the space says.",
        metavar="NAME",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", autocompletion=_settings, help="Change a knob of the recipe; repeatable.", metavar="KNOB=VALUE"
    ),
]
StudyArgument = Annotated[
    str | None, typer.Argument(autocompletion=studies_there, help="Name of the study; the newest by default.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
