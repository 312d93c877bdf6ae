"""`mmssl-tune`: parse, one call, print."""

import sys

import typer

from mmssl.cli import answers, cluster, dashboard, doctor, encoders, paper, recordings, spaces, studies
from mmssl.errors import UserError

app = typer.Typer(
    help="Search the loss weights of multimodal self-supervised learning (skeleton + IMU), and keep the best encoders.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    studies.launch,
    studies.resume,
    studies.retry,
    studies.extend,
    cluster.status,
    cluster.logs,
    cluster.stop,
    dashboard.dashboard,
    doctor.doctor,
    answers.results,
    answers.best,
    paper.reproduce,
    encoders.run,
    encoders.evaluate,
    encoders.predict,
    encoders.embed,
    encoders.convert,
    spaces.spaces,
    spaces.systems,
):
    app.command()(command)
app.command("list")(cluster.list_studies)
data_app = typer.Typer(help="Look at recordings, or fetch them.", no_args_is_help=True)
data_app.command("info")(recordings.data_info)
data_app.command("download")(recordings.data_download)
app.add_typer(data_app, name="data")


def main() -> None:
    try:
        app()
    except UserError as error:
        print(f"mmssl-tune: {error}", file=sys.stderr)
        sys.exit(2)
    except (OSError, MemoryError) as error:
        # The machine, not the program: a disk that is full, read-only, gone; too little memory.
        print(f"mmssl-tune: {error}", file=sys.stderr)
        sys.exit(1)
