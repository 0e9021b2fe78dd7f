"""A spec's list of losses as one callable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from stages.losses import config as terms
from stages.losses.frequency import amplitude_loss, focal_frequency_loss
from stages.losses.gradient import gradient_loss
from stages.losses.lpips_weights import LpipsWeights, load_lpips
from stages.losses.pixel import charbonnier, l1, mean_square
from stages.losses.ssim import ms_ssim_loss, ssim_loss

Difference: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(sr, hr), float32 in [0, 1] -> a scalar."""


class CombinedLoss(nn.Module):
    """`forward(sr, hr)`: [B, 3, H, W] in `value_range` -> {kind: its scalar, ..., "total": their weighted sum}.

    Images are brought to [0, 1] first, so that one weight means the same for pixels in [0, 1] and in [-1, 1]; LPIPS
    sees [-1, 1]. Nothing is clamped. Computed in float32, inside autocast too. Means over the batch, so that
    losses of equal micro-batches average to that of the whole.
    """

    def __init__(
        self,
        losses: Sequence[terms.LossSpec],
        *,
        value_range: tuple[float, float],
        lpips: LpipsWeights = None,
    ) -> None:
        """`lpips` holds the weights of LPIPS where `losses` name it; raises MissingWeights without them."""
        super().__init__()
        self.low, self.high = value_range
        self.weights: dict[str, float] = {term.kind: term.weight for term in losses}
        self.networks = nn.ModuleDict()  # so that they follow `to(device)`
        self.differences: dict[str, Difference] = {}
        for term in losses:
            if isinstance(term, terms.Lpips):
                self.networks[term.kind] = load_lpips(term.trunk, lpips)
                self.differences[term.kind] = self._lpips
            else:
                self.differences[term.kind] = _difference(term)

    def forward(self, sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        if sr.shape != hr.shape:
            raise ValueError(f"losses: sr and hr should have one shape, got {list(sr.shape)} and {list(hr.shape)}")
        with torch.autocast(sr.device.type, enabled=False):
            sr, hr = ((image.float() - self.low) / (self.high - self.low) for image in (sr, hr))
            found = {kind: difference(sr, hr) for kind, difference in self.differences.items()}
            total = torch.stack([self.weights[kind] * value for kind, value in found.items()]).sum()
        return {**found, "total": total}

    def _lpips(self, sr: Tensor, hr: Tensor) -> Tensor:
        distances: Tensor = self.networks["lpips"](2 * sr - 1, 2 * hr - 1)
        return distances.mean()


def _difference(term: terms.LossTerm) -> Difference:
    match term:
        case terms.L1():
            return l1
        case terms.MeanSquare():
            return mean_square
        case terms.Charbonnier():
            return partial(charbonnier, epsilon=term.epsilon, scales=term.scales)
        case terms.Ssim():
            return ssim_loss
        case terms.MsSsim():
            return partial(ms_ssim_loss, levels=term.levels)
        case terms.Gradient():
            return gradient_loss
        case terms.Frequency():
            return amplitude_loss
        case terms.FocalFrequency():
            return partial(focal_frequency_loss, alpha=term.alpha)
        case _:
            raise ValueError(f"no loss is known for {type(term).__name__}")
