"""C3D, the binary format of motion capture systems (c3d.org), by ezc3d."""

import struct
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mmssl.data.formats.markers import of_one_person, sheet_of
from mmssl.data.formats.start import Start
from mmssl.data.sheet import Sheet

_COMPUTED = ("ANGLES", "FORCES", "MOMENTS", "POWERS", "SCALARS", "REACTIONS")
"""Groups of POINT that name values which Plug-in Gait and others write among the points and which are no positions."""

_BLOCK = 512
_ORDERS = {84: "<", 85: "<", 86: ">"}
"""Byte orders, by the kind of processor: PC, DEC, MIPS."""


def is_c3d(start: Start) -> bool:
    """The second byte of every C3D file is 0x50."""
    return start.suffix == ".c3d" or (start.head[1:2] == b"\x50" and b"POINT" in start.head)


def read(path: Path) -> Sheet:
    """Raises ValueError: what is wrong with the file."""
    try:
        ezc3d: Any = import_module("ezc3d")
    except ImportError as error:
        raise ValueError(
            "C3D files are read by ezc3d, which is not installed: pip install 'mmssl-tune[c3d]'"
        ) from error
    _check_length(path)
    try:
        file: Any = ezc3d.c3d(str(path))
        points: Any = file["data"]["points"]
        residuals: Any = file["data"]["meta_points"]["residuals"]
        about: Any = file["parameters"]["POINT"]
        rate = float(about["RATE"]["value"][0])
    except (OSError, RuntimeError, LookupError, ValueError) as error:
        raise ValueError(f"no readable C3D file ({str(error)[:200]})") from error
    labels = [str(name) for key in about if _is_list(key, "LABELS") for name in about[key]["value"]]
    places = np.moveaxis(np.array(points[:3], dtype=np.float64), (0, 1, 2), (2, 1, 0))
    if not places.size:
        raise ValueError("no points in it")
    labels += [""] * (places.shape[1] - len(labels))
    # A residual below 0 says that the marker was not seen; that the place is 0, 0, 0 or the one before is an accident.
    places[(np.array(residuals)[0].T < 0) | ~np.isfinite(places).all(axis=2)] = np.nan
    computed = {
        str(name) for key in about if any(_is_list(key, one) for one in _COMPUTED) for name in about[key]["value"]
    }
    keep = [i for i, label in enumerate(labels[: places.shape[1]]) if label not in computed]
    joints, places, notes = of_one_person([labels[i] for i in keep], places[:, keep])
    if computed:
        notes += ("angles, forces, moments and powers among the points are not read",)
    unit = "".join(about.get("UNITS", {"value": [""]})["value"][:1]).strip()
    return sheet_of(joints, places, rate=rate or None, unit=unit, notes=notes)


def _check_length(path: Path) -> None:
    """Check that the file is not cut off, which ezc3d 1.7.2 does not always find.

    Raises:
        ValueError: it is shorter than it says.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(_BLOCK)
        file.seek(max(0, header[0] - 1) * _BLOCK if header else 0)
        about = file.read(4)
    if len(header) < _BLOCK or len(about) < 4 or about[3] not in _ORDERS:
        raise ValueError(
            f"no readable C3D file: it ends after {size} bytes, or its parameters do not begin where it says"
        )
    order = _ORDERS[about[3]]
    points, analogue, first, last = struct.unpack(f"{order}4H", header[2:10])
    (start,) = struct.unpack(f"{order}H", header[16:18])
    # A scale below 0 says that numbers have four bytes; its sign is the first bit, whatever the kind of number.
    sign = header[15] if order == "<" else header[12]
    frames = max(0, last - first + 1)
    data = frames * (4 * points + analogue) * (4 if sign & 0x80 else 2)
    whole = max((start - 1) * _BLOCK + data, (header[0] - 1 + about[2]) * _BLOCK)
    if size < whole:
        raise ValueError(f"the file is cut off: it has {size} bytes, and {whole} by its header")


def _is_list(key: str, name: str) -> bool:
    """Whether a key holds a part of a list: lists of more than 255 go on in LABELS2, LABELS3."""
    return key == name or (key.startswith(name) and key[len(name) :].isdigit())
