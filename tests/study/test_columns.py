"""Every column of the tables has a meaning, and no other."""

import pytest

from mmssl.study import folder as store
from mmssl.study.columns import MEANINGS, family

COLUMNS = [*store.TRIALS.names, *store.EPOCHS.names, *store.PREDICTIONS.names]


def test_every_column_has_a_meaning_and_every_meaning_a_column() -> None:
    assert set(map(family, COLUMNS)) == set(MEANINGS)


@pytest.mark.parametrize("meaning", MEANINGS.values())
def test_meanings_are_lines(meaning: str) -> None:
    assert meaning
    assert "\n" not in meaning


def test_families() -> None:
    assert family("val.imu.f1") == family("val.skeleton.f1") == "val.MODALITY.f1"
    assert family("param.encoder.imu.heads") == "param.KNOB"
    assert family("val.accuracy") == "val.accuracy"
