import math

import numpy as np
import pytest
import torch
from scipy.cluster.vq import kmeans2
from scipy.stats import ortho_group
from sklearn.cluster import KMeans
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import adjusted_rand_score

from mmssl import unlabelled
from mmssl.training.health import embedding_health

DRAWS = np.random.default_rng(3)
NORMAL = DRAWS.normal(size=(400, 6))


def embedded(flat: np.ndarray, width: int = 20) -> np.ndarray:
    """The same points within a space of more dimensions, turned."""
    return flat @ ortho_group.rvs(width, random_state=0)[: flat.shape[1]]


def test_the_rank_is_that_of_the_health_of_embeddings() -> None:
    for z in (NORMAL, embedded(NORMAL), NORMAL * [5, 1, 1, 1, 1, 0]):
        expected = embedding_health(torch.from_numpy(z))["effective_rank"]
        assert unlabelled.effective_rank(z) == pytest.approx(expected)
    assert unlabelled.effective_rank(np.ones((5, 3))) == pytest.approx(1)


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0, 2.5])
def test_the_decay_is_the_exponent_that_a_spectrum_was_made_with(alpha: float) -> None:
    basis = np.linalg.qr(np.c_[np.ones(400), DRAWS.normal(size=(400, 30))])[0][:, 1:]
    z = embedded(basis * np.arange(1, 31) ** (-alpha / 2), 40)
    assert unlabelled.spectral_decay(z) == pytest.approx(alpha, abs=1e-6)
    assert math.isnan(unlabelled.spectral_decay(np.ones((5, 3))))


def test_alignment_and_uniformity_by_loops() -> None:
    a, b = NORMAL[:20], NORMAL[20:40]
    unit = [[row / np.linalg.norm(row) for row in z] for z in (a, b)]
    expected = np.mean([np.sum((x - y) ** 2) for x, y in zip(*unit, strict=True)])
    assert unlabelled.alignment(a, b) == pytest.approx(expected)
    assert unlabelled.alignment(a, 7 * a) == pytest.approx(0)
    kernels = [math.exp(-2 * np.sum((unit[0][i] - unit[0][j]) ** 2)) for i in range(20) for j in range(i)]
    assert unlabelled.uniformity(a) == pytest.approx(math.log(np.mean(kernels)))
    assert unlabelled.uniformity(np.ones((4, 3))) == pytest.approx(0)
    assert unlabelled.uniformity(NORMAL) < unlabelled.uniformity(NORMAL + 3)


def test_normality_knows_a_normal_distribution_whatever_its_place_and_scale() -> None:
    assert unlabelled.normality(NORMAL) == pytest.approx(unlabelled.normality(NORMAL * 30 - 5))
    others = (np.sign(NORMAL), np.exp(NORMAL), NORMAL[:, [0] * 6])
    assert unlabelled.normality(NORMAL) < min(unlabelled.normality(other) for other in others[:2])


def test_lidar_is_the_rank_of_a_discriminant_analysis() -> None:
    centres = DRAWS.normal(size=(50, 5)) * [3, 2, 1, 0.5, 0.1]
    views = centres + 0.3 * DRAWS.normal(size=(40, 50, 5))
    flat, labels = views.reshape(-1, 5), np.tile(np.arange(50), 40)
    peer = LinearDiscriminantAnalysis(solver="eigen").fit(flat, labels)
    shares = peer.explained_variance_ratio_
    assert unlabelled.lidar(views, delta=0) == pytest.approx(math.exp(-np.sum(shares * np.log(shares))), rel=1e-6)
    # Views that are all the same tell each recording apart; views that are noise tell none.
    assert unlabelled.lidar(np.stack([NORMAL, NORMAL])) == pytest.approx(6, rel=0.02)
    turned = views @ ortho_group.rvs(5, random_state=1)
    assert unlabelled.lidar(turned) == pytest.approx(unlabelled.lidar(views))
    with pytest.raises(ValueError, match="two views"):
        unlabelled.lidar(views[:1])


def test_clusters_that_lie_apart_are_learnable() -> None:
    centres = 10 * np.eye(20)
    apart = np.repeat(centres, 20, axis=0) + 0.1 * DRAWS.normal(size=(400, 20))
    assert unlabelled.cluster_learnability(apart) == 1
    assert adjusted_rand_score(KMeans(20, n_init=4, random_state=0).fit_predict(apart), np.repeat(range(20), 20)) == 1
    noise = unlabelled.cluster_learnability(DRAWS.normal(size=(400, 200)))
    assert noise < 0.8
    assert unlabelled.cluster_learnability(apart) == unlabelled.cluster_learnability(3 * apart)
    blurred = apart + 2 * DRAWS.normal(size=apart.shape)
    assert 0.1 < unlabelled.cluster_learnability(blurred) < 1
    assert unlabelled.cluster_learnability(embedded(blurred, 500)) == pytest.approx(
        unlabelled.cluster_learnability(blurred), abs=0.01
    ), "of more dimensions than recordings, only what they span counts"


def test_windows_that_overlap_are_no_neighbours() -> None:
    """Each of 100 recordings of noise is there four times, as windows of the same moments nearly are."""
    draws = np.random.default_rng(5)
    noise = np.repeat(draws.normal(size=(100, 50)), 4, axis=0) + 0.01 * draws.normal(size=(400, 50))
    of = np.repeat(range(100), 4)
    assert unlabelled.cluster_learnability(noise) > 0.95
    found = unlabelled.cluster_learnability(noise, lambda i: of == of[i])
    assert found == pytest.approx(unlabelled.cluster_learnability(noise[::4]), abs=0.2)
    assert found < 0.8


def test_cluster_learnability_by_a_loop() -> None:
    points = np.random.default_rng(6).normal(size=(12, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    of = np.repeat(range(4), 3)
    starts = [kmeans2(points, 3, iter=30, minit="++", rng=np.random.default_rng(start))[1] for start in range(4)]
    right = 0
    for i in range(12):
        nearest = max((j for j in range(12) if of[j] != of[i]), key=lambda j, i=i: points[i] @ points[j])
        right += sum(clusters[i] == clusters[nearest] for clusters in starts)
    assert unlabelled.cluster_learnability(5 * points, lambda i: of == of[i]) == pytest.approx(right / 48)


def test_without_an_answer_clusters_have_none() -> None:
    assert math.isnan(unlabelled.cluster_learnability(NORMAL, lambda i: np.ones(len(NORMAL), bool)))
    assert math.isnan(unlabelled.cluster_learnability(NORMAL[:2]))
    assert math.isnan(unlabelled.cluster_learnability(np.where(NORMAL > 3, np.nan, NORMAL)))
    assert unlabelled.cluster_learnability(np.ones((9, 4))) == 1


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_dimensions_of_flats_within_more_dimensions(dimension: int) -> None:
    flat = embedded(DRAWS.uniform(size=(1000, dimension)))
    for estimate in (unlabelled.two_nn_dimension, unlabelled.mst_dimension):
        assert estimate(flat) == pytest.approx(dimension, rel=0.2), estimate
        assert estimate(1000 * flat[:200]) == pytest.approx(estimate(flat[:200]), rel=1e-6)


def test_a_tree_counts_recordings_in_one_place() -> None:
    flat = embedded(DRAWS.uniform(size=(200, 2)))
    assert unlabelled.mst_dimension(np.r_[flat, flat[:50]]) == pytest.approx(2, rel=0.5)
    assert math.isnan(unlabelled.mst_dimension(np.ones((50, 3))))
    assert math.isnan(unlabelled.two_nn_dimension(np.ones((50, 3))))


def test_retrieval_is_the_share_that_finds_its_own() -> None:
    assert unlabelled.retrieval(NORMAL, 2 * NORMAL) == 1
    a, b = np.eye(4), np.eye(4)[[1, 0, 2, 3]]
    assert unlabelled.retrieval(a, b) == 0.5
    assert unlabelled.retrieval(NORMAL, DRAWS.normal(size=(400, 6))) < 0.05
