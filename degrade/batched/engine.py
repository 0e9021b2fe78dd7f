"""The torch engine: the pairs of a batch of recipes, each with its own operators, order, sizes and parameters.

The same recipe gives the same pair as :func:`degrade.engine.render` but for rounding (README: agreement of the
engines). Everything that a recipe decides is known to the host, so nothing waits for the device: samples share canvases
(:mod:`degrade.batched.canvas`), and a batch is a short list of rounds (:mod:`degrade.batched.schedule`), each a few
launches however different the samples are. Draws without a batched operator are rendered one by one on the
host (:func:`degrade.batched.operators.is_batched`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from degrade.batched.borders import take
from degrade.batched.canvas import Canvas, grouped, regrouped
from degrade.batched.contexts import Pixels, canvases
from degrade.batched.fused import fusing
from degrade.batched.operators import kind_of, operator_of
from degrade.batched.precision import full_float32
from degrade.batched.rounding import half_to_even, saturate
from degrade.batched.schedule import rounds
from degrade.batched.upload import upload
from degrade.batched.usm import sharpen
from degrade.errors import DegradeError
from degrade.memory import keep_freed_memory
from degrade.recipe import Recipe

_LAUNCH: Final = {"cpu": 1, "cuda": 1_000_000}
"""Pixels of work that cost as much as the launches of one more group; on the CPU only equal sizes share a canvas."""


def render_batch(
    images: Sequence[Pixels] | Tensor,
    recipes: Sequence[Recipe],
    *,
    device: torch.device | str,
    unit: bool = False,
    launch: int | None = None,
    fused: bool = False,
) -> tuple[Tensor, Tensor]:
    """The pairs (hr, lr) of `recipes` on `device`: uint8 [B, 3, h, w], or float32 in 0..1 with `unit`.

    `images` are the photographs, uint8 RGB [h, w, 3], each of the size that its recipe was drawn for; or the contexts
    already cut from them (:func:`degrade.engine.context`), one uint8 tensor [B, h, w, 3]. All recipes have
    the same hr_size and scale, and may come from different presets. float32 values are multiples of 1/255: they are
    rounded as the stored pairs are. `launch` is the cost in pixels of one more group of samples
    (:func:`degrade.batched.canvas.grouped`), by default what suits the device; `fused` compiles what is made of
    the most launches (:mod:`degrade.batched.fused`).

    A sample's pair does not depend on its neighbours, except in the last bits of float32 where sizes share a canvas.
    Raises :class:`DegradeError` for images that do not fit their recipes and recipes that do not fit each other.
    """
    target = torch.device(device)
    _check(recipes)
    price = _LAUNCH.get(target.type, _LAUNCH["cuda"]) if launch is None else launch
    if target.type == "cpu":
        keep_freed_memory()
    with torch.no_grad(), full_float32(target), fusing(fused):
        raw = canvases(images, recipes, target, price)
        start = _sharpened(raw, recipes)
        hr = [_targets(canvas, recipes) for canvas in _chosen(raw, start, recipes)]
        lr = [_outputs(canvas, recipes) for canvas in _stepped(start, recipes, price)]
        return _finished(hr, unit), _finished(lr, unit)


def _check(recipes: Sequence[Recipe]) -> None:
    if not recipes:
        raise DegradeError("a batch has at least one recipe, got none")
    shapes = sorted({(recipe.hr_shape, recipe.lr_shape) for recipe in recipes})
    if len(shapes) > 1:
        raise DegradeError(
            f"the pairs of a batch have one size, got HR of {list(shapes[0][0])} with LR of {list(shapes[0][1])} and "
            f"HR of {list(shapes[1][0])} with LR of {list(shapes[1][1])}; draw with one hr_size and one scale"
        )


def _sharpened(raw: Sequence[Canvas], recipes: Sequence[Recipe]) -> list[Canvas]:
    """What the steps start from: each group cut into those with equal sharpening."""
    result = []
    for canvas in raw:
        settings = {sample: recipes[sample].sharpen for sample in canvas.samples}
        for usm in dict.fromkeys(settings.values()):
            part = regrouped([canvas], tuple(sample for sample, other in settings.items() if other == usm))
            result.append(part if usm is None else sharpen(part, usm))
    return result


def _chosen(raw: Sequence[Canvas], start: Sequence[Canvas], recipes: Sequence[Recipe]) -> list[Canvas]:
    """The images that HR is cut from, sharpened or not."""
    result = []
    for source, wanted in ((raw, "raw"), (start, "sharpened")):
        for canvas in source:
            samples = tuple(sample for sample in canvas.samples if recipes[sample].hr == wanted)
            if samples:
                result.append(regrouped([canvas], samples))
    return result


def _stepped(start: list[Canvas], recipes: Sequence[Recipe], price: int) -> list[Canvas]:
    """All steps of all recipes."""
    current = list(start)
    position = [0] * len(recipes)
    for kind, samples in rounds([[kind_of(type(step)) for step in recipe.steps] for recipe in recipes]):
        operator = operator_of(kind)
        sizes = {name: size for canvas in current for name, size in zip(canvas.samples, canvas.sizes, strict=True)}
        made = []
        for group in grouped(tuple(sizes[sample] for sample in samples), price):
            part = regrouped(current, tuple(samples[place] for place in group))
            made.append(operator(part, [recipes[sample].steps[position[sample]] for sample in part.samples]))
        taken = set(samples)
        kept = [regrouped([canvas], rest) for canvas in current if (rest := _others(canvas, taken))]
        current = made + kept
        for sample in samples:
            position[sample] += 1
    return current


def _others(canvas: Canvas, taken: set[int]) -> tuple[int, ...]:
    return tuple(sample for sample in canvas.samples if sample not in taken)


def _targets(canvas: Canvas, recipes: Sequence[Recipe]) -> Canvas:
    """The HR crops of a canvas."""
    return _cut(canvas, [recipes[sample].inner for sample in canvas.samples], recipes[0].hr_shape)


def _outputs(canvas: Canvas, recipes: Sequence[Recipe]) -> Canvas:
    """The LR crops of a canvas."""
    corners = [
        (recipes[sample].inner[0] // recipes[sample].scale, recipes[sample].inner[1] // recipes[sample].scale)
        for sample in canvas.samples
    ]
    return _cut(canvas, corners, recipes[0].lr_shape)


def _cut(canvas: Canvas, corners: Sequence[tuple[int, int]], size: tuple[int, int]) -> Canvas:
    device = canvas.pixels.device
    one = corners[:1] if len(set(corners)) == 1 else corners
    start = upload([list(corner) for corner in one], torch.int64, device)
    rows, columns = (start[:, axis, None] + torch.arange(size[axis], device=device) for axis in (0, 1))
    return Canvas(take(canvas.pixels, rows, columns), (size,) * len(canvas.samples), canvas.samples)


def _finished(parts: Sequence[Canvas], unit: bool) -> Tensor:
    """In the order of the recipes, rounded to 8 bits."""
    count = sum(len(part.samples) for part in parts)
    codes = half_to_even(saturate(regrouped(parts, tuple(range(count))).pixels))
    return codes / 255.0 if unit else codes.to(torch.uint8)
