"""Real-ESRGAN's training pair pool: batches mixed from many, as a function of (seed, step) that can be resumed.

The reference degrades a batch with one resize factor, mode, noise kind and order for all of its samples, so it keeps
180 pairs and swaps a batch with random ones of them. Samples of this engine share nothing, and a pool adds no variety;
it is here for who wants the same statistics of staleness, or renders fewer batches than it trains on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from degrade.batched.upload import upload
from degrade.errors import DegradeError
from degrade.philox import Stream, stream_key


class PairPool:
    """Keeps up to `capacity` pairs. While it fills, batches pass through; then each is swapped with random kept ones.

    What comes out is a function of `seed` and of what was put in at steps 0, 1, 2 ...; the state holds the kept pairs
    and the step, so a resumed run goes on as if it had not stopped.
    """

    def __init__(self, capacity: int, seed: int) -> None:
        if capacity < 1:
            raise DegradeError(f"a pool keeps at least one pair, got capacity {capacity}")
        self.capacity = capacity
        self.seed = seed
        self._step = 0
        self._kept: list[Tensor] = []

    def swap(self, hr: Tensor, lr: Tensor) -> tuple[Tensor, Tensor]:
        """Put in a batch [B, ...] and take one out, of the same size; the tensors given are not changed or kept."""
        count = len(hr)
        if len(lr) != count or count > self.capacity:
            raise DegradeError(
                f"a batch has as many LR as HR images and at most {self.capacity} (the capacity), "
                f"got {count} and {len(lr)}"
            )
        filled = len(self._kept[0]) if self._kept else 0
        step, self._step = self._step, self._step + 1
        if filled + count <= self.capacity:
            self._kept = [
                torch.cat([old, new]) for old, new in zip(self._kept or (hr[:0], lr[:0]), (hr, lr), strict=True)
            ]
            return hr, lr
        places = upload(self._places(step, count, filled), torch.int64, hr.device)
        taken = [kept.index_select(0, places) for kept in self._kept]
        for kept, new in zip(self._kept, (hr, lr), strict=True):
            kept.index_copy_(0, places, new)
        return taken[0], taken[1]

    def _places(self, step: int, count: int, filled: int) -> list[int]:
        """`count` distinct places below `filled`, a uniform choice: the start of a Fisher-Yates shuffle."""
        stream = Stream(stream_key(self.seed, "pool", step, "places"))
        order = list(range(filled))
        for place in range(count):
            other = stream.integer(place, filled - 1)
            order[place], order[other] = order[other], order[place]
        return order[:count]

    def state_dict(self) -> dict[str, Any]:
        """Capacity, seed, step and copies of the kept pairs (none before the first batch)."""
        kept = [tensor.clone() for tensor in self._kept]
        return {"capacity": self.capacity, "seed": self.seed, "step": self._step, "kept": kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; raises :class:`DegradeError` for the state of another pool."""
        for name, mine in (("capacity", self.capacity), ("seed", self.seed)):
            if state[name] != mine:
                raise DegradeError(f"the state is of a pool with {name} {state[name]} and this one has {mine}")
        self._step = state["step"]
        self._kept = [tensor.clone() for tensor in state["kept"]]
