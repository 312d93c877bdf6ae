"""Further recordings that pre-train beside a study's own: of other people, from other places, labelled or not."""

import hashlib
from collections.abc import Callable

from mmssl.data.recordings import Array, Recordings
from mmssl.errors import UserError, few
from mmssl.recipe import MODALITIES, Modality

_SAME: dict[Modality, tuple[str, ...]] = {"skeleton": ("joints", "coordinates"), "imu": ("imu_channels",)}


def with_more(
    recordings: Recordings, more: Recordings, name: str, say: Callable[[str], None] = lambda line: None
) -> Recordings:
    """The recordings, and behind them others without their labels, which therefore only pre-train.

    Others with the very numbers of a recording that is here are left out: who is held out would pre-train under another
    name. People of the same name are taken for the same.

    Args:
        more: of the same joints and channels; root and unit of length are taken as here.
        name: of the others; their ids begin with it.
        say: told what was left out, and who is taken for whom.

    Raises:
        UserError: joints, axes or channels differ.
    """
    for modality, facts in _SAME.items():
        if any(array is not None for array in more.arrays(modality)):
            for fact in facts:
                _compare(recordings, more, name, fact)
    here = _digests(recordings)
    kept = [i for i, digests in enumerate(_digests(more)) if not digests & set().union(*here)]
    if len(kept) < len(more):
        say(f"{name}: {len(more) - len(kept)} of {len(more)} recordings are here already, and are left out")
    shared = [subject for subject in more.subjects if subject in recordings.subjects]
    if shared:
        say(f"{name}: subjects {few(shared)} are taken for those of {recordings.description.name}")
    rows = [more.rows[i].model_copy(update={"recording_id": f"{name}/{more.rows[i].recording_id}", "label": ""})
            for i in kept]  # fmt: skip
    return Recordings(
        recordings.description,
        [*recordings.rows, *rows],
        *([*recordings.arrays(one), *(more.arrays(one)[i] for i in kept)] for one in ("skeleton", "imu")),
    )


def _compare(recordings: Recordings, more: Recordings, name: str, fact: str) -> None:
    ours, theirs = getattr(recordings.description, fact), getattr(more.description, fact)
    if ours == theirs:
        return
    differ = [one for one in theirs if one not in ours] + [one for one in ours if one not in theirs]
    what = f"{few(differ)} in one of them alone" if differ else "the same in another order"
    raise UserError(
        f"--pretrain-on {name}: its {fact} are not those of {recordings.description.name} ({what}); "
        f"import it with --like a file of {recordings.description.name}"
    )


def _digests(recordings: Recordings) -> list[set[bytes]]:
    """Of each recording those of its modalities that change at all."""
    each = zip(*(recordings.arrays(modality) for modality in MODALITIES), strict=True)
    return [{_digest(array) for array in own if array is not None and (array != array[0]).any()} for own in each]


def _digest(array: Array) -> bytes:
    return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).digest()
