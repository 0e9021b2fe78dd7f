"""The decoder of Edge-SD-SR: of TAESD's class, because a phone has 70 GMACs for it and no time for norms at 512x512.

The paper (arXiv 2412.06978) finetunes the decoder on what the UNet answers; its layers are not known. This one is
TAESD's (github.com/madebyollin/taesd), layer for layer, so that TAESD's weights and those of a trained tiny
autoencoder (`stages/models/tiny.py`) fit: `decoder.layers.load_state_dict(autoencoder.decoder.state_dict())`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stages.models.edge.sides import power_of_two
from stages.models.tiny import SoftBound, TinyBlock, conv


class EdgeDecoder(nn.Module):
    """`forward(z)`: [B, channels, H, W] -> image [B, 3, H*factor, W*factor], about [-1, 1].

    `upsample` enlarges by ``nearest`` before a convolution, or by ``pixel-shuffle`` behind one of four times the
    channels; both cost the same number of operations. The last layer starts at zero where the answer is a `residual`.
    """

    def __init__(
        self, channels: int, factor: int, *, width: int = 64, blocks: int = 3, upsample: str = "nearest",
        residual: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.settings = {
            "channels": channels, "factor": factor, "width": width, "blocks": blocks, "upsample": upsample,
            "residual": residual,
        }  # fmt: skip
        layers: list[nn.Module] = [SoftBound(), conv(channels, width), nn.ReLU()]
        for _ in range(power_of_two(factor, "latent factor")):
            layers += [TinyBlock(width) for _ in range(blocks)]
            if upsample == "nearest":
                layers += [nn.Upsample(scale_factor=2), conv(width, width, bias=False)]
            else:
                layers += [conv(width, 4 * width, bias=False), nn.PixelShuffle(2)]
        self.layers = nn.Sequential(*layers, TinyBlock(width), conv(width, 3))
        self.residual = residual
        if residual:
            for parameter in self.layers[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, z: Tensor) -> Tensor:
        out: Tensor = self.layers(z)
        return out if self.residual else 2 * out - 1

    @torch.no_grad()
    def shuffled(self) -> EdgeDecoder:
        """The decoder that gives the same answers by pixel-shuffle, as a copy; itself where it does so already.

        A 3x3 convolution of an image enlarged by nearest neighbours sees, for each of the four pixels that come of
        one, two rows and two columns of the small image: sums of its taps are the taps of four convolutions there.
        """
        if self.settings["upsample"] == "pixel-shuffle":
            return self
        with torch.device("meta"):
            other = EdgeDecoder(**{**self.settings, "upsample": "pixel-shuffle"})  # type: ignore[arg-type]
        state: dict[str, Tensor] = {}
        for i, layer in enumerate(self.layers):
            after_upsample = i > 0 and isinstance(self.layers[i - 1], nn.Upsample)
            for name, value in layer.state_dict().items():
                if after_upsample:  # there the convolution comes first
                    state[f"layers.{i - 1}.{name}"] = four_kernels(value)
                else:
                    state[f"layers.{i}.{name}"] = value.clone()
        other.load_state_dict(state, assign=True)
        return other.train(self.training)


def four_kernels(kernel: Tensor) -> Tensor:
    """[O, I, 3, 3] over an image enlarged by two -> [4*O, I, 3, 3] over the small one, in pixel-shuffle's order."""

    def along(taps: Tensor, place: int, axis: int) -> Tensor:
        before, middle, after = taps.unbind(axis)
        nothing = torch.zeros_like(middle)
        summed = (before, middle + after, nothing) if place == 0 else (nothing, before + middle, after)
        return torch.stack(summed, axis)

    parts = [along(along(kernel, row, 2), column, 3) for row in (0, 1) for column in (0, 1)]
    return torch.stack(parts, dim=1).flatten(0, 1)
