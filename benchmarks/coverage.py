"""How often 95 % intervals of a score hold the true mean, by form.

python3 start.py run python benchmarks/coverage.py
python3 start.py run python benchmarks/coverage.py --widths    # median width of ours, by people and recordings

Made-up studies: four people held out in turn, three seeds. Whether a recording is classified right is drawn from its
person, its own difficulty, the seed, and the seed on that person, all normal on the logit scale; the true mean is over
all people there could be. Prints in per cent, for each spread of the people and number of recordings of each, the share
of intervals that hold it, the share that leave 0 to 1, and the median width.
"""

import argparse
import itertools
import math
from typing import cast

import numpy as np
import numpy.typing as npt
from numpy.polynomial.hermite_e import hermegauss
from scipy.optimize import brentq
from scipy.special import expit, logit, stdtrit

from mmssl.evaluation import interval, score_interval

PEOPLE, SEEDS = 4, 3
DIFFICULTY, SEED, SEED_ON_PERSON = 1.5, 0.1, 0.2
ACCURACIES = (0.5, 0.7, 0.9, 0.95, 0.97, 0.99)
SETTINGS = ((0.5, 108), (0.8, 108), (1.2, 108), (0.8, 24))
"""Standard deviation of the people on the logit scale, and recordings of each. UTD-MHAD's four training subjects have
108 each, and a standard deviation of 0.6 in what untrained encoders score (92.5, 95.4, 86.1, 96.3 per cent)."""

Floats = npt.NDArray[np.float64]
Ends = tuple[float, float]


def people(
    accuracy: float, spread: float, recordings: int, studies: int, draws: np.random.Generator, count: int = PEOPLE
) -> Floats:
    """Scores of each study's people, mean over the seeds: (studies, count)."""
    parts = (spread, SEED, SEED_ON_PERSON, DIFFICULTY)
    x, weights = hermegauss(60)

    def above(at: float) -> float:
        return float(weights @ expit(at + math.hypot(*parts) * x)) / weights.sum() - accuracy

    at = float(cast(float, brentq(above, -30, 30)))
    shapes = ((count, 1, 1), (1, SEEDS, 1), (count, SEEDS, 1), (count, 1, recordings))
    hard = sum(draws.normal(0, sd, (studies, *shape)) for sd, shape in zip(parts, shapes, strict=True))
    return (draws.random((studies, count, SEEDS, recordings)) < expit(at + hard)).mean(axis=(2, 3))


def of_logits(scores: Floats, recordings: int) -> Ends:
    """Student's t of each person's logit; half a recording keeps them finite."""
    low, high = interval(logit((scores * recordings + 0.5) / (recordings + 1)))
    return float(expit(low)), float(expit(high))


def bootstrap(scores: Floats, recordings: int) -> Ends:
    """Percentile bootstrap over people, by all resamples there are."""
    resamples = np.array(list(itertools.product(range(PEOPLE), repeat=PEOPLE)))
    low, high = np.quantile(scores[resamples].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def delta(scores: Floats, recordings: int) -> Ends:
    """Student's t on the logit scale by the delta method, without regard for the recordings."""
    mean = scores.mean()
    if scores.std() == 0 or mean in (0, 1):
        return float(mean), float(mean)
    half = stdtrit(PEOPLE - 1, 0.975) * scores.std(ddof=1) / math.sqrt(PEOPLE) / (mean * (1 - mean))
    return float(expit(logit(mean) - half)), float(expit(logit(mean) + half))


FORMS = {
    "Student's t": lambda scores, _: interval(scores),
    "t of logits": of_logits,
    "bootstrap over people": bootstrap,
    "t on the logit scale": delta,
    "the same, Wilson's at least": lambda scores, recordings: score_interval(scores, PEOPLE * recordings),
}


def widths(studies: int) -> None:
    """How wide the product's interval is, by number of people and recordings of each."""
    print("| people held out in turn | recordings of each | mean of 70 | mean of 90 |\n|---|---|---|---|")
    for count, recordings in itertools.product((2, 3, 4, 6, 8, 12, 20), (20, 100)):
        cells: list[str] = []
        for accuracy in (0.7, 0.9):
            draws = np.random.default_rng([count, recordings, int(100 * accuracy)])
            scores = people(accuracy, 0.6, recordings, studies, draws, count)
            low, high = np.array([score_interval(one, count * recordings) for one in scores]).T
            cells.append(f"{100 * np.median(high - low):.0f}")
        print(f"| {count} | {recordings} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=4000)
    parser.add_argument("--widths", action="store_true")
    options = parser.parse_args()
    studies: int = options.studies
    if options.widths:
        widths(studies)
        return
    print(f"| people | recordings of each | true mean | {' | '.join(FORMS)} |")
    print("|---" * (3 + len(FORMS)) + "|")
    for spread, recordings in SETTINGS:
        for accuracy in ACCURACIES:
            draws = np.random.default_rng([int(10 * spread), recordings, int(100 * accuracy)])
            scores = people(accuracy, spread, recordings, studies, draws)
            cells: list[str] = []
            for form in FORMS.values():
                low, high = np.array([form(one, recordings) for one in scores]).T
                held = np.mean((low <= accuracy) & (accuracy <= high))
                outside = np.mean((low < 0) | (high > 1))
                left = f", {100 * outside:.0f} outside" if outside else ""
                cells.append(f"{100 * held:.1f}{left} ({100 * np.median(high - low):.1f})")
            print(f"| {spread:g} | {recordings} | {100 * accuracy:.0f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
