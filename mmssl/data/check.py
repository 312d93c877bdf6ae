"""Findings on recordings that can be read: what is odd, its effect on a study, and the remedy."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np
import numpy.typing as npt

from mmssl.data.description import Skeleton, joints_of, spelling
from mmssl.data.mounting import turned, without_gravity
from mmssl.data.offsets import shift_of
from mmssl.data.recordings import UNLABELLED, Array, Recordings, content_of

SHORT = 8
"""Frames or samples; fewer show no movement."""
FEW = 8
"""Recordings of a subject; with fewer, one recording moves an accuracy by an eighth and more."""
_ACCELERATION = re.compile(r"(^|[_. ])(a|acc|accel|accelerometer)[_. ]?x$", re.IGNORECASE)
_NAMED_RATIOS = ((9.81, "g and m/s^2"), (57.3, "rad/s and deg/s"), (1000.0, "units a thousand apart, as g and mg"))


@dataclass(frozen=True)
class Finding:
    """One thing that is odd."""

    severity: Literal["error", "warning", "note"]
    """error: `launch` refuses. warning: it goes on, and the result may mislead. note: harmless, or as it should be."""
    what: str
    """The fault, and how much of it there is."""
    then: str = ""
    """The effect on a study, and the remedy."""
    where: tuple[str, ...] = ()
    """The recordings, subjects or channels that have it."""


def examine(recordings: Recordings, steps: int = 50) -> list[Finding]:
    """All findings, the worst first.

    Of recordings that stay in their file it looks at `Recordings.to_check`.

    Args:
        steps: the length to which a study resamples.
    """
    total, recordings = len(recordings), recordings.to_check()
    checks: tuple[Callable[[Recordings], Iterable[Finding]], ...] = (
        _spellings, _copies, _views, _units, _counts, _pairs, _lengths, _still, _joints, _channels, _spans, _axes,
        _gravity, _shifts,
    )  # fmt: skip
    found = [finding for check in checks for finding in check(recordings)]
    found += _stretched(recordings, steps)
    if len(recordings) < total:
        labelled = int((recordings.labels != UNLABELLED).sum())
        what = f"{len(recordings)} of {total} recordings were looked at, {labelled} with a label"
        found.append(Finding("note", what, "more would not fit into memory; all were read for faults"))
    return sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.severity))


def _each(recordings: Recordings, modality: str) -> Iterator[tuple[str, str, Array]]:
    """Id, subject and array of each recording that has the modality."""
    for row, array in zip(recordings.rows, recordings.arrays(modality), strict=True):
        if array is not None:
            yield row.recording_id, row.subject, array


def _of(some: int, all_: int, what: str = "recordings") -> str:
    return f"{some} of {all_} {what}"


def _spellings(recordings: Recordings) -> Iterator[Finding]:
    """Names of classes or subjects that differ in spelling alone."""
    for what, names, then in (
        ("class", recordings.description.classes, "they are learnt as different classes"),
        ("subject", recordings.subjects, "one person would train and validate: the scores would be too good"),
    ):
        alike: dict[str, list[str]] = defaultdict(list)
        for name in names:
            alike[spelling(name)].append(name)
        for several in alike.values():
            if len(several) > 1:
                spelt = " and ".join(map(repr, several))
                yield Finding("warning", f"{what} {spelt} differ in spelling alone", f"{then}; spell them alike")


def _copies(recordings: Recordings) -> Iterator[Finding]:
    """Recordings with the same numbers under several ids."""
    for modality in recordings.kinds:
        alike: dict[bytes, list[int]] = defaultdict(list)
        for i, array in enumerate(recordings.arrays(modality)):
            if array is not None and (content := content_of(array)):
                alike[content].append(i)
        copies: list[tuple[str, ...]] = []
        between = 0
        for group in alike.values():
            rows = [recordings.rows[i] for i in group]
            # Several cameras share one recording of a signal.
            if len({row.view for row in rows}) == len(rows):
                rows = rows[:1]
            if len(rows) > 1:
                copies.append(tuple(row.recording_id for row in rows))
                between += len({row.subject for row in rows}) > 1
        if copies:
            then = (
                f"{between} of them between subjects: who validates was seen in training, and the scores are too good"
                if between
                else "within a subject: they count twice"
            )
            yield Finding(
                "warning",
                f"{modality}: the same numbers under {len(copies[0])} ids"
                + (f", and so {len(copies) - 1} times more" if len(copies) > 1 else ""),
                f"{then}; take the copies out",
                tuple(" = ".join(ids) for ids in copies),
            )


def _views(recordings: Recordings) -> Iterator[Finding]:
    """Recordings of one camera that pass for one movement, as nothing tells them apart."""
    alike: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for row in recordings.rows:
        if row.view and row.label:
            alike[row.unit, row.view][row.source or row.recording_id] = None
    several = [tuple(names) for names in alike.values() if len(names) > 1]
    if several:
        total = len({name for names in alike.values() for name in names})
        yield Finding(
            "warning",
            f"{_of(sum(map(len, several)), total)} of cameras have camera, subject, scene, session, trial and label in "
            "common with another",
            "they pass for one movement, in intervals of confidence and where labels are drawn: number them by trial",
            tuple(" = ".join(names) for names in several),
        )


def _units(recordings: Recordings) -> Iterator[Finding]:
    """Units that differ between recordings; one that is the same throughout is standardised away."""
    for modality, signal in recordings.description.signals.items():
        for triad in signal.triads:
            yield from _units_of(recordings, modality, triad, [signal.channels.index(name) for name in triad])


def _units_of(recordings: Recordings, modality: str, triad: Sequence[str], at: list[int]) -> Iterator[Finding]:
    """Units of one triad of channels."""
    sizes: dict[str, float] = {}
    subjects: dict[str, list[float]] = defaultdict(list)
    for name, subject, signal in _each(recordings, modality):
        size = np.linalg.norm(signal[:, at].astype(np.float64), axis=1)
        # Gravity dominates an acceleration, so that each recording can be compared, though vigorous movement has
        # several times as much; of other signals movement is all, and subjects are compared.
        sizes[name] = float(np.median(size))
        subjects[subject].append(float(np.sqrt(np.mean(size**2))))
    if not sizes:
        return
    named = f"{modality} {', '.join(triad)}"
    if _ACCELERATION.search(triad[0]):
        middle, usual = _commonest(np.array(list(sizes.values())))
        odd = [name for name, value in sizes.items() if middle > 0 and not 1 / 5 < value / middle < 5]
        if odd:
            others = float(np.median([sizes[name] for name in sizes.keys() - set(odd)]))
            ratio = _apart([sizes[name] / others for name in odd])
            # Two devices may have half of the recordings each, by units that are known.
            also = _commonest(np.array([sizes[name] for name in odd]))[1]
            halves = usual + also > 0.5 * len(sizes) and also > 0.5 * len(odd) and _ratio_words(ratio)
            if usual > 0.5 * len(sizes) or halves:
                yield _mixed(named, ratio, tuple(odd), len(sizes))
    else:
        means = {subject: float(np.median(values)) for subject, values in subjects.items()}
        middle = float(np.percentile(list(means.values()), 50, method="lower"))  # Of two halves one is the usual.
        odd = [subject for subject, value in means.items() if middle > 0 and not 0.05 < value / middle < 20]
        if odd:
            yield _mixed(named, _apart([means[one] / middle for one in odd]), tuple(odd), len(means), "subjects")


def _commonest(values: npt.NDArray[np.float64]) -> tuple[float, int]:
    """The value within a quarter of which most values lie, and how many these are."""
    ordered = np.sort(values)
    near = np.searchsorted(ordered, 1.25 * ordered, "right") - np.searchsorted(ordered, 0.75 * ordered)
    at = int(near.argmax())
    return float(ordered[at]), int(near[at])


def _acceleration_triads(recordings: Recordings) -> Iterator[tuple[str, str, list[int]]]:
    """The modality, the first channel and the three indices of each triad of accelerations."""
    for modality, signal in recordings.description.signals.items():
        for triad in signal.triads:
            if _ACCELERATION.search(triad[0]):
                yield modality, triad[0], [signal.channels.index(name) for name in triad]


def _axes(recordings: Recordings) -> Iterator[Finding]:
    """People whose gravity or body axis points along another axis than most people's."""
    pointing: list[tuple[str, Sequence[str], dict[str, list[npt.NDArray[np.float64]]]]] = []
    for modality, skeleton in recordings.description.skeletons.items():
        body: dict[str, list[npt.NDArray[np.float64]]] = defaultdict(list)
        for _, subject, array in _each(recordings, modality):
            body[subject].append(np.median(skeleton.trunk(array), axis=0).astype(np.float64))
        pointing.append((f"{modality}: {skeleton.length}", skeleton.coordinates, body))
    for modality, name, at in _acceleration_triads(recordings):
        felt: dict[str, list[npt.NDArray[np.float64]]] = defaultdict(list)
        for _, subject, array in _each(recordings, modality):
            felt[subject].append(array[:, at].mean(axis=0, dtype=np.float64))
        pointing.append((f"{modality}: gravity in {name} and its triad", "xyz", felt))
    for what, axes, directions in pointing:
        if odd := turned(directions, axes):
            yield Finding(
                "warning",
                f"{what} points along {odd.usual} for most subjects and along {odd.theirs} for "
                f"{_of(len(odd.people), len(directions), 'subjects')}",
                "axes swapped, or a sensor worn another way round? Give all the same axes",
                odd.people,
            )


def _gravity(recordings: Recordings) -> Iterator[Finding]:
    for modality, name, at in _acceleration_triads(recordings):
        signals = {
            one: signal[:, at].astype(np.float64)
            for one, _, signal in _each(recordings, modality)
            if len(signal) >= SHORT
        }
        if odd := tuple(without_gravity(signals)):
            yield Finding(
                "warning",
                f"{modality} {name} and its triad: {_of(len(odd), len(signals))} are without the gravity that the "
                "others have",
                "a device that takes gravity out? Export all with it, or all without",
                odd,
            )


def _shifts(recordings: Recordings) -> Iterator[Finding]:
    description = recordings.description
    for body, signal in product(description.skeletons, description.signals):
        if found := shift_of(recordings, body, signal):
            yield Finding(
                "warning",
                f"{signal} seems to begin {abs(found.seconds):.2f} s {'after' if found.seconds > 0 else 'before'} "
                f"{body}: so {found.joint} moves as the signal does (correlation {found.correlation:.2f}, "
                f"{found.unshifted:.2f} unshifted; {_of(found.agree, found.recordings)} alike)",
                "nothing is shifted; if there is no better clock, import again with --offset "
                f"{signal}=start{found.seconds:+.2f}s",
            )


def _apart(ratios: Sequence[float]) -> float:
    return float(np.median([max(ratio, 1 / ratio) if ratio > 0 else np.inf for ratio in ratios]))


def _ratio_words(ratio: float) -> str:
    """The units that are so far apart; empty where none are known."""
    return next((name for times, name in _NAMED_RATIOS if 0.7 < ratio / times < 1.4), "")


def _mixed(channels: str, ratio: float, where: tuple[str, ...], total: int, what: str = "recordings") -> Finding:
    guess = f": {units}?" if (units := _ratio_words(ratio)) else ""
    size = f"{ratio:.3g} times" if np.isfinite(ratio) else "without end"
    return Finding(
        "warning",
        f"{channels}: {_of(len(where), total, what)} {size} larger or smaller than the others{guess}",
        "all are standardised together, so that these would stand apart by their unit; give all the same",
        where,
    )


def _counts(recordings: Recordings) -> Iterator[Finding]:
    labelled = [row for row in recordings.rows if row.label]
    if len(labelled) < len(recordings):
        yield Finding(
            "note",
            f"{_of(len(recordings) - len(labelled), len(recordings))} have no label",
            "they pre-train, unless they are of people who are held out or test; no head and no score sees them",
        )
    classes = Counter(row.label for row in labelled)
    if len(classes) == 1:
        yield Finding("warning", "all recordings are of one class", "there is nothing to tell apart")
    absent = tuple(name for name in recordings.description.classes if name not in classes)
    if absent and len(recordings.subjects) > 1:
        yield Finding("note", f"{len(absent)} classes without a recording", "the head has an output for them", absent)
    (most, many), *_, (least, few) = classes.most_common() if len(classes) > 1 else [("", 0), ("", 0)]
    if few and many >= 5 * few:
        yield Finding(
            "warning",
            f"classes are uneven: {many} of {most}, {few} of {least}",
            f"whoever always says {most} is right in {many / len(labelled):.0%}: read F1 (--by val.f1)",
        )
    subjects = Counter(row.subject for row in labelled)
    small = tuple(f"{name} ({count})" for name, count in subjects.items() if count < FEW)
    if small:
        yield Finding(
            "warning",
            f"{_of(len(small), len(subjects), 'subjects')} have fewer than {FEW} recordings",
            "in the fold that holds one out, a single recording moves the accuracy by an eighth or more",
            small,
        )
    lacking = {
        subject: [name for name in classes if not shown[name]]
        for subject in recordings.subjects
        if (shown := Counter(row.label for row in labelled if row.subject == subject))
    }
    some = tuple(f"{subject}: {', '.join(names)}" for subject, names in lacking.items() if names)
    if some:
        yield Finding(
            "note",
            f"{_of(len(some), len(subjects), 'subjects')} do not show every class",
            "their folds score the classes that they show",
            some,
        )


def _pairs(recordings: Recordings) -> Iterator[Finding]:
    total, names = len(recordings), list(recordings.kinds)
    lacking = {modality: recordings.lacking([modality]) for modality in names}
    if len(names) == 1:
        yield Finding(
            "note",
            f"{names[0]} alone",
            f"choose a system of it, as --system vicreg_{names[0]}; those across modalities need two or more",
        )
        return
    every = total - len(recordings.lacking(names))
    for modality in names:
        alone = [f"heads of {one} alone {total - len(lacking[one])}" for one in names]
        if lacking[modality]:
            yield Finding(
                "warning",
                f"{_of(len(lacking[modality]), total)} have no {modality}",
                f"a head of {'both' if len(names) == 2 else 'all'} modalities uses the {every} that have all, and is "
                f"scored by them; {', '.join(alone)}",
                lacking[modality],
            )


def _lengths(recordings: Recordings) -> Iterator[Finding]:
    for modality in recordings.kinds:
        unit = recordings.description.modalities[modality].lines
        short = tuple(f"{name} ({len(array)})" for name, _, array in _each(recordings, modality) if len(array) < SHORT)
        if short:
            yield Finding(
                "warning",
                f"{_of(len(short), len(recordings))} have fewer than {SHORT} {unit} of {modality}",
                "they are stretched and used, and show next to no movement; take them out",
                short,
            )


def _stretched(recordings: Recordings, steps: int) -> Iterator[Finding]:
    for modality in recordings.kinds:
        unit = recordings.description.modalities[modality].lines
        lengths = [len(array) for _, _, array in _each(recordings, modality)]
        if lengths and np.median(lengths) < steps:
            yield Finding(
                "note",
                f"{modality}: {np.median(lengths):g} {unit} in the middle, and data.steps is {steps}",
                f"interpolated, which harms nothing; --set data.steps={max(16, int(np.median(lengths)))} trains faster",
            )


def _longest_run(array: Array) -> int:
    """The largest number of equal lines in a row."""
    if len(array) == 1:
        return 1
    flat = array.reshape(len(array), -1)
    changes = np.flatnonzero((flat[1:] != flat[:-1]).any(axis=1)) + 1
    return int(np.diff(np.concatenate([[0], changes, [len(array)]])).max())


def _still(recordings: Recordings) -> Iterator[Finding]:
    """Recordings that repeat a line for long: a sensor stopped, or a tracker lost the body."""
    for modality in recordings.kinds:
        stuck = tuple(
            f"{name} ({run} of {len(array)})"
            for name, _, array in _each(recordings, modality)
            if len(array) >= SHORT and (run := _longest_run(array)) >= max(SHORT, len(array) / 4)
        )
        if stuck:
            yield Finding(
                "warning",
                f"{modality}: {_of(len(stuck), len(recordings))} stand still to the last digit for a quarter or more",
                "a sensor that stopped, or a body that was lost? They are used as they are; take them out",
                stuck,
            )


def _joints(recordings: Recordings) -> Iterator[Finding]:
    skeletons = recordings.description.skeletons
    for modality, skeleton in skeletons.items():
        if arrays := list(_each(recordings, modality)):
            yield from _joints_of(skeleton, arrays, f"{modality}: " if len(skeletons) > 1 else "")


def _joints_of(skeleton: Skeleton, skeletons: list[tuple[str, str, Array]], of: str) -> Iterator[Finding]:
    """Findings on one modality's joints; `of` names it where there are several."""
    zero: dict[str, int] = Counter()
    never = np.ones(len(skeleton.joints), dtype=bool)
    for _, _, array in skeletons:
        at_zero = (array == 0).all(axis=2)
        never &= at_zero.all(axis=0)
        for joint in np.flatnonzero(at_zero.any(axis=0) & ~at_zero.all(axis=0)):
            zero[skeleton.joints[joint]] += int(at_zero[:, joint].sum())
    root = joints_of(skeleton.root_joint)
    absent = tuple(name for name, one in zip(skeleton.joints, never, strict=True) if one and name not in root)
    if absent:
        yield Finding(
            "warning", f"{of}joints that are at zero throughout", "they carry nothing; leave them out", absent
        )
    if zero:
        yield Finding(
            "warning",
            f"{of}joints exactly at the origin in {sum(zero.values())} places",
            "joints that were not seen are often written so; they are used as places: write nothing there, and import "
            "with --fill-gaps",
            tuple(f"{name} ({count})" for name, count in zero.items()),
        )
    odd: list[str] = []
    medians: dict[str, list[float]] = defaultdict(list)
    for name, subject, array in skeletons:
        lengths = np.linalg.norm(skeleton.trunk(array).astype(np.float64), axis=1)
        ratio = lengths[0] / np.median(lengths) if np.median(lengths) > 0 else np.inf
        if not 0.5 < ratio < 2:
            odd.append(f"{name} ({ratio:.2g})")
        medians[subject].append(float(np.median(lengths)))
    if odd:
        yield Finding(
            "warning",
            f"{of}{_of(len(odd), len(skeletons))} begin with {skeleton.length} less than half "
            "or more than twice as long as later",
            "the first frame gives the unit of length, so that these come out too large or too small; begin them with "
            "a frame that shows the body upright",
            tuple(odd),
        )
    sizes = [float(np.median(values)) for values in medians.values()]
    if max(sizes) > 10 * min(sizes):
        yield Finding(
            "note",
            f"{of}skeletons of some subjects are {max(sizes) / min(sizes):.3g} times as large: metres and millimetres?",
            "harmless: each is divided by its own body length",
        )


def _channels(recordings: Recordings) -> Iterator[Finding]:
    signals = recordings.description.signals
    for modality, signal in signals.items():
        if arrays := list(_each(recordings, modality)):
            yield from _channels_of(signal.channels, arrays, f"{modality}: " if len(signals) > 1 else "")


def _channels_of(names: tuple[str, ...], signals: list[tuple[str, str, Array]], of: str) -> Iterator[Finding]:
    """Findings on one modality's channels; `of` names it where there are several."""
    low = np.min([array.min(axis=0) for _, _, array in signals], axis=0)
    high = np.max([array.max(axis=0) for _, _, array in signals], axis=0)
    constant = low == high
    if constant.any():
        yield Finding(
            "warning",
            f"{of}channels that are the same throughout",
            "they carry nothing; leave them out",
            tuple(f"{name} ({low[i]:g})" for i, name in enumerate(names) if constant[i]),
        )
    dead = [
        f"{name}: {', '.join(names[int(i)] for i in np.flatnonzero(still))}"
        for name, _, array in signals
        if len(array) >= SHORT and (still := (array == array[0]).all(axis=0) & ~constant).any() and not still.all()
    ]
    if dead:
        yield Finding(
            "warning",
            f"{of}{_of(len(dead), len(signals))} have channels that do not change",
            "a sensor that was off? They are used as they are",
            tuple(dead),
        )
    clipped = [_clipped(array, low, high) & ~constant for _, _, array in signals]
    often = np.sum(clipped, axis=0)
    if often.any():
        yield Finding(
            "note",
            f"{of}{_of(sum(bool(one.any()) for one in clipped), len(signals))} have a sensor at its limit",
            "peaks are cut off there; nothing is done about it, a sensor with a wider range would record them",
            tuple(f"{name} ({often[i]} at {low[i]:g} or {high[i]:g})" for i, name in enumerate(names) if often[i]),
        )


def _clipped(array: Array, low: Array, high: Array) -> npt.NDArray[np.bool_]:
    """Whether each channel stays at an end of all recordings' range for three samples or more, (channels,)."""
    if len(array) < 3 or not ((array == low) | (array == high)).any():
        return np.zeros(array.shape[1], dtype=bool)
    stay = np.zeros(array.shape[1], dtype=bool)
    for limit in (low, high):
        at = array == limit
        # A channel with a handful of values, as a switch has, is at its ends all the time.
        stay |= (at[:-2] & at[1:-1] & at[2:]).any(axis=0) & (at.mean(axis=0) < 0.5)
    return stay


def _spans(recordings: Recordings) -> Iterator[Finding]:
    """Recordings whose modalities do not span the same time, as a study assumes."""
    for one, other in combinations(recordings.kinds, 2):
        arrays = zip(recordings.rows, recordings.arrays(one), recordings.arrays(other), strict=True)
        ratios = {row.recording_id: len(a) / len(b) for row, a, b in arrays if a is not None and b is not None}
        if not ratios:
            continue
        middle = float(np.median(list(ratios.values())))
        odd = tuple(f"{name} ({ratio:.3g})" for name, ratio in ratios.items() if not 0.5 < ratio / middle < 2)
        lines = recordings.description.modalities[one].lines
        if odd:
            yield Finding(
                "warning",
                f"{_of(len(odd), len(ratios), 'pairs')} have twice or half the usual {middle:.3g} {lines} of {one} "
                f"to one of {other}",
                "both modalities are taken to span the same time, and here they do not; cut them to the same moments",
                odd,
            )
