"""Which operators of a recipe run in batches, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch

from degrade.batched.canvas import Canvas
from degrade.batched.convolve import convolve
from degrade.batched.jpeg import jpeg
from degrade.batched.kernels import Formula, Spread, kernels
from degrade.batched.noise import noise
from degrade.batched.resample import resample
from degrade.batched.upload import upload
from degrade.operators.base import Draw
from degrade.operators.blur import BlurDraw
from degrade.operators.correlated import CorrelatedDraw
from degrade.operators.decimate import DecimateDraw
from degrade.operators.defocus import DefocusDraw
from degrade.operators.eigen_blur import EigenBlurDraw
from degrade.operators.imresize import ImresizeDraw
from degrade.operators.jpeg import JpegDraw
from degrade.operators.motion import MotionDraw
from degrade.operators.noise import GaussianDraw, PoissonDraw
from degrade.operators.resize import ResizeDraw
from degrade.operators.shrink import ShrinkDraw
from degrade.operators.sinc import SincDraw
from degrade.threads import one_thread


def blur(canvas: Canvas, draws: Sequence[Formula | Spread]) -> Canvas:
    """Filter every image with the kernel of its draw."""
    return convolve(canvas, kernels(draws, canvas.pixels.device))


def compress(canvas: Canvas, draws: Sequence[JpegDraw]) -> Canvas:
    """A JPEG round trip of every image at its own quality."""
    quality = upload([draw.quality for draw in draws], torch.int64, canvas.pixels.device)
    sizes = None if canvas.filled else canvas.sizes
    return canvas.with_pixels(jpeg(canvas.pixels, quality, sizes=sizes))


def one_by_one(canvas: Canvas, draws: Sequence[Draw]) -> Canvas:
    """Render every draw on the host with the CPU engine's code: right, and it waits for the device."""
    results = []
    with one_thread():
        for row, (draw, (height, width)) in enumerate(zip(draws, canvas.sizes, strict=True)):
            image = canvas.pixels[row, :, :height, :width].permute(1, 2, 0).cpu().numpy()
            results.append(draw.render(np.array(image, dtype=np.float32, order="C")))
    sizes = tuple((result.shape[0], result.shape[1]) for result in results)
    rows, columns = (max(size[axis] for size in sizes) for axis in (0, 1))
    packed = np.zeros((len(results), rows, columns, 3), dtype=np.float32)
    for row, result in enumerate(results):
        packed[row, : result.shape[0], : result.shape[1]] = result
    pixels = upload(packed, torch.float32, canvas.pixels.device).permute(0, 3, 1, 2).contiguous()
    return Canvas(pixels, sizes, canvas.samples)


Render = Callable[[Canvas, Sequence[Any]], Canvas]
_BATCHED: Final[dict[str, tuple[Render, tuple[type[Draw], ...]]]] = {
    "blur": (blur, (BlurDraw, SincDraw, EigenBlurDraw, DefocusDraw, MotionDraw)),
    "resample": (resample, (ResizeDraw, ShrinkDraw, ImresizeDraw, DecimateDraw)),
    "noise": (noise, (GaussianDraw, PoissonDraw, CorrelatedDraw)),
    "jpeg": (compress, (JpegDraw,)),
}
_KINDS: Final = {draw: kind for kind, (_, draws) in _BATCHED.items() for draw in draws}


def kind_of(draw: type[Draw]) -> str:
    """Draws of one kind are rendered together; those without a batched operator have a kind of their own."""
    return _KINDS.get(draw, draw.__name__)


def operator_of(kind: str) -> Render:
    """What renders a kind: a batched operator, or the CPU engine's code one by one."""
    return _BATCHED[kind][0] if kind in _BATCHED else one_by_one


def is_batched(draw: type[Draw]) -> bool:
    """Whether there is a batched operator; the others cost a round trip to the host per batch."""
    return draw in _KINDS
