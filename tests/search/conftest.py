from collections.abc import Iterator

import pytest
from ray_head import Head, running_head


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """A cluster of one node with a job server."""
    with running_head() as started:
        yield started
