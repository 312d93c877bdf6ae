"""A race: of a grid's points only those that may still be the best are trained, and only where that decides more.

Trained next is what is expected to raise the best mean most: the knowledge gradient of Frazier, Powell and Dayanik,
"The knowledge-gradient policy for correlated normal beliefs" (2009), section 3. The beliefs know how far folds, seeds
and draws of labels scatter: see `surrogate`.
"""

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mmssl.search.surrogate import Posterior, Score, posterior
from mmssl.study.plan import Plan, PlannedTrial
from mmssl.study.record import Record
from mmssl.study.words import FOR_GOOD, LEFT

_NORMAL = np.polynomial.hermite_e.hermegauss(16)
"""Nodes and weights of a standard normal, times the square root of 2 pi."""
_DRAWS = 512

Cell = tuple[int, int]
"""Point and place: one pre-training, with the heads of all draws of labels."""


class Race:
    """Chooses the next pre-training of a study, by what has ended and what is under way.

    A study that was cut off goes on from its records as it would have done with them.

    Args:
        plan: of all the grid's points.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, space = plan, plan.space
        self._places = list(itertools.product(space.seeds, plan.folds))
        points = [space.compared(trials[0].point) for trials in plan.candidates.values()]
        self._positions = _positions(points)
        self._groups = [plan.folds.index(held_out) for _, held_out in self._places]
        self._studies = [0] * len(self._places)
        self._earlier: list[Score] = []
        for number, study in enumerate(plan.earlier, 1):
            first, theirs = len(self._studies), list(dict.fromkeys(score.place for score in study.scores))
            self._earlier += [
                Score(points.index(score.point), first + theirs.index(score.place), score.value)
                for score in study.scores
            ]
            self._groups += [len(plan.folds) + first + at for at in range(len(theirs))]
            self._studies += [number] * len(theirs)
        self._trials: dict[Cell, list[PlannedTrial]] = {}
        places = {place: number for number, place in enumerate(self._places)}
        for number, trials in enumerate(plan.candidates.values()):
            for trial in trials:
                self._trials.setdefault((number, places[trial.seed, trial.held_out]), []).append(trial)
        self._given: set[Cell] = set()
        self.over = ""
        """Why no more is trained; empty as long as more is."""

    @property
    def budget(self) -> int:
        """Pre-trainings at most: as many as `budget` whole points take."""
        return min(len(self._trials), (self._plan.space.budget or 0) * len(self._places))

    def next(self, records: Mapping[str, Record]) -> list[PlannedTrial]:
        """The trials of the next pre-training; none where the race is over, or waits for the last that are under way.

        Args:
            records: of the trials that have ended, by id.
        """
        table = _Table(self._trials, records, self._plan.space.scored)
        # A study that was cut off may have ended some draws of labels of a pre-training, and not the others.
        for cell in sorted(table.begun - self._given):
            if (rest := table.missing[cell]) and cell[0] not in table.lost:
                self._given.add(cell)
                return rest
        begun = table.begun | self._given
        left = self.budget - len(begun)
        cell = None
        if left > 0:
            self.over = ""
            cell = self._choice(table, begun, left)
        elif not self.over:
            self.over = f"{self.budget} pre-trainings, its budget"
        if cell is None:
            return []
        self._given.add(cell)
        return self._trials[cell]

    def awaits(self, records: Mapping[str, Record]) -> bool:
        """Whether a trial that it gave has not ended, which perhaps has not even begun."""
        return any(trial.trial_id not in records for cell in self._given for trial in self._trials[cell])

    def _choice(self, table: "_Table", begun: set[Cell], left: int) -> Cell | None:
        open_cells: dict[int, list[int]] = {}
        for point, place in sorted(self._trials.keys() - begun):
            if point not in table.lost:
                open_cells.setdefault(point, []).append(place)
        if not open_cells:
            self.over = f"{len(begun)} pre-trainings: every point that can be complete is"
            return None
        draws = np.random.default_rng([self._plan.space.seeds[0], len(begun)])
        able = [point for point in range(len(self._positions)) if point not in table.lost]
        scores = table.scores + self._earlier
        if not scores:
            last = self._last_chance(able, open_cells, left, lambda point: -len(open_cells.get(point, ())))
            return last or self._first(open_cells, begun, draws)
        scored = {(score.point, score.place) for score in table.scores}
        beliefs = posterior(
            self._positions,
            self._groups,
            scores,
            sorted(cell for cell in begun - scored if cell[0] not in table.lost),
            self._studies,
        )
        leader = max(able, key=lambda point: beliefs.mean[point])
        if leader in table.complete:
            worlds = _drawn(beliefs, draws)[:, able]
            gain = float((worlds.max(axis=1) - worlds[:, able.index(leader)]).mean())
            # What one point's mean over its places is uncertain by, whatever is trained.
            noise = beliefs.noise / len(self._places) ** 0.5
            if gain < noise:
                self.over = (
                    f"{len(begun)} of at most {self.budget} pre-trainings: others may be {100 * gain:.1f} percentage "
                    f"points above the best, less than the noise of its mean ({100 * noise:.1f})"
                )
                return None
        if last := self._last_chance(able, open_cells, left, lambda point: beliefs.mean[point]):
            return last
        mean, steps = beliefs.mean[able], beliefs.steps[..., able]
        worth = np.zeros(steps.shape[:2])
        for node, weight in zip(*_NORMAL, strict=True):
            worth += weight * (mean + node * steps).max(axis=-1)
        return max(((point, place) for point in open_cells for place in open_cells[point]), key=worth.__getitem__)

    def _last_chance(
        self, able: Sequence[int], open_cells: Mapping[int, Sequence[int]], left: int, worth: Callable[[int], Any]
    ) -> Cell | None:
        """Of the best point that what is left can make complete, where that takes all of it: nobody chooses another."""
        can_be = [point for point in able if len(open_cells.get(point, ())) <= left]
        best = max(can_be, key=worth, default=None)
        return (best, open_cells[best][0]) if best is not None and len(open_cells.get(best, ())) == left else None

    def _first(self, open_cells: Mapping[int, Sequence[int]], cells: set[Cell], draws: np.random.Generator) -> Cell:
        """Any point; then, as long as there is no score, the one that lies farthest from all that have begun."""
        begun = [point for point, _ in cells]
        fresh = [point for point in open_cells if point not in begun] or list(open_cells)
        near = np.linalg.norm(self._positions[fresh][:, None] - self._positions[begun][None], axis=-1)
        far = near.min(axis=1) if begun else np.zeros(len(fresh))
        point = fresh[int((far + 1e-9 * draws.random(len(fresh))).argmax())]
        return point, open_cells[point][0]


class _Table:
    """What has come of each pre-training."""

    def __init__(
        self, trials: Mapping[Cell, Sequence[PlannedTrial]], records: Mapping[str, Record], metric: str
    ) -> None:
        self.begun: set[Cell] = set()
        self.missing: dict[Cell, list[PlannedTrial]] = {}
        """Their trials that have not ended."""
        self.lost: set[int] = set()
        """Points that cannot become complete, as a trial of theirs has no result."""
        self.scores: list[Score] = []
        whole: dict[int, list[bool]] = {}
        bad: list[Cell] = []
        for (point, place), own in trials.items():
            found = {trial.trial_id: records[trial.trial_id] for trial in own if trial.trial_id in records}
            ended = [record for record in found.values() if not record.cause.startswith(LEFT)]
            self.missing[point, place] = [trial for trial in own if trial.trial_id not in found]
            complete = len(ended) == len(own) and all(record.status == "COMPLETE" for record in ended)
            whole.setdefault(point, []).append(complete)
            if ended:
                self.begun.add((point, place))
            if complete:
                score = statistics.fmean(record.facts[metric] for record in ended)
                self.scores.append(Score(point, place, score))
            elif any(record.status != "COMPLETE" for record in ended):
                self.lost.add(point)
                if any(record.status in FOR_GOOD for record in ended):
                    bad.append((point, place))
        self.complete = {point for point, parts in whole.items() if all(parts)}
        if self.scores:  # As bad as the worst score so far.
            worst = min(score.value for score in self.scores)
            self.scores += [Score(point, place, worst) for point, place in bad]


def _drawn(beliefs: Posterior, draws: np.random.Generator) -> npt.NDArray[np.float64]:
    """(draws, points): what the points may come to."""
    values, vectors = np.linalg.eigh(beliefs.covariance)
    root = vectors * np.sqrt(values.clip(0))
    return beliefs.mean + draws.standard_normal((_DRAWS, len(values))) @ root.T


def _positions(points: Sequence[Mapping[str, Any]]) -> npt.NDArray[np.float64]:
    """(points, coordinates): listed numbers at even steps in their order, as whoever lists them means them; of other
    values any two are equally far from each other."""
    columns: list[list[float]] = []
    for name in points[0]:
        column = [point[name] for point in points]
        different = [value for place, value in enumerate(column) if value not in column[:place]]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in different):
            order = sorted(different)
            columns.append([order.index(value) / max(1, len(order) - 1) for value in column])
        elif len(different) > 1:
            columns += [[float(value == one) / 2**0.5 for value in column] for one in different]
    return np.array(columns, np.float64).reshape(len(columns), len(points)).T
