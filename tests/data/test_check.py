"""Each finding is provoked in a data set that is otherwise without any."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmssl import Recordings, Row
from mmssl.data.check import Finding, examine
from mmssl.data.sources import open_dataset
from mmssl.data.synthetic import generate

Change = Callable[[list[dict[str, str]], list[np.ndarray | None], list[np.ndarray | None]], None]


@pytest.fixture(scope="module")
def sound() -> Recordings:
    return generate(subjects=4, trials=2)


def changed(recordings: Recordings, change: Change) -> list[Finding]:
    """What is found when rows, skeletons and signals are changed."""
    rows = [row.model_dump() for row in recordings.rows]
    skeletons, signals = ([a.copy() for a in recordings.arrays(one)] for one in ("skeleton", "imu"))
    change(rows, skeletons, signals)
    classes = tuple(dict.fromkeys([*recordings.description.classes, *(row["label"] for row in rows)]))
    description = recordings.description.model_copy(update={"classes": classes})
    return examine(
        Recordings(description, [type(recordings.rows[0])(**row) for row in rows], skeletons, signals), steps=24
    )


def the(findings: list[Finding], word: str) -> Finding:
    [found] = [finding for finding in findings if word in finding.what]
    return found


def test_nothing_is_odd_about_sound_recordings(sound: Recordings, tiny: Recordings) -> None:
    assert examine(sound, steps=24) == []
    assert [finding for finding in examine(tiny) if finding.severity != "note"] == []


def test_real_recordings_have_a_sensor_at_its_limit_and_nothing_else(utd_mhad: Path) -> None:
    recordings, _ = open_dataset("utd_mhad", utd_mhad)
    [found] = examine(recordings.where(lambda row: row.subject in ("1", "3", "5", "7")))
    assert (found.severity, found.what) == ("note", "6 of 431 recordings have a sensor at its limit")


def test_missing_pairs_are_counted_for_each_kind_of_system(sound: Recordings) -> None:
    def change(rows, skeletons, signals) -> None:
        signals[3] = skeletons[5] = skeletons[6] = None

    found = the(changed(sound, change), "no skeleton")
    assert found.what == "2 of 96 recordings have no skeleton"
    assert found.where == (sound.rows[5].recording_id, sound.rows[6].recording_id)
    assert found.then == (
        "a head of both modalities uses the 93 that have all, and is scored by them; heads of imu alone 95, heads of "
        "skeleton alone 94"
    )
    assert "the 93 that have all" in the(changed(sound, change), "no imu").then


def test_names_that_differ_in_spelling_alone(sound: Recordings) -> None:
    def change(rows, skeletons, signals) -> None:
        rows[0]["label"] = f"{rows[0]['label'].title()} "
        rows[1]["subject"] = " 1"

    found = changed(sound, change)
    assert "learnt as different classes" in the(found, "class '").then
    assert "one person would train and validate" in the(found, "subject ").then


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (("1", "01"), True),
        (("P1", "p_01"), False),  # A mark between a word and its number is no other spelling of none.
        (("p 1", "P_01"), True),
        (("1", "1.0"), True),  # As a spreadsheet writes a column that lacks a number somewhere.
        (("Jos\u00e9", "Jose\u0301"), True),  # As Linux and macOS write it in names of files.
        (("1", "10"), False),
        (("1", "100"), False),
        (("1.05", "1.5"), False),
        (("10.0", "1.0"), False),
    ],
)
def test_people_who_are_written_in_two_ways(sound: Recordings, names: tuple[str, str], alike: bool) -> None:
    def change(rows, skeletons, signals) -> None:
        for i, row in enumerate(rows):
            row["subject"] = names[i % 2]

    found = [one.what for one in changed(sound, change) if one.what.startswith("subject ")]
    assert len(found) == alike
    assert all(repr(name) in one for name in names for one in found)


def test_copies_between_subjects_are_distinguished_from_those_within(sound: Recordings) -> None:
    ids = [row.recording_id for row in sound.rows]
    within = next(i for i, row in enumerate(sound.rows) if i and row.subject == sound.rows[0].subject)
    between = next(i for i, row in enumerate(sound.rows) if row.subject != sound.rows[0].subject)

    def copy(i: int) -> Change:
        def change(rows, skeletons, signals) -> None:
            signals[i] = signals[0]

        return change

    found = the(changed(sound, copy(within)), "the same numbers")
    assert "they count twice" in found.then
    found = the(changed(sound, copy(between)), "the same numbers")
    assert found.where == (f"{ids[0]} = {ids[between]}",)
    assert "who validates was seen in training" in found.then

    def of_two_cameras(rows, skeletons, signals) -> None:
        signals[within] = signals[0]
        rows[0]["view"], rows[within]["view"] = "1", "2"

    assert changed(sound, of_two_cameras) == []


def test_recordings_of_one_camera_that_pass_for_one_movement(sound: Recordings) -> None:
    """Two repetitions without a number would count as one recording, where each camera's would."""

    def seen(trial: str) -> list[Row]:
        return [
            row.model_copy(
                update={"recording_id": f"{row.recording_id}_{view}", "view": view, "trial": trial or row.trial}
            )
            for view in "12"
            for row in sound.rows
        ]

    def rows(trial: str) -> Recordings:
        arrays = {name: [*sound.arrays(name)] * 2 for name in sound.kinds}
        return Recordings(sound.description, seen(trial), **arrays)

    assert not [one for one in examine(rows("")) if "of cameras" in one.what]
    found = the(examine(rows("1")), "of cameras")
    counts = Counter((row.subject, row.scene, row.session, row.label) for row in sound.rows)
    assert found.what.startswith(f"{2 * sum(n for n in counts.values() if n > 1)} of {2 * len(sound)} recordings")


def test_units_that_are_mixed_matter_and_those_that_are_not_do_not(sound: Recordings) -> None:
    names = sound.description.imu_channels
    acc = [i for i, name in enumerate(names) if name.startswith("acc")]
    gyro = [i for i, name in enumerate(names) if name.startswith("gyro")]

    sizes = [float(np.median(np.linalg.norm(signal[:, acc], axis=1))) for signal in sound.arrays("imu")]
    usual = int(np.argsort(sizes)[len(sizes) // 2])

    def one_in_other_units(rows, skeletons, signals) -> None:
        signals[usual][:, acc] *= 9.81

    found = the(changed(sound, one_in_other_units), "acc_x")
    assert "9.8" in found.what
    assert "g and m/s^2?" in found.what
    assert found.where == (sound.rows[usual].recording_id,)

    def a_subject_in_degrees(rows, skeletons, signals) -> None:
        for row, signal in zip(rows, signals, strict=True):
            if row["subject"] == "2":
                signal[:, gyro] *= 180 / np.pi

    found = the(changed(sound, a_subject_in_degrees), "gyro_x")
    assert "rad/s and deg/s?" in found.what
    assert found.where == ("2",)

    people = sorted({row.subject for row in sound.rows})
    half = people[: len(people) // 2]

    def half_of_the_people_in_other_units(rows, skeletons, signals) -> None:
        for row, signal in zip(rows, signals, strict=True):
            if row["subject"] in half:
                signal[:, acc] /= 9.81
                signal[:, gyro] *= 180 / np.pi

    found = changed(sound, half_of_the_people_in_other_units)
    assert "g and m/s^2?" in the(found, "acc_x").what and "rad/s and deg/s?" in the(found, "gyro_x").what
    odd = {row.subject for row in sound.rows if row.recording_id in the(found, "acc_x").where}
    assert odd in (set(half), set(people) - set(half)), "which half is right nobody knows"

    def all_alike(rows, skeletons, signals) -> None:
        for skeleton, signal in zip(skeletons, signals, strict=True):
            skeleton *= 1000
            signal *= 9.81

    assert changed(sound, all_alike) == []

    def a_subject_in_millimetres(rows, skeletons, signals) -> None:
        for row, skeleton in zip(rows, skeletons, strict=True):
            if row["subject"] == "2":
                skeleton *= 1000

    found = the(changed(sound, a_subject_in_millimetres), "skeletons of some subjects")
    assert (found.severity, found.then) == ("note", "harmless: each is divided by its own body length")


@pytest.mark.parametrize(
    ("word", "change"),
    [
        ("fewer than 8 frames", lambda rows, skeletons, signals: skeletons.__setitem__(2, skeletons[2][:3])),
        ("imu: 1 of 96 recordings stand still", lambda rows, s, signals: signals[2][20:].fill(0.5)),
        ("skeleton: 1 of 96 recordings stand still", lambda rows, s, signals: s[2][10:].__setitem__(..., s[2][10])),
        ("channels that do not change", lambda rows, s, signals: signals[2][:, 1].__setitem__(..., 0.5)),
        ("the same throughout", lambda rows, s, signals: [x[:, 1].__setitem__(..., 0.5) for x in signals]),
        ("exactly at the origin", lambda rows, s, signals: s[2][4:6, 5].__setitem__(..., 0)),
        ("at zero throughout", lambda rows, s, signals: [x[:, 5].__setitem__(..., 0) for x in s]),
        ("sensor at its limit", lambda rows, s, signals: [np.clip(x, -1, 1, out=x) for x in signals]),
        ("the usual", lambda rows, s, signals: signals.__setitem__(2, np.tile(signals[2], (3, 1)))),
        ("classes are uneven", lambda rows, s, signals: [row.update(label="bow") for row in rows[:80]]),
        ("all recordings are of one class", lambda rows, s, signals: [row.update(label="bow") for row in rows]),
        ("fewer than 8 recordings", lambda rows, s, signals: [row.update(subject="9") for row in rows[:3]]),
        ("do not show every class", lambda rows, s, signals: [row.update(subject="9") for row in rows[:9]]),
        ("begin with", lambda rows, s, signals: s[2][0].__imul__(0.3)),
    ],
)  # fmt: skip
def test_each_oddity_is_found(sound: Recordings, word: str, change: Change) -> None:
    found = the(changed(sound, change), word)
    assert found.severity == ("note" if word in ("sensor at its limit", "do not show every class") else "warning")
    if "1 of 96" in found.what:
        assert found.where[0].startswith(sound.rows[2].recording_id)


def test_short_recordings_are_noted_as_stretched(sound: Recordings) -> None:
    found = the(examine(sound, steps=500), "skeleton: ")
    assert (found.severity, "data.steps=" in found.then) == ("note", True)
