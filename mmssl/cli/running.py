"""Where a command's trials run: the options for it, and the command itself handed to a cluster."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_type_hints

import typer
from typer.core import TyperCommand

from mmssl.cli.options import RUNS, TRACKERS, JsonOption
from mmssl.cli.terminal import pass_on, print_json, say
from mmssl.errors import UserError
from mmssl.process import cpus, interrupt_when_ended
from mmssl.study.planning import name_of, space_with

if TYPE_CHECKING:
    from mmssl.search.jobs import Jobs
    from mmssl.search.share import Resources


def _help_all(context: typer.Context, requested: bool) -> None:
    if requested and not context.resilient_parsing:
        TyperCommand.format_help(cast(TyperCommand, context.command), context, context.make_formatter())
        raise typer.Exit


@dataclass(frozen=True)
class PlaceOptions:
    """The options of a command about the machines that trials would run on: which, with what, and how it answers."""

    cpus_per_trial: Annotated[
        float | None,
        typer.Option(help="CPUs, and threads, of a trial.", min=0.01, metavar="N", rich_help_panel=RUNS),
    ] = None
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(
            help="GPUs of a trial, as 0.25 of one.",
            min=0,
            metavar="N",
            rich_help_panel=RUNS,
        ),
    ] = None
    max_concurrent: Annotated[
        int | None,
        typer.Option(help="Trials at once, if not all that fit.", min=1, metavar="N", rich_help_panel=RUNS),
    ] = None
    address: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_ADDRESS",
            help="auto or HOST:PORT of a cluster; http:// for a job.",
            metavar="URL",
            rich_help_panel=RUNS,
            show_envvar=False,
        ),
    ] = None
    as_json: JsonOption = False
    help_all: Annotated[
        bool,
        typer.Option("--help-all", is_eager=True, callback=_help_all, help="Show every option and exit."),
    ] = False

    @property
    def cluster(self) -> str | None:
        """The cluster's address; None where this process runs a Ray of its own."""
        return None if self.address in (None, "", "local") else self.address

    @property
    def submits(self) -> bool:
        """Whether the command is to be run by a job of the cluster, and not by this process."""
        return is_job_server(self.cluster)

    def resources(self) -> "Resources":
        """What each trial gets, and where."""
        from mmssl.search.share import Resources

        return Resources(self.cpus_per_trial, self.gpus_per_trial, self.max_concurrent, self.cluster)

    def refuse(self, storage: str, *, by_hand: bool) -> None:
        """Find out what cannot go together, before anything is done.

        Args:
            by_hand: whether the address was given with the command, and not by the environment.

        Raises:
            UserError: something cannot.
        """


@dataclass(frozen=True)
class RunOptions(PlaceOptions):
    """The options of every command that runs trials: also how, and which trackers follow."""

    together: Annotated[
        int,
        typer.Option(
            help="Trials pre-trained as one model.",
            min=1,
            metavar="N",
            rich_help_panel=RUNS,
            show_default=False,
        ),
    ] = 1
    local: Annotated[
        bool,
        typer.Option("--local", help="Here, without Ray, one after the other.", rich_help_panel=RUNS),
    ] = False
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Write TensorBoard's files into the study.", rich_help_panel=TRACKERS),
    ] = False
    mlflow: Annotated[
        bool,
        typer.Option("--mlflow", help="Log to MLflow, as $MLFLOW_TRACKING_URI says.", rich_help_panel=TRACKERS),
    ] = False
    trackio: Annotated[
        bool,
        typer.Option("--trackio", help="Log to Trackio, as $TRACKIO_... say.", rich_help_panel=TRACKERS),
    ] = False
    wandb: Annotated[
        bool,
        typer.Option("--wandb", help="Log to Weights & Biases, as $WANDB_... say.", rich_help_panel=TRACKERS),
    ] = False
    notify: Annotated[
        str | None,
        typer.Option(
            envvar="MMSSL_NOTIFY",
            help="A webhook: Slack, Discord, ntfy or any; $MMSSL_NOTIFY.",
            metavar="URL",
            rich_help_panel=TRACKERS,
            show_envvar=False,
        ),
    ] = None

    @property
    def programs(self) -> list[str]:
        """The trackers that the study reports to as it runs."""
        return [program for program in ("tensorboard", "mlflow", "trackio", "wandb") if getattr(self, program)]

    @property
    def cluster(self) -> str | None:
        return None if self.local else super().cluster

    def resources(self) -> "Resources":
        return replace(super().resources(), together=self.together, local=self.local)

    def refuse(self, storage: str, *, by_hand: bool) -> None:
        if self.local and by_hand:
            raise UserError("--local runs in this process, --address on a cluster: leave one of them out")
        if self.submits and self.notify:
            raise UserError(
                "--notify: no job gets the address, as others may read its command line: set $MMSSL_NOTIFY on the "
                "cluster's head, and leave it out here"
            )
        if not self.submits:
            from mmssl.trackers.registry import check

            check(self.programs, storage, self.notify)

    def check(self) -> None:
        """Find out early what would fail later.

        Raises:
            UserError: more is requested than this machine has, and the trials run on it alone; or no cluster is there.
        """
        if self.local and max(self.together, self.max_concurrent or 1) > 1:
            raise UserError("--local runs one trial after the other: leave out --together and --max-concurrent")
        if self.cluster:
            from mmssl.search.resources import answers

            answers(self.cluster)
        if self.cluster is None and (self.cpus_per_trial or 1) > cpus():
            raise UserError(
                f"--cpus-per-trial {self.cpus_per_trial:g}: there are {cpus()} CPUs to use; ask for no more"
            )


def is_job_server(address: str | None) -> bool:
    """Whether an address is one that jobs are submitted to, and not a cluster's own."""
    return (address or "").startswith(("http://", "https://"))


def runs_trials(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter `running` is made of options, one for each field of its type.

    With the address of a job server, the cluster runs the command, with the options that it was given here.
    """
    own = inspect.signature(command).parameters
    hints = get_type_hints(command, include_extras=True)
    kind: type[PlaceOptions] = hints["running"]

    @wraps(command)
    def with_options(context: typer.Context, **given: Any) -> None:
        running = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        source = context.get_parameter_source("address")
        if running.submits and given.get("dry_run"):
            raise UserError("--dry-run is answered here, and starts no job: leave out --address")
        running.refuse(given["storage"], by_hand=source is not None and source.name == "COMMANDLINE")
        if running.submits:
            submit(context, given, running)
        else:
            interrupt_when_ended()
            command(**given, running=running)

    defaults = {name: one.default for name, one in own.items() if name != "running"}
    defaults = {"context": inspect.Parameter.empty, **defaults, **{one.name: one.default for one in fields(kind)}}
    types = {"context": typer.Context, **hints, **get_type_hints(kind, include_extras=True)}
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=types[name])
        for name, default in defaults.items()
    ]
    with_options.__signature__ = inspect.Signature(options)  # pyright: ignore[reportAttributeAccessIssue]
    with_options.__annotations__ = {one.name: one.annotation for one in options}
    return with_options


def submit(context: typer.Context, given: dict[str, Any], running: PlaceOptions) -> None:
    """Have a cluster run the command that was given here, and say how to follow it.

    Raises:
        UserError: something in it means nothing on another machine.
    """
    from mmssl.search.jobs import Jobs

    storage = shared_storage(given["storage"])
    files = [("--pretrain-on", _recordings_file(word)) for word in given.get("pretrain_on") or []]
    for option, path in (
        ("--data", given.get("data")),
        ("--dataset", _recordings_file(given.get("dataset"))),
        *files,
    ):
        if path is not None and not path.is_absolute():
            raise UserError(
                f"{option} {path}: the job's working directory is another; give the absolute path that it has on "
                "the cluster's head, where recordings are read"
            )
    jobs = Jobs(running.address or "")
    changed: dict[str, Any] = {"storage": storage, "address": None, "as_json": None}
    file: Path | None = None
    if context.info_name == "doctor":
        _examine_there(context, given, jobs, changed)
        return
    if context.info_name == "launch":
        file, stem = _space(given)
        study = given["name"] or _free_name(stem, given["storage"], [job.study for job in jobs.all()])
        changed |= {"space": file.name, "name": study}
    elif context.info_name == "reproduce":
        raise UserError(
            "reproduce makes its tables where it runs: `launch` the experiment's space as a job, and reproduce from it "
            "as `mmssl-tune reproduce EXPERIMENT STUDY` on a machine that sees the storage"
        )
    else:
        study = given["study"] or _newest(given["storage"])
        changed["study"] = study
    job = jobs.submit(study, storage, [context.info_name or "", *_words(context, changed)], file)
    if running.as_json:
        print_json({"study": study, "job": job.submission_id, "address": job.address, "storage": storage})
        return
    say(f"study {study}: job {job.submission_id} submitted to {job.address}")
    say(f"follow it with `mmssl-tune logs {study} -f`; `mmssl-tune status {study}` and `stop {study}` find it too")


def _examine_there(context: typer.Context, given: dict[str, Any], jobs: "Jobs", changed: dict[str, Any]) -> None:
    """The answer of a doctor is waited for, and shown as it comes."""
    file = _space(given)[0] if given["space"] else None
    words = _words(context, {**changed, "space": file and file.name})
    job = jobs.submit("doctor", changed["storage"], ["doctor", *words], file)
    for piece in jobs.follow(job):
        pass_on(piece)
    end(jobs.of("doctor").status != "SUCCEEDED")


def shared_storage(storage: Any) -> str:
    """A folder of studies in the form that other machines can use.

    Raises:
        UserError: it is relative to this shell's.
    """
    if "://" in str(storage) or Path(storage).is_absolute():
        return str(storage)
    raise UserError(
        f"--storage {storage}: a job runs in a folder of its own, which goes with it; give the absolute path of "
        "a folder that all nodes share, or s3://BUCKET/PREFIX"
    )


def _words(context: typer.Context, changed: dict[str, Any]) -> list[str]:
    """The command's options and arguments as they were given, but for those that are changed, or left out if None."""
    words: list[str] = []
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        value = context.params.get(name) if source and source.name in ("COMMANDLINE", "ENVIRONMENT") else None
        value = changed.get(name, value)
        if value is None or value is False:
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            if parameter.param_type_name == "argument":
                words.append(str(one))
            else:
                words.append(parameter.opts[0] if one is True else f"{parameter.opts[0]}={one}")
    return words


def _space(given: dict[str, Any]) -> tuple[Path, str]:
    """The file of the space, and what a study of it is called."""
    from mmssl.study import space as spaces

    word = given["space"]
    # Its mistakes are reported before anything is submitted.
    entries = ("settings", "systems", "recipe", "values", "seeds", "budget", "folds")
    changes = {name: given.get(name) for name in entries}
    searched = space_with(spaces.load(word), **changes)
    found = {space.name: space.path for space in spaces.available()}
    return found.get(word, Path(word).expanduser()), f"{searched.name}-{name_of(given['dataset'])}"


def _free_name(stem: str, storage: str, taken: Sequence[str]) -> str:
    """A name that no study in reach has."""
    from mmssl.study.lookup import free_name, plain_name

    name, number = free_name(storage, stem), 1
    while name in taken:
        name, number = f"{plain_name(stem)}-{number}", number + 1
    return name


def _newest(storage: str) -> str:
    from mmssl.study.lookup import find

    return find(storage, None).name


def _recordings_file(dataset: str | None) -> Path | None:
    from mmssl.data.sources import recordings_file

    return recordings_file(dataset) if dataset else None


def end(status: int) -> None:
    """End the command with an exit status, where that is not 0."""
    if status:
        raise typer.Exit(status)
