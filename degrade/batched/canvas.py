"""Images of different sizes in one tensor, and which of them are worth one tensor.

After the first resize of a recipe every sample has its own size. On a GPU a group of kernel launches costs as much as
about a million pixels of work, so samples share a canvas that is as large as the largest of them, and what lies beyond
a sample's own size is ignored (:mod:`degrade.batched.borders`). One canvas for 32 samples of real-esrgan at HR 512 (8
million pixels after the first resize, by factors of 0.15 to 1.5) has 2.9 times their pixels, one for each size 32 times
the launches. :func:`grouped` cuts a batch where the padding saved is worth the launches: 3 canvases with 1.26 times the
pixels, and one from the second resize on. On the CPU launches are cheap and samples are grouped by equal size, without
padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from degrade.batched.borders import Extent, extent
from degrade.batched.upload import upload

Size = tuple[int, int]


@dataclass(frozen=True)
class Canvas:
    """`pixels` float32 [n, 3, h, w] in code values; row i is sample `samples[i]` and fills its top left `sizes[i]`."""

    pixels: Tensor
    sizes: tuple[Size, ...]
    samples: tuple[int, ...]

    @property
    def extent(self) -> Extent:
        """Heights and widths on the device, [n], or [1] where all are equal."""
        return extent(self.sizes, self.pixels.device)

    @property
    def filled(self) -> bool:
        """Whether every sample fills the whole canvas."""
        return all(size == tuple(self.pixels.shape[2:]) for size in self.sizes)

    def with_pixels(self, pixels: Tensor) -> Canvas:
        """The same samples and sizes with other pixels."""
        return replace(self, pixels=pixels)


def regrouped(canvases: Sequence[Canvas], samples: tuple[int, ...]) -> Canvas:
    """One canvas of just `samples`, in that order, no larger than they need; without a copy where there is one."""
    holders = [canvas for canvas in canvases if set(canvas.samples) & set(samples)]
    sizes = {name: size for canvas in holders for name, size in zip(canvas.samples, canvas.sizes, strict=True)}
    wanted = tuple(sizes[name] for name in samples)
    height, width = (max(size[axis] for size in wanted) for axis in (0, 1))
    if len(holders) == 1 and holders[0].samples == samples:
        return Canvas(holders[0].pixels[:, :, :height, :width], wanted, samples)
    first = holders[0].pixels
    pixels = first.new_zeros((len(samples), first.shape[1], height, width))
    for canvas in holders:
        source = [row for row, name in enumerate(canvas.samples) if name in samples]
        target = [samples.index(canvas.samples[row]) for row in source]
        part = canvas.pixels[:, :, :height, :width].index_select(0, upload(source, torch.int64, first.device))
        pixels[:, :, : part.shape[2], : part.shape[3]].index_copy_(0, upload(target, torch.int64, first.device), part)
    return Canvas(pixels, wanted, samples)


@lru_cache(maxsize=1024)
def grouped(sizes: tuple[Size, ...], launch: int) -> tuple[tuple[int, ...], ...]:
    """Positions of `sizes` in groups that share a canvas, at the least cost.

    A group costs `launch` pixels and as many pixels as its canvas has in all. The best cuts of the samples in order of
    their area, by dynamic programming.
    """
    order = sorted(range(len(sizes)), key=lambda place: (sizes[place][0] * sizes[place][1], sizes[place], place))
    best: list[tuple[int, int]] = [(0, 0)]  # of the first k samples: cost, where their last group starts
    for end in range(1, len(order) + 1):
        height = width = 0
        options = []
        for start in range(end - 1, -1, -1):
            height, width = max(height, sizes[order[start]][0]), max(width, sizes[order[start]][1])
            options.append((best[start][0] + launch + (end - start) * height * width, start))
        best.append(min(options))
    groups = []
    end = len(order)
    while end:
        start = best[end][1]
        groups.append(tuple(sorted(order[start:end])))
        end = start
    return tuple(groups)
