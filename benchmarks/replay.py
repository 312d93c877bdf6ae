"""Searches replayed on a grid that was trained whole: what each finds, and what share of the training it takes.

    python3 start.py run python benchmarks/replay.py TABLE.csv --searches 200

TABLE has a line for each pre-training: lambda, mu, seed, fold and scores (means over draws of labels). A search asks
one seed; its choice is judged by the others, over all folds, against the best point there; with `--judge OTHER.csv` by
all that is in that table. With `--warm OTHER.csv` races start from those scores, as from another study's.
"""

import argparse
import csv
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from mmssl.search.race import Race
from mmssl.search.sampler import PointSampler
from mmssl.study.plan import Dataset, EarlierScore, EarlierStudy, Plan, PlannedTrial, make_plan
from mmssl.study.record import Record
from mmssl.study.space import Space

KNOBS = ("objective.lambda", "objective.mu")
Answer = Callable[[PlannedTrial], float]
_DRAWS = 4000


class Grid(NamedTuple):
    """Accuracy by (lambda, mu), seed and fold."""

    values: Mapping[tuple[tuple[float, ...], int, str], float]

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for _, seed, _ in self.values})

    @property
    def folds(self) -> list[str]:
        return sorted({fold for _, _, fold in self.values})

    def means(self, seeds: list[int]) -> dict[tuple[float, ...], float]:
        """Of each point, over folds and these seeds."""
        gathered: dict[tuple[float, ...], list[float]] = defaultdict(list)
        for (point, seed, _), value in self.values.items():
            if seed in seeds:
                gathered[point].append(value)
        return {point: fmean(values) for point, values in gathered.items()}


def read(path: Path, column: str) -> Grid:
    with path.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return Grid(
        {((float(row["lambda"]), float(row["mu"])), int(row["seed"]), row["fold"]): float(row[column]) for row in rows}
    )


def plan_of(grid: Grid, sampler: str, budget: int | None, draw: int, warm: Grid | None = None) -> Plan:
    """A plan of all points with one seed, which stands for chance alone.

    Args:
        warm: what another study has scored.
    """
    points = sorted({point for point, _, _ in grid.values})
    lists = {knob: sorted({point[place] for point in points}) for place, knob in enumerate(KNOBS)}
    space = Space.model_validate(
        {"name": "replayed", "grid": lists, "seeds": [draw], "sampler": sampler, "budget": budget}
    )
    dataset = Dataset(
        source="replayed", folder=None, name="replayed", fingerprint="0" * 64, recordings=0,
        train_subjects=tuple(grid.folds), test_subjects=(),
    )  # fmt: skip
    bases = space.bases("synthetic")
    plan = make_plan("replayed", space, bases, dataset, [(fold,) for fold in grid.folds], space.points(bases))
    if warm is None or sampler != "race":
        return plan
    scores = [
        EarlierScore(point=dict(zip(KNOBS, point, strict=True)), place=f"{seed} {fold}", value=value)
        for (point, seed, fold), value in sorted(warm.values.items())
    ]
    return plan.model_copy(update={"earlier": (EarlierStudy(name="warm", scores=tuple(scores)),)})


def searched(plan: Plan, answer: Answer) -> tuple[dict[str, Any], int]:
    """The point that `best` would choose after a search, and how many pre-trainings that took."""
    records: dict[str, Record] = {}

    def run(trials: list[PlannedTrial]) -> None:
        for trial in trials:
            now = datetime.now(UTC)
            facts = {plan.space.scored: answer(trial)}
            records[trial.trial_id] = Record(
                trial_id=trial.trial_id, status="COMPLETE", started=now, finished=now, facts=facts
            )

    if plan.space.sampler == "race":
        race = Race(plan)
        while trials := race.next(records):
            run(trials)
    elif plan.space.sampled:
        sampler = PointSampler(plan, [], records)
        while plan.open_points:
            trials = plan.add(sampler.ask().point)
            run(trials)
            sampler.learn(trials[0].point_id, records)
    else:
        run(plan.trials)
    whole = {point: trials for point, trials in plan.candidates.items() if all(t.trial_id in records for t in trials)}
    means = {point: fmean(records[t.trial_id].facts[plan.space.scored] for t in own) for point, own in whole.items()}
    return plan.trials_of(max(means, key=means.__getitem__))[0].point, len(records)


def _answer(grid: Grid, seed: int, trial: PlannedTrial) -> float:
    return grid.values[tuple(trial.point[knob] for knob in KNOBS), seed, trial.fold]


def _judging(
    grid: Grid, judge: Grid | None, seed: int
) -> tuple[dict[tuple[float, ...], float], dict[tuple[float, ...], float], float]:
    """Means by the seed that is asked, by those that judge, and what the whole grid's choice by the first is there."""
    asked = grid.means([seed])
    judged = judge.means(judge.seeds) if judge else grid.means([other for other in grid.seeds if other != seed])
    return asked, judged, judged[max(asked, key=asked.__getitem__)]


def replays(
    grid: Grid, judge: Grid | None, sampler: str, budget: int | None, searches: int, warm: Grid | None = None
) -> Iterator[tuple[float, float, float]]:
    """Of each search: the regret, the share of pre-trainings, and the difference to the grid's own choice."""
    for seed, draw in itertools.product(grid.seeds, range(searches)):
        plan = plan_of(grid, sampler, budget, draw, warm)
        point, spent = searched(plan, partial(_answer, grid, seed))
        asked, judged, whole = _judging(grid, judge, seed)
        chosen = tuple(point[knob] for knob in KNOBS)
        yield max(judged.values()) - judged[chosen], spent / len(asked) / len(grid.folds), whole - judged[chosen]


def at_random(grid: Grid, judge: Grid | None, budget: int) -> Iterator[tuple[float, float, float]]:
    """As `replays`, of the best of so many points that chance chooses: thousands of draws cost nothing."""
    draws = np.random.default_rng(0)
    for seed in grid.seeds:
        asked, judged, whole = _judging(grid, judge, seed)
        points = list(asked)
        for _ in range(_DRAWS):
            some = [points[at] for at in draws.permutation(len(points))[:budget]]
            chosen = judged[max(some, key=asked.__getitem__)]
            yield max(judged.values()) - chosen, budget / len(points), whole - chosen


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("table", type=Path)
    asked.add_argument("--judge", type=Path)
    asked.add_argument("--warm", type=Path)
    asked.add_argument("--column", default="accuracy")
    asked.add_argument("--searches", type=int, default=100, help="of each kind, for each seed that is asked")
    asked.add_argument("--budgets", default="3,4,5,6,8,10", help="points")
    asked.add_argument("--samplers", default="random,tpe,gp,race")
    given = asked.parse_args()
    grid = read(given.table, given.column)
    judge = read(given.judge, given.column) if given.judge else None
    warm = read(given.warm, given.column) if given.warm else None
    print("| search | points | share of the training | regret | at worst one in ten | below the whole grid's choice |")
    print("|---|---|---|---|---|---|")
    rows = [("grid", None), *itertools.product(given.samplers.split(","), map(int, given.budgets.split(",")))]
    for sampler, budget in rows:
        searches = 1 if sampler == "grid" else given.searches
        if sampler == "random":
            found = np.array(list(at_random(grid, judge, budget or 1)))
        else:
            found = np.array(list(replays(grid, judge, sampler, budget, searches, warm)))
        regret, share, below = found.mean(axis=0)
        tenth = np.quantile(found[:, 0], 0.9)
        figures = f"{share:.2f} | {100 * regret:.2f} | {100 * tenth:.2f} | {100 * below:.2f}"
        print(f"| {sampler} | {budget or len(grid.means(grid.seeds))} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
