"""The command that writes a study's page."""

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmssl.cli.options import (
    STORAGE,
    DataOption,
    FormatsOption,
    JsonOption,
    StorageOption,
    StudyArgument,
    formats_of,
    path_of,
    studies_there,
)
from mmssl.cli.terminal import print_json, say, waiting
from mmssl.errors import UserError
from mmssl.study.planning import recordings_of

if TYPE_CHECKING:
    from mmssl.data.recordings import Recordings
    from mmssl.study.plan import Plan

PAGE = "report.html"
_FORMATS = "png,svg,pdf"
_TITLE, _HEAD = b" - mmssl-tune</title>", 10_000
"""What a page of ours has in its head, and within how many bytes."""


def report(
    study: StudyArgument = None,
    storage: StorageOption = STORAGE,
    out: Annotated[
        Path | None,
        typer.Option(
            help=f"The file to write, anew where it is a study's page. Default: {PAGE} inside the study.",
            metavar="FILE",
            parser=path_of,
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            help="Also write its figures there, in place of earlier ones, and the points as LaTeX and Markdown tables.",
            metavar="DIR",
            parser=path_of,
        ),
    ] = None,
    formats: FormatsOption = _FORMATS,
    against: Annotated[
        str | None,
        typer.Option(
            help="Another study on the same recordings: adds a map of differences from it, paired by seed and fold.",
            metavar="STUDY",
            autocompletion=studies_there,
        ),
    ] = None,
    data: DataOption = None,
    open_page: Annotated[bool, typer.Option("--open", help="Show it in a browser.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML file that shows a study.

    The map of what was searched, ranking, curves, recordings. It needs no server and no network, and can be made while
    the study runs.

    Example: mmssl-tune report --figures figures

    Example: mmssl-tune report vicreg_grid-utd_mhad-2 --against vicreg_grid-utd_mhad-1 --open
    """
    from mmssl.files import is_refused
    from mmssl.study.lookup import find

    if out is not None and out.is_dir():
        raise UserError(f"--out {out}: is a folder; give a file, as {out / PAGE}")
    if figures is not None and figures.exists() and not figures.is_dir():
        raise UserError(f"--figures {figures}: is a file; give a folder")
    if out is not None:
        _refuse_others(out)
    kinds = formats_of(formats)
    if figures is None and formats != _FORMATS:
        raise UserError(f"--formats {formats}: of the pictures that --figures DIR writes: add that, or leave it out")
    if figures is not None and not figures.exists() and _are_formats(str(figures)):
        raise UserError(f"--figures {figures}: give a folder; which formats are written there says --formats {figures}")
    for option, path in (("--out", out), ("--figures", figures)):
        if path is not None and not path.absolute().parent.is_dir():
            raise UserError(f"{option} {path}: there is no folder {path.absolute().parent}")
    found = find(storage, study)
    plan = found.plan()
    other = find(storage, against) if against else None
    if open_page and out is None and "://" in found.files.place(PAGE):
        raise UserError(f"--open: {found.name} lies in a bucket; add --out FILE")
    with waiting(f"reading {found.name}"):
        recordings, missing = _recordings(plan, data)
        from mmssl.report.content import gather
        from mmssl.report.page import render, verdict

        content = gather(found, plan, recordings.description.classes if recordings else None)
        beside = None
        if other is not None:
            from mmssl.report.against import against as set_against

            beside = set_against(content, other)
        exhibit = None
        if recordings is not None and content.shown is None:
            missing = "No point has all its trials complete, so there is no checkpoint to look into."
        elif recordings is not None and content.shown is not None:
            from mmssl.report.exhibit import exhibit as look_into

            try:
                others = [one.point for one in content.ranked]
                exhibit = look_into(found, plan, content.shown.point, recordings, others)
            except UserError as error:
                missing = f"Not shown: {error}."
        html = render(content, exhibit, missing, beside).encode()
        unwritable = ""
        if out is None:
            try:
                found.put(PAGE, html)
            except OSError as error:  # Another user's study, to be read.
                if not is_refused(error):
                    raise
                unwritable, out = f"{found.place} cannot be written ({error.strerror})", Path(f"{found.name}.html")
        place = found.files.place(PAGE)
        if out is not None:
            if unwritable:
                _refuse_others(out)
            out.write_bytes(html)
            place = str(out)
        written: list[str] = []
        if figures is not None:
            from mmssl.report.paper import write

            written = [str(path) for path in write(content, exhibit, figures, kinds)]
    if open_page:
        webbrowser.open(Path(place).absolute().as_uri())
    if as_json:
        conclusion = verdict(content)
        print_json(
            {
                "study": found.name,
                "page": place,
                "bytes": len(html),
                "verdict": conclusion.headline,
                "lines": conclusion.lines,
                "caveats": content.caveats,
                "against": beside and {"study": beside.name, "notes": beside.notes, "points": beside.rows},
                "recordings": missing or None,
                "figures": written,
            }
        )
        return
    if missing:
        say(f"note: without maps and recordings. {missing}")
    if unwritable:
        say(f"note: {unwritable}; the page is written here")
    say(f"written: {place}")
    if written and figures is not None:
        say(f"written: {len(written)} files in {figures}")


def _refuse_others(out: Path) -> None:
    """Raises UserError: a file is there that is no page of a study."""
    if out.is_file():
        with out.open("rb") as file:
            if _TITLE not in file.read(_HEAD):
                raise UserError(f"--out {out}: is there already and no page of a study; give another name")


def _are_formats(words: str) -> bool:
    try:
        return bool(formats_of(words))
    except UserError:
        return False


def _recordings(plan: "Plan", data: Path | None) -> "tuple[Recordings | None, str]":
    """The study's recordings; None with the reason where they are not here. Those named by --data must be."""
    try:
        return recordings_of(plan, data), ""
    except UserError as error:
        if data is not None:
            raise
        return None, f"The recordings are not here: {error}."
