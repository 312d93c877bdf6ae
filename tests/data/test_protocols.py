from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mmssl.data.description import Description, Protocol, Row
from mmssl.data.protocols import leave_one_subject_out, split, train_and_test, unseen_classes
from mmssl.data.recordings import Recordings
from mmssl.errors import UserError
from mmssl.recipe import Data

CROSS_SUBJECT = {"cross_subject": Protocol(train=("1", "3"), test=("2", "4"))}


def made(
    subjects: list[str], protocols: dict[str, Protocol] | None = None, labels: list[str] | None = None
) -> Recordings:
    """One recording a subject named."""
    description = Description(
        name="made",
        classes=("sit", "stand"),
        joints=("hip", "neck"),
        root_joint="hip",
        scale_joints=("hip", "neck"),
        coordinates=("x", "y"),
        imu_channels=("a",),
        protocols=protocols or {},
    )
    labels = labels or ["sit"] * len(subjects)
    rows = [
        Row(recording_id=str(i), label=label, subject=subject)
        for i, (subject, label) in enumerate(zip(subjects, labels, strict=True))
    ]
    return Recordings(description, rows, [np.array([[[0, 0], [0, 1]]])] * len(rows), [np.zeros((1, 1))] * len(rows))


def knobs(**values: Any) -> Data:
    return Data(**values)


def test_the_protocol_says_who_trains_and_who_tests() -> None:
    recordings = made(["4", "1", "3", "2", "1"], CROSS_SUBJECT)
    assert train_and_test(recordings, knobs()) == (("1", "3"), ("2", "4"))
    parts = split(recordings, knobs())
    assert (parts.fold, parts.train.tolist(), parts.validation.tolist(), parts.test.tolist()) == (
        "all",
        [1, 2, 4],
        [],
        [0, 3],
    )
    assert {a.dtype for a in (parts.train, parts.validation, parts.test)} == {np.dtype(np.int64)}


def test_validation_subjects_leave_the_training_side() -> None:
    recordings = made(["4", "1", "3", "2", "1"], CROSS_SUBJECT)
    parts = split(recordings, knobs(validation_subjects=["1"]))
    assert (parts.fold, parts.train.tolist(), parts.validation.tolist(), parts.test.tolist()) == (
        "1",
        [2],
        [1, 4],
        [0, 3],
    )
    assert (parts.train_subjects, parts.validation_subjects, parts.test_subjects) == (("3",), ("1",), ("2", "4"))


def test_a_fold_is_named_after_all_whom_it_holds_out() -> None:
    recordings = made(["a", "b", "c"])
    assert split(recordings, knobs(validation_subjects=["c", "a"])).fold == "c+a"


def test_the_recipe_overrides_the_protocol() -> None:
    recordings = made(["1", "2", "3", "4", "5"], CROSS_SUBJECT)
    assert train_and_test(recordings, knobs(train_subjects=["1", "5"])) == (("1", "5"), ("2", "4"))
    assert train_and_test(recordings, knobs(test_subjects=["5"])) == (("1", "3"), ("5",))
    assert train_and_test(recordings, knobs(train_subjects=["4", "2"], test_subjects=["1"])) == (("4", "2"), ("1",))


def test_without_protocols_everybody_trains_but_the_test_subjects() -> None:
    recordings = made(["1", "2", "3"])
    assert train_and_test(recordings, knobs()) == (("1", "2", "3"), ())
    assert train_and_test(recordings, knobs(test_subjects=["2"])) == (("1", "3"), ("2",))
    assert train_and_test(recordings, knobs(train_subjects=["2"])) == (("2",), ())


def test_a_protocol_that_names_only_test_subjects_trains_on_the_others() -> None:
    recordings = made(["1", "2", "3"], {"cross_subject": Protocol(train=(), test=("2",))})
    assert train_and_test(recordings, knobs()) == (("1", "3"), ("2",))


def test_test_subjects_may_be_absent() -> None:
    recordings = made(["1", "3"], CROSS_SUBJECT)
    parts = split(recordings, knobs())
    assert parts.test_subjects == ("2", "4")
    assert parts.test.tolist() == []
    assert split(recordings, knobs(test_subjects=["nobody"])).test.tolist() == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"protocol": "cross_subjet"}, "made has no 'cross_subjet'; did you mean cross_subject"),
        ({"train_subjects": ["1", "2"]}, "subjects 2 would both train and test"),
        ({"test_subjects": ["3"]}, "subjects 3 would both train and test"),
        (
            {"test_subjects": ["03"]},
            "test subject '03' has no recordings in made, and '3' would train: spell them alike",
        ),
        (
            {"train_subjects": ["1", "9", "x"]},
            "training subjects 9, x have no recordings in made: name some of 1, 2, 3, 4",
        ),
        ({"validation_subjects": ["2"]}, "validation_subjects: 2 not among the training subjects 1, 3"),
        ({"validation_subjects": ["3", "1"]}, "nobody is left to train: 3, 1 all validate"),
    ],
)
def test_sides_that_cannot_be_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split(made(["1", "2", "3", "4"], CROSS_SUBJECT), knobs(**values))


def test_training_subjects_of_the_protocol_must_have_recordings() -> None:
    with pytest.raises(UserError, match="training subjects 3 have no recordings in made: name some of 1, 2"):
        train_and_test(made(["1", "2"], CROSS_SUBJECT), knobs())


def test_somebody_must_train() -> None:
    with pytest.raises(UserError, match="nobody is left to train: every subject of made tests"):
        train_and_test(made(["1", "2"]), knobs(test_subjects=["1", "2"]))


def test_every_training_subject_is_left_out_once() -> None:
    recordings = made(["1", "2", "3", "3"], CROSS_SUBJECT)
    assert leave_one_subject_out(recordings, knobs()) == [("1",), ("3",)]
    assert leave_one_subject_out(recordings, knobs(train_subjects=["1", "2"], test_subjects=["3"])) == [("1",), ("2",)]
    with pytest.raises(UserError, match="two training subjects or more; there is only 3"):
        leave_one_subject_out(recordings, knobs(train_subjects=["3"]))


def test_classes_that_nobody_trains_are_told() -> None:
    recordings = made(["a", "a", "b"], labels=["sit", "sit", "stand"])
    parts = split(recordings, knobs(validation_subjects=["b"]))
    assert unseen_classes(recordings, parts.validation, parts.train) == ("stand",)
    assert unseen_classes(recordings, parts.train, parts.train) == ()
    assert unseen_classes(recordings, parts.test, parts.train) == ()


PLACES = {
    "cross_scene": Protocol(by="scene", train=("1", "3"), test=("2",)),
    "cross_session": Protocol(by="session", train=(), test=("b",)),
}
PLACED = [
    ("ann", "1", "a"),
    ("ann", "2", "b"),
    ("ben", "3", "b"),
    ("ben", "2", "a"),
    ("ben", "4", "a"),
    ("cy", "2", "c"),
]


def placed(places: list[tuple[str, str, str]]) -> Recordings:
    """One recording a subject, scene and session named."""
    recordings = made([subject for subject, *_ in places], PLACES)
    rows = [
        row.model_copy(update={"scene": scene, "session": session})
        for row, (_, scene, session) in zip(recordings.rows, places, strict=True)
    ]
    return Recordings(recordings.description, rows, recordings.skeleton, recordings.imu)


def test_a_protocol_by_scene_splits_the_recordings_of_the_same_subjects() -> None:
    recordings = placed(PLACED)
    data = knobs(protocol="cross_scene", validation_subjects=["ben"])
    # cy was only in the scene that tests; nobody uses scene 4.
    assert train_and_test(recordings, data) == (("ann", "ben"), ("ann", "ben", "cy"))
    parts = split(recordings, data)
    assert (parts.train.tolist(), parts.validation.tolist(), parts.test.tolist()) == ([0], [2], [1, 3, 5])
    assert leave_one_subject_out(recordings, data) == [("ann",), ("ben",)]


def test_a_protocol_by_session_may_name_only_what_tests() -> None:
    parts = split(placed(PLACED), knobs(protocol="cross_session"))
    assert (parts.train.tolist(), parts.validation.tolist(), parts.test.tolist()) == ([0, 3, 4, 5], [], [1, 2])


def test_a_protocol_by_view_is_for_skeletons_alone() -> None:
    by_view = {"cross_view": Protocol(by="view", train=("left", "right"), test=("top",))}
    recordings = made(["ann", "ann", "ben", "ben"], by_view)
    rows = [
        row.model_copy(update={"view": view})
        for row, view in zip(recordings.rows, ("left", "top", "top", "right"), strict=True)
    ]
    recordings = Recordings(recordings.description, rows, recordings.skeleton, recordings.imu)
    parts = split(recordings, knobs(protocol="cross_view", modalities=["skeleton"], validation_subjects=["ben"]))
    assert (parts.train.tolist(), parts.validation.tolist(), parts.test.tolist()) == ([0], [3], [1, 2])
    with pytest.raises(UserError, match=r"cross_view of made would test on imu signals .* take skeletons alone"):
        split(recordings, knobs(protocol="cross_view"))


def test_the_recipe_narrows_a_protocol_by_scene() -> None:
    data = knobs(protocol="cross_scene", train_subjects=["ann"], test_subjects=["cy", "ann", "zoe"])
    parts = split(placed(PLACED), data)
    assert (parts.train.tolist(), parts.test.tolist()) == ([0], [1, 5])
    assert parts.test_subjects == ("cy", "ann", "zoe")


@pytest.mark.parametrize(
    ("places", "values", "message"),
    [
        (
            PLACED,
            {"train_subjects": ["cy"]},
            "subjects cy have no recordings in the scenes of made that train: .*ann, ben",
        ),
        (PLACED, {"validation_subjects": ["cy"]}, "cy not among the training subjects ann, ben"),
        (PLACED[-1:], {}, "nobody is left to train: there are no recordings in the scenes of made that train"),
        (PLACED[-1:], {"train_subjects": ["cy"]}, "nobody is left to train: there are no recordings"),
    ],
)
def test_scenes_that_cannot_train_are_refused(places: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split(placed(places), knobs(protocol="cross_scene", **values))


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("1234"), st.sampled_from("abc")), min_size=1),
    st.sampled_from([*PLACES]),
    st.booleans(),
)
def test_no_recording_stands_on_two_sides(places: list[tuple[str, str, str]], protocol: str, fold: bool) -> None:
    on = {"cross_scene": lambda p: {"1": 0, "3": 0, "2": 1}.get(p[1]), "cross_session": lambda p: int(p[2] == "b")}
    train = [i for i, place in enumerate(places) if on[protocol](place) == 0]
    test = [i for i, place in enumerate(places) if on[protocol](place) == 1]
    trained = sorted({places[i][0] for i in train})
    assume(len(trained) > 1)
    held_out = trained[:1] if fold else []
    parts = split(placed(places), knobs(protocol=protocol, validation_subjects=held_out))
    assert parts.test.tolist() == test
    assert parts.validation.tolist() == [i for i in train if places[i][0] in held_out]
    assert parts.train.tolist() == [i for i in train if places[i][0] not in held_out]
    taken = np.concatenate([parts.train, parts.validation, parts.test])
    assert len(np.unique(taken)) == len(taken)


SIDES = ("train", "validation", "test", "none")


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.sampled_from(SIDES), st.integers(1, 3))).filter(
        lambda people: any(side == "train" for side, _ in people.values())
    ),
    st.randoms(use_true_random=False),
)
def test_sides_never_overlap_and_nobody_is_lost(people: dict[str, tuple[str, int]], random: Any) -> None:
    subjects = [subject for subject, (_, count) in people.items() for _ in range(count)]
    random.shuffle(subjects)
    on = {wanted: [subject for subject, (side, _) in people.items() if side == wanted] for wanted in SIDES}
    parts = split(
        made(subjects),
        knobs(
            train_subjects=on["train"] + on["validation"],
            test_subjects=on["test"],
            validation_subjects=on["validation"],
        ),
    )
    rows = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    for side in rows:
        assert sorted(on[side]) == sorted(getattr(parts, f"{side}_subjects"))
        assert rows[side].tolist() == [i for i, subject in enumerate(subjects) if subject in on[side]]
    taken = np.concatenate(list(rows.values()))
    assert len(np.unique(taken)) == len(taken) == sum(subject not in on["none"] for subject in subjects)


@given(st.sets(st.sampled_from("abcdef"), min_size=2))
def test_the_folds_validate_on_every_recording_once(subjects: set[str]) -> None:
    recordings = made([*subjects, *subjects])
    folds = [split(recordings, knobs(validation_subjects=fold)) for fold in leave_one_subject_out(recordings, knobs())]
    validated = np.concatenate([fold.validation for fold in folds])
    assert sorted(validated.tolist()) == list(range(len(recordings)))
