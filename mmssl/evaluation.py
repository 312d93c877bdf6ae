"""How good predictions and embeddings are, and how far the numbers can be trusted.

Arrays in, plain numbers and arrays out. scikit-learn and scipy are imported where they are used: importing them costs
each worker more than a short trial, and a trial needs `scores` alone.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]

# Cosines closer than this are equal but for rounding: the same embeddings, multiplied in another order.
TIE = 1e-12
# Queries compared with the gallery at once: the similarities take 8 bytes x this x gallery.
BLOCK = 256
# Up to here all orders of the points can be tried (8! = 40 320), where the approximation of a p-value is at its worst.
EXACT_UP_TO = 8


def scores(labels: Labels, predicted: Labels) -> dict[str, float]:
    """Accuracy and macro F1, each between 0 and 1.

    F1 is averaged over the classes that have a recording among `labels`, so that a small split is not marked down for
    classes it does not hold. Written out because importing scikit-learn costs each worker more than a short trial;
    the tests hold it against scikit-learn.

    Raises:
        ValueError: there is no recording to score.
    """
    if len(labels) == 0:
        raise ValueError("no recording to score")
    hit = labels == predicted
    f1 = [2 * (hit & (labels == c)).sum() / ((labels == c).sum() + (predicted == c).sum()) for c in np.unique(labels)]
    return {"accuracy": float(hit.mean()), "f1": float(np.mean(f1))}


def by_majority(units: Sequence[str], labels: Labels, probabilities: Floats) -> tuple[Labels, Labels]:
    """What several windows of one recording say together: the class that most of them have.

    Args:
        units: (n,), the same word for windows that belong together, which then have the same label.
        labels: (n,).
        probabilities: (n, classes); of classes with as many windows, the one with more probability in all wins.

    Returns:
        Label and predicted class of each unit, in the units' order of appearance.
    """
    place = {unit: i for i, unit in enumerate(dict.fromkeys(units))}
    at = np.array([place[unit] for unit in units], dtype=np.int64)
    votes = np.zeros((len(place), probabilities.shape[1]))
    np.add.at(votes, (at, probabilities.argmax(axis=1)), 1.0)
    # All probabilities of a unit add up to at most its windows: together they are less than one vote.
    np.add.at(votes, at, probabilities / (len(units) + 1))
    own = np.empty(len(place), dtype=np.int64)
    own[at] = labels
    return own, votes.argmax(axis=1)


def confusion(labels: Labels, predicted: Labels, classes: int) -> npt.NDArray[np.float64]:
    """How the recordings of each true class (rows) were predicted (columns), as shares of the row.

    Args:
        labels: (n,), each from 0 to `classes` - 1, as `predicted` are.

    Returns:
        (classes, classes): rows sum to 1; those of classes without a recording are NaN.

    Raises:
        ValueError: a label is not one of the classes, or the lengths differ.
    """
    if len(labels) != len(predicted):
        raise ValueError(f"{len(labels)} labels for {len(predicted)} predictions")
    for name, column in (("label", labels), ("prediction", predicted)):
        strange = column[(column < 0) | (column >= classes)]
        if len(strange):
            raise ValueError(f"{name} {strange[0]} is none of {classes} classes")
    cells = np.asarray(labels, dtype=np.int64) * classes + np.asarray(predicted, dtype=np.int64)
    counts = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    total = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)


def whole_percent(share: float) -> str:
    """A share as a confusion matrix shows it wherever it is drawn: 5 of 8 are 63 per cent."""
    return str(math.floor(100 * share + 0.5 + 1e-9))


def retrieval(
    query: Floats,
    gallery: Floats,
    query_labels: Labels,
    gallery_labels: Labels,
    *,
    same: bool,
    left_out: Callable[[int], npt.NDArray[np.bool_]] | None = None,
    at: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """Do the nearest gallery recordings by cosine show the query's class?

    Recordings at equal similarity stand in no order: each number is its expectation over all their orders (McSherry &
    Najork, ECIR 2008). So neither the order of the recordings nor the labels can break a tie in a query's favour, and
    embeddings that are all the same score as chance does. An embedding of zero has cosine 0 with all.

    Args:
        query: (n, D).
        gallery: (m, D).
        query_labels: (n,).
        gallery_labels: (m,).
        same: query i and gallery i are the same recording (n = m), in one modality or in two; i is then left out of
            its own ranking, where it would be first, or would say nothing of the class.
        left_out: gives for query i which recordings of the gallery, (m,), its ranking is without as well.
        at: the numbers of neighbours k, 1 or more.

    Returns:
        `recall@k`: share of the queries with a recording of their class among the k nearest.
        `map`: mean average precision over the queries whose class is in the gallery at all; the others cannot be
            ranked and are not counted (nan if there are no others). In recall they count as missed.

    Raises:
        ValueError: nothing to search for or in, sizes that do not fit, an embedding that is not finite, or a k below 1.
    """
    for name, embeddings, labels in (("query", query, query_labels), ("gallery", gallery, gallery_labels)):
        if len(embeddings) != len(labels):
            raise ValueError(f"{len(labels)} {name} labels for {len(embeddings)} embeddings")
    if same and len(query) != len(gallery):
        raise ValueError(f"{len(query)} queries cannot be the same recordings as a gallery of {len(gallery)}")
    if same and len(query) == 1:
        raise ValueError("the gallery has no recording but the query itself")
    found: list[list[float]] = []
    for i, similarity in enumerate(_cosines(query, gallery)):
        kept = ~left_out(i) if left_out else np.ones(len(gallery), dtype=bool)
        if same:
            kept[i] = False
        found.append(_ranking(similarity[kept], (gallery_labels == query_labels[i])[kept], at))
    recall, precision = np.array(found)[:, :-1].mean(axis=0), np.array(found)[:, -1]
    ranked = precision[~np.isnan(precision)]
    return {
        **{f"recall@{k}": float(share) for k, share in zip(at, recall, strict=True)},
        "map": float(ranked.mean()) if len(ranked) else math.nan,
    }


def pair_retrieval(a: Floats, b: Floats, at: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Is a recording found by its other modality? For row i of a, the rows of b ranked by cosine; the hit is row i.

    Ties and zeros as in `retrieval`.

    Args:
        a: (n, D), the queries.
        b: (n, D), the same recordings in the other modality.
        at: the numbers of neighbours k, 1 or more.

    Returns:
        `recall@k`: share of the recordings found among the k nearest; `mrr`: mean reciprocal rank, which is mean
        average precision with one hit per query.

    Raises:
        ValueError: no recording, sizes that do not fit, an embedding that is not finite, or a k below 1.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} recordings in one modality and {len(b)} in the other are no pairs")
    position = np.arange(len(b))
    found = [_ranking(similarity, position == i, at) for i, similarity in enumerate(_cosines(a, b))]
    names = [*(f"recall@{k}" for k in at), "mrr"]
    return dict(zip(names, np.array(found).mean(axis=0).tolist(), strict=True))


def tsne(features: Floats, seed: int) -> npt.NDArray[np.float64]:
    """t-SNE map (van der Maaten & Hinton, JMLR 2008): which recordings are neighbours; distances mean little.

    Starts from the principal components; perplexity 30, or a third of the other recordings where there are fewer. The
    same seed gives the same map on the same machine: it uses one thread. Other seeds give other maps only where
    scikit-learn finds the components by random projection (more than 500 recordings or features).

    Args:
        features: (n, D).

    Returns:
        (n, 2), without unit.

    Raises:
        ValueError: fewer than 4 recordings or 2 dimensions, a feature that is not finite, or all recordings the same.
    """
    if features.ndim != 2 or len(features) < 4 or features.shape[1] < 2:
        raise ValueError(f"t-SNE needs at least 4 recordings of 2 dimensions, not features of shape {features.shape}")
    _check_finite(features)
    if (features == features[0]).all():
        raise ValueError("t-SNE cannot lay out recordings whose features are all the same")
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(30.0, (len(features) - 1) / 3)
    layout = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed, n_jobs=1)
    with threadpool_limits(1):  # `n_jobs` leaves the threads of the gradient alone
        points = layout.fit_transform(features.astype(np.float64))
    return np.asarray(points, dtype=np.float64)


def interval(
    values: Sequence[float] | Floats, level: float = 0.95, recordings: int | None = None
) -> tuple[float, float]:
    """Student-t confidence interval of a mean difference over independent pairs; of a score: `score_interval`.

    It is never narrower than chance among the recordings alone makes it: two pairs of few recordings often differ by
    the same, which is no certainty. A mean difference of d is of d times the recordings at least, which one scored
    right and the other wrong.

    Args:
        recordings: of differences of scores from 0 to 1, how many were scored in all pairs together.

    Returns:
        Lower and upper end; (nan, nan) for fewer than two values, or where one is not finite.

    Raises:
        ValueError: the level is not between 0 and 1.
    """
    _check_level(level)
    repeats = np.asarray(values, dtype=np.float64)
    n = len(repeats)
    if n < 2 or not np.isfinite(repeats).all():
        return math.nan, math.nan
    mean = float(repeats.mean())
    half = _student(n - 1, level) * float(repeats.std(ddof=1)) / math.sqrt(n)
    if recordings:
        half = max(half, statistics.NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(abs(mean) / recordings))
    return mean - half, mean + half


def score_interval(
    groups: Sequence[float] | Floats, recordings: int | None, level: float = 0.95
) -> tuple[float, float]:
    """Confidence interval of a mean score that stays between 0 and 1 and holds the mean.

    Student's t over independent groups of trials (held-out people; seeds where there is one group of those), on the
    logit scale by the delta method: near 1 a person harder than those seen costs more than an easier one gains. It is
    never narrower than chance among the recordings alone makes it (Wilson's interval), so that groups that happen to be
    equal are not taken for certain; of one group that is all there is. `benchmarks/coverage.py` measures how often it
    holds the true mean, beside other forms.

    Args:
        groups: the mean score of each.
        recordings: how many were scored in all groups together; None where a trial does not have it.

    Returns:
        Lower and upper end; (nan, nan) where a value is not finite, or nothing gives how sure the mean is.

    Raises:
        ValueError: the level, or a score, is not between 0 and 1.
    """
    _check_level(level)
    values = [float(value) for value in groups]
    n = len(values)
    if n == 0 or not all(math.isfinite(value) for value in values):
        return math.nan, math.nan
    if min(values) < 0 or max(values) > 1:
        raise ValueError(f"scores lie between 0 and 1, not from {min(values)} to {max(values)}")
    mean = low = high = statistics.fmean(values)
    if n > 1 and (spread := deviation(values)) > TIE:
        half = _student(n - 1, level) * spread / math.sqrt(n) / (mean * (1 - mean))
        odds = math.log(mean / (1 - mean))
        low, high = (1 / (1 + math.exp(-max(odds + side * half, _LEAST_LOGIT))) for side in (-1, 1))
    if recordings:
        z = statistics.NormalDist().inv_cdf((1 + level) / 2) ** 2 / recordings
        centre, half = mean + z / 2, math.sqrt(z * (mean * (1 - mean) + z / 4))
        low, high = min(low, (centre - half) / (1 + z)), max(high, (centre + half) / (1 + z))
    return (max(low, 0.0), min(high, 1.0)) if low < high else (math.nan, math.nan)


_LEAST_LOGIT = -700.0
"""That of a score so near 0 that it makes no difference; of less, the exponential is no float any more."""


def deviation(values: Sequence[float]) -> float:
    """Sample standard deviation of two values or more."""
    mean = statistics.fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


_FEW = 200


@cache
def _student(freedom: int, level: float) -> float:
    """How far from 0 Student's t lies with the probability `level`, either way.

    For few degrees of freedom by bisection: importing scipy takes longer than all else that a table of results needs.
    """
    if freedom > _FEW:
        from scipy.special import stdtrit

        return float(stdtrit(freedom, (1 + level) / 2))
    low, high = 0.0, math.pi / 2
    while low < (angle := (low + high) / 2) < high:
        low, high = (angle, high) if _between(angle, freedom) < level else (low, angle)
    return math.sqrt(freedom) * math.tan(low)


def _between(angle: float, freedom: int) -> float:
    """Probability of a Student's t within sqrt(freedom) * tan(angle) of 0 (Abramowitz, Stegun: 26.7.3 and 26.7.4)."""
    odd = freedom % 2
    term = math.sin(angle) * (math.cos(angle) if odd else 1)
    total = term if freedom > 1 else 0.0
    for k in range(2 + odd, freedom - 1, 2):
        term *= math.cos(angle) ** 2 * (k - 1) / k
        total += term
    return 2 / math.pi * (angle + total) if odd else total


def finite_or_none(value: float) -> float | None:
    """None for NaN, as tables have it."""
    return None if math.isnan(value) else value


def rank_agreement(measure: Sequence[float] | Floats, metric: Sequence[float] | Floats) -> dict[str, float]:
    """Spearman's rank correlation over the points of a study: does a measure that needs no labels order them alike?

    Args:
        measure: (points,); points where either is NaN are left out.
        metric: (points,).

    Returns:
        `spearman`: from -1 to 1; `p`: two-sided, of no association, from all orders for up to 8 points and from
        Student's t beyond; `n`: the points compared. The first two are nan for fewer than three points, or where all
        points have the same measure or the same metric.

    Raises:
        ValueError: the lengths differ.
    """
    x, y = np.asarray(measure, dtype=np.float64), np.asarray(metric, dtype=np.float64)
    if x.shape != y.shape:
        raise ValueError(f"{len(x)} measures for {len(y)} metrics")
    both = ~(np.isnan(x) | np.isnan(y))
    x, y = x[both], y[both]
    n = len(x)
    if n < 3 or (x == x[0]).all() or (y == y[0]).all():
        return {"spearman": math.nan, "p": math.nan, "n": n}
    from scipy.stats import spearmanr

    found: Any = spearmanr(x, y)
    p = float(found.pvalue) if n > EXACT_UP_TO else _exact_p(x, y)
    return {"spearman": float(found.statistic), "p": p, "n": n}


def _exact_p(x: Floats, y: Floats) -> float:
    """Share of the orders of x whose rank correlation with y is as far from 0 as that of the order given."""
    from itertools import permutations

    from scipy.stats import rankdata

    left, right = (rankdata(column) - (len(column) + 1) / 2 for column in (x, y))
    # Centred ranks are whole or half numbers, so the sums are exact and can be compared as they are.
    orders = np.array(list(permutations(left)))
    return float((np.abs(orders @ right) >= abs(left @ right)).mean())


def _ranking(similarity: Floats, relevant: npt.NDArray[np.bool_], at: Sequence[int]) -> list[float]:
    """Chance of a relevant item among the k first, for each k, then the average precision (nan without a relevant one).

    Both in expectation over the orders of items of equal similarity. In a group of s such items, r of them relevant,
    behind t items, R of them relevant: the item at place j of the group is relevant with probability r / s, and then
    (R + 1 + (j - 1) (r - 1) / (s - 1)) / (t + j) is the precision to be expected there.
    """
    m = len(similarity)
    if not m:
        return [*(0.0 for _ in at), math.nan]
    order = np.argsort(-similarity, kind="stable")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(similarity[order]) < -TIE) + 1])
    size = np.diff(np.append(starts, m))
    hits = np.add.reduceat(relevant[order].astype(np.int64), starts)
    before = np.cumsum(hits) - hits

    recall: list[float] = []
    for k in at:
        if k < 1:
            raise ValueError(f"recall among the {k} nearest has no meaning")
        g = int(np.searchsorted(starts, min(k, m), side="left")) - 1  # the group with the last of the k
        s, r, places = int(size[g]), int(hits[g]), min(k, m) - int(starts[g])
        recall.append(1.0 if before[g] else 1 - math.comb(s - r, places) / math.comb(s, places))

    if not hits.any():
        return [*recall, math.nan]
    t, s, r, behind = (np.repeat(column, size) for column in (starts, size, hits, before))
    j = np.arange(m) - t + 1
    precision = (behind + 1 + (j - 1) * (r - 1) / np.maximum(s - 1, 1)) / (t + j)
    return [*recall, float((r / s * precision).sum() / hits.sum())]


def _cosines(query: Floats, gallery: Floats) -> Iterator[npt.NDArray[np.float64]]:
    """Of each query (n, D) in turn, the cosine with every gallery item (m, D): (m,)."""
    if query.ndim != 2 or gallery.ndim != 2 or query.shape[1] != gallery.shape[1]:
        raise ValueError(f"embeddings of shapes {query.shape} and {gallery.shape} cannot be compared")
    if len(query) == 0 or len(gallery) == 0:
        raise ValueError(f"nothing to retrieve: {len(query)} queries, a gallery of {len(gallery)}")
    left, right = _unit(query), _unit(gallery)
    for start in range(0, len(left), BLOCK):
        yield from left[start : start + BLOCK] @ right.T


def _unit(embeddings: Floats) -> npt.NDArray[np.float64]:
    _check_finite(embeddings)
    z = embeddings.astype(np.float64)
    # First to largest value 1, or the squares of very large and very small values would leave the range of a float.
    for size in (lambda z: np.abs(z).max(axis=1, initial=0), lambda z: np.linalg.norm(z, axis=1)):
        scale = size(z)[:, None]
        z = np.divide(z, scale, out=np.zeros_like(z), where=scale > 0)
    return z


def _check_finite(values: Floats) -> None:
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(broken):
        raise ValueError(f"{len(broken)} of {len(values)} embeddings are not finite, the first in row {broken[0]}")


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, not at {level}")
