"""Channels that are none among random walks, which are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmssl.data.not_signals import Held, suspects

LABELS = ("a", "a", "b", "b", "c", "c") * 2
SUBJECTS = ("p", "q") * 6


def held(make, seed: int = 0) -> list[Held]:
    """Recordings of 60 samples: a random walk beside what `make` gives of label, subject and number."""
    draws = np.random.default_rng(seed)
    recordings: list[Held] = []
    for i, (label, subject) in enumerate(zip(LABELS, SUBJECTS, strict=True)):
        walk = draws.normal(size=60).cumsum()
        other = np.broadcast_to(make(label, subject, i, draws), 60)
        recordings.append(Held(label, subject, np.stack([walk, other], axis=1).astype(np.float32)))
    return recordings


def counter(label, subject, i, draws):
    return (draws.integers(0, 200) + np.arange(60)) % 32


def stopping(label, subject, i, draws):
    clock = np.arange(60) / 100
    return np.insert(clock, 30, clock[30])[:60]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda label, subject, i, draws: ord(label), "constant within every recording and differs.*the label?"),
        (lambda label, subject, i, draws: 0.5 * ord(subject), "a number of the person?"),
        (lambda label, subject, i, draws: i * i, "a number of the recording?"),
        (lambda label, subject, i, draws: np.where(np.arange(60) < 12, 0, ord(label)), "one whole number for each"),
        (lambda label, subject, i, draws: np.arange(60), "only rises: a counter?"),
        (counter, "only rises: a counter?"),
        (lambda label, subject, i, draws: 3 + np.arange(60) / 100, "only rises: a clock?"),
        (stopping, "only rises: a clock?"),
        (lambda label, subject, i, draws: draws.random(60).cumsum(), "a sum over time?"),
        (lambda label, subject, i, draws: draws.normal(size=60) if i == 5 else np.arange(60), "only rises"),
    ],
)  # fmt: skip
def test_labels_numbers_of_people_counters_and_clocks_are_told(make, why: str) -> None:
    [found] = suspects(["walk", "other"], held(make))
    assert found.channel == "other"
    assert why.split(".*")[-1] in found.why


@given(st.integers(0, 10**6), st.sampled_from(["noise", "walk", "sine", "slow", "switch", "same"]))
def test_signals_are_left_alone(seed: int, kind: str) -> None:
    makes = {
        "noise": lambda label, subject, i, draws: draws.normal(size=60),
        "walk": lambda label, subject, i, draws: draws.normal(size=60).cumsum(),
        "sine": lambda label, subject, i, draws: np.sin(np.arange(60) / draws.uniform(1, 9) + draws.uniform(0, 6)),
        "slow": lambda label, subject, i, draws: np.sin(0.4 + np.arange(60) / 11),
        "switch": lambda label, subject, i, draws: draws.integers(0, 2, 60),
        "same": lambda label, subject, i, draws: 1.0,
    }
    assert suspects(["walk", "other"], held(makes[kind], seed)) == []


def test_short_recordings_are_no_evidence() -> None:
    short = [Held(one.label, one.subject, one.array[:7]) for one in held(lambda label, *_: ord(label))]
    assert suspects(["walk", "other"], short) == []
