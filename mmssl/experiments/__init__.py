"""The paper's tables and figures: for each a space to run, and a table of its results."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa

from mmssl.data.recordings import Recordings
from mmssl.errors import UserError, nearest
from mmssl.experiments import paper_tables
from mmssl.experiments.paper_tables import md, tex
from mmssl.study.folder import Study
from mmssl.study.paired import mean_ends
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.scores import Estimate
from mmssl.study.space import LABEL_DRAW
from mmssl.study.words import SYSTEM, TRANSDUCTIVE, VARIANT


class TableColumn(NamedTuple):
    """A column to show: a value, a value with its spread, or a value with its interval."""

    heading: str
    columns: tuple[str, ...]
    percent: bool = False


def plain_columns(*names: str) -> list[TableColumn]:
    """Columns shown as they are, under their own names."""
    return [TableColumn(name, (name,)) for name in names]


SCORES = (
    TableColumn("accuracy", mean_ends("accuracy"), percent=True),
    TableColumn("seeds ±", ("accuracy.std",), percent=True),
    TableColumn("F1", mean_ends("f1"), percent=True),
    TableColumn("n", ("n",)),
)
"""How the columns of `paired.summary` are shown."""


@dataclass
class Result:
    """Caption, tables, notes and figures of an experiment."""

    caption: str
    """What was measured, on which data, by which protocol."""
    tables: dict[str, pa.Table]
    """By name; the first one is shown."""
    shown: tuple[TableColumn, ...]
    """The columns of the first table to show."""
    notes: list[str] = field(default_factory=list[str])
    figures: list[str] = field(default_factory=list[str])
    """Where the files are."""

    @property
    def heads(self) -> list[str]:
        """Headings of the shown columns."""
        return [f"{column.heading} (%)" if column.percent else column.heading for column in self.shown]

    @property
    def cells(self) -> list[list[str]]:
        """The cells of the shown columns, a list for each row."""
        return [
            [_cell([row[name] for name in column.columns], column.percent) for column in self.shown]
            for row in next(iter(self.tables.values())).to_pylist()
        ]


class Experiment(NamedTuple):
    name: str
    what: str
    space: str
    """The space of its study; several experiments can share a study."""
    chooses: bool = False
    """Whether it compares points to choose among them: then test subjects may not be scored."""


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment("table2", "every system: frozen encoders and a head (the paper's Table 2)", "table2"),
        Experiment("ablation", "changes of the recipe, made alone and together, paired by seed and fold", "ablation"),
        Experiment("few_labels", "1 to 50 % of the labels, against supervised learning (Figure 5)", "few_labels"),
        Experiment(
            "hidden_classes",
            "pre-training without some classes, fine-tuning with all (Tables 3 and 4)",
            "hidden_classes",
        ),
        Experiment("retrieval", "nearest neighbours in the embedding, within and across modalities", "table2"),
        Experiment("features", "t-SNE of the features, confusion matrices (Figures 6 to 9)", "table2"),
        Experiment(
            "health", "how well measures without labels rank the points of a search", "vicreg_grid", chooses=True
        ),
        Experiment(
            "unlabelled", "which of ten measures without labels would have chosen well", "unlabelled", chooses=True
        ),
    )
}


def analyse(
    experiment: Experiment,
    study: Study,
    plan: Plan,
    recordings: Recordings,
    pictures: tuple[str, ...] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Make an experiment's tables and pictures from the complete trials.

    Args:
        pictures: the suffixes of the pictures' files.
        progress: called by `unlabelled`, which takes long, with the number of models done and their total.
    """
    # Imported here, since most callers need only the names of the experiments.
    from mmssl.experiments import comparison, embeddings, unlabelled

    functions = {
        "table2": comparison.linear_evaluation,
        "ablation": comparison.linear_evaluation,
        "few_labels": comparison.few_labels,
        "hidden_classes": comparison.hidden_classes,
        "retrieval": embeddings.retrieval,
        "features": embeddings.features,
        "health": embeddings.health,
        "unlabelled": partial(unlabelled.unlabelled, progress=progress),
    }
    result = functions[experiment.name](study, plan, recordings, pictures)
    complete = sum(record.status == "COMPLETE" for record in study.records(plan).values())
    if complete < len(plan.trials):
        result.notes.insert(0, f"{len(plan.trials) - complete} of {len(plan.trials)} trials are not complete")
    return result


def find(name: str) -> Experiment:
    if name not in EXPERIMENTS:
        raise UserError(f"no experiment {name!r}; {nearest(name, list(EXPERIMENTS))}")
    return EXPERIMENTS[name]


def save(study: Study, result: Result) -> list[str]:
    """Write the tables into the study, with the caption in the schema's metadata; returns where they are."""
    return [
        study.put_table(f"tables/{name}.parquet", table.replace_schema_metadata({"caption": result.caption}))
        for name, table in result.tables.items()
    ]


def save_for_paper(study: Study, result: Result) -> list[str]:
    """Write the shown table into the study as Markdown and LaTeX, with caption and notes; returns where they are."""
    caption = " ".join([result.caption, *(f"Note: {note}." for note in result.notes)])
    heads, cells = result.heads, result.cells
    texts = {
        "md": paper_tables.markdown(md(caption), [md(head) for head in heads], [list(map(md, row)) for row in cells]),
        "tex": paper_tables.latex(
            tex(caption), "l" * len(heads), [tex(head) for head in heads], [list(map(tex, row)) for row in cells]
        ),
    }
    return [study.put_text(f"tables/{next(iter(result.tables))}.{kind}", text) for kind, text in texts.items()]


def _cell(values: Sequence[Any], percent: bool) -> str:
    """A value, a value with its spread, or a value with its interval."""

    def one(value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        return f"{100 * value:z.1f}" if percent else f"{value:z.4g}"

    if values[0] is None:
        return "-"
    match [one(value) for value in values if value is not None]:
        case [value, spread]:
            return f"{value} ± {spread}"
        case [value, low, high]:
            return f"{value} [{low}, {high}]"
        case shown:
            return shown[0]


def protocol(plan: Plan) -> str:
    """Data set, training and scored subjects, and seeds, in words."""
    dataset, space = plan.dataset, plan.space
    seeds = sorted({trial.seed for trial in plan.trials})
    if space.scored_split == "test":
        name = next(iter(plan.bases.values())).data.protocol
        scored = (
            f"{name}: trained on {', '.join(dataset.train_subjects)}, "
            f"test subjects {', '.join(dataset.test_subjects)} scored"
        )
    else:
        folds = list(dict.fromkeys(trial.fold for trial in plan.trials))
        scored = (
            f"training subjects held out in turn ({', '.join(folds)}), the others of "
            f"{', '.join(dataset.train_subjects)} train; test subjects are not used"
        )
    admitted = f"; {TRANSDUCTIVE}" if plan.transductive else ""
    return (
        f"{dataset.name}, {scored}; {len(seeds)} seed{'s' * (len(seeds) > 1)} ({', '.join(map(str, seeds))}){admitted}"
    )


def repeats(plan: Plan, *, draws: bool = True) -> str:
    """What intervals of scores and differences are over (`scores.groups`), in a word.

    Args:
        draws: whether draws of labels are repeats; else each has a row of its own.
    """
    if len(plan.folds) > 1:
        return "folds"
    drawn = {trial.point.get(LABEL_DRAW) for trial in plan.trials} if draws else ()
    return "draws of labels" if len(drawn) > 1 else "seeds" if len(plan.space.seeds) > 1 else "recordings"


def missing(there: int, planned: int) -> str:
    """A note where a mean is over a part of the trials."""
    return f"{planned - there} of {planned} trials are not complete"


def otherwise(found: Estimate, usual: str) -> list[str]:
    """A note where an interval is not over what a caption says (`repeats`), as where one fold alone has results."""
    return [f"its interval is over {found.over}"] if found.over.partition(" ")[2] not in ("", usual) else []


def recipes_of(plan: Plan) -> str:
    """The recipes that the points start from, in words."""
    space = plan.space
    found = dict.fromkeys(space.recipe_of(variant) for variant in space.variants or [None])
    return f"recipe{'s' * (len(found) > 1)} {', '.join(found)}"


def names(plan: Plan) -> dict[str, str]:
    """The points' names by id: system, variant and the other searched knobs."""
    found: dict[str, str] = {}
    for trial in plan.trials:
        knobs = (f"{knob.rpartition('.')[2]}={value}" for knob, value in knobs_of(trial).items())
        found[trial.point_id] = " ".join([plan.base(trial), *knobs])
    return found


def knobs_of(trial: PlannedTrial) -> dict[str, Any]:
    """A trial's searched knobs, without system and variant."""
    return {knob: value for knob, value in trial.point.items() if knob not in (SYSTEM, VARIANT)}
