"""Real-ESRGAN's x4plus degradation over basicsr's operators, for a batch at a time, as its training step runs them.

Kernels, levels and qualities are drawn for each sample, the rest once for the batch, as there. The parameters are
written out from the released options, not read from our presets.
"""

from __future__ import annotations

import random

import numpy as np
import torch
from torch.nn import functional

from degrade.basicsr_compat import degradations, diffjpeg, img_process_util

FAMILIES = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
WEIGHTS = [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
MODES = ["area", "bilinear", "bicubic"]
PI = float(np.pi)


def seed(value: int) -> None:
    """Seed the generators that basicsr draws from."""
    torch.manual_seed(value)
    np.random.seed(value)
    random.seed(value)


def draw_kernel(sigma: list[float]) -> np.ndarray:
    """A blur kernel padded to 21 x 21 with basicsr's functions; `sigma` is the range of both widths."""
    size = random.choice(range(7, 22, 2))
    if random.random() < 0.1:
        omega = random.uniform(PI / 3 if size < 13 else PI / 5, PI)
        kernel = degradations().circular_lowpass_kernel(omega, size, pad_to=False)
    else:
        kernel = degradations().random_mixed_kernels(
            FAMILIES, WEIGHTS, size, sigma, sigma, [-PI, PI], [0.5, 4], [1, 2], noise_range=None
        )
    return np.pad(kernel, (21 - size) // 2)


def draw_sinc() -> np.ndarray:
    """The kernel of the last filter, 21 x 21: a low-pass, or nothing in one case of five."""
    if random.random() < 0.8:
        size = random.choice(range(7, 22, 2))
        return degradations().circular_lowpass_kernel(random.uniform(PI / 3, PI), size, pad_to=21)
    kernel = np.zeros((21, 21))
    kernel[10, 10] = 1
    return kernel


def draw_factor(weights: list[float], span: list[float]) -> float:
    """How much larger an image becomes: up, down or not at all by `weights`."""
    direction = random.choices(["up", "down", "keep"], weights)[0]
    return {"up": random.uniform(1, span[1]), "down": random.uniform(span[0], 1), "keep": 1.0}[direction]


class Reference:
    """Call it with a batch [n, 3, h, w] in 0..1, h and w multiples of 4; gives [n, 3, h/4, w/4] of 8-bit values."""

    def __init__(self, sharpen: bool) -> None:
        self.ops = degradations()
        self.tools = img_process_util()
        self.usm = self.tools.USMSharp() if sharpen else None
        self.jpeg = diffjpeg().DiffJPEG(differentiable=False)

    def blur(self, image: torch.Tensor, sigma: list[float]) -> torch.Tensor:
        kernels = np.stack([draw_kernel(sigma) for _ in image])
        return self.tools.filter2D(image.contiguous(), torch.from_numpy(kernels).float())

    def noise(self, image: torch.Tensor, sigma: list[float], scale: list[float]) -> torch.Tensor:
        options = {"gray_prob": 0.4, "clip": True, "rounds": False}
        if random.random() < 0.5:
            return self.ops.random_add_gaussian_noise_pt(image, sigma_range=sigma, **options)
        return self.ops.random_add_poisson_noise_pt(image, scale_range=scale, **options)

    def compress(self, image: torch.Tensor) -> torch.Tensor:
        quality = image.new_zeros(image.shape[0]).uniform_(30, 95)
        return self.jpeg(torch.clamp(image, 0, 1), quality=quality)

    def final(self, image: torch.Tensor, lr: tuple[int, int]) -> torch.Tensor:
        image = functional.interpolate(image, size=lr, mode=random.choice(MODES))
        kernels = np.stack([draw_sinc() for _ in image])
        return self.tools.filter2D(image.contiguous(), torch.from_numpy(kernels).float())

    @torch.no_grad()
    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        lr = (batch.shape[2] // 4, batch.shape[3] // 4)
        image = self.usm(batch) if self.usm is not None else batch
        image = self.blur(image, [0.2, 3])
        factor = draw_factor([0.2, 0.7, 0.1], [0.15, 1.5])
        image = functional.interpolate(image, scale_factor=factor, mode=random.choice(MODES))
        image = self.compress(self.noise(image, [1, 30], [0.05, 3]))
        if random.random() < 0.8:
            image = self.blur(image, [0.2, 1.5])
        factor = draw_factor([0.3, 0.4, 0.3], [0.3, 1.2])
        size = (int(lr[0] * factor), int(lr[1] * factor))
        image = functional.interpolate(image, size=size, mode=random.choice(MODES))
        image = self.noise(image, [1, 25], [0.05, 2.5])
        last = random.random() < 0.5
        image = self.compress(self.final(image, lr)) if last else self.final(self.compress(image), lr)
        return torch.clamp((image * 255).round(), 0, 255) / 255
