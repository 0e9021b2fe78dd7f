"""Edges: the difference of Sobel derivatives. Images [B, C, H, W] in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d


def gradient_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """mean (|Dx(sr - hr)| + |Dy(sr - hr)|) / 2, with D the Sobel derivative per pixel, inside the image only.

    D is (1 2 1) across and (-1 0 1) along, divided by 8, so that a ramp of slope s has D = s. It is linear, so
    the difference of derivatives is the derivative of the difference. Blind to brightness: it goes beside a
    pixel loss. Raises ValueError for images under 3 pixels a side.
    """
    if min(sr.shape[-2:]) < 3:
        raise ValueError(f"gradient: expected images of at least 3 x 3 pixels, got {sr.shape[-2]} x {sr.shape[-1]}")
    x, y = sobel(sr - hr)
    return (x.abs() + y.abs()).mean() / 2


def sobel(image: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives along columns and rows, [B, C, H-2, W-2] each."""
    channels = image.shape[1]
    along = torch.tensor([-1.0, 0.0, 1.0], device=image.device, dtype=image.dtype)
    across = torch.tensor([1.0, 2.0, 1.0], device=image.device, dtype=image.dtype)
    kernel = (across[:, None] * along[None] / 8).expand(channels, 1, 3, 3)
    return conv2d(image, kernel, groups=channels), conv2d(image, kernel.transpose(2, 3), groups=channels)
