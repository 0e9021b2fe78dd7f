"""Loss scaling for fp16 (Micikevicius et al., arXiv 1710.03740, section 3.2).

Half precision loses gradients below 2**-24. The loss is multiplied by a power of two before the backward pass, and
gradients are divided by it before they are looked at, clipped or used. Powers of two change no mantissa, so the
scale alone never changes a result that neither overflows nor underflows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

FIRST: Final = 2.0**16
SMALLEST: Final = 1.0
INTERVAL: Final = 2000
"""Good updates in a row after which the scale doubles."""


@dataclass
class LossScale:
    """The scale of one optimiser's loss. `good` counts updates since it last changed; both go into checkpoints."""

    value: float = FIRST
    good: int = 0

    def unscale(self, gradients: Sequence[Tensor]) -> None:
        """Divide in place; infinities and NaN stay what they are."""
        if gradients:
            torch._foreach_mul_(list(gradients), 1 / self.value)

    def went_well(self) -> None:
        self.good += 1
        if self.good >= INTERVAL:
            self.value, self.good = 2 * self.value, 0

    def overflowed(self) -> bool:
        """Halve the scale. False when it is as small as it gets, so that the scale is not to blame."""
        if self.value <= SMALLEST:
            return False
        self.value, self.good = max(SMALLEST, self.value / 2), 0
        return True
