"""Commands on spaces and systems, and how the other commands make a plan of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmssl.cli.options import JsonOption, spaces_there
from mmssl.cli.recordings import name_of
from mmssl.cli.terminal import print_json, say, show_table
from mmssl.errors import UserError

if TYPE_CHECKING:
    from mmssl.data.recordings import Recordings
    from mmssl.study.plan import Plan
    from mmssl.study.space import Space


def spaces(
    name: Annotated[str | None, typer.Argument(autocompletion=spaces_there, help="Show one space: its points.")] = None,
    as_json: JsonOption = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print what a space may hold, as a JSON Schema for editors.")
    ] = False,
) -> None:
    """List the spaces there are, and check each of them.

    Example: mmssl-tune spaces vicreg_diagonal
    """
    from mmssl.study import space as module

    if schema:
        from mmssl.study.json_schema import space_schema

        print_json(space_schema())
        return
    if name is not None:
        searched = module.load(name)
        shown = searched.points(searched.bases("synthetic"))
        if as_json:
            ranges = {knob: interval.model_dump() for knob, interval in searched.ranges.items()}
            sampled = {
                "sampler": searched.sampler,
                "budget": searched.budget,
                "grid": searched.searched,
                "ranges": ranges,
            }
            print_json({"name": searched.name, **({"points": shown} if searched.sampler == "grid" else sampled)})
        elif searched.sampler != "grid":
            say(f"{searched.budget} points, chosen by {searched.sampler} from")
            for knob, values in searched.searched.items():
                say(f"  {knob} in {values}")
            for knob, interval in searched.ranges.items():
                scale = ", logarithmic" if interval.log else f", in steps of {interval.step:g}" if interval.step else ""
                say(f"  {knob} from {interval.low:g} to {interval.high:g}{scale}")
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
                "points": searched.budget or len(searched.points(searched.bases("synthetic"))),
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


def systems(as_json: JsonOption = False) -> None:
    """List what can be trained: methods on their modalities.

    Example: mmssl-tune systems --json
    """
    from mmssl.study.presets import SYSTEMS

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


def space_with(
    space: "Space", settings: list[str] | None, systems: list[str] | None, recipe: str | None = None, **changes: Any
) -> "Space":
    """The space with what the command line changes of it."""
    from mmssl.study.presets import SYSTEMS
    from mmssl.study.space import SET_BY_STUDY, changed

    names = systems or space.systems
    taken = {
        **dict.fromkeys(space.grid, "the space searches it; take it out of its grid"),
        **{knob: f"variant {name} of the space sets it" for name, one in space.variants.items() for knob in one},
        **SET_BY_STUDY,
        **{
            knob: f"system {name} sets it; choose another with --system"
            for name in names
            if name in SYSTEMS and len(names) == 1
            for knob in SYSTEMS[name].defining
        },
    }
    fixed = {**space.fixed, **settings_of(settings, taken)}
    return changed(space, fixed=fixed, systems=names, recipe=recipe or space.recipe, **changes)


def plan_study(
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
    from mmssl.study.plan import Dataset, make_plan
    from mmssl.study.presets import SYSTEMS
    from mmssl.study.refusals import refuse
    from mmssl.study.space import at_point

    bases = space.bases(name_of(dataset))
    points = space.points(bases)
    first = next(iter(bases.values()))
    for system in space.systems:
        absent = [modality for modality in SYSTEMS[system].modalities if modality not in recordings.modalities]
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
    file = recordings_file(dataset)
    folder = None if file or dataset == "synthetic" else data or default_folder(name_of(dataset))
    plan = make_plan(
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
    refuse(plan, recordings)
    return plan


def settings_of(settings: list[str] | None, taken: Mapping[str, str]) -> dict[str, Any]:
    """`knob=value` words as knobs, values as in a space file; `taken` says why some knobs cannot be set."""
    from mmssl.yaml_file import parse_value

    knobs: dict[str, Any] = {}
    for word in settings or []:
        knob, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"--set {word}: write KNOB=VALUE, as in --set pretrain.epochs=50")
        if knob in taken:
            raise UserError(f"--set {word}: {taken[knob]}")
        knobs[knob] = parse_value(value)
    return knobs
