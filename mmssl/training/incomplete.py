"""Pre-training on recordings that lack modalities: each is compared by the modalities it has."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmssl.recipe import Recipe


class _Compared(NamedTuple):
    """Two modalities to compare, by index; the same index twice for two views of one modality."""

    first: int
    second: int
    rows: Tensor
    """Which recordings of the batch, (batch,) of bool."""

    @property
    def shared(self) -> int:
        return int(self.rows.sum())


class Incomplete:
    """Each pair of modalities is compared in the recordings that have both. Where the recipe says so, recordings that
    have one modality alone are compared in two views of it.

    The loss is the mean over all comparisons of all recordings. A comparison for which a batch has fewer than two
    recordings is left out, as one recording has no statistics.

    Args:
        has: by modality, which recordings have it, (recordings,) of bool.
    """

    def __init__(self, has: Mapping[str, Tensor], recipe: Recipe) -> None:
        self._has = torch.stack([has[name].cpu() for name in recipe.data.modalities], dim=1)
        self._pairs = list(combinations(range(len(has)), 2))
        self._alone_too = recipe.pretrain.incomplete == "two_views"

    def views(
        self,
        batch: Tensor,
        together: Callable[[], Sequence[Tensor]],
        apart: Callable[[], Sequence[Tensor]],
    ) -> list[Tensor]:
        """By modality: views of the recordings compared across modalities, then the first and the second views of the
        recordings that have this modality alone.

        Args:
            together: a view of the whole batch in each modality, augmented for pairs of modalities; rows of recordings
                that lack a modality are ignored.
            apart: a view of the whole batch in each modality, augmented for two views of one modality; drawn anew with
                each call.
        """
        compared = self._compared(batch)
        paired = together()
        twice = (apart(), apart()) if self._alone_too else ()
        return [
            torch.cat(
                [
                    view[_on(self._across(compared, batch, i), view)],
                    *(
                        views[i][_on(one.rows, view)]
                        for one in compared
                        if one.first == one.second == i
                        for views in twice
                    ),
                ]
            )
            for i, view in enumerate(paired)
        ]

    def terms(
        self,
        objective: Callable[..., dict[str, Tensor]],
        embedded: Sequence[Tensor],
        guides: Sequence[Tensor],
        learned: Sequence[nn.Module],
        batch: Tensor,
    ) -> dict[str, Tensor]:
        """The objective's terms, from the embeddings of the result of `views`.

        Args:
            guides: features of the whole batch, one tensor a modality, or none.
            learned: the objective's modules, one for each pair of modalities in order, or none.
        """
        compared = self._compared(batch)
        total = sum(one.shared for one in compared)
        found: dict[str, Tensor] = {}
        for one in compared:
            across = [self._across(compared, batch, i) for i in (one.first, one.second)]
            if one.first == one.second:
                a, b = embedded[one.first][int(across[0].sum()) :].chunk(2)
            else:
                a, b = (
                    embedded[i][: int(all_.sum())][_on(one.rows[all_], embedded[i])]
                    for i, all_ in zip((one.first, one.second), across, strict=True)
                )
            guiding = [guides[i][_on(one.rows, a)] for i in (one.first, one.second)] if guides else []
            pair = self._pairs.index((one.first, one.second)) if learned else 0
            own = {"learned": learned[pair]} if learned else {}
            for name, term in objective(a, b, *guiding, **own).items():
                found[name] = found.get(name, 0) + term * (one.shared / total)
        return found

    def _compared(self, batch: Tensor) -> list[_Compared]:
        has = self._has[batch.cpu()]
        places = range(has.shape[1])
        found = [_Compared(i, j, has[:, i] & has[:, j]) for i, j in self._pairs]
        if self._alone_too:
            found += [_Compared(i, i, has[:, i] & (has.sum(dim=1) == 1)) for i in places]
        return [one for one in found if one.shared >= 2]

    def _across(self, compared: Sequence[_Compared], batch: Tensor, place: int) -> Tensor:
        """Which recordings of the batch are compared across modalities in this one."""
        rows = [one.rows for one in compared if place in (one.first, one.second) and one.first != one.second]
        return torch.stack([torch.zeros(len(batch), dtype=torch.bool), *rows]).any(dim=0)


def _on(rows: Tensor, like: Tensor) -> Tensor:
    return rows.to(like.device)
