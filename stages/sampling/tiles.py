"""Tiles of an image, and one image of the tiles' answers.

Every tile's answer counts by a window: nothing in the outer quarter of an overlap, where the network saw too little
of what lies beyond the tile, all of it past the overlap, and a squared sine between. The windows of all tiles
sum to one everywhere. So a network whose answer at a pixel depends on no more than ``overlap / 4`` pixels around
gives exactly what it would give for the whole image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Span:
    """Pixels `start` to `stop` (exclusive) of an axis of `size` pixels."""

    start: int
    stop: int
    size: int

    def on(self, size: int) -> Span:
        """The same part of an axis that is sampled at `size` pixels (a latent, an HR image)."""
        return Span(self.start * size // self.size, self.stop * size // self.size, size)


def spans(size: int, tile: int, overlap: int) -> tuple[Span, ...]:
    """Spans of `tile` pixels that cover `size`, neighbours sharing `overlap` pixels or, at the end, more.

    One span of the whole axis when it fits into a tile.
    """
    if size <= tile:
        return (Span(0, size, size),)
    starts = [*range(0, size - tile, tile - overlap), size - tile]
    return tuple(Span(start, start + tile, size) for start in starts)


def _window(span: Span, overlap: float) -> Tensor:
    """How much each pixel of `span` counts before windows are normalised, float64 [stop - start] in [0, 1]."""
    centres = torch.arange(span.stop - span.start, dtype=torch.float64) + 0.5

    def ramp(distance: Tensor) -> Tensor:
        along = ((distance - overlap / 4) / (overlap / 2)).clamp(0, 1) if overlap else torch.ones_like(distance)
        return torch.sin(math.pi / 2 * along).square()

    weight = torch.ones_like(centres)
    if span.start > 0:
        weight *= ramp(centres)
    if span.stop < span.size:
        weight *= ramp(len(centres) - centres)
    return weight


def windows(parts: tuple[Span, ...], overlap: float) -> list[Tensor]:
    """A window for each span of an axis, float64; where spans overlap they sum to one."""
    raw = [_window(span, overlap) for span in parts]
    total = torch.zeros(parts[0].size, dtype=torch.float64)
    for span, weight in zip(parts, raw, strict=True):
        total[span.start : span.stop] += weight
    return [weight / total[span.start : span.stop] for span, weight in zip(parts, raw, strict=True)]


@dataclass(frozen=True, slots=True)
class Tile:
    """One rectangle of the LR image."""

    rows: Span
    columns: Span

    def of(self, image: Tensor) -> Tensor:
        """This tile of `image` [..., H, W], which may be the LR image or anything sampled on a multiple of its grid."""
        rows, columns = self.rows.on(image.shape[-2]), self.columns.on(image.shape[-1])
        return image[..., rows.start : rows.stop, columns.start : columns.stop]


@dataclass(frozen=True, slots=True)
class Tiling:
    """The tiles of an LR image: every row span with every column span; sizes in LR pixels."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]
    overlap: int

    @classmethod
    def plan(cls, height: int, width: int, multiple: int, tile: int | None, overlap: int) -> Tiling:
        """Tiles of an image whose sides are multiples of `multiple`; `tile` None makes it one.

        `tile` and `overlap` are rounded up to multiples, so that every tile starts and ends on one: there
        down-sampling and attention windows fall as they do in the whole image. Raises ValueError when tiles would
        not advance.
        """
        if tile is None:
            return cls((Span(0, height, height),), (Span(0, width, width),), 0)
        side, shared = (-(-value // multiple) * multiple for value in (tile, overlap))
        if shared >= side:
            raise ValueError(
                f"tile {tile} with overlap {overlap}: this network takes multiples of {multiple} pixels, which makes "
                f"{side} and {shared}, and tiles would not advance; choose a tile of {shared + multiple} or more"
            )
        return cls(spans(height, side, shared), spans(width, side, shared), shared)

    def __iter__(self) -> Iterator[Tile]:
        return (Tile(rows, columns) for rows in self.rows for columns in self.columns)

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def blend(self, answer: Callable[[Tile], Tensor]) -> Tensor:
        """The image [B, C, H, W] of which `answer(tile)` gives the tiles [B, C, h, w], one in memory at a time.

        Answers may be sampled more or less densely than the LR image, all tiles alike.
        """
        if len(self) == 1:
            return answer(next(iter(self)))
        canvas: Tensor | None = None
        for tile in self:
            part = answer(tile)
            if canvas is None:
                height, width = self._size_like(tile, part)
                canvas = part.new_zeros((*part.shape[:2], height, width))
                down, across = self._windows(self.rows, height), self._windows(self.columns, width)
            weight = torch.outer(down[tile.rows], across[tile.columns]).to(part)
            tile.of(canvas).add_(part * weight)
        assert canvas is not None
        return canvas

    def _size_like(self, tile: Tile, part: Tensor) -> tuple[int, int]:
        """The size of the whole image at the density of a tile's answer."""
        height, width = part.shape[-2:]
        return (
            height * tile.rows.size // (tile.rows.stop - tile.rows.start),
            width * tile.columns.size // (tile.columns.stop - tile.columns.start),
        )

    def _windows(self, axis: tuple[Span, ...], size: int) -> dict[Span, Tensor]:
        overlap = self.overlap * size / axis[0].size
        return dict(zip(axis, windows(tuple(span.on(size) for span in axis), overlap), strict=True))
