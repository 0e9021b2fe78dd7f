"""LPIPS, the learned perceptual distance (Zhang et al., arXiv 1801.03924), version 0.1."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from stages.losses.trunks import CHANNELS, SMALLEST, Trunk, TrunkName

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
"""ImageNet's mean and deviation, for images in [-1, 1]."""

EPSILON = 1e-10
"""Added to the length of a feature vector before it divides."""


class Lpips(nn.Module):
    """`forward(sr, hr)`: images [B, 3, H, W] in [-1, 1] -> distances [B], float32, 0 for equal images.

    d = sum over five layers of mean over places of w_l . (a / |a| - b / |b|)^2 (equation 1), with a and b the
    features of a trunk and w_l the trained heads, both frozen. Gradients reach the images; where all features of a
    place are 0 they are 0. Computed in float32, inside autocast too.

    The weights are uninitialised until `load_state_dict`; `stages.losses.lpips_weights` finds them in the files that
    people have. Raises ValueError for images too small for the trunk (31 pixels a side for alex, 16 for vgg).
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: TrunkName) -> None:
        super().__init__()
        self.name: TrunkName = trunk
        with torch.device("meta"):  # no weights are drawn: that would shift the random numbers of what is built next
            empty = Trunk(trunk)
        self.trunk = empty.to_empty(device="cpu")
        self.heads = nn.ParameterList(nn.Parameter(torch.empty(1, channels, 1, 1)) for channels in CHANNELS[trunk])
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, sr: Tensor, hr: Tensor) -> Tensor:
        self._refuse(sr, hr)
        with torch.autocast(sr.device.type, enabled=False):
            total = torch.zeros(len(sr), device=sr.device)
            for head, a, b in zip(self.heads, self._features(sr), self._features(hr), strict=True):
                total = total + conv2d((_unit(a) - _unit(b)).square(), head).mean((1, 2, 3))
            return total

    def _features(self, image: Tensor) -> list[Tensor]:
        found: list[Tensor] = self.trunk((image.float() - self.shift) / self.scale)
        return found

    def _refuse(self, sr: Tensor, hr: Tensor) -> None:
        least = SMALLEST[self.name]
        if sr.shape != hr.shape or sr.ndim != 4 or sr.shape[1] != 3 or min(sr.shape[-2:]) < least:
            raise ValueError(
                f"LPIPS ({self.name}): expected two batches [B, 3, H, W] of one shape, at least {least} pixels a side; "
                f"got {list(sr.shape)} and {list(hr.shape)}"
            )


def _unit(features: Tensor) -> Tensor:
    # Where all features are 0 the slope of the root is infinite; it ends at the rectifier below, which passes nothing.
    length = features.square().sum(1, keepdim=True).sqrt()
    return features / (length + EPSILON)
