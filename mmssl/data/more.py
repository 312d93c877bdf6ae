"""Further recordings that pre-train beside a study's own: of other people, from other places, labelled or not."""

from collections.abc import Callable

from mmssl.data.columns import in_other_units
from mmssl.data.description import Signal
from mmssl.data.recordings import Recordings, content_of
from mmssl.errors import UserError, few


def with_more(
    recordings: Recordings, more: Recordings, name: str, say: Callable[[str], None] = lambda line: None
) -> Recordings:
    """The recordings, and behind them others without their labels, which therefore only pre-train.

    Others with the very numbers of a recording that is here are left out: who is held out would pre-train under another
    name. People of the same name are taken for the same.

    Args:
        more: of the same joints and channels; root and unit of length are taken as here.
        name: of the others; their ids begin with it.
        say: called with what was left out, and who is taken for whom.

    Raises:
        UserError: joints, axes, channels or units differ.
    """
    for modality in more.kinds:
        _compare(recordings, more, name, modality)
    here = set[bytes]().union(*_contents(recordings))
    kept = [i for i, contents in enumerate(_contents(more)) if not contents & here]
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
        **{
            one: [*recordings.arrays(one), *(more.arrays(one)[i] for i in kept)]
            for one in recordings.description.modalities
        },
    )


def _compare(recordings: Recordings, more: Recordings, name: str, modality: str) -> None:
    ours, theirs = (one.description.modalities.get(modality) for one in (recordings, more))
    called = recordings.description.name
    if ours is None:
        raise UserError(
            f"--pretrain-on {name}: it has {modality}, and {called} has "
            f"{', '.join(recordings.description.modalities)}; call alike what is alike"
        )
    for fact in ours.layout:
        mine, others = getattr(ours, fact), getattr(theirs, fact, ())
        if mine == others:
            continue
        differ = [one for one in others if one not in mine] + [one for one in mine if one not in others]
        what = f"{few(differ)} in one of them alone" if differ else "the same in another order"
        raise UserError(
            f"--pretrain-on {name}: {fact} of its {modality} are not those of {called} ({what}); "
            f"import it with --like a file of {called}"
        )
    if not (isinstance(ours, Signal) and isinstance(theirs, Signal)):
        return
    if apart := in_other_units(ours.channels, ours.units, theirs.units):
        raise UserError(
            f"--pretrain-on {name}: its {modality} has {few(apart)}, as {called} has it: convert them to its units"
        )


def _contents(recordings: Recordings) -> list[set[bytes]]:
    """Of each recording those of its modalities that change at all."""
    each = zip(*(recordings.arrays(modality) for modality in recordings.kinds), strict=True)
    return [{content for array in own if array is not None and (content := content_of(array))} for own in each]
