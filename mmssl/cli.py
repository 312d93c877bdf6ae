"""`mmssl-tune`: parse, one call, print."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmssl.errors import UserError
from mmssl.terminal import (
    console_beside,
    console_on,
    epoch_progress,
    few,
    print_json,
    say,
    show_points,
    show_result,
    show_survey,
    show_table,
    sides_line,
    trial_progress,
)

if TYPE_CHECKING:
    from mmssl.data.recordings import Recordings
    from mmssl.recipe import Modality
    from mmssl.search.plan import Plan
    from mmssl.search.results import Point
    from mmssl.search.space import Space
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
    systems: SystemsOption = None,
    cpus_per_trial: CpusOption = 1.0,
    gpus_per_trial: GpusOption = None,
    max_concurrent: ConcurrentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Plan a study and run it to its end.

    Example: mmssl-tune launch --space vicreg_grid --dataset utd_mhad --data ~/UTD-MHAD
    """
    from mmssl.search import space as spaces
    from mmssl.search.store import Study, free_name

    _no_more_cpus(cpus_per_trial)
    searched = _space(spaces.load(space), settings, systems)
    recordings, skipped = _open(dataset, data, skip_bad, quiet=as_json)
    plan = _plan(
        name or free_name(storage, f"{searched.name}-{_name_of(dataset)}"), searched, recordings, dataset, data, skipped
    )
    study = Study(storage, plan.name)
    study.create(plan)
    _end(_run(study, plan, recordings, cpus_per_trial, gpus_per_trial, max_concurrent, as_json))


@app.command()
def resume(
    study: StudyArgument = None,
    data: DataOption = None,
    storage: StorageOption = STORAGE,
    cpus_per_trial: CpusOption = 1.0,
    gpus_per_trial: GpusOption = None,
    max_concurrent: ConcurrentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say where a study stands, and run what it still lacks.

    Example: mmssl-tune resume vicreg_grid-synthetic-1
    """
    _go_on(study, data, storage, cpus_per_trial, gpus_per_trial, max_concurrent, as_json, retry=False)


@app.command()
def retry(
    study: StudyArgument = None,
    data: DataOption = None,
    storage: StorageOption = STORAGE,
    cpus_per_trial: CpusOption = 1.0,
    gpus_per_trial: GpusOption = None,
    max_concurrent: ConcurrentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run a study's trials that FAILED once more, and what it still lacks; those that diverged would do so again.

    Example: mmssl-tune retry vicreg_grid-synthetic-1
    """
    _go_on(study, data, storage, cpus_per_trial, gpus_per_trial, max_concurrent, as_json, retry=True)


@app.command()
def extend(
    study: StudyArgument = None,
    seeds: Annotated[str | None, typer.Option(help="Further seeds, separated by commas.")] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--values", help="Further values of a searched knob; repeatable.", metavar="KNOB=[VALUE,...]"),
    ] = None,
    folds: Annotated[
        str | None, typer.Option(help="Further groups of training subjects to hold out, as [[1,3],[5,7]].")
    ] = None,
    data: DataOption = None,
    storage: StorageOption = STORAGE,
    cpus_per_trial: CpusOption = 1.0,
    gpus_per_trial: GpusOption = None,
    max_concurrent: ConcurrentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add seeds, values or folds to a study, and run what they add; nothing that has ended is run again.

    Example: mmssl-tune extend vicreg_grid-synthetic-1 --seeds 29,30 --values objective.mu=[75,100]
    """
    from mmssl.search.plan import extended
    from mmssl.search.space import changed, parse_value
    from mmssl.search.store import find

    if not (seeds or values or folds):
        raise UserError("say what to add, with --seeds, --values or --folds")
    found = find(storage, study)
    plan = found.plan()
    space = plan.space
    more: dict[str, Any] = {}
    if seeds:
        more["seeds"] = [*space.seeds, *(parse_value(word.strip()) for word in seeds.split(","))]
    if values:
        grid = {knob: list(present) for knob, present in space.grid.items()}
        for knob, added in _settings(values, {}).items():
            if knob not in grid:
                raise UserError(f"--values {knob}: not searched by this study; it searches {', '.join(grid)}")
            grid[knob] += added if isinstance(added, list) else [added]
        more["grid"] = grid
    groups = list(dict.fromkeys(trial.held_out for trial in plan.trials))
    if folds:
        if space.side == "test":
            raise UserError("--folds: this study holds nobody out, it scores the test subjects")
        added_folds = changed(space, folds=parse_value(folds)).folds
        if isinstance(added_folds, str):
            raise UserError(f"--folds {folds}: give groups of training subjects, as [[1,3],[5,7]]")
        more["folds"] = [list(group) for group in (*groups, *added_folds)]
        groups = [*groups, *added_folds]
    recordings = _recordings_of(plan, data)
    larger = extended(plan, changed(space, **more), groups)
    _check_folds(larger, recordings)
    found.replan(larger)
    _end(_run(found, larger, recordings, cpus_per_trial, gpus_per_trial, max_concurrent, as_json))


@app.command()
def run(
    dataset: DatasetOption = "synthetic",
    data: DataOption = None,
    skip_bad: SkipOption = False,
    system: Annotated[str, typer.Option(help="What to train; see `mmssl-tune systems`.", metavar="NAME")] = "vicreg",
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
    from mmssl.recipe import SYSTEMS, preset

    start = preset(_name_of(dataset), system)
    taken = dict.fromkeys(SYSTEMS[system].defining, f"system {system} sets it; choose another --system instead")
    recipe = start.with_knobs(_settings(settings, taken))
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

    with epoch_progress(recipe, "training") as on_epoch:
        outcome = train(recipe, recordings, on_epoch=on_epoch)
    if out is not None and outcome.model is not None:
        for file, content in outcome.model.files(metrics=outcome.metrics).items():
            (out / file).write_bytes(content)
    if as_json:
        print_json(
            {"status": outcome.status, "cause": outcome.cause, "metrics": outcome.metrics, "seconds": outcome.seconds}
        )
    else:
        say(sides_line(parts.train_subjects, parts.validation_subjects, parts.test_subjects))
        say(f"{outcome.status} {outcome.cause}".rstrip())
        for metric, value in outcome.metrics.items():
            say(f"  {metric:<32}{value:.4f}")
        if out is not None and outcome.model is not None:
            say(f"encoders in {out}")
    if outcome.status != "COMPLETE":
        raise typer.Exit(1)


@app.command()
def results(
    study: StudyArgument = None,
    storage: StorageOption = STORAGE,
    metric: Annotated[
        str | None, typer.Option(help="Such as val.f1, val.imu.accuracy, rankme. Default: the study's own.")
    ] = None,
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
    metric = _metric(metric, plan)
    rows = ranked(points(plan, found.table(found.trials_path), metric))
    if as_json:
        print_json({"study": found.name, "metric": metric, "points": [point.row() for point in rows]})
    elif as_csv:
        import csv

        flat = [{k: v for k, v in point.row().items() if k != "statuses"} for point in rows]
        writer = csv.DictWriter(sys.stdout, list(flat[0]))
        writer.writeheader()
        writer.writerows(flat)
    else:
        show_points(f"{found.name}: {metric} over {plan.size()}", rows)


@app.command()
def best(
    study: StudyArgument = None,
    storage: StorageOption = STORAGE,
    export: Annotated[bool, typer.Option("--export", help="Write the best point's encoders to a folder.")] = False,
    by: Annotated[
        str | None, typer.Option(help="Choose by rankme, without labels, or by another score than the study's own.")
    ] = None,
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
    from mmssl.search.results import LABEL_FREE, RANKME, choose, points
    from mmssl.search.store import find

    if (refit or out) and not export:
        raise UserError("--refit and --out say how to export: add --export")
    found = find(storage, study)
    plan = found.plan()
    metric = _metric(by, plan, "--by")
    if plan.space.side == "test" and metric not in LABEL_FREE:
        raise UserError(
            f"study {found.name} scored the test subjects, by which nothing may be chosen: "
            "choose in a study that holds training subjects out, or without labels (--by rankme)"
        )
    if metric in LABEL_FREE and metric != RANKME:
        raise UserError(f"--by {metric}: more of it is not better; without labels choose by {RANKME}")
    choice = choose(points(plan, found.table(found.trials_path), metric))
    if metric == RANKME and len(plan.bases) > 1:
        choice.caveats.append("RankMe compares points of one system, and these are of several")
    interval = _over_recordings(plan, found, choice.best) if metric == "val.accuracy" else None
    answer: dict[str, Any] = {
        "study": found.name,
        "metric": metric,
        "interval": interval and {"low": interval[0], "high": interval[1], "recordings": interval[2]},
        "resolution": choice.resolution,
        "best": choice.best.row(),
        "tied": [point.row() for point in choice.tied],
        "caveats": choice.caveats,
    }
    if not as_json:
        show_points(f"{found.name}: best by {metric}", [choice.best])
        if choice.tied:
            more = f"; the first 5 of {len(choice.tied)}" if len(choice.tied) > 5 else ""
            show_points(f"tied with it by a paired t-test over folds, 5 % level{more}", choice.tied[:5])
        if interval:
            low, high, count = interval
            say(f"95 % interval {low:.4f} to {high:.4f}, by bootstrap over {count} held-out recordings")
        for caveat in choice.caveats:
            say(f"note: {caveat}")
    if export:
        recordings = _recordings_of(plan, data)
        from mmssl.export import export as write

        recipe = plan.recipe(next(trial for trial in plan.trials if trial.point_id == choice.best.point_id))
        with epoch_progress(recipe, "retraining" if refit else "exporting") as on_epoch:
            done = write(
                found,
                plan,
                recordings,
                choice.best,
                metric,
                out,
                refit=refit,
                on_epoch=on_epoch,
                say=(lambda line: None) if as_json else say,
            )
        answer["export"] = {"folder": str(done.folder), "checkpoint": done.checkpoint, "metrics": done.metrics}
        if not as_json:
            for metric, value in done.metrics.items():
                say(f"  {metric:<32}{value:.4f}")
            say(f"exported to {done.folder}")
            say(f"loaded in a new process: the same features and score on {done.checked} recordings")
    if as_json:
        print_json(answer)


@app.command()
def reproduce(
    experiment: Annotated[
        str,
        typer.Argument(help="table2, few_labels, hidden_classes, retrieval, features or health.", metavar="EXPERIMENT"),
    ],
    dataset: DatasetOption = "synthetic",
    data: DataOption = None,
    skip_bad: SkipOption = False,
    study: Annotated[
        str | None, typer.Option(help="An existing study to make it from, finished first if need be.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the new study. Default: from the experiment's space and data set.")
    ] = None,
    storage: StorageOption = STORAGE,
    folds: Annotated[
        str | None,
        typer.Option(
            help="leave_one_subject_out, or test: train on all training subjects and score the test subjects. "
            "Default: test where their recordings are here.",
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Separated by commas. Default: the space's.")] = None,
    settings: SetOption = None,
    systems: SystemsOption = None,
    hide: Annotated[
        list[str] | None,
        typer.Option(
            help="hidden_classes: classes to hide together, separated by commas; repeatable. "
            "Default: every fifth class, in five groups.",
        ),
    ] = None,
    figures: Annotated[
        str, typer.Option(help="Kinds of pictures, of png, svg and pdf, separated by commas; none for no pictures.")
    ] = "png",
    cpus_per_trial: CpusOption = 1.0,
    gpus_per_trial: GpusOption = None,
    max_concurrent: ConcurrentOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a table or figure of the paper on a data set; run again, it goes on where it stopped.

    Example: mmssl-tune reproduce table2 --dataset utd_mhad --data ~/UTD-MHAD
    """
    from mmssl import experiments
    from mmssl.search import space as spaces
    from mmssl.search.store import Study, find, plain_name

    chosen = experiments.find(experiment)
    pictures = _pictures(figures)
    _no_more_cpus(cpus_per_trial)
    if hide and chosen.name != "hidden_classes":
        raise UserError(f"--hide: {chosen.name} hides no classes; hidden_classes does")
    if study is not None:
        given = [
            option
            for option, value in (
                ("--name", name), ("--folds", folds), ("--seeds", seeds), ("--set", settings), ("--system", systems),
                ("--hide", hide),
            )
            if value is not None
        ]  # fmt: skip
        if given:
            raise UserError(f"--study {study}: was planned already; leave out {', '.join(given)}, or leave out --study")
        found = find(storage, study)
        plan = found.plan()
        if chosen.chooses and plan.space.side == "test":
            raise UserError(
                f"--study {study}: scored the test subjects, by which points may not be compared; "
                "name one that holds training subjects out"
            )
        recordings = _recordings_of(plan, data)
    else:
        recordings, skipped = _open(dataset, data, skip_bad, quiet=as_json)
        changes: dict[str, Any] = {}
        if seeds is not None:
            changes["seeds"] = [spaces.parse_value(word.strip()) for word in seeds.split(",")]
        if chosen.name == "hidden_classes":
            changes["grid"] = {"pretrain.hidden_classes": [[], *_hidden(hide, recordings.description.classes)]}
        space = _space(spaces.load(chosen.space), settings, systems, **changes)
        space = spaces.changed(space, folds=_folds(folds, chosen.chooses, space, _name_of(dataset), recordings))
        name = name or plain_name(f"{chosen.space}-{_name_of(dataset)}")
        plan = _plan(name, space, recordings, dataset, data, skipped)
        found = Study(storage, plan.name)
        if found.plan_path.is_file():
            theirs = found.plan()
            if [trial.trial_id for trial in theirs.trials] != [trial.trial_id for trial in plan.trials]:
                raise UserError(
                    f"study {found.name} exists with other settings: make the experiment from it with "
                    f"--study {found.name}{_at(found)}, or give this one another --name"
                )
            plan = theirs
        else:
            found.create(plan)
    ended = found.records(plan)
    status = 0
    if len(ended) < len(plan.trials):
        status = _run(found, plan, recordings, cpus_per_trial, gpus_per_trial, max_concurrent, as_json, summarise=False)
        if status == 130:
            how = f"`mmssl-tune reproduce {experiment} --study {found.name}{_at(found)}`"
            console_on(stderr=True).print(f"stopped; {how} goes on", markup=False)
            _end(status)
    with console_on(stderr=True).status(f"computing {chosen.name}"):
        result = experiments.analyse(chosen, found, plan, recordings, pictures)
        tables = experiments.save(found, result)
    if as_json:
        print_json(
            {
                "study": found.name,
                "caption": result.caption,
                "notes": result.notes,
                "rows": next(iter(result.tables.values())).to_pylist(),
                "tables": [str(path) for path in tables],
                "figures": [str(path) for path in result.figures],
            }
        )
    else:
        show_result(result)
        for path in (*tables, *result.figures):
            say(f"written: {path}")
    _end(status or any(record.status == "FAILED" for record in found.records(plan).values()))


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="An exported folder.", metavar="EXPORT", parser=_path)],
    dataset: DatasetOption,
    data: DataOption = None,
    skip_bad: SkipOption = False,
    subjects: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    modalities: Annotated[
        str | None, typer.Option(help="From these alone, as imu; the recordings may lack the others.")
    ] = None,
    features: Annotated[
        Path | None, typer.Option(help="Also write the features, as safetensors.", metavar="FILE", parser=_path)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score exported encoders on recordings, with the head for all their modalities or for some.

    Example: mmssl-tune evaluate encoders --dataset my_recordings.parquet --subjects 7 --modalities imu
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
        differ = [f"unknown to it: {few(unknown)}"] * bool(unknown) + [f"not here: {few(absent)}"] * bool(absent)
        raise UserError(
            f"{dataset}: its classes are not those that the head was trained on "
            f"({'; '.join(differ) or 'the same in another order'})"
        )
    encoded = model.features(recordings, _modalities(modalities) if modalities else None)
    measured = scores(recordings.labels, model.probabilities(encoded).argmax(axis=1))
    if features is not None:
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        try:
            save_file(encoded, features)
        except (OSError, SafetensorError) as error:
            raise UserError(f"--features {features}: cannot be written ({error})") from error
    if as_json:
        print_json({"recordings": len(recordings), "modalities": list(encoded), **measured})
    else:
        by = " + ".join(encoded)
        say(f"{len(recordings)} recordings by {by}: accuracy {measured['accuracy']:.4f}, macro F1 {measured['f1']:.4f}")


@app.command()
def spaces(
    name: Annotated[str | None, typer.Argument(help="Show one space: its points.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the spaces there are, and check each of them.

    Example: mmssl-tune spaces vicreg_diagonal
    """
    from mmssl.search import space as module

    if name is not None:
        searched = module.load(name)
        shown = searched.points(searched.bases("synthetic"))
        if as_json:
            print_json({"name": searched.name, "points": shown})
        else:
            for point in shown:
                say("  ".join(f"{knob} = {value}" for knob, value in point.items()))
        return
    rows: list[dict[str, Any]] = []
    for found in module.available():
        row: dict[str, Any] = {"name": found.name, "path": str(found.path), "points": None, "problem": ""}
        try:
            searched = module.load(str(found.path))
            row |= {
                "points": len(searched.points(searched.bases("synthetic"))),
                "description": searched.description,
            }
        except UserError as error:
            row["problem"] = str(error)
        rows.append(row)
    if as_json:
        print_json(rows)
    else:
        show_table(
            "spaces",
            ["name", "points", "what", "file"],
            [
                [row["name"], str(row["points"] or "-"), row["problem"] or row["description"], row["path"]]
                for row in rows
            ],
        )
    if any(row["problem"] for row in rows):
        raise typer.Exit(2)


@app.command()
def systems(as_json: JsonOption = False) -> None:
    """List what can be trained: methods on their modalities.

    Example: mmssl-tune systems --json
    """
    from mmssl.recipe import SYSTEMS

    rows = [
        {"name": name, "method": system.method, "modalities": list(system.modalities)}
        for name, system in SYSTEMS.items()
    ]
    if as_json:
        print_json(rows)
    else:
        show_table(
            "systems",
            ["name", "method", "modalities"],
            [[n, s.method, " + ".join(s.modalities)] for n, s in SYSTEMS.items()],
        )


@data_app.command("info")
def data_info(
    dataset: DatasetOption = "synthetic",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what recordings are there, and whether they are whole.

    Example: mmssl-tune data info --dataset utd_mhad --data ~/UTD-MHAD
    """
    from mmssl.data.sources import survey as survey_of

    recordings, problems = _open(dataset, data, skip_bad=True, quiet=True)
    found = survey_of(recordings, problems)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        show_survey(found)


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


def _over_recordings(plan: "Plan", study: "Study", point: "Point") -> tuple[float, float, int] | None:
    """The 95 % interval of a point's accuracy over held-out recordings, and their number."""
    from mmssl.evaluation import bootstrap_interval
    from mmssl.search.results import hits

    right = hits(plan, study.table(study.predictions_path), point)
    return (*bootstrap_interval(right, seed=0), len(right)) if len(right) > 1 else None


def _go_on(
    name: str | None,
    data: Path | None,
    storage: Path,
    cpus_per_trial: float,
    gpus_per_trial: float | None,
    max_concurrent: int | None,
    as_json: bool,
    *,
    retry: bool,
) -> None:
    from mmssl.search.store import find

    found = find(storage, name)
    plan = found.plan()
    if not as_json:
        say(_standing(plan, found, retry=retry))
    recordings = _recordings_of(plan, data)
    _end(_run(found, plan, recordings, cpus_per_trial, gpus_per_trial, max_concurrent, as_json, retry=retry))


def _standing(plan: "Plan", study: "Study", *, retry: bool) -> str:
    """How many trials have ended how, and what is to be run."""
    statuses = [record.status for record in study.records(plan).values()]
    counts = [f"{statuses.count(status)} {status}" for status in dict.fromkeys(sorted(statuses))]
    missing = len(plan.trials) - len(statuses)
    counts.append(f"{missing} missing")
    failed = statuses.count("FAILED") if retry else 0
    return f"study {study.name}: {', '.join(counts)}; {missing + failed} to run"


def _check_folds(plan: "Plan", recordings: "Recordings") -> None:
    """Raises UserError: a fold cannot be."""
    from mmssl.data.protocols import split

    for trial in {(plan.system(trial), trial.held_out): trial for trial in plan.trials}.values():
        split(recordings, plan.recipe(trial).data)


def _at(study: "Study") -> str:
    root = study.folder.parent
    return "" if root == STORAGE.absolute() else f" --storage {shlex.quote(str(root))}"


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
    summarise: bool = True,
) -> int:
    """Print the plan, run it with progress, print what came out; gives the exit status that follows."""
    from mmssl.search.results import points, ranked

    if not as_json:
        say(f"study {study.name}: {plan.size()} on {plan.dataset.name} ({plan.dataset.recordings} recordings)")
        held_out = sorted({"+".join(trial.held_out) for trial in plan.trials} - {""})
        say(sides_line(plan.dataset.train_subjects, held_out, plan.dataset.test_subjects, plan.space.side, folds=True))
        for note in _unseen(plan, recordings):
            say(f"note: {note}")
    out, err = console_beside(1), console_beside(2)  # Ray's own output goes to the log meanwhile.
    with trial_progress(err, plan, set(study.records(plan))) as watch:
        from mmssl.search.launch import Resources
        from mmssl.search.launch import run as run_plan

        resources = Resources(cpus_per_trial, gpus_per_trial, max_concurrent)
        records = run_plan(study, plan, recordings, resources, watch, retry=retry)
    statuses = [record.status for record in records.values()]
    failed, left = statuses.count("FAILED"), len(plan.trials) - len(records)
    summary = ranked(points(plan, study.table(study.trials_path)))
    if not summarise:
        pass
    elif as_json:
        counts = {status: statuses.count(status) for status in sorted(set(statuses))} | (
            {"PLANNED": left} if left else {}
        )
        print_json(
            {"study": study.name, "folder": str(study.folder), "trials": counts, "points": [p.row() for p in summary]}
        )
    else:
        show_points(f"{study.name}: the first of {len(summary)} points by {plan.space.scored}", summary[:5], out)
        if failed:
            cause = next(record.cause for record in records.values() if record.status == "FAILED")
            say(f"{failed} of {len(plan.trials)} trials failed, the first with: {cause}")
        if left:
            say(f"stopped with {left} of {len(plan.trials)} trials to go: mmssl-tune resume {study.name}{_at(study)}")
        elif plan.space.side == "val":
            say(f"kept in {study.folder}; next: mmssl-tune best {study.name}{_at(study)} --export")
    return 130 if left else 1 if failed else 0


def _folds(given: str | None, chooses: bool, space: "Space", dataset: str, recordings: "Recordings") -> Any:
    """The side to score: by default the protocol's own test side where there are recordings of it, as in the paper."""
    from mmssl.data.protocols import split

    if chooses:
        if given == "test":
            raise UserError("--folds test: this experiment compares points, by which the test subjects may not be used")
        return given or space.folds
    first = next(iter(space.bases(dataset).values()))
    return given or ("test" if len(split(recordings, first.data).test) else "leave_one_subject_out")


def _hidden(groups: list[str] | None, classes: Sequence[str]) -> list[list[str]]:
    if groups:
        return [[word.strip() for word in group.split(",")] for group in groups]
    return [list(classes[i::5]) for i in range(min(5, len(classes) - 1))]


def _pictures(words: str) -> tuple[str, ...]:
    from mmssl.errors import nearest

    kinds = [word.strip() for word in words.split(",")]
    if kinds == ["none"]:
        return ()
    for kind in kinds:
        if kind not in ("png", "svg", "pdf"):
            raise UserError(f"--figures {kind}: {nearest(kind, ['png', 'svg', 'pdf', 'none'])}")
    return tuple(dict.fromkeys(kinds))


def _end(status: int) -> None:
    if status:
        raise typer.Exit(status)


def _unseen(plan: "Plan", recordings: "Recordings") -> list[str]:
    """What no trial of a fold can get right."""
    from mmssl.data.protocols import split, unseen_classes

    notes: list[str] = []
    for trial in {trial.held_out: trial for trial in plan.trials}.values():
        parts = split(recordings, plan.recipe(trial).data)
        rows, what = (parts.validation, "validates") if plan.space.side == "val" else (parts.test, "tests")
        classes = unseen_classes(recordings, rows, parts.train)
        if classes:
            notes.append(f"fold {trial.fold} {what} on classes that no training recording shows: {few(classes)}")
    return notes


def _no_more_cpus(cpus_per_trial: float) -> None:
    cpus = os.cpu_count() or 1
    if cpus_per_trial > cpus:
        raise UserError(f"--cpus-per-trial {cpus_per_trial:g}: there are {cpus} CPUs; ask for no more")


def _space(space: "Space", settings: list[str] | None, systems: list[str] | None, **changes: Any) -> "Space":
    """The space with what the command line changes of it."""
    from mmssl.recipe import SYSTEMS
    from mmssl.search.space import SET_BY_STUDY, changed

    names = systems or space.systems
    taken = {
        **dict.fromkeys(space.grid, "the space searches it; take it out of its grid"),
        **SET_BY_STUDY,
        **{
            knob: f"system {name} sets it; choose another with --system"
            for name in names
            if name in SYSTEMS and len(names) == 1
            for knob in SYSTEMS[name].defining
        },
    }
    fixed = {**space.fixed, **_settings(settings, taken)}
    return changed(space, fixed=fixed, systems=names, **changes)


def _plan(
    name: str,
    space: "Space",
    recordings: "Recordings",
    dataset: str,
    data: Path | None,
    skipped: list[str],
) -> "Plan":
    """The study of a space on recordings; whatever cannot be, fails here, before anything is written."""
    from mmssl.data.protocols import class_indices, leave_one_subject_out, sides, split
    from mmssl.data.sources import default_folder, recordings_file
    from mmssl.search.plan import Dataset, make_plan
    from mmssl.search.space import at_point

    bases = space.bases(_name_of(dataset))
    points = space.points(bases)
    first = next(iter(bases.values()))
    for system, base in bases.items():
        absent = [modality for modality in base.data.modalities if modality not in recordings.modalities]
        if absent:
            raise UserError(
                f"{dataset}: the recordings have no {absent[0]}, which system {system} takes: "
                "choose another with --system"
            )
    for point in points:
        hidden = class_indices(recordings.description, at_point(bases, point).pretrain.hidden_classes)
        if len(set(hidden)) == len(recordings.description.classes):
            raise UserError("pretrain.hidden_classes: hides every class, so pre-training would see nothing; leave one")
    train, test = sides(recordings, first.data)
    if space.folds == "leave_one_subject_out":
        folds = leave_one_subject_out(recordings, first.data)
    elif space.folds == "test":
        folds = [()]
        if not len(split(recordings, first.data).test):
            raise UserError(
                f"no recordings of the test subjects {', '.join(test) or '(there are none)'} are here to score: "
                "hold training subjects out instead, with folds leave_one_subject_out"
            )
    else:
        folds = list(space.folds)
    for base in bases.values():
        for held_out in folds:
            split(recordings, base.with_knobs({"data.validation_subjects": list(held_out)}).data)
    file = recordings_file(dataset)
    folder = None if file or dataset == "synthetic" else data or default_folder(_name_of(dataset))
    return make_plan(
        name,
        space,
        bases,
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


def _name_of(dataset: str) -> str:
    from mmssl.data.sources import dataset_name

    return dataset_name(dataset)


def _open(dataset: str, data: Path | None, skip_bad: bool, *, quiet: bool) -> "tuple[Recordings, list[str]]":
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


def _modalities(words: str) -> "list[Modality]":
    from mmssl.errors import nearest
    from mmssl.recipe import MODALITIES

    named = [word.strip() for word in words.split(",")]
    for word in named:
        if word not in MODALITIES:
            raise UserError(f"--modalities {word}: {nearest(word, list(MODALITIES))}")
    return [modality for modality in MODALITIES if modality in named]


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


def _metric(name: str | None, plan: "Plan", option: str = "--metric") -> str:
    """A column of scores that the study has, or a measure without labels."""
    from mmssl.errors import nearest
    from mmssl.search.results import LABEL_FREE
    from mmssl.search.store import SCORES

    if name is None:
        return plan.space.scored
    modalities = {one for trial in plan.trials for one in plan.recipe(trial).data.modalities}
    valid = [score for score in SCORES if score.startswith(plan.space.side)]
    if len(modalities) == 1:
        valid = [score for score in valid if score.count(".") == 1]
    if name not in (*valid, *LABEL_FREE):
        raise UserError(f"{option} {name}: {nearest(name, [*valid, *LABEL_FREE])}")
    return name


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
