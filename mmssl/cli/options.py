"""The options that several commands have."""

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from mmssl.errors import UserError

if TYPE_CHECKING:
    from mmssl.search.cluster import Resources


def path_of(word: str | Path) -> Path:
    """A shell leaves the ~ of --data=~/x as it is."""
    try:
        return Path(word).expanduser()
    except RuntimeError as error:
        raise UserError(f"{word}: there is no such user") from error


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
    Path,
    typer.Option(
        "--storage", envvar="MMSSL_STORAGE", help="Folder in which studies lie.", metavar="ROOT", parser=path_of
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
STORAGE = Path("studies")


@dataclass(frozen=True)
class Running:
    """The options of every command that runs trials: where, with what, and how it answers."""

    cpus_per_trial: Annotated[
        float, typer.Option(help="CPUs of one trial; a whole number is also its threads.", min=0.01)
    ] = 1.0
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(help="GPUs of one trial, a fraction to share one. Default: 0.25 where there are GPUs.", min=0),
    ] = None
    max_concurrent: Annotated[int | None, typer.Option(help="Trials at once. Default: as many as fit.", min=1)] = None
    address: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_ADDRESS",
            help="The cluster to run on: auto or HOST:PORT from one of its nodes, http://HOST:8265 to submit a job "
            "from anywhere. Default: a Ray of this process alone, as with `local`.",
        ),
    ] = None
    as_json: JsonOption = False

    @property
    def cluster(self) -> str | None:
        """The cluster's address; None where this process runs a Ray of its own."""
        return None if self.address in (None, "", "local") else self.address

    def resources(self) -> "Resources":
        """What is asked of Ray."""
        from mmssl.search.cluster import Resources

        return Resources(self.cpus_per_trial, self.gpus_per_trial, self.max_concurrent, self.cluster)

    def check(self) -> None:
        """Raises UserError: more is asked than this machine has, and the trials run on it alone."""
        cpus = os.cpu_count() or 1
        if self.cluster is None and self.cpus_per_trial > cpus:
            raise UserError(f"--cpus-per-trial {self.cpus_per_trial:g}: there are {cpus} CPUs; ask for no more")


def runs_trials(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter `running` is made of options of its own, one for each field of Running."""
    own = inspect.signature(command).parameters
    hints = get_type_hints(command, include_extras=True)
    taken = get_type_hints(Running, include_extras=True)

    @wraps(command)
    def with_options(**given: Any) -> None:
        running = Running(**{field.name: given.pop(field.name) for field in fields(Running)})
        command(**given, running=running)

    options = {
        **{name: one.replace(annotation=hints[name]) for name, one in own.items() if name != "running"},
        **{
            field.name: inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=taken[field.name]
            )
            for field in fields(Running)
        },
    }
    with_options.__signature__ = inspect.Signature(list(options.values()))  # pyright: ignore[reportAttributeAccessIssue]
    with_options.__annotations__ = {name: one.annotation for name, one in options.items()}
    return with_options
