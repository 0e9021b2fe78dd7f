"""The UNet of Edge-SD-SR: Stable Diffusion's at half its width, without text, cross-attention and middle block.

The paper (arXiv 2412.06978) states neither widths nor blocks. The defaults are what its total leaves for the UNet when
encoder and decoder are small: 160, 320, 640, 640 channels, two residual blocks a level, transformer blocks at the
lowest resolution only. Stable Diffusion has none there (outside its middle block), but at the three levels above.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stages.models.edge.blocks import ACTIVATIONS, EdgeBlock, EdgeTransformer, TimeEmbedding
from stages.models.resample import Doubling
from stages.models.unet import group_norm, start_at_zero


class Level(nn.Module):
    """The blocks of one resolution, each before a transformer or none, and the way to the next resolution."""

    def __init__(self, blocks: Sequence[EdgeBlock], transformers: Sequence[EdgeTransformer], leave: nn.Conv2d | None):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.transformers = nn.ModuleList(transformers)
        self.leave = leave

    def block(self, i: int, h: Tensor, embedding: Tensor | None) -> Tensor:
        h = self.blocks[i](h, embedding)
        return self.transformers[i](h) if len(self.transformers) else h


class EdgeUNet(nn.Module):
    """`forward(z_t, z_l, t)`: both [B, channels, H, W], t int64 [B] -> [B, channels, H, W].

    H and W are multiples of `multiple`. z_t and z_l enter as one, z_t first. The last layer starts at zero, so a new
    network answers 0. `attention` names the levels with transformers, -1 the lowest. With `embedding` 0 there is no t
    (:meth:`fold`).
    """

    def __init__(
        self, channels: int, *, widths: Sequence[int] = (160, 320, 640, 640), blocks: int = 2,
        attention: Sequence[int] = (-1,), head_width: int = 64, groups: int = 32, embedding: int = 256,
        activation: str = "silu",
    ) -> None:  # fmt: skip
        super().__init__()
        self.settings = {
            "channels": channels, "widths": tuple(widths), "blocks": blocks, "attention": tuple(attention),
            "head_width": head_width, "groups": groups, "embedding": embedding, "activation": activation,
        }  # fmt: skip
        self.multiple = 2 ** (len(widths) - 1)
        self.activation = ACTIVATIONS[activation]
        self.time = TimeEmbedding(widths[0], embedding) if embedding else None
        self.stem = nn.Conv2d(2 * channels, widths[0], 3, padding=1)
        lowest = len(widths) - 1

        def level(i: int, inputs: Sequence[int], leave: nn.Conv2d | None) -> Level:
            steps = [EdgeBlock(n, widths[i], embedding, groups, activation) for n in inputs]
            attends = i - len(widths) in attention
            transformers = [EdgeTransformer(widths[i], head_width, groups, activation) for _ in steps if attends]
            return Level(steps, transformers, leave)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        now, skips = widths[0], [widths[0]]
        for i, width in enumerate(widths):
            halve = nn.Conv2d(width, width, 3, stride=2, padding=1) if i < lowest else None
            self.down.append(level(i, [now] + [width] * (blocks - 1), halve))
            skips += [width] * (blocks + (i < lowest))
            now = width
        self.joints: list[list[tuple[int, int]]] = []
        """For each block on the way up: (channels that come from below, channels of the skip)."""
        for i, width in reversed(list(enumerate(widths))):
            joined = [(now if n == 0 else width, skips.pop()) for n in range(blocks + 1)]
            self.joints.append(joined)
            self.up.append(level(i, [below + skip for below, skip in joined], Doubling(width) if i else None))
            now = width
        self.norm = group_norm(now, groups)
        self.head = start_at_zero(nn.Conv2d(now, channels, 3, padding=1))

    def forward(self, z_t: Tensor, z_l: Tensor, t: Tensor | None = None) -> Tensor:
        if (t is None) != (self.time is None):
            raise ValueError(
                "t: expected none, this network is folded to one t" if self.time is None else "t: expected steps [B]"
            )
        return self.through(torch.cat([z_t, z_l], dim=1), None if self.time is None else self.time(t))

    def through(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """What `forward` does with its inputs as one, x [B, inputs, H, W], and the embedding [B, E] of t."""
        h = self.stem(x)
        skips = [h]
        for level in self.down:
            for i in range(len(level.blocks)):  # type: ignore[arg-type]
                h = level.block(i, h, embedding)  # type: ignore[operator]
                skips.append(h)
            if level.leave is not None:
                h = level.leave(h)  # type: ignore[operator]
                skips.append(h)
        for level in self.up:
            for i in range(len(level.blocks)):  # type: ignore[arg-type]
                h = level.block(i, torch.cat([h, skips.pop()], dim=1), embedding)  # type: ignore[operator]
            if level.leave is not None:
                h = level.leave(h)  # type: ignore[operator]
        out: Tensor = self.head(self.activation(self.norm(h)))
        return out

    @torch.no_grad()
    def fold(self, t: int) -> EdgeUNet:
        """The network of this one `t`, without embedding: its weights are copies, and its answers are the same.

        What the embedding adds behind a block's first convolution is a constant of each channel, so it becomes part of
        that convolution's bias. Raises ValueError for a network that is folded already.
        """
        if self.time is None:
            raise ValueError("fold: expected a network that takes t, and this one is folded already")
        with torch.device("meta"):
            folded = EdgeUNet(**{**self.settings, "embedding": 0})  # type: ignore[arg-type]
        state = {name: value.clone() for name, value in self.state_dict().items() if ".time." not in f".{name}"}
        embedding = self.time(torch.tensor([t], device=self.stem.weight.device))
        for name, block in self.named_modules():
            if isinstance(block, EdgeBlock) and block.time is not None:
                state[f"{name}.conv1.bias"] += block.time(embedding)[0]
        folded.load_state_dict(state, assign=True)
        return folded.train(self.training)
