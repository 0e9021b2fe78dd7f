"""Photographs bundled with scikit-image, and what a super-resolution run would record of them."""

from __future__ import annotations

import io
import math
import random
from functools import lru_cache

from PIL import Image, ImageFilter

PHOTOS = {"astronaut": (40, 0), "chelsea": (110, 30), "coffee": (180, 90), "rocket": (150, 60)}


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@lru_cache
def photo(name: str, side: int = 256) -> Image.Image:
    """A square crop of a real photograph, `side` pixels wide."""
    from skimage import data

    left, top = PHOTOS[name]
    return Image.fromarray(getattr(data, name)()).convert("RGB").crop((left, top, left + side, top + side))


@lru_cache
def renderings(name: str, side: int = 256) -> dict[str, bytes]:
    """PNGs of one photograph: lr, bicubic, a model's answer (a sharpened bicubic stands in for it), hr."""
    hr = photo(name, side)
    small = hr.filter(ImageFilter.GaussianBlur(0.8)).resize((side // 4, side // 4), Image.Resampling.BICUBIC)
    bicubic = small.resize((side, side), Image.Resampling.BICUBIC)
    sharp = bicubic.filter(ImageFilter.UnsharpMask(2.2, 130, 1))
    model = Image.blend(sharp, hr, 0.35)
    return {"hr": png(hr), "teacher": png(model), "lr": png(small), "bicubic": png(bicubic)}


def loss_rows(steps: int, every: int = 2, seed: int = 7) -> list[dict[str, float]]:
    """A training curve by formula: a power law with noise that fades, as ``metrics`` rows."""
    rng = random.Random(seed)
    rows = []
    for step in range(1, steps + 1, every):
        trend = 0.012 + 0.34 / (1 + step / 9) ** 1.15
        rows.append(
            {
                "step": step,
                "time": 1795320000.0 + step * 0.31,
                "loss": trend * math.exp(rng.gauss(0, 0.16)),
                "grad_norm": 2.4 * trend**0.5 * math.exp(rng.gauss(0, 0.22)),
                "learning_rate": 5e-4 * min(1, step / 60) * (0.5 + 0.5 * math.cos(math.pi * step / steps)),
                "samples_per_second": 25.4 + rng.gauss(0, 0.8) - (6 if step < 8 else 0),
            }
        )
    return rows
