"""Commands on single encoders: train a recipe; score an export, or use it."""

import json
import os
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmssl.cli.options import (
    WHERE_KNOBS_START,
    DataOption,
    DatasetArgument,
    DatasetOption,
    ForceOption,
    JsonOption,
    SetOption,
    SkipOption,
    path_of,
    recipes,
    refuse_existing,
)
from mmssl.cli.recordings import by_what_they_have, open_recordings
from mmssl.cli.tables import measured
from mmssl.cli.terminal import as_cell, beside, epoch_progress, print_json, say, split_line, waiting
from mmssl.errors import UserError, few
from mmssl.study.planning import having, having_some, name_of, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import numpy.typing as npt
    from pyarrow import Table

    from mmssl.data.recordings import Recordings
    from mmssl.export.conversion import Precision
    from mmssl.training.model import Model

    Features = dict[str, npt.NDArray[np.float32]]


Form = Literal["onnx", "torch"]
ExportArgument = Annotated[Path, typer.Argument(help="An exported folder.", metavar="EXPORT", parser=path_of)]
GivenArgument = Annotated[
    list[str],
    typer.Argument(help="Recordings: files (.parquet), or data sets as --dataset names them.", metavar="NAME|FILE..."),
]
ModalitiesOption = Annotated[
    str | None, typer.Option(help="From these alone, as wrist or wrist,body; the recordings may lack the others.")
]


def run(
    dataset: DatasetOption = "synthetic",
    data: DataOption = None,
    skip_bad: SkipOption = False,
    system: Annotated[str, typer.Option(help="What to train; see `mmssl-tune systems`.", metavar="NAME")] = "vicreg",
    recipe: Annotated[
        str, typer.Option(autocompletion=recipes, help=f"{WHERE_KNOBS_START}.", metavar="NAME")
    ] = "default",
    settings: SetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write the trained encoders to.", metavar="DIR", parser=path_of)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train one recipe in this process, without a study.

    Without data.validation_subjects the last training subject is held out.

    Example: mmssl-tune run --dataset utd_mhad --set objective.lambda=10 --set data.validation_subjects=[7]

    Example: mmssl-tune run --system simclr_imu --set pretrain.epochs=20 --out encoders
    """
    recordings, _ = open_recordings(dataset, data, skip_bad, quiet=as_json)
    from mmssl.study.presets import defined_by, preset, recipe_named

    start = preset(name_of(dataset), system, recipe_named(recipe), recordings.kinds)
    taken = dict.fromkeys(defined_by(system), f"system {system} sets it; choose another --system instead")
    given = settings_of(settings, taken)
    start = start.with_knobs(given)
    recordings = having_some(recordings, start.data.modalities, beside(as_json))
    from mmssl.study.refusals import unread_on

    for knob, reason in unread_on(start, recordings).items():
        if knob in given and not as_json:
            say(f"note: {knob} is set, and nothing depends on it ({reason})")
    from mmssl.data.protocols import pretrain_subjects, split, train_and_test

    if not start.data.validation_subjects:
        trained, _ = train_and_test(recordings, start.data)
        start = start.with_knobs({"data.validation_subjects": [trained[-1]]})
    parts = split(recordings, start.data)
    if out is not None:
        if not out.absolute().parent.is_dir():
            raise UserError(f"--out {out}: there is no folder {out.absolute().parent}")
        try:
            out.mkdir(exist_ok=True)
            empty = not any(out.iterdir())
        except OSError as error:
            raise UserError(f"{out}: no folder to write to ({error.strerror}); choose another with --out") from error
        if not empty:
            raise UserError(f"{out}: not empty; choose another place with --out")
    from mmssl.training.trial import train

    with epoch_progress(start, "training") as on_epoch:
        outcome = train(start, recordings, on_epoch=on_epoch)
    about = {
        "train_subjects": [*parts.train_subjects, *parts.validation_subjects],
        "pretrain_subjects": pretrain_subjects(recordings, parts),
    }
    if out is not None and outcome.model is not None:
        for file, content in outcome.model.files(metrics=outcome.metrics, data=about).items():
            (out / file).write_bytes(content)
    if as_json:
        print_json(
            {"status": outcome.status, "cause": outcome.cause, "metrics": outcome.metrics, "seconds": outcome.seconds}
        )
    else:
        say(split_line(parts.train_subjects, parts.validation_subjects, parts.test_subjects))
        say(f"{outcome.status} {outcome.cause}".rstrip())
        for metric, value in outcome.metrics.items():
            say(measured(metric, value))
        if out is not None and outcome.model is not None:
            say(f"encoders in {out}")
    if outcome.status != "COMPLETE":
        raise typer.Exit(1)


def evaluate(
    folder: ExportArgument,
    dataset: DatasetArgument,
    data: DataOption = None,
    skip_bad: SkipOption = False,
    subjects: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    modalities: ModalitiesOption = None,
    features: Annotated[
        Path | None, typer.Option(help="Also write the features, as safetensors.", metavar="FILE", parser=path_of)
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score exported encoders on recordings.

    With the head for all their modalities, or for some. A note says which recordings are of people who trained them.

    Example: mmssl-tune evaluate encoders my_recordings.parquet --subjects 7 --modalities wrist

    Example: mmssl-tune evaluate encoders utd_mhad --data ~/UTD-MHAD --features features.safetensors
    """
    if features is not None and not features.parent.is_dir():
        raise UserError(f"--features {features}: there is no folder {features.parent}")
    if features is not None:
        refuse_existing(features, "--features", force=force)
    from mmssl.evaluation import scores
    from mmssl.export.encoders import load_encoders
    from mmssl.study.words import percent

    model = load_encoders(folder)
    recordings = _of_subjects(open_recordings(dataset, data, skip_bad, quiet=True, like=folder)[0], subjects)
    selected = _modalities(model, modalities)
    recordings = _labelled(model, recordings, dataset, beside(as_json))
    recordings = _complete(model, recordings, dataset, selected, skip_bad, beside(as_json))
    encoded = model.features(recordings, selected)
    found = scores(recordings.labels, model.probabilities(encoded).argmax(axis=1))
    trained = _note_who_trained(folder, model, recordings, beside(as_json))
    if features is not None:
        from safetensors import SafetensorError
        from safetensors.numpy import save_file

        try:
            save_file(encoded, features)
        except (OSError, SafetensorError) as error:
            raise UserError(f"--features {features}: cannot be written ({error})") from error
    if as_json:
        print_json({"recordings": len(recordings), "trained_on": trained, "modalities": list(encoded), **found})
    else:
        by = " + ".join(encoded)
        accuracy, f1 = percent(found["accuracy"]), percent(found["f1"])
        say(f"{len(recordings)} recordings by {by}: accuracy {accuracy} %, macro F1 {f1} %")


def predict(
    folder: ExportArgument,
    given: GivenArgument,
    data: DataOption = None,
    skip_bad: SkipOption = False,
    modalities: ModalitiesOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A .csv or .parquet file. Default: a table on a terminal, CSV into a pipe.",
            metavar="FILE",
            parser=path_of,
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Of windows: draw their classes over the time of their streams, as .png, .svg or .pdf.",
            metavar="FILE",
            parser=path_of,
        ),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Say each recording's class, with its probability.

    And the probabilities of all classes; labels are not looked at.

    Example: mmssl-tune predict encoders new.parquet

    Example: mmssl-tune predict encoders my_recordings.parquet --modalities wrist --out classes.csv
    """
    _writable(out, ".csv", ".parquet", force=force)
    _writable(picture, ".png", ".svg", ".pdf", option="--picture", force=force)
    if picture and len(given) > 1:
        raise UserError(f"--picture {picture}: draws the streams of one file, and {len(given)} are given")

    def columns(model: "Model", recordings: "Recordings", features: "Features") -> dict[str, Any]:
        probabilities, classes = model.probabilities(features), model.description.classes
        predicted = [classes[i] for i in probabilities.argmax(axis=1)]
        if picture:
            _draw(picture, recordings, predicted, probabilities.max(axis=1).tolist(), classes)
        return {
            "predicted": predicted,
            "probability": probabilities.max(axis=1),
            **{f"p.{name}": probabilities[:, i] for i, name in enumerate(classes)},
        }

    table = _table(folder, given, data, skip_bad, modalities, columns)
    if out is not None:
        _write(table, out, quiet=as_json)
    if as_json:
        print_json(table.to_pylist())
    elif out is None and sys.stdout.isatty():
        _show_predictions(table, several=len(given) > 1)
    elif out is None:
        _print_csv(table)


def _show_predictions(table: "Table", *, several: bool) -> None:
    """For who reads them on a terminal: each recording's class, and how often there is which.

    Args:
        several: whether they are of several files.
    """
    from mmssl.cli.tables import show_table
    from mmssl.study.words import percent

    shown = {"recording_id": "recording", "subject": "subject", "stream": "stream", "start": "start", "end": "end"}
    shown = {**({"source": "source"} if several else {}), **shown, "predicted": "predicted"}
    names = [name for name in shown if name in table.column_names]
    cells = [
        [f"{value:g}" if isinstance(value, float) else str(value or "") for value in table[name].to_pylist()]
        for name in names
    ]
    cells.append([percent(value) for value in table["probability"].to_pylist()])
    show_table("", [*(shown[name] for name in names), "probability, %"], list(zip(*cells, strict=True)))
    classes = sum(name.startswith("p.") for name in table.column_names)
    say(f"{len(table)} recordings: {_frequencies(table)}")
    say(f"probabilities of all {classes} classes: --out FILE.csv")


def _draw(
    picture: Path, recordings: "Recordings", predicted: list[str], probabilities: list[float], classes: "Sequence[str]"
) -> None:
    from mmssl.experiments.charts import write
    from mmssl.report.timeline import Prediction, timelines

    predictions = {
        row.recording_id: Prediction(guess, probability)
        for row, guess, probability in zip(recordings.rows, predicted, probabilities, strict=True)
    }
    spec = timelines(recordings, predictions, classes)
    if spec is None:
        raise UserError(f"--picture {picture}: these recordings are no windows of streams: import them with --window")
    try:
        write(picture, spec, f"{recordings.description.name}: predicted classes over time")
    except OSError as error:
        raise UserError(f"--picture {picture}: cannot be written ({error})") from error


def embed(
    folder: ExportArgument,
    given: GivenArgument,
    out: Annotated[Path, typer.Option(help="A .parquet file to write.", metavar="FILE", parser=path_of)],
    data: DataOption = None,
    skip_bad: SkipOption = False,
    modalities: ModalitiesOption = None,
    force: ForceOption = False,
) -> None:
    """Write the encoders' features of each recording.

    To train a classifier on: a list for each modality.

    Example: mmssl-tune embed encoders my_recordings.parquet --out features.parquet

    Example: mmssl-tune embed encoders utd_mhad --modalities imu --out features.parquet
    """
    _writable(out, ".parquet", force=force)
    import pyarrow as pa

    def columns(model: "Model", recordings: "Recordings", features: "Features") -> dict[str, Any]:
        return {
            "label": [row.label for row in recordings.rows],
            **{
                f"features.{name}": pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
                for name, values in features.items()
            },
        }

    _write(_table(folder, given, data, skip_bad, modalities, columns), out)


def convert(
    folder: ExportArgument,
    to: Annotated[Form, typer.Option(help="onnx (needs the extra `onnx`), or torch for torch.export.")],
    modalities: ModalitiesOption = None,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Inputs are one recording as it was taken, of any length; else at equal length."),
    ] = False,
    precision: Annotated[
        str, typer.Option(help="float32, float16 or int8; several, with commas, are written one beside the other.")
    ] = "float32",
    on: Annotated[
        str | None,
        typer.Option(
            help="Score the files and the encoders on recordings of the people whom these encoders left out.",
            metavar="NAME|FILE",
        ),
    ] = None,
    data: DataOption = None,
    subjects: Annotated[str | None, typer.Option(help="Of --on: these instead, separated by commas.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Default: model.onnx or model.pt2 in the folder.", metavar="FILE", parser=path_of),
    ] = None,
    force: ForceOption = False,
) -> None:
    """Write encoders with their head as ONNX or for torch.export.

    Files that other programs run; each is tried against the encoders.

    Example: mmssl-tune convert encoders --to onnx --modalities wrist

    Example: mmssl-tune convert encoders --to onnx --precision float32,int8 --on my_recordings.parquet
    """
    if not on and (data or subjects):
        raise UserError("--data and --subjects say on which recordings files are scored: add --on NAME|FILE")
    from mmssl.export import conversion, load_encoders

    model = load_encoders(folder)
    selected = _modalities(model, modalities)
    requested = [word.strip() for word in precision.split(",")]
    precisions: list[Precision] = [one for one in conversion.PRECISIONS if one in requested]
    if unknown := [word for word in requested if word not in precisions]:
        raise UserError(f"--precision {unknown[0]}: choose of {', '.join(conversion.PRECISIONS)}")
    if out and len(precisions) > 1:
        raise UserError(f"--out {out}: is one file, and --precision {precision} makes {len(precisions)}")
    recordings = _left_out(model, folder, on, data, subjects, selected) if on else None
    files = [out or folder / conversion.file_name(to, one, raw=raw) for one in precisions]
    for file, one in zip(files, precisions, strict=True):
        _writable(file, conversion.SUFFIXES[to], force=force or out is None)
        with waiting(f"writing {file}"):
            difference = conversion.convert(model, to, selected, file, raw=raw, precision=one)
        same = (
            "the same as the encoders but for" if one == "float32" else "probabilities of made-up recordings differ by"
        )
        say(f"{file}: {' + '.join(selected)}; {same} {difference:.1g}")
    if recordings:
        found = conversion.compared(model, to, selected, files, recordings, raw=raw)
        written = (out or folder / conversion.file_name(to, raw=raw)).with_suffix(conversion.SCORES)
        about = {"recordings": len(recordings), "subjects": recordings.subjects, "modalities": selected, "files": found}
        written.write_text(json.dumps(about, indent=1))
        _show_scores(found, recordings)
        say(f"written: {written}")


def _left_out(
    model: "Model", folder: Path, word: str, data: Path | None, subjects: str | None, selected: list[str]
) -> "Recordings":
    """Recordings to score converted files on: by default of whom neither these weights nor the test subjects were."""
    held_out = ",".join(model.recipe.data.validation_subjects)
    if not (subjects or held_out):
        raise UserError(f"--on {word}: these encoders were trained on all training subjects: say --subjects")
    recordings = _of_subjects(open_recordings(word, data, False, quiet=True, like=folder)[0], subjects or held_out)
    recordings = _complete(model, _labelled(model, recordings, word, beside()), word, selected, True, beside())
    _note_who_trained(folder, model, recordings, beside())
    return recordings


def _note_who_trained(folder: Path, model: "Model", recordings: "Recordings", say: "Callable[[str], None]") -> int:
    """Say how many of the recordings to score have trained the encoders; gives their number."""
    from mmssl.export.encoders import trained_on

    seen = trained_on(folder, model, recordings)
    if seen:
        names = {row.subject for row in seen}
        these = [subject for subject in recordings.subjects if subject in names]
        others = [subject for subject in recordings.subjects if subject not in names]
        way = f"; for those here: --subjects {shlex.quote(','.join(others))}" if others else ""
        say(
            f"note: {len(seen)} of {len(recordings)} recordings are of subject{'s' * (len(these) > 1)} {few(these)}, "
            f"who trained these encoders (if it is not others of the same name): this is no score of new people{way}"
        )
    return len(seen)


def _show_scores(found: "dict[str, dict[str, float]]", recordings: "Recordings") -> None:
    from mmssl.cli.tables import show_table
    from mmssl.study.results import percent

    show_table(
        f"{len(recordings)} recordings of {', '.join(recordings.subjects)}, in %",
        ["", "MB", "accuracy", "macro F1", "other class", "probability differs by"],
        [
            [
                name,
                f"{row['bytes'] / 1e6:.1f}",
                *(percent(row[one]) for one in ("accuracy", "f1", "changed")),
                f"{100 * row['difference']:.2g}",
            ]
            for name, row in found.items()
        ],
    )


def _table(
    folder: Path,
    given: list[str],
    data: Path | None,
    skip_bad: bool,
    modalities: str | None,
    columns: "Callable[[Model, Recordings, Features], dict[str, Any]]",
) -> "Table":
    """A row for each recording: what identifies it, and the columns made of its features."""
    import pyarrow as pa

    from mmssl.export.encoders import load_encoders

    model = load_encoders(folder)
    selected = _modalities(model, modalities)
    tables: list[pa.Table] = []
    for word in given:
        recordings, _ = open_recordings(word, data, skip_bad, quiet=True, like=folder)
        recordings = _complete(model, recordings, word, selected, skip_bad, beside())
        leading: dict[str, Any] = {
            "source": [word] * len(recordings),
            "recording_id": [row.recording_id for row in recordings.rows],
            "subject": [row.subject for row in recordings.rows],
        }
        if any(row.source for row in recordings.rows):
            leading |= {
                "stream": [row.source for row in recordings.rows],
                "start": [row.start for row in recordings.rows],
                "end": [row.end for row in recordings.rows],
            }
        tables.append(pa.table({**leading, **columns(model, recordings, model.features(recordings, selected))}))
    return pa.concat_tables(tables, promote_options="default")


def _labelled(model: "Model", recordings: "Recordings", word: str, say: "Callable[[str], None]") -> "Recordings":
    """Recordings with a label, whose classes are the head's.

    Raises:
        UserError: they have other classes.
    """
    if without := len(recordings) - len(recordings.labelled()):
        say(f"{without} of {len(recordings)} recordings have no label and are not scored")
        recordings = recordings.labelled()
    ours, theirs = model.description.classes, recordings.description.classes
    if ours != theirs:
        unknown = [name for name in theirs if name not in ours]
        absent = [name for name in ours if name not in theirs]
        differ = [f"unknown to it: {few(unknown)}"] * bool(unknown) + [f"not here: {few(absent)}"] * bool(absent)
        raise UserError(
            f"{word}: its classes are not those that the head was trained on "
            f"({'; '.join(differ) or 'the same in another order'})"
        )
    return recordings


def _complete(
    model: "Model",
    recordings: "Recordings",
    word: str,
    modalities: list[str],
    skip_bad: bool,
    say: "Callable[[str], None]",
) -> "Recordings":
    """Recordings that have all modalities which the head reads.

    Args:
        skip_bad: leave the others out.

    Raises:
        UserError: some lack a modality and may not be left out, or all lack it.
    """
    from mmssl.recipe import head_inputs

    others = [one for one in head_inputs(model.recipe) if set(one) <= set(modalities)]
    other = by_what_they_have(others, recordings).strip()
    if lacking := [one for one in modalities if one not in recordings.kinds]:
        hint = f"; {other} does without" if "--modalities" in other else ""
        raise UserError(f"{word}: its recordings have no {' and '.join(lacking)}{hint}")
    if skip_bad:
        return having(recordings, modalities, say)
    for one in modalities:
        if without := recordings.lacking([one]):
            ways = "" if "--skip-bad" in other else f"classify from what they have with {other}, or "
            raise UserError(
                f"{word}: {len(without)} of {len(recordings)} recordings have no {one}, the first is {without[0]}: "
                f"{ways}leave out who lacks something with --skip-bad"
            )
    return recordings


def _writable(out: Path | None, *kinds: str, option: str = "--out", force: bool) -> None:
    """Find out before the work whether its result can be written.

    Raises:
        UserError: it cannot.
    """
    if out is None:
        return
    if out.suffix not in kinds:
        raise UserError(f"{option} {out}: give a file that ends in {' or '.join(kinds)}")
    if not out.parent.is_dir():
        raise UserError(f"{option} {out}: there is no folder {out.parent}")
    refuse_existing(out, option, force=force)


def _write(table: "Table", out: Path, *, quiet: bool = False) -> None:
    from pyarrow import csv

    from mmssl.parquet import write_table

    try:
        if out.suffix == ".csv":
            csv.write_csv(_in_cells(table), out)
        else:
            with out.open("w+b") as file:
                write_table(table, file)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error})") from error
    if not quiet:
        found = f": {_frequencies(table)}" if "predicted" in table.column_names else ""
        say(f"written: {out} ({len(table)} recordings, {table.num_columns} columns){found}")


def _print_csv(table: "Table") -> None:
    from pyarrow import csv

    try:
        csv.write_csv(_in_cells(table), sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # Whoever reads has enough, as `head`; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _frequencies(table: "Table") -> str:
    """How many recordings are taken for which class, the most frequent first."""
    return few([f"{name} {count}" for name, count in Counter(table["predicted"].to_pylist()).most_common()])


def _in_cells(table: "Table") -> "Table":
    """The table with no word, in its header or below, that a spreadsheet would take for a formula."""
    import pyarrow as pa

    columns = [
        pa.array([as_cell(word) for word in column.to_pylist()]) if pa.types.is_string(column.type) else column
        for column in table.columns
    ]
    return pa.table(columns, names=[as_cell(name) for name in table.column_names])


def _of_subjects(recordings: "Recordings", subjects: str | None) -> "Recordings":
    if not subjects:
        return recordings
    wanted = [subject.strip() for subject in subjects.split(",")]
    unknown = [subject for subject in wanted if subject not in recordings.subjects]
    if unknown:
        raise UserError(f"--subjects {','.join(unknown)}: not here; there are {', '.join(recordings.subjects)}")
    return recordings.where(lambda row: row.subject in wanted)


def _modalities(model: "Model", words: str | None) -> list[str]:
    """Those that are named, or all of the model's.

    Raises:
        UserError: the model has no such modality, or no head for these together.
    """
    from mmssl.errors import nearest

    there = model.recipe.data.modalities
    named = [word.strip() for word in words.replace("+", ",").split(",")] if words else list(there)
    for word in named:
        if word not in there:
            raise UserError(f"--modalities {word}: {nearest(word, list(there))}")
    model.head(named)
    return [modality for modality in there if modality in named]
