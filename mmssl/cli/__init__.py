"""`mmssl-tune`: parse, one call, print."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from mmssl.cli import (
    answers,
    cluster,
    dashboard,
    doctor,
    encoders,
    own_data,
    paper,
    recordings,
    report,
    rerunning,
    spaces,
    studies,
    watching,
)
from mmssl.cli.terminal import complain, say
from mmssl.errors import UserError

app = typer.Typer(
    epilog="Exit status: 0 done; 1 trials failed, a check found faults, or the machine did (disk, memory); 2 the input "
    "was wrong; 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        say(f"mmssl-tune {version('mmssl-tune')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Search the loss weights of multimodal self-supervised learning of movement, and keep the best encoders."""


for command in (
    studies.launch,
    studies.resume,
    studies.retry,
    studies.extend,
    cluster.status,
    cluster.logs,
    watching.watch,
    cluster.stop,
    dashboard.dashboard,
    doctor.doctor,
    answers.results,
    answers.best,
    answers.compare,
    report.report,
    paper.reproduce,
    rerunning.rerun,
    encoders.run,
    encoders.evaluate,
    encoders.predict,
    encoders.embed,
    encoders.convert,
    spaces.spaces,
    spaces.systems,
):
    app.command()(command)
app.command("list")(cluster.list_studies)
data_app = typer.Typer(help="Look at recordings, take in your own, or fetch some.", no_args_is_help=True)
data_app.command("import")(own_data.data_import)
data_app.command("check")(own_data.data_check)
data_app.command("info")(recordings.data_info)
data_app.command("download")(recordings.data_download)
app.add_typer(data_app, name="data")


def main() -> None:
    _do_without_a_home()
    try:
        app()
    except UserError as error:
        complain(error)
        sys.exit(2)
    except (OSError, MemoryError) as error:
        # The machine, not the program: a disk that is full, read-only, gone; too little memory.
        complain(error)
        sys.exit(1)


def _do_without_a_home() -> None:
    """As for a container's user who stands in no list of users: what would be kept there is not."""
    try:
        known = os.environ.get("HOME") != "" and Path("~").expanduser().is_absolute()
    except RuntimeError:
        known = False
    if not known:
        os.environ["HOME"] = "/"
