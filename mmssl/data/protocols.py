"""Who trains, who validates, who tests: the split of a recipe, as row indices."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from mmssl.data.description import Description, Protocol, spelling
from mmssl.data.recordings import UNLABELLED, Recordings
from mmssl.errors import UserError, nearest
from mmssl.recipe import Data

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Row indices of training, validation and test, in the recordings' order; no recording is in two of them.

    Those rows have labels; of the others, those that belong to nobody who is scored pre-train as well.
    """

    fold: str
    """The subjects held out to validate on, joined by "+"; "all" when every training subject trains."""
    pretrain: Indices
    """`train`, and recordings without a label."""
    train: Indices
    validation: Indices
    test: Indices
    train_subjects: tuple[str, ...]
    validation_subjects: tuple[str, ...]
    test_subjects: tuple[str, ...]

    def scored(self, name: Literal["val", "test"]) -> Indices:
        """The rows to score, by the name that scores have in tables."""
        return self.validation if name == "val" else self.test


def train_and_test(recordings: Recordings, data: Data) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and test subjects: as the recipe names them, else as its protocol does.

    In a data set without protocols everybody trains but the test subjects that the recipe names. Under a protocol by
    scene, session or view the same subjects may train and test, each in other scenes, sessions or views; where the
    recipe names nobody, all who have recordings there do. Training subjects that are validated on count as training
    here.

    Raises:
        UserError: no such protocol, a protocol by view for a recipe with signals, a subject that would train and test
            under a protocol by subject, also where it is spelt in two ways, a training subject without recordings to
            train on, nobody to train.
    """
    name = recordings.description.name
    protocol = _protocol(recordings, data)
    trainable, testable = (_subjects(recordings, rows) for rows in _halves(recordings, protocol))
    if protocol.by == "subject":
        test = data.test_subjects or protocol.test
        train = data.train_subjects or protocol.train or tuple(subject for subject in trainable if subject not in test)
        both = [subject for subject in train if subject in test]
        if both:
            raise UserError(
                f"subjects {', '.join(both)} would both train and test: "
                "name who trains and who tests with data.train_subjects and data.test_subjects"
            )
        where, why_nobody = name, f"every subject of {name} tests"
        # Those who test may have no recordings, so that a misspelt name would go unnoticed, and its owner train.
        close = {spelling(subject): subject for subject in train}
        misspelt = [subject for subject in test if subject not in testable and spelling(subject) in close]
        if misspelt:
            raise UserError(
                f"test subject {misspelt[0]!r} has no recordings in {name}, and {close[spelling(misspelt[0])]!r} would "
                "train: spell them alike"
            )
    else:
        test = data.test_subjects or testable
        train = data.train_subjects or trainable
        where = f"the {protocol.by}s of {name} that train"
        why_nobody = f"there are no recordings in {where}"
    absent = [subject for subject in train if subject not in trainable]
    if absent and trainable:
        raise UserError(
            f"training subjects {', '.join(absent)} have no recordings in {where}: "
            f"name some of {', '.join(trainable)} with data.train_subjects"
        )
    if absent or not train:
        raise UserError(f"nobody is left to train: {why_nobody}")
    return _unique(train), _unique(test)


def absent_tests(recordings: Recordings, data: Data) -> list[str]:
    """Test subjects without recordings, where all others train: a misspelt name lets its owner train."""
    protocol = _protocol(recordings, data)
    if protocol.by != "subject" or data.train_subjects or protocol.train:
        return []
    there = set(recordings.column("subject"))
    return [subject for subject in data.test_subjects or protocol.test if subject not in there]


def split(recordings: Recordings, data: Data) -> Split:
    """The rows that train, validate and test under a recipe; test subjects may have no recordings.

    Under a protocol by scene, session or view, subjects held out validate on their recordings in the scenes, sessions
    or views that train; the test recordings stay whole.

    Raises:
        UserError: as `train_and_test`; a validation subject that does not train, nobody left to train.
    """
    train, test = train_and_test(recordings, data)
    validation = _unique(data.validation_subjects)
    strangers = [subject for subject in validation if subject not in train]
    if strangers:
        raise UserError(
            f"data.validation_subjects: {', '.join(strangers)} not among the training subjects {', '.join(train)}"
        )
    train = tuple(subject for subject in train if subject not in validation)
    if not train:
        raise UserError(f"nobody is left to train: {', '.join(validation)} all validate")
    protocol = _protocol(recordings, data)
    may_train, may_test = _halves(recordings, protocol)
    parts = Split(
        fold="+".join(validation) or "all",
        pretrain=np.empty(0, dtype=np.int64),
        train=_of(recordings, may_train, train),
        validation=_of(recordings, may_train, validation),
        test=_of(recordings, may_test, test),
        train_subjects=train,
        validation_subjects=validation,
        test_subjects=test,
    )
    return replace(parts, pretrain=_pretrain(recordings, parts, protocol, data.transductive))


def pretrain_subjects(recordings: Recordings, parts: Split) -> list[str]:
    """Those whose recordings pre-train, labelled or not."""
    return sorted({*recordings.column("subject")[parts.pretrain]} - {""})


def leave_one_subject_out(recordings: Recordings, data: Data) -> list[tuple[str, ...]]:
    """`validation_subjects` of each fold: every training subject validates once.

    Raises:
        UserError: as `train_and_test`; there is but one training subject.
    """
    train, _ = train_and_test(recordings, data)
    if len(train) == 1:
        raise UserError(f"leave_one_subject_out needs two training subjects or more; there is only {train[0]}")
    return [(subject,) for subject in train]


def unseen_classes(recordings: Recordings, rows: Indices, train: Indices) -> tuple[str, ...]:
    """Classes among `rows` that no training row shows: nothing can be learnt about them."""
    unseen = np.setdiff1d(recordings.labels[rows], recordings.labels[train])
    return tuple(recordings.description.classes[label] for label in unseen)


def class_indices(description: Description, names: Iterable[str]) -> list[int]:
    """Raises UserError: there is no such class."""
    for name in names:
        if name not in description.classes:
            close = nearest(name, list(description.classes))
            raise UserError(f"pretrain.hidden_classes: {description.name} has no class {name!r}; {close}")
    return [description.classes.index(name) for name in names]


def _protocol(recordings: Recordings, data: Data) -> Protocol:
    name, protocols = recordings.description.name, recordings.description.protocols
    if not protocols:
        return Protocol(train=())
    if data.protocol not in protocols:
        raise UserError(f"data.protocol: {name} has no {data.protocol!r}; {nearest(data.protocol, list(protocols))}")
    protocol = protocols[data.protocol]
    kinds = recordings.description.kinds
    shared = [one for one in data.modalities if kinds.get(one) == "signal"]
    if protocol.by == "view" and shared:
        alone = next((f", as system vicreg_{one} does" for one, kind in kinds.items() if kind == "skeleton"), "")
        raise UserError(
            f"data.protocol: {data.protocol} of {name} would test on {' and '.join(shared)} signals that it has "
            f"trained on: the signals are the same for every camera; take skeletons alone{alone}"
        )
    return protocol


def _halves(recordings: Recordings, protocol: Protocol) -> tuple[Indices, Indices]:
    """Labelled rows that may train, and that may test, if their subjects do; by subject, all of them may both."""
    labelled = np.flatnonzero(recordings.labels != UNLABELLED)
    if protocol.by == "subject":
        return labelled, labelled
    places = recordings.column(protocol.by)[labelled]
    train = set(filter(protocol.trains, places))
    return labelled[_among(places, train)], labelled[_among(places, protocol.test)]


def _pretrain(recordings: Recordings, train_and_test: Split, protocol: Protocol, transductive: bool) -> Indices:
    """The rows that train, and those without a label that are of nobody, and from nowhere, that is scored."""
    by_subject = protocol.by == "subject"
    rows = recordings.labels == UNLABELLED
    if not transductive:
        apart = {*train_and_test.validation_subjects, *(train_and_test.test_subjects if by_subject else ())}
        elsewhere = () if by_subject else protocol.test
        rows &= ~_among(recordings.column("subject"), apart) & ~_among(recordings.column(protocol.by), elsewhere)
    rows[train_and_test.train] = True
    return np.flatnonzero(rows)


def _subjects(recordings: Recordings, rows: Indices) -> tuple[str, ...]:
    have = set(recordings.column("subject")[rows])
    return tuple(subject for subject in recordings.subjects if subject in have)


def _of(recordings: Recordings, rows: Indices, subjects: tuple[str, ...]) -> Indices:
    return rows[_among(recordings.column("subject")[rows], subjects)]


def _among(names: npt.NDArray[np.object_], some: Collection[str]) -> npt.NDArray[np.bool_]:
    return np.array([name in some for name in names], dtype=bool)


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
