"""What pre-training compares in a batch whose recordings lack modalities: of each what it has."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmssl.recipe import Recipe


class _Compared(NamedTuple):
    """Two modalities, by their places, or two views of one."""

    first: int
    second: int
    rows: Tensor
    """Which recordings of the batch, (batch,) of bool."""

    @property
    def shared(self) -> int:
        return int(self.rows.sum())


class Incomplete:
    """Each pair of modalities is compared in the recordings that have both; where the recipe says so, those that have
    one alone in two views of it. The loss is the mean over all that is compared, each recording counted as often as it
    is. What fewer than two recordings of a batch have is left out of it: there are no statistics of one.

    Args:
        has: by modality which recordings have it, (recordings,) of bool.
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
        """Of each modality the views of the recordings that are compared across modalities, then the first and the
        second ones of those that have it alone.

        Args:
            together: a view of the whole batch in each modality, as pairs are augmented; what is given for a recording
                that lacks one is not looked at.
            apart: a view of the whole batch in each modality, drawn anew with each call, as two views of one modality
                are augmented.
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
        """The objective's terms, from the embeddings of what `views` gave.

        Args:
            guides: of the whole batch, one a modality, or none.
            learned: what the objective learns for each pair of modalities, in the pairs' order, or nothing.
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
        """Which recordings of the batch are compared across modalities by one of them."""
        rows = [one.rows for one in compared if place in (one.first, one.second) and one.first != one.second]
        return torch.stack([torch.zeros(len(batch), dtype=torch.bool), *rows]).any(dim=0)


def _on(rows: Tensor, like: Tensor) -> Tensor:
    return rows.to(like.device)
