"""The joints of pose estimators' body models, in their order."""

from collections.abc import Sequence

_ARM = ("shoulder", "elbow", "wrist")
_LEGS = ("hip", "knee", "ankle")


def _pairs(*joints: str) -> tuple[str, ...]:
    return tuple(f"{side}_{joint}" for joint in joints for side in ("left", "right"))


def _limbs(side: str, joints: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{side}_{joint}" for joint in joints)


COCO17 = ("nose", *_pairs("eye", "ear", *_ARM, *_LEGS))
HALPE26 = (*COCO17, "head", "neck", "hip", *_pairs("big_toe", "small_toe", "heel"))
COCO18 = (
    "nose", "neck", *_limbs("right", _ARM), *_limbs("left", _ARM), *_limbs("right", _LEGS), *_limbs("left", _LEGS),
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip
BODY25 = (
    "nose", "neck", *_limbs("right", _ARM), *_limbs("left", _ARM), "mid_hip", *_limbs("right", _LEGS),
    *_limbs("left", _LEGS), "right_eye", "left_eye", "right_ear", "left_ear",
    *_limbs("left", ("big_toe", "small_toe", "heel")), *_limbs("right", ("big_toe", "small_toe", "heel")),
)  # fmt: skip
BLAZE33 = (
    "nose", *_limbs("left", ("eye_inner", "eye", "eye_outer")), *_limbs("right", ("eye_inner", "eye", "eye_outer")),
    "left_ear", "right_ear", "mouth_left", "mouth_right", *_pairs(*_ARM, "pinky", "index", "thumb", *_LEGS),
    *_pairs("heel", "foot_index"),
)  # fmt: skip
