"""The LR encoder of Edge-SD-SR: LR pixels to a latent, without enlarging the image and encoding it as if it were HR.

The paper (arXiv 2412.06978) "decouples" the encodings of HR and LR and trains the latter with the UNet; its layers are
not known. PocketSR (arXiv 2510.03012) finds that a small trained encoder of plain convolutions beats both the
autoencoder's own and a folding of pixels. So: TAESD's blocks, at LR resolution and at that of the latent.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from stages.models.edge.sides import halvings
from stages.models.tiny import TinyBlock, conv


class EdgeEncoder(nn.Module):
    """`forward(lr)`: [B, 3, h, w] in [0, 1] -> [B, channels, h*scale/factor, w*scale/factor].

    One of `widths` and `blocks` for each resolution from LR down to the latent. The last layer starts at zero where
    the answer is a `residual`. Raises ValueError where their number does not lead from LR to the latent.
    """

    def __init__(
        self, channels: int, scale: int, factor: int, *, widths: Sequence[int] = (64, 128),
        blocks: Sequence[int] = (1, 3), residual: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        wanted = halvings(scale, factor) + 1
        if len(widths) != wanted or len(blocks) != wanted:
            raise ValueError(
                f"encoder: x{scale} in latents of factor {factor} has {wanted} resolution(s) from LR to the latent; "
                f"expected as many widths and blocks, got {list(widths)} and {list(blocks)}"
            )
        layers: list[nn.Module] = [conv(3, widths[0])]
        for i, (width, number) in enumerate(zip(widths, blocks, strict=True)):
            if i:
                layers.append(conv(widths[i - 1], width, stride=2))
            layers += [TinyBlock(width) for _ in range(number)]
        last = conv(widths[-1], channels)
        self.residual = residual
        if residual:
            for parameter in last.parameters():
                nn.init.zeros_(parameter)
        self.layers = nn.Sequential(*layers, last)

    def forward(self, lr: Tensor) -> Tensor:
        out: Tensor = self.layers(2 * lr - 1)
        return out
