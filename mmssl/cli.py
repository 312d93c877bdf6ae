"""`mmssl-tune`: parse, one call, print."""

import json
import os
import re
import shlex
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmssl.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from mmssl.data.recordings import Recordings
    from mmssl.data.sources import Lengths, Survey
    from mmssl.recipe import Recipe
    from mmssl.search.plan import Plan
    from mmssl.search.results import Point
    from mmssl.search.store import Study

app = typer.Typer(
    help="Search the loss weights of multimodal self-supervised learning (skeleton + IMU), and keep the best encoders.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Look at recordings, or fetch them.", no_args_is_help=True)
app.add_typer(data_app, name="data")


def _path(word: str | Path) -> Path:
    """A shell leaves the ~ of --data=~/x as it is."""
    try:
        return Path(word).expanduser()
    except RuntimeError as error:
        raise UserError(f"{word}: there is no such user") from error


DatasetOption = Annotated[
    str, typer.Option("--dataset", help="synthetic, utd_mhad, or a recordings file (.parquet).", metavar="NAME|FILE")
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="Folder of the data set. Default: $MMSSL_DATA, else a folder of the user's.",
        metavar="DIR",
        parser=_path,
    ),
]
SkipOption = Annotated[bool, typer.Option("--skip-bad", help="Go on without faulty recordings.")]
StorageOption = Annotated[
    Path,
    typer.Option(
        "--storage", envvar="MMSSL_STORAGE", help="Folder in which studies lie.", metavar="ROOT", parser=_path
    ),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Change a knob of the recipe; repeatable.", metavar="KNOB=VALUE")
]
StudyArgument = Annotated[str | None, typer.Argument(help="Name of the study; the newest by default.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
CpusOption = Annotated[float, typer.Option(help="CPUs of one trial; a whole number is also its threads.", min=0.01)]
GpusOption = Annotated[
    float | None,
    typer.Option(help="GPUs of one trial, a fraction to share one. Default: 0.25 where there are GPUs.", min=0),
]
ConcurrentOption = Annotated[int | None, typer.Option(help="Trials at once. Default: as many as fit.", min=1)]
STORAGE = Path("studies")


@app.command()
def launch(
    space: Annotated[str, typer.Option(help="Name or file of the space; see `mmssl-tune spaces`.")],
    dataset: DatasetOption = "synthetic",
    data: DataOption = None,
    skip_bad: SkipOption = False,
    name: Annotated[str | None, typer.Option(help="Name of the study. Default: from space and data set.")] = None,
    storage: StorageOption = STORAGE,
    settings: SetOption = None,
    cpus_per_trial: CpusOption = 1.0,
    gpus_per_trial: GpusOption = None,
    max_concurrent: ConcurrentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Plan a study and run it to its end.

    Example: mmssl-tune launch --space vicreg_grid --dataset utd_mhad --data ~/UTD-MHAD
    """
    from mmssl.search import space as spaces
    from mmssl.search.store import Study

    cpus = os.cpu_count() or 1
    if cpus_per_trial > cpus:
        raise UserError(f"--cpus-per-trial {cpus_per_trial:g}: there are {cpus} CPUs; ask for no more")
    searched = spaces.load(space)
    taken = {**dict.fromkeys(searched.grid, "the space searches it; take it out of its grid"), **spaces.SET_BY_STUDY}
    fixed = {**searched.fixed, **_settings(settings, taken)}
    base = _recipe(dataset, fixed)
    searched = searched.model_copy(update={"fixed": {knob: base.knobs()[knob] for knob in fixed}})
    points = searched.points(base)
    recordings, skipped = _open(dataset, data, skip_bad, quiet=as_json)
    plan = _plan(
        name or _free_name(storage, searched.name, dataset), searched, base, points, recordings, dataset, data, skipped
    )
    study = Study(storage, plan.name)
    study.create(plan)
    _run(study, plan, recordings, cpus_per_trial, gpus_per_trial, max_concurrent, as_json)


@app.command()
def resume(
    study: StudyArgument = None,
    data: DataOption = None,
    storage: StorageOption = STORAGE,
    retry: Annotated[bool, typer.Option("--retry", help="Also run the trials that FAILED once more.")] = False,
    cpus_per_trial: CpusOption = 1.0,
    gpus_per_trial: GpusOption = None,
    max_concurrent: ConcurrentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run what an interrupted study still lacks.

    Example: mmssl-tune resume vicreg_grid-synthetic-1
    """
    from mmssl.search.store import find

    found = find(storage, study)
    plan = found.plan()
    recordings = _recordings_of(plan, data)
    _run(found, plan, recordings, cpus_per_trial, gpus_per_trial, max_concurrent, as_json, retry=retry)


@app.command()
def run(
    dataset: DatasetOption = "synthetic",
    data: DataOption = None,
    skip_bad: SkipOption = False,
    settings: SetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write the trained encoders to.", metavar="DIR", parser=_path)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train one recipe in this process, without a study.

    Without data.validation_subjects the last training subject is held out.

    Example: mmssl-tune run --dataset utd_mhad --set objective.lambda=10 --set data.validation_subjects=[7]
    """
    recordings, _ = _open(dataset, data, skip_bad, quiet=as_json)
    recipe = _recipe(dataset, _settings(settings, {}))
    from mmssl.data.protocols import sides, split

    if not recipe.data.validation_subjects:
        trained, _ = sides(recordings, recipe.data)
        recipe = recipe.with_knobs({"data.validation_subjects": [trained[-1]]})
    parts = split(recordings, recipe.data)
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            empty = not any(out.iterdir())
        except OSError as error:
            raise UserError(f"{out}: no folder to write to ({error.strerror}); choose another with --out") from error
        if not empty:
            raise UserError(f"{out}: not empty; choose another place with --out")
    from mmssl.training import train

    with _epochs(recipe, "training") as on_epoch:
        outcome = train(recipe, recordings, on_epoch=on_epoch)
    if out is not None and outcome.model is not None:
        for file, content in outcome.model.files(metrics=outcome.metrics).items():
            (out / file).write_bytes(content)
    if as_json:
        _print_json(
            {"status": outcome.status, "cause": outcome.cause, "metrics": outcome.metrics, "seconds": outcome.seconds}
        )
    else:
        _say(_sides(parts.train_subjects, parts.validation_subjects, parts.test_subjects))
        _say(f"{outcome.status} {outcome.cause}".rstrip())
        for metric, value in outcome.metrics.items():
            _say(f"  {metric:<32}{value:.4f}")
        if out is not None and outcome.model is not None:
            _say(f"encoders in {out}")
    if outcome.status != "COMPLETE":
        raise typer.Exit(1)


@app.command()
def results(
    study: StudyArgument = None,
    storage: StorageOption = STORAGE,
    metric: Annotated[str | None, typer.Option(help="val.accuracy or val.f1. Default: the study's own.")] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Show a study's points with mean, standard deviation and failures over seeds and folds.

    Example: mmssl-tune results --json
    """
    from mmssl.search.results import points, ranked
    from mmssl.search.store import find

    if as_json and as_csv:
        raise UserError("--json and --csv: choose one of them")
    found = find(storage, study)
    plan = found.plan()
    metric = _metric(metric or plan.space.metric)
    rows = ranked(points(plan, found.table(found.trials_path), metric))
    if as_json:
        _print_json({"study": found.name, "metric": metric, "points": [point.row() for point in rows]})
    elif as_csv:
        import csv

        flat = [{k: v for k, v in point.row().items() if k != "statuses"} for point in rows]
        writer = csv.DictWriter(sys.stdout, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)
    else:
        _points_table(f"{found.name}: {metric} over {plan.size()}", rows)


@app.command()
def best(
    study: StudyArgument = None,
    storage: StorageOption = STORAGE,
    export: Annotated[bool, typer.Option("--export", help="Write the best point's encoders to a folder.")] = False,
    refit: Annotated[bool, typer.Option("--refit", help="Export encoders retrained on all training subjects.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Where to export. Default: inside the study.", metavar="DIR", parser=_path)
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the best point by validation, those tied with it, and export its encoders.

    Example: mmssl-tune best --export --refit --out encoders
    """
    from mmssl.search.results import choose, points
    from mmssl.search.store import find

    if (refit or out) and not export:
        raise UserError("--refit and --out say how to export: add --export")
    found = find(storage, study)
    plan = found.plan()
    choice = choose(points(plan, found.table(found.trials_path)))
    answer: dict[str, Any] = {
        "study": found.name,
        "metric": plan.space.metric,
        "best": choice.best.row(),
        "tied": [point.row() for point in choice.tied],
        "caveats": choice.caveats,
    }
    if not as_json:
        _points_table(f"{found.name}: best by {plan.space.metric}", [choice.best])
        if choice.tied:
            more = f"; the first 5 of {len(choice.tied)}" if len(choice.tied) > 5 else ""
            _points_table(f"tied with it by a paired t-test over seeds and folds, 5 % level{more}", choice.tied[:5])
        for caveat in choice.caveats:
            _say(f"note: {caveat}")
    if export:
        recordings = _recordings_of(plan, data)
        from mmssl.export import export as write

        recipe = plan.recipe(plan.trials[0])
        with _epochs(recipe, "retraining" if refit else "exporting") as on_epoch:
            done = write(
                found,
                plan,
                recordings,
                choice.best,
                out,
                refit=refit,
                on_epoch=on_epoch,
                say=(lambda line: None) if as_json else _say,
            )
        answer["export"] = {"folder": str(done.folder), "checkpoint": done.checkpoint, "metrics": done.metrics}
        if not as_json:
            for metric, value in done.metrics.items():
                _say(f"  {metric:<32}{value:.4f}")
            _say(f"exported to {done.folder}")
            _say(f"loaded in a new process: the same features and score on {done.checked} recordings")
    if as_json:
        _print_json(answer)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="An exported folder.", metavar="EXPORT", parser=_path)],
    dataset: DatasetOption,
    data: DataOption = None,
    skip_bad: SkipOption = False,
    subjects: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    features: Annotated[
        Path | None, typer.Option(help="Also write the features, as safetensors.", metavar="FILE", parser=_path)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score exported encoders and their head on recordings.

    Example: mmssl-tune evaluate encoders --dataset my_recordings.parquet --subjects 7
    """
    if features is not None and not features.parent.is_dir():
        raise UserError(f"--features {features}: there is no folder {features.parent}")
    recordings, _ = _open(dataset, data, skip_bad, quiet=True)
    if subjects:
        wanted = [subject.strip() for subject in subjects.split(",")]
        unknown = [subject for subject in wanted if subject not in recordings.subjects]
        if unknown:
            raise UserError(f"--subjects {','.join(unknown)}: not here; there are {', '.join(recordings.subjects)}")
        recordings = recordings.where(lambda row: row.subject in wanted)
    from mmssl.export import load_encoders
    from mmssl.training import scores

    model = load_encoders(folder)
    ours, theirs = model.description.classes, recordings.description.classes
    if ours != theirs:
        unknown = [name for name in theirs if name not in ours]
        absent = [name for name in ours if name not in theirs]
        differ = [f"unknown to it: {_few(unknown)}"] * bool(unknown) + [f"not here: {_few(absent)}"] * bool(absent)
        raise UserError(
            f"{dataset}: its classes are not those that the head was trained on "
            f"({'; '.join(differ) or 'the same in another order'})"
        )
    encoded = model.features(recordings)
    measured = scores(recordings.labels, model.probabilities(encoded).argmax(axis=1))
    if features is not None:
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        try:
            save_file(encoded, features)
        except (OSError, SafetensorError) as error:
            raise UserError(f"--features {features}: cannot be written ({error})") from error
    if as_json:
        _print_json({"recordings": len(recordings), **measured})
    else:
        _say(f"{len(recordings)} recordings: accuracy {measured['accuracy']:.4f}, macro F1 {measured['f1']:.4f}")


@app.command()
def spaces(
    name: Annotated[str | None, typer.Argument(help="Show one space: its points.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the spaces there are, and check each of them.

    Example: mmssl-tune spaces vicreg_diagonal
    """
    from mmssl.recipe import Recipe
    from mmssl.search import space as module

    if name is not None:
        searched = module.load(name)
        shown = searched.points(Recipe().with_knobs(searched.fixed))
        if as_json:
            _print_json({"name": searched.name, "points": shown})
        else:
            for point in shown:
                _say("  ".join(f"{knob} = {value}" for knob, value in point.items()))
        return
    rows: list[dict[str, Any]] = []
    for found in module.available():
        row: dict[str, Any] = {"name": found.name, "path": str(found.path), "points": None, "problem": ""}
        try:
            searched = module.load(str(found.path))
            row |= {
                "points": len(searched.points(Recipe().with_knobs(searched.fixed))),
                "description": searched.description,
            }
        except UserError as error:
            row["problem"] = str(error)
        rows.append(row)
    if as_json:
        _print_json(rows)
    else:
        _table(
            "spaces",
            ["name", "points", "what", "file"],
            [
                [row["name"], str(row["points"] or "-"), row["problem"] or row["description"], row["path"]]
                for row in rows
            ],
        )
    if any(row["problem"] for row in rows):
        raise typer.Exit(2)


@data_app.command("info")
def data_info(
    dataset: DatasetOption = "synthetic",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what recordings are there, and whether they are whole.

    Example: mmssl-tune data info --dataset utd_mhad --data ~/UTD-MHAD
    """
    from mmssl.data.sources import survey

    recordings, problems = _open(dataset, data, skip_bad=True, quiet=True)
    found = survey(recordings, problems)
    if as_json:
        _print_json(found.model_dump(mode="json"))
    else:
        _survey(found)


@data_app.command("download")
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

    console = _console(stderr=True)
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
    _say(f"utd_mhad is in {folder}: mmssl-tune data info --dataset utd_mhad --data {shlex.quote(str(folder))}")


def _survey(found: "Survey") -> None:
    of = f" of {found.expected}" if found.expected else ""
    _say(f"{found.name}: {found.recordings}{of} recordings, fingerprint {found.fingerprint[:16]}")
    _say(f"frames {_lengths(found.frames)}; IMU samples {_lengths(found.samples)}")
    _table(
        "recordings of each class by subject",
        ["class", *found.subjects],
        [[name, *(str(counts[i]) for counts in found.counts)] for i, name in enumerate(found.classes)],
    )
    if found.absent_subjects:
        _say(f"no recordings of subjects {', '.join(found.absent_subjects)}, whom a protocol names")
    for missing in found.missing:
        _say(f"missing: {missing.label}, subject {missing.subject}, trial {missing.trial}")
    for problem in found.problems:
        _say(f"faulty: {problem}")
    if found.whole and not found.problems:
        _say("whole")


def _lengths(lengths: "Lengths") -> str:
    return f"{lengths.shortest} to {lengths.longest}, median {lengths.median:g}"


def _run(
    study: "Study",
    plan: "Plan",
    recordings: "Recordings",
    cpus_per_trial: float,
    gpus_per_trial: float | None,
    max_concurrent: int | None,
    as_json: bool,
    *,
    retry: bool = False,
) -> None:
    """Print the plan, run it with progress, print what came out, and exit by it."""
    from mmssl.search.results import points, ranked

    if not as_json:
        _say(f"study {study.name}: {plan.size()} on {plan.dataset.name} ({plan.dataset.recordings} recordings)")
        held_out = sorted({trial.fold for trial in plan.trials})
        _say(_sides(plan.dataset.train_subjects, held_out, plan.dataset.test_subjects, folds=True))
        for note in _unseen(plan, recordings):
            _say(f"note: {note}")
    out, err = _terminal(1), _terminal(2)  # Ray's own output goes to the log meanwhile.
    with _trial_progress(err, plan, set(study.records(plan))) as watch:
        from mmssl.search.launch import Resources
        from mmssl.search.launch import run as run_plan

        resources = Resources(cpus_per_trial, gpus_per_trial, max_concurrent)
        records = run_plan(study, plan, recordings, resources, watch, retry=retry)
    statuses = [record.status for record in records.values()]
    failed, left = statuses.count("FAILED"), len(plan.trials) - len(records)
    summary = ranked(points(plan, study.table(study.trials_path)))
    if as_json:
        counts = {status: statuses.count(status) for status in sorted(set(statuses))} | (
            {"PLANNED": left} if left else {}
        )
        _print_json(
            {"study": study.name, "folder": str(study.folder), "trials": counts, "points": [p.row() for p in summary]}
        )
    else:
        _points_table(f"{study.name}: the first of {len(summary)} points by {plan.space.metric}", summary[:5], out)
        if failed:
            cause = next(record.cause for record in records.values() if record.status == "FAILED")
            _say(f"{failed} of {len(plan.trials)} trials failed, the first with: {cause}")
        if left:
            _say(f"stopped with {left} of {len(plan.trials)} trials to go: mmssl-tune resume {study.name}{_at(study)}")
        else:
            _say(f"kept in {study.folder}; next: mmssl-tune best {study.name}{_at(study)} --export")
    if left:
        raise typer.Exit(130)
    if failed:
        raise typer.Exit(1)


def _at(study: "Study") -> str:
    root = study.folder.parent
    return "" if root == STORAGE.absolute() else f" --storage {shlex.quote(str(root))}"


def _unseen(plan: "Plan", recordings: "Recordings") -> list[str]:
    """What no trial of a fold can get right."""
    from mmssl.data.protocols import split, unseen_classes

    notes: list[str] = []
    for held_out in dict.fromkeys(trial.held_out for trial in plan.trials):
        parts = split(recordings, plan.base.with_knobs({"data.validation_subjects": list(held_out)}).data)
        classes = unseen_classes(recordings, parts.validation, parts.train)
        if classes:
            notes.append(f"fold {parts.fold} validates on classes that no training recording shows: {_few(classes)}")
    return notes


def _few(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _plan(
    name: str,
    searched: Any,
    base: "Recipe",
    points: list[dict[str, Any]],
    recordings: "Recordings",
    dataset: str,
    data: Path | None,
    skipped: list[str],
) -> "Plan":
    from mmssl.data.protocols import leave_one_subject_out, sides, split
    from mmssl.data.sources import default_folder, recordings_file
    from mmssl.search.plan import Dataset, make_plan

    train, test = sides(recordings, base.data)
    folds = (
        leave_one_subject_out(recordings, base.data) if searched.folds == "leave_one_subject_out" else searched.folds
    )
    for held_out in folds:  # Before anything is written: a fold that cannot be, fails here.
        split(recordings, base.with_knobs({"data.validation_subjects": list(held_out)}).data)
    file = recordings_file(dataset)
    folder = None if file or dataset == "synthetic" else data or default_folder(dataset)
    return make_plan(
        name,
        searched,
        base,
        Dataset(
            source=str(file.absolute()) if file else dataset,
            folder=str(folder.absolute()) if folder else None,
            name=recordings.description.name,
            fingerprint=recordings.fingerprint,
            recordings=len(recordings),
            train_subjects=train,
            test_subjects=test,
            skipped=tuple(skipped),
        ),
        folds,
        points,
    )


def _open(dataset: str, data: Path | None, skip_bad: bool, *, quiet: bool) -> "tuple[Recordings, list[str]]":
    from mmssl.data.sources import open_dataset

    recordings, skipped = open_dataset(dataset, data, skip_bad=skip_bad)
    if skipped and not quiet:
        _say(f"{len(skipped)} faulty recordings left out:")
        for fault in skipped:
            _say(f"  {fault}")
    if dataset == "synthetic" and not quiet:
        _say(
            "using the synthetic data set: good for a first look, not for conclusions; "
            "real recordings: --dataset utd_mhad --data DIR, or --dataset my_recordings.parquet"
        )
    return recordings, skipped


def _recordings_of(plan: "Plan", data: Path | None) -> "Recordings":
    """The recordings a study was planned for, looked for where they were then unless told otherwise."""
    folder = data or (Path(plan.dataset.folder) if plan.dataset.folder else None)
    recordings, _ = _open(plan.dataset.source, folder, bool(plan.dataset.skipped), quiet=True)
    if recordings.fingerprint != plan.dataset.fingerprint:
        raise UserError(
            f"study {plan.name} was planned for other recordings than those in {folder or plan.dataset.source}: "
            f"fingerprint {plan.dataset.fingerprint[:12]} then, {recordings.fingerprint[:12]} now; "
            "give the old ones with --data"
        )
    return recordings


def _recipe(dataset: str, knobs: dict[str, Any]) -> "Recipe":
    from mmssl.data.sources import dataset_name
    from mmssl.recipe import Recipe, preset

    modalities = Recipe().with_knobs(knobs).data.modalities
    return preset(dataset_name(dataset), modalities).with_knobs(knobs)


def _settings(settings: list[str] | None, taken: Mapping[str, str]) -> dict[str, Any]:
    """`knob=value` words as knobs, values as in a space file; `taken` says why some knobs cannot be set."""
    from mmssl.search.space import parse_value

    knobs: dict[str, Any] = {}
    for word in settings or []:
        knob, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"--set {word}: write KNOB=VALUE, as in --set pretrain.epochs=50")
        if knob in taken:
            raise UserError(f"--set {word}: {taken[knob]}")
        knobs[knob] = parse_value(value)
    return knobs


def _free_name(storage: Path, space: str, dataset: str) -> str:
    from mmssl.data.sources import dataset_name

    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", f"{space}-{dataset_name(dataset)}").lstrip("._-")[:80] or "study"
    number = 1
    while (storage.expanduser() / f"{stem}-{number}").exists():
        number += 1
    return f"{stem}-{number}"


def _metric(name: str) -> str:
    from mmssl.errors import nearest

    valid = ["val.accuracy", "val.f1"]
    if name not in valid:
        raise UserError(f"--metric {name}: {nearest(name, valid)}")
    return name


def _sides(train: Sequence[str], validation: Sequence[str], test: Sequence[str], *, folds: bool = False) -> str:
    held_out = (
        f"held out in turn: {', '.join(validation)}" if folds else f"validation: {', '.join(validation) or 'none'}"
    )
    return f"subjects: train {', '.join(train)}; {held_out}; test, not looked at: {', '.join(test) or 'none'}"


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=not (sys.stderr if stderr else sys.stdout).isatty())


def _terminal(descriptor: int) -> "Console":
    """A console that keeps reaching the terminal when standard output and error go elsewhere."""
    from rich.console import Console

    stream = os.fdopen(os.dup(descriptor), "w")
    return Console(file=stream, highlight=False, soft_wrap=not stream.isatty())


def _say(line: str) -> None:
    _console().print(line, markup=False)


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=1, default=str))


def _table(title: str, header: list[str], rows: list[list[str]], console: "Console | None" = None) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD)
    for column in header:
        table.add_column(escape(column))
    for row in rows:
        table.add_row(*(escape(cell) for cell in row))
    (console or _console()).print(table)


def _points_table(title: str, rows: "list[Point]", console: "Console | None" = None) -> None:
    knobs = list(rows[0].values)
    last = [knob.rpartition(".")[2] for knob in knobs]
    shown = [short if last.count(short) == 1 else knob for knob, short in zip(knobs, last, strict=True)]
    _table(
        title,
        ["point", *shown, "mean", "std", "n", "failures"],
        [
            [
                point.point_id[:8],
                *(str(point.values[knob]) for knob in knobs),
                "-" if point.mean is None else f"{point.mean:.4f}",
                "-" if point.std is None else f"{point.std:.4f}",
                f"{len(point.scores)}/{point.planned}",
                " ".join(f"{count} {status}" for status, count in point.statuses.items() if status in _ENDED_BADLY)
                or "0",
            ]
            for point in rows
        ],
        console,
    )


_ENDED_BADLY = ("FAILED", "DIVERGED", "COLLAPSED", "PRUNED")


@contextmanager
def _epochs(recipe: "Recipe", what: str) -> Generator[Any]:
    """Progress over the epochs of one training run, on a terminal only."""
    from rich.progress import Progress

    console = _console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=recipe.pretrain.epochs + recipe.finetune.epochs)
        yield lambda epoch: bar.advance(task)


@contextmanager
def _trial_progress(console: "Console", plan: "Plan", ended: set[str]) -> Generator[Any]:
    """A bar on a terminal, a line per ended trial elsewhere; `ended` are the ids of those that had ended before."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from mmssl.search.plan import TERMINAL

    running: set[str] = set()
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    # Not redirected: what Ray prints meanwhile belongs in the log, not above the bar.
    hidden = not console.is_terminal
    with Progress(*columns, console=console, disable=hidden, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task("starting Ray", total=len(plan.trials), completed=len(ended))

        def watch(planned: Any, record: Any) -> None:
            if record.status not in TERMINAL:
                running.add(planned.trial_id)
                bar.update(task, description=f"{len(running)} running", completed=len(ended))
                return
            ended.add(planned.trial_id)
            running.discard(planned.trial_id)
            bar.update(task, description=f"{len(running)} running", completed=len(ended))
            if not console.is_terminal or record.status != "COMPLETE":
                knobs = " ".join(f"{knob.rpartition('.')[2]}={value}" for knob, value in planned.point.items())
                score = record.facts.get(plan.space.metric)
                said = f"{plan.space.metric} {score:.4f}" if score is not None else record.cause
                where = f"{knobs} seed={planned.seed} fold={planned.fold}"
                console.print(f"{len(ended)}/{len(plan.trials)} {where}: {record.status} {said}", markup=False)

        yield watch


def main() -> None:
    try:
        app()
    except UserError as error:
        print(f"mmssl-tune: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        # The disk, not the program: full, read-only, gone.
        print(f"mmssl-tune: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
