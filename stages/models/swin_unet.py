"""ResShift's denoiser: a residual UNet with a Swin layer at every level (arXiv 2307.12348, section 4.1).

The defaults are the paper's network for 64x64 latents of three channels: 118.594 M parameters, 101.3 GFLOPs
for one latent (a multiplication and an addition are two).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stages.models.config import check_swin
from stages.models.resample import Doubling
from stages.models.swin import SwinLayer
from stages.models.unet import ResBlock, channels_inside, group_norm, start_at_zero, time_embedding


class Step(nn.Module):
    """What lies between two skip connections: a residual block, a Swin layer, a convolution; each may be absent."""

    def __init__(
        self, block: ResBlock | None = None, swin: SwinLayer | None = None, conv: nn.Conv2d | None = None
    ) -> None:
        super().__init__()
        self.block, self.swin, self.conv = block, swin, conv

    def forward(self, h: Tensor, embedding: Tensor) -> Tensor:
        if self.block is not None:
            h = self.block(h, embedding)
        if self.swin is not None:
            h = self.swin(h)
        if self.conv is not None:
            h = self.conv(h)
        return h


def condition_stack(halvings: int, first: int = 16) -> tuple[nn.Module, int]:
    """Brings LR pixels down to latent resolution by learnt halvings; (module, channels it gives). None: pixels."""
    layers: list[nn.Module] = []
    channels, width = 3, first
    for _ in range(halvings):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.SiLU()]
        layers += [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)]
        width *= 2
        channels = width
    return (nn.Sequential(*layers) if layers else nn.Identity()), channels


class SwinUNet(nn.Module):
    """`forward(x, condition, t)`: x [B, channels, H, W], LR pixels [B, 3, H*2^halvings, W*2^halvings], t int64 [B].

    The answer has the shape of x; H and W are multiples of `multiple`. `size` is the latent side that the
    network is made for: levels where it is a single window do not shift, at any size the network is later
    given. With `noise_channels`, planes [B, noise_channels, H, W] of noise enter behind x and pixels. Raises
    ValueError when `size` leaves no whole windows at the lowest level.
    """

    def __init__(
        self, channels: int, halvings: int = 0, *, size: int = 64, width: int = 160,
        multipliers: Sequence[int] = (1, 2, 2, 4), blocks: int = 2, swin_width: int = 192, head_width: int = 32,
        window: int = 8, depth: int = 2, mlp_ratio: int = 4, groups: int = 32, legacy_shift_mask: bool = False,
        noise_channels: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        levels = len(multipliers)
        check_swin(size, levels, window, swin_width, head_width)
        self.multiple = window << (levels - 1)
        self.condition_factor = 2**halvings
        self.features = width
        embedding = 4 * width
        self.time = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU())
        self.condition, extra = condition_stack(halvings)

        def block(inputs: int, outputs: int) -> ResBlock:
            return ResBlock(inputs, outputs, embedding, groups)

        def swin(features: int, level: int) -> SwinLayer:
            return SwinLayer(
                features, swin_width, swin_width // head_width, window, depth, mlp_ratio, groups,
                shifted=size >> level > window, legacy_shift_mask=legacy_shift_mask,
            )  # fmt: skip

        now = width * multipliers[0]
        self.bottleneck_channels = width * multipliers[-1]
        first = nn.Conv2d(channels + extra + noise_channels, now, 3, padding=1)
        self.encoder = nn.ModuleList([Step(conv=first)])
        skips = [now]
        for level, multiplier in enumerate(multipliers):
            if level:
                self.encoder.append(Step(conv=nn.Conv2d(now, now, 3, stride=2, padding=1)))
                skips.append(now)
            for i in range(blocks):
                now, before = width * multiplier, now
                self.encoder.append(Step(block(before, now), swin(now, level) if i == 0 else None))
                skips.append(now)
        self.middle = nn.ModuleList([Step(block(now, now), swin(now, levels - 1)), Step(block(now, now))])
        self.decoder = nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(multipliers))):
            for i in range(blocks + 1):
                now, before = width * multiplier, now + skips.pop()
                up = Doubling(now) if level and i == blocks else None
                self.decoder.append(Step(block(before, now), swin(now, level) if i == 0 else None, up))
        self.norm = group_norm(now, groups)
        self.head = start_at_zero(nn.Conv2d(now, channels, 3, padding=1))

    def _encode(
        self, x: Tensor, condition: Tensor, t: Tensor, planes: Tensor | None
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        embedding = self.time(time_embedding(t, self.features).to(x.dtype))
        entering = [x, self.condition(condition)] if planes is None else [x, self.condition(condition), planes]
        h = channels_inside(torch.cat(entering, dim=1))
        skips = []
        for step in self.encoder:
            h = step(h, embedding)
            skips.append(h)
        for step in self.middle:
            h = step(h, embedding)
        return h, skips, embedding

    def bottleneck(self, x: Tensor, condition: Tensor, t: Tensor) -> Tensor:
        """Features behind the middle [B, width * multipliers[-1], H/2^(levels-1), W/2^(levels-1)]."""
        return self._encode(x, condition, t, None)[0]

    def forward(self, x: Tensor, condition: Tensor, t: Tensor, planes: Tensor | None = None) -> Tensor:
        h, skips, embedding = self._encode(x, condition, t, planes)
        for step in self.decoder:
            h = step(torch.cat([h, skips.pop()], dim=1), embedding)
        out: Tensor = self.head(self.norm(h, activate=True))
        return out
