"""Recordings of UTD-MHAD's shapes that need no data: how fast training is does not depend on what it learns."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmssl.data.description import Row
from mmssl.data.protocols import Split
from mmssl.data.recordings import Recordings
from mmssl.data.utd_mhad import DESCRIPTION
from mmssl.recipe import Recipe
from mmssl.study.presets import preset
from mmssl.training.prepared import Prepared

TRAINING = 323
"""Recordings that pre-train where one of the four training subjects is held out."""


def recordings(count: int = TRAINING + 108) -> Recordings:
    draws = np.random.default_rng(0)
    classes = len(DESCRIPTION.classes)
    rows = tuple(
        Row(
            recording_id=f"r{i}",
            label=DESCRIPTION.classes[i % classes],
            subject="1357"[min(3, 3 * i // TRAINING) if count > TRAINING else i % 4],
        )
        for i in range(count)
    )
    joints, channels = DESCRIPTION.modalities["skeleton"].shape, DESCRIPTION.modalities["imu"].shape
    skeleton = [draws.normal(size=(60, *joints)).astype(np.float32) for _ in rows]
    imu = [draws.normal(size=(180, *channels)).astype(np.float32) for _ in rows]
    return Recordings(DESCRIPTION, rows, skeleton, imu)


def prepared(knobs: Mapping[str, Any] | None = None, system: str = "vicreg") -> tuple[Recipe, Prepared, Split]:
    """The paper's recipe of a system, with some knobs changed, and what it trains on."""
    recipe = preset("utd_mhad", system, "paper").with_knobs(knobs or {})
    made = recordings()
    rows = np.arange(len(made))
    train, validation, test = rows[:TRAINING], rows[TRAINING:], rows[:0]
    split = Split("7", train, train, validation, test, ("1", "3", "5"), ("7",), ())
    return recipe, Prepared.of(made, recipe.data.steps, recipe.data.modalities), split
