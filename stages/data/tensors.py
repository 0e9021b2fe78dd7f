"""Pixels as a network sees them, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray


def to_pixels(image: torch.Tensor) -> NDArray[np.uint8]:
    """float [3, H, W] in [0, 1] -> uint8 [H, W, 3], rounded."""
    rounded = (image.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8)
    return rounded.permute(1, 2, 0).numpy()


def to_image(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 [H, W, 3] -> float32 [3, H, W] in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255


def to_batch(images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """uint8 [H, W, 3] images of one size -> float32 [B, 3, H, W] in [0, 1]."""
    pixels = torch.from_numpy(np.stack(images))
    return pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format) / 255
