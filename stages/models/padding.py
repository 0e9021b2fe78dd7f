"""Sizes that a network does not take: pad by reflection, crop the answer back."""

from __future__ import annotations

import torch
from torch import Tensor


def reflected(size: int, target: int) -> Tensor:
    """Indices [target] that continue 0..size-1 by reflection without repeating the edge, for any target >= size."""
    period = max(2 * (size - 1), 1)
    index = torch.arange(target) % period
    return torch.where(index < size, index, period - index)


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """[..., H, W] extended at the bottom and right, by reflection, to multiples of `multiple`."""
    height, width = image.shape[-2:]
    rows = reflected(height, -(-height // multiple) * multiple).to(image.device)
    columns = reflected(width, -(-width // multiple) * multiple).to(image.device)
    return image[..., rows, :][..., columns]
