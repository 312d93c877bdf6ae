"""Who trains, who validates, who tests: sides of a recipe as row indices."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmssl.data.recordings import Recordings
from mmssl.errors import UserError, nearest
from mmssl.recipe import Data

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Row indices of the three sides, in the recordings' order; no recording stands on two."""

    fold: str
    """The subjects held out to validate on, joined by "+"; "all" when every training subject trains."""
    train: Indices
    validation: Indices
    test: Indices
    train_subjects: tuple[str, ...]
    validation_subjects: tuple[str, ...]
    test_subjects: tuple[str, ...]


def sides(recordings: Recordings, data: Data) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training and test subjects: as the recipe names them, else as its protocol does.

    In a data set without protocols everybody trains but the test subjects that the recipe names. Training subjects that
    are validated on count as training here.

    Raises:
        UserError: no such protocol, a subject on both sides, a training subject without recordings, nobody to train.
    """
    description = recordings.description
    protocol = description.protocols.get(data.protocol)
    if description.protocols and protocol is None:
        known = list(description.protocols)
        raise UserError(f"data.protocol: {description.name} has no {data.protocol!r}; {nearest(data.protocol, known)}")
    test = data.test_subjects or (protocol.test if protocol else ())
    train = data.train_subjects or (protocol.train if protocol else ())
    train = train or tuple(subject for subject in recordings.subjects if subject not in test)
    both = [subject for subject in train if subject in test]
    if both:
        raise UserError(
            f"subjects {', '.join(both)} would both train and test: "
            "name both sides with data.train_subjects and data.test_subjects"
        )
    absent = [subject for subject in train if subject not in recordings.subjects]
    if absent:
        raise UserError(
            f"training subjects {', '.join(absent)} have no recordings in {description.name}: "
            f"name some of {', '.join(recordings.subjects)} with data.train_subjects"
        )
    if not train:
        raise UserError(f"nobody is left to train: every subject of {description.name} tests")
    return _once(train), _once(test)


def split(recordings: Recordings, data: Data) -> Split:
    """The rows that train, validate and test under a recipe; test subjects may have no recordings.

    Raises:
        UserError: as `sides`; a validation subject that does not train, nobody left to train.
    """
    train, test = sides(recordings, data)
    validation = _once(data.validation_subjects)
    strangers = [subject for subject in validation if subject not in train]
    if strangers:
        raise UserError(
            f"data.validation_subjects: {', '.join(strangers)} not among the training subjects {', '.join(train)}"
        )
    train = tuple(subject for subject in train if subject not in validation)
    if not train:
        raise UserError(f"nobody is left to train: {', '.join(validation)} all validate")
    return Split(
        fold="+".join(validation) or "all",
        train=_rows(recordings, train),
        validation=_rows(recordings, validation),
        test=_rows(recordings, test),
        train_subjects=train,
        validation_subjects=validation,
        test_subjects=test,
    )


def leave_one_subject_out(recordings: Recordings, data: Data) -> list[tuple[str, ...]]:
    """`validation_subjects` of each fold: every training subject validates once.

    Raises:
        UserError: as `sides`; there is but one training subject.
    """
    train, _ = sides(recordings, data)
    if len(train) == 1:
        raise UserError(f"leave_one_subject_out needs two training subjects or more; there is only {train[0]}")
    return [(subject,) for subject in train]


def unseen_classes(recordings: Recordings, rows: Indices, train: Indices) -> tuple[str, ...]:
    """Classes among `rows` that no training row shows: nothing can be learnt about them."""
    unseen = np.setdiff1d(recordings.labels[rows], recordings.labels[train])
    return tuple(recordings.description.classes[label] for label in unseen)


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _rows(recordings: Recordings, subjects: tuple[str, ...]) -> Indices:
    return np.array([i for i, row in enumerate(recordings.rows) if row.subject in subjects], dtype=np.int64)
