"""Figures that were published, to stand beside ours; no other is known here, and none is guessed.

A figure is for one data set and protocol; the metric and the source are part of it.
"""

from typing import NamedTuple


class Published(NamedTuple):
    value: float
    metric: str
    source: str


_YANG = "Yang et al. 2023"
# The table in the README of the authors' own code, which the paper of the same authors goes with.
_BRINZEA = "Brinzea et al. 2022"


def _rows(metric: str, source: str, **values: float) -> dict[str, Published]:
    return {system: Published(value, metric, source) for system, value in values.items()}


PUBLISHED: dict[tuple[str, str], dict[str, Published]] = {
    ("utd_mhad", "cross_subject"): {
        **_rows(
            "accuracy",
            _BRINZEA,
            supervised_imu=0.7674,
            supervised_skeleton=0.9465,
            supervised=0.9721,
            simclr_imu=0.7209,
            simclr_skeleton=0.9511,
            cmc=0.9604,
            cmc_cmkm=0.9767,
        ),
        **_rows("accuracy", _YANG, vicreg_imu=0.7558, vicreg_skeleton=0.8605, vicreg=0.9606),
    },
    ("mmact", "cross_subject"): _rows(
        "f1",
        _BRINZEA,
        supervised_imu=0.6122,
        supervised_skeleton=0.8250,
        supervised=0.8405,
        simclr_imu=0.5289,
        simclr_skeleton=0.7582,
        cmc=0.8205,
        cmc_cmkm=0.8451,
    ),
    ("mmact", "cross_scene"): _rows(
        "f1",
        _BRINZEA,
        supervised_imu=0.7886,
        supervised_skeleton=0.7058,
        supervised=0.8736,
        simclr_imu=0.5923,
        simclr_skeleton=0.6780,
        cmc=0.7997,
        cmc_cmkm=0.8291,
    ),
}
"""By data set and protocol, then by system; the test side was scored in each."""
