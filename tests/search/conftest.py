from collections.abc import Callable, Iterator

import pytest
from ray_head import Head, running_head

from mmssl.recipe import Recipe
from mmssl.search.plan import Dataset, Plan, make_plan
from mmssl.search.space import Space


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """A cluster of one node with a job server."""
    with running_head() as started:
        yield started


@pytest.fixture
def dataset() -> Dataset:
    return Dataset(
        source="synthetic",
        folder=None,
        name="synthetic",
        fingerprint="f" * 64,
        recordings=12,
        train_subjects=("1", "3", "5"),
        test_subjects=("2",),
    )


@pytest.fixture
def plan_of(dataset: Dataset) -> Callable[..., Plan]:
    """Plans over lambda x mu with one fold for each of three subjects."""

    def make(lambdas: list[float], mus: list[float], seeds: list[int] | None = None) -> Plan:
        space = Space(name="grid", grid={"objective.lambda": lambdas, "objective.mu": mus}, seeds=seeds or [28])
        bases = {"vicreg": Recipe()}
        folds = [(subject,) for subject in dataset.train_subjects]
        return make_plan("study", space, bases, dataset, folds, space.points(bases))

    return make
