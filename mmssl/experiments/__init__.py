"""The paper's tables and figures, each a space to run and a table made of what came out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from mmssl.data.recordings import Recordings
from mmssl.errors import UserError, nearest
from mmssl.search.plan import Plan
from mmssl.search.store import Study


@dataclass
class Result:
    """What an experiment gives."""

    caption: str
    """What was measured, on what, by which protocol."""
    tables: dict[str, pa.Table]
    """By name; the first is the one to show."""
    shown: dict[str, str]
    """Columns of the first table to show, and the headings to show them under."""
    notes: list[str] = field(default_factory=list[str])
    figures: list[Path] = field(default_factory=list[Path])


Analyse = Callable[[Study, Plan, Recordings, tuple[str, ...]], Result]
"""Takes the suffixes of the pictures to draw, too."""


class Experiment(NamedTuple):
    name: str
    what: str
    space: str
    """The space whose study it is made from; several experiments share a study."""
    analyse: Analyse


def _lazily(module: str, function: str) -> Analyse:
    """Imported when it is run: the names of the experiments are asked for more often than their results."""

    def analyse(*arguments: Any) -> Result:
        from importlib import import_module

        return getattr(import_module(f"mmssl.experiments.{module}"), function)(*arguments)

    return analyse


EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "table2",
            "every system, frozen encoders and a head (the paper's Table 2)",
            "table2",
            _lazily("comparison", "linear_evaluation"),
        ),
        Experiment(
            "few_labels",
            "1 to 50 % of the labels, against supervised learning (Figure 5)",
            "few_labels",
            _lazily("comparison", "few_labels"),
        ),
        Experiment(
            "hidden_classes",
            "pre-training without some classes, fine-tuning with all (Tables 3 and 4)",
            "hidden_classes",
            _lazily("comparison", "hidden_classes"),
        ),
        Experiment(
            "retrieval",
            "nearest neighbours in the embedding, within and across modalities",
            "table2",
            _lazily("embeddings", "retrieval"),
        ),
        Experiment(
            "features",
            "t-SNE of the features and confusion matrices (Figures 6 to 9)",
            "table2",
            _lazily("embeddings", "features"),
        ),
        Experiment(
            "health",
            "how well measures without labels rank the points of a search",
            "vicreg_grid",
            _lazily("embeddings", "health"),
        ),
    )
}


def find(name: str) -> Experiment:
    if name not in EXPERIMENTS:
        raise UserError(f"no experiment {name!r}; {nearest(name, list(EXPERIMENTS))}")
    return EXPERIMENTS[name]


def save(study: Study, result: Result) -> list[Path]:
    """Write the tables into the study, their caption in the schema's metadata."""
    paths: list[Path] = []
    for name, table in result.tables.items():
        path = study.tables_folder / f"{name}.parquet"
        study.put_table(path, table.replace_schema_metadata({"caption": result.caption}))
        paths.append(path)
    return paths


def protocol(plan: Plan) -> str:
    """Who trained and who was scored, in words, with data set and seeds."""
    dataset, space = plan.dataset, plan.space
    seeds = sorted({trial.seed for trial in plan.trials})
    if space.side == "test":
        data = next(iter(plan.bases.values())).data
        scored = f"{data.protocol}: trained on {_listed(dataset.train_subjects)}, test subjects {_listed(dataset.test_subjects)} scored"
    else:
        folds = list(dict.fromkeys(trial.fold for trial in plan.trials))
        scored = (
            f"training subjects held out in turn ({_listed(folds)}), the others of {_listed(dataset.train_subjects)} "
            "train; no test subject is looked at"
        )
    return f"{dataset.name}, {scored}; {len(seeds)} seed{'s' * (len(seeds) > 1)} ({_listed(map(str, seeds))})"


def _listed(words: Any) -> str:
    return ", ".join(words)
