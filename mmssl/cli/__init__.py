"""`mmssl-tune`: parse, one call, print."""

import gc
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

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
from mmssl.cli.completion import whole_words
from mmssl.cli.options import RARE, RARE_BY_COMMAND, as_now
from mmssl.cli.terminal import beside, complain, say
from mmssl.errors import UserError


def _shown(options: list[Any]) -> list[Any]:
    """Options as help shows them: a flag is followed by nothing."""
    for option in options:
        if getattr(option, "is_flag", False):
            option.metavar = ""
    return options


class _Commands(TyperGroup):
    """Its flags are off where they are not given. Unset ones, as typer has them, are checked by pydantic, which would
    be loaded for that alone in a `COMMAND --help`."""

    def get_params(self, ctx: Any) -> list[Any]:
        options = _shown(super().get_params(ctx))
        for option in options:
            option.default = option.default or False
        return options


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        say(f"mmssl-tune {version('mmssl-tune')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Search the loss weights of multimodal self-supervised learning of movement, and keep the best encoders.

    Example: mmssl-tune launch vicreg_diagonal

    Example: mmssl-tune best --export
    """


COMMANDS: dict[str, dict[str, Callable[..., None]]] = {
    "Run": {
        "launch": studies.launch,
        "resume": studies.resume,
        "retry": studies.retry,
        "extend": studies.extend,
        "reproduce": paper.reproduce,
        "rerun": rerunning.rerun,
        "run": encoders.run,
    },
    "Look": {
        "list": cluster.list_studies,
        "status": cluster.status,
        "watch": watching.watch,
        "results": answers.results,
        "best": answers.best,
        "compare": answers.compare,
        "report": report.report,
        "dashboard": dashboard.dashboard,
    },
    "Use encoders": {
        "evaluate": encoders.evaluate,
        "predict": encoders.predict,
        "embed": encoders.embed,
        "convert": encoders.convert,
    },
    "Data and spaces": {"spaces": spaces.spaces, "systems": spaces.systems},
    "Cluster": {"doctor": doctor.doctor, "logs": cluster.logs, "stop": cluster.stop},
}


class _Command(TyperCommand):
    """A command that knows what its options were called before, takes each of them once, where it is not one of a list,
    and leaves the rarer of many to `--help-all`."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _shown(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        rare: list[Any] = []
        if any("--help-all" in one.opts for one in self.params):
            rare = [one for one in self.params if (RARE | RARE_BY_COMMAND.get(self.name or "", set())) & set(one.opts)]
            more = [one.opts[0] for one in rare if one.opts[0] != "--help-all"]
            self.epilog = f"More, with --help-all: {', '.join(more)}"
        for one in rare:
            one.hidden = True
        try:
            super().format_help(ctx, formatter)
        finally:
            for one in rare:
                one.hidden = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        quiet = ctx.resilient_parsing  # While a shell completes a word.
        words = as_now(ctx.info_name, args, beside(quiet))
        if not quiet:
            self._refuse_repeated(ctx, words)
        return super().parse_args(ctx, words)

    def _refuse_repeated(self, ctx: Any, words: list[str]) -> None:
        """Of an option that stands twice only the last would count, as of `--seeds 28 --seeds 29` one seed."""
        _, _, given = self.make_parser(ctx).parse_args(list(words))
        for one, times in Counter(given).items():
            if times > 1 and not (getattr(one, "multiple", False) or getattr(one, "is_flag", False)):
                raise UserError(f"{one.opts[0]}: is given {times} times, and takes one value")


data_app = typer.Typer(
    cls=_Commands,
    help="Look at recordings, take in your own, or fetch some.\n\n"
    "Example: mmssl-tune data info utd_mhad --data ~/UTD-MHAD\n\n"
    "Example: mmssl-tune data import kitchen --out kitchen.parquet",
    no_args_is_help=True,
)
for name, command in (
    ("import", own_data.data_import),
    ("check", own_data.data_check),
    ("info", recordings.data_info),
    ("download", recordings.data_download),
):
    data_app.command(name, cls=_Command)(command)
_NAMES = {"data", *(name for commands in COMMANDS.values() for name in commands)}


def _command_line(first: str | None = None) -> typer.Typer:
    """All commands; or that one alone whose name is the first word, as typer would take 25 ms to build the others."""
    wanted = {first} if first in _NAMES else _NAMES
    line = typer.Typer(
        cls=_Commands,
        epilog="Exit status: 0 done; 1 trials FAILED or none has a score, a check found faults, or the machine did "
        "(disk, memory); 2 the input was wrong; 130 interrupted.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    line.callback()(_options)
    for panel, commands in COMMANDS.items():
        if panel == "Data and spaces" and "data" in wanted:
            line.add_typer(data_app, name="data", rich_help_panel=panel)
        for name, command in commands.items():
            if name in wanted:
                line.command(name, cls=_Command, rich_help_panel=panel)(command)
    return line


app = _command_line()


def main() -> None:
    # Little of what a command reads is garbage: to look for it at every 700th object takes an eighth of its time.
    gc.set_threshold(10_000)
    _do_without_a_home()
    try:
        with whole_words():
            _command_line(next(iter(sys.argv[1:]), None))()
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
        has_home = os.environ.get("HOME") != "" and Path("~").expanduser().is_absolute()
    except RuntimeError:
        has_home = False
    if not has_home:
        os.environ["HOME"] = "/"
