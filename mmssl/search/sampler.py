"""Chooses a study's points with Optuna's samplers, which learn one value for all seeds and folds of a point."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState

from mmssl.errors import UserError
from mmssl.recipe import Value
from mmssl.study.folder import Record
from mmssl.study.plan import Plan, SampledPoint
from mmssl.study.space import SAMPLERS, Space
from mmssl.study.words import FOR_GOOD
from mmssl.trackers.optuna_study import distribution_of

# A sampler that has found its optimum proposes it again and again; after so many draws chance proposes.
_DRAWS = 50
_RANDOM_DRAWS = 10_000


class PointSampler:
    """Optuna's sampler of a study, held in memory and made anew from what the study keeps.

    Each choice follows from the space's first seed, the choice's number and the results until then: a study that was
    cut off goes on as it would have done.

    Args:
        plan: of a space with a sampler.
        choices: those made before, in their order.
        records: of the trials that have ended, by trial id.
    """

    def __init__(self, plan: Plan, choices: Sequence[SampledPoint], records: Mapping[str, Record]) -> None:
        self._plan, self._space = plan, plan.space
        self._metrics = [self._space.scored, *([self._space.cost] if self._space.cost else [])]
        self._distributions = _distributions(self._space)
        self._admits = self._space.admits(plan.bases)
        self._planned_points: set[str] = set()
        self._open: dict[str, int] = {}
        self._ended_since: list[str] = []
        self._values: list[list[float]] = []
        self._bad: list[int] = []
        """Points without a result, as long as there is no result at all to compare them with."""
        self._number = 0
        self._lasting = self._sampler(self._seed(0)) if SAMPLERS[self._space.sampler].lasting else None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            storage=optuna.storages.InMemoryStorage(),
            sampler=self._lasting,
            directions=["maximize", *(["minimize"] if self._space.cost else [])],
        )
        for choice in choices:
            for point_id in choice.after:
                self.learn(point_id, records)
            self._repeat(choice)
        self._ended_since = []
        for point_id in list(self._open):
            self.learn(point_id, records)

    def ask(self) -> SampledPoint:
        """A point that was not chosen before.

        Raises:
            UserError: there is none to be found.
        """
        return self._as_choice(*(self._draw() or self._draw_at_random()))

    def learn(self, point_id: str, records: Mapping[str, Record]) -> None:
        """Learn what came of a point: nothing as long as a trial of it has not ended, and nothing twice."""
        trials = self._plan.trials_of(point_id)
        ended = [records[trial.trial_id] for trial in trials if trial.trial_id in records]
        if point_id not in self._open or len(ended) < len(trials):
            return
        number = self._open.pop(point_id)
        self._ended_since.append(point_id)
        statuses = {record.status for record in ended}
        if statuses == {"COMPLETE"}:
            values = [statistics.fmean(record.facts[metric] for record in ended) for metric in self._metrics]
            self._study.tell(number, values)
            self._values.append(values)
        elif not statuses.isdisjoint(FOR_GOOD):
            self._bad.append(number)
        else:  # A failure says nothing of the point.
            self._study.tell(number, state=TrialState.FAIL)
        if self._values:
            # As bad as the worst result so far. Of Optuna's samplers TPE alone looks at pruned trials without values,
            # and with several objectives none does.
            scores, *costs = zip(*self._values, strict=True)
            for bad in self._bad:
                self._study.tell(bad, [min(scores), *map(max, costs)])
            self._bad.clear()

    def _draw(self) -> tuple[int, dict[str, Value]] | None:
        for attempt in range(_DRAWS):
            self._study.sampler = self._lasting or self._sampler(self._seed(self._number, attempt))
            trial = self._study.ask(self._distributions)
            point = self._point(trial.params)
            if self._admits(point) and self._plan.point_id(point) not in self._planned_points:
                return trial.number, point
            self._study.tell(trial, state=TrialState.FAIL)
        return None

    def _draw_at_random(self) -> tuple[int, dict[str, Value]]:
        draws = optuna.create_study(sampler=RandomSampler(self._seed(self._number, _DRAWS)))
        for _ in range(_RANDOM_DRAWS):
            params = draws.ask(self._distributions).params
            point = self._point(params)
            if self._admits(point) and self._plan.point_id(point) not in self._planned_points:
                return self._placed(params), point
        raise UserError(
            f"space {self._space.name}: none of {_RANDOM_DRAWS:,} drawn points is new and meets `where`; "
            f"{self._number} of {self._space.budget} were chosen: widen the ranges or the conditions"
        )

    def _repeat(self, choice: SampledPoint) -> None:
        params = {name: self._param(name, choice.point[name]) for name in self._distributions}
        if self._lasting:
            drawn = self._draw()
            if drawn and drawn[1] == self._even(choice.point):
                self._as_choice(*drawn)
                return
            if drawn:
                self._study.tell(drawn[0], state=TrialState.FAIL)
        self._as_choice(self._placed(params), choice.point)

    def _placed(self, params: dict[str, Any]) -> int:
        self._study.enqueue_trial(params)
        return self._study.ask(self._distributions).number

    def _as_choice(self, number: int, point: dict[str, Value]) -> SampledPoint:
        point_id = self._plan.point_id(point)
        # Older versions chose 0.30000000000000004 for 0.3, which is not to be chosen again.
        self._planned_points |= {point_id, self._plan.point_id(self._even(point))}
        self._open[point_id] = number
        choice = SampledPoint(number=self._number, point=point, after=self._ended_since)
        self._number += 1
        self._ended_since = []
        return choice

    def _seed(self, *words: int) -> int:
        return int(np.random.SeedSequence([self._space.seeds[0], *words]).generate_state(1)[0])

    def _sampler(self, seed: int) -> BaseSampler:
        sampler = SAMPLERS[self._space.sampler]
        return getattr(optuna.samplers, sampler.optuna)(seed=seed, **sampler.options)

    def _point(self, params: Mapping[str, Any]) -> dict[str, Value]:
        choices = self._space.searched
        return self._even(
            {name: choices[name][params[name]] if name in choices else params[name] for name in self._distributions}
        )

    def _even(self, point: Mapping[str, Value]) -> dict[str, Value]:
        ranges = self._space.ranges
        return {name: ranges[name].even(value) if name in ranges else value for name, value in point.items()}

    def _param(self, name: str, value: Value) -> Any:
        choices = self._space.searched
        return choices[name].index(value) if name in choices else value


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    """By name in a point's order; listed values are drawn by their index, since Optuna knows no lists."""
    return {
        **{name: CategoricalDistribution(range(len(values))) for name, values in space.searched.items()},
        **{name: distribution_of(interval) for name, interval in space.ranges.items()},
    }
