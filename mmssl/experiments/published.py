"""Published scores to compare with, each with its source; none is estimated.

Each is for the test subjects of one data set and protocol.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

YANG = "Yang et al. 2023"
BRINZEA = "Brinzea et al. 2022"
"""The table in the README of the authors' own code."""


class Published(NamedTuple):
    """Scores from 0 to 1; None where the source has none."""

    accuracy: float | None
    f1: float | None
    source: str


def _share(percent: float) -> float:
    return round(percent / 100, 4)


_COLUMNS = (("utd_mhad", "cross_subject"), ("mmact", "cross_subject"), ("mmact", "cross_scene"))
"""Data set and protocol of the columns below, which are in per cent."""
# Table 2 of Yang et al.: accuracy and F1.
_YANG = {
    "supervised_imu": ((79.77, 79.59), (62.15, 62.32), (78.27, 71.86)),
    "supervised_skeleton": ((93.49, 93.43), (80.53, 81.93), (78.61, 74.30)),
    "simclr_imu": ((64.65, 64.64), (52.32, 51.94), (66.16, 60.28)),
    "simclr_skeleton": ((92.09, 91.87), (75.97, 76.75), (72.62, 62.04)),
    "barlow_twins_imu": ((58.60, 57.69), (45.17, 44.11), (59.96, 51.77)),
    "barlow_twins_skeleton": ((88.84, 88.24), (67.86, 69.24), (60.68, 52.34)),
    "barlow_twins": ((91.63, 91.72), (82.17, 81.98), (82.70, 80.05)),
    "cmc": ((95.12, 95.08), (82.05, 83.06), (84.01, 82.41)),
    "cmc_cmkm": ((95.81, 95.74), (82.34, 82.69), (85.24, 83.60)),
    "vicreg_imu": ((75.58, 75.93), (49.04, 47.08), (60.81, 53.80)),
    "vicreg_skeleton": ((86.05, 86.23), (73.78, 75.66), (74.94, 73.29)),
    "vicreg": ((96.06, 96.96), (82.95, 83.62), (87.06, 85.78)),
    "supervised": ((96.51, 96.36), (81.78, 82.86), (89.47, 87.94)),
}
# Brinzea et al.: accuracy on UTD-MHAD, F1 on MMAct.
_BRINZEA = {
    "supervised_imu": (76.74, 61.22, 78.86),
    "supervised_skeleton": (94.65, 82.50, 70.58),
    "supervised": (97.21, 84.05, 87.36),
    "simclr_imu": (72.09, 52.89, 59.23),
    "simclr_skeleton": (95.11, 75.82, 67.80),
    "cmc": (96.04, 82.05, 79.97),
    "cmc_cmkm": (97.67, 84.51, 82.91),
}


def _figures(system: str, column: int) -> Iterator[Published]:
    accuracy, f1 = map(_share, _YANG[system][column])
    yield Published(accuracy, f1, YANG)
    if system in _BRINZEA:
        value = _share(_BRINZEA[system][column])
        yield Published(value, None, BRINZEA) if _COLUMNS[column][0] == "utd_mhad" else Published(None, value, BRINZEA)


PUBLISHED: dict[tuple[str, str], dict[str, list[Published]]] = {
    at: {system: list(_figures(system, column)) for system in _YANG} for column, at in enumerate(_COLUMNS)
}
"""All of the paper's Table 2, and the scores of Brinzea et al.: by data set and protocol, then by system."""

FEW_LABELS = (
    "the paper's Figure 5 has no numbers in print; it says that contrastive learning is ahead of supervised learning "
    "below 25 % of the labels, and VICReg ahead of Barlow Twins and CMC at every share"
)

HIDDEN: dict[str, dict[str, dict[int, Published]]] = {
    dataset: {
        system: {
            column: Published(_share(accuracy), _share(f1), YANG)
            for column, (accuracy, f1) in zip((1, 2, 5), pairs, strict=True)
        }
        for system, pairs in systems.items()
    }
    for dataset, systems in {
        "utd_mhad": {
            "vicreg_imu": ((73.95, 73.95), (73.49, 73.79), (75.35, 75.54)),
            "vicreg_skeleton": ((88.84, 88.43), (87.91, 87.84), (89.77, 89.51)),
            "vicreg": ((95.58, 95.59), (93.95, 93.85), (96.05, 96.00)),
        },
        "mmact": {
            "vicreg_imu": ((48.39, 48.11), (48.31, 47.34), (48.81, 48.63)),
            "vicreg_skeleton": ((73.67, 75.74), (72.35, 73.97), (73.68, 75.83)),
            "vicreg": ((81.39, 81.19), (81.73, 82.35), (82.45, 83.02)),
        },
    }.items()
}
"""Tables 3 and 4 by data set, system and column; the scores are over all classes."""


class HiddenGroup(NamedTuple):
    """Classes to hide from pre-training, in one interpretation of the paper."""

    classes: tuple[str, ...]
    column: int
    """The column of Tables 3 and 4."""
    reading: str
    """The interpretation, in words."""


def hidden_groups(classes: Sequence[str]) -> list[HiddenGroup]:
    """The groups of classes that Tables 3 and 4 may have hidden, without those that would hide every class.

    The paper pre-trains without "the action categories index [1, 2, 5]", under columns "num_classes" 1, 2 and 5. That
    may mean the classes with these numbers, one at a time, or so many classes, here the first ones.
    """
    groups = [HiddenGroup(tuple(classes[:1]), 1, "class 1; the first class")]
    groups += [HiddenGroup(tuple(classes[n - 1 : n]), n, f"class {n}") for n in (2, 5)]
    groups += [HiddenGroup(tuple(classes[:n]), n, f"the first {n} classes") for n in (2, 5)]
    whole = [group for group in groups if len(group.classes) in (1, group.column)]
    return [group for group in whole if len(group.classes) < len(classes)]
