"""What the training loop knows of its ranks: one process, or a gang that trains one model together.

The samples of a global batch are dealt out by global sample index: rank r of n takes the contiguous slice
:func:`share_of`. A rank weighs each micro-batch by its part of the *global* batch, so gradients, losses and shares
are added up over ranks, never averaged, and an uneven split is right by itself. Whatever a decision hangs on
(gradient norm, loss, "a checkpoint is due") is summed or broadcast first: all ranks decide the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn


class Ranks(Protocol):
    """All methods are collective: every rank calls them, in the same order."""

    @property
    def rank(self) -> int:
        """0 <= rank < size. Rank 0 alone records metrics and pictures and commits checkpoints."""
        ...

    @property
    def size(self) -> int: ...

    def no_sync(self) -> AbstractContextManager[None]:
        """Entered around every backward but the last of an update: nothing need be exchanged yet."""
        ...

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """`grad` of each becomes the sum over ranks, in place, with the same bits on every rank.

        Called once an update, after the last backward. A gradient that is None is None on every rank, and stays so.
        """
        ...

    def sum_values(self, values: Mapping[str, float]) -> dict[str, float]:
        """Sums by name, in double precision. Every rank gives the same names in the same order; NaN stays NaN."""
        ...

    def broadcast(self, tensors: Sequence[Tensor]) -> None:
        """Rank 0's values replace those of every rank, in place."""
        ...

    def gather_text(self, text: str) -> list[str]:
        """The texts of all ranks, by rank. Rare: for messages."""
        ...

    def barrier(self) -> None:
        """Returns when every rank is here."""
        ...


@dataclass(frozen=True, slots=True)
class Solo:
    """One process alone: nothing to exchange."""

    rank: int = 0
    size: int = 1

    def no_sync(self) -> AbstractContextManager[None]:
        return nullcontext()

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None: ...

    def sum_values(self, values: Mapping[str, float]) -> dict[str, float]:
        return dict(values)

    def broadcast(self, tensors: Sequence[Tensor]) -> None: ...

    def gather_text(self, text: str) -> list[str]:
        return [text]

    def barrier(self) -> None: ...


SOLO: Final[Ranks] = Solo()


def share_of(count: int, ranks: Ranks) -> tuple[int, int]:
    """(start, stop): which of `count` consecutive samples are this rank's. Shares differ by at most one."""
    return count * ranks.rank // ranks.size, count * (ranks.rank + 1) // ranks.size
