"""Real-ESRGAN's degradation as the released model orders basicsr's operators, one image at a time, on the CPU.

The parameters are written out from the released options of x4plus, not read from our presets. basicsr draws from the
global generators of random, NumPy and torch; :func:`seeded` sets them and puts them back.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn import functional

from degrade.basicsr_compat import degradations, diffjpeg, img_process_util

PI = float(np.pi)
KINDS = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
SHARES = [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
MODES = ["area", "bilinear", "bicubic"]


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators within the block."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Code values [h, w, 3] -> [1, 3, h, w] in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32) / 255).permute(2, 0, 1)[None].contiguous()


def to_image(tensor: torch.Tensor) -> np.ndarray:
    """[1, 3, h, w] in 0..1 -> float32 code values [h, w, 3]."""
    return np.ascontiguousarray(tensor[0].permute(1, 2, 0).numpy() * 255)


def filtered(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """basicsr's filter2D with `kernel` padded to 21 x 21, as its training pipeline pads it."""
    padded = np.pad(kernel, (21 - kernel.shape[0]) // 2)
    with torch.no_grad():
        return to_image(img_process_util().filter2D(to_tensor(image), torch.from_numpy(padded)[None].float()))


class Reference:
    """Without sharpening; scale 4. Takes and gives code values: uint8 [h, w, 3] -> uint8 [h/4, w/4, 3]."""

    def __init__(self) -> None:
        self.ops = degradations()
        self.jpeg = diffjpeg().DiffJPEG(differentiable=False)

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        x = to_tensor(image)
        lr = (image.shape[0] // 4, image.shape[1] // 4)
        x = self._blur(x, [0.2, 3])
        x = self._resize(x, [0.2, 0.7, 0.1], [0.15, 1.5], None)
        x = self._compress(self._noise(x, [1, 30], [0.05, 3]))
        if random.random() < 0.8:
            x = self._blur(x, [0.2, 1.5])
        x = self._noise(self._resize(x, [0.3, 0.4, 0.3], [0.3, 1.2], lr), [1, 25], [0.05, 2.5])
        x = self._compress(self._final(x, lr)) if random.random() < 0.5 else self._final(self._compress(x), lr)
        return np.asarray(np.clip(np.rint(to_image(x)), 0, 255), dtype=np.uint8)

    def _blur(self, x: torch.Tensor, sigma: list[float]) -> torch.Tensor:
        size = random.choice(range(7, 22, 2))
        if np.random.uniform() < 0.1:
            omega = np.random.uniform(PI / 3 if size < 13 else PI / 5, PI)
            kernel = self.ops.circular_lowpass_kernel(omega, size, pad_to=False)
        else:
            kernel = self.ops.random_mixed_kernels(
                KINDS, SHARES, size, sigma, sigma, [-PI, PI], [0.5, 4], [1, 2], noise_range=None
            )
        return self._filter(x, kernel)

    def _filter(self, x: torch.Tensor, kernel: np.ndarray) -> torch.Tensor:
        padded = torch.from_numpy(np.pad(kernel, (21 - kernel.shape[0]) // 2))[None].float()
        return img_process_util().filter2D(x.contiguous(), padded)

    def _resize(
        self, x: torch.Tensor, weights: list[float], span: list[float], base: tuple[int, int] | None
    ) -> torch.Tensor:
        direction = random.choices(["up", "down", "keep"], weights)[0]
        factor = {"up": np.random.uniform(1, span[1]), "down": np.random.uniform(span[0], 1), "keep": 1.0}[direction]
        mode = random.choice(MODES)
        if base is None:
            return functional.interpolate(x, scale_factor=factor, mode=mode)
        return functional.interpolate(x, size=tuple(int(side * factor) for side in base), mode=mode)

    def _noise(self, x: torch.Tensor, sigma: list[float], scale: list[float]) -> torch.Tensor:
        options = {"gray_prob": 0.4, "clip": True, "rounds": False}
        if np.random.uniform() < 0.5:
            return self.ops.random_add_gaussian_noise_pt(x, sigma_range=sigma, **options)
        return self.ops.random_add_poisson_noise_pt(x, scale_range=scale, **options)

    def _compress(self, x: torch.Tensor) -> torch.Tensor:
        return self.jpeg(torch.clamp(x, 0, 1), quality=x.new_zeros(1).uniform_(30, 95))

    def _final(self, x: torch.Tensor, lr: tuple[int, int]) -> torch.Tensor:
        x = functional.interpolate(x, size=lr, mode=random.choice(MODES))
        if np.random.uniform() >= 0.8:
            return x
        size = random.choice(range(7, 22, 2))
        return self._filter(x, self.ops.circular_lowpass_kernel(np.random.uniform(PI / 3, PI), size, pad_to=False))
