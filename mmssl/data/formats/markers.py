"""Positions of markers or joints as a sheet, and the joints' names in markers' labels."""

from collections import Counter
from collections.abc import Sequence

from mmssl.data.formats.people import most_moving
from mmssl.data.sheet import Sheet, Values

AXES = ("x", "y", "z")


def sheet_of(
    joints: Sequence[str],
    places: Values,
    *,
    seconds: Values | None = None,
    epoch: bool = False,
    rate: float | None = None,
    unit: str = "",
    notes: tuple[str, ...] = (),
) -> Sheet:
    """Positions, (frames, joints, coordinates), as a sheet."""
    axes = AXES[: places.shape[2]]
    names = tuple(f"{joint}_{axis}" for joint in joints for axis in axes)
    units = (unit,) * len(names) if unit else ()
    return Sheet(names, places.reshape(len(places), -1), seconds, epoch, rate, units, notes)


def of_one_person(labels: Sequence[str], places: Values) -> tuple[list[str], Values, tuple[str, ...]]:
    """Labels as LASI for anna:LASI, without trajectories that nobody named; of several people the one who moves most.

    Raises:
        ValueError: no marker has a name, or two have the same.
    """
    named = [i for i, label in enumerate(labels) if label.strip() and "*" not in label]
    if not named:
        raise ValueError("no marker has a name: label them first")
    notes = (
        (f"{len(labels) - len(named)} trajectories without a name are not read",) if len(named) < len(labels) else ()
    )
    apart = [(i, *labels[i].strip().rpartition(":")[::2]) for i in named]
    subjects = list(dict.fromkeys(subject for _, subject, _ in apart))
    of_each = {subject: {marker: i for i, its, marker in apart if its == subject} for subject in subjects}
    twice = [marker for (_, marker), count in Counter((its, marker) for _, its, marker in apart).items() if count > 1]
    if twice:
        raise ValueError(f"two markers are called {twice[0]}")
    if len(subjects) > 1 and all(set(one) == set(of_each[subjects[0]]) for one in of_each.values()):
        markers = list(of_each[subjects[0]])
        at = {subject: [one[marker] for marker in markers] for subject, one in of_each.items()}
        taken, more = most_moving([{subject: frame[at[subject]] for subject in subjects} for frame in places])
        return markers, taken, (*notes, *more)
    markers = [marker for _, _, marker in apart]
    if len(set(markers)) < len(markers):
        raise ValueError(f"markers of {', '.join(subjects)} with the same names: export one subject")
    return markers, places[:, named], notes
