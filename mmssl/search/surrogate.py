"""A Gaussian process over points and the places where they are run: what a point would score in all of them.

Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006), equations 2.23 to 2.26 and 5.8; places as
tasks of one process: Swersky, Snoek and Adams, "Multi-task Bayesian optimization" (2013).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

# Mean and deviation of the logarithms of what is fitted, in units of the scores' own deviation: wide enough that some
# tens of scores decide. A length is a share of a knob's span.
_LENGTH = (np.log(0.5), 0.7)
_PLACE = (np.log(0.3), 0.7)
_POINT = (np.log(1.0), 0.5)
# Held high: where it is taken for small, all is learnt of one fold, and one person's favourite wins.
_PLACES_OWN = (np.log(0.8), 0.4)
_NOISE = (np.log(0.3), 0.5)
_LEAST = 0.03
"""Deviation of scores, as fractions, where only a few are there, which may lie close by chance."""
_FEW = 6
"""Scores, from which on they decide."""
_STUDY = 1.0
"""Deviation of a study's level where several are looked at: the points queried of one may be its best."""
_JITTER = 1e-6


@dataclass(frozen=True)
class Score:
    """What a point has come to in one place."""

    point: int
    place: int
    value: float


@dataclass(frozen=True)
class Posterior:
    """What is believed of each point's mean over all places."""

    mean: Array
    """(points,)"""
    covariance: Array
    """(points, points), as if the scores that are under way were there too, of which it does not need the values."""
    steps: Array
    """(points, places, points): the standard deviation by which a further score of a point in a place moves each mean,
    with its sign."""
    noise: float
    """Standard deviation of a score about what its point and place come to."""


def posterior(
    positions: Array,
    groups: Sequence[int],
    scores: Sequence[Score],
    awaited: Sequence[tuple[int, int]] = (),
    studies: Sequence[int] = (),
) -> Posterior:
    """Beliefs given scores, with lengths, amplitudes and noise at their most probable values.

    A score is the sum of its place's level, of its point's own, of what this place makes of points like this one, and
    of noise. Places of a group (one fold, several seeds) make the same of a point. Scores of other studies, each in
    units of that study's own deviation, predict what their points come to as well as a place in a group of its own can.

    Args:
        positions: (points, knobs), each knob from 0 to 1.
        groups: of each place, those of other studies last.
        awaited: points and places of scores that are under way.
        studies: of each place: 0, of which beliefs are, or another that ended before; all 0 by default.
    """
    of_study = np.array(studies or [0] * len(groups))
    at = np.array([score.point for score in scores], np.int64)
    in_place = np.array([score.place for score in scores], np.int64)
    values = np.array([score.value for score in scores], np.float64)
    own = of_study[in_place] == 0
    few = int(own.sum()) < _FEW
    scale = max(float(values[own].std()) if own.any() else 0.0, _LEAST if few else 1e-9)
    for study in np.unique(of_study[in_place[~own]]):
        theirs = of_study[in_place] == study
        deviation = max(float(values[theirs].std()), 1e-9)
        values[theirs] = (values[theirs] - values[theirs].mean()) / deviation
        scale = max(scale, deviation) if few else scale
    centre = float(values[own].mean()) if own.any() else 0.0
    values[own] = (values[own] - centre) / scale
    model = _Model(positions, np.array(groups), of_study, at, in_place, values)
    logs = model.usual if len(values) < _FEW else model.fitted()
    mean = model.mean(logs)
    covariance, steps = model.uncertainty(logs, awaited)
    return Posterior(centre + scale * mean, scale**2 * covariance, scale * steps, scale * float(np.exp(logs[-1])))


@dataclass(frozen=True)
class _Model:
    positions: Array
    groups: Index
    studies: Index
    at: Index
    in_place: Index
    values: Array

    @property
    def _priors(self) -> Array:
        return np.array([_LENGTH] * self.positions.shape[1] + [_PLACE, _POINT, _PLACES_OWN, _NOISE])

    @property
    def usual(self) -> Array:
        """Logarithms: lengths of the knobs, then deviations of places, points, places' own and noise."""
        return self._priors[:, 0]

    def fitted(self) -> Array:
        """The most probable ones."""
        found = minimize(self._surprise, self.usual, args=(self._priors,), method="L-BFGS-B")
        return found.x

    def _surprise(self, logs: Array, priors: Array) -> float:
        """Negative logarithm of the likelihood (equation 5.8) times the priors."""
        factor = cho_factor(self._covariance(logs), lower=True)
        fit = self.values @ cho_solve(factor, self.values) / 2 + np.log(np.diag(factor[0])).sum()
        return float(fit + (((logs - priors[:, 0]) / priors[:, 1]) ** 2).sum() / 2)

    def _alike(self, logs: Array) -> Array:
        """(points, points): Matern's kernel with nu = 5/2."""
        scaled = self.positions / np.exp(logs[: self.positions.shape[1]])
        distance = np.sqrt(5 * ((scaled[:, None] - scaled[None]) ** 2).sum(-1))
        return (1 + distance + distance**2 / 3) * np.exp(-distance)

    def _covariance(self, logs: Array) -> Array:
        """(scores, scores), with their noise."""
        noise = np.exp(2 * logs[-1]) + _JITTER
        return self._between(logs, self.at, self.in_place, self.at, self.in_place) + noise * np.eye(len(self.at))

    def _between(self, logs: Array, at: Index, in_place: Index, other: Index, other_place: Index) -> Array:
        """Covariance of what points come to in places, without noise."""
        place, point, own, _ = np.exp(2 * logs[-4:])
        groups, studies = self.groups, self.studies
        of_study = self._study * (studies[in_place][:, None] == studies[other_place])
        return (
            place * (in_place[:, None] == other_place)
            + of_study
            + self._alike(logs)[np.ix_(at, other)] * (point + own * (groups[in_place][:, None] == groups[other_place]))
        )

    @property
    def _study(self) -> float:
        """Variance of studies' levels; of a single one it would change nothing."""
        return _STUDY**2 if self.studies.any() else 0.0

    @property
    def _places(self) -> int:
        """How many are of the study that beliefs are of: the first."""
        return int((self.studies == 0).sum())

    @property
    def _shares(self) -> Array:
        """Of those places, by group."""
        return np.bincount(self.groups[: self._places], minlength=self.groups.max() + 1) / self._places

    def _level(self, logs: Array) -> float:
        """Variance of the mean over those places of what they add to every point."""
        return float(np.exp(2 * logs[-4]) / self._places + self._study)

    def _over_places(self, logs: Array, at: Index, in_place: Index) -> Array:
        """(points, many): covariance of points' means over all places with what points come to in one."""
        _, point, own, _ = np.exp(2 * logs[-4:])
        alike = self._alike(logs)[:, at] * (point + own * self._shares[self.groups[in_place]])
        return alike + self._level(logs) * (self.studies[in_place] == 0)

    def mean(self, logs: Array) -> Array:
        """(points,): of each point over all places."""
        factor = cho_factor(self._covariance(logs), lower=True)
        return self._over_places(logs, self.at, self.in_place) @ cho_solve(factor, self.values)

    def uncertainty(self, logs: Array, awaited: Sequence[tuple[int, int]]) -> tuple[Array, Array]:
        """Covariance of points over all places, and the steps of `Posterior`."""
        at = np.concatenate([self.at, np.array([point for point, _ in awaited], np.int64)])
        in_place = np.concatenate([self.in_place, np.array([place for _, place in awaited], np.int64)])
        every_point, every_place = (
            one.ravel() for one in np.indices((len(self.positions), self._places), dtype=np.int64)
        )
        place, point, own, noise = np.exp(2 * logs[-4:])
        prior = self._alike(logs) * (point + own * (self._shares**2).sum()) + self._level(logs)
        seen = self._between(logs, at, in_place, at, in_place) + (noise + _JITTER) * np.eye(len(at))
        factor = cho_factor(seen, lower=True)
        observed = self._over_places(logs, at, in_place)
        cells = self._between(logs, every_point, every_place, at, in_place)
        cross = self._over_places(logs, every_point, every_place) - observed @ cho_solve(factor, cells.T)
        alone = place + self._study + point + own + noise - np.einsum("ij,ji->i", cells, cho_solve(factor, cells.T))
        steps = (cross / np.sqrt(alone.clip(_JITTER))).T.reshape(len(self.positions), self._places, -1)
        return prior - observed @ cho_solve(factor, observed.T), steps
