"""The host's part of a pair: the context cut from a photograph, as 8 bits, the least that has to go to the device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from degrade.batched.canvas import Canvas, grouped
from degrade.engine import context
from degrade.errors import DegradeError
from degrade.recipe import Recipe

Pixels = NDArray[np.uint8]


def canvases(
    images: Sequence[Pixels] | Tensor, recipes: Sequence[Recipe], device: torch.device, launch: int
) -> list[Canvas]:
    """The contexts of a batch on `device`, float32, grouped by size (:func:`degrade.batched.canvas.grouped`)."""
    if isinstance(images, Tensor):
        return [_given(images, recipes, device)]
    if len(images) != len(recipes):
        raise DegradeError(f"got {len(images)} images and {len(recipes)} recipes; give one recipe for every image")
    parts = [context(image, recipe) for image, recipe in zip(images, recipes, strict=True)]
    groups = grouped(tuple(recipe.context for recipe in recipes), launch)
    return [_packed([parts[sample] for sample in group], group, device) for group in groups]


def _given(images: Tensor, recipes: Sequence[Recipe], device: torch.device) -> Canvas:
    size = (images.shape[1], images.shape[2]) if images.ndim == 4 else (0, 0)
    if images.dtype != torch.uint8 or images.shape[3:] != (3,) or images.shape[0] != len(recipes):
        raise DegradeError(f"expected contexts, uint8 [{len(recipes)}, h, w, 3], got {images.dtype} {[*images.shape]}")
    other = next((recipe.context for recipe in recipes if recipe.context != size), None)
    if other is not None:
        raise DegradeError(
            f"the contexts are {size[0]} x {size[1]} and a recipe has {other[0]} x {other[1]}; "
            "one tensor takes contexts of one size (crop: {margin: 0, phases: 1}), a list takes photographs"
        )
    pixels = images.to(device, non_blocking=True).permute(0, 3, 1, 2).to(torch.float32)
    return Canvas(pixels.contiguous(), (size,) * len(recipes), tuple(range(len(recipes))))


def _packed(parts: Sequence[Pixels], samples: tuple[int, ...], device: torch.device) -> Canvas:
    """One upload for the group."""
    sizes = tuple((part.shape[0], part.shape[1]) for part in parts)
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    host = torch.zeros((len(parts), height, width, 3), dtype=torch.uint8, pin_memory=device.type == "cuda")
    view = host.numpy()
    for row, part in enumerate(parts):
        view[row, : part.shape[0], : part.shape[1]] = part
    pixels = host.to(device, non_blocking=True).permute(0, 3, 1, 2).to(torch.float32)
    return Canvas(pixels.contiguous(), sizes, samples)
