"""TRC, tab-separated tracks of markers as Motion Analysis' Cortex and OpenSim write them."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from mmssl.data.formats.markers import of_one_person, sheet_of
from mmssl.data.formats.start import Start
from mmssl.data.sheet import Sheet, Values


def is_trc(start: Start) -> bool:
    return start.suffix == ".trc" or (bool(start.lines) and start.lines[0].startswith("PathFileType"))


def read(path: Path) -> Sheet:
    """Raises ValueError: what is wrong with the file."""
    lines = path.read_text("utf-8-sig", errors="replace").splitlines()
    header = next((i for i, line in enumerate(lines[:20]) if line.lstrip().lower().startswith("frame#")), None)
    if header is None:
        raise ValueError("no line that begins with Frame# and Time: no TRC file")
    about = _about(lines[:header])
    labels = [cell.strip() for cell in lines[header].split("\t")[2:]]
    labels = [label for label in labels if label]
    below = lines[header + 1].split("\t") if header + 1 < len(lines) else []
    axes = [cell.strip().lower() for cell in below if cell.strip()]
    expected = [f"{axis}{i + 1}" for i in range(len(labels)) for axis in "xyz"]
    if axes != expected:
        raise ValueError(
            f"line {header + 2}: X1, Y1, Z1 and so on to Z{len(labels)} are expected for the {len(labels)} markers "
            f"above, not {', '.join(axes)[:60]}"
        )
    if (count := about.get("nummarkers")) and float(count) != len(labels):
        raise ValueError(f"line {header + 1}: {len(labels)} markers, and NumMarkers says {count}")
    values = _values(lines, header + 2, 2 + 3 * len(labels))
    places = values[:, 2:].reshape(len(values), len(labels), 3)
    places[~np.isfinite(places).all(axis=2)] = np.nan
    joints, places, notes = of_one_person(labels, places)
    rate = float(about["datarate"]) if about.get("datarate") else None
    seconds = values[:, 1] if np.isfinite(values[:, 1]).all() else None
    return sheet_of(joints, places, seconds=seconds, rate=rate, unit=about.get("units", ""), notes=notes)


def _about(lines: Sequence[str]) -> dict[str, str]:
    """The header's values by name: DataRate, Units and so on."""
    for names, values in pairwise(lines):
        if names.lower().startswith("datarate"):
            pairs = zip(names.split("\t"), values.split("\t"), strict=False)
            return {name.strip().lower(): value.strip() for name, value in pairs}
    return {}


def _values(lines: Sequence[str], first: int, width: int) -> Values:
    """The numbers, (lines, width); NaN for markers that were not seen, whose cells are empty or missing at the end."""
    rows: list[list[float]] = []
    for number, line in enumerate(lines[first:], first + 1):
        if not line.strip():
            continue
        cells = line.rstrip().split("\t")
        if len(cells) > width:
            raise ValueError(f"line {number}: {len(cells)} cells, and the header has {width}")
        try:
            row = [float(cell) if cell.strip() else np.nan for cell in cells]
        except ValueError as error:
            raise ValueError(
                f"line {number}: {str(error).replace('could not convert string to float', 'no number')}"
            ) from error
        rows.append(row + [np.nan] * (width - len(row)))
    if not rows:
        raise ValueError("no lines below the header")
    return np.array(rows)
