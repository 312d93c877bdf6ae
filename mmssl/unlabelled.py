"""How good representations are, as far as that can be judged without labels.

Each takes vectors, (recordings, dimensions), without classes, and returns a number. Every random choice is seeded, so
one model has one number. scipy is imported where it is used.
"""

import math
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mmssl.evaluation import pair_retrieval

Vectors = npt.NDArray[np.floating]

_DRAWS = 8
"""Subsets of each size, of which `mst_dimension` takes the mean."""
_STARTS, _ROUNDS = 4, 30
"""Of k-means."""


def effective_rank(z: Vectors) -> float:
    """RankMe (Garrido et al., ICML 2023): exp of the entropy of the singular values' shares; more is better."""
    return _rank(np.linalg.svd(np.asarray(z, np.float64), compute_uv=False))


def spectral_decay(z: Vectors) -> float:
    """alpha of alpha-ReQ (Agrawal et al., NeurIPS 2022): the covariance's k-th eigenvalue falls as k ** -alpha.

    By least squares over the logarithms of all eigenvalues above rounding. Near 1 is best.
    """
    z = np.asarray(z, np.float64)
    values = np.linalg.svd(z - z.mean(axis=0), compute_uv=False) ** 2
    values = values[values > values[0] * 1e-10] if values[0] else values[:0]
    if len(values) < 2:
        return math.nan
    return -float(np.polyfit(np.log(np.arange(1, len(values) + 1)), np.log(values), 1)[0])


def alignment(a: Vectors, b: Vectors) -> float:
    """Mean squared distance of two views of the same recordings on the unit sphere; less is better.

    Wang and Isola, ICML 2020.
    """
    return float(np.square(_unit(a) - _unit(b)).sum(axis=1).mean())


def uniformity(z: Vectors) -> float:
    """log of the mean over pairs of recordings of exp(-2 * squared distance) on the unit sphere; less is better.

    Wang and Isola, ICML 2020.
    """
    from scipy.spatial.distance import pdist

    return math.log(float(np.exp(-2 * pdist(_unit(z), "sqeuclidean")).mean()))


def normality(z: Vectors, directions: int = 256) -> float:
    """SIGReg's statistic (`mmssl.objectives`) of the standardised dimensions; less is better."""
    import torch

    from mmssl.objectives.gaussian import random_directions, sigreg

    x = torch.from_numpy(_standardised(z))
    return float(sigreg(x, random_directions(x.shape[1], directions, torch.Generator().manual_seed(0), x)))


def lidar(views: Vectors, delta: float = 1e-4) -> float:
    """LiDAR (Thilak et al., ICLR 2024): effective rank of the differences between recordings; more is better.

    Recordings are the classes of a linear discriminant analysis, their views the members. It is the rank, as in
    `effective_rank` but of eigenvalues, of within ** -1/2 @ between @ within ** -1/2.

    Args:
        views: (views, recordings, D), two views at least.
        delta: of the identity that is added to the covariance within recordings.

    Raises:
        ValueError: there is one view alone.
    """
    views = np.asarray(views, np.float64)
    if len(views) < 2:
        raise ValueError("lidar needs at least two views of each recording")
    means = views.mean(axis=0)
    centred = means - means.mean(axis=0)
    between = centred.T @ centred / (len(means) - 1)
    inside = (views - means).reshape(-1, views.shape[2])
    within = inside.T @ inside / (len(inside) - len(means)) + delta * np.eye(views.shape[2])
    values, vectors = np.linalg.eigh(within)
    whitening = vectors / np.sqrt(values) @ vectors.T
    return _rank(np.linalg.eigvalsh(whitening @ between @ whitening).clip(min=0))


def cluster_learnability(z: Vectors, left_out: Callable[[int], npt.NDArray[np.bool_]] | None = None) -> float:
    """CL of CLID (Lu et al. 2022, arXiv 2206.01251): how well neighbours predict the cluster; more is better.

    Clusters are those of k-means, as many as the square root of the recordings; a recording's neighbour is the nearest
    other one by cosine. It is the mean over four starts of k-means, as where one of them ends is partly chance. The
    paper takes a k that suits its data and a classifier that sees recordings one by one.

    Args:
        left_out: of the number of a recording which are no neighbours, (recordings,): windows that overlap share a
            cluster whatever the encoder has learnt.

    Returns:
        A share of the recordings that have neighbours; nan where none has, a value is not finite or there are fewer
        than three recordings.
    """
    from scipy.cluster.vq import kmeans2
    from threadpoolctl import threadpool_limits

    x = _unit(z)
    if len(x) < 3 or not np.isfinite(x).all():
        return math.nan
    # With more threads, the order of additions differs from run to run.
    with threadpool_limits(1), warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.filterwarnings("ignore", "One of the clusters is empty")
        if x.shape[1] > len(x):  # The same distances in fewer dimensions.
            x = np.linalg.qr(x.T).R.T
        similar = x @ x.T
        np.fill_diagonal(similar, -np.inf)
        if left_out:
            for i, row in enumerate(similar):
                row[left_out(i)] = -np.inf
        joined = similar.max(axis=1) > -np.inf
        nearest, count = similar.argmax(axis=1), max(2, round(math.sqrt(len(x))))
        draws = (np.random.default_rng(start) for start in range(_STARTS))
        starts = [kmeans2(x, count, iter=_ROUNDS, minit="++", rng=draw)[1] for draw in draws]
    if not joined.any():
        return math.nan
    return float(np.mean([(clusters[nearest] == clusters)[joined] for clusters in starts]))


def two_nn_dimension(z: Vectors) -> float:
    """Intrinsic dimension by the two nearest neighbours (Facco et al. 2017), the other half of CLID; more is better.

    n / (sum of log(second distance / first)), the maximum-likelihood form.
    """
    from scipy.spatial.distance import pdist, squareform

    distances = squareform(pdist(np.asarray(z, np.float64)))
    np.fill_diagonal(distances, np.inf)
    first, second = np.partition(distances, 1, axis=1)[:, :2].T
    distinct = first > 0
    total = float(np.log(second[distinct] / first[distinct]).sum())
    return float(distinct.sum()) / total if total > 0 else math.nan


def mst_dimension(z: Vectors) -> float:
    """IdEst (Mordacq et al., ICML 2026): intrinsic dimension by minimum spanning trees; less is better.

    The tree over n of the recordings is about n ** (1 - 1 / d) long: d is from the slope of the logarithms over eight
    sizes, from a fifth of the recordings to all, each the mean over random subsets.
    """
    from scipy.sparse.csgraph import minimum_spanning_tree
    from scipy.spatial.distance import pdist, squareform

    distances = squareform(pdist(np.asarray(z, np.float64)))
    draws, count = np.random.default_rng(0), len(distances)
    if count < 10 or not distances.any():
        return math.nan
    # Two recordings in one place are an edge all the same: the tree takes 0 for none.
    distances += np.finfo(float).tiny
    np.fill_diagonal(distances, 0)
    sizes = np.unique(np.linspace(max(5, count // 5), count, 8).astype(int))
    lengths: list[float] = []
    for size in sizes:
        subsets = [draws.permutation(count)[:size] for _ in range(_DRAWS if size < count else 1)]
        lengths.append(float(np.mean([minimum_spanning_tree(distances[np.ix_(rows, rows)]).sum() for rows in subsets])))
    slope = float(np.polyfit(np.log(sizes), np.log(lengths), 1)[0])
    return 1 / (1 - slope) if slope < 1 else math.inf


def retrieval(a: Vectors, b: Vectors) -> float:
    """Share of the recordings whose own view is the nearest among the other modality's, by cosine, both ways; more is
    better. It needs pairs, no labels."""
    ways = [pair_retrieval(*pair, at=(1,))["recall@1"] for pair in ((a, b), (b, a))]
    return sum(ways) / 2


def _rank(values: Vectors) -> float:
    total = float(values.sum())
    if not total > 0:
        return math.nan if math.isnan(total) else 1.0
    shares = values[values > 0] / total
    return math.exp(-float((shares * np.log(shares)).sum()))


def _unit(z: Vectors) -> npt.NDArray[np.float64]:
    z = np.asarray(z, np.float64)
    lengths = np.linalg.norm(z, axis=1, keepdims=True)
    return z / np.where(lengths > 0, lengths, 1)


def _standardised(z: Vectors) -> npt.NDArray[np.float64]:
    z = np.asarray(z, np.float64)
    deviations = z.std(axis=0)
    return (z - z.mean(axis=0)) / np.where(deviations > 0, deviations, 1)
