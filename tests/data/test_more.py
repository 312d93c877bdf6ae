from typing import Any

import numpy as np
import pytest

from mmssl import Description, Protocol, Recordings, Row, UserError
from mmssl.data.more import with_more
from mmssl.data.protocols import leave_one_subject_out, split
from mmssl.recipe import Data


def made(*rows: Row, by: str = "subject", **changes: Any) -> Recordings:
    """Signals alone, each recording's unlike any other's."""
    description = Description.model_validate(
        {
            "name": "made",
            "classes": ("sit", "stand"),
            "imu_channels": ("x", "y"),
            "protocols": {"cross_subject": Protocol.model_validate({"by": by, "test": ("tess",)})},
            **changes,
        }
    )
    signals = [np.random.default_rng(list(row.recording_id.encode())).normal(size=(9, 2)) for row in rows]
    return Recordings(description, rows, imu=signals)


def row(name: str, subject: str = "anna", label: str = "sit", **more: str) -> Row:
    return Row(recording_id=name, subject=subject, label=label, **more)


def names(recordings: Recordings, rows: Any) -> str:
    return " ".join(recordings.rows[i].recording_id for i in rows)


MIXED = made(
    row("a1"), row("b1", "ben"), row("a2", label=""), row("b2", "ben", ""), row("t1", "tess"), row("t2", "tess", ""),
    row("nobody", "", ""), row("u1", "una", ""), row("a3", label="stand"),
)  # fmt: skip


def test_recordings_without_a_label_pre_train_but_for_those_of_people_who_are_scored() -> None:
    parts = split(MIXED, Data(validation_subjects=("ben",), modalities=("imu",)))
    assert names(MIXED, parts.pretrain) == "a1 a2 nobody u1 a3"
    assert names(MIXED, parts.train) == "a1 a3"
    assert (names(MIXED, parts.validation), names(MIXED, parts.test)) == ("b1", "t1")


def test_a_transductive_recipe_takes_them_too_and_no_labelled_one_of_another_side() -> None:
    parts = split(MIXED, Data(validation_subjects=("ben",), modalities=("imu",), transductive=True))
    assert names(MIXED, parts.pretrain) == "a1 a2 b2 t2 nobody u1 a3"
    assert names(MIXED, parts.train) == "a1 a3"


def test_who_has_no_label_at_all_is_held_out_in_no_fold() -> None:
    assert leave_one_subject_out(MIXED, Data(modalities=("imu",))) == [("anna",), ("ben",)]


def test_what_stands_where_a_protocol_tests_stays_out_whoever_it_is_of() -> None:
    recordings = made(
        row("a1", scene="1"), row("a2", scene="tess"), row("a3", label="", scene="1"),
        row("a4", label="", scene="tess"), row("a5", label=""), row("b1", "ben", scene="1"),
        row("b2", "ben", "", scene="1"),
        by="scene",
    )  # fmt: skip
    parts = split(recordings, Data(modalities=("imu",), validation_subjects=("ben",)))
    assert names(recordings, parts.pretrain) == "a1 a3 a5"
    assert (names(recordings, parts.validation), names(recordings, parts.test)) == ("b1", "a2")


def test_others_come_behind_without_their_labels_and_without_what_is_here_already() -> None:
    notes: list[str] = []
    here, there = (
        made(row("a1"), row("b1", "ben")),
        made(row("c1", "cem", "stand"), row("a1", "alias"), row("b2", "ben")),
    )
    both = with_more(here, there, "lab", notes.append)
    assert [(one.recording_id, one.label, one.subject) for one in both.rows] == [
        ("a1", "sit", "anna"), ("b1", "sit", "ben"), ("lab/c1", "", "cem"), ("lab/b2", "", "ben"),
    ]  # fmt: skip
    assert both.description == here.description
    np.testing.assert_array_equal(both.arrays("imu")[2], there.arrays("imu")[0])
    assert notes == [
        "lab: 1 of 3 recordings are here already, and are left out",
        "lab: subjects ben are taken for those of made",
    ]


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        (("y", "x"), "channels of its imu are not those of made .the same in another order."),
        (("x", "z"), "z, y in one of them alone"),
    ],
)
def test_others_of_other_channels_are_refused(channels: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_more(made(row("a1")), made(row("c1", "cem"), imu_channels=channels), "lab")


def test_others_in_another_unit_are_refused() -> None:
    here = made(row("a1"), imu_units=("g", "deg/s"))
    with pytest.raises(UserError, match=r"its imu has x in m/s\^2, not g, as made has it"):
        with_more(here, made(row("c1", "cem"), imu_units=("m/s^2", "°/s")), "lab")
    for units in (("g", "°/s"), ("", "deg/s"), ()):  # Another spelling is the same; what says none is taken as it is.
        assert len(with_more(here, made(row("c1", "cem"), imu_units=units), "lab")) == 2


def test_a_labelled_recording_is_of_somebody() -> None:
    with pytest.raises(UserError, match="r1: subject is empty, and it has a label: whoever it is might train and"):
        made(row("r1", ""))
