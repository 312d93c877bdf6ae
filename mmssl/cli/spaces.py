"""Commands on spaces and systems."""

from typing import Annotated, Any

import typer

from mmssl.cli.options import JsonOption, spaces_there
from mmssl.cli.tables import show_table
from mmssl.cli.terminal import print_json, say
from mmssl.errors import UserError


def spaces(
    name: Annotated[str | None, typer.Argument(autocompletion=spaces_there, help="Show one space: its points.")] = None,
    as_json: JsonOption = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print what a space may hold, as a JSON Schema for editors.")
    ] = False,
) -> None:
    """List the spaces there are, and check each of them.

    Example: mmssl-tune spaces vicreg_diagonal

    Example: mmssl-tune spaces my_space.yaml --json
    """
    from mmssl.study import space as module

    if schema:
        from mmssl.study.json_schema import space_schema

        print_json(space_schema())
        return
    if name is not None:
        searched = module.load(name)
        shown = searched.points(searched.bases("synthetic"))
        variants = {one: {"recipe": searched.recipe, **knobs} for one, knobs in searched.variants.items()}
        if as_json:
            ranges = {knob: interval.model_dump() for knob, interval in searched.ranges.items()}
            sampled = {
                "sampler": searched.sampler,
                "budget": searched.budget,
                "grid": searched.searched,
                "ranges": ranges,
            }
            content = sampled if searched.sampled else {"points": shown}
            print_json({"name": searched.name, **content, **({"variants": variants} if variants else {})})
            return
        say(f"{searched.name}: {searched.description}")
        for one, knobs in variants.items():
            say(f"variant {one}: {', '.join(f'{knob} = {value}' for knob, value in knobs.items())}")
        if searched.sampler == "race":
            say(f"as much training as {searched.budget} points would take, of these by a race:")
        if searched.sampled:
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
                "points": searched.budget if searched.sampled else len(searched.points(searched.bases("synthetic"))),
                "description": searched.description,
            }
        except UserError as error:
            row["problem"] = str(error)
        rows.append(row)
    if as_json:
        print_json(rows)
    else:
        show_table(
            "",
            ["name", "points", "what (spaces NAME shows one)"],
            [[row["name"], str(row["points"]), row["description"]] for row in rows if not row["problem"]],
        )
        for row in rows:
            if row["problem"]:
                say(f"{row['name']} ({row['path']}): {row['problem']}")
    if any(row["problem"] for row in rows):
        raise typer.Exit(2)


def systems(as_json: JsonOption = False) -> None:
    """List what can be trained: methods on their modalities.

    Example: mmssl-tune systems

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
