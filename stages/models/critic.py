"""The fake model of distribution-matching distillation, with a discriminator on its bottleneck."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from stages.models.one_step import around
from stages.models.resshift import ResShiftModel
from stages.models.unet import group_norm


class Head(nn.Module):
    """`forward`: features [B, channels, h, w] -> logits [B, 1, ceil(h/8), ceil(w/8)], larger for "real".

    The discriminator of DMD2 on a bottleneck of 8x8 (arXiv 2405.14867, its ImageNet-64 setting): convolutions of
    4x4 with stride 2 and 4, each with GroupNorm and SiLU, then 1x1. Other sizes are extended by zeros. Narrow
    features have fewer than 32 groups: one value alone, normalised, would be zero whatever it was.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        groups = math.gcd(32, max(1, channels // 4))
        self.halve = nn.Conv2d(channels, channels, 4, stride=2, padding=1)
        self.halve_norm = group_norm(channels, groups)
        self.gather = nn.Conv2d(channels, channels, 4, stride=4)
        self.gather_norm = group_norm(channels, groups)
        self.judge = nn.Conv2d(channels, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        h = nn.functional.silu(self.halve_norm(self.halve(_extended(features, 2))))
        h = nn.functional.silu(self.gather_norm(self.gather(_extended(h, 4))))
        logits: Tensor = self.judge(h)
        return logits


def _extended(x: Tensor, multiple: int) -> Tensor:
    return pad(x, (0, -x.shape[-1] % multiple, 0, -x.shape[-2] % multiple))


class Critic(ResShiftModel):
    """f_phi, a ResShift model of the student's answers, and with `judges` D_psi, a head on its bottleneck.

    Never saved as a model: it is of use to a training only.
    """

    def __init__(self, teacher: ResShiftModel, *, judges: bool) -> None:
        """The teacher's weights; those of the head come from torch's generator."""
        super().__init__(**around(teacher))
        self.load_state_dict(teacher.state_dict())
        self.head = Head(self.denoiser.bottleneck_channels) if judges else None

    def logits(self, z0: Tensor, lr: Tensor) -> Tensor:
        """D_psi of clean latents z0 [B, C, H, W], seen by the encoder of f_phi at its first step (t = 0)."""
        if self.head is None:
            raise ValueError("this critic has no head: it was made with judges=False")
        first = torch.zeros(len(z0), dtype=torch.int64)
        logits: Tensor = self.head(self.bottleneck(z0, first, lr))
        return logits
