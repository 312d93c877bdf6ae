"""Files that are known by their name or first lines: of motion capture, of networks that find poses, of wearables."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from mmssl.data.formats import c3d, landmarks, mvnx, ntu, phones, poses, trc, unsure, wearables, xsens
from mmssl.data.formats.refused import refusal
from mmssl.data.formats.start import Start, start_of
from mmssl.data.sheet import Sheet

CONFIDENCE = 0.3
"""Joints of which a network was less sure are missing, unless another threshold is given."""


class Format(NamedTuple):
    """A kind of file."""

    name: str
    known: Callable[[Start], bool]
    read: Callable[[Path, float], Sheet]
    """Of the file, and the confidence below which joints are missing; ValueError says what is wrong in it."""


def _sure(read: Callable[[Path], Sheet]) -> Callable[[Path, float], Sheet]:
    """Of files without confidences."""
    return lambda path, _: read(path)


def _unsure(read: Callable[[Path], unsure.Unsure]) -> Callable[[Path, float], Sheet]:
    return lambda path, confidence: unsure.sheet(read(path), confidence)


FORMATS = (
    Format("C3D", c3d.known, _sure(c3d.read)),
    Format("TRC", trc.known, _sure(trc.read)),
    Format("MVNX", mvnx.known, _sure(mvnx.read)),
    Format("NTU RGB+D", ntu.known, _sure(ntu.read)),
    Format("OpenPose", poses.is_openpose, _unsure(poses.openpose)),
    Format("AlphaPose", poses.is_alphapose, _unsure(poses.alphapose)),
    Format("MediaPipe", landmarks.is_mediapipe, _unsure(landmarks.mediapipe)),
    Format("Joints with confidence", landmarks.is_table, _unsure(landmarks.table)),
    Format("Sensor Logger", phones.is_sensor_logger, _sure(phones.sensor_logger)),
    Format("phyphox", phones.is_phyphox, _sure(phones.phyphox)),
    Format("SensorLog", phones.is_sensorlog, _sure(phones.sensorlog)),
    Format("ActiGraph", wearables.is_actigraph, _sure(wearables.actigraph)),
    Format("Shimmer", wearables.is_shimmer, _sure(wearables.shimmer)),
    Format("Movella DOT", xsens.is_dot, _sure(xsens.dot)),
    Format("Xsens MTw", xsens.is_mtw, _sure(xsens.mtw)),
    Format("MetaBase", wearables.is_metabase, _sure(wearables.metabase)),
    Format("Axivity", wearables.is_axivity, _sure(wearables.axivity)),
    Format("Empatica E4", wearables.is_empatica, _sure(wearables.empatica)),
)
"""Each file is of the first that knows it."""


def read(path: Path, confidence: float = CONFIDENCE) -> Sheet | None:
    """A recording's file of a known format; None for what is none, as a table with plain names is.

    Raises:
        ValueError: what is wrong with the file, or what it is if it is of a kind that is not read.
        OSError: it cannot be opened.
    """
    start = start_of(path)
    for format_ in FORMATS:
        if format_.known(start):
            return format_.read(path, confidence)
    if why := refusal(start):
        raise ValueError(why)
    return None
