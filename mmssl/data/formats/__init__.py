"""Formats recognised by a file's name or first lines: motion capture, pose estimation, wearables."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mmssl.data.formats import c3d, estimated, landmarks, mvnx, ntu, phones, poses, trc, wearables, xsens
from mmssl.data.formats.refused import refusal
from mmssl.data.formats.start import Start, start_of
from mmssl.data.sheet import Sheet

CONFIDENCE = 0.3
"""Joints with less confidence are missing, unless another threshold is given."""


class Format(NamedTuple):
    """A file format."""

    name: str
    matches: Callable[[Start], bool]
    read: Callable[[Path, float], Sheet]
    """Takes the file and the confidence below which joints are missing; raises ValueError for a faulty file."""


def _without_confidence(read: Callable[[Path], Sheet]) -> Callable[[Path, float], Sheet]:
    """A reader of files without confidences."""
    return lambda path, _: read(path)


def _with_confidence(read: Callable[[Path], estimated.EstimatedPoses]) -> Callable[[Path, float], Sheet]:
    return lambda path, confidence: estimated.sheet(read(path), confidence)


FORMATS = (
    Format("C3D", c3d.is_c3d, _without_confidence(c3d.read)),
    Format("TRC", trc.is_trc, _without_confidence(trc.read)),
    Format("MVNX", mvnx.is_mvnx, _without_confidence(mvnx.read)),
    Format("NTU RGB+D", ntu.is_ntu, _without_confidence(ntu.read)),
    Format("OpenPose", poses.is_openpose, _with_confidence(poses.openpose)),
    Format("AlphaPose", poses.is_alphapose, _with_confidence(poses.alphapose)),
    Format("MediaPipe", landmarks.is_mediapipe, _with_confidence(landmarks.mediapipe)),
    Format("Joints with confidence", landmarks.is_table, _with_confidence(landmarks.table)),
    Format("Sensor Logger", phones.is_sensor_logger, _without_confidence(phones.sensor_logger)),
    Format("phyphox", phones.is_phyphox, _without_confidence(phones.phyphox)),
    Format("SensorLog", phones.is_sensorlog, _without_confidence(phones.sensorlog)),
    Format("ActiGraph", wearables.is_actigraph, _without_confidence(wearables.actigraph)),
    Format("Shimmer", wearables.is_shimmer, _without_confidence(wearables.shimmer)),
    Format("Movella DOT", xsens.is_dot, _without_confidence(xsens.dot)),
    Format("Xsens MTw", xsens.is_mtw, _without_confidence(xsens.mtw)),
    Format("MetaBase", wearables.is_metabase, _without_confidence(wearables.metabase)),
    Format("Axivity", wearables.is_axivity, _without_confidence(wearables.axivity)),
    Format("Empatica E4", wearables.is_empatica, _without_confidence(wearables.empatica)),
)
"""A file has the first format that matches."""


def read(path: Path, confidence: float = CONFIDENCE) -> Sheet | None:
    """Read a recording's file; None where no format matches, as for a table with plain names.

    Raises:
        ValueError: the file is faulty, or of a format that is recognised and not supported.
        OSError: it cannot be opened.
    """
    start = start_of(path)
    for format_ in FORMATS:
        if format_.matches(start):
            return format_.read(path, confidence)
    if why := refusal(start):
        raise ValueError(why)
    return None
