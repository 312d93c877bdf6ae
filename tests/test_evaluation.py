import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from mmssl.evaluation import scores


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_scores_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    labels, predicted = (np.array(column) for column in zip(*pairs, strict=True))
    ours = scores(labels, predicted)
    assert ours["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    theirs = f1_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)
    assert ours["f1"] == pytest.approx(theirs)


def test_nothing_to_score_is_an_error() -> None:
    with pytest.raises(ValueError, match="no recording"):
        scores(np.array([], dtype=np.int64), np.array([], dtype=np.int64))
