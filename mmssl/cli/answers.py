"""Commands that say what came out."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from mmssl.cli.options import (
    STORAGE,
    DataOption,
    ForceOption,
    JsonOption,
    StorageOption,
    StudyArgument,
    costs_there,
    path_of,
    points_there,
    refuse_existing,
    scores_there,
)
from mmssl.cli.studies import show_first_failure
from mmssl.cli.tables import measured, show_conclusion, show_points, show_result
from mmssl.cli.terminal import as_cell, epoch_progress, from_here, print_json, say
from mmssl.errors import UserError
from mmssl.study.planning import recordings_of

_EXPORT = "Export"
ByOption = Annotated[
    str | None,
    typer.Option(
        "--by",
        autocompletion=scores_there,
        help="Another score, as val.f1 or val.wrist.accuracy; unlabelled and rankme need no labels.",
        metavar="SCORE",
    ),
]


def results(
    study: StudyArgument = None,
    storage: StorageOption = STORAGE,
    by: ByOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Show a study's points with mean, spread and failures.

    Over seeds and folds, beside chance and untrained encoders.

    Example: mmssl-tune results vicreg_grid-synthetic-1 --by val.f1

    Example: mmssl-tune results --json
    """
    from mmssl.study.lookup import find
    from mmssl.study.results import metric_of, points_in, ranked
    from mmssl.study.verdict import beside, beside_words
    from mmssl.study.words import TRANSDUCTIVE

    if as_json and as_csv:
        raise UserError("--json and --csv: choose one of them")
    found = find(storage, study)
    plan = found.plan()
    metric = metric_of(by, plan)
    guessing, untrained = beside(found, plan, metric)
    rows = ranked(points_in(found, plan, metric))
    if as_json:
        print_json(
            {
                "study": found.name,
                "metric": metric,
                "transductive": plan.transductive,
                "chance": guessing,
                "untrained": untrained.mean if untrained else None,
                "points": [point.row() for point in rows],
            }
        )
    elif as_csv:
        import csv

        flat = [{k: as_cell(v) if isinstance(v, str) else v for k, v in point.row().items()} for point in rows]
        for row in flat:
            row.pop("statuses")
        writer = csv.DictWriter(sys.stdout, list(flat[0]) if flat else [])
        writer.writeheader()
        writer.writerows(flat)
    else:
        show_points(f"{found.name}: {metric} over {plan.size()}", rows)
        show_first_failure(found, plan)
        if words := beside_words(guessing, untrained):
            say("; ".join(words))
        if plan.transductive:
            say(TRANSDUCTIVE)


def best(
    study: StudyArgument = None,
    storage: StorageOption = STORAGE,
    export: Annotated[
        bool,
        typer.Option("--export", help="Write its encoders to a folder.", rich_help_panel=_EXPORT),
    ] = False,
    by: ByOption = None,
    cost: Annotated[
        str | None,
        typer.Option(
            help="Points of which none is better and cheaper, by encoders.parameters or encoders.flops.",
            metavar="COST",
            autocompletion=costs_there,
        ),
    ] = None,
    refit: Annotated[
        bool,
        typer.Option("--refit", help="Retrain on all training subjects.", rich_help_panel=_EXPORT),
    ] = False,
    no_test: Annotated[
        bool,
        typer.Option("--no-test", help="Do not score the test subjects.", rich_help_panel=_EXPORT),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to. Default: inside the study, or exports/STUDY of one in a bucket.",
            metavar="DIR",
            parser=path_of,
            rich_help_panel=_EXPORT,
        ),
    ] = None,
    force: ForceOption = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the best point and those tied with it; export its encoders.

    It is chosen by validation. An export scores the test subjects, once for each checkpoint, and counts it.

    Example: mmssl-tune best --by unlabelled

    Example: mmssl-tune best --export --refit --out encoders
    """
    from mmssl.study.lookup import find
    from mmssl.study.results import best_of
    from mmssl.study.verdict import conclude

    if (refit or out or no_test or force or data) and not export:
        raise UserError("--refit, --out, --no-test, --force and --data say how to export: add --export")
    if out is not None:
        refuse_existing(out, "--out", force=force, holding="model.json")
    found = find(storage, study)
    plan = found.plan()
    answered = best_of(found, plan, by, cost)
    metric, cost, choice, front = answered.metric, answered.cost, answered.choice, answered.front
    conclusion = conclude(found, plan, answered)
    answer: dict[str, Any] = {
        "study": found.name,
        "metric": metric,
        "verdict": conclusion.words,
        "interval": choice.best.estimate.interval,
        "chance": conclusion.chance,
        "above_chance": conclusion.above_chance,
        "untrained": conclusion.untrained.mean if conclusion.untrained else None,
        "test": choice.test,
        "noise": choice.noise,
        "best": choice.best.row(),
        "tied": [point.row() for point in choice.tied],
        "pareto": [{**point.row(), cost: point.cost} for point in front] if cost else None,
        "caveats": choice.caveats,
    }
    if not as_json:
        show_points(f"{found.name}: best by {metric}", [choice.best])
        if choice.tied:
            more = f"; the first 5 of {len(choice.tied)}" if len(choice.tied) > 5 else ""
            show_points(f"tied with it ({choice.test}){more}", choice.tied[:5])
        if cost:
            show_points(f"no point is better and has fewer {cost}: {len(front)} of {answered.points}", front, cost=cost)
        show_first_failure(found, plan)
        if choice.threshold:
            say(choice.threshold)
        show_conclusion(conclusion, next_step=not export)
    if export:
        recordings = recordings_of(plan, data)
        from mmssl.export.encoders import export as write

        recipe = plan.recipe(next(trial for trial in plan.trials if trial.point_id == choice.best.point_id))
        with epoch_progress(recipe, "retraining" if refit else "exporting") as on_epoch:
            done = write(
                found,
                plan,
                recordings,
                choice,
                metric,
                out,
                refit=refit,
                test=not no_test,
                on_epoch=on_epoch,
                say=(lambda line: None) if as_json else say,
            )
        answer["export"] = {"folder": str(done.folder), "checkpoint": done.checkpoint, "metrics": done.metrics}
        if not as_json:
            for metric, value in done.metrics.items():
                say(measured(metric, value))
            say(f"exported to {from_here(done.folder)}")
            say(f"loaded in a new process: the same features and score on {done.checked} recordings")
    if as_json:
        print_json(answer)


def compare(
    points: Annotated[
        list[str],
        typer.Argument(
            autocompletion=points_there,
            help="STUDY where it has one point, else STUDY:best, or STUDY:POINT by the beginning of its id or its name "
            "in tables. The others are compared with the first.",
            metavar="POINT...",
        ),
    ],
    storage: StorageOption = STORAGE,
    as_json: JsonOption = False,
) -> None:
    """Set points of any studies beside each other, paired.

    By seed and held-out subjects; the studies are of the same recordings.

    Example: mmssl-tune compare changes:paper changes:pooled longer

    Example: mmssl-tune compare vicreg_grid-utd_mhad-1:best vicreg_grid-utd_mhad-1:85af8e --json
    """
    from mmssl.experiments.compared import Entrant, compare

    if len(points) < 2:
        raise UserError(f"{points[0]}: name a second point to compare it with")
    notes = dict[str, str]()
    entrants = [Entrant(storage, _point(storage, word, notes)) for word in points]
    if len({(one.study.name, one.point_id) for one in entrants}) < len(entrants):
        raise UserError("a point is listed twice")
    result = compare(entrants)
    result = replace(result, notes=[*notes.values(), *result.notes])
    if as_json:
        [rows] = result.tables.values()
        print_json({"caption": result.caption, "notes": result.notes, "rows": rows.to_pylist()})
    else:
        show_result(result)


def _point(storage: str, word: str, notes: dict[str, str]) -> str:
    """The word for a point, of STUDY:best with its id.

    Args:
        notes: gets a note on how the point was chosen, by its word.
    """
    from mmssl.study.lookup import find
    from mmssl.study.results import best_of
    from mmssl.study.words import point_words

    name, _, wanted = word.partition(":")
    if wanted != "best":
        return word
    study = find(storage, name)
    plan = study.plan()
    if "best" in plan.space.variants:
        return word
    try:
        best = best_of(study, plan).choice.best
    except UserError as error:
        raise UserError(f"{word}: {error}") from error
    if plan.space.draws_labels:
        raise UserError(f"{word}: the best point is the mean of several draws of labels; name the draw to be compared")
    named = f"{name}:{best.point_id[:8]}"
    notes[word] = f"{word} is {named} ({point_words(best.values)}); chosen by these scores, it is flattered by them"
    return named
