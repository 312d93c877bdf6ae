"""Commands that say what came out."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmssl.cli.options import STORAGE, DataOption, JsonOption, StorageOption, StudyArgument, path_of, studies_there
from mmssl.cli.terminal import as_cell, epoch_progress, print_json, say, show_points, show_result
from mmssl.errors import UserError
from mmssl.study.planning import recordings_of

if TYPE_CHECKING:
    pass


def results(
    study: StudyArgument = None,
    storage: StorageOption = STORAGE,
    metric: Annotated[
        str | None, typer.Option(help="Such as val.f1, val.wrist.accuracy, rankme. Default: the study's own.")
    ] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Show a study's points with mean, standard deviation and failures over seeds and folds.

    Example: mmssl-tune results --json
    """
    from mmssl.study.folder import find
    from mmssl.study.plan import TRANSDUCTIVE
    from mmssl.study.results import metric_of, points, ranked

    if as_json and as_csv:
        raise UserError("--json and --csv: choose one of them")
    found = find(storage, study)
    plan = found.plan()
    metric = metric_of(metric, plan)
    rows = ranked(points(plan, found.table("trials.parquet"), metric))
    if as_json:
        print_json(
            {
                "study": found.name,
                "metric": metric,
                "transductive": plan.transductive,
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
        if plan.transductive:
            say(TRANSDUCTIVE)


def best(
    study: StudyArgument = None,
    storage: StorageOption = STORAGE,
    export: Annotated[bool, typer.Option("--export", help="Write the best point's encoders to a folder.")] = False,
    by: Annotated[
        str | None, typer.Option(help="Choose by rankme, without labels, or by another score than the study's own.")
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(
            help="Show the points of which none is better and cheaper; encoders.parameters or encoders.flops. "
            "Default: the space's own."
        ),
    ] = None,
    refit: Annotated[bool, typer.Option("--refit", help="Export encoders retrained on all training subjects.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Where to export. Default: inside the study, or exports/STUDY where that lies in a bucket.",
            metavar="DIR",
            parser=path_of,
        ),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Name the best point by validation, those tied with it, and export its encoders.

    Example: mmssl-tune best --export --refit --out encoders
    """
    from mmssl.study.folder import find
    from mmssl.study.results import best_of

    if (refit or out) and not export:
        raise UserError("--refit and --out say how to export: add --export")
    found = find(storage, study)
    plan = found.plan()
    answered = best_of(found, plan, by, cost)
    metric, cost, choice, front = answered.metric, answered.cost, answered.choice, answered.front
    estimate = choice.best.estimate
    answer: dict[str, Any] = {
        "study": found.name,
        "metric": metric,
        "interval": estimate.interval,
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
        if estimate.over:
            say(f"95 % interval {estimate.low:.4f} to {estimate.high:.4f}, over {estimate.over}")
        if choice.threshold:
            say(choice.threshold)
        for caveat in choice.caveats:
            say(f"note: {caveat}")
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


def compare(
    points: Annotated[
        list[str],
        typer.Argument(
            autocompletion=studies_there,
            help="STUDY where it has one point, else STUDY:POINT, by the beginning of its id or its name in tables. "
            "The others are compared with the first.",
            metavar="POINT...",
        ),
    ],
    storage: StorageOption = STORAGE,
    as_json: JsonOption = False,
) -> None:
    """Set points of any studies on the same recordings beside each other, paired by seed and held-out subjects.

    Example: mmssl-tune compare changes:paper changes:pooled longer
    """
    from mmssl.experiments.compared import Entrant, compare

    if len(points) < 2:
        raise UserError(f"{points[0]}: name a second point to compare it with")
    if len(set(points)) < len(points):
        raise UserError("a point is listed twice")
    result = compare([Entrant(storage, point) for point in points])
    if as_json:
        [rows] = result.tables.values()
        print_json({"caption": result.caption, "notes": result.notes, "rows": rows.to_pylist()})
    else:
        show_result(result)
