"""The CPU engine: apply a recipe to a photograph. A pure function of the two, one pair at a time, on one thread."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from degrade.augment import symmetry
from degrade.codecs import to_uint8
from degrade.errors import DegradeError
from degrade.memory import keep_freed_memory
from degrade.recipe import Recipe
from degrade.threads import one_thread
from degrade.usm import sharpen

Pixels = NDArray[np.uint8]


def render(image: Pixels, recipe: Recipe) -> tuple[Pixels, Pixels]:
    """The pair (hr, lr) of one recipe.

    `image` is the whole photograph, uint8 RGB [h, w, 3] of the size that the recipe was drawn for; it is not changed.
    Returns uint8 RGB [*recipe.hr_shape, 3] and [*recipe.lr_shape, 3]. The same bytes on every run,
    process and thread setting, for equal library versions and CPU family. Raises :class:`DegradeError` for an image
    of another size or type.
    """
    keep_freed_memory()
    with one_thread():
        hr, state = prepare(image, recipe)
        for step in recipe.steps:
            state = step.render(state)
        return hr, finish(state, recipe)


def prepare(image: Pixels, recipe: Recipe) -> tuple[Pixels, NDArray[np.float32]]:
    """Crop, turn and sharpen: the HR crop, and the float32 context [h, w, 3] in 0..255 that the steps start from."""
    around = context(image, recipe)
    usm = recipe.sharpen
    start = around.astype(np.float32) if usm is None else sharpen(around, usm.weight, usm.radius, usm.threshold)
    top, left = recipe.inner
    rows, columns = recipe.hr_shape
    inside = np.s_[top : top + rows, left : left + columns]
    if recipe.hr == "sharpened":
        return to_uint8(start[inside]), start
    return around[inside].copy(), start


def context(image: Pixels, recipe: Recipe) -> Pixels:
    """Cut, rescaled and turned as the recipe says: uint8 [*recipe.context, 3], before sharpening and any step.

    `image` is the whole photograph, uint8 RGB [h, w, 3]. All that a machine which renders elsewhere has to send.
    """
    _check(image, recipe)
    y, x, height, width = recipe.box
    cut = image[y : y + height, x : x + width]
    if recipe.rescaled is not None:
        rows, columns = recipe.rescaled
        mode = cv2.INTER_AREA if rows <= height and columns <= width else cv2.INTER_CUBIC
        cut = np.asarray(cv2.resize(cut, (columns, rows), interpolation=mode), dtype=np.uint8)
    return np.ascontiguousarray(symmetry(cut, recipe.symmetry))


def finish(state: NDArray[np.float32], recipe: Recipe) -> Pixels:
    """Cut the LR crop out of its context and round to 8 bits."""
    rows, columns = recipe.lr_shape
    top, left = (at // recipe.scale for at in recipe.inner)
    return to_uint8(state[top : top + rows, left : left + columns])


def _check(image: Pixels, recipe: Recipe) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DegradeError(f"expected an RGB image, uint8 [height, width, 3], got {found}")
    if image.shape[:2] != recipe.source:
        raise DegradeError(
            f"the recipe was drawn for an image of {recipe.source[1]} x {recipe.source[0]} "
            f"and got {image.shape[1]} x {image.shape[0]}; it belongs to image {recipe.image}"
        )
