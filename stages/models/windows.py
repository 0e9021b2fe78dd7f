"""Windows of tokens for shifted-window attention: how they are cut, and which tokens may attend to which.

Source: Liu et al., "Swin Transformer" (arXiv 2103.14030), section 3.2. A shifted block rolls the image by
`shift`, cuts windows, and attends inside each. After the roll the last windows hold tokens from opposite
sides of the image; the mask keeps those apart. Masks and orders of tokens depend on sizes only: they are plain
tensors in a cache, one for each size and device, and no part of a state dict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

_CACHE: Final[dict[tuple[object, ...], Tensor]] = {}
_CACHE_LIMIT: Final = 64
"""Entries. Training knows a few sizes; sampling whole photographs could know any number."""


def cut_windows(x: Tensor, window: int) -> Tensor:
    """[B, C, H, W] -> [B * windows, window^2, C]: windows and the tokens in them row by row."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // window, window, width // window, window)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, window * window, channels)


def window_order(height: int, width: int, window: int, shift: int) -> Tensor:
    """int64 [height * width]: where in the image (row by row) each token lies, window by window, after a roll."""
    place = torch.arange(height * width).reshape(1, 1, height, width)
    rolled = torch.roll(place, (-shift, -shift), (2, 3))
    return cut_windows(rolled, window).reshape(-1)


def _pieces(size: int, window: int, shift: int) -> Tensor:
    """Of a rolled axis: 0 before the last window, 1 in its first part, 2 in the part that came from the other end."""
    place = torch.arange(size)
    return (place >= size - window).long() + (place >= size - shift).long()


def allowed_pairs(height: int, width: int, window: int, shift: int, legacy: bool = False) -> Tensor:
    """Bool [windows, window^2, window^2]: whether a token (row) may attend to another (column) of its window.

    `legacy` reproduces the mask that the released ResShift weights (and those derived from them) were trained
    with: the two sides of a right-edge window are not kept apart, and windows at the bottom are split by
    column where they should be split by row.
    """
    rows, columns = _pieces(height, window, shift), _pieces(width, window, shift)
    piece = 3 * rows[:, None] + columns[None, :]
    if legacy:
        inside = torch.arange(width) % window
        piece = rows.reshape(-1, window)[:, inside].repeat_interleave(window, 0)
    tokens = cut_windows(piece[None, None].float(), window)[..., 0]
    return tokens[:, :, None] == tokens[:, None, :]


def relative_places(window: int) -> Tensor:
    """int64 [window^4]: for each pair of tokens, the row of the bias table for their offset (Swin, eq. 4)."""
    row, column = torch.arange(window * window) // window, torch.arange(window * window) % window
    down = row[:, None] - row[None, :] + window - 1
    right = column[:, None] - column[None, :] + window - 1
    return (down * (2 * window - 1) + right).reshape(-1)


def _cached(key: tuple[object, ...], build: Callable[[], Tensor]) -> Tensor:
    """What `build` gives, from the cache. A graph that is being compiled or exported takes the few operations in.

    There they are part of the graph, at any size it is made for, and no entry stands for a tensor of a trace.
    """
    if torch.compiler.is_compiling():
        return build()
    if key not in _CACHE:
        with torch.inference_mode(False):  # a mask first met while sampling has to serve training too
            made = build()
        if type(made) is not Tensor:
            return made
        if len(_CACHE) >= _CACHE_LIMIT:
            _CACHE.pop(next(iter(_CACHE)))
        _CACHE[key] = made
    return _CACHE[key]


def shift_penalty(height: int, width: int, window: int, shift: int, legacy: bool, device: torch.device) -> Tensor:
    """float32 [windows, 1, window^2, window^2] on `device`: 0 where attention is allowed, -inf where not."""

    def build() -> Tensor:
        allowed = allowed_pairs(height, width, window, shift, legacy)[:, None]
        return torch.zeros(allowed.shape).masked_fill(~allowed, float("-inf")).to(device)

    return _cached(("penalty", height, width, window, shift, legacy, device), build)


def relative_index(window: int, device: torch.device) -> Tensor:
    """:func:`relative_places` on `device`."""
    return _cached(("index", window, device), lambda: relative_places(window).to(device))


class _Permuted(torch.autograd.Function):
    """Tokens [B, N, C] in another order. A gradient goes back the same way: a gather, where indexing would scatter."""

    @staticmethod
    def forward(tokens: Tensor, order: Tensor, back: Tensor) -> Tensor:
        return tokens.index_select(1, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        order, back = ctx.saved_tensors
        moved: Tensor = _Permuted.apply(gradient, back, order)  # type: ignore[no-untyped-call]
        return moved, None, None


def reorder(tokens: Tensor, size: tuple[int, int], window: int, now: int | None, then: int | None) -> Tensor:
    """Tokens [B, H * W, C] of an image of `size` from one order to another.

    An order is the shift by which windows are cut, or None for the image's own, row by row.
    """
    if now == then:
        return tokens

    def places(shift: int | None) -> Tensor:
        return torch.arange(size[0] * size[1]) if shift is None else window_order(*size, window, shift)

    def moves(one: int | None, other: int | None) -> Tensor:
        return torch.argsort(places(one))[places(other)].to(tokens.device)

    there = _cached(("order", *size, window, now, then, tokens.device), lambda: moves(now, then))
    back = _cached(("order", *size, window, then, now, tokens.device), lambda: moves(then, now))
    moved: Tensor = _Permuted.apply(tokens, there, back)  # type: ignore[no-untyped-call]
    return moved
