"""MVNX, the XML that Xsens MVN exports: positions of the body's segments."""

from pathlib import Path
from xml.parsers import expat

import numpy as np

from mmssl.data.formats.markers import sheet_of
from mmssl.data.formats.start import Start
from mmssl.data.sheet import Sheet

SEGMENTS = (
    "Pelvis", "L5", "L3", "T12", "T8", "Neck", "Head",
    "RightShoulder", "RightUpperArm", "RightForeArm", "RightHand",
    "LeftShoulder", "LeftUpperArm", "LeftForeArm", "LeftHand",
    "RightUpperLeg", "RightLowerLeg", "RightFoot", "RightToe",
    "LeftUpperLeg", "LeftLowerLeg", "LeftFoot", "LeftToe",
)  # fmt: skip
"""The order of MVN's 23, for files that hold the frames alone."""
_CHUNK = 2**20


def is_mvnx(start: Start) -> bool:
    return start.suffix == ".mvnx" or any("<mvnx" in line for line in start.lines[:20])


def read(path: Path) -> Sheet:
    """Raises ValueError: what is wrong with the file."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    # Entities that grow without end, and other files, can only be named in a document type.
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler, parser.EndElementHandler = reader.begin, reader.end
    parser.CharacterDataHandler = reader.text
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                parser.Parse(chunk)
            parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise ValueError(f"no readable MVNX file ({error})") from error
    return reader.sheet()


def _refuse(*_: object) -> None:
    raise ValueError("it declares a document type (<!DOCTYPE ...>), which could name other files: delete that line")


class _Reader:
    """Collects segments' names, the rate, and the positions of each moving frame from expat's events."""

    def __init__(self) -> None:
        self._segments: list[str] = []
        self._subjects: list[str] = []
        self._rate: float | None = None
        self._frames: list[np.ndarray] = []
        self._moments: list[tuple[float, float]] = []
        self._calibration = 0
        self._in_segments = self._in_frame = self._in_position = False
        self._pieces: list[str] = []

    def begin(self, tag: str, attributes: dict[str, str]) -> None:
        tag = tag.rpartition(":")[2]
        if tag == "subject":
            self._subjects.append(attributes.get("label", ""))
            self._rate = float(attributes["frameRate"]) if "frameRate" in attributes else None
        elif tag == "segments":
            self._in_segments = True
        elif tag == "segment" and self._in_segments:
            self._segments.append(attributes.get("label", ""))
        elif tag == "frame":
            # The poses of the calibration come first: identity, tpose, tpose-isb, npose.
            self._in_frame = attributes.get("type", "normal") == "normal"
            self._calibration += not self._in_frame
            if self._in_frame:
                self._moments.append((_number(attributes.get("ms")), _number(attributes.get("time"))))
        elif tag == "position":
            self._in_position = self._in_frame

    def text(self, text: str) -> None:
        if self._in_position:
            self._pieces.append(text)

    def end(self, tag: str) -> None:
        tag = tag.rpartition(":")[2]
        if tag == "position" and self._in_position:
            self._frames.append(np.array("".join(self._pieces).split(), dtype=np.float64))
            self._pieces, self._in_position = [], False
        elif tag == "frame":
            self._in_frame = False
        elif tag == "segments":
            self._in_segments = False

    def sheet(self) -> Sheet:
        if len(self._subjects) > 1:
            raise ValueError(f"{len(self._subjects)} people are in it: export one file for each")
        if not self._moments:
            raise ValueError("no frame of type normal in it")
        if len(self._frames) != len(self._moments):
            raise ValueError(
                f"{len(self._frames)} of {len(self._moments)} frames have positions: export with positions of segments"
            )
        segments = self._segments or list(SEGMENTS)
        odd = next((frame for frame in self._frames if len(frame) != 3 * len(segments)), None)
        if odd is not None:
            raise ValueError(f"a frame has {len(odd)} numbers for the positions of {len(segments)} segments")
        notes = (f"{self._calibration} poses of the calibration are left out",) if self._calibration else ()
        epoch, start = np.array(self._moments).T * 1e-3
        has_epoch = bool(np.isfinite(epoch).all() and epoch.min() > 1e8)
        return sheet_of(
            segments,
            np.stack(self._frames).reshape(len(self._frames), len(segments), 3),
            seconds=epoch if has_epoch else start if np.isfinite(start).all() else None,
            epoch=has_epoch,
            rate=self._rate,
            unit="m",
            notes=notes,
        )


def _number(text: str | None) -> float:
    return float(text) if text else np.nan
