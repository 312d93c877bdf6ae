"""The options that several commands have."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmssl.data import sources
from mmssl.errors import UserError, nearest
from mmssl.study.planning import STORAGE

if TYPE_CHECKING:
    from mmssl.study.folder import Study


def path_of(word: str | Path) -> Path:
    """A path with its ~ expanded, which a shell does not do in --data=~/x."""
    try:
        return Path(word).expanduser()
    except RuntimeError as error:
        raise UserError(f"{word}: there is no such user") from error


def storage_of(word: str) -> str:
    """A folder, or an object store's URI in the form that other machines can use."""
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
    from mmssl.study.lookup import names

    with suppress(UserError, OSError):
        return [name for name in reversed(names(path_of(_root(context)))) if name.startswith(incomplete)]
    return []


def points_there(context: typer.Context, incomplete: str) -> list[str]:
    """Names of studies, and STUDY:POINT for each point of the one that is named."""

    def points(study: "Study") -> list[str]:
        ids = [point[:8] for point in study.plan().candidates]
        return ["best", *ids] if len(ids) > 1 else []

    return _within_studies(context, incomplete, points, alone=True)


def trials_there(context: typer.Context, incomplete: str) -> list[str]:
    """STUDY:TRIAL for each trial that has ended of the study that is named."""
    return _within_studies(
        context, incomplete, lambda study: [trial[:8] for trial in study.ended(study.plan())], alone=False
    )


def _within_studies(
    context: typer.Context, incomplete: str, parts: "Callable[[Study], Sequence[str]]", *, alone: bool
) -> list[str]:
    """Studies, and the parts of one that is alone, so that a shell puts no blank after its name.

    Args:
        alone: whether a study's name says enough.
    """
    name, colon, beginning = incomplete.partition(":")
    studies = [name] if colon else studies_there(context, name)
    found = list[str]()
    if len(studies) == 1:
        [name] = studies
        with suppress(UserError, OSError):
            found = [f"{name}:{part}" for part in parts(_study(context, name)) if part.startswith(beginning)]
    if colon:
        return found
    return [*studies, *found] if alone else found or [f"{study}:" for study in studies]


def scores_there(context: typer.Context, incomplete: str) -> list[str]:
    """Scores of the study that is named, for a shell that completes a word."""
    from mmssl.study.results import CHOOSING, scores_of

    with suppress(UserError, OSError):
        scores = [*CHOOSING, *scores_of(_study(context, context.params.get("study")).plan())]
        return [name for name in scores if name.startswith(incomplete)]
    return []


def costs_there(incomplete: str) -> list[str]:
    """Costs of encoders, for a shell that completes a word."""
    from mmssl.study.columns import COSTS

    return [name for name in COSTS if name.startswith(incomplete)]


def _study(context: typer.Context, name: str | None) -> "Study":
    from mmssl.study.lookup import find

    return find(_root(context), name)


def _root(context: typer.Context) -> str:
    root = str(context.params.get("storage") or os.environ.get("MMSSL_STORAGE") or STORAGE)
    if "://" in root:
        raise UserError("a bucket may take seconds to answer")
    return root


def experiments_there(incomplete: str) -> list[str]:
    """Names of experiments, for a shell that completes a word."""
    from mmssl.experiments import EXPERIMENTS

    return [name for name in EXPERIMENTS if name.startswith(incomplete)]


def recipes(incomplete: str) -> list[str]:
    """Names of recipes, for a shell that completes a word."""
    from mmssl.study.presets import RECIPES

    return [name for name in RECIPES if name.startswith(incomplete)]


def _settings(incomplete: str) -> list[str]:
    """Knobs with their `=`; of one that is alone, its values too, so that a shell puts no blank after it."""
    from mmssl.recipe import Recipe
    from mmssl.study.json_schema import knob_schemas

    knobs, (name, equals, beginning) = Recipe().knobs(), incomplete.partition("=")
    found = [name] if equals and name in knobs else [knob for knob in knobs if knob.startswith(name) and not equals]
    if len(found) != 1:
        return [f"{knob}=" for knob in found]
    [knob] = found
    schema = knob_schemas()[knob]
    kinds = {"boolean": ["true", "false"]}
    values = [str(value) for value in schema.get("enum", kinds.get(schema.get("type", ""), [knobs[knob]]))]
    return [f"{knob}={value}" for value in ([] if equals else [""]) + values if value.startswith(beginning)]


def formats_of(words: str) -> tuple[str, ...]:
    """The kinds of pictures that are requested.

    Raises:
        UserError: one is none.
    """
    from mmssl.experiments.charts import KINDS

    kinds = [word.strip() for word in words.split(",")]
    if kinds == ["none"]:
        return ()
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"--formats {kind}: {nearest(kind, [*KINDS, 'none'])}")
    return tuple(dict.fromkeys(kinds))


def refuse_existing(path: Path, option: str, *, force: bool, holding: str = "") -> None:
    """Keep what lies where a command is to write, unless `force` is set.

    Args:
        holding: the file by which a folder is recognised; empty where the path is a file.

    Raises:
        UserError: it is there.
    """
    if (path / holding).is_file() and not force:
        raise UserError(f"{option} {path}: is there already; give another name, or --force to write over it")


# The panels of --help.
RECORDINGS, SEARCHED, RUNS, TRACKERS = "Recordings", "What is searched", "Where it runs", "Trackers"
RARE = {
    "--skip-bad", "--pretrain-on", "--recipe", "--cpus-per-trial", "--gpus-per-trial", "--together",
    "--address", "--tensorboard", "--mlflow", "--trackio", "--wandb", "--json", "--help-all",
}  # fmt: skip
"""Options that `--help` of a command that runs trials leaves to `--help-all`."""
RARE_BY_COMMAND = {"launch": {"--seeds", "--folds", "--budget", "--warm-start"}}
"""Further ones, by command."""

SpaceArgument = Annotated[
    str,
    typer.Argument(autocompletion=spaces_there, help="Its name (`mmssl-tune spaces`) or file.", metavar="SPACE"),
]
DatasetOption = Annotated[
    str,
    typer.Option(
        "--dataset",
        autocompletion=_data_sets,
        help=f"{', '.join(sources.READERS)} or a .parquet file.",
        metavar="NAME|FILE",
        show_default=False,
        rich_help_panel=RECORDINGS,
    ),
]
DatasetArgument = Annotated[
    str,
    typer.Argument(
        autocompletion=_data_sets,
        help=f"{sources.choices()}, or a recordings file (.parquet).",
        metavar="NAME|FILE",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="The data set's folder. Default: $MMSSL_DATA.",
        metavar="DIR",
        parser=path_of,
        rich_help_panel=RECORDINGS,
    ),
]
PretrainOnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--pretrain-on",
        autocompletion=_data_sets,
        help="Recordings that only pre-train; repeatable.",
        metavar="FILE|NAME",
        rich_help_panel=RECORDINGS,
    ),
]
SkipOption = Annotated[
    bool,
    typer.Option("--skip-bad", help="Go on without faulty recordings.", rich_help_panel=RECORDINGS),
]
StorageOption = Annotated[
    str,
    typer.Option(
        "--storage",
        envvar="MMSSL_STORAGE",
        help="Where studies lie: a folder, or s3://BUCKET.",
        metavar="ROOT",
        parser=storage_of,
        show_envvar=False,
        show_default=False,
    ),
]
SystemsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--system",
        autocompletion=_systems,
        help="A method on its modalities; repeatable.",
        metavar="NAME",
        rich_help_panel=SEARCHED,
    ),
]
WHERE_KNOBS_START = "Where knobs start: default, or paper"
RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        autocompletion=recipes,
        help=f"{WHERE_KNOBS_START}.",
        metavar="NAME",
        rich_help_panel=SEARCHED,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        autocompletion=_settings,
        help="Change a knob of the recipe; repeatable.",
        metavar="KNOB=VALUE",
        rich_help_panel=SEARCHED,
    ),
]
ValuesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--values",
        autocompletion=_settings,
        help="Values of a knob to search; repeatable.",
        metavar="KNOB=[VALUE,...]",
        rich_help_panel=SEARCHED,
    ),
]
StudyArgument = Annotated[
    str | None,
    typer.Argument(autocompletion=studies_there, help="Name of the study; the newest by default.", metavar="STUDY"),
]
FormatsOption = Annotated[
    str, typer.Option("--formats", help="Of pictures: png, svg and pdf, as png,svg; or none.", metavar="FORMATS")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Write over what is there already.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]

OLD_NAMES: dict[str, dict[str, str]] = {
    "launch": {"--space": ""},
    "doctor": {"--space": ""},
    "results": {"--metric": "--by"},
    "reproduce": {"--study": "", "--figures": "--formats"},
    "info": {"--dataset": ""},
    "evaluate": {"--dataset": ""},
}
"""By command, what its options were called in the last version; the empty name is that of an argument."""


def as_now(command: str, words: Sequence[str], note: Callable[[str], None]) -> list[str]:
    """A command's words with the names that options have now; old ones are taken for one version."""
    old, rest = OLD_NAMES.get(command, {}), list(words)
    kept, arguments = list[str](), list[str]()
    while rest and rest[0] != "--":
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name not in old or not (equals or rest):
            kept.append(word)
            continue
        value = value if equals else rest.pop(0)
        now = old[name]
        note(f"note: {name} is now {now or 'an argument: leave the option out'}; the next version knows it no more")
        if now:
            kept += [now, value]
        else:
            arguments.append(value)
    return [*kept, *rest, *arguments]
