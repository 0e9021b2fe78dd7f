"""The least that each operator of the CPU engine can take on this machine: what it must move, compute or hand over.

Measured in the run that they are compared in, on the same core: bytes streamed, multiply-adds, random words, one
libjpeg round trip of the same pixels. No operator meets its bound; the ratio says how much is left, and where.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from degrade.codecs import to_uint8
from degrade.operators.base import Draw
from degrade.philox import words
from degrade.recipe import Recipe

Shape = tuple[int, ...]


def fastest(call: Callable[[], object], times: int = 7) -> float:
    """CPU-seconds of the fastest of several calls, after one to warm up."""
    call()
    best = math.inf
    for _ in range(times):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


@dataclass(frozen=True)
class Machine:
    """Per CPU-second of one core: bytes read and written by a copy, multiply-adds of float32, 64-bit random words."""

    stream: float
    arithmetic: float
    words: float

    @classmethod
    def measured(cls) -> Machine:
        """A copy of 3 MB (an image of 512 x 512), a matrix product that fits the cache, NumPy's Philox."""
        source = np.ones((512, 512, 3), np.float32)
        target = np.empty_like(source)
        matrix = torch.ones(512, 512)
        copied = fastest(lambda: np.copyto(target, source), 50)
        product = fastest(lambda: torch.mm(matrix, matrix), 20)
        drawn = fastest(lambda: words("ab" * 16, 1 << 17), 20)
        return cls(2 * source.nbytes / copied, 512**3 / product, (1 << 17) / drawn)

    def __str__(self) -> str:
        return (
            f"one core streams {self.stream / 1e9:.1f} GB/s, does {self.arithmetic / 1e9:.0f} G multiply-adds/s, "
            f"draws {self.words / 1e6:.0f} M words/s"
        )

    def prepare(self, recipe: Recipe) -> tuple[float, str]:
        """Seconds for the start of a pair: read the crop, write HR and the float32 image; sharpening's two blurs."""
        pixels = math.prod(recipe.context)
        moved = (3 + 3 + 12) * pixels / self.stream
        if recipe.sharpen is None:
            return moved, "bytes"
        taps = 2 * (recipe.sharpen.radius // 2) + 1
        return _larger(moved, 2 * 2 * taps * 3 * pixels / self.arithmetic)

    def step(self, draw: Draw, before: np.ndarray, after: np.ndarray) -> tuple[float, str]:
        """Seconds for one operator that made `after` of `before`, and what they are."""
        moved = (before.nbytes + after.nbytes) / self.stream
        if draw.op in ("blur", "sinc"):
            return _larger(moved, _multiply_adds(draw, before.shape) / self.arithmetic)
        if draw.op in ("gaussian", "poisson"):
            values = before.size // 3 if draw.gray else before.size
            return moved + values / 4 / self.words, "bytes, words"
        if draw.op == "jpeg":
            return _round_trip(before, draw.quality), "libjpeg"
        return moved, "bytes"

    def finish(self, lr: np.ndarray) -> tuple[float, str]:
        """Seconds to round the LR image."""
        return 5 * lr.nbytes / self.stream, "bytes"


def _larger(moved: float, computed: float) -> tuple[float, str]:
    return (moved, "bytes") if moved > computed else (computed, "arithmetic")


def _multiply_adds(draw: Draw, shape: Shape) -> float:
    """The fewest ways we know: rows and columns where the kernel has factors, else tap by tap or by real FFT."""
    taps = 2 * draw.size if draw.op == "blur" and draw.family == "iso" else draw.size**2
    pixels = math.prod(shape[:2])
    transforms = 2 * 2.5 * math.log2(pixels) / 2 + 2  # there and back, two operations a multiply-add, and the product
    return 3 * pixels * min(taps, transforms)


def _round_trip(image: np.ndarray, quality: int) -> float:
    """libjpeg's encoder and decoder on pixels that are already as it takes them."""
    pixels = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2BGR)

    def both() -> None:
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
        cv2.imdecode(data, cv2.IMREAD_COLOR)

    return fastest(both, 2)
