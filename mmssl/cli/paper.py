"""The command that makes the paper's tables and figures."""

import re
from collections import Counter
from typing import Annotated

import typer

from mmssl.cli.options import (
    SEARCHED,
    STORAGE,
    DataOption,
    DatasetOption,
    FormatsOption,
    RecipeOption,
    SetOption,
    SkipOption,
    StorageOption,
    SystemsOption,
    experiments_there,
    formats_of,
    studies_there,
)
from mmssl.cli.recordings import open_recordings
from mmssl.cli.running import RunOptions, end, runs_trials
from mmssl.cli.studies import exit_status, run_new, run_study
from mmssl.cli.tables import show_result
from mmssl.cli.terminal import beside, print_json, say, waiting
from mmssl.errors import UserError
from mmssl.study.planning import at_storage


@runs_trials
def reproduce(
    experiment: Annotated[
        str,
        typer.Argument(
            autocompletion=experiments_there,
            help="table2, ablation, few_labels, hidden_classes, retrieval, features, health or unlabelled.",
            metavar="EXPERIMENT",
        ),
    ],
    study: Annotated[
        str | None,
        typer.Argument(
            autocompletion=studies_there,
            help="An existing study to make it from, finished first if need be.",
            metavar="STUDY",
        ),
    ] = None,
    dataset: DatasetOption = "synthetic",
    data: DataOption = None,
    skip_bad: SkipOption = False,
    name: Annotated[
        str | None, typer.Option(help="Name of the new study. Default: of space and data.", metavar="NAME")
    ] = None,
    storage: StorageOption = STORAGE,
    folds: Annotated[
        str | None,
        typer.Option(
            help="leave_one_subject_out, or test: train on all training subjects and score the test subjects. "
            "Default: test where their recordings are here.",
            metavar="FOLDS",
            rich_help_panel=SEARCHED,
        ),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="As 28,29. Default: the space's.", metavar="SEEDS", rich_help_panel=SEARCHED)
    ] = None,
    settings: SetOption = None,
    systems: SystemsOption = None,
    recipe: RecipeOption = None,
    hide: Annotated[
        list[str] | None,
        typer.Option(
            help="hidden_classes: classes to hide together, separated by commas; repeatable. "
            "Default: the groups of the paper's Tables 3 and 4, in both readings.",
            metavar="CLASSES",
            rich_help_panel=SEARCHED,
        ),
    ] = None,
    formats: FormatsOption = "png",
    *,
    running: RunOptions,
) -> None:
    """Make a table or figure of the paper; run again, it goes on.

    Example: mmssl-tune reproduce table2 --dataset utd_mhad --data ~/UTD-MHAD

    Example: mmssl-tune reproduce few_labels --seeds 28,29 --formats png,svg

    Example: mmssl-tune reproduce retrieval table2-utd_mhad-1
    """
    if re.fullmatch("[0-9a-f]{6,}", experiment):
        raise UserError(
            f"reproduce {experiment}: makes tables; to run a trial again: "
            f"mmssl-tune rerun {study or 'STUDY'}:{experiment}{'' if storage == STORAGE else f' --storage {storage}'}"
        )
    from mmssl import experiments
    from mmssl.experiments import planned
    from mmssl.yaml_file import parse_value

    selected = experiments.find(experiment)
    pictures = formats_of(formats)
    running.check()
    if study is not None:
        given = [
            option
            for option, value in (
                ("--name", name), ("--folds", folds), ("--seeds", seeds), ("--set", settings), ("--system", systems),
                ("--recipe", recipe), ("--hide", hide),
                ("--dataset", dataset if dataset != "synthetic" else None), ("--skip-bad", skip_bad or None),
            )
            if value is not None
        ]  # fmt: skip
        if given:
            raise UserError(f"study {study} was planned already; leave out {', '.join(given)}, or leave out the study")
        made_from = planned.existing(selected, storage, study, data)
    else:
        recordings, skipped = open_recordings(dataset, data, skip_bad, quiet=running.as_json)
        made_from = planned.planned(
            selected, recordings, dataset, data, skipped, storage=storage, name=name, folds=folds,
            seeds=[parse_value(word.strip()) for word in seeds.split(",")] if seeds is not None else None,
            settings=settings, systems=systems, recipe=recipe,
            hide=[[word.strip() for word in group.split(",")] for group in hide] if hide else None,
            say=beside(running.as_json),
        )  # fmt: skip
    found, plan, recordings, was_there = made_from
    status = 0
    if not was_there:
        status = run_new(found, plan, recordings, running, summarise=False)
    elif len(found.records(plan)) < plan.total:
        with found.locked():
            plan = found.plan()
            status = run_study(found, plan, recordings, running, summarise=False)
    if status == 130:
        how = f"`mmssl-tune reproduce {experiment} {found.name}{at_storage(found)}`"
        say(f"stopped; {how} goes on", stderr=True)
        end(status)
    with waiting(f"computing {selected.name}") as change:

        def progress(done: int, total: int) -> None:
            change(f"computing {selected.name}: {done} of {total} models")

        result = experiments.analyse(selected, found, plan, recordings, pictures, progress)
        tables, texts = experiments.save(found, result), experiments.save_for_paper(found, result)
    if running.as_json:
        print_json(
            {
                "study": found.name,
                "caption": result.caption,
                "notes": result.notes,
                "rows": next(iter(result.tables.values())).to_pylist(),
                "tables": tables,
                "texts": texts,
                "figures": result.figures,
            }
        )
    else:
        show_result(result)
        for place in (*tables, *texts, *result.figures):
            say(f"written: {place}")
    end(exit_status(Counter(record.status for record in found.records(plan).values()), 0))
