"""What the numbers in a folder's files mean: as its description says, else by their headers."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mmssl.data.columns import no_signal, spelt
from mmssl.data.csv_table import TableLine
from mmssl.data.description import FLAT_ENTRIES, Description, check_name, modalities_in
from mmssl.data.recording_file import Opened
from mmssl.errors import UserError, nearest
from mmssl.recipe import USUAL, explain
from mmssl.yaml_file import read as read_yaml

DESCRIPTION = "description.yaml"

JOINT_AXIS = re.compile(r"(.+?)(?:[_. ]([xyzXYZ])|(?<=[a-z0-9])([XYZ]))")
_ROOTS = ("pelvis", "hip_center", "hips", "mid_hip", "spine_base", "waist", "hip", "root", "torso", "left_hip")
_TOPS = ("neck", "shoulder_center", "spine_shoulder", "chest", "thorax", "mid_shoulder", "head", "left_shoulder")
_TRIAD = re.compile(
    r"(?:(?:(?P<place>.*)[_. ])?(?P<kind>(?:linear[_. ])?(?:a|acc|accel|acceleration|accelerometer)|grav|gravity|g|gyr|"
    r"gyro|gyroscope|m|mag|magnetometer)[_. ]?)?(?P<axis>[xyz])",
    re.IGNORECASE,
)


def given_in(folder: Path) -> dict[str, Any]:
    """The entries of the folder's description; none where there is no such file.

    Raises:
        UserError: it cannot be read, or has unknown entries.
    """
    path = folder / DESCRIPTION
    if not path.exists():
        return {}
    document, mistakes = read_yaml(path, "a description is a mapping, as `root_joint: pelvis`")
    names = [*Description.model_fields, *FLAT_ENTRIES]
    mistakes += [f"{key}: no such entry; {nearest(str(key), names)}" for key in document if key not in names]
    if mistakes:
        raise UserError(f"{path}:\n  " + "\n  ".join(mistakes))
    try:
        modalities = modalities_in(document)
        for name in modalities:
            check_name(name)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    return {key: value for key, value in document.items() if key not in FLAT_ENTRIES} | {"modalities": modalities}


def description_of(
    folder: Path,
    lines: Sequence[TableLine],
    headers: Mapping[str, Opened],
    given: Mapping[str, Any],
    like: Description | None,
    notes: list[str],
    annotated: Collection[str] = (),
) -> Description:
    """The description, from the given entries and otherwise from the headers.

    Args:
        annotated: labels of intervals, which are classes too; where they alone are, and nothing says which classes
            there are, the windows will.

    Raises:
        UserError: an entry can be found in neither, or they contradict each other.
    """
    document: dict[str, Any] = {"name": folder.resolve().name}
    earlier: dict[str, dict[str, Any]] = {}
    if like:
        document |= {"name": like.name, "classes": like.classes, "protocols": like.protocols}
        earlier = {
            name: {"kind": modality.kind, **modality.model_dump(exclude_unset=True)}
            for name, modality in like.modalities.items()
        }
    here = given.get("modalities", {})
    modalities = {name: {**earlier.get(name, {}), **here.get(name, {})} for name in {**earlier, **here}}
    document |= given
    labels = {line.row.label for line in lines} - {""}
    every = labels | set(annotated)
    document = {**document, "classes": document.get("classes", sorted(every) if labels else []) if every else []}
    for name in dict.fromkeys(name for line in lines for name in sorted(line.files, reverse=True)):
        own = modalities.setdefault(name, {})
        there = [headers[place] for line in lines if (place := line.files.get(name)) and place in headers]
        if not there:
            continue
        if own.setdefault("kind", USUAL.get(name) or _kind(_most(there))) == "skeleton":
            _infer_skeleton(folder, name, own, there, notes)
        else:
            _infer_signal(name, own, there, notes)
    document["modalities"] = {name: own for name, own in modalities.items() if own}
    try:
        return Description.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{folder / DESCRIPTION}:\n  " + "\n  ".join(explain(error))) from error


def _most(headers: Sequence[Opened]) -> tuple[str, ...]:
    """The columns of most files."""
    return Counter(header.names for header in headers).most_common(1)[0][0]


def _axes(columns: Sequence[str]) -> dict[str, list[str]]:
    """The axes that each joint has columns of."""
    axes: dict[str, list[str]] = defaultdict(list)
    for name in columns:
        if match := JOINT_AXIS.fullmatch(name):
            axes[match[1]].append((match[2] or match[3]).lower())
    return axes


def _kind(columns: Sequence[str]) -> str:
    """`skeleton` where most of a file's columns are positions of joints; acc_x is none."""
    joints = [
        axes for axes in _axes([name for name in columns if not _TRIAD.fullmatch(name)]).values() if len(axes) > 1
    ]
    return "skeleton" if len(joints) > 2 and 2 * sum(map(len, joints)) > len(columns) else "signal"


def _infer_skeleton(
    folder: Path, modality: str, document: dict[str, Any], headers: Sequence[Opened], notes: list[str]
) -> None:
    if "joints" not in document or "coordinates" not in document:
        columns = _most(headers)
        axes = _axes(columns)
        if not axes:
            raise UserError(
                f"{folder}: {modality}: skeletons need columns as pelvis_x,pelvis_y; theirs begin "
                f"{','.join(columns)[:100]!r}"
            )
        found = Counter(tuple(sorted(one)) for one in axes.values()).most_common(1)[0][0]
        document.setdefault("coordinates", list(found))
        document.setdefault("joints", [joint for joint, one in axes.items() if tuple(sorted(one)) == found])
    joints = [str(joint) for joint in document["joints"]]
    notes.append(f"{modality}: {len(joints)} joints in {len(document['coordinates'])}-D: {', '.join(joints)}")
    by_plain = {re.sub(r"[^a-z]+", "", joint.lower()): joint for joint in joints}
    if "root_joint" not in document:
        root, top = (
            next((by_plain[plain] for name in names if (plain := name.replace("_", "")) in by_plain), None)
            for names in (_ROOTS, _TOPS)
        )
        if root is None or (top is None and "scale_joints" not in document):
            indent, above = ("  ", "") if modality in USUAL else ("      ", f"  modalities:\n    {modality}:\n")
            raise UserError(
                f"{folder}: its joints' names do not say which is the body's middle, and which two are a fixed length "
                f"apart; write into {folder / DESCRIPTION}, with two of {', '.join(joints)}:\n{above}"
                + "\n".join(
                    f"{indent}{line}"
                    for line in (
                        "root_joint: NAME             # becomes the origin; the middle of several: [NAME, NAME]",
                        "scale_joints: [NAME, NAME]   # their distance is the unit of length, as from hip to shoulder",
                    )
                )
            )
        document["root_joint"] = root
        document.setdefault("scale_joints", [root, top])
        first, second = (place if isinstance(place, str) else " and ".join(place) for place in document["scale_joints"])
        notes.append(
            f"{modality}: origin {root}, unit of length {first} to {second}, by their names; {DESCRIPTION} can say "
            "otherwise"
        )


def _infer_signal(modality: str, document: dict[str, Any], headers: Sequence[Opened], notes: list[str]) -> None:
    document.setdefault("channels", [name for name in _most(headers) if not no_signal(name)])
    channels = [str(channel) for channel in document["channels"]]
    units = _units(headers)
    if "units" not in document and units.keys() >= set(channels):
        document["units"] = [units[channel] for channel in channels]
    if "sensors" not in document:
        sensors: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
        for channel in channels:
            if match := _TRIAD.fullmatch(channel):
                sensors[match["place"] or ""][(match["kind"] or "").lower()][match["axis"].lower()] = channel
        whole = {
            place: [[axes["x"], axes["y"], axes["z"]] for axes in kinds.values() if len(axes) == 3]
            for place, kinds in sensors.items()
        }
        document["sensors"] = [triads for triads in whole.values() if triads]
        titles = [
            f"{place or 'one sensor'} ({', '.join(k or 'x, y, z' for k, axes in kinds.items() if len(axes) == 3)})"
            for place, kinds in sensors.items()
            if whole[place]
        ]
        turned = f"sensors: {'; '.join(titles)}" if titles else "no triads like acc_x,acc_y,acc_z: no sensor is turned"
    else:
        count = len(document["sensors"])
        turned = f"{count} sensor{'s' * (count != 1)}, as described"
    notes.append(f"{modality}: {len(channels)} channels: {', '.join(channels)}; {turned}")


def _units(headers: Sequence[Opened]) -> dict[str, str]:
    """Of each column whose unit some files say, that of most of them; the others are faulty."""
    given: dict[str, list[str]] = defaultdict(list)
    for header in headers:
        for name, unit in zip(header.names, header.units, strict=False):
            given[name] += [unit] if unit else []
    usual = {name: Counter(map(spelt, units)).most_common(1)[0][0] for name, units in given.items() if units}
    return {name: next(unit for unit in given[name] if spelt(unit) == spelling) for name, spelling in usual.items()}
